"""Traces in files of arrays: NPZ, HDF5, and what Zarr stores have in common with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.inputs.array_files import NpzFile, NpzRows
from gateprobe.readers import hdf5
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.trace_files.described import Described, Metadata, Opened, directions_of, metadata_of, numbers
from gateprobe.traces.chunk import DirectionTrace, TraceChunk
from gateprobe.writers.arrays import METADATA_KEY, context_key
from gateprobe.writers.seal import SEAL_KEY, require_intact

CHUNK_BYTES = 32 << 20
"""Wanted size of the arrays of a chunk."""


class Member(Protocol):
    """One array of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its numbers."""

    def take(self, start: int, stop: int) -> Array:
        """Return some rows; they are asked for in their order, each once."""


class Members(Protocol):
    """The arrays of a file that is open."""

    def find(self, key: str) -> Member | None:
        """Return an array; ``None`` where there is none of this name."""


def open_npz(path: Path, limit: int, *, whole: bool) -> Opened:
    """Open the trace in an NPZ file.

    Args:
        path: The file.
        limit: Bytes of arrays that may be in memory.
        whole: Whether it will be read as a whole.

    Raises:
        ReadError: The file holds no trace, or contradicts itself.
        UnsafeFile: Its arrays need more than the limit.
    """
    archive = NpzFile(path, str(path), limit)
    metadata = metadata_of(archive.text(METADATA_KEY))

    @contextmanager
    def opened() -> Iterator[Members]:
        with archive.opened() as file:
            yield _Npz(archive, file)

    return open_arrays(metadata, opened, limit, whole=whole)


@dataclass(frozen=True, slots=True)
class _Npz:
    archive: NpzFile
    file: Callable[[str], NpzRows]

    def find(self, key: str) -> Member | None:
        return self.file(key) if key in self.archive.keys else None


def open_hdf5(path: Path, limit: int, *, whole: bool) -> Opened:
    """Open the trace in an HDF5 file; see `open_npz`."""
    size = path.stat().st_size
    hdf5.library()  # before the fork, so that it is imported once
    with path.open("rb") as stream:

        def everything() -> None:
            *_, begin = _open_hdf5(path, limit, whole=whole)
            for _ in begin():
                pass

        try_in_fork(everything, stream, size, limit)
        with _hdf5_file(stream) as file:
            sealed = SEAL_KEY in file.attrs  # the text alone may be left over from an attribute that was removed
        if sealed:
            require_intact(stream)
    return _open_hdf5(path, limit, whole=whole)


def _open_hdf5(path: Path, limit: int, *, whole: bool) -> Opened:
    @contextmanager
    def opened() -> Iterator[Members]:
        with path.open("rb") as stream, _hdf5_file(stream) as file:
            yield _Hdf5(file, hdf5.Budget(2**62, path.stat().st_size))

    with path.open("rb") as stream, _hdf5_file(stream) as file:
        metadata = metadata_of(hdf5.text_attribute(file, METADATA_KEY))
    return open_arrays(metadata, opened, limit, whole=whole)


@contextmanager
def _hdf5_file(stream: BinaryIO) -> Iterator[Any]:
    with hdf5.opened(stream) as file, hdf5.translated("the HDF5 file"):
        yield file


@dataclass(frozen=True, slots=True)
class _Hdf5:
    file: Any
    budget: hdf5.Budget

    def find(self, key: str) -> Member | None:
        found = hdf5.member(self.file, key)
        return hdf5.RowReader(found, self.budget) if hdf5.is_array(found) else None


def open_arrays(
    metadata: Metadata, opened: Callable[[], AbstractContextManager[Members]], limit: int, *, whole: bool
) -> Opened:
    """Check that the arrays that the index names are there and fit each other.

    Args:
        metadata: With the index.
        opened: Opens the arrays.
        limit: Bytes of arrays that may be in memory.
        whole: Whether all of them will be.

    Raises:
        ReadError: The index is none, or the arrays contradict it or each other.
        UnsafeFile: They need more than the limit.
    """
    index = metadata.get("trace")
    if not isinstance(index, dict) or not isinstance(index.get("samples"), str):
        raise ReadError("says nothing of a trace", place="metadata")
    described = list(directions_of(index))
    with opened() as members:
        parts = _found(described, members)
        outline = tuple(part.trace(0, 0) for part in parts)
        rows = {member.shape[0] for part in parts for member in part.members.values()}
        every = {key: part.members[name] for part in parts for name, key in part.keys.items()}
        size = sum(math.prod(member.shape) * member.dtype.itemsize for member in every.values())
    if len(rows) > 1:
        raise ReadError("the arrays differ in their number of samples")
    # a model without recurrent layers has no arrays: the file holds its metadata alone
    count = rows.pop() if rows else 0
    samples = numbers(index["samples"], count, "samples") if parts else np.arange(0)
    each = -(-size // max(1, count))
    if (size if whole else each) > limit:
        raise UnsafeFile(f"the arrays need more than the {limit:,} bytes of the limit", remedy="raise --max-bytes")
    together = max(1, min(CHUNK_BYTES, limit) // max(1, each))

    def begin() -> Iterator[TraceChunk]:
        with ExitStack() as stack:
            parts = _found(described, stack.enter_context(opened()))
            for start in range(0, count, together):
                stop = min(start + together, count)
                shared: dict[str, Array] = {}
                yield TraceChunk(samples[start:stop], tuple(part.trace(start, stop, shared) for part in parts))

    return {key: value for key, value in metadata.items() if key != "trace"}, samples, outline, begin


@dataclass(frozen=True, slots=True)
class _Part:
    """The arrays of one direction."""

    described: Described
    members: Mapping[str, Member]
    """Signal, ``mask`` or name of a context → array."""
    keys: Mapping[str, str]
    """Likewise → where it stands; both directions of a layer share a mask and a context."""

    def trace(self, start: int, stop: int, shared: dict[str, Array] | None = None) -> DirectionTrace:
        """Return some samples.

        Args:
            start: Position of the first.
            stop: Behind the last; no rows are read where there are none.
            shared: What was read of these samples for another direction; is added to.
        """
        shared = {} if shared is None else shared

        def rows(name: str) -> Array:
            member, key = self.members[name], self.keys[name]
            if start == stop:
                return np.empty((0, *member.shape[1:]), member.dtype)
            if key not in shared:
                shared[key] = member.take(start, stop)
            return shared[key]

        signals = {name: rows(name) for name in self.described.signals}
        context = {name: rows(name) for name in self.described.context}
        return self.described.trace(signals, rows("mask") if "mask" in self.members else None, context)


def _found(described: Sequence[Described], members: Members) -> list[_Part]:
    """Find the arrays of all directions, each array once.

    Raises:
        ReadError: One is missing.
    """
    there: dict[str, Member | None] = {}

    def find(key: str) -> Member | None:
        if key not in there:
            there[key] = members.find(key)
        return there[key]

    return [_part(one, find) for one in described]


def _part(described: Described, find: Callable[[str], Member | None]) -> _Part:
    keys = {name: f"{described.key}/{name}" for name in described.signals}
    keys |= {name: context_key(described.layer, name) for name in described.context}
    found: dict[str, Member] = {}
    for name, key in keys.items():
        member = find(key)
        if member is None or not member.shape:
            raise ReadError("is missing" if member is None else "holds a single number", place=key)
        found[name] = member
    mask = find(described.mask_key)
    if mask is not None:
        found["mask"], keys["mask"] = mask, described.mask_key
    return _Part(described, found, keys)
