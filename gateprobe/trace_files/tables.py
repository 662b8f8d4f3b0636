"""Traces in tables: rows → chunks of whole samples, in every layout.

A table does not say how long a layer's whole input was: that is reckoned from ``step``, or taken to be as long as the
last timestep demands. Nor does a part of it say which signals and types there are: gates of samples that are all masked
are as empty as those of another layer, and text has no types. So a table is gone through once before its chunks are
handed out.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.trace_files.described import SIGNALS, Opened
from gateprobe.trace_files.layouts import NUMBERS, PLACES, Header
from gateprobe.trace_files.pieces import Table, open_pieces, translated
from gateprobe.trace_files.recognised import Kind
from gateprobe.traces.chunk import AXES, LABEL, STATES, DirectionTrace, Grid, Layout, TraceChunk

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrt]))")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
_FEATURE = re.compile(r"((?:input|output)\..+)\.(\d{1,9})", re.DOTALL)
_Key: TypeAlias = tuple[str, str]
"""Layer and direction."""


def open_table(kind: Kind, path: Path, limit: int, *, whole: bool) -> tuple[Layout, Opened]:
    """Open the trace in a table, and go through it once.

    Args:
        kind: What the file is.
        path: The file or folder.
        limit: Bytes that may be in memory.
        whole: Whether all of it will be, so that it need not be read again.

    Raises:
        ReadError: It holds no trace, or is damaged.
        UnsafeFile: It, or one sample of it, needs more than the limit.
    """
    table = open_pieces(kind, path)
    survey, read, size = _Survey(), list[TraceChunk](), 0
    for chunk in _parsed(table, limit, survey.narrow):
        survey.add(chunk)
        if whole:
            read.append(chunk)
            size += sum(map(_bytes_of, chunk.directions))
            _afford("the trace", size, limit)
    outline = survey.outline()

    def begin() -> Iterator[TraceChunk]:
        chunks = iter(read) if whole else _parsed(table, limit)
        return (_completed(chunk, outline) for chunk in chunks)

    return table.header.layout, (table.metadata(), survey.samples(), outline, begin)


def _bytes_of(part: DirectionTrace) -> int:
    arrays = (*part.signals.values(), *part.context.values(), *([] if part.mask is None else [part.mask]))
    return sum(array.nbytes for array in arrays)


def _afford(what: str, size: int, limit: int) -> None:
    """Refuse what is too large to be in memory.

    Raises:
        UnsafeFile: It has more bytes than the limit.
    """
    if size > limit:
        raise UnsafeFile(f"{what} needs more than the {limit:,} bytes of the limit", remedy="raise --max-bytes")


@dataclass(slots=True)
class _Survey:
    """What a first look through all chunks finds out."""

    parts: dict[_Key, DirectionTrace] = field(default_factory=dict)
    """Each with the signals of all chunks, and without samples."""
    numbers: list[Array] = field(default_factory=list)
    narrow: dict[str, bool] = field(default_factory=dict)
    """Column of a text → whether all its numbers are the shortest texts of float32."""

    def add(self, chunk: TraceChunk) -> None:
        """Look at a chunk.

        Raises:
            ReadError: It does not go on where the one before ended, or has other layers.
        """
        keys = [(part.layer, part.direction) for part in chunk.directions]
        if self.numbers and keys != list(self.parts):
            raise ReadError("its layers differ in their samples")
        if self.numbers and self.numbers[-1][-1] >= chunk.samples[0]:
            raise ReadError("its samples do not stand in their order")
        self.numbers.append(chunk.samples)
        for key, part in zip(keys, chunk.directions, strict=True):
            before = self.parts.get(key)
            self.parts[key] = part.rows(slice(0, 0)) if before is None else _both(before, part)

    def samples(self) -> Array:
        """Return the numbers of all samples."""
        return np.concatenate(self.numbers)

    def outline(self) -> tuple[DirectionTrace, ...]:
        """Return what every chunk holds.

        Raises:
            ReadError: There are no rows, or a layer has no signals.
        """
        if not self.parts:
            raise ReadError("has no rows")
        return tuple(map(self._narrowed, self.parts.values()))

    def _narrowed(self, part: DirectionTrace) -> DirectionTrace:
        if not part.signals:
            raise ReadError("a layer has no signals", place=part.layer)
        signals = {name: self._typed(value, "") for name, value in part.signals.items()}
        context = {name: self._typed(value, name) for name, value in part.context.items()}
        return replace(part, signals=signals, context=context)

    def _typed(self, value: Array, name: str) -> Array:
        return value.astype(np.float32) if value.dtype == np.float64 and self.narrow.get(name) else value


def _both(before: DirectionTrace, part: DirectionTrace) -> DirectionTrace:
    """Return an outline with what another chunk has.

    Raises:
        ReadError: The chunk has other timesteps or units.
    """
    if not _fits(before, part):
        raise ReadError("has other timesteps or units in some samples", place=part.layer)
    none = part.rows(slice(0, 0))
    if not before.signals:  # all masked, and the units of a wide table are those of its columns
        before = replace(before, units=part.units, grid=part.grid)
    context = dict(before.context)
    for name, value in none.context.items():
        dtype = np.result_type(value.dtype, context[name].dtype) if name in context else value.dtype
        context[name] = value.astype(dtype)
    mask = none.mask if before.mask is None else before.mask
    fuller, other = (none, before) if len(none.signals) > len(before.signals) else (before, none)
    return replace(before, signals={**fuller.signals, **other.signals}, mask=mask, context=context)


def _fits(one: DirectionTrace, other: DirectionTrace) -> bool:
    return (
        np.array_equal(one.timesteps, other.timesteps)
        and (np.array_equal(one.units, other.units) or not one.signals or not other.signals)
        and (one.backwards, one.length) == (other.backwards, other.length)
    )


def _completed(chunk: TraceChunk, outline: tuple[DirectionTrace, ...]) -> TraceChunk:
    """Return a chunk with everything that its outline has, in its order and types.

    Raises:
        ReadError: A signal is missing where it is used.
    """
    pairs = zip(outline, chunk.directions, strict=True)
    return replace(chunk, directions=tuple(_complete(known, part, len(chunk.samples)) for known, part in pairs))


def _complete(known: DirectionTrace, part: DirectionTrace, samples: int) -> DirectionTrace:
    unused = part.mask is not None and not part.mask.any()
    signals = {}
    for name, empty in known.signals.items():
        if name in part.signals:
            signals[name] = part.signals[name].astype(empty.dtype, copy=False)
        elif unused and name not in STATES:
            signals[name] = np.full((samples, *empty.shape[1:]), np.nan, empty.dtype)
        else:
            raise ReadError("has gaps, or other values than floats", place=name)
    if known.context.keys() != part.context.keys():
        raise ReadError("has gaps beside its signals", place=part.layer)
    context = {
        name: part.context[name].astype(_wide_enough(empty, part.context[name]))
        for name, empty in known.context.items()
    }
    mask = np.ones((samples, len(part.timesteps)), bool) if part.mask is None and known.mask is not None else part.mask
    return replace(part, signals=signals, context=context, units=known.units, grid=known.grid, mask=mask)


def _wide_enough(empty: Array, value: Array) -> np.dtype[Any]:
    return value.dtype if empty.dtype.kind == "U" else empty.dtype


def _parsed(table: Table, limit: int, narrow: dict[str, bool] | None = None) -> Iterator[TraceChunk]:
    """Yield the samples of a table, as far as a part of it tells what they are.

    Args:
        table: The table.
        limit: Bytes that one sample may have.
        narrow: Takes note of the columns of a text whose numbers are float32, if that is not known yet.
    """
    for frame in _whole_samples(table.pieces(), limit):
        with translated():
            chunk = _trace(_prepared(frame, table, narrow), table.header)
        yield _with_names(chunk) if table.escaped else chunk


def _with_names(chunk: TraceChunk) -> TraceChunk:
    """Return a chunk in which what stands beside the signals has its own names."""

    def named(part: DirectionTrace) -> DirectionTrace:
        return replace(part, context={unescaped(name): value for name, value in part.context.items()})

    return replace(chunk, directions=tuple(map(named, chunk.directions)))


def _whole_samples(pieces: Iterator[pl.DataFrame], limit: int) -> Iterator[pl.DataFrame]:
    """Cut a table between samples.

    Raises:
        UnsafeFile: One sample has more bytes than the limit.
    """
    waiting: list[pl.DataFrame] = []
    for piece in pieces:
        if not len(piece):
            continue
        sample = piece.get_column("sample").to_numpy()
        other = np.flatnonzero(sample != sample[-1])
        cut = int(other[-1]) + 1 if len(other) else 0
        if not cut and waiting and waiting[-1].item(-1, "sample") == sample[-1]:
            waiting.append(piece)
        else:
            if waiting or cut:
                yield pl.concat([*waiting, piece[:cut]], rechunk=True)
            waiting = [piece[cut:]]
        _afford(f"sample {sample[-1]}", sum(int(part.estimated_size()) for part in waiting), limit)
    if waiting:
        yield pl.concat(waiting, rechunk=True)


def _prepared(frame: pl.DataFrame, table: Table, narrow: dict[str, bool] | None) -> pl.DataFrame:
    """Return rows whose names are those of the model, and whose texts are the numbers that they show."""
    header = table.header
    required = [name for name in header.names if name not in (*header.values, *header.context, *PLACES)]
    if frame.select(pl.any_horizontal(pl.col(required).is_null()).any()).item():
        raise ReadError("has rows without sample, layer or the like")
    texts = [name for name in ("layer", "direction", "signal") if name in header.names]
    frame = frame.with_columns(pl.col(texts).cast(pl.String))
    if table.escaped:
        named = [name for name in ("layer", LABEL) if name in header.names]
        frame = frame.with_columns(_unescaped_column(frame.get_column(name)) for name in named)
    if table.written:
        _note_narrow(frame.select(header.values), "", narrow)
        for name in header.context:
            if name != LABEL:
                column = _numbers_in(frame.get_column(name))
                frame = frame.with_columns(column)
                if column.dtype.is_float():
                    plain = _plain_name(name)
                    _note_narrow(frame.select(name), unescaped(plain) if table.escaped else plain, narrow)
    return frame


def _unescaped_column(texts: pl.Series) -> pl.Series:
    there = texts.unique().drop_nulls().to_list()
    return texts.replace_strict(there, list(map(unescaped, there)), default=None, return_dtype=pl.String())


def unescaped(name: str) -> str:
    r"""Undo what the CSV writer does to names: ``\x3d`` is ``=``."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        return _LETTERS[match[4]] if match[4] else chr(min(int(code, 16), 0x10FFFF))

    return _ESCAPE.sub(character, name)


