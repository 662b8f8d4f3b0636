"""What a file says against itself is refused or noted, and a note reaches every place where users look."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from readers.build import add_layer, arrays, dense, functional, h5, input_layer, lstm, sequential

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import GateprobeWarning, InputError, ReadError, UnsafeFile, UnsupportedModel
from gateprobe.inputs.array_files import NpzFile
from gateprobe.model import opened
from gateprobe.opened_model import open_model
from gateprobe.replay.unclaimed import unclaimed
from gateprobe.semantics import semantics_of

DATA = Path(__file__).parent / "data" / "constants"
X = np.zeros((2, 5, 3), np.float32)


def changed(source, target, **members):
    """Copy a zip with other members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.replace(".", "_"), old.read(name)))
    return target


def keras3(path, version, activation):
    """Write a Keras 3 file with an LSTM, and the version that it shall claim."""
    policy = {"class_name": "DTypePolicy", "config": {"name": "float32"}, "module": "keras", "registered_name": None}
    settings = {"name": "lstm", "units": 2, "recurrent_activation": activation, "dtype": policy}
    source = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 5, 3]}}
    config = sequential(source, {"class_name": "LSTM", "config": settings})
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        group = file.create_group("layers/lstm/cell/vars")
        for number, value in enumerate(arrays().values()):
            group.create_dataset(str(number), data=value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
    return path


def without_version(tmp_path, activation):
    """Return weights of tf_keras, which look like those of Keras 3.0, and an architecture without a version."""
    path = tmp_path / "model.json"
    settings = {"recurrent_activation": activation, "units": 2, "batch_input_shape": [None, 4, 3], "name": "lstm"}
    wired = {"gateprobe_wiring": 1, "inputs": {"x": {"shape": [4, 3]}}, "outputs": ["lstm"]}
    wired["layers"] = [{"name": "lstm", "class_name": "LSTM", "config": settings, "inputs": "x"}]
    path.write_text(json.dumps(wired))
    return DATA / "tf_keras.weights.h5", path


def test_weights_that_may_be_of_two_eras_wait_for_semantics_where_a_word_differs(tmp_path):
    golden = np.load(DATA / "tf_keras.npz")
    path, architecture = without_version(tmp_path, "hard_sigmoid")
    with pytest.raises(UnsupportedModel, match=r"may be of keras2 or keras3, in which hard sigmoid slope.*semantics"):
        gateprobe.read(path, architecture=architecture).trace(golden["x"])
    said = gateprobe.read(path, architecture=architecture, semantics="keras2")
    np.testing.assert_allclose(said.predict(golden["x"])["lstm"], golden["y"], atol=1e-6)
    other = gateprobe.read(path, architecture=architecture, semantics="keras3").predict(golden["x"])["lstm"]
    assert np.abs(other - golden["y"]).max() > 1e-3


def test_weights_that_may_be_of_two_eras_are_replayed_where_no_word_differs(tmp_path):
    path, architecture = without_version(tmp_path, "sigmoid")
    assert open_model(path, architecture=architecture).plan(outputs=True).notes == ()


def test_a_version_against_the_configuration_is_noted_and_refused_where_it_matters(tmp_path):
    note = "says Keras 2.15.0, but the configuration is written in words of Keras 3"
    plain = gateprobe.read(keras3(tmp_path / "plain.keras", "2.15.0", "sigmoid"))
    assert note in plain.notes[0]
    plain.trace(X)
    hard = keras3(tmp_path / "hard.keras", "2.15.0", "hard_sigmoid")
    with pytest.raises(UnsupportedModel, match=note):
        gateprobe.read(hard).trace(X)
    slopes = [open_model(hard, semantics=era).semantics.hard_sigmoid_slope for era in ("keras2", "keras3")]
    assert slopes == [0.2, 1 / 6]
    assert gateprobe.read(keras3(tmp_path / "true.keras", "3.6.0", "hard_sigmoid")).notes == ()


@pytest.mark.parametrize(
    ("version", "config", "era"),
    [
        ("3.15.1", sequential(lstm(recurrent_activation="hard_sigmoid")), "Keras 2"),
        ("2.3.1", sequential(lstm(inner_activation="hard_sigmoid")), "Keras 1"),
        ("1.2.2", sequential(lstm(recurrent_activation="hard_sigmoid")), "Keras 2"),
    ],
)
def test_the_words_of_the_configuration_are_stronger_than_the_version(tmp_path, version, config, era):
    source = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 5, 3]}}
    config["config"]["layers"].insert(0, source)
    h5(tmp_path / "a.h5", config, version=version)
    model = gateprobe.read(tmp_path / "a.h5")
    assert any(f"in words of {era}" in note for note in model.notes)
    assert opened(model).graph.origin.era.value == era.lower().replace(" ", "")


