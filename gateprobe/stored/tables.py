"""Traces in tables of the tidy layout: Parquet, Arrow, CSV and TSV.

A table does not say how long a layer's whole input was: that is reckoned from ``step``, or taken to be as long as the
last timestep demands.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.limits.system import require_room_for_tables
from gateprobe.stored.described import SIGNALS, Metadata, metadata_of
from gateprobe.traces.chunk import STATES, DirectionTrace, TraceChunk
from gateprobe.writers.arrow_footer import metadata_in
from gateprobe.writers.columnar import METADATA_KEY

_NUMBERS = ("sample", "timestep", "step", "unit")
_INDEX = ("sample", "layer", "direction", "timestep", "step", "unit", "masked")
_MARK = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8. Behind it polars does not look for gzip, zlib or zstd, which it would unpack."""
_CELL = 24
"""Bytes of memory that a cell of a text table takes while it is read."""
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrt]))")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}


def from_parquet(path: Path, limit: int) -> tuple[TraceChunk, Metadata]:
    """Read the trace in a Parquet file.

    Raises:
        ReadError: It holds no trace in the tidy layout, or is damaged.
        UnsafeFile: Its columns need more than the limit.
    """
    with _translated():
        schema = pl.read_parquet_schema(path)
        text = pl.read_parquet_metadata(path).get(METADATA_KEY)
        _check_columns(list(schema))
        _check_size(pl.scan_parquet(path), len(schema), limit)
        frame = pl.read_parquet(path)
    return _trace(frame), metadata_of(text)


def from_arrow(path: Path, limit: int) -> tuple[TraceChunk, Metadata]:
    """Read the trace in an Arrow IPC file; see `from_parquet`."""
    with _translated():
        schema = pl.read_ipc_schema(path)
        _check_columns(list(schema))
        _check_size(pl.scan_ipc(path), len(schema), limit)
        frame = pl.read_ipc(path)
    with path.open("rb") as file:
        return _trace(frame), metadata_of(metadata_in(file, METADATA_KEY))


def from_text(path: Path, limit: int) -> tuple[TraceChunk, Metadata]:
    """Read the trace in a CSV or TSV file, which has no metadata; numbers are float32 where that is what they show."""
    with path.open("rb") as file:
        first = file.readline(1 << 14).decode("utf-8", "replace").rstrip("\r\n")
    separator = "\t" if "\t" in first else ","
    names = first.split(separator)
    _check_columns(names)
    if path.stat().st_size * _CELL > 12 * limit:  # a cell and its comma are 2 bytes at least
        raise UnsafeFile(f"may need more than the {limit:,} bytes of the limit", remedy="raise --max-bytes")
    types: dict[str, Any] = dict.fromkeys(names, pl.Float64) | dict.fromkeys(_NUMBERS, pl.Int64)
    types |= {"layer": pl.String, "direction": pl.String, "masked": pl.Boolean}
    with _translated():
        data = io.BytesIO(_MARK + path.read_bytes())
        frame = pl.read_csv(data, schema=types, separator=separator)
    layers = frame.get_column("layer").unique().drop_nulls().to_list()
    frame = frame.with_columns(pl.col("layer").replace_strict(layers, list(map(unescaped, layers)), default=None))
    return _trace(_in_float32(frame, names[len(_INDEX) :])), {}


@contextmanager
def _translated() -> Iterator[None]:
    """Turn whatever polars raises on a damaged file into one line."""
    require_room_for_tables()
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ReadError(f"is damaged, or no table of a trace: {reason}") from None


def _check_columns(names: list[str]) -> None:
    signals = names[len(_INDEX) :]
    if tuple(names[: len(_INDEX)]) != _INDEX or len(set(names)) < len(names) or not SIGNALS.issuperset(signals):
        raise ReadError("is no trace in the tidy layout", remedy="only tidy tables, .npz and .h5 are read back")


def _check_size(table: pl.LazyFrame, columns: int, limit: int) -> None:
    rows = table.select(pl.len()).collect().item()
    if rows * 8 * columns > limit:
        raise UnsafeFile(
            f"{rows:,} rows may need more than the {limit:,} bytes of the limit", remedy="raise --max-bytes"
        )


