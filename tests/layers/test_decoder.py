"""The decoder against what TensorFlow Addons 0.20 computed, and against the rules of its sampler."""

from __future__ import annotations

import json

import numpy as np
import pytest
from wired import recorded, unpacked, wiring

import gateprobe
from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.recurrent import decoder
from gateprobe.model import opened
from gateprobe.opened_model import open_model
from layers import bound

CASES = {
    "default": {},
    "impute": {"impute_finished": True, "maximum_iterations": 5},
    "gru": {"cell": "gru", "projection": None, "impute_finished": True},
    "mask": {"masks": True, "lengths": False},
    "all_steps": {"cell": "simple", "lengths": False, "projection": "tanh"},
    "stack": {"cell": "stack", "maximum_iterations": 5},
}
LENGTHS = np.array([8, 4, 6, 0])


def read(tmp_path, name, options):
    file = tmp_path / "wiring.json"
    file.write_text(json.dumps(wiring(**options)))
    return gateprobe.read(unpacked() / name / "weights.h5", architecture=file)


@pytest.mark.parametrize("name", CASES)
def test_every_output_is_that_of_the_addons(name, tmp_path):
    inputs, outputs, _ = recorded(name)
    model = read(tmp_path, name, CASES[name])
    assert list(model.predict(inputs)) == ["decoder", *(f"decoder:{n}" for n in range(1, len(outputs)))]
    for ours, theirs in zip(model.predict(inputs).values(), outputs, strict=True):
        assert ours.dtype.kind == theirs.dtype.kind
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["default", "impute", "mask"])
def test_gates_are_those_of_the_cell_up_to_each_length_and_states_are_held_there(name, tmp_path):
    inputs, _, expected = recorded(name)
    traced = read(tmp_path, name, CASES[name]).trace(inputs)["decoder"].forward
    reached = np.minimum(LENGTHS, CASES[name].get("maximum_iterations", 9))
    mask = np.arange(9) < reached[:, np.newaxis]
    np.testing.assert_array_equal(traced.mask, mask)
    assert list(traced.signals) == list(expected)
    for signal, values in expected.items():
        ours = traced.signals[signal]
        np.testing.assert_allclose(ours[mask], values[mask], rtol=0, atol=2e-6)
        if not signal.endswith("state"):
            assert np.isnan(ours[~mask]).all()
            continue
        for sample, length in enumerate(reached[:3]):
            np.testing.assert_array_equal(
                ours[sample, length:], np.repeat(ours[sample, length - 1 : length], 9 - length, 0)
            )


def test_stacked_cells_are_traced_one_by_one(tmp_path):
    inputs, outputs, _ = recorded("stack")
    traced = read(tmp_path, "stack", CASES["stack"]).trace(inputs, selection=gateprobe.Selection(layers=("decoder*",)))
    assert list(traced) == ["decoder/cell_0", "decoder/cell_1"]
    for part, final in (("decoder/cell_0", outputs[2]), ("decoder/cell_1", outputs[4])):
        np.testing.assert_allclose(traced[part].hidden_state[0, -1], final[0], rtol=0, atol=2e-6)  # of the longest


def test_one_of_its_stacked_cells_can_be_selected(tmp_path):
    inputs, outputs, _ = recorded("stack")
    model = read(tmp_path, "stack", CASES["stack"])
    traced = model.trace(inputs, selection=gateprobe.Selection(layers=("decoder/cell_1",)))
    assert list(traced) == ["decoder/cell_1"]
    np.testing.assert_allclose(traced["decoder/cell_1"].hidden_state[0, -1], outputs[4][0], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "come", "meant"),
    [("mask", "mask", "timesteps"), ("all_steps", "timesteps", "mask"), ("default", "sequence_length", "mask")],
)
def test_lengths_that_come_from_elsewhere_than_in_the_saved_model_are_refused(name, come, meant, tmp_path):
    inputs, _, _ = recorded(name)
    model = read(tmp_path, name, {**CASES[name], "lengths_from": meant})
    with pytest.raises(InputError, match=f"its lengths come from {come}, those of the saved model from {meant}"):
        model.predict(inputs)


def test_the_addons_end_with_the_longest_sequence_of_a_batch(tmp_path):
    inputs, outputs, _ = recorded("default")
    model = read(tmp_path, "default", CASES["default"])
    short = [value[1:3] for value in inputs]  # lengths 4 and 6
    predicted = model.predict(short)
    assert predicted["decoder"].shape == (2, 6, 11)
    np.testing.assert_allclose(predicted["decoder"], outputs[0][1:3, :6], rtol=0, atol=2e-6)
    alone, together = model.trace(short)["decoder"], model.trace(inputs)["decoder"]
    np.testing.assert_allclose(alone.hidden_state, together.hidden_state[1:3], rtol=0, atol=2e-6)
    with pytest.raises(InputError, match=r"shape \(8, 11\) in one batch and \(6, 11\) in another.*batch_size"):
        model.predict(inputs, batch_size=2)


