"""A model's outputs as tables.

A row for each number, in the order sample, output, axes. The columns are ``sample``, ``output``, one for each axis of
the outputs, and ``value``. The last axis is ``unit``; the one between it and the samples is ``timestep``; where there
are several between them, they are ``axis_1``, ``axis_2``, ... An output without an axis has no value in its column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.writers.pieces import BLOCK_ROWS
from gateprobe.writers.rows import Outputs, Rows


def axes_of(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Name the axes of an output behind the samples.

    Args:
        shape: Of one sample.
    """
    if len(shape) < 2:
        return ("unit",)[: len(shape)]
    between = ("timestep",) if len(shape) == 2 else tuple(f"axis_{number}" for number in range(1, len(shape)))
    return (*between, "unit")


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """The columns of a run's table, and its rows for one sample."""

    names: tuple[str, ...]
    """What the table calls the outputs."""
    shapes: tuple[tuple[int, ...], ...]
    """Of one sample."""
    dtype: np.dtype[np.generic]

    @property
    def rows(self) -> int:
        """Of one sample."""
        return sum(map(math.prod, self.shapes))

    @property
    def axes(self) -> tuple[str, ...]:
        """Those that any output has; ``unit`` is the last one."""
        found = {axis for shape in self.shapes for axis in axes_of(shape)}
        return tuple(sorted(found, key=lambda axis: (axis == "unit", axis != "timestep", len(axis), axis)))

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, Array]]:
        """Yield the outputs that some rows of a sample belong to, and which of its numbers they are."""
        first = 0
        for number, size in enumerate(map(math.prod, self.shapes)):
            low, high = max(start, first), min(stop, first + size)
            if low < high:
                yield number, np.arange(low - first, high - first)
            first += size

    def index(self, start: int, stop: int, samples: int) -> Iterator[pl.Series]:
        """Yield the columns of some rows of each sample that say where a number stands."""
        spans = list(self.spans(start, stop))
        categories = pl.Series("output", self.names, pl.Enum(self.names))
        codes = np.concatenate([np.full(len(numbers), output, np.uint32) for output, numbers in spans])
        yield categories.gather(np.tile(codes, samples))
        for axis in self.axes:
            parts = [_along(axis, self.shapes[output], numbers) for output, numbers in spans]
            column = np.tile(np.concatenate(parts), samples)
            series = pl.Series(axis, column)
            yield series.set(pl.Series(column < 0), None) if (column < 0).any() else series


def _along(axis: str, shape: tuple[int, ...], numbers: Array) -> Array:
    """Return the places along an axis of some numbers of a sample; -1 for all if it has no such axis."""
    axes = axes_of(shape)
    if axis not in axes:
        return np.full(len(numbers), -1, np.int32)
    return np.unravel_index(numbers, shape)[axes.index(axis)].astype(np.int32)


def _value_type(first: Outputs) -> np.dtype[np.generic]:
    """Return a type that holds the numbers of every output exactly, of those that tables have."""
    found: np.dtype[np.generic] = np.result_type(*first)
    return np.dtype(np.float32) if found == np.float16 else found


@dataclass(slots=True, eq=False)
class PredictionTables:
    """Turns the outputs of a run into tables of a handy size."""

    names: tuple[str, ...]
    """What the table calls the outputs."""
    _columns: _Columns | None = None
    _rows: Rows = field(default_factory=lambda: Rows(1))
    _sample: int = 0
    """Number of the next one."""

    def push(self, block: Outputs) -> Iterator[pl.DataFrame]:
        """Take the outputs of the next samples and yield the tables that are ready.

        Raises:
            InputError: There are no numbers in them.
        """
        if self._columns is None:
            self._columns = _Columns(self.names, tuple(array.shape[1:] for array in block), _value_type(block))
            if not self._columns.rows:
                raise InputError("there is nothing to write: the outputs hold no numbers")
            self._rows = Rows(max(1, BLOCK_ROWS // self._columns.rows), patience=0.1)
        for ready in self._rows.push(block):
            yield from self._frames(ready, self._columns)

    def rest(self) -> Iterator[pl.DataFrame]:
        """Yield what is left at the end."""
        for left in self._rows.rest():
            assert self._columns is not None
            yield from self._frames(left, self._columns)

    def _frames(self, block: Outputs, columns: _Columns) -> Iterator[pl.DataFrame]:
        samples = len(block[0])
        together = samples if columns.rows <= BLOCK_ROWS else 1
        for first in range(0, samples, together):
            part = tuple(array[first : first + together] for array in block)
            for start in range(0, columns.rows, BLOCK_ROWS):
                yield self._frame(part, columns, start, min(start + BLOCK_ROWS, columns.rows))
            self._sample += together

    def _frame(self, block: Outputs, columns: _Columns, start: int, stop: int) -> pl.DataFrame:
        samples = len(block[0])
        parts = [block[output].reshape(samples, -1)[:, numbers] for output, numbers in columns.spans(start, stop)]
        values = np.concatenate(parts, axis=1).astype(columns.dtype, copy=False).reshape(-1)
        numbers = np.repeat(np.arange(self._sample, self._sample + samples), stop - start)
        index = columns.index(start, stop, samples)
        return pl.DataFrame([pl.Series("sample", numbers), *index, pl.Series("value", values)])
