"""The memory ledger: its parts add up to what Keras recorded, and each part is what its formula says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import direction_of

import gateprobe
from gateprobe.analysis.ledger import ledger
from gateprobe.errors import InputError

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "data" / "legacy"
KEYS = {
    "gate_i": "input_gate", "gate_f": "forget_gate", "gate_g": "candidate", "gate_o": "output_gate",
    "gate_z": "update_gate", "gate_r": "reset_gate", "gate_hh": "candidate",
    "c_seq": "cell_state", "h_seq": "hidden_state",
}  # fmt: skip


def recorded():
    """Yield every call of which a Keras of some era recorded the gates."""
    for path in sorted(RECORDED.rglob("case.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.parent / "case.npz") as stored:
            for call in case["recurrent_calls"]:
                arrays = {key: stored[key] for key in stored.files if key.startswith(f"{call['id']}_")}
                if any("_gate_" in key for key in arrays):
                    exact = "float16" not in json.dumps(case["layers"])
                    name = f"{path.parent.parent.name}/{path.parent.name}-{call['path']}"
                    yield pytest.param(call, arrays, exact, id=name)


def trace_of(call, arrays):
    """Return a trace of Keras's own arrays, which stand in the order in which they were processed."""
    own = {key.removeprefix(f"{call['id']}_"): value for key, value in arrays.items()}
    turn = slice(None, None, -1 if call["go_backwards"] else 1)
    signals = {signal: own[key][:, turn].copy() for key, signal in KEYS.items() if key in own}
    direction = "backward" if call["go_backwards"] else "forward"
    return direction_of("layer", direction, signals, own.get("mask")), own.get("init_1")


@pytest.mark.parametrize(("call", "arrays", "exact"), list(recorded()))
def test_the_parts_add_up_to_what_keras_recorded(call, arrays, exact):
    """At every timestep of every sample, masks and initial states included, from Keras's own arrays alone."""
    trace, initial = trace_of(call, arrays)
    limit = 1e-5 if exact else 1e-2
    for sample in range(len(trace["candidate"])):
        writing = np.ones(len(trace.timesteps), bool) if trace.mask is None else trace.mask[sample]
        for timestep in trace.timesteps:
            found = ledger(trace, sample, int(timestep))
            state = trace[found.state][sample, timestep].ravel()
            np.testing.assert_allclose(found.total, state, rtol=0, atol=limit)
            past = trace.timesteps >= timestep if trace.backwards else trace.timesteps <= timestep
            order = slice(None, None, -1 if trace.backwards else 1)
            assert list(found.written_at) == list(trace.timesteps[past & writing][order])
            if initial is None and exact:
                assert not found.initial.any()
            elif initial is not None:
                kept = np.nanprod(trace["forget_gate"][sample, past], axis=0)
                np.testing.assert_allclose(found.initial, initial[sample] * kept, rtol=0, atol=limit)


