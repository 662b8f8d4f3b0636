"""Reads samples from tables: CSV, TSV, CSV with semicolons as spreadsheets of many countries write it, Parquet, Arrow.

Two forms. A table whose header names ``sample`` and ``timestep`` has one row for each timestep of each sample, and a
column for each feature. Any other table has one row for each sample: its columns are the timesteps (tokens, or a
single feature) or the features of an input without timesteps. Which of the two it is never depends on the numbers.
"""

from __future__ import annotations

import io
import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateprobe.errors import InputError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.limits.system import require_room_for_tables

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 50_000
"""Of a table for an input that says nothing of its size."""
_FEW_COLUMNS = 1_000
"""With so many, a table is read in any case, and the message that it does not fit knows its shape."""

_INDEX = ("sample", "timestep")
PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip and zstd begin."""
TYPED = {b"PAR1": "parquet", b"ARROW1": "arrow"}
"""First bytes → format of a table whose columns have types."""
_DECIMAL = re.compile(r"\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)


def read_table(data: bytes, name: str, shape: tuple[int | None, ...] | None) -> Array:
    """Return the array that a table holds.

    Args:
        data: The file.
        name: What to call it in messages.
        shape: What the model takes, samples axis included.

    Raises:
        InputError: It is no table of numbers, or not one for this shape.
    """
    require_room_for_tables()
    header, cells = _split(data, name, shape)
    columns = [_numbers(cells.get_column(column), n, 1 + bool(header), name) for n, column in enumerate(cells.columns)]
    return _arranged(header, columns, name, shape)


def typed_kind(head: bytes) -> str | None:
    """Return the format of a table whose columns have types, by its first bytes; ``None`` for anything else."""
    return next((kind for magic, kind in TYPED.items() if head.startswith(magic)), None)


def read_typed_table(data: bytes, kind: str, name: str, shape: tuple[int | None, ...] | None, limit: int) -> Array:
    """Return the array that a Parquet or Arrow file holds.

    Args:
        data: The file.
        kind: One of `TYPED`.
        name: What to call it in messages.
        shape: What the model takes, samples axis included.
        limit: Largest size, in bytes, of its columns.

    Raises:
        InputError: It is no table of numbers, or not one for this shape.
        UnsafeFile: It may need more memory than the limit.
    """
    frame = read_frame(io.BytesIO(data), kind, name, limit)
    if not frame.height:
        raise InputError("has no rows", file=name)
    _refuse_columns(frame, name)
    columns = [column.cast(_wide(column.dtype)).to_numpy() for column in frame.get_columns()]
    return _arranged(tuple(frame.columns), columns, name, shape)


def read_frame(source: Path | io.BytesIO, kind: str, name: str, limit: int) -> pl.DataFrame:
    """Read a table of a format that has types.

    Args:
        source: The file, or its bytes.
        kind: ``parquet``, ``arrow`` or ``jsonl``.
        name: What to call it in messages.
        limit: Largest size, in bytes, of its columns.

    Raises:
        InputError: It is damaged.
        UnsafeFile: It may need more memory than the limit.
    """
    import polars as pl  # noqa: PLC0415 - only tables need it

    require_room_for_tables()
    scan: dict[str, Any] = {"parquet": pl.scan_parquet, "arrow": pl.scan_ipc, "jsonl": pl.scan_ndjson}
    try:
        lazy = scan[kind](source)
        if kind != "jsonl":
            rows = lazy.select(pl.len()).collect().item()
            if rows * 8 * len(lazy.collect_schema()) > limit:
                reason = f"{rows:,} rows may need more than the limit"
                raise UnsafeFile(reason, file=name, remedy="raise --max-bytes")
        frame: pl.DataFrame = lazy.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = f"is damaged, or no table: {(str(error).splitlines() or [''])[0][:200]}"
        raise InputError(reason, file=name) from None
    return frame


def _refuse_columns(frame: pl.DataFrame, name: str) -> None:
    """Refuse columns of anything but numbers, and gaps."""
    import polars as pl  # noqa: PLC0415

    for column in frame.get_columns():
        if not (column.dtype.is_integer() or column.dtype.is_float() or column.dtype == pl.Boolean):
            reason = f"column {column.name!r} holds {column.dtype}, no numbers"
            remedy = "keep the columns of numbers; a list in a cell becomes a column for each of its numbers"
            raise InputError(reason, file=name, remedy=remedy)
        if column.has_nulls():
            row = int(column.is_null().arg_max() or 0)
            raise InputError("a value is missing", file=name, place=f"row {row}, column {column.name!r}")


def _wide(dtype: pl.DataType) -> Any:
    """Return the type in which a column of numbers is taken: that of the same column in a text."""
    import polars as pl  # noqa: PLC0415

    return pl.Float64 if dtype.is_float() else pl.Int64


def separator_of(line: bytes) -> str:
    """Return what parts the cells of a table, by its first line: a tab, a semicolon or a comma.

    A semicolon beside commas does where these are decimal ones: ``0,5;1,25``.
    """
    text = line.decode("utf-8", "replace")
    if "\t" in text and "," not in text:
        return "\t"
    if ";" in text and ("," not in text or any(map(_DECIMAL.fullmatch, text.split(";")))):
        return ";"
    return ","


def with_points(cells: pl.DataFrame, separator: str, name: str) -> pl.DataFrame:
    """Turn decimal commas into points in a table that parts its cells by semicolons.

    Raises:
        InputError: It has both, so that a comma or a point may part thousands.
    """
    import polars as pl  # noqa: PLC0415

    if separator != ";":
        return cells
    decimal = pl.all().str.contains(rf"(?i)^{_DECIMAL.pattern}$").any()
    pointed = pl.all().str.contains(r"^\s*[+-]?\d*\.\d").any()
    if not any(cells.select(decimal).row(0)):
        return cells
    if any(cells.select(pointed).row(0)):
        raise InputError("has decimal commas and decimal points", file=name, remedy="write all numbers in one way")
    return cells.with_columns(pl.all().str.replace(r"^(\s*[+-]?\d*),(\d)", "$1.$2"))


def _arranged(header: tuple[str, ...], columns: list[Array], name: str, shape: tuple[int | None, ...] | None) -> Array:
    """Return columns as the array that they hold."""
    if not header or not set(header) & set(_INDEX):
        return _by_sample(_matrix(columns), name, shape)
    for column in _INDEX:
        if header.count(column) != 1:
            raise InputError(f"the header must name {column!r} once", file=name)
    index = [columns[header.index(column)] for column in _INDEX]
    features = [column for title, column in zip(header, columns, strict=True) if title not in _INDEX]
    return _by_timestep(index[0], index[1], features, name, shape)


def _split(data: bytes, name: str, shape: tuple[int | None, ...] | None) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Return the header, empty if there is none, and the cells below it as texts."""
    import polars as pl  # noqa: PLC0415 - only tables need it

    if b"\0" in data or not data.strip():
        raise InputError("is empty" if not data.strip() else "is not text", file=name)
    data = data.removeprefix(BOM_UTF8)
    if data.startswith(PACKED):
        raise InputError("is compressed", file=name, remedy="unpack it first")
    first = data.split(b"\n", 1)[0]
    separator = separator_of(first)
    _refuse_prose(data, separator, name, shape)
    _check_width(first, separator, name, shape)
    try:  # behind the mark polars does not look for gzip, zlib or zstd, which it would unpack
        cells = pl.read_csv(io.BytesIO(BOM_UTF8 + data), has_header=False, infer_schema=False, separator=separator)
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(f"is not a table: {reason}", file=name, remedy="give every row as many cells") from None
    cells = with_points(cells, separator, name)
    titles = tuple((cell or "").strip() for cell in cells.row(0))
    numeric = [is_number(title) for title in titles]
    if any(numeric):
        return (), cells
    if "" in titles:
        column = titles.index("") + 1
        raise InputError(f"column {column} has no name", file=name, remedy="save the table without its row numbers")
    if len(cells) == 1:
        raise InputError("has a header and no rows", file=name)
    return titles, cells.slice(1)


