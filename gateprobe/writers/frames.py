"""Tables that are there as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Frames:
    """Passes tables on, with their texts as a format writes names; see `gateprobe.writers.base.Tables`."""

    text_of: Callable[[str], str]

    def push(self, frame: pl.DataFrame, /) -> Iterator[pl.DataFrame]:
        """Take a table and yield it."""
        texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
        yield frame.with_columns(frame.get_column(name).map_elements(self.text_of, pl.String) for name in texts)

    def rest(self) -> Iterator[pl.DataFrame]:
        """Nothing is left."""
        yield from ()