def _numbers_in(texts: pl.Series) -> pl.Series:
    """Return the whole numbers, truth values or floats that texts show."""
    whole = texts.cast(pl.Int64, strict=False)
    if whole.null_count() == texts.null_count():
        return whole
    if texts.drop_nulls().is_in(["true", "false"]).all():
        return texts == "true"
    return texts.cast(pl.Float64)


def _note_narrow(columns: pl.DataFrame, name: str, narrow: dict[str, bool] | None) -> None:
    """Note whether all numbers are the shortest texts of float32, as they are when float32 was written."""
    if narrow is None or not narrow.get(name, True):
        return
    written = io.BytesIO()
    columns.select(pl.all().cast(pl.Float32)).write_csv(written)
    written.seek(0)
    again = pl.read_csv(written, schema=dict.fromkeys(columns.columns, pl.Float64()))
    narrow[name] = again.equals(columns)


def _plain_name(column: str) -> str:
    """Return the name of what a column is a feature of."""
    match = _FEATURE.fullmatch(column)
    return column if match is None else match[1]


def _trace(frame: pl.DataFrame, header: Header) -> TraceChunk:
    """Put the rows of each direction back into arrays."""
    parts = frame.partition_by("layer", "direction", maintain_order=True)
    directions, samples = zip(*(_direction(rows, header) for rows in parts), strict=True)
    if any(not np.array_equal(numbers, samples[0]) for numbers in samples):
        raise ReadError("its layers differ in their samples")
    return TraceChunk(samples[0], tuple(directions))


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of one direction, as a grid."""

    frame: pl.DataFrame
    layer: str
    shape: tuple[int, int, int]
    """Samples, timesteps and rows of a timestep."""

    def column(self, name: str) -> Array:
        """Return a column that numbers the rows."""
        return self.frame.get_column(name).to_numpy().reshape(self.shape)

    def refused(self) -> ReadError:
        """Return the error for rows that are not a grid."""
        return ReadError("its rows are not those that gateprobe writes, all and in their order", place=self.layer)


def _direction(frame: pl.DataFrame, header: Header) -> tuple[DirectionTrace, Array]:
    """Return one direction and the numbers of its samples."""
    rows = _grid(frame)
    sample, timestep, step = (rows.column(name) for name in NUMBERS[:3])
    samples, times, steps = sample[:, 0, 0], timestep[0, :, 0], step[0, :, 0]
    alike = (
        (sample == samples[:, None, None]).all()
        and (timestep == times[:, None]).all()
        and (step == steps[:, None]).all()
    )
    mirrored = (steps == times).all() or (np.diff(steps + times) == 0).all()
    direction = frame.item(0, "direction")
    if not (alike and mirrored and _ascend(samples) and _ascend(times)) or direction not in ("forward", "backward"):
        raise rows.refused()
    masked = rows.column("masked")
    if (masked != masked[..., :1]).any():
        raise rows.refused()
    units, signals, grid = _READ[header.layout](rows, header, masked[..., 0])
    if grid and len(units) == math.prod(size for _, size in grid):
        signals = {name: value.reshape(*rows.shape[:2], *(size for _, size in grid)) for name, value in signals.items()}
    backwards = bool((steps != times).any())
    return DirectionTrace(
        layer=rows.layer,
        direction=direction,
        backwards=backwards,
        signals=signals,
        mask=~masked[..., 0] if masked.any() else None,
        timesteps=times,
        units=units,
        length=int(times[0] + steps[0]) + 1 if backwards else int(times.max()) + 1,
        context=_context(rows, header),
        grid=grid,
    ), samples


def _grid(frame: pl.DataFrame) -> _Rows:
    sample, timestep = (frame.get_column(name).to_numpy() for name in ("sample", "timestep"))
    each = _run(sample)
    inner = _run(timestep[:each])
    shape = (len(frame) // each, each // inner, inner)
    rows = _Rows(frame, frame.item(0, "layer"), shape)
    if int(np.prod(shape)) != len(frame):
        raise rows.refused()
    return rows


def _run(numbers: Array) -> int:
    """Return how often the first number stands at the beginning."""
    other = np.flatnonzero(numbers != numbers[0])
    return int(other[0]) if len(other) else len(numbers)


def _ascend(numbers: Array) -> bool:
    return bool((np.diff(numbers) > 0).all() and numbers[0] >= 0)


_Signals: TypeAlias = tuple[Array, dict[str, Array], Grid]
"""Numbers of the units, the signals, and the axes through which the numbers count."""


def _numbered(places: Sequence[tuple[str, Array]]) -> tuple[Array, Grid]:
    """Return the numbers of places, and the axes through which they count.

    Axes are as long as their last place demands; filters stand first where that is the order of the places.
    """
    if len(places) < 2:
        return places[0][1], ()
    by_name = dict(places)
    spatial = [name for name in by_name if name != "filter"]
    grids = [[*spatial, "filter"], ["filter", *spatial]]
    for names in grids:
        sizes = [int(by_name[name].max()) + 1 for name in names]
        if min(by_name[name].min() for name in names) < 0 or math.prod(sizes) >= 1 << 31:
            break
        found = np.ravel_multi_index([by_name[name] for name in names], sizes)
        first = found.reshape(-1)[: found.shape[-1]]
        if (np.diff(first) >= 0).all():
            return found, tuple(zip(names, sizes, strict=True))
    raise ReadError("its places in images are not in the order in which gateprobe writes them")


def _places(rows: _Rows, header: Header) -> tuple[Array, Grid]:
    """Return the number of the unit of each row, and the axes through which the numbers count.

    Raises:
        ReadError: A row has no place.
    """
    columns = [rows.frame.get_column(name) for name in header.places]
    used = [column for column in columns if column.null_count() < len(column)]
    names = [column.name for column in used]
    if any(column.null_count() for column in used) or (names != ["unit"] and not _of_images(names)):
        raise rows.refused()
    return _numbered([(name, rows.column(name)) for name in names])


def _of_images(names: Sequence[str]) -> bool:
    return len(names) > 1 and list(names) == [*AXES[: len(names) - 1], "filter"]


def _tidy(rows: _Rows, header: Header, masked: Array) -> _Signals:
    unit, grid = _places(rows, header)
    units = unit[0, 0]
    if (unit != units).any() or not _ascend(units):
        raise rows.refused()
    found = {name: _values(rows, name, rows.shape, name, masked) for name in header.values}
    return units, {name: value for name, value in found.items() if value is not None}, grid


def _long(rows: _Rows, header: Header, masked: Array) -> _Signals:
    unit, grid = _places(rows, header)
    each = _run(unit[0, 0])
    units = unit[0, 0, ::each]
    names = rows.frame.get_column("signal").head(each).to_list()
    signal = rows.frame.get_column("signal")
    pattern = pl.Series(names * (len(signal) // each))
    shape = (*rows.shape[:2], len(units), each)
    if not SIGNALS.issuperset(names):
        raise ReadError("names signals that no trace has", place=rows.layer)
    right = len(signal) == int(np.prod(shape)) and (signal == pattern).all() and len(set(names)) == each
    if not right or (unit != np.repeat(units, each)).any() or not _ascend(units):
        raise rows.refused()
    column = rows.frame.get_column("value")
    gaps, values = column.is_null().to_numpy().reshape(shape), _floats(column, "value").reshape(shape)
    found = {}
    for number, name in enumerate(names):
        _check_gaps(gaps[..., number], name, masked)
        found[name] = np.ascontiguousarray(values[..., number])
    return units, found, grid


def _wide(rows: _Rows, header: Header, masked: Array) -> _Signals:
    if rows.shape[2] != 1:
        raise rows.refused()
    found: dict[str, dict[tuple[int, ...], Array]] = {}
    for column in header.values:
        name, place = header.column(column)
        value = _values(rows, column, rows.shape[:2], name, masked)
        if value is not None:
            found.setdefault(name, {})[place] = value
    there = [list(by_place) for by_place in found.values()]
    if any(places != there[0] for places in there) or len({len(place) for places in there for place in places}) > 1:
        raise ReadError("has signals of some units only", place=rows.layer)
    places = there[0] if there else []
    units, grid, order = _wide_places(places)
    return units, {name: np.stack([by[places[at]] for at in order], -1) for name, by in found.items()}, grid


def _wide_places(places: Sequence[tuple[int, ...]]) -> tuple[Array, Grid, Sequence[int]]:
    """Return the numbers of the units in their order, the axes, and which columns they are."""
    if not places:
        return np.array([], np.int64), (), ()
    order: Sequence[int] = range(len(places))
    try:
        units, grid = _numbered(_by_axis(places))
    except ReadError:  # the columns of several layers of images share a table
        order = sorted(order, key=lambda at: places[at])
        units, grid = _numbered(_by_axis([places[at] for at in order]))
    if not _ascend(units):
        order = [order[at] for at in np.argsort(units, kind="stable")]
        units = np.sort(units)
    return units, grid, order


def _by_axis(places: Sequence[tuple[int, ...]]) -> list[tuple[str, Array]]:
    """Return where units are: the name of each axis, and a number for each unit."""
    numbers = np.array(places)
    names = ("unit",) if numbers.shape[1] == 1 else (*AXES[: numbers.shape[1] - 1], "filter")
    return [(name, numbers[:, at]) for at, name in enumerate(names)]


_READ: Mapping[str, Callable[[_Rows, Header, Array], _Signals]] = {"tidy": _tidy, "long": _long, "wide": _wide}


def _values(rows: _Rows, column: str, shape: tuple[int, ...], signal: str, masked: Array) -> Array | None:
    """Return the numbers of a column; ``None`` where it has none, as that of a signal of another layer.

    Raises:
        ReadError: It has gaps where the signal is used, or holds something else.
    """
    found = rows.frame.get_column(column)
    if found.null_count() == len(found):
        return None
    _check_gaps(found.is_null().to_numpy().reshape(*rows.shape[:2], -1), signal, masked)
    return _floats(found, column).reshape(shape)


def _floats(column: pl.Series, name: str) -> Array:
    if not column.dtype.is_float():
        raise ReadError("has gaps, or other values than floats", place=name)
    return np.ascontiguousarray(column.to_numpy())


def _check_gaps(gaps: Array, signal: str, masked: Array) -> None:
    """Refuse gaps where a signal is used: gates are not at masked timesteps."""
    if (gaps if signal in STATES else gaps & ~masked[..., None]).any():
        raise ReadError("has gaps, or other values than floats", place=signal)


def _context(rows: _Rows, header: Header) -> dict[str, Array]:
    """Return what stands beside the signals: features of one input or output together."""
    found: dict[str, dict[int | None, Array]] = {}
    for name in header.context:
        value = _beside(rows, name)
        match = _FEATURE.fullmatch(name)
        if value is not None:
            place, number = (name, None) if match is None else (match[1], int(match[2]))
            found.setdefault(place, {})[number] = value
    beside: dict[str, Array] = {}
    for name, values in found.items():
        if list(values) == list(range(len(values))):
            beside[name] = np.stack(list(values.values()), -1)
        else:
            beside |= {name if number is None else f"{name}.{number}": value for number, value in values.items()}
    return beside


def _beside(rows: _Rows, name: str) -> Array | None:
    """Return a column that is the same in all rows of a timestep; ``None`` where it is empty.

    Raises:
        ReadError: It differs.
    """
    column = rows.frame.get_column(name)
    missing = column.null_count()
    if missing == len(column):
        return None
    if missing and name != LABEL:
        raise ReadError("has gaps", place=name)
    texts = column.dtype == pl.String
    value = np.array(column.fill_null("").to_list(), np.str_) if texts else column.to_numpy()
    grid = value.reshape(rows.shape)
    same = grid == grid[..., :1]
    if grid.dtype.kind == "f":
        same |= np.isnan(grid) & np.isnan(grid[..., :1])
    if not same.all():
        raise ReadError("differs within a timestep", place=name)
    return np.ascontiguousarray(grid[..., 0])
