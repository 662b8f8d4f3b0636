"""What changed between versions of Keras that have the same words, and inputs that a layer must refuse."""

from __future__ import annotations

import numpy as np
import pytest

from gateprobe.errors import InputError
from gateprobe.graph import Call, Era, LayerRecord, Namespace
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import Unsupported
from layers import bound

RNG = np.random.default_rng(11)
X, Y = RNG.standard_normal((2, 2, 3, 4)).astype(np.float32)
LEFT, RIGHT = (
    np.array([[True, True, False], [False, True, False]]),
    np.array([[True, False, True], [True, True, False]]),
)


def run(class_name, config, value, version="3.15.1", arrays=(), namespace=Namespace.LAYER, **kwargs):
    record = LayerRecord("layer", class_name, config, namespace=namespace)
    era = Era.KERAS3 if version.startswith("3") else Era.KERAS2
    layer = bound.bind(record, list(arrays), bound.meaning(era, version))
    return layer.replay(Arguments((value,), kwargs), bound.scope())


BOTH = [Tensor(X, LEFT), Tensor(Y, RIGHT)]


@pytest.mark.parametrize(("version", "mask"), [("2.15.0", LEFT & RIGHT), ("3.3.3", None), ("3.4.0", LEFT | RIGHT)])
@pytest.mark.parametrize("class_name", ["Add", "Concatenate", "Maximum", "Multiply"])
def test_masks_of_merged_inputs(class_name, version, mask):
    (out,) = run(class_name, {}, BOTH, version)
    np.testing.assert_equal(out.mask, mask)


@pytest.mark.parametrize(("version", "mask"), [("2.15.0", LEFT), ("3.3.3", None), ("3.4.0", None)])
def test_one_input_without_a_mask(version, mask):
    (out,) = run("Add", {}, [Tensor(X, LEFT), Tensor(Y)], version)
    assert mask is None if out.mask is None else (out.mask == mask).all()


def test_keras_3_4_compares_only_what_is_not_masked():
    (old,) = run("Maximum", {}, BOTH, "3.3.3")
    (new,) = run("Maximum", {}, BOTH, "3.4.0")
    np.testing.assert_array_equal(old.value, np.maximum(X, Y))
    np.testing.assert_array_equal(new.value[0, 1], X[0, 1])  # the right one is masked there
    np.testing.assert_array_equal(new.value[0, 2], Y[0, 2])


def test_an_explicit_mask_takes_the_place_of_the_own_one():
    (out,) = run("Dense", {"units": 2}, Tensor(X, LEFT), arrays=[np.ones((4, 2)), np.ones(2)], mask=Tensor(RIGHT))
    np.testing.assert_array_equal(out.mask, RIGHT)


@pytest.mark.parametrize(
    ("version", "row"), [("2.15.0", [0.5, 0.5]), ("3.9.0", [0.5, 0.5]), ("3.10.0", [0.0, 0.0]), ("2.2.4", [0.5, 0.5])]
)
def test_a_softmax_in_which_everything_is_masked(version, row):
    (out,) = run("Softmax", {}, Tensor(np.zeros((1, 2), np.float32), np.zeros((1, 2), bool)), version)
    np.testing.assert_allclose(out.value[0], row)


def test_a_softmax_refuses_a_mask_that_would_spread_over_samples():
    with pytest.raises(InputError, match="does not fit a softmax"):
        run("Softmax", {}, Tensor(X, LEFT))


@pytest.mark.parametrize(("version", "keeps"), [("2.15.0", False), ("3.15.1", True)])
@pytest.mark.parametrize("class_name", ["Identity", "Rescaling"])
def test_masks_pass_through_identity_since_keras_3(class_name, version, keeps):
    config = {"scale": 2.0} if class_name == "Rescaling" else {}
    assert (run(class_name, config, Tensor(X, LEFT), version)[0].mask is not None) is keeps


def heads(version, mask, dropout=0.0):
    record = LayerRecord(
        "layer", "MultiHeadAttention", {"num_heads": 1, "key_dim": 4, "dropout": dropout, "use_bias": False}
    )
    eye = np.eye(4, dtype=np.float32)
    arrays = [eye[:, np.newaxis], eye[:, np.newaxis], eye[:, np.newaxis], eye[np.newaxis]]
    era = Era.KERAS3 if version.startswith("3") else Era.KERAS2
    layer = bound.bind(record, arrays, bound.meaning(era, version))
    tensor = Tensor(X, mask)
    return layer.replay(Arguments((tensor, tensor)), bound.scope())[0]


