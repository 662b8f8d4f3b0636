"""Chunks → files, and a model's outputs → files, in the formats of ``formats/``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from gateprobe.errors import GateprobeWarning, InputError, OutputError, choices
from gateprobe.files.places import STREAM, place_of, refuse_twice
from gateprobe.files.remote import redact_url
from gateprobe.limits.system import require_room_for_tables
from gateprobe.writers.base import Format, Metadata, Output, Sink, Tables
from gateprobe.writers.formats import all_formats, table_formats, trace_formats
from gateprobe.writers.names import cell_text
from gateprobe.writers.target import Target, open_target

if TYPE_CHECKING:
    import polars as pl

    from gateprobe.traces.chunk import Layout, TraceChunk
    from gateprobe.writers.rows import Outputs

T = TypeVar("T")


def format_of(output: Output, among: Sequence[Format] | None = None) -> Format:
    """Return the format that was asked for, or that the suffix names; CSV for standard output.

    Args:
        output: What the user wants.
        among: The formats that there are; those of traces without it.

    Raises:
        OutputError: The format is unknown, it cannot go to standard output, or an option does not fit it.
    """
    found = _named(output, trace_formats() if among is None else among)
    file = redact_url(output.name)
    if output.name == STREAM and not found.streams:
        raise OutputError(f"{found.name} cannot go to standard output", remedy="use -o FILE")
    if output.layout != "tidy" and not found.tabular:
        raise OutputError(f"{found.name} holds arrays and has no layout", file=file)
    if output.compress and not found.compressible:
        fitting = " or ".join(one.name for one in all_formats() if one.compressible)
        raise OutputError(f"{found.name} cannot be compressed", file=file, remedy=f"compress {fitting}")
    return found


def _named(output: Output, among: Sequence[Format]) -> Format:
    if output.format is not None:
        named = {found.name: found for found in among}
        if output.format not in named:
            raise OutputError(f"unknown format {output.format!r}", remedy=choices(named, output.format))
        return named[output.format]
    if output.name == STREAM:
        return among[0]
    suffixes = {suffix: found for found in among for suffix in found.suffixes}
    suffix = PurePath(redact_url(output.name)).suffix.lower()
    if suffix not in suffixes:
        reason = f"unknown format {suffix!r}" if suffix else "has no suffix that names a format"
        raise OutputError(reason, file=redact_url(output.name), remedy=f"{choices(suffixes, suffix)}, or use --format")
    return suffixes[suffix]


def write(chunks: Iterable[TraceChunk], outputs: Sequence[Output], metadata: Metadata) -> None:
    """Write a run to one or several files at once; all of them appear, or none.

    Args:
        chunks: In the order of the samples.
        outputs: At least one.
        metadata: JSON-ready; goes into formats that have a place for it.

    Raises:
        OutputError: A result cannot be written.
        InputError: There are no chunks, or no recurrent layers for a table.
    """
    chosen = [format_of(output) for output in outputs]

    described = with_format(metadata)

    def begin(target: Target, output: Output, kind: Format) -> Sink[TraceChunk]:
        return kind.open_trace(target, output, described)

    _write(_signals(chunks, chosen), outputs, chosen, begin)


def with_format(metadata: Metadata) -> Metadata:
    """Return metadata that say which format they have; a table of text says nothing of its trace."""
    from gateprobe.traces.chunk import TRACE_FORMAT  # help texts need the formats and no NumPy

    if {"format", "gateprobe"} <= metadata.keys():
        return metadata
    return {"format": TRACE_FORMAT, "gateprobe": version("gateprobe"), **metadata}


def frames_of(chunks: Iterable[TraceChunk], layout: Layout = "tidy") -> Iterator[pl.DataFrame]:
    """Yield the table of a run in pieces, as CSV holds it.

    Args:
        chunks: In the order of the samples.
        layout: Of the table.

    Raises:
        InputError: There is no recurrent layer.
    """
    from gateprobe.writers.table import TableMaker

    require_room_for_tables()
    yield from _framed(_signals(chunks, trace_formats()[:1]), TableMaker(layout, cell_text))


def frames_of_predictions(blocks: Iterable[Outputs], names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the table of a model's outputs in pieces, as CSV holds it.

    Args:
        blocks: For each batch one array for each output, ``(samples, ...)``.
        names: Of the outputs.

    Raises:
        InputError: There are no numbers in them.
    """
    from gateprobe.writers.predictions import PredictionTables

    require_room_for_tables()
    yield from _framed(blocks, PredictionTables(tuple(map(cell_text, names))))


