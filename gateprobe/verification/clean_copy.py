"""The copy of a file that Keras gets: one container, made new from parts that were checked.

Keras never gets the file's own bytes. It gets the architecture as JSON that was parsed and checked here, and every
array and plain attribute of the weights under its own name and in its own order, none of them interpreted: Keras still
reads the file itself, so that a fault in our reading shows. Vocabularies are copied as the text that they are. User
blocks, second containers, links, training configurations, optimizers, other assets and everything else that a file may
hold stay behind.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from gateprobe.errors import GateprobeError
from gateprobe.readers import archive, hdf5, safe_json, safe_yaml, vocabularies
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.weights import MAX_DEPTH, MAX_OBJECTS, TRAINING
from gateprobe.verification.trust import objections, without_training

if TYPE_CHECKING:
    import h5py

_WEIGHTS_GROUP = "model_weights"
_ASSET = re.compile(r"assets(?:/[A-Za-z0-9_]+)+/vocabulary\.txt")
"""Where a vocabulary may be, so that it is unpacked inside a folder."""
_CONFIGURATIONS = frozenset({"model_config", "training_config"})
"""Attributes that Keras takes for an architecture: written by us or not at all."""
_METADATA = ("keras_version", "date_saved")


class Unfit(Exception):
    """No copy can be made for Keras; says why."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What Keras gets."""

    file: Path
    architecture: Path | None


