"""Opens a file of a trace: which kind it is, and one kind of error for whatever is wrong with it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from gateprobe.errors import GateprobeError, InputError, ReadError, reason_of
from gateprobe.files.remote import is_url, local_path, redact_url
from gateprobe.stored.described import Metadata
from gateprobe.traces.chunk import TraceChunk

Stored: TypeAlias = tuple[TraceChunk, Metadata]
"""What a file holds: the whole trace, and what it says of itself."""

DEFAULT_MAX_BYTES = 4 << 30
_HEAD = 16


def load(name: str, max_bytes: int | None = None) -> Stored:
    """Read a trace from a file, whatever its name.

    Args:
        name: NPZ, HDF5, Parquet, Arrow, or a CSV or TSV table in the tidy layout.
        max_bytes: Limit for what is read into memory; 4 GiB without it.

    Raises:
        ReadError: It is no such file, or it is damaged.
        UnsafeFile: It would unpack to more than the limit, or than files of its size hold.
    """
    with blamed(name):
        if is_url(name):
            raise ReadError("is a URL", remedy="copy the file to this machine and read the copy")
        path = Path(local_path(name))
        _refuse_special(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return _reader(head)(path, DEFAULT_MAX_BYTES if max_bytes is None else max_bytes)


def _refuse_special(path: Path) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ReadError("is a folder", remedy="name a file in it")
    if not stat.S_ISREG(mode):
        raise ReadError("is not a regular file")


def _reader(head: bytes) -> Callable[[Path, int], Stored]:
    """Choose by the first bytes; the libraries are imported when they are needed."""
    from gateprobe.stored import arrays, tables  # noqa: PLC0415 - they need much

    for magic, reader in (
        (b"PK\x03\x04", arrays.from_npz),
        (b"\x89HDF\r\n\x1a\n", arrays.from_hdf5),
        (b"PAR1", tables.from_parquet),
        (b"ARROW1", tables.from_arrow),
        (b"sample,", tables.from_text),
        (b"sample\t", tables.from_text),
    ):
        if head.startswith(magic):
            return reader
    raise ReadError(
        "is no trace that gateprobe can read back", remedy="give .npz, .h5, .parquet, .arrow, .csv or .tsv, tidy"
    )


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Name the file in every error; what is wrong with it is a `ReadError`."""
    try:
        yield
    except GateprobeError as error:
        kind = ReadError if isinstance(error, InputError) else type(error)
        raise kind(error.reason, file=redact_url(name), place=error.place, remedy=error.remedy) from None
    except OSError as error:
        raise ReadError(reason_of(error), file=redact_url(name)) from None
    except MemoryError:
        raise ReadError("needs more memory than there is", file=redact_url(name)) from None
    except ValueError:  # a NUL in the name
        raise ReadError("is not a possible file name", file=redact_url(name)) from None
