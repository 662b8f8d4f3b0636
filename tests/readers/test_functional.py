"""Graphs of functional models in the notation of each Keras."""

import numpy as np
import pytest
from readers.build import dense, functional, input_layer, lstm, nodes, sequential

from gateprobe.errors import ReadError
from gateprobe.graph import Call, Era, Namespace, TensorRef
from gateprobe.readers.architecture import read_architecture

X, Y = TensorRef("x"), TensorRef("y")


def read(value, era=Era.KERAS2):
    model, notes = read_architecture(value, era)
    assert not notes
    return model


def one_call(node, era=Era.KERAS2, class_name="Dense"):
    """Read a graph of two inputs and one call."""
    layers = [input_layer("x"), input_layer("y"), dense("d", node, class_name=class_name)]
    return read(functional(layers, [["x", 0, 0], ["y", 0, 0]], [["d", 0, 0]]), era).layers[2].calls[0]


def keras_tensor(name, call=0, tensor=0):
    config = {"shape": [None, 2], "dtype": "float32", "keras_history": [name, call, tensor]}
    return {"class_name": "__keras_tensor__", "config": config}


def marked(kind, **config):
    return {"class_name": kind, "config": config}


@pytest.mark.parametrize(
    ("node", "call"),
    [
        ([["x", 0, 0]], Call((X,))),
        ([["x", 0, 0, {}]], Call((X,))),
        ([["x", 0, 0, {}], ["y", 0, 1, {}]], Call(((X, TensorRef("y", 0, 1)),))),
        ([["x", 0, 0, {"training": False}]], Call((X,), {"training": False})),
        ([["x", 0, 0, {"mask": ["y", 0, 0]}]], Call((X,), {"mask": Y})),
        ([["x", 0, 0, {"initial_state": [["y", 0, 0], ["x", 0, 0]]}]], Call((X,), {"initial_state": (Y, X)})),
        ([["x", 0, 0, {"a": {"b": ["y", 0, 0]}}]], Call((X,), {"a": {"b": Y}})),
        ([["x", 0, 0, {"padding": ["same", 1, 2]}]], Call((X,), {"padding": ("same", 1, 2)})),
        ([["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, [1.0, 2.0], {}]], Call(((X, (1.0, 2.0)),))),
        ([[["x", 0, 0, {}]], ["y", 0, 0, {}]], Call((((X,), Y),))),
        ({"b": ["y", 0, 0, {}], "a": ["x", 0, 0, {}]}, Call(({"b": Y, "a": X},))),
    ],
)
def test_calls_of_keras_1_and_2(node, call):
    assert one_call(node) == call


@pytest.mark.parametrize(
    ("node", "call"),
    [
        (["x", 0, 0, {"y": 2.0, "name": None}], Call((X,), {"y": 2.0, "name": None})),
        (["x", 0, 0, {"y": ["y", 0, 0]}], Call((X,), {"y": Y})),
        ([["x", 0, 0, {"axis": 1}], ["y", 0, 0, {"axis": 1}]], Call(((X, Y),), {"axis": 1})),
        ([["x", 0, 0, {"axis": 1}]], Call(((X,),), {"axis": 1})),
    ],
)
def test_calls_of_tensorflow_functions(node, call):
    """Only these layers keep a list of one tensor (``_preserve_input_structure_in_config``)."""
    assert one_call(node, class_name="TFOpLambda") == call


@pytest.mark.parametrize(
    ("args", "call"),
    [
        ([keras_tensor("x")], Call((X,), {"mask": None})),
        ([[keras_tensor("x"), keras_tensor("y", 0, 1)]], Call(((X, TensorRef("y", 0, 1)),), {"mask": None})),
        ([keras_tensor("x"), 0.5, "same"], Call((X, 0.5, "same"), {"mask": None})),
        ([{"a": keras_tensor("x"), "b": [keras_tensor("y")]}], Call(({"a": X, "b": (Y,)},), {"mask": None})),
        (
            [keras_tensor("x"), [marked("__slice__", start=0, stop=2, step=None), marked("__ellipsis__")]],
            Call((X, (slice(0, 2, None), Ellipsis)), {"mask": None}),
        ),
        ([keras_tensor("x"), [marked("slice", start=1, stop=None)]], Call((X, (slice(1, None),)), {"mask": None})),
        ([keras_tensor("x"), {"class_name": "__tuple__", "items": [1, 2]}], Call((X, (1, 2)), {"mask": None})),
    ],
)
def test_calls_of_keras_3(args, call):
    assert one_call({"args": args, "kwargs": {"mask": None}}, Era.KERAS3) == call


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "bfloat16"])
def test_constants_of_keras_3(dtype):
    constant = marked("__numpy__", value=[[1, 0]], dtype=dtype)
    value = one_call({"args": [keras_tensor("x"), constant], "kwargs": {}}, Era.KERAS3).args[1]
    np.testing.assert_array_equal(value, [[1, 0]])
    assert value.dtype == ("float32" if dtype == "bfloat16" else dtype)
    assert not value.flags.writeable


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ([["ghost", 0, 0]], "d: refers to the layer 'ghost', which is not in the model"),
        ([["x", 7, 0]], "d: refers to call 7 of 'x', which is called 1 times"),
        ([["x", -1, 0]], "refers to call -1 of 'x'"),
        ([["x", 0, 0, {"mask": ["y", -1, 0]}]], "refers to call -1 of 'y'"),
        ([["x", 0, -1]], "gives -1 as the number of the tensor"),
        ([["x", 0, "0"]], "gives '0' as the number of the tensor"),
        ([["x", 0, 0, {"a": 1}], ["y", 0, 0, {"a": 2}]], "different keyword arguments"),
        (7, "d: a call is written as int"),
        ([7], "a call's argument is written as int 7"),
        ({"args": 7, "kwargs": {}}, "args or kwargs are not a list and a mapping"),
        ({"args": [marked("__keras_tensor__", keras_history=None)], "kwargs": {}}, "keras_history is None"),
        ({"args": [marked("__numpy__", value=[[1], [1, 2]], dtype="float32")], "kwargs": {}}, "constant array is malf"),
        ({"args": [marked("__numpy__", value=[1], dtype="object")], "kwargs": {}}, "constant has the dtype 'object'"),
        ({"args": [marked("__numpy__", value=[1], dtype=["f4"])], "kwargs": {}}, r"constant has the dtype \['f4'"),
        ([["d", 0, 0]], "model/d: the layer waits for its own output"),
    ],
)
def test_broken_calls(node, message):
    with pytest.raises(ReadError, match=message):
        one_call(node)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "all"}, "the model's layers are str, not a list"),
        ({"layers": []}, "the model has no layers"),
        ({"layers": [7]}, "expected a layer, got int 7"),
        ({"layers": [{"class_name": "Dense", "config": 7}]}, "the config of a Dense is int 7"),
        ({"layers": [{"class_name": 7, "config": {}}]}, "a layer has no class_name but int 7"),
        (
            {"layers": [{"class_name": "Dense", "config": {"name": "d"}, "inbound_nodes": 7}]},
            "inbound_nodes of a Dense",
        ),
        ({"layers": [{"class_name": "Dense", "config": {}}]}, "a layer's name is nothing"),
        ({"layers": [dense("d"), dense("d")]}, "d: two layers of one model have this name"),
        ({"layers": [input_layer(7)]}, "a layer's name is int 7"),
        ({"layers": [input_layer("a\ud800")]}, "is not valid Unicode"),
        ({"input_layers": "x"}, r"expected \[layer, call, tensor\], got 'x'"),
        ({"output_layers": [["d", 0, "0"]]}, r"expected \[layer, call, tensor\], got \['d'"),
        ({"output_layers": [["d", 1, 0]]}, "refers to call 1 of 'd', which is called 1 times"),
        ({"output_layers": [["x", 0, 0], None]}, r"expected \[layer, call, tensor\], got None"),
    ],
)
def test_broken_models(change, message):
    value = functional([input_layer(), dense("d", [["x", 0, 0]])], [["x", 0, 0]], [["d", 0, 0]])
    value["config"] |= change
    with pytest.raises(ReadError, match=message):
        read(value)


