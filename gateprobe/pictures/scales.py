"""Which numbers the colours of a signal mean: 0 to 1 for gates, as far below zero as above for everything else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gateprobe.analysis.direction_statistics import GATES
from gateprobe.graph import Array
from gateprobe.pictures.values import Scale

OPEN_OR_SHUT = Scale(0.0, 1.0)
_SHARES_OF_ONE = ("candidate",)
"""Signals that tanh keeps between -1 and 1: their colours go that far, so that saturation shows."""


def scale_of(signal: str, arrays: Iterable[Array]) -> Scale:
    """Return the scale of a signal, one for all of its panels.

    Args:
        signal: Its name.
        arrays: Its values; what is not finite does not count.

    Returns:
        0 to 1 for a gate; symmetric around zero for what has a sign, and for a gate whose activation leaves 0 to 1.
    """
    low, high = _span(arrays)
    if signal in GATES and low >= 0.0 and high <= 1.0:
        return OPEN_OR_SHUT
    limit = max(-low, high)
    if signal in _SHARES_OF_ONE and limit <= 1.0:
        limit = 1.0
    return around_zero(limit)


def around_zero(limit: float) -> Scale:
    """Return the scale from ``-limit`` to ``limit``; that of zeroes alone goes to 1."""
    return Scale(-(limit or 1.0), limit or 1.0)


def _span(arrays: Iterable[Array]) -> tuple[float, float]:
    low = high = 0.0
    for array in arrays:
        finite = array[np.isfinite(array)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return low, high
