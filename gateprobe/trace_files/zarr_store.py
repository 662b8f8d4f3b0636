"""Traces in Zarr stores (format 3) that gateprobe wrote: nothing else is opened.

What a store says of its arrays is read here and checked before the library sees it, since codecs that it names are
code. A chunk that is missing stands for NaN or zeros; then the checksums say whether that is what was written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import GateprobeError, MissingExtra, ReadError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.readers import safe_json
from gateprobe.trace_files.arrays import Member, Members, open_arrays
from gateprobe.trace_files.described import Opened, checked
from gateprobe.writers.arrays import METADATA_KEY
from gateprobe.writers.folders import FINISHED, SUM_BYTES, ZARR_ROOT, digest_of, mark_of, run_id, sum_of
from gateprobe.writers.seal import SEAL_KEY

_CODECS = ("bytes", "zstd", "crc32c")
_TYPES = frozenset("bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split())


def open_zarr(path: Path, limit: int, *, whole: bool) -> Opened:
    """Open the trace in a Zarr store; see `gateprobe.trace_files.arrays.open_npz`.

    Raises:
        ReadError: It holds no trace, is not complete, or is damaged.
        UnsafeFile: It needs more than the limit, or a codec that gateprobe does not write.
        MissingExtra: zarr is not installed.
    """
    found = _described(path).get("attributes")
    if not isinstance(found, dict) or not isinstance(found.get("manifest"), dict):
        raise ReadError("is a Zarr store of others", remedy="give one that gateprobe wrote")
    if found.get("complete") is not True:
        raise ReadError("is not complete", remedy="run the command that wrote it again: it goes on")
    try:
        import zarr  # noqa: PLC0415 - an import of 0.3 s
    except ImportError:
        raise MissingExtra("zarr", "zarr") from None

    @contextmanager
    def opened() -> Iterator[Members]:
        with _faults():
            yield _Store(path, zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False), limit)

    with opened() as members:
        if any(not any(mark) for mark in _marks(members)):
            raise ReadError("is not complete", remedy="run the command that wrote it again: it goes on")
    described = checked(found.get(METADATA_KEY))
    if found.get(SEAL_KEY, digest := digest_of(described)) != digest:
        raise ReadError("is damaged or was changed: its sha256 is another one", place="metadata")
    metadata, samples, outline, begin = open_arrays(described, opened, limit, whole=whole)
    with opened() as members:
        _check_gaps(members, found["manifest"], len(samples))
    return metadata, samples, outline, _guarded(begin)


def _guarded(begin: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[Any]]:
    def guarded() -> Iterator[Any]:
        with _faults():
            yield from begin()

    return guarded


@dataclass(frozen=True, slots=True)
class _Rows:
    """An array of a store."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = np.dtype(self.array.dtype)
        return found

    def take(self, start: int, stop: int) -> Array:
        """Return some rows."""
        return np.asarray(self.array[start:stop])


@dataclass(slots=True)
class _Store:
    path: Path
    root: Any
    limit: int
    gaps: bool = False
    """Whether a chunk of an array that was looked up is missing."""

    def find(self, key: str) -> Member | None:
        """Return an array, if what it says of itself is what gateprobe writes."""
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) or not (self.path.joinpath(*parts) / ZARR_ROOT).is_file():
            return None
        folder = self.path.joinpath(*parts)
        shape, chunks = _checked(_described(folder), key, self.limit)
        grid = [range(-(-size // chunk)) for size, chunk in zip(shape, chunks, strict=True)]
        if math.prod(map(len, grid)) > 10_000_000:
            raise UnsafeFile("has more chunks than any trace", place=key)
        self.gaps |= any(not folder.joinpath("c", *map(str, place)).is_file() for place in product(*grid))
        return _Rows(self.root[key])


def _described(folder: Path) -> Mapping[str, Any]:
    """Return what a group or an array says of itself."""
    with (folder / ZARR_ROOT).open("rb") as file:
        found = safe_json.loads(file.read(safe_json.MAX_BYTES + 1), ZARR_ROOT)
    return found if isinstance(found, dict) else {}


def _checked(found: Mapping[str, Any], key: str, limit: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the shape of an array and of its chunks.

    Raises:
        ReadError: It is not described as gateprobe describes arrays.
        UnsafeFile: A codec or the size of a chunk is not one of gateprobe's.
    """
    codecs, grid = found.get("codecs"), found.get("chunk_grid")
    names = [codec.get("name") if isinstance(codec, dict) else None for codec in codecs or ()]
    if any(name not in _CODECS for name in names):
        raise UnsafeFile("names a codec that gateprobe does not write", place=key)
    inner = grid.get("configuration") if isinstance(grid, dict) else None
    chunks = _sizes(inner.get("chunk_shape") if isinstance(inner, dict) else None)
    shape, dtype = _sizes(found.get("shape")), found.get("data_type")
    known = found.get("zarr_format") == 3 and found.get("node_type") == "array" and dtype in _TYPES
    plain = found.get("chunk_key_encoding") == {"name": "default", "configuration": {"separator": "/"}}
    if not known or not plain or not shape or len(shape) != len(chunks):
        raise ReadError("is not described as gateprobe describes arrays", place=key)
    if math.prod(chunks) * np.dtype(dtype).itemsize > limit:
        raise UnsafeFile(f"has chunks of more than the {limit:,} bytes of the limit", place=key)
    return shape, chunks


def _sizes(found: object) -> list[int]:
    """Return sizes; none where they are none."""
    return found if isinstance(found, list) and all(type(size) is int and size > 0 for size in found) else []


def _marks(members: Members) -> list[bytes]:
    """Return the mark of each block."""
    found = members.find(FINISHED)
    if found is None:
        raise ReadError("is missing", place=FINISHED)
    return [bytes(mark) for mark in found.take(0, found.shape[0])]


def _check_gaps(members: Any, manifest: Mapping[str, Any], count: int) -> None:
    """Compare the numbers with their checksums, where a chunk is missing.

    Raises:
        ReadError: They differ.
    """
    marks, size = _marks(members), manifest.get("block")
    if type(size) is not int or size < 1 or len(marks) != -(-count // size):
        raise ReadError("says another number of samples than it has", place=FINISHED)
    for key, node in members.root.members(max_depth=None):
        if hasattr(node, "shape"):
            members.find(key)
    if not members.gaps:
        return
    run = run_id(json.loads(json.dumps(manifest)))
    for number, mark in enumerate(marks):
        start, stop = number * size, min(number * size + size, count)
        if mark[:SUM_BYTES] != mark_of(start, stop, run) or mark[SUM_BYTES:] != sum_of(members.root, start, stop):
            raise ReadError(f"lacks numbers of the samples from position {start} to {stop - 1}")


@contextmanager
def _faults() -> Iterator[None]:
    """Turn whatever the library raises on a damaged store into one line."""
    try:
        yield
    except (GateprobeError, OSError, MemoryError):
        raise
    except Exception as fault:  # noqa: BLE001 - every codec has errors of its own
        raise ReadError(f"is damaged: {(str(fault).splitlines() or [''])[0][:200]}") from None
