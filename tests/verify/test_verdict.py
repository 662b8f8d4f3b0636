"""From answers to a verdict and its explanation, without any Keras: a replay with planted faults stands in for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import changed
from verify.stand_in import answering

import gateprobe
from gateprobe.cli.summary import summarise
from gateprobe.errors import GateprobeError
from gateprobe.model import opened
from gateprobe.replay.objects import object_weights
from gateprobe.verification.diagnose import trace_path
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
