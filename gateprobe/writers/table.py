"""Traces as tables: the columns of CSV, JSON lines, Parquet and Arrow.

Rows stand in the order sample, layer, direction, timestep, unit (and signal), so that the tables of successive chunks
can simply follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.traces.chunk import AXES, LABEL, STATES, DirectionTrace, Layout, TraceChunk, signal_rank
from gateprobe.writers.chunks import Gatherer, cut_rows
from gateprobe.writers.names import column_text
from gateprobe.writers.pieces import BLOCK_CELLS, BLOCK_ROWS, rows_within


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of a run's table: the union over the layers, the same for every chunk."""

    layout: Layout
    layers: Mapping[str, str]
    """Layer path → what the table calls it."""
    signals: tuple[str, ...]
    units: Mapping[str, tuple[tuple[int, ...], ...]]
    """The places that have a column of their own, by signal: numbers of units, or row, column and filter; only in the
    wide layout."""
    dtype: np.dtype[np.floating]
    context: Mapping[str, pl.DataType] = field(default_factory=dict)
    """The columns of what stands beside the signals."""
    show: Callable[[str], str] = column_text
    axes: tuple[str, ...] = ("unit",)
    """The columns that say where a number is in its layer."""

    @property
    def values(self) -> tuple[str, ...]:
        """The columns that hold numbers of the trace."""
        if self.layout == "long":
            return ("value",)
        if self.layout == "wide":
            return tuple(_wide_name(signal, place) for signal in self.signals for place in self.units[signal])
        return self.signals

    def height(self, direction: DirectionTrace) -> int:
        """Return the number of rows of one timestep."""
        if self.layout == "wide":
            return 1
        return len(direction.units) * (len(direction.signals) if self.layout == "long" else 1)

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Name → type of every column, in their order."""
        number = pl.Float64() if self.dtype.itemsize == 8 else pl.Float32()
        schema = {
            "sample": pl.Int64(),
            "layer": pl.Enum(list(self.layers.values())),
            "direction": pl.Enum(["forward", "backward"]),
            "timestep": pl.Int32(),
            "step": pl.Int32(),
            **dict.fromkeys(self.axes, pl.Int32()),
            "masked": pl.Boolean(),
            **self.context,
            "signal": pl.Enum(list(self.signals)),
            **dict.fromkeys(self.values, number),
        }
        unused = {"tidy": ("signal",), "long": (), "wide": ("signal", *self.axes)}[self.layout]
        return {name: dtype for name, dtype in schema.items() if name not in unused}


def columns_of(chunk: TraceChunk, layout: Layout, show: Callable[[str], str] = column_text) -> Columns:
    """Return the columns for a run of which ``chunk`` is the first.

    Args:
        chunk: Any chunk of the run.
        layout: ``tidy``, ``long`` or ``wide``.
        show: How the format writes the name of a layer.

    Raises:
        InputError: The layout is none of these.
    """
    if layout not in _PARTS:
        raise InputError(f"unknown layout {layout!r}", remedy=f"choose {', '.join(_PARTS)}")
    units: dict[str, dict[tuple[int, ...], None]] = {}
    order = chunk.directions[0].order if chunk.directions else ()
    for direction in chunk.directions:
        for name in direction.signals:
            units.setdefault(name, {}).update(dict.fromkeys(_places(direction)))
    return Columns(
        layout,
        {direction.layer: show(direction.layer) for direction in chunk.directions},
        tuple(sorted(units, key=order.index if order else signal_rank)),
        {name: tuple(sorted(places, key=_unit_first)) for name, places in units.items()},
        np.result_type(*(value for part in chunk.directions for value in part.signals.values()), np.float32),
        _context_types(chunk, show),
        show,
        tuple(axis for axis in ("unit", *AXES) if any(axis in part.places for part in chunk.directions)) or ("unit",),
    )


def _places(direction: DirectionTrace) -> list[tuple[int, ...]]:
    """Return where each unit is."""
    return list(zip(*(numbers.tolist() for numbers in direction.places.values()), strict=True))


def _unit_first(place: tuple[int, ...]) -> tuple[int, ...]:
    """Sort units by their numbers, and leave places in images in their order, behind them."""
    return (1, *place) if len(place) == 1 else (len(place),)


def _wide_name(signal: str, place: tuple[int, ...]) -> str:
    return f"{signal}_{'_'.join(map(str, place))}"


def _context_types(chunk: TraceChunk, show: Callable[[str], str]) -> dict[str, pl.DataType]:
    """Return the columns of what stands beside the signals: tokens first, then inputs, then outputs.

    Raises:
        InputError: Two have one name.
    """
    found: dict[str, tuple[str, pl.DataType]] = {}
    for part in chunk.directions:
        for name, value in part.context.items():
            for column in context_columns(name, value, show):
                if found.setdefault(column, (name, _polars_type(value.dtype)))[0] != name:
                    raise InputError(f"{found[column][0]} and {name} would both be the column {column}")
    rank = {LABEL: 0, "input": 1, "output": 2}
    columns = sorted(found, key=lambda column: rank[found[column][0].partition(".")[0]])
    return {column: found[column][1] for column in columns}


def context_columns(name: str, value: Array, show: Callable[[str], str] = column_text) -> list[str]:
    """Return the columns of something that stands beside the signals: one, or one for each feature."""
    shown = show(name)
    return [shown] if value.ndim == 2 else [f"{shown}.{number}" for number in range(value.shape[2])]


def _polars_type(dtype: np.dtype[Any]) -> pl.DataType:
    """Return the type of a column, which holds every value as it is."""
    if dtype.kind in "iu":
        return pl.UInt64() if dtype == np.uint64 else pl.Int64()
    wide = pl.Float64() if dtype.itemsize == 8 else pl.Float32()
    return {"U": pl.String(), "b": pl.Boolean()}.get(dtype.kind, wide)


def table(chunk: TraceChunk, layout: Layout = "tidy") -> pl.DataFrame:
    """Return the whole table of a trace."""
    columns = columns_of(chunk, layout)
    return pl.concat(list(frames(chunk, columns)))


def frames(chunk: TraceChunk, columns: Columns) -> Iterator[pl.DataFrame]:
    """Yield the table of a chunk in pieces of bounded size."""
    filled = replace(chunk, directions=tuple(part for part in chunk.directions if len(part.timesteps)))
    heights = tuple(columns.height(direction) for direction in filled.directions)
    for piece in cut_rows(filled, heights, _block_rows(columns)) if heights else ():
        yield _frame(piece, columns)


def _block_rows(columns: Columns) -> int:
    return rows_within(BLOCK_ROWS, BLOCK_CELLS, len(columns.schema))


@dataclass(slots=True, eq=False)
class TableMaker:
    """Turns the chunks of a run into tables of a handy size."""

    layout: Layout
    show: Callable[[str], str] = column_text
    columns: Columns | None = None
    """Known from the first chunk on."""
    _gatherer: Gatherer = field(default_factory=Gatherer)

    def push(self, chunk: TraceChunk) -> Iterator[pl.DataFrame]:
        """Take a chunk and yield the tables that are ready."""
        if self.columns is None:
            self.columns = columns_of(chunk, self.layout, self.show)
            self._gatherer.rows = _block_rows(self.columns)
        columns = self.columns
        height = len(chunk.samples) * sum(columns.height(part) * len(part.timesteps) for part in chunk.directions)
        ready = self._gatherer.push(chunk, height)
        if ready is not None:
            yield from frames(ready, columns)

    def rest(self) -> Iterator[pl.DataFrame]:
        """Yield what is left at the end."""
        left = self._gatherer.rest()
        if left is not None and self.columns is not None:
            yield from frames(left, self.columns)


def _frame(chunk: TraceChunk, columns: Columns) -> pl.DataFrame:
    parts = [_PARTS[columns.layout](direction, columns) for direction in chunk.directions]
    samples, schema = len(chunk.samples), columns.schema
    rows = sum(part.rows for part in parts)
    data = {"sample": pl.Series("sample", np.repeat(chunk.samples.astype(np.int64), rows))}
    for name in parts[0].index:
        data[name] = _index_column([part.index[name] for part in parts], samples, name, schema[name])
    masked = [_or_full(None if part.mask is None else ~part.mask, samples, part.rows, fill=False) for part in parts]
    data["masked"] = pl.Series("masked", _side_by_side(masked))
    for name, dtype in columns.context.items():
        data[name] = _context_column(name, dtype, parts, samples, columns)
    for name in columns.values:
        values = _side_by_side([_cleared(part, name, samples, columns.dtype) for part in parts])
        data[name] = pl.Series(name, values.astype(columns.dtype, copy=False))
    return _with_gaps(pl.DataFrame([data[name] for name in schema]), parts, samples, columns.values)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The rows of one direction."""

    rows: int
    """For each sample."""
    index: Mapping[str, Array]
    """Column → ``(rows,)``; numbers of categories for ``layer``, ``direction`` and ``signal``."""
    values: Mapping[str, Array]
    """Column → ``(samples, rows)``."""
    mask: Array | None
    """``(samples, rows)``, ``False`` where masked."""
    used: Mapping[str, Array]
    """Column → ``(samples, rows)``, ``False`` where a value is not used; columns whose values all are used are left
    out."""
    context: Mapping[str, Array]
    """Column → ``(samples, timesteps)``: what stands beside the signals."""


