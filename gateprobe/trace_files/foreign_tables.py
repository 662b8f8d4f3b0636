"""Tables of other programs: text, or Parquet, Arrow and JSON lines, whose columns are told by their names.

See `gateprobe.trace_files.foreign`.
"""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gateprobe.errors import InputError, ReadError, UnsafeFile, by_word
from gateprobe.graph import Array
from gateprobe.inputs.tables import PACKED, is_number, read_frame, separator_of, with_points
from gateprobe.limits.system import require_room_for_tables
from gateprobe.trace_files.names import Named, check_mapping, left_out, nameless, read_name, settled
from gateprobe.trace_files.printed import slack_of
from gateprobe.trace_files.tables import unescaped
from gateprobe.traces.foreign import Foreign, Form, Written

_CELL = 80
"""Bytes of memory that a cell of a text table takes while it is read."""
_INDEX = by_word(
    {
        "sample": "sample seq sequence batch sample_id",
        "layer": "layer",
        "direction": "direction",
        "timestep": "timestep t time tick frame time_step",
        "step": "step",
        "unit": "unit neuron",
        "masked": "masked",
        "signal": "signal gate",
        "value": "value val",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Columns of a table."""

    columns: Mapping[str, pl.Series]
    """As they stand in the file; texts without white space around them."""
    numbers: Mapping[str, Array]
    """Column → float64, NaN where it is empty."""
    empty: Mapping[str, Array]
    faults: Mapping[str, str] = field(default_factory=dict)
    """Column → why it is not one of numbers."""
    printed: bool = False
    """Whether numbers stand there as text."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(self.columns)

    def words(self, name: str) -> Array:
        """Return the texts of a column; as objects, since one long text must not make all of them long."""
        return np.array(["" if item is None else str(item) for item in self.columns[name].to_list()], object)

    def texts(self, name: str) -> list[str | None]:
        """Return the numbers of a column as they are printed."""
        return self.columns[name].to_list()

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.empty.values()), ()))


def read_text_table(path: Path, name: str, mapping: Mapping[str, str], limit: int) -> Foreign:
    """Read CSV, TSV or columns with spaces between them.

    Raises:
        ReadError: It is no table, or its names say nothing.
        UnsafeFile: It may need more memory than the limit.
    """
    _afford(path.stat().st_size, limit)
    data = path.read_bytes().removeprefix(BOM_UTF8)
    if b"\0" in data or not data.strip() or data.startswith(PACKED):
        reason = "is empty" if not data.strip() else "is neither text nor a format that gateprobe knows"
        raise ReadError(reason, remedy="give .csv, .tsv, .npz, .npy or a trace of gateprobe")
    header, cells = _cells(data, name)
    _afford(cells.height * cells.width * _CELL, limit)
    return _from_table(_typed(header, cells), name, mapping, headed=bool(header))


def _afford(size: int, limit: int) -> None:
    """Refuse what is too large to be in memory.

    Raises:
        UnsafeFile: It has more bytes than the limit.
    """
    if size > limit:
        raise UnsafeFile(f"needs more than the {limit:,} bytes of the limit", remedy="raise --max-bytes")


