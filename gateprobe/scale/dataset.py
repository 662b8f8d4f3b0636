"""What a folder of traces is, whatever its files are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from gateprobe.chunk import Layout, TraceChunk
from gateprobe.errors import OutputError
from gateprobe.graph import Array
from gateprobe.remote import is_url, joined, local_path, remote, shown

MANIFEST = "_gateprobe.json"
"""Says which run a folder of Parquet files belongs to. Readers of folders leave out what begins with ``_``."""

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
        return shown(self.name).rstrip("/").endswith(".zarr")


class Dataset(Protocol):
    """A folder of traces."""

    def manifest(self) -> Manifest | None:
        """Return the manifest, if somebody has begun.

        Raises:
            OutputError: Something else is there.
        """

    def clear(self) -> None:
        """Remove all that gateprobe wrote."""

    def begin(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Write the manifest and create what all blocks share, as far as it is not there.

        Args:
            manifest: Of the run.
            first: Its first samples.
            numbers: Of all its samples, ``(samples,)``.
        """

    def finished(self, blocks: Iterable[Block]) -> Collection[Block]:
        """Return the blocks that are there, whole."""

    def write(self, block: Block, chunks: Iterable[TraceChunk], manifest: Manifest) -> None:
        """Write a block, which appears whole or not at all; does nothing where it is there already."""

    def complete(self) -> None:
        """Mark the whole as complete."""


def is_folder(name: str) -> bool:
    """Whether the name of an output means a folder: ``traces/``, ``traces.zarr``, or one that gateprobe made."""
    path = shown(local_path(name))
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
        """Return what a file holds."""

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
        return Path(self.name, name).read_bytes()

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

    def remove(self, name: str) -> None:
        remote(joined(self.name, name)).remove()


def folder_of(destination: Destination) -> Folder:
    """Return the folder of a destination."""
    name = local_path(destination.name)
    return _RemoteFolder(name) if is_url(name) else _LocalFolder(name)


def foreign(name: str) -> OutputError:
    """Return the error for a folder that holds something else."""
    return OutputError("holds files that are not a trace in parts", file=shown(name), remedy="name another folder")
