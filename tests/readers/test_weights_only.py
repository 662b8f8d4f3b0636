"""What shapes and names of weights prove, on shapes made by hand: 5 features, and units enough to tell them apart."""

import numpy as np
import pytest

from gateprobe.errors import InputError
from gateprobe.graph import Era, GateLayout, ModelGraph, Origin, WeightArray, WeightGroup, WeightScheme, WeightStore
from gateprobe.readers.weights_only import Assumptions, assume, find_groups

U, F = 7, 5
PROVEN = {
    # name: shapes → class, bias, reset_after, CuDNN, layout
    "LSTM": (((F, 4 * U), (U, 4 * U), (4 * U,)), ("LSTM", True, None, False, GateLayout.FUSED)),
    "LSTM without bias": (((F, 4 * U), (U, 4 * U)), ("LSTM", False, None, False, GateLayout.FUSED)),
    "CuDNNLSTM": (((F, 4 * U), (U, 4 * U), (8 * U,)), ("LSTM", True, None, True, GateLayout.FUSED)),
    "GRU": (((F, 3 * U), (U, 3 * U), (3 * U,)), ("GRU", True, False, False, GateLayout.FUSED)),
    "GRU that resets after": (((F, 3 * U), (U, 3 * U), (2, 3 * U)), ("GRU", True, True, False, GateLayout.FUSED)),
    "GRU without bias": (((F, 3 * U), (U, 3 * U)), ("GRU", False, None, False, GateLayout.FUSED)),
    "CuDNNGRU": (((F, 3 * U), (U, 3 * U), (6 * U,)), ("GRU", True, True, True, GateLayout.FUSED)),
    "SimpleRNN": (((F, U), (U, U), (U,)), ("SimpleRNN", True, None, False, GateLayout.FUSED)),
    "LSTM of Keras 1": (((F, U), (U, U), (U,)) * 4, ("LSTM", True, None, False, GateLayout.PER_GATE)),
    "GRU of Keras 1": (((F, U), (U, U), (U,)) * 3, ("GRU", True, False, False, GateLayout.PER_GATE)),
}
NOTHING = {
    "two dense layers": ((F, U), (U,), (U, 4), (4,)),
    "two matrices that go together": ((F, U), (U, U)),
    "another number of gates": ((F, 2 * U), (U, 2 * U), (2 * U,)),
    "columns that are no gates": ((F, 4 * U + 1), (U, 4 * U + 1), (4 * U + 1,)),
    "columns that differ": ((F, 4 * U), (U, 3 * U), (4 * U,)),
    "a doubled bias of a SimpleRNN": ((F, U), (U, U), (2 * U,)),
    "no units": ((F, 0), (0, 0), (0,)),
    "images": ((3, F, 4 * U), (3, U, 4 * U), (4 * U,)),
    "images before a matrix": ((3, F, 4 * U), (U, 4 * U), (4 * U,)),
    "images behind a matrix": ((F, 4 * U), (3, U, 4 * U), (4 * U,)),
    "images of nine arrays": ((3, F, U), (U, U), (U,)) * 3,
}
ODD = {
    "a bias of another size": ((F, 4 * U), (U, 4 * U), (4 * U - 1,)),
    "a bias of half the size": ((F, 4 * U), (U, 4 * U), (2 * U,)),
    "two biases of an LSTM": ((F, 4 * U), (U, 4 * U), (2, 4 * U)),
    "one more bias of a GRU": ((F, 3 * U), (U, 3 * U), (3, 3 * U)),
}
"""Two matrices of a cell, and what is no bias of it."""
DENSE = ((3, 11), (11,))


def arrays_of(shapes, label=""):
    return tuple(WeightArray(f"w{n}", np.zeros(shape, np.float32), f"{label}w{n}") for n, shape in enumerate(shapes))


def listed(**layers):
    children = {name: WeightGroup(arrays) for name, arrays in layers.items()}
    return find_groups(WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=children)))


def proof(group):
    return group.class_name, group.use_bias, group.reset_after, group.cudnn, group.gate_layout


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 1), (2, 4)])
def test_shapes_prove_a_cell_wherever_it_stands_in_a_list(name, before, after):
    shapes, expected = PROVEN[name]
    (group,) = listed(layer=arrays_of((*(DENSE * 2)[:before], *shapes, *(DENSE * 2)[:after])))
    assert (group.name, group.units, group.features, group.directions) == ("layer", U, F, 1)
    assert proof(group) == expected
    assert [array.value.shape for array in group.arrays] == list(shapes)
    assert not group.ambiguous


@pytest.mark.parametrize("name", PROVEN)
def test_shapes_prove_a_cell_in_a_tree_of_objects(name):
    shapes, expected = PROVEN[name]
    if len(shapes) > 3:
        return  # files of Keras 1 are lists
    cell = WeightGroup(children={"cell": WeightGroup(arrays_of(shapes))})
    layers = WeightGroup(children={"lstm": cell, "dense": WeightGroup(arrays_of(DENSE))})
    outer = WeightGroup(children={"layers": layers})
    model = WeightGroup(children={"layers": WeightGroup(children={"lstm": cell, "model": outer})})
    groups = find_groups(WeightStore(WeightScheme.OBJECT_PATHS, model))
    assert [group.name for group in groups] == ["lstm", "model/lstm"]
    assert [proof(group) for group in groups] == [expected] * 2


