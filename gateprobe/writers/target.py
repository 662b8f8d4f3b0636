"""Where results go: files that appear whole or not at all, and standard output.

A file is written without a name where the system can do that (Linux), so that even a killed process leaves nothing
behind; elsewhere under a temporary name beside the target. What goes to a URL is written here first.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from gateprobe.errors import OutputError
from gateprobe.files.places import STREAM, descriptor_of
from gateprobe.files.remote import Remote, is_url, local_path, redact_url, remote

_ACL = "system.posix_acl_access"


@dataclass(slots=True, eq=False)
class Target:
    """One result on its way."""

    name: str
    """As the user wrote it."""
    file: BinaryIO
    """Open for writing; also for reading and seeking when it is a regular file."""
    final: Path | None = None
    """The regular file that it becomes; ``None`` for standard output and devices."""
    replace: bool = False
    """Whether a file that is there may be replaced."""
    temporary: Path | None = None
    """The name that the file has for now, if it has one."""
    upload: Remote | None = None
    """Where it goes by URL."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, in which one can seek, and becomes one."""
        return self.final is not None or self.upload is not None

    def write(self, data: bytes) -> None:
        """Write all of a small result.

        Raises:
            OutputError: It cannot be written.
        """
        with blamed(self.name):
            self.file.write(data)

    def publish(self) -> None:
        """Give the file its name, when everything has been written.

        Raises:
            OutputError: It cannot be written to the end, or the name has been taken meanwhile.
        """
        with blamed(self.name):
            self.file.flush()
            if self.final is not None:
                _take_over(self.final, self.file)
            if self.upload is not None:
                self._refuse_to_replace(self.upload)
                self.upload.store(self.file)
            if self.final is None:
                return
            if self.temporary is None and not self.replace:
                _link(self.file, self.final)
                return
            if self.temporary is None:
                self.temporary = _free_name(self.final.parent)
                _link(self.file, self.temporary)
            if not self.replace and os.path.lexists(self.final):
                raise _exists(self.name)
            self.temporary.replace(self.final)
            self.temporary = None

    def _refuse_to_replace(self, there: Remote) -> None:
        if not self.replace and there.exists():
            raise _exists(self.name)

    def close(self) -> None:
        """Close the file and remove what has not been published."""
        if self.file is not getattr(sys.stdout, "buffer", None):
            with suppress(OSError):
                self.file.close()
        if self.temporary is not None:
            with suppress(OSError):
                self.temporary.unlink()


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Turn faults of the operating system into `OutputError`, except a closed pipe: its reader has seen enough."""
    try:
        yield
    except BrokenPipeError:
        raise
    except FileExistsError:
        raise _exists(name) from None
    except OSError as error:
        shown = "standard output" if name == STREAM else name
        raise OutputError(f"cannot write: {error.strerror or error}", file=shown) from None


@contextmanager
def open_target(name: str, *, force: bool) -> Iterator[Target]:
    """Open a file, a device or standard output (``-``) for a result.

    Args:
        name: Where to.
        force: Whether an existing file may be replaced.

    Raises:
        OutputError: It exists already, or it cannot be written.
    """
    with blamed(name):
        target = _stdout() if name == STREAM else _open(name, force=force)
    try:
        yield target
    finally:
        target.close()


def write_files(contents: Mapping[str, bytes], *, force: bool) -> None:
    """Write small files: all of them appear, or none.

    Args:
        contents: Name → bytes.
        force: Whether existing files may be replaced.

    Raises:
        OutputError: One exists already, or cannot be written.
    """
    with ExitStack() as stack:
        targets = [stack.enter_context(open_target(name, force=force)) for name in contents]
        for target, data in zip(targets, contents.values(), strict=True):
            target.write(data)
        for target in targets:
            target.publish()


def refuse_existing(names: Iterable[str]) -> None:
    """Refuse files that are there already, before anything is computed for them; what is no plain file is left out.

    Raises:
        OutputError: One is there.
    """
    for name in names:
        if name != STREAM and not is_url(name) and descriptor_of(local_path(name)) is None:
            with suppress(ValueError):  # a NUL in the name: opening it will say so
                if os.path.isfile(local_path(name)):  # noqa: PTH113 - a folder that cannot be entered is no fault yet
                    raise _exists(name)


def scratch(target: Target) -> IO[bytes]:
    """Return a nameless file beside a target for what has to be put in order first; small ones stay in memory."""
    folder = None if target.final is None else str(target.final.parent)
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=1 << 21, dir=folder))


def _stdout() -> Target:
    if sys.stdout is None:
        raise OutputError("standard output is closed", remedy="use -o FILE")
    sys.stdout.flush()
    return Target(STREAM, cast("BinaryIO", sys.stdout.buffer))


def _open(name: str, *, force: bool) -> Target:
    if is_url(name):
        return _open_remote(name, force=force)
    number = descriptor_of(local_path(name))
    if number is not None:
        return _stdout() if number == 1 else Target(name, cast("BinaryIO", os.fdopen(os.dup(number), "wb")))
    # behind a symbolic link, the file it points to is replaced, not the link
    final = Path(os.path.realpath(local_path(name)))
    if final.is_dir():
        raise OutputError("is a folder", file=name, remedy="name a file in it")
    if final.exists() and not final.is_file():
        return Target(name, cast("BinaryIO", final.open("wb")))
    if final.exists() and not force:
        raise _exists(name)
    if not final.parent.is_dir():
        raise OutputError("cannot write: there is no such folder", file=name)
    return _open_nameless(name, final, force=force) or _open_temporary(name, final, force=force)


def _open_remote(name: str, *, force: bool) -> Target:
    if "::" in name:
        raise OutputError("a URL within a URL cannot be written to", file=redact_url(name), remedy="name a plain URL")
    there = remote(name)
    if not force and there.exists():
        raise _exists(redact_url(name))
    return Target(redact_url(name), cast("BinaryIO", tempfile.TemporaryFile()), replace=force, upload=there)


def _open_nameless(name: str, final: Path, *, force: bool) -> Target | None:
    """Open a file that has no name yet, or return ``None`` where the file system cannot do that."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        number = os.open(final.parent, os.O_TMPFILE | os.O_RDWR, _first_mode(final))
    except OSError:
        return None
    return Target(name, cast("BinaryIO", os.fdopen(number, "w+b")), final, force)


