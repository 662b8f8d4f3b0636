"""CSV follows RFC 4180 with LF as the end of a line.

There is a header; quotes stand only where needed, numbers are the shortest text that reads back to the same value. A
field is empty where there is no value, and ``NaN``, ``inf`` or ``-inf`` where that is what the model computed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar

from gateprobe.writers.base import Metadata, Output, Sink, T, TableFormat, Tables
from gateprobe.writers.target import Target
from gateprobe.writers.text import begin

if TYPE_CHECKING:
    import polars as pl


class Csv(TableFormat):
    """Comma-separated values."""

    name = "csv"
    title = "comma-separated values"
    suffixes = (".csv",)
    streams = True
    literal = False
    separator: ClassVar[str] = ","

    def open_table(self, target: Target, tables: Tables[T], output: Output, metadata: Metadata) -> Sink[T]:
        """Begin with the header."""
        return begin(target, tables, self._write)

    def _write(self, frame: pl.DataFrame, buffer: io.BytesIO, first: bool) -> None:
        frame.write_csv(buffer, include_header=first, separator=self.separator, quote_style="necessary")


FORMAT = Csv()
