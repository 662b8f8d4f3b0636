"""What a writer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

from gateprobe.chunk import Layout, TraceChunk
from gateprobe.writers.target import Target

Metadata: TypeAlias = Mapping[str, Any]
"""JSON-ready: where a trace comes from."""


class Format(Enum):
    """How a trace is written; the value is the name on the command line."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ARROW = "arrow"
    NPZ = "npz"
    HDF5 = "h5"

    @property
    def tabular(self) -> bool:
        """Whether it holds a table, which has a layout, and not arrays, which can be compressed."""
        return self not in (Format.NPZ, Format.HDF5)

    @property
    def described(self) -> bool:
        """Whether it has a place for metadata."""
        return self in (Format.PARQUET, Format.ARROW, Format.NPZ, Format.HDF5)

    @property
    def streams(self) -> bool:
        """Whether it can go to standard output."""
        return self not in (Format.NPZ, Format.HDF5, Format.PARQUET)


@dataclass(frozen=True, slots=True)
class Output:
    """One result that the user wants."""

    name: str
    """A file, or ``-`` for standard output."""
    format: Format | None = None
    """From the suffix when it is not given."""
    layout: Layout = "tidy"
    compress: bool = False
    force: bool = False
    """Whether an existing file may be replaced."""


class Sink(Protocol):
    """One file being written from chunks."""

    def add(self, chunk: TraceChunk) -> None:
        """Write the next samples."""

    def finish(self) -> None:
        """Write what can only be written at the end."""

    def close(self) -> None:
        """Let go of everything, also after a fault."""


OpenSink: TypeAlias = Callable[[Target, Output, Metadata], Sink]
