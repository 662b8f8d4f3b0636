"""What each container holds: an architecture, weights, a version."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from gateprobe.errors import ReadError
from gateprobe.graph import WeightStore
from gateprobe.readers import archive, hdf5, safe_json, vocabularies, weights
from gateprobe.readers.found import Architecture, Found, refuse_second
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.shards import shard_names

if TYPE_CHECKING:
    import zipfile

    import h5py

_TREE_ROOTS = ("vars", "layers", "_layer_checkpoint_dependencies")


def read_hdf5(stream: BinaryIO, given: Architecture | None, budget: Budget) -> Found:
    """Read HDF5: a whole model, or weights in either scheme."""
    stream.seek(0)
    with hdf5.opened(stream) as file:
        config = hdf5.text_attribute(file, "model_config")
        if config is not None:
            refuse_second(given)
        root = _weights_root(file, whole_model=config is not None)
        store = _store(root, budget)
        owner = file if "keras_version" in file.attrs else root
        inner = hdf5.text_attribute(root, "keras_version")
        return Found(
            container="hdf5" if config is not None else "weights-hdf5",
            value=None if config is None else safe_json.loads(config, "model_config"),
            weights=store,
            keras_version=hdf5.text_attribute(owner, "keras_version"),
            backend=hdf5.text_attribute(owner, "backend"),
            where="attribute keras_version",
            architecture=given,
            versions=() if inner is None else (("attribute keras_version of model_weights", inner),),
        )


def _weights_root(file: h5py.Group, *, whole_model: bool) -> h5py.Group:
    """Return the group that holds the lists of weights, which in a weights file may have a layer named model_weights.

    Source: ``load_weights`` in ``keras/engine/network.py`` 2.2.4 and ``tf_keras/src/engine/training.py`` 2.21.
    """
    if not whole_model and hdf5.name_list(file, "layer_names") is not None:
        return file
    root = hdf5.group(file, "model_weights") if "model_weights" in file else None
    if root is None and whole_model:
        raise ReadError("has an architecture and no weights (no group model_weights)")
    return file if root is None else root


def _store(root: h5py.Group, budget: Budget) -> WeightStore:
    """Read the weights in the scheme that the file uses."""
    if hdf5.name_list(root, "layer_names") is not None:
        return weights.layer_lists(root, budget)
    if "nb_layers" in root.attrs:
        raise ReadError("the weights are from Keras 0.x", remedy="load and save them again with Keras 1.2")
    names = hdf5.child_names(root)
    if any(name.split("\\")[0] in _TREE_ROOTS for name in names) or any(_has_vars(root, name) for name in names):
        return weights.object_tree([root], budget)
    shown = ", ".join(names[:5])
    raise ReadError(f"is HDF5 and not a Keras file: no model_config, no layer_names; it holds {shown or 'nothing'}")


def _has_vars(root: h5py.Group, name: str) -> bool:
    child = hdf5.member(root, name)
    return hdf5.is_group(child) and "vars" in child


def read_zip(stream: BinaryIO, size: int, given: Architecture | None, budget: Budget) -> Found:
    """Read a ``.keras`` zip."""
    with archive.opened(stream, size) as members:
        refuse_second(given)
        value = safe_json.loads(archive.read(members, archive.CONFIG, safe_json.MAX_BYTES), archive.CONFIG)
        inner = value.get("keras_version") if isinstance(value, dict) else None
        words = vocabularies.in_zip(members, budget)
        return Found(
            container="keras",
            value=value,
            weights=_zip_weights(members, budget),
            keras_version=archive.keras_version(members),
            backend=None,
            where=archive.METADATA,
            architecture=given,
            notes=tuple(vocabularies.told(words)),
            versions=((archive.CONFIG, inner),) if isinstance(inner, str) else (),
            vocabularies=words,
        )


def _zip_weights(members: zipfile.ZipFile, budget: Budget) -> WeightStore:
    names = [archive.WEIGHTS]
    if archive.has(members, archive.SHARDS) and not archive.has(members, archive.WEIGHTS):
        names = shard_names(archive.read(members, archive.SHARDS, safe_json.MAX_BYTES), archive.SHARDS)
    with ExitStack() as stack:
        files = []
        for name in names:
            member = stack.enter_context(archive.unpacked(members, name, budget.limit))
            files.append(stack.enter_context(hdf5.opened(member, name)))
        return weights.object_tree(files, budget)