def _framed(items: Iterable[T], tables: Tables[T]) -> Iterator[pl.DataFrame]:
    for item in items:
        yield from tables.push(item)
    yield from tables.rest()


def write_predictions(
    blocks: Iterable[Outputs], names: Sequence[str], outputs: Sequence[Output], metadata: Metadata
) -> None:
    """Write a model's outputs to one or several files at once; all of them appear, or none.

    Args:
        blocks: For each batch one array for each output, ``(samples, ...)``, in the order of the samples.
        names: Of the model's outputs.
        outputs: At least one.
        metadata: JSON-ready; goes into Parquet, Arrow and HDF5.

    Raises:
        OutputError: A result cannot be written.
        InputError: There are no blocks, or no numbers in them.
    """
    if len(set(names)) < len(names):
        raise InputError(f"two outputs of the model have one name: {', '.join(names)}")
    chosen = [format_of(output, all_formats()) for output in outputs]

    def begin(target: Target, output: Output, kind: Format) -> Sink[Outputs]:
        return kind.open_outputs(target, output, names, metadata)

    _write(blocks, outputs, chosen, begin)


def write_table(frame: pl.DataFrame, outputs: Sequence[Output], metadata: Metadata) -> None:
    """Write one table to one or several files at once; all of them appear, or none.

    Args:
        frame: Its texts are names from a model, and are written as each format writes names.
        outputs: At least one.
        metadata: JSON-ready; goes into formats that have a place for it.

    Raises:
        OutputError: A result cannot be written.
    """
    tables = {found.name: found for found in table_formats()}
    chosen = [format_of(output, table_formats()) for output in outputs]

    def begin(target: Target, output: Output, kind: Format) -> Sink[pl.DataFrame]:
        from gateprobe.writers.frames import Frames

        return tables[kind.name].open_table(target, Frames(tables[kind.name].text_of), output, metadata)

    _write([frame], outputs, chosen, begin)


def _write(
    items: Iterable[T],
    outputs: Sequence[Output],
    kinds: Sequence[Format],
    begin: Callable[[Target, Output, Format], Sink[T]],
) -> None:
    """Open all outputs, write everything to each, and publish them together."""
    refuse_twice([place_of(output.name) for output in outputs])
    if any(kind.tabular for kind in kinds):
        require_room_for_tables()
    with ExitStack() as stack:
        targets = [stack.enter_context(_target(output, kind)) for output, kind in zip(outputs, kinds, strict=True)]
        sinks = [
            stack.enter_context(closing(begin(target, output, kind)))
            for target, output, kind in zip(targets, outputs, kinds, strict=True)
        ]
        _pass_on(items, sinks)
        for target in targets:
            target.publish()


@contextmanager
def _target(output: Output, kind: Format) -> Iterator[Target]:
    with open_target(output.name, force=output.force) as target:
        if not target.is_file and not kind.tabular:
            raise OutputError(f"{kind.name} needs a regular file", file=redact_url(output.name))
        yield target


def _pass_on(items: Iterable[T], sinks: Sequence[Sink[T]]) -> None:
    empty = True
    for item in items:
        empty = False
        for sink in sinks:
            sink.add(item)
    if empty:
        raise InputError("the run gave no samples")
    for sink in sinks:
        sink.finish()


def _signals(chunks: Iterable[TraceChunk], kinds: Sequence[Format]) -> Iterator[TraceChunk]:
    """Yield chunks; the first one shows whether there is anything to trace.

    A table without columns is refused; a file of arrays then holds its metadata alone.
    """
    from gateprobe.traces.chunk import LABEL  # help texts need the formats and no NumPy

    for number, chunk in enumerate(chunks):
        if number == 0 and any(LABEL in part.context for part in chunk.directions):
            for name in sorted({kind.name for kind in kinds if not kind.tabular}):
                note = f"{name} holds numbers: the tokens are left out"
                warnings.warn(note, GateprobeWarning, stacklevel=2)
        if number == 0 and not chunk.directions:
            reason = "the model has no recurrent layer"
            if any(kind.tabular for kind in kinds):
                raise InputError(f"there is nothing to write: {reason}")
            warnings.warn(f"{reason}: the trace holds its metadata alone", GateprobeWarning, stacklevel=2)
        yield chunk


__all__ = [
    "Format",
    "Metadata",
    "Output",
    "all_formats",
    "format_of",
    "frames_of",
    "frames_of_predictions",
    "table_formats",
    "trace_formats",
    "with_format",
    "write",
    "write_predictions",
    "write_table",
]
