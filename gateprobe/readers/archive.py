"""The ``.keras`` zip: only the members that Keras itself would read, into memory, never to disk.

Source: ``keras/src/saving/saving_lib.py`` 3.15.1 and ``tf_keras/src/saving/saving_lib.py`` 2.21.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from gateprobe.errors import GateprobeError, ReadError, UnsafeFile

MAGIC = b"PK\x03\x04"
MAX_DIRECTORY_BYTES = 32 << 20
"""Of the table of contents; one member takes about 60 bytes in it and much more in memory."""
CONFIG, METADATA, WEIGHTS, SHARDS = "config.json", "metadata.json", "model.weights.h5", "model.weights.json"

_END = b"PK\x05\x06"
_BLOCK = 1 << 20
_ENCRYPTED = 0x1
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, LookupError, struct.error)


@contextmanager
def opened(stream: BinaryIO, size: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip and turn whatever a damaged one raises into one line."""
    _check_directory(stream, size)
    try:
        with zipfile.ZipFile(stream) as archive:
            yield archive
    except GateprobeError:
        raise
    except _FAULTS as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise ReadError(f"the zip is damaged or truncated: {first}") from None


def _check_directory(stream: BinaryIO, size: int) -> None:
    """Refuse an enormous table of contents before `zipfile` turns it into objects."""
    tail = min(size, 65_557)  # the end record and the longest possible comment behind it
    stream.seek(size - tail)
    data = stream.read(tail)
    at = data.rfind(_END)
    if at < 0 or len(data) - at < 22:
        raise ReadError("the zip is truncated: it has no table of contents")
    length = struct.unpack_from("<I", data, at + 12)[0]
    if length == 0xFFFFFFFF:  # zip64, whose own record stands just before
        end64 = data.rfind(b"PK\x06\x06", 0, at)
        length = struct.unpack_from("<Q", data, end64 + 40)[0] if 0 <= end64 <= len(data) - 56 else length
    if length > MAX_DIRECTORY_BYTES:
        raise UnsafeFile(f"the zip's table of contents has {length:,} bytes")


def has(archive: zipfile.ZipFile, name: str) -> bool:
    """Tell whether the zip has a member of exactly this name."""
    return name in archive.NameToInfo


def read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read one member.

    Args:
        archive: The zip.
        name: Exactly as Keras writes it.
        limit: Bytes that it may unpack into.

    Raises:
        ReadError: It is missing.
        UnsafeFile: It occurs twice, is a link, encrypted, in an unknown compression, or too large.
    """
    with archive.open(_member(archive, name, limit)) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise UnsafeFile(f"unpacks into more than {limit:,} bytes", place=name)
    return data


def head(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Return the first bytes of a member.

    Raises:
        ReadError: It is missing.
        UnsafeFile: As for `read`.
    """
    with archive.open(_member(archive, name, 1 << 62)) as member:
        return member.read(size)


def unpack(archive: zipfile.ZipFile, name: str, limit: int, target: BinaryIO) -> None:
    """Write one member to a file of our own, block by block.

    Raises:
        ReadError: It is missing.
        UnsafeFile: As for `read`.
    """
    written = 0
    with archive.open(_member(archive, name, limit)) as member:
        while block := member.read(_BLOCK):
            written += target.write(block)
            if written > limit:
                raise UnsafeFile(f"unpacks into more than {limit:,} bytes", place=name)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        raise ReadError(f"the zip holds no {name}", remedy=_elsewhere(archive, name))
    if len(found) > 1:
        raise UnsafeFile(f"occurs {len(found)} times in the zip", place=name)
    _check(found[0], limit)
    return found[0]


def _elsewhere(archive: zipfile.ZipFile, name: str) -> str | None:
    for other in archive.namelist():
        if other.endswith(f"/{name}"):
            return f"it is at {other[:120]}: zip the files without the folder around them"
    return None


def _check(info: zipfile.ZipInfo, limit: int) -> None:
    mode = info.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise UnsafeFile("is not a plain file in the zip but a link or a folder", place=info.filename)
    if info.flag_bits & _ENCRYPTED:
        raise UnsafeFile("is encrypted", place=info.filename)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFile(f"uses the zip compression method {info.compress_type}", place=info.filename)
    if info.file_size > limit:
        raise UnsafeFile(f"unpacks into {info.file_size:,} bytes; the limit is {limit:,}", place=info.filename)
