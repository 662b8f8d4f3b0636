"""TensorFlow.js layers models: a `model.json` and the shards of weights beside it.

`modelTopology` is an ordinary Keras configuration, `weightsManifest` lists groups of weights, each with the files in
which their bytes stand one behind the other. Sources: ``tensorflowjs/write_weights.py``, ``read_weights.py``,
``quantization.py`` and ``converters/keras_h5_conversion.py`` 4.22.0, ``tfjs-core/src/io/io_utils.ts`` 4.22.0.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import ReadError
from gateprobe.graph import Array, WeightArray, WeightGroup, WeightScheme, WeightStore, freeze
from gateprobe.readers import weights
from gateprobe.readers.found import Architecture, Found, refuse_second
from gateprobe.readers.hdf5 import MAX_DIMENSIONS, Budget
from gateprobe.readers.shards import file_names, read_beside, size_beside
from gateprobe.readers.version import objects

MARKS = ("modelTopology", "weightsManifest")
"""Keys of which a `model.json` has at least one, and no other JSON that gateprobe reads has any."""

PORTED_FROM = "2.2.4"
"""The Keras whose rules TensorFlow.js follows: it was ported from it and kept them (a masked timestep emits the carried
state, ``hard_sigmoid`` has the slope 0.2), which the tests compare with TensorFlow.js itself."""

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int32": np.dtype("<i4"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}
_QUANTIZED: Mapping[str, np.dtype[Any]] = {
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "float16": np.dtype("<f2"),
}
_PLAIN = "convert the model again without that, with tensorflowjs_converter --output_format=tfjs_layers_model"


def is_tfjs(value: Any) -> bool:
    """Tell whether a JSON value is a `model.json`."""
    return isinstance(value, dict) and any(mark in value for mark in MARKS)


def architecture_of(value: Mapping[str, Any]) -> tuple[Any, str | None, str | None]:
    """Return the architecture of a `model.json`, the version that wrote it, and the backend; ``None`` without one.

    Raises:
        ReadError: It is a graph model, which has no Keras layers.
    """
    found = value.get("modelTopology")
    if found is None:
        return None, None, None
    if value.get("format") == "graph-model" or (isinstance(found, dict) and {"node", "library"} & found.keys()):
        raise ReadError(
            "is a graph model of TensorFlow.js, which holds TensorFlow operations and no Keras layers",
            place="modelTopology",
            remedy="give the Keras model, or convert that to a layers model",
        )
    if not isinstance(found, dict):
        raise ReadError("is not an architecture", place="modelTopology")
    config = found.get("model_config", found if "class_name" in found else None)
    if not isinstance(config, dict):
        raise ReadError("holds no model_config", place="modelTopology")
    version, backend = found.get("keras_version"), found.get("backend")
    return config, version if isinstance(version, str) else None, backend if isinstance(backend, str) else None


def read_tfjs(path: Path, value: Mapping[str, Any], given: Architecture | None, budget: Budget) -> Found:
    """Read a layers model, or weights alone.

    Args:
        path: Of the `model.json`; the shards lie beside it.
        value: Its JSON.
        given: An architecture for weights alone, or a wiring file.
        budget: What may still be read.

    Raises:
        ReadError: It is no layers model, a shard is missing, or sizes do not agree.
        UnsafeFile: It names a file outside its folder, or needs too much memory.
    """
    config, said, backend = architecture_of(value)
    if config is not None:
        refuse_second(given)
    digests: list[str] = []
    arrays = list(_arrays(path, value, budget, digests))
    known = config if config is not None or given is None else given.value
    version, evidence = _version(said)
    return Found(
        container="tfjs",
        value=config,
        weights=_store(arrays, known),
        keras_version=version,
        backend=None if backend == "tensor_flow.js" else backend,
        where="modelTopology",
        architecture=given,
        digests=tuple(digests),
        evidence=evidence,
    )


def shard_names(value: Mapping[str, Any], place: str) -> list[str]:
    """Return the files that the manifest names, each once."""
    return list(dict.fromkeys(name for group in _groups(value) for name in file_names(group["paths"], place)))


def _version(said: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the version of Keras whose rules hold, and why where that is not what the file says."""
    if said is None or not said.startswith("tfjs-layers"):
        return said, ()
    return PORTED_FROM, (f"modelTopology says {said[:40]}: TensorFlow.js, ported from Keras {PORTED_FROM}",)


