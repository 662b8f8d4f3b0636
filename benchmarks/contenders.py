"""What the replay is compared with: one function for each, from a `Case` to a function that runs once.

All take the same weights and the same batch. gateprobe, the naive loop and the custom cell store all gates and states,
the others compute the hidden states only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.layers.recurrent.kernels.blas import Product, memory, pack
from gateprobe.layers.recurrent.kernels.choice import Kernel
from gateprobe.opened_model import OpenedModel, open_model

Run = Callable[[], Array | None]
"""Returns the hidden states ``(samples, timesteps, units)``, to be checked; ``None`` where there are none."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One layer and one batch."""

    x: Array
    kernel: Array
    recurrent_kernel: Array
    bias: Array

    @property
    def units(self) -> int:
        return len(self.recurrent_kernel)


def make_case(samples: int, timesteps: int, features: int, units: int) -> Case:
    rng = np.random.default_rng(0)
    shapes = {"kernel": (features, 4 * units), "recurrent_kernel": (units, 4 * units), "bias": (4 * units,)}
    weights = {name: rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return Case(rng.normal(0, 1, (samples, timesteps, features)).astype(np.float32), **weights)


def _keras_model(case: Case, layer: Any) -> Any:
    import keras

    inputs = keras.Input(case.x.shape[1:])
    model = keras.Model(inputs, layer(inputs))
    model.set_weights([case.kernel, case.recurrent_kernel, case.bias])
    return model


def _keras_lstm(case: Case) -> Any:
    import keras

    return _keras_model(case, keras.layers.LSTM(case.units, return_sequences=True, name="lstm"))


def _read(case: Case) -> OpenedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        _keras_lstm(case).save(path)
        return open_model(path)


def _gateprobe(case: Case, kernel: str) -> Run:
    return _tracing(case, kernel, 1)


def run_on_threads(case: Case, threads: int | None) -> Run:
    """Everything on default settings but the number of threads."""
    return _tracing(case, "auto", threads)


def _tracing(case: Case, kernel: str, threads: int | None) -> Run:
    tracing = _read(case).tracing(case.x)
    tracing = replace(tracing, batches=replace(tracing.batches, kernel=Kernel(kernel)))

    def once() -> Array:
        *_, chunk = tracing.chunks(threads=threads)
        return chunk.directions[0].hidden_state  # of the last batch: joining them is not the replay

    return once


def gateprobe_numpy(case: Case) -> Run:
    return _gateprobe(case, "numpy")


def gateprobe_fast(case: Case) -> Run:
    return _gateprobe(case, "compiled")


def keras_predict(case: Case, *, whole: bool = False) -> Run:
    model = _keras_lstm(case)
    if whole:
        return lambda: model.predict(case.x, batch_size=32, verbose=0)
    return lambda: model.predict_on_batch(case.x)


def keras_xla(case: Case) -> Run:
    import tensorflow as tf

    model = _keras_lstm(case)
    compiled = tf.function(lambda x: model(x, training=False), jit_compile=True)
    return lambda: compiled(tf.constant(case.x)).numpy()


def keras_cell_with_gates(case: Case) -> Run:
    import keras
    from keras_gates import CellWithGates

    model = _keras_model(case, keras.layers.RNN(CellWithGates(case.units), return_sequences=True))
    return lambda: model.predict_on_batch(case.x)[..., 5 * case.units :]


def pytorch(case: Case) -> Run:
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.LSTM(case.x.shape[2], case.units, batch_first=True)
    values = (case.kernel.T, case.recurrent_kernel.T, case.bias, np.zeros_like(case.bias))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    layer.load_state_dict({name: torch.tensor(value.copy()) for name, value in zip(names, values, strict=True)})
    x = torch.tensor(case.x)

    def once() -> Array:
        with torch.inference_mode():
            return layer(x)[0].numpy()

    return once


def onnx_runtime(case: Case) -> Run:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    (samples, timesteps, features), units = case.x.shape, case.units
    x = np.ascontiguousarray(case.x.swapaxes(0, 1))
    weights = {
        "W": _gates_iofc(case.kernel).T[np.newaxis],
        "R": _gates_iofc(case.recurrent_kernel).T[np.newaxis],
        "B": np.concatenate([_gates_iofc(case.bias), np.zeros_like(case.bias)])[np.newaxis],
    }
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["X", *weights], ["Y"], hidden_size=units)],
        "lstm",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [timesteps, samples, features])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [timesteps, 1, samples, units])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"X": x})[0][:, 0].swapaxes(0, 1)


