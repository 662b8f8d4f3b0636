"""What a user would write without gateprobe: the gates of the layer "lstm" of a model, with TensorFlow and Keras.

python benchmarks/keras_gates.py MODEL X.npy OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

SIGNALS = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")


class CellWithGates(keras.layers.Layer):
    """A cell whose output is all of its gates and states."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units, self.state_size, self.output_size = units, [units, units], 6 * units

    def build(self, shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 4 * self.units))
        self.recurrent_kernel = self.add_weight(shape=(self.units, 4 * self.units))
        self.bias = self.add_weight(shape=(4 * self.units,))

    def call(self, x: Any, states: Any, training: bool = False) -> Any:
        hidden, cell = states
        z = ops.matmul(x, self.kernel) + ops.matmul(hidden, self.recurrent_kernel) + self.bias
        i, f, g, o = ops.split(z, 4, axis=-1)
        i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
        cell = f * cell + i * g
        hidden = o * ops.tanh(cell)
        return ops.concatenate([i, f, g, o, cell, hidden], axis=-1), [hidden, cell]


def compute(model: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    layer = keras.models.load_model(model).get_layer("lstm")
    inputs = keras.Input(x.shape[1:])
    traced = keras.Model(inputs, keras.layers.RNN(CellWithGates(layer.units), return_sequences=True)(inputs))
    traced.set_weights(layer.get_weights())
    gates = np.split(traced.predict(x, batch_size=256, verbose=0), 6, axis=-1)
    return dict(zip(SIGNALS, gates, strict=True))


def save(gates: dict[str, np.ndarray], out: Path) -> None:
    if out.suffix == ".npz":
        np.savez(out, **gates)
    elif out.suffix == ".h5":
        import h5py

        with h5py.File(out, "w") as file:
            for name, value in gates.items():
                file[name] = value
    else:
        import polars as pl

        numbers = np.indices(gates["input_gate"].shape, np.int32)
        columns = dict(zip(("sample", "timestep", "unit"), numbers, strict=True)) | gates
        table = pl.DataFrame({name: value.reshape(-1) for name, value in columns.items()})
        table.write_parquet(out) if out.suffix == ".parquet" else table.write_csv(out)


if __name__ == "__main__":
    save(compute(Path(sys.argv[1]), np.load(sys.argv[2])), Path(sys.argv[3]))
