"""The recurrent layers against a scalar loop in plain Python, which shares no code with them."""

from dataclasses import replace

import numpy as np
import pytest
import scalar_lstm
from graphs import chain, changed, lstm_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.graph import LayerRecord, TensorRef
from gateprobe.model import opened
from gateprobe.traces.selection import Selection

SIGNALS = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")


def scalar_trace(x, weights, **options):
    """Return ``{signal: (samples, timesteps, units)}`` of the scalar LSTM in float64."""
    kernel, recurrent, bias = (np.float64(np.float32(w)).tolist() for w in weights)
    zeros = [0.0] * len(recurrent)
    runs = [
        scalar_lstm.lstm(sample, kernel, recurrent, bias, zeros, zeros, **options) for sample in np.float64(x).tolist()
    ]
    return {name: np.array([[step[name] for step in run] for run in runs]) for name in SIGNALS}


@settings(max_examples=25)
@given(
    st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_every_signal_equals_the_scalar_loop(samples, timesteps, features, units, backwards, seed):
    rng = np.random.default_rng(seed)
    weights, x = lstm_weights(rng, features, units), rng.normal(0, 2, (samples, timesteps, features)).astype(np.float32)
    model = chain(
        [("LSTM", "lstm", {"units": units, "go_backwards": backwards})],
        {"lstm": weights},
        input_shape=(None, None, features),
    )
    traced = model.trace(x)["lstm"]
    read = x[:, ::-1] if backwards else x
    expected = scalar_trace(read, weights)
    for name in SIGNALS:
        signal = expected[name][:, ::-1] if backwards else expected[name]
        np.testing.assert_allclose(getattr(traced, name), signal, rtol=0, atol=3e-6)
    direction = traced.backward if backwards else traced.forward
    assert direction.steps.tolist() == (list(range(timesteps))[::-1] if backwards else list(range(timesteps)))
    np.testing.assert_allclose(model.predict(x)["lstm"], expected["hidden_state"][:, -1], rtol=0, atol=3e-6)
    wide = model.trace(x, dtype="float64")["lstm"]
    np.testing.assert_allclose(
        wide.cell_state[:, ::-1] if backwards else wide.cell_state, expected["cell_state"], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("version", "slope"), [("1.2.2", 0.2), ("2.2.4", 0.2), ("2.15.0", 0.2), ("3.0.5", 1 / 6), ("3.15.1", 1 / 6)]
)
def test_hard_sigmoid_follows_the_era(version, slope):
    rng = np.random.default_rng(1)
    weights, x = lstm_weights(rng, 3, 4, scale=1.5), rng.normal(0, 1, (2, 5, 3))
    config = {"units": 4, "recurrent_activation": "hard_sigmoid"}
    traced = chain([("LSTM", "lstm", config)], {"lstm": weights}, keras_version=version).trace(x)["lstm"]
    expected = scalar_trace(np.float32(x), weights, gate=lambda z: min(1.0, max(0.0, slope * z + 0.5)))
    for name in SIGNALS:
        np.testing.assert_allclose(getattr(traced, name), expected[name], rtol=0, atol=3e-6)


def test_masked_timesteps_hold_the_states_and_never_leak():
    rng = np.random.default_rng(2)
    weights = lstm_weights(rng, 3, 4)
    x = rng.normal(0, 1, (3, 6, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    x[~mask] = 0
    layers = [("Masking", "masking", {"mask_value": 0.0}), ("LSTM", "lstm", {"units": 4, "return_sequences": True})]
    model = chain(layers, {"lstm": weights})
    traced = model.trace(x)["lstm"].forward
    np.testing.assert_array_equal(traced.mask, mask)
    for sample in range(3):
        kept = x[sample][mask[sample]]  # an LSTM that skips a timestep never saw it
        expected = scalar_trace(kept[None], weights) if len(kept) else None
        for name in SIGNALS:
            got = getattr(traced, name)[sample]
            if expected is not None:
                np.testing.assert_allclose(got[mask[sample]], expected[name][0], rtol=0, atol=3e-6)
            if name in ("cell_state", "hidden_state"):
                before = np.concatenate([np.zeros((1, 4), np.float32), got[:-1]])
                np.testing.assert_array_equal(got[~mask[sample]], before[~mask[sample]])
            else:
                assert np.isnan(got[~mask[sample]]).all()


def test_a_bidirectional_layer_is_two_layers_of_which_one_reads_backwards():
    rng = np.random.default_rng(3)
    ahead, behind = lstm_weights(rng, 3, 4), lstm_weights(rng, 3, 4)
    x = rng.normal(0, 1, (2, 5, 3)).astype(np.float32)
    inner = LayerRecord("lstm", "LSTM", {"units": 4, "return_sequences": True})
    layers = [("Bidirectional", "bi", {"merge_mode": "concat", "layer": {}}, {"layer": inner})]
    model = chain(layers, {"bi": [*ahead, *behind]})
    traced = model.trace(x)["bi"]
    forward, backward = scalar_trace(x, ahead), scalar_trace(x[:, ::-1], behind)
    for name in SIGNALS:
        np.testing.assert_allclose(getattr(traced.forward, name), forward[name], rtol=0, atol=3e-6)
        np.testing.assert_allclose(getattr(traced.backward, name), backward[name][:, ::-1], rtol=0, atol=3e-6)
    both = np.concatenate([forward["hidden_state"], backward["hidden_state"][:, ::-1]], -1)
    np.testing.assert_allclose(model.predict(x)["bi"], both, rtol=0, atol=3e-6)


def test_a_stateful_layer_goes_on_where_the_batch_before_ended():
    rng = np.random.default_rng(4)
    weights, x = lstm_weights(rng, 3, 4), rng.normal(0, 1, (2, 12, 3)).astype(np.float32)
    config = {"units": 4, "stateful": True, "return_sequences": True}
    model = chain([("LSTM", "lstm", config)], {"lstm": weights}, input_shape=(2, None, 3))
    batches = np.concatenate([x[:, 0:4], x[:, 4:8], x[:, 8:12]])
    traced = model.trace(batches)["lstm"]
    expected = scalar_trace(x, weights)
    for name in SIGNALS:
        got = np.concatenate(np.split(getattr(traced, name), 3), axis=1)
        np.testing.assert_allclose(got, expected[name], rtol=0, atol=3e-6)


def test_an_rnn_of_a_simple_cell_is_the_recurrence_written_out():
    rng = np.random.default_rng(5)
    kernel, recurrent, bias = (rng.normal(0, 0.7, shape) for shape in ((3, 4), (4, 4), (4,)))
    x = rng.normal(0, 1, (2, 5, 3)).astype(np.float32)
    cell = LayerRecord("cell", "SimpleRNNCell", {"units": 4, "activation": "tanh"})
    model = chain([("RNN", "rnn", {"return_sequences": True}, {"cell": cell})], {"rnn": [kernel, recurrent, bias]})
    hidden, expected = np.zeros((2, 4)), []
    for t in range(5):
        hidden = np.tanh(x[:, t] @ kernel + hidden @ recurrent + bias)
        expected.append(hidden)
    np.testing.assert_allclose(model.trace(x)["rnn"].hidden_state, np.stack(expected, 1), rtol=0, atol=3e-6)
    np.testing.assert_allclose(model.predict(x)["rnn"], np.stack(expected, 1), rtol=0, atol=3e-6)


def test_sequences_whose_first_axis_is_time_are_refused():
    weights = lstm_weights(np.random.default_rng(6), 3, 4)
    model = chain([("LSTM", "lstm", {"units": 4, "time_major": True})], {"lstm": weights})
    with pytest.raises(UnsupportedModel, match="time_major: samples must be on the first axis"):
        model.trace(np.zeros((2, 5, 3), np.float32))


def test_one_of_several_stacked_cells_can_be_selected():
    rng = np.random.default_rng(7)
    cells = tuple(LayerRecord(f"cell_{units}", "LSTMCell", {"units": units}) for units in (4, 2))
    stack = LayerRecord("stack", "StackedRNNCells", {"cells": []}, children={"cells": cells})
    model = chain(
        [("RNN", "rnn", {"unroll": False}, {"cell": stack})],
        {"rnn": [*lstm_weights(rng, 3, 4), *lstm_weights(rng, 4, 2)]},
    )
    x = rng.normal(0, 1, (2, 5, 3)).astype(np.float32)
    assert list(model.trace(x)) == ["rnn/cell_0", "rnn/cell_1"]
    assert list(model.trace(x, selection=Selection(layers=("rnn/cell_1",)))) == ["rnn/cell_1"]


def called_twice(weights, keras_version="3.15.1"):
    """Return a model whose outputs are two calls of one stateful LSTM on its input."""
    config = {"units": 4, "stateful": True, "return_sequences": True}
    model = chain([("LSTM", "lstm", config)], {"lstm": weights}, input_shape=(2, None, 3), keras_version=keras_version)
    source, layer = opened(model).record.layers
    shared = replace(layer, calls=(layer.calls[0], layer.calls[0]))
    record = replace(opened(model).record, layers=(source, shared), outputs=(TensorRef("lstm"), TensorRef("lstm", 1)))
    return changed(model, graph=replace(opened(model).graph, model=record))


def test_a_stateful_layer_that_is_called_twice_has_one_state():
    rng = np.random.default_rng(8)
    weights, x = lstm_weights(rng, 3, 4), rng.normal(0, 1, (2, 5, 3)).astype(np.float32)
    trace = called_twice(weights).trace(x)
    expected = scalar_trace(np.concatenate([x, x], axis=1), weights)
    for name in SIGNALS:  # of calls that could run in any order, Keras runs that of the last output first
        got = np.concatenate([getattr(trace["lstm:1"], name), getattr(trace["lstm"], name)], axis=1)
        np.testing.assert_allclose(got, expected[name], rtol=0, atol=3e-6)


def test_one_call_of_a_stateful_layer_is_what_it_is_among_all_its_calls():
    rng = np.random.default_rng(9)
    model, x = called_twice(lstm_weights(rng, 3, 4)), rng.normal(0, 1, (6, 5, 3)).astype(np.float32)
    for name in ("lstm", "lstm:1"):
        alone = model.trace(x, selection=Selection(layers=(name,)))[name]
        np.testing.assert_array_equal(alone.hidden_state, model.trace(x)[name].hidden_state)


@pytest.mark.parametrize("version", ["1.2.2", "2.2.4", "2.2.4-tf"])
def test_calls_that_share_states_are_refused_where_their_order_is_not_certain(version):
    model = called_twice(lstm_weights(np.random.default_rng(10), 3, 4), version)
    with pytest.raises(UnsupportedModel, match="in no certain order"):
        model.trace(np.zeros((2, 5, 3), np.float32))


def test_a_mask_around_a_stateful_layer_is_refused_where_it_makes_keras_repeat_outputs():
    inside = LayerRecord("lstm", "LSTM", {"units": 4, "stateful": True})
    layers = [("Masking", "masking", {}), ("TimeDistributed", "distributed", {}, {"layer": inside})]
    weights = {"distributed": lstm_weights(np.random.default_rng(11), 3, 4)}
    x = np.zeros((2, 3, 5, 3), np.float32)
    chain(layers, weights, input_shape=(2, 3, 5, 3)).predict(x)
    with pytest.raises(InputError, match="a mask around a stateful layer"):
        chain(layers, weights, input_shape=(2, 3, 5, 3), keras_version="2.15.0").predict(x)
