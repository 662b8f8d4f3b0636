"""The sorted table in ``variables.index``: keys and values in blocks, as LevelDB writes them.

Source: ``tensorflow/tsl/lib/io/{format,block,table_builder}.cc`` 2.21 and ``table_options.h``; LevelDB's
``doc/table_format.md``. TensorFlow writes tables without compression (``tensor_bundle.cc::TableBuilderOptions``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from gateprobe.errors import ReadError
from gateprobe.readers.savedmodel.checksum import masked_crc32c
from gateprobe.readers.savedmodel.wire import varint

_MAGIC = 0xDB4775248B80FB57
FOOTER, _TRAILER = 48, 5
_PLAIN = 0


def is_table(footer: bytes) -> bool:
    """Tell from the last bytes of a file whether it is such a table."""
    return len(footer) == FOOTER and struct.unpack_from("<Q", footer, FOOTER - 8)[0] == _MAGIC


def items(data: bytes, place: str) -> Iterator[tuple[bytes, memoryview]]:
    """Yield every key and value of a table, in the order of the keys.

    Args:
        data: The whole file.
        place: What holds it, for messages.

    Raises:
        ReadError: It is no such table, or damaged.
    """
    try:
        found = list(_items(memoryview(data), place))
    except (struct.error, IndexError):
        raise damaged(place) from None
    if any(before[0] >= after[0] for before, after in pairwise(found)):
        raise damaged(place)
    yield from found


def _items(data: memoryview, place: str) -> Iterator[tuple[bytes, memoryview]]:
    if not is_table(bytes(data[-FOOTER:])):
        raise ReadError("is no index of variables, or truncated", place=place)
    footer = data[len(data) - FOOTER :]
    _, position = _handle(footer, 0, place)  # of the block with what TensorFlow does not write
    index, _ = _handle(footer, position, place)
    for _, value in _block(data, index, place):
        handle, _ = _handle(value, 0, place)
        yield from _block(data, handle, place)


def _handle(data: memoryview, position: int, place: str) -> tuple[tuple[int, int], int]:
    """Return where a block begins and how long it is, and the position behind that."""
    offset, position = varint(data, position, place)
    size, position = varint(data, position, place)
    return (offset, size), position


def _block(data: memoryview, handle: tuple[int, int], place: str) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the entries of a block: each key without the beginning that it shares with the one before it."""
    offset, size = handle
    if offset + size + _TRAILER > len(data) - FOOTER:
        raise damaged(place)
    kind, checksum = struct.unpack_from("<BI", data, offset + size)
    if kind != _PLAIN:
        raise ReadError("is compressed, which TensorFlow does not do", place=place)
    if checksum != masked_crc32c(data[offset : offset + size + 1]):
        raise ReadError("is damaged: a checksum is wrong", place=place)
    block = data[offset : offset + size]
    restarts = struct.unpack_from("<I", block, size - 4)[0]
    end = size - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = varint(block, position, place)
        own, position = varint(block, position, place)
        length, position = varint(block, position, place)
        if shared > len(key) or position + own + length > end:
            raise damaged(place)
        key = key[:shared] + bytes(block[position : position + own])
        yield key, block[position + own : position + own + length]
        position += own + length
    if position != end:
        raise damaged(place)


def damaged(place: str) -> ReadError:
    """Return the error for bytes that are not those that were written."""
    return ReadError("is damaged or truncated", place=place)
