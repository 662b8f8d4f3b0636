"""Ports of whole models: several layers, other cells, CuDNN files, few numbers, and what is said then."""

import math
from pathlib import Path

import numpy as np
import pytest
from compare.planting import Scene, bidirectional, lstm, plain
from graphs import chain, lstm_weights
from scalar_port import fixed, hard, identity, port

import gateprobe
from gateprobe.errors import InputError
from gateprobe.graph import LayerRecord

SAMPLES = Path(__file__).parents[2] / "sample_models"
RNG = np.random.default_rng(17)


def two_layers():
    """Return a model of two LSTMs, its input and the weights of both."""
    rng = np.random.default_rng(8)
    weights = [lstm_weights(rng, 3, 2), lstm_weights(rng, 2, 2)]
    layers = [("LSTM", name, {"units": 2, "return_sequences": True}) for name in ("low", "high")]
    model = chain(layers, dict(zip(("low", "high"), weights, strict=True)), input_shape=(None, None, 3))
    return model, rng.normal(0, 1, (3, 5, 3)).astype(np.float32), weights


def stacked(x, weights, low, high):
    """Return what a port of two layers logs, with mistakes in each."""
    below = port("lstm", plain(x), [plain(w) for w in weights[0]], **low)
    above = port("lstm", below["hidden_state"], [plain(w) for w in weights[1]], **high)
    return {
        f"{layer}/forward/{name}": np.array(value)
        for layer, signals in (("low", below), ("high", above))
        for name, value in signals.items()
    }


def test_the_same_mistake_in_two_layers_is_one_cause():
    model, x, weights = two_layers()
    theirs = stacked(x, weights, {"order": "ifog"}, {"order": "ifog"})
    (cause,) = gateprobe.compare_port(model, x, theirs).causes
    assert (cause.text, cause.where) == ("the gate order is i, f, o, g", ("low forward", "high forward"))
    assert cause.everything


def test_a_mistake_in_the_second_layer_alone():
    model, x, weights = two_layers()
    (cause,) = gateprobe.compare_port(model, x, stacked(x, weights, {}, {"bias": 0.0})).causes
    assert (cause.text, cause.where) == ("the bias is left out", ("high forward",))


def test_two_layers_with_different_mistakes_have_two_causes():
    model, x, weights = two_layers()
    causes = gateprobe.compare_port(model, x, stacked(x, weights, {"bias": 2.0}, {"reset": True})).causes
    assert [(cause.text, cause.where) for cause in causes] == [
        ("the bias is doubled", ("low forward",)),
        ("the states are reset at each step", ("high forward",)),
    ]
    assert [cause.everything for cause in causes] == [False, True]


def test_a_mistake_in_a_layer_that_the_file_lacks():
    model, x, weights = two_layers()
    theirs = stacked(x, weights, {"order": "ifog"}, {"order": "ifog"})
    above = {name: value for name, value in theirs.items() if name.startswith("high")}
    (cause,) = gateprobe.compare_port(model, x, above).causes
    assert cause.text == "the gate order is i, f, o, g, in all recurrent layers"


def test_a_layer_that_is_not_explained_leaves_the_other_explained():
    model, x, weights = two_layers()
    theirs = stacked(x, weights, {"bias": 0.0}, {})
    theirs["high/forward/hidden_state"][1, 2, 0] += 0.25
    result = gateprobe.compare_port(model, x, theirs, pairs=False)
    (cause,) = result.causes
    assert cause.where == ("low forward",)
    assert not cause.everything


@pytest.mark.parametrize("both", [True, False])
def test_cudnn_kernels_read_as_those_of_keras(both):
    """The file's own arrays are taken for Keras's, with both halves of the bias or with one."""
    rng = np.random.default_rng(6)
    kernel, recurrent, bias = (rng.normal(0, 0.7, shape) for shape in ((3, 12), (3, 12), (24,)))
    config = {"units": 3, "return_sequences": True}
    model = chain(
        [("CuDNNLSTM", "cudnn", config)], {"cudnn": [kernel, recurrent, bias]}, input_shape=(None, 5, 3),
        keras_version="2.2.4",
    )  # fmt: skip
    x = rng.normal(0, 1, (3, 5, 3)).astype(np.float32)
    first, second = np.split(np.float32(bias), 2)
    weights = [plain(kernel), plain(recurrent), plain(first + second if both else first)]
    theirs = {f"cudnn/{name}": np.array(value) for name, value in port("lstm", plain(x), weights).items()}
    (cause,) = gateprobe.compare_port(model, x, theirs).causes
    assert "the kernels, which are in CuDNN's layout, are read as Keras's" in cause.text
    assert both or "only the input half of the bias is used" in cause.text


