"""Recognises a trace or numbers in place of the model; imported when the model cannot be read."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateprobe.errors import InputError
from gateprobe.inputs.array_files import NPY_MAGIC
from gateprobe.inputs.files import TEXT_SUFFIXES
from gateprobe.inputs.samples import files_of
from gateprobe.readers.archive import CONFIG
from gateprobe.readers.archive import MAGIC as ZIP_MAGIC
from gateprobe.readers.hdf5 import MAGIC as HDF5_MAGIC
from gateprobe.trace_files.recognised import is_trace


def swapped(model: str, inputs: Sequence[str]) -> InputError | None:
    """Return what to say of a model that is a trace, or holds the numbers of an input, if it does."""
    if is_trace(model):
        return InputError("is a trace, not a model", file=model, remedy="gateprobe inspect shows what it holds")
    what = {"array": "an array", "text": "text"}.get(_kind(model))
    if what is None:
        return None
    found = model_among(inputs)
    if found is None:
        return InputError(f"is {what}, not a model", file=model, remedy="give a model in its place")
    return InputError(f"is {what}, and {found} is a model", file=model, remedy="give the model first, then its inputs")


def model_among(inputs: Sequence[str]) -> str | None:
    """Return the first of some files that is a model."""
    return next((file for file in files_of(inputs) if _kind(file) == "model"), None)


def _kind(file: str) -> str:
    """Say what a file is by its first bytes: ``array``, ``model`` or neither; ``text`` by its name."""
    path = Path(file)
    with suppress(OSError, ValueError, zipfile.BadZipFile):
        if path.is_dir():
            return "model" if (path / "saved_model.pb").exists() else ""
        if path.is_file():
            with path.open("rb") as opened:
                head = opened.read(len(HDF5_MAGIC))
            if head.startswith(ZIP_MAGIC):
                with zipfile.ZipFile(path) as archive:
                    names = archive.namelist()
                return "model" if CONFIG in names else "array" if _are_arrays(names) else ""
            known = {NPY_MAGIC: "array", HDF5_MAGIC: "model"}
            named = "text" if path.suffix.lower() in TEXT_SUFFIXES else ""
            return next((kind for magic, kind in known.items() if head.startswith(magic)), named)
    return ""


def _are_arrays(names: Sequence[str]) -> bool:
    return bool(names) and all(name.endswith(".npy") for name in names)
