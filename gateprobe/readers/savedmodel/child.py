"""The process that opens a TensorFlow checkpoint: ``python -m ...savedmodel_child ROUTE PREFIX OUT LIMIT``.

A process of its own, because importing TensorFlow is slow and loud, and because its reader, which is C++, may end the
process on a damaged file. It reads arrays and one message; no graph is loaded and nothing of the model runs.

Writes ``OUT/objects.pb``, ``OUT/variables.npz`` and, last, ``OUT/answer.json``.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SIZES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 9: 8, 10: 1, 14: 2, 17: 2, 19: 2, 22: 4, 23: 8}
"""Bytes of one element by ``tensorflow/core/framework/types.proto``: numbers and booleans; no texts, no resources."""
_TRAINING = ("optimizer/", "save_counter/")
_SLOT = "/.OPTIMIZER_SLOT/"


class Reader(Protocol):
    """What both routes to TensorFlow's checkpoint reader offer."""

    def tensor(self, key: str) -> Any:
        """Return one value."""

    def shapes(self) -> Mapping[str, list[int]]:
        """Return the shape of every value."""

    def types(self) -> Mapping[str, int]:
        """Return the type of every value, as a number of ``types.proto``."""


class _Light:
    """TensorFlow's reader without the rest of TensorFlow; see `_light`."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def tensor(self, key: str) -> Any:
        return self._reader.CheckpointReader_GetTensor(self._reader, key.encode())

    def shapes(self) -> Mapping[str, list[int]]:
        return dict(self._reader.get_variable_to_shape_map())

    def types(self) -> Mapping[str, int]:
        kinds = self._reader._GetVariableToDataTypeMap()  # noqa: SLF001 -- as py_checkpoint_reader.py of TensorFlow does
        return {name: int(kind) for name, kind in kinds.items()}


class _Full:
    """The public reader: ``tf.train.load_checkpoint``."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def tensor(self, key: str) -> Any:
        return self._reader.get_tensor(key)

    def shapes(self) -> Mapping[str, list[int]]:
        return dict(self._reader.get_variable_to_shape_map())

    def types(self) -> Mapping[str, int]:
        return {name: kind.as_datatype_enum for name, kind in self._reader.get_variable_to_dtype_map().items()}


def _light() -> Callable[[str], Reader]:
    """Import the reader alone: 0.7 s in place of 5 s for all of TensorFlow, measured with 2.21.

    The packages on the way are stood in for by empty ones, so that only two compiled modules are loaded: the reader,
    and before it the one that makes NumPy known to TensorFlow. Where this fails, the other route is taken.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("tensorflow")
    root = Path(spec.submodule_search_locations[0])
    for name in ("", "python", "python/client", "python/util"):
        package = types.ModuleType(".".join(["tensorflow", *filter(None, name.split("/"))]))
        package.__path__ = [str(root / name)]
        sys.modules[package.__name__] = package
    importlib.import_module("tensorflow.python.client._pywrap_tf_session")
    module = importlib.import_module("tensorflow.python.util._pywrap_checkpoint_reader")
    return lambda prefix: _Light(module.CheckpointReader(prefix.encode()))


def _full() -> Callable[[str], Reader]:
    """Import TensorFlow."""
    import tensorflow as tf  # noqa: PLC0415 -- only on this route

    return lambda prefix: _Full(tf.train.load_checkpoint(prefix))


def main(route: str, prefix: str, out: Path, limit: int) -> None:
    """Copy the object graph and the model's variables out of a checkpoint."""
    opened = _light() if route == "light" else _full()
    try:
        answer = _copied(opened(prefix), out, limit)
    except Exception as error:  # noqa: BLE001 -- TensorFlow raises what it likes; a crash would be no answer
        answer = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
    (out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _copied(reader: Reader, out: Path, limit: int) -> dict[str, Any]:
    kinds, shapes = reader.types(), reader.shapes()
    if OBJECT_GRAPH not in kinds:
        return {"error": "it holds no object graph: it was not saved by TensorFlow 2"}
    keys = sorted(key for key, kind in kinds.items() if kind in _SIZES and _belongs_to_the_model(key))
    needed = sum(_SIZES[kinds[key]] * math.prod(shapes[key]) for key in keys)
    if needed > limit:
        return {"bytes": needed}
    arrays = {f"v{number}": _plain(reader.tensor(key)) for number, key in enumerate(keys)}
    np.savez(out / "variables.npz", **arrays)
    (out / "objects.pb").write_bytes(reader.tensor(OBJECT_GRAPH))
    return {"bytes": needed, "keys": keys}


def _belongs_to_the_model(key: str) -> bool:
    return not key.startswith(_TRAINING) and _SLOT not in key


def _plain(value: Any) -> Any:
    """Return an array of a type that NumPy knows; bfloat16 fits into float32."""
    array = np.asarray(value)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
