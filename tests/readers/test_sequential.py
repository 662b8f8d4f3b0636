"""Sequentials: chains with the input that Keras makes for them, and the merges of Keras 1."""

import pytest
from readers.build import dense, functional, input_layer, lstm, nodes, sequential

from gateprobe.errors import ReadError
from gateprobe.graph import Era, GateLayout, Namespace, TensorRef
from gateprobe.readers.architecture import read_architecture


def read(value, era=Era.KERAS2):
    return read_architecture(value, era)[0]


def layer(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


@pytest.mark.parametrize("bare", [False, True])
def test_chain(bare):
    """Keras before 2.2.3 stored a bare list."""
    value = sequential(lstm("a", return_sequences=True), lstm("b"), layer("Dense", "c"))
    model = read({"class_name": "Sequential", "config": value["config"]["layers"]} if bare else value)
    assert [item.name for item in model.layers] == ["a_input", "a", "b", "c"]
    assert [item.calls[0].args[0].layer for item in model.layers[1:]] == ["a_input", "a", "b"]
    assert (model.inputs, model.outputs) == ((TensorRef("a_input"),), (TensorRef("c"),))
    assert model.layers[0].config["batch_shape"] == [None, 5, 3]


@pytest.mark.parametrize(
    ("first", "era", "shape"),
    [
        (layer("LSTM", "a", batch_shape=[2, 5, 3]), Era.KERAS3, [2, 5, 3]),
        (layer("LSTM", "a"), Era.KERAS2, None),
        (layer("LSTM", "a", output_dim=2, input_dim=3, input_length=None), Era.KERAS1, [None, None, 3]),
        (layer("Dense", "a", output_dim=2, input_dim=3), Era.KERAS1, [None, 3]),
        (layer("Embedding", "a", input_dim=9, output_dim=2, input_length=7), Era.KERAS1, [None, 7]),
        ({**sequential(lstm(), name="a"), "name": "a"}, Era.KERAS2, [None, 5, 3]),
    ],
)
def test_shape_of_the_implied_input(first, era, shape):
    model = read(sequential(first, layer("Dense", "last")), era)
    assert (model.layers[0].name, model.layers[0].class_name) == ("a_input", "InputLayer")
    assert model.layers[0].config["batch_shape"] == shape


def test_shape_that_only_the_model_knows():
    value = sequential(layer("LSTM", "a"))
    value["config"]["build_input_shape"] = [None, 9, 4]
    assert read(value).layers[0].config["batch_shape"] == [None, 9, 4]


def test_input_that_is_stored():
    model = read(sequential(layer("InputLayer", "given", batch_input_shape=[None, 3]), layer("Dense", "a")))
    assert [item.name for item in model.layers] == ["given", "a"]


def test_nameless_nested_models_get_names():
    nested = {"class_name": "Sequential", "config": [lstm("a")]}
    model = read({"class_name": "Sequential", "config": [nested, nested | {"config": [lstm("b")]}]})
    assert [item.name for item in model.layers] == ["sequential_1_input", "sequential_1", "sequential_2"]


def test_names_that_are_taken():
    nested = {"class_name": "Sequential", "config": [lstm("a")]}
    model = read({"class_name": "Sequential", "config": [lstm("sequential_2"), nested]})
    assert [item.name for item in model.layers] == ["sequential_2_input", "sequential_2", "sequential_2_"]


@pytest.mark.parametrize("layers", [[], None, "all", {"a": 1}])
def test_no_layers(layers):
    with pytest.raises(ReadError, match=r"the model has no layers|not a list of layers"):
        read({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})


def test_two_layers_of_one_name():
    with pytest.raises(ReadError, match="a: two layers of one model have this name"):
        read(sequential(lstm("a"), lstm("a")))


def merge(branches, **config):
    return layer("Merge", "merge_1", layers=branches, mode_type="raw", arguments={}, **config)


def test_merge_at_the_start_of_a_sequential():
    """Keras 1 stored the models that it joins inside the layer, and their weights among those of the outer model."""
    first = {"class_name": "Sequential", "config": [layer("Dense", "a", output_dim=2, input_dim=3)]}
    inner = [input_layer("x"), dense("b", [["x", 0, 0]], output_dim=2)]
    second = functional(inner, [["x", 0, 0]], [["b", 0, 0]], class_name="Model")
    joined = merge([first, second, layer("Dense", "c", output_dim=2, input_dim=3)], mode="concat", concat_axis=1)
    last = layer("Dense", "d", output_dim=1)
    model = read({"class_name": "Sequential", "config": [joined, last]}, Era.KERAS1)
    assert [item.name for item in model.layers] == ["a_input", "a", "x", "b", "c_input", "c", "merge_1", "d"]
    assert model.inputs == (TensorRef("a_input"), TensorRef("x"), TensorRef("c_input"))
    joint = model.layers[6]
    assert (joint.class_name, joint.config["axis"]) == ("Concatenate", 1)
    assert joint.calls[0].args == ((TensorRef("a"), TensorRef("b"), TensorRef("c")),)
    assert model.layers[7].calls[0].args == (TensorRef("merge_1"),)


def test_merge_of_a_model_with_two_outputs():
    inner = [input_layer("x"), dense("b", [["x", 0, 0]], output_dim=2)]
    branch = functional(inner, [["x", 0, 0]], [["b", 0, 0], ["x", 0, 0]], class_name="Model")
    with pytest.raises(ReadError, match="a Merge joins a model of several outputs"):
        read({"class_name": "Sequential", "config": [merge([branch, branch], mode="sum")]}, Era.KERAS1)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mode": "sum"}, ("Add", {})),
        ({"mode": "mul"}, ("Multiply", {})),
        ({"mode": "ave"}, ("Average", {})),
        ({"mode": "max"}, ("Maximum", {})),
        ({"mode": "concat", "concat_axis": 2}, ("Concatenate", {"axis": 2})),
        ({"mode": "dot", "dot_axes": [1, 2]}, ("Dot", {"axes": [1, 2], "normalize": False})),
    ],
)
@pytest.mark.parametrize("era", [Era.KERAS1, Era.KERAS2])
def test_modes_of_merge(config, expected, era):
    node = [["x", 0, 0], ["y", 0, 0]]
    layers = [input_layer("x"), input_layer("y"), {**layer("Merge", "m", **config), "name": "m", **nodes(node)}]
    found = read(functional(layers, [["x", 0, 0], ["y", 0, 0]], [["m", 0, 0]]), era).layers[2]
    assert (found.class_name, dict(found.config)) == (expected[0], {"name": "m", **expected[1]})
    assert found.calls[0].args == ((TensorRef("x"), TensorRef("y")),)


