"""From reports by the rule to the differences that `compare` returns."""

from __future__ import annotations

import numpy as np

from gateprobe.analysis.agreement import Divergence, SignalReport
from gateprobe.analysis.comparison import Difference, Place
from gateprobe.graph import Array

_SHOWN = 9
"""Steps at which a difference is told."""


def difference(report: SignalReport, apart: Array, compared: Array, *, backwards: bool, exact: bool) -> Difference:
    """Return what a report says, and how the difference grew.

    Args:
        report: By the rule.
        apart: ``(samples, timesteps, units)``: absolute differences.
        compared: Of that shape: where to look.
        backwards: Whether the layer ran from the last timestep to the first.
        exact: Whether there is a replay in float64.
    """
    return Difference(
        report.layer, report.direction, report.signal, report.values, report.keras_replay.max_abs,
        report.keras_replay.mean_abs, _growth(apart, compared, backwards=backwards), report.required, report.mismatches,
        None if report.first is None else place(report.first, exact=exact),
        None if report.worst is None else place(report.worst, exact=exact),
    )  # fmt: skip


def _growth(apart: Array, compared: Array, *, backwards: bool) -> tuple[tuple[int, float], ...]:
    """Return the largest difference at some steps, the first and the last one among them."""
    use = compared & np.isfinite(apart)
    each = np.where(use, apart, 0.0).max(axis=(0, 2), initial=0.0)
    there = use.any(axis=(0, 2))
    order = slice(None, None, -1) if backwards else slice(None)
    each = each[order]
    steps = np.flatnonzero(np.asarray(there)[order])
    if not len(steps):
        return ()
    shown = np.unique(np.linspace(0, len(steps) - 1, min(_SHOWN, len(steps))).round().astype(int))
    return tuple((int(steps[n]), float(each[steps[n]])) for n in shown)


def place(found: Divergence, *, exact: bool) -> Place:
    """Return where a disagreement is."""
    return Place(
        found.layer, found.direction, found.signal, found.sample, found.timestep or 0, found.step or 0, found.unit,
        ours=found.replay, theirs=found.keras, exact=found.exact if exact else None, allowed=found.allowed,
    )  # fmt: skip
