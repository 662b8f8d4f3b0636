"""From answers to a verdict and its explanation, without any Keras: a replay with planted faults stands in for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import chain, changed, lstm_weights
from verify.stand_in import answering

import gateprobe
from gateprobe.cli.summary import summarise
from gateprobe.errors import GateprobeError
from gateprobe.graph import LayerRecord
from gateprobe.layers.base import FLOAT64
from gateprobe.model import opened
from gateprobe.replay.objects import object_weights
from gateprobe.verification.collate import Precisions, self_contradictions
from gateprobe.verification.diagnose import trace_path
from gateprobe.verification.job import KerasCall, KerasRun
from gateprobe.verification.replay import ReplayOptions, Subject, replay
from gateprobe.verification.report import described
from gateprobe.verification.result import Status
from gateprobe.verification.run import verify

SAMPLES = Path(__file__).parents[2] / "sample_models"


@pytest.fixture
def brackets():
    """One LSTM, any length, so that there are inputs of 11, 1 and 4 timesteps."""
    return gateprobe.read(SAMPLES / "brackets.keras")


@pytest.fixture
def tokens():
    """A Bidirectional with a mask."""
    return gateprobe.read(SAMPLES / "tokens.keras")


def hard(model):
    """The same with other gates."""
    layers = tuple(
        replace(record, config={**record.config, "recurrent_activation": "hard_sigmoid"})
        if record.class_name == "LSTM"
        else record
        for record in opened(model).record.layers
    )
    return changed(model, graph=replace(opened(model).graph, model=replace(opened(model).record, layers=layers)))


def planted(run, direction, signal, index, by):
    """Add something to one number of a signal."""
    calls = []
    for call in run.calls:
        if call.direction == direction:
            value = call.signals[signal].copy()
            value[index] += by
            call = replace(call, signals={**call.signals, signal: value})  # noqa: PLW2901
        calls.append(call)
    return replace(run, calls=tuple(calls))


def names(result):
    return {one.name: one for one in result.explanations}


def test_what_is_alike_agrees(brackets, tokens, monkeypatch):
    for model in (brackets, tokens):
        answering(monkeypatch, model)
        result = verify(model)
        assert (result.status, result.problems, result.first) == (Status.AGREES, (), None)
        assert [one.samples for one in result.inputs] == [6, 6, 6]


def test_verify_and_inspect_name_the_same_semantics(brackets, tokens, monkeypatch):
    for model in (brackets, tokens, gateprobe.read(SAMPLES / "keras2.h5")):
        answering(monkeypatch, model)
        assert verify(model).semantics == summarise(opened(model))["semantics"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_fault_is_told_with_the_set_of_inputs_in_which_it_is(brackets, monkeypatch, number):
    def change(n, run):
        return planted(run, "forward", "cell_state", (4, 0, 1), 0.25) if n == number else run

    answering(monkeypatch, brackets, change=change)
    result = verify(brackets)
    assert (result.first.run, result.first.sample, result.first.unit) == (number, 4, 1)
    assert result.first.difference == pytest.approx(0.25)
    assert ("inputs" in described(result.first)) == (number > 0)
    assert sum(report.mismatches for report in result.signals) == 1
    assert not result.explanations


@pytest.mark.parametrize("number", [1, 2])
def test_the_cause_is_looked_for_in_the_set_that_disagrees(brackets, monkeypatch, number):
    """The other sets are answered as the replay has them: there, no known difference would help."""
    answering(monkeypatch, *[brackets] * number, hard(brackets))
    result = verify(brackets)
    assert result.first.run == number
    assert names(result)["hard_sigmoid for sigmoid"].everything


def test_the_cause_is_looked_for_in_the_sample_that_disagrees(brackets, monkeypatch):
    """Five of six samples agree without any cause, and only a few samples are tried."""
    other = hard(brackets)
    answers = []

    def last(n, run):
        answers.append(run)
        return run

    answering(monkeypatch, brackets, change=last)
    verify(brackets)
    whole = list(answers)

    def change(n, run):
        def mixed(a, b):
            return np.concatenate([a[:5], b[5:]])

        calls = tuple(
            replace(one, signals={name: mixed(value, two.signals[name]) for name, value in one.signals.items()})
            for one, two in zip(whole[n].calls, run.calls, strict=True)
        )
        return replace(run, calls=calls, outputs=tuple(map(mixed, whole[n].outputs, run.outputs)))

    answering(monkeypatch, other, change=change)
    result = verify(brackets)
    assert result.first.sample == 5
    found = names(result)
    assert "hard_sigmoid for sigmoid" not in found  # the other three samples disagree with it
    answering(monkeypatch, other)
    assert names(verify(brackets))["hard_sigmoid for sigmoid"].everything


def test_a_difference_that_explains_one_layer_and_not_the_rest(brackets, monkeypatch):
    def change(n, run):
        return replace(run, outputs=tuple(output + 0.5 for output in run.outputs))

    answering(monkeypatch, hard(brackets), change=change)
    found = names(verify(brackets))
    assert not found["hard_sigmoid for sigmoid"].everything


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_signals_in_the_opposite_order_of_time(tokens, monkeypatch, direction):
    def change(n, run):
        calls = tuple(
            replace(
                call,
                signals={name: value[:, ::-1] for name, value in call.signals.items()},
                mask=None if call.mask is None else call.mask[:, ::-1],
            )
            if call.direction == direction
            else call
            for call in run.calls
        )
        return replace(run, calls=calls)

    answering(monkeypatch, tokens, change=change)
    result = verify(tokens)
    assert (result.first.direction, result.first.step) == (direction, 0)
    assert ("backward not reversed" in names(result)) == (direction == "backward")


def test_the_first_disagreement_of_a_backward_layer_is_the_one_it_computed_first(tokens, monkeypatch):
    def change(n, run):
        if n > 0:
            return run
        early = planted(run, "backward", "hidden_state", (0, -2, 0), 0.5)
        return planted(early, "backward", "hidden_state", (3, 0, 1), 0.5)

    answering(monkeypatch, tokens, change=change)
    first = verify(tokens).first
    assert (first.direction, first.sample, first.timestep, first.step) == ("backward", 0, 9, 1)


def test_another_mask(tokens, monkeypatch):
    def change(n, run):
        calls = [replace(call, mask=None) for call in run.calls]
        return replace(run, calls=tuple(calls))

    answering(monkeypatch, tokens, change=change)
    result = verify(tokens)
    assert result.status is Status.DISAGREES
    assert all("is unmasked in Keras and masked in the replay" in text for text in result.problems)


def test_an_output_is_told_with_its_set_of_inputs(brackets, monkeypatch):
    def change(n, run):
        return replace(run, outputs=tuple(output + 0.5 for output in run.outputs)) if n == 2 else run

    answering(monkeypatch, brackets, change=change)
    first = verify(brackets).first
    assert (first.run, first.signal, first.timestep) == (2, "output", None)


@pytest.mark.parametrize(("signal", "agrees"), [("hidden_state", False), ("cell_state", False), ("input_gate", True)])
def test_states_are_compared_at_masked_timesteps_and_gates_are_not(tokens, monkeypatch, signal, agrees):
    def change(n, run):
        sample, timestep = np.argwhere(~run.calls[0].mask)[0] if n == 0 else (0, 0)
        return planted(run, "forward", signal, (sample, timestep, 0), 0.5) if n == 0 else run

    answering(monkeypatch, tokens, change=change)
    assert bool(verify(tokens)) == agrees


@pytest.mark.parametrize(
    ("precision", "by", "told"),
    [("float32", 0.02, True), ("bfloat16", 0.02, False), ("bfloat16", 0.2, True), ("float16", 0.005, False)],
)
def test_keras_against_itself_is_judged_by_what_its_precision_rounds(brackets, precision, by, told):
    # two loops in bfloat16 round every sum to 8 bits: after 11 timesteps, states of size 1 part by some hundredths
    subject = Subject(opened(brackets).graph, opened(brackets).semantics)
    inputs = {"symbols": np.load(SAMPLES / "brackets.npy").astype(np.float32)}
    exact = replay(subject, inputs, ReplayOptions(brackets.inputs, 32))
    (trace,) = exact.traces.values()
    state = trace.signals["cell_state"][:, -1]
    call = KerasCall(
        trace.layer, trace.layer, trace.direction, trace.backwards, "LSTM", dict(trace.signals), trace.mask,
        own={"sequence": trace.signals["hidden_state"], "final_state_1": state + by * np.abs(state).max()},
        stepped={"final_state_1": state},
    )  # fmt: skip
    run = KerasRun((call,), (), frozenset())
    found = list(self_contradictions(run, exact, Precisions({trace.layer: precision}, ())))
    assert found == (["lstm forward: the layer's own final state 1 differs"] if told else [])


def test_a_cause_upstream(brackets, monkeypatch):
    """Keras gave the layer something else than the replay did, and says so."""

    def change(n, run):
        given = run.calls[0].given["input"] * 0.5
        specs, name = brackets.inputs, brackets.inputs[0].name
        answer = replay(
            Subject(opened(brackets).graph, opened(brackets).semantics), {name: given}, ReplayOptions(specs, 32)
        )
        signals = next(iter(answer.traces.values())).signals
        return replace(run, calls=(replace(run.calls[0], signals=signals, given={"input": given}),))

    answering(monkeypatch, brackets, change=change)
    assert set(names(verify(brackets))) >= {"upstream"}


def test_weights_that_keras_holds_otherwise(brackets, monkeypatch):
    objects = object_weights(opened(brackets).graph, opened(brackets).record, opened(brackets).semantics)
    wrong = {number: dict(item.weights) for number, item in enumerate(objects)}
    kernel = wrong[0]["kernel"].copy()
    kernel[2, 3] += 1
    wrong[0]["kernel"] = kernel
    answering(monkeypatch, brackets, weights=wrong)
    result = verify(brackets)
    assert result.status is Status.DISAGREES
    assert result.problems == (names(result)["weights"].text,)
    assert f"kernel[2, 3] is {kernel[2, 3]:.9g} in Keras" in result.problems[0]
    assert f"(1 of {kernel.size} numbers differ)" in result.problems[0]


def swapped(weights):
    """The same with input gate and forget gate exchanged."""
    return [np.concatenate([np.split(one, 4, -1)[k] for k in (1, 0, 2, 3)], -1) for one in weights]


@pytest.mark.parametrize("wrong", [{"forward"}, {"backward"}, {"forward", "backward"}, set()])
def test_a_mistake_in_one_direction_or_in_all_explains_everything(monkeypatch, wrong):
    rng = np.random.default_rng(2)
    right = {direction: lstm_weights(rng, 3, 4) for direction in ("forward", "backward")}
    other = {name: swapped(weights) if name in wrong else weights for name, weights in right.items()}
    ours, theirs = ([array for weights in held.values() for array in weights] for held in (right, other))
    inner = LayerRecord("lstm", "LSTM", {"units": 4, "return_sequences": True})
    layers = [("Bidirectional", "bi", {"merge_mode": "concat"}, {"layer": inner})]
    answering(monkeypatch, chain(layers, {"bi": theirs}, input_shape=(None, 5, 3)))
    result = verify(chain(layers, {"bi": ours}, input_shape=(None, 5, 3)))
    assert bool(result) == (not wrong)
    if wrong:
        assert result.first.direction in wrong
        assert names(result)["gate order"].everything
        assert "f, i, g, o" in names(result)["gate order"].text


def test_a_layer_that_cannot_be_fed_is_searched_all_the_same(monkeypatch):
    """One inside a TimeDistributed is called many times, so that it cannot be given what Keras gave it."""
    weights = lstm_weights(np.random.default_rng(3), 3, 4)
    inner = LayerRecord("lstm", "LSTM", {"units": 4})
    layers = [("TimeDistributed", "distributed", {}, {"layer": inner})]
    model, other = (
        chain(layers, {"distributed": held}, input_shape=(None, 2, 5, 3)) for held in (weights, swapped(weights))
    )
    answering(monkeypatch, other)
    result = verify(model)
    assert result.status is Status.DISAGREES
    assert result.first.layer.startswith("distributed/layer")
    assert not {"upstream", "mask"} & names(result).keys()


def test_a_cell_of_which_no_mistakes_are_known_is_told_apart_and_not_searched(monkeypatch):
    rng = np.random.default_rng(8)
    cell = LayerRecord("cell", "PeepholeLSTMCell", {"units": 4})
    weights = [*lstm_weights(rng, 3, 4), *rng.normal(size=(3, 4))]
    model = chain([("RNN", "rnn", {"unroll": False}, {"cell": cell})], {"rnn": weights}, keras_version="2.15.0")
    answering(monkeypatch, model, change=lambda n, run: planted(run, "forward", "cell_state", (0, 0, 1), 0.25))
    result = verify(model)
    assert (result.status, result.first.signal, result.first.unit) == (Status.DISAGREES, "cell_state", 1)


@pytest.mark.parametrize("more", [0.0, 0.5])
def test_rounding_of_the_replay_alone_is_told_as_such(monkeypatch, more):
    """Large weights cancel; Keras is let be exact, and what the other direction does is another matter."""
    rng = np.random.default_rng(4)
    weights = lstm_weights(rng, 2, 4)
    weights[0][0] += 3e4
    weights[0][1] -= 3e4
    inner = LayerRecord("lstm", "LSTM", {"units": 4, "return_sequences": True})
    layers = [("Bidirectional", "bi", {}, {"layer": inner})]
    model = chain(layers, {"bi": [*weights, *lstm_weights(rng, 2, 4)]}, input_shape=(None, 5, 2))
    x = np.repeat(rng.normal(0, 3, (3, 5, 1)), 2, axis=-1) * (1 + rng.normal(0, 1e-5, (3, 5, 2)))

    def exactly(n, run):
        subject = Subject(opened(model).graph, opened(model).semantics)
        exact = replay(subject, {"input": np.float32(x)}, ReplayOptions(model.inputs, 32, precision=FLOAT64))
        calls = tuple(
            replace(call, signals={name: value + more * (call.direction == "backward") for name, value in one.items()})
            for call, one in zip(run.calls, (trace.signals for trace in exact.traces.values()), strict=True)
        )
        return replace(run, calls=calls, outputs=run.outputs)

    answering(monkeypatch, model, change=exactly)
    result = verify(model, x)
    assert result.first.direction == "forward"
    assert "float64 replay of bi" in names(result)["rounding"].text


def test_a_cause_upstream_may_be_the_initial_states(monkeypatch):
    """Keras says with which states the layer began; the replay began with others."""
    weights, rng = lstm_weights(np.random.default_rng(5), 3, 4), np.random.default_rng(6)
    config = {"units": 4, "return_sequences": True}
    model = chain([("LSTM", "lstm", config)], {"lstm": weights}, input_shape=(None, 5, 3))
    states = rng.normal(size=(2, 6, 4)).astype(np.float32)

    def begun(n, run):
        x = run.calls[0].given["input"]
        given = {"lstm.initial_state[0]": states[0], "lstm.initial_state[1]": states[1]}
        subject = Subject(opened(model).graph, opened(model).semantics)
        answer = replay(subject, {"input": x}, ReplayOptions(model.inputs, 32, outputs=False), {"lstm": x, **given})
        signals = next(iter(answer.traces.values())).signals
        told = {"input": x, "initial_0": states[0], "initial_1": states[1]}
        aside = replace(
            run.calls[0], layer="other", given={"initial_0": states[1]}
        )  # of a layer whose states are others
        return replace(run, calls=(replace(run.calls[0], signals=signals, given=told), replace(aside, path="other")))

    answering(monkeypatch, model, change=begun)
    assert "upstream" in names(verify(model))


def test_layers_that_only_one_side_ran(tokens, monkeypatch):
    answering(monkeypatch, tokens, change=lambda n, run: replace(run, calls=run.calls[:1]))
    assert any("Keras did not run it" in text for text in verify(tokens).problems)

    def more(n, run):
        return replace(run, calls=(*run.calls, replace(run.calls[0], path="other")))

    answering(monkeypatch, tokens, change=more)
    assert any("other forward: Keras ran it, the replay did not" in text for text in verify(tokens).problems)


def test_nothing_compared_is_an_error(brackets, monkeypatch):
    path = opened(brackets).recurrent[0].path
    answering(
        monkeypatch,
        brackets,
        change=lambda n, run: replace(run, random=frozenset({(path, "forward"), *range(len(run.outputs))})),
    )
    with pytest.raises(GateprobeError, match=r"nothing was compared: random at inference: .*output"):
        verify(brackets)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("lstm",), ("lstm", None)),
        (("lstm", ".cell"), ("lstm", None)),
        (("rnn", ".cell", ".cells", "1"), ("rnn/cell_1", None)),
        (("outer", "bi", ".forward_layer", ".cell"), ("outer/bi", "forward")),
        (("bi", ".backward_layer"), ("bi", "backward")),
        (("distributed", ".layer"), ("distributed/layer", None)),
        (("1",), ("1", None)),
    ],
)
def test_an_object_is_told_by_its_place_in_the_trace(path, place):
    assert trace_path(path) == place