def test_two_versions_in_one_file(tmp_path):
    h5(tmp_path / "a.h5", sequential(lstm(recurrent_activation="hard_sigmoid")), version="2.3.1")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["model_weights"].attrs["keras_version"] = "2.3.1"
    assert gateprobe.read(tmp_path / "a.h5").notes == ()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["model_weights"].attrs["keras_version"] = "3.15.1"
    model = gateprobe.read(tmp_path / "a.h5")
    assert "says Keras 2.3.1, attribute keras_version of model_weights says 3.15.1" in model.notes[0]
    with pytest.raises(UnsupportedModel, match="hard sigmoid slope"):
        model.trace(X)


def test_a_version_that_is_missing_is_noted_where_the_versions_of_an_era_differ(tmp_path):
    masking = {"class_name": "Masking", "config": {"mask_value": 0.0, "batch_input_shape": [None, 5, 3]}}
    h5(
        tmp_path / "a.h5",
        sequential(masking, lstm(kernel_initializer=None, recurrent_activation="sigmoid")),
        version="",
    )
    with pytest.warns(GateprobeWarning, match="does not tell its version beyond doubt: .*masked output"):
        gateprobe.read(tmp_path / "a.h5").trace(X)


def unconnected(tmp_path):
    """Write a model with a layer on which no output depends, and one that is never called."""
    layers = [
        input_layer(),
        dense("lost", [["x", 0, 0, {}]], class_name="LSTM", kernel_initializer=None),
        dense("kept", [["x", 0, 0, {}]], class_name="LSTM"),
        dense("idle", class_name="LSTM"),
    ]
    weights = {name: arrays() for name in ("lost", "kept", "idle")}
    h5(tmp_path / "a.h5", functional(layers, [["x", 0, 0]], [["kept", 0, 0]]), weights)
    return tmp_path / "a.h5"


def test_layers_that_keras_leaves_out_are_noted(tmp_path):
    notes = gateprobe.read(unconnected(tmp_path)).notes
    assert notes == (
        "lost (LSTM) reaches no output: Keras leaves it out when it loads the file",
        "idle (LSTM) is in the file and never called: it cannot be traced",
    )