def _cells(data: bytes, name: str) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Return the titles, none where the first line holds numbers, and the cells as texts."""
    require_room_for_tables()
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    comments = 0
    while data.startswith(b"#") and b"\n" in data:
        first, rest = data[1:].split(b"\n", 1)
        if len(_split_line(first)) == len(_split_line(rest.split(b"\n", 1)[0])) and not rest.startswith(b"#"):
            data = first.strip() + b"\n" + rest
            break
        data, comments = rest, comments + 1
    separator = _separator(data.split(b"\n", 1)[0])
    if separator == " ":
        data = b"\n".join(b" ".join(line.split()) for line in data.split(b"\n") if line.strip())
    try:
        cells = pl.read_csv(
            io.BytesIO(BOM_UTF8 + data),
            has_header=False,
            infer_schema=False,
            separator=separator,
            truncate_ragged_lines=False,
        )
    except pl.exceptions.PolarsError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ReadError(f"is not a table: {reason}", remedy="give every row as many cells") from None
    cells = with_points(cells, separator, name)
    titles = tuple((cell or "").strip() for cell in cells.row(0))
    if any(is_number(title) for title in titles):
        return (), cells
    if len(cells) == 1:
        raise ReadError("has a header and no rows")
    return titles, cells.slice(1)


def _split_line(line: bytes) -> list[bytes]:
    separator = _separator(line).encode()
    return line.split() if separator == b" " else line.strip().split(separator)


def _separator(line: bytes) -> str:
    found = "\t" if b"\t" in line else separator_of(line)
    return " " if found == "," and b"," not in line and b" " in line.strip() else found


def _typed(header: Sequence[str], cells: pl.DataFrame) -> _Table:
    names = tuple(header) or tuple(f"column {n}" for n in range(cells.width))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ReadError(f"has two columns {twice!r}")
    columns, numbers, empty, faults = {}, {}, {}, {}
    for name, column in zip(names, cells.get_columns(), strict=True):
        columns[name] = stripped = column.str.strip_chars()
        gaps = (stripped.is_null() | (stripped == "")).to_numpy()
        values = stripped.cast(pl.Float64, strict=False)
        bad = (values.is_null().to_numpy()) & ~gaps
        if bad.any():
            row = int(bad.argmax())
            faults[name] = f"line {row + 1 + bool(header)}: {stripped[row]!r:.40} is not a number"
        else:
            numbers[name] = values.fill_null(np.nan).to_numpy()
        empty[name] = gaps
    return _Table(columns, numbers, empty, faults, printed=True)


def _frame(path: Path, kind: str, name: str, limit: int) -> pl.DataFrame:
    """Read a table of a format that has types."""
    _afford(path.stat().st_size, limit)
    try:
        return read_frame(path, kind, name, limit)
    except InputError as error:
        raise ReadError(error.reason, remedy=error.remedy) from None


def read_typed_table(path: Path, kind: str, name: str, mapping: Mapping[str, str], limit: int) -> Foreign:
    """Read ``parquet``, ``arrow`` or ``jsonl``; raises what `read_text_table` does."""
    frame = _frame(path, kind, name, limit)
    columns = {column.name: column for column in frame.get_columns()}
    empty = {title: column.is_null().to_numpy() for title, column in columns.items()}
    numbers = {
        title: column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        for title, column in columns.items()
        if column.dtype.is_numeric() or column.dtype == pl.Boolean
    }
    return _from_table(_Table(columns, numbers, empty), name, mapping, headed=True)


def _from_table(table: _Table, name: str, mapping: Mapping[str, str], *, headed: bool) -> Foreign:
    if not headed:
        return Foreign(name, (_unnamed(table),))
    index = {
        _INDEX[column.lower()]: column for column in table.names if column.lower() in _INDEX and column not in mapping
    }
    if "signal" in index and "value" in index:
        columns = _long(table, index, mapping)
    else:
        index.pop("signal", None)
        index.pop("value", None)
        columns = _wide(table, index, mapping)
    if "timestep" not in index and "step" in index:
        index["timestep"] = index["step"]
    used = {one.name for one in columns} | set(index.values())
    labels = sorted(set(table.words(index["layer"]))) if "layer" in index else []
    check_mapping(
        mapping, table.names, [*labels, *([] if "signal" not in index else set(table.words(index["signal"])))]
    )
    unknown = [column for column in table.names if column not in used]
    if not columns:
        raise nameless(unknown)
    _refuse_whole(table, columns)
    written = [one for group in _grouped(table, columns, index, mapping) for one in group]
    return Foreign(name, tuple(settled(iter(written))), left_out(unknown))


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """The cells of one signal in one column, perhaps of one unit."""

    name: str
    named: Named
    rows: Array
    """Which rows they are."""


def _wide(table: _Table, index: Mapping[str, str], mapping: Mapping[str, str]) -> list[_Column]:
    every = np.arange(table.rows)
    found = []
    for column in table.names:
        named = None if column in index.values() else read_name(column, mapping)
        if named is not None:
            found.append(_Column(column, named, every))
    return found


def _long(table: _Table, index: Mapping[str, str], mapping: Mapping[str, str]) -> list[_Column]:
    found = []
    words = table.words(index["signal"])
    for word in dict.fromkeys(words.tolist()):
        named = read_name(word, mapping)
        if named is None:
            raise ReadError(f"{word!r} is no signal", remedy="say what it is with --map THEIRS=OURS")
        found.append(_Column(index["value"], named, np.flatnonzero(words == word)))
    return found


def _refuse_whole(table: _Table, columns: Sequence[_Column]) -> None:
    _refuse_words(table, [one.name for one in columns])
    numbers = np.concatenate([table.numbers[one.name] for one in columns])
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) and (numbers == np.rint(numbers)).all() and np.abs(numbers).max() > 1:
        raise ReadError("holds whole numbers only", remedy="divide raw fixed-point numbers by their scale")


def _refuse_words(table: _Table, names: Iterable[str]) -> None:
    for name in names:
        if name not in table.numbers:
            raise ReadError(table.faults.get(name, "holds no numbers"), place=f"column {name}")


def _unnamed(table: _Table) -> Written:
    """Take a table without a header for hidden states."""
    _refuse_words(table, table.names)
    values = np.stack([table.numbers[name] for name in table.names], 1)[None]
    there = ~np.stack([table.empty[name] for name in table.names], 1)[None]
    texts = [text for row in zip(*(table.texts(name) for name in table.names), strict=True) for text in row]
    slack = slack_of(texts, values.ravel()).reshape(values.shape)
    return Written("the table", None, None, "hidden_state", values, there, slack, "rows")


def _grouped(
    table: _Table, columns: Sequence[_Column], index: Mapping[str, str], mapping: Mapping[str, str]
) -> Iterator[list[Written]]:
    """Put the cells of each signal of each direction of each layer into an array."""
    slack = _slacks(table, columns)
    where = _places(table, index)
    cells: dict[tuple[Any, ...], list[tuple[Array, Array, Array, Array, Array, Array]]] = {}
    for one in columns:
        own = where.labels(one.rows, mapping)
        for label in dict.fromkeys(own):
            rows = one.rows[[n for n, other in enumerate(own) if other == label]]
            if table.empty[one.name][rows].all() and where.has_labels:
                continue  # a signal of another layer
            layer, direction = label
            key = (one.named.layer or layer, one.named.direction or direction, one.named.signal)
            unit = where.unit[rows] if where.unit is not None else np.full(len(rows), one.named.unit or 0)
            empty = table.empty[one.name][rows]
            cells.setdefault(key, []).append(
                (
                    where.sample[rows],
                    where.timestep[rows],
                    unit,
                    table.numbers[one.name][rows],
                    ~empty,
                    slack[one.name][rows],
                )
            )
    yield [_filled(key, group, where) for key, group in cells.items()]


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where each row belongs."""

    sample: Array
    timestep: Array
    unit: Array | None
    numbered: tuple[bool, bool]
    """Whether the file numbers samples and timesteps."""
    form: Form
    layer: Array | None
    direction: Array | None

    @property
    def has_labels(self) -> bool:
        """Whether rows belong to several layers."""
        return self.layer is not None

    def labels(self, rows: Array, mapping: Mapping[str, str]) -> list[tuple[str | None, str | None]]:
        """Return layer and direction of rows."""
        layers = (
            [None] * len(rows)
            if self.layer is None
            else [mapping.get(name, unescaped(name)) for name in self.layer[rows].tolist()]
        )
        ways = [None] * len(rows) if self.direction is None else [str(name) for name in self.direction[rows]]
        return list(zip(layers, ways, strict=True))


