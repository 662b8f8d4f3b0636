"""One input file, whatever it is: ``.npy``, ``.npz``, a table, a pipe or an array of the caller's.

``.npy`` files are memory-mapped, so that inputs may be larger than memory; by URL their rows are fetched when they are
needed. Files are known by their first bytes,
whatever their suffix, Parquet and Arrow, too; only text needs one (``.csv``, ``.tsv``, ``.txt``).
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

import numpy as np
from numpy.lib.format import write_array

from gateprobe.errors import InputError, reason_of
from gateprobe.files.remote import Remote, is_url, local_path, redact_url, remote
from gateprobe.graph import Array
from gateprobe.inputs import texts as text_files
from gateprobe.inputs.array_files import NPY_MAGIC, NpzFile, RemoteRows, Rows, map_npy, parse_npy
from gateprobe.inputs.tables import read_table, read_typed_table, typed_kind
from gateprobe.readers.archive import MAGIC as ZIP_MAGIC

STDIN = "-"
"""The name of standard input."""

Shape = tuple[int | None, ...]

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_KEYED = re.compile(r"(.+)\[([^\[\]]+)\]", re.DOTALL)
_BLOCK = 1 << 20
_HEAD = len(NPY_MAGIC)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A file that is read while the program runs, and so must stay as it is."""

    path: Path
    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> Mapped:
        """Note what the file is now."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Look whether it still is.

        Raises:
            InputError: It was written to. Numbers of two versions would be mixed, and where a mapped file
                has become shorter, the system would end the program (SIGBUS).
        """
        try:
            same = Mapped.of(self.path) == self
        except OSError:
            same = True  # moved or deleted: what is mapped stays
        if not same:
            raise InputError("was changed while it was read", file=str(self.path), remedy="use a file at rest")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An array and where it comes from."""

    name: str
    """As the user wrote it; empty for an array of the caller's."""
    array: Rows
    digest: Callable[[], str]
    """Computes the sha256 of the file, or of the ``.npy`` file that holds or would hold the array. An ``.npy`` file by
    URL, which is not read as a whole, has the storage's ``version:`` of it instead."""
    mapped: Mapped | None = None
    """The file behind the array, when it is memory-mapped."""
    in_lines: bool = False
    """Whether it comes from a text table."""


def read_input(
    file: str,
    shape: Shape | None,
    limit: int,
    names: Collection[str] = (),
    *,
    texts_of: str | None = None,
    or_numbers: bool = False,
) -> dict[str, Source]:
    """Read a file.

    Args:
        file: ``FILE``, ``FILE.npz[key]`` or ``-``; FILE may be a URL.
        shape: What is expected; a table is read accordingly.
        limit: Largest size, in bytes, of what is read into memory.
        names: All that the model takes, when an ``.npz`` file may give it all at once.
        texts_of: The name of the input, when it takes texts: a text file has a sample on each line, and
            ``FILE.csv[column]`` names a column.
        or_numbers: Whether it takes numbers, too: a table that begins with these holds nothing else.

    Returns:
        One array by an empty name, or all of ``names``.

    Raises:
        InputError: The file cannot be read, or it holds several arrays.
    """
    if not file:
        raise InputError("the name of a file is empty")
    try:
        if file == STDIN:
            return {"": _from_stdin(_Wanted(shape, limit, texts_of, or_numbers))}
        if is_url(file):
            return _from_url(file, _Wanted(shape, limit, texts_of, or_numbers), names)
        path, key = _path_and_key(local_path(file))
        wanted = _Wanted(shape, limit, texts_of, or_numbers, path.suffix.lower(), key)
        if not path.is_file():
            return {"": _from_special(path, file, wanted)}
        with path.open("rb") as opened:
            magic = opened.read(len(NPY_MAGIC))
        if magic.startswith(ZIP_MAGIC):
            return _from_archive(NpzFile(path, str(path), limit), key, names)
        _refuse_key(wanted, magic, str(path))
        if magic == NPY_MAGIC:
            mapped = Mapped.of(path)
            return {"": Source(file, map_npy(path, file), partial(_file_digest, path), mapped)}
        suffixes = TEXT_SUFFIXES if texts_of is None else text_files.SUFFIXES
        if typed_kind(magic) is None and path.suffix.lower() not in suffixes:
            remedy = "a text table needs the suffix .csv or .tsv" + ("" if texts_of is None else ", a text a line .txt")
            raise InputError("is no .npy, .npz, Parquet or Arrow file", file=file, remedy=remedy)
        with path.open("rb") as opened:
            return {"": _from_stream(opened, str(path), wanted)}
    except OSError as error:
        raise InputError(reason_of(error), file=redact_url(file)) from None


def from_memory(name: str, value: object) -> Source:
    """Take an array of the caller's.

    Raises:
        InputError: It is neither one of real numbers nor one of texts.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"input {name!r} is not an array: {error}") from None
    if text_files.is_text(array) and array.size and all(isinstance(one, (str, bytes)) for one in array.flat):
        return Source("", array, partial(text_files.digest, array))
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise InputError(f"input {name!r} holds {array.dtype}", remedy="give real numbers of at most 64 bits")
    return Source("", array, partial(_array_digest, array))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a file should hold."""

    shape: Shape | None
    limit: int
    texts_of: str | None
    """The name of the input, when it takes texts."""
    or_numbers: bool = False
    """Whether it takes numbers as well."""
    suffix: str = ""
    key: str | None = None
    """What stands in brackets behind the file."""


