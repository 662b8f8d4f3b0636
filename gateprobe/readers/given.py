"""The file that `--architecture` names: an architecture of Keras, or a wiring file of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from gateprobe.errors import ReadError
from gateprobe.readers import archive, hdf5, safe_json, safe_yaml, tfjs, wiring
from gateprobe.readers.found import Architecture

_REMEDY = "give JSON from model.to_json(), YAML from model.to_yaml(), a whole model, or a wiring file"


def read_given(stream: BinaryIO, size: int, file: str, sha256: str) -> Architecture:
    """Read an architecture: JSON or YAML, or that of a whole model in a ``.keras`` zip, HDF5 or TensorFlow.js.

    Args:
        stream: The file.
        size: Its bytes.
        file: Its name, for messages.
        sha256: Of its bytes.

    Raises:
        ReadError: There is no architecture in it.
        UnsafeFile: It asks for something that a data file must not ask for.
    """
    stream.seek(0)
    head = stream.read(4)
    if head == archive.MAGIC:
        return _of_zip(stream, size, file, sha256)
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


def _of_zip(stream: BinaryIO, size: int, file: str, sha256: str) -> Architecture:
    with archive.opened(stream, size) as members:
        value = safe_json.loads(archive.read(members, archive.CONFIG, safe_json.MAX_BYTES), archive.CONFIG)
        return Architecture(value, file, sha256, archive.keras_version(members), None)


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