def _gates_iofc(weight: Array) -> Array:
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


def naive(case: Case) -> Run:
    """The equations, one product for each gate, everything appended to lists."""
    parts = zip(*(np.split(weight, 4, -1) for weight in (case.kernel, case.recurrent_kernel, case.bias)), strict=True)
    i_weights, f_weights, g_weights, o_weights = parts
    x = case.x

    def sigmoid(z: Array) -> Array:
        return 1 / (1 + np.exp(-z))

    def once() -> Array:
        hidden = cell = np.zeros((len(x), case.units), np.float32)
        steps = []
        for t in range(x.shape[1]):
            z_i, z_f, z_g, z_o = (
                x[:, t] @ kernel + hidden @ recurrent + bias
                for kernel, recurrent, bias in (i_weights, f_weights, g_weights, o_weights)
            )
            i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
            cell = f * cell + i * g
            hidden = o * np.tanh(cell)
            steps.append((i, f, g, o, cell, hidden))
        return np.stack([np.stack(signal, axis=1) for signal in zip(*steps, strict=True)])[5]

    return once


def bare_products(case: Case) -> Run:
    """One product ``[kernel, recurrent kernel] @ [x, h]`` in each timestep, into memory for all of them."""
    samples, timesteps, _ = case.x.shape
    matrix = np.ascontiguousarray(np.concatenate([case.kernel, case.recurrent_kernel]).T)
    operand = np.ones((matrix.shape[1], samples), np.float32)
    out = np.empty((timesteps, len(matrix), samples), np.float32)

    def once() -> None:
        for t in range(timesteps):
            np.matmul(matrix, operand, out=out[t])

    return once


def bare_projected(case: Case) -> Run:
    """The inputs of all timesteps at once, then ``h @ recurrent kernel`` in each."""
    x = np.ascontiguousarray(case.x.swapaxes(0, 1))
    out = np.empty((*x.shape[:2], 4 * case.units), np.float32)
    hidden = np.ones((x.shape[1], case.units), np.float32)

    def once() -> None:
        np.matmul(x.reshape(-1, x.shape[2]), case.kernel, out=out.reshape(-1, out.shape[2]))
        for t in range(len(x)):
            np.matmul(hidden, case.recurrent_kernel, out=out[t])

    return once


def bare_pieces(case: Case) -> Run:
    """As the replay without the extra cuts them (``layers/recurrent/kernels/blas.py``); 32 samples at a time."""
    samples, timesteps, features = case.x.shape
    matrix = np.concatenate([case.kernel, case.recurrent_kernel])
    rows = min(samples, 32)
    product = Product(memory(rows, features + case.units, np.dtype(np.float32)), pack(matrix, 4), rows)

    def once() -> None:
        for _ in range(timesteps * max(1, samples // 32)):
            product()

    return once


CONTENDERS: Mapping[str, Callable[[Case], Run]] = {
    "gateprobe": gateprobe_numpy,
    "gateprobe[fast]": gateprobe_fast,
    "Keras predict_on_batch": keras_predict,
    "Keras, compiled by XLA": keras_xla,
    "PyTorch nn.LSTM": pytorch,
    "ONNX Runtime LSTM": onnx_runtime,
    "Keras cell that returns its gates": keras_cell_with_gates,
    "NumPy, gate by gate": naive,
    "bare products, stacked": bare_products,
    "bare products, projected": bare_projected,
    "bare products, in pieces": bare_pieces,
}
