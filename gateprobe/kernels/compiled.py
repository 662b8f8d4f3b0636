"""An LSTM run in compiled code, from NumPy arrays to NumPy arrays; Numba is imported when the first one runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np

from gateprobe.graph import Array

_BLOCK = 1 << 18
"""Bytes of projected inputs computed ahead: they stay in the processor's cache until they are used."""


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


def _loop() -> Callable[..., None]:
    from gateprobe.kernels.lstm_loop import run  # noqa: PLC0415 - an import of 0.3 s that few runs need

    return run


class CompiledLSTM:
    """Runs whole sequences.

    Args:
        matrix: ``(features + 1 + units, 4 * units)``: kernel, bias, recurrent kernel; gates in the order i, f, o, c,
            the first three halved if they are sigmoids.
        slope: Of the gates' hard sigmoid; ``None`` for a sigmoid.
    """

    __slots__ = ("_bias", "_kernel", "_recurrent_kernel", "_slope")

    def __init__(self, matrix: Array, slope: float | None) -> None:
        features = len(matrix) - 1 - matrix.shape[1] // 4
        self._kernel, self._bias, self._recurrent_kernel = np.split(matrix, [features, features + 1])
        self._slope = slope or 0.0

    def run(self, x: Array, mask: Array | None, signals: Array, pre: Array | None) -> None:
        """Run a sequence.

        Args:
            x: ``(timesteps, samples, features)``.
            mask: ``(timesteps, samples)``; where it is false the states are held.
            signals: ``(1 + timesteps, 6, samples, units)``, contiguous: the gates i, f, o, c, the cell state and the
                hidden state. The states to start from stand in the first one; the others will be written.
            pre: ``(timesteps, 4, samples, units)``; will hold the gates before their activation.
        """
        (timesteps, samples, features), columns = x.shape, self._kernel.shape[1]
        block = max(1, _BLOCK // (samples * columns * self._kernel.itemsize))
        memory = np.empty((block, samples, columns), self._kernel.dtype)
        for start in range(0, timesteps, block):
            at = slice(start, min(start + block, timesteps))
            z = memory[: at.stop - start]
            np.matmul(x[at].reshape(-1, features), self._kernel, z.reshape(-1, columns))
            z += self._bias
            seen = np.empty((0, 0), bool) if mask is None else np.ascontiguousarray(mask[at])
            kept = np.empty((0, 0, 0, 0), z.dtype) if pre is None else pre[at]
            _loop()(z, self._recurrent_kernel, self._slope, seen, signals[start : at.stop + 1], kept)
