"""How long the texts of an attribute claim to be, read from the bytes of the object header.

A text of variable length is stored as its length and its place in a global heap. libhdf5 (1.14.6) allocates and
clears that length before it looks at the heap, so one wrong byte costs up to 4 GiB; and several texts may share one
place. Layout: HDF5 File Format Specification 3.0, IV.A.1 and IV.A.2.m.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

MAX_MESSAGES = 10_000
MAX_CHUNK = 16 << 20

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_SHARED = 0x02
_Message = tuple[int, int, bytes]
"""Type, flags and data of a header message."""


def declared_text_bytes(stream: BinaryIO, base: int, address: int, name: str) -> int | None:
    """Add up the lengths that the texts of one attribute claim to have.

    Args:
        stream: The file.
        base: Where HDF5 starts in it.
        address: Of the object's header, counted from ``base``.
        name: Of an attribute of variable-length text.

    Returns:
        Bytes, or ``None`` when the attribute is not stored in the header itself.
    """
    for _, flags, data in _messages(stream, base, address):
        value = None if flags & _SHARED else _attribute_value(data, name.encode())
        if value is not None:
            return sum(int.from_bytes(value[at : at + 4], "little") for at in range(0, len(value) - 15, 16))
    return None


def _attribute_value(data: bytes, name: bytes) -> bytes | None:
    """Return what an attribute message holds, if it is the attribute of this name."""
    if len(data) < 8 or data[0] not in (1, 2, 3):
        return None
    at, sizes = (9 if data[0] == 3 else 8), struct.unpack_from("<3H", data, 2)
    if data[at : at + sizes[0]].rstrip(b"\0") != name:
        return None
    return data[at + sum(size + 7 & ~7 if data[0] == 1 else size for size in sizes) :]


def _messages(stream: BinaryIO, base: int, address: int) -> Iterator[_Message]:
    """Yield the attribute messages of an object header, wherever it is continued."""
    start, prefix = _first_chunk(_read(stream, base + address, 64))
    chunks, left = [(base + address + start[0], start[1])], MAX_MESSAGES
    while chunks and left:
        where, length = chunks.pop()
        data, at = _read(stream, where, min(length, MAX_CHUNK)), 0
        while at + prefix <= len(data) and left:
            kind, size, flags = _message_header(data, at, prefix)
            body = data[at + prefix : at + prefix + size]
            at, left = at + prefix + size, left - 1
            if kind == _ATTRIBUTE:
                yield kind, flags, body
            elif kind == _CONTINUATION and len(body) >= 16:
                offset, more = struct.unpack_from("<QQ", body)
                marks = 0 if prefix == 8 else 4  # version 2 encloses each chunk in a signature and a checksum
                chunks.append((base + offset + marks, max(more - 2 * marks, 0)))


def _first_chunk(head: bytes) -> tuple[tuple[int, int], int]:
    """Return where an object header's messages start, their length, and the size of each message's own header."""
    if head[:4] != b"OHDR":
        return (16, struct.unpack_from("<I", head, 8)[0] if len(head) >= 12 and head[0] == 1 else 0), 8
    flags = head[5] if len(head) > 5 else 0
    at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    return (at + width, int.from_bytes(head[at : at + width], "little")), 6 if flags & 4 else 4


def _message_header(data: bytes, at: int, prefix: int) -> tuple[int, int, int]:
    if prefix == 8:
        kind, size, flags = struct.unpack_from("<HHB", data, at)
    else:
        kind, size, flags = struct.unpack_from("<BHB", data, at)
    return kind, size, flags


def _read(stream: BinaryIO, at: int, length: int) -> bytes:
    if at >= 1 << 62:
        return b""
    stream.seek(at)
    return stream.read(length)