def test_the_slope_of_hard_sigmoid_in_a_file_of_keras_2():
    model = gateprobe.read(SAMPLES / "keras2.h5")
    x = np.load(SAMPLES / "keras2.npy")
    weights = _weights(model, "lstm_1")
    theirs = {f"lstm_1/{k}": np.array(v) for k, v in port("lstm", plain(x), weights, gate=hard(1 / 6)).items()}
    (cause,) = gateprobe.compare_port(model, x, theirs).causes
    assert cause.text == "hard_sigmoid is clip(x/6 + 0.5, 0, 1), as in Keras 3"
    right = {f"lstm_1/{k}": np.array(v) for k, v in port("lstm", plain(x), weights, gate=hard(0.2)).items()}
    assert gateprobe.compare_port(model, x, right)


def _weights(model, layer):
    from gateprobe.model import opened
    from gateprobe.replay.objects import object_weights

    graph = opened(model).graph
    items = object_weights(graph, opened(model).record, opened(model).semantics)
    return next([plain(w) for w in item.weights.values()] for item in items if item.path[0] == layer)


def test_a_decoder_that_ignores_its_initial_state():
    model = gateprobe.read(SAMPLES / "translate.keras")
    x = [np.load(SAMPLES / f"translate_{name}.npy") for name in ("source", "target")]
    embedding = np.float64(next(iter(_embedding(model).values())))
    theirs = port("lstm", embedding[x[1]].tolist(), _weights(model, "decoder"))
    named = {f"decoder/{name}": np.array(value) for name, value in theirs.items()}
    (cause,) = gateprobe.compare_port(model, x, named).causes
    assert cause.text == "the initial state is ignored"


def _embedding(model):
    from gateprobe.model import opened
    from gateprobe.replay.objects import object_weights

    graph = opened(model).graph
    items = object_weights(graph, opened(model).record, opened(model).semantics)
    return next(item.weights for item in items if "embedding" in item.path[0])


def test_a_simple_rnn():
    rng = np.random.default_rng(4)
    kernel, recurrent, bias = (rng.normal(0, 0.7, shape).astype(np.float32) for shape in ((2, 3), (3, 3), (3,)))
    model = chain(
        [("SimpleRNN", "rnn", {"units": 3, "return_sequences": True})],
        {"rnn": [kernel, recurrent, bias]},
        input_shape=(None, None, 2),
    )
    x = rng.normal(0, 1, (2, 5, 2)).astype(np.float32)

    def stepped(matrix, function=math.tanh):
        h, rows = np.zeros((2, 3)), []
        for t in range(5):
            h = np.vectorize(function)(x[:, t].astype(float) @ kernel + h @ matrix + bias)
            rows.append(h)
        return np.stack(rows, 1)

    assert gateprobe.compare_port(model, x, stepped(recurrent))
    (cause,) = gateprobe.compare_port(model, x, stepped(recurrent.T)).causes
    assert cause.text == "the recurrent kernel of each gate is transposed"
    (cause,) = gateprobe.compare_port(model, x, stepped(recurrent, lambda v: max(v, 0.0))).causes
    assert cause.text == "the hidden state has relu instead of tanh"


def _gates_exchanged(weights):
    return [np.concatenate([np.split(w, 4, -1)[n] for n in (0, 1, 3, 2)], -1) for w in weights]


def _transposed(weights):
    kernel, recurrent, bias = weights
    return [kernel, np.concatenate([np.swapaxes(w, -1, -2) for w in np.split(recurrent, 4, -1)], -1), bias]


