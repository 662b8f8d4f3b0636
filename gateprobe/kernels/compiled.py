"""An LSTM run in machine code, from NumPy arrays to NumPy arrays; LLVM is imported when the first one runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec

import numpy as np

from gateprobe.graph import Array

_CACHE = 32_768
"""Bytes of kernel that stay in the processor's first cache from one timestep to the next."""


def is_installed() -> bool:
    """Whether LLVM's Python package is there."""
    return find_spec("llvmlite") is not None


@cache
def is_available() -> bool:
    """Whether this processor can be compiled for."""
    if not is_installed():
        return False
    from gateprobe.kernels.lstm_code import host  # noqa: PLC0415 - an import of 0.1 s that few runs need

    return host() is not None


def is_wide() -> bool:
    """Whether the compiled kernel keeps up with a BLAS on one thread, however large the products."""
    return _host()[0] == 16


def _host() -> tuple[int, int]:
    from gateprobe.kernels.lstm_code import host  # noqa: PLC0415

    found = host()
    assert found is not None
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a run of an LSTM writes; gates in the order i, f, o, c."""

    signals: Array
    """``(timesteps, 6, samples, units)``: the gates, the cell state and the hidden state. One array, since the system
    hands out large pages only to large ones."""
    pre: Array | None
    """``(timesteps, 4, samples, units)``: the gates before their activation."""


class CompiledLSTM:
    """Runs whole sequences.

    Args:
        matrix: ``(features + 1 + units, 4 * units)``: kernel, bias, recurrent kernel; gates in the order i, f, o, c,
            the first three halved if they are sigmoids.
        slope: Of the gates' hard sigmoid; ``None`` for a sigmoid.
    """

    def __init__(self, matrix: Array, slope: float | None) -> None:
        self._matrix, self._slope = matrix, slope
        self._units = matrix.shape[1] // 4
        self._features = len(matrix) - 1 - self._units

    @cached_property
    def _lanes(self) -> int:
        """Numbers in a vector: the processor's, or fewer for few units."""
        lanes = _host()[0]
        while lanes > self._units:
            lanes //= 2
        return lanes

    @cached_property
    def _columns(self) -> Array:
        """Where the panels' columns stand in the matrix, ``(panels, 4, lanes)``; the last panel ends with the units."""
        lanes, units = self._lanes, self._units
        first = np.minimum(np.arange(0, units, lanes), units - lanes)
        columns: Array = first[:, np.newaxis, np.newaxis] + np.arange(4)[:, np.newaxis] * units + np.arange(lanes)
        return columns

    @cached_property
    def _panels(self) -> Array:
        """``(panels, features + units, 4, lanes)``."""
        rows, lanes, units = np.delete(self._matrix, self._features, axis=0), self._lanes, self._units
        if units % lanes == 0:  # the same, but faster
            return np.ascontiguousarray(rows.reshape(len(rows), 4, -1, lanes).transpose(2, 0, 1, 3))
        return np.ascontiguousarray(np.moveaxis(rows[:, self._columns], 0, 1))

    @cached_property
    def _bias(self) -> Array:
        """``(panels, 4, lanes)``."""
        return np.ascontiguousarray(self._matrix[self._features, self._columns])

    @cached_property
    def _projection(self) -> Array:
        """``(features, panels * 4 * lanes)``."""
        projection: Array = self._matrix[: self._features, self._columns.reshape(-1)]
        return projection

    def fits(self) -> bool:
        """Return whether there is code for so few units."""
        return self._lanes >= 4

    def run(self, x: Array, states: tuple[Array, Array], mask: Array | None, memory: Memory) -> None:
        """Run a sequence.

        Args:
            x: ``(timesteps, samples, features)``.
            states: Hidden state and cell state before the first timestep, ``(samples, units)``.
            mask: ``(timesteps, samples)``; where it is false the states are held.
            memory: Will be written to.
        """
        from gateprobe.kernels.lstm_code import Arguments, compile_lstm  # noqa: PLC0415

        timesteps, samples, features = x.shape
        x = x if x.strides[2] == x.itemsize and x.dtype == np.float32 else np.ascontiguousarray(x, np.float32)
        hidden_state, cell_state = (np.ascontiguousarray(state, np.float32) for state in states)
        seen = None if mask is None else np.ascontiguousarray(mask, np.uint8)
        ahead = samples < 4 and self._features * self._matrix.shape[1] * 4 > _CACHE
        start, size = (self._project(x), self._bias.size) if ahead else (self._bias, 0)
        skipped = features * 4 * self._lanes if ahead else 0
        compile_lstm(self._lanes, _host()[1], self._slope)(
            *Arguments(
                x=x.ctypes.data,
                start=start.ctypes.data,
                panels=self._panels.ctypes.data + skipped * x.itemsize,
                signals=memory.signals.ctypes.data,
                pre=None if memory.pre is None else memory.pre.ctypes.data,
                cell_state=cell_state.ctypes.data,
                hidden_state=hidden_state.ctypes.data,
                mask=None if seen is None else seen.ctypes.data,
                timesteps=timesteps,
                samples=samples,
                features=0 if ahead else features,
                units=self._units,
                x_timestep=x.strides[0] // x.itemsize,
                x_sample=x.strides[1] // x.itemsize,
                start_row=size,
                panel_count=len(self._panels),
                panel_size=self._panels[0].size,
            )
        )

    def _project(self, x: Array) -> Array:
        """Multiply the inputs of all timesteps at once: for few samples the kernel is read less often so."""
        start: Array = x.reshape(-1, self._features) @ self._projection
        start += self._bias.reshape(-1)
        return start
