"""Mean, spread, extremes and saturation of many numbers at once, taken block by block and merged in any order.

A block is reduced in its own precision around a pivot, so that nothing cancels where a unit hardly moves; blocks are
merged in float64 by the formula of Chan, Golub and LeVeque (1979, "Updating formulae and a pairwise algorithm for
computing sample variances", Stanford STAN-CS-79-773).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from gateprobe.graph import Array

MOST_ROWS = 128
"""Of a block: so many truth values are counted in a byte."""
_MOST_BLOCKS = 16
"""That are looked at around the same pivot."""
_MOST_ADDED = 1024
"""Values that compiled code adds to a column in float32, four at a time; what follows is in float64."""
_WIDE = 128
"""Values of a column that vector instructions need to be fast."""
_CACHED = 1 << 17
"""Values that are looked at again and again while they are in the cache of a core."""
_PIVOTS = 4
"""Rows of a block whose mean is the pivot; of 128, these are enough for six digits of the standard deviation."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Arrays of one shape, such as ``(signals, units)``: what is known of the numbers of each place."""

    count: Array
    """int64: finite numbers."""
    odd: Array
    """int64: NaN and infinities, which are in nothing else."""
    mean: Array
    """float64; 0 where there is no number."""
    squares: Array
    """float64: the sum of the squared deviations from the mean."""
    least: Array
    """float64; infinity where there is no number."""
    most: Array
    """float64; minus infinity where there is no number."""
    low: Array
    """int64: numbers below the lower bound."""
    high: Array
    """int64: numbers above the upper bound."""

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Moments:
        """Return those of no numbers."""
        counts = np.zeros(shape, np.int64)
        zeros = np.zeros(shape)
        return cls(counts, counts, zeros, zeros, np.full(shape, np.inf), np.full(shape, -np.inf), counts, counts)

    @classmethod
    def stacked(cls, parts: Iterable[Moments]) -> Moments:
        """Return several side by side, along a new first axis."""
        found = list(parts)
        return cls(**{field.name: np.stack([getattr(one, field.name) for one in found]) for field in fields(cls)})

    def merged(self, other: Moments) -> Moments:
        """Return those of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        with np.errstate(all="ignore"):  # overflow gives the infinity that it is
            apart = other.mean - self.mean
            return Moments(
                count,
                self.odd + other.odd,
                np.where(other.count > 0, self.mean + apart * share, self.mean),
                self.squares + other.squares + np.where(other.count > 0, apart**2 * share * self.count, 0),
                np.minimum(self.least, other.least),
                np.maximum(self.most, other.most),
                self.low + other.low,
                self.high + other.high,
            )

    def pooled(self) -> Moments:
        """Return those of all places of the last axis together; it stays, with one place."""
        whole = Moments.none((*self.count.shape[:-1], 1))
        parts = self
        while (size := parts.count.shape[-1]) > 1:  # halves, so that no rounding adds up
            half = parts.at((..., slice(size // 2)))
            whole = whole.merged(parts.at((..., slice(2 * (size // 2), size)))) if size % 2 else whole
            parts = half.merged(parts.at((..., slice(size // 2, 2 * (size // 2)))))
        return whole.merged(parts) if parts.count.shape[-1] else whole

    def at(self, place: Any) -> Moments:
        """Return those of some places."""
        return Moments(**{field.name: getattr(self, field.name)[place] for field in fields(self)})

    def with_put(self, place: Any, other: Moments) -> Moments:
        """Return these with others at some places."""
        arrays = {field.name: getattr(self, field.name).copy() for field in fields(self)}
        for name, array in arrays.items():
            array[place] = getattr(other, name)
        return Moments(**arrays)

    @property
    def deviation(self) -> Array:
        """float64: the standard deviation, of all numbers and not of a sample of them; NaN where there is none."""
        with np.errstate(all="ignore"):
            return np.where(self.count > 0, np.sqrt(self.squares / self.count), np.nan)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Below and above which a signal counts as saturated."""

    low: float
    high: float