def _tidy(direction: DirectionTrace, columns: Columns) -> _Part:
    timesteps, units = len(direction.timesteps), len(direction.units)
    rows = timesteps * units
    mask = _spread(direction.mask, units)
    return _Part(
        rows,
        _index(direction, columns, units) | _placed(direction, columns, lambda at: np.tile(at, timesteps)),
        {name: value.reshape(-1, rows) for name, value in direction.signals.items()},
        mask,
        {name: mask for name in direction.signals if mask is not None and name not in STATES},
        _context(direction, columns),
    )


def _long(direction: DirectionTrace, columns: Columns) -> _Part:
    signals = list(direction.signals)
    timesteps, units = len(direction.timesteps), len(direction.units)
    each, rows = units * len(signals), timesteps * units * len(signals)
    codes = np.array([columns.signals.index(name) for name in signals], np.uint32)
    states = np.array([name in STATES for name in signals])
    stacked = [value.reshape(len(value), timesteps, units) for value in direction.signals.values()]
    mask = _spread(direction.mask, each)
    return _Part(
        rows,
        _index(direction, columns, each)
        | _placed(direction, columns, lambda at: np.tile(np.repeat(at, len(signals)), timesteps))
        | {"signal": np.tile(codes, timesteps * units)},
        {"value": np.stack(stacked, -1).reshape(-1, rows)},
        mask,
        {} if mask is None else {"value": mask | np.tile(states, timesteps * units)},
        _context(direction, columns),
    )


