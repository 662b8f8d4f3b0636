"""The arithmetic of one timestep: LSTM, GRU and simple recurrent cells.

A cell projects the inputs of all timesteps with one matrix product into the memory of the trace, and then steps in
place. Arrays are time-major here, ``(timesteps, samples, ...)``, so that each step works on contiguous rows.

Formulas: ``keras/src/layers/rnn/{lstm,gru,simple_rnn}.py`` 3.15.1; for the weight layouts of older files
``keras/engine/topology.py::preprocess_weights_for_loading`` 2.0 and ``keras/engine/saving.py::_convert_rnn_weights``
2.2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gateprobe.activations import Activation
from gateprobe.errors import InputError
from gateprobe.graph import Array, GateLayout, LayerRecord
from gateprobe.layers.base import Arguments, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.registry import Binding, Slot, replays
from gateprobe.layers.settings import Settings, Unsupported

RNN_KEYS = (
    "return_sequences",
    "return_state",
    "go_backwards",
    "stateful",
    "unroll",
    "time_major",
    "zero_output_for_mask",
    "num_constants",
    "input_dim",
)
"""Keys that an ``LSTM`` keeps beside those of its cell."""

CELL_KEYS = ("units", "activation", "recurrent_activation", "use_bias", "reset_after", "dropout", "recurrent_dropout")
"""Keys of the cell that stand in the configuration of an ``LSTM``, ``GRU`` or ``SimpleRNN``."""


class Steps(Protocol):
    """One run of a cell over a block of timesteps; holds the memory of its signals."""

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Compute timestep ``t``. Returns the new states, output first, as views into the signals' memory."""

    def signals(self) -> Mapping[str, Array]:
        """Name → ``(timesteps, samples, units)``, in the order of the documentation."""


class Cell(Protocol):
    """What a recurrent layer steps."""

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the states for one sample; the first is the output.

        Args:
            x_shape: Of one timestep of one sample.
        """

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """Prepare a run over ``x``, ``(timesteps, samples, features)``; ``pre`` keeps the ``pre_`` signals."""


def replay_cell(self: Cell, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
    """Replay ``cell(x, states)``: returns the output and the new states, and traces one timestep."""
    x, *more = call.tensors
    states = tuple(tensor.value for tensor in (tuple(tensors_in(call.get(1, "states"))) or more))
    shapes = self.state_shapes(x.value.shape[1:])
    if len(states) != len(shapes):
        raise InputError(f"the cell has {len(shapes)} states, the call gives {len(states)}")
    steps = self.begin(x.value[np.newaxis], pre=scope.pre_activations)
    new = steps.step(0, states)
    if scope.wanted:
        signals = {name: np.swapaxes(value, 0, 1) for name, value in steps.signals().items()}
        scope.emit(direction="forward", backwards=False, signals=signals, mask=None)
    return tuple(Tensor(state.copy()) for state in (new[0], *new))


def _gate_slots(
    record: LayerRecord, settings: Settings, gates: str, order: str, bias: tuple[int | None, ...]
) -> tuple[Slot, ...]:
    units = _units(settings)
    if record.gate_layout is GateLayout.PER_GATE:
        return tuple(
            slot
            for gate in order
            for slot in (
                Slot(f"W_{gate}", (None, units)),
                Slot(f"U_{gate}", (units, units)),
                Slot(f"b_{gate}", (units,)),
            )
        )
    columns = None if units is None else len(gates) * units
    slots = (Slot("kernel", (None, columns)), Slot("recurrent_kernel", (units, columns)))
    return (*slots, Slot("bias", bias)) if settings.flag("use_bias", True) else slots


def _units(settings: Settings) -> int | None:
    """Return the number of units, or ``None`` for a cell of Keras 2.0.9, which saved none of its configuration."""
    return None if settings.bare else settings.integer("units")


def _fused(binding: Binding, gates: str) -> tuple[Array, Array, Array | None]:
    """Return kernel, recurrent kernel and bias with the gates side by side, whatever the file's layout."""
    weights = binding.weights
    if binding.record.gate_layout is GateLayout.PER_GATE:
        kernel, recurrent, bias = (np.concatenate([weights[f"{k}_{gate}"] for gate in gates], -1) for k in "WUb")
        return kernel, recurrent, bias
    return weights["kernel"], weights["recurrent_kernel"], weights.get("bias")


