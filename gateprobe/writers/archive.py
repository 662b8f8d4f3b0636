"""NPZ files whose arrays grow.

Arrays must stand in the archive one after the other, but arrive block by block: blocks wait in a nameless file beside
the target. The bytes depend on the arrays alone; members carry no time of day.
"""

from __future__ import annotations

import io
import json
import zipfile
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from gateprobe.graph import Array
from gateprobe.traces.chunk import TraceChunk
from gateprobe.writers.array_file import npy_header
from gateprobe.writers.arrays import METADATA_KEY, Index, arrays_of
from gateprobe.writers.base import Metadata, Output, Sink
from gateprobe.writers.names import archive_key
from gateprobe.writers.rows import Outputs
from gateprobe.writers.target import Target, blamed, scratch

_COPY = 1 << 20


@dataclass(slots=True, eq=False)
class _Member:
    """One array on its way: where its blocks lie in the scratch file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """Without the first axis."""
    rows: int = 0
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    """Where each block begins, and its bytes."""


@dataclass(slots=True, eq=False)
class Archive:
    """An NPZ file whose arrays grow along their first axis."""

    target: Target
    compress: bool
    _scratch: IO[bytes] = field(init=False)
    _members: dict[str, _Member] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._scratch = scratch(self.target)

    def append(self, key: str, block: Array, *, shape: tuple[int, ...] | None = None, rows: int | None = None) -> None:
        """Add rows to an array.

        Args:
            key: Of the array.
            block: ``(rows, ...)``, or a part of a row, which others will complete.
            shape: Of a whole row, where the block holds a part of it.
            rows: How many begin with this block; all that it has without it.
        """
        block = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
        member = self._members.get(key)
        if member is None:
            member = self._members[key] = _Member(block.dtype, block.shape[1:] if shape is None else shape)
        with blamed(self.target.name):
            member.offsets.append(self._scratch.tell())
            member.sizes.append(block.nbytes)
            self._scratch.write(block.data)
        member.rows += len(block) if rows is None else rows

    def assemble(self, texts: Mapping[str, str]) -> None:
        """Write the archive.

        Args:
            texts: Further members, each a text in an array without axes.
        """
        with blamed(self.target.name), zipfile.ZipFile(self.target.file, "w", allowZip64=True) as archive:
            for key, member in self._members.items():
                self._copy(archive, key, member)
            for key, text in texts.items():
                array = np.array(text)
                with open_member(archive, key, array.nbytes, compress=self.compress) as file:
                    npy.write_array(file, array, version=(1, 0), allow_pickle=False)

    def close(self) -> None:
        """Let go of the scratch file."""
        self._scratch.close()

    def _copy(self, archive: zipfile.ZipFile, name: str, member: _Member) -> None:
        header = npy_header(member.dtype, (member.rows, *member.shape))
        size = len(header) + sum(member.sizes)
        with open_member(archive, name, size, compress=self.compress) as file:
            file.write(header)
            for offset, length in zip(member.offsets, member.sizes, strict=True):
                self._scratch.seek(offset)
                _copy(self._scratch, file, length)
        self._scratch.seek(0, io.SEEK_END)


def _copy(source: IO[bytes], file: IO[bytes], length: int) -> None:
    while length:
        block = source.read(min(length, _COPY))
        file.write(block)
        length -= len(block)


def open_member(archive: zipfile.ZipFile, name: str, size: int, *, compress: bool = False) -> IO[bytes]:
    """Open a member for writing; it carries no time of day, so that the bytes depend on the arrays alone.

    Args:
        archive: Open for writing.
        name: Of the array.
        size: About how many bytes it has.
        compress: Whether to compress it.
    """
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    info.create_system, info.external_attr = 3, 0o644 << 16
    info.file_size = size
    return archive.open(info, "w")


@dataclass(slots=True, eq=False)
class _TraceSink:
    archive: Archive
    metadata: Metadata
    index: Index = field(default_factory=Index)

    def add(self, chunk: TraceChunk) -> None:
        rows = 0 if chunk.continues else len(chunk.samples)
        for key, value, timesteps in arrays_of(chunk):
            self.archive.append(key, value, shape=(timesteps, *value.shape[2:]), rows=rows)
        self.index.add(chunk)

    def finish(self) -> None:
        described = {**self.metadata, "trace": self.index.described()}
        self.archive.assemble({METADATA_KEY: json.dumps(described)})

    def close(self) -> None:
        self.archive.close()


@dataclass(slots=True, eq=False)
class _OutputsSink:
    archive: Archive
    keys: tuple[str, ...]

    def add(self, item: Outputs) -> None:
        for key, value in zip(self.keys, item, strict=True):
            self.archive.append(archive_key(key), value)

    def finish(self) -> None:
        self.archive.assemble({})

    def close(self) -> None:
        self.archive.close()


def begin_trace(target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
    """Begin with one array for each signal; the masks and the metadata follow."""
    return _TraceSink(Archive(target, output.compress), metadata)


def begin_outputs(target: Target, output: Output, keys: tuple[str, ...]) -> Sink[Outputs]:
    """Begin with one array for each output of a model, and nothing else."""
    return _OutputsSink(Archive(target, output.compress), keys)
