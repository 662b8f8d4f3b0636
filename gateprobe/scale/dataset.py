"""What a folder of traces is, whatever its files are."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

from gateprobe.errors import GateprobeWarning, OutputError
from gateprobe.files.remote import is_url, joined, local_path, redact_url, remote
from gateprobe.graph import Array
from gateprobe.layers.recurrent.kernels.choice import KERNELS, Kernel
from gateprobe.traces.chunk import Layout, TraceChunk
from gateprobe.writers.folders import MANIFEST

MAX_MANIFEST = 64 << 20
"""Bytes of a file that says what a folder is."""
_MAX_DEPTH = 20
_TAIL = 4 << 20
"""More than the footer of a Parquet file takes."""

Manifest: TypeAlias = Mapping[str, Any]
"""Which run a folder belongs to; JSON-ready."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some samples of a run, which one task computes."""

    start: int
    """Position of the first among the run's samples."""
    stop: int
    sample: int
    """Number of the first in the input."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a trace goes, and in which form; plain values, for other processes too."""

    name: str
    """A folder, by path or URL."""
    layout: Layout = "tidy"
    compress: bool = False

    @property
    def is_zarr(self) -> bool:
        """Whether it is a Zarr store and not a folder of Parquet files."""
        return redact_url(self.name).rstrip("/").endswith(".zarr")


class Dataset(Protocol):
    """A folder of traces."""

    def manifest(self) -> Manifest | None:
        """Return the manifest, if there is one.

        Raises:
            OutputError: Something else is there, or the manifest is damaged.
        """

    def clear(self) -> None:
        """Remove all that gateprobe wrote.

        Raises:
            OutputError: Something else is there that would be lost or be taken for a part; nothing is removed.
        """

    def begin(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Write the manifest and create what all blocks share, as far as it is not there.

        Args:
            manifest: Of the run.
            first: Its first samples.
            numbers: Of all its samples, ``(samples,)``.
        """

    def finished(
        self, blocks: Sequence[Block], manifest: Manifest, first: TraceChunk, numbers: Array
    ) -> Collection[Block]:
        """Return the blocks that are there, whole and unchanged; a note names those that are damaged.

        Args:
            blocks: All of the run.
            manifest: Of the run.
            first: Its first samples.
            numbers: Of all its samples, ``(samples,)``.

        Raises:
            OutputError: Something is there that does not belong to this run.
        """

    def write(self, block: Block, chunks: Iterable[TraceChunk], manifest: Manifest) -> None:
        """Write a block, which appears whole or not at all; does nothing where it is there already."""

    def reopen(self) -> None:
        """Remove the mark of `complete`."""

    def complete(self) -> None:
        """Mark the whole as complete."""


def is_folder(name: str) -> bool:
    """Whether the name of an output means a folder: ``traces/``, ``traces.zarr``, or one that gateprobe made."""
    path = redact_url(local_path(name))
    if path.endswith(("/", ".zarr")):
        return True
    return not is_url(path) and Path(path, MANIFEST).is_file()


class Folder(Protocol):
    """What is done with a folder, be it here or in a storage."""

    @property
    def name(self) -> str:
        """Its path or URL."""

    def names(self) -> list[str]:
        """Return the names of what lies in it; none if there is no such folder."""

    def create(self) -> None:
        """Make it, if it is not there."""

    def read(self, name: str) -> bytes:
        """Return what a small file holds."""

    def opened(self, name: str) -> IO[bytes]:
        """Open a file for reading; of one in a storage, only the end is fetched.

        Raises:
            OutputError: It is a link, a folder, a pipe or a device.
        """

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it."""


@dataclass(frozen=True, slots=True)
class _LocalFolder:
    name: str

    def names(self) -> list[str]:
        return sorted(os.listdir(self.name)) if Path(self.name).exists() else []  # noqa: PTH208 - names, not paths

    def create(self) -> None:
        Path(self.name).mkdir(exist_ok=True)

    def read(self, name: str) -> bytes:
        with self.opened(name) as file:
            return file.read(MAX_MANIFEST + 1)

    def opened(self, name: str) -> IO[bytes]:
        return open_regular(Path(self.name, name))

    def remove(self, name: str) -> None:
        path = Path(self.name, name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _RemoteFolder:
    name: str

    def names(self) -> list[str]:
        return remote(self.name).names()

    def create(self) -> None:
        """A storage has no folders without files."""

    def read(self, name: str) -> bytes:
        return remote(joined(self.name, name)).read()

    def opened(self, name: str) -> IO[bytes]:
        found = remote(joined(self.name, name))
        size = found.size()
        return io.BytesIO(found.read(max(0, size - _TAIL), size))

    def remove(self, name: str) -> None:
        remote(joined(self.name, name)).remove()


def folder_of(destination: Destination) -> Folder:
    """Return the folder of a destination."""
    name = local_path(destination.name)
    return _RemoteFolder(name) if is_url(name) else _LocalFolder(name)


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading, if it is one and no link.

    Raises:
        OutputError: It is a link, a folder, a pipe or a device; to open some of these is to wait for ever.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise irregular(str(path))
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    return os.fdopen(number, "rb")


def irregular(name: str) -> OutputError:
    """Return the error for a link, a folder, a pipe or a device in place of a file."""
    return OutputError("is not a regular file", file=redact_url(name), remedy="move it away")


def parsed_manifest(data: bytes, name: str) -> Any:
    """Return the JSON in a file that says what a folder is.

    Raises:
        OutputError: It is damaged.
    """
    with suppress(ValueError, RecursionError):
        if len(data) <= MAX_MANIFEST:
            return json.loads(data)
    raise _damaged_manifest(name)


def _damaged_manifest(name: str) -> OutputError:
    return OutputError("is damaged: no manifest of a trace", file=redact_url(name), remedy="name another folder")


def checked_manifest(found: Any, name: str) -> Manifest:
    """Return a manifest in which everything that is used before it is compared can be used.

    Raises:
        OutputError: It is damaged.
    """
    if not isinstance(found, dict) or _depth(found) > _MAX_DEPTH or not isinstance(found.get("metadata"), dict):
        raise _damaged_manifest(name)
    if type(found.get("block")) is not int or found["block"] < 1 or not _is_kernel(found.get("kernel")):
        raise _damaged_manifest(name)
    return found


def _is_kernel(found: Any) -> bool:
    """Whether the fields of a `Kernel` are there, and no others, with values that it takes."""
    if not isinstance(found, dict) or found.keys() != {field.name for field in fields(Kernel)}:
        return False
    known = isinstance(found["name"], str) and found["name"] in KERNELS and isinstance(found["required"], bool)
    return known and (found["timesteps"] is None or type(found["timesteps"]) is int)


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested, up to a little more than may be."""
    level, depth = [value], 0
    while level and depth <= _MAX_DEPTH:
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        level, depth = [item for items in inner for item in items], depth + 1
    return depth


def damaged(name: str) -> None:
    """Say that a part will be computed again."""
    warnings.warn(f"{redact_url(name)} is damaged: it is computed again", GateprobeWarning, stacklevel=2)


def stranger(folder: str, name: str, what: str) -> OutputError:
    """Return the error for a file that does not belong to the run."""
    return OutputError(f"holds {name}, {what}", file=redact_url(folder), remedy="move it away, or name another folder")


def foreign(name: str) -> OutputError:
    """Return the error for a folder that holds something else."""
    return OutputError("holds files that are not a trace in parts", file=redact_url(name), remedy="name another folder")
