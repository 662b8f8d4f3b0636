"""What a graph gives to a call is understood or refused, whatever the layer."""

import importlib
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import chain, changed, lstm_weights

import gateprobe
from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.graph import Call, LayerRecord, Namespace, TensorRef, freeze
from gateprobe.layers.binding.call_arguments import understood
from gateprobe.layers.binding.registry import registered
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.model import opened
from gateprobe.opened_model import open_model
from gateprobe.traces.selection import Ranges, Selection

DATA = Path(__file__).parents[1] / "data" / "constants"
LAYERS = [kind for kind in registered() if kind.takes is not None]
CONSTANT = freeze(np.ones((2, 3), np.float32))


def called(*args, class_name="Dense", **kwargs):
    return LayerRecord("layer", class_name, {}, calls=(Call(args, kwargs),))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_constants_in_a_graph_are_replayed(suffix):
    """States as arrays, as tensors, by position and for both directions; masks; an operand of a sum."""
    golden = np.load(DATA / "constants.npz")
    model = gateprobe.read(DATA / f"constants.{suffix}")
    for number, found in enumerate(model.predict(golden["x"]).values()):
        np.testing.assert_allclose(found, golden[f"output_{number}"], atol=1e-6)
    twice = model.predict(np.concatenate([golden["x"]] * 2))
    for number, found in enumerate(twice.values()):
        np.testing.assert_allclose(found, np.concatenate([golden[f"output_{number}"]] * 2), atol=1e-6)


def test_a_mask_given_to_a_nested_model_is_that_of_its_input():
    golden = np.load(DATA / "nested_mask.npz")
    (found,) = gateprobe.read(DATA / "nested_mask.keras").predict(golden["x0"]).values()
    np.testing.assert_allclose(found, golden["output"], atol=1e-6)


def test_no_mask_by_name_hides_that_of_the_input_in_keras_2():
    """Keras 3 puts the input's mask there; ``null_mask_hides`` of tests/test_rules.py has the real ones."""
    x = np.array([[[1, 2, 3], [0, 0, 0]]], np.float32)
    weights = {"lstm": lstm_weights(np.random.default_rng(4), 3, 2)}
    layers = [("Masking", "masking", {}), ("LSTM", "lstm", {"units": 2})]
    for version, hides in (("2.15.0", True), ("3.15.1", False)):
        masked = chain(layers, weights, keras_version=version)
        found = opened(masked)
        records = [*found.graph.model.layers]
        records[-1] = replace(records[-1], calls=(Call((TensorRef("masking"),), {"mask": None}),))
        model = replace(found.graph.model, layers=tuple(records))
        silent = changed(masked, graph=replace(found.graph, model=model))
        plain = chain(layers[1:], weights, keras_version=version)
        expected = plain.predict(x) if hides else plain.predict(x[:, :1])
        np.testing.assert_allclose(silent.predict(x)["lstm"], expected["lstm"], atol=1e-6)
        assert (silent.trace(x)["lstm"].forward.mask is None) == hides


@pytest.mark.parametrize("samples", [1, 2])
def test_a_mask_of_timesteps_that_reaches_a_softmax_by_accident_is_refused(samples):
    softmax = LayerRecord("softmax", "Softmax", {})
    model = chain([("Masking", "masking", {}), ("TimeDistributed", "td", {}, {"layer": softmax})], {})
    with pytest.raises(InputError, match=r"a mask of shape \(\d,\) does not fit a softmax"):
        model.predict(np.zeros((samples, 2, 3), np.float32))


def test_a_constant_mask_of_one_row_is_that_of_every_sample():
    chunk = next(gateprobe.read(DATA / "constants.keras").iter_trace(np.zeros((2, 4, 3), np.float32)))
    masks = {part.layer: part.mask for part in chunk.directions}
    np.testing.assert_array_equal(masks["last"], [[True, True, False, True]] * 2)
    np.testing.assert_array_equal(masks["gru"], [[True, True, False, True], [True, False, True, True]])


def test_constants_for_a_batch_fix_its_size():
    model = gateprobe.read(DATA / "constants.keras")
    with pytest.raises(InputError, match="built for batches of 2 samples, the input has 3"):
        model.trace(np.zeros((3, 4, 3), np.float32))
    with pytest.raises(InputError, match="a sample depends on its place among all"):
        model.trace(np.zeros((4, 4, 3), np.float32), selection=Selection(samples=Ranges("0")))


def test_a_constant_weighs_counts():
    """Written by Keras with the weights 1, 2 and 0.5."""
    (found,) = gateprobe.read(DATA / "count_weights.keras").predict(np.array([[1, 2, 1]])).values()
    np.testing.assert_array_equal(found, [[0, 1.5, 2, 0, 0]])