def _refuse_prose(data: bytes, separator: str, name: str, shape: tuple[int | None, ...] | None) -> None:
    """Refuse a text in which a number stands neither in the first line nor in the second."""
    lines = [line.strip() for line in data.split(b"\n", 2)[:2]]
    cells = [cell.strip() for line in lines for cell in line.decode("utf-8", "replace").split(separator)]
    if separator == ";":
        cells = [cell.replace(",", ".") for cell in cells]
    if (
        any(is_number(cell) or cell[:1].isdecimal() for cell in cells)
        or set(cells) & set(_INDEX)
        or (len(lines) > 1 and not lines[1].strip(b",; \t"))
    ):
        return
    tokens = "token ids, the numbers that stand for characters or words in the training"
    what = tokens if shape is None or len(shape) == 2 else "numbers, separated by commas"
    vocabulary = ", or the model's vocabulary with --vocab=FILE" if what is tokens else ""
    raise InputError("holds text where numbers are wanted", file=name, remedy=f"give {what}{vocabulary}")


def _check_width(first: bytes, separator: str, name: str, shape: tuple[int | None, ...] | None) -> None:
    """Refuse a table with more columns than the input can take before they are made, which takes time for each."""
    columns = first.count(separator.encode()) + 1
    sizes = (shape or (None,))[1:] or (1,)
    most = MAX_COLUMNS if None in sizes or shape is None else len(_INDEX) + max(size or 0 for size in sizes)
    if columns > max(most, _FEW_COLUMNS):
        reason = f"has {columns:,} columns, where at most {most:,} belong"
        raise InputError(reason, file=name, remedy="give the input that the model takes, or a .npy file")


