"""Models whose numbers are those of the Theano backend alone, by Keras 1 and 2: see ``rules.py``.

Theano computes in plain Python here, which needs no compiler.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "theano"
os.environ["THEANO_FLAGS"] = "floatX=float32,optimizer=None,cxx="
import keras
import numpy as np
from keras import backend as K
from keras import layers
from keras.models import Model
from recording import normal, record, series

OLD = keras.__version__.startswith("1")
if OLD:
    K.set_image_dim_ordering("tf")


def conv1d(filters, size, padding="valid", strides=1):
    if OLD:
        return layers.Convolution1D(filters, size, border_mode=padding, subsample_length=strides)
    return layers.Conv1D(filters, size, padding=padding, strides=strides)


def theano():
    """Convolutions flip their kernels."""
    x = layers.Input((7, 3))
    return Model(x, layers.LSTM(2, return_sequences=True)(conv1d(4, 3)(x))), [normal(2, 7, 3)]


def theano_even_window():
    x = layers.Input((5, 3))
    return Model(x, layers.LSTM(2, return_sequences=True)(conv1d(4, 4, "same")(x))), [normal(2, 5, 3)]


def theano_strides():
    x = layers.Input((6, 3))
    return Model(x, layers.LSTM(2, return_sequences=True)(conv1d(4, 3, "same", 2)(x))), [normal(2, 6, 3)]


def theano_pooling():
    """Windows of five begin three places before the image."""
    x = layers.Input((6, 7, 3))
    size = {"border_mode" if OLD else "padding": "same"}
    y = layers.AveragePooling2D((5, 2), strides=(2, 1), **size)(layers.MaxPooling2D((2, 5), strides=(1, 1), **size)(x))
    return Model(x, layers.LSTM(2, return_sequences=True)(layers.Reshape((7, 9))(y))), [normal(2, 6, 7, 3)]


def theano_conv_lstm():
    """Both kernels are flipped, and an even recurrent kernel pads in front."""
    x = layers.Input((3, 5, 4, 2))
    if OLD:
        layer = layers.ConvLSTM2D(2, 2, 3, border_mode="valid", return_sequences=True)
    else:
        layer = layers.ConvLSTM2D(2, (2, 3), padding="valid", return_sequences=True)
    return Model(x, layer(x)), [normal(2, 3, 5, 4, 2)]


def theano_depthwise():
    """Keras flips these kernels back."""
    x = layers.Input((5, 4, 2))
    y = layers.DepthwiseConv2D((2, 3), padding="same")(x)
    return Model(x, layers.LSTM(2, return_sequences=True)(layers.Reshape((5, 8))(y))), [normal(2, 5, 4, 2)]


def theano_separable():
    x = layers.Input((5, 3))
    return Model(x, layers.LSTM(2, return_sequences=True)(layers.SeparableConv1D(4, 3)(x))), [normal(2, 5, 3)]


def theano_masks():
    """The second batch begins with masked timesteps, where there is a state and no output yet."""
    x = layers.Input(batch_shape=(2, 4, 3))
    y = layers.LSTM(2, return_sequences=True, stateful=True)(layers.Masking()(x))
    return Model(x, y), [np.concatenate([normal(2, 4, 3), series()])]


def predict(model, inputs):
    return [model.predict(inputs[0], batch_size=2)]


if __name__ == "__main__":
    models = [theano, theano_even_window, theano_strides, theano_pooling, theano_conv_lstm, theano_masks]
    record(sys.argv[1], models + [theano_depthwise, theano_separable], ".h5", predict)
