"""Settings that are missing, of the wrong kind, or of an era that does not know them."""

import math

import numpy as np
import pytest
from graphs import chain, lstm_weights

from gateprobe.activations import UnknownActivation, resolve
from gateprobe.errors import GateprobeWarning, InputError, UnsupportedModel
from gateprobe.graph import Era, LayerRecord, Origin
from gateprobe.layers.binding.settings import Unsupported, policy_name
from gateprobe.layers.operations.tensors import cast
from gateprobe.layers.unary import whole
from gateprobe.model import opened
from gateprobe.semantics import semantics_of

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 4, 3)).astype(np.float32)


def meaning(version):
    return semantics_of(Origin("hdf5", Era(f"keras{version[0]}"), (), version))


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        ({"class_name": "DTypePolicyMap", "config": {"default_policy": "float32", "policy_map": {}}}, "DTypePolicyMap"),
        ({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}, "Quantized"),
        ({"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}}, "Quantized"),
        ({"class_name": "DTypePolicy", "config": {}}, "DTypePolicy"),
        ({"class_name": "DTypePolicy"}, "DTypePolicy"),
        ({}, "None"),
        (["float32"], "float32"),
        ("", "''"),
    ],
)
def test_a_policy_that_is_more_than_a_name_is_refused(dtype, shown):
    with pytest.raises(Unsupported, match=f"config.dtype: a policy .*{shown}.* is not replayed"):
        policy_name({"dtype": dtype})
    model = chain([("LSTM", "l", {"units": 2, "dtype": dtype})], {"l": lstm_weights(RNG, 3, 2)})
    with pytest.raises(UnsupportedModel, match=r"config\.dtype"):
        model.trace(X)


@pytest.mark.parametrize("dtype", ["mixed_float16", {"class_name": "Policy", "config": {"name": "mixed_float16"}}])
def test_a_policy_that_is_a_name(dtype):
    assert policy_name({"dtype": dtype}) == "mixed_float16"
    assert policy_name({"dtype": None}) == policy_name({}) == "float32"


@pytest.mark.parametrize("version", ["1.2.2", "2.2.4", "2.15.0", "3.15.1"])
def test_an_activation_object_has_the_defaults_of_its_class(version):
    """LeakyReLU is 0.3 in every Keras; the function leaky_relu is 0.2. Measured with Keras 3.15.1 and tf_keras 2.21."""
    leaky = resolve({"class_name": "LeakyReLU", "config": {}}, meaning(version))
    np.testing.assert_allclose(leaky(np.float32([-1, 2])), [-0.3, 2], rtol=1e-6)
    given = {"class_name": "LeakyReLU", "config": {"alpha": {"type": "ndarray", "value": 0.5}}}
    np.testing.assert_allclose(resolve(given, meaning(version))(np.float32([-1])), [-0.5])
    if version != "1.2.2":
        np.testing.assert_allclose(resolve("leaky_relu", meaning(version))(np.float32([-1])), [-0.2], rtol=1e-6)


@pytest.mark.parametrize("value", [None, "0.1", True, [0.1], {"a": 1}])
@pytest.mark.parametrize(("kind", "option"), [("LeakyReLU", "negative_slope"), ("ELU", "alpha"), ("ReLU", "threshold")])
def test_options_of_an_activation_object_are_numbers(kind, option, value):
    with pytest.raises(UnknownActivation, match=f"{option}=.*where a number belongs"):
        resolve({"class_name": kind, "config": {option: value}}, meaning("3.15.1"))


def test_a_relu_may_have_no_maximum():
    relu = resolve({"class_name": "ReLU", "config": {"max_value": None}}, meaning("3.15.1"))
    np.testing.assert_array_equal(relu(np.float32([-1, 0, 1e9])), np.float32([0, 0, 1e9]))


@pytest.mark.parametrize(
    ("serialized", "options", "label", "value"),
    [
        ("relu", {}, "relu", 2.0),
        ("relu", {"negative_slope": 0.25}, "relu[negative_slope=0.25]", -0.5),
        ("relu", {"negative_slope": 0.25, "threshold": 1}, "relu[negative_slope=0.25, threshold=1]", -0.75),
        ("relu", {"max_value": 1.5}, "relu[max_value=1.5]", 1.5),
        ("relu6", {}, "relu[max_value=6]", 6.0),
        ("leaky_relu", {}, "leaky_relu[slope=0.2]", -0.4),
        ("elu", {}, "elu", math.expm1(-2)),
        ("elu", {"alpha": 0.5}, "elu[alpha=0.5]", math.expm1(-2) / 2),
    ],
)
def test_a_label_has_the_constants_of_the_function(serialized, options, label, value):
    function = resolve(serialized, meaning("3.15.1"), options)
    at = {1.5: 2, 2.0: 2, 6.0: 9}.get(value, -2)
    assert function.label == label
    np.testing.assert_allclose(function(np.float32([at])), [value], rtol=1e-6)