def is_number(text: str) -> bool:
    """Whether a cell holds a number, NaN and infinities among them; a first row with one is no header."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(column: pl.Series, number: int, first_line: int, name: str) -> Array:
    """Return a column as int64 when all of it is whole numbers, else as float64."""
    import polars as pl  # noqa: PLC0415

    texts = column.str.strip_chars()
    for dtype in (pl.Int64, pl.Float64):
        values = texts.cast(dtype, strict=False)
        if not values.has_nulls():
            return values.to_numpy()
    row = int(values.is_null().arg_max() or 0)
    text = texts[row]
    reason = f"{text!r} is not a number" if text else "a value is missing"
    place = f"line {row + first_line}, column {number + 1}"
    raise InputError(reason, file=name, place=place, remedy="separate numbers by commas; write NaN for a gap")


def _matrix(columns: list[Array]) -> Array:
    """Return columns side by side: whole numbers only when all of them are."""
    return np.stack(columns, axis=1)


def _by_sample(matrix: Array, name: str, shape: tuple[int | None, ...] | None) -> Array:
    rank = None if shape is None else len(shape)
    if rank == 2:
        return matrix
    if rank == 3 and shape is not None and shape[2] == 1:
        return matrix[:, :, np.newaxis]
    if rank == 1 and matrix.shape[1] == 1:
        return matrix[:, 0]
    raise InputError(
        "a table with a row for each sample cannot hold this input",
        file=name,
        remedy="name columns sample,timestep,... in a header, with a row for each timestep, or give a .npy file",
    )


def _by_timestep(
    sample: Array, timestep: Array, features: list[Array], name: str, shape: tuple[int | None, ...] | None
) -> Array:
    for title, column in zip(_INDEX, (sample, timestep), strict=True):
        if column.dtype.kind != "i" or column.min() < 0:
            raise InputError(f"column {title!r} must count 0, 1, 2, ...", file=name)
    samples, timesteps = int(sample.max()) + 1, int(timestep.max()) + 1
    if not features or len(sample) != samples * timesteps:
        reason = f"has {len(sample)} rows for {samples} samples of {timesteps} timesteps"
        raise InputError(reason, file=name, remedy="give each timestep of each sample once; pad short samples")
    place = sample * timesteps + timestep
    order = np.argsort(place, kind="stable")
    wrong = np.flatnonzero(place[order] != np.arange(len(place)))
    if len(wrong):
        expected, found = int(wrong[0]), int(place[order][wrong[0]])
        where, what = (found, "twice") if found < expected else (expected, "nowhere")
        raise InputError(f"sample {where // timesteps}, timestep {where % timesteps} stands {what}", file=name)
    values = _matrix(features)[order].reshape(samples, timesteps, len(features))
    if shape is not None and len(shape) == 2 and len(features) == 1:
        return values[:, :, 0]
    return values