@pytest.mark.parametrize("name", NOTHING)
def test_other_shapes_prove_nothing(name):
    assert listed(layer=arrays_of(NOTHING[name])) == ()


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_bias_is_not_taken_for_one(name):
    (group,) = listed(layer=arrays_of(ODD[name]))
    assert (group.use_bias, group.cudnn, len(group.arrays)) == (False, False, 2)


def test_cells_of_two_sizes_in_one_list_are_two_layers():
    first, second = PROVEN["LSTM"][0], ((U, 12), (4, 12), (12,))
    groups = listed(stack=arrays_of((*first, *second)))
    assert [(group.name, group.class_name, group.units) for group in groups] == [
        ("stack", "LSTM", U),
        ("stack_1", "GRU", 4),
    ]
    assert not any(group.ambiguous for group in groups)


def test_equal_cells_without_telling_names_are_ambiguous_and_named_ones_are_not():
    shapes = PROVEN["LSTM"][0]
    pair = [group.ambiguous for group in listed(layer=arrays_of(shapes * 2))]
    assert pair == [True, True]
    three = listed(layer=arrays_of((*shapes * 2, *PROVEN["GRU"][0])))
    assert [group.ambiguous for group in three] == [True, True, False]
    named = (*arrays_of(shapes, "bi/backward_lstm/cell/"), *arrays_of(shapes, "bi/forward_lstm/cell/"))
    (both,) = listed(layer=named)
    assert (both.directions, both.ambiguous) == (2, False)
    assert [array.label.split("/")[1] for array in both.arrays] == ["forward_lstm"] * 3 + ["backward_lstm"] * 3


@pytest.mark.parametrize(
    ("one", "other", "ambiguous"),
    [
        ("a/forward_lstm/", "b/backward_lstm/", [True, True]),
        ("b/forward_lstm/", "a/backward_lstm/", [True, True]),
        ("a/forward_lstm/", "a/forward_lstm_1/", [True, True]),
        ("a/forward_lstm/", "a/lstm/", [True, False]),
        ("a/lstm/", "a/lstm_1/", [False, False]),
    ],
)
def test_halves_of_different_layers_are_no_pair(one, other, ambiguous):
    shapes = PROVEN["LSTM"][0]
    groups = listed(layer=(*arrays_of(shapes, one), *arrays_of(shapes, other)))
    assert [(group.name, group.directions) for group in groups] == [("layer", 1), ("layer_1", 1)]
    assert [group.ambiguous for group in groups] == ambiguous


def test_each_of_many_layers_in_one_list_has_a_name_of_its_own():
    shapes = [shape for units in (3, 4, 6) for shape in ((F, 4 * units), (units, 4 * units), (4 * units,))]
    assert [group.name for group in listed(stack=arrays_of(shapes))] == ["stack", "stack_1", "stack_2"]


def graph_of(*groups):
    children = {group.name: WeightGroup(group.arrays) for group in groups}
    store = WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=children))
    return ModelGraph("w.h5", Origin("weights-hdf5", Era.KERAS2, ()), None, store)


@pytest.mark.parametrize("name", PROVEN)
def test_what_weights_cannot_tell_must_be_said_and_nothing_more(name):
    shapes, (class_name, _, reset_after, cudnn, _) = PROVEN[name]
    (group,) = listed(layer=arrays_of(shapes))
    said = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}
    needed = set() if cudnn else {"activation"} if class_name == "SimpleRNN" else {"activation", "recurrent_activation"}
    needed |= {"reset_after"} if class_name == "GRU" and reset_after is None else set()
    made = assume(graph_of(group), [group], Assumptions(**{key: said[key] for key in needed}))
    (record,) = (layer for layer in made.model.layers if layer.class_name != "InputLayer")
    assert (record.name, record.class_name, record.config["units"]) == ("layer", class_name, U)
    assert record.config["activation"] == "tanh"
    assert record.config.get("recurrent_activation") == (None if class_name == "SimpleRNN" else "sigmoid")
    if class_name == "GRU":
        assert record.config["reset_after"] == (True if reset_after is None else reset_after)
    for missing in needed:
        with pytest.raises(InputError, match=missing.replace("_", ".")):
            assume(graph_of(group), [group], Assumptions(**{key: said[key] for key in needed - {missing}}))


def test_the_options_that_were_given_are_told():
    assert Assumptions().given() == []
    assert Assumptions("tanh", "sigmoid", go_backwards=True, reset_after=False).given() == [
        "--activation",
        "--recurrent-activation",
        "--go-backwards",
        "--reset-after",
    ]
