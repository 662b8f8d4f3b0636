"""Read a saved Keras model as inert data: bytes → `gateprobe.graph.ModelGraph`.

Containers are told apart by their first bytes, never by their suffix: HDF5 (whole models and weights alone), the
``.keras`` zip, the index of sharded weights, and ``model.json`` of TensorFlow.js; a SavedModel is a folder, and a
checkpoint of TensorFlow several files, of which the index is known by its end. Nothing that a file names is ever
imported or run.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import ExitStack
from dataclasses import replace
from io import BufferedReader
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, cast

from gateprobe.errors import GateprobeError, ReadError, reason_of
from gateprobe.files.remote import is_url, local_path, redact_url, remote
from gateprobe.graph import Era, ModelGraph
from gateprobe.readers import archive, containers, hdf5, safe_json, safe_yaml, shards
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.readers.files import checkpoint_index, savedmodel_folder
from gateprobe.readers.found import Architecture, Found
from gateprobe.readers.given import read_given, read_given_folder
from gateprobe.readers.hdf5 import DEFAULT_MAX_BYTES, Budget
from gateprobe.readers.indexes import read_index
from gateprobe.readers.sources import read_hdf5, read_zip

__all__ = ["read"]


def read(
    path: str | PathLike[str],
    *,
    architecture: str | PathLike[str] | None = None,
    max_bytes: int | None = None,
    ignore_metadata: bool = False,
) -> ModelGraph:
    """Read a model file.

    Args:
        path: HDF5 or ``.keras`` of any Keras, the ``.json`` index of sharded weights, the ``model.json`` of
            TensorFlow.js, a SavedModel folder, or a checkpoint of TensorFlow: ``NAME.index``, ``NAME``, or the folder
            whose newest one is meant. The first two may be URLs.
        architecture: For a file that holds weights alone: JSON from ``model.to_json()``, a whole model, which may be
            a SavedModel folder, or a wiring file. Or its URL.
        max_bytes: How many bytes of arrays may be read; 4 GiB when not given.
        ignore_metadata: Read a SavedModel without its ``keras_metadata.pb``.

    Raises:
        ReadError: The file is not a Keras model, or damaged; names the file and the place.
        UnsafeFile: It asks for something that a data file must not ask for.
    """
    name = local_path(fspath(path))
    path = Path(name)
    with ExitStack() as stack:
        try:
            budget = Budget(DEFAULT_MAX_BYTES if max_bytes is None else max_bytes)
            folder = savedmodel_folder(path)
            if folder is not None:
                from gateprobe.readers.savedmodel.reader import read_folder  # noqa: PLC0415 - eight modules that few need

                given = None if architecture is None else _architecture(local_path(fspath(architecture)), budget.limit)
                found = read_folder(folder, given, budget, ignore_metadata=ignore_metadata)
                return found.graph(fspath(folder), _combined([*found.digests, *([given.sha256] if given else [])]))
            index = None if is_url(name) else checkpoint_index(path)
            if index is not None and not ignore_metadata:
                from gateprobe.readers.savedmodel.reader import read_weights  # noqa: PLC0415 - likewise

                name = fspath(index)
                given = None if architecture is None else _architecture(local_path(fspath(architecture)), budget.limit)
                found = read_weights(index, given, budget)
                return found.graph(name, _combined([*found.digests, *([given.sha256] if given else [])]))
            if ignore_metadata:
                raise ReadError("is no SavedModel", remedy="leave --ignore-metadata out")
            stream, size = _open(name, stack)
            budget.stored = size
            given = None if architecture is None else _architecture(local_path(fspath(architecture)), budget.limit)
            stamp = _stamp(stream)
            hdf5.library()  # before the fork, so that it is imported once
            try_in_fork(lambda: _found(path, stream, size, given, budget), stream, size, budget.limit)
            found = _found(path, stream, size, given, budget)
            digest = _sha256(stream)  # of models alone: a file of another kind may have any size
            if _stamp(stream) != stamp:
                raise ReadError("was changed while it was read", remedy="wait until it is written, and try again")
            digests = [digest, *found.digests, *([given.sha256] if given else [])]
            graph = found.graph(redact_url(name), _combined(digests))
            notes = containers.contradictions(redact_url(name), stream, size, keras2=graph.origin.era is not Era.KERAS3)
            return replace(graph, notes=(*graph.notes, *notes))
        except GateprobeError as error:
            raise _located(error, name) from None


def _located(error: GateprobeError, name: str) -> GateprobeError:
    """Return the error with the file's name in it."""
    if error.file is not None or not isinstance(error, ReadError):
        return error
    return type(error)(error.reason, file=redact_url(name), place=error.place, remedy=error.remedy)


def _open(name: str, stack: ExitStack) -> tuple[BinaryIO, int]:
    try:
        if is_url(name):
            stream = stack.enter_context(remote(name).fetched())
            return stream, os.fstat(stream.fileno()).st_size
        if not name:
            raise ReadError("the name of the file is empty")
        path = Path(name)
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ReadError("is a folder", remedy="name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ReadError("is not a regular file")
        return stack.enter_context(path.open("rb")), status.st_size
    except OSError as error:
        raise ReadError(reason_of(error)) from None
    except ValueError:  # a NUL in the name
        raise ReadError("is not a possible file name") from None


def _architecture(name: str, limit: int) -> Architecture:
    with ExitStack() as stack:
        try:
            folder = None if is_url(name) else savedmodel_folder(Path(name))
            if folder is not None:
                return read_given_folder(folder, Budget(limit))
            stream, size = _open(name, stack)
            hdf5.library()

            def found(digest: str) -> Architecture:
                return read_given(stream, size, redact_url(name), digest, Budget(limit))

            try_in_fork(lambda: found(""), stream, size, safe_json.MAX_BYTES)
            return found(_sha256(stream))
        except GateprobeError as error:
            raise _located(error, name) from None


def _found(path: Path, stream: BinaryIO, size: int, given: Architecture | None, budget: Budget) -> Found:
    """Dispatch on the first bytes."""
    stream.seek(0)
    head = stream.read(64)
    if not head:
        raise ReadError("the file is empty")
    if head.startswith((archive.MAGIC, b"PK\x05\x06")):
        return read_zip(stream, size, given, budget)
    if hdf5.find_magic(stream, size):
        return read_hdf5(stream, given, budget)
    if head.lstrip()[:1] == b"{":
        return read_index(path, stream, size, given, budget)
    if safe_yaml.is_yaml(head + stream.read(1 << 16)):
        raise ReadError("is YAML and no model with weights", remedy=shards.IS_ARCHITECTURE)
    raise ReadError("is neither HDF5 nor a .keras zip", remedy="save the model with model.save('model.keras')")


def _stamp(stream: BinaryIO) -> tuple[int, int]:
    """Return what changes when the file is written to: its size and time."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def _sha256(stream: BinaryIO) -> str:
    stream.seek(0)
    return hashlib.file_digest(cast("BufferedReader", stream), "sha256").hexdigest()


def _combined(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
