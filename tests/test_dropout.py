"""Dropout that is always on: refused with the way on, and switched off where it is asked for."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, changed, lstm_weights

import gateprobe
from gateprobe.cli import main
from gateprobe.graph import Call, LayerRecord, TensorRef
from gateprobe.model import opened
from gateprobe.replay.dropout import without_dropout

DATA = Path(__file__).parent / "data" / "ways"
OFF = ["mc", "noise", "one", "inner"]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_without_dropout_it_computes_what_keras_does_without(suffix):
    file = DATA / f"dropout.{suffix}"
    with np.load(DATA / "recorded.npz") as arrays:
        x, y = arrays["dropout/x"], arrays["dropout/y"]
    with pytest.raises(gateprobe.UnsupportedModel) as caught:
        gateprobe.read(file).trace(x)
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:]] == OFF
    assert all("is called with training=True: its output is random; dropout=off leaves" in line for line in lines[1:])
    model = gateprobe.read(file, dropout="off")
    np.testing.assert_allclose(model.predict(x)["head"], y, rtol=0, atol=3e-7)
    assert model.notes[-1].startswith("dropout and noise are off in mc, noise, one, inner, as dropout=off asks")
    trace = model.trace(x)
    assert trace.metadata["dropout_off"] == OFF
    assert any("dropout and noise are off in" in note for note in trace.metadata["notes"])


def test_every_command_that_runs_takes_it(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 6, 3), np.float32))
    file, x = str(DATA / "dropout.keras"), str(tmp_path / "x.npy")
    done = CliRunner().invoke(main, ["dump", file, x])
    assert done.exit_code == 2
    assert "--dropout off leaves the randomness out" in done.stderr
    for command in (
        ["dump", "-o", f"{tmp_path}/parts/", "--workers", "1"],
        ["predict"],
        ["stats"],
        ["explain", "--layer", "one", "--unit", "0"],
        ["golden", "--layer", "one", "-o", str(tmp_path / "golden")],
    ):
        arguments = [command[0], file, x, *command[1:], "--dropout", "off"]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, (command, done.stderr)
    shown = json.loads(CliRunner().invoke(main, ["inspect", file, "--dropout", "off", "--json"]).stdout)
    assert all(one["replayable"] for one in shown["recurrent"])


def test_what_depends_on_the_batch_stays_refused():
    model = gateprobe.read(DATA / "batch.keras", dropout="off")
    with pytest.raises(gateprobe.UnsupportedModel) as caught:
        model.trace(np.ones((2, 6, 3), np.float32))
    text = str(caught.value)
    assert "batch (BatchNormalization): is called with training=True: its output depends on the batch" in text
    assert "dropout=off" not in text


@pytest.mark.parametrize("call", [Call((TensorRef("input"), True)), Call((TensorRef("input"),), {"training": 1})])
def test_however_it_is_switched_on(call):
    layers = [("Dropout", "drop", {"rate": 0.5}), ("LSTM", "lstm", {"units": 2})]
    model = opened(chain(layers, {"lstm": lstm_weights(np.random.default_rng(0), 3, 2)}))
    layers = tuple(replace(one, calls=(call,)) if one.name == "drop" else one for one in model.record.layers)
    graph = replace(model.graph, model=replace(model.record, layers=layers))
    with pytest.raises(gateprobe.UnsupportedModel, match="its output is random"):
        replace(model, graph=graph).plan(outputs=True)
    off = without_dropout(graph, model.semantics)
    assert off.dropout_off == ("drop",)
    assert replace(model, graph=off).plan(outputs=True)


def trained(class_name, config, version, inside):
    """Return a model that calls a layer with ``training=True``, perhaps with the layer inside another one."""
    layers = [(class_name, "layer", config)]
    if inside == "TimeDistributed":
        layers = [("TimeDistributed", "layer", {}, {"layer": LayerRecord("x", class_name, config)})]
    shape = (None, 3, 4, 5, 2) if inside == "TimeDistributed" else (None, 3, 4, 2)
    found = chain(layers, {}, input_shape=shape, keras_version=version)
    model = opened(found).graph.model
    if inside == "Sequential":
        outer = opened(chain([("Sequential", "layer", {})], {}, input_shape=shape, keras_version=version)).graph.model
        model = replace(outer, layers=(outer.layers[0], replace(outer.layers[1], model=model)))
    call = Call((TensorRef("input"),), {"training": True})
    layers = tuple(replace(one, calls=(call,)) if one.name == "layer" else one for one in model.layers)
    return changed(found, graph=replace(opened(found).graph, model=replace(model, layers=layers)))


@pytest.mark.parametrize("inside", ["", "TimeDistributed", "Sequential"])
@pytest.mark.parametrize(
    ("class_name", "config", "versions"),
    [
        ("Dropout", {"rate": 0.5}, ("2.15.0", "3.15.1")),
        ("GaussianNoise", {"stddev": 0.5}, ("2.15.0", "3.15.1")),
        ("RandomFlip", {}, ("2.15.0",)),
        ("RandomContrast", {"factor": 0.5}, ("2.15.0",)),
        ("RandomZoom", {"height_factor": 0.5}, ("2.15.0",)),
    ],
)
def test_what_training_makes_random_is_refused_wherever_it_is(class_name, config, versions, inside):
    """Real Kerases, asked twice: tf_keras 2.21 flips images anew each time, and Keras 3.15.1 never does."""
    for version in ("2.15.0", "3.15.1"):
        plan = opened(trained(class_name, config, version, inside)).plan
        if version in versions:
            with pytest.raises(gateprobe.UnsupportedModel, match="its output is random"):
                plan(outputs=True)
        else:
            assert plan(outputs=True)


def test_images_are_left_alone_without_the_randomness():
    for inside in ("", "TimeDistributed", "Sequential"):
        model = opened(trained("RandomFlip", {}, "2.15.0", inside))
        off = replace(model, graph=without_dropout(model.graph, model.semantics))
        assert off.graph.dropout_off == ("layer",)
        assert off.plan(outputs=True)
        model = opened(trained("RandomGaussianBlur", {"sigma": 1.0}, "3.15.1", inside))
        assert model.plan(outputs=True)
        assert without_dropout(model.graph, model.semantics).dropout_off == ()


@pytest.mark.parametrize("class_name", ["BatchNormalization", "BatchNormalizationV1", "SyncBatchNormalization"])
def test_what_learns_in_training_is_refused(class_name):
    layers = [(class_name, "layer", {})]
    model = opened(chain(layers, {"layer": [np.ones(3)] * 4}, keras_version="2.15.0"))
    call = Call((TensorRef("input"),), {"training": True})
    records = tuple(replace(one, calls=(call,)) if one.name == "layer" else one for one in model.record.layers)
    graph = replace(model.graph, model=replace(model.record, layers=records))
    with pytest.raises(gateprobe.UnsupportedModel, match="depends on the batch"):
        replace(model, graph=graph).plan(outputs=True)


def test_a_model_without_it_is_left_alone_and_other_words_are_refused():
    file = DATA / "custom.keras"
    assert gateprobe.read(file, dropout="off").notes == gateprobe.read(file).notes
    with pytest.raises(gateprobe.InputError, match="dropout=on: it can be switched off, and nothing else"):
        gateprobe.read(file, dropout="on")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_verify_compares_with_a_keras_without_dropout(in_process):
    result = gateprobe.verify(gateprobe.read(DATA / "dropout.keras", dropout="off"))
    assert result
    assert not result.random
    assert result.built_because.startswith("dropout and noise are off in mc, noise, one, inner")