@pytest.mark.parametrize("config", [{"mode": "cos"}, {"mode": "x", "mode_type": "lambda"}, {"mode": ["c"]}, {}])
def test_merges_that_are_code_or_have_no_successor(config):
    """``cos`` returned one axis more than the Dot of Keras 2 and clipped the norms differently."""
    found = read(sequential(lstm("a"), layer("Merge", "m", **config)), Era.KERAS1).layers[2]
    assert (found.class_name, found.namespace) == ("Merge", Namespace.CUSTOM)


@pytest.mark.parametrize(
    ("stored", "class_name", "translated"),
    [
        (
            layer("LSTM", "a", output_dim=2, inner_activation="tanh", consume_less="gpu", dropout_W=0.1, dropout_U=0.2,
                  init="uniform", inner_init="x", forget_bias_init="one", W_regularizer=None, input_dim=3),
            "LSTM",
            {"units": 2, "recurrent_activation": "tanh", "dropout": 0.1, "recurrent_dropout": 0.2},
        ),
        (
            layer("Convolution1D", "a", nb_filter=4, filter_length=3, border_mode="same", subsample_length=2),
            "Conv1D",
            {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2},
        ),
        (
            layer("Convolution2D", "a", nb_filter=4, nb_row=3, nb_col=5, subsample=[1, 2], dim_ordering="th"),
            "Conv2D",
            {"filters": 4, "kernel_size": [3, 5], "strides": [1, 2], "data_format": "channels_first"},
        ),
        (
            layer("AtrousConvolution2D", "a", nb_row=3, nb_col=5, atrous_rate=[2, 2], dim_ordering="tf"),
            "Conv2D",
            {"kernel_size": [3, 5], "dilation_rate": [2, 2], "data_format": "channels_last"},
        ),
        (layer("MaxPooling1D", "a", pool_length=2, stride=1), "MaxPooling1D", {"pool_size": 2, "strides": 1}),
        (layer("TimeDistributedDense", "a", output_dim=2, input_length=5), "Dense", {"units": 2, "input_length": 5}),
        (
            layer("Embedding", "a", input_dim=9, output_dim=2, dropout=0.5, mask_zero=True, init="uniform"),
            "Embedding",
            {"input_dim": 9, "output_dim": 2, "mask_zero": True},
        ),
        (layer("Dropout", "a", p=0.5), "Dropout", {"rate": 0.5}),
        (layer("GaussianNoise", "a", sigma=0.5), "GaussianNoise", {"stddev": 0.5}),
        (layer("UpSampling1D", "a", length=2), "UpSampling1D", {"size": 2}),
        (layer("BatchNormalization", "a", mode=0, axis=-1), "BatchNormalization", {"axis": -1}),
        (layer("BatchNormalization", "a", mode=2), "BatchNormalization", {"mode": 2}),
        (layer("LSTM", "a", consume_less="fast"), "LSTM", {"consume_less": "fast"}),
        (layer("Highway", "a", init="x", bias=True), "Highway", {"init": "x", "bias": True}),
        (layer("Lambda", "a", function=["x", None, None]), "Lambda", {"function": ["x", None, None]}),
    ],
)  # fmt: skip
def test_words_of_keras_1(stored, class_name, translated):
    found = read(sequential(lstm("first"), stored), Era.KERAS1).layers[2]
    assert (found.class_name, dict(found.config)) == (class_name, {"name": "a", **translated})


@pytest.mark.parametrize(
    ("class_name", "config", "layout"),
    [
        ("LSTM", {}, GateLayout.PER_GATE),
        ("LSTM", {"consume_less": "cpu"}, GateLayout.PER_GATE),
        ("GRU", {"consume_less": "mem"}, GateLayout.PER_GATE),
        ("GRU", {"consume_less": "gpu"}, GateLayout.FUSED),
        ("ConvLSTM2D", {}, GateLayout.PER_GATE),
        ("SimpleRNN", {"consume_less": "cpu"}, GateLayout.FUSED),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_layout_of_gates(class_name, config, layout, wrapped):
    stored = layer(class_name, "a", output_dim=2, **config)
    if wrapped:
        stored = layer("Bidirectional", "b", merge_mode="concat", layer=stored)
    found = read(sequential(stored), Era.KERAS1).layers[1]
    found = found.children["layer"][0] if wrapped else found
    assert (found.gate_layout, found.config.get("units")) == (layout, 2)


def test_keras_2_is_always_fused():
    assert read(sequential(lstm("a", implementation=0))).layers[1].gate_layout is GateLayout.FUSED
