"""Models that only their Keras, or its backend, makes what they are: see ``rules.py``.

``python rules_uncertain.py FOLDER`` with Keras 1.2.2 on TensorFlow 1.12 or, with ``KERAS_BACKEND=theano``, on Theano
1.0.5; with ``tensorflow.keras`` behind it, for TensorFlow 1.10.1 and 1.12.3.
"""

import importlib
import os
import sys

os.environ.setdefault("THEANO_FLAGS", "floatX=float32,optimizer=None,cxx=")
from recording import normal, record

keras = importlib.import_module(sys.argv[2] if len(sys.argv) > 2 else "keras")
layers, Model = keras.layers, keras.models.Model
FIRST = os.environ.get("KERAS_BACKEND") == "theano"
"""Whether the channels are first."""
IMAGE = (2, 6, 5) if FIRST else (6, 5, 2)


def images(x):
    y = layers.UpSampling2D((2, 1))(layers.ZeroPadding2D((1, 2))(x))
    return layers.Cropping2D(((1, 0), (2, 1)))(y)


def dim_ordering():
    """The convolution says what the layers before it do not."""
    x = layers.Input(IMAGE)
    y = layers.Convolution2D(3, 2, 3)(images(x))
    return Model(x, [y, layers.LSTM(2, return_sequences=True)(layers.TimeDistributed(layers.Flatten())(y))]), [
        normal(2, *IMAGE)
    ]


def dim_ordering_of_volumes():
    """The pooling inside another model says it."""
    shape = (2, 4, 3, 5) if FIRST else (4, 3, 5, 2)
    x, inside = layers.Input(shape), layers.Input(shape)
    inner = Model(inside, layers.MaxPooling3D((2, 1, 1))(inside))
    y = layers.ZeroPadding3D((1, 2, 3))(inner(x))
    return Model(x, layers.Cropping3D(((1, 0), (0, 1), (2, 1)))(layers.UpSampling3D((1, 2, 1))(y))), [normal(2, *shape)]


def dim_ordering_unsaid():
    x = layers.Input(IMAGE)
    return Model(x, images(x)), [normal(2, *IMAGE)]


def srelu():
    """Half of the slopes are negative."""
    x = layers.Input((5, 6))
    return Model(x, layers.LSTM(2, return_sequences=True)(layers.SReLU()(x))), [3 * normal(3, 5, 6)]


def stacked(**settings):
    return layers.RNN([layers.LSTMCell(2), layers.LSTMCell(2)], **settings)


def stacked_states_given():
    x, states = layers.Input((4, 3)), [layers.Input((2,)) for _ in range(4)]
    return Model([x] + states, stacked()(x, initial_state=states)), [normal(2, 4, 3)] + [normal(2, 2) for _ in states]


def stacked_states_returned():
    x = layers.Input((4, 3))
    return Model(x, stacked(return_state=True)(x)), [normal(2, 4, 3)]


def stacked_states_emitted():
    x = layers.Input((4, 3))
    masked = normal(2, 4, 3)
    masked[1, 2:] = 0
    return Model(x, stacked()(layers.Masking()(x))), [masked]


def stacked_states_unseen():
    x = layers.Input((4, 3))
    return Model(x, stacked(return_sequences=True)(x)), [normal(2, 4, 3)]


def predict(model, inputs):
    found = model.predict(inputs)
    return found if isinstance(found, list) else [found]


if __name__ == "__main__":
    if keras.__version__.startswith("1."):
        keras.backend.set_image_dim_ordering("th" if FIRST else "tf")
        models = [dim_ordering, dim_ordering_of_volumes, dim_ordering_unsaid, srelu]
    else:
        models = [stacked_states_given, stacked_states_returned, stacked_states_emitted, stacked_states_unseen]
    record(sys.argv[1], models, ".h5", predict)
