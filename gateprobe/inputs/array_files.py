"""Reads ``.npy`` and ``.npz`` files without trusting them.

Headers are parsed by strict patterns, sizes are compared with what is really there before memory is taken, and nothing
is ever unpickled.
"""

from __future__ import annotations

import io
import math
import mmap
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from gateprobe.errors import InputError, choices
from gateprobe.graph import Array
from gateprobe.limits import expansion
from gateprobe.readers.archive import CONFIG

NPY_MAGIC = b"\x93NUMPY"

UNPACKED_LIMIT = 1 << 30
"""Largest array that is taken from an archive or a pipe into memory, in bytes; ``.npy`` files are memory-mapped."""

_HEADER_LIMIT = 10_000  # NumPy's own limit
_READ_AHEAD = 4 << 20
"""Bytes that are fetched at least: a storage takes as long for one batch."""
_FIELDS: Mapping[str, re.Pattern[str]] = {
    "descr": re.compile(r"""(["'])descr\1\s*:\s*(["'])([^"'\\]{1,20})\2"""),
    "fortran_order": re.compile(r"""(["'])fortran_order\1\s*:\s*(True|False)"""),
    "shape": re.compile(r"""(["'])shape\1\s*:\s*\(([\dL,\s]*)\)"""),
}
_SIZE = re.compile(r"\s*(\d{1,18})L?\s*")
"""One axis; Python 2 wrote an L behind large numbers."""
_TEXT = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '<U(\d{1,9})', 'fortran_order': False, 'shape': \(\), \} *\n", re.DOTALL
)
"""The header of a text, as `numpy.save` writes it."""
_TEXT_LIMIT = 64 << 20
_NUMBER = re.compile(r"[<>=|]?(?:f[248]|[iu][1248]|b1)")
_TEXTS = re.compile(r"[<>=|]?[US][1-9]\d{0,6}")


@dataclass(frozen=True, slots=True)
class Header:
    """What an ``.npy`` header says."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    """Whether the first axis varies fastest."""
    offset: int
    """Where the numbers begin."""

    @property
    def nbytes(self) -> int:
        """Size of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def filled(self, numbers: Array) -> Array:
        """Give flat numbers their shape."""
        return numbers.reshape(self.shape, order="F" if self.fortran else "C")


def map_npy(path: Path, name: str) -> Array:
    """Memory-map an ``.npy`` file.

    Args:
        path: A regular file.
        name: What to call it in messages.

    Raises:
        InputError: It is not a whole ``.npy`` file of numbers.
    """
    with path.open("rb") as file:
        header = read_header(file, name, texts=True)
    _check_size(header, path.stat().st_size - header.offset, name)
    if header.nbytes == 0:
        return np.empty(header.shape, header.dtype)
    numbers = np.memmap(path, header.dtype, "r", header.offset, (math.prod(header.shape),))
    return header.filled(numbers)


