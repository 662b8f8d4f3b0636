"""The GRU cell.

Formulas: ``keras/src/layers/rnn/gru.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateprobe.activations import Activation
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Precision
from gateprobe.layers.cells import (
    Steps,
    finish_cell,
    from_cudnn,
    fused,
    gate_slots,
    named,
    project,
    replay_cell,
)
from gateprobe.layers.registry import Binding, Slot, replays
from gateprobe.layers.settings import Settings, Unsupported


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
            **named(names, self._z, self._cell.units),
            "hidden_state": self._hidden_state,
            **({} if self._pre is None else named([f"pre_{name}" for name in names], self._pre, self._cell.units)),
        }


def _gru_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    slots = gate_slots(record, settings, "zrh", order="zrh", bias=(None,))
    reset_after = settings.flag("reset_after", False)
    return tuple(Slot("bias", None) if slot.role == "bias" and reset_after else slot for slot in slots)


@replays("GRUCell", slots=_gru_slots, recurrent=True)
def _bind_gru(binding: Binding) -> GRUCell:
    settings = binding.settings
    kernel, recurrent_kernel, bias = fused(binding, "zrh")
    units = recurrent_kernel.shape[0]
    reset_after = settings.flag("reset_after", binding.semantics.gru_reset_after)
    expected = (2, 3 * units) if reset_after else (3 * units,)
    if bias is not None and reset_after and bias.shape == (6 * units,):
        kernel, recurrent_kernel = from_cudnn((kernel, recurrent_kernel), gates=3)
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
    finish_cell(settings)
    return cell
