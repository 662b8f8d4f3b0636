"""HDF5 from an untrusted file: plain groups, plain attributes, plain arrays, and nothing else.

An HDF5 file can point at other files (external and soft links, external storage, virtual datasets), name filter
plugins, and declare arrays far larger than itself. Keras writes none of that, so all of it is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard

import numpy as np

from gateprobe.errors import GateprobeError, ReadError, UnsafeFile
from gateprobe.graph import WeightArray, freeze
from gateprobe.limits import expansion
from gateprobe.readers.contradictions import Addresses
from gateprobe.readers.heaps import check_heaps
from gateprobe.readers.raw_text import declared_text_bytes

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
DEFAULT_MAX_BYTES = 4 << 30
MAX_ATTRIBUTE_BYTES = 256 << 20
MAX_CHUNKED_ATTRIBUTES = 10_000
MAX_DIMENSIONS = 16

_FAULTS = (OSError, LookupError, ValueError, RuntimeError, TypeError, ArithmeticError, AttributeError)
"""What h5py raises on damaged files, by experience and by its sources."""
_STREAMS: ContextVar[Mapping[int, BinaryIO]] = ContextVar("streams", default=MappingProxyType({}))
"""The bytes of the files that are open, by HDF5's file number."""
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}


@cache
def library() -> Any:
    """Return h5py, imported only when a file is read: `import gateprobe` must stay cheap."""
    import h5py  # noqa: PLC0415 -- see above

    return h5py


def is_array(value: Any) -> TypeGuard[h5py.Dataset]:
    """Tell whether an HDF5 object is an array."""
    return isinstance(value, library().Dataset)


def is_group(value: Any) -> TypeGuard[h5py.Group]:
    """Tell whether an HDF5 object is a group."""
    return isinstance(value, library().Group)


@dataclass(slots=True)
class Budget:
    """How many bytes of arrays may still be read."""

    limit: int
    stored: int | None = None
    """Bytes of the files, see `gateprobe.limits.expansion`; ``None`` where it is unknown."""
    used: int = field(default=0)
    addresses: dict[int, Addresses] = field(default_factory=dict)
    """Of the arrays that were read, by HDF5's file number."""

    def spend(self, size: int, place: str) -> None:
        """Take ``size`` bytes out of the budget before they are allocated."""
        self.used += size
        if self.stored is not None and self.used > expansion.most(self.stored):
            raise UnsafeFile(
                f"the file would unpack {self.stored:,} stored bytes into {self.used:,} or more", place=place
            )
        if self.used > self.limit:
            raise UnsafeFile(
                f"the arrays up to this one need {self.used:,} bytes; the limit is {self.limit:,}",
                place=place,
                remedy="if the file is trustworthy, read it with a higher max_bytes",
            )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into one line."""
    try:
        yield
    except GateprobeError:
        raise
    except MemoryError:
        raise ReadError(f"{what} needs more memory than there is") from None
    except _FAULTS as error:
        first = (str(error).splitlines() or [""])[0][:200]
        cause = re.search(r"\((.*)\)", first)  # h5py: "Unable to synchronously open file (the actual cause)"
        raise ReadError(f"{what} is damaged or truncated: {cause[1] if cause else first}") from None


@contextmanager
def opened(stream: BinaryIO, what: str = "the HDF5 file") -> Iterator[h5py.File]:
    """Open HDF5 for reading, from bytes and never by name, so that no other file is in reach of a relative path."""
    with translated(what):
        check_heaps(stream, what)
        stream.seek(0)
        with library().File(stream, "r") as file:
            token = _STREAMS.set({**_STREAMS.get(), _object(file).fileno: stream})
            try:
                yield file
            finally:
                _STREAMS.reset(token)


def _object(owner: h5py.Group) -> Any:
    """Return the file number and the address of an object."""
    return library().h5o.get_info(owner.id)


def _number_of_file(owner: h5py.Dataset) -> int:
    """Return the number of the file that an object is in, without asking when only one file is open."""
    numbers = list(_STREAMS.get())
    number: int = numbers[0] if len(numbers) == 1 else _object(owner).fileno
    return number


def find_magic(stream: BinaryIO, size: int) -> bool:
    """Tell whether HDF5 starts at 0 or behind a user block, which ends at 512, 1024, 2048, ... bytes."""
    return superblock(stream, size) is not None


def superblock(stream: BinaryIO, size: int) -> int | None:
    """Return where HDF5 starts: at 0 or behind a user block; ``None`` when it does nowhere."""
    offset = 0
    while offset + len(MAGIC) <= size:
        stream.seek(offset)
        if stream.read(len(MAGIC)) == MAGIC:
            return offset
        offset = offset * 2 or 512
    return None


def child_names(group: h5py.Group) -> list[str]:
    """Return the names of the links in a group, in the file's order."""
    names = list(group)
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise ReadError("a name is not UTF-8 text", place=f"{group.name}/{name!a}") from None
    return names


