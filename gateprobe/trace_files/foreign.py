"""Traces of any program: ours in all formats, and tables and arrays whose names say what they hold.

Nothing in a name has to be exact: see `gateprobe.trace_files.names`. What a file does not say, such as the layer, is
left open here; the comparison knows the model.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import InputError, ReadError
from gateprobe.files.remote import is_url, local_path
from gateprobe.graph import Array
from gateprobe.inputs.array_files import NPY_MAGIC, NpzFile, map_npy
from gateprobe.inputs.files import from_memory
from gateprobe.inputs.tables import TYPED
from gateprobe.readers.archive import MAGIC as ZIP_MAGIC
from gateprobe.readers.hdf5 import MAGIC as HDF5_MAGIC
from gateprobe.trace_files.foreign_tables import read_text_table, read_typed_table
from gateprobe.trace_files.load import DEFAULT_MAX_BYTES, blamed, load
from gateprobe.trace_files.names import Named, check_mapping, left_out, nameless, read_name, settled
from gateprobe.trace_files.recognised import is_trace
from gateprobe.traces.chunk import TraceChunk
from gateprobe.traces.foreign import Foreign, Form, Written

_TABLES = {**TYPED, b'{"': "jsonl"}
_HEAD = 16


def read_foreign(name: str, mapping: Mapping[str, str] | None = None, max_bytes: int | None = None) -> Foreign:
    """Read the numbers of a program.

    Args:
        name: A trace of ours in any format; CSV, TSV, NPZ or NPY of another program.
        mapping: The file's words → ours, see `gateprobe.trace_files.names.read_mapping`.
        max_bytes: Limit for what is read into memory; 4 GiB without it.

    Raises:
        ReadError: It is no such file, or it is damaged; its names say nothing, or contradict each other.
        UnsafeFile: It would need more memory than the limit.
    """
    limit = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
    mapping = mapping or {}
    with blamed(name):
        return _found(name, mapping, limit)


def _found(name: str, mapping: Mapping[str, str], limit: int) -> Foreign:
    if is_url(name):
        raise ReadError("is a URL", remedy="copy the file to this machine and read the copy")
    path = Path(local_path(name))
    if path.is_dir():
        return of_chunk(load(name, limit)[0], name)
    if not path.exists():
        raise ReadError("there is no such file")
    return _read(path, name, mapping, limit)


def is_foreign(name: str) -> bool:
    """Whether a file is numbers, of ours or of another program, and no model; false where there is none."""
    if is_trace(name):
        return True
    with suppress(OSError, ValueError, zipfile.BadZipFile):
        path = Path(local_path(name))
        if is_url(name) or not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(ZIP_MAGIC):
            with zipfile.ZipFile(path) as archive:
                return all(member.endswith(".npy") for member in archive.namelist())
        text = not head.startswith(HDF5_MAGIC) and b"\0" not in head
        return head.startswith((NPY_MAGIC, *_TABLES)) or (text and not head.lstrip().startswith((b"{", b"[")))
    return False


def _read(path: Path, name: str, mapping: Mapping[str, str], limit: int) -> Foreign:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(NPY_MAGIC):
        return Foreign(name, (_array("", Named("hidden_state"), map_npy(path, name)),))
    if head.startswith(ZIP_MAGIC) and not is_trace(name):
        return _archive(NpzFile(path, name, limit), name, mapping)
    for magic, kind in _TABLES.items():
        if head.startswith(magic):
            return read_typed_table(path, kind, name, mapping, limit)
    if head.startswith((HDF5_MAGIC, ZIP_MAGIC)):
        return of_chunk(load(name, limit)[0], name)
    return read_text_table(path, name, mapping, limit)


def of_chunk(chunk: TraceChunk, name: str) -> Foreign:
    """Return a trace of ours as what it says."""
    written = []
    for part in chunk.directions:
        for signal, value in part.signals.items():
            flat = np.asarray(value, np.float64).reshape(*value.shape[:2], -1)
            written.append(
                Written(
                    f"{part.layer}/{part.direction}/{signal}", part.layer, part.direction, signal, flat,
                    np.ones(flat.shape, bool), _stored_slack(value).reshape(flat.shape), samples=chunk.samples,
                    timesteps=part.timesteps, units=part.units, backwards=part.backwards, mask=part.mask,
                    half=value.dtype == np.float16,
                )
            )  # fmt: skip
    return Foreign(name, tuple(written))


def _stored_slack(value: Array) -> Array:
    """Return half of the last place of what is stored as float16."""
    if value.dtype != np.float16:
        return np.zeros(value.shape)
    with np.errstate(invalid="ignore"):
        spacing: Array = np.nan_to_num(np.spacing(np.abs(value)).astype(np.float64)) / 2
    return spacing


def _archive(archive: NpzFile, name: str, mapping: Mapping[str, str]) -> Foreign:
    return _named_arrays(dict.fromkeys(archive.keys), archive.read, name, mapping)


def of_arrays(arrays: Mapping[str, object], name: str, mapping: Mapping[str, str] | None = None) -> Foreign:
    """Take arrays of the caller's, by names such as an NPZ file has.

    Raises:
        InputError: The names say nothing, or an array is none of numbers.
    """
    try:
        return _named_arrays(arrays, lambda key: from_memory(key, arrays[key]).array, name, mapping or {})
    except ReadError as error:
        raise InputError(error.reason, file=error.file, remedy=error.remedy) from None


def of_array(value: object, name: str) -> Foreign:
    """Take one array of the caller's for hidden states."""
    array = from_memory("hidden_state", value).array
    return Foreign(name, (_array("", Named("hidden_state"), np.asarray(array)),))


