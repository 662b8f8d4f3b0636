"""Texts as samples: a line each, a column of a table, or a value of each line of JSON."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from gateprobe.errors import GateprobeError, InputError, choices
from gateprobe.graph import Array
from gateprobe.inputs.tables import is_number
from gateprobe.readers import safe_json

TABLES = {".csv": ",", ".tsv": "\t"}
"""Suffixes of tables, whose first line names the columns, and what stands between their cells."""
JSON_LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*TABLES, *JSON_LINES, ".txt")
_MAX_CELL = 1 << 27
_LOOKED_AT, _LINES = 1 << 20, 100
"""Bytes and lines by which texts are told from numbers."""


def is_text(array: Any) -> bool:
    """Whether an array holds texts: of fixed width, as bytes, or as objects."""
    return array.dtype.kind in "USOT"


def read_texts(data: bytes, name: str, suffix: str, column: str | None, wanted: str) -> Array:
    """Return the texts of a file, ``(samples,)``.

    Args:
        data: The file.
        name: What to call it in messages.
        suffix: ``.csv``, ``.tsv``, ``.jsonl``, ``.json``; any other has a sample on each line.
        column: Which column or key, if the user says it.
        wanted: The name of the input, which a column may have.

    Raises:
        InputError: It is not UTF-8, or not what its suffix says; there is no such column.
    """
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text: byte {error.start}", file=name) from None
    if suffix in TABLES:
        found = _column(text, name, TABLES[suffix], column, wanted)
    elif suffix in JSON_LINES:
        found = _values(text, name, column, wanted)
    elif column is not None:
        raise InputError("has no columns to choose from", file=name, remedy="a table needs the suffix .csv or .tsv")
    else:
        found = text.removesuffix("\n").split("\n") if text else []
    if not found:
        raise InputError("is empty", file=name)
    return as_array(found)


def holds_numbers(data: bytes) -> bool:
    """Whether a text begins as a table of numbers, perhaps below a header."""
    lines = [line for line in data[:_LOOKED_AT].decode("utf-8", "replace").split("\n")[:_LINES] if line.strip()]
    rows = lines[1:] or lines
    return bool(rows) and all(is_number(cell) for row in rows for cell in row.replace("\t", ",").split(","))


def as_array(texts: Sequence[str]) -> Array:
    """Return texts as an array of objects, so that one long text does not widen them all."""
    array: Array = np.empty(len(texts), object)
    array[:] = texts
    return array


def digest(array: Array) -> str:
    """Return the sha256 of texts: of their UTF-8, each with a line end behind it."""
    found = hashlib.sha256()
    for text in array.ravel().tolist():
        found.update(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text))
        found.update(b"\n")
    return found.hexdigest()


def _column(text: str, name: str, separator: str, column: str | None, wanted: str) -> list[str]:
    csv.field_size_limit(_MAX_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [title.strip() for title in next(rows, [])]
        at = header.index(_chosen(header, name, column, wanted))
        found = []
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                reason = f"has {len(row)} cells where the header has {len(header)}"
                raise InputError(reason, file=name, place=f"line {rows.line_num}", remedy="quote texts with commas")
            found.append(row[at])
    except csv.Error as error:
        raise InputError(f"is not a table: {error}", file=name, place=f"line {rows.line_num}") from None
    return found


def _chosen(titles: Sequence[str], name: str, column: str | None, wanted: str) -> str:
    """Return the column to read: the one that is named, that of the input's name, or the only one."""
    if column is not None and column not in titles:
        raise InputError(f"has no column {column!r}", file=name, remedy=choices(titles, column))
    if column is None and len(titles) != 1 and wanted not in titles:
        listed = ", ".join(titles[:8])
        remedy = f"choose one: {name}[{titles[0]}]" if titles else None
        raise InputError(f"has {len(titles)} columns: {listed}", file=name, remedy=remedy)
    chosen = column if column is not None else (wanted if wanted in titles else titles[0])
    if list(titles).count(chosen) > 1:
        raise InputError(f"has the column {chosen!r} twice", file=name)
    return chosen


def _values(text: str, name: str, column: str | None, wanted: str) -> list[str]:
    """Read a JSON list, or a value on each line: texts, or objects that hold them."""
    if text.lstrip().startswith("["):
        values = _json(text, name)
    else:
        values = [_json(line, f"{name}: line {n}") for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [_text(value, f"{name}: value {n}", column, wanted) for n, value in enumerate(values)]


def _text(value: Any, name: str, column: str | None, wanted: str) -> str:
    if isinstance(value, dict):
        value = value[_chosen(list(value), name, column, wanted)]
    if not isinstance(value, str):
        raise InputError(f"is {type(value).__name__} where a text belongs", file=name)
    return value


def _json(text: str, name: str) -> Any:
    try:
        return safe_json.loads(text, "")
    except GateprobeError as error:
        raise InputError(error.reason, file=name) from None