def test_no_sequence_has_a_step(tmp_path):
    inputs, _, _ = recorded("default")
    model = read(tmp_path, "default", CASES["default"])
    outputs = model.predict([*inputs[:2], np.zeros(4, np.int32)])
    assert outputs["decoder"].shape == (4, 0, 11)
    assert model.trace([*inputs[:2], np.zeros(4, np.int32)])["decoder"].forward.mask.sum() == 0


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([10, 4, 6, 1], "decoder: a sequence_length is 10, the input has 9 timesteps"),
        ([9, -1, 6, 1], "a sequence_length is -1"),
    ],
)
def test_lengths_that_the_addons_could_not_use_are_refused(lengths, message, tmp_path):
    inputs, _, _ = recorded("default")
    with pytest.raises(InputError, match=message):
        read(tmp_path, "default", CASES["default"]).predict([*inputs[:2], np.array(lengths, np.int32)])


def test_a_limit_hides_lengths_behind_the_input_only_where_it_ends_the_loop_before_it(tmp_path):
    inputs, outputs, _ = recorded("default")
    lengths = np.array([12, 4, 6, 0], np.int32)
    limited = {limit: read(tmp_path, "default", {"maximum_iterations": limit}) for limit in (5, 9)}
    predicted = limited[5].predict([*inputs[:2], lengths])
    np.testing.assert_allclose(predicted["decoder"], outputs[0][:, :5], rtol=0, atol=2e-6)
    with pytest.raises(InputError, match="decoder: a sequence_length is 12, the input has 9 timesteps"):
        limited[9].predict([*inputs[:2], lengths])
    whole = limited[9].predict([*inputs[:2], np.array([9, 4, 6, 0], np.int32)])
    np.testing.assert_allclose(whole["decoder"][:, :8], outputs[0], rtol=0, atol=2e-6)


def test_initial_states_may_stand_behind_the_input(tmp_path):
    steps = (
        opened(read(tmp_path, "all_steps", {**CASES["all_steps"], "lengths_from": None})).plan(outputs=True).graph.steps
    )
    (layer,) = (step.layer for step in steps if isinstance(step.layer, decoder.BasicDecoder))
    features, units = layer.rnn.cells[0].kernel.shape
    rng = np.random.default_rng(0)
    x, state = (Tensor(np.float32(rng.normal(size=shape))) for shape in ((2, 4, features), (2, units)))
    calls = (Arguments((x, (state,))), Arguments((x,), {"initial_state": (state,)}))
    placed, named = (layer.replay(call, bound.scope())[0].value for call in calls)
    np.testing.assert_array_equal(placed, named)
    other = layer.replay(Arguments((x, (Tensor(-state.value),))), bound.scope())[0].value
    assert not np.allclose(placed, other)


def test_lengths_are_whole_numbers_and_one_for_each_sample():
    lengths = np.array([2.0, 0.0], np.float32)
    np.testing.assert_array_equal(decoder._whole(lengths, 2), [2, 0])
    for given, samples, message in (
        (lengths + 0.5, 2, "not a whole number"),
        (lengths, 3, r"each of 3 samples, got shape \(2,\)"),
        (-lengths, 2, "is -2"),
    ):
        with pytest.raises(InputError, match=message):
            decoder._whole(given, samples)


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (3, 4), (2, 4, 6)])
def test_a_mask_has_the_samples_and_timesteps_of_its_sequence(shape):
    x = np.zeros((2, 4, 6), np.float32)
    with pytest.raises(InputError, match="does not fit an input of shape"):
        decoder._of_mask(np.ones(shape, bool), x)
    np.testing.assert_array_equal(decoder._of_mask(np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool), x), [2, 4])


def test_a_mask_with_a_hole_is_refused_as_the_sampler_does(tmp_path):
    inputs, _, _ = recorded("mask")
    inputs[1][0, 2] = 0
    with pytest.raises(InputError, match="only where all masked timesteps are at the end"):
        read(tmp_path, "mask", CASES["mask"]).predict(inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sampler": "greedy"},
            r"decoder \(BasicDecoder\): config.sampler: expected one of training, got str 'greedy'",
        ),
        ({"sampler_time_major": True}, "config.sampler_time_major: samples must stand on the first axis"),
        ({"output_time_major": True}, "config.output_time_major: samples must stand on the first axis"),
        ({"maximum_iterations": 0}, "config.maximum_iterations: 0 is less than 1"),
        ({"beam_width": 3}, "configuration not understood: beam_width=3"),
    ],
)
def test_a_setting_that_is_not_replayed_is_refused(options, message, tmp_path):
    described = wiring()
    described["layers"][-1]["config"].update(options)
    file = tmp_path / "wiring.json"
    file.write_text(json.dumps(described))
    with pytest.raises(UnsupportedModel, match=message):
        open_model(unpacked() / "default" / "weights.h5", architecture=file).plan(outputs=True)
