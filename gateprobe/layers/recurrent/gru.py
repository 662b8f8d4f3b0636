"""The GRU cell.

With the input ``x_t`` and the hidden state ``h`` of the timestep before::

    z  = sigmoid(x_t @ W_z + h @ U_z + b_z)             update_gate
    r  = sigmoid(x_t @ W_r + h @ U_r + b_r)             reset_gate
    g  = tanh(x_t @ W_h + (r * h) @ U_h + b_h)          candidate
    g  = tanh(x_t @ W_h + b_h + r * (h @ U_h + d_h))    with reset_after, as in CuDNN; z and r have a d, too
    h' = z * h + (1 - z) * g                            hidden_state

``sigmoid`` is the layer's ``recurrent_activation``, ``tanh`` its ``activation``. Keras keeps ``W_z | W_r | W_h`` side
by side in ``kernel``, ``U`` likewise, and with ``reset_after`` the biases ``b`` and ``d`` in two rows.

Source: ``GRUCell.call`` in ``keras/src/layers/rnn/gru.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    named,
    project,
    replay_cell,
)
from gateprobe.layers.recurrent.kernels.arena import Arena
from gateprobe.layers.recurrent.kernels.blas import Panels, Product, multiply, pack
from gateprobe.layers.recurrent.kernels.stacked import Operand
from gateprobe.limits import room


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
    stacked: StackedKernels | None
    """For `StackedSteps`; ``None`` when the cell must round after every operation."""

    @property
    def units(self) -> int:
        """Size of the state."""
        return int(self.recurrent_kernel.shape[0])

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state."""
        return ((self.units,),)

    @property
    def anatomy(self) -> Anatomy:
        """See `Cell`."""
        gate = self.recurrent_activation
        return Anatomy(
            {"update_gate": gate, "reset_gate": gate, "candidate": self.activation},
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            self.recurrent_bias,
            reset_after=self.reset_after,
        )

    replay = replay_cell

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        if self.stacked is not None:
            return StackedSteps(self, self.stacked, fitting(x, self.kernel), pre=pre)
        return RoundingSteps(self, x, pre=pre)