def test_attention_sees_masks_since_2_10():
    assert heads("2.9.0", LEFT).mask is None
    np.testing.assert_array_equal(heads("2.9.0", LEFT).value, heads("2.9.0", None).value)
    assert (heads("2.10.0", LEFT).value != heads("2.9.0", LEFT).value).any()


def test_a_query_that_sees_nothing():
    mean = X[0].mean(axis=0)
    np.testing.assert_allclose(heads("3.15.1", LEFT).value[0, 2], mean, atol=1e-6)
    np.testing.assert_allclose(heads("3.9.0", LEFT, dropout=0.1).value[0, 2], mean, atol=1e-6)
    np.testing.assert_array_equal(heads("3.15.1", LEFT, dropout=0.1).value[0, 2], np.zeros(4))


def test_both_names_of_grouped_attention():
    config = {"head_dim": 4, "num_query_heads": 2, "num_key_value_heads": 1, "use_bias": False}
    arrays = [RNG.standard_normal(shape) for shape in ((4, 2, 4), (4, 1, 4), (4, 1, 4), (2, 4, 4))]
    results = []
    for name in ("GroupedQueryAttention", "GroupQueryAttention"):
        layer = bound.bind(LayerRecord("layer", name, config), arrays, bound.meaning(Era.KERAS3))
        results.append(layer.replay(Arguments((Tensor(X), Tensor(Y))), bound.scope())[0].value)
    np.testing.assert_array_equal(*results)


def test_other_names_of_batch_normalization():
    arrays = [RNG.random(4) + 0.5 for _ in range(4)]
    expected = run("BatchNormalization", {}, Tensor(X), arrays=arrays)[0].value
    for name in ("BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization"):
        np.testing.assert_array_equal(run(name, {"axis": [2]}, Tensor(X), arrays=arrays)[0].value, expected)


def embed(ids):
    return run("Embedding", {"input_dim": 5, "output_dim": 2}, Tensor(ids), arrays=[np.arange(10.0).reshape(5, 2)])


def test_token_ids_may_be_whole_floats():
    np.testing.assert_array_equal(embed(np.array([[4.0, 0.0]]))[0].value, [[[8, 9], [0, 1]]])


@pytest.mark.parametrize(
    ("ids", "message"),
    [([[5]], "token id 5 is outside 0..4"), ([[-1]], "-1 is outside"), ([[1.5]], "got 1.5"), ([[np.nan]], "whole")],
)
def test_other_token_ids_are_refused(ids, message):
    with pytest.raises(InputError, match=message):
        embed(np.array(ids))


MIXING = [
    ("Mean", {"axis": 0}, ()),
    ("Sum", {"axis": None}, ()),
    ("Concatenate", {"axis": 0}, ()),
    ("Transpose", {"axes": [1, 0, 2]}, (Tensor(X),)),
    ("Transpose", {"axes": None}, (Tensor(X),)),
    ("Mean", {"axis": -3}, (Tensor(X),)),
    ("Reshape", {"newshape": [6, -1]}, (Tensor(X),)),
    ("Reshape", {"newshape": [-1, 24]}, (Tensor(X),)),
    ("GetItem", {}, (Tensor(X), 0)),
    ("GetItem", {}, (Tensor(X), (slice(1, None),))),
    ("GetItem", {}, (Tensor(X), (None, Ellipsis))),
    ("ExpandDims", {"axis": 0}, ()),
    ("Add", {}, (Tensor(X), Tensor(X[:, 0]))),
    ("Add", {}, (Tensor(X), np.ones((2, 3, 4)))),
    ("Matmul", {}, (Tensor(X[:, 0]), Tensor(X[:, 0]))),
    ("Matmul", {}, (Tensor(X), Tensor(X[:, 0]))),
    ("Einsum", {"subscripts": "abc,dbc->ad"}, (Tensor(X), Tensor(X))),
    ("Tile", {"repeats": [2, 1, 1]}, (Tensor(X),)),
    ("Pad", {"pad_width": [[1, 0], [0, 0], [0, 0]], "mode": "constant"}, (Tensor(X),)),
]


@pytest.mark.parametrize(("class_name", "config", "args"), MIXING)
def test_operations_never_mix_samples(class_name, config, args):
    record = LayerRecord("op", class_name, config, namespace=Namespace.OPERATION)
    with pytest.raises((InputError, Unsupported), match="mixes samples"):  # noqa: PT012  # which of the two raises is the point
        layer = bound.bind(record, [], bound.meaning(Era.KERAS3))
        layer.replay(Arguments(args), bound.scope())