def _groups(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    manifest = value.get("weightsManifest")
    if not isinstance(manifest, list):
        raise ReadError("is not a list", place="weightsManifest", remedy="give the model.json with its weights")
    seen: set[str] = set()
    for number, group in enumerate(manifest):
        lists = isinstance(group, dict) and all(isinstance(group.get(key), list) for key in ("paths", "weights"))
        if not lists:
            raise ReadError("is not a group with paths and weights", place=f"weightsManifest/{number}")
        for name in group["paths"]:
            if not isinstance(name, str) or name in seen:
                raise ReadError(f"names {name!r:.80} twice, or it is no text", place=f"weightsManifest/{number}")
            seen.add(name)
        yield group


@dataclass(frozen=True, slots=True)
class _Entry:
    """One weight of the manifest, checked."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    scale: float = 1.0
    offset: float = 0.0

    @property
    def size(self) -> int:
        """Bytes in the shards."""
        return math.prod(self.shape) * self.stored.itemsize

    def array(self, data: bytes) -> Array:
        """Return the numbers, dequantized as ``dequantize_weights`` does: in float64, then rounded."""
        value: Array = np.frombuffer(data, self.stored).reshape(self.shape)
        if self.stored.kind == "u" and self.stored != self.dtype:
            real = value * np.float64(self.scale) + np.float64(self.offset)
            value = np.round(real) if self.dtype.kind == "i" else real
        return freeze(value.astype(self.dtype))


def _arrays(path: Path, value: Mapping[str, Any], budget: Budget, digests: list[str]) -> Iterator[WeightArray]:
    names: set[str] = set()
    for group in _groups(value):
        entries = [_entry(item) for item in group["weights"]]
        for entry in entries:
            if entry.name in names:
                raise ReadError("occurs twice", place=f"weightsManifest/{entry.name}")
            names.add(entry.name)
        files = file_names(group["paths"], "weightsManifest")
        _check_sizes(entries, sum(size_beside(path, name) for name in files))
        shards = [read_beside(path, name, budget) for name in files]
        digests += [hashlib.sha256(shard).hexdigest() for shard in shards]
        yield from _cut(b"".join(shards), entries, budget)


def _check_sizes(entries: list[_Entry], stored: int) -> None:
    """Refuse files that do not hold exactly the bytes of the weights in them."""
    needed = sum(entry.size for entry in entries)
    if needed != stored:
        raise ReadError(
            f"the weights of a group need {needed:,} bytes and its files hold {stored:,}",
            place=f"weightsManifest/{entries[0].name}" if entries else "weightsManifest",
            remedy="one of the files is damaged, or from another model",
        )


def _cut(data: bytes, entries: list[_Entry], budget: Budget) -> Iterator[WeightArray]:
    """Cut the bytes of a group into its weights."""
    at = 0
    for entry in entries:
        budget.spend(math.prod(entry.shape) * entry.dtype.itemsize, entry.name)
        yield WeightArray(entry.name, entry.array(data[at : at + entry.size]), entry.name)
        at += entry.size


def _entry(item: Any) -> _Entry:
    """Check one entry of the manifest."""
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or not name:
        raise ReadError("a weight has no name", place="weightsManifest")
    place = f"weightsManifest/{name:.120}"
    shape, dtype = item.get("shape"), item.get("dtype")
    sizes = isinstance(shape, list) and all(isinstance(size, int) and 0 <= size < 1 << 40 for size in shape)
    if not sizes or len(shape) > MAX_DIMENSIONS or any(isinstance(size, bool) for size in shape):
        raise ReadError(f"has the shape {shape!r:.60}", place=place)
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ReadError(f"has the dtype {dtype!r:.40} where weights belong", place=place)
    stored, scale, offset = _DTYPES[dtype], 1.0, 0.0
    quantized = item.get("quantization")
    if quantized is not None:
        stored, scale, offset = _quantization(quantized, dtype, place)
    return _Entry(name, tuple(shape), _DTYPES[dtype], stored, scale, offset)


def _quantization(value: Any, dtype: str, place: str) -> tuple[np.dtype[Any], float, float]:
    """Return how a quantized weight is stored, its scale and its smallest value."""
    kind = value.get("dtype") if isinstance(value, dict) else None
    original = value.get("original_dtype", dtype) if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _QUANTIZED or original != dtype or dtype not in ("float32", "int32"):
        raise ReadError(f"is quantized as {value!r:.80}, which is not known", place=place, remedy=_PLAIN)
    if kind == "float16":
        if dtype != "float32":
            raise ReadError(f"is quantized to float16 from {dtype}", place=place, remedy=_PLAIN)
        return _QUANTIZED[kind], 1.0, 0.0
    numbers = [value.get(key) for key in ("scale", "min")]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise ReadError(f"is quantized with scale and min {numbers!r:.80}", place=place)
    return _QUANTIZED[kind], float(numbers[0]), float(numbers[1])


def _store(arrays: list[WeightArray], config: Any) -> WeightStore:
    """Sort the weights by layer: by their paths where the converter took them from a tree, else by their names."""
    numbered = [re.search(r"(^|/)vars/\d+$", array.name) is not None for array in arrays]
    if arrays and all(numbered):
        return weights.tree_of((array.name.split("/"), array) for array in arrays)
    if any(numbered):
        odd = arrays[numbered.index(False)].name
        raise ReadError("is no path to a numbered array, as others are", place=f"weightsManifest/{odd:.120}")
    layers = {} if config is None else _owners(config)
    groups: dict[str, list[WeightArray]] = {name: [] for names in layers.values() for name in names}
    for array in arrays:
        groups.setdefault(_owner(array.name, layers), []).append(array)
    children = {name: WeightGroup(arrays=tuple(found)) for name, found in groups.items()}
    return WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=children))


def _owners(config: Any) -> dict[str, list[str]]:
    """Return for each name of a layer, at any depth, the layers of the model itself in which it occurs.

    A Bidirectional names its halves after the layer it was given (``Bidirectional.__init__`` of
    ``tfjs-layers/src/layers/wrappers.ts`` and of Keras).
    """
    inside = config.get("config") if isinstance(config, dict) else None
    listed = inside.get("layers") if isinstance(inside, dict) else inside
    owners: dict[str, list[str]] = {}
    for entry in listed if isinstance(listed, list) else []:
        name = _name(entry)
        if name is None:
            continue
        for inner in {name, *_inner_names(entry)}:
            owners.setdefault(inner, []).append(name)
    return owners


def _inner_names(entry: Mapping[str, Any]) -> Iterator[str]:
    for item in objects(entry):
        name = _name(item)
        if name is not None and "class_name" in item:
            yield from (name, f"forward_{name}", f"backward_{name}")


def _name(entry: Any) -> str | None:
    """Return the name in a layer's entry or in its configuration."""
    if not isinstance(entry, dict):
        return None
    config = entry.get("config")
    for place in (config, entry):
        if isinstance(place, dict) and isinstance(place.get("name"), str):
            return str(place["name"])
    return None


def _owner(weight: str, layers: Mapping[str, list[str]]) -> str:
    """Return the layer of the model to which a weight belongs: the first word of its path that names one.

    TensorFlow puts the names of surrounding scopes in front, such as that of a Sequential that was built when called.
    """
    *scopes, _ = weight.split("/")
    if not layers:
        return scopes[0] if scopes else weight
    for scope in _scopes(scopes):
        found = _exact(scope, layers.get(scope, ()))
        if len(found) == 1:
            return found[0]
        if found:
            raise ReadError(
                f"belongs to {' or '.join(found[:4])}: several of them hold a layer {scope}",
                place=f"weightsManifest/{weight:.120}",
                remedy="rename the layers of the Keras model, and convert it again",
            )
    raise ReadError("names no layer of the model", place=f"weightsManifest/{weight:.120}")


def _scopes(parts: list[str]) -> Iterator[str]:
    """Yield what may be the name of a layer in a path, which may hold slashes itself: from the left, longest first."""
    for start in range(len(parts)):
        for end in range(len(parts), start, -1):
            yield "/".join(parts[start:end])


def _exact(scope: str, found: Iterable[str]) -> list[str]:
    """Prefer the layer that has this name itself over those that hold one of this name."""
    counted = Counter(found)
    return [scope] if scope in counted else list(counted)
