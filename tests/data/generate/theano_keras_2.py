"""What the Theano backend of Keras 2 does in its own way: masked outputs, small norms, depthwise kernels.

``python theano_keras_2.py FOLDER`` with Python 3.6, the packages of ``rules.py`` for 2.2.4, and ``theano==1.0.5``; a
C++ compiler must be there.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "theano"
os.environ.setdefault("THEANO_FLAGS", "device=cpu,floatX=float32,cxx=")  # with a BLAS to link for convolutions
import numpy as np
from keras import layers
from keras.models import Model

RNG = np.random.RandomState(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def masked():
    x, h, c = layers.Input((4, 3)), layers.Input((2,)), layers.Input((2,))
    series = normal(3, 4, 3)
    series[0, :2] = series[1, 1] = series[2, 3] = 0
    y = layers.LSTM(2, return_sequences=True)(layers.Masking()(x), initial_state=[h, c])
    return Model([x, h, c], y), [series, normal(3, 2), normal(3, 2)]


def dot():
    x, y = layers.Input((3,)), layers.Input((3,))
    return Model([x, y], layers.Dot(1, normalize=True)([x, y])), [1e-4 * normal(2, 3), normal(2, 3)]


def depthwise():
    x = layers.Input((6, 5, 3))
    return Model(x, layers.DepthwiseConv2D((3, 2), depth_multiplier=2)(x)), [normal(2, 6, 5, 3)]


def separable():
    x = layers.Input((6, 5, 3))
    return Model(x, layers.SeparableConv2D(4, (3, 2), depth_multiplier=2)(x)), [normal(2, 6, 5, 3)]


recorded = {}
for make in (masked, dot, depthwise, separable):
    RNG.seed(1)
    name, (model, inputs) = make.__name__, make()
    model.set_weights([RNG.normal(0, 0.5, array.shape) for array in model.get_weights()])
    model.save(os.path.join(sys.argv[1], name + ".h5"))
    recorded[name + "/y"] = model.predict(inputs)
    recorded.update({"%s/x%d" % (name, number): array for number, array in enumerate(inputs)})
np.savez_compressed(os.path.join(sys.argv[1], "recorded.npz"), **recorded)
