"""A seal in a file: a checksum of all its bytes, and for a part of a folder which part of which run it is.

It stands as JSON under a key of its own, where Parquet and Arrow keep their metadata, and in HDF5 as an attribute of
the root. The checksum is the sha256 of the file in which the checksum's own digits are zeros. A file that others wrote
has none, and one without is not checked.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import IO

from gateprobe.errors import ReadError
from gateprobe.writers import arrow_footer, parquet_footer

SEAL_KEY = "gateprobe.seal"
PART_KEY = "gateprobe.part"

_ZEROS = b"0" * 64
_SEAL = re.compile(
    rb'\{(?:"run": "(?P<run>[0-9a-f]{64})", "start": (?P<start>\d{1,18}), "stop": (?P<stop>\d{1,18})'
    rb'|"of": "this file, with zeros here"), "sha256": "(?P<sum>[0-9a-f]{64})"\}'
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_FOOTER = 1 << 28
_HDF5_HEAD = 1 << 16
"""The attributes of the root that are written first stand within so many bytes."""
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


def seal_entry(part: Seal | None = None) -> tuple[str, str]:
    """Return key and text of a seal, to be written before `seal`; the checksum is zeros."""
    if part is not None:
        return PART_KEY, part.text
    return SEAL_KEY, f'{{"of": "this file, with zeros here", "sha256": "{_ZEROS.decode()}"}}'


def seal(file: IO[bytes]) -> None:
    """Put the checksum into the seal of a file that is complete but for it.

    Args:
        file: Open for reading and writing.
    """
    found = _located(file)
    if found is None:
        raise AssertionError("there is no seal")
    at, _ = found
    digits = _sum_of(file, at)
    file.seek(at)
    file.write(digits.encode())
    file.seek(0, io.SEEK_END)


def require_intact(file: IO[bytes]) -> None:
    """Compare all bytes of a file with its checksum, if it has one.

    Raises:
        ReadError: They are others than those that were written.
    """
    found = _located(file)
    if found is not None and _sum_of(file, found[0]) != found[1]["sum"].decode():
        raise ReadError("is damaged or was changed: its sha256 is not the one in its seal", remedy="write it again")


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file looks like."""

    whole: bool
    """Whether it ends as a Parquet file does."""
    seal: Seal | None = None
    intact: bool = False
    """Whether its bytes are those that were sealed; not looked at where only the end was read."""


def examine(file: IO[bytes], *, all_of_it: bool = True) -> Examined:
    """Look at a file that should be a sealed part.

    Args:
        file: Open for reading.
        all_of_it: Whether to compute the checksum, or only to read the seal.
    """
    if _footer(file, parquet_footer.MAGIC) is None:
        return Examined(whole=False)
    found = _located(file)
    if found is None or found[1]["run"] is None:
        return Examined(whole=True)
    at, match = found
    part = Seal(match["run"].decode(), int(match["start"]), int(match["stop"]))
    return Examined(True, part, all_of_it and _sum_of(file, at) == match["sum"].decode())


def _located(file: IO[bytes]) -> tuple[int, re.Match[bytes]] | None:
    """Return where the digits of the checksum stand, and the seal; ``None`` where there is none.

    Names from a model may look like a seal. In Parquet they stand in front of the metadata, and in Arrow and HDF5
    behind the seal; where JSON holds them, their quotes are escaped.
    """
    for magic, which in ((parquet_footer.MAGIC, -1), (arrow_footer.MAGIC, 0)):
        footer = _footer(file, magic)
        if footer is not None:
            return _match(*footer, which)
    file.seek(0)
    head = file.read(_HDF5_HEAD)
    return _match(0, head, 0) if head.startswith(_HDF5) else None


def _match(start: int, data: bytes, which: int) -> tuple[int, re.Match[bytes]] | None:
    found = list(_SEAL.finditer(data))
    return (start + found[which].start("sum"), found[which]) if found else None


def _footer(file: IO[bytes], magic: bytes) -> tuple[int, bytes] | None:
    """Return place and bytes of the footer of a Parquet or Arrow file: its size and the magic word follow it."""
    size, last = file.seek(0, io.SEEK_END), 4 + len(magic)
    file.seek(max(0, size - last))
    end = file.read(last)
    length = int.from_bytes(end[:4], "little")
    if len(end) < last or end[4:] != magic or length > min(size - last, _MAX_FOOTER):
        return None
    start = file.seek(size - last - length)
    return start, file.read(length)


def _sum_of(file: IO[bytes], at: int) -> str:
    """Return the sha256 of a file with zeros in the place of the digits."""
    digest, position = hashlib.sha256(), 0
    file.seek(0)
    while block := file.read(_BLOCK):
        first, last = (min(max(0, place - position), len(block)) for place in (at, at + len(_ZEROS)))
        digest.update(block[:first] + _ZEROS[: last - first] + block[last:] if first < last else block)
        position += len(block)
    return digest.hexdigest()
