"""A seal in a Parquet file: which part of which run it is, and a checksum of all its bytes.

It stands as JSON under a key of its own in the key-value metadata of the footer. The checksum is the sha256 of the file
in which the checksum's own digits are zeros.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from dataclasses import dataclass, field
from typing import IO, Any

SEAL_KEY = "gateprobe.part"

_ZEROS = b"0" * 64
_SEAL = re.compile(
    rb'\{"run": "(?P<run>[0-9a-f]{64})", "start": (?P<start>\d{1,18}), "stop": (?P<stop>\d{1,18}), '
    rb'"sha256": "(?P<sum>[0-9a-f]{64})"\}'
)
_MAGIC = b"PAR1"
_END = 8
"""Bytes behind the footer: its size and the magic word."""
_MAX_FOOTER = 1 << 28
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Seal:
    """Which part of which run a file is."""

    run: str
    """The sha256 of the run's manifest."""
    start: int
    """Position of the first sample among those of the run."""
    stop: int

    @property
    def text(self) -> str:
        """What goes into the file, without the checksum yet."""
        return f'{{"run": "{self.run}", "start": {self.start}, "stop": {self.stop}, "sha256": "{_ZEROS.decode()}"}}'


@dataclass(slots=True)
class Sealer:
    """Computes the checksum while a file is written."""

    _sum: Any = field(default_factory=hashlib.sha256)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        self._sum.update(data)

    def sealed(self, end: bytes) -> bytes:
        """Return the last bytes of the file, which hold the text of the seal, with the checksum."""
        self._sum.update(end)
        (match,) = _SEAL.finditer(end)
        digits: str = self._sum.hexdigest()
        return end[: match.start("sum")] + digits.encode() + end[match.end("sum") :]


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file looks like."""

    whole: bool
    """Whether it ends as a Parquet file does."""
    seal: Seal | None = None
    intact: bool = False
    """Whether its bytes are those that were sealed; not looked at where only the end was read."""


def examine(file: IO[bytes], *, all_of_it: bool = True) -> Examined:
    """Look at a file that should be sealed.

    Args:
        file: Open for reading.
        all_of_it: Whether to compute the checksum, or only to read the seal.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END))
    last = file.read(_END)
    if len(last) < _END or last[4:] != _MAGIC:
        return Examined(whole=False)
    length = struct.unpack("<I", last[:4])[0] + _END
    if length > min(size, _MAX_FOOTER):
        return Examined(whole=False)
    file.seek(size - length)
    end = file.read(length)
    found = list(_SEAL.finditer(end))
    if len(found) != 1:
        return Examined(whole=True)
    match = found[0]
    seal = Seal(match["run"].decode(), int(match["start"]), int(match["stop"]))
    if not all_of_it:
        return Examined(whole=True, seal=seal)
    blank = end[: match.start("sum")] + _ZEROS + end[match.end("sum") :]
    return Examined(True, seal, _sum_of(file, size - length, blank) == match["sum"].decode())


def _sum_of(file: IO[bytes], size: int, end: bytes) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while size:
        block = file.read(min(size, _BLOCK))
        if not block:
            break
        digest.update(block)
        size -= len(block)
    digest.update(end)
    return digest.hexdigest()