def _named_arrays(keys: Iterable[str], read: Callable[[str], Any], name: str, mapping: Mapping[str, str]) -> Foreign:
    keys = list(keys)
    found = {key: read_name(key, mapping) for key in keys}
    if len(keys) == 1 and not any(found.values()):
        found = {keys[0]: Named("hidden_state")}
    check_mapping(mapping, keys)
    unknown = [key for key, named in found.items() if named is None and key.rpartition("/")[2] != "mask"]
    if not any(found.values()):
        raise nameless(unknown)
    written = [_array(key, named, np.asarray(read(key))) for key, named in found.items() if named is not None]
    return Foreign(name, tuple(settled(_joined(written))), left_out(unknown))


def _array(key: str, named: Named, value: Array) -> Written:
    """Take an array of one signal, or of one unit of one."""
    if value.dtype.kind not in "fiu" or value.ndim > 3 or value.ndim == 0 or not value.size:
        raise ReadError(
            f"holds {value.dtype} of shape {value.shape}", place=key or None,
            remedy="give (samples, timesteps, units), (timesteps, units) or (samples, units)",
        )  # fmt: skip
    half = value.dtype == np.float16
    slack = _stored_slack(np.asarray(value))
    full = np.asarray(value, np.float64)
    form: Form = "sequences" if value.ndim == 3 else "rows"
    if value.ndim == 1:
        shape = (1, -1, 1) if named.unit is not None else (1, 1, -1)
    else:
        shape = (1, *value.shape) if value.ndim == 2 else value.shape
    units = None if named.unit is None else np.array([named.unit])
    full = full.reshape(shape)
    return Written(
        key or named.signal, named.layer, named.direction, named.signal, full, np.ones(full.shape, bool),
        slack.reshape(shape), form, units=units, half=half,
    )  # fmt: skip


def _joined(written: Sequence[Written]) -> Iterator[Written]:
    """Put the arrays of single units together."""
    groups: dict[tuple[object, ...], list[Written]] = {}
    for one in written:
        key = (one.layer, one.direction, one.signal, one.units is None)
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        first = group[0]
        if len(group) > 1 and (first.units is None or len({one.values.shape for one in group}) > 1):
            raise _twice(first.signal, [one.label for one in group])
        if first.units is None:
            yield first
            continue
        numbers = [int(one.units[0]) for one in group if one.units is not None]
        if len(set(numbers)) < len(numbers):
            raise _twice(first.signal, [one.label for one in group])
        order = np.argsort(numbers)
        values, there, slack = (
            np.concatenate([getattr(group[n], part) for n in order], -1) for part in ("values", "there", "slack")
        )
        units = np.array(numbers)[order]
        yield replace(first, label=first.signal, values=values, there=there, slack=slack, units=units)


def _twice(signal: str, labels: Sequence[str]) -> ReadError:
    listed = ", ".join(labels[:4])
    return ReadError(f"{listed} all mean {signal}", remedy="say what they are with --map THEIRS=OURS")