@pytest.mark.parametrize(("version", "slope"), [("1.2.2", "0.2"), ("2.15.0", "0.2"), ("3.15.1", "1/6")])
def test_a_hard_sigmoid_has_the_slope_of_its_label(version, slope):
    function = resolve("hard_sigmoid", meaning(version))
    assert function.label == f"hard_sigmoid[slope={slope}]"
    number = 0.2 if slope == "0.2" else 1 / 6
    np.testing.assert_allclose(function(np.float32([-9, -1, 1, 9])), [0, 0.5 - number, 0.5 + number, 1], rtol=1e-6)


def test_an_activation_object_of_another_module_is_none_of_ours():
    for more in ({"registered_name": "Mine>LeakyReLU"}, {"module": "mine"}):
        with pytest.raises(UnknownActivation):
            resolve({"class_name": "LeakyReLU", "config": {}, **more}, meaning("3.15.1"))


def test_a_function_that_was_registered_under_its_own_name_is_the_users():
    written = {"class_name": "function", "config": "tanh", "registered_name": "tanh"}
    for name in ("tanh", "function", None):
        assert resolve({**written, "registered_name": name}, meaning("3.15.1")).label == "tanh"
    for name in ("mine>tanh", "Custom>tanh"):
        with pytest.raises(UnknownActivation):
            resolve({**written, "registered_name": name}, meaning("3.15.1"))


@pytest.mark.parametrize(("name", "first"), [("celu", 3), ("hard_silu", 3), ("sparsemax", 3), ("selu", 2), ("gelu", 2)])
def test_a_name_that_an_era_does_not_know_is_of_a_function_of_the_users(name, first):
    for version in ("1.2.2", "2.15.0", "3.15.1"):
        if int(version[0]) < first:
            with pytest.raises(UnknownActivation, match=f"'{name}' is no activation of keras"):
                resolve(name, meaning(version))
        else:
            resolve(name, meaning(version))


def gru(version, **config):
    weights = [RNG.normal(size=shape) for shape in ((3, 6), (2, 6))]
    return chain([("GRU", "g", {"units": 2, "use_bias": False, **config})], {"g": weights}, keras_version=version)


@pytest.mark.parametrize(
    ("version", "after"), [("2.1.6", False), ("2.2.4", False), ("2.1.6-tf", False), ("2.9.0", True), ("3.0.5", True)]
)
def test_a_gru_without_reset_after_has_the_default_of_its_keras(version, after):
    model = gru(version)
    given = opened(gru(version, reset_after=after)).plan(outputs=True)
    step, same = (plan.graph.steps[0].layer.cells[0] for plan in (opened(model).plan(outputs=True), given))
    assert step.reset_after == same.reset_after == after


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (("Activation", "a", {}), "config.activation: is missing"),
        (("LeakyReLU", "a", {"negative_slope": None}), "negative_slope: expected a finite number"),
        (("Conv1D", "a", {"filters": 2, "kernel_size": 2, "strides": None}), "config.strides"),
        (("Bidirectional", "a", {"backward_layer": "text"}), "config.backward_layer: expected a layer"),
    ],
)
def test_what_keras_refuses_is_no_default(layer, reason):
    arrays = {"a": [RNG.normal(size=(2, 3, 2)), np.zeros(2)]} if layer[0] == "Conv1D" else {}
    if layer[0] == "Bidirectional":
        inner = LayerRecord("l", "LSTM", {"units": 2})
        layer, arrays = (*layer, {"layer": inner}), {"a": lstm_weights(RNG, 3, 2) * 2}
    with pytest.raises(UnsupportedModel, match=reason):
        opened(chain([layer], arrays)).plan(outputs=True)