def _wide(direction: DirectionTrace, columns: Columns) -> _Part:
    values: dict[str, Array] = {}
    used: dict[str, Array] = {}
    mask = direction.mask
    for name, value in direction.signals.items():
        by_unit = np.ascontiguousarray(np.moveaxis(value.reshape(*value.shape[:2], -1), -1, 0))
        names = [_wide_name(name, place) for place in _places(direction)]
        values.update(zip(names, by_unit, strict=True))
        if mask is not None and name not in STATES:
            used.update(dict.fromkeys(names, mask))
    context = _context(direction, columns)
    return _Part(len(direction.timesteps), _index(direction, columns, 1), values, mask, used, context)


_PARTS: Mapping[Layout, Callable[[DirectionTrace, Columns], _Part]] = {"tidy": _tidy, "long": _long, "wide": _wide}


_NOWHERE = -1
"""Stands for a place that a layer does not have, such as the row of an LSTM."""


def _placed(direction: DirectionTrace, columns: Columns, spread: Callable[[Array], Array]) -> dict[str, Array]:
    """Return the columns that say where a number is."""
    places, none = direction.places, np.full(len(direction.units), _NOWHERE)
    return {axis: spread(places.get(axis, none).astype(np.int32)) for axis in columns.axes}


def _index(direction: DirectionTrace, columns: Columns, each: int) -> dict[str, Array]:
    """Return the index columns of one sample, with ``each`` rows to a timestep."""
    rows = len(direction.timesteps) * each
    return {
        "layer": np.full(rows, list(columns.layers).index(direction.layer), np.uint32),
        "direction": np.full(rows, int(direction.direction == "backward"), np.uint32),
        "timestep": np.repeat(direction.timesteps.astype(np.int32), each),
        "step": np.repeat(direction.steps.astype(np.int32), each),
    }


