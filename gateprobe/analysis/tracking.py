"""Units that follow a signal of the user's: correlation at several lags, and ROC areas for yes or no.

Correlations are of every timestep that counts, in one pass and in float64. ROC areas need the order of all values: they
are those of the values themselves as long as there are no more than 8,192 timesteps with yes and as many with no, and
beyond that of uniform samples of as many of both (`gateprobe.analysis.row_sample`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gateprobe.analysis.roc import roc_area
from gateprobe.analysis.row_sample import RowSample, keys_of
from gateprobe.analysis.targets import Position, Target
from gateprobe.errors import GateprobeWarning, InputError
from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace, TraceChunk

if TYPE_CHECKING:
    import polars as pl

DEFAULT_SIGNALS = ("cell_state", "hidden_state")
"""What is compared with the signal, unless the user says."""
LAGS = 5
"""Timesteps by which a unit may be late or early."""


@dataclass(frozen=True, slots=True)
class Follower:
    """How well one unit follows the signal in one of its own signals."""

    layer: str
    direction: str
    unit: int
    signal: str
    correlation: float
    """Pearson's, at the same timestep; NaN where the unit never moves, or has values that are not finite."""
    best: float
    """The strongest correlation at any lag."""
    lag: int
    """The lag of it: so many timesteps later than the given signal; negative where the unit is ahead."""
    roc_area: float
    """The probability that the value at a timestep with yes is above that at one with no, at that lag; NaN for a signal
    that is no yes or no."""
    count: int
    """Timesteps that were compared at that lag."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tracking:
    """How well each unit follows a signal; see `followers`."""

    signal: str
    """What was given, in words."""
    yes_or_no: bool
    """Whether it holds 0 and 1 alone."""
    lags: int
    samples: int
    followers: tuple[Follower, ...]
    """Every unit in every signal, the strongest correlation first."""

    def to_polars(self) -> pl.DataFrame:
        """Return a row for each of `followers`, in their order."""
        from gateprobe.analysis.tracking_table import table  # noqa: PLC0415 - Polars takes 0.1 s to import

        return table(self.followers)

    def __repr__(self) -> str:
        lines = [f"Tracking of {self.signal} in {self.samples:,} samples"]
        lines += [
            f"  {one.layer} {one.direction} unit {one.unit} {one.signal}: {one.best:.3f} at lag {one.lag}"
            for one in self.followers[:5]
        ]
        return "\n".join(lines)


def track(chunks: Iterable[TraceChunk], target: Target, *, lags: int = LAGS) -> Tracking:
    """Go through a run once.

    Args:
        chunks: All of it; the wanted signals alone.
        target: What to follow.
        lags: The most timesteps by which a unit may be late or early.

    Raises:
        InputError: The signal does not fit the run, or never changes.
    """
    if lags < 0:
        raise InputError(f"--lags={lags}: expected 0 or more")
    lags = 0 if isinstance(target, Position) else lags  # the position so much earlier is the position
    directions: list[_Direction] = []
    samples = 0
    for chunk in chunks:
        directions = directions or [_Direction(part, target, lags) for part in chunk.directions]
        samples += 0 if chunk.continues else len(chunk.samples)
        for direction, part in zip(directions, chunk.directions, strict=True):
            direction.add(chunk.samples, part)
    fitting = [direction for direction in directions if direction.fits]
    _check(directions, fitting, target)
    yes_or_no = all(direction.yes_or_no for direction in fitting)
    found = [one for direction in fitting for one in direction.followers(yes_or_no=yes_or_no)]
    found.sort(key=lambda one: -abs(one.best) if one.best == one.best else 1)
    return Tracking(target.name, yes_or_no, lags, samples, tuple(found))


def _check(directions: list[_Direction], fitting: list[_Direction], target: Target) -> None:
    if not directions:
        raise InputError("there is nothing to look at: the trace holds no recurrent layer")
    others = {one.first.layer: one.first.length for one in directions if not one.fits}
    if not fitting:
        there = ", ".join(f"{layer} has {length}" for layer, length in others.items())
        raise InputError(
            f"has {target.timesteps} timesteps for each sample, where {there}",
            file=target.name,
            remedy="give (samples, timesteps), one number for each timestep of the layer's input",
        )
    for layer, length in others.items():
        note = f"{layer} is left out: it has {length} timesteps, and {target.name} has {target.timesteps}"
        warnings.warn(note, GateprobeWarning, stacklevel=3)
    if not any(one.counted for one in fitting):
        raise InputError("has no value at any timestep that counts", file=target.name)
    if all(one.is_constant for one in fitting):
        value = next(one.least for one in fitting if one.counted)
        raise InputError(
            f"is {value:g} at every timestep that counts, so that nothing can follow it",
            file=target.name,
            remedy="give a signal that changes",
        )


@dataclass(slots=True, eq=False)
class _Direction:
    """What has been gathered of one direction.

    Sums are those of numbers around pivots, so that nothing cancels; the pivots are means of the first samples.
    """

    first: DirectionTrace
    target: Target
    lags: int
    yes_or_no: bool = True
    least: float = np.inf
    most: float = -np.inf
    counted: int = 0
    sums: _Sums | None = None
    pivots: tuple[Array, float] | None = None
    classes: tuple[RowSample, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the signal has as many timesteps as the layer's input."""
        return self.target.timesteps in (None, self.first.length)

    @property
    def is_constant(self) -> bool:
        """Whether the signal never changes."""
        return self.counted == 0 or self.least == self.most

    @property
    def shifts(self) -> range:
        """All lags."""
        return range(-self.lags, self.lags + 1)

    def add(self, samples: Array, part: DirectionTrace) -> None:
        """Take in some samples, or a slab of one."""
        if not self.fits or not len(part.timesteps):
            return
        step = max(1, (1 << 20) // max(1, len(part.timesteps) * len(part.units) * len(part.signals)))
        for start in range(0, len(samples), step):
            self._add(samples[start : start + step], part, slice(start, start + step))

    def _add(self, samples: Array, part: DirectionTrace, at: slice) -> None:
        mask = np.ones((len(samples), len(part.timesteps)), bool) if part.mask is None else part.mask[at]
        given = self.target.values(samples, part, at)  # (samples, timesteps)
        wanted = _lagged(np.where(mask, given, np.nan), part.timesteps, self.shifts)[mask]  # (rows, lags)
        units = np.concatenate([_flat(value[at])[mask] for value in part.signals.values()], axis=1, dtype=np.float64)
        known = np.isfinite(wanted)
        here = given[mask & np.isfinite(given)]
        if len(here):
            self.least, self.most = min(self.least, float(here.min())), max(self.most, float(here.max()))
            self.yes_or_no = self.yes_or_no and bool(np.isin(here, (0, 1)).all())
            self.counted += len(here)
        if not known.any():
            return
        if self.pivots is None or self.sums is None:
            self.pivots = np.nan_to_num(units.mean(axis=0), posinf=0, neginf=0), float(wanted[known].mean())
            self.sums = _Sums.none(len(self.shifts), units.shape[1])
        self.sums.add(units - self.pivots[0], np.where(known, wanted - self.pivots[1], 0), known)
        if self.yes_or_no:
            self._offer(samples, part, mask, given, (units, wanted))

    def _offer(
        self, samples: Array, part: DirectionTrace, mask: Array, given: Array, rows: tuple[Array, Array]
    ) -> None:
        """Offer the timesteps to the samples of no, of yes and of neither.

        A row holds the units, then the signal at each lag.
        """
        if not self.classes:
            shape = (sum(array.shape[1] for array in rows),)
            self.classes = tuple(RowSample(shape, np.dtype(np.float64)) for _ in range(3))
        place = np.full(mask.shape, -1)
        place[mask] = np.arange(np.count_nonzero(mask))
        keys = keys_of(samples, part.timesteps)
        for sample, those in zip(self.classes, (given == 0, given == 1, np.isnan(given)), strict=True):
            sample.offer(samples, part.timesteps, keys, mask & those, partial(_take, place, rows))

    def followers(self, *, yes_or_no: bool) -> Iterable[Follower]:
        """Yield every unit in every signal."""
        if self.sums is None:
            return
        correlations = self.sums.correlations()  # (lags, signals * units)
        best = _strongest(correlations, self.lags)
        areas = self._areas(best) if yes_or_no else np.full(len(best), np.nan)
        units = len(self.first.units)
        for column, (lag, area) in enumerate(zip(best, areas, strict=True)):
            yield Follower(
                self.first.layer,
                self.first.direction,
                int(self.first.units[column % units]),
                list(self.first.signals)[column // units],
                float(correlations[self.lags, column]),
                float(correlations[lag, column]),
                self.shifts[lag],
                float(area),
                int(self.sums.count[lag]),
            )

    def _areas(self, best: Array) -> Array:
        """Return the ROC area of each column at its best lag."""
        if not self.classes:
            return np.full(len(best), np.nan)
        rows = [sample.rows()[1] for sample in self.classes]
        stands_for = (one.seen / max(1, len(kept)) for one, kept in zip(self.classes, rows, strict=True))
        weights = np.concatenate([np.full(len(kept), many) for kept, many in zip(rows, stands_for, strict=True)])
        values = np.concatenate(rows)
        return np.array([roc_area(values[:, k], values[:, len(best) + lag], weights) for k, lag in enumerate(best)])


def _strongest(correlations: Array, middle: int) -> Array:
    """Return the lag of the strongest correlation of each column; lag 0, in the middle, where none is stronger."""
    strength = np.where(np.isnan(correlations), -1, np.abs(correlations))
    best: Array = np.where(strength[middle] >= strength.max(axis=0), middle, strength.argmax(axis=0))
    return best


@dataclass(slots=True, eq=False)
class _Sums:
    """Sums over the timesteps that count at each lag."""

    count: Array
    """``(lags,)``."""
    given: Array
    """``(lags,)``: of the signal."""
    given_squares: Array
    units: Array
    """``(lags, columns)``: of the units."""
    unit_squares: Array
    products: Array

    @classmethod
    def none(cls, lags: int, columns: int) -> _Sums:
        return cls(*(np.zeros(lags) for _ in range(3)), *(np.zeros((lags, columns)) for _ in range(3)))

    def add(self, units: Array, given: Array, known: Array) -> None:
        """Take in timesteps.

        Args:
            units: ``(rows, columns)``.
            given: ``(rows, lags)``; 0 where nothing is known.
            known: Likewise.
        """
        weights = known.T.astype(np.float64)
        self.count += weights.sum(axis=1)
        self.given += given.sum(axis=0)
        self.given_squares += (given**2).sum(axis=0)
        with np.errstate(all="ignore"):  # units with infinities come out as NaN
            self.units += weights @ units
            self.unit_squares += weights @ units**2
            self.products += given.T @ units

    def correlations(self) -> Array:
        """Return Pearson's correlation, ``(lags, columns)``; NaN where one of the two never changes."""
        with np.errstate(all="ignore"):
            count = np.maximum(self.count, 1)[:, np.newaxis]
            given = self.given[:, np.newaxis]
            spread = self.given_squares[:, np.newaxis] - given**2 / count
            spreads = self.unit_squares - self.units**2 / count
            still = ~(spreads > 1e-12 * self.unit_squares) | ~(spread > 1e-12 * self.given_squares[:, np.newaxis])
            found = (self.products - given * self.units / count) / np.sqrt(spread * spreads)
        return np.where(still | ~np.isfinite(found), np.nan, np.clip(found, -1, 1))


def _lagged(given: Array, timesteps: Array, shifts: range) -> Array:
    """Return the signal so many timesteps before each one, ``(samples, timesteps, lags)``; NaN where it is not there.

    Args:
        given: ``(samples, timesteps)``.
        timesteps: ``(timesteps,)`` their numbers; those between may be missing.
        shifts: The lags.
    """
    wanted = timesteps[:, np.newaxis] - np.array(shifts)
    place = np.minimum(np.searchsorted(timesteps, wanted), len(timesteps) - 1)
    return np.where(timesteps[place] == wanted, given[:, place], np.nan)


def _flat(values: Array) -> Array:
    return values.reshape(*values.shape[:2], -1)


def _take(place: Array, rows: tuple[Array, Array], samples: Array, timesteps: Array, out: Array) -> None:
    at = place[samples, timesteps]
    np.concatenate([array[at] for array in rows], axis=1, out=out)