PORTED = {
    "the gate order is i, f, o, g": _gates_exchanged,
    "the recurrent kernel of each gate is transposed": _transposed,
    "the kernels are turned by 180 degrees": lambda weights: [weights[0][::-1], weights[1][::-1], weights[2]],
    "the bias is left out": lambda weights: [*weights[:2], np.zeros(8)],
    "1 is added to the bias of the forget gate again": lambda weights: [
        *weights[:2], weights[2] + np.repeat([0, 1, 0, 0], 2)
    ],
    "the features are in the order 1, 0": lambda weights: [weights[0][:, ::-1], *weights[1:]],
}  # fmt: skip
"""What a port of a ConvLSTM does otherwise → the weights with which Keras's would compute the same."""


def conv_model(arrays, **config):
    config = {"filters": 2, "kernel_size": [3], "padding": "same", "return_sequences": True, **config}
    return chain([("ConvLSTM1D", "conv", config)], {"conv": arrays}, input_shape=(None, None, 5, 2))


def conv_weights(rng):
    return [rng.normal(0, 0.5, shape) for shape in ((3, 2, 8), (3, 2, 8), (8,))]


@pytest.mark.parametrize("text", PORTED)
def test_a_convlstm(text):
    rng = np.random.default_rng(4)
    weights = conv_weights(rng)
    x = rng.normal(0, 1, (2, 4, 5, 2)).astype(np.float32)
    theirs = conv_model(PORTED[text](weights)).trace(x)
    (cause,) = gateprobe.compare_port(conv_model(weights), x, theirs).causes
    assert cause.text == text


def test_time_states_and_activations_of_a_convlstm():
    rng = np.random.default_rng(4)
    weights = conv_weights(rng)
    x = rng.normal(0, 1, (2, 4, 5, 2)).astype(np.float32)
    model = conv_model(weights)
    relu = conv_model(weights, activation="relu").trace(x)
    (cause,) = gateprobe.compare_port(model, x, relu).causes
    assert cause.text == "candidate and output have relu instead of tanh"
    forgetful = [next(iter(model.trace(x[:, [t]]).values())) for t in range(4)]  # each timestep on its own
    hidden = np.concatenate([one.hidden_state for one in forgetful], 1).reshape(2, 4, -1)
    (cause,) = gateprobe.compare_port(model, x, hidden).causes
    assert cause.text == "the states are reset at each step"
    backwards = next(iter(model.trace(x[:, ::-1]).values())).hidden_state.reshape(2, 4, -1)
    (cause,) = gateprobe.compare_port(model, x, backwards).causes
    assert cause.text == "time is reversed: the input is read from its end"


def test_the_cells_of_a_stack():
    rng = np.random.default_rng(4)
    cells = tuple(LayerRecord(f"cell{n}", "LSTMCell", {"name": f"cell{n}", "units": 2}) for n in range(2))
    inner = LayerRecord("stack", "StackedRNNCells", {"name": "stack", "cells": []}, children={"cells": cells})
    weights = [lstm_weights(rng, 3, 2), lstm_weights(rng, 2, 2)]
    layer = ("RNN", "rnn", {"return_sequences": True, "cell": {}}, {"cell": inner})
    model = chain([layer], {"rnn": [*weights[0], *weights[1]]}, input_shape=(None, None, 3))
    x = rng.normal(0, 1, (2, 5, 3)).astype(np.float32)
    theirs = stacked(x, weights, {}, {"transposed": True})
    named = {key.replace("low/forward", "rnn/cell_0/forward").replace("high/forward", "rnn/cell_1/forward"): value
             for key, value in theirs.items()}  # fmt: skip
    (cause,) = gateprobe.compare_port(model, x, named).causes
    assert (cause.text, cause.where) == ("the recurrent kernel of each gate is transposed", ("rnn/cell_1 forward",))


# what a file may lack


@pytest.mark.parametrize(
    "signals", [("hidden_state",), ("cell_state",), ("forget_gate",), ("candidate", "hidden_state")]
)
def test_signals_may_be_missing(signals):
    scene = lstm()
    theirs = scene.ported(bias=2.0)
    some = {f"lstm/forward/{name}": theirs[f"lstm/forward/{name}"] for name in signals}
    result = gateprobe.compare_port(scene.model, scene.x, some)
    assert [one.signal for one in result.signals] == list(signals)
    assert result.causes[0].text == "the bias is doubled"


