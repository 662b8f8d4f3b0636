"""What `--architecture` names: an architecture of Keras, a whole model, or a wiring file of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from gateprobe.errors import ReadError
from gateprobe.graph import Vocabulary
from gateprobe.readers import archive, hdf5, safe_json, safe_yaml, tfjs, vocabularies, wiring
from gateprobe.readers.found import Architecture
from gateprobe.readers.hdf5 import Budget

_REMEDY = "give JSON from model.to_json(), YAML from model.to_yaml(), a whole model, or a wiring file"


def read_given(stream: BinaryIO, size: int, file: str, sha256: str, budget: Budget) -> Architecture:
    """Read an architecture: JSON or YAML, or that of a whole model in a ``.keras`` zip, HDF5 or TensorFlow.js.

    A zip gives the words of its lookup layers, too, which stand beside the architecture.

    Args:
        stream: The file.
        size: Its bytes.
        file: Its name, for messages.
        sha256: Of its bytes.
        budget: What may be read.

    Raises:
        ReadError: There is no architecture in it.
        UnsafeFile: It asks for something that a data file must not ask for.
    """
    stream.seek(0)
    head = stream.read(4)
    if head == archive.MAGIC:
        return _of_zip(stream, size, file, sha256, budget)
    if hdf5.find_magic(stream, size):
        return _of_hdf5(stream, file, sha256)
    stream.seek(0)
    return parse(stream.read(safe_json.MAX_BYTES + 1), file, sha256)


def parse(data: bytes, file: str, sha256: str) -> Architecture:
    """Parse the text of an architecture."""
    value = safe_yaml.loads(data, "architecture") if safe_yaml.is_yaml(data) else safe_json.loads(data, "architecture")
    if isinstance(value, dict) and wiring.MARK in value:
        return Architecture(value, file, sha256, _text(value, "keras_version"), None, wiring.parse(value, file))
    if tfjs.is_tfjs(value):
        config, version, _ = tfjs.architecture_of(value)
        if config is None:
            raise ReadError("holds weights and no architecture", remedy=_REMEDY)
        return Architecture(config, file, sha256, version, None)
    if not isinstance(value, dict) or "class_name" not in value:
        raise ReadError("is not an architecture", remedy="write one with open(file, 'w').write(model.to_json())")
    return Architecture(value, file, sha256, _text(value, "keras_version"), _text(value, "backend"))


def read_given_folder(folder: Path, budget: Budget) -> Architecture:
    """Read the architecture of a SavedModel, with the words in its tables.

    Raises:
        ReadError: It was not written by ``model.save`` of Keras 2, or it is damaged.
        UnsafeFile: Its arrays are larger than the budget.
    """
    from gateprobe.readers.savedmodel.reader import read_folder  # noqa: PLC0415 - eight modules that few need

    found, file = read_folder(folder, None, budget), str(folder)
    digest = hashlib.sha256("".join(found.digests).encode()).hexdigest()
    return Architecture(
        found.value,
        file,
        digest,
        found.keras_version,
        found.backend,
        container=found.container,
        vocabularies=_lent(found.vocabularies, file),
        notes=found.notes,
    )


def _lent(words: Mapping[str, Vocabulary], file: str) -> dict[str, Vocabulary]:
    return {path: replace(one, place=f"those of the architecture, {file}", file=file) for path, one in words.items()}


def _of_zip(stream: BinaryIO, size: int, file: str, sha256: str, budget: Budget) -> Architecture:
    with archive.opened(stream, size) as members:
        value = safe_json.loads(archive.read(members, archive.CONFIG, safe_json.MAX_BYTES), archive.CONFIG)
        words = vocabularies.in_zip(members, budget)
        notes = tuple(vocabularies.told(words))
        version = archive.keras_version(members)
        return Architecture(value, file, sha256, version, None, vocabularies=_lent(words, file), notes=notes)


def _of_hdf5(stream: BinaryIO, file: str, sha256: str) -> Architecture:
    with hdf5.opened(stream) as found:
        config = hdf5.text_attribute(found, "model_config")
        if config is None:
            raise ReadError("holds weights and no architecture", remedy=_REMEDY)
        version, backend = (hdf5.text_attribute(found, name) for name in ("keras_version", "backend"))
        return Architecture(safe_json.loads(config, "model_config"), file, sha256, version, backend)


def _text(value: Mapping[str, Any], key: str) -> str | None:
    found = value.get(key)
    return found if isinstance(found, str) else None
