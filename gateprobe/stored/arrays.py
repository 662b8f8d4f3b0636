"""Traces in NPZ and HDF5 files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.inputs.array_files import NpzFile
from gateprobe.readers import hdf5
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.stored.described import Metadata, directions_of, metadata_of, numbers
from gateprobe.traces.chunk import TraceChunk
from gateprobe.writers.arrays import METADATA_KEY

_Take = Callable[[str], "Array | None"]
"""Returns the array under a key, ``None`` where there is none."""


def from_npz(path: Path, limit: int) -> tuple[TraceChunk, Metadata]:
    """Read the trace in an NPZ file.

    Raises:
        ReadError: The file holds no trace, or contradicts itself.
        UnsafeFile: Its arrays need more than the limit.
    """
    archive = NpzFile(path, str(path), limit)
    left = limit

    def take(key: str) -> Array | None:
        nonlocal left
        if key not in archive.keys:
            return None
        left -= archive.size(key)
        if left < 0:
            raise UnsafeFile(f"the arrays need more than the {limit:,} bytes of the limit", remedy="raise --max-bytes")
        return archive.read(key)

    return _trace(metadata_of(archive.text(METADATA_KEY)), take)


def from_hdf5(path: Path, limit: int) -> tuple[TraceChunk, Metadata]:
    """Read the trace in an HDF5 file; see `from_npz`."""
    size = path.stat().st_size
    hdf5.library()  # before the fork, so that it is imported once
    with path.open("rb") as stream:
        try_in_fork(lambda: _from_hdf5(stream, size, limit), stream, size, limit)
        return _from_hdf5(stream, size, limit)


def _from_hdf5(stream: BinaryIO, size: int, limit: int) -> tuple[TraceChunk, Metadata]:
    with hdf5.opened(stream) as file, hdf5.translated("the HDF5 file"):
        budget = hdf5.Budget(limit, size)

        def take(key: str) -> Array | None:
            found = hdf5.member(file, key)
            return hdf5.array(found, budget, truths=True).value if hdf5.is_array(found) else None

        return _trace(metadata_of(hdf5.text_attribute(file, METADATA_KEY)), take)


def _trace(metadata: Metadata, take: _Take) -> tuple[TraceChunk, Metadata]:
    """Collect the arrays that the index names."""
    index = metadata.get("trace")
    if not isinstance(index, dict) or not isinstance(index.get("samples"), str):
        raise ReadError("says nothing of a trace", place="metadata")
    masks: dict[str, Array | None] = {}
    directions = []
    for described in directions_of(index):
        signals = {name: _there(take, f"{described.key}/{name}") for name in described.signals}
        if described.mask_key not in masks:
            masks[described.mask_key] = take(described.mask_key)
        directions.append(described.trace(signals, masks[described.mask_key]))
    rows = {len(value) for part in directions for value in part.values()}
    if len(rows) > 1:
        raise ReadError("the arrays differ in their number of samples")
    # a model without recurrent layers has no arrays: the file holds its metadata alone
    samples = numbers(index["samples"], rows.pop(), "samples") if rows else np.arange(0)
    return TraceChunk(samples, tuple(directions)), {key: value for key, value in metadata.items() if key != "trace"}


def _there(take: _Take, key: str) -> Array:
    found = take(key)
    if found is None:
        raise ReadError("is missing", place=key)
    return found
