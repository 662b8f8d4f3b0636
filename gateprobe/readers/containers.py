"""Whether a file is what it seems to be: one container, under a name that says which.

A zip is read from its end and HDF5 from 0, 512, 1024, ... bytes on, so that one file can be both, with another model in
each. Which of them a program sees depends on where it looks first, and Keras looks at the suffix.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO

from gateprobe.readers import archive, hdf5

_SUFFIXES = {".h5": "HDF5", ".hdf5": "HDF5", ".keras": "a zip"}
_TWICE = "is two containers at once, and each may hold another model:"


def contradictions(name: str, stream: BinaryIO, size: int, *, keras2: bool = False) -> Iterator[str]:
    """Yield what makes it depend on the program which model a file holds.

    Args:
        name: Of the file.
        stream: Its bytes: a zip or HDF5, else nothing is said.
        size: Their number.
        keras2: Whether Keras 2 wrote it: up to 2.11 it wrote HDF5 under the suffix ``.keras``, and tf_keras tells the
            two apart by their bytes.
    """
    stream.seek(0)
    is_zip = stream.read(4) == archive.MAGIC
    at = hdf5.superblock(stream, size)
    if is_zip:
        yield from _in_zip(stream, size, at)
    elif at is None:
        return
    elif zipfile.is_zipfile(stream):
        yield f"{_TWICE} HDF5, which is what is read here, and a zip at its end"
    suffix, found = PurePath(name).suffix, "a zip" if is_zip else "HDF5"
    said = _SUFFIXES.get(suffix.lower(), found)
    if said != found and not (keras2 and not is_zip):
        yield f"the suffix {suffix} says {said} and the file is {found}: Keras goes by the suffix"


def _in_zip(stream: BinaryIO, size: int, superblock: int | None) -> Iterator[str]:
    """Look for HDF5 beside a zip, and for something before the HDF5 inside it."""
    with archive.opened(stream, size) as members:
        weights = members.NameToInfo.get(archive.WEIGHTS)
        if superblock is not None and (weights is None or superblock != archive.start_of(members, weights)):
            yield f"{_TWICE} a zip, which is what is read here, and HDF5 from byte {superblock:,} on"
        if weights is not None and archive.head(members, archive.WEIGHTS, len(hdf5.MAGIC)) != hdf5.MAGIC:
            yield f"{archive.WEIGHTS} begins with something else than HDF5"
