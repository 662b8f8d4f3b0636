"""Weights → files: arrays by name in NPZ and HDF5, a table in CSV, nested lists in JSON.

Weights are in memory as a whole, and so is the file until it is written.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np

from gateprobe.errors import OutputError, choices
from gateprobe.files.places import STREAM, place_of, refuse_twice
from gateprobe.files.remote import redact_url
from gateprobe.graph import Array
from gateprobe.writers.archive import open_member
from gateprobe.writers.base import Metadata
from gateprobe.writers.names import archive_key, cell_text, column_text
from gateprobe.writers.target import write_files

Names: TypeAlias = tuple[str, str, str, str]
"""Layer, direction, gate (empty for all gates together) and weight."""
Arrays: TypeAlias = Sequence[tuple[Names, Array]]

METADATA_KEY = "__weights__"
"""The name of the metadata, a JSON text: where the weights come from."""


def write_weights(arrays: Arrays, names: Sequence[str], metadata: Metadata, *, form: str | None, force: bool) -> None:
    """Write weights to one or several files; all of them appear, or none.

    Args:
        arrays: At least one.
        names: Of the files, or ``-`` for standard output.
        metadata: JSON-ready; goes into all but CSV.
        form: One of `FORMATS`, in place of that of the suffix.
        force: Whether existing files may be replaced.

    Raises:
        OutputError: A format is unknown, or a file cannot be written.
    """
    makers = [FORMATS[format_of(name, form)] for name in names]
    refuse_twice([place_of(name) for name in names])
    write_files({name: make(arrays, metadata) for name, make in zip(names, makers, strict=True)}, force=force)


def format_of(name: str, form: str | None) -> str:
    """Return the format that was asked for, or that the suffix names; JSON for standard output.

    Raises:
        OutputError: There is no such format, or it cannot go to standard output.
    """
    suffix = PurePath(redact_url(name)).suffix.lower().lstrip(".")
    found = form or ("json" if name == STREAM else _SUFFIXES.get(suffix, suffix))
    if found not in FORMATS:
        reason = f"unknown format {found!r}" if found else "has no suffix that names a format"
        raise OutputError(reason, file=redact_url(name), remedy=choices(FORMATS, found))
    if name == STREAM and found not in ("csv", "json"):
        raise OutputError(f"{found} cannot go to standard output", remedy="use -o FILE")
    return found


_SUFFIXES = {"hdf5": "h5"}


def _key(names: Names) -> str:
    return archive_key("/".join(filter(None, names)))


def _npz(arrays: Arrays, metadata: Metadata) -> bytes:
    buffer = io.BytesIO()
    described = np.array(json.dumps(dict(metadata)))
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, value in [*((_key(names), value) for names, value in arrays), (METADATA_KEY, described)]:
            with open_member(archive, key, value.nbytes) as member:
                np.lib.format.write_array(member, np.asarray(value, order="C"), allow_pickle=False)
    return buffer.getvalue()


def _hdf5(arrays: Arrays, metadata: Metadata) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for names, value in arrays:
            file.create_dataset(_key(names), data=value)
        file.attrs[METADATA_KEY] = json.dumps(dict(metadata))
    return buffer.getvalue()


def _csv(arrays: Arrays, metadata: Metadata) -> bytes:
    """Make a row for each number; ``row`` is empty for vectors, further axes of images are numbered through by it."""
    import polars as pl

    frames = []
    for names, value in arrays:
        rows = value.reshape(-1, value.shape[-1])
        row, column = np.indices(rows.shape).reshape(2, -1)
        texts = dict(zip(("layer", "direction", "gate", "weight"), map(cell_text, names), strict=True))
        numbers = {"row": row, "column": column, "value": rows.ravel()}
        frame = pl.DataFrame(numbers).select(
            *(pl.lit(text or None, pl.String).alias(n) for n, text in texts.items()), pl.all()
        )
        frames.append(frame.with_columns(row=pl.lit(None, pl.Int64)) if value.ndim == 1 else frame)
    return pl.concat(frames, how="vertical_relaxed").write_csv(line_terminator="\n").encode()


def _json(arrays: Arrays, metadata: Metadata) -> bytes:
    """Make one object: the key of each array → nested lists; NaN and infinities are texts, as in JSON lines."""
    whole: dict[str, Any] = {METADATA_KEY: dict(metadata)}
    whole |= {column_text("/".join(filter(None, names))): _lists(value) for names, value in arrays}
    return (json.dumps(whole, allow_nan=False) + "\n").encode()


def _lists(value: Array) -> Any:
    """Return nested lists of the shortest numbers that read back exactly."""
    if np.isfinite(value).all():
        return value.astype(np.str_).astype(np.float64).tolist()
    odd = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    flat = [odd.get(text) or float(text) for text in value.astype(np.str_).ravel().tolist()]
    return np.array(flat, dtype=object).reshape(value.shape).tolist()


FORMATS: Mapping[str, Callable[[Arrays, Metadata], bytes]] = {"npz": _npz, "h5": _hdf5, "csv": _csv, "json": _json}
"""Name → what makes a file."""