class Columns:
    """Looks at blocks of one shape; all its memory is used again, since the system clears the pages of a new array.

    Args:
        names: Of the signals.
        shape: Of a row, ``(sets, signals, sets, units)``.
        dtype: Of the signals, float32 or float64.
        bounds: Of signals, as far as they have any.
        compiled: Whether to use Numba, where it has code for this type.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        bounds: Mapping[str, Bounds],
        *,
        compiled: bool = False,
    ) -> None:
        self.kind = (names, shape, dtype, compiled)
        self._bounds = [bounds.get(name) for name in names]
        look = _Compiled if compiled and dtype == np.float32 else _InNumpy
        self._look: _Look = look(shape, dtype, self._bounds)
        columns = self._look.sums.shape[1:]
        self._pivots = np.zeros((shape[1], shape[3]), dtype)
        self._totals, self._saturated = np.empty((2, *columns)), np.empty((2, *columns), np.int32)
        self._least, self._most = np.empty((2, *columns), dtype)
        self._blocks = self._count = 0
        """What has not been merged: blocks, and the numbers of each unit in them."""
        self._merged = Moments.none((shape[1], shape[3]))

    def add(self, values: Array) -> None:
        """Look at a block: ``(rows, sets, signals, sets, units)``, at most `MOST_ROWS` rows."""
        if self._blocks == _MOST_BLOCKS:
            self._merge()
        if not self._blocks:
            self._begin(values)
        sums, saturated = self._look.sums, self._look.saturated
        sums[:2], sums[2], sums[3], saturated[:] = 0, np.inf, -np.inf, 0
        self._look.add(values)
        if np.isfinite(sums[1]).all():
            self._totals += sums[:2]
            np.minimum(self._least, sums[2], out=self._least)
            np.maximum(self._most, sums[3], out=self._most)
            self._saturated += saturated
            self._blocks += 1
            self._count += values.size // self._pivots.size
        else:  # NaN or infinities, or numbers whose squares are too large
            self._merge()
            self._merged = self._merged.merged(self._careful(values))

    def moments(self) -> Moments:
        """Return those of each unit in all blocks, ``(signals, units)``."""
        self._merge()
        return self._merged

    def _begin(self, values: Array) -> None:
        some = values[:: -(-len(values) // _PIVOTS)]
        self._pivots = _of_units(np.add, np.add.reduce(some, axis=0)) / (some.size // self._pivots.size)
        self._look.pivots[:] = self._pivots[:, np.newaxis]
        self._totals[:], self._least[:], self._most[:], self._saturated[:] = 0, np.inf, -np.inf, 0

    def _merge(self) -> None:
        """Take the columns of each unit together."""
        if self._blocks:
            shift, power = _of_units(np.add, self._totals)
            count = np.full(shift.shape, self._count)
            found = Moments(
                count,
                np.zeros_like(count),
                self._pivots + shift / count,
                np.maximum(power - shift**2 / count, 0),
                _of_units(np.minimum, self._least).astype(np.float64),
                _of_units(np.maximum, self._most).astype(np.float64),
                *_of_units(np.add, self._saturated),
            )
            self._merged = self._merged.merged(found)
            self._blocks = self._count = 0

    def _careful(self, values: Array) -> Moments:
        rows = [values[:, :, k].reshape(-1, values.shape[-1]) for k in range(len(self._bounds))]
        return Moments.stacked(careful(some, None, bounds) for some, bounds in zip(rows, self._bounds, strict=True))


class _Look(Protocol):
    """Sums of each column of a block, whose shape is ``(sets, signals, sets, units)``."""

    pivots: Array
    """Of that shape: what is subtracted before anything is added."""
    sums: Array
    """``(4, ...)``: of the differences, of their squares, the least and the most."""
    saturated: Array
    """``(2, ...)`` int32: below and above the bounds."""

    def add(self, values: Array) -> None:
        """Add the rows of a block to the sums."""


class _InNumpy:
    """Looks at blocks by NumPy, some rows at a time that stay in the cache."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], bounds: Sequence[Bounds | None]) -> None:
        self.pivots, self.sums = np.empty(shape, dtype), np.empty((4, *shape), dtype)
        self.saturated = np.empty((2, *shape), np.int32)
        self._bounded = list(_runs(bounds))
        self._rows = max(1, min(MOST_ROWS, _CACHED // math.prod(shape)))
        self._moved = np.empty((self._rows, *shape), dtype)
        self._truths = np.zeros((self._rows, *shape), np.bool_)  # remains so where there are no bounds
        self._part = np.empty(shape, dtype)

    def add(self, values: Array) -> None:
        for start in range(0, len(values), self._rows):
            self._add(values[start : start + self._rows])

    def _add(self, values: Array) -> None:
        moved, truths, part, sums = self._moved[: len(values)], self._truths[: len(values)], self._part, self.sums
        np.minimum(sums[2], np.minimum.reduce(values, axis=0, out=part), out=sums[2])
        np.maximum(sums[3], np.maximum.reduce(values, axis=0, out=part), out=sums[3])
        for at, bounds in self._bounded:
            np.less(values[:, :, at], bounds.low, out=truths[:, :, at])
        self.saturated[0] += np.add.reduce(truths.view(np.uint8), axis=0, dtype=np.uint8)
        for at, bounds in self._bounded:
            np.greater(values[:, :, at], bounds.high, out=truths[:, :, at])
        self.saturated[1] += np.add.reduce(truths.view(np.uint8), axis=0, dtype=np.uint8)
        np.subtract(values, self.pivots, out=moved)
        sums[0] += np.add.reduce(moved, axis=0, out=part)
        flat = moved.reshape(len(moved), -1)
        np.einsum("ij,ij->j", flat, flat, out=part.reshape(-1))
        sums[1] += part


class _Compiled:
    """Looks at blocks of float32 by compiled code; samples share columns, so that sums stay in the first cache."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], bounds: Sequence[Bounds | None]) -> None:
        sets, signals, samples, units = shape
        beside = next(n for n in range(1, samples + 1) if n == samples or _is_enough(n, samples, units))
        columns = (sets, signals, beside, units)
        self.pivots, self.sums = np.empty(columns, dtype), np.empty((4, *columns), dtype)
        self.saturated = np.empty((2, *columns), np.int32)
        sides = [(-np.inf, np.inf) if one is None else astuple(one) for one in bounds]
        self._limits = np.empty((2, *columns), dtype)
        self._limits[:] = np.array(sides, dtype).T[:, np.newaxis, :, np.newaxis, np.newaxis]
        self._groups = (1, 1) if samples == 1 else (signals, samples // beside)

    def add(self, values: Array) -> None:
        from gateprobe.analysis.compiled import add_rows  # noqa: PLC0415 - 0.3 s, for large runs

        rows = values.reshape(len(values), *self._groups, -1)
        rows = rows[::-1] if rows.strides[0] < 0 else rows  # their order does not matter
        columns = (self.pivots[np.newaxis], self._limits, self.sums, self.saturated)
        pivots, *others = (array.reshape(len(array), self._groups[0], -1) for array in columns)
        add_rows(np.ascontiguousarray(rows), pivots[0], *others)


def _is_enough(beside: int, samples: int, units: int) -> bool:
    """Return whether columns of so many samples make long loops, and hold few enough values for sums in float32."""
    return samples % beside == 0 and beside * units >= _WIDE and samples // beside * MOST_ROWS <= _MOST_ADDED


def _of_units(how: np.ufunc, columns: Array) -> Array:
    """Take ``(..., sets, signals, sets, units)`` together; one axis after the other is faster than both."""
    taken: Array = how.reduce(how.reduce(columns, axis=-2), axis=-3)
    return taken


def _runs(bounds: Sequence[Bounds | None]) -> Iterator[tuple[slice, Bounds]]:
    """Yield signals that stand side by side and have the same bounds: one call is faster than several."""
    for same, places in groupby(range(len(bounds)), bounds.__getitem__):
        run = list(places)
        if same is not None:
            yield slice(run[0], run[-1] + 1), same


def careful(values: Array, valid: Array | None, bounds: Bounds | None) -> Moments:
    """Take the moments of each column in float64, whatever is in it.

    Args:
        values: ``(rows, columns)``.
        valid: Which ones count, likewise; all without it.
        bounds: See `by_column`.
    """
    wide = values.astype(np.float64)
    there = np.ones(wide.shape, bool) if valid is None else valid
    good = there & np.isfinite(wide)
    count = good.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(good, wide, 0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(good, wide - mean, 0) ** 2).sum(axis=0)
    nothing = np.zeros_like(count)
    return Moments(
        count,
        (there & ~good).sum(axis=0),
        mean,
        squares,
        np.where(good, wide, np.inf).min(axis=0, initial=np.inf),
        np.where(good, wide, -np.inf).max(axis=0, initial=-np.inf),
        nothing if bounds is None else (good & (wide < bounds.low)).sum(axis=0),
        nothing if bounds is None else (good & (wide > bounds.high)).sum(axis=0),
    )


def by_row(names: tuple[str, ...], values: Array, mask: Array | None, bounds: Mapping[str, Bounds]) -> Moments:
    """Take the moments of each row over everything in it, ``(signals, rows)``.

    Args:
        names: Of the signals.
        values: ``(rows, signals, samples, units)``.
        mask: ``(rows, samples)``: what counts; all without it.
        bounds: Of signals, as far as they have any.
    """
    return Moments.stacked(_of_rows(values[:, k], mask, bounds.get(name)) for k, name in enumerate(names))


def _of_rows(values: Array, mask: Array | None, bounds: Bounds | None) -> Moments:
    flat = values.reshape(len(values), -1)
    if mask is not None:
        valid = np.repeat(mask, values.shape[2], axis=1)
        return careful(flat.T, valid.T, bounds)
    mean = np.add.reduce(flat, axis=1, dtype=np.float64) / flat.shape[1]
    moved = flat - mean[:, np.newaxis].astype(flat.dtype)
    squares = np.einsum("ij,ij->i", moved, moved).astype(np.float64)
    if not np.isfinite(squares).all():
        return careful(flat.T, None, bounds)
    count = np.full(len(flat), flat.shape[1])
    nothing = np.zeros_like(count)
    return Moments(
        count,
        nothing,
        mean,
        squares,
        flat.min(axis=1).astype(np.float64),
        flat.max(axis=1).astype(np.float64),
        nothing if bounds is None else np.count_nonzero(flat < bounds.low, axis=1),
        nothing if bounds is None else np.count_nonzero(flat > bounds.high, axis=1),
    )
