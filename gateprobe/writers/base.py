"""What a format is, and what writes a file of it.

Help texts ask formats for their names and suffixes, so nothing here or in ``formats/`` imports NumPy, Polars or h5py
before a file is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

from gateprobe.writers.names import cell_text, column_text

if TYPE_CHECKING:
    import polars as pl

    from gateprobe.traces.chunk import Layout, TraceChunk
    from gateprobe.writers.rows import Outputs
    from gateprobe.writers.seal import Seal
    from gateprobe.writers.target import Target

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
"""What comes block by block: the `TraceChunk` of a trace, or one array for each output of a model."""

Metadata: TypeAlias = Mapping[str, Any]
"""JSON-ready: where a trace comes from."""


@dataclass(frozen=True, slots=True)
class Output:
    """One result that the user wants."""

    name: str
    """A file, or ``-`` for standard output."""
    format: str | None = None
    """The name of one; from the suffix when it is not given."""
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


class Format(ABC):
    """A format, and everything about it: a class in ``formats/``."""

    name: ClassVar[str]
    """As ``--format`` takes it."""
    title: ClassVar[str]
    """What it is, for the completion of ``--format``."""
    suffixes: ClassVar[tuple[str, ...]]
    """Of its files; help shows the first one."""
    tabular: ClassVar[bool] = False
    """Whether it holds a table, which has a ``--layout``."""
    compressible: ClassVar[bool] = False
    """Whether ``--compress`` compresses it."""
    described: ClassVar[bool] = False
    """Whether it has a place for metadata."""
    streams: ClassVar[bool] = False
    """Whether it can go to standard output."""
    holds_traces: ClassVar[bool] = True
    """Whether a trace fits into it; a model's outputs do always."""

    @abstractmethod
    def open_trace(self, target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
        """Begin a file with a trace."""

    @abstractmethod
    def open_outputs(self, target: Target, output: Output, names: Sequence[str], metadata: Metadata) -> Sink[Outputs]:
        """Begin a file with a model's outputs, which have these names."""


class TableFormat(Format):
    """A format that holds a table; only `open_table` is its own."""

    tabular = True
    literal: ClassVar[bool] = True
    """Whether names can hold any character, and programs take none of them for a formula."""

    @abstractmethod
    def open_table(self, target: Target, tables: Tables[T], output: Output, metadata: Metadata) -> Sink[T]:
        """Begin a file with the tables that are made of what comes."""

    def open_trace(self, target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
        """Begin a table of a trace."""
        from gateprobe.writers.table import TableMaker

        return self.open_table(target, TableMaker(output.layout, self.text_of), output, metadata)

    def open_outputs(self, target: Target, output: Output, names: Sequence[str], metadata: Metadata) -> Sink[Outputs]:
        """Begin a table of a model's outputs."""
        from gateprobe.writers.predictions import PredictionTables

        return self.open_table(target, PredictionTables(tuple(map(self.text_of, names))), output, metadata)

    def text_of(self, name: str) -> str:
        """Return a name as it stands in the table."""
        return column_text(name) if self.literal else cell_text(name)