def clean_copy(file: str, architecture: str | None, folder: Path, limit: int) -> Handed:
    """Write what Keras may get of a model into a folder.

    Args:
        file: HDF5 or a ``.keras`` zip.
        architecture: The JSON file of a weights-only file.
        folder: Empty; what is in it afterwards is the copy.
        limit: How many bytes of arrays there may be.

    Raises:
        Unfit: The file is no such container, or something in it is on no list of ours.
    """
    try:
        with _opened(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            hdf5.library()  # before the fork, so that it is imported once
            try_in_fork(lambda: _written(stream, size, architecture, folder, Budget(limit)), stream, size, limit)
            return _written(stream, size, architecture, folder, Budget(limit))
    except GateprobeError as error:
        raise Unfit(str(error)) from None


def _opened(file: str) -> BinaryIO:
    path = Path(file)
    if not path.is_file():
        raise Unfit("what is no file on this machine is not given to Keras")
    return path.open("rb")


def _written(stream: BinaryIO, size: int, architecture: str | None, folder: Path, budget: Budget) -> Handed:
    given = None if architecture is None else _checked(_json_of(_architecture(architecture)), "the architecture")
    stream.seek(0)
    if stream.read(len(archive.MAGIC)) == archive.MAGIC:
        return Handed(_zip(stream, size, folder, budget), None)
    if not hdf5.find_magic(stream, size):
        raise Unfit("weights in several files are not given to Keras")
    if given is None:
        return Handed(_whole(stream, folder, budget), None)
    target = folder / "architecture.json"
    target.write_text(given, encoding="utf-8")
    return Handed(_weights(stream, folder, budget), target)


def _architecture(file: str) -> bytes:
    path = Path(file)
    if path.is_dir():
        raise Unfit("an architecture that is a folder is not given to Keras")
    return path.read_bytes()


def _json_of(data: bytes) -> bytes | str:
    """Return an architecture as JSON: today's Keras does not read YAML."""
    return json.dumps(safe_yaml.loads(data, "the architecture")) if safe_yaml.is_yaml(data) else data


def _checked(data: bytes | str, place: str) -> str:
    """Return an architecture as JSON that Keras may get."""
    value = safe_json.loads(data, place)
    value = safe_json.loads(value, place) if isinstance(value, str) else value
    value = without_training(value)
    for found in objections(value):
        raise Unfit(found)
    return json.dumps(value)


# --- containers


def _zip(stream: BinaryIO, size: int, folder: Path, budget: Budget) -> Path:
    """Copy a ``.keras`` zip: its configuration, its version and its weights."""
    target, unpacked, rebuilt = folder / "model.keras", folder / "unpacked", folder / archive.WEIGHTS
    with archive.opened(stream, size) as members:
        if not archive.has(members, archive.WEIGHTS):
            raise Unfit("weights in several files are not given to Keras")
        config = _checked(archive.read(members, archive.CONFIG, safe_json.MAX_BYTES), archive.CONFIG)
        metadata = _metadata(members)
        words = dict(vocabularies.assets(members, budget))
        with unpacked.open("wb") as raw:
            archive.unpack(members, archive.WEIGHTS, budget.limit, raw)
    with unpacked.open("rb") as file, hdf5.opened(file, archive.WEIGHTS) as source, _created(rebuilt) as copy:
        _tree(source, copy, budget, without=TRAINING)
    unpacked.unlink()
    with zipfile.ZipFile(target, "w") as new:
        new.writestr(archive.CONFIG, config)
        new.writestr(archive.METADATA, json.dumps(metadata))
        new.write(rebuilt, archive.WEIGHTS)
        for name, text in words.items():
            if not _ASSET.fullmatch(name):
                raise Unfit(f"a vocabulary is at {name!r:.80}")
            new.writestr(name, text)
    rebuilt.unlink()
    return target


def _metadata(members: zipfile.ZipFile) -> dict[str, str]:
    if not archive.has(members, archive.METADATA):
        return {}
    value = safe_json.loads(archive.read(members, archive.METADATA, 1 << 20), archive.METADATA)
    found = value if isinstance(value, Mapping) else {}
    return {key: found[key] for key in _METADATA if isinstance(found.get(key), str)}


def _whole(stream: BinaryIO, folder: Path, budget: Budget) -> Path:
    """Copy a whole model in HDF5: its configuration, its plain attributes and its weights."""
    target = folder / "model.h5"
    with hdf5.opened(stream) as source, _created(target) as copy:
        text = hdf5.text_attribute(source, "model_config")
        weights = hdf5.group(source, _WEIGHTS_GROUP)
        if text is None or weights is None:
            raise Unfit("the layers are connected by something else than Keras's own JSON")
        copy.attrs["model_config"] = _checked(text, "model_config")
        _attributes(source, copy)
        _tree(weights, copy.create_group(_WEIGHTS_GROUP, track_order=_ordered(weights)), budget)
    return target


def _weights(stream: BinaryIO, folder: Path, budget: Budget) -> Path:
    """Copy weights alone, under the suffix by which Keras tells its two schemes apart."""
    rebuilt = folder / "rebuilt"
    with hdf5.opened(stream) as source, _created(rebuilt) as copy:
        root = source if _WEIGHTS_GROUP not in source else hdf5.group(source, _WEIGHTS_GROUP)
        listed = root is not None and hdf5.name_list(root, "layer_names") is not None
        _tree(source, copy, budget, without=TRAINING)
    return rebuilt.rename(folder / ("weights.h5" if listed else "model.weights.h5"))


@contextmanager
def _created(path: Path) -> Iterator[h5py.File]:
    with hdf5.library().File(path, "w") as file:
        yield file


# --- HDF5


@dataclass(slots=True)
class _Walk:
    """What a copy has seen so far."""

    budget: Budget
    seen: set[Any] = field(default_factory=set)

    def enter(self, item: h5py.Group | h5py.Dataset, depth: int) -> None:
        """Take note of an object.

        Raises:
            Unfit: It was there before, or there are too many.
        """
        info = hdf5.library().h5o.get_info(item.id)
        key = (info.fileno, info.addr)
        if key in self.seen or depth > MAX_DEPTH or len(self.seen) >= MAX_OBJECTS:
            raise Unfit(f"{item.name} occurs twice in the file, or too deep in it")
        self.seen.add(key)


def _tree(source: h5py.Group, target: h5py.Group, budget: Budget, without: frozenset[str] = frozenset()) -> None:
    """Copy a group and everything in it but some names at its root, one array at a time."""
    walk = _Walk(budget)
    walk.enter(source, 0)
    _attributes(source, target)
    _children(source, target, walk, 1, without)


def _children(
    source: h5py.Group, target: h5py.Group, walk: _Walk, depth: int, without: frozenset[str] = frozenset()
) -> None:
    for name in hdf5.child_names(source):
        if name in without:
            continue
        child = hdf5.member(source, name)
        assert child is not None
        walk.enter(child, depth)
        if hdf5.is_array(child):
            _attributes(child, _array(child, target, name, walk.budget))
        elif hdf5.is_group(child):
            group = target.create_group(name, track_order=_ordered(child))
            _attributes(child, group)
            _children(child, group, walk, depth + 1)


def _ordered(group: h5py.Group) -> bool:
    """Tell whether a group keeps its members in the order in which they were made; else it is that of their names."""
    return bool(group.id.get_create_plist().get_link_creation_order())


def _array(source: h5py.Dataset, group: h5py.Group, name: str, budget: Budget) -> h5py.Dataset:
    """Copy one array of numbers, byte by byte."""
    low = hdf5.library()
    found = hdf5.Declared(source)
    hdf5.check_storage(found)
    kind = source.id.get_type()
    if not _is_number(kind):
        raise Unfit(f"{source.name} holds something else than numbers")
    size = source.size * kind.get_size()
    hdf5.check_size(found, size)
    budget.spend(size, source.name)
    raw = np.empty(source.shape, np.dtype((np.void, kind.get_size())))
    space = low.h5s.create_simple(source.shape) if source.shape else low.h5s.create(low.h5s.SCALAR)
    made = low.h5d.create(group.id, name.encode("utf-8"), kind, space)
    if size:
        source.id.read(low.h5s.ALL, low.h5s.ALL, raw, mtype=kind)
        made.write(low.h5s.ALL, low.h5s.ALL, raw, mtype=kind)
    return low.Dataset(made)


def _attributes(source: h5py.Group | h5py.Dataset, target: h5py.Group | h5py.Dataset) -> None:
    """Copy texts, lists of texts and numbers, whatever they mean."""
    for name in source.attrs:
        if name not in _CONFIGURATIONS:
            _attribute(source, target, name)


def _attribute(source: h5py.Group | h5py.Dataset, target: h5py.Group | h5py.Dataset, name: str) -> None:
    low = hdf5.library()
    attribute = low.h5a.open(source.id, name.encode("utf-8"))
    kind, place = attribute.get_type(), f"{source.name}: attribute {name}"
    if kind.get_class() == low.h5t.STRING:
        hdf5.check_text(source, name, place)
        target.attrs.create(name, source.attrs[name], dtype=attribute.dtype)
        return
    shape = (0,) if attribute.shape is None else attribute.shape
    if not _is_number(kind) or math.prod(shape) * kind.get_size() > hdf5.MAX_ATTRIBUTE_BYTES:
        raise Unfit(f"{place} is neither text nor numbers")
    raw = np.empty(shape, np.dtype((np.void, kind.get_size())))
    made = low.h5a.create(target.id, name.encode("utf-8"), kind, attribute.get_space())
    if raw.size:
        attribute.read(raw, mtype=kind)
        made.write(raw, mtype=kind)


def _is_number(kind: Any) -> bool:
    """Tell whether a datatype is a plain number; two opaque bytes are how h5py stores a bfloat16."""
    low = hdf5.library().h5t
    plain = kind.get_class() in (low.INTEGER, low.FLOAT, low.ENUM) and kind.get_size() <= 16
    return not kind.committed() and (plain or (kind.get_class() == low.OPAQUE and kind.get_size() == 2))
