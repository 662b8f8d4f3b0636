"""Graphs of TensorFlow 1.15 to 2.3, whose operations are ``TensorFlowOpLayer``, and sizes and ranges inside graphs."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import chain
from layers import bound

import gateprobe
from gateprobe.errors import InputError
from gateprobe.graph import Call, Era, LayerRecord
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


def test_positions_that_are_the_same_for_every_sample_are_looked_up():
    """As graphs with learned positions do it: ``x + Embedding(...)(tf.range(tf.shape(x)[1]))``."""
    layer = bound.bind(LayerRecord("e", "Embedding", {"input_dim": 4, "output_dim": 4}), [X[:, 0].repeat(2, 0)],
                       bound.meaning(Era.KERAS2))  # fmt: skip
    (rows,) = layer.replay(Arguments((tf("range", 3),)), bound.scope())
    added = tf("__operators__.add", Tensor(X), y=rows)
    np.testing.assert_array_equal(added.value, X + X[:, 0].repeat(2, 0)[:3])
    with pytest.raises(InputError, match="used as a number"):
        layer.replay(Arguments((tf("compat.v1.shape", Tensor(X)),)), bound.scope())


def test_a_slice_may_end_at_a_size_that_was_computed():
    sizes = tf("compat.v1.shape", Tensor(X))
    steps = raw("StridedSlice", sizes, constants={"1": [1], "2": [2], "3": [1]}, shrink_axis_mask={"i": "1"})
    cut = bound.bind(LayerRecord("s", "SlicingOpLambda", {"function": "__operators__.getitem"}), [],
                     bound.meaning(Era.KERAS2))  # fmt: skip
    key = ({"start": None, "stop": None, "step": None}, {"start": tf("math.subtract", steps, y=1)})
    (result,) = cut.replay(Arguments((Tensor(X), key)), bound.scope())
    np.testing.assert_array_equal(result.value, X[:, 2:])


TIMES = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
"""Two samples of three pictures."""


def reshaped(x, shape, samples=2):
    layer = bound.bind(LayerRecord("op", "TFOpLambda", {"function": "reshape"}), [], bound.meaning(Era.KERAS2))
    return layer.replay(Arguments((x,), {"shape": shape}), replace(bound.scope(), samples=samples))[0]


def test_rows_of_a_sample_are_parted_and_joined_again():
    """A layer is applied to every timestep by two calls of ``tf.reshape``."""
    sizes = tf("compat.v1.shape", Tensor(TIMES))
    samples, steps = (raw("StridedSlice", sizes, constants={"1": [n], "2": [n + 1], "3": [1]},
                          shrink_axis_mask={"i": "1"}) for n in (0, 1))  # fmt: skip
    for rows in (-1, tf("math.multiply", samples, y=steps), tf("math.multiply", steps, y=samples)):
        parted = reshaped(Tensor(TIMES), (rows, 4, 5))
        np.testing.assert_array_equal(parted.value, TIMES.reshape(6, 4, 5))
    for rows in (-1, samples):
        joined = reshaped(Tensor(parted.value.sum(axis=1)), (rows, steps, 5))
        np.testing.assert_array_equal(joined.value, TIMES.sum(axis=2))


@pytest.mark.parametrize(
    ("shape", "samples"),
    [
        ((-1, 2, 4, 5), 2),  # the last picture of the first sample beside the first of the second
        ((-1, 6, 4, 5), 2),  # both samples in one row
        ((-1, 3, 4, 5), 0),  # nothing says where samples begin
        ((3, 2, 4, 5), 2),
        ((-1, -1, 5), 2),
        ((-1, 0, 5), 2),
    ],
)
def test_rows_of_different_samples_are_not_joined(shape, samples):
    with pytest.raises(InputError, match="mixes samples"):
        reshaped(Tensor(TIMES.reshape(6, 4, 5)), shape, samples)


@pytest.mark.parametrize("factor", [0, -1, 1.5, [1, 2]])
def test_only_whole_multiples_of_the_number_of_samples_are_known(factor):
    sizes = tf("compat.v1.shape", Tensor(TIMES))
    samples = raw("StridedSlice", sizes, constants={"1": [0], "2": [1], "3": [1]}, shrink_axis_mask={"i": "1"})
    for other in (factor, samples):
        with pytest.raises(InputError, match="used as a number"):
            tf("math.multiply", samples, y=other)


def test_an_einsum_whose_operands_tf_keras_lost_is_refused_before_anything_runs():
    record = LayerRecord("op", "TFOpLambda", {"function": "einsum"}, calls=(Call(("bij,bkj->bik",)),))
    with pytest.raises(Unsupported, match="does not say what einsum computes with"):
        bound.bind(record, [], bound.meaning(Era.KERAS2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tf("compat.v1.gather_nd", Tensor(X), indices=((0, 1),)), "by the numbers of samples mixes"),
        (lambda: tf("gather_nd", Tensor(X), indices=Tensor(np.array([[3], [0]])), batch_dims=1), "outside the axes"),
        (lambda: tf("gather_nd", Tensor(X), indices=Tensor(np.array([[-1], [0]])), batch_dims=1), "outside the axes"),
        (lambda: tf("gather_nd", Tensor(X), indices=Tensor(np.zeros((2, 3), int)), batch_dims=1), "for the 2 axes"),
        (lambda: tf("gather_nd", Tensor(X), indices=Tensor(np.zeros((1, 1), int)), batch_dims=1), "is not replayed"),
        (lambda: tf("reverse_sequence", Tensor(X), seq_lengths=Tensor(np.array([4, 0])), seq_axis=1), "outside 0..3"),
        (lambda: tf("reverse_sequence", Tensor(X), seq_lengths=Tensor(np.array([1, 0])), seq_axis=0), "mixes samples"),
        (lambda: tf("reverse_sequence", Tensor(X), seq_lengths=(1, 2), seq_axis=1), "expected a tensor"),
        (lambda: tf("nn.dropout", Tensor(X), rate=0.5), "at random"),
        (lambda: tf("linalg.inv", Tensor(X[0])), "matrix of the samples"),
        (lambda: tf("linalg.inv", Tensor(np.zeros((2, 3, 3), "f4"))), "[Ss]ingular"),
        (lambda: tf("linalg.diag", Tensor(X[:, 0]), k=1), "mixes samples"),
        (lambda: tf("linalg.diag", Tensor(X[:, 0, 0])), "mixes samples"),
        (lambda: tf("linalg.set_diag", Tensor(X), diagonal=Tensor(X[:, 0])), "is not replayed"),
        (lambda: tf("linalg.matvec", Tensor(X), b=Tensor(X)), "mixes samples"),
        (lambda: tf("ensure_shape", Tensor(X), shape=(None, 2, 4)), "has not the shape"),
        (lambda: tf("signal.frame", Tensor(X[:, 0, 0]), frame_length=1, frame_step=1), "mixes samples"),
        (lambda: tf("signal.frame", Tensor(X), frame_length=1, frame_step=1, axis=0), "only constant frames"),
        (lambda: tf("nn.space_to_depth", Tensor(X), block_size=2), "are not replayed"),
        (lambda: tf("image.flip_left_right", Tensor(X)), "expected images"),
    ],
)  # fmt: skip
def test_functions_that_would_mix_samples_or_guess_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
