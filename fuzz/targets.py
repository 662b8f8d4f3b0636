"""What is fuzzed: for each reader a function that takes bytes and fails when the reader breaks a promise.

The promise: a `GateprobeError` or a right answer. Whatever else comes out is a finding: another exception, a crash, a
hang, too much memory, or an answer that differs from what an independent reader says or from what the file held before
it was edited. No target needs atheris, so the tests replay recorded inputs without it.
"""

import atexit
import io
import json
import math
import re
import shutil
import tempfile
import tokenize
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import h5py
import numpy as np

from fuzz import edits, json_mutator, seeds
from gateprobe.analysis.weights import weights_of
from gateprobe.errors import GateprobeError, InputError, printable
from gateprobe.graph import Era, ModelGraph, ModelRecord, WeightArray, WeightGroup, WeightStore
from gateprobe.inputs.array_files import NpzFile, parse_npy
from gateprobe.inputs.tables import read_table
from gateprobe.model import Model
from gateprobe.opened_model import OpenedModel
from gateprobe.readers import safe_json, tfjs, wiring
from gateprobe.readers.acyclic import references
from gateprobe.readers.architecture import read_architecture
from gateprobe.readers.crash_guard import try_in_fork
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.savedmodel.bundle import Bundle, Entry, open_bundle
from gateprobe.readers.savedmodel.objects import check_paths, described_objects, tracked_objects
from gateprobe.readers.savedmodel.wire import parse
from gateprobe.readers.shards import shard_names
from gateprobe.readers.sources import read_hdf5, read_zip
from gateprobe.semantics import semantics_of
from gateprobe.writers.names import archive_key, cell_text, column_text

BUDGET = 64 << 20