@pytest.mark.parametrize("key", ["input_layers", "output_layers"])
def test_model_without_ends(key):
    value = functional([input_layer(), dense("d", [["x", 0, 0]])], [["x", 0, 0]], [["d", 0, 0]])
    del value["config"][key]
    with pytest.raises(ReadError, match=f"model: the model has no {key}"):
        read({"class_name": "Model", "config": value["config"]})


def test_inputs_and_outputs_by_key_are_sorted():
    layers = [input_layer("x"), input_layer("y"), dense("d", [["x", 0, 0], ["y", 0, 0]])]
    outputs = {"b": ["d", 0, 0], "a": [["d", 0, 1], ["d", 0, 2]]}
    model = read(functional(layers, {"two": ["x", 0, 0], "one": ["y", 0, 0]}, outputs))
    assert (model.inputs, model.input_keys) == ((Y, X), ("one", "two"))
    assert [ref.tensor for ref in model.outputs] == [1, 2, 0]


def test_single_input_and_output_without_lists():
    """As Keras 3 writes them."""
    layers = [input_layer("x"), dense("d", {"args": [keras_tensor("x")], "kwargs": {}})]
    model = read(functional(layers, ["x", 0, 0], ["d", 0, 0]), Era.KERAS3)
    assert (model.inputs, model.outputs, model.input_keys) == ((X,), (TensorRef("d"),), ())


