"""Units that follow a signal: correlations, lags and ROC areas against plain loops over pairs."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from traces import direction_of

import gateprobe
from gateprobe.analysis.roc import roc_area
from gateprobe.analysis.targets import Given, Matches, Position
from gateprobe.analysis.tracking import track
from gateprobe.errors import GateprobeWarning, InputError
from gateprobe.traces.chunk import TraceChunk

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "sample_models"
BRACKETS = (str(MODELS / "brackets.keras"), str(MODELS / "brackets.npy"))
DEPTH = str(MODELS / "brackets_depth.npy")


def pairs(part, signal, unit, given, lag):
    """Return (unit's value, signal's value) where both count, one after the other."""
    found = []
    mask = np.ones(given.shape, bool) if part.mask is None else part.mask
    for sample in range(len(given)):
        for t in range(given.shape[1]):
            u = t - lag
            if 0 <= u < given.shape[1] and mask[sample, t] and mask[sample, u] and not math.isnan(given[sample, u]):
                found.append((float(part[signal][sample, t, unit]), float(given[sample, u])))
    return found


def correlation(found):
    x, y = np.array(found).T if found else np.zeros((2, 0))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return np.corrcoef(x, y)[0, 1]


def area(found):
    yes, no = ([x for x, y in found if y == truth] for truth in (1, 0))
    if not yes or not no:
        return math.nan
    return sum((a > b) + (a == b) / 2 for a in yes for b in no) / (len(yes) * len(no))


@st.composite
def cases(draw):
    samples, timesteps, units = draw(st.integers(2, 4)), draw(st.integers(3, 7)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    truths = draw(st.booleans())
    given = rng.integers(0, 2, (samples, timesteps)) if truths else rng.normal(5, 3, (samples, timesteps))
    given = given.astype(float)
    given[rng.random(given.shape) < draw(st.sampled_from([0, 0.2]))] = np.nan
    values = (
        rng.integers(0, 4, (samples, timesteps, units))
        if draw(st.booleans())
        else rng.normal(3, 1, (samples, timesteps, units))
    )
    mask = rng.random(given.shape) < 0.8 if draw(st.booleans()) else None
    way = draw(st.sampled_from(["forward", "backward"]))
    signals = {"cell_state": values.astype(np.float32), "hidden_state": np.tanh(values).astype(np.float32)}
    return direction_of("layer", way, signals, mask), given, truths


@given(cases(), st.integers(0, 3), st.integers(1, 4))
def test_correlations_lags_and_areas(case, lags, pieces):
    part, given, truths = case
    counts = given[np.isfinite(given) & (True if part.mask is None else part.mask)]
    if not len(counts) or np.ptp(counts) == 0:
        return
    numbers = np.arange(5, 5 + len(given))
    chunks = []
    for at in np.array_split(np.arange(len(given)), pieces):
        if len(at):
            signals = {name: value[at] for name, value in part.signals.items()}
            some = replace(part, signals=signals, mask=None if part.mask is None else part.mask[at])
            chunks.append(TraceChunk(numbers[at], (some,)))
    found = track(chunks, Given.of("given", given, numbers, None), lags=lags)
    assert found.yes_or_no == (truths or bool(np.isin(counts, (0, 1)).all()))
    assert len(found.followers) == 2 * len(part.units)
    strengths = [abs(one.best) for one in found.followers if not math.isnan(one.best)]
    assert strengths == sorted(strengths, reverse=True)
    for one in found.followers:
        expected = {lag: pairs(part, one.signal, one.unit, given, lag) for lag in range(-lags, lags + 1)}
        at_lag = {lag: correlation(there) for lag, there in expected.items()}
        assert one.correlation == pytest.approx(at_lag[0], abs=1e-6, nan_ok=True)
        assert one.best == pytest.approx(at_lag[one.lag], abs=1e-6, nan_ok=True)
        strongest = max((abs(value) for value in at_lag.values() if not math.isnan(value)), default=math.nan)
        assert abs(one.best) == pytest.approx(strongest, abs=1e-6, nan_ok=True)
        assert one.count == len(expected[one.lag])
        if found.yes_or_no:
            assert one.roc_area == pytest.approx(area(expected[one.lag]), abs=1e-9, nan_ok=True)
        else:
            assert math.isnan(one.roc_area)


def test_a_positive_lag_means_that_the_unit_is_late():
    rng = np.random.default_rng(0)
    given = rng.normal(size=(20, 30))
    late = np.roll(given, 2, axis=1)[:, :, np.newaxis]
    for way in ("forward", "backward"):
        part = direction_of("layer", way, {"hidden_state": late.astype(np.float32)})
        (one,) = track([TraceChunk(np.arange(20), (part,))], Given.of("given", given, np.arange(20), 20)).followers
        assert (one.lag, one.best) == (2, pytest.approx(1))
        assert abs(one.correlation) < 0.2


def test_areas_of_more_timesteps_than_are_kept():
    rng = np.random.default_rng(0)
    given = (rng.random((1000, 50)) < 0.5).astype(float)
    values = (rng.normal(size=given.shape) + given)[:, :, np.newaxis].astype(np.float32)
    part = direction_of("layer", "forward", {"hidden_state": values})
    (one,) = track(
        [TraceChunk(np.arange(1000), (part,))], Given.of("given", given, np.arange(1000), 1000), lags=0
    ).followers
    normal = 0.5 * (1 + math.erf(1 / math.sqrt(2) / math.sqrt(2)))  # of two normal numbers one apart
    assert one.roc_area == pytest.approx(normal, abs=0.02)


def test_weights_stand_for_rows():
    values, labels = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0])
    assert roc_area(values, labels, np.array([1.0, 1.0, 3.0])) == 1 / 4
    assert math.isnan(roc_area(values, np.ones(3), np.ones(3)))
    assert math.isnan(roc_area(np.array([1, np.nan, 2]), labels, np.ones(3)))


# the sample


def test_the_depth_of_brackets_is_unit_0():
    model, x = gateprobe.read(BRACKETS[0]), np.load(BRACKETS[1])
    depth = np.load(DEPTH)
    text = "((a)(a(a)))a"
    assert depth[0].tolist() == [text[: k + 1].count("(") - text[: k + 1].count(")") for k in range(12)]
    for found in (model.track(x, depth), model.trace(x).track(depth)):
        best = found.followers[0]
        assert (best.layer, best.unit, best.signal, best.lag) == ("lstm", 0, "cell_state", 0)
        assert best.best > 0.98


def test_an_open_bracket_is_told_by_a_candidate():
    model, x = gateprobe.read(BRACKETS[0]), np.load(BRACKETS[1])
    found = model.track(x, x[..., 0] == 1, signals="g")
    assert (found.followers[0].unit, found.followers[0].roc_area) == (0, 1)


def test_samples_keep_their_numbers():
    """Of a run of some samples, the signal has a row for each sample of the input, or for each that was run."""
    model, x = gateprobe.read(BRACKETS[0]), np.load(BRACKETS[1])
    depth = np.load(DEPTH)
    few = model.track(x, depth[[0, 2]], samples=[0, 2]).to_polars()
    assert few.equals(model.track(x, depth, samples=[0, 2]).to_polars())
    assert few.equals(model.trace(x, samples=[0, 2]).track(depth[[0, 2]]).to_polars())
    assert few.equals(model.track(x[[0, 2]], depth[[0, 2]]).to_polars())
    assert not few.equals(model.track(x, depth).to_polars())


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (None, "there is no signal to follow; give an array"),
        (np.zeros(12), r"has the shape \(12\); give \(samples, timesteps\)"),
        (np.zeros((3, 11)), r"has 11 timesteps for each sample, where lstm has 12"),
        (np.zeros((4, 12)), r"has the shape \(4, 12\), and 3 samples are looked at; give \(3, timesteps\)"),
        (np.full((3, 12), "a"), "holds <U1; give real numbers"),
        (np.ones((3, 12)), "is 1 at every timestep that counts, so that nothing can follow it"),
        (np.full((3, 12), np.nan), "has no value at any timestep that counts"),
        (np.zeros((3, 12), complex), "holds complex128"),
    ],
)
def test_signals_that_do_not_fit_are_refused(signal, message):
    model, x = gateprobe.read(BRACKETS[0]), np.load(BRACKETS[1])
    with pytest.raises(InputError, match=message):
        model.track(x, signal)


def test_a_layer_of_another_length_is_left_out_with_a_note():
    parts = [
        direction_of(name, "forward", {"hidden_state": np.random.default_rng(0).random((2, length, 1), np.float32)})
        for name, length in (("long", 6), ("short", 3))
    ]
    target = Given.of("x", np.arange(12.0).reshape(2, 6), np.arange(2), 2)
    with pytest.warns(GateprobeWarning, match="short is left out: it has 3 timesteps, and x has 6"):
        found = track([TraceChunk(np.arange(2), tuple(parts))], target)
    assert {one.layer for one in found.followers} == {"long"}


def test_a_unit_that_is_not_finite_is_named_last():
    values = np.random.default_rng(0).random((2, 6, 2), np.float32)
    values[0, 3, 0] = np.inf
    part = direction_of("layer", "forward", {"hidden_state": values})
    found = track([TraceChunk(np.arange(2), (part,))], Position())
    assert [one.unit for one in found.followers] == [1, 0]
    assert math.isnan(found.followers[1].best)
    assert found.to_polars()["best"].to_list()[1] is None


def test_the_position_is_followed_at_the_same_timestep_alone():
    values = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    found = track([TraceChunk(np.arange(1), (direction_of("layer", "forward", {"hidden_state": values}),))], Position())
    assert (found.lags, found.followers[0].correlation) == (0, pytest.approx(1))


def test_tokens_are_matched_where_there_are_any():
    values = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32)[:, :, np.newaxis]
    part = direction_of("layer", "forward", {"hidden_state": values})
    words = {0: ("ab", "c", "ba", "d")}
    found = track([TraceChunk(np.arange(2), (part,))], Matches("a", lambda part, row, sample: words.get(sample)))
    assert (found.followers[0].roc_area, found.followers[0].count) == (1, 4)


# the command


def run(*arguments, status=0, width="100"):
    from gateprobe.cli import main

    done = CliRunner(env={"COLUMNS": width, "NO_COLOR": "1"}).invoke(main, ["track", *arguments], prog_name="gateprobe")
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


def test_json_and_tables_say_what_python_says(tmp_path):
    expected = gateprobe.read(BRACKETS[0]).track(np.load(BRACKETS[1]), np.load(DEPTH))
    found = json.loads(run(*BRACKETS, "--with", DEPTH, "--json", "-o", str(tmp_path / "out.csv")))
    assert found["units"] == expected.to_polars().to_dicts()
    assert (found["signal"], found["yes_or_no"], found["lags"], found["samples"]) == (DEPTH, False, 5, 3)
    assert pl.read_csv(tmp_path / "out.csv", schema=expected.to_polars().schema).equals(expected.to_polars())


def test_a_signal_may_be_a_table_and_a_source_a_trace(tmp_path):
    depth = np.load(DEPTH)
    np.savetxt(tmp_path / "wide.csv", depth, delimiter=",")
    rows = [f"{n},{t},{depth[n, t]}" for n in range(3) for t in range(12)]
    (tmp_path / "long.csv").write_text("\n".join(["sample,timestep,depth", *rows]) + "\n")
    np.savez(tmp_path / "x.npz", depth=depth, other=depth)
    gateprobe.read(BRACKETS[0]).trace(np.load(BRACKETS[1])).save(tmp_path / "t.npz")
    expected = json.loads(run(*BRACKETS, "--with", DEPTH, "--json"))["units"]
    for name in ("wide.csv", "long.csv", "x.npz[depth]"):
        assert json.loads(run(str(tmp_path / "t.npz"), "--with", str(tmp_path / name), "--json"))["units"] == expected


def test_tokens_and_positions(tmp_path):
    texts = ["((a)(a(a)))a", "(((((())))))", "a(a)a(a)a(a)"]
    (tmp_path / "tokens.txt").write_text("\n".join(" ".join(text) for text in texts) + "\n")
    tokens = ("--tokens", str(tmp_path / "tokens.txt"))
    found = json.loads(run(*BRACKETS, *tokens, "--match", "[(]", "--signal", "g", "--json"))
    assert (found["signal"], found["units"][0]["roc_area"]) == ("tokens that match [(]", 1)
    assert json.loads(run(*BRACKETS, "--position", "--json"))["lags"] == 0
    assert "is no regular expression" in run(*BRACKETS, *tokens, "--match", "(", status=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to follow, by one of --with FILE, --match REGEX and --position"),
        (("--position", "--with", DEPTH), "say what to follow, by one of"),
        (("--match", "a"), "--match needs tokens; give --tokens FILE, or --vocab FILE"),
        (("--with", str(MODELS / "nothing.npy")), "nothing.npy: there is no such file"),
        (("--with", str(MODELS / "tokens.npy")), "tokens.npy: has the shape (4, 8), and 3 samples are looked at"),
        (("--with", DEPTH, "--layer", "x"), "--layer x selects nothing"),
        (("--with", DEPTH, "-o", DEPTH), "is also an input"),
        (("--with", DEPTH, "--signal", "q"), "--signal q: no such signal"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message):
    lines = run(*BRACKETS, *arguments, status=2).splitlines()
    assert message in lines[-1]
    assert len(lines) == 1


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_the_report_fits_the_screen(width):
    lines = run(*BRACKETS, "--with", DEPTH, "--top", "2", width=width).splitlines()
    assert max(map(len, lines[2:])) <= int(width)  # the first sentence holds the path of a file
    assert any("2 weaker ones" in line for line in lines)