def test_the_last_timestep_is_enough():
    scene = lstm()
    last = scene.ported(forget_bias=1.0)["lstm/forward/hidden_state"][:, -1]
    result = gateprobe.compare_port(scene.model, scene.x, last)
    assert "the rows of hidden_state are taken for the last timestep of each sample" in result.notes
    assert result.causes[0].text == "1 is added to the bias of the forget gate again"


def test_the_last_step_of_a_backward_layer_is_its_first_timestep():
    scene = bidirectional()
    signals = scene.ported()
    ahead, behind = (signals[f"bi/{way}/hidden_state"] for way in ("forward", "backward"))
    final = np.concatenate([ahead[:, -1], behind[:, 0]], axis=-1)
    assert gateprobe.compare_port(scene.model, scene.x, final)
    wrong = np.concatenate([ahead[:, -1], behind[:, -1]], axis=-1)
    result = gateprobe.compare_port(scene.model, scene.x, wrong)
    assert not result
    assert result.causes[0].where == ("bi backward",)
    assert "not put back into the order of the input" in result.causes[0].text


def test_both_directions_side_by_side():
    scene = bidirectional()
    signals = scene.ported()
    both = np.concatenate([signals[f"bi/{way}/hidden_state"] for way in ("forward", "backward")], axis=-1)
    result = gateprobe.compare_port(scene.model, scene.x, both)
    assert result
    assert {one.direction for one in result.signals} == {"forward", "backward"}


def test_one_number_explains_nothing():
    """Thousands of mistakes are tried: one number agrees with some of them by chance."""
    scene = lstm()
    theirs = scene.ported(order="ifog", bias=0.0)["lstm/forward/hidden_state"][:1, -1, :1]
    result = gateprobe.compare_port(scene.model, scene.x[:1], {"h_0": theirs}, last=True)
    assert not result
    assert result.causes == ()
    assert any("too few numbers" in note for note in result.notes)


# masks


@pytest.mark.parametrize("filler", [0.0, np.nan, 0.37])
def test_gates_at_masked_timesteps_may_be_anything(filler):
    scene = bidirectional()
    theirs = scene.ported()
    for name, value in theirs.items():
        if not name.endswith("state"):
            value[~scene.mask] = filler
    assert gateprobe.compare_port(scene.model, scene.x, theirs)
    for name, value in theirs.items():
        if name.endswith("hidden_state"):
            value[~scene.mask] = 5
    assert not gateprobe.compare_port(scene.model, scene.x, theirs, pairs=False)


def test_nan_where_the_layer_computes_is_a_difference():
    scene = lstm()
    theirs = scene.ported()
    theirs["lstm/forward/forget_gate"][2, 3, 1] = np.nan
    result = gateprobe.compare_port(scene.model, scene.x, theirs, pairs=False)
    assert (result.first.sample, result.first.timestep, result.first.unit) == (2, 3, 1)
    assert math.isnan(result.first.theirs)


# number formats and what is not exact


def test_a_format_is_consistent_and_no_agreement():
    scene = lstm()
    result = gateprobe.compare_port(scene.model, scene.x, scene.ported(settle=fixed(8, 7), rounded=fixed(8, 7)))
    (cause,) = result.causes
    assert not result
    assert cause.names == ("number format",)
    assert cause.agrees_to < cause.allowed < 0.2


@pytest.mark.parametrize("which", ["bias", "weights"])
def test_a_grid_alone_is_no_explanation(which):
    """Numbers in Q7.8 that are farther off than rounding to it can make them."""
    scene = lstm()
    weights = [np.array(w) for w in scene.weights["lstm", "forward"]]
    weights[2 if which == "bias" else 0] += 0.3
    scene.weights["lstm", "forward"] = weights
    result = gateprobe.compare_port(scene.model, scene.x, scene.ported(settle=fixed(8, 7)), pairs=False)
    assert result.causes == ()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_consistent(name):
    from gateprobe.layers.base import Precision

    def settle(x):
        return float(Precision(name).round(np.array([x], np.float32))[0])

    scene = lstm()
    (cause,) = gateprobe.compare_port(scene.model, scene.x, scene.ported(settle=settle)).causes
    assert cause.text == f"numbers are rounded to {name}"


