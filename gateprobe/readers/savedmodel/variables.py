"""The variables of a SavedModel: what its checkpoint holds of the model itself."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Array
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.savedmodel.bundle import Bundle, open_bundle

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_INDEX = "variables/variables.index"
_MAX_INDEX_BYTES = 256 << 20
_MAX_TEXT_BYTES = 256 << 20
_TRAINING = ("optimizer/", "save_counter/")
_TABLE = "/.ATTRIBUTES/table-keys"
_SLOT = "/.OPTIMIZER_SLOT/"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What was read."""

    objects: bytes
    """A ``TrackableObjectGraph``."""
    arrays: Mapping[str, Array]
    """By checkpoint key: numbers only, without the optimizer's."""
    texts: Mapping[str, tuple[bytes, ...]]
    """By checkpoint key: the keys of tables."""


def read_checkpoint(folder: Path, budget: Budget) -> Checkpoint:
    """Read ``FOLDER/variables/variables``.

    Raises:
        UnsafeFile: The arrays are larger than the budget.
        ReadError: It is no checkpoint, or damaged.
    """
    with ExitStack() as stack:
        bundle = _opened(folder, stack)
        if _OBJECT_GRAPH not in bundle.entries:
            raise ReadError("holds no object graph: it was not saved by TensorFlow 2", place=_INDEX)
        (objects,) = bundle.texts(_OBJECT_GRAPH, _MAX_TEXT_BYTES)
        keys = sorted(key for key, entry in bundle.entries.items() if entry.numeric and _belongs_to_the_model(key))
        tables = sorted(key for key, entry in bundle.entries.items() if entry.texts and key.endswith(_TABLE))
        texts = {key: bundle.texts(key, _MAX_TEXT_BYTES) for key in tables if _belongs_to_the_model(key)}
        return Checkpoint(objects, {key: bundle.array(key, budget) for key in keys}, texts)


def _opened(folder: Path, stack: ExitStack) -> Bundle:
    index = inside(folder, _INDEX)
    size = index.stat().st_size
    if size > _MAX_INDEX_BYTES:
        raise UnsafeFile(f"has {size:,} bytes; the limit is {_MAX_INDEX_BYTES:,}", place=_INDEX)

    def files(count: int) -> tuple[BinaryIO, ...]:
        names = [f"variables/variables.data-{number:05}-of-{count:05}" for number in range(count)]
        return tuple(stack.enter_context(inside(folder, name).open("rb")) for name in names)

    return open_bundle(index.read_bytes(), files, _INDEX)


def _belongs_to_the_model(key: str) -> bool:
    return not key.startswith(_TRAINING) and _SLOT not in key


def inside(folder: Path, name: str) -> Path:
    """Return a file of a SavedModel, behind any links, which may not lead out of the folder.

    Raises:
        ReadError: There is no such file, or it is a pipe, which would never end, or the like.
        UnsafeFile: A link leads to a file outside.
    """
    try:
        real, status = (folder / name).resolve(strict=True), (folder / name).stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        raise ReadError("there is no such file in the SavedModel", place=name) from None
    if not real.is_relative_to(folder.resolve()):
        raise UnsafeFile("is a link that leads out of the SavedModel", place=name)
    if not stat.S_ISREG(status.st_mode):
        raise ReadError("is not a regular file", place=name)
    return real