def test_arguments_that_are_not_replayed_are_refused():
    with pytest.raises(UnsupportedModel, match="a mask by position"):
        open_model(DATA / "refused_mask_by_position.keras").plan(outputs=True)


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.class_name)
def test_no_layer_ignores_an_argument(kind):
    for value in (TensorRef("x"), CONSTANT, 0.5, False, "text", (TensorRef("x"),)):
        with pytest.raises(Unsupported, match=r"is called with surprise="):
            understood(called(TensorRef("x"), surprise=value), kind.takes)
    assert understood(called(TensorRef("x"), surprise=None), kind.takes) == (Call((TensorRef("x"),)),)
    with pytest.raises(Unsupported, match="by position"):
        understood(called(*[TensorRef("x")] * (len(kind.takes) + 1)), kind.takes)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Call((TensorRef("x"),), {"training": TensorRef("y")}), "training=a tensor: expected true or false"),
        (Call((TensorRef("x"),), {"training": "yes"}), "training='yes': expected true or false"),
        (Call((TensorRef("x"),), {"initial_state": ((0.0, 1.0), (0.0, 1.0))}), "plain numbers"),
        (Call((TensorRef("x"),), {"initial_state": "zeros"}), "'zeros' in initial_state"),
        (Call((TensorRef("x"), TensorRef("y")), {"initial_state": TensorRef("z")}), "initial_state twice"),
        (Call((TensorRef("x"),), {"mask": ((True, False), (True,))}), "lists of different lengths in mask"),
        (Call((2.0,)), "where a tensor belongs"),
        (Call((freeze(np.float32(2.0)),)), r"a constant of shape \(\)"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(call, reason):
    record = LayerRecord("lstm", "LSTM", {}, calls=(call,))
    kind = next(kind for kind in LAYERS if kind.class_name == "LSTM")
    with pytest.raises(Unsupported, match=reason):
        understood(record, kind.takes)


def test_the_plan_asks_what_calls_hold():
    rng = np.random.default_rng(1)
    model = chain([("LSTM", "l", {"units": 2})], {"l": lstm_weights(rng, 3, 2)})
    graph = opened(model).graph
    for kwargs in ({"constants": TensorRef("input")}, {"surprise": CONSTANT}):
        lstm = replace(graph.model.layers[1], calls=(Call((TensorRef("input"),), kwargs),))
        record = replace(graph.model, layers=(graph.model.layers[0], lstm))
        with pytest.raises(UnsupportedModel, match=f"is called with {next(iter(kwargs))}=a tensor"):
            changed(model, graph=replace(graph, model=record)).trace(np.zeros((2, 4, 3), np.float32))


_FIRST = {"sequences", "sequence", "data", "x"}


@pytest.mark.oracle
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_what_a_layer_takes_is_what_keras_takes(library):
    layers = pytest.importorskip(f"{library}.layers")
    for kind in LAYERS:
        class_ = getattr(layers, kind.class_name, None)
        if class_ is None or kind.namespace is not Namespace.LAYER:
            continue
        theirs = list(inspect.signature(class_.call).parameters)[1:]
        theirs = ["inputs" if name in _FIRST else name for name in theirs]
        if library == "keras":
            assert [name for name in kind.takes if name in theirs] == theirs[: len(kind.takes)][: len(theirs)] or (
                kind.takes == ("inputs", "training") and theirs[0] == "inputs"
            ), kind.class_name
        unknown = set(kind.takes) - set(theirs) - {"training", "query_mask", "value_mask", "key_mask"}
        other = getattr(importlib.import_module("tf_keras.layers"), kind.class_name, class_)
        assert unknown <= set(inspect.signature(other.call).parameters), kind.class_name


def with_states(rows):
    """Return a model whose LSTM starts from constants for so many samples."""
    model = chain([("LSTM", "l", {"units": 2})], {"l": lstm_weights(np.random.default_rng(1), 3, 2)})
    states = tuple(freeze(np.full((rows, 2), 0.5, np.float32)) for _ in range(2))
    graph = opened(model).graph
    lstm = replace(graph.model.layers[1], calls=(Call((TensorRef("input"),), {"initial_state": states}),))
    record = replace(graph.model, layers=(graph.model.layers[0], lstm))
    return changed(model, graph=replace(graph, model=record))


def test_states_of_one_row_serve_one_sample_at_a_time_as_in_keras():
    x = np.random.default_rng(2).normal(size=(3, 4, 3)).astype(np.float32)
    model = with_states(1)
    assert opened(model).plan(outputs=True).batch_size == 1
    together = model.predict(x)["l"]
    alone = np.concatenate([model.predict(x[n : n + 1])["l"] for n in range(3)])
    np.testing.assert_array_equal(together, alone)
    assert np.abs(together - with_states(3).predict(x)["l"]).max() < 1e-6


def test_sequences_are_not_cut_where_a_call_holds_constants():
    plain = chain([("LSTM", "l", {"units": 2})], {"l": lstm_weights(np.random.default_rng(1), 3, 2)})
    assert opened(plain).plan(outputs=True).graph.over_time((3,)) is not None
    assert opened(with_states(1)).plan(outputs=True).graph.over_time((3,)) is None


def test_constants_for_samples_are_refused_where_a_layer_calls_by_timesteps():
    inner = opened(with_states(2)).graph.model
    wrapped = LayerRecord("inner", "Functional", {}, model=inner, children={})
    weights = {"t": lstm_weights(np.random.default_rng(1), 3, 2)}
    outer = chain([("TimeDistributed", "t", {}, {"layer": wrapped})], weights)
    with pytest.raises(UnsupportedModel, match="a constant in initial_state, inside a layer that calls it by"):
        opened(outer).plan(outputs=True)


def test_two_constants_for_other_numbers_of_samples_are_refused():
    graph = opened(model := with_states(2)).graph
    second = replace(
        graph.model.layers[1],
        name="m",
        calls=(Call((TensorRef("input"),), {"mask": freeze(np.ones((3, 4), bool))}),),
    )
    record = replace(graph.model, layers=(*graph.model.layers, second), outputs=(TensorRef("l"), TensorRef("m")))
    root = graph.weights.root
    children = {**root.children, "m": root.children["l"]}
    weights = replace(graph.weights, root=replace(root, children=children))
    with pytest.raises(UnsupportedModel, match=r"a constant for \d samples in \w+, but the model takes \d at a"):
        opened(changed(model, graph=replace(graph, model=record, weights=weights))).plan(outputs=True)
