"""Joins Parquet files into one, whose row groups are theirs.

Polars can write a file of many row groups (``sink_parquet``), but holds 80 kB for each of them to the end (2.1.0, 13
columns); what must be held is the kilobyte that the footer says about it. With row groups of a million rows there are
fewer, but Polars needs 185 MiB at once instead of 99. pyarrow holds 30 kB for each, writes twice the bytes in twice the
time, and takes 165 MB to install.

A Parquet file is the bytes of its row groups between two magic words and, before the last one, the footer: a Thrift
struct in the compact protocol, which counts places from the file's begin.

Formats: ``parquet.thrift`` of Apache Parquet 2.x; ``thrift-compact-protocol.md`` of Apache Thrift.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

MAGIC = b"PAR1"

_TRUE, _FALSE, _BINARY, _LIST, _STRUCT = 1, 2, 8, 9, 12
_INTEGERS = (4, 5, 6)
_SIZES = {_TRUE: 1, _FALSE: 1, 3: 1, 7: 8}
"""Of truth values in lists, bytes and doubles, which stay as they are."""

Struct: TypeAlias = dict[int, tuple[int, Any]]
"""Number of a field → its type and value; a list is the type of its items and the items."""

_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_OFFSET, _GROUP_NUMBER = 1, 5, 7
_CHUNK_OFFSET, _CHUNK_METADATA, _CHUNK_OFFSET_INDEX, _CHUNK_COLUMN_INDEX = 2, 3, 4, 6
_METADATA_OFFSETS = (9, 10, 11, 14)
"""Of data pages, index pages, dictionary page and Bloom filter."""


@dataclass(slots=True, eq=False)
class JoinedFile:
    """The file that others are joined into."""

    file: IO[bytes]
    _footer: Struct = field(default_factory=dict)
    """That of the first file."""
    _groups: bytearray = field(default_factory=bytearray)
    """What the new footer says about the row groups."""
    _rows: int = 0
    _count: int = 0
    _end: int = 0
    """Where the next row group will begin."""

    def add(self, data: memoryview) -> None:
        """Append the row groups of a whole Parquet file, which has the columns of those before."""
        if not self._end:
            self.file.write(MAGIC)
            self._end = len(MAGIC)
        (size,) = struct.unpack("<I", data[-8:-4])
        body = data[len(MAGIC) : len(data) - 8 - size]
        footer = _Reader(data[len(data) - 8 - size : len(data) - 8]).struct()
        for group in footer[_FILE_GROUPS][1][1]:
            _move(group, self._end - len(MAGIC), self._count)
            self._groups += _packed(group)
            self._count += 1
        self._rows += footer[_FILE_ROWS][1]
        self._footer = self._footer or footer
        self.file.write(body)
        self._end += len(body)

    def finish(self) -> None:
        """Write the footer."""
        kind, _ = self._footer[_FILE_ROWS]
        groups = _list_header(_STRUCT, self._count) + self._groups
        footer = _packed({**self._footer, _FILE_ROWS: (kind, self._rows), _FILE_GROUPS: (_LIST, bytes(groups))})
        self.file.write(footer + struct.pack("<I", len(footer)) + MAGIC)


def _move(group: Struct, by: int, number: int) -> None:
    """Give a row group its place and its number in the new file."""
    _shift(group, (_GROUP_OFFSET,), by)
    if _GROUP_NUMBER in group:
        group[_GROUP_NUMBER] = (group[_GROUP_NUMBER][0], min(number, 0x7FFF))
    for chunk in group[_GROUP_COLUMNS][1][1]:
        _shift(chunk, (_CHUNK_OFFSET, _CHUNK_OFFSET_INDEX, _CHUNK_COLUMN_INDEX), by)
        _shift(chunk[_CHUNK_METADATA][1], _METADATA_OFFSETS, by)


def _shift(fields: Struct, numbers: tuple[int, ...], by: int) -> None:
    for number in numbers:
        kind, place = fields.get(number, (0, 0))
        if place:  # zero is none
            fields[number] = (kind, place + by)


class _Reader:
    """Reads what Polars has written."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def struct(self) -> Struct:
        """Read the fields up to the stop."""
        fields: Struct = {}
        number = 0
        while head := self._bytes(1)[0]:
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = (kind, None if kind in (_TRUE, _FALSE) else self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return bytes(self._bytes(self._varint()))
        if kind == _LIST:
            head = self._bytes(1)[0]
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return head & 15, [self._value(head & 15) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct()
        return bytes(self._bytes(_SIZES[kind]))

    def _bytes(self, size: int) -> memoryview:
        self._at += size
        return self._data[self._at - size : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._bytes(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)


def _packed(fields: Mapping[int, tuple[int, Any]]) -> bytes:
    """Return a struct's bytes."""
    out, before = bytearray(), 0
    for number, (kind, value) in sorted(fields.items()):
        near = number - before < 16
        out += bytes([(number - before) << 4 | kind]) if near else bytes([kind]) + _integer(number)
        out += b"" if value is None else _value(kind, value)
        before = number
    return bytes(out + b"\0")


def _value(kind: int, value: Any) -> bytes:
    if isinstance(value, bytes):  # as it was read, or a list that is packed already
        return _varint(len(value)) + value if kind == _BINARY else value
    if kind in _INTEGERS:
        return _integer(value)
    if kind == _LIST:
        inner, items = value
        return _list_header(inner, len(items)) + b"".join(_value(inner, item) for item in items)
    return _packed(value)


def _list_header(kind: int, count: int) -> bytes:
    return bytes([count << 4 | kind]) if count < 15 else bytes([15 << 4 | kind]) + _varint(count)


def _integer(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
