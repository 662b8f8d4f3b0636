"""Quantiles of columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateprobe.graph import Array


def quantiles(values: Array, shares: Sequence[float]) -> Array:
    """Return quantiles of the finite values of each column, interpolated as `numpy.quantile` does.

    Args:
        values: ``(rows, columns)``.
        shares: From 0 to 1.

    Returns:
        ``(shares, columns)`` float64; NaN for a column without finite values.
    """
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    found = np.full((len(shares), values.shape[1]), np.nan)
    if not count.any():
        return found
    ordered = np.sort(np.where(finite, values, np.nan).T, axis=1)  # NaN stand last
    for number, wanted in enumerate(shares):
        place = wanted * np.maximum(count - 1, 0)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(count - 1, 0))
        low, high = (
            np.take_along_axis(ordered, at[:, np.newaxis], axis=1)[:, 0].astype(np.float64) for at in (below, above)
        )
        found[number] = low + (high - low) * (place - below)
    return found