Mutate = Callable[[bytes, int], bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """One harness."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    mutate: Mutate | None = None
    """The structure-aware mutator: an input and a number → another input."""


# --- JSON and graphs


def json_text(data: bytes) -> None:
    """What the strict parser accepts, Python's own parser reads the same."""
    try:
        value = safe_json.loads(data, "here")
    except GateprobeError as error:
        _check_message(error)
        return
    assert value == json.loads(data)


def architecture(data: bytes) -> None:
    """A graph that is accepted has no dangling reference."""
    try:
        value = safe_json.loads(data, "here")
        for era in Era:
            model, _ = _accepted(lambda era=era: read_architecture(value, era)) or (None, ())
            if model is not None:
                _check_graph(model)
    except GateprobeError:
        return


def wiring_file(data: bytes) -> None:
    """The same for wiring files."""
    try:
        value = safe_json.loads(data, "here")
        if not isinstance(value, dict) or wiring.MARK not in value:  # then it is taken for an architecture
            return
        model, _ = wiring.parse(value).model()
    except GateprobeError as error:
        _check_message(error)
        return
    _check_graph(model)


def shards(data: bytes) -> None:
    """No index of shards leads out of its folder."""
    try:
        names = shard_names(data, "here")
    except GateprobeError as error:
        _check_message(error)
        return
    assert all("/" not in name and name not in ("", ".", "..") for name in names)


def tfjs_model(data: bytes) -> None:
    """What is read from a changed `model.json` and its shards is what the manifest says, by NumPy's own reading."""
    try:
        value = safe_json.loads(data, "here")
    except GateprobeError as error:
        _check_message(error)
        return
    if not tfjs.is_tfjs(value):
        return
    stored = seeds.tfjs_shards()
    try:
        found = tfjs.read_tfjs(_tfjs_folder() / "model.json", value, None, Budget(BUDGET))
    except GateprobeError as error:
        _check_message(error)
        return
    read = {array.name: array.value for array in _arrays(found.weights.root)}
    for name, expected in _manifest(value, stored):
        if name in read:  # states of training are left out
            np.testing.assert_array_equal(read[name], expected)
    assert len(read) <= sum(len(group["weights"]) for group in value["weightsManifest"])


@cache
def _tfjs_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gateprobe-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in seeds.tfjs_shards().items():
        (folder / name).write_bytes(content)
    return folder


def _manifest(value: Any, stored: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the weights of a manifest that are not quantized, one after the other."""
    for group in value["weightsManifest"]:
        data, at = b"".join(stored[name] for name in group["paths"]), 0
        for entry in group["weights"]:
            if entry.get("quantization") is not None:
                break
            count, dtype = math.prod(entry["shape"]), np.dtype(entry["dtype"])
            yield entry["name"], np.frombuffer(data, dtype, count, at).reshape(entry["shape"])
            at += count * dtype.itemsize


def _accepted(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except GateprobeError as error:
        _check_message(error)
        return None


def _check_message(error: GateprobeError) -> None:
    assert all(_harmless(line) for line in str(error).split("\n")), repr(str(error))
    assert len(str(error)) < 20_000, len(str(error))


def _harmless(text: str) -> bool:
    """Tell whether a text can neither move a cursor nor hide; wide and narrow spaces are only spaces."""
    return all(character.isprintable() or unicodedata.category(character) == "Zs" for character in text)


def _check_graph(model: ModelRecord) -> None:
    calls = {layer.name: len(layer.calls) or 1 for layer in model.layers}
    assert len(calls) == len(model.layers)
    used = [ref for layer in model.layers for call in layer.calls for ref in references((call.args, dict(call.kwargs)))]
    for ref in [*used, *model.inputs, *model.outputs]:
        assert 0 <= ref.call < calls[ref.layer]
        assert ref.tensor >= 0
    for layer in model.layers:
        if layer.model is not None:
            _check_graph(layer.model)


# --- containers


def hdf5(data: bytes) -> None:
    """What is read from a damaged HDF5 file is what h5py itself reads from it, and all of it is in the file."""
    _survived(edits.chosen(data, seeds.hdf5())[1])


def chunks(data: bytes) -> None:
    """The same for files in chunks, whose index can crash the library."""
    _survived(edits.chosen(data, seeds.chunked())[1])


def _survived(file: bytes) -> None:
    """Read a file as the program does: in a fork first."""
    with tempfile.TemporaryFile() as stream:
        stream.write(file)
        stream.flush()
        try:
            try_in_fork(lambda: check_hdf5(file), cast("BinaryIO", stream), len(file), 1 << 32)
        except GateprobeError as error:
            _check_message(error)
            return
    check_hdf5(file)


def check_hdf5(file: bytes) -> None:
    """Read a file and compare with h5py."""
    try:
        graph = read_hdf5(io.BytesIO(file), None, Budget(BUDGET)).graph("model.h5", "")
    except GateprobeError as error:
        _check_message(error)
        return
    with h5py.File(io.BytesIO(file), "r") as reference:
        for array in _arrays(graph.weights.root):
            _check_stored(reference, array)


def _check_stored(reference: h5py.File, array: WeightArray) -> None:
    dataset = reference[array.name]
    value = dataset[()]
    assert array.value.shape == value.shape
    if dataset.dtype.itemsize != 2 or dataset.dtype.kind == "f":
        np.testing.assert_array_equal(array.value, value)
        assert array.value.dtype == value.dtype.newbyteorder("=")
    if not dataset.size:
        return
    if dataset.chunks is None:
        assert dataset.id.get_storage_size() == value.nbytes
    else:
        needed = np.prod([-(-a // b) for a, b in zip(dataset.shape, dataset.chunks, strict=True)])
        assert dataset.id.get_num_chunks() == needed, "some chunks are not stored"


def keras(data: bytes) -> None:
    """What is read from a damaged zip is what was in it, or nothing."""
    seed, file = edits.chosen(data, seeds.keras())
    check_keras(seed.name, file)


def check_keras(name: str, file: bytes) -> None:
    """Read a file and compare with what the one of this name holds."""
    try:
        found = read_zip(io.BytesIO(file), len(file), None, Budget(BUDGET))
        graph = found.graph("model.keras", "")
    except GateprobeError as error:
        _check_message(error)
        return
    value, weights = _original(name)
    assert found.value == value
    for ours, theirs in zip(_arrays(graph.weights.root), weights, strict=True):
        assert ours.value.tobytes() == theirs


@cache
def _original(name: str) -> tuple[Any, tuple[bytes, ...]]:
    data = next(seed.data for seed in seeds.keras() if seed.name == name)
    found = read_zip(io.BytesIO(data), len(data), None, Budget(BUDGET))
    return found.value, tuple(array.value.tobytes() for array in _arrays(found.weights.root))


def _arrays(group: WeightGroup) -> Iterator[WeightArray]:
    yield from group.arrays
    for child in group.children.values():
        yield from _arrays(child)


def savedmodel(data: bytes) -> None:
    """Objects and metadata of a SavedModel: an error or an answer."""
    half = len(data) // 2 if data[:1] == b"\0" else 0
    try:
        described = described_objects(parse(data[half:], "m"))
        tracked = tracked_objects(parse(data[: half or None], "v"))
        check_paths(tracked, described, "m")
    except GateprobeError as error:
        _check_message(error)


# --- weights and settings


def checkpoint(data: bytes) -> None:
    """A block of an index, under checksums that fit, names tensors that stand in the file, or none."""
    stored = bytes(range(256)) * 16
    try:
        bundle = open_bundle(seeds.index_of(data), lambda count: (io.BytesIO(stored),) * count, "index")
    except GateprobeError as error:
        _check_message(error)
        return
    budget = Budget(BUDGET)
    for key, entry in bundle.entries.items():
        value = _accepted(lambda key=key, entry=entry: _tensor(bundle, key, entry, budget))
        if value is not None and not entry.texts and not entry.parts:
            assert value.shape == entry.shape
            assert value.nbytes <= 2 * len(stored)


def _tensor(bundle: Bundle, key: str, entry: Entry, budget: Budget) -> Any:
    if entry.texts:
        return bundle.texts(key, BUDGET)
    return bundle.array(key, budget) if entry.numeric else None


def weights(data: bytes) -> None:
    """A model in which one array is missing, doubled, cut or turned is refused."""
    if len(data) < 4:
        return
    graphs = _graphs()
    graph = graphs[data[0] % len(graphs)]
    count = len(list(_arrays(graph.weights.root)))
    number, how = int.from_bytes(data[1:3], "big") % count, data[3]
    root, changed = _damaged(graph.weights.root, number, how)
    damaged = replace(graph, weights=WeightStore(graph.weights.scheme, root))
    if not changed:
        return
    try:
        _replayed(damaged)
    except GateprobeError as error:
        _check_message(error)
        return
    raise AssertionError(f"{graph.file}: accepted although array {number} was damaged in way {how % 6}")


def _replayed(graph: ModelGraph) -> None:
    """Plan and, where the inputs are small, predict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = OpenedModel(graph, semantics_of(graph.origin), BUDGET)
        found.plan(outputs=True)
        model = Model(found)
        x = {spec.name: _sample(spec.shape) for spec in model.inputs}
        if sum(value.size for value in x.values()) < 10_000:
            model.predict(x)


def _split(graph: ModelGraph) -> None:
    """Split the weights of recurrent layers by gate, which needs nothing of what lies upstream."""
    layers = weights_of(OpenedModel(graph, semantics_of(graph.origin), BUDGET))
    assert all(layer.to_numpy() for layer in layers)


@cache
def _graphs() -> list[ModelGraph]:
    """Graphs of the seeds that can be replayed."""
    found = []
    for seed in [*seeds.hdf5(), *seeds.chunked(), *seeds.keras()]:
        stream = io.BytesIO(seed.data)
        zipped = seed.name.endswith(".keras")
        source = (
            read_zip(stream, len(seed.data), None, Budget(BUDGET))
            if zipped
            else read_hdf5(stream, None, Budget(BUDGET))
        )
        graph = source.graph(seed.name, "")
        if graph.model is None:
            continue
        try:
            _replayed(graph)
        except GateprobeError:
            continue
        found.append(graph)
    return found


def _damaged(root: WeightGroup, number: int, how: int) -> tuple[WeightGroup, bool]:
    """Return a tree in which one array is wrong; False when this way changes nothing in it."""
    left, done = number, False

    def group_of(group: WeightGroup) -> WeightGroup:
        nonlocal left, done
        arrays = list(group.arrays)
        if 0 <= left < len(arrays):
            done = _damage(arrays, left, how)
        left -= len(group.arrays)
        return replace(group, arrays=tuple(arrays), children={k: group_of(v) for k, v in group.children.items()})

    return group_of(root), done


def _damage(arrays: list[WeightArray], k: int, how: int) -> bool:
    value = arrays[k].value
    match how % 6:
        case 0:
            del arrays[k]
            return True
        case 1:
            arrays.insert(k, arrays[k])
            return True
        case 2 if value.ndim:
            arrays[k] = replace(arrays[k], value=value[:-1])
            return True
        case 3 if value.ndim > 1 and value.shape != value.T.shape:
            arrays[k] = replace(arrays[k], value=np.ascontiguousarray(value.T))
            return True
        case 4:
            arrays[k] = replace(arrays[k], value=value[np.newaxis])
            return True
        case 5 if value.ndim:
            arrays[k] = replace(arrays[k], value=np.concatenate([value, value[..., :1]], -1))
            return True
    return False


def replay(data: bytes) -> None:
    """A model with one setting changed: replayed or refused, never another fault."""
    if len(data) < 2:
        return
    graphs = _graphs()
    graph = graphs[data[0] % len(graphs)]
    check_replay(graph.file, json_mutator.changed(_value(graph), int.from_bytes(data[1:9], "big")))


def check_replay(name: str, value: Any) -> None:
    """Replay an architecture with the weights of the seed of this name."""
    graph = next(graph for graph in _graphs() if graph.file == name)
    for look in (_replayed, _split):
        try:
            model, _ = read_architecture(value, graph.origin.era)
            if model is not None:
                look(replace(graph, model=model))
        except GateprobeError as error:
            _check_message(error)


def _value(graph: ModelGraph) -> Any:
    return _values()[graph.file]


@cache
def _values() -> dict[str, Any]:
    found = {}
    for seed in [*seeds.hdf5(), *seeds.chunked(), *seeds.keras()]:
        stream = io.BytesIO(seed.data)
        zipped = seed.name.endswith(".keras")
        source = (
            read_zip(stream, len(seed.data), None, Budget(BUDGET))
            if zipped
            else read_hdf5(stream, None, Budget(BUDGET))
        )
        found[seed.name] = source.value
    return found


def _sample(shape: tuple[Any, ...] | None) -> Any:
    """Return two samples, with 3 for sizes that are open or nonsense."""
    sizes = [size if type(size) is int and 0 <= size < 1000 else 3 for size in (shape or (2,))]
    return np.ones([2, *sizes[1:]], np.float32)


# --- samples


def npy(data: bytes) -> None:
    """What is read is what NumPy reads."""
    try:
        value = parse_npy(data, "x.npy")
    except InputError as error:
        _check_message(error)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reference = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, SyntaxError, tokenize.TokenError):  # NUL as padding: what the header says is still plain
            return
    assert value.dtype == reference.dtype
    assert value.shape == reference.shape
    assert value.tobytes() == reference.tobytes()


def npz(data: bytes) -> None:
    """What is read from a damaged archive is what was in it, or nothing."""
    seed, file = edits.chosen(data, seeds.npz())
    original = np.load(io.BytesIO(seed.data))
    try:
        archive = NpzFile(io.BytesIO(file), "x.npz", BUDGET)  # type: ignore[arg-type]  # zipfile takes streams too
        values = {key: archive.read(key) for key in archive.keys}
    except InputError as error:
        _check_message(error)
        return
    known = {original[key].tobytes() for key in original.files}
    assert all(value.tobytes() in known for value in values.values())


def table(data: bytes) -> None:
    """The numbers of a table are those that Python reads in it."""
    shape = [(None, None), (None, None, None), (None,), (None, None, 1)][data[0] % 4] if data else None
    try:
        value = read_table(data[1:], "x.csv", shape)
    except InputError as error:
        _check_message(error)
        return
    assert value.size
    assert value.dtype.kind in "fi"
    if b'"' in data or b"sample" in data:
        return
    rows = re.split(rb"\r?\n", data[1:].removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"))
    cells = [[cell.decode().strip() for cell in re.split(rb"[\t,]", row)] for row in rows if row]
    if not _is_number(cells[0][0]):
        return
    if all(len(row) == len(cells[0]) and all(map(_is_number, row)) for row in cells):
        np.testing.assert_array_equal(value.ravel(), np.array(cells, np.float64).ravel())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- names


def names(data: bytes) -> None:
    """A neutral name is printable, no formula, no path out, and still tells which name it was."""
    text = data.decode("utf-8", "surrogatepass" if _valid(data) else "replace")
    assert _harmless(printable(text))
    cell, key = cell_text(text), archive_key(text)
    assert _harmless(cell)
    assert cell[:1] not in ("=", "+", "-", "@")
    assert _unescaped(cell) == text
    assert all(part not in ("", ".", "..") for part in key.split("/"))
    assert "\\" not in re.sub(r"\\x[0-9a-f]{0,2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|\\[ntr]", "", key)
    column_text(text).encode("utf-8")


def _valid(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([ntr]))")


def _unescaped(text: str) -> str:
    plain = {"n": "\n", "t": "\t", "r": "\r"}
    return _ESCAPE.sub(lambda m: plain[m[4]] if m[4] else chr(int(m[1] or m[2] or m[3], 16)), text)


def _json_seeds(values: Callable[[], list[Any]]) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode() for value in values()]


def _edit_seeds(values: Callable[[], list[edits.Seed]]) -> Callable[[], list[bytes]]:
    return lambda: [bytes([k]) for k in range(len(values()))]


def _of_json(values: Callable[[], list[Any]]) -> Mutate:
    return lambda data, seed: json_mutator.mutated(data, values(), seed)


def _of_edits(values: Callable[[], list[edits.Seed]]) -> Mutate:
    return lambda data, seed: edits.mutated(data, values(), seed)


def _numbered(data: bytes, seed: int, size: int) -> bytes:
    """Any bytes are an input here: a fresh one for each number."""
    return np.random.default_rng(seed).bytes(size)


def _indexes() -> list[Any]:
    return [{"metadata": {"total_size": 9}, "weight_map": {"/a/vars": "m_0.weights.h5", "/b": ["m_1.h5", "m_0.h5"]}}]


TARGETS = {
    "json": Target(json_text, _json_seeds(seeds.architectures)),
    "architecture": Target(architecture, _json_seeds(seeds.architectures), _of_json(seeds.architectures)),
    "wiring": Target(wiring_file, _json_seeds(seeds.wirings), _of_json(seeds.wirings)),
    "shards": Target(shards, _json_seeds(_indexes), _of_json(_indexes)),
    "tfjs": Target(tfjs_model, _json_seeds(seeds.tfjs), _of_json(seeds.tfjs)),
    "hdf5": Target(hdf5, _edit_seeds(seeds.hdf5), _of_edits(seeds.hdf5)),
    "chunks": Target(chunks, _edit_seeds(seeds.chunked), _of_edits(seeds.chunked)),
    "keras": Target(keras, _edit_seeds(seeds.keras), _of_edits(seeds.keras)),
    "savedmodel": Target(savedmodel, seeds.metadata),
    "checkpoint": Target(checkpoint, seeds.blocks),
    "weights": Target(weights, lambda: [bytes(4)], partial(_numbered, size=4)),
    "replay": Target(replay, lambda: [bytes(9)], partial(_numbered, size=9)),
    "npy": Target(npy, seeds.npy),
    "npz": Target(npz, _edit_seeds(seeds.npz), _of_edits(seeds.npz)),
    "table": Target(table, seeds.tables),
    "names": Target(names, seeds.names),
}
