"""Puts key-value metadata into an Arrow IPC file, which Polars cannot do; pyarrow can, but is 165 MB to install.

The file ends with a flatbuffer, the footer, whose schema may carry metadata. A new footer is put in front of the old
one and points into it for all that stays, so that nothing of the old one has to be understood but its two tables.

Formats: ``File.fbs`` and ``Schema.fbs`` of Apache Arrow (columnar format 1.x); https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import BinaryIO

MAGIC = b"ARROW1"
_FOOTER_VERSION, _FOOTER_SCHEMA, _FOOTER_DICTIONARIES, _FOOTER_BATCHES = 0, 1, 2, 3
_SCHEMA_FIELDS, _SCHEMA_METADATA = 1, 2
_MAX_FOOTER = 64 << 20
_MAX_PAIRS = 100

# Positions inside the new footer. Each table is preceded by its vtable: sizes of both, then the offset of each field.
_FOOTER_TABLE = 20
_SCHEMA_TABLE = 56
_PAIRS = 76
"""A vector of pairs; behind it the vtable of all of them, the tables, and the texts in their order."""
_PAIR = 12
"""Size of the table of a pair."""


def add_metadata(file: BinaryIO, entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of the schema.

    Args:
        file: A complete Arrow file, open for reading and writing.
        entries: Name → text; they stand in this order.
    """
    file.seek(-4 - len(MAGIC), io.SEEK_END)
    (size,) = struct.unpack("<i", file.read(4))
    file.seek(-4 - len(MAGIC) - size, io.SEEK_END)
    start = file.tell()
    footer = _with_metadata(file.read(size), entries)
    file.seek(start)
    file.truncate()
    file.write(footer + struct.pack("<i", len(footer)) + MAGIC)


def metadata_in(file: BinaryIO, key: str) -> str | None:
    """Return an entry of the metadata of the schema; ``None`` when there is none that can be read.

    Args:
        file: An Arrow file, open for reading; nothing in it is believed.
        key: The name of the entry.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - 4 - len(MAGIC)))
    size = int.from_bytes(file.read(4), "little")
    if not 0 < size <= min(end, _MAX_FOOTER):
        return None
    file.seek(max(0, end - 4 - len(MAGIC) - size))
    footer = file.read(size)
    pairs = _object(footer, _object(footer, _number(footer, 0, 4), _FOOTER_SCHEMA), _SCHEMA_METADATA)
    for number in range(min(_number(footer, pairs, 4), _MAX_PAIRS)):
        at = pairs + 4 + 4 * number
        pair = at + _number(footer, at, 4)
        if _text(footer, pair, 0) == key.encode():
            return _text(footer, pair, 1).decode("utf-8", "replace")
    return None


def _text(buffer: bytes, table: int, number: int) -> bytes:
    """Return the text to which a field of a table points."""
    at = _object(buffer, table, number)
    return buffer[at + 4 : at + 4 + _number(buffer, at, 4)]


def _with_metadata(old: bytes, entries: Mapping[str, str]) -> bytes:
    """Return a footer equal to ``old`` but for the metadata of its schema."""
    vtable = _PAIRS + 4 + 4 * len(entries)
    tables = [vtable + 8 + _PAIR * number for number in range(len(entries))]
    start = vtable + 8 + _PAIR * len(entries)
    texts, places = b"", list[tuple[int, int]]()
    for key, value in entries.items():
        key_at = start + len(texts)
        texts += _string(key.encode())
        places.append((key_at, start + len(texts)))
        texts += _string(value.encode())
    texts += bytes(-(start + len(texts)) % 8)
    base = start + len(texts)
    root = _number(old, 0, 4)
    version = _number(old, _place(old, root, _FOOTER_VERSION), 2)
    schema = _object(old, root, _FOOTER_SCHEMA)
    dictionaries = base + _object(old, root, _FOOTER_DICTIONARIES)
    batches = base + _object(old, root, _FOOTER_BATCHES)
    fields = base + _object(old, schema, _SCHEMA_FIELDS)
    new = bytearray(start)
    struct.pack_into("<I", new, 0, _FOOTER_TABLE)
    # Footer: version (a short), schema, dictionaries, recordBatches
    struct.pack_into("<6H", new, 8, 12, 20, 4, 8, 12, 16)
    struct.pack_into(
        "<ihxxIII", new, _FOOTER_TABLE, 12, version, *_offsets(_FOOTER_TABLE + 8, _SCHEMA_TABLE, dictionaries, batches)
    )
    # Schema: endianness (0 is little), fields, custom_metadata
    struct.pack_into("<5H", new, 44, 10, 16, 4, 8, 12)
    struct.pack_into("<ihxxII", new, _SCHEMA_TABLE, 12, 0, *_offsets(_SCHEMA_TABLE + 8, fields, _PAIRS))
    # custom_metadata: a vector of KeyValue, which share their vtable
    struct.pack_into("<I", new, _PAIRS, len(entries))
    struct.pack_into(f"<{len(entries)}I", new, _PAIRS + 4, *_offsets(_PAIRS + 4, *tables))
    struct.pack_into("<4H", new, vtable, 8, _PAIR, 4, 8)
    for table, pair in zip(tables, places, strict=True):
        struct.pack_into("<iII", new, table, table - vtable, *_offsets(table + 4, *pair))
    return bytes(new) + texts + old


def _offsets(first: int, *targets: int) -> list[int]:
    """Return what successive offset fields hold: the distance from the field to its target."""
    return [target - (first + 4 * n) for n, target in enumerate(targets)]


def _string(text: bytes) -> bytes:
    """Return a flatbuffer string, padded to a multiple of four."""
    return struct.pack("<I", len(text)) + text + bytes(4 - len(text) % 4)


def _number(buffer: bytes, at: int, size: int) -> int:
    return int.from_bytes(buffer[at : at + size], "little")


def _place(buffer: bytes, table: int, number: int) -> int:
    """Return where a field of a table stands."""
    vtable = table - int.from_bytes(buffer[table : table + 4], "little", signed=True)
    return table + _number(buffer, vtable + 4 + 2 * number, 2)


def _object(buffer: bytes, table: int, number: int) -> int:
    """Return where the object is to which a field of a table points."""
    at = _place(buffer, table, number)
    return at + _number(buffer, at, 4)