@pytest.mark.parametrize("change", [{"num_heads": 3}, {"key_dim": 4}, {"value_dim": 4}])
def test_the_sizes_of_heads_are_those_of_the_weights(change):
    config = {"num_heads": 2, "key_dim": 3, **change}
    shapes = [(3, 2, 3), (2, 3)] * 3 + [(2, 3, 3), (3,)]
    weights = {"m": [RNG.normal(size=shape) for shape in shapes]}
    with pytest.raises(UnsupportedModel, match="expected shape"):
        opened(chain([("MultiHeadAttention", "m", config)], weights)).plan(outputs=True)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (2**31, "int32"),
        (-1, "uint8"),
        (256, "uint8"),
        (256.0, "uint8"),
        (np.nan, "int32"),
        (np.inf, "int64"),
        (2.0**31, "int32"),
        (np.float32(2**31), "int32"),
        (2.0**63, "int64"),
        (np.uint64(2**63), "int64"),
        (-1, "uint64"),
    ],
)
def test_numbers_that_do_not_fit_into_an_integer_dtype_are_refused(value, dtype):
    with pytest.raises(InputError, match=f"does not fit into {dtype}"):
        whole(np.array([0, value]), dtype)
    with pytest.raises(InputError, match=f"does not fit into {dtype}|casting to 'uint64'"):
        cast(np.array([value]), dtype)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (2**31 - 1, "int32", 2**31 - 1),
        (255.9, "uint8", 255),
        (-0.9, "uint8", 0),
        (-128.9, "int8", -128),
        (True, "int8", 1),
    ],
)
def test_numbers_that_fit_are_cut_off(value, dtype, expected):
    np.testing.assert_array_equal(whole(np.array([value]), dtype), np.array([expected], dtype))


@pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
def test_token_ids_beyond_the_dtype_of_the_input_are_refused(version):
    layers = [("Embedding", "e", {"input_dim": 5, "output_dim": 3}), ("LSTM", "l", {"units": 2})]
    weights = {"e": [RNG.normal(size=(5, 3))], "l": lstm_weights(RNG, 3, 2)}
    model = chain(layers, weights, input_shape=(None, None), dtype="int32", keras_version=version)
    model.trace(np.array([[1, 2, 4]]))
    with pytest.raises(InputError, match="4294967297 does not fit into int32"):
        model.trace(np.array([[1, 2**32 + 1, 4]]))


@pytest.mark.parametrize("version", ["1.2.2", "2.15.0", "3.15.1"])
def test_numbers_that_become_infinite_are_noted(version):
    model = chain([("LSTM", "l", {"units": 2})], {"l": lstm_weights(RNG, 3, 2)}, keras_version=version)
    with pytest.warns(GateprobeWarning, match="too large for float32"):
        model.trace(np.full((1, 2, 3), 1e300))
    model.trace(np.full((1, 2, 3), 1e300), dtype="float64")


def test_a_meaning_says_its_slope():
    assert "hard_sigmoid[slope=0.2]" in meaning("2.15.0").label
    assert "hard_sigmoid[slope=1/6]" in meaning("3.15.1").label


@pytest.mark.parametrize("override", ["Keras2", "keras4", ""])
def test_another_meaning_than_there_are_is_refused(override):
    with pytest.raises(InputError, match=f"unknown semantics {override!r}"):
        semantics_of(Origin("hdf5", Era.KERAS3, (), "3.15.1"), override)


def test_names_of_activations_are_cut_after_sixty_characters():
    for length, shown in ((58, "'" + 58 * "a" + "' is"), (59, r"'a{56}\.\.\. is")):
        with pytest.raises(UnknownActivation, match=shown):
            resolve(length * "a", meaning("3.15.1"))


def test_activations_that_few_layers_have():
    """As Keras 3.15 computed them; its sparsemax gives zeros where the paper's does not."""
    x = np.array([[0.5, -1, 0.25, 0.4], [2, 0, -1, 1.5], [0, 0, 0, 0]], np.float32)
    sparse = np.repeat([[0.0], [0.0], [0.25]], 4, axis=1)
    for shape in ((3, 4), (3, 1, 4)):
        found = resolve("sparsemax", meaning("3.15.1"))(x.reshape(shape))
        np.testing.assert_allclose(found, sparse.reshape(shape), atol=1e-7)
    leaky = [[0.5, -0.325, -0.0125, 0.4], [2, -0.075, -0.325, 1.5], [-0.075] * 4]
    function = resolve("relu", meaning("3.15.1"), {"negative_slope": 0.25, "threshold": 0.3})
    np.testing.assert_allclose(function(x), leaky, rtol=1e-6)