def member(parent: h5py.Group, path: str, known: dict[str, Any] | None = None) -> h5py.Group | h5py.Dataset | None:
    """Follow a path of plain links, or return ``None`` when it leads nowhere.

    Args:
        parent: Where the path begins.
        path: Names between slashes.
        known: What earlier paths from the same place have led to; is added to.

    Raises:
        UnsafeFile: A link on the way is soft or external, or the path leaves ``parent``.
    """
    h5py, known = library(), {} if known is None else known
    current: Any = parent.id
    *groups, last = path.split("/")
    for end, part in enumerate((*groups, last), 1):
        if part in ("", ".", ".."):
            raise UnsafeFile(f"the name {path!r} leads out of its group", place=parent.name)
        place = "/".join(groups[:end]) if end <= len(groups) else None
        found = known.get(place) if place else None
        current = _follow(current, part) if found is None else found
        if current is None:
            return None
        if place:
            known[place] = current
    if isinstance(current, h5py.h5t.TypeID):
        raise UnsafeFile("is a committed datatype, which Keras never writes", place=_name(current))
    return h5py.Group(current) if isinstance(current, h5py.h5g.GroupID) else h5py.Dataset(current)


def _follow(group: Any, part: str) -> Any:
    """Open what a plain link in a group leads to; ``None`` where there is none."""
    h5py, name = library(), part.encode()
    if not isinstance(group, h5py.h5g.GroupID) or not group.links.exists(name):
        return None
    kind = group.links.get_info(name).type
    if kind != h5py.h5l.TYPE_HARD:
        what = _LINKS.get(kind, "link of another program")
        raise UnsafeFile(f"is a {what}, which Keras never writes", place=f"{_name(group)}/{part}")
    return h5py.h5o.open(group, name)


_LINKS = {1: "soft link", 64: "link to another file"}
"""By HDF5's own numbers, ``H5L_TYPE_SOFT`` and ``H5L_TYPE_EXTERNAL``."""


def _name(found: Any) -> str:
    return (library().h5i.get_name(found) or b"").decode("utf-8", "replace")


def group(parent: h5py.Group, path: str) -> h5py.Group | None:
    """Return the group at a path, ``None`` when there is none; a dataset there is a fault."""
    found = member(parent, path)
    if is_array(found):
        raise ReadError("is an array where a group belongs", place=found.name)
    return found


def text_attribute(owner: h5py.Group, name: str) -> str | None:
    """Return a text attribute, stored as ``bytes`` or ``str``; ``None`` when it is missing."""
    h5py = library()
    if name not in owner.attrs:
        return None
    place = f"attribute {name}"
    check_text(owner, name, place)
    value = owner.attrs[name]
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise ReadError(f"holds {value.size} texts where one belongs", place=place)
        value = value.reshape(-1)[0]
    return _text(value, place)


def name_list(owner: h5py.Group, name: str) -> list[str] | None:
    """Return a list of names, which Keras splits into ``name0``, ``name1``, ... when it exceeds 64 KB.

    Source: ``save_attributes_to_hdf5_group`` in ``keras/engine/saving.py`` 2.2.4 and
    ``keras/src/legacy/saving/legacy_h5_format.py`` 3.15.1.
    """
    if name in owner.attrs:
        return _names(owner, name)
    if f"{name}0" not in owner.attrs:
        return None
    names: list[str] = []
    for number in range(MAX_CHUNKED_ATTRIBUTES):
        if f"{name}{number}" not in owner.attrs:
            return names
        names.extend(_names(owner, f"{name}{number}"))
    raise UnsafeFile(f"the list is split into more than {MAX_CHUNKED_ATTRIBUTES} parts", place=f"attribute {name}")


