"""TensorFlow.js layers models, against what TensorFlow.js itself computed (tests/data/generate/tfjs.js)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import gateprobe
from gateprobe.errors import OutputError, ReadError, UnsafeFile
from gateprobe.files.places import Guard
from gateprobe.readers.files import model_files

DATA = Path(__file__).parents[1] / "data" / "tfjs"
SAMPLES = Path(__file__).parents[2] / "sample_models"
CASES = sorted(path.parent.name for path in DATA.glob("*/case.json"))


def arrays(listed):
    return [np.array(one["values"], np.float32).reshape(one["shape"]) for one in listed]


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_tensorflow_js(name):
    case = json.loads((DATA / name / "case.json").read_text())
    model = gateprobe.read(DATA / name / "model.json")
    x = arrays(case["inputs"])
    given = dict(zip((spec.name for spec in model.inputs), x, strict=True))
    outputs = model.predict(given)
    for ours, theirs in zip(outputs.values(), arrays(case["outputs"]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-7)


@pytest.mark.parametrize("sample", ["brackets", "tokens", "translate"])
def test_a_converted_sample_holds_the_weights_of_the_keras_file(sample):
    keras = gateprobe.read(SAMPLES / f"{sample}.keras")
    converted = gateprobe.read(DATA / f"converted_{sample}" / "model.json")
    names = {"translate": ["translate_source", "translate_target"]}.get(sample, [sample])
    x = dict(
        zip((spec.name for spec in keras.inputs), (np.load(SAMPLES / f"{name}.npy") for name in names), strict=True)
    )
    ours, theirs = converted.trace(x).to_numpy(), keras.trace(x).to_numpy()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)


def test_the_era_is_that_of_the_topology():
    assert gateprobe.read(DATA / "converted_brackets" / "model.json").era == "keras3"
    assert gateprobe.read(DATA / "lstm" / "model.json").era == "keras2"


@pytest.fixture
def copy(tmp_path):
    """Copies a case, lets the test change its JSON, and returns the path to it."""

    def make(name="converted_keras2", change=lambda value: None):
        shutil.copytree(DATA / name, tmp_path / name)
        path = tmp_path / name / "model.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
        return path

    return make


def entry(value):
    return value["weightsManifest"][0]["weights"][0]


def twice(value):
    value["weightsManifest"][0]["weights"].append(dict(entry(value)))


FAULTS = {
    "graph model": (lambda v: v.update(format="graph-model"), "graph model"),
    "graph of nodes": (lambda v: v.update(modelTopology={"node": [], "library": {}}), "graph model"),
    "no list": (lambda v: v.update(weightsManifest={}), "weightsManifest"),
    "another size": (lambda v: entry(v).update(shape=[3, 16]), "need 484 bytes and its files hold 304"),
    "a negative size": (lambda v: entry(v).update(shape=[-2, -16]), "shape"),
    "no shape": (lambda v: entry(v).pop("shape"), "shape"),
    "texts": (lambda v: entry(v).update(dtype="string"), "dtype 'string'"),
    "twice": (twice, "occurs twice"),
    "a shard twice": (lambda v: v["weightsManifest"][0]["paths"].append("group1-shard1of4.bin"), "twice"),
    "another layer": (lambda v: entry(v).update(name="other/kernel"), "names no layer"),
    "an unknown quantization": (lambda v: entry(v).update(quantization={"dtype": "int4"}), "quantized"),
    "a scale that is no number": (
        lambda v: entry(v).update(quantization={"dtype": "uint8", "scale": "1", "min": 0}),
        "quantized",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_understood_is_refused(copy, name):
    change, said = FAULTS[name]
    with pytest.raises(ReadError, match=said):
        gateprobe.read(copy(change=change))


def test_a_missing_shard_is_named(copy):
    path = copy()
    path.with_name("group1-shard2of4.bin").unlink()
    with pytest.raises(ReadError, match=r"group1-shard2of4\.bin"):
        gateprobe.read(path)


def test_a_shard_of_another_size_is_refused(copy):
    path = copy()
    with path.with_name("group1-shard2of4.bin").open("ab") as file:
        file.write(bytes(4))
    with pytest.raises(ReadError, match=r"its files hold 3\d\d"):
        gateprobe.read(path)


@pytest.mark.parametrize("name", ["../up.bin", "/etc/passwd", "a/b.bin", ".."])
def test_no_shard_is_read_outside_the_folder(copy, name):
    path = copy(change=lambda value: value["weightsManifest"][0].update(paths=[name]))
    with pytest.raises(UnsafeFile, match="outside"):
        gateprobe.read(path)


def test_a_link_is_no_shard(copy):
    path = copy()
    shard = path.with_name("group1-shard1of4.bin")
    shard.rename(path.with_name("elsewhere"))
    shard.symlink_to("elsewhere")
    with pytest.raises(ReadError, match="no such file"):
        gateprobe.read(path)


def test_two_layers_of_one_name_are_not_told_apart(copy):
    def nest(value):
        layers = value["modelTopology"]["model_config"]["config"]
        layers = layers["layers"] if isinstance(layers, dict) else layers
        inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [layers[0]]}}
        other = {"class_name": "Sequential", "config": {"name": "other", "layers": [layers[0]]}}
        layers[:1] = [inner, other]

    with pytest.raises(ReadError, match="inner or other"):
        gateprobe.read(copy(change=nest))


@pytest.mark.parametrize("form", ["json", "tfjs", "keras", "hdf5"])
def test_every_form_of_a_model_gives_its_architecture(tmp_path, copy, form):
    """Weights alone, from the tree that a `.keras` zip holds, with the architecture of another file."""
    import zipfile

    keras = SAMPLES / "brackets.keras"
    with zipfile.ZipFile(keras) as members:
        members.extract("model.weights.h5", tmp_path)
        config = members.read("config.json")
    given = {"keras": keras, "tfjs": DATA / "converted_brackets" / "model.json"}.get(form, tmp_path / f"model.{form}")
    if form == "json":
        given.write_bytes(config)
    elif form == "hdf5":
        import h5py

        with h5py.File(given, "w") as file:
            file.attrs["model_config"] = json.dumps(json.loads(config))
            file.attrs["keras_version"] = "3.15.1"
    model = gateprobe.read(tmp_path / "model.weights.h5", architecture=given)
    x = np.load(SAMPLES / "brackets.npy")
    np.testing.assert_array_equal(*(next(iter(one.predict(x).values())) for one in (model, gateprobe.read(keras))))


def test_weights_without_a_topology_take_an_architecture(copy):
    path = copy(change=lambda value: value.pop("modelTopology"))
    assert gateprobe.read(path).recurrent_layers
    with pytest.raises(gateprobe.GateprobeError):
        gateprobe.read(path).predict(np.load(SAMPLES / "keras2.npy"))
    model = gateprobe.read(path, architecture=SAMPLES / "keras2.h5")
    x = np.load(SAMPLES / "keras2.npy")
    theirs = gateprobe.read(SAMPLES / "keras2.h5").predict(x)
    np.testing.assert_array_equal(next(iter(model.predict(x).values())), next(iter(theirs.values())))


def test_no_shard_is_written_over(copy):
    path = copy()
    guard = Guard()
    guard.reads(model_files(str(path)))
    with pytest.raises(OutputError, match="shard1of4"):
        guard.writes([str(path.with_name("group1-shard1of4.bin"))])
