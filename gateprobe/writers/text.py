"""CSV, TSV and JSON lines.

CSV follows RFC 4180 with LF as the end of a line: a header, quotes only where needed, numbers as the shortest text
that reads back to the same value, an empty field where there is no value, and ``NaN``, ``inf`` and ``-inf`` where that
is what the model computed. JSON has no such numbers: there they are the texts ``"NaN"``, ``"Infinity"`` and
``"-Infinity"``, and ``null`` is no value.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic

import polars as pl
import polars.selectors as cs

from gateprobe.writers.base import Metadata, Sink, T, Tables
from gateprobe.writers.target import Target, blamed

_Write = Callable[[pl.DataFrame, io.BytesIO, bool], None]
"""Writes a table into a buffer; the flag says whether it is the first one."""


@dataclass(slots=True, eq=False)
class _TextSink(Generic[T]):
    target: Target
    tables: Tables[T]
    write: _Write
    first: bool = True
    buffer: io.BytesIO = field(default_factory=io.BytesIO)
    """Used again and again: fresh memory costs a fifth of the time."""

    def add(self, item: T) -> None:
        for frame in self.tables.push(item):
            self._put(frame)

    def finish(self) -> None:
        for frame in self.tables.rest():
            self._put(frame)

    def close(self) -> None:
        """Nothing to let go of."""

    def _put(self, frame: pl.DataFrame) -> None:
        self.buffer.seek(0)
        self.write(frame, self.buffer, self.first)
        self.first = False
        with blamed(self.target.name), self.buffer.getbuffer() as written:
            self.target.file.write(written[: self.buffer.tell()])
            self.target.file.flush()


def open_csv(target: Target, tables: Tables[T], metadata: Metadata) -> Sink[T]:
    """Write comma-separated values."""
    return _TextSink(target, tables, _separated(","))


def open_tsv(target: Target, tables: Tables[T], metadata: Metadata) -> Sink[T]:
    """Write tab-separated values, otherwise like CSV."""
    return _TextSink(target, tables, _separated("\t"))


def open_jsonl(target: Target, tables: Tables[T], metadata: Metadata) -> Sink[T]:
    """Write one JSON object for each row."""
    return _TextSink(target, tables, _json_lines)


def _separated(separator: str) -> _Write:
    def write(frame: pl.DataFrame, buffer: io.BytesIO, first: bool) -> None:
        frame.write_csv(buffer, include_header=first, separator=separator, quote_style="necessary")

    return write


def _json_lines(frame: pl.DataFrame, buffer: io.BytesIO, first: bool) -> None:
    odd = frame.select(pl.any_horizontal((~cs.float().is_finite()).any())).item()
    if not odd:
        frame.write_ndjson(buffer)
        return
    parts: list[pl.Expr] = []
    for name in frame.columns:
        parts += [pl.lit(f"{',' if parts else '{'}{json.dumps(name)}:"), _json_value(pl.col(name), frame.schema[name])]
    lines = frame.select(pl.concat_str([*parts, pl.lit("}\n")])).to_series()
    buffer.write("".join(lines).encode())


def _json_value(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    text = column.cast(pl.String)
    if isinstance(dtype, pl.Enum):
        texts = dtype.categories.to_list()
        return text.replace_strict(texts, [json.dumps(name, ensure_ascii=False) for name in texts])
    if not dtype.is_float():
        return text
    infinite = pl.when(column > 0).then(pl.lit('"Infinity"')).otherwise(pl.lit('"-Infinity"'))
    odd = pl.when(column.is_nan()).then(pl.lit('"NaN"')).when(column.is_infinite()).then(infinite).otherwise(text)
    return odd.fill_null("null")