def _first_mode(final: Path) -> int:
    """Return the permissions to begin with: what replaces a file is for its owner alone until `_take_over`."""
    return 0o600 if final.exists() else 0o666


def _take_over(old: Path, new: BinaryIO) -> None:
    """Give a new file the owner, the permissions and the access list of the file that it will replace."""
    try:
        status = old.stat()
    except OSError:
        return
    number, own = new.fileno(), os.fstat(new.fileno())
    if not hasattr(os, "fchown"):
        return
    kept = status.st_mode & 0o777
    for owner, group in ((status.st_uid, -1), (-1, status.st_gid)):
        if owner not in (-1, own.st_uid) or group not in (-1, own.st_gid):
            try:
                os.fchown(number, owner, group)
            except OSError:
                kept &= 0o707 if group != -1 else 0o777  # what one group may do is not for another
    os.fchmod(number, kept)
    with suppress(OSError, AttributeError):  # AttributeError: there are no access lists on this system
        os.setxattr(number, _ACL, os.getxattr(old, _ACL))


def _open_temporary(name: str, final: Path, *, force: bool) -> Target:
    temporary = _free_name(final.parent)
    number = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, _first_mode(final))
    return Target(name, cast("BinaryIO", os.fdopen(number, "w+b")), final, force, temporary)


def _free_name(folder: Path) -> Path:
    return folder / f".gateprobe-{os.urandom(8).hex()}"


def _link(file: BinaryIO, path: Path) -> None:
    """Give a nameless file its name; fails when the name is taken."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:  # only with a folder does Python call linkat(AT_SYMLINK_FOLLOW), which reaches the file behind /proc
        os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _exists(name: str) -> OutputError:
    return OutputError("exists already", file=name, remedy="use --force to replace it")
