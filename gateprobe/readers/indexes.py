"""JSON that names the files with the weights: the index of Keras 3's shards, or a ``model.json`` of TensorFlow.js."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from gateprobe.errors import ReadError
from gateprobe.readers import safe_json, shards, tfjs
from gateprobe.readers.found import Architecture, Found
from gateprobe.readers.hdf5 import Budget


def read_index(path: Path, stream: BinaryIO, size: int, given: Architecture | None, budget: Budget) -> Found:
    """Read a model or weights from the files that an index names; they lie beside it."""
    if size > safe_json.MAX_BYTES:
        raise ReadError("is neither HDF5 nor a .keras zip")
    stream.seek(0)
    value = safe_json.loads(stream.read(), path.name)
    if tfjs.is_tfjs(value):
        return tfjs.read_tfjs(path, value, given, budget)
    return shards.read_shards(path, value, given, budget)


def named_files(stream: BinaryIO, size: int, place: str) -> list[str]:
    """Return the files that an index names; none if the file is not an index."""
    stream.seek(0)
    if stream.read(64).lstrip()[:1] != b"{" or size > safe_json.MAX_BYTES:
        return []
    stream.seek(0)
    value = safe_json.loads(stream.read(), place)
    return tfjs.shard_names(value, place) if tfjs.is_tfjs(value) else shards.names_in(value, place)