def test_weights_in_float16_agree_exactly():
    scene = lstm()
    theirs = scene.ported(rounded=lambda w: float(np.float16(w)))
    (cause,) = gateprobe.compare_port(scene.model, scene.x, theirs).causes
    assert (cause.text, cause.allowed) == ("the weights are rounded to float16", None)


def test_arrays_stored_as_float16_may_be_off_by_half_of_their_last_place():
    scene = lstm()
    theirs = {name: value.astype(np.float16) for name, value in scene.ported().items()}
    assert gateprobe.compare_port(scene.model, scene.x, theirs)
    theirs["lstm/forward/forget_gate"][0, 0, 0] += np.float16(0.002)
    assert not gateprobe.compare_port(scene.model, scene.x, theirs, pairs=False)


# a weight that differs


@pytest.mark.parametrize(
    ("place", "by", "factor", "text"),
    [
        ((0, (1, 4)), 0.25, "x * kernel", "kernel[1, 4] larger by 0.25"),
        ((1, (2, 10)), -0.25, "h * recurrent_kernel", "recurrent_kernel[2, 10] smaller by 0.25"),
        ((2, (3,)), 0.125, "bias", "bias[3] larger by 0.125"),
    ],
)
def test_a_single_weight_has_no_name_but_a_place(place, by, factor, text):
    scene = lstm(seed=11)
    weights = [np.array(w) for w in scene.weights["lstm", "forward"]]
    number, index = place
    weights[number][index] += by
    scene.weights["lstm", "forward"] = weights
    result = gateprobe.compare_port(scene.model, scene.x, scene.ported(), pairs=False)
    assert result.causes == ()
    column = index[-1]
    assert result.first.signal == ("input_gate", "forget_gate", "candidate", "output_gate")[column // 3]
    assert result.first.unit == column % 3
    assert result.first.timestep == (1 if number == 1 else 0)
    consistent = {one.name: one.text for one in result.factors if one.consistent}
    # a bias that differs is also another activation, moved by as much
    assert consistent == {factor: text} | ({"activation": ""} if factor == "bias" else {})


def test_another_activation_of_one_gate_is_the_activation():
    scene = lstm(seed=11)
    theirs = scene.ported()
    twin = scene.ported(gate=lambda z: 1 / (1 + math.exp(-1.5 * z)))
    result = gateprobe.compare_port(scene.model, scene.x, twin, pairs=False)
    assert [one.name for one in result.factors if one.consistent] == ["activation"]
    assert theirs.keys() == twin.keys()


def test_the_simplest_explanation_comes_first():
    """With no bias, doubling and halving it do nothing; one unit's transposed kernel is the kernel."""
    rng = np.random.default_rng(3)
    weights = [*lstm_weights(rng, 3, 1)[:2], np.zeros(4)]
    model = chain(
        [("LSTM", "lstm", {"units": 1, "return_sequences": True})], {"lstm": weights}, input_shape=(None, None, 3)
    )
    scene = Scene(model, rng.normal(0, 1, (3, 5, 3)).astype(np.float32), "lstm", {("lstm", "forward"): weights})
    (cause,) = gateprobe.compare_port(model, scene.x, scene.ported(output=identity)).causes
    assert cause.names == ("output activation",)
    assert cause.alike == ()


def test_what_the_input_cannot_tell_apart_is_said():
    """One timestep: nothing tells a reset state from one that was never there."""
    scene = lstm()
    scene.feeds = {}
    short = Scene(scene.model, scene.x[:, :2], "lstm", scene.weights)
    (cause,) = gateprobe.compare_port(short.model, short.x, short.ported(reversed=True)).causes
    assert cause.text == "time is reversed: the input is read from its end"
    one = Scene(scene.model, np.repeat(scene.x[:, :1, :1], 3, axis=2), "lstm", scene.weights)
    symmetrical = gateprobe.compare_port(one.model, one.x, one.ported(order="ifog"))
    assert symmetrical.causes[0].text == "the gate order is i, f, o, g"


def test_nothing_to_compare_is_an_error():
    scene = lstm()
    empty = np.full((3, 6, 3), np.nan)
    with pytest.raises(InputError, match="no recurrent layer fits"):
        gateprobe.compare_port(scene.model, scene.x, np.zeros((3, 6, 4)))
    result = gateprobe.compare_port(scene.model, scene.x, empty, pairs=False)
    assert not result