def _names(owner: h5py.Group, name: str) -> list[str]:
    place = f"{owner.name}: attribute {name}"
    attribute = _attribute(owner, name)
    if math.prod(attribute.shape) == 0:  # an empty list is stored as an empty array of floats
        return []
    _check_text(owner, name, attribute, place)
    value = np.atleast_1d(owner.attrs[name])
    if value.ndim != 1:
        raise ReadError("is not a list of names", place=place)
    return [_text(item, place) for item in value]


def _attribute(owner: h5py.Group, name: str) -> Any:
    return library().h5a.open(owner.id, name.encode("utf-8"))


def check_text(owner: h5py.Group, name: str, place: str) -> None:
    """Refuse an attribute that is not text, or too much of it, before reading it."""
    _check_text(owner, name, _attribute(owner, name), place)


def _check_text(owner: h5py.Group, name: str, attribute: Any, place: str) -> None:
    h5py = library()
    kind = attribute.get_type()
    if kind.committed():
        raise UnsafeFile("has a committed datatype, which Keras never writes", place=place)
    if kind.get_class() != h5py.h5t.STRING:
        raise ReadError("is not text", place=place)
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return
    size = attribute.get_storage_size()
    if kind.is_variable_str():
        header = _object(owner)
        stream = _STREAMS.get().get(header.fileno)
        known = stream and declared_text_bytes(stream, owner.file.userblock_size, header.addr, name)
        size += known or 0
    if math.prod(attribute.shape) and size > MAX_ATTRIBUTE_BYTES:
        raise UnsafeFile(f"{size:,} bytes of text", place=place)


