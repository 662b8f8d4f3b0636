"""Models with code of the user's own, and with dropout that is always on, saved by Keras 3.15; writes ``data/ways``.

    python tests/data/generate/ways.py

Each is recorded with its inputs and what Keras computed, for ``dropout`` with the same weights and no dropout.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from pathlib import Path

import keras
import numpy as np

TARGET = Path(__file__).parents[1] / "ways"
L = keras.layers
rng = np.random.default_rng(7)
recorded = {}


@keras.saving.register_keras_serializable("mine")
class Scale(L.Layer):
    """A Dense with tanh, in code of its own."""

    def __init__(self, units=3, **rest):
        super().__init__(**rest)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")
        self.b = self.add_weight(shape=(self.units,), name="b", initializer="normal")

    def call(self, x):
        return keras.ops.tanh(x @ self.w + self.b)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("mine")
class Wrapped(L.Layer):
    """An LSTM inside a layer of its own."""

    def __init__(self, **rest):
        super().__init__(**rest)
        self.inner = L.LSTM(4, return_sequences=True)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


@keras.saving.register_keras_serializable("mine")
class Cell(L.LSTMCell):
    """An LSTMCell under another name."""


@keras.saving.register_keras_serializable("mine")
def clean(text):
    """Return a text as it is."""
    return text


def record(name, model, x, *suffixes, same=None):
    """Save a model, its inputs and its outputs, or those of another one with the same weights."""
    for suffix in suffixes:
        model.save(TARGET / f"{name}.{suffix}")
    if same is not None:
        same.set_weights(model.get_weights())
    recorded[f"{name}/x"] = x
    recorded[f"{name}/y"] = (same or model).predict(x, verbose=0)


def normal(*shape):
    """Return random float32."""
    return rng.normal(size=shape).astype(np.float32)


def with_dropout(training):
    """Return a model whose dropout is always on, or always off."""
    x = keras.Input((6, 3), name="x")
    y = L.Dropout(0.3, name="mc")(x, training=training)
    y = L.GaussianNoise(0.3, name="noise")(y, training=training)
    y = L.LSTM(4, dropout=0.2, recurrent_dropout=0.1, return_sequences=True, name="one")(y, training=training)
    inner = keras.Sequential([keras.Input((6, 4)), L.Dropout(0.4), L.LSTM(3, name="in")], name="inner")
    return keras.Model(x, L.Dense(2, name="head")(inner(y, training=training)))


def main():
    """Write everything."""
    TARGET.mkdir(exist_ok=True)
    keras.utils.set_random_seed(3)
    x = keras.Input((6,), name="x")
    y = L.Lambda(lambda t: t[..., None], output_shape=(6, 1), name="expand")(x)
    y = L.LSTM(4, return_sequences=True, name="one")(y)
    y = L.Lambda(lambda t: t * 2, output_shape=(6, 4), name="double")(y)
    y = L.Bidirectional(L.LSTM(3), name="two")(y)
    record("lambdas", keras.Model(x, L.Dense(2, name="head")(y)), normal(5, 6), "keras", "h5")

    x = keras.Input((6, 3), name="x")
    y = L.Dense(5, name="before")(x)
    y = Scale(5, name="scale")(y)
    y = L.Dense(5, name="between")(y)
    y = L.LSTM(4, return_sequences=True, name="one")(y)
    record("custom", keras.Model(x, Scale(2, name="tail")(y)), normal(5, 6, 3), "keras", "h5")

    x = keras.Input((6, 3), name="x")
    y = Wrapped(name="wrapped")(x)
    inner = keras.Sequential([keras.Input((6, 4)), L.Lambda(lambda t: t + 1, name="plus"), L.LSTM(3, name="in")])
    inner.name = "outer"
    y = L.RNN(Cell(4), return_sequences=True, name="own")(y)
    y = L.TimeDistributed(L.Lambda(lambda t: t * 3), name="timed")(y)
    record("nested", keras.Model(x, inner(y)), normal(5, 6, 3), "keras")

    words = L.TextVectorization(standardize=clean, vocabulary=["a", "b"], output_sequence_length=4, name="words")
    x = keras.Input((1,), dtype="string", name="x")
    y = L.Embedding(4, 2, mask_zero=True, name="embedding")(words(x))
    keras.Model(x, L.LSTM(3, name="one")(y)).save(TARGET / "texts.keras")

    record("dropout", with_dropout(True), normal(5, 6, 3), "keras", "h5", same=with_dropout(False))
    x = keras.Input((6, 3), name="x")
    y = L.BatchNormalization(name="batch")(x, training=True)
    keras.Model(x, L.LSTM(2, name="one")(L.Dropout(0.3)(y, training=True))).save(TARGET / "batch.keras")
    np.savez_compressed(TARGET / "recorded.npz", **recorded)


if __name__ == "__main__":
    main()
