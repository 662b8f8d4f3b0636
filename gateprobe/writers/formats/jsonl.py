"""JSON lines: an object for each row.

JSON has no ``NaN`` and no infinite numbers: they are the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. ``null``
is no value.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from gateprobe.writers.base import Metadata, Output, Sink, T, TableFormat, Tables
from gateprobe.writers.target import Target
from gateprobe.writers.text import begin

if TYPE_CHECKING:
    import polars as pl


class JsonLines(TableFormat):
    """JSON lines."""

    name = "jsonl"
    title = "a JSON object for each row"
    suffixes = (".jsonl", ".ndjson")
    streams = True

    def open_table(self, target: Target, tables: Tables[T], output: Output, metadata: Metadata) -> Sink[T]:
        """Begin with the first row."""
        return begin(target, tables, _json_lines)


def _json_lines(frame: pl.DataFrame, buffer: io.BytesIO, first: bool) -> None:
    import polars as pl
    import polars.selectors as cs

    odd = frame.select(pl.any_horizontal((~cs.float().is_finite()).any())).item()
    if not odd:
        frame.write_ndjson(buffer)
        return
    parts: list[pl.Expr] = []
    for name in frame.columns:
        parts += [pl.lit(f"{',' if parts else '{'}{json.dumps(name)}:"), _json_value(pl.col(name), frame.schema[name])]
    lines = frame.select(pl.concat_str([*parts, pl.lit("}\n")])).to_series()
    buffer.write("".join(lines).encode())


def _quoted(texts: pl.Series) -> pl.Series:
    """Return texts as JSON writes them."""
    there = texts.unique().drop_nulls().to_list()
    return texts.replace_strict(there, [json.dumps(text, ensure_ascii=False) for text in there], default=None)


def _json_value(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    import polars as pl

    text = column.cast(pl.String)
    if isinstance(dtype, pl.Enum):
        texts = dtype.categories.to_list()
        return text.replace_strict(texts, [json.dumps(name, ensure_ascii=False) for name in texts])
    if isinstance(dtype, pl.String):
        return text.map_batches(_quoted, return_dtype=pl.String()).fill_null("null")
    if not dtype.is_float():
        return text.fill_null("null")
    infinite = pl.when(column > 0).then(pl.lit('"Infinity"')).otherwise(pl.lit('"-Infinity"'))
    odd = pl.when(column.is_nan()).then(pl.lit('"NaN"')).when(column.is_infinite()).then(infinite).otherwise(text)
    return odd.fill_null("null")


FORMAT = JsonLines()