def _text(value: Any, place: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReadError(f"is not UTF-8 text: {error.reason} at byte {error.start}", place=place) from None
    if not isinstance(value, str):
        raise ReadError(f"is not text but {type(value).__name__}", place=place)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ReadError("is not UTF-8 text", place=place) from None
    return value


def array(dataset: h5py.Dataset, budget: Budget) -> WeightArray:
    """Read one array of weights, read-only and in native byte order.

    Args:
        dataset: Floats of any size and byte order; bfloat16 as Keras stores it; a single integer (counters).
        budget: What may still be read.

    Raises:
        UnsafeFile: The array lives outside the file, needs a plugin or is larger than what is stored.
        ReadError: It does not hold floats.
    """
    found = Declared(dataset)
    check_storage(found)
    half = _bfloat16(found)
    dtype = np.dtype(np.uint16) if half else _dtype(found)
    size = math.prod(found.shape) * dtype.itemsize
    check_size(found, size)
    budget.spend(size * 2 if half else size, found.place)
    taken = budget.addresses.setdefault(_number_of_file(dataset), Addresses())
    for start, length in _blocks(found):
        taken.take(start, length, found.place)
    value = np.empty(found.shape, dtype)
    if half and found.dtype.kind == "V":
        value = np.frombuffer(dataset[()].tobytes(), np.uint16).reshape(found.shape)
    elif size:
        every = library().h5s.ALL
        dataset.id.read(every, every, value)
    if half:
        value = (value.astype(np.uint32) << 16).view(np.float32)
    return WeightArray(found.place.lstrip("/"), freeze(value))


class RowReader:
    """An array of a trace, whose rows are read as they are asked for: floats, whole numbers or truth values.

    Args:
        dataset: The array.
        budget: What the arrays of the file may need together.

    Raises:
        UnsafeFile: It lives outside the file, needs a plugin or is larger than what is stored.
        ReadError: It holds no numbers.
    """

    __slots__ = ("_dataset", "dtype", "shape")

    def __init__(self, dataset: h5py.Dataset, budget: Budget) -> None:
        found = Declared(dataset)
        check_storage(found)
        self.shape = found.shape
        self.dtype: np.dtype[Any] = found.dtype if found.dtype.kind in "iub" else _dtype(found)
        self.dtype = self.dtype.newbyteorder("=")
        size = math.prod(self.shape) * self.dtype.itemsize
        check_size(found, size)
        budget.spend(size, found.place)
        taken = budget.addresses.setdefault(_object(dataset).fileno, Addresses())
        for start, length in _blocks(found):
            taken.take(start, length, found.place)
        self._dataset = dataset

    def take(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return some rows."""
        rows: np.ndarray[Any, Any] = self._dataset[start:stop]
        return rows.astype(self.dtype, copy=False)


class Declared:
    """What HDF5 says of an array, asked once: each question takes as long as reading a small array."""

    __slots__ = ("dataset", "dtype", "id", "layout", "place", "plist", "shape", "type")

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self.id = dataset, dataset.id
        self.place: str = dataset.name
        self.plist, self.type = self.id.get_create_plist(), self.id.get_type()
        self.layout = self.plist.get_layout()
        self.shape, self.dtype = dataset.shape, self.type.dtype


def check_storage(found: Declared) -> None:
    """Refuse arrays whose bytes are not plainly in this file."""
    plist = found.plist
    if plist.get_external_count():
        raise UnsafeFile("keeps its numbers in another file (external storage)", place=found.place)
    if found.layout == library().h5d.VIRTUAL:
        raise UnsafeFile("is a virtual dataset, assembled from other files", place=found.place)
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if code not in _FILTERS:
            raise UnsafeFile(f"needs the HDF5 filter {code}, which would load a plugin", place=found.place)
    if found.type.committed():
        raise UnsafeFile("has a committed datatype, which Keras never writes", place=found.place)
    if found.shape is None:
        raise ReadError("has no shape", place=found.place)
    if len(found.shape) > MAX_DIMENSIONS:
        raise ReadError(f"has {len(found.shape)} dimensions", place=found.place)


def _blocks(found: Declared) -> Iterator[tuple[int, int]]:
    """Yield where the numbers of an array stand in the file, and how many bytes they take there."""
    offset = found.id.get_offset()
    if offset is not None:
        yield offset, found.id.get_storage_size()
    elif found.layout == library().h5d.CHUNKED:
        chunks: list[tuple[int, int]] = []
        found.id.chunk_iter(lambda chunk: chunks.append((chunk.byte_offset, chunk.size)))
        yield from chunks


def _bfloat16(found: Declared) -> bool:
    """Tell whether two-byte values are bfloat16.

    Keras 3 writes them through ml_dtypes, which HDF5 sees as opaque, and marks them in the object tree only
    (``H5IOStore.__setitem__`` in ``keras/src/saving/saving_lib.py`` 3.15.1).
    """
    dtype = found.dtype
    if dtype.itemsize != 2 or dtype.kind not in "uV" or dtype.names:
        return False
    return dtype.kind == "V" or text_attribute(found.dataset, "dtype") == "bfloat16"


def _dtype(found: Declared) -> np.dtype[Any]:
    """Return the native dtype to read into, or refuse what is no number."""
    dtype: np.dtype[Any] = found.dtype
    if dtype.kind == "f" and dtype.itemsize in (2, 4, 8):
        if not library().h5t.py_create(dtype).equal(found.type):
            raise ReadError("holds floats that are not those of IEEE 754: the file is damaged", place=found.place)
        return dtype.newbyteorder("=")
    if dtype.kind in "iu" and found.shape == ():  # counters, such as that of a Normalization layer
        return dtype.newbyteorder("=")
    kind = {"i": "integers", "u": "integers", "c": "complex numbers", "S": "texts", "O": "objects or references"}
    raise ReadError(f"holds {kind.get(dtype.kind, str(dtype))} ({dtype}) where weights belong", place=found.place)


def check_size(found: Declared, size: int) -> None:
    """Refuse arrays that declare another size than is stored: the library fills what is missing with zeros."""
    layout, stored = found.layout, found.id.get_storage_size()
    chunked = library().h5d.CHUNKED
    if size and (stored == 0 or (size != stored and layout != chunked)):
        raise UnsafeFile(f"declares {size:,} bytes and stores {stored:,}", place=found.place)
    if size > expansion.most(stored):
        raise UnsafeFile(f"would unpack {stored:,} stored bytes into {size:,}", place=found.place)
    if size and layout == chunked:
        chunks = found.plist.get_chunk()
        needed = math.prod(-(-extent // chunk) for extent, chunk in zip(found.shape, chunks, strict=True))
        there = found.id.get_num_chunks()
        if there != needed:
            raise ReadError(f"stores {there:,} of its {needed:,} chunks", place=found.place)
