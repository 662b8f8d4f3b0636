"""Counts over all timesteps of all samples: saturation and histograms, in one pass that holds one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from gateprobe.analysis.moments import Bounds, Moments, careful
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.pictures.values import Facts, Histogram, Saturation
from gateprobe.traces.chunk import DirectionTrace, TraceChunk

_HALF = 40
"""Half the bins of a histogram, from zero to its limit; those of a gate are 0.025 wide."""


@dataclass(slots=True)
class Counted:
    """What a pass went through."""

    samples: int = 0
    left_out: int = 0
    """Values that are not finite."""
    masked: bool = False
    """Whether timesteps were masked, which do not count."""


class _Tally(Protocol):
    """Counts the values of one signal of one direction."""

    def add(self, values: Array) -> None:
        """Count ``(values, units)``; NaN does not count."""


def histograms(chunks: Iterable[TraceChunk], signals: Sequence[str]) -> tuple[list[Histogram], Counted]:
    """Count how often the signals of each direction have which value, over all units."""
    found, counted = _tallied(chunks, signals, lambda part: _Bins())
    return [Histogram(facts, *bins.used()) for (facts, _), bins in found], counted


def saturations(
    chunks: Iterable[TraceChunk], signals: Sequence[str], limits: tuple[float, float]
) -> tuple[list[Saturation], Counted]:
    """Count how often the gates of each unit are below and above the limits.

    Source: Karpathy, Johnson and Fei-Fei 2015, arXiv 1506.02078, section 4.2, with limits of 0.1 and 0.9.
    """
    found, counted = _tallied(chunks, signals, lambda part: _Shares(limits, Moments.none((len(part.units),))))
    results = [(facts, units, *shares.result()) for (facts, units), shares in found]
    return [Saturation(facts, units, low, high, limits) for facts, units, low, high in results], counted


_Found = list[tuple[tuple[Facts, Array], Any]]


def _tallied(
    chunks: Iterable[TraceChunk], signals: Sequence[str], make: Callable[[DirectionTrace], _Tally]
) -> tuple[_Found, Counted]:
    tallies: dict[tuple[str, str, str], tuple[tuple[Facts, Array], _Tally]] = {}
    counted = Counted()
    for chunk in chunks:
        counted.samples += 0 if chunk.continues else len(chunk.samples)
        for part in chunk.directions:
            for name in _wanted(part, signals):
                facts = {"layer": part.layer, "direction": part.direction, "signal": name}
                _, tally = tallies.setdefault((part.layer, part.direction, name), ((facts, part.units), make(part)))
                values = _counting(part, name, counted)
                tally.add(values)
                counted.left_out += int((~np.isfinite(values)).sum())
    if not tallies:
        raise InputError(
            f"--kind: there are none of the signals {', '.join(signals)}", remedy="choose others with --signal"
        )
    return list(tallies.values()), counted


def _wanted(part: DirectionTrace, signals: Sequence[str]) -> Iterator[str]:
    return (name for name in part.signals if name in signals)


def _counting(part: DirectionTrace, signal: str, counted: Counted) -> Array:
    """Return ``(values, units)`` at the timesteps that no mask leaves out."""
    values = part[signal]
    table: Array = values.reshape(*values.shape[:2], -1)
    if part.mask is None or part.mask.all():
        return table.reshape(-1, table.shape[-1])
    counted.masked = True
    return table[part.mask.reshape(*part.mask.shape[:2], -1).any(axis=-1)]


@dataclass(slots=True, eq=False)
class _Shares:
    """Counts with the moments that `gateprobe.analysis.statistics` gathers."""

    limits: tuple[float, float]
    moments: Moments

    def add(self, values: Array) -> None:
        bounds = Bounds(*np.array(self.limits, values.dtype).tolist())  # a float32 of 0.7 is not below 0.7
        self.moments = self.moments.merged(careful(values, None, bounds))

    def result(self) -> tuple[Array, Array]:
        number = np.maximum(self.moments.count, 1)
        return self.moments.low / number, self.moments.high / number


@dataclass(slots=True, eq=False)
class _Bins:
    """Counts in bins around zero, which become twice as wide when a value lies beyond the last."""

    limit: float = 1.0
    counts: Array = field(default_factory=lambda: np.zeros(2 * _HALF, np.int64))

    def add(self, values: Array) -> None:
        finite = values[np.isfinite(values)].astype(np.float64)
        while finite.size and float(np.abs(finite).max()) > self.limit:
            self._widen()
        found, _ = np.histogram(finite, 2 * _HALF, (-self.limit, self.limit))
        self.counts += found

    def used(self) -> tuple[Array, Array]:
        """Return edges and counts of the bins from the first to the last that holds something; 0 to 1 at least."""
        edges = np.linspace(-self.limit, self.limit, 2 * _HALF + 1)
        held = np.flatnonzero(self.counts)
        first = min(int(held[0]), _HALF) if len(held) else _HALF
        last = max(int(held[-1]) + 1, int(np.searchsorted(edges, 1.0))) if len(held) else 2 * _HALF
        if first < _HALF:  # what has a sign is drawn as far below zero as above
            reach = max(_HALF - first, last - _HALF)
            first, last = _HALF - reach, _HALF + reach
        return edges[first : last + 1], self.counts[first:last]

    def _widen(self) -> None:
        """Put neighbours together: they are the middle half of bins that reach twice as far."""
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros_like(self.counts)
        self.counts[_HALF // 2 : _HALF // 2 + _HALF] = pairs
        self.limit *= 2
