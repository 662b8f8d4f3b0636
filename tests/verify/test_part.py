"""A layer that Keras must not get: what does not depend on it is verified, the rest is named."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights

from gateprobe.cli import main
from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef
from gateprobe.inputs.samples import from_arrays
from gateprobe.model import opened
from gateprobe.verification.part import part_without
from gateprobe.verification.prepare import given_inputs, made_inputs, replayable
from gateprobe.verification.replay import Subject
from gateprobe.verification.run import verify


def record(name, *calls, **more):
    made = tuple(
        Call(tuple(TensorRef(*ref) if isinstance(ref, tuple) else TensorRef(ref) for ref in call)) for call in calls
    )
    return LayerRecord(name, "Dense" if calls else "InputLayer", {}, calls=made, **more)


def model(*layers, outputs):
    made = tuple(TensorRef(*ref) if isinstance(ref, tuple) else TensorRef(ref) for ref in outputs)
    return ModelRecord("m", "Functional", layers, (TensorRef(layers[0].name),), made)


def shape_of(part):
    return {one.name: len(one.calls) for one in part.layers}, [(ref.layer, ref.call) for ref in part.outputs]


def test_what_depends_on_a_refused_layer_is_cut_off():
    whole = model(
        record("x"),
        record("a", ["x"]),
        record("custom", ["a"]),
        record("b", ["a"]),
        record("c", ["custom"]),
        record("d", ["b", "c"]),
        outputs=["d", "b"],
    )
    assert shape_of(part_without(whole, {"custom"})) == ({"x": 0, "a": 1, "b": 1}, [("b", 0)])
    assert shape_of(part_without(whole, {"d"})) == (
        {"x": 0, "a": 1, "custom": 1, "b": 1, "c": 1},
        [("b", 0), ("c", 0)],
    )
    assert shape_of(part_without(whole, set())) == shape_of(whole)


def test_only_the_calls_before_it_are_kept():
    shared = record("shared", ["x"], ["custom"], ["x"])
    whole = model(record("x"), shared, record("custom", [("shared", 0)]), record("e", [("shared", 2)]), outputs=["e"])
    assert shape_of(part_without(whole, {"custom"})) == ({"x": 0, "shared": 1}, [("shared", 0)])


def test_an_order_against_the_file_is_followed():
    whole = model(record("x"), record("c", ["b"]), record("b", ["custom"]), record("custom", ["x"]), outputs=["c"])
    assert shape_of(part_without(whole, {"custom"})) == ({"x": 0}, [])


def test_of_a_nested_model_the_part_before_it_is_kept():
    inner = model(record("i"), record("lstm", ["i"]), record("custom", ["lstm"]), outputs=["custom"])
    whole = model(record("x"), record("held", ["x"], model=inner), record("after", ["held"]), outputs=["after"])
    part = part_without(whole, {"held/custom"})
    assert shape_of(part) == ({"x": 0, "held": 1}, [("held", 0)])
    assert shape_of(part.layers[1].model) == ({"i": 0, "lstm": 1}, [("lstm", 0)])
    assert shape_of(part_without(whole, {"held/lstm"})) == ({"x": 0}, [])


def test_a_layer_that_no_output_needs_is_not_given_to_keras_either():
    """The replay does not need it, and Keras would make it all the same."""
    whole = chain([("LSTM", "lstm", {"units": 4})], {"lstm": lstm_weights(np.random.default_rng(0), 3, 4)})
    graph = opened(whole).graph
    aside = LayerRecord("aside", "Lambda", {}, calls=(Call((TensorRef("lstm"),)),))
    beside = replace(
        opened(whole), graph=replace(graph, model=replace(graph.model, layers=(*graph.model.layers, aside)))
    )
    prepared = replayable(beside, Subject(beside.graph, beside.semantics))
    assert [refusal.layer for refusal in prepared.left_out] == ["aside"]
    assert [one.name for one in prepared.asked.record.layers if one.class_name != "InputLayer"] == ["lstm"]
    assert replayable(opened(whole), Subject(graph, beside.semantics)).left_out == ()


def behind_a_lambda(before):
    """Two LSTMs, a Lambda, and an LSTM behind it whose name begins like that of the first."""
    rng, sequences = np.random.default_rng(0), {"units": 4, "return_sequences": True}
    layers = [
        *([("LSTM", "lstm", sequences), ("LSTM", "second", sequences)] if before else []),
        ("Lambda", "custom", {}),
        ("LSTM", "lstm_more", {"units": 4}),
    ]
    named = {"lstm": 3, "second": 4, "lstm_more": 4 if before else 3}
    weights = {name: lstm_weights(rng, size, 4) for name, size in named.items() if before or name == "lstm_more"}
    return opened(chain(layers, weights, input_shape=(None, 6, 3)))


def test_what_is_replayed_is_what_keras_runs_and_no_other_layer():
    model = behind_a_lambda(True)
    prepared = replayable(model, Subject(model.graph, model.semantics))
    wanted = {path: prepared.options.traced(path) for path in ("lstm", "second", "lstm_more", "custom", "lstm/cell_0")}
    assert wanted == {"lstm": True, "second": True, "lstm_more": False, "custom": False, "lstm/cell_0": True}
    assert not prepared.options.outputs
    assert [one.name for one in prepared.asked.record.layers] == ["input", "lstm", "second"]
    assert prepared.notes[-1] == "the outputs of the model are not compared"
    assert [note.split(" ")[0] for note in prepared.notes[:-1]] == ["custom"]
    x = np.random.default_rng(1).normal(size=(2, 6, 3))
    given = given_inputs(prepared, from_arrays(x, model.inputs))
    assert (given.inputs["input"].dtype, given.description) == (np.float32, "given")
    assert sorted(key[0] for key in given.ours.traces) == ["lstm", "second"]
    whole = chain([("LSTM", "lstm", {"units": 4})], {"lstm": lstm_weights(np.random.default_rng(0), 3, 4)})
    assert replayable(opened(whole), Subject(opened(whole).graph, opened(whole).semantics)).notes == ()


@pytest.mark.parametrize(("dtype", "taken"), [("int32", np.int32), ("float64", np.float64), ("bfloat16", np.float32)])
def test_given_inputs_have_the_dtype_of_the_model_and_stay_the_same_numbers(dtype, taken):
    words = ("Embedding", "words", {"input_dim": 9, "output_dim": 3})
    rng = np.random.default_rng(0)
    layers = [words] if dtype == "int32" else []
    weights = {"lstm": lstm_weights(rng, 3, 4), **({"words": [rng.normal(size=(9, 3))]} if layers else {})}
    shape = (None, 6) if layers else (None, 6, 3)
    model = opened(chain([*layers, ("LSTM", "lstm", {"units": 4})], weights, input_shape=shape, dtype=dtype))
    x = rng.integers(0, 9, (2, *shape[1:]))
    prepared = replayable(model, Subject(model.graph, model.semantics))
    given = given_inputs(prepared, from_arrays(x, model.inputs)).inputs["input"]
    assert given.dtype == taken
    np.testing.assert_array_equal(given, x)


def test_where_no_made_input_fits_the_user_is_asked_for_one():
    layers = [("LSTM", "lstm", {"units": 4, "return_sequences": True}), ("Reshape", "sevens", {"target_shape": [7, 4]})]
    model = opened(chain(layers, {"lstm": lstm_weights(np.random.default_rng(0), 3, 4)}))
    prepared = replayable(model, Subject(model.graph, model.semantics))
    with pytest.raises(InputError, match="no made input fits") as refused:
        made_inputs(prepared, seed=0, samples=None)
    assert refused.value.remedy == "give the inputs yourself"


def test_where_nothing_recurrent_comes_before_it_the_model_is_refused():
    model = behind_a_lambda(False)
    with pytest.raises(UnsupportedModel, match="custom") as refused:
        replayable(model, Subject(model.graph, model.semantics))
    assert refused.value.remedy


def with_lambda(path, name):
    """Turn an Activation into a Lambda, as if it had been saved so."""
    with zipfile.ZipFile(path) as file:
        content = {member: file.read(member) for member in file.namelist()}
    config = json.loads(content["config.json"])

    def turned(layers):
        for layer in layers:
            turned(layer["config"].get("layers", []))
            if layer["config"]["name"] == name:
                layer |= {"class_name": "Lambda", "config": {"name": name}}

    turned(config["config"]["layers"])
    with zipfile.ZipFile(path, "w") as file:
        for member, data in (content | {"config.json": json.dumps(config)}).items():
            file.writestr(member, data)
    return path


def saved(keras, folder, *, nested):
    """Save two LSTMs, a layer behind them, and one more LSTM behind that."""
    keras.utils.set_random_seed(1)
    x = keras.Input((6, 3))
    first = keras.layers.LSTM(4, return_sequences=True, name="first")
    second = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="second")
    custom = keras.layers.Activation("linear", name="custom")
    if nested:
        y = keras.Sequential([keras.Input((6, 3)), first, second, custom], name="held")(x)
    else:
        y = custom(second(first(x)))
    z = keras.layers.LSTM(5, name="third")(y)
    path = folder / "model.keras"
    keras.Model(x, keras.layers.Dense(2)(z)).save(path)
    return path


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("library", ["tf_keras", "keras3"])
def test_the_lstms_before_a_custom_layer_are_verified(in_process, tmp_path, library, nested):
    path = with_lambda(saved(in_process[library], tmp_path, nested=nested), "custom")
    result = verify(path, np.random.default_rng(0).normal(size=(3, 6, 3)).astype("f4"))
    prefix, place = ("held/", "held/custom") if nested else ("", "custom")
    assert (result.status.value, result.problems) == ("agrees", ())
    assert {(one.layer, one.direction) for one in result.signals} == {
        (f"{prefix}first", "forward"), (f"{prefix}second", "forward"), (f"{prefix}second", "backward"),
    }  # fmt: skip
    assert [text.split(":")[0] for text in result.left_out] == [f"{place} (Lambda)"]
    assert place in result.built_because


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_the_report_names_what_was_left_out(in_process, tmp_path):
    path = with_lambda(saved(in_process["keras3"], tmp_path, nested=False), "custom")
    done = CliRunner().invoke(main, ["verify", str(path)])
    assert done.exit_code == 0
    assert "AGREES IN PART" in done.stdout
    assert "not compared, nor what depends on it: custom (Lambda)" in done.stdout
    assert "the outputs of the model are not compared" in done.stderr
    result = json.loads(CliRunner().invoke(main, ["verify", str(path), "--json"]).stdout)
    assert result["left_out"][0].startswith("custom (Lambda)")
