"""Models in which a rule of ``gateprobe/semantics.py`` decides the numbers, by Keras 1.2: see ``rules.py``."""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import numpy as np
from keras import backend as K
from keras import layers
from keras.models import Model, Sequential
from recording import normal, record, series, stepped, tap

K.set_image_dim_ordering("tf")
GATES = ("input_gate", "forget_gate", "output_gate")


def hard_sigmoid_slope():
    x = layers.Input((4, 3))
    y = layers.Masking()(x)
    return Model(x, layers.LSTM(2, return_sequences=True, consume_less="gpu")(y)), [series()]


def per_gate():
    x = layers.Input((4, 3))
    return Model(x, layers.LSTM(2, return_sequences=True)(x)), [normal(2, 4, 3)]


def backwards_gru():
    x = layers.Input((4, 3))
    return Model(x, layers.GRU(2, return_sequences=True, go_backwards=True)(x)), [normal(2, 4, 3)]


def bidirectional():
    x = layers.Input((4, 3))
    return Model(x, layers.Bidirectional(layers.LSTM(2, return_sequences=True))(layers.Masking()(x))), [series()]


def sequential():
    model = Sequential([layers.Embedding(7, 3, input_length=4, mask_zero=True), layers.LSTM(2), layers.Dense(2)])
    return model, [np.array([[1, 2, 3, 0], [4, 0, 6, 0]], "int32")]


def keras1_kernels():
    x = layers.Input((5, 3))
    return Model(x, layers.Convolution1D(4, 2)(x)), [normal(2, 5, 3)]


def predict(model, inputs):
    return [model.predict(inputs if len(inputs) > 1 else inputs[0])]


def gates(model, inputs):
    found = [layer for layer in model.layers if isinstance(layer, layers.LSTM)]
    if len(model.layers) != 3 or len(found) != 1 or found[0].consume_less != "gpu":
        return {}
    layer = found[0]
    activations = layer.activation, layer.inner_activation

    def step(x, states, taken, squashed):
        layer.activation, layer.inner_activation = tap(activations[0], squashed), tap(activations[1], taken)
        return layer.step(x, states + [[K.variable(1.0)]] * 2)[1]

    def evaluate(tensors):
        return [K.eval(tensor) for tensor in tensors]

    mask = (inputs[0] != 0).any(-1)
    return stepped(step, GATES, inputs[0], mask, layer.output_dim, evaluate, K.variable)


if __name__ == "__main__":
    record(
        sys.argv[1],
        [hard_sigmoid_slope, per_gate, backwards_gru, bidirectional, sequential, keras1_kernels],
        ".h5",
        predict,
        gates,
    )
