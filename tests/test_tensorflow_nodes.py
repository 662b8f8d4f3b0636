"""Graphs of tf.keras 2.1 to 2.3, whose operations are ``TensorFlowOpLayer``, and sizes and ranges inside graphs."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from graphs import chain
from layers import bound

import gateprobe
from gateprobe.errors import InputError
from gateprobe.graph import Era, LayerRecord
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.operations.tf_functions import FUNCTIONS

FILES = sorted((Path(__file__).parent / "data" / "tensorflow_nodes").glob("*.h5"))
X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_graph_of_operations_gives_what_its_own_keras_gave(file):
    """``tests/data/generate/tensorflow_nodes.py`` made it, with about twenty different operations."""
    model, given = gateprobe.read(file), np.load(file.with_suffix(".npz"))
    (output,) = model.predict(given["x"]).values()
    np.testing.assert_allclose(output, given["output"], atol=1e-6)
    hidden = model.trace(given["x"])["lstm"].forward.hidden_state
    np.testing.assert_allclose(hidden, given["hidden_state"], atol=1e-6)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_installed_keras_agrees(in_process):
    result = gateprobe.verify(FILES[-1])
    assert result, result


def raw(op, *args, constants=None, **attributes):
    config = {"node_def": {"op": op, "attr": attributes}, "constants": constants or {}}
    layer = bound.bind(LayerRecord("op", "TensorFlowOpLayer", config), [], bound.meaning(Era.KERAS2))
    return layer.replay(Arguments((args[0] if len(args) == 1 else args,)), bound.scope())[0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"node_def": {"op": "ReadFile", "attr": {}}}, "'ReadFile' is not in gateprobe's table"),
        ({"node_def": "\n\x04Mul_\x12\x03Mul"}, "expected the name of an operation"),
        ({"node_def": {"op": "Mul", "attr": {"color": {"i": "1"}}}}, "'color' of Mul is not understood"),
        ({"node_def": {"op": "Mean", "attr": {"keep_dims": {"i": "x"}}}}, "the attribute keep_dims of Mean is"),
        ({"node_def": {"op": "Mean", "attr": {"keep_dims": {"func": {}}}}}, "the attribute keep_dims of Mean is"),
        ({"node_def": {"op": "Mul"}, "constants": {"1": "text"}}, "are no numbers"),
        ({"node_def": {"op": "Mul"}, "constants": {"one": 1}}, "expected the numbers of inputs"),
        ({"node_def": {"op": "Mul", "attr": []}}, "not a mapping"),
    ],
)
def test_what_is_not_understood_is_refused(config, said):
    with pytest.raises(Unsupported, match=said):
        bound.bind(LayerRecord("op", "TensorFlowOpLayer", config), [], bound.meaning(Era.KERAS2))


@pytest.mark.parametrize(
    ("op", "args", "constants", "said"),
    [
        ("Mul", (Tensor(X),), {}, "takes 2 inputs, and has 1"),
        ("Mul", (Tensor(X), Tensor(X)), {"2": 1.0}, "takes 2 inputs, and has 3"),
        ("ConcatV2", (Tensor(X),), {}, "takes 2 inputs, and has 1"),
        ("ConcatV2", (Tensor(X), Tensor(X)), {"2": 0}, "mixes samples"),
        ("Mean", (Tensor(X),), {"1": [0, 1]}, "mixes samples"),
        ("StridedSlice", (Tensor(X),), {"1": [0], "2": [1], "3": [1]}, "mixes samples"),
        ("StridedSlice", (Tensor(X),), {"1": [0, 1], "2": [1], "3": [1]}, "differ in number"),
        ("Conv2D", (Tensor(X),), {"1": [[[[1.0]]]]}, "windows over float32 of shape"),
        ("ResizeBilinear", (Tensor(X[..., None]),), {"1": [2, 2]}, "between the centres"),
    ],
)
def test_what_would_give_another_number_is_refused(op, args, constants, said):
    with pytest.raises(InputError, match=said):
        raw(op, *args, constants=constants)


@pytest.mark.parametrize("entry", FUNCTIONS.values(), ids=FUNCTIONS)
def test_every_parameter_of_a_function_can_be_given_by_name(entry):
    """As graphs give all but the first."""
    inspect.signature(entry.function).bind("float32", None, **dict.fromkeys(entry.parameters[1:]))


def tf(function, *args, **kwargs):
    layer = bound.bind(LayerRecord("op", "TFOpLambda", {"function": function}), [], bound.meaning(Era.KERAS2))
    return layer.replay(Arguments(args, kwargs), bound.scope())[0]


def test_a_range_is_the_same_for_every_sample():
    sizes = tf("compat.v1.shape", Tensor(X))
    samples, steps = (raw("StridedSlice", sizes, constants={"1": [n], "2": [n + 1], "3": [1]},
                          shrink_axis_mask={"i": "1"}) for n in (0, 1))  # fmt: skip
    assert tf("range", steps).value.tolist() == [0, 1, 2]
    assert tf("range", 1, limit=steps, delta=2).value.tolist() == [1]
    assert tf("range", 5, limit=0, delta=-2).value.tolist() == [5, 3, 1]
    ranged = tf("range", 0.0, limit=1.0, delta=0.25)
    assert (ranged.value.tolist(), ranged.value.dtype) == ([0, 0.25, 0.5, 0.75], np.float32)
    assert raw("Range", steps, constants={"0": 0, "2": 1}).value.tolist() == [0, 1, 2]
    places = tf("expand_dims", tf("range", steps), axis=0)
    assert places.value.tolist() == [[0, 1, 2]]
    assert tf("expand_dims", tf("range", steps), axis=1).value.tolist() == [[0], [1], [2]]
    assert tf("expand_dims", tf("range", steps), axis=-1).value.tolist() == [[0], [1], [2]]
    for each in (tf("tile", places, multiples=(samples, 1)), tf("broadcast_to", places, shape=(samples, steps))):
        assert each.value.tolist() == [[0, 1, 2]] * 2
        assert type(each) is Tensor  # a row for each sample
    assert tf("tile", places, multiples=(1, 2)).value.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert tf("math.reduce_sum", tf("range", steps)).value == 3
    assert tf("math.reduce_max", places, axis=1).value.tolist() == [2]
    shifted = tf("math.add", Tensor(X), y=tf("cast", tf("expand_dims", tf("range", steps), axis=1), dtype="float32"))
    np.testing.assert_array_equal(shifted.value, X + np.arange(3, dtype="f4")[:, None])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tf("range", tf("compat.v1.shape", Tensor(X))), "no end of a range|used as a number"),
        (lambda: tf("range", Tensor(X)), "depends on the samples"),
        (lambda: tf("range", 3, limit=9, delta=0), "in steps of 0"),
        (lambda: tf("tile", tf("range", 3), multiples=(tf("compat.v1.shape", Tensor(X)), 1)), "used as a number"),
    ],
)
def test_ranges_that_depend_on_samples_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_a_layer_is_not_given_a_range_as_if_it_had_samples():
    model = chain([("TFOpLambda", "shape", {"function": "compat.v1.shape"}), ("Dense", "dense", {"units": 1})],
                  {"dense": [np.ones((1, 1)), np.ones(1)]}, keras_version="2.13.1")  # fmt: skip
    with pytest.raises(InputError, match="dense: is given numbers that are the same for every sample"):
        model.predict(np.ones((2, 5, 3), np.float32))