def nested_model(name, *calls, kind="Functional", **more):
    inner = sequential(lstm("inner"), name=name)
    if kind == "Functional":
        inner = functional(
            [input_layer("in"), dense("out", [["in", 0, 0]])], [["in", 0, 0]], [["out", 0, 0]], name=name
        )
    return {**inner, "name": name, **nodes(*calls), **more}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", ["Functional", "Sequential"])
@pytest.mark.parametrize("outside", [False, True])
def test_calls_of_a_nested_model_count_from_0_or_1(first, kind, outside):
    """A nested model may have one call more than the file stores; the last one is always referred to."""
    call = [["x", 0, 0, {"mask": ["x", 0, 0]}]]
    layers = [input_layer("x"), nested_model("inner", call, call, kind=kind)]
    layers.append(dense("d", [["inner", first, 0]] if outside else [["inner", first + 1, 0]]))
    outputs = [["d", 0, 0], ["inner", first + 1, 0]] if outside else [["d", 0, 0]]
    model = read(functional(layers, [["x", 0, 0]], outputs))
    assert model.layers[2].calls[0].args[0].call == (0 if outside else 1)
    assert model.outputs[1:] == ((TensorRef("inner", 1),) if outside else ())
    assert model.layers[1].model.class_name == kind


@pytest.mark.parametrize(("kind", "at_ends"), [("Functional", 1), ("Sequential", 0)])
def test_keras_3_counts_from_1_only_at_the_ends_and_only_functional_models(kind, at_ends):
    """``serialize_node`` and ``get_tensor_config`` in keras/src/models/functional.py 3.15.1 count differently."""
    call = {"args": [keras_tensor("x")], "kwargs": {}}
    layers = [input_layer("x"), nested_model("inner", call, call, kind=kind)]
    layers.append(dense("d", {"args": [keras_tensor("inner", 1)], "kwargs": {}}))
    model = read(functional(layers, ["x", 0, 0], [["d", 0, 0], ["inner", at_ends, 0]]), Era.KERAS3)
    assert model.layers[2].calls[0].args[0] == TensorRef("inner", 1)
    assert model.outputs[1] == TensorRef("inner", 0)


def test_cycle_through_two_layers():
    layers = [input_layer("x"), dense("a", [["x", 0, 0], ["b", 0, 0]]), dense("b", [["a", 0, 0]])]
    with pytest.raises(ReadError, match=r"model/[ab]: the layer waits for its own output"):
        read(functional(layers, [["x", 0, 0]], [["b", 0, 0]]))


def test_shared_layers_called_in_turn_are_no_cycle():
    """A(B(A(x))): the layers depend on each other, the calls do not."""
    layers = [input_layer("x"), dense("a", [["x", 0, 0]], [["b", 0, 0]]), dense("b", [["a", 0, 0]])]
    model = read(functional(layers, [["x", 0, 0]], [["a", 1, 0]]))
    assert model.layers[1].calls[1].args[0] == TensorRef("b")


@pytest.mark.parametrize("count", [64, 10_000])
def test_diamonds_and_long_chains(count):
    """2^64 paths, and more layers than Python recurses into."""
    layers = [input_layer("x")]
    for number in range(count):
        before = f"d{number - 1}" if number else "x"
        layers.append(dense(f"d{number}", [[before, 0, 0], [before, 0, 0]]))
    assert len(read(functional(layers, [["x", 0, 0]], [[f"d{count - 1}", 0, 0]])).layers) == count + 1


