"""Parquet and Arrow (IPC file, also called Feather).

Polars pulls the tables from an iterator, while chunks are pushed: a thread stands between the two.
"""

from __future__ import annotations

import io
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Generic, cast

import polars as pl
from polars.io.plugins import register_io_source

from gateprobe.errors import OutputError
from gateprobe.writers.arrow_footer import add_metadata
from gateprobe.writers.base import Metadata, Sink, T, Tables
from gateprobe.writers.parquet_footer import JoinedFile
from gateprobe.writers.seal import SEAL_KEY, Seal, Sealer
from gateprobe.writers.target import Target, blamed

if TYPE_CHECKING:
    from typing_extensions import Buffer

GROUP_ROWS = 1 << 16
"""Rows of a Parquet row group, however the rows arrived."""
BATCH_ROWS = 1 << 14
"""Rows of an Arrow record batch."""

METADATA_KEY = "gateprobe"
"""Where the file's own key-value metadata holds ours, as JSON."""

_Schema = dict[str, pl.DataType]
_Consume = Callable[[Iterator[pl.DataFrame], _Schema, IO[bytes]], object]
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
    consume: _Consume
    _frames: queue.Queue[pl.DataFrame | _Abandoned | None] = field(default_factory=lambda: queue.Queue(maxsize=1))
    _thread: threading.Thread | None = None
    _fault: BaseException | None = None
    _file: _Bytes = field(init=False)

    def __post_init__(self) -> None:
        self._file = _Bytes(self.target)

    def add(self, item: T) -> None:
        for frame in self.tables.push(item):
            self._put(frame)

    def finish(self) -> None:
        for frame in self.tables.rest():
            self._put(frame)
        self._put(None)
        if self._thread is not None:
            self._thread.join()
        self._raise_fault()

    def close(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._put(_Abandoned())
            self._thread.join()

    def _put(self, item: pl.DataFrame | _Abandoned | None) -> None:
        if self._thread is None and isinstance(item, pl.DataFrame):
            self._thread = threading.Thread(target=self._run, args=(dict(item.schema),), daemon=True)
            self._thread.start()
        while self._thread is not None and self._thread.is_alive():
            if self._file.fault is not None and not isinstance(item, _Abandoned):
                break  # Polars itself would go on to the end
            try:
                self._frames.put(item, timeout=0.1)
            except queue.Full:
                continue
            return
        if not isinstance(item, _Abandoned):
            self._raise_fault()

    def _raise_fault(self) -> None:
        fault = self._file.fault or self._fault
        if fault is None:
            return
        with blamed(self.target.name):
            if isinstance(fault, pl.exceptions.PolarsError):
                raise OutputError(f"cannot write: {fault}", file=self.target.name)
            raise fault

    def _run(self, schema: _Schema) -> None:
        try:
            self.consume(self._pull(), schema, cast("IO[bytes]", self._file))
        except BaseException as fault:  # noqa: BLE001 - raised again by the thread that waits for this one
            self._fault = fault

    def _pull(self) -> Iterator[pl.DataFrame]:
        while (item := self._frames.get()) is not None:
            if isinstance(item, _Abandoned):
                raise item
            yield item


def open_parquet(target: Target, tables: Tables[T], metadata: Metadata, seal: Seal | None = None) -> Sink[T]:
    """Write Parquet, compressed with zstd."""
    texts = {METADATA_KEY: json.dumps(metadata), **({} if seal is None else {SEAL_KEY: seal.text})}

    def consume(frames: Iterator[pl.DataFrame], schema: _Schema, file: IO[bytes]) -> None:
        joined, buffer = JoinedFile(file, seal=None if seal is None else Sealer()), io.BytesIO()
        for group in _groups(frames):
            buffer.seek(0)
            group.write_parquet(buffer, row_group_size=GROUP_ROWS, metadata=texts)
            with buffer.getbuffer() as written:
                joined.add(written[: buffer.tell()])
        joined.finish()

    return _ColumnarSink(target, tables, consume)


def _groups(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the rows of tables again, `GROUP_ROWS` at a time."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        while sum(map(len, waiting)) >= GROUP_ROWS:
            together = pl.concat(waiting)
            yield together[:GROUP_ROWS]
            waiting = [together[GROUP_ROWS:]]
    rest = pl.concat(waiting)
    if len(rest):
        yield rest


def open_arrow(target: Target, tables: Tables[T], metadata: Metadata) -> Sink[T]:
    """Write an Arrow IPC file, uncompressed; only a regular file gets the metadata."""

    def consume(frames: Iterator[pl.DataFrame], schema: _Schema, file: IO[bytes]) -> None:
        table = register_io_source(lambda *options: frames, schema=schema)
        table.sink_ipc(file, record_batch_size=BATCH_ROWS, compat_level=pl.CompatLevel.oldest())
        if target.is_file:
            add_metadata(target.file, METADATA_KEY, json.dumps(metadata))

    return _ColumnarSink(target, tables, consume)
