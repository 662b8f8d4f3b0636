"""The sums of `gateprobe.analysis.moments` in one pass over memory, compiled by Numba (the extra ``fast``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from gateprobe.graph import Array

ROWS = 4
"""That are added at a time: a quarter as much is loaded and stored, and sums are rounded less often."""
_TILE = 1024
"""Columns whose sums stay in the first cache of a core."""
_SIGNATURE = "(f4[:,::1], f4[::1], f4[:,::1], f4[:,::1], i4[:,::1])"


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile at once, for these types, and keep the code on disk where Numba finds a folder for it."""
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        compiled: Callable[..., None] = njit(_SIGNATURE, cache=True, **options)(function)
    except RuntimeError:  # neither the package's nor the user's folder can be written
        compiled = njit(_SIGNATURE, **options)(function)
    return compiled


@_compiled
def sum_columns(values: Array, pivots: Array, bounds: Array, sums: Array, counts: Array) -> None:
    """Add the rows of a block to sums.

    Args:
        values: ``(rows, columns)``, a multiple of `ROWS` rows.
        pivots: ``(columns,)``: what is subtracted before anything is added.
        bounds: ``(2, columns)``: lower and upper.
        sums: ``(4, columns)``: of the differences, of their squares, the least and the most; written to.
        counts: ``(2, columns)``: below and above the bounds; written to.
    """
    for start in range(0, values.shape[1], _TILE):
        tile = slice(start, min(start + _TILE, values.shape[1]))
        pivot, low, high = pivots[tile], bounds[0, tile], bounds[1, tile]
        first, second, least, most = sums[0, tile], sums[1, tile], sums[2, tile], sums[3, tile]
        below, above = counts[0, tile], counts[1, tile]
        for row in range(0, len(values), ROWS):
            a, b, c, d = values[row, tile], values[row + 1, tile], values[row + 2, tile], values[row + 3, tile]
            for k in range(len(a)):  # loops of one thing each become vector instructions
                first[k] += ((a[k] - pivot[k]) + (b[k] - pivot[k])) + ((c[k] - pivot[k]) + (d[k] - pivot[k]))
            for k in range(len(a)):
                left = (a[k] - pivot[k]) * (a[k] - pivot[k]) + (b[k] - pivot[k]) * (b[k] - pivot[k])
                right = (c[k] - pivot[k]) * (c[k] - pivot[k]) + (d[k] - pivot[k]) * (d[k] - pivot[k])
                second[k] += left + right
            for k in range(len(a)):
                left = b[k] if b[k] < a[k] else a[k]  # noqa: FURB136 - slower
                right = d[k] if d[k] < c[k] else c[k]  # noqa: FURB136
                smaller = right if right < left else left  # noqa: FURB136
                least[k] = smaller if smaller < least[k] else least[k]  # noqa: FURB136
            for k in range(len(a)):
                left = b[k] if b[k] > a[k] else a[k]  # noqa: FURB136
                right = d[k] if d[k] > c[k] else c[k]  # noqa: FURB136
                larger = right if right > left else left  # noqa: FURB136
                most[k] = larger if larger > most[k] else most[k]  # noqa: FURB136
            for k in range(len(a)):
                left = np.int32(a[k] < low[k]) + np.int32(b[k] < low[k])
                below[k] += left + (np.int32(c[k] < low[k]) + np.int32(d[k] < low[k]))
            for k in range(len(a)):
                left = np.int32(a[k] > high[k]) + np.int32(b[k] > high[k])
                above[k] += left + (np.int32(c[k] > high[k]) + np.int32(d[k] > high[k]))
