"""Chunks → files: csv, tsv, jsonl, parquet, arrow, npz, h5.

A new format is one module with an ``open_...`` function, one member of `Format` and one row in each table here.
Nothing heavy is imported before a format is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import PurePath
from typing import cast

from gateprobe.chunk import TraceChunk
from gateprobe.errors import GateprobeWarning, InputError, OutputError
from gateprobe.graph import Array
from gateprobe.remote import shown
from gateprobe.writers.base import Format, Metadata, OpenSink, Output, Sink
from gateprobe.writers.target import STDOUT, Target, open_target

_OPENERS: Mapping[Format, tuple[str, str]] = {
    Format.CSV: ("text", "open_csv"),
    Format.TSV: ("text", "open_tsv"),
    Format.JSONL: ("text", "open_jsonl"),
    Format.PARQUET: ("columnar", "open_parquet"),
    Format.ARROW: ("columnar", "open_arrow"),
    Format.NPZ: ("npz", "open_npz"),
    Format.HDF5: ("hdf5", "open_hdf5"),
}
"""Module and function, imported when the format is used."""

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


def format_of(output: Output) -> Format:
    """Return the format that was asked for, or that the suffix names; CSV for standard output.

    Raises:
        OutputError: The suffix is unknown, the format cannot go to standard output, or an option does not fit it.
    """
    suffix = PurePath(shown(output.name)).suffix.lower()
    found = output.format or (Format.CSV if output.name == STDOUT else SUFFIXES.get(suffix))
    if found is None:
        known = ", ".join(SUFFIXES)
        raise OutputError(
            f"unknown format {suffix!r}", file=shown(output.name), remedy=f"use --format or one of {known}"
        )
    if output.name == STDOUT and not found.streams:
        raise OutputError(f"{found.value} cannot go to standard output", remedy="use -o FILE")
    if output.layout != "tidy" and not found.tabular:
        raise OutputError(f"{found.value} holds arrays and has no layout", file=shown(output.name))
    if output.compress and found.tabular:
        raise OutputError(f"{found.value} cannot be compressed", file=shown(output.name), remedy="compress npz or h5")
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
    _refuse_twice(outputs)
    with ExitStack() as stack:
        targets = [stack.enter_context(_target(output, kind)) for output, kind in zip(outputs, formats, strict=True)]
        sinks = [
            stack.enter_context(closing(_opener(kind)(target, output, metadata)))
            for kind, target, output in zip(formats, targets, outputs, strict=True)
        ]
        _pass_on(chunks, sinks, formats)
        for target in targets:
            target.publish()


def predictions(
    blocks: Iterable[tuple[Array, ...]],
    keys: tuple[str, ...],
    name: str,
    *,
    compress: bool = False,
    force: bool = False,
) -> None:
    """Write a model's outputs as NPZ, one array for each.

    Args:
        blocks: For each batch one array for each output, ``(samples, ...)``.
        keys: The names of the outputs.
        name: The file.
        compress: Whether to deflate the arrays.
        force: Whether an existing file may be replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    from gateprobe.writers.npz import write_predictions  # noqa: PLC0415 - a format like the others

    output = Output(name, Format.NPZ, force=force)
    with _target(output, format_of(output)) as target:
        write_predictions(keys, blocks, target, compress=compress)
        target.publish()


@contextmanager
def _target(output: Output, kind: Format) -> Iterator[Target]:
    with open_target(output.name, force=output.force) as target:
        if not target.is_file and not kind.tabular:
            raise OutputError(f"{kind.value} needs a regular file", file=shown(output.name))
        yield target


def _pass_on(chunks: Iterable[TraceChunk], sinks: Sequence[Sink], kinds: Sequence[Format]) -> None:
    empty = True
    for chunk in chunks:
        if not chunk.directions and empty:
            _without_signals(kinds)
        empty = False
        for sink in sinks:
            sink.add(chunk)
    if empty:
        raise InputError("the run gave no samples")
    for sink in sinks:
        sink.finish()


def _without_signals(kinds: Iterable[Format]) -> None:
    """Refuse a table without columns; a file of arrays then holds its metadata alone."""
    reason = "the model has no recurrent layer"
    if any(kind.tabular for kind in kinds):
        raise InputError(f"there is nothing to write: {reason}")
    warnings.warn(f"{reason}: the trace holds its metadata alone", GateprobeWarning, stacklevel=2)


def _opener(kind: Format) -> OpenSink:
    module, function = _OPENERS[kind]
    return cast("OpenSink", getattr(import_module(f"gateprobe.writers.{module}"), function))


def _refuse_twice(outputs: Sequence[Output]) -> None:
    seen: set[str] = set()
    for output in outputs:
        if output.name in seen:
            raise OutputError("named twice as an output", file=shown(output.name))
        seen.add(output.name)


__all__ = ["STDOUT", "SUFFIXES", "Format", "Metadata", "Output", "format_of", "predictions", "write"]
