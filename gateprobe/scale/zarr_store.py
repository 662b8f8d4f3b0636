"""A Zarr store (format 3): the arrays of the NPZ file, each block a region of whole chunks.

The attributes of the root hold the metadata, the manifest, and whether the store is ``complete``. The array
``__finished__`` has a chunk for each block, so that a task marks its block in a file that no other task writes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.chunk import TraceChunk
from gateprobe.errors import GateprobeError, InputError, MissingExtra, OutputError
from gateprobe.graph import Array
from gateprobe.remote import is_url, local_path, redacted, shown
from gateprobe.run import SLAB
from gateprobe.scale.dataset import Block, Destination, Manifest, folder_of, foreign
from gateprobe.writers.arrays import METADATA_KEY, Index, arrays_of
from gateprobe.writers.chunks import Regrouper

FINISHED = "__finished__"
CHUNK_BYTES = 8 << 20
"""Largest size of the chunks of an array, unless a sample is larger."""


class ZarrStore:
    """A `Dataset` in a Zarr store."""

    def __init__(self, destination: Destination) -> None:
        try:
            import zarr  # noqa: PLC0415 - an import of 0.3 s
        except ImportError:
            raise MissingExtra("zarr", "zarr") from None
        self._zarr: Any = zarr
        self._folder = folder_of(destination)
        self._name = local_path(destination.name)
        self._compress = destination.compress

    def manifest(self) -> Manifest | None:
        """Return the manifest, if somebody has begun."""
        with self._faults():
            if not self._folder.names():
                return None
            root = self._open("r")
            found = root.attrs.get("manifest") if root is not None else None
        if not isinstance(found, dict):
            raise foreign(self._name)
        return found

    def clear(self) -> None:
        """Remove the store; what says whose it is goes last."""
        with self._faults():
            for name in sorted(self._folder.names(), key="zarr.json".__eq__):
                self._folder.remove(name)

    def begin(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Create the root and the arrays, as far as they are not there."""
        with self._faults():
            root = self._open("r+")
            if root is None:
                index = Index()
                index.add(replace(first, samples=numbers))
                described = {**manifest["metadata"], "trace": index.described()}
                attributes = {METADATA_KEY: described, "manifest": manifest, "complete": False}
                root = self._zarr.create_group(self._where, attributes=attributes)
            together = _together(first, manifest["block"])
            slab = SLAB if first.is_slab else None
            for key, value, kept in arrays_of(first):
                self._create(root, key, (len(numbers), kept, *value.shape[2:]), value.dtype, (together, slab))
            self._create(root, FINISHED, (-(-len(numbers) // manifest["block"]),), np.dtype(np.bool_), (1, None))

    def finished(self, blocks: Iterable[Block]) -> Collection[Block]:
        """Return the blocks that are marked."""
        with self._faults():
            root = self._open("r")
            if FINISHED not in root:  # somebody was interrupted at once
                return ()
            marks = root[FINISHED][:]
        return {block for block, mark in zip(blocks, marks, strict=True) if mark}

    def write(self, block: Block, chunks: Iterable[TraceChunk], manifest: Manifest) -> None:
        """Fill a block's region, then mark it."""
        with self._faults():
            root = self._open("r+")
        place, arrays = _Place(block.start), dict[str, Any]()
        for chunk in _regrouped(chunks, manifest["block"]):
            place.turn_to(chunk)
            for key, value, kept in arrays_of(chunk):
                with self._faults():
                    array = arrays[key] if key in arrays else arrays.setdefault(key, root[key])
                    if array.shape[1:] != (kept, *value.shape[2:]):
                        raise _uneven(key, array.shape[1:], (kept, *value.shape[2:]))
                    array[place.of(key, value)] = value
        with self._faults():
            root[FINISHED][block.start // manifest["block"]] = True

    def complete(self) -> None:
        """Mark the whole as complete."""
        with self._faults():
            self._open("r+").attrs["complete"] = True

    @property
    def _where(self) -> str | Path:
        return self._name if is_url(self._name) else Path(self._name)

    def _open(self, mode: str) -> Any:
        """Return the root, or ``None`` where there is none."""
        try:
            return self._zarr.open_group(self._where, mode=mode)
        except FileNotFoundError:
            return None

    def _create(
        self, root: Any, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: tuple[int, int | None]
    ) -> None:
        """Create an array; what nobody has computed is NaN, or false.

        Args:
            root: Where.
            key: Its name.
            shape: Of all of it.
            dtype: Of its numbers.
            together: Samples of a chunk, and its timesteps where they come in slabs.
        """
        if key in root:
            return
        samples, slab = together
        most = slab or max(1, CHUNK_BYTES // _bytes(samples, dtype, shape[2:]))
        root.create_array(
            key,
            shape=shape,
            chunks=(min(samples, shape[0]), *(min(size, most) for size in shape[1:2]), *shape[2:]),
            dtype=dtype,
            compressors="auto" if self._compress else None,
            fill_value=np.nan if dtype.kind == "f" else 0,
            dimension_names=("sample", "timestep", "unit")[: len(shape)] if len(shape) <= 3 else None,
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except GateprobeError:
            raise
        except Exception as fault:  # noqa: BLE001 - every storage has errors of its own
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            raise OutputError(redacted(f"cannot write: {reason}", self._name), file=shown(self._name)) from None


@dataclass(slots=True)
class _Place:
    """Where in the arrays the numbers of a chunk go."""

    stop: int
    """Position behind the samples of the chunk."""
    start: int = 0
    filled: dict[str, int] = field(default_factory=dict)
    """Timesteps that these samples have already, by array."""

    def turn_to(self, chunk: TraceChunk) -> None:
        """Go to the samples of a chunk."""
        if not chunk.continues:
            self.start, self.stop = self.stop, self.stop + len(chunk.samples)
            self.filled.clear()

    def of(self, key: str, value: Array) -> tuple[slice, slice]:
        """Return where the next timesteps of an array go."""
        first = self.filled.get(key, 0)
        self.filled[key] = first + value.shape[1]
        return slice(self.start, self.stop), slice(first, first + value.shape[1])


def _bytes(samples: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return samples * dtype.itemsize * math.prod(shape)


def _together(first: TraceChunk, block: int) -> int:
    """Return how many samples make a chunk: the most that fit of those that divide a block."""
    largest = max(_bytes(kept, value.dtype, value.shape[2:]) for _, value, kept in arrays_of(first))
    return next(
        size for size in range(block, 0, -1) if block % size == 0 and (size * largest <= CHUNK_BYTES or size == 1)
    )


def _regrouped(chunks: Iterable[TraceChunk], block: int) -> Iterator[TraceChunk]:
    """Yield samples in such numbers that they fill whole chunks."""
    groups = None
    for chunk in chunks:
        if chunk.is_slab:
            yield chunk
            continue
        groups = groups or Regrouper(_together(chunk, block))
        yield from groups.push(chunk)
    rest = None if groups is None else groups.rest()
    if rest is not None:
        yield rest


def _uneven(key: str, one: tuple[int, ...], other: tuple[int, ...]) -> InputError:
    reason = f"{key} has shape {one} in one batch and {other} in another, which no array holds"
    return InputError(reason, remedy="write a folder of Parquet files")
