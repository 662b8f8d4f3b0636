"""Tells what a file is by what is in it, never by its name: which kind of trace, or none."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from gateprobe.errors import GateprobeError
from gateprobe.files.remote import is_url, local_path
from gateprobe.readers import hdf5
from gateprobe.readers.archive import MAGIC as ZIP_MAGIC
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.writers import arrow_footer, parquet_footer
from gateprobe.writers.arrays import METADATA_KEY
from gateprobe.writers.folders import MANIFEST, ZARR_ROOT

_HEAD = 64


class Kind(Enum):
    """The kinds of files that hold traces; the value is for people."""

    NPZ = "npz"
    HDF5 = "h5"
    PARQUET = "parquet"
    ARROW = "arrow"
    TEXT = "csv"
    JSONL = "jsonl"
    PARTS = "folder of Parquet files"
    ZARR = "zarr"


_MAGIC = {
    ZIP_MAGIC: Kind.NPZ,
    hdf5.MAGIC: Kind.HDF5,
    parquet_footer.MAGIC: Kind.PARQUET,
    arrow_footer.MAGIC: Kind.ARROW,
    b"sample,": Kind.TEXT,
    b"sample\t": Kind.TEXT,
    b'{"sample":': Kind.JSONL,
}
"""How files begin."""


def is_trace(name: str) -> bool:
    """Whether a file or folder is a trace that gateprobe wrote; false where there is none, and by URL.

    Nothing but its beginning, or what it says of itself, is read.
    """
    with suppress(OSError, ValueError, GateprobeError, zipfile.BadZipFile):
        if is_url(name):
            return False
        path = Path(local_path(name))
        kind = kind_of(path)
        if kind is Kind.NPZ:
            with zipfile.ZipFile(path) as archive:
                return f"{METADATA_KEY}.npy" in archive.namelist()
        if kind is Kind.HDF5:
            with path.open("rb") as file:
                return _is_described(file, path.stat().st_size)
        return kind is not None
    return False


def kind_of(path: Path) -> Kind | None:
    """Return what a regular file or a folder would be if it held a trace; ``None`` where it cannot."""
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return Kind.PARTS
        return Kind.ZARR if (path / ZARR_ROOT).is_file() else None
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _is_described(file: BinaryIO, size: int) -> bool:
    """Whether an HDF5 file has our metadata; a model has none.

    Nothing but the names of attributes is read, so that the heaps of long texts, which `hdf5.opened` looks for in the
    whole file, do not matter.
    """
    library = hdf5.library()  # before the fork, so that it is imported once

    def look() -> bool:
        file.seek(0)
        with hdf5.translated("the HDF5 file"), library.File(file, "r") as opened:
            return METADATA_KEY in opened.attrs

    try_in_fork(look, file, size, 0)
    return look()
