"""From inputs and hidden state to gates before their activation, for cells whose gates need nothing else.

Two forms, both with each gate of one timestep as one contiguous block: one product in each timestep, or the inputs of
all timesteps first, which is faster for a single sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gateprobe.graph import Array
from gateprobe.kernels.blas import Product, pack


@dataclass(frozen=True, slots=True, eq=False)
class StackedWeights:
    """Kernel, bias and recurrent kernel below each other, to be multiplied with ``[x, 1, h]``."""

    matrix: Array
    """``(features + 1 + units, gates * units)``."""
    panels: Array
    """The same, packed."""


def stack_weights(kernel: Array, recurrent_kernel: Array, bias: Array | None) -> StackedWeights:
    """Stack the weights of a cell.

    Args:
        kernel: ``(features, gates * units)``.
        recurrent_kernel: ``(units, gates * units)``.
        bias: ``(gates * units,)`` or ``None``.
    """
    units, columns = recurrent_kernel.shape
    offset = np.zeros(columns, kernel.dtype) if bias is None else bias
    matrix = np.concatenate([kernel, offset[np.newaxis], recurrent_kernel])
    return StackedWeights(matrix, pack(matrix, columns // units))


class Gates(Protocol):
    """Computes the gates of one timestep before their activation."""

    def __call__(self, t: int, hidden: Array) -> None:
        """Compute those of timestep ``t`` from the hidden state before it, ``(samples, units)``."""


def begin_gates(x: Array, weights: StackedWeights, z: Array) -> Gates:
    """Choose the faster form.

    Args:
        x: ``(timesteps, samples, features)``.
        weights: Of all gates.
        z: ``(timesteps, gates, samples, units)``; will be written to.
    """
    return (_Projected if x.shape[1] == 1 else _Stacked)(x, weights, z)


class Operand:
    """The memory of ``[x, 1, h]``."""

    __slots__ = ("_x", "hidden", "inputs", "rows")

    def __init__(self, x: Array, units: int, dtype: np.dtype[np.floating]) -> None:
        _, samples, features = x.shape
        self._x = x
        self.rows = np.ones((samples, features + 1 + units), dtype)
        self.inputs, self.hidden = self.rows[:, :features], self.rows[:, features + 1 :]

    def fill(self, t: int, hidden: Array) -> None:
        """Copy the inputs of timestep ``t`` and the hidden state before it."""
        np.copyto(self.inputs, self._x[t])
        np.copyto(self.hidden, hidden)


class _Stacked:
    def __init__(self, x: Array, weights: StackedWeights, z: Array) -> None:
        self._operand = Operand(x, z.shape[3], z.dtype)
        self._product = Product(self._operand.rows, weights.panels, z)

    def __call__(self, t: int, hidden: Array) -> None:
        self._operand.fill(t, hidden)
        self._product(t)


class _Projected:
    def __init__(self, x: Array, weights: StackedWeights, z: Array) -> None:
        features = x.shape[2]
        self._z = project_one(x, weights.matrix[:features], weights.matrix[features], z)
        self._recurrent_kernel = weights.matrix[features + 1 :]
        self._product = np.empty(self._z.shape[1], z.dtype)

    def __call__(self, t: int, hidden: Array) -> None:
        np.matmul(hidden[0], self._recurrent_kernel, self._product)
        z = self._z[t]
        np.add(z, self._product, z)


def project_one(x: Array, kernel: Array, bias: Array, z: Array) -> Array:
    """Multiply the inputs of all timesteps of one sample into ``z``; returns it as ``(timesteps, gates * units)``."""
    rows = z.reshape(len(z), -1)
    np.matmul(x[:, 0], kernel, out=rows)
    rows += bias
    return rows
