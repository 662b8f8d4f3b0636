"""Damage that the HDF5 library itself does not survive.

libhdf5 up to 1.14.6 at least walks a global heap (where texts of variable length live) object by object and never
ends when a size is zero (``H5HG__cache_heap_deserialize``). A file cannot be allowed to do that, so every heap is
walked here first. Layout: HDF5 File Format Specification 3.0, III.E.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from gateprobe.errors import ReadError, UnsafeFile

MAX_OBJECTS = 1_000_000

_SIGNATURE = b"GCOL"
_HEADER = 16
_BLOCK = 1 << 20


def check_heaps(stream: BinaryIO, what: str) -> None:
    """Refuse a file with a global heap that does not end.

    Args:
        stream: The whole file.
        what: Its name for messages.

    Raises:
        ReadError: A heap is damaged.
    """
    budget = MAX_OBJECTS
    for start in _occurrences(stream):
        stream.seek(start)
        header = stream.read(_HEADER)
        if len(header) < _HEADER or header[4] != 1:  # these four letters may stand anywhere in an array
            continue
        budget -= _walk(stream, start, struct.unpack_from("<Q", header, 8)[0], budget, what)
        if budget <= 0:
            raise UnsafeFile(f"{what} has more than {MAX_OBJECTS:,} texts of variable length")


def _occurrences(stream: BinaryIO) -> Iterator[int]:
    """Yield every place where a heap might start."""
    base, kept = 0, b""
    stream.seek(0)
    while block := stream.read(_BLOCK):
        data = kept + block
        at = data.find(_SIGNATURE)
        found = []
        while at >= 0:
            found.append(base - len(kept) + at)
            at = data.find(_SIGNATURE, at + 1)
        base, kept = base + len(block), data[-(len(_SIGNATURE) - 1) :]
        yield from found
        stream.seek(base)


def _walk(stream: BinaryIO, start: int, size: int, budget: int, what: str) -> int:
    """Walk the objects of one heap as the library does and return how many there are."""
    at, end, count = start + _HEADER, start + size, 0
    while at + _HEADER <= end and count < budget:
        stream.seek(at)
        header = stream.read(_HEADER)
        if len(header) < _HEADER:  # the heap ends behind the file: the library finds out for itself
            break
        number, length = struct.unpack_from("<H6xQ", header)
        need = length if number == 0 else (_HEADER + length + 7 & ~7)
        if need == 0 or need >= 1 << 62:
            raise ReadError(f"{what} is damaged: a heap of texts holds an object of impossible size")
        at, count = at + need, count + 1
    return count
