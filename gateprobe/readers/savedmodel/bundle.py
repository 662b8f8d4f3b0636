"""A TensorFlow checkpoint: an index of entries, and files with the bytes of the tensors.

Source: ``tensorflow/core/util/tensor_bundle/tensor_bundle.cc`` 2.21 and ``core/protobuf/tensor_bundle.proto``; the keys
of parts: ``core/util/saved_tensor_slice_util.cc`` and ``core/lib/strings/ordered_code.cc``. Every byte that is used is
compared with its checksum. No native code reads any of it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, BinaryIO, Literal

import numpy as np

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Array, freeze
from gateprobe.readers.hdf5 import MAX_DIMENSIONS, Budget
from gateprobe.readers.savedmodel import table
from gateprobe.readers.savedmodel.checksum import masked_crc32c
from gateprobe.readers.savedmodel.wire import Message, parse, varint

_TEXT, _BFLOAT16 = 7, 14
_DTYPES = {
    1: "f4", 2: "f8", 3: "i4", 4: "u1", 5: "i2", 6: "i1", 9: "i8", 10: "?", 17: "u2", 19: "f2", 22: "u4", 23: "u8",
    _BFLOAT16: "u2",
}  # fmt: skip
"""NumPy's types by the numbers of ``core/framework/types.proto``: no complex numbers, texts, resources."""
Order = Literal["<", ">"]
_LITTLE, _BIG = 0, 1
_MAX_PARTS = 100_000
_MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor, or a part of one, stands."""

    key: str
    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    parts: tuple[tuple[tuple[int, int], ...], ...]
    """Of a tensor that is stored in parts: for each, start and length along every axis; -1: all of it."""

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers or truth values."""
        return self.kind in _DTYPES

    @property
    def texts(self) -> bool:
        """Whether it holds texts."""
        return self.kind == _TEXT

    @property
    def nbytes(self) -> int:
        """Bytes of the array that is made of it."""
        return math.prod(self.shape) * (4 if self.kind == _BFLOAT16 else np.dtype(_DTYPES[self.kind]).itemsize)


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """The entries of a checkpoint, and its open files."""

    entries: Mapping[str, Entry]
    parts: Mapping[bytes, Entry]
    order: Order
    """``<`` or ``>``: that of the bytes."""
    files: tuple[BinaryIO, ...]

    def array(self, key: str, budget: Budget) -> Array:
        """Return a tensor of numbers, read-only; bfloat16 becomes float32.

        Raises:
            ReadError: The bytes are not there, or damaged.
            UnsafeFile: It is larger than the budget.
        """
        entry = self.entries[key]
        budget.spend(entry.nbytes, key)
        if not entry.parts:
            return freeze(self._plain(entry))
        whole = np.empty(entry.shape, self._plain_dtype(entry))
        seen = np.zeros(entry.shape, np.bool_)
        for extent in entry.parts:
            at = _slices(extent, entry)
            part = self.parts.get(_part_key(entry.key, extent))
            if part is None or part.kind != entry.kind or part.shape != whole[at].shape or seen[at].any():
                raise ReadError("a part is missing, or does not fit", place=entry.key)
            whole[at], seen[at] = self._plain(part), True
        if not seen.all():
            raise ReadError("its parts leave gaps", place=entry.key)
        return freeze(whole)

    def texts(self, key: str, limit: int) -> tuple[bytes, ...]:
        """Return the texts of a tensor, in C order.

        They stand as the length of each, a checksum of the lengths, and the texts (``WriteStringTensor``).

        Raises:
            ReadError: There is no such tensor, or it is damaged.
            UnsafeFile: It is longer than the limit.
        """
        entry = self.entries.get(key)
        if entry is None or not entry.texts or entry.parts:
            raise ReadError("is not there, or holds no texts", place=key)
        if entry.size > limit:
            raise UnsafeFile(f"has {entry.size:,} bytes; the limit is {limit:,}", place=key)
        data, position, lengths = self._stored(entry), 0, []
        if math.prod(entry.shape) > len(data):
            raise table.damaged(key)
        for _ in range(math.prod(entry.shape)):
            length, position = varint(memoryview(data), position, key)
            lengths.append(length)
        summed = b"".join(struct.pack(f"{self.order}{'I' if size < 1 << 32 else 'Q'}", size) for size in lengths)
        checksum, rest = data[position : position + 4], data[position + 4 :]
        expected = struct.pack(f"{self.order}I", masked_crc32c(summed))
        if sum(lengths) != len(rest) or checksum != expected or entry.checksum != masked_crc32c(summed, checksum, rest):
            raise table.damaged(key)
        ends = list(accumulate(lengths, initial=0))
        return tuple(rest[start:end] for start, end in pairwise(ends))

    def _plain_dtype(self, entry: Entry) -> np.dtype[Any]:
        return np.dtype("f4" if entry.kind == _BFLOAT16 else _DTYPES[entry.kind])

    def _plain(self, entry: Entry) -> Array:
        dtype = np.dtype(_DTYPES[entry.kind]).newbyteorder(self.order)
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise table.damaged(entry.key)
        data = self._stored(entry)
        if masked_crc32c(data) != entry.checksum:
            raise ReadError("is damaged: a checksum is wrong", place=entry.key)
        value: Array = np.frombuffer(data, dtype).reshape(entry.shape)
        if entry.kind == _BFLOAT16:
            return (value.astype(np.uint32) << 16).view(np.float32)
        return value

    def _stored(self, entry: Entry) -> bytes:
        if not 0 <= entry.shard < len(self.files):
            raise table.damaged(entry.key)
        file = self.files[entry.shard]
        file.seek(0, 2)
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > file.tell():
            raise ReadError("the file with its bytes is truncated", place=entry.key)
        file.seek(entry.offset)
        return file.read(entry.size)