def _places(table: _Table, index: Mapping[str, str]) -> _Places:
    rows = table.rows

    def whole(name: str) -> Array | None:
        if name not in index:
            return None
        column = table.numbers.get(index[name])
        if column is None or np.isnan(column).any():
            raise ReadError("has gaps, or no numbers", place=f"column {index[name]}")
        return column

    sample, timestep, unit = whole("sample"), whole("timestep"), whole("unit")
    timed = timestep is not None and bool((timestep == np.rint(timestep)).all()) and bool((timestep >= 0).all())
    form: Form = "sequences"
    numbered_samples = sample is not None
    if sample is None:
        sample = _counted_samples(timestep, rows) if timestep is not None and unit is None else np.zeros(rows)
        if timestep is None:
            form = "rows"
    labels = [table.words(index[name]) for name in ("layer", "direction") if name in index]
    if timestep is None or not timed:
        timestep = _order_within([sample, *labels, *([] if unit is None else [unit])], rows)
        if form == "sequences" and not timestep.any():
            form = "last"
    return _Places(
        sample.astype(np.int64),
        timestep.astype(np.int64),
        None if unit is None else unit.astype(np.int64),
        (numbered_samples, timed),
        form,
        table.words(index["layer"]) if "layer" in index else None,
        table.words(index["direction"]) if "direction" in index else None,
    )


