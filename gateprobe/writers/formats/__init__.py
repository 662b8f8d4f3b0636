"""The formats, each a class in a file of its name."""

from __future__ import annotations

from importlib import import_module

from gateprobe.writers.base import Format, TableFormat

NAMES = ("csv", "tsv", "jsonl", "parquet", "arrow", "npz", "h5", "npy")
"""In the order of help and messages; each has a module here with a `Format` called ``FORMAT``."""


def all_formats() -> tuple[Format, ...]:
    """Return all formats."""
    return tuple(import_module(f"{__name__}.{name}").FORMAT for name in NAMES)


def trace_formats() -> tuple[Format, ...]:
    """Return those that can hold a trace."""
    return tuple(found for found in all_formats() if found.holds_traces)


def table_formats() -> tuple[TableFormat, ...]:
    """Return those that hold a table."""
    return tuple(found for found in all_formats() if isinstance(found, TableFormat))
