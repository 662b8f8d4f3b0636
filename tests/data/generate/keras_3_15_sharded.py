# /// script
# requires-python = "==3.11.*"
# dependencies = ["keras==3.15.1", "tensorflow-cpu==2.21.0"]
# ///
"""Weights that Keras 3 splits over several files: ``uv run keras_3_15_sharded.py OUT``."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
from keras import layers

if __name__ == "__main__":
    keras.utils.set_random_seed(1)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    model = keras.Sequential([layers.Input((5, 3)), layers.LSTM(4, return_sequences=True), layers.LSTM(2)])
    model.save_weights(out / "model.weights.json", max_shard_size=3e-7)
    model.save_weights(out / "whole.weights.h5")
    (out / "model.json").write_text(model.to_json())