def test_a_note_reaches_stderr_inspect_json_and_metadata(tmp_path):
    path, note = unconnected(tmp_path), "lost (LSTM) reaches no output"
    np.save(tmp_path / "x.npy", X)
    dumped = CliRunner().invoke(main, ["dump", str(path), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npz")])
    assert dumped.exit_code == 0
    assert note in dumped.stderr
    metadata = json.loads(str(np.load(tmp_path / "y.npz")["__metadata__"]))
    assert note in metadata["notes"][0]
    assert note in CliRunner().invoke(main, ["inspect", str(path)]).stdout
    report = json.loads(CliRunner().invoke(main, ["inspect", str(path), "--json"]).stdout)
    assert note in report["notes"][0]
    assert note in gateprobe.read(path).trace(X).metadata["notes"][0]
    assert (
        note
        in CliRunner()
        .invoke(main, ["predict", str(path), str(tmp_path / "x.npy"), "-o", str(tmp_path / "z.npz")])
        .stderr
    )


def test_a_note_of_the_plan_reaches_inspect_and_metadata(tmp_path):
    weights = {"lstm": {**arrays(), "bias": np.full(8, np.nan, np.float32)}}
    h5(tmp_path / "a.h5", layers=weights)
    model = gateprobe.read(tmp_path / "a.h5")
    with pytest.warns(GateprobeWarning, match="are NaN"):
        assert "are NaN" in model.trace(X).metadata["notes"][0]
    assert (
        "are NaN"
        in json.loads(CliRunner().invoke(main, ["inspect", str(tmp_path / "a.h5"), "--json"]).stdout)["notes"][0]
    )


def test_weights_that_no_layer_takes_are_noted(tmp_path):
    path = keras3(tmp_path / "a.keras", "3.6.0", "sigmoid")
    assert gateprobe.read(path).notes == ()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.create_dataset("layers/lstm_1/cell/vars/0", data=np.ones((3, 8), np.float32))
        file.create_dataset("layers/lstm/odd/vars/0", data=np.ones(3, np.float32))
    changed(path, tmp_path / "b.keras", model_weights_h5=(tmp_path / "a.h5").read_bytes())
    (note,) = gateprobe.read(tmp_path / "b.keras").notes
    assert "weights that no layer takes" in note
    assert "layers/lstm_1/cell" in note
    assert "layers/lstm/odd" in note


def test_files_of_keras_itself_hold_no_weights_too_many():
    for path in sorted((Path(__file__).parent / "data" / "legacy").rglob("*.keras")):
        model = gateprobe.read(path)
        assert unclaimed(opened(model).graph) == (), path


@pytest.mark.parametrize("chunks", [None, (3, 8)])
def test_arrays_in_the_same_bytes_of_the_file_are_refused(tmp_path, chunks):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs["model_config"] = json.dumps(sequential(lstm()))
        file.attrs["keras_version"] = "2.3.1"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [b"lstm"]
        group = add_layer(root, "lstm", {key: value for key, value in arrays().items() if key != "kernel"})
        group.create_dataset("lstm/kernel:0", data=arrays()["kernel"], chunks=chunks)
        group.attrs["weight_names"] = [b"lstm/kernel:0", b"lstm/recurrent_kernel:0", b"lstm/bias:0"]
        kernel = group["lstm/kernel:0"].id
        there = kernel.get_offset() if chunks is None else kernel.get_chunk_info(0).byte_offset
        bias = group["lstm/bias:0"].id.get_offset()
    gateprobe.read(path)
    data = path.read_bytes()
    assert data.count(bias.to_bytes(8, "little")) == 1
    path.write_bytes(data.replace(bias.to_bytes(8, "little"), (there + 32).to_bytes(8, "little")))
    with pytest.raises(UnsafeFile, match="in the same bytes as /model_weights/lstm/lstm/kernel:0"):
        gateprobe.read(path)


def test_an_npz_with_one_key_twice_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=X)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x.npy", archive.read("x.npy"))
    with pytest.raises(InputError, match="two arrays under the name 'x'"):
        NpzFile(tmp_path / "a.npz", "a.npz", 1 << 20)


def test_a_layer_without_a_configuration_is_refused(tmp_path):
    entry = lstm()
    del entry["config"]
    h5(tmp_path / "a.h5", sequential({**lstm(name="first")}, entry))
    with pytest.raises(ReadError, match="a LSTM has no config"):
        gateprobe.read(tmp_path / "a.h5")


def test_overrides_have_no_rivals():
    origin = open_model(DATA / "tf_keras.weights.h5").graph.origin
    assert semantics_of(origin).rivals
    assert not semantics_of(origin, "keras3").rivals
