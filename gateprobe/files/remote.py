"""Files by URL: ``s3://``, ``gs://``, ``https://`` and whatever else fsspec knows.

Every fault becomes an `OSError` whose text names no credentials. An ordinary path never imports fsspec, and a
``file://`` URL is the path that it names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from gateprobe.errors import InputError, MissingExtra

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://(.*)", re.DOTALL)
_WITHIN = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://([^\s'\"]+)")
_LOCAL = ("file", "local")
_BLOCK = 8 << 20


def is_url(name: str) -> bool:
    """Whether a name is a URL, of another kind than ``file://``."""
    match = _URL.fullmatch(name)
    return match is not None and match[1].lower() not in _LOCAL


def local_path(name: str) -> str:
    """Return the path that a ``file://`` URL names; other names as they are."""
    match = _URL.fullmatch(name)
    if match is None or match[1].lower() not in _LOCAL:
        return name
    from urllib.request import url2pathname  # noqa: PLC0415 - an import of 20 ms that few runs need

    return url2pathname(re.sub(r"^localhost(?=/)", "", match[2]))


def redact_url(text: str) -> str:
    """Return a name, or another text, for messages: URLs in it lose user, password, query and fragment."""
    whole = _URL.fullmatch(text)
    return _bare(whole) if whole is not None else _WITHIN.sub(_bare, text)


def _bare(url: re.Match[str]) -> str:
    address = re.split(r"[?#]", url[2], maxsplit=1)[0]
    place, slash, path = address.partition("/")
    return f"{url[1]}://{place.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True, slots=True, eq=False)
class Remote:
    """One file in a storage that fsspec reaches."""

    url: str
    path: str
    """What the storage calls it."""
    storage: Any
    """An fsspec file system."""

    @property
    def name(self) -> str:
        """The URL for messages."""
        return redact_url(self.url)

    def exists(self) -> bool:
        """Whether there is such a file."""
        with self._faults():
            self.storage.invalidate_cache()
            return bool(self.storage.exists(self.path))

    def version(self) -> str:
        """Return what changes when the file is written to, such as its ETag."""
        with self._faults():
            self.storage.invalidate_cache()
            return hashlib.sha256(str(self.storage.ukey(self.path)).encode()).hexdigest()

    def size(self) -> int:
        """Return the number of bytes."""
        with self._faults():
            return int(self.storage.size(self.path))

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return some bytes."""
        with self._faults():
            return cast("bytes", self.storage.cat_file(self.path, start=start, end=stop))

    def fetched(self) -> BinaryIO:
        """Copy the file into one without a name, for what has to seek in it."""
        import shutil  # noqa: PLC0415 - few runs need them
        import tempfile  # noqa: PLC0415

        copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - for the caller to close
        try:
            with self._faults(), self.storage.open(self.path, "rb") as source:
                shutil.copyfileobj(source, copy, _BLOCK)
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return copy

    def store(self, source: IO[bytes]) -> None:
        """Write the file from the beginning of another; it appears when all of it is there."""
        import shutil  # noqa: PLC0415

        source.seek(0)
        with self._faults():
            target = self.storage.open(self.path, "wb", autocommit=False)
            try:
                shutil.copyfileobj(source, target, _BLOCK)
                target.close()
                target.commit()
            except BaseException:
                target.discard()
                raise

    def names(self) -> list[str]:
        """Return the names of what lies in this folder; none if there is no such folder."""
        with self._faults():
            self.storage.invalidate_cache()
            if not self.storage.exists(self.path):
                return []
            found = self.storage.ls(self.path, detail=False)
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def files(self) -> list[str]:
        """Return every file below this folder, as paths relative to it."""
        with self._faults():
            root = str(self.storage._strip_protocol(self.path)).rstrip("/") + "/"  # noqa: SLF001 - fsspec's own spelling
            return sorted(str(path).removeprefix(root) for path in self.storage.find(self.path))

    def remove(self) -> None:
        """Remove the file, or the folder with all that is in it."""
        with self._faults():
            self.storage.rm(self.path, recursive=True)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise _plain(fault, self.url) from None
        except Exception as fault:  # noqa: BLE001 - every storage has errors of its own
            raise _plain(OSError(errno.EIO, f"{type(fault).__name__}: {fault}"), self.url) from None


def remote(url: str) -> Remote:
    """Find the storage of a URL.

    Raises:
        MissingExtra: fsspec is not installed.
        InputError: fsspec does not know this kind of URL, or a package that it needs is not installed.
    """
    try:
        import fsspec  # noqa: PLC0415 - most runs have no URL
    except ImportError:
        raise MissingExtra("fsspec, which reads and writes URLs,", "remote") from None
    scheme = url.partition("://")[0].lower()
    try:
        storage, path = fsspec.core.url_to_fs(scheme + url[len(scheme) :])
    except ImportError as fault:  # Install s3fs to access S3
        raise InputError(redacted(str(fault), url), file=redact_url(url)) from None
    except Exception as fault:  # noqa: BLE001 - every storage has errors of its own
        raise InputError(redacted(f"cannot be reached: {fault}", url), file=redact_url(url)) from None
    return Remote(url, path, storage)


def joined(folder: str, name: str) -> str:
    """Return the name of a file in a folder, be it a path or a URL."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder, name))


def _plain(fault: OSError, url: str) -> OSError:
    """Return the same fault without details that only a programmer or a thief understands."""
    text = fault.strerror or str(fault)
    if isinstance(fault, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return OSError(fault.errno or errno.EIO, redacted(text, url))


def redacted(text: str, url: str) -> str:
    """Remove from a text what a URL says of users and tokens."""
    address, *query = re.split(r"[?#]", url.partition("://")[2], maxsplit=1)
    user = address.partition("/")[0].rpartition("@")[0]
    for secret in (user, user.partition(":")[2], *query):
        text = text.replace(secret, "...") if secret else text
    return " ".join(redact_url(text).split())[:300]
