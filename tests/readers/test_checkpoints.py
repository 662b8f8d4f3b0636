"""Weights in TensorFlow's checkpoint format, as its versions wrote them (``data/generate/checkpoints.py``)."""

import atexit
import io
import json
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from readers import bundles

import gateprobe
from gateprobe.errors import ReadError, UnsafeFile, UnsupportedModel
from gateprobe.graph import Era, WeightArray, WeightGroup
from gateprobe.layers.binding.registry import Slot
from gateprobe.layers.binding.weight_assignment import TreeWeights
from gateprobe.model import opened
from gateprobe.readers.files import model_files
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.savedmodel import named
from gateprobe.readers.savedmodel.bundle import open_bundle

DATA = Path(__file__).parents[1] / "data" / "checkpoints.tar.xz"
VERSIONS = {"2.0.4": "2.2.4-tf", "2.4.4": "2.4.0", "2.15.1": "2.15.0", "2.21.0": "2.21.0", "3.15.1": None}
"""TensorFlow, or Keras 3 by itself: the version of Keras in the architecture, which Keras 3 leaves out."""
NEWEST = {"graph": "my.ckpt-01", "chain": "kept/ckpt-3", "translate": "cp-0001.ckpt"}


@cache
def unpacked():
    folder = Path(tempfile.mkdtemp(prefix="gateprobe-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(DATA) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def copied(tmp_path):
    """Return a function that copies what was recorded to where it may be damaged."""
    return lambda path: shutil.copytree(unpacked() / path, tmp_path / "copy")


def recorded(path):
    with np.load(unpacked() / path / "case.npz") as stored:
        arrays = dict(stored)
    return [arrays[key] for key in sorted(arrays) if key[0] == "x"], [
        arrays[key] for key in sorted(arrays) if key[0] == "y"
    ]


def prefix(version, name):
    """Return NAME of NAME.index; beside Keras 3, two models lie in one checkpoint."""
    return unpacked() / version / name / ("both" if version[0] == "3" and name != "chain" else NEWEST[name])


@pytest.mark.filterwarnings("ignore:the file does not tell its version")  # JSON of Keras 3 does not
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NEWEST)
def test_checkpoints_of_every_tensorflow_are_replayed(version, name):
    inputs, outputs = recorded(f"{version}/{name}")
    model = gateprobe.read(prefix(version, name), architecture=unpacked() / version / name / "model.json")
    origin = opened(model).graph.origin
    assert (origin.container, origin.keras_version) == ("checkpoint", VERSIONS[version])
    assert opened(model).notes == ()
    for ours, theirs in zip(model.predict(inputs).values(), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("order", "files"), [("<", 2), (">", 1), (">", 4)])
def test_other_machines_and_several_files_change_no_number(tmp_path, order, files):
    recorded_at, architecture = prefix("2.15.1", "chain"), unpacked() / "2.15.1" / "chain" / "model.json"
    index = recorded_at.with_name(f"{recorded_at.name}.index").read_bytes()
    data = recorded_at.with_name(f"{recorded_at.name}.data-00000-of-00001").read_bytes()
    found = open_bundle(index, lambda count: (io.BytesIO(data),) * count, "index")
    numbers = {key: found.array(key, Budget(1 << 24)) for key, entry in found.entries.items() if entry.numeric}
    texts = {key: found.texts(key, 1 << 24) for key, entry in found.entries.items() if entry.texts}
    made = bundles.write(tmp_path / "other", {**numbers, **texts}, order=order, files=files)
    inputs, outputs = recorded("2.15.1/chain")
    model = gateprobe.read(made, architecture=architecture)
    for ours, theirs in zip(model.predict(inputs).values(), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert len(list(model_files(str(made)))) == 1 + 1 + files
    (tmp_path / f"other.data-{files - 1:05}-of-{files:05}").unlink()
    with pytest.raises(ReadError, match=f"data-0000{files - 1}-of-0000{files}: there is no such file"):
        gateprobe.read(made, architecture=architecture)


@pytest.mark.oracle
def test_shards_that_tensorflow_cuts_are_read(tmp_path, kerases):
    """``MaxShardSizePolicy`` cuts large variables, too."""
    import tensorflow as tf
    import tf_keras

    x = np.random.default_rng(4).normal(size=(3, 5, 2)).astype(np.float32)
    layers = [tf_keras.layers.Bidirectional(tf_keras.layers.LSTM(6)), tf_keras.layers.Dense(1)]
    theirs = tf_keras.Sequential([tf_keras.Input((5, 2)), *layers])
    policy = tf.train.experimental.MaxShardSizePolicy(200)
    made = tf.train.CheckpointOptions(experimental_sharding_callback=policy)
    at = tf.train.Checkpoint(model=theirs).write(str(tmp_path / "ck"), options=made)
    (tmp_path / "model.json").write_text(theirs.to_json())
    assert len(list(tmp_path.glob("ck.data-*"))) > 3
    model = gateprobe.read(at, architecture=tmp_path / "model.json")
    (ours,) = model.predict(x).values()
    np.testing.assert_allclose(ours, theirs(x), rtol=0, atol=1e-6)


def test_any_name_of_a_checkpoint_means_its_index():
    folder = unpacked() / "2.15.1" / "chain" / "kept"
    names = ["ckpt-3.index", "ckpt-3", "ckpt-3.data-00000-of-00001", "checkpoint", "."]
    models = [opened(gateprobe.read(folder / name)).graph for name in names]
    assert {model.file for model in models} == {str(folder / "ckpt-3.index")}
    assert len({model.origin.sha256 for model in models}) == 1
    older = opened(gateprobe.read(folder / "ckpt-2")).graph
    assert (older.file, older.origin.sha256 != models[0].origin.sha256) == (str(folder / "ckpt-2.index"), True)
    assert {Path(name).name for name in model_files(str(folder))} == {
        *("kept", "ckpt-3.index", "ckpt-3.data-00000-of-00001", "checkpoint")
    }


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            'model_checkpoint_path: "../kept/ckpt-3"',
            UnsafeFile,
            r"outside its folder: '\.\./kept/ckpt-3'; give .*ckpt-3.index",
        ),
        ('model_checkpoint_path: "/ckpt-3"', UnsafeFile, r"outside its folder: '/ckpt-3'; give .*ckpt-3\.index"),
        ('model_checkpoint_path: "C:\\\\a\\\\b"', UnsafeFile, "outside its folder: .*; give the NAME.index"),
        ('model_checkpoint_path: "\\056./x"', UnsafeFile, r"outside its folder: '\.\./x'"),
        ('model_checkpoint_path: ""', UnsafeFile, "outside its folder: ''"),
        ('model_checkpoint_path: "ckpt-9"', ReadError, r"names 'ckpt-9', and there is no ckpt-9\.index"),
        ('model_checkpoint_path: "\\377"', ReadError, "another encoding than UTF-8"),
        ('all_model_checkpoint_paths: "ckpt-3"', ReadError, r"names no checkpoint \(model_checkpoint_path\)"),
    ],
)
def test_what_the_file_checkpoint_names_lies_in_its_folder(text, error, message, copied):
    folder = copied("2.15.1/chain/kept")
    (folder / "checkpoint").write_text(text)
    with pytest.raises(error, match=message):
        gateprobe.read(folder)


