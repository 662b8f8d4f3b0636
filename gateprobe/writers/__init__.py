"""Chunks → files: csv, tsv, jsonl, parquet, arrow, npz, h5; a model's outputs → the same, and npy.

A new table is one module with an ``open_...`` function, one member of `Format` and one row in each table here; a new
file of arrays has one function for traces and one for outputs. Nothing heavy is imported before a format is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import PurePath
from typing import TypeVar, cast

from gateprobe.errors import GateprobeWarning, InputError, OutputError
from gateprobe.files.places import STREAM, place_of, refuse_twice
from gateprobe.files.remote import redact_url
from gateprobe.limits.system import require_room_for_tables
from gateprobe.traces.chunk import TraceChunk
from gateprobe.writers.base import Format, Metadata, Output, Sink
from gateprobe.writers.names import cell_text, column_text
from gateprobe.writers.rows import Outputs
from gateprobe.writers.target import Target, open_target

T = TypeVar("T")

_TABLES: Mapping[Format, tuple[str, str]] = {
    Format.CSV: ("text", "open_csv"),
    Format.TSV: ("text", "open_tsv"),
    Format.JSONL: ("text", "open_jsonl"),
    Format.PARQUET: ("columnar", "open_parquet"),
    Format.ARROW: ("columnar", "open_arrow"),
}
"""Module and function, imported when the format is used; takes target, tables and metadata."""

_TRACES: Mapping[Format, tuple[str, str]] = {Format.NPZ: ("npz", "open_npz"), Format.HDF5: ("hdf5", "open_hdf5")}
"""Likewise, of the arrays of a trace; takes target, output and metadata."""

_PREDICTIONS: Mapping[Format, tuple[str, str]] = {
    Format.NPZ: ("npz", "open_predictions"),
    Format.HDF5: ("hdf5", "open_predictions"),
    Format.NPY: ("npy", "open_predictions"),
}
"""Likewise, of a model's outputs; takes target, output, the names of the outputs and metadata."""

SUFFIXES: Mapping[str, Format] = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".npz": Format.NPZ,
    ".h5": Format.HDF5,
    ".hdf5": Format.HDF5,
}
"""Of traces."""

PREDICTION_SUFFIXES: Mapping[str, Format] = {**SUFFIXES, ".npy": Format.NPY}
"""Of a model's outputs."""


def format_of(output: Output, suffixes: Mapping[str, Format] = SUFFIXES) -> Format:
    """Return the format that was asked for, or that the suffix names; CSV for standard output.

    Args:
        output: What the user wants.
        suffixes: The formats that there are.

    Raises:
        OutputError: The suffix is unknown, the format cannot go to standard output, or an option does not fit it.
    """
    suffix = PurePath(redact_url(output.name)).suffix.lower()
    found = output.format or (Format.CSV if output.name == STREAM else suffixes.get(suffix))
    if found is None:
        reason = f"unknown format {suffix!r}" if suffix else "has no suffix that names a format"
        raise OutputError(reason, file=redact_url(output.name), remedy=f"use --format or one of {', '.join(suffixes)}")
    if output.name == STREAM and not found.streams:
        raise OutputError(f"{found.value} cannot go to standard output", remedy="use -o FILE")
    if output.layout != "tidy" and not found.tabular:
        raise OutputError(f"{found.value} holds arrays and has no layout", file=redact_url(output.name))
    if output.compress and not found.compressible:
        raise OutputError(
            f"{found.value} cannot be compressed", file=redact_url(output.name), remedy="compress npz or h5"
        )
    return found


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
    formats = [format_of(output) for output in outputs]

    def open_one(target: Target, output: Output, kind: Format) -> Sink[TraceChunk]:
        if not kind.tabular:
            return cast("Sink[TraceChunk]", _opener(_TRACES[kind])(target, output, metadata))
        from gateprobe.writers.table import TableMaker  # noqa: PLC0415 - a format like the others

        tables = TableMaker(output.layout, _text_of(kind))
        sealed = {} if output.seal is None else {"seal": output.seal}
        return cast("Sink[TraceChunk]", _opener(_TABLES[kind])(target, tables, metadata, **sealed))

    _write(_signals(chunks, formats), outputs, formats, open_one)


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
    formats = [format_of(output, PREDICTION_SUFFIXES) for output in outputs]
    keys = tuple(names)
    _check_names(keys, outputs, formats)

    def open_one(target: Target, output: Output, kind: Format) -> Sink[Outputs]:
        if not kind.tabular:
            return cast("Sink[Outputs]", _opener(_PREDICTIONS[kind])(target, output, keys, metadata))
        from gateprobe.writers.predictions import PredictionTables  # noqa: PLC0415 - a format like the others

        tables = PredictionTables(tuple(map(_text_of(kind), keys)))
        return cast("Sink[Outputs]", _opener(_TABLES[kind])(target, tables, metadata))

    _write(blocks, outputs, formats, open_one)


def _check_names(keys: tuple[str, ...], outputs: Iterable[Output], formats: Iterable[Format]) -> None:
    if len(set(keys)) < len(keys):
        raise InputError(f"two outputs of the model have one name: {', '.join(keys)}")
    for output, kind in zip(outputs, formats, strict=True):
        if kind is Format.NPY and len(keys) > 1:
            reason = f"an .npy file holds one array, and the model has the outputs {', '.join(keys)}"
            raise OutputError(reason, file=redact_url(output.name), remedy="write .npz")


def _write(
    items: Iterable[T],
    outputs: Sequence[Output],
    formats: Sequence[Format],
    open_one: Callable[[Target, Output, Format], Sink[T]],
) -> None:
    """Open all outputs, write everything to each, and publish them together."""
    refuse_twice([place_of(output.name) for output in outputs])
    if any(kind.tabular for kind in formats):
        require_room_for_tables()
    with ExitStack() as stack:
        targets = [stack.enter_context(_target(output, kind)) for output, kind in zip(outputs, formats, strict=True)]
        sinks = [
            stack.enter_context(closing(open_one(target, output, kind)))
            for target, output, kind in zip(targets, outputs, formats, strict=True)
        ]
        _pass_on(items, sinks)
        for target in targets:
            target.publish()


@contextmanager
def _target(output: Output, kind: Format) -> Iterator[Target]:
    with open_target(output.name, force=output.force) as target:
        if not target.is_file and not kind.tabular:
            raise OutputError(f"{kind.value} needs a regular file", file=redact_url(output.name))
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
    for number, chunk in enumerate(chunks):
        if number == 0 and not chunk.directions:
            reason = "the model has no recurrent layer"
            if any(kind.tabular for kind in kinds):
                raise InputError(f"there is nothing to write: {reason}")
            warnings.warn(f"{reason}: the trace holds its metadata alone", GateprobeWarning, stacklevel=2)
        yield chunk


def _opener(place: tuple[str, str]) -> Callable[..., object]:
    module, function = place
    return cast("Callable[..., object]", getattr(import_module(f"gateprobe.writers.{module}"), function))


def _text_of(kind: Format) -> Callable[[str], str]:
    """Return how a table writes a name."""
    return cell_text if kind in (Format.CSV, Format.TSV) else column_text


__all__ = [
    "PREDICTION_SUFFIXES",
    "SUFFIXES",
    "Format",
    "Metadata",
    "Output",
    "format_of",
    "write",
    "write_predictions",
]
