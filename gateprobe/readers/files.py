"""Which files reading a model opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gateprobe.errors import GateprobeError
from gateprobe.files.remote import is_url, local_path
from gateprobe.readers.indexes import named_files
from gateprobe.readers.savedmodel.named import files_of as checkpoint_files
from gateprobe.readers.savedmodel.named import index_of

SAVED_MODEL = "saved_model.pb"


def model_files(model: str) -> Iterator[str]:
    """Yield the model and every file behind it: all of a SavedModel folder or checkpoint, the shards of an index.

    Args:
        model: A path or a URL.
    """
    yield model
    path = Path(local_path(model))
    try:
        if is_url(model):
            return
        saved = savedmodel_folder(path)
        if saved is not None:
            yield from (os.path.join(folder, name) for folder, _, names in os.walk(saved) for name in names)  # noqa: PTH118
            return
        index = checkpoint_index(path)
        if index is not None:
            yield from map(str, checkpoint_files(index))
        elif path.is_file():
            yield from (str(path.with_name(name)) for name in _shards(path))
    except (OSError, ValueError, GateprobeError):
        return  # reading the model will say what is wrong


def savedmodel_folder(path: Path) -> Path | None:
    """Return the folder of a SavedModel, given that or the ``saved_model.pb`` in it; ``None`` for anything else."""
    folder = path.parent if path.name == SAVED_MODEL and not path.is_dir() else path
    try:
        return folder if (folder / SAVED_MODEL).exists() else None
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def checkpoint_index(path: Path) -> Path | None:
    """Return the index of the checkpoint of TensorFlow that a path means, ``None`` for anything else.

    Raises:
        ReadError: A file ``checkpoint`` names none that is there.
    """
    try:
        return index_of(path)
    except (OSError, ValueError):
        return None


def _shards(path: Path) -> list[str]:
    with path.open("rb") as file:
        return named_files(file, path.stat().st_size, path.name)
