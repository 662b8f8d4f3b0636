"""What each container holds: an architecture, weights, a version."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Era, ModelGraph, ModelRecord, Origin, WeightStore
from gateprobe.readers import archive, contradictions, hdf5, safe_json, version, weights, wiring
from gateprobe.readers.architecture import read_architecture
from gateprobe.readers.contradictions import Verdict
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.wiring import Wiring

if TYPE_CHECKING:
    import zipfile

    import h5py

MAX_METADATA = 1 << 20
MAX_SHARDS = 1_000
_TREE_ROOTS = ("vars", "layers", "_layer_checkpoint_dependencies")


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """A parsed ``model.to_json()``."""

    value: Any
    file: str
    sha256: str
    keras_version: str | None
    backend: str | None
    wiring: Wiring | None = None
    """When it is a wiring file of ours and not an architecture of Keras."""

    @classmethod
    def parse(cls, data: bytes, file: str, sha256: str) -> Architecture:
        """Parse the text of an architecture."""
        value = safe_json.loads(data, "architecture")
        if isinstance(value, dict) and wiring.MARK in value:
            said = value.get("keras_version")
            return cls(value, file, sha256, said if isinstance(said, str) else None, None, wiring.parse(value))
        if not isinstance(value, dict) or "class_name" not in value:
            raise ReadError("is not an architecture", remedy="write one with open(file, 'w').write(model.to_json())")
        texts = {key: value.get(key) for key in ("keras_version", "backend")}
        known = {key: text if isinstance(text, str) else None for key, text in texts.items()}
        return cls(value, file, sha256, known["keras_version"], known["backend"])


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a container held."""

    container: str
    value: Any
    """The architecture as JSON, ``None`` without one."""
    weights: WeightStore
    keras_version: str | None
    backend: str | None
    where: str
    """Where the version stands."""
    architecture: Architecture | None = None
    """The one given beside the file."""
    digests: tuple[str, ...] = ()
    """Of further files."""
    notes: tuple[str, ...] = ()
    """What the user should know of this container."""
    versions: tuple[tuple[str, str], ...] = ()
    """Further places in the file that give a version, and the versions."""

    def graph(self, file: str, sha256: str) -> ModelGraph:
        """Put together what was found."""
        verdict = self._verdict()
        era, evidence, notes, rivals = verdict.era, verdict.evidence, verdict.notes, verdict.rivals
        model: ModelRecord | None = None
        store = self.weights
        if self.architecture is not None and self.architecture.wiring is not None:
            model, store, more = self._wired(self.architecture.wiring)
            notes = (*notes, *more)
        elif self.architecture is not None:
            said = _dialect(self.architecture)
            dialect = era if said is None else said.era
            model, more = read_architecture(self.architecture.value, dialect)
            notes = (*notes, *more, *_disagreement(dialect, era))
            if said is not None and self.architecture.keras_version != self._version:
                evidence, notes = (*evidence, *said.evidence), (*notes, *said.notes)
        elif self.value is not None:
            model, more = read_architecture(self.value, era)
            if model is not None and self.container == "savedmodel":
                model = wiring.adopted(model)
            notes = (*notes, *more)
        else:
            advice = "give the model's JSON, or a wiring file, with --architecture to replay it"
            notes = (*notes, f"the file holds weights alone; {advice}")
        backend = self.backend or (self.architecture.backend if self.architecture else None)
        origin = Origin(self.container, era, evidence, self._version, backend, rivals, sha256)
        left = () if model is None else tuple(contradictions.unreached(model))
        return ModelGraph(file, origin, model, store, (*notes, *left, *self.notes))

    @property
    def _version(self) -> str | None:
        return self.keras_version or (self.architecture.keras_version if self.architecture else None)

    def _wired(self, given: Wiring) -> tuple[ModelRecord, WeightStore, tuple[str, ...]]:
        """Connect the layers as a wiring file says."""
        model, notes = given.model()
        store, more = given.store(self.weights, model)
        own = () if self.value is None else ("the graph is that of the wiring file, not what this file says of itself",)
        return model, store, (*own, *notes, *more)

    def _verdict(self) -> Verdict:
        """Return the era of the numbers: of the Keras that saved the weights."""
        given = self.architecture
        if self.keras_version is not None:
            return contradictions.weigh(self.keras_version, self.where, self.versions, self.value)
        if given is not None and given.keras_version is not None:
            config = None if given.wiring is not None else given.value
            place = f"the architecture {given.file}"
            return contradictions.weigh(given.keras_version, place, self.versions, config)
        value = self.value if given is None or given.wiring is not None else given.value
        inferred = (value and version.era_of_config(value)) or version.era_of_weights(self.weights)
        if inferred is None:
            raise ReadError("nothing in the file tells which Keras wrote it")
        era, sentence = inferred
        rivals = version.rivals_of(era, self.weights, value)
        return Verdict(era, ("no version is recorded", sentence), rivals=rivals)


