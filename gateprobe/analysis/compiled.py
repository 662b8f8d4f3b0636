"""What statistics do to each value of a long run, compiled by Numba (the extra ``fast``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import njit, types

from gateprobe.graph import Array

_ROWS = 4
"""That are added at a time: a quarter as much is loaded and stored, and sums are rounded less often."""
_TILE = 512
"""Columns whose sums stay in the first cache of a core."""

_Code: TypeAlias = Callable[..., None]


def _compiled(signature: Any) -> Callable[[_Code], _Code]:
    """Compile at once, for these types, and keep the code on disk where Numba finds a folder for it."""
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}

    def compiled(function: _Code) -> _Code:
        try:
            code: _Code = njit(signature, cache=True, **options)(function)
        except RuntimeError:  # neither the package's nor the user's folder can be written
            code = njit(signature, **options)(function)
        return code

    return compiled


def _read_only(layout: str) -> Any:
    """Return the type of ``(rows, groups, times, columns)``, which may be memory that no one may write to."""
    return types.Array(types.f4, 4, layout, readonly=True)


@_compiled(types.void(_read_only("C"), types.f4[:, ::1], types.f4[:, :, ::1], types.f4[:, :, ::1], types.i4[:, :, ::1]))
def add_rows(values: Array, pivots: Array, bounds: Array, sums: Array, counts: Array) -> None:
    """Add a block to sums.

    Args:
        values: ``(rows, groups, times, columns)``; all rows and times of a column are added.
        pivots: ``(groups, columns)``: what is subtracted before anything is added.
        bounds: ``(2, groups, columns)``: lower and upper.
        sums: ``(4, groups, columns)``: of the differences, of their squares, the least and the most; written to.
        counts: ``(2, groups, columns)``: below and above the bounds; written to.
    """
    whole = len(values) // _ROWS * _ROWS
    for start in range(0, values.shape[3], _TILE):
        tile = slice(start, min(start + _TILE, values.shape[3]))
        for row in range(0, whole, _ROWS):
            for group in range(values.shape[1]):
                pivot, low, high = pivots[group, tile], bounds[0, group, tile], bounds[1, group, tile]
                first, second = sums[0, group, tile], sums[1, group, tile]
                least, most = sums[2, group, tile], sums[3, group, tile]
                below, above = counts[0, group, tile], counts[1, group, tile]
                for time in range(values.shape[2]):
                    a, b = values[row, group, time, tile], values[row + 1, group, time, tile]
                    c, d = values[row + 2, group, time, tile], values[row + 3, group, time, tile]
                    for k in range(len(a)):  # loops of two things become vector instructions, one of all would not
                        v, w, x, y = a[k] - pivot[k], b[k] - pivot[k], c[k] - pivot[k], d[k] - pivot[k]
                        first[k] += (v + w) + (x + y)
                        second[k] += (v * v + w * w) + (x * x + y * y)
                    for k in range(len(a)):
                        left = b[k] if b[k] < a[k] else a[k]  # noqa: FURB136 - slower
                        right = d[k] if d[k] < c[k] else c[k]  # noqa: FURB136
                        smaller = right if right < left else left  # noqa: FURB136
                        least[k] = smaller if smaller < least[k] else least[k]  # noqa: FURB136
                        left = b[k] if b[k] > a[k] else a[k]  # noqa: FURB136
                        right = d[k] if d[k] > c[k] else c[k]  # noqa: FURB136
                        larger = right if right > left else left  # noqa: FURB136
                        most[k] = larger if larger > most[k] else most[k]  # noqa: FURB136
                    for k in range(len(a)):
                        left = np.int32(a[k] < low[k]) + np.int32(b[k] < low[k])
                        below[k] += left + (np.int32(c[k] < low[k]) + np.int32(d[k] < low[k]))
                        right = np.int32(a[k] > high[k]) + np.int32(b[k] > high[k])
                        above[k] += right + (np.int32(c[k] > high[k]) + np.int32(d[k] > high[k]))
    for row in range(whole, len(values)):
        for group in range(values.shape[1]):
            for time in range(values.shape[2]):
                for k in range(values.shape[3]):
                    value = values[row, group, time, k]
                    moved = value - pivots[group, k]
                    sums[0, group, k] += moved
                    sums[1, group, k] += moved * moved
                    sums[2, group, k] = min(value, sums[2, group, k])
                    sums[3, group, k] = max(value, sums[3, group, k])
                    counts[0, group, k] += np.int32(value < bounds[0, group, k])
                    counts[1, group, k] += np.int32(value > bounds[1, group, k])


@_compiled(types.void(_read_only("A"), types.i8[:], types.i8[:], types.i8[:], types.f4[:, :, :]))
def take_rows(values: Array, signals: Array, timesteps: Array, samples: Array, rows: Array) -> None:
    """Copy some timesteps of some samples.

    Args:
        values: ``(timesteps, signals, samples, units)``.
        signals: Which ones.
        timesteps: Which one stands in each row.
        samples: Likewise.
        rows: ``(rows, signals, units)``; written to.
    """
    for row in range(len(rows)):
        for place in range(len(signals)):
            source, target = values[timesteps[row], signals[place], samples[row]], rows[row, place]
            for k in range(len(target)):
                target[k] = source[k]