def _counted_samples(timestep: Array, rows: int) -> Array:
    """Number samples where time begins again."""
    again = np.zeros(rows, np.int64)
    if len(np.unique(timestep)) == rows:
        return again  # one sample, in whatever order
    again[1:] = np.cumsum(np.diff(timestep) <= 0)
    return again


def _order_within(labels: Sequence[Array], rows: int) -> Array:
    """Number rows among those of the same labels."""
    seen: dict[tuple[Any, ...], int] = {}
    order = np.zeros(rows, np.int64)
    for n, key in enumerate(zip(*(label.tolist() for label in labels), strict=True)):
        order[n] = seen.get(key, 0)
        seen[key] = int(order[n]) + 1
    return order


def _slacks(table: _Table, columns: Sequence[_Column]) -> Mapping[str, Array]:
    """Return how far the numbers of each column may be off; all columns are printed alike, or each in its own way."""
    names = list(dict.fromkeys(one.name for one in columns))
    if not table.printed:
        return {name: np.zeros(table.rows) for name in names}
    together = slack_of(
        [text for name in names for text in table.texts(name)], np.concatenate([table.numbers[name] for name in names])
    )
    return dict(zip(names, np.split(together, len(names)), strict=True))


def _filled(key: tuple[Any, ...], group: Sequence[tuple[Array, ...]], where: _Places) -> Written:
    layer, direction, signal = key
    sample, timestep, unit, value, there, slack = (np.concatenate(parts) for parts in zip(*group, strict=True))
    axes = [np.unique(numbers, return_inverse=True) for numbers in (sample, timestep, unit)]
    shape = tuple(len(numbers) for numbers, _ in axes)
    if int(np.prod(shape)) > 16 * len(value) + 1024:
        raise ReadError("names few of the places that its numbers span", place=signal)
    at = tuple(place.ravel() for _, place in axes)
    flat = np.ravel_multi_index(at, shape)
    if len(np.unique(flat)) < len(flat):
        n = int(np.flatnonzero(np.bincount(flat) > 1)[0])
        s, t, u = (int(numbers[i]) for (numbers, _), i in zip(axes, np.unravel_index(n, shape), strict=True))
        raise ReadError(f"sample {s}, timestep {t}, unit {u} stands twice", place=signal)
    arrays = [np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape)]
    for array, cells in zip(arrays, (value, there, slack), strict=True):
        array[at] = cells
    samples, timesteps = (
        numbers if numbered else None for (numbers, _), numbered in zip(axes[:2], where.numbered, strict=True)
    )
    return Written(
        signal, layer, direction, signal, arrays[0], arrays[1], arrays[2], where.form,
        samples=samples, timesteps=timesteps, units=axes[2][0],
    )  # fmt: skip
