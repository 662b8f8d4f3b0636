"""The LSTM cell: how Keras gets from one timestep to the next.

With the input ``x_t``, and the hidden state ``h`` and cell state ``c`` of the timestep before::

    i  = sigmoid(x_t @ W_i + h @ U_i + b_i)     input_gate
    f  = sigmoid(x_t @ W_f + h @ U_f + b_f)     forget_gate
    g  = tanh   (x_t @ W_c + h @ U_c + b_c)     candidate, which Keras's own source calls c
    o  = sigmoid(x_t @ W_o + h @ U_o + b_o)     output_gate
    c' = f * c + i * g                          cell_state
    h' = o * tanh(c')                           hidden_state

``sigmoid`` is the layer's ``recurrent_activation``, ``tanh`` its ``activation``. Keras keeps ``W_i | W_f | W_c | W_o``
side by side in ``kernel``, ``U_i | ...`` in ``recurrent_kernel`` and ``b_i | ...`` in ``bias``.

Source: ``LSTMCell.call`` in ``keras/src/layers/rnn/lstm.py`` 3.15.1. `LSTMSteps` computes it as it stands there,
`StackedSteps` faster and to the same numbers but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from gateprobe.activations import Activation
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Precision
from gateprobe.layers.binding.call_arguments import CELL
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import OtherWeights, Settings
from gateprobe.layers.recurrent.cells import (
    Anatomy,
    Steps,
    finish_cell,
    fitting,
    from_cudnn,
    fused,
    gate_slots,
    lstm_activations,
    named,
    project,
    replay_cell,
)
from gateprobe.layers.recurrent.kernels.arena import Arena
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.recurrent.kernels.choice import Kernel
from gateprobe.layers.recurrent.kernels.compiled import CompiledLSTM
from gateprobe.layers.recurrent.kernels.stacked import StackedWeights, begin_gates
from gateprobe.limits import room


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
    stacked: StackedKernel | None
    """For `StackedSteps`; ``None`` when the cell must round after every operation."""

    @property
    def units(self) -> int:
        """Size of the states."""
        return int(self.recurrent_kernel.shape[0])

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state, cell state."""
        return ((self.units,), (self.units,))

    @property
    def anatomy(self) -> Anatomy:
        """See `Cell`."""
        return Anatomy(
            lstm_activations(self.recurrent_activation, self.activation),
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            output_activation=self.activation,
        )

    replay = replay_cell

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        if self.stacked is not None:
            return StackedSteps(self, self.stacked, fitting(x, self.kernel), pre=pre)
        return LSTMSteps(self, project(x, self.kernel, self.bias, self.precision), pre=pre)

    def sweep(
        self, x: Array, states: tuple[Array, ...], mask: Array | None, kernel: Kernel, *, pre: bool
    ) -> tuple[Mapping[str, Array], tuple[Array, ...]] | None:
        """See `gateprobe.layers.recurrent.cells.Sweeping`."""
        if self.stacked is None or self.stacked.compiled is None:
            return None
        compiled = self.stacked.compiled
        if not kernel.compiles(len(x)) or (mask is not None and mask.shape != x.shape[:2]):
            return None
        memory = _memory(self, self.stacked, fitting(x, self.kernel), pre=pre, before=1)
        memory.signals[0, 5], memory.signals[0, 4] = states
        compiled.run(x, mask, memory.signals, memory.pre)
        return _signals(replace(memory, signals=memory.signals[1:])), (memory.signals[-1, 5], memory.signals[-1, 4])

    def recur(self, hidden: Array, out: Array) -> None:
        """Compute the recurrent product of one timestep into ``out``, ``(samples, 4 * units)``."""
        multiply(hidden, self.recurrent_kernel, out)


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a run writes; gates in the order i, f, o, c."""

    signals: Array
    """``(timesteps, 6, samples, units)``: the gates, the cell state and the hidden state. One array, since the system
    hands out large pages only to large ones."""
    pre: Array | None
    """``(timesteps, 4, samples, units)``: the gates before their activation."""


def _memory(cell: LSTMCell, stacked: StackedKernel, x: Array, *, pre: bool, before: int = 0) -> Memory:
    """Return memory for a run, and for so many timesteps before it."""
    (timesteps, samples, _), dtype = x.shape, cell.recurrent_kernel.dtype
    gates = room.empty((timesteps, 4, samples, cell.units), dtype) if pre else None
    return Memory(stacked.arena.empty((before + timesteps, 6, samples, cell.units), dtype), gates)


_GATES = ("input_gate", "forget_gate", "output_gate", "candidate")


def _signals(memory: Memory) -> Mapping[str, Array]:
    signals = {name: memory.signals[:, k] for k, name in enumerate((*_GATES, "cell_state", "hidden_state"))}
    if memory.pre is not None:
        signals |= {f"pre_{name}": memory.pre[:, k] for k, name in enumerate(_GATES)}
    return signals


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

    Rounds after every operation, and takes any activation and any recurrent product; `StackedSteps` is faster.

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
        self._cell_state = room.empty(shape, z.dtype)
        self._hidden_state = room.empty(shape, z.dtype)
        self._product = room.empty(z.shape[1:], z.dtype)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """i, f, o = recurrent_activation(z); c' = f * c + i * activation(z_c); h' = o * activation(c')."""
        cell, units, round_in_place = self._cell, self._cell.units, self._cell.precision.round_in_place
        z, c, h = self._z[t], self._cell_state[t], self._hidden_state[t]  # (samples, 4 * units), twice (samples, units)
        cell.recur(states[0], self._product)  # h @ U, (samples, 4 * units)
        round_in_place(self._product)
        z += self._product  # x_t @ W + b stood there before
        round_in_place(z)
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
        round_in_place(z)
        np.multiply(z[..., units : 2 * units], states[1], out=c)  # f * c, (samples, units)
        round_in_place(c)
        np.multiply(z[..., :units], candidate, out=h)  # i * g
        round_in_place(h)
        c += h
        round_in_place(c)
        cell.activation.apply(c, h)
        round_in_place(h)
        h *= z[..., 3 * units :]  # o * tanh(c')
        round_in_place(h)
        return h, c

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        names = ("input_gate", "forget_gate", "candidate", "output_gate")
        return {
            **named(names, self._z, self._cell.units),
            "cell_state": self._cell_state,
            "hidden_state": self._hidden_state,
            **({} if self._pre is None else named([f"pre_{name}" for name in names], self._pre, self._cell.units)),
        }


@dataclass(frozen=True, eq=False)
class StackedKernel:
    """All weights in one matrix, for one product in each timestep."""

    cell: LSTMCell
    halved: bool
    """Whether the columns of i, f and o are halved (exact in binary floating point), because sigmoid(z) is
    0.5 * tanh(0.5 * z) + 0.5 and one tanh then serves all four gates."""
    slope: float | None
    """Of a piecewise linear recurrent activation."""
    arena: Arena

    @cached_property
    def weights(self) -> StackedWeights:
        """Gates in the order i | f | o | c."""
        cell = self.cell
        shape = (len(cell.kernel) + 1 + cell.units, 4 * cell.units)
        return StackedWeights(shape, cell.kernel.dtype, 4, self._write)

    def _write(self, to: Array) -> None:
        cell, dtype = self.cell, self.cell.kernel.dtype
        bias = room.zeros((4 * cell.units,), dtype) if cell.bias is None else cell.bias
        rows = np.split(to, [len(cell.kernel), len(cell.kernel) + 1])
        for part, weight in zip(rows, (cell.kernel, bias[np.newaxis], cell.recurrent_kernel), strict=True):
            for number, (gate, scale) in enumerate(((0, 0.5), (1, 0.5), (3, 0.5), (2, 1))):
                source, target = weight[:, gate * cell.units : (gate + 1) * cell.units], part[:, number]
                np.multiply(source.reshape(target.shape), dtype.type(scale if self.halved else 1), target)

    @cached_property
    def compiled(self) -> CompiledLSTM | None:
        """For whole sequences; ``None`` when there is no code for the cell."""
        known = self.cell.activation.label == "tanh" and (self.halved or self.slope is not None)
        return CompiledLSTM(self.weights, self.slope) if known and self.cell.kernel.dtype == np.float32 else None


def stack(cell: LSTMCell) -> StackedKernel | None:
    """Stack the weights of a cell, or return ``None`` when it must round after every operation."""
    if not cell.precision.exact:
        return None
    tanh = cell.activation.label == "tanh"
    halved = tanh and cell.recurrent_activation.label == "sigmoid"
    return StackedKernel(cell, halved, _SLOPES.get(cell.recurrent_activation.label), Arena())


_SLOPES = {"hard_sigmoid[slope=0.2]": 0.2, "hard_sigmoid[slope=1/6]": 1 / 6}


class StackedSteps:
    """One run with the gates i, f, o and c of each timestep as contiguous blocks."""

    def __init__(self, cell: LSTMCell, stacked: StackedKernel, x: Array, *, pre: bool) -> None:
        self._cell, self._halved = cell, stacked.halved
        self._memory = _memory(cell, stacked, x, pre=pre)
        self._half = np.array(0.5, self._memory.signals.dtype)
        self._compute_gates = begin_gates(x, stacked.weights)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """i, f, o = recurrent_activation(z); c' = f * c + i * activation(z_c); h' = o * activation(c')."""
        z = self._compute_gates(t, states[0])  # (4, samples, units): i, f, o, g before their activation
        if self._memory.pre is not None:
            np.copyto(self._memory.pre[t], z)
            self._memory.pre[t, :3] *= 2 if self._halved else 1
        signals = self._memory.signals[t]  # (6, samples, units): i, f, o, g, c, h
        self._activate(z, signals)
        c, h = signals[4], signals[5]
        np.multiply(signals[1], states[1], c)  # f * c
        np.multiply(signals[0], signals[3], h)  # i * g
        np.add(c, h, c)
        self._cell.activation.apply(c, h)
        np.multiply(h, signals[2], h)  # o * tanh(c')
        return h, c

    def _activate(self, z: Array, signals: Array) -> None:
        gates = signals[:3]
        if self._halved:
            np.tanh(z, signals[:4])
            np.multiply(gates, self._half, gates)
            np.add(gates, self._half, gates)
        else:
            self._cell.recurrent_activation.apply(z[:3], gates)
            self._cell.activation.apply(z[3], signals[3])

    def signals(self) -> Mapping[str, Array]:
        """See `gateprobe.layers.recurrent.cells.Steps`."""
        return _signals(self._memory)


def _lstm_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return gate_slots(record, settings, "ifco", order="icfo", bias=(None,))


@replays("LSTMCell", slots=_lstm_slots, recurrent=True, takes=CELL)
def _bind_lstm(binding: Binding) -> LSTMCell:
    settings = binding.settings
    kernel, recurrent_kernel, bias = fused(binding, "ifco")
    units = recurrent_kernel.shape[0]
    if bias is not None and bias.shape == (8 * units,):  # CuDNN keeps an input and a recurrent bias
        kernel, recurrent_kernel = from_cudnn((kernel, recurrent_kernel), gates=4)
        bias = bias[: 4 * units] + bias[4 * units :]
    if bias is not None and bias.shape != (4 * units,):
        raise OtherWeights(f"bias: expected {4 * units} numbers for {units} units, the file holds {bias.shape[0]}")
    cell = LSTMCell(
        kernel,
        recurrent_kernel,
        bias,
        settings.activation("activation", "tanh"),
        settings.activation("recurrent_activation", lambda: binding.semantics.recurrent_activation),
        binding.precision,
        stacked=None,
    )
    finish_cell(settings)
    return replace(cell, stacked=stack(cell))
