"""How folders of traces are laid out: what says which run they hold, and that nothing is missing or changed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gateprobe.graph import Array

MANIFEST = "_gateprobe.json"
"""Says which run a folder of Parquet files belongs to. Readers of folders leave out what begins with ``_``."""
SUCCESS = "_SUCCESS"
"""Says that no file of such a folder is missing."""
PART = re.compile(r"part-\d{12,}\.parquet")
ZARR_ROOT = "zarr.json"
"""Says what a Zarr store, a group or an array of it is."""
FINISHED = "__finished__"
"""The array of a Zarr store that holds a mark for each block."""
SUM_BYTES = 32
"""Of a checksum; a mark is two: of the run and the block, and of the block's numbers."""


def run_id(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of what makes a run the one that it is: model, inputs, options, batches, kernel."""
    return digest_of(manifest)


def digest_of(value: Mapping[str, Any]) -> str:
    """Return the sha256 of what JSON can hold, however it is written."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def mark_of(start: int, stop: int, run: str) -> bytes:
    """Return the first half of a block's mark: which run and which samples."""
    return hashlib.sha256(f"{run} {start} {stop}".encode()).digest()


class Sums:
    """The second half of a block's mark: a checksum of its numbers."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}

    def add(self, key: str, numbers: Array) -> None:
        """Take the next numbers of an array, sample by sample."""
        data = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
        self._sums.setdefault(key, hashlib.sha256()).update(data.view(np.uint8).data if data.size else b"")

    def digest(self) -> bytes:
        """Return the checksum of all arrays."""
        sums = "".join(f"{key} {self._sums[key].hexdigest()}\n" for key in sorted(self._sums))
        return hashlib.sha256(sums.encode()).digest()


def sum_of(root: Any, start: int, stop: int) -> bytes:
    """Return the checksum of the numbers that a store has for some samples; raises what its codecs raise."""
    sums = Sums()
    for key, array in root.members(max_depth=None):
        if not hasattr(array, "shape") or key == FINISHED:
            continue
        samples, timesteps = array.chunks[:2]
        whole = array.shape[1] if samples > 1 else timesteps
        for first in range(start, stop, samples):
            for at in range(0, array.shape[1], max(1, whole)):
                sums.add(key, array[first : min(first + samples, stop), at : at + whole])
    return sums.digest()
