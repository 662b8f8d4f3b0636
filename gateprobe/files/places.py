"""Which file a name means, so that no command writes over what it reads, nor one result over another.

Names are compared by what they lead to: device and inode, behind symbolic links and hard links; the folder and the
name, where there is no file yet; the storage and the path, for a URL. `Guard` is told of every file that a command
reads and of every file that it writes, in any order, and refuses what does not go together.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from gateprobe.errors import InputError, OutputError
from gateprobe.files.remote import is_url, local_path, redact_url, remote

STREAM = "-"
"""The name of standard input and of standard output."""

Identity: TypeAlias = tuple[Any, ...]
"""Equal for two names of one file."""

_DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,9})|/proc/(?:self|\d+)(?:/task/\d+)?/fd/(\d{1,9})")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


@dataclass(frozen=True, slots=True)
class Place:
    """What a name leads to."""

    name: str
    """For messages."""
    identity: Identity
    above: frozenset[Identity]
    """The folders that it lies in."""
    is_terminal: bool = False
    """Whether it is a character device such as a terminal, which may be read and written at once."""


@dataclass(slots=True)
class Guard:
    """Knows what a command reads and writes so far."""

    _sources: list[Place] = field(default_factory=list)
    _targets: list[Place] = field(default_factory=list)

    def reads(self, names: Iterable[str]) -> None:
        """Take note of files and folders that are read.

        Raises:
            OutputError: One of them would be overwritten.
        """
        for name in names:
            source = place_of(name, 0)
            self._sources.append(source)
            for target in self._targets:
                _check(source, target)

    def writes(self, names: Iterable[str]) -> None:
        """Take note of files and folders that are written.

        Raises:
            OutputError: One of them is also read, holds or lies in something that is read, or is named twice.
        """
        for name in names:
            target = place_of(name, 1)
            for source in self._sources:
                _check(source, target)
            self._targets.append(target)
        refuse_twice(self._targets)


def refuse_twice(targets: Iterable[Place]) -> None:
    """Refuse two results under one name.

    Raises:
        OutputError: Two places are the same, however they are spelled.
    """
    seen: dict[Identity, Place] = {}
    for target in targets:
        before = seen.setdefault(target.identity, target)
        if before is not target:
            other = "" if before.name == target.name else f", as {before.name} too"
            raise OutputError(f"named twice as an output{other}", file=target.name, remedy="name different files")


def _check(source: Place, target: Place) -> None:
    if source.identity == target.identity and not target.is_terminal:
        raise OutputError("is also an input", file=target.name, remedy="write to another file")
    if target.identity in source.above:
        raise OutputError(f"holds the input {source.name}", file=target.name, remedy="write to another folder")
    if source.identity in target.above:
        raise OutputError(f"lies in the input {source.name}", file=target.name, remedy="write to another folder")


def place_of(name: str, stream: int = 1) -> Place:
    """Find what a name leads to.

    Args:
        name: A path, a URL, or `STREAM`.
        stream: The file descriptor that `STREAM` means.

    Raises:
        InputError: The name is empty.
    """
    if not name:
        raise InputError("the name of a file is empty")
    if name == STREAM:
        return _of_descriptor(stream, ("standard input", "standard output")[stream])
    if is_url(name):
        return _of_url(name)
    path = local_path(name)
    number = descriptor_of(path)
    return _of_path(path) if number is None else _of_descriptor(number, name)


def descriptor_of(path: str) -> int | None:
    """Return the file descriptor that a path such as ``/dev/stdout`` or ``/dev/fd/3`` means."""
    absolute = os.path.normpath(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118 - links must stay
    if absolute in _STANDARD:
        return _STANDARD[absolute]
    match = _DESCRIPTOR.fullmatch(absolute)
    own = match is not None and (match[1] or absolute.startswith(("/proc/self/", f"/proc/{os.getpid()}/")))
    return int(match[1] or match[2]) if match is not None and own else None


def _of_descriptor(number: int, name: str) -> Place:
    try:
        return _of_status(name, os.fstat(number), frozenset())
    except OSError:  # it is closed; opening it will say so
        return Place(name, ("descriptor", number), frozenset())


def _of_path(path: str) -> Place:
    try:
        real = os.path.realpath(path)
        above = frozenset(_folders(real)) | frozenset(_folders(os.path.abspath(path)))  # noqa: PTH100 - keeps links
        try:
            return _of_status(path, Path(real).stat(), above)
        except OSError:
            return Place(path, _missing(Path(real)), above)
    except ValueError:  # a NUL in the name, which no file can have
        return Place(path, ("path", path), frozenset())


def _of_status(name: str, status: os.stat_result, above: frozenset[Identity]) -> Place:
    identity = ("inode", status.st_dev, status.st_ino)
    return Place(name, identity, above, is_terminal=stat.S_ISCHR(status.st_mode))


def _missing(path: Path) -> Identity:
    """Identify a file that is not there yet; some file systems take names for one that differ in case alone."""
    try:
        status = path.parent.stat()
    except OSError:
        return ("path", _folded(str(path)))
    return ("name", status.st_dev, status.st_ino, _folded(path.name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _folders(path: str) -> Iterator[Identity]:
    """Yield the folders that a path lies in, as far as they are there."""
    for folder in Path(path).parents:
        try:
            status = folder.stat()
        except OSError:
            continue
        yield ("inode", status.st_dev, status.st_ino)


def _of_url(url: str) -> Place:
    """Find what a URL leads to: some schemes are other words for a path here."""
    if "::" in url:
        inner = [part for part in url.split("::") if "://" in part][-1:]
        return place_of(inner[0]) if inner and inner[0] != url else Place(redact_url(url), ("url", url), frozenset())
    found = remote(url)
    protocols = {found.storage.protocol} if isinstance(found.storage.protocol, str) else set(found.storage.protocol)
    if protocols & {"file", "local"}:
        return _of_path(found.path)
    options = found.storage.storage_options
    server = tuple(str(options.get(key, "")).lower() for key in ("host", "port", "endpoint_url"))
    path = re.sub(r"/+", "/", found.path.split("?", 1)[0]).rstrip("/")
    store = ("url", tuple(sorted(protocols)), *server)
    folders = [path[:end] for end, character in enumerate(path) if character == "/"]
    return Place(redact_url(url), (*store, path), frozenset((*store, folder) for folder in folders if folder))
