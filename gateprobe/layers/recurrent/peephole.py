"""LSTM with peephole connections (Gers & Schmidhuber 2000): ``tf.keras.experimental.PeepholeLSTMCell``.

Source: ``tensorflow/python/keras/layers/recurrent.py`` 2.4 and ``tf_keras/src/layers/rnn/legacy_cells.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateprobe.activations import Activation
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Precision
from gateprobe.layers.binding.call_arguments import CELL
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings
from gateprobe.layers.recurrent.cells import (
    Anatomy,
    Steps,
    finish_cell,
    gate_slots,
    lstm_activations,
    project,
    replay_cell,
)
from gateprobe.layers.recurrent.kernels.blas import multiply


@dataclass(frozen=True, slots=True, eq=False)
class PeepholeLSTMCell:
    """The gates look at the cell state: i and f at the old one, o at the new one."""

    kernel: Array
    """``(features, 4 * units)``, columns i | f | c | o."""
    recurrent_kernel: Array
    """``(units, 4 * units)``."""
    bias: Array | None
    """``(4 * units,)``."""
    peepholes: tuple[Array, Array, Array]
    """Of i, f and o, each ``(units,)``."""
    activation: Activation
    recurrent_activation: Activation
    precision: Precision

    replay = replay_cell

    @property
    def anatomy(self) -> Anatomy:
        """See `gateprobe.layers.recurrent.cells.Cell`."""
        return Anatomy(
            lstm_activations(self.recurrent_activation, self.activation),
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            peepholes=dict(zip(("input_gate", "forget_gate", "output_gate"), self.peepholes, strict=True)),
            output_activation=self.activation,
        )

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state, cell state."""
        units = int(self.recurrent_kernel.shape[0])
        return ((units,), (units,))

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `gateprobe.layers.recurrent.cells.Cell`."""
        return _PeepholeSteps(self, x, pre=pre)


class _PeepholeSteps:
    """The memory of one run, one array for each signal."""

    def __init__(self, cell: PeepholeLSTMCell, x: Array, *, pre: bool) -> None:
        self._cell = cell
        self._z = project(x, cell.kernel, cell.bias, cell.precision)
        names = ("input_gate", "forget_gate", "candidate", "output_gate")
        gates = np.split(self._z, 4, axis=-1)
        self._gates = dict(zip(names, gates, strict=True))
        self._states = {name: np.empty_like(gates[0]) for name in ("cell_state", "hidden_state")}
        self._pre = {f"pre_{name}": np.empty_like(gates[0]) for name in names} if pre else {}

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """i, f = gate(z + p * c); c' = f * c + i * activation(z_c); o = gate(z_o + p_o * c')."""
        cell, c_before = self._cell, states[1]
        self._z[t] += multiply(states[0], cell.recurrent_kernel)
        c, h = self._states["cell_state"][t], self._states["hidden_state"][t]
        for name, peephole in zip(("input_gate", "forget_gate"), cell.peepholes, strict=False):
            self._activate(t, name, cell.recurrent_activation, peephole * c_before)
        self._activate(t, "candidate", cell.activation, None)
        np.multiply(self._gates["forget_gate"][t], c_before, out=c)
        c += self._gates["input_gate"][t] * self._gates["candidate"][t]
        cell.precision.round_in_place(c)
        self._activate(t, "output_gate", cell.recurrent_activation, cell.peepholes[2] * c)
        cell.activation.apply(c, h)
        h *= self._gates["output_gate"][t]
        cell.precision.round_in_place(h)
        return h, c

    def _activate(self, t: int, name: str, activation: Activation, peephole: Array | None) -> None:
        gate = self._gates[name][t]
        if peephole is not None:
            gate += peephole
        if self._pre:
            self._pre[f"pre_{name}"][t] = gate
        activation.apply(gate, gate)
        self._cell.precision.round_in_place(gate)

    def signals(self) -> Mapping[str, Array]:
        """See `gateprobe.layers.recurrent.cells.Steps`."""
        return {**self._gates, **self._states, **self._pre}


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    units = settings.integer("units")
    slots = gate_slots(record, settings, "ifco", order="icfo", bias=(4 * units,))
    return (*slots, *(Slot(f"{gate}_gate_peephole_weights", (units,)) for gate in ("input", "forget", "output")))


@replays("PeepholeLSTMCell", slots=_slots, recurrent=True, takes=CELL)
def _bind(binding: Binding) -> PeepholeLSTMCell:
    weights, settings = binding.weights, binding.settings
    i, f, o = (weights[f"{gate}_gate_peephole_weights"] for gate in ("input", "forget", "output"))
    cell = PeepholeLSTMCell(
        weights["kernel"],
        weights["recurrent_kernel"],
        weights.get("bias"),
        (i, f, o),
        settings.activation("activation", "tanh"),
        settings.activation("recurrent_activation", lambda: binding.semantics.recurrent_activation),
        binding.precision,
    )
    finish_cell(settings)
    return cell