class RoundingSteps:
    """One run that rounds after every operation."""

    def __init__(self, cell: GRUCell, x: Array, *, pre: bool) -> None:
        self._cell = cell
        self._z = project(x, cell.kernel, cell.bias, cell.precision)
        self._pre = np.empty_like(self._z) if pre else None
        self._hidden_state = room.empty((*x.shape[:2], cell.units), self._z.dtype)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Blend old and new: h' = z * h + (1 - z) * candidate; the reset gate acts on h or on its product."""
        cell, units, round_in_place = self._cell, self._cell.units, self._cell.precision.round_in_place
        z, h, h_before = self._z[t], self._hidden_state[t], states[0]
        columns = 3 * units if cell.reset_after else 2 * units
        product = multiply(h_before, cell.recurrent_kernel[:, :columns])
        round_in_place(product)
        if cell.recurrent_bias is not None:
            product += cell.recurrent_bias
            round_in_place(product)
        gates, candidate = z[:, : 2 * units], z[:, 2 * units :]
        gates += product[:, : 2 * units]
        round_in_place(gates)
        if self._pre is not None:
            self._pre[t, :, : 2 * units] = gates
        for gate in (gates[:, :units], gates[:, units:]):
            cell.recurrent_activation.apply(gate, gate)
        round_in_place(gates)
        reset = gates[:, units:]
        if cell.reset_after:
            recurrent = reset * product[:, 2 * units :]
        else:
            gated = reset * h_before
            round_in_place(gated)
            recurrent = multiply(gated, cell.recurrent_kernel[:, 2 * units :])
        round_in_place(recurrent)
        candidate += recurrent
        round_in_place(candidate)
        if self._pre is not None:
            self._pre[t, :, 2 * units :] = candidate
        cell.activation.apply(candidate, candidate)
        round_in_place(candidate)
        carried, new = gates[:, :units] * h_before, (1 - gates[:, :units]) * candidate
        round_in_place(carried)
        round_in_place(new)
        np.add(carried, new, out=h)
        round_in_place(h)
        return (h,)

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        names = ("update_gate", "reset_gate", "candidate")
        return {
            **named(names, self._z, self._cell.units),
            "hidden_state": self._hidden_state,
            **({} if self._pre is None else named([f"pre_{name}" for name in names], self._pre, self._cell.units)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class StackedKernels:
    """Weights below each other, to be multiplied with ``[x, 1, h]`` and parts of it, packed."""

    gates: Panels
    """Of z and r, for ``[x, 1, h]``; halved where the gates are sigmoids, see `StackedKernel` in ``lstm.py``."""
    candidate: Panels
    """For ``[x, 1]`` with ``reset_after``, else for ``[x, 1, r * h]``."""
    recurrent: Panels | None
    """For ``[1, h]`` with ``reset_after``."""
    halved: bool
    arena: Arena


def stack(cell: GRUCell) -> StackedKernels | None:
    """Stack the weights of a cell, or return ``None`` when it must round after every operation."""
    if not cell.precision.exact:
        return None
    zeros = np.zeros(3 * cell.units, cell.kernel.dtype)
    bias = (zeros if cell.bias is None else cell.bias)[np.newaxis]
    recurrent_bias = (zeros if cell.recurrent_bias is None else cell.recurrent_bias)[np.newaxis]
    halved = cell.recurrent_activation.label == "sigmoid"
    gates, candidate = slice(0, 2 * cell.units), slice(2 * cell.units, None)
    whole = np.concatenate([cell.kernel, bias + recurrent_bias, cell.recurrent_kernel])
    scale = whole.dtype.type(0.5 if halved else 1)
    if not cell.reset_after:
        return StackedKernels(pack(whole[:, gates] * scale, 2), pack(whole[:, candidate], 1), None, halved, Arena())
    from_inputs = np.concatenate([cell.kernel, bias])[:, candidate]
    from_hidden = np.concatenate([recurrent_bias, cell.recurrent_kernel])[:, candidate]
    return StackedKernels(pack(whole[:, gates] * scale, 2), pack(from_inputs, 1), pack(from_hidden, 1), halved, Arena())


class StackedSteps:
    """One run with the gates z, r and the candidate of each timestep as contiguous blocks."""

    def __init__(self, cell: GRUCell, stacked: StackedKernels, x: Array, *, pre: bool) -> None:
        (timesteps, samples, features), dtype = x.shape, stacked.gates.values.dtype
        self._cell, self._halved, self._half, self._one = cell, stacked.halved, np.array(0.5, dtype), np.array(1, dtype)
        self._signals = stacked.arena.empty((timesteps, 4, samples, cell.units), dtype)
        self._pre = room.empty((timesteps, 3, samples, cell.units), dtype) if pre else None
        self._scratch = room.empty((samples, cell.units), dtype)
        self._operand = Operand(x, features + 1 + cell.units, dtype)
        rows = self._operand.rows
        self._compute_gates = Product(rows, stacked.gates, samples)
        self._compute_recurrent = None
        if stacked.recurrent is not None:
            self._compute_recurrent = Product(rows[:, features:], stacked.recurrent, samples)
            rows = rows[:, : features + 1]
        self._compute_candidate = Product(rows, stacked.candidate, samples)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Blend old and new: h' = z * h + (1 - z) * candidate; the reset gate acts on h or on its product."""
        before, signals, scratch = states[0], self._signals[t], self._scratch
        self._operand.fill(t, before)
        z = self._compute_gates()
        self._activate(z, signals[:2])
        update, candidate, h = signals[0], signals[2], signals[3]
        z_candidate = self._candidate(signals[1], before)
        self._cell.activation.apply(z_candidate, candidate)
        if self._pre is not None:
            np.multiply(z, 2 if self._halved else 1, out=self._pre[t, :2])
            self._pre[t, 2] = z_candidate
        np.multiply(update, before, h)
        np.subtract(self._one, update, scratch)
        np.multiply(scratch, candidate, scratch)
        np.add(h, scratch, h)
        return (h,)

    def _activate(self, z: Array, gates: Array) -> None:
        if self._halved:
            np.tanh(z, gates)
            np.multiply(gates, self._half, gates)
            np.add(gates, self._half, gates)
        else:
            self._cell.recurrent_activation.apply(z, gates)

    def _candidate(self, reset: Array, before: Array) -> Array:
        """Return the candidate before its activation."""
        if self._compute_recurrent is None:
            np.multiply(reset, before, self._operand.hidden)
        candidate: Array = self._compute_candidate()[0]
        if self._compute_recurrent is not None:
            recurrent = self._compute_recurrent()[0]
            np.multiply(recurrent, reset, recurrent)
            np.add(candidate, recurrent, candidate)
        return candidate

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        names = ("update_gate", "reset_gate", "candidate", "hidden_state")
        signals = {name: self._signals[:, k] for k, name in enumerate(names)}
        if self._pre is not None:
            signals |= {f"pre_{name}": self._pre[:, k] for k, name in enumerate(names[:3])}
        return signals


def _gru_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    slots = gate_slots(record, settings, "zrh", order="zrh", bias=(None,))
    reset_after = settings.flag("reset_after", lambda: settings.semantics.gru_reset_after)
    return tuple(Slot("bias", None) if slot.role == "bias" and reset_after else slot for slot in slots)


@replays("GRUCell", slots=_gru_slots, recurrent=True, takes=CELL)
def _bind_gru(binding: Binding) -> GRUCell:
    settings = binding.settings
    kernel, recurrent_kernel, bias = fused(binding, "zrh")
    units = recurrent_kernel.shape[0]
    reset_after = settings.flag("reset_after", lambda: binding.semantics.gru_reset_after)
    expected = (2, 3 * units) if reset_after else (3 * units,)
    if bias is not None and reset_after and bias.shape == (6 * units,):
        kernel, recurrent_kernel = from_cudnn((kernel, recurrent_kernel), gates=3)
        bias = bias.reshape(2, -1)
    if bias is not None and bias.shape != expected:
        raise OtherWeights(
            f"bias: expected shape {expected} for reset_after={reset_after}, the file holds {bias.shape}"
        )
    cell = GRUCell(
        kernel,
        recurrent_kernel,
        bias[0] if bias is not None and reset_after else bias,
        bias[1] if bias is not None and reset_after else None,
        settings.activation("activation", "tanh"),
        settings.activation("recurrent_activation", lambda: binding.semantics.recurrent_activation),
        reset_after,
        binding.precision,
        stacked=None,
    )
    finish_cell(settings)
    return replace(cell, stacked=stack(cell))