def _from_cudnn(weights: tuple[Array, Array], gates: int) -> tuple[Array, Array]:
    """Turn CuDNN kernels into Keras's: reshaped in Fortran order per gate, the recurrent ones transposed per gate."""
    kernel, recurrent = (np.split(weight, gates, axis=1) for weight in weights)
    return (
        np.hstack([block.T.reshape(block.shape, order="F") for block in kernel]),
        np.hstack([block.T for block in recurrent]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class LSTMCell:
    """Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, as in Keras."""

    kernel: Array
    """``(features, 4 * units)``, columns i | f | c | o."""
    recurrent_kernel: Array
    """``(units, 4 * units)``."""
    bias: Array | None
    """``(4 * units,)``."""
    activation: Activation
    recurrent_activation: Activation
    precision: Precision

    @property
    def units(self) -> int:
        """Size of the states."""
        return int(self.recurrent_kernel.shape[0])

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state, cell state."""
        return ((self.units,), (self.units,))

    replay = replay_cell

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        return LSTMSteps(self, project(x, self.kernel, self.bias, self.precision), pre=pre)

    def recur(self, hidden: Array, out: Array) -> None:
        """Compute the recurrent product of one timestep into ``out``, ``(samples, 4 * units)``."""
        np.matmul(hidden, self.recurrent_kernel, out=out)


class GatedCell(Protocol):
    """What `LSTMSteps` needs of a cell; the last axis of its arrays holds the gates i | f | c | o."""

    @property
    def activation(self) -> Activation:
        """Of the candidate and of the cell state on its way out."""

    @property
    def recurrent_activation(self) -> Activation:
        """Of the gates."""

    @property
    def precision(self) -> Precision:
        """Of every operation."""

    @property
    def units(self) -> int:
        """Size of the last axis of the states."""

    def recur(self, hidden: Array, out: Array) -> None:
        """Compute the recurrent product of one timestep into ``out``."""


class LSTMSteps:
    """The memory of one run: the gates ``z``, the cell state and the hidden state of every timestep.

    Args:
        cell: What to step.
        z: ``(timesteps, samples, ..., 4 * units)``, the projected inputs; becomes the gates.
        pre: Whether to keep the gates before their activation.
    """

    def __init__(self, cell: GatedCell, z: Array, *, pre: bool) -> None:
        shape = (*z.shape[:-1], cell.units)
        self._cell = cell
        self._z = z
        self._pre = np.empty_like(z) if pre else None
        self._cell_state = np.empty(shape, z.dtype)
        self._hidden_state = np.empty(shape, z.dtype)
        self._product = np.empty(z.shape[1:], z.dtype)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """i, f, o = recurrent_activation(z); c' = f * c + i * activation(z_c); h' = o * activation(c')."""
        cell, units, settle = self._cell, self._cell.units, self._cell.precision.settle
        z, c, h = self._z[t], self._cell_state[t], self._hidden_state[t]
        cell.recur(states[0], self._product)
        settle(self._product)
        z += self._product
        settle(z)
        if self._pre is not None:
            self._pre[t] = z
        gates = (
            (z[..., : 2 * units], z[..., 3 * units :])
            if cell.recurrent_activation.elementwise
            else (z[..., :units], z[..., units : 2 * units], z[..., 3 * units :])
        )
        for gate in gates:
            cell.recurrent_activation.apply(gate, gate)
        candidate = z[..., 2 * units : 3 * units]
        cell.activation.apply(candidate, candidate)
        settle(z)
        np.multiply(z[..., units : 2 * units], states[1], out=c)
        settle(c)
        np.multiply(z[..., :units], candidate, out=h)
        settle(h)
        c += h
        settle(c)
        cell.activation.apply(c, h)
        settle(h)
        h *= z[..., 3 * units :]
        settle(h)
        return h, c

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        names = ("input_gate", "forget_gate", "candidate", "output_gate")
        return {
            **_named(names, self._z, self._cell.units),
            "cell_state": self._cell_state,
            "hidden_state": self._hidden_state,
            **({} if self._pre is None else _named([f"pre_{name}" for name in names], self._pre, self._cell.units)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class GRUCell:
    """Cho et al. 2014; ``reset_after`` is the variant of CuDNN, with a bias of its own for the recurrent product."""

    kernel: Array
    """``(features, 3 * units)``, columns z | r | h."""
    recurrent_kernel: Array
    """``(units, 3 * units)``."""
    bias: Array | None
    """``(3 * units,)``."""
    recurrent_bias: Array | None
    """``(3 * units,)``, only with ``reset_after``."""
    activation: Activation
    recurrent_activation: Activation
    reset_after: bool
    precision: Precision

    @property
    def units(self) -> int:
        """Size of the state."""
        return int(self.recurrent_kernel.shape[0])

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state."""
        return ((self.units,),)

    replay = replay_cell

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        return _GRUSteps(self, x, pre=pre)


class _GRUSteps:
    """The memory of one run: the gates ``z`` and the hidden state of every timestep."""

    def __init__(self, cell: GRUCell, x: Array, *, pre: bool) -> None:
        self._cell = cell
        self._z = project(x, cell.kernel, cell.bias, cell.precision)
        self._pre = np.empty_like(self._z) if pre else None
        self._hidden_state = np.empty((*x.shape[:2], cell.units), self._z.dtype)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Blend old and new: h' = z * h + (1 - z) * candidate; the reset gate acts on h or on its product."""
        cell, units, settle = self._cell, self._cell.units, self._cell.precision.settle
        z, h, h_before = self._z[t], self._hidden_state[t], states[0]
        columns = 3 * units if cell.reset_after else 2 * units
        product = h_before @ cell.recurrent_kernel[:, :columns]
        settle(product)
        if cell.recurrent_bias is not None:
            product += cell.recurrent_bias
            settle(product)
        gates, candidate = z[:, : 2 * units], z[:, 2 * units :]
        gates += product[:, : 2 * units]
        settle(gates)
        if self._pre is not None:
            self._pre[t, :, : 2 * units] = gates
        for gate in (gates[:, :units], gates[:, units:]):
            cell.recurrent_activation.apply(gate, gate)
        settle(gates)
        reset = gates[:, units:]
        if cell.reset_after:
            recurrent = reset * product[:, 2 * units :]
        else:
            gated = reset * h_before
            settle(gated)
            recurrent = gated @ cell.recurrent_kernel[:, 2 * units :]
        settle(recurrent)
        candidate += recurrent
        settle(candidate)
        if self._pre is not None:
            self._pre[t, :, 2 * units :] = candidate
        cell.activation.apply(candidate, candidate)
        settle(candidate)
        kept, new = gates[:, :units] * h_before, (1 - gates[:, :units]) * candidate
        settle(kept)
        settle(new)
        np.add(kept, new, out=h)
        settle(h)
        return (h,)

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        names = ("update_gate", "reset_gate", "candidate")
        return {
            **_named(names, self._z, self._cell.units),
            "hidden_state": self._hidden_state,
            **({} if self._pre is None else _named([f"pre_{name}" for name in names], self._pre, self._cell.units)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class SimpleRNNCell:
    """Elman 1990: h' = activation(x W + h U + b)."""

    kernel: Array
    """``(features, units)``."""
    recurrent_kernel: Array
    """``(units, units)``."""
    bias: Array | None
    """``(units,)``."""
    activation: Activation
    precision: Precision

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state."""
        return ((self.recurrent_kernel.shape[0],),)

    replay = replay_cell

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        return _SimpleRNNSteps(self, x, pre=pre)


class _SimpleRNNSteps:
    """The memory of one run: the hidden state of every timestep."""

    def __init__(self, cell: SimpleRNNCell, x: Array, *, pre: bool) -> None:
        self._cell = cell
        self._hidden_state = project(x, cell.kernel, cell.bias, cell.precision)
        self._pre = np.empty_like(self._hidden_state) if pre else None

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """See the class."""
        h, settle = self._hidden_state[t], self._cell.precision.settle
        product = states[0] @ self._cell.recurrent_kernel
        settle(product)
        h += product
        settle(h)
        if self._pre is not None:
            self._pre[t] = h
        self._cell.activation.apply(h, h)
        settle(h)
        return (h,)

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        pre = {} if self._pre is None else {"pre_hidden_state": self._pre}
        return {"hidden_state": self._hidden_state, **pre}


def project(x: Array, kernel: Array, bias: Array | None, precision: Precision) -> Array:
    """Multiply the inputs of all timesteps at once.

    Args:
        x: ``(timesteps, samples, features)``.
        kernel: ``(features, columns)``.
        bias: ``(columns,)`` or ``None``.
        precision: Of the product.

    Returns:
        New array ``(timesteps, samples, columns)``.

    Raises:
        InputError: The number of features is not the kernel's.
    """
    if x.shape[-1] != kernel.shape[0]:
        raise InputError(f"expected {kernel.shape[0]} features at each timestep, got {x.shape[-1]}")
    z: Array = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])
    precision.settle(z)
    if bias is not None:
        z += bias
        precision.settle(z)
    return z


def _named(names: tuple[str, ...] | list[str], z: Array, units: int) -> dict[str, Array]:
    return {name: z[..., k * units : (k + 1) * units] for k, name in enumerate(names)}


def _lstm_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return _gate_slots(record, settings, "ifco", order="icfo", bias=(None,))


@replays("LSTMCell", slots=_lstm_slots, recurrent=True)
def _bind_lstm(binding: Binding) -> LSTMCell:
    settings = binding.settings
    kernel, recurrent_kernel, bias = _fused(binding, "ifco")
    units = recurrent_kernel.shape[0]
    if bias is not None and bias.shape == (8 * units,):  # CuDNN keeps an input and a recurrent bias
        kernel, recurrent_kernel = _from_cudnn((kernel, recurrent_kernel), gates=4)
        bias = bias[: 4 * units] + bias[4 * units :]
    if bias is not None and bias.shape != (4 * units,):
        raise Unsupported(f"bias: expected {4 * units} numbers for {units} units, the file holds {bias.shape[0]}")
    cell = LSTMCell(
        kernel,
        recurrent_kernel,
        bias,
        settings.activation("activation", "tanh"),
        settings.activation("recurrent_activation", binding.semantics.recurrent_activation),
        binding.precision,
    )
    _finish(settings)
    return cell


def _gru_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    slots = _gate_slots(record, settings, "zrh", order="zrh", bias=(None,))
    reset_after = settings.flag("reset_after", False)
    return tuple(Slot("bias", None) if slot.role == "bias" and reset_after else slot for slot in slots)


@replays("GRUCell", slots=_gru_slots, recurrent=True)
def _bind_gru(binding: Binding) -> GRUCell:
    settings = binding.settings
    kernel, recurrent_kernel, bias = _fused(binding, "zrh")
    units = recurrent_kernel.shape[0]
    reset_after = settings.flag("reset_after", binding.semantics.gru_reset_after)
    expected = (2, 3 * units) if reset_after else (3 * units,)
    if bias is not None and reset_after and bias.shape == (6 * units,):
        kernel, recurrent_kernel = _from_cudnn((kernel, recurrent_kernel), gates=3)
        bias = bias.reshape(2, -1)
    if bias is not None and bias.shape != expected:
        raise Unsupported(f"bias: expected shape {expected} for reset_after={reset_after}, the file holds {bias.shape}")
    cell = GRUCell(
        kernel,
        recurrent_kernel,
        bias[0] if bias is not None and reset_after else bias,
        bias[1] if bias is not None and reset_after else None,
        settings.activation("activation", "tanh"),
        settings.activation("recurrent_activation", binding.semantics.recurrent_activation),
        reset_after,
        binding.precision,
    )
    _finish(settings)
    return cell


def _simple_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    units = _units(settings)
    slots = (Slot("kernel", (None, units)), Slot("recurrent_kernel", (units, units)))
    return (*slots, Slot("bias", (units,))) if settings.flag("use_bias", True) else slots


@replays("SimpleRNNCell", slots=_simple_slots, recurrent=True)
def _bind_simple(binding: Binding) -> SimpleRNNCell:
    weights, settings = binding.weights, binding.settings
    cell = SimpleRNNCell(
        weights["kernel"],
        weights["recurrent_kernel"],
        weights.get("bias"),
        settings.activation("activation", "tanh"),
        binding.precision,
    )
    _finish(settings)
    return cell


def _finish(settings: Settings) -> None:
    settings.ignore(*CELL_KEYS, *RNN_KEYS)
    settings.finish()
