"""The simple recurrent cell.

With the input ``x_t`` and the hidden state ``h`` of the timestep before::

    h' = tanh(x_t @ W + b + h @ U)    hidden_state

``tanh`` is the layer's ``activation``. Source: ``SimpleRNNCell.call`` in ``keras/src/layers/rnn/simple_rnn.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateprobe.activations import Activation
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Precision
from gateprobe.layers.binding.call_arguments import CELL
from gateprobe.layers.binding.registry import Binding, Slot, replays, with_bias
from gateprobe.layers.binding.settings import Settings
from gateprobe.layers.recurrent.cells import (
    Anatomy,
    Steps,
    finish_cell,
    project,
    replay_cell,
    units_of,
)
from gateprobe.layers.recurrent.kernels.blas import multiply


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

    @property
    def anatomy(self) -> Anatomy:
        """See `Cell`."""
        return Anatomy({"hidden_state": self.activation}, self.kernel, self.recurrent_kernel, self.bias)

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
        h, round_in_place = self._hidden_state[t], self._cell.precision.round_in_place
        product = multiply(states[0], self._cell.recurrent_kernel)
        round_in_place(product)
        h += product
        round_in_place(h)
        if self._pre is not None:
            self._pre[t] = h
        self._cell.activation.apply(h, h)
        round_in_place(h)
        return (h,)

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        pre = {} if self._pre is None else {"pre_hidden_state": self._pre}
        return {"hidden_state": self._hidden_state, **pre}


def _simple_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    units = units_of(settings)
    return with_bias((Slot("kernel", (None, units)), Slot("recurrent_kernel", (units, units))), settings, units)


@replays("SimpleRNNCell", slots=_simple_slots, recurrent=True, takes=CELL)
def _bind_simple(binding: Binding) -> SimpleRNNCell:
    weights, settings = binding.weights, binding.settings
    cell = SimpleRNNCell(
        weights["kernel"],
        weights["recurrent_kernel"],
        weights.get("bias"),
        settings.activation("activation", "tanh"),
        binding.precision,
    )
    finish_cell(settings)
    return cell
