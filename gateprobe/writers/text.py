"""Tables as text, written piece by piece."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias

from gateprobe.writers.base import Sink, T, Tables
from gateprobe.writers.target import Target, blamed

if TYPE_CHECKING:
    import polars as pl

Write: TypeAlias = "Callable[[pl.DataFrame, io.BytesIO, bool], None]"
"""Writes a table into a buffer; the flag says whether it is the first one."""


@dataclass(slots=True, eq=False)
class _TextSink(Generic[T]):
    target: Target
    tables: Tables[T]
    write: Write
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
        """Nothing to release."""

    def _put(self, frame: pl.DataFrame) -> None:
        self.buffer.seek(0)
        self.write(frame, self.buffer, self.first)
        self.first = False
        with blamed(self.target.name), self.buffer.getbuffer() as written:
            self.target.file.write(written[: self.buffer.tell()])
            self.target.file.flush()


def begin(target: Target, tables: Tables[T], write: Write) -> Sink[T]:
    """Begin a file of the texts that ``write`` makes of the tables."""
    return _TextSink(target, tables, write)
