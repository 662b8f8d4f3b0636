"""How recurrent layers are called (states, masks, directions), and how a run cuts samples: against a scalar loop."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scalar_lstm
from graphs import chain, lstm_weights
from layers import bound

import gateprobe.replay.run
from gateprobe.errors import InputError
from gateprobe.graph import (
    Call,
    Era,
    GateLayout,
    LayerRecord,
    ModelGraph,
    ModelRecord,
    Origin,
    WeightArray,
    WeightGroup,
    WeightScheme,
    WeightStore,
    freeze,
)
from gateprobe.inputs.samples import from_arrays
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import OtherWeights, Unsupported
from gateprobe.layers.recurrent.kernels import compiled
from gateprobe.model import Model
from gateprobe.opened_model import OpenedModel
from gateprobe.readers.weights_only import Assumptions, assume, find_groups
from gateprobe.replay.calls import recurrent_calls
from gateprobe.semantics import semantics_of
from gateprobe.traces.selection import Ranges

RNG = np.random.default_rng(12)
needs_compiler = pytest.mark.skipif(not compiled.is_installed(), reason="needs the extra fast")
UNITS, FEATURES, TIMESTEPS = 2, 3, 4
SEMANTICS = bound.meaning(Era.KERAS3)
X = RNG.normal(0, 1, (2, TIMESTEPS, FEATURES)).astype(np.float32)
STATES = RNG.normal(0, 1, (4, 2, UNITS)).astype(np.float32)
MASK = np.array([[True, True, False, True], [False, True, True, False]])


def scalar(x, weights, states, mask=None, **options):
    """Return hidden states and final states of one LSTM, which skips what is masked and holds its output there."""
    kernel, recurrent, bias = (np.float64(np.float32(weight)).tolist() for weight in weights)
    outputs, finals = [], []
    for n in range(len(x)):
        hidden, cell, emitted, shown = states[0][n].tolist(), states[1][n].tolist(), [], [0.0] * UNITS
        for t in range(x.shape[1]):
            if mask is None or mask[n, t]:
                (step,) = scalar_lstm.lstm(
                    np.float64(x[n, t : t + 1]).tolist(), kernel, recurrent, bias, hidden, cell, **options
                )
                hidden, cell = step["hidden_state"], step["cell_state"]
                shown = hidden
            emitted.append(shown)
        outputs.append(emitted)
        finals.append((hidden, cell))
    return np.array(outputs), np.array(finals).swapaxes(0, 1)


def lstm(arrays, version="3.15.1", **config):
    return LayerRecord("lstm", "LSTM", {"units": UNITS, **config}), arrays, version


def bidirectional(ahead, behind, version="3.15.1", **config):
    inner = LayerRecord("lstm", "LSTM", {"units": UNITS, **config})
    return LayerRecord("bi", "Bidirectional", {}, children={"layer": (inner,)}), [*ahead, *behind], version


def called(what, *args, **kwargs):
    record, arrays, version = what
    era = Era(f"keras{version[0]}")
    layer = bound.bind(record, [np.float32(array) for array in arrays], bound.meaning(era, version))
    return [tensor.value for tensor in layer.replay(Arguments(args, kwargs), bound.scope())]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_bidirectional_splits_its_states_and_hands_on_its_mask(backwards):
    ahead, behind = (lstm_weights(RNG, FEATURES, UNITS) for _ in range(2))
    layer = bidirectional(ahead, behind, return_state=True, go_backwards=backwards)
    output, *states = called(layer, Tensor(X), initial_state=tuple(map(Tensor, STATES)), mask=Tensor(MASK))
    runs = [(X, MASK), (X[:, ::-1], MASK[:, ::-1])]
    (x, mask), (x_back, mask_back) = runs[::-1] if backwards else runs
    forward, after = scalar(x, ahead, STATES[:2], mask)
    backward, after_back = scalar(x_back, behind, STATES[2:], mask_back)
    np.testing.assert_allclose(output, np.concatenate([after[0], after_back[0]], -1), atol=3e-6)
    np.testing.assert_allclose(states, [*after, *after_back], atol=3e-6)
    assert not np.allclose(forward[:, -1], backward[:, -1])


@pytest.mark.parametrize("units", [UNITS - 1, UNITS + 1])
def test_what_does_not_fit_a_layer_is_refused(units):
    layer = lstm(lstm_weights(RNG, FEATURES, UNITS))
    with pytest.raises(InputError, match="the sequence has no timesteps"):
        called(layer, Tensor(X[:, :0]))
    with pytest.raises(InputError, match=rf"expected an initial state of shape \(2, {UNITS}\), got \(2, {units}\)"):
        called(layer, Tensor(X), initial_state=(Tensor(STATES[0]), Tensor(np.zeros((2, units), np.float32))))
    with pytest.raises(InputError, match="the layer has 2 states, the call gives 1"):
        called(layer, Tensor(X), initial_state=(Tensor(STATES[0]),))


def test_initial_states_may_stand_behind_the_input():
    weights = lstm_weights(RNG, FEATURES, UNITS)
    by_name = called(lstm(weights), Tensor(X), initial_state=tuple(map(Tensor, STATES[:2])))
    np.testing.assert_array_equal(called(lstm(weights), Tensor(X), list(map(Tensor, STATES[:2]))), by_name)
    np.testing.assert_array_equal(called(lstm(weights), (Tensor(X), *map(Tensor, STATES[:2]))), by_name)


MERGED = {
    "concat": lambda a, b: [np.concatenate([a, b], -1)],
    "sum": lambda a, b: [a + b],
    "mul": lambda a, b: [a * b],
    "ave": lambda a, b: [(a + b) / 2],
    None: lambda a, b: [a, b],
}


@pytest.mark.parametrize("mode", MERGED)
def test_both_directions_are_merged(mode):
    ahead, behind = (lstm_weights(RNG, FEATURES, UNITS) for _ in range(2))
    record, arrays, version = bidirectional(ahead, behind)
    outputs = called((replace(record, config={"merge_mode": mode}), arrays, version), Tensor(X))
    zeros = np.zeros((2, 2, UNITS))
    expected = MERGED[mode](scalar(X, ahead, zeros)[1][0], scalar(X[:, ::-1], behind, zeros)[1][0])
    assert len(outputs) == len(expected)
    np.testing.assert_allclose(outputs, expected, atol=3e-6)


def test_states_that_have_no_two_halves_and_layers_that_are_not_one_are_refused():
    weights = lstm_weights(RNG, FEATURES, UNITS)
    with pytest.raises(InputError, match="split in halves, the call gives 3"):
        called(bidirectional(weights, weights), Tensor(X), initial_state=tuple(map(Tensor, STATES[:3])))
    record, arrays, version = bidirectional(weights, weights)
    with pytest.raises(Unsupported, match="expected one layer"):
        called((replace(record, children={}), arrays, version), Tensor(X))


@pytest.mark.parametrize("backwards", [False, True])
def test_sequences_of_both_directions_are_aligned(backwards):
    ahead, behind = (lstm_weights(RNG, FEATURES, UNITS) for _ in range(2))
    (output,) = called(bidirectional(ahead, behind, return_sequences=True, go_backwards=backwards), Tensor(X))
    zeros = np.zeros((2, 2, UNITS))
    forward, _ = scalar(X[:, ::-1] if backwards else X, ahead, zeros)
    backward, _ = scalar(X if backwards else X[:, ::-1], behind, zeros)
    np.testing.assert_allclose(output, np.concatenate([forward, backward[:, ::-1]], -1), atol=3e-6)


def test_of_a_list_of_masks_the_first_is_that_of_the_sequence():
    weights = lstm_weights(RNG, FEATURES, UNITS)
    sequence = (Tensor(X), *map(Tensor, STATES[:2]))
    (output,) = called(lstm(weights), sequence, mask=(Tensor(MASK), None, None))
    np.testing.assert_allclose(output, scalar(X, weights, STATES[:2], MASK)[1][0], atol=3e-6)


@pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
@pytest.mark.parametrize("unroll", [True, False])
def test_an_unrolled_loop_that_runs_backwards_zeroes_by_the_mask_as_it_stands(unroll, version):
    """As tf_keras 2.21 and Keras 3.15 computed it: h' = x + 10 h + 0.5."""
    x = np.array([[1, 2, 0, 4, 0], [0, 2, 3, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    config = {"units": 1, "activation": "linear", "return_sequences": True, "go_backwards": True, "unroll": unroll}
    record = LayerRecord("rnn", "SimpleRNN", {**config, "zero_output_for_mask": True})
    (output,) = called((record, [[[1.0]], [[10.0]], [0.5]], version), Tensor(x[..., np.newaxis], x > 0))
    looped = [[0, 4.5, 0, 47.5, 476.5], [0, 0, 3.5, 37.5, 0], [0, 0, 0, 0, 0]]
    unrolled = [[0, 4.5, 0, 47.5, 0], [0, 0, 3.5, 0, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(output[..., 0], unrolled if unroll else looped)


GATES = {"recurrent_activation": "sigmoid"}


def stack(sizes, version, **config):
    cells = tuple(LayerRecord(f"cell_{n}", "LSTMCell", {"units": size, **GATES}) for n, size in enumerate(sizes))
    inside = LayerRecord("stack", "StackedRNNCells", {}, children={"cells": cells})
    features = (FEATURES, *sizes)
    arrays = [array for pair in itertools.pairwise(features) for array in lstm_weights(np.random.default_rng(2), *pair)]
    return LayerRecord("rnn", "RNN", config, children={"cell": (inside,)}), arrays, version


@pytest.mark.parametrize("sizes", [(4, 2), (2, 4)])
def test_a_mask_over_stacked_cells_of_different_sizes_is_refused_where_keras_mixes_them_up(sizes):
    with pytest.raises(InputError, match="cannot mask stacked cells of different sizes"):
        called(stack(sizes, "2.2.4", return_sequences=True), Tensor(X, MASK))
    assert called(stack(sizes, "2.3.1", return_sequences=True), Tensor(X, MASK))[0].shape == (2, TIMESTEPS, sizes[-1])


def test_states_of_stacked_cells_are_given_from_the_last_cell_where_keras_lists_them_so():
    first, last = (tuple(Tensor(state[:, :size]) for state in np.tile(STATES[:2], 2)) for size in (4, 2))
    (now,) = called(stack((4, 2), "3.15.1"), Tensor(X), initial_state=(*first, *last))
    (before,) = called(stack((4, 2), "2.1.6"), Tensor(X), initial_state=(*last, *first))
    np.testing.assert_array_equal(now, before)
    assert not np.allclose(now, called(stack((4, 2), "3.15.1"), Tensor(X))[0])
    with pytest.raises(InputError, match=r"expected an initial state of shape \(2, 2\), got \(2, 4\)"):
        called(stack((4, 2), "2.1.6"), Tensor(X), initial_state=(*first, *last))


def test_a_cell_that_stands_in_a_graph_is_one_timestep_and_is_traced():
    weights = lstm_weights(RNG, FEATURES, UNITS)
    layer = bound.bind(LayerRecord("cell", "LSTMCell", {"units": UNITS}), list(map(np.float32, weights)), SEMANTICS)
    told = []
    scope = replace(
        bound.scope(), traced=lambda path: True, deliver=lambda *args, **kwargs: told.append((args, kwargs))
    )
    x, states = Tensor(X[:, 0]), tuple(map(Tensor, STATES[:2]))
    found = [tensor.value for tensor in layer.replay(Arguments((x, states)), scope)]
    _, (hidden, cell) = scalar(X[:, :1], weights, STATES[:2])
    np.testing.assert_allclose(found, [hidden, hidden, cell], atol=3e-6)
    ((_, named),) = told
    assert (named["direction"], named["backwards"]) == ("forward", False)
    np.testing.assert_allclose(named["signals"]["cell_state"], cell[:, np.newaxis], atol=3e-6)
    assert named["signals"]["input_gate"].shape == (2, 1, UNITS)
    with pytest.raises(InputError, match="the cell has 2 states, the call gives 1"):
        layer.replay(Arguments((x, states[:1])), scope)


SIGMOID, TANH = (lambda z: 1 / (1 + np.exp(-z))), np.tanh
LSTM_SIGNALS = {"input_gate": SIGMOID, "forget_gate": SIGMOID, "output_gate": SIGMOID, "candidate": TANH}
GRU_SIGNALS = {"update_gate": SIGMOID, "reset_gate": SIGMOID, "candidate": TANH}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("kind", "bias", "signals", "config"),
    [
        ("LSTM", (12,), LSTM_SIGNALS, {}),
        ("GRU", (2, 9), GRU_SIGNALS, {"reset_after": True}),
        ("GRU", (9,), GRU_SIGNALS, {"reset_after": False}),
        ("SimpleRNN", (3,), {"hidden_state": TANH}, {}),
    ],
)
def test_what_goes_into_each_activation_is_traced(kind, bias, signals, config, dtype):
    shapes = [(FEATURES, bias[-1]), (3, bias[-1]), bias]
    weights = [RNG.normal(0, 0.7, shape).astype(dtype) for shape in shapes]
    model = chain([(kind, "rnn", {"units": 3, "dtype": dtype, **config})], {"rnn": weights}, dtype=dtype)
    trace = model.trace(X.astype(dtype), pre_activations=True)["rnn"].forward
    assert {name for name in trace.signals if name.startswith("pre_")} == {f"pre_{name}" for name in signals}
    for name, activation in signals.items():
        expected = activation(trace.signals[f"pre_{name}"].astype(np.float64))
        np.testing.assert_allclose(trace.signals[name], expected, atol=1e-6 if dtype == "float32" else 2e-3)
    assert (
        chain([(kind, "rnn", {"units": 3, **config})], {"rnn": weights}).trace(X)["rnn"].forward.signals.keys()
        & {f"pre_{name}" for name in signals}
        == set()
    )


def test_features_that_do_not_fit_are_counted_in_the_message():
    with pytest.raises(InputError, match=f"expected {FEATURES} features at each timestep, got 5"):
        called(lstm(lstm_weights(RNG, FEATURES, UNITS)), Tensor(np.zeros((2, TIMESTEPS, 5), np.float32)))


@pytest.mark.parametrize(("positions", "refused"), [(3, True), (5, False)])
def test_a_bias_that_tensorflow_adds_along_the_positions_is_refused(positions, refused):
    config = {"filters": 3, "kernel_size": [1], "data_format": "channels_first", "padding": "same"}
    record = LayerRecord("conv", "ConvLSTM1D", config)
    arrays = [RNG.normal(size=shape) for shape in ((1, 2, 12), (1, 3, 12), (12,))]
    x = Tensor(RNG.normal(size=(2, TIMESTEPS, 2, positions)).astype(np.float32))
    if refused:
        with pytest.raises(InputError, match="a bias of 3 values is meant for axis 1"):
            called((record, arrays, "3.15.1"), x)
    else:
        assert called((record, arrays, "3.15.1"), x)[0].shape == (2, 3, positions)


def test_a_peephole_cell_has_a_bias_unless_it_says_otherwise():
    cell = LayerRecord("cell", "PeepholeLSTMCell", {"units": UNITS})
    arrays = [*lstm_weights(RNG, FEATURES, UNITS), *RNG.normal(size=(3, UNITS))]
    record = LayerRecord("rnn", "RNN", {}, children={"cell": (cell,)})
    assert called((record, arrays, "2.15.0"), Tensor(X))[0].shape == (2, UNITS)


def test_softmax_gates_of_half_precision_are_shares_of_each_gate():
    kernel, recurrent, bias = (np.float16(weight) for weight in lstm_weights(RNG, FEATURES, UNITS))
    layer = ("LSTM", "lstm", {"units": UNITS, "recurrent_activation": "softmax", "dtype": "float16"})
    traced = chain([layer], {"lstm": [kernel, recurrent, bias]}, dtype="float16").trace(np.float16(X))["lstm"]
    columns = {"input_gate": 0, "forget_gate": 1, "output_gate": 3}
    for n in range(2):
        for t in range(TIMESTEPS):
            before = traced.hidden_state[n, t - 1] if t else np.zeros(UNITS)
            for gate, place in columns.items():
                at = range(place * UNITS, (place + 1) * UNITS)
                sums = [float(X[n, t] @ kernel[:, k] + before @ recurrent[:, k] + bias[k]) for k in at]
                shares = [math.exp(value) / sum(map(math.exp, sums)) for value in sums]
                np.testing.assert_allclose(getattr(traced, gate)[n, t], shares, atol=4e-3)


@pytest.mark.parametrize("kernel", ["numpy", pytest.param("compiled", marks=needs_compiler)])
def test_gates_of_another_activation_are_computed(kernel):
    weights = lstm_weights(RNG, FEATURES, UNITS)
    config = {"units": UNITS, "recurrent_activation": "softsign", "return_sequences": True}
    expected, _ = scalar(X, weights, np.zeros((2, 2, UNITS)), gate=lambda z: z / (1 + abs(z)))
    model = chain([("LSTM", "lstm", config)], {"lstm": weights})
    np.testing.assert_allclose(model.trace(X, kernel=kernel)["lstm"].hidden_state, expected, atol=3e-6)


@pytest.mark.parametrize("kernel", ["numpy", pytest.param("compiled", marks=needs_compiler)])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_an_activation_other_than_tanh_is_computed(gate, kernel):
    weights = lstm_weights(RNG, FEATURES, UNITS, scale=0.3)
    config = {"units": UNITS, "activation": "relu", "recurrent_activation": gate, "return_sequences": True}
    x = np.repeat(X, 20, axis=1)
    options = {} if gate == "sigmoid" else {"gate": lambda z: min(1.0, max(0.0, z / 6 + 0.5))}
    expected, _ = scalar(x, weights, np.zeros((2, 2, UNITS)), squash=lambda z: max(0.0, z), **options)
    model = chain([("LSTM", "lstm", config)], {"lstm": weights})
    np.testing.assert_allclose(model.predict(x, kernel=kernel)["lstm"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", ["1.2.2", "2.2.4", "2.2.4-tf", "2.3.0-tf", "2.15.0", "3.15.1"])
@pytest.mark.parametrize("samples", [1, 31, 32, 33, 40])
def test_as_many_rows_come_out_as_samples_go_in(samples, version):
    weights = lstm_weights(RNG, FEATURES, UNITS)
    x = RNG.normal(0, 1, (samples, TIMESTEPS, FEATURES)).astype(np.float32)
    model = chain(
        [("LSTM", "lstm", {"units": UNITS, "recurrent_activation": "sigmoid"})],
        {"lstm": weights},
        keras_version=version,
    )
    expected = scalar(x, weights, np.zeros((2, samples, UNITS)))[1]
    np.testing.assert_allclose(model.predict(x)["lstm"], expected[0], atol=3e-6)
    np.testing.assert_allclose(model.trace(x)["lstm"].cell_state[:, -1], expected[1], atol=3e-6)


@pytest.mark.parametrize(
    ("text", "picked"),
    [
        ("-5", [0]),
        ("-1", [4]),
        ("4", [4]),
        ("0", [0]),
        ("-6", []),
        ("5", []),
        ("-5:", [0, 1, 2, 3, 4]),
        ("1:-1", [1, 2, 3]),
    ],
)
def test_numbers_are_picked_as_python_picks_them(text, picked):
    assert Ranges(text).matches(5, "unit").tolist() == picked


def test_what_is_fed_never_runs_in_slabs(monkeypatch):
    """A feed holds whole sequences."""
    monkeypatch.setattr(gateprobe.replay.run, "LONG", TIMESTEPS - 1)
    monkeypatch.setattr(gateprobe.replay.run, "SLAB", 2)
    weights = lstm_weights(RNG, FEATURES, UNITS)
    model = chain([("LSTM", "lstm", {"units": UNITS, "return_sequences": True})], {"lstm": weights})
    feeds = {f"lstm.initial_state[{n}]": state for n, state in enumerate(STATES[:2])}
    traced = model.trace(replace(from_arrays(X, model.inputs), feeds=feeds))["lstm"]
    np.testing.assert_allclose(traced.hidden_state, scalar(X, weights, STATES[:2])[0], atol=3e-6)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_group_goes_backwards_only_where_it_has_one_direction(directions, backwards):
    cells = [lstm_weights(RNG, FEATURES, UNITS) for _ in range(directions)]
    names = ["forward_lstm", "backward_lstm"] if directions == 2 else ["lstm"]
    arrays = [
        WeightArray(f"a/{name}/{role}", freeze(np.float32(array)), f"a/{name}/lstm_cell/{role}:0")
        for name, cell in zip(names, cells, strict=True)
        for role, array in zip(("kernel", "recurrent_kernel", "bias"), cell, strict=True)
    ]
    root = WeightGroup(children={"a": WeightGroup(tuple(arrays))})
    origin = Origin("hdf5", Era.KERAS2, (), "2.15.0")
    graph = ModelGraph("made", origin, None, WeightStore(WeightScheme.LAYER_LISTS, root))
    groups = find_groups(graph.weights)
    assumed = assume(graph, groups, Assumptions("tanh", "sigmoid", go_backwards=backwards))
    traced = Model(OpenedModel(assumed, semantics_of(origin))).trace([X])["a"]
    turned = {"forward": backwards and directions == 1, "backward": True}
    zeros = np.zeros((2, 2, UNITS))
    for name, weights in zip(
        ("forward", "backward") if directions == 2 else ("backward" if backwards else "forward",), cells, strict=True
    ):
        turn = slice(None, None, -1) if turned[name] else slice(None)
        expected, _ = scalar(X[:, turn], weights, zeros)
        np.testing.assert_allclose(getattr(traced, name).hidden_state, expected[:, turn], atol=3e-6)


@pytest.mark.parametrize("config", [{}, {"return_sequences": True}, {"go_backwards": True}, {"stateful": True}])
def test_a_layer_runs_in_slabs_where_nothing_comes_from_elsewhere(config):
    """Not from behind, from the batch before, or from a call's initial states, which only the first slab may see."""
    record, arrays, _ = lstm(lstm_weights(RNG, FEATURES, UNITS), **config)
    layer = bound.bind(record, [np.float32(array) for array in arrays], SEMANTICS)
    expected = None if {"go_backwards", "stateful"} & set(config) else (3,) if config else (None,)
    assert layer.over_time((3,)) == expected
    assert layer.over_time((3, 2, 2)) is None
    assert layer.over_time((2,)) is None


def test_masked_outputs_of_a_stateful_layer_begin_with_zeros_in_every_batch():
    """The states are carried on; what Keras holds at masked timesteps is the output, which is not."""
    weights, x = lstm_weights(RNG, FEATURES, UNITS), np.concatenate([X, X[::-1]])
    mask = np.concatenate([MASK, ~MASK])
    x = np.where(mask[..., np.newaxis], x, 0)
    config = {"units": UNITS, "stateful": True, "return_sequences": True}
    layers = [("Masking", "masking", {}), ("LSTM", "lstm", config)]
    model = chain(layers, {"lstm": weights}, input_shape=(2, TIMESTEPS, FEATURES))
    first, states = scalar(x[:2], weights, np.zeros((2, 2, UNITS)), mask[:2])
    second, _ = scalar(x[2:], weights, states, mask[2:])
    np.testing.assert_allclose(model.predict(x)["lstm"], np.concatenate([first, second]), atol=3e-6)


@pytest.mark.parametrize("count", range(1, 6))
def test_states_of_a_bidirectional_are_as_many_as_both_layers_have(count):
    shapes = ((FEATURES, 3 * UNITS), (UNITS, 3 * UNITS), (2, 3 * UNITS))
    ahead, behind = ([RNG.normal(0, 0.7, shape) for shape in shapes] for _ in range(2))
    inner = LayerRecord("gru", "GRU", {"units": UNITS, "reset_after": True})
    layer = LayerRecord("bi", "Bidirectional", {}, children={"layer": (inner,)}), [*ahead, *behind], "3.15.1"
    states = tuple(map(Tensor, STATES[[0, 1, 2, 3, 0]][:count]))
    if count != 2:
        with pytest.raises(InputError, match=f"gives {count}$" if count % 2 else "has 1 states, the call gives 2"):
            called(layer, Tensor(X), initial_state=states)
        return
    (output,) = called(layer, Tensor(X), initial_state=states)
    for half, weights, x, state in zip(np.split(output, 2, -1), (ahead, behind), (X, X[:, ::-1]), STATES, strict=False):
        kernel, recurrent, (bias, recurrent_bias) = (np.float64(np.float32(weight)).tolist() for weight in weights)
        for n in range(2):
            begun = scalar_lstm.gru(x[n].tolist(), kernel, recurrent, bias, state[n].tolist(), recurrent_bias)
            np.testing.assert_allclose(half[n], begun[-1]["hidden_state"], atol=3e-6)


def test_masked_sequences_are_refused_where_the_file_fits_two_kerases_that_differ():
    weights = lstm_weights(RNG, FEATURES, UNITS)
    sequences = bidirectional(weights, weights, "2.3.0-tf", return_sequences=True)
    assert called(sequences, Tensor(X))[0].shape == (2, TIMESTEPS, 2 * UNITS)
    with pytest.raises(InputError, match=r"TensorFlow 2\.1 and 2\.2 differ"):
        called(sequences, Tensor(X, MASK))
    assert called(bidirectional(weights, weights, "2.3.0-tf"), Tensor(X, MASK))[0].shape == (2, 2 * UNITS)


@pytest.mark.parametrize("bias", [True, False])
def test_gates_of_a_peephole_cell_look_at_the_cell_state(bias):
    """Gers & Schmidhuber 2000: the input and forget gates look at the old cell state, the output gate at the new."""
    kernel, recurrent, b = (np.float64(np.float32(weight)) for weight in lstm_weights(RNG, FEATURES, UNITS))
    b = b if bias else np.zeros_like(b)
    looks = np.float64(np.float32(RNG.normal(size=(3, UNITS))))
    cell = LayerRecord("cell", "PeepholeLSTMCell", {"units": UNITS, "use_bias": bias})
    weights = {"rnn": [kernel, recurrent, *([b] if bias else []), *looks]}
    model = chain([("RNN", "rnn", {"unroll": False}, {"cell": cell})], weights, keras_version="2.15.0")
    signals = model.trace(X, pre_activations=True)["rnn"].forward.signals
    h, c = np.zeros((2, 2, UNITS))
    for t in range(TIMESTEPS):
        i, f, g, o = np.split(X[:, t] @ kernel + h @ recurrent + b, 4, axis=-1)
        i, f = i + looks[0] * c, f + looks[1] * c
        c = SIGMOID(f) * c + SIGMOID(i) * TANH(g)
        o = o + looks[2] * c
        h = SIGMOID(o) * TANH(c)
        expected = {"pre_input_gate": i, "pre_forget_gate": f, "pre_candidate": g, "pre_output_gate": o}
        expected |= {"input_gate": SIGMOID(i), "forget_gate": SIGMOID(f), "candidate": TANH(g)}
        expected |= {"output_gate": SIGMOID(o), "cell_state": c, "hidden_state": h}
        assert signals.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(signals[name][:, t], value, atol=3e-6, err_msg=name)
    assert not [name for name in model.trace(X)["rnn"].forward.signals if name.startswith("pre_")]


@pytest.mark.parametrize("place", ["channels_first", "channels_last"])
def test_a_softmax_of_images_is_taken_along_their_last_axis_in_keras(place):
    """With a kernel of one pixel a ConvLSTM is an LSTM of each position; channels that stand first are not the last."""
    filters, positions = 3, 4
    kernel, recurrent, bias = (np.float64(np.float32(w)) for w in lstm_weights(RNG, FEATURES, filters))
    x = RNG.normal(0, 1, (2, TIMESTEPS, positions, FEATURES)).astype(np.float32)
    config = {"filters": filters, "kernel_size": [1], "data_format": place, "padding": "valid"}
    config |= {"activation": "softmax", "recurrent_activation": "softmax"}
    arrays = [kernel[np.newaxis], recurrent[np.newaxis], bias]
    first = place == "channels_first"
    given = Tensor(np.moveaxis(x, -1, 2) if first else x)
    (output,) = called((LayerRecord("conv", "ConvLSTM1D", config), arrays, "2.15.0"), given)

    def softmax(z):
        shares = np.exp(z)
        return shares / shares.sum(axis=1 if first else 2, keepdims=True)

    h, c = np.zeros((2, 2, positions, filters))
    for t in range(TIMESTEPS):
        i, f, g, o = map(softmax, np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=-1))
        c = f * c + i * g
        h = o * softmax(c)
    np.testing.assert_allclose(np.moveaxis(output, 1, -1) if first else output, h, atol=3e-6)


def test_columns_that_are_not_those_of_all_gates_are_counted_in_the_message():
    layer = bound.bind(*lstm([np.float32(w) for w in lstm_weights(RNG, FEATURES, UNITS)])[:2], SEMANTICS)
    anatomy = layer.cells[0].anatomy
    assert [part.shape for part in anatomy.split(anatomy.kernel).values()] == [(FEATURES, UNITS)] * 4
    with pytest.raises(InputError, match="6 columns are not those of 4 gates"):
        anatomy.split(np.zeros((FEATURES + 1, 6)))


ANATOMY = {
    "LSTMCell": ("input_gate", "forget_gate", "candidate", "output_gate"),
    "GRUCell": ("update_gate", "reset_gate", "candidate"),
    "SimpleRNNCell": ("hidden_state",),
    "PeepholeLSTMCell": ("input_gate", "forget_gate", "candidate", "output_gate"),
}


@pytest.mark.parametrize("kind", ANATOMY)
def test_every_cell_is_one_of_the_layers_to_trace_and_says_what_it_computes_with(kind):
    gates, squash = ANATOMY[kind], "softsign"
    config = {"units": UNITS, "activation": squash, "recurrent_activation": "sigmoid", "reset_after": False}
    assert recurrent_of(LayerRecord("cell", kind, config)) == ["cell"]
    columns = len(gates) * UNITS
    looks = [(UNITS,)] * 3 if "Peephole" in kind else []
    arrays = [np.float32(RNG.normal(size=s)) for s in ((FEATURES, columns), (UNITS, columns), (columns,), *looks)]
    cell = bound.bind(LayerRecord("cell", kind, config), arrays, SEMANTICS)
    anatomy = cell.anatomy
    assert cell.state_shapes((FEATURES,)) == ((UNITS,),) * (2 if "LSTM" in kind else 1)
    labels = ["sigmoid" if name.endswith("_gate") else squash for name in gates]
    assert [(name, one.label) for name, one in anatomy.activations.items()] == list(zip(gates, labels, strict=True))
    np.testing.assert_array_equal(anatomy.split(anatomy.kernel)[gates[-1]], arrays[0][:, -UNITS:])
    np.testing.assert_array_equal(anatomy.recurrent_kernel, arrays[1])
    np.testing.assert_array_equal(anatomy.bias, arrays[2])
    assert (anatomy.output_activation is not None) == ("LSTM" in kind)
    np.testing.assert_array_equal(list(anatomy.peepholes.values()), arrays[3:])
    assert list(anatomy.peepholes) == (["input_gate", "forget_gate", "output_gate"] if looks else [])
    assert (anatomy.reset_after, anatomy.recurrent_bias, anatomy.windows) == (False, None, None)


def recurrent_of(record):
    model = ModelRecord("model", "Functional", (replace(record, calls=(Call(),)),), (), ())
    return [call.path for call in recurrent_calls(model)]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_keras_1_stores_the_gates_one_by_one(kind):
    """``LSTM.trainable_weights`` of Keras 1.2.2: W, U and b of i, c, f and o; of a GRU those of z, r and h."""
    stored, fused = ("icfo", "ifco") if kind == "LSTM" else ("zrh", "zrh")
    gates = {
        gate: [np.float32(RNG.normal(size=(*size, UNITS))) for size in ((FEATURES,), (UNITS,), ())] for gate in fused
    }
    record = LayerRecord("rnn", kind, {"units": UNITS, "recurrent_activation": "sigmoid", "return_sequences": True})
    arrays = [array for gate in stored for array in gates[gate]]
    (output,) = called((replace(record, gate_layout=GateLayout.PER_GATE), arrays, "1.2.2"), Tensor(X))
    step = scalar_lstm.lstm if kind == "LSTM" else scalar_lstm.gru
    weights = [np.concatenate([gates[gate][k] for gate in fused], -1).astype(float).tolist() for k in range(3)]
    for n in range(2):
        run = step(np.float64(X[n]).tolist(), *weights, *[[0.0] * UNITS] * (2 if kind == "LSTM" else 1))
        np.testing.assert_allclose(output[n], [one["hidden_state"] for one in run], atol=3e-6)


@pytest.mark.parametrize("kind", ["CuDNNLSTM", "CuDNNGRU"])
def test_cudnn_keeps_a_row_for_each_unit_and_two_biases(kind):
    """The memory of a gate in CuDNN is ``(units, features)``; Keras 2 shows it as if it were ``(features, units)``."""
    gates = {"CuDNNLSTM": 4, "CuDNNGRU": 3}[kind]
    kernels = [np.float32(RNG.normal(size=(FEATURES, UNITS))) for _ in range(gates)]
    recurrent = [np.float32(RNG.normal(size=(UNITS, UNITS))) for _ in range(gates)]
    biases = np.float32(RNG.normal(size=(2, gates * UNITS)))
    shown = [np.array([w for column in k.T for w in column]).reshape(FEATURES, UNITS) for k in kernels]
    arrays = [np.hstack(shown), np.hstack([one.T for one in recurrent]), biases.ravel()]
    record = LayerRecord("rnn", kind, {"units": UNITS, "return_sequences": True})
    (output,) = called((record, arrays, "2.2.4"), Tensor(X))
    plain = [np.float64(np.hstack(part)).tolist() for part in (kernels, recurrent)]
    ours, theirs = np.float64(biases).tolist()
    for n in range(2):
        x, zeros = np.float64(X[n]).tolist(), [0.0] * UNITS
        if kind == "CuDNNLSTM":
            both = [one + other for one, other in zip(ours, theirs, strict=True)]
            run = scalar_lstm.lstm(x, *plain, both, zeros, zeros)
        else:
            run = scalar_lstm.gru(x, *plain, ours, zeros, theirs)
        np.testing.assert_allclose(output[n], [one["hidden_state"] for one in run], atol=3e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("length", [1, 5])
def test_a_bias_of_another_length_is_that_of_another_layer(kind, length):
    gates = {"LSTM": 4, "GRU": 3}[kind]
    arrays = [np.zeros((FEATURES, gates * UNITS)), np.zeros((UNITS, gates * UNITS)), np.zeros(length * UNITS)]
    config = {"units": UNITS, **({"reset_after": False} if kind == "GRU" else {})}
    with pytest.raises(OtherWeights, match="bias: expected"):
        called((LayerRecord("rnn", kind, config), arrays, "3.15.1"), Tensor(X))