def _dialect(given: Architecture) -> Verdict | None:
    """Return the era whose words an architecture uses."""
    if given.keras_version is not None:
        return contradictions.weigh(given.keras_version, f"the architecture {given.file}", (), given.value)
    inferred = version.era_of_config(given.value)
    return None if inferred is None else Verdict(inferred[0], (f"architecture: {inferred[1]}",))


def _disagreement(dialect: Era, era: Era) -> tuple[str, ...]:
    if dialect is era:
        return ()
    note = (
        f"the weights are from {era.value} and the architecture from {dialect.value}: activations are computed as in "
        f"{era.value}; choose otherwise with --semantics"
    )
    return (note,)


def read_hdf5(stream: BinaryIO, given: Architecture | None, budget: Budget) -> Found:
    """Read HDF5: a whole model, or weights in either scheme."""
    stream.seek(0)
    with hdf5.opened(stream) as file:
        config = hdf5.text_attribute(file, "model_config")
        if config is not None and given is not None and given.wiring is None:
            raise ReadError("has an architecture of its own", remedy="leave --architecture out")
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
        if given is not None and given.wiring is None:
            raise ReadError("has an architecture of its own", remedy="leave --architecture out")
        value = safe_json.loads(archive.read(members, archive.CONFIG, safe_json.MAX_BYTES), archive.CONFIG)
        metadata: Any = {}
        if archive.has(members, archive.METADATA):
            metadata = safe_json.loads(archive.read(members, archive.METADATA, MAX_METADATA), archive.METADATA)
        said = metadata.get("keras_version") if isinstance(metadata, dict) else None
        inner = value.get("keras_version") if isinstance(value, dict) else None
        return Found(
            container="keras",
            value=value,
            weights=_zip_weights(members, budget),
            keras_version=said if isinstance(said, str) else None,
            backend=None,
            where=archive.METADATA,
            architecture=given,
            versions=((archive.CONFIG, inner),) if isinstance(inner, str) else (),
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


def shard_names(data: bytes, place: str) -> list[str]:
    """Return the files that an index of sharded weights names, each once.

    Source: ``ShardedH5IOStore`` in ``keras/src/saving/saving_lib.py`` 3.15.1.
    """
    index = safe_json.loads(data, place)
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not table:
        raise ReadError("is neither HDF5 nor a .keras zip nor an index of sharded weights", remedy=_json_advice(index))
    listed = [name for value in table.values() for name in _listed(value)]
    for name in listed:
        if not isinstance(name, str) or name in ("", ".", "..") or any(mark in name for mark in "/\\\0:"):
            raise UnsafeFile(f"the index names a file outside its folder: {name!r:.80}", place=place)
    names = dict.fromkeys(listed)
    if len(names) > MAX_SHARDS:
        raise UnsafeFile(f"the index names {len(names)} files", place=place)
    return list(names)


def _json_advice(index: Any) -> str | None:
    if isinstance(index, dict) and "class_name" in index:
        return "this is an architecture: give the weights file and --architecture with this one"
    return None


def _listed(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    else:
        yield value


def read_shards(path: Path, stream: BinaryIO, size: int, given: Architecture | None, budget: Budget) -> Found:
    """Read weights that Keras 3 split over several files beside an index."""
    stream.seek(0)
    if size > safe_json.MAX_BYTES:
        raise ReadError("is neither HDF5 nor a .keras zip")
    names = shard_names(stream.read(), path.name)
    digests = []
    with ExitStack() as stack:
        files = []
        for name in names:
            data, digest = _shard(path.with_name(name), budget)
            digests.append(digest)
            files.append(stack.enter_context(hdf5.opened(io.BytesIO(data), name)))
        store = weights.object_tree(files, budget)
    return Found("weights-hdf5", None, store, None, None, path.name, given, tuple(digests))


def _shard(path: Path, budget: Budget) -> tuple[bytes, str]:
    if path.is_symlink() or not path.is_file():
        raise ReadError(f"the index names {path.name}, and there is no such file beside it")
    size = path.stat().st_size
    if size > budget.limit:
        raise UnsafeFile(f"the shard has {size:,} bytes", place=path.name)
    budget.stored = size + (budget.stored or 0)
    data = path.read_bytes()
    return data, hashlib.sha256(data).hexdigest()
