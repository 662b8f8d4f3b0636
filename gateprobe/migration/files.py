"""Writes a graph in today's words as a ``.keras`` zip or as HDF5, without Keras.

Sources: ``_save_model_to_fileobj`` and ``H5IOStore`` in ``keras/src/saving/saving_lib.py``, ``save_model_to_hdf5`` and
``save_attributes_to_hdf5_group`` in ``keras/src/legacy/saving/legacy_h5_format.py`` 3.15.1. The same graph gives the
same bytes: no date, no random names.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gateprobe.graph import Array, LayerRecord, ModelGraph, Namespace, WeightGroup
from gateprobe.layers.binding.weight_order import layer_paths, order_of
from gateprobe.migration.modern import TARGET, modern_semantics
from gateprobe.migration.serialized import model_config
from gateprobe.replay.plan import model_of

if TYPE_CHECKING:
    import h5py

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MOST = 64_512
"""Bytes that an HDF5 attribute may have (``HDF5_OBJECT_HEADER_LIMIT``)."""


def keras_bytes(graph: ModelGraph) -> bytes:
    """Return the bytes of a ``.keras`` file."""
    stream = io.BytesIO()
    members = {
        "metadata.json": _json({"keras_version": TARGET}),
        "config.json": _json(model_config(model_of(graph))),
        "model.weights.h5": _tree_bytes(graph.weights.root),
    }
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return stream.getvalue()


def hdf5_bytes(graph: ModelGraph) -> bytes:
    """Return the bytes of a whole model in HDF5."""
    model = model_of(graph)
    config = model_config(model)
    stream = io.BytesIO()
    with _created(stream) as file:
        file.attrs["keras_version"], file.attrs["backend"] = TARGET, "tensorflow"
        file.attrs["model_config"] = json.dumps({key: config[key] for key in ("class_name", "config")})
        root = file.create_group("model_weights")
        root.attrs["keras_version"], root.attrs["backend"] = TARGET, "tensorflow"
        _put_names(root, "layer_names", [record.name for record in model.layers])
        paths = layer_paths(model)
        for record in model.layers:
            _put_list(root.create_group(record.name), record, f"/{paths[record.name]}", graph.weights.root)
        _put_names(root.create_group("top_level_model_weights"), "weight_names", [])
    return stream.getvalue()


def _put_list(group: h5py.Group, record: LayerRecord, path: str, root: WeightGroup) -> None:
    """Write the weights of a top-level layer in the order in which Keras 3 reads them."""
    names: list[str] = []
    if record.class_name == "InputLayer" or record.namespace is Namespace.OPERATION:
        return _put_names(group, "weight_names", names)
    for place in order_of(record, modern_semantics()).read:
        name = "/".join([*place.names, place.slot.role])
        while name in names:
            name += "_"
        names.append(name)
        group.create_dataset(name, data=_array(root, f"{path}{place.path}", place.slot.role))
    return _put_names(group, "weight_names", names)


def _array(root: WeightGroup, path: str, role: str) -> Array:
    """Return a weight by its object's path, in which ``#`` separates a layer's name."""
    group = root
    for part in path.strip("/").split("/"):
        group = group.children[part.partition("#")[0]]
    return next(array.value for array in group.arrays if array.name == role)


def _put_names(group: h5py.Group, name: str, names: Sequence[str]) -> None:
    """Write a list of names, in several attributes where HDF5 takes no longer one."""
    data = np.array([text.encode() for text in names]) if names else np.array([], "S1")
    parts = 1
    while any(part.nbytes > _MOST for part in np.array_split(data, parts)):
        parts += 1
    for number, part in enumerate(np.array_split(data, parts)):
        group.attrs[name if parts == 1 else f"{name}{number}"] = part


def _tree_bytes(root: WeightGroup) -> bytes:
    """Return ``model.weights.h5``: a group for each object, with its arrays in ``vars``."""
    stream = io.BytesIO()
    with _created(stream) as file:
        _put_tree(file, root)
    return stream.getvalue()


def _put_tree(parent: h5py.Group, group: WeightGroup) -> None:
    variables = parent.create_group("vars")
    for number, array in enumerate(group.arrays):
        variables.create_dataset(str(number), data=array.value)
    for name, child in group.children.items():
        _put_tree(parent.create_group(name), child)


@contextmanager
def _created(stream: io.BytesIO) -> Iterator[h5py.File]:
    import h5py  # noqa: PLC0415 - reading the models needs it, importing this module does not

    with h5py.File(stream, "w") as file:
        yield file


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