def _from_url(file: str, wanted: _Wanted, names: Collection[str]) -> dict[str, Source]:
    """Read a file by URL, whose first bytes say what it is."""
    match = _KEYED.fullmatch(file)
    url, key = (file, None) if match is None else (match[1], match[2])
    found = remote(url)
    magic = found.read(0, min(found.size(), len(NPY_MAGIC)))
    wanted = replace(wanted, suffix=PurePosixPath(url.partition("?")[0]).suffix.lower(), key=key)
    if magic.startswith(ZIP_MAGIC):
        with found.fetched() as copy:
            return _from_archive(NpzFile(copy, found.name, wanted.limit), key, names)
    _refuse_key(wanted, magic, found.name)
    if magic == NPY_MAGIC:
        return {"": _remote_rows(found)}
    with found.fetched() as copy:
        return {"": _from_stream(copy, found.name, wanted)}


def _refuse_key(wanted: _Wanted, magic: bytes, name: str) -> None:
    """Refuse a name in brackets behind what holds one array; behind a table of texts it names a column.

    Raises:
        InputError: There is one.
    """
    if wanted.key is not None and (magic == NPY_MAGIC or wanted.texts_of is None):
        raise InputError("is no .npz file, so it has no arrays to choose from", file=name)


def _remote_rows(found: Remote) -> Source:
    version = found.version()

    def read(start: int, stop: int) -> bytes:
        try:
            data, now = found.read(start, stop), found.version()
        except OSError as error:
            raise InputError(reason_of(error), file=found.name) from None
        if now != version:
            raise InputError("was changed while it was read", file=found.name, remedy="use a file at rest")
        return data

    return Source(found.name, RemoteRows(read, found.size(), found.name), lambda: f"version:{version}")


def file_of(file: str) -> str:
    """Return the file behind ``FILE``, ``FILE.npz[key]`` or ``-``; FILE may be a URL."""
    if file == STDIN:
        return file
    if is_url(file):
        match = _KEYED.fullmatch(file)
        return file if match is None else match[1]
    return str(_path_and_key(local_path(file))[0])


def _path_and_key(file: str) -> tuple[Path, str | None]:
    """Split ``FILE[key]``, unless there is a file of that very name."""
    match = _KEYED.fullmatch(file)
    if match is None or Path(file).exists():
        return Path(file), None
    return Path(match[1]), match[2]


def _from_special(path: Path, file: str, wanted: _Wanted) -> Source:
    """Read a pipe or a device, such as the ``<(command)`` of a shell."""
    if path.is_dir():
        raise InputError("is a folder", file=file, remedy="name a file in it")
    with path.open("rb") as opened:
        return _from_stream(opened, file, wanted)


def _from_stdin(wanted: _Wanted) -> Source:
    if sys.stdin is None:
        raise InputError("is closed", file="standard input", remedy="name a file")
    return _from_stream(sys.stdin.buffer, "standard input", wanted)


def _from_archive(archive: NpzFile, key: str | None, names: Collection[str]) -> dict[str, Source]:
    keys = archive.keys
    if key is None and len(keys) > 1 and set(keys) == set(names):
        return {one: _member(archive, one) for one in keys}
    if key is None and len(keys) != 1:
        remedy = f"choose one: {archive.name}[{keys[0]}]" if keys else None
        raise InputError(f"holds {len(keys)} arrays: {', '.join(keys)}", file=archive.name, remedy=remedy)
    return {"": _member(archive, keys[0] if key is None else key)}


def _member(archive: NpzFile, key: str) -> Source:
    array = archive.read(key, texts=True)
    return Source(f"{archive.name}[{key}]", array, partial(_array_digest, array))


def _from_stream(stream: IO[bytes], name: str, wanted: _Wanted) -> Source:
    """Read a stream to its end: an ``.npy`` file or a table."""
    data = bytearray()
    while block := stream.read(_BLOCK):
        data += block
        if b"\0" in block and not data.startswith(NPY_MAGIC) and typed_kind(bytes(data[:_HEAD])) is None:
            raise InputError("is neither an .npy file nor text", file=name)
        if len(data) > wanted.limit:
            raise InputError(
                f"has more than {wanted.limit} bytes", file=name, remedy="raise the limit with --max-bytes"
            )
    held = bytes(data)
    typed = typed_kind(held)
    in_lines = typed is None and not held.startswith(NPY_MAGIC)
    if typed is not None:
        array = read_typed_table(held, typed, name, wanted.shape, wanted.limit)
    elif not in_lines:
        array = parse_npy(held, name)
    elif wanted.texts_of is not None and not (wanted.or_numbers and _are_numbers(held, wanted)):
        array = text_files.read_texts(held, name, wanted.suffix, wanted.key, wanted.texts_of)
    else:
        array = read_table(held, name, wanted.shape)
    return Source(name, array, partial(_bytes_digest, held), in_lines=in_lines)


def _are_numbers(data: bytes, wanted: _Wanted) -> bool:
    return wanted.key is None and wanted.suffix not in text_files.JSON_LINES and text_files.holds_numbers(data)


def _bytes_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _array_digest(array: Array) -> str:
    """Return the sha256 of the ``.npy`` file that `numpy.save` writes for an array."""
    hasher = _Hasher()
    write_array(cast("IO[bytes]", hasher), array, allow_pickle=False)
    return hasher.digest.hexdigest()


class _Hasher:
    """A file that forgets everything but the sha256 of what is written to it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return len(data)
