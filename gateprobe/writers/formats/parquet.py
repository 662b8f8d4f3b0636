"""Parquet, compressed with zstd, in row groups that can be read alone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from gateprobe.writers.base import Metadata, Output, Sink, T, TableFormat, Tables
from gateprobe.writers.pieces import rows_within
from gateprobe.writers.seal import seal, seal_entry
from gateprobe.writers.target import Target

if TYPE_CHECKING:
    import polars as pl

    from gateprobe.writers.columnar import Schema

GROUP_ROWS = 1 << 16
"""Rows of a row group, however the rows arrived."""
GROUP_CELLS = 1 << 23
"""Cells of a row group, where a table is wide: they are in memory together, several times."""


class Parquet(TableFormat):
    """Parquet."""

    name = "parquet"
    title = "Parquet, for Polars, pandas, DuckDB"
    suffixes = (".parquet",)
    described = True

    def open_table(self, target: Target, tables: Tables[T], output: Output, metadata: Metadata) -> Sink[T]:
        """Begin with the first row group."""
        from gateprobe.writers.columnar import METADATA_KEY, begin
        from gateprobe.writers.parquet_footer import JoinedFile

        texts = {METADATA_KEY: json.dumps(metadata), **(dict([seal_entry(output.seal)]) if target.is_file else {})}

        def consume(frames: Iterator[pl.DataFrame], schema: Schema, file: IO[bytes]) -> None:
            joined = JoinedFile(file)
            for group in _groups(frames, rows_within(GROUP_ROWS, GROUP_CELLS, len(schema))):
                buffer = io.BytesIO()
                group.write_parquet(buffer, row_group_size=len(group), metadata=texts)
                joined.add(memoryview(buffer.getvalue()))  # getbuffer's view outlives the buffer when a disk is full
            joined.finish()
            if target.is_file:
                seal(target.file)

        return begin(target, tables, consume)


def _groups(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of tables again, so many at a time."""
    import polars as pl

    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        while sum(map(len, waiting)) >= rows:
            together = pl.concat(waiting)
            yield together[:rows]
            waiting = [together[rows:]]
    rest = pl.concat(waiting)
    if len(rest):
        yield rest


FORMAT = Parquet()
