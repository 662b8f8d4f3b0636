"""TensorFlow's checkpoints: what they hold of the model itself, be they inside a SavedModel or files of their own."""

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
from gateprobe.readers.savedmodel.objects import TrackedObject, held_keys, tracked_objects
from gateprobe.readers.savedmodel.wire import parse

OF_SAVED_MODEL = "variables/variables"
"""What the files of a SavedModel's checkpoint are called, without their suffixes."""
SUFFIX = ".index"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MAX_INDEX_BYTES = 256 << 20
_MAX_TEXT_BYTES = 256 << 20
_OPTIMIZER, _COUNTER = "optimizer", "save_counter/"
_TABLE = "/.ATTRIBUTES/table-keys"
_SLOT = "/.OPTIMIZER_SLOT/"
_BY_NAMES = (
    "names its weights by variables and holds no object graph, as tf.train.Saver of TensorFlow 1 writes it, which does "
    "not tell the layer of each"
)
_KERAS_ITSELF = "load it in Keras and save the weights with model.save_weights('model.weights.h5')"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What was read."""

    objects: tuple[TrackedObject, ...]
    """The graph of objects."""
    arrays: Mapping[str, Array]
    """By checkpoint key: numbers only, without the optimizer's."""
    texts: Mapping[str, tuple[bytes, ...]]
    """By checkpoint key: the keys of tables."""
    files: tuple[str, ...] = ()
    """Those with the numbers, as they are called in the folder."""


def read_checkpoint(folder: Path, budget: Budget, name: str = OF_SAVED_MODEL) -> Checkpoint:
    """Read ``FOLDER/NAME.index`` and the files beside it.

    Raises:
        UnsafeFile: The arrays are larger than the budget.
        ReadError: It is no checkpoint, or damaged.
    """
    index = f"{name}{SUFFIX}"
    with ExitStack() as stack:
        names: list[str] = []
        bundle = _opened(folder, name, names, stack)
        if _OBJECT_GRAPH not in bundle.entries:
            raise ReadError(_BY_NAMES, place=index, remedy=_KERAS_ITSELF)
        (objects,) = bundle.texts(_OBJECT_GRAPH, _MAX_TEXT_BYTES)
        tracked = tracked_objects(parse(objects, "the object graph"))
        held = held_keys(tracked)
        numeric = (key for key, entry in bundle.entries.items() if entry.numeric)
        keys = sorted(key for key in numeric if key in held or _belongs_to_the_model(key))
        tables = sorted(key for key, entry in bundle.entries.items() if entry.texts and key.endswith(_TABLE))
        texts = {key: bundle.texts(key, _MAX_TEXT_BYTES) for key in tables if _belongs_to_the_model(key)}
        return Checkpoint(tracked, {key: bundle.array(key, budget) for key in keys}, texts, tuple(names))


def _opened(folder: Path, name: str, names: list[str], stack: ExitStack) -> Bundle:
    place = f"{name}{SUFFIX}"
    index = inside(folder, place)
    size = index.stat().st_size
    if size > _MAX_INDEX_BYTES:
        raise UnsafeFile(f"has {size:,} bytes; the limit is {_MAX_INDEX_BYTES:,}", place=place)

    def files(count: int) -> tuple[BinaryIO, ...]:
        names[:] = [f"{name}.data-{number:05}-of-{count:05}" for number in range(count)]
        return tuple(stack.enter_context(inside(folder, file).open("rb")) for file in names)

    return open_bundle(index.read_bytes(), files, place)


def _belongs_to_the_model(key: str) -> bool:
    """Whether a key is neither the state of an optimizer nor that of the checkpoint itself.

    The optimizer is an attribute of the model (``model.save_weights``) or stands beside it (``tf.train.Checkpoint``).
    Keras 3's refers to the variables of the model, which may be called after it.
    """
    return _OPTIMIZER not in key.split("/")[:2] and not key.startswith(_COUNTER) and _SLOT not in key


def inside(folder: Path, name: str) -> Path:
    """Return a file of a folder, behind any links, which may not lead out of it.

    Raises:
        ReadError: There is no such file, or it is a pipe, which would never end, or the like.
        UnsafeFile: A link leads to a file outside.
    """
    try:
        real, status = (folder / name).resolve(strict=True), (folder / name).stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        raise ReadError("there is no such file in the folder", place=name) from None
    if not real.is_relative_to(folder.resolve()):
        raise UnsafeFile("is a link that leads out of the folder", place=name)
    if not stat.S_ISREG(status.st_mode):
        raise ReadError("is not a regular file", place=name)
    return real
