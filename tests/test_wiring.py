"""Wiring files: the documented ones replay what Keras computed, and faulty ones say where the fault is."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from wired import DATA, recorded, unpacked, wiring

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import ReadError
from gateprobe.graph import WeightArray, WeightGroup, WeightScheme, WeightStore, freeze
from gateprobe.model import opened
from gateprobe.opened_model import open_model
from gateprobe.readers.wiring import parse

PAGE = (Path(__file__).parents[1] / "docs" / "wiring.md").read_text(encoding="utf-8")
DECODER, CLASS, REPLACING = (
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
)


def written(tmp_path, value):
    file = tmp_path / "wiring.json"
    file.write_text(json.dumps(value))
    return file


def test_the_documented_decoder_replays_a_weights_file(tmp_path):
    inputs, outputs, gates = recorded("default")
    model = gateprobe.read(unpacked() / "default" / "weights.h5", architecture=written(tmp_path, DECODER))
    powers = np.exp(outputs[0])
    expected = powers / powers.sum(-1, keepdims=True)
    np.testing.assert_allclose(model.predict(inputs)["softmax"], expected, rtol=0, atol=2e-6)
    forget = model.trace(inputs)["decoder"].forget_gate
    np.testing.assert_allclose(forget[0, :8], gates["forget_gate"][0, :8], rtol=0, atol=2e-6)


def test_inspect_lists_the_cell_of_a_decoder_and_not_its_output_layer(tmp_path):
    weights, wired = unpacked() / "default" / "weights.h5", written(tmp_path, DECODER)
    done = CliRunner().invoke(main, ["inspect", str(weights), "--architecture", str(wired), "--json"])
    (decoder,) = [call for call in json.loads(done.stdout)["recurrent"] if call["path"] == "decoder"]
    assert [cell["class"] for cell in decoder["cells"]] == ["LSTMCell"]


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_the_documented_class_replays_both_of_its_files(name, tmp_path):
    model = gateprobe.read(DATA / name, architecture=written(tmp_path, CLASS))
    assert opened(model).graph.notes == ("the graph is that of the wiring file, not what this file says of itself",)
    with np.load(DATA / "case.npz") as case:
        arrays = dict(case)
    np.testing.assert_allclose(model.predict(arrays["input_0"])["d1"], arrays["output_0"], rtol=0, atol=2e-6)
    traced = model.trace(arrays["input_0"])
    found = [traced["reader_layer"].forward, traced["second_layer"].forward, traced["second_layer"].backward]
    signals = {"i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate"}
    for number, direction in enumerate(found):
        for letter, signal in signals.items():
            ours, theirs = direction.signals[signal], arrays[f"r{number}_gate_{letter}"]
            ours = ours[:, ::-1] if direction.backwards else ours
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_without_a_wiring_the_message_names_it():
    assert "a wiring file can say" in open_model(DATA / "model.h5").graph.notes[0]
    assert "or a wiring file, with --architecture" in open_model(unpacked() / "default" / "weights.h5").graph.notes[0]


def test_an_architecture_of_keras_does_not_replace_that_of_the_file(tmp_path):
    plain = {"class_name": "Sequential", "config": {"layers": []}}
    for name in ("model.h5", "model.keras"):
        with pytest.raises(ReadError, match="has an architecture of its own"):
            gateprobe.read(DATA / name, architecture=written(tmp_path, plain))


def test_weights_may_stand_under_another_name_and_in_a_part_of_a_list():
    arrays = [WeightArray(str(n), freeze(np.full((2, 2), n, np.float32))) for n in range(4)]
    groups = {
        "both": WeightGroup(tuple(arrays[:3])),
        "dense": WeightGroup((arrays[3],)),
        "spare": WeightGroup((arrays[0],)),
    }
    store = WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=groups))
    layers = [
        {"name": "one", "class_name": "Dense", "inputs": "x", "weights": "both[0:2]"},
        {"name": "two", "class_name": "Dense", "inputs": "one", "weights": "both[2:3]"},
        {"name": "dense", "class_name": "Dense", "inputs": "two"},
    ]
    read = parse({"gateprobe_wiring": 1, "inputs": {"x": {"shape": [2]}}, "layers": layers, "outputs": ["dense"]})
    bound, notes = read.store(store, read.model()[0])
    assert {name: [array.name for array in group.arrays] for name, group in bound.root.children.items()} == {
        "one": ["0", "1"],
        "two": ["2"],
        "dense": ["3"],
    }
    assert notes == ("the wiring leaves out weights of the file: spare",)


def changed(path, value):
    """Return the documented decoder's wiring with one place changed."""
    result = copy.deepcopy(DECODER)
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("gateprobe_wiring",), 2, "gateprobe_wiring: is version 2 and not 1; see docs/wiring.md"),
        (("gateprobe_wiring",), True, "gateprobe_wiring: is version True"),
        (
            ("input",),
            {},
            "the wiring: input is no key of it; did you mean inputs. available: gateprobe_wiring",
        ),
        (("inputs",), ["x"], r"inputs: expected a mapping of names to shapes and dtypes, got \['x'\]"),
        (("inputs", "lengths"), [None], "inputs.lengths: expected a mapping such as"),
        (("inputs", "lengths", "shape"), ["any"], "inputs.lengths.shape: expected a list of sizes"),
        (("inputs", "lengths", "dtype"), 32, "inputs.lengths.dtype: expected a name such as float32"),
        (("layers",), {}, "layers: expected a list of layers"),
        (("layers", 1), "encoder", r"layers\[1\]: expected a layer with a name"),
        (("layers", 1, "units"), 6, r"layers\[1\] \(encoder\): units is no key of it"),
        (("layers", 1, "calls"), [], r"layers\[1\] \(encoder\): needs either inputs or calls"),
        (
            ("layers", 1, "config"),
            {"name": "lstm"},
            r"layers\[1\] \(encoder\).config: expected the layer's configuration",
        ),
        (
            ("layers", 1, "inputs"),
            "embeding",
            r"layers\[1\] \(encoder\).inputs: refers to 'embeding'; did you mean embedding. available: encoder_",
        ),
        (("layers", 1, "inputs"), [], r"layers\[1\] \(encoder\).inputs: expected a reference or a list of them"),
        (("layers", 1, "inputs"), "embedding:2", "encoder: refers to call 2 of 'embedding', which is called 2 times"),
        (("layers", 1, "inputs"), "softmax", "the graph has a cycle"),
        (("layers", 1, "class_name"), "GRU", r"layers\[1\] \(encoder\): a GRU needs reset_after"),
        (("layers", 1, "class_name"), 5, "a layer has no class_name but int 5"),
        (("layers",), [*DECODER["layers"], DECODER["layers"][0]], "embedding: two layers of one model have this name"),
        (("layers", 2, "inputs", "sequence_length"), "length", r"\(decoder\).sequence_length: refers to 'length'"),
        (
            ("layers", 1, "weights"),
            "lstm",
            "takes the weights of encoder from 'lstm'.*available: decoder, embedding, encoder",
        ),
        (("layers", 1, "weights"), "encoder[1:9]", "takes arrays 1 to 9 of the 3 in encoder"),
        (("outputs",), [], "outputs: expected a list of references"),
        (("outputs",), ["softmax[x]"], r"outputs\[0\]: refers to"),
    ],
)
def test_a_fault_is_named_with_its_place(path, value, message, tmp_path):
    with pytest.raises(ReadError, match=message) as caught:
        gateprobe.read(unpacked() / "default" / "weights.h5", architecture=written(tmp_path, changed(path, value)))
    assert "\n" not in str(caught.value)


def test_a_reference_to_a_tensor_that_a_call_does_not_return_is_refused(tmp_path):
    inputs, _, _ = recorded("default")
    value = changed(("layers", 2, "inputs", "initial_state"), ["encoder[1]", "encoder[5]"])
    model = gateprobe.read(unpacked() / "default" / "weights.h5", architecture=written(tmp_path, value))
    with pytest.raises(gateprobe.GateprobeError, match="encoder returns 3 tensors, number 5 is wanted"):
        model.predict(inputs)


def test_the_wiring_of_the_tests_is_the_documented_one():
    documented, ours = copy.deepcopy(DECODER), wiring()
    documented["layers"].pop()
    documented["outputs"] = ours["outputs"]
    for layer in ours["layers"]:
        layer["config"].pop("mask_zero", None)
    ours["layers"][-1]["config"]["output_layer"]["config"].pop("activation")
    assert ours == documented
