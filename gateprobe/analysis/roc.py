"""The area under a ROC curve."""

from __future__ import annotations

import numpy as np

from gateprobe.graph import Array


def roc_area(values: Array, labels: Array, weights: Array) -> float:
    """Return the probability that a value with yes is above one with no; equal values count one half.

    That is the statistic of Mann and Whitney, divided by the number of pairs.

    Args:
        values: ``(rows,)``.
        labels: ``(rows,)`` 1 for yes, 0 for no, NaN for neither.
        weights: ``(rows,)``: how many each one stands for.

    Returns:
        NaN where there is no yes, no no, or a value that is not finite.
    """
    known = np.isfinite(labels)
    values, yes, weights = values[known], labels[known] == 1, weights[known]
    if yes.all() or not yes.any() or not np.isfinite(values).all():
        return float("nan")
    groups = np.unique(values, return_inverse=True)[1]
    positive, negative = (np.bincount(groups, np.where(side, weights, 0)) for side in (yes, ~yes))
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))
