"""Which files reading a model opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gateprobe.errors import GateprobeError
from gateprobe.files.remote import is_url, local_path
from gateprobe.readers import safe_json
from gateprobe.readers.sources import shard_names


def model_files(model: str) -> Iterator[str]:
    """Yield the model and every file behind it: all of a SavedModel folder, and the shards that an index names.

    Args:
        model: A path or a URL.
    """
    yield model
    path = Path(local_path(model))
    try:
        if is_url(model):
            return
        if (path / "saved_model.pb").exists():
            yield from (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)  # noqa: PTH118
        elif path.is_file():
            yield from (str(path.with_name(name)) for name in _shards(path))
    except (OSError, ValueError, GateprobeError):
        return  # who reads the model says what is wrong


def _shards(path: Path) -> list[str]:
    """Return the files that the index of sharded weights names; none if the file is not one."""
    with path.open("rb") as file:
        head = file.read(64)
        if head.lstrip()[:1] != b"{" or path.stat().st_size > safe_json.MAX_BYTES:
            return []
        return shard_names(head + file.read(), path.name)