def _context(direction: DirectionTrace, columns: Columns) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, value in direction.context.items():
        apart = value[..., np.newaxis] if value.ndim == 2 else value
        found |= {
            column: apart[..., number] for number, column in enumerate(context_columns(name, value, columns.show))
        }
    return found


def _context_column(name: str, dtype: pl.DataType, parts: list[_Part], samples: int, columns: Columns) -> pl.Series:
    """Return a column of what stands beside the signals: the same in all rows of a timestep."""
    held, places, behind = [], [], 0
    for part in parts:
        value = part.context.get(name)
        place = np.full((samples, part.rows), -1)
        if value is not None:
            each = part.rows // value.shape[1]
            place = behind + np.repeat(np.arange(value.size).reshape(value.shape), each, axis=1)
            held.append(np.ascontiguousarray(value).reshape(-1))
            behind += value.size
        places.append(place)
    at = _side_by_side(places)
    if not held:
        return pl.Series(name, [None], dtype).new_from_index(0, len(at))
    numbers = pl.Series(at)
    return _context_series(name, held, dtype, columns.show).gather(numbers.set(numbers < 0, None))


def _context_series(name: str, held: list[Array], dtype: pl.DataType, show: Callable[[str], str]) -> pl.Series:
    values = np.concatenate(held) if held else np.zeros(0)
    if dtype != pl.String():
        return pl.Series(name, values).cast(dtype)
    texts, numbers = np.unique(values, return_inverse=True)
    return pl.Series(name, [show(str(text)) for text in texts], dtype).gather(numbers)


def _spread(mask: Array | None, each: int) -> Array | None:
    return None if mask is None else np.repeat(mask, each, axis=1)


def _or_full(block: Array | None, samples: int, rows: int, *, fill: Any) -> Array:
    return np.full((samples, rows), fill) if block is None else block


def _cleared(part: _Part, name: str, samples: int, dtype: np.dtype[np.floating]) -> Array:
    """Return a column with zeros where it has no value: Arrow files hold those bytes too."""
    used, block = part.used.get(name), _or_full(part.values.get(name), samples, part.rows, fill=dtype.type(0))
    return block if used is None else np.where(used, block, dtype.type(0))


def _side_by_side(blocks: list[Array]) -> Array:
    """Put ``(samples, rows)`` blocks side by side and read them sample by sample."""
    return np.ascontiguousarray(blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)).reshape(-1)


def _index_column(blocks: list[Array], samples: int, name: str, dtype: pl.DataType) -> pl.Series:
    """Return a column that is the same for every sample; categories come as their numbers."""
    values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not isinstance(dtype, pl.Enum):
        series = pl.Series(name, np.tile(values, samples))
        return series.set(series == _NOWHERE, None) if (values == _NOWHERE).any() else series
    categories = pl.Series(name, dtype.categories, dtype)
    if (values == values[0]).all():
        return categories.new_from_index(int(values[0]), len(values) * samples)
    return categories.gather(np.tile(values, samples))


def _with_gaps(data: pl.DataFrame, parts: list[_Part], samples: int, names: tuple[str, ...]) -> pl.DataFrame:
    """Empty the cells that have no value: gates at masked timesteps and signals that a layer does not have."""
    gaps: dict[tuple[int, ...], pl.Expr] = {}  # columns that are empty in the same places share the reckoning
    emptied = []
    for name in names:
        kind = tuple(id(part.used.get(name)) if name in part.values else 0 for part in parts)
        if all(number == id(None) for number in kind):
            continue
        if kind not in gaps:
            gaps[kind] = pl.lit(pl.Series(_side_by_side([_used(part, name, samples) for part in parts])))
        emptied.append(pl.when(gaps[kind]).then(pl.col(name)).alias(name))
    return data.with_columns(emptied) if emptied else data


def _used(part: _Part, name: str, samples: int) -> Array:
    return _or_full(part.used.get(name), samples, part.rows, fill=name in part.values)
