# /// script
# requires-python = "==3.11.*"
# dependencies = ["keras==3.15.1", "tf-keras==2.21.0", "tensorflow-cpu==2.21.0"]
# ///
"""Models whose graphs hold constants, and weights that look like another era's: ``uv run constants.py OUT``."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf
import tf_keras

DRAW = np.random.default_rng(7)
SAMPLES, TIMESTEPS, FEATURES, UNITS = 2, 4, 3, 2


def drawn(*shape):
    return DRAW.normal(size=shape).astype(np.float32)


def states(count):
    return [drawn(SAMPLES, UNITS) for _ in range(count)]


def with_constants():
    """Initial states as arrays, as tensors, by position, of both directions; a constant operand; constant masks."""
    layers = keras.layers
    x = keras.Input((TIMESTEPS, FEATURES))
    mask = np.array([[True, True, False, True], [True, False, True, True]])
    lstm = layers.LSTM(UNITS, return_sequences=True, name="lstm")(x, initial_state=states(2))
    added = layers.Add(name="add")([lstm, drawn(1, TIMESTEPS, UNITS)])
    gru = layers.GRU(UNITS, return_sequences=True, name="gru")(added, tf.constant(states(1)[0]), mask=mask)
    both = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True), name="both")(gru, initial_state=states(4))
    heads = layers.MultiHeadAttention(2, 2, name="heads")(both, both, use_causal_mask=True)
    blend = layers.Attention(name="blend")([heads, heads], mask=[None, mask])
    last = layers.SimpleRNN(UNITS, name="last")(blend, mask=mask[:1])
    return keras.Model(x, [gru, both, heads, last])


def nested_mask():
    """A nested model that is given a mask."""
    layers = keras.layers
    inner = keras.Sequential([layers.Input((TIMESTEPS, FEATURES)), layers.LSTM(UNITS)])
    x = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(x, inner(x, mask=np.array([[True, True, False, True]])))


def count_weights():
    """Counts that a constant weighs."""
    ids = keras.Input((3,), dtype="int32")
    counted = keras.layers.CategoryEncoding(5, output_mode="count")
    return keras.Model(ids, counted(ids, count_weights=np.array([[1.0, 2.0, 0.5]], np.float32)))


def mask_by_position():
    """An argument that changes the numbers and is not replayed."""
    layers = keras.layers
    x = keras.Input((TIMESTEPS, FEATURES))
    mask = tf.constant(np.array([[True, True, False, True]]))
    return keras.Model(x, layers.LSTM(UNITS)(layers.BatchNormalization()(x), None, mask))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    model, value = with_constants(), drawn(SAMPLES, TIMESTEPS, FEATURES)
    for suffix in ("keras", "h5"):
        model.save(out / f"constants.{suffix}")
    answers = {f"output_{n}": np.asarray(one) for n, one in enumerate(model.predict(value, verbose=0))}
    np.savez_compressed(out / "constants.npz", x=value, **answers)
    model, value = nested_mask(), drawn(3, TIMESTEPS, FEATURES)
    model.save(out / "nested_mask.keras")
    np.savez_compressed(out / "nested_mask.npz", x0=value, output=model.predict(value, verbose=0))
    value = drawn(SAMPLES, TIMESTEPS, FEATURES)
    count_weights().save(out / "count_weights.keras")
    mask_by_position().save(out / "refused_mask_by_position.keras")

    tf_keras.utils.set_random_seed(1)
    layers = tf_keras.layers
    old = tf_keras.Sequential([layers.LSTM(2, recurrent_activation="hard_sigmoid", input_shape=(TIMESTEPS, FEATURES))])
    old.set_weights([drawn(*weight.shape) for weight in old.get_weights()])
    old.save_weights(out / "tf_keras.weights.h5")
    np.savez_compressed(out / "tf_keras.npz", x=value, y=old.predict(value, verbose=0))
