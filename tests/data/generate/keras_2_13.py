# /// script
# requires-python = "==3.11.*"
# dependencies = ["tensorflow-cpu==2.13.1"]
# ///
"""Models saved by Keras 2.13, whose files number the layers that have weights twice: ``uv run keras_2_13.py OUT``."""

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

RANDOM = np.random.default_rng(1)


def save(model, folder, inputs, *, weights):
    """Save a model with random weights, its inputs and what this Keras makes of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for variable in model.trainable_weights:
        variable.assign(normal(*variable.shape) * 0.3)
    model.save(folder / "model.keras")
    files = [{"name": "model.keras", "format": ".keras zip (v3)"}]
    if weights:
        model.save_weights(folder / "model.weights.h5")
        (folder / "model.json").write_text(model.to_json())
        files.append({"name": "model.weights.h5", "format": "weights only", "arch": "model.json"})
    xs, ys = tf.nest.flatten(inputs), tf.nest.flatten(model(inputs))
    numbered = {f"input_{k}": np.asarray(x) for k, x in enumerate(xs)}
    numbered |= {f"output_{k}": np.asarray(y) for k, y in enumerate(ys)}
    np.savez_compressed(folder / "case.npz", **numbered)
    case = {"era": "tfkeras_2.13.1", "keras_version": "2.13.1", "files": files, "layers": []}
    (folder / "case.json").write_text(json.dumps({**case, "recurrent_calls": []}, indent=1) + "\n")


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def nested(folder):
    """A Sequential and a functional model called twice each, between TensorFlow functions."""
    left, right = layers.Input((5, 3), name="left"), layers.Input((5, 3), name="right")
    first = layers.LSTM(4, return_sequences=True, name="inner_a")
    encoder = keras.Sequential([layers.Input((5, 3)), first, layers.LSTM(3, name="inner_b")], name="enc_block")
    inner = layers.Input((5, 3), name="inner_in")
    block = keras.Model(inner, layers.Dense(2)(layers.Bidirectional(layers.LSTM(2))(inner)), name="func_block")
    scaled, cut = block(left) * 2.0, tf.concat([block(right)], -1)[:, 0:1]
    joined = layers.Concatenate()([encoder(left), encoder(right), scaled, cut])
    model = keras.Model([left, right], [layers.Dense(2)(joined), layers.Dense(1)(joined)])
    save(model, folder, [normal(2, 5, 3), normal(2, 5, 3)], weights=True)


def dictionaries(folder):
    """Inputs and outputs by key, stacked cells, states and a mask given by keyword."""
    series, start = layers.Input((5, 3), name="left"), layers.Input((4,), name="right")
    state = layers.Dense(4)(start)
    stacked = layers.RNN([layers.LSTMCell(3), layers.LSTMCell(4)], return_sequences=True)(series)
    last = layers.LSTM(4, return_state=True)
    output, _, cell = last(stacked, initial_state=[state, state], mask=series[:, :, 0] > 0)
    model = keras.Model({"b": start, "a": series}, {"z": output, "k": cell})
    save(model, folder, {"a": normal(2, 5, 3), "b": normal(2, 4)}, weights=False)


if __name__ == "__main__":
    keras.utils.set_random_seed(1)
    nested(Path(sys.argv[1]) / "nested")
    dictionaries(Path(sys.argv[1]) / "dictionaries")
