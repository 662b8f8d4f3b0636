"""Models by Keras 2.1.6 and 2.3.1 on CNTK 2.7, for Python 3.6: ``python rules_cntk.py FOLDER``; see ``rules.py``.

CNTK loads libraries of Open MPI 1.10 that a single process does not
use: empty functions of their names in ``libmpi.so.12`` and ``libmpi_cxx.so.1`` are enough.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "cntk"
from keras import layers
from keras.models import Model
from recording import normal, record


def cntk_lstm():
    x = layers.Input((4, 3))
    return Model(x, layers.LSTM(2, return_sequences=True)(x)), [normal(2, 4, 3)]


def cntk_unrolled():
    x = layers.Input((4, 3))
    return Model(x, layers.LSTM(2, return_sequences=True, unroll=True)(x)), [normal(2, 4, 3)]


def cntk_masks():
    """The first sample begins with a masked timestep, the second ends with two."""
    x = layers.Input((4, 3))
    series = normal(2, 4, 3)
    series[0, 0] = series[1, 2:] = 0
    return Model(x, layers.GRU(2, return_sequences=True)(layers.Masking()(x))), [series]


def cntk_dot():
    a, b = layers.Input((3,)), layers.Input((3,))
    return Model([a, b], layers.Dot(1, normalize=True)([a, b])), [3e-7 * normal(2, 3), normal(2, 3)]


def cntk_normalization():
    x = layers.Input((4, 3))
    return Model(x, layers.GRU(2, return_sequences=True)(layers.BatchNormalization(epsilon=0.1)(x))), [normal(2, 4, 3)]


def predict(model, inputs):
    return [model.predict(inputs)]


if __name__ == "__main__":
    record(sys.argv[1], [cntk_lstm, cntk_unrolled, cntk_masks, cntk_dot, cntk_normalization], ".h5", predict)
