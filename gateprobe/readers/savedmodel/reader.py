"""SavedModel folders of Keras 2: the graph from ``keras_metadata.pb``, the arrays from TensorFlow's checkpoint.

So are checkpoints by themselves read, which hold weights alone.

What Keras writes there: ``tf_keras/src/saving/legacy/saved_model/save.py`` and ``layer_serialization.py`` 2.21; before
TensorFlow 2.5 the metadata stood in ``saved_model.pb`` (``load.py::_read_legacy_metadata``). Nothing is loaded the way
``tf.saved_model.load`` does: the functions in the file are looked at, where they must be, and never run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gateprobe.errors import ReadError, UnsafeFile, reason_of
from gateprobe.graph import LOOKUPS, ModelRecord, Vocabulary, WeightStore
from gateprobe.readers.files import SAVED_MODEL
from gateprobe.readers.found import Architecture, Found, refuse_second
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.savedmodel import counted, objects
from gateprobe.readers.savedmodel.decoder import decoder_settings
from gateprobe.readers.savedmodel.graph import Library, Unproven
from gateprobe.readers.savedmodel.objects import Described, TrackedObject
from gateprobe.readers.savedmodel.tables import Column, Tables
from gateprobe.readers.savedmodel.variables import SUFFIX, Checkpoint, inside, read_checkpoint
from gateprobe.readers.savedmodel.weights import Objects
from gateprobe.readers.savedmodel.wire import parse
from gateprobe.readers.wiring import DECODER

GRAPH, METADATA = SAVED_MODEL, "keras_metadata.pb"
MAX_GRAPH_BYTES = 1 << 30
MAX_METADATA_BYTES = 256 << 20
_EXPORTED = "is a SavedModel without Keras's own description of its layers (as model.export() writes): only functions"
_SETTINGS = ("impute_finished", "output_time_major", "maximum_iterations")


def read_folder(path: Path, given: Architecture | None, budget: Budget, *, ignore_metadata: bool = False) -> Found:
    """Read a SavedModel.

    Args:
        path: The folder.
        given: A wiring file.
        budget: What may still be read.
        ignore_metadata: Whether to do without ``keras_metadata.pb``: with what ``saved_model.pb`` says of the layers,
            as in folders from before TensorFlow 2.5, or else with the weights alone.

    Raises:
        ReadError: It was not written by ``model.save`` of Keras 2, or it is damaged.
        MissingExtra: TensorFlow is not installed.
    """
    folder = _Folder(path, METADATA if (path / METADATA).exists() and not ignore_metadata else GRAPH)
    if ignore_metadata and objects.ROOT not in folder.described:
        return _weights_alone(path, folder, given, budget)
    refuse_second(given)
    root = folder.described.get(objects.ROOT)
    value = {} if root is None else _architecture_of(root.value)
    if root is None or "class_name" not in value:
        raise ReadError(_EXPORTED, remedy="save the model with model.save() as .keras or .h5")
    checkpoint = read_checkpoint(path, budget)
    tracked = checkpoint.objects
    objects.check_paths(tracked, folder.described, METADATA)
    decoders = _Decoders(folder, tracked)
    if given is None or given.stated:
        value = decoders.filled(value)
    said = {key: root.value.get(key) for key in ("keras_version", "backend")}
    texts = {key: text if isinstance(text, str) else None for key, text in said.items()}
    return Found(
        container="savedmodel",
        value=value,
        weights=Objects(tracked, folder.described, checkpoint.arrays).store(),
        keras_version=texts["keras_version"],
        backend=texts["backend"],
        where=folder.metadata_name,
        architecture=given,
        digests=tuple(folder.digests()),
        notes=tuple(decoders.notes),
        vocabularies=_vocabularies(folder, tracked, checkpoint),
    )


def _vocabularies(folder: _Folder, tracked: tuple[TrackedObject, ...], checkpoint: Checkpoint) -> dict[str, Vocabulary]:
    """Return the words of each lookup layer by ``#`` and its name.

    Raises:
        ReadError: Two layers have one name, so that it is unknown whose words are whose.
    """
    if not any(item.value.get("class_name") in LOOKUPS for item in folder.described.values()):
        return {}

    def stored(number: int) -> tuple[Column, Column] | None:
        keys, values = tracked[number].table or ("", "") if 0 <= number < len(tracked) else ("", "")
        tokens: Column | None = checkpoint.texts.get(keys)
        if tokens is None and keys in checkpoint.arrays:
            tokens = tuple(checkpoint.arrays[keys].ravel().tolist())
        if tokens is None or values not in checkpoint.arrays:
            return None
        return tokens, tuple(checkpoint.arrays[values].ravel().tolist())

    found: dict[str, Vocabulary] = {}
    library = folder.library
    for name, words in Tables(library.meta_graph, library.objects, stored).vocabularies(folder.described):
        if found.setdefault(f"#{name}", words) != words:
            raise ReadError("two layers have this name, and other vocabularies", place=name)
    return found


def read_weights(index: Path, given: Architecture | None, budget: Budget) -> Found:
    """Read weights in TensorFlow's own format: ``NAME.index``, and ``NAME.data-...`` beside it.

    Raises:
        ReadError: It is no checkpoint of TensorFlow 2, or damaged.
        UnsafeFile: The arrays are larger than the budget.
    """
    if index.suffix != SUFFIX:
        reason = "is the index of a checkpoint, whose other files are called after NAME.index"
        raise ReadError(reason, remedy="give it the name back that it had when it was saved")
    checkpoint = read_checkpoint(index.parent, budget, index.name.removesuffix(SUFFIX))
    digests = tuple(_sha256(inside(index.parent, name)) for name in (index.name, *checkpoint.files))
    return _unnamed("checkpoint", checkpoint, index.name, given, digests)


def _weights_alone(path: Path, folder: _Folder, given: Architecture | None, budget: Budget) -> Found:
    """Read the variables by the names of the attributes that hold them."""
    checkpoint = read_checkpoint(path, budget)
    return _unnamed("savedmodel", checkpoint, folder.metadata_name, given, tuple(folder.digests()))


def _unnamed(
    container: str, checkpoint: Checkpoint, where: str, given: Architecture | None, digests: tuple[str, ...]
) -> Found:
    """Return weights whose layers have numbers; an architecture gives them names."""
    tracked = checkpoint.objects

    def sorted_by(model: ModelRecord) -> WeightStore:
        root, described = counted.described_by(model, tracked)
        return Objects(tracked, described, checkpoint.arrays).store(root)

    store = Objects(tracked, {}, checkpoint.arrays).store()
    told = counted.era_of(tracked)
    return Found(container, None, store, None, None, where, given, digests, sorted_by=sorted_by, told=told)


def _architecture_of(root: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class and the configuration of the model, which the first versions kept in ``model_config`` only."""
    kept = root.get("model_config")
    source = kept if "config" not in root and isinstance(kept, dict) else root
    return {key: source[key] for key in ("class_name", "config", "name") if key in source}


