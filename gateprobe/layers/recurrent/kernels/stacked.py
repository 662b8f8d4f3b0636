"""From inputs and hidden state to gates before their activation, for cells whose gates need nothing else.

Two forms, both with each gate of one timestep as one contiguous block: one product in each timestep, or the inputs of
all timesteps first, which is faster for a single sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gateprobe.graph import Array
from gateprobe.layers.recurrent.kernels.blas import Panels, Product, blank_panels, memory
from gateprobe.limits import room


@dataclass(frozen=True, eq=False)
class StackedWeights:
    """Kernel, bias and recurrent kernel below each other, to be multiplied with ``[x, 1, h]``."""

    shape: tuple[int, int]
    """``(features + 1 + units, gates * units)``."""
    dtype: np.dtype[Any]
    gates: int
    write: Callable[[Array], None]
    """Writes them to memory of the shape ``(features + 1 + units, gates, pieces, units / pieces)``."""

    @cached_property
    def matrix(self) -> Array:
        """They as one matrix. Made when it is first needed, like the panels: each is as large as the cell's own."""
        made = room.empty(self.shape, self.dtype)
        self.write(made.reshape(self.shape[0], self.gates, 1, -1))
        return made

    @cached_property
    def panels(self) -> Panels:
        """The same, packed."""
        made = blank_panels(self.shape[0], self.shape[1] // self.gates, self.gates, self.dtype)
        self.write(made.columns)
        return made


class Gates(Protocol):
    """Computes the gates of one timestep before their activation."""

    def __call__(self, t: int, hidden: Array) -> Array:
        """Return those of timestep ``t``, ``(gates, samples, units)``; the next call overwrites them.

        Args:
            t: Number of the timestep.
            hidden: The hidden state before it, ``(samples, units)``.
        """


def begin_gates(x: Array, weights: StackedWeights) -> Gates:
    """Choose the faster form; a single sequence is one that runs in slabs, or the only one of a stateful model.

    Args:
        x: ``(timesteps, samples, features)``.
        weights: Of all gates.
    """
    return (_Projected if x.shape[1] == 1 else _Stacked)(x, weights)


class Operand:
    """The memory of ``[x, 1, h]``."""

    __slots__ = ("_x", "hidden", "inputs", "rows")

    def __init__(self, x: Array, rows: int, dtype: np.dtype[np.floating]) -> None:
        _, samples, features = x.shape
        self._x = x
        self.rows = memory(samples, rows, dtype)
        self.inputs, self.hidden = self.rows[:samples, :features], self.rows[:samples, features + 1 :]

    def fill(self, t: int, hidden: Array) -> None:
        """Copy the inputs of timestep ``t`` and the hidden state before it."""
        np.copyto(self.inputs, self._x[t])
        np.copyto(self.hidden, hidden)


class _Stacked:
    def __init__(self, x: Array, weights: StackedWeights) -> None:
        self._operand = Operand(x, weights.shape[0], weights.dtype)
        self._product = Product(self._operand.rows, weights.panels, x.shape[1])

    def __call__(self, t: int, hidden: Array) -> Array:
        self._operand.fill(t, hidden)
        return self._product()


class _Projected:
    def __init__(self, x: Array, weights: StackedWeights) -> None:
        features, matrix = x.shape[2], weights.matrix
        self._projected = x[:, 0] @ matrix[:features]
        self._projected += matrix[features]
        self._recurrent_kernel = matrix[features + 1 :]
        self._sum = np.empty(matrix.shape[1], matrix.dtype)
        self._value = self._sum.reshape(weights.gates, 1, -1)

    def __call__(self, t: int, hidden: Array) -> Array:
        np.matmul(hidden[0], self._recurrent_kernel, self._sum)
        np.add(self._sum, self._projected[t], self._sum)
        return self._value
