"""Tables as Polars' own writers take them.

Polars pulls the tables from an iterator, while chunks are pushed: a thread stands between the two.
"""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Generic, TypeAlias, cast

import polars as pl

from gateprobe.errors import OutputError
from gateprobe.writers.base import Sink, T, Tables
from gateprobe.writers.target import Target, blamed

if TYPE_CHECKING:
    from typing_extensions import Buffer

METADATA_KEY = "gateprobe"
"""Where the file's own key-value metadata holds ours, as JSON."""

Schema: TypeAlias = dict[str, pl.DataType]
Consume: TypeAlias = Callable[[Iterator[pl.DataFrame], Schema, IO[bytes]], object]
"""Writes tables of one schema into a file."""


class _Bytes(io.RawIOBase):
    """A file of which Polars sees nothing but ``write``, so that faults arrive as Python's own `OSError`."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._file = target.file
        self.fault: OSError | None = None
        """What went wrong while writing; Polars passes on its text only."""

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        try:
            return self._file.write(data)
        except OSError as fault:
            self.fault = fault
            raise


class _Abandoned(Exception):
    """The run has failed elsewhere."""


@dataclass(slots=True, eq=False)
class _ColumnarSink(Generic[T]):
    target: Target
    tables: Tables[T]
    consume: Consume
    _frames: queue.SimpleQueue[pl.DataFrame | _Abandoned | None] = field(default_factory=queue.SimpleQueue)
    """A simple queue, since an interruption in the middle of another one can leave it locked for ever."""
    _room: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    """As many items as tables may still wait."""
    _thread: threading.Thread | None = None
    _fault: BaseException | None = None
    _file: _Bytes = field(init=False)

    def __post_init__(self) -> None:
        self._file = _Bytes(self.target)
        self._room.put(None)

    def add(self, item: T) -> None:
        for frame in self.tables.push(item):
            self._put(frame)

    def finish(self) -> None:
        for frame in self.tables.rest():
            self._put(frame)
        self._frames.put(None)
        if self._thread is not None:
            self._thread.join()
        self._raise_fault()

    def close(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._frames.put(_Abandoned())
            self._thread.join()

    def _put(self, frame: pl.DataFrame) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(dict(frame.schema),), daemon=True)
            self._thread.start()
        while self._thread.is_alive() and self._file.fault is None:  # after a fault, Polars would go on to the end
            try:
                self._room.get(timeout=0.1)
            except queue.Empty:
                continue
            self._frames.put(frame)
            return
        self._raise_fault()

    def _raise_fault(self) -> None:
        fault = self._file.fault or self._fault
        if fault is None:
            return
        with blamed(self.target.name):
            if isinstance(fault, pl.exceptions.PolarsError):
                raise OutputError(f"cannot write: {fault}", file=self.target.name)
            raise fault

    def _run(self, schema: Schema) -> None:
        try:
            self.consume(self._pull(), schema, cast("IO[bytes]", self._file))
        except BaseException as fault:  # noqa: BLE001 - raised again by the thread that waits for this one
            self._fault = fault

    def _pull(self) -> Iterator[pl.DataFrame]:
        while (item := self._frames.get()) is not None:
            if isinstance(item, _Abandoned):
                raise item
            self._room.put(None)
            yield item


def begin(target: Target, tables: Tables[T], consume: Consume) -> Sink[T]:
    """Begin a file into which ``consume`` writes the tables."""
    return _ColumnarSink(target, tables, consume)
