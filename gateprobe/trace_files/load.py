"""Opens a trace: which kind it is, and one kind of error for whatever is wrong with it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gateprobe.errors import GateprobeError, InputError, ReadError, reason_of
from gateprobe.files.remote import is_url, local_path, redact_url
from gateprobe.graph import Array
from gateprobe.trace_files.described import Metadata, Opened
from gateprobe.trace_files.recognised import Kind, kind_of
from gateprobe.traces.chunk import DirectionTrace, TraceChunk, joined

DEFAULT_MAX_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, eq=False)
class StoredTrace:
    """A trace in a file, of which nothing but the outline has to be in memory."""

    kind: Kind
    layout: str
    """``arrays``, ``tidy``, ``long`` or ``wide``."""
    metadata: Metadata
    """What the trace says of itself; empty for text."""
    samples: Array
    """``(samples,)`` numbers of the samples."""
    directions: tuple[DirectionTrace, ...]
    """What every chunk holds, without any samples."""
    begin: Callable[[], Iterator[TraceChunk]]
    """Begins a new pass over the samples, in chunks of bounded size that hold one sample at least."""


def load(name: str, max_bytes: int | None = None) -> tuple[TraceChunk, Metadata]:
    """Read a whole trace; takes what `open_trace` takes.

    Raises:
        ReadError: It is no trace, or it is damaged.
        UnsafeFile: It would need more than the limit, or than files of its size hold.
    """
    with blamed(name):
        found = _opened(name, max_bytes, whole=True)
        chunks = list(found.begin())
        empty = TraceChunk(found.samples, found.directions)
        return joined(chunks) if chunks else empty, found.metadata


def open_trace(name: str, max_bytes: int | None = None) -> StoredTrace:
    """Open a trace to go through it chunk by chunk; tables are looked through once, to know their outline.

    Args:
        name: NPZ, HDF5, Parquet, Arrow, CSV, TSV or JSON lines, in any layout; a folder of parts or a Zarr store;
            whatever its name.
        max_bytes: Limit for what is in memory at a time; 4 GiB without it.

    Raises:
        ReadError: It is no trace, or it is damaged. So do the passes.
        UnsafeFile: It would need more than the limit, or than files of its size hold.
    """
    with blamed(name):
        found = _opened(name, max_bytes, whole=False)

    def begin() -> Iterator[TraceChunk]:
        with blamed(name):
            yield from found.begin()

    return replace(found, begin=begin)


def _opened(name: str, max_bytes: int | None, *, whole: bool) -> StoredTrace:
    if is_url(name):
        raise ReadError("is a URL", remedy="copy the file to this machine and read the copy")
    path = Path(local_path(name))
    kind = kind_of(path)
    if kind is None:
        _refuse(path)
        raise ReadError("is no trace that gateprobe can read back", remedy="give a trace that gateprobe wrote")
    limit = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
    from gateprobe.trace_files import arrays, tables  # noqa: PLC0415 - they need much

    opener = {Kind.NPZ: arrays.open_npz, Kind.HDF5: arrays.open_hdf5, Kind.ZARR: _open_zarr}.get(kind)
    if opener is not None:
        return StoredTrace(kind, "arrays", *opener(path, limit, whole=whole))
    layout, found = tables.open_table(kind, path, limit, whole=whole)
    return StoredTrace(kind, layout, *found)


def _open_zarr(path: Path, limit: int, *, whole: bool) -> Opened:
    from gateprobe.trace_files.zarr_store import open_zarr  # noqa: PLC0415 - an import of 0.3 s

    return open_zarr(path, limit, whole=whole)


def _refuse(path: Path) -> None:
    """Say why what is there cannot be a trace."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ReadError("is a folder without a trace", remedy="name a file in it, or a folder that gateprobe wrote")
    if not stat.S_ISREG(mode):
        raise ReadError("is not a regular file")


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Name the file in every error; what is wrong with it is a `ReadError`."""
    try:
        yield
    except GateprobeError as error:
        kind = ReadError if isinstance(error, InputError) else type(error)
        raise kind(error.reason, file=redact_url(name), place=error.place, remedy=error.remedy) from None
    except OSError as error:
        raise ReadError(reason_of(error), file=redact_url(name)) from None
    except MemoryError:
        raise ReadError("needs more memory than there is", file=redact_url(name)) from None
    except ValueError:  # a NUL in the name
        raise ReadError("is not a possible file name", file=redact_url(name)) from None