def test_names_with_escapes_and_in_folders_below(tmp_path):
    (tmp_path / "über").mkdir()
    shutil.copy(unpacked() / "2.4.4/chain/kept/ckpt-3.index", tmp_path / "über" / "a'b.index")
    (tmp_path / "checkpoint").write_text("model_checkpoint_path: '\\303\\274ber/a\\'b'\n")
    assert named.index_of(tmp_path) == tmp_path / "über" / "a'b.index"


def test_what_is_no_checkpoint_is_none(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    (tmp_path / "x.index").write_bytes(bytes(100))
    (tmp_path / "empty.index").write_bytes(b"")
    for name in ("checkpoint", "x.index", "x", "empty.index", "empty", "nothing", "."):
        if name != ".":
            assert named.index_of(tmp_path / name) is None, name
    assert named.index_of(Path("/")) is None


@pytest.mark.parametrize("version", ["2.0.4", "2.15.1"])
def test_a_model_that_is_a_class_is_traced_layer_by_layer(version):
    (x,), (expected,) = recorded(f"{version}/class")
    model = gateprobe.read(unpacked() / version / "class" / "tagger")
    groups = opened(model).groups
    assert [(group.name, group.class_name, group.directions, group.units) for group in groups] == [
        ("model/reader", "LSTM", 2, 3),
        ("model/writers/0", "GRU", 1, 4),
        ("model/writers/1", "SimpleRNN", 1, 5),
    ]
    assert (opened(model).graph.origin.era, opened(model).graph.model) == (Era.KERAS2, None)
    reader = model.assuming(activation="tanh", recurrent_activation="sigmoid", layers="model/reader")
    both = reader.trace(x)["model/reader"]
    ours = np.concatenate([both.forward.hidden_state, both.backward.hidden_state], -1)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_a_wiring_file_connects_the_layers_of_a_class(tmp_path):
    (x,), (expected,) = recorded("2.4.4/class")
    config = {"layer": {"class_name": "LSTM", "config": {"units": 3, "return_sequences": True, "name": "lstm"}}}
    both = {"name": "reader", "class_name": "Bidirectional", "config": config, "inputs": "x", "weights": "model/reader"}
    gru = {"name": "gru", "class_name": "GRU", "inputs": "reader", "weights": "model/writers/0"}
    gru["config"] = {"units": 4, "reset_after": True}
    written = {"gateprobe_wiring": 1, "inputs": {"x": {"shape": [5, 4]}}, "layers": [both, gru], "outputs": ["reader"]}
    (tmp_path / "wiring.json").write_text(json.dumps(written))
    model = gateprobe.read(unpacked() / "2.4.4/class/tagger", architecture=tmp_path / "wiring.json")
    np.testing.assert_allclose(model.predict(x)["reader"], expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:the file does not tell its version")  # JSON of Keras 3 does not
@pytest.mark.parametrize(
    ("weights", "architecture", "message"),
    [
        ("2.4.4/class/tagger", "2.4.4/chain", r"names its layers by attributes \(reader, writers, last\).*leave arch"),
        (
            "2.4.4/translate/cp-0001.ckpt",
            "2.4.4/chain",
            "the checkpoint has 5 layers, that of the architecture 7; give",
        ),
        ("3.15.1/graph/both", "3.15.1/chain/", None),
        (
            "3.15.1/graph/both",
            "2.4.4/translate",
            r"several models, model \(14 layers\), other \(7 layers\), of which 0",
        ),
        (
            "keras_2.2.4/saver",
            "keras_2.2.4",
            "no object graph, as tf.train.Saver of TensorFlow 1 writes it.*load it in",
        ),
    ],
)
def test_weights_of_another_model_are_refused(weights, architecture, message):
    def read():
        return gateprobe.read(unpacked() / weights, architecture=unpacked() / architecture / "model.json")

    if message is None:  # one of the two models has as many layers
        assert read().predict([recorded("3.15.1/chain")[0][0]])
        return
    with pytest.raises(ReadError, match=message):
        read()


def test_layers_of_other_shapes_are_refused(tmp_path):
    value = json.loads((unpacked() / "2.4.4/translate/model.json").read_text())
    for layer in value["config"]["layers"]:
        if layer["class_name"] == "LSTM":
            layer["config"]["units"] = 5
    (tmp_path / "model.json").write_text(json.dumps(value))
    model = gateprobe.read(unpacked() / "2.4.4/translate", architecture=tmp_path / "model.json")
    with pytest.raises(
        UnsupportedModel, match=r"not the architecture of these weights(.|\n)*expected shape \(any, 20\)"
    ):
        model.predict([np.zeros((1, 2, 4), np.float32)] * 2)


def test_the_optimizer_is_left_out():
    folder = unpacked() / "2.15.1" / "translate"
    arrays = 4 * (2 * (4 * 16 + 4 * 16 + 16) + 4 * 4 + 4)
    gateprobe.read(folder, architecture=folder / "model.json", max_bytes=arrays)
    with pytest.raises(UnsafeFile):
        gateprobe.read(folder, architecture=folder / "model.json", max_bytes=arrays - 1)


def test_damage_is_noticed(copied):
    folder = copied("2.4.4/graph")
    data = folder / "my.ckpt-01.data-00000-of-00001"
    value = bytearray(data.read_bytes())
    value[60] ^= 1
    data.write_bytes(value)
    with pytest.raises(ReadError, match="a checksum is wrong"):
        gateprobe.read(folder / "my.ckpt-01")
    data.unlink()
    with pytest.raises(ReadError, match="data-00000-of-00001: there is no such file"):
        gateprobe.read(folder / "my.ckpt-01")
    (folder / "my.ckpt-01.index").rename(folder / "renamed")
    with pytest.raises(ReadError, match="whose other files are called after NAME"):
        gateprobe.read(folder / "renamed")


def test_weights_are_found_by_their_names_in_whatever_order():
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    slots = [Slot(role, (1,), trainable=role in roles[:2]) for role in roles]
    arrays = [WeightArray(role, np.full(1, number, np.float32), attribute=role) for number, role in enumerate(roles)]
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        found = TreeWeights(WeightGroup(tuple(arrays[number] for number in order))).own(slots)
        assert {role: int(value[0]) for role, value in found.items()} == dict(zip(roles, range(4), strict=True))
