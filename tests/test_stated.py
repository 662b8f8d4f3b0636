"""Layers of unknown code that a wiring file replaces: Keras's own numbers where the statement is true."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_wiring import REPLACING

import gateprobe
from gateprobe.cli import main

DATA = Path(__file__).parent / "data" / "ways"
DENSE = {"class_name": "Dense", "config": {"units": 5, "activation": "tanh"}}
CUSTOM = {"scale": DENSE, "tail": {"class_name": "Dense", "config": {"units": 2, "activation": "tanh"}}}
NESTED = {
    "wrapped": {"class_name": "LSTM", "config": {"units": 4, "return_sequences": True}},
    "own/cell": {"class_name": "LSTMCell", "config": {"units": 4}},
    "timed/layer": {"class_name": "Rescaling", "config": {"scale": 3}},
    "outer/plus": {"class_name": "Rescaling", "config": {"scale": 1, "offset": 1}},
}
MULTIPLY = {"class_name": "TFOpLambda", "config": {"function": "math.multiply"}, "kwargs": {"y": 2.0}}
LAMBDAS = REPLACING["replace"]


def written(folder, replaced):
    file = folder / "replace.json"
    file.write_text(json.dumps({"gateprobe_wiring": 1, "replace": replaced}))
    return file


def recorded(name):
    with np.load(DATA / "recorded.npz") as arrays:
        return arrays[f"{name}/x"], arrays[f"{name}/y"]


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("lambdas.keras", LAMBDAS),
        ("lambdas.h5", LAMBDAS),
        ("lambdas.h5", {**LAMBDAS, "double": {"class_name": "Rescaling", "config": {"scale": 2}}}),
        ("lambdas.keras", {**LAMBDAS, "expand": {"class_name": "GetItem", "args": [["...", None]]}}),
        ("lambdas.keras", {**LAMBDAS, "double": MULTIPLY}),
        ("custom.keras", CUSTOM),
        ("custom.h5", CUSTOM),
        ("nested.keras", NESTED),
    ],
)  # fmt: skip
def test_a_true_statement_gives_the_numbers_of_keras(name, replaced, tmp_path):
    x, y = recorded(Path(name).stem)
    model = gateprobe.read(DATA / name, architecture=written(tmp_path, replaced))
    (ours,) = model.predict(x).values()
    np.testing.assert_allclose(ours, y, rtol=0, atol=3e-7)


def test_notes_and_metadata_say_what_was_stated(tmp_path):
    file = written(tmp_path, CUSTOM)
    model = gateprobe.read(DATA / "custom.keras", architecture=file)
    note = (
        f"scale (Scale) is computed as Dense(units=5, activation='tanh'), as {file} states; its code was not looked at"
    )
    assert model.notes[0].startswith(note)
    assert "kernel is layers/scale/vars/0; bias is layers/scale/vars/1" in model.notes[0]
    trace = model.trace(recorded("custom")[0])
    assert trace.metadata["stated"] == CUSTOM
    assert model.notes[0] in trace.metadata["notes"]
    nested = gateprobe.read(DATA / "nested.keras", architecture=written(tmp_path, NESTED)).notes
    assert "cell/recurrent_kernel is layers/wrapped/inner/cell/vars/1" in nested[0]


def test_inspect_shows_it(tmp_path):
    arguments = ["inspect", str(DATA / "custom.h5"), "--architecture", str(written(tmp_path, CUSTOM))]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0
    assert re.search(r"^scale\tDense\t.*\tstated; mine>Scale in the file$", shown.stdout, re.MULTILINE)
    assert "1 of 1 recurrent layer can be traced; the outputs can be replayed" in shown.stdout
    layers = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)["layers"]
    assert [one["instead_of"] for one in layers] == [None, None, "mine>Scale", None, None, "mine>Scale"]


def test_a_function_of_text_and_an_activation_can_be_stated(tmp_path):
    config = {"vocabulary": ["a", "b"], "output_sequence_length": 4}
    stated = {"words": {"class_name": "TextVectorization", "config": {"standardize": None, **config}}}
    model = gateprobe.read(DATA / "texts.keras", architecture=written(tmp_path, stated))
    loud, quiet = model.trace(["a B b"])["one"], model.trace(["a x b"])["one"]
    np.testing.assert_array_equal(loud.forget_gate, quiet.forget_gate)  # B is unknown: nothing makes it small
    assert not np.array_equal(loud.forget_gate, model.trace(["a b b"])["one"].forget_gate)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"scales": DENSE}, "replace.scales: is no layer of the model; did you mean scale\\? available: scale, tail"),
        (
            {"before": DENSE},
            "replace.before: is a Dense that needs no replacing: the file says what it does; av",
        ),
        ({"one": {"class_name": "LSTM"}}, "replace.one: is a LSTM that needs no replacing"),
        ({"scale": {"class_name": "Dens"}}, "replace.scale: 'Dens' is in no table of gateprobe; did you mean Dense"),
        ({"scale": {"class_name": "mine>Scale"}}, "replace.scale: 'mine>Scale' is in no table of gateprobe"),
        ({"scale": {"class_name": "InputLayer"}}, "'InputLayer' is in no table of gateprobe"),
        (
            {"scale": {"class_name": "Dense", "config": {"units": 4}}},
            r"replace.scale \(Dense\): kernel: expected shape \(any, 4\), layers/scale/vars/0 in the file has \(5, 5\)",
        ),
        ({"scale": {"class_name": "Flatten"}}, "expected no weights, the file holds 2 arrays"),
        ({"scale": {"class_name": "Dense", "config": {"units": 5, "use_bias": False}}}, "the file holds 2 arrays"),
        ({"scale": {"class_name": "Dense", "config": {"units": 5, "x": 1}}}, "configuration not understood: x=1"),
        ({"scale": {"class_name": "Dense", "config": {"units": 5, "activation": "f"}}}, "'f' is no activation"),
        ({"scale": 3}, r"replace.scale: expected a layer such as \{.*\}, got 3; see docs/wiring.md"),
        ({"scale": {"class": "Dense"}}, "replace.scale: class is no key of it; did you mean class_name"),
        ({"scale": {**DENSE, "args": 1}}, "replace.scale.args: expected a list, got 1"),
        ({"scale": {**DENSE, "kwargs": 1}}, "replace.scale.kwargs: expected a mapping, got 1"),
        ({"scale": {**DENSE, "config": 1}}, "replace.scale.config: expected the layer's configuration, got 1"),
        ({"scale": {"class_name": "GRU", "config": {"units": 5}}}, "a GRU needs reset_after"),
        ({}, "replace: expected a mapping of layers to what they do, got {}"),
    ],
)
def test_what_does_not_fit_is_refused_with_choices(replaced, message, tmp_path):
    with pytest.raises(gateprobe.GateprobeError, match=message) as caught:
        gateprobe.read(DATA / "custom.keras", architecture=written(tmp_path, replaced))
    assert "\n" not in str(caught.value)
    assert "replace.json" in str(caught.value)


def test_an_argument_too_many_is_refused_when_it_is_planned(tmp_path):
    stated = {**CUSTOM, "scale": {**DENSE, "args": [2.0]}}
    model = gateprobe.read(DATA / "custom.keras", architecture=written(tmp_path, stated))
    with pytest.raises(gateprobe.UnsupportedModel, match="scale"):
        model.trace(recorded("custom")[0])


def test_a_wiring_of_all_layers_replaces_none(tmp_path):
    file = tmp_path / "both.json"
    file.write_text(json.dumps({"gateprobe_wiring": 1, "replace": CUSTOM, "layers": []}))
    with pytest.raises(gateprobe.ReadError, match="replace: stands beside layers: a wiring of all layers"):
        gateprobe.read(DATA / "custom.keras", architecture=file)
    weights = Path(__file__).parent / "data" / "wired" / "model.h5"
    with pytest.raises(gateprobe.ReadError, match="the model has no graph"):
        gateprobe.read(weights, architecture=written(tmp_path, CUSTOM))


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_verify_gives_keras_the_stated_layer_and_says_so(in_process, tmp_path):
    result = gateprobe.verify(DATA / "lambdas.keras", architecture=written(tmp_path, LAMBDAS))
    assert result
    assert result.built_because == "it was stated what expand and double computes, and Keras computes that, too"
    assert any("nothing checks that" in note for note in result.notes)
