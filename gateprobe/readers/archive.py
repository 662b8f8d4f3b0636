"""The ``.keras`` zip: only the members that Keras itself would read, into memory, never to disk.

Source: ``keras/src/saving/saving_lib.py`` 3.15.1 and ``tf_keras/src/saving/saving_lib.py`` 2.21.
"""

from __future__ import annotations

import io
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from gateprobe.errors import GateprobeError, ReadError, UnsafeFile
from gateprobe.limits import expansion
from gateprobe.readers import safe_json

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC = b"PK\x03\x04"
MAX_DIRECTORY_BYTES = 32 << 20
"""Of the table of contents; one member takes about 60 bytes in it and much more in memory."""
MAX_METADATA = 1 << 20
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
            if sum(info.compress_size for info in archive.infolist()) > size:
                raise UnsafeFile("the members of the zip overlap")
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


def keras_version(archive: zipfile.ZipFile) -> str | None:
    """Return the version that ``metadata.json`` gives, ``None`` without one."""
    if not has(archive, METADATA):
        return None
    value = safe_json.loads(read(archive, METADATA, MAX_METADATA), METADATA)
    said = value.get("keras_version") if isinstance(value, dict) else None
    return said if isinstance(said, str) else None


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
    with unpacked(archive, name, limit) as stream:
        return stream.read()


def head(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Return the first bytes of a member.

    Raises:
        ReadError: It is missing.
        UnsafeFile: As for `read`.
    """
    with archive.open(_member(archive, name, 1 << 62)) as member:
        return member.read(size)


def unpack(archive: zipfile.ZipFile, name: str, limit: int, target: BinaryIO) -> None:
    """Write one member to a file of our own; takes and raises what `read` does."""
    with unpacked(archive, name, limit) as stream:
        shutil.copyfileobj(stream, target, _BLOCK)


@contextmanager
def unpacked(archive: zipfile.ZipFile, name: str, limit: int) -> Iterator[BinaryIO]:
    """Give one member as a file; takes and raises what `read` does.

    What is stored uncompressed, as Keras does it, is checked and then read where it lies; anything else is held once.
    """
    info = _member(archive, name, limit)
    held = io.BytesIO()
    stored = info.compress_type == zipfile.ZIP_STORED and archive.fp is not None
    with archive.open(info) as member:  # read to its end, where the sum is compared
        size = 0
        while block := member.read(_BLOCK):
            size += len(block)
            if size > min(limit, info.file_size):
                raise UnsafeFile("unpacks into more than the zip says", place=name)
            if not stored:
                held.write(block)
    if stored:
        window = _Window(cast("BinaryIO", archive.fp), start_of(archive, info), size)
        yield cast("BinaryIO", io.BufferedReader(window))
    else:
        held.seek(0)
        yield held


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> zipfile.ZipInfo:
    """Return the one member of a name.

    Raises:
        ReadError: It is missing.
        UnsafeFile: It occurs twice, is a link, encrypted, in an unknown compression, or too large.
    """
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        raise ReadError(f"the zip holds no {name}", remedy=_elsewhere(archive, name))
    if len(found) > 1:
        raise UnsafeFile(f"occurs {len(found)} times in the zip", place=name)
    _check(found[0], limit)
    return found[0]


def start_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin, behind a header whose two texts have lengths of their own."""
    stream = cast("BinaryIO", archive.fp)
    stream.seek(info.header_offset)
    header = stream.read(30)
    name, extra = struct.unpack_from("<HH", header, 26)
    return int(info.header_offset + 30 + name + extra)


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream, self._start, self._size, self._at = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        self._stream.seek(self._start + self._at)
        count = self._stream.readinto(view)  # type: ignore[attr-defined]  # every stream of bytes has it
        self._at += count
        return int(count)


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
    most = expansion.most(info.compress_size)
    if info.file_size > most:
        raise UnsafeFile(
            f"would unpack {info.compress_size:,} stored bytes into {info.file_size:,}", place=info.filename
        )
    if info.file_size > limit:
        raise UnsafeFile(f"unpacks into {info.file_size:,} bytes; the limit is {limit:,}", place=info.filename)