def open_bundle(index: bytes, opened: Callable[[int], tuple[BinaryIO, ...]], place: str) -> Bundle:
    """Read an index.

    Args:
        index: The bytes of ``variables.index``.
        opened: Opens the files with the bytes, ``variables.data-00000-of-0000N`` and so on, given their number.
        place: What the index is called, for messages.

    Raises:
        ReadError: It is none, or damaged.
    """
    entries: dict[str, Entry] = {}
    parts: dict[bytes, Entry] = {}
    order: Order | None = None
    files: tuple[BinaryIO, ...] = ()
    for key, value in table.items(index, place):
        message = parse(bytes(value), place)
        if key == b"":
            endianness = message.integer(2)
            count = message.integer(1)
            if endianness not in (_LITTLE, _BIG) or not 0 < count <= _MAX_FILES:
                raise table.damaged(place)
            order, files = "<" if endianness == _LITTLE else ">", opened(count)
        elif key.startswith(b"\0"):
            parts[key] = _entry(repr(key), message)
        else:
            entry = _entry(_name(key, place), message)
            entries[entry.key] = entry
    if order is None:
        raise table.damaged(place)
    return Bundle(entries, parts, order, files)


def _name(key: bytes, place: str) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise table.damaged(place) from None


def _entry(key: str, message: Message) -> Entry:
    shape_of = message.message(2)
    shape = tuple(dimension.integer(1) for dimension in shape_of.messages(2))
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size < 1 << 40 for size in shape) or shape_of.integer(3):
        raise ReadError(f"has the shape {shape}", place=key)
    parts = tuple(_extent(part) for part in message.messages(7))
    if len(parts) > _MAX_PARTS or any(len(part) != len(shape) for part in parts):
        raise table.damaged(key)
    kind, shard, offset, size = (message.integer(number) for number in (1, 3, 4, 5))
    return Entry(key, kind, shape, shard, offset, size, message.fixed32(6), parts)


def _extent(part: Message) -> tuple[tuple[int, int], ...]:
    """Return start and length of a part along each axis."""
    return tuple((axis.integer(1), axis.integer(2) if axis.has(2) else -1) for axis in part.messages(1))


def _slices(extent: tuple[tuple[int, int], ...], entry: Entry) -> tuple[slice, ...]:
    found = []
    for (start, length), size in zip(extent, entry.shape, strict=True):
        stop = size if length < 0 else start + length
        if not 0 <= start <= stop <= size:
            raise table.damaged(entry.key)
        found.append(slice(start, stop))
    return tuple(found)


def _part_key(name: str, extent: tuple[tuple[int, int], ...]) -> bytes:
    """Return the key of a part (``EncodeTensorNameSlice``)."""
    text = name.encode().replace(b"\0", b"\0\xff")
    numbers = b"".join(_signed(start) + _signed(length) for start, length in extent)
    return b"\0" + text + b"\0\1" + _unsigned(len(extent)) + numbers


def _unsigned(value: int) -> bytes:
    """Return a number as ``OrderedCode::WriteNumIncreasing`` does: its length, then its bytes."""
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(data)]) + data


def _signed(value: int) -> bytes:
    """Return a number as ``OrderedCode::WriteSignedNumIncreasing`` does: its length in the leading bits."""
    length = (value if value >= 0 else ~value).bit_length() // 7 + 1
    data = bytearray(value.to_bytes(length, "big", signed=True))
    header = 0xFFFF << (16 - length) & 0xFFFF
    data[0] ^= header >> 8
    if length > 1:
        data[1] ^= header & 0xFF
    return bytes(data)
