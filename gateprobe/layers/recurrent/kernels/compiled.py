"""An LSTM run in compiled code, from NumPy arrays to NumPy arrays; Numba is imported when the first one runs."""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from gateprobe.graph import Array
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.recurrent.kernels.stacked import StackedWeights, begin_gates

_LARGE = 140_000
"""Multiplications for one sample in one timestep from which on a BLAS is faster, for several samples at least."""
_LARGE_ALONE = 500_000
"""The same for a sequence that is always alone: in slabs, or in a stateful model."""
_BLOCK = 1 << 19
"""Bytes of projected inputs computed ahead, for 32 samples: they stay in the processor's cache until they are used."""


def is_installed() -> bool:
    """Whether Numba is there."""
    return find_spec("numba") is not None


@cache
def fault() -> str | None:
    """Return why Numba cannot be used, for instance because it does not know this NumPy yet; ``None`` if it can."""
    try:
        _loop()
    except (ImportError, SystemError) as error:
        return str(error)
    return None


def is_available() -> bool:
    """Whether Numba is there and loads."""
    return is_installed() and fault() is None


def _loop() -> ModuleType:
    from gateprobe.layers.recurrent.kernels import lstm_loop  # noqa: PLC0415 - an import of 0.3 s that few runs need

    return lstm_loop


class CompiledLSTM:
    """Runs whole sequences.

    Args:
        weights: Gates in the order i, f, o, c, the first three halved if they are sigmoids.
        slope: Of the gates' hard sigmoid; ``None`` for a sigmoid.
    """

    __slots__ = ("_slope", "_weights")

    def __init__(self, weights: StackedWeights, slope: float | None) -> None:
        self._weights, self._slope = weights, slope or 0.0

    def run(self, x: Array, mask: Array | None, signals: Array, pre: Array | None) -> None:
        """Run a sequence.

        Args:
            x: ``(timesteps, samples, features)``.
            mask: ``(timesteps, samples)``; where it is false the states are held.
            signals: ``(1 + timesteps, 6, samples, units)``, contiguous: the gates i, f, o, c, the cell state and the
                hidden state. The states to start from stand in the first one; the others will be written.
            pre: ``(timesteps, 4, samples, units)``; will hold the gates before their activation.
        """
        seen = np.empty((0, 0), bool) if mask is None else np.ascontiguousarray(mask)
        alone = x.shape[1] == 1  # a run never has batches of one sample otherwise
        small = math.prod(self._weights.shape) <= (_LARGE_ALONE if alone else _LARGE)
        (self._at_once if small else self._by_timestep)(x, seen, signals, pre)
        if pre is not None and not self._slope:
            pre[:, :3] *= 2

    def _by_timestep(self, x: Array, mask: Array, signals: Array, pre: Array | None) -> None:
        compute_gates, finish = begin_gates(x, self._weights), _loop().finish
        for t in range(len(x)):
            z = np.ascontiguousarray(compute_gates(t, signals[t, 5]))
            if pre is not None:
                pre[t] = z
            finish(z, t, self._slope, mask, signals)

    def _at_once(self, x: Array, mask: Array, signals: Array, pre: Array | None) -> None:
        (timesteps, samples, features), columns = x.shape, self._weights.shape[1]
        kernel, bias, recurrent_kernel = np.split(self._weights.matrix, [features, features + 1])
        block = max(1, _BLOCK // (32 * columns * kernel.itemsize))
        memory = np.empty((block, samples, columns), kernel.dtype)
        for start in range(0, timesteps, block):
            at = slice(start, min(start + block, timesteps))
            z = memory[: at.stop - start]
            multiply(x[at].swapaxes(0, 1), kernel, z.swapaxes(0, 1))
            z += bias
            _loop().run(z, recurrent_kernel, self._slope, mask[at], signals[start : at.stop + 1])
            if pre is not None:
                pre[at] = np.moveaxis(z.reshape(*z.shape[:2], 4, -1), 2, 1)
