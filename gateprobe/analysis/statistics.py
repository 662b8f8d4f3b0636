"""Statistics of a run in one pass over its chunks, in memory that does not grow with the number of samples.

Means, deviations, extremes and shares are of every unmasked timestep, whatever the size of the chunks and their order.
Quantiles, and what combines several signals, are of a uniform sample of timesteps (`gateprobe.analysis.row_sample`),
which is all of them in a small run. A histogram of every value, by `numpy.bincount`, was measured at 2.0 ns a value, a
third of what the replay takes to compute that value; everything that is done here takes 1.3 to 2 ns, and less where
compiled code does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gateprobe.analysis.direction_statistics import DirectionStatistics, Settings
from gateprobe.analysis.memory import Memory, memory_of, places_before
from gateprobe.analysis.moments import Columns, Moments, by_row
from gateprobe.analysis.pieces import Piece, pieces
from gateprobe.analysis.remarkable import RemarkableUnit, remarkable_units
from gateprobe.analysis.row_sample import RowSample, keys_of
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.recurrent.kernels.compiled import is_available
from gateprobe.traces.chunk import DirectionTrace, TraceChunk

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Statistics:
    """Statistics of a run; see ``docs/stats.md`` for what the columns of the table mean."""

    settings: Settings
    samples: int
    """How many were run."""
    parts: tuple[DirectionStatistics, ...]
    """Each direction of each layer."""

    def to_polars(self) -> pl.DataFrame:
        """Return a row for each layer, direction and signal, and for each unit or timestep where that was asked for."""
        from gateprobe.analysis.statistics_table import table  # noqa: PLC0415 - Polars takes 0.1 s to import

        return table(self.parts, self.settings)

    def remarkable(self, most: int | None = None) -> tuple[RemarkableUnit, ...]:
        """Return the units that stand out, the rarest first, with the reasons.

        Args:
            most: How many; all without it.
        """
        return remarkable_units(self.parts, self.settings)[:most]

    def __repr__(self) -> str:
        lines = [f"Statistics of {self.samples:,} samples"]
        lines += [f"  {part.label}: {', '.join(part.signals)} of {len(part.units)} units" for part in self.parts]
        return "\n".join(lines)


def statistics(
    chunks: Iterable[TraceChunk], settings: Settings | None = None, *, count: int | None = None
) -> Statistics:
    """Go through a run once.

    Args:
        chunks: All of it; slabs of long sequences too.
        settings: What to compute.
        count: The samples of a run, where they are known before. It changes no number.

    Raises:
        InputError: There is nothing in it.
    """
    gathered = Gathering(settings or Settings(), count)
    for chunk in chunks:
        gathered.add(chunk)
    return gathered.result()


class Gathering:
    """A pass that has begun.

    Args:
        settings: What to compute.
        count: Samples that will come, where that is known.
    """

    def __init__(self, settings: Settings, count: int | None = None) -> None:
        self._settings, self._count = settings, count or 0
        self._directions: list[_Direction] = []
        self._samples = 0
        self._keyed: tuple[Array, Array, Array] | None = None
        self._values = self._expected = 0

    def add(self, chunk: TraceChunk) -> None:
        """Take in a chunk."""
        if not self._directions:
            self._directions = [_Direction(part, self._settings, self._count) for part in chunk.directions]
            sizes = (part.kept * len(part.units) * len(part.signals) for part in chunk.directions)
            self._expected = self._count * sum(sizes)
        self._samples += 0 if chunk.continues else len(chunk.samples)
        compiled = max(self._values, self._expected) >= LONG and is_available()
        for direction, part in zip(self._directions, chunk.directions, strict=True):
            direction.add(chunk.samples, part, self._keys(chunk.samples, part.timesteps), compiled=compiled)
            self._values += sum(value.size for value in part.values())

    def _keys(self, samples: Array, timesteps: Array) -> Array:
        """Return the keys by which timesteps are drawn: the same for most directions of a chunk."""
        if self._keyed is None or not all(map(np.array_equal, self._keyed[:2], (samples, timesteps))):
            self._keyed = samples, timesteps, keys_of(samples, timesteps)
        return self._keyed[2]

    def result(self) -> Statistics:
        """Return what was found.

        Raises:
            InputError: There was nothing.
        """
        if not self._directions:
            reason = "the trace holds no recurrent layer" if self._samples else "there are no samples"
            raise InputError(f"there is nothing to look at: {reason}")
        return Statistics(self._settings, self._samples, tuple(part.result() for part in self._directions))


def _taking(*, compiled: bool) -> Callable[[Array, Array, Array, Array, Array], None]:
    """Return what writes signals at some timesteps of some samples to ``(rows, signals, units)``."""
    if not compiled:
        return _take_rows
    from gateprobe.analysis.compiled import take_rows  # noqa: PLC0415 - 0.3 s, for large runs

    return take_rows


def _take_rows(values: Array, signals: Array, timesteps: Array, samples: Array, rows: Array) -> None:
    for place, signal in enumerate(signals):
        rows[:, place] = values[timesteps, signal, samples]


LONG = 1 << 25
"""Values of a run that is left to compiled code, which takes 0.3 s to load, at once or when so many have come."""


@dataclass(slots=True, eq=False)
class _Direction:
    """What has been gathered of one direction."""

    first: DirectionTrace
    settings: Settings
    count: int
    memory: Memory | None = field(init=False)
    by_unit: Moments = field(init=False)
    sample: RowSample = field(init=False)
    timesteps: Array = field(init=False)
    by_timestep: Moments = field(init=False)
    columns: Columns | None = None
    """Looks at blocks of the last shape."""
    masked: bool = False

    def __post_init__(self) -> None:
        shape = (len(self.first.signals), len(self.first.units))
        widest = np.result_type(np.float32, *(value.dtype for value in self.first.signals.values()))
        self.memory = memory_of(self.first.signals)
        self.by_unit = Moments.none(shape)
        expected = self.count * self.first.kept if self.first.mask is None else None
        self.sample = RowSample((shape[0] + self.looks_back, shape[1]), widest, expected=expected)
        self.timesteps, self.by_timestep = np.arange(0), Moments.none((shape[0], 0))

    @property
    def looks_back(self) -> bool:
        """Whether the state at the step before belongs to what is known of a timestep."""
        return self.memory is not None and self.memory.state in self.first.signals

    def add(self, samples: Array, part: DirectionTrace, keys: Array, *, compiled: bool) -> None:
        """Take in some samples, or a slab of one."""
        for at, piece in pieces(part):
            order = np.array([piece.names.index(name) for name in self.first.signals])
            compiled = compiled and piece.values.dtype == np.float32
            with np.errstate(all="ignore"):  # infinities are counted, not warned of
                self._add(piece, part, order, compiled=compiled)
            self.masked |= piece.mask is not None
            valid = None if piece.mask is None else piece.mask.T
            take = partial(self._take, piece, part, order, compiled)
            self.sample.offer(samples[at], part.timesteps, keys[at], valid, take)

    def _add(self, piece: Piece, part: DirectionTrace, order: Array, *, compiled: bool) -> None:
        for values in piece.blocks():
            self._columns(piece, values, compiled=compiled).add(values)
        if self.settings.by == "timestep":
            self._put(part.timesteps, by_row(piece.names, piece.values, piece.mask, self.settings.bounds).at(order))

    def _take(
        self,
        piece: Piece,
        part: DirectionTrace,
        order: Array,
        compiled: bool,
        samples: Array,
        timesteps: Array,
        rows: Array,
    ) -> None:
        """Write the signals at some timesteps, and the state at the step before, to ``(rows, signals, units)``."""
        take = _taking(compiled=compiled and rows.dtype == np.float32)
        take(piece.values, order, timesteps, samples, rows[:, : len(order)])
        if self.looks_back and self.memory is not None:
            before, state = places_before(part, timesteps), piece.names.index(self.memory.state)
            take(piece.values, np.array([state]), before, samples, rows[:, -1:])
            rows[before < 0, -1] = np.nan

    def _columns(self, piece: Piece, values: Array, *, compiled: bool) -> Columns:
        """Return what looks at blocks of this shape: the same as for the block before, where that had this shape."""
        kind = (piece.names, values.shape[1:], values.dtype)
        if self.columns is None or self.columns.kind != (*kind, compiled):
            self._merge()
            self.columns = Columns(*kind, self.settings.bounds, compiled=compiled)
        return self.columns

    def _merge(self) -> None:
        """Take over what the columns have seen."""
        if self.columns is not None:
            names, *_ = self.columns.kind
            order = [names.index(name) for name in self.first.signals]
            self.by_unit = self.by_unit.merged(self.columns.moments().at(order))
            self.columns = None

    def _put(self, timesteps: Array, found: Moments) -> None:
        """Merge the moments of some timesteps into those of all that were seen."""
        seen = np.union1d(self.timesteps, timesteps)
        if len(seen) > len(self.timesteps):
            old, at = self.by_timestep, np.searchsorted(seen, self.timesteps)
            self.by_timestep = Moments.none((len(self.first.signals), len(seen))).with_put((slice(None), at), old)
            self.timesteps = seen
        place = (slice(None), np.searchsorted(seen, timesteps))
        self.by_timestep = self.by_timestep.with_put(place, self.by_timestep.at(place).merged(found))

    def result(self) -> DirectionStatistics:
        """Return what was found."""
        self._merge()
        where, rows = self.sample.rows()
        signals = len(self.first.signals)
        return DirectionStatistics(
            self.first.layer,
            self.first.direction,
            tuple(self.first.signals),
            self.first.units,
            self.by_unit,
            where,
            rows[:, :signals],
            rows[:, signals] if self.looks_back else None,
            self.masked,
            self.timesteps,
            self.by_timestep,
        )
