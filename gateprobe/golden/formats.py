"""What a number format costs: the model replayed with every result rounded to it.

Every layer rounds its weights, its input and the result of each operation to the format; sums inside one matrix product
are kept in full, as wide accumulators keep them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, groups_within
from gateprobe.layers.base import FLOAT64, Precision
from gateprobe.opened_model import OpenedModel
from gateprobe.verification.replay import Replayed, ReplayOptions, Subject, replay

_STANDARD = ((0, 7), (3, 4), (7, 8), (3, 12), (15, 16), (7, 24))
"""Qm.n of 8, 16 and 32 bits that are tried beside the floating point formats."""
_MOST_BITS = 32


@dataclass(frozen=True, slots=True)
class FixedPoint(Precision):
    """Qm.n: a sign, m bits before the point and n behind it; rounds to the nearest, and saturates.

    To the layers it is float64 that is rounded after each operation, as half precision is float32.
    """

    whole: int = 0
    bits: int = 0

    @property
    def label(self) -> str:
        """``Q7.8``."""
        return f"Q{self.whole}.{self.bits}"

    @property
    def exact(self) -> bool:
        """Results must be rounded."""
        return False

    @property
    def total(self) -> int:
        """Bits altogether."""
        return 1 + self.whole + self.bits

    def cast(self, x: Array) -> Array:
        """Return ``x`` in the format."""
        return self.round(x.astype(np.float64))

    def round(self, x: Array) -> Array:
        """Round to the nearest number of the format; what is too large becomes the largest."""
        step, most = 2.0**-self.bits, 2.0**self.whole
        rounded: Array = np.clip(np.rint(x / step) * step, -most, most - step)
        return rounded


def fixed_point(whole: int, bits: int) -> FixedPoint:
    """Return Qm.n."""
    return FixedPoint("float64", whole, bits)


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a signal takes."""

    place: str
    """``layer/direction``, ``output NAME`` or ``input NAME``."""
    signal: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    """How far a signal is off in a format."""

    format: str
    place: str
    signal: str
    worst: float
    mean: float


@dataclass(frozen=True, slots=True)
class Study:
    """What number formats cost."""

    ranges: tuple[Range, ...]
    costs: tuple[Cost, ...]
    smallest: str | None
    """The Q format of the fewest bits that keeps the error at the outputs; ``None`` where none does."""
    keep: float | None
    """The largest error at the outputs that was allowed."""


def study(model: OpenedModel, x: Mapping[str, Array], *, rows: int = 64, keep: float | None = None) -> Study:
    """Replay a model in several number formats.

    Args:
        model: The model.
        x: Inputs by name.
        rows: Samples in a batch.
        keep: The largest error at the outputs for which to find the smallest Q format.

    Raises:
        UnsupportedModel: The model cannot be replayed.
        InputError: ``keep`` is no positive number.
    """
    if keep is not None and not (keep > 0 and math.isfinite(keep)):
        raise InputError(f"--keep={keep:g}: expected a number above 0")
    subject, options = Subject(model.graph, model.semantics), ReplayOptions(model.inputs, rows, precision=FLOAT64)
    exact = replay(subject, x, options)
    ranges = tuple(_ranges(exact, x, model.outputs))
    precisions = [Precision("float16"), Precision("bfloat16"), *(fixed_point(*one) for one in _STANDARD)]
    costs = tuple(cost for one in precisions for cost in _costs(one, _run(subject, x, options, one), exact, model))
    smallest = None if keep is None else _smallest(subject, x, options, exact, model, keep, ranges)
    return Study(ranges, costs, smallest, keep)


def _run(subject: Subject, x: Mapping[str, Array], options: ReplayOptions, precision: Precision) -> Replayed:
    return replay(subject, x, replace(options, precision=precision))


def _named(found: Replayed, outputs: Sequence[str]) -> Iterator[tuple[str, str, Array]]:
    for (layer, direction), part in found.traces.items():
        for signal, value in part.signals.items():
            yield f"{layer}/{direction}", signal, value
    for name, output in zip(outputs, found.outputs, strict=True):
        if output is not None:
            yield f"output {name}", "", output


def _ranges(found: Replayed, x: Mapping[str, Array], outputs: Sequence[str]) -> Iterator[Range]:
    for name, array in x.items():
        yield Range(f"input {name}", "", float(array.min(initial=0)), float(array.max(initial=0)))
    for place, signal, value in _named(found, outputs):
        yield Range(place, signal, float(np.nanmin(value)), float(np.nanmax(value)))


def _costs(precision: Precision, found: Replayed, exact: Replayed, model: OpenedModel) -> Iterator[Cost]:
    label = precision.label if isinstance(precision, FixedPoint) else precision.name
    pairs = zip(_named(found, model.outputs), _named(exact, model.outputs), strict=True)
    for (place, signal, ours), (_, _, theirs) in pairs:
        gap = np.abs(ours.astype(np.float64) - theirs)
        yield Cost(label, place, signal, float(np.nanmax(gap)), float(np.nanmean(gap)))


def _smallest(
    subject: Subject,
    x: Mapping[str, Array],
    options: ReplayOptions,
    exact: Replayed,
    model: OpenedModel,
    keep: float,
    ranges: Sequence[Range],
) -> str | None:
    """Return the Q format of the fewest bits, and of those with the most behind the point, that keeps the error."""
    largest = max((abs(edge) for one in ranges for edge in (one.low, one.high)), default=0.0)
    arrays = (array.value for group in groups_within(subject.graph.weights.root) for array in group.arrays)
    largest = max([largest, *(float(np.abs(array).max(initial=0)) for array in arrays)])
    needed = max(0, math.ceil(math.log2(largest))) if largest > 0 else 0  # more bits before the point change nothing
    for total in range(2, _MOST_BITS + 1):
        for whole in range(min(needed, total - 1) + 1):
            precision = fixed_point(whole, total - 1 - whole)
            costs = _costs(precision, _run(subject, x, options, precision), exact, model)
            if all(cost.worst <= keep for cost in costs if cost.place.startswith("output ")):
                return precision.label
    return None