def release_pages(array: Rows) -> None:
    """Let go of what has been read of a mapped file: its pages count as memory of the program until then."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def parse_npy(data: bytes, name: str) -> Array:
    """Return the array in the bytes of an ``.npy`` file.

    Raises:
        InputError: They are not a whole ``.npy`` file of numbers.
    """
    header = read_header(io.BytesIO(data), name, texts=True)
    _check_size(header, len(data) - header.offset, name)
    return header.filled(np.frombuffer(data, header.dtype, offset=header.offset))


def read_header(file: IO[bytes], name: str, *, texts: bool = False) -> Header:
    """Read the header of an ``.npy`` file.

    Args:
        file: Its bytes.
        name: What to call it in messages.
        texts: Whether texts of fixed width are welcome, too.

    Raises:
        InputError: There is none, or it asks for something that is not an array of numbers.
    """
    if file.read(6) != NPY_MAGIC:
        raise InputError("is not an .npy file", file=name)
    version = tuple(file.read(2))
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise InputError(f"unknown .npy version {'.'.join(map(str, version))}", file=name)
    size = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(size), "little")
    if length > _HEADER_LIMIT:
        raise InputError(f"has a header of {length} bytes, which no array of numbers needs", file=name)
    text = file.read(length)
    if len(text) < length:
        raise InputError("ends within its header", file=name)
    return _parsed(
        text.decode("utf-8" if version == (3, 0) else "latin-1", "replace"), 8 + size + length, name, texts=texts
    )


def _parsed(text: str, offset: int, name: str, *, texts: bool) -> Header:
    found = {}
    left = text
    for field, pattern in _FIELDS.items():
        matches = list(pattern.finditer(text))
        if field == "descr" and not matches and "descr" in text:
            raise InputError("holds records, not numbers", file=name, remedy="save one field of them")
        if len(matches) != 1:
            raise InputError(f"has a header that does not say {field}", file=name)
        found[field] = matches[0]
        left = pattern.sub("", left)
    if left.strip(" \t\r\n\0{},"):
        raise InputError("has a header that says more than type, order and shape", file=name)
    shape = _shape(found["shape"][2], name)
    return Header(_dtype(found["descr"][3], name, texts=texts), shape, found["fortran_order"][2] == "True", offset)


def _shape(text: str, name: str) -> tuple[int, ...]:
    """Read what stands between the brackets, one size at a time: a pattern for all of it would try every split."""
    parts = text.split(",")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    sizes = [_SIZE.fullmatch(part) for part in parts] if text.strip() else []
    if not all(sizes) or (len(sizes) == 1 and "," not in text):
        raise InputError("has a header whose shape is not a tuple of sizes", file=name)
    return tuple(int(size[1]) for size in sizes if size)


def _dtype(descr: str, name: str, *, texts: bool) -> np.dtype[Any]:
    if _NUMBER.fullmatch(descr) or (texts and _TEXTS.fullmatch(descr)):
        return np.dtype(descr)
    if descr.endswith("O"):
        raise InputError("holds pickled Python objects, which are never loaded", file=name, remedy="save numbers")
    raise InputError(f"holds values of type {descr!r}", file=name, remedy="save real numbers of at most 64 bits")


def _check_size(header: Header, there: int, name: str) -> None:
    """Compare the size that the header claims with what the file has."""
    if there < header.nbytes:
        shape = header.shape
        raise InputError(f"ends early: shape {shape} needs {header.nbytes} bytes, there are {there}", file=name)
    if there > header.nbytes:
        raise InputError(f"has {there - header.nbytes} bytes behind its array", file=name, remedy="save one array")


class RemoteRows:
    """An array whose rows are fetched when they are asked for, with some more behind them.

    Args:
        read: Returns the bytes of an ``.npy`` file from one place to another.
        size: Of the file.
        name: What to call it in messages.
    """

    __slots__ = ("_fetched", "_header", "_read", "dtype", "name", "ndim", "shape")

    def __init__(self, read: Callable[[int, int], bytes], size: int, name: str) -> None:
        self._read, self.name = read, name
        self._header = header = read_header(io.BytesIO(read(0, min(size, _HEADER_LIMIT + 12))), name, texts=True)
        _check_size(header, size - header.offset, name)
        if header.fortran and len(header.shape) > 1:
            remedy = "save it with numpy.ascontiguousarray, or copy the file"
            raise InputError("is in Fortran order, so that the rows of a sample lie apart", file=name, remedy=remedy)
        self.shape, self.dtype, self.ndim = header.shape, header.dtype, len(header.shape)
        self._fetched = (0, np.empty((0, *self.shape[1:]), self.dtype))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: slice | Array) -> Array:
        """Return some rows: an ascending slice, or those of numbers."""
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            return self._rows(start, max(start, stop))
        runs = np.split(at, np.flatnonzero(np.diff(at) != 1) + 1)
        return np.concatenate([self._rows(int(run[0]), int(run[-1]) + 1) for run in runs])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all of it."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def fetch(self, start: int, stop: int) -> Array:
        """Fetch exactly these rows, to have them when they are asked for."""
        row = self._header.nbytes // max(1, len(self))
        data = self._read(self._header.offset + start * row, self._header.offset + stop * row)
        if len(data) != (stop - start) * row:
            raise InputError("ends early", file=self.name)
        rows = np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])
        self._fetched = (start, rows)
        return rows

    def _rows(self, start: int, stop: int) -> Array:
        first, held = self._fetched  # in one step: another thread may fetch other rows
        if not first <= start <= stop <= first + len(held):
            ahead = _READ_AHEAD * len(self) // max(1, self._header.nbytes)
            first, held = start, self.fetch(start, min(max(stop, start + ahead), len(self)))
        return held[start - first : stop - first]


_AS_NPY = "save the array as .npy, which is memory-mapped"

Rows: TypeAlias = "Array | RemoteRows"
"""Samples first."""


class NpzFile:
    """The arrays of an ``.npz`` file, of which only those asked for are unpacked.

    Args:
        file: The file, or its path.
        name: What to call it in messages.
        limit: Largest array to unpack, in bytes.
    """

    def __init__(self, file: Path | IO[bytes], name: str, limit: int) -> None:
        self.name = name
        self._file, self._limit = file, limit
        with self._faults(), zipfile.ZipFile(file) as archive:
            if sum(info.compress_size for info in archive.infolist()) > _size(file):
                raise InputError("the members of the zip overlap", file=name)
            self._members: dict[str, zipfile.ZipInfo] = {}
            for info in archive.infolist():
                key = info.filename.removesuffix(".npy")
                if key in self._members:
                    raise InputError(f"holds two arrays under the name {key!r}", file=name, remedy="save it again")
                self._members[key] = info
        if CONFIG in self._members:
            raise InputError("is a Keras model, not an array", file=name)
        if not any(info.filename.endswith(".npy") for info in self._members.values()):
            raise InputError("is a zip archive without an .npy file", file=name)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the arrays; ``__metadata__`` and the like are not arrays of samples."""
        return tuple(key for key in self._members if not key.startswith("__"))

    def read(self, key: str, *, texts: bool = False) -> Array:
        """Unpack one array, of texts where these are welcome.

        Raises:
            InputError: There is no such array, or it is not one of numbers, or too large.
        """
        name = f"{self.name}[{key}]"
        if key not in self._members:
            raise InputError(f"has no array {key!r}", file=self.name, remedy=choices(self.keys, key))
        info = self._members[key]
        self._check_expansion(info, name)
        if info.file_size > self._limit:
            raise InputError(
                f"unpacks to {info.file_size} bytes; the limit is {self._limit}",
                file=name,
                remedy="raise it with --max-bytes, or save the array as .npy, which is memory-mapped",
            )
        with self._faults(), zipfile.ZipFile(self._file) as archive, archive.open(info) as file:
            header = read_header(file, name, texts=texts)
            _check_size(header, info.file_size - header.offset, name)
            numbers = np.empty(math.prod(header.shape), header.dtype)
            _fill(file, numbers.view(np.uint8).data, name)
        return header.filled(numbers)

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], NpzRows]]:
        """Open the archive; what is yielded returns the rows of an array, which are unpacked as they are asked for."""
        with self._faults(), ExitStack() as stack, zipfile.ZipFile(self._file) as archive:

            def rows(key: str) -> NpzRows:
                info, name = self._members[key], f"{self.name}[{key}]"
                self._check_expansion(info, name)
                file = stack.enter_context(archive.open(info))
                header = read_header(file, name)
                _check_size(header, info.file_size - header.offset, name)
                return NpzRows(file, header, name, self._limit)

            yield rows

    def _check_expansion(self, info: zipfile.ZipInfo, name: str) -> None:
        if info.file_size > expansion.most(info.compress_size):
            raise InputError(
                f"would unpack {info.compress_size:,} stored bytes into {info.file_size:,}", file=name, remedy=_AS_NPY
            )

    def text(self, key: str) -> str | None:
        """Unpack a text, stored as an array without axes; ``None`` when there is none.

        Raises:
            InputError: It is something else, or too large.
        """
        info = self._members.get(key)
        if info is None:
            return None
        if info.file_size > _TEXT_LIMIT:
            raise InputError(f"holds a text of {info.file_size:,} bytes", file=f"{self.name}[{key}]")
        with self._faults(), zipfile.ZipFile(self._file) as archive:
            data = archive.read(info)
        match = _TEXT.match(data)
        if match is None or len(data) != match.end() + 4 * int(match[1]):
            raise InputError("is not one text", file=f"{self.name}[{key}]")
        return data[match.end() :].decode("utf-32-le", "replace").rstrip("\0")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what the zip module raises for broken, encrypted or exotic archives into one kind of error."""
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise InputError(f"is not a readable .npz file: {error}", file=self.name) from None


class NpzRows:
    """An array in an open archive, whose rows are unpacked one after the other."""

    __slots__ = ("_file", "_header", "_limit", "_name", "_next", "_whole", "dtype", "shape")

    def __init__(self, file: IO[bytes], header: Header, name: str, limit: int) -> None:
        self._file, self._header, self._name, self._limit = file, header, name, limit
        self.shape, self.dtype = header.shape, header.dtype.newbyteorder("=")
        self._next = 0
        self._whole: Array | None = None

    def take(self, start: int, stop: int) -> Array:
        """Return the next rows.

        Raises:
            InputError: The archive is damaged, or the rows do not lie one after the other and are too large.
        """
        assert start == self._next, "rows are unpacked in their order"
        self._next = stop
        if self._header.fortran and len(self.shape) > 1:
            return self._turned()[start:stop]
        rows = np.empty((stop - start, *self.shape[1:]), self._header.dtype)
        _fill(self._file, rows.reshape(-1).view(np.uint8).data, self._name, last=stop == self.shape[0])
        return rows.astype(self.dtype, copy=False)

    def _turned(self) -> Array:
        """Return the whole of an array of which no row lies together."""
        if self._whole is None:
            if self._header.nbytes > self._limit:
                raise InputError(f"needs {self._header.nbytes:,} bytes; the limit is {self._limit:,}", file=self._name)
            flat = np.empty(math.prod(self.shape), self._header.dtype)
            _fill(self._file, flat.view(np.uint8).data, self._name)
            self._whole = np.ascontiguousarray(self._header.filled(flat), self.dtype)
        return self._whole


def _size(file: Path | IO[bytes]) -> int:
    """Return the size of a file in bytes."""
    return file.stat().st_size if isinstance(file, Path) else file.seek(0, io.SEEK_END)


def _fill(file: IO[bytes], memory: memoryview, name: str, *, last: bool = True) -> None:
    """Read until ``memory`` is full; the archive checks its sum at the end, if these are the last bytes."""
    while memory:
        block = file.read(min(len(memory), 1 << 20))
        if not block:
            raise InputError("ends early", file=name)
        memory[: len(block)] = block
        memory = memory[len(block) :]
    if last:
        file.read(1)
