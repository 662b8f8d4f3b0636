"""Tells traces from models by what is in a file, never by its name."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gateprobe.errors import GateprobeError
from gateprobe.files.remote import is_url, local_path
from gateprobe.readers import hdf5
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.writers.arrays import METADATA_KEY

MANIFEST = "_gateprobe.json"
"""Lies in every folder of parts."""
ZARR_ROOT = "zarr.json"
"""Lies in every Zarr store."""
ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
TEXT_HEADS = (b"sample,", b"sample\t")
"""How CSV and TSV begin, in every layout."""
JSON_HEAD = b'{"sample":'
_HEAD = 64


def is_trace(name: str) -> bool:
    """Whether a file or folder is a trace that gateprobe wrote; false where there is none.

    Nothing but its beginning, or what it says of itself, is read. A file by URL is taken for a model.
    """
    with suppress(OSError, ValueError, GateprobeError, zipfile.BadZipFile):
        if is_url(name):
            return False
        path = Path(local_path(name))
        if path.is_dir():
            return (path / MANIFEST).is_file() or (path / ZARR_ROOT).is_file()
        if path.is_file():
            with path.open("rb") as file:
                return _holds_trace(file, path.stat().st_size)
    return False


def _holds_trace(file: BinaryIO, size: int) -> bool:
    head = file.read(_HEAD)
    file.seek(0)
    if head.startswith(ZIP_MAGIC):
        with zipfile.ZipFile(file) as archive:
            return f"{METADATA_KEY}.npy" in archive.namelist()
    if head.startswith(HDF5_MAGIC):
        return _is_described(file, size)
    return head.startswith((PARQUET_MAGIC, ARROW_MAGIC, *TEXT_HEADS, JSON_HEAD))


def _is_described(file: BinaryIO, size: int) -> bool:
    """Whether an HDF5 file has our metadata; a model has none."""
    hdf5.library()  # before the fork, so that it is imported once

    def look() -> bool:
        with hdf5.opened(file) as opened, hdf5.translated("the HDF5 file"):
            return METADATA_KEY in opened.attrs

    try_in_fork(look, file, size, 0)
    return look()
