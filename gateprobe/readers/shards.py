"""Files that lie beside an index which names them: the shards of weights."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.readers import hdf5, safe_json, weights
from gateprobe.readers.found import Architecture, Found
from gateprobe.readers.hdf5 import Budget

MAX_SHARDS = 1_000
IS_ARCHITECTURE = "this is an architecture: give the weights file and --architecture with this one"
"""What to do with such a file in the place of a model."""


def shard_names(data: bytes, place: str) -> list[str]:
    """Return the files that the text of an index names."""
    return names_in(safe_json.loads(data, place), place)


def names_in(index: Any, place: str) -> list[str]:
    """Return the files that an index of sharded weights names, each once.

    Source: ``ShardedH5IOStore`` in ``keras/src/saving/saving_lib.py`` 3.15.1.
    """
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not table:
        raise ReadError("is neither HDF5 nor a .keras zip nor an index of sharded weights", remedy=_json_advice(index))
    return file_names([name for value in table.values() for name in _listed(value)], place)


def file_names(listed: Iterable[Any], place: str) -> list[str]:
    """Return the names of files beside an index, each once.

    Raises:
        UnsafeFile: One leads out of the folder, or there are too many.
    """
    names: dict[str, None] = {}
    for name in listed:
        if not isinstance(name, str) or name in ("", ".", "..") or any(mark in name for mark in "/\\\0:"):
            raise UnsafeFile(f"the index names a file outside its folder: {name!r:.80}", place=place)
        names[name] = None
    if len(names) > MAX_SHARDS:
        raise UnsafeFile(f"the index names {len(names)} files", place=place)
    return list(names)


def _json_advice(index: Any) -> str | None:
    if isinstance(index, dict) and "class_name" in index:
        return IS_ARCHITECTURE
    return None


def _listed(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    else:
        yield value


def read_shards(path: Path, index: Any, given: Architecture | None, budget: Budget) -> Found:
    """Read weights that Keras 3 split over several files beside an index."""
    digests = []
    with ExitStack() as stack:
        files = []
        for name in names_in(index, path.name):
            shard = read_beside(path, name, budget)
            digests.append(hashlib.sha256(shard).hexdigest())
            files.append(stack.enter_context(hdf5.opened(io.BytesIO(shard), name)))
        store = weights.object_tree(files, budget)
    return Found("weights-hdf5", None, store, None, None, path.name, given, tuple(digests))


def size_beside(index: Path, name: str) -> int:
    """Return the bytes of a file that an index names.

    Raises:
        ReadError: There is no such plain file beside the index.
    """
    path = index.with_name(name)
    if path.is_symlink() or not path.is_file():
        raise ReadError(f"the index names {name}, and there is no such file beside it")
    return path.stat().st_size


def read_beside(index: Path, name: str, budget: Budget) -> bytes:
    """Read a file that an index names.

    Raises:
        ReadError: There is no such plain file beside the index.
        UnsafeFile: It is larger than all arrays may be.
    """
    size = size_beside(index, name)
    if size > budget.limit:
        raise UnsafeFile(f"the shard has {size:,} bytes; the limit is {budget.limit:,}", place=name)
    budget.stored = size + (budget.stored or 0)
    with index.with_name(name).open("rb") as file:
        return file.read(size)