@pytest.mark.parametrize(
    ("more", "namespace"),
    [
        ({}, Namespace.LAYER),
        ({"module": "keras.layers", "registered_name": None}, Namespace.LAYER),
        ({"module": "keras.src.layers.rnn.lstm", "registered_name": "LSTM"}, Namespace.LAYER),
        ({"module": "tf_keras.layers", "registered_name": None}, Namespace.LAYER),
        ({"module": "tensorflow.python.keras.layers", "registered_name": None}, Namespace.LAYER),
        ({"module": "keras.src.ops.numpy", "registered_name": "LSTM"}, Namespace.OPERATION),
        ({"module": None, "registered_name": "LSTM"}, Namespace.CUSTOM),
        ({"module": "__main__", "registered_name": "Custom>LSTM"}, Namespace.CUSTOM),
        ({"module": "keras.layers", "registered_name": "Custom>LSTM"}, Namespace.CUSTOM),
        ({"module": "keras_nlp.layers", "registered_name": None}, Namespace.CUSTOM),
        ({"module": "kerasx", "registered_name": None}, Namespace.CUSTOM),
        ({"module": ["keras"], "registered_name": None}, Namespace.CUSTOM),
        ({"class_name": "Addons>LSTM"}, Namespace.CUSTOM),
    ],
)
def test_whose_class_it_is(more, namespace):
    """A class called LSTM is Keras's only if the file says so."""
    layer = dense("d", [["x", 0, 0]], class_name="LSTM") | more
    model = read(functional([input_layer("x"), layer], [["x", 0, 0]], [["d", 0, 0]]))
    assert model.layers[1].namespace is namespace


@pytest.mark.parametrize(
    ("class_name", "config", "namespace"),
    [
        ("Add", {}, Namespace.OPERATION),
        ("Cast", {"dtype": "float32"}, Namespace.OPERATION),
        ("Add", {"trainable": True, "dtype": "float32"}, Namespace.LAYER),
        ("SpatialDropout1D", {"rate": 0.1}, Namespace.LAYER),
    ],
)
def test_operations_in_hdf5_of_keras_3_where_no_module_is_named(class_name, config, namespace):
    call = {"args": [keras_tensor("x")], "kwargs": {}}
    layer = {"class_name": class_name, "config": {"name": "d", **config}, "name": "d", **nodes(call)}
    model = read(functional([input_layer("x"), layer], ["x", 0, 0], ["d", 0, 0]), Era.KERAS3)
    assert [item.namespace for item in model.layers] == [Namespace.LAYER, namespace]


def test_class_without_a_graph():
    model, (note,) = read_architecture({"class_name": "Net", "config": {"units": 3}}, Era.KERAS3)
    assert model is None
    assert "the class Net, code of the user's own, which gateprobe never runs, so there is no graph" in note


def test_subclass_with_the_graph_of_a_functional_model():
    value = functional([input_layer("x")], [["x", 0, 0]], [["x", 0, 0]], class_name="MyModel")
    model, (note,) = read_architecture(value, Era.KERAS2)
    assert model.class_name == "Functional"
    assert "MyModel is not Keras's own" in note


def test_children_are_read_recursively():
    inner = {"class_name": "TimeDistributed", "config": {"name": "td", "layer": lstm("inner")}}
    cells = [{"class_name": "LSTMCell", "config": {"name": f"c{n}", "units": 2}} for n in range(2)]
    stacked = {"class_name": "StackedRNNCells", "config": {"name": "s", "cells": cells}}
    layers = [
        {"class_name": "Bidirectional", "config": {"name": "b", "layer": inner, "backward_layer": lstm("back")}},
        {"class_name": "RNN", "config": {"name": "r", "cell": stacked}},
        {"class_name": "TimeDistributed", "config": {"name": "t", "layer": nested_model("m", kind="Sequential")}},
    ]
    both, rnn, model = read(sequential(*layers)).layers[1:]
    assert both.children["layer"][0].children["layer"][0].name == "inner"
    assert both.children["backward_layer"][0].name == "back"
    assert [cell.name for cell in rnn.children["cell"][0].children["cells"]] == ["c0", "c1"]
    assert [layer.name for layer in model.children["layer"][0].model.layers] == ["inner_input", "inner"]
    assert both.config["layer"] == inner


def test_deep_nesting_of_models_is_read():
    value = sequential(lstm())
    for depth in range(40):
        value = sequential({**value, "name": f"m{depth}"}, name=f"o{depth}")
    model, depth = read(value), 0
    while (inner := model.layers[-1].model) is not None:
        model, depth = inner, depth + 1
    assert depth == 40