def test_unknown_tensorflow_functions_and_arguments_are_refused():
    for function, kwargs, message in (
        ("io.read_file", {}, "not in gateprobe's table"),
        ("math.reduce_mean", {"axis": 1, "weights": 3}, "called with weights"),
    ):
        record = LayerRecord("op", "TFOpLambda", {"function": function}, calls=(Call((None,), kwargs),))
        with pytest.raises(Unsupported, match=message):
            bound.bind(record, [], bound.meaning(Era.KERAS2))


def tf(function, *args, **kwargs):
    layer = bound.bind(LayerRecord("op", "TFOpLambda", {"function": function}), [], bound.meaning(Era.KERAS2))
    return layer.replay(Arguments(args, kwargs), bound.scope())[0]


def test_the_number_of_samples_only_keeps_samples_where_they_are():
    sizes = tf("compat.v1.shape", Tensor(X))
    pick = bound.bind(LayerRecord("op", "SlicingOpLambda", {}), [], bound.meaning(Era.KERAS2))
    samples, steps = (pick.replay(Arguments((sizes,), {"slice_spec": n}), bound.scope())[0] for n in (0, 1))
    np.testing.assert_array_equal(tf("reshape", Tensor(X), shape=(samples, -1)).value, X.reshape(2, 12))
    np.testing.assert_array_equal(tf("zeros", (samples, 5)).value, np.zeros((2, 5)))
    root = tf("math.sqrt", tf("cast", steps, dtype="<dtype: 'float32'>"))
    np.testing.assert_allclose(tf("math.truediv", Tensor(X), y=root).value, X / np.sqrt(np.float32(3)))
    with pytest.raises(InputError, match="number of samples is used as a number"):
        tf("math.truediv", Tensor(X), y=samples)
    with pytest.raises(InputError, match=r"no shape|used as a number"):
        tf("reshape", Tensor(X), shape=(-1, samples))


def test_a_tensor_is_contracted_only_along_axes_that_it_has():
    matrix = np.ones((X.shape[-1], 2), np.float32)
    np.testing.assert_allclose(tf("tensordot", Tensor(X), b=matrix, axes=1).value, X @ matrix)
    for axes in (-1, len(X.shape) + 1, 10**9, ((2,), (2,)), ((2,), (-3,))):
        with pytest.raises(InputError, match=r"not contracted|does not exist"):
            tf("tensordot", Tensor(X), b=matrix, axes=axes)


def test_differences_end_when_nothing_is_left():
    steps = X.shape[1]
    for times, left in ((steps - 1, 1), (steps, 0), (10**9, 0)):
        record = LayerRecord("op", "Diff", {"n": times, "axis": 1}, namespace=Namespace.OPERATION)
        (result,) = bound.bind(record, [], bound.meaning(Era.KERAS3)).replay(Arguments((Tensor(X),)), bound.scope())
        assert result.value.shape == (len(X), left, X.shape[2])


def test_rows_of_plain_numbers_are_looked_up_in_single_precision():
    places = Tensor(np.array([[0], [1]], np.int32))
    table = ((0.1, 2.0), (3.0, 4.0))
    for looked in (tf("gather", table, indices=places), tf("compat.v1.nn.embedding_lookup", table, ids=places)):
        assert looked.value.dtype == np.float32
        np.testing.assert_array_equal(looked.value, np.float32([[[0.1, 2]], [[3, 4]]]))
    assert tf("gather", ((1, 2),), indices=Tensor(np.zeros((2, 1), np.int32))).value.dtype == np.int32


@pytest.mark.parametrize("version", ["2.15.0", "3.5.0", "3.6.0", "3.15.1"])
def test_a_vector_of_zeros_stays_one_where_others_get_the_length_one(version):
    x = np.array([[0, 0, 0], [3, 0, 4]], np.float32)
    (out,) = run("UnitNormalization", {"axis": -1}, Tensor(x), version)
    np.testing.assert_allclose(out.value, [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("class_name", "config", "expected"),
    [
        ("ReLU", {}, [np.nan, 0, 5]),
        ("ReLU", {"max_value": 2.0}, [np.nan, 0, 2]),
        ("ReLU", {"negative_slope": 0.5, "max_value": 2.0, "threshold": 1.0}, [np.nan, -2, 2]),
        ("ReLU", {"threshold": 1.0}, [np.nan, 0, 5]),
        ("ThresholdedReLU", {"theta": 1.0}, [np.nan, 0, 5]),
        ("LeakyReLU", {"alpha": 0.5}, [np.nan, -1.5, 5]),
    ],
)
def test_what_is_no_number_stays_so(class_name, config, expected):
    """As tf_keras 2.21 answers."""
    (result,) = run(class_name, config, Tensor(np.array([[np.nan, -3, 5]], np.float32)), "2.15.0")
    np.testing.assert_array_equal(result.value, [expected])
