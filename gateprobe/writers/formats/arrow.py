"""Arrow IPC files, uncompressed, so that they can be mapped into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from gateprobe.writers.base import Metadata, Output, Sink, T, TableFormat, Tables
from gateprobe.writers.pieces import BLOCK_CELLS, rows_within
from gateprobe.writers.target import Target

if TYPE_CHECKING:
    import polars as pl

    from gateprobe.writers.columnar import Schema

BATCH_ROWS = 1 << 14
"""Rows of a record batch."""


class Arrow(TableFormat):
    """Arrow IPC file, also called Feather; only a regular file gets the metadata."""

    name = "arrow"
    title = "Arrow IPC, also called Feather"
    suffixes = (".arrow", ".feather")
    described = True
    streams = True

    def open_table(self, target: Target, tables: Tables[T], output: Output, metadata: Metadata) -> Sink[T]:
        """Begin with the schema."""
        import polars as pl
        from polars.io.plugins import register_io_source

        from gateprobe.writers.arrow_footer import add_metadata
        from gateprobe.writers.columnar import METADATA_KEY, begin
        from gateprobe.writers.seal import seal, seal_entry

        def consume(frames: Iterator[pl.DataFrame], schema: Schema, file: IO[bytes]) -> None:
            table = register_io_source(lambda *options: frames, schema=schema)
            rows = rows_within(BATCH_ROWS, BLOCK_CELLS, len(schema))
            table.sink_ipc(file, record_batch_size=rows, compat_level=pl.CompatLevel.oldest())
            if target.is_file:
                add_metadata(target.file, dict([seal_entry(), (METADATA_KEY, json.dumps(metadata))]))
                seal(target.file)

        return begin(target, tables, consume)


FORMAT = Arrow()