def unescaped(name: str) -> str:
    r"""Undo what the CSV writer does to names: ``\x3d`` is ``=``."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        return _LETTERS[match[4]] if match[4] else chr(min(int(code, 16), 0x10FFFF))

    return _ESCAPE.sub(character, name)


def _in_float32(frame: pl.DataFrame, signals: list[str]) -> pl.DataFrame:
    """Return float32 where all numbers are the shortest texts of such, as they are when float32 was written."""
    narrow = frame.select(pl.col(signals).cast(pl.Float32))
    written = io.BytesIO()
    narrow.write_csv(written)
    written.seek(0)
    again = pl.read_csv(written, schema=dict.fromkeys(signals, pl.Float64))
    return frame.with_columns(narrow) if again.equals(frame.select(signals)) else frame


def _trace(frame: pl.DataFrame) -> TraceChunk:
    """Put the rows of each direction back into arrays."""
    if frame.select(pl.any_horizontal(pl.col(_INDEX).is_null()).any()).item() or frame.is_empty():
        raise ReadError("has rows without sample, layer or the like" if len(frame) else "has no rows")
    frame = frame.with_columns(pl.col("layer", "direction").cast(pl.String))
    parts = frame.partition_by("layer", "direction", maintain_order=True)
    directions, samples = zip(*map(_direction, parts), strict=True)
    if any(not np.array_equal(numbers, samples[0]) for numbers in samples):
        raise ReadError("its layers differ in their samples")
    return TraceChunk(samples[0], tuple(directions))


def _direction(rows: pl.DataFrame) -> tuple[DirectionTrace, Array]:
    """Return one direction and the numbers of its samples."""
    layer, direction = rows.item(0, "layer"), rows.item(0, "direction")
    sample, timestep, step, unit = (rows.get_column(name).to_numpy() for name in _NUMBERS)
    each = _run(sample)
    units = _run(timestep[:each])
    shape = (len(rows) // each, each // units, units)
    grid = np.arange(len(rows)).reshape(shape) if int(np.prod(shape)) == len(rows) else None
    if grid is None or direction not in ("forward", "backward") or not _is_grid(grid, sample, timestep, step, unit):
        raise ReadError("its rows are not those that gateprobe writes, all and in their order", place=layer)
    masked = rows.get_column("masked").to_numpy().reshape(shape)
    times, steps = timestep[grid[0, :, 0]], step[grid[0, :, 0]]
    backwards = bool((steps != times).any())
    return DirectionTrace(
        layer=layer,
        direction=direction,
        backwards=backwards,
        signals=_signals(rows, shape, masked),
        mask=~masked[..., 0] if masked.any() else None,
        timesteps=times,
        units=unit[:units],
        length=int(times[0] + steps[0]) + 1 if backwards else int(times.max()) + 1,
    ), sample[grid[:, 0, 0]]


def _run(numbers: Array) -> int:
    """Return how often the first number stands at the beginning."""
    other = np.flatnonzero(numbers != numbers[0])
    return int(other[0]) if len(other) else len(numbers)


def _is_grid(grid: Array, sample: Array, timestep: Array, step: Array, unit: Array) -> bool:
    """Whether the rows number all samples, timesteps and units, each once and ascending."""
    times, steps, units, samples = timestep[grid[0, :, 0]], step[grid[0, :, 0]], unit[grid[0, 0]], sample[grid[:, 0, 0]]
    alike = (
        (sample[grid] == samples[:, None, None]).all()
        and (timestep[grid] == times[:, None]).all()
        and (step[grid] == steps[:, None]).all()
        and (unit[grid] == units).all()
    )
    ascending = all((np.diff(numbers) > 0).all() and numbers[0] >= 0 for numbers in (times, units, samples))
    mirrored = (steps == times).all() or (np.diff(steps + times) == 0).all()
    return bool(alike and ascending and mirrored)


def _signals(rows: pl.DataFrame, shape: tuple[int, int, int], masked: Array) -> dict[str, Array]:
    """Return the columns of a layer that has them; gates are NaN where masked."""
    signals = {}
    for name in rows.columns[len(_INDEX) :]:
        column = rows.get_column(name)
        gaps = column.is_null().to_numpy().reshape(shape)
        if gaps.all():
            continue  # a signal of another layer
        if not column.dtype.is_float() or (gaps & (True if name in STATES else ~masked)).any():
            raise ReadError("has gaps, or other values than floats", place=name)
        signals[name] = np.ascontiguousarray(column.to_numpy().reshape(shape))
    if not signals:
        raise ReadError("a layer has no signals", place=rows.item(0, "layer"))
    return signals