SAMPLES = {
    "brackets.keras": ["brackets.npy"],
    "tokens.keras": ["tokens.npy"],
    "translate.keras": ["translate_source.npy", "translate_target.npy"],
    "keras2.h5": ["keras2.npy"],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("file", SAMPLES)
def test_the_parts_add_up_to_a_replay_within_its_own_roundings(file, dtype):
    inputs = [np.load(ROOT / "sample_models" / name) for name in SAMPLES[file]]
    trace = gateprobe.read(ROOT / "sample_models" / file).trace(inputs, dtype=dtype)
    for part in trace.directions:
        for sample in range(len(trace.samples)):
            for timestep in part.timesteps:
                found = ledger(part, sample, timestep)
                assert found.adds_up
                assert (found.rounding < (1e-4 if dtype == "float32" else 1e-13)).all()


# each part


def random_lstm(seed, *, samples=2, timesteps=7, units=3, mask=None, direction="forward", initial=0.0):
    """Return gates and the states that they give, step by step, and the parts of the last one by their definition."""
    rng = np.random.default_rng(seed)
    names = ("input_gate", "forget_gate", "candidate", "output_gate")
    signals = {name: rng.uniform(-1 if name == "candidate" else 0, 1, (samples, timesteps, units)) for name in names}
    i, f, g = (signals[name] for name in ("input_gate", "forget_gate", "candidate"))
    order = range(timesteps)[:: -1 if direction == "backward" else 1]
    counts = np.ones((samples, timesteps), bool) if mask is None else mask
    cell = signals["cell_state"] = np.empty_like(i)
    for sample in range(samples):
        before = np.full(units, initial)
        for t in order:
            if counts[sample, t]:
                before = f[sample, t] * before + i[sample, t] * g[sample, t]
            cell[sample, t] = before
    trace = direction_of("lstm", direction, {name: value.copy() for name, value in signals.items()}, mask)
    parts = {}
    for sample in range(samples):
        for t in filter(lambda t: counts[sample, t], order):
            later = [s for s in order if order.index(s) > order.index(t) and counts[sample, s]]
            kept = np.prod([f[sample, s] for s in later], axis=0) * np.ones(units)
            parts[sample, t] = (i[sample, t] * g[sample, t], kept)
    return trace, parts, order[-1]


@given(st.integers(0, 10_000), st.sampled_from(["forward", "backward"]), st.booleans(), st.sampled_from([0.0, 2.5]))
def test_each_part_is_what_was_written_and_what_was_kept_of_it(seed, direction, masked, initial):
    mask = np.random.default_rng(seed).random((2, 7)) > 0.4 if masked else None
    trace, parts, last = random_lstm(seed, mask=mask, direction=direction, initial=initial)
    for sample in range(2):
        found = ledger(trace, sample, last)
        mine = [t for s, t in parts if s == sample]
        assert list(found.written_at) == mine
        for row, t in enumerate(mine):
            written, kept = parts[sample, t]
            np.testing.assert_allclose(found.written[row], written, rtol=1e-12)
            np.testing.assert_allclose(found.kept[row], kept, rtol=1e-12)
            np.testing.assert_allclose(found.contribution[row], written * kept, rtol=1e-12)
        counted = [trace["forget_gate"][sample, t] for t in mine]
        left = initial * np.prod(counted, axis=0) * np.ones(3)
        np.testing.assert_allclose(found.initial, left, rtol=1e-9, atol=1e-15)
        assert found.adds_up
        np.testing.assert_allclose(found.residual, 0, atol=1e-14)


def test_a_ledger_by_hand():
    signals = {
        "input_gate": np.array([[[0.5], [1.0], [0.25]]]),
        "forget_gate": np.array([[[1.0], [0.5], [0.5]]]),
        "candidate": np.array([[[1.0], [-1.0], [1.0]]]),
        "cell_state": np.array([[[4.5], [1.25], [0.875]]]),  # from 4
    }
    found = ledger(direction_of("lstm", "forward", signals), 0, 2)
    assert found.contribution.ravel().tolist() == [0.125, -0.5, 0.25]
    assert (found.initial.tolist(), found.total.tolist(), found.value.tolist()) == ([1.0], [0.875], [0.875])
    early = ledger(direction_of("lstm", "forward", signals), 0, 1)
    assert (early.contribution.ravel().tolist(), early.initial.tolist()) == ([0.25, -1.0], [2.0])


def test_a_gru_writes_what_it_does_not_keep():
    signals = {
        "update_gate": np.array([[[0.25], [0.75]]]),
        "reset_gate": np.array([[[0.1], [0.9]]]),
        "candidate": np.array([[[1.0], [-1.0]]]),
        "hidden_state": np.array([[[0.75], [0.3125]]]),
    }
    found = ledger(direction_of("gru", "forward", signals), 0, 1)
    assert found.state == "hidden_state"
    assert found.contribution.ravel().tolist() == [0.5625, -0.25]
    assert found.initial.tolist() == [0.0]
    assert found.adds_up


def test_a_write_that_the_trace_contradicts_is_seen():
    trace, _, last = random_lstm(0)
    wrong = {**trace.signals, "input_gate": trace["input_gate"].copy()}
    wrong["input_gate"][0, 3, 1] += 1e-9
    found = ledger(replace(trace, signals=wrong), 0, last)
    assert not found.adds_up
    assert ledger(replace(trace, signals=wrong), 1, last).adds_up


def test_nan_has_no_parts():
    trace, _, last = random_lstm(0)
    wrong = {**trace.signals, "cell_state": np.where(np.arange(7)[:, None] > 4, np.nan, trace["cell_state"])}
    assert not ledger(replace(trace, signals=wrong), 0, last).adds_up


def test_the_roundings_of_half_precision_are_those_of_half_precision():
    """The states are rounded after every operation; the first write is not taken for an initial state."""
    rng = np.random.default_rng(0)
    i, f, g = (rng.uniform(0, 1, (1, 30, 4)).astype(np.float16) for _ in range(3))
    cell, before = np.empty_like(i), np.zeros((1, 4), np.float16)
    for t in range(30):
        before = cell[:, t] = f[:, t] * before + i[:, t] * g[:, t]
    signals = {"input_gate": i, "forget_gate": f, "candidate": g, "cell_state": cell}
    found = ledger(direction_of("lstm", "forward", {k: v.astype(np.float32) for k, v in signals.items()}), 0, 29)
    assert found.adds_up
    assert not found.initial.any()
    assert (found.rounding > 1e-4).all()


def test_images_are_numbered_through_and_masked_where_their_pixels_are():
    trace, _, last = random_lstm(5, samples=1, units=6)
    images = {name: value.reshape(1, 7, 2, 3) for name, value in trace.signals.items()}
    found, flat = ledger(replace(trace, signals=images), 0, last), ledger(trace, 0, last)
    np.testing.assert_array_equal(found.contribution, flat.contribution)
    mask = np.ones((1, 7, 2), bool)
    mask[0, 6, 1] = False  # the second row of pixels keeps its state at the last timestep
    blanked = {name: value.copy() for name, value in images.items()}
    for name, value in blanked.items():
        value[~mask] = trace["cell_state"][0, 5].reshape(2, 3)[1] if name == "cell_state" else np.nan
    found = ledger(replace(trace, signals=blanked, mask=mask), 0, last)
    assert found.adds_up
    np.testing.assert_array_equal(found.kept[5].reshape(2, 3)[1], 1)
    np.testing.assert_array_equal(found.written[6].reshape(2, 3)[1], 0)


# parts of a trace


def test_a_trace_of_some_timesteps_begins_with_the_state_before_them():
    trace, _, last = random_lstm(1, initial=1.0)
    later = replace(
        trace, signals={name: value[:, 2:] for name, value in trace.signals.items()}, timesteps=np.arange(2, 7)
    )
    found, whole = ledger(later, 0, last), ledger(trace, 0, last)
    assert (found.since, whole.since) == (2, None)
    np.testing.assert_allclose(found.contribution, whole.contribution[2:])
    np.testing.assert_allclose(found.initial, whole.initial + whole.contribution[:2].sum(axis=0))
    assert found.adds_up


def test_a_trace_of_some_units_has_their_ledger():
    trace, _, last = random_lstm(2)
    some = replace(
        trace, signals={name: value[..., [0, 2]] for name, value in trace.signals.items()}, units=np.array([0, 2])
    )
    np.testing.assert_array_equal(ledger(some, 1, last).contribution, ledger(trace, 1, last).contribution[:, [0, 2]])
    assert ledger(some, 1, last).units.tolist() == [0, 2]


def test_a_stored_trace_is_enough(tmp_path):
    x = np.load(ROOT / "sample_models" / "tokens.npy")
    trace = gateprobe.read(ROOT / "sample_models" / "tokens.keras").trace(x)
    for name in ("t.npz", "t.csv", "t.parquet"):
        trace.save(tmp_path / name)
        again = gateprobe.load_trace(tmp_path / name)
        for part, back in zip(trace.directions, again.directions, strict=True):
            end = 0 if part.backwards else 7
            np.testing.assert_array_equal(ledger(back, 1, end).contribution, ledger(part, 1, end).contribution)


# refusals


@pytest.mark.parametrize(
    ("sample", "timestep", "said"),
    [
        (2, 0, "--sample=2: the trace has 0 to 1"),
        (-1, 0, "--sample=-1"),
        (0, 7, "--timestep=7: the trace of lstm has 0 to 6"),
    ],
)
def test_a_sample_or_timestep_that_is_not_there(sample, timestep, said):
    with pytest.raises(InputError) as raised:
        ledger(random_lstm(0)[0], sample, timestep)
    assert said in raised.value.reason


def test_a_trace_with_gaps_is_refused():
    trace, _, _ = random_lstm(0)
    at = np.array([0, 1, 3, 4])
    some = replace(trace, signals={name: value[:, at] for name, value in trace.signals.items()}, timesteps=at)
    assert ledger(some, 0, 1).adds_up
    with pytest.raises(InputError, match="leaves out timesteps"):
        ledger(some, 0, 4)


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (("hidden_state",), False),
        (("input_gate", "forget_gate", "candidate"), False),
        (("update_gate", "candidate"), False),
        (("input_gate", "forget_gate", "candidate", "cell_state"), True),
        (("update_gate", "candidate", "hidden_state"), True),
    ],
)
def test_what_a_ledger_needs(names, there):
    trace = direction_of("layer", "forward", {name: np.ones((1, 2, 3)) for name in names})
    if there:
        assert ledger(trace, 0, 1).state == names[-1]
    else:
        with pytest.raises(InputError, match=r"needs .*; an LSTM or a GRU has one, a SimpleRNN has none"):
            ledger(trace, 0, 1)
