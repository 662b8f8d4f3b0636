"""What a writer is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from gateprobe.traces.chunk import Layout
from gateprobe.writers.seal import Seal

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
"""What comes block by block: the `TraceChunk` of a trace, or one array for each output of a model."""

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
    NPY = "npy"

    @property
    def tabular(self) -> bool:
        """Whether it holds a table, which has a layout, and not arrays, which can be compressed."""
        return self not in (Format.NPZ, Format.HDF5, Format.NPY)

    @property
    def compressible(self) -> bool:
        """Whether it can be compressed on request."""
        return self in (Format.NPZ, Format.HDF5)

    @property
    def described(self) -> bool:
        """Whether it has a place for metadata."""
        return self in (Format.PARQUET, Format.ARROW, Format.NPZ, Format.HDF5)

    @property
    def streams(self) -> bool:
        """Whether it can go to standard output."""
        return self in (Format.CSV, Format.TSV, Format.JSONL, Format.ARROW)


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
    seal: Seal | None = None
    """Of a Parquet file that is a part of a folder."""


class Sink(Protocol[T_contra]):
    """One file being written."""

    def add(self, item: T_contra, /) -> None:
        """Write the next samples."""

    def finish(self) -> None:
        """Write what can only be written at the end."""

    def close(self) -> None:
        """Let go of everything, also after a fault."""


class Tables(Protocol[T_contra]):
    """Turns what comes block by block into tables of a handy size, whose columns are those of the first one."""

    def push(self, item: T_contra, /) -> Iterator[pl.DataFrame]:
        """Take the next samples and yield the tables that are ready."""

    def rest(self) -> Iterator[pl.DataFrame]:
        """Yield what is left at the end."""