class _Folder:
    """The files of a SavedModel other than the checkpoint, each read when it is needed.

    Args:
        path: The folder.
        metadata_name: The file that describes the layers.
    """

    def __init__(self, path: Path, metadata_name: str) -> None:
        self._path = path
        self.metadata_name = metadata_name

    @cached_property
    def library(self) -> Library:
        """The functions and objects in ``saved_model.pb``."""
        return Library(parse(_bytes(self._path / GRAPH, MAX_GRAPH_BYTES), GRAPH))

    @cached_property
    def described(self) -> dict[int, Described]:
        """What Keras recorded of each object."""
        if self.metadata_name == METADATA:
            data = _bytes(self._path / METADATA, MAX_METADATA_BYTES)
            return objects.described_objects(parse(data, METADATA))
        found = {}
        for number, node in enumerate(self.library.objects):
            user = node.message(4)
            if user.text(3):
                found[number] = objects.describe(number, "", user.text(1), user.text(3), GRAPH)
        return found

    def digests(self) -> Iterator[str]:
        """Yield the digest of each file that was read."""
        names = dict.fromkeys([GRAPH, self.metadata_name])
        variables = sorted((self._path / "variables").iterdir())
        for file in [*(self._path / name for name in names), *variables]:
            if file.is_file():
                yield _sha256(inside(self._path, str(file.relative_to(self._path))))


def _bytes(file: Path, limit: int) -> bytes:
    try:
        status = inside(file.parent, file.name).stat()
        if status.st_size > limit:
            raise UnsafeFile(f"has {status.st_size:,} bytes; the limit is {limit:,}", place=file.name)
        return file.read_bytes()
    except OSError as error:
        raise ReadError(reason_of(error), place=file.name) from None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(slots=True)
class _Decoders:
    """Puts into the configuration of each decoder of TensorFlow Addons what the file proves about it."""

    folder: _Folder
    tracked: tuple[TrackedObject, ...]
    notes: list[str] = field(default_factory=list)

    def filled(self, value: Any) -> Any:
        """Return an architecture in which every decoder has a configuration."""
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("class_name") == DECODER:
            return {**value, "config": self._config(str(value.get("name")), value.get("config"))}
        return {key: self.filled(item) for key, item in value.items()}

    def _config(self, name: str, saved: Any) -> dict[str, Any]:
        """Return the settings of a decoder, or why they are not known."""
        known = {"name": name}
        try:
            layer = self._layer(name)
            known |= {key: layer.value[key] for key in ("trainable", "dtype") if key in layer.value}
            settings = decoder_settings(self.folder.library, layer.node)
            self._check(settings, saved)
            self.notes.append(_told(name, settings))
            return {**known, **self._inside(layer), **settings}
        except Unproven as reason:
            self.notes.append(f"{name} ({DECODER}): {reason}")
            return {**known, "unproven": str(reason)}

    def _layer(self, name: str) -> Described:
        found = [item for item in self.folder.described.values() if item.name == name]
        found = [item for item in found if item.value.get("class_name") == DECODER]
        if len(found) != 1:
            raise Unproven(f"the file describes {len(found)} decoders of this name")
        return found[0]

    def _inside(self, layer: Described) -> dict[str, Any]:
        """Return the cell and the output layer."""
        inside = {}
        for key in ("cell", "output_layer"):
            number = self.tracked[layer.node].children.get(key)
            item = None if number is None else self.folder.described.get(number)
            if item is not None:
                inside[key] = {part: item.value[part] for part in ("class_name", "config") if part in item.value}
        return inside

    def _check(self, settings: Mapping[str, Any], saved: Any) -> None:
        for key in _SETTINGS:
            if isinstance(saved, dict) and key in saved and saved[key] != settings[key]:
                raise Unproven(f"its configuration says {key}={saved[key]!r:.20}, its functions {settings[key]!r}")


def _told(name: str, settings: Mapping[str, Any]) -> str:
    """Say what was found in the functions of a decoder."""
    goes_on = "holds" if settings["impute_finished"] else "goes on with"
    limit = settings["maximum_iterations"]
    return (
        f"{name} ({DECODER}): its recorded loop reads the input of time + 1 and ends a sequence at its length "
        f"(a TrainingSampler), {goes_on} finished sequences (impute_finished={settings['impute_finished']})"
        + ("" if limit is None else f", and ends after {limit} steps")
    )
