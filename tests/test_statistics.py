"""Statistics of a run: what a plain loop over the whole trace finds, however it arrives."""

import io
import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_ledger import recorded, trace_of
from traces import GRU, LSTM, direction_of
from verify.corpus import SHARED, files

import gateprobe
from gateprobe.analysis import row_sample
from gateprobe.analysis.direction_statistics import QUANTILES, Settings
from gateprobe.analysis.row_sample import RowSample
from gateprobe.analysis.statistics import Statistics, statistics
from gateprobe.analysis.targets import Position
from gateprobe.analysis.tracking import track
from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.model import opened
from gateprobe.traces.chunk import TraceChunk, joined
from gateprobe.traces.selection import Selection
from gateprobe.verification.inputs import generate

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "sample_models"
KEPT_BY = {"cell_state": ("forget_gate", "input_gate"), "hidden_state": ("update_gate", None)}
"""State → the gate that keeps it and the gate that writes to it."""


# the plain loop


def limits(signal):
    if signal.endswith("_gate") and not signal.startswith("pre_"):
        return 0.1, 0.9
    return (-0.9, 0.9) if signal in ("candidate", "hidden_state") else (None, None)


def rows_at(part, by):
    """Yield each place of a table and where its values stand in ``(samples, timesteps, units)``."""
    mask = np.ones(part["hidden_state"].shape[:2], bool) if part.mask is None else part.mask
    whole = np.broadcast_to(mask[:, :, np.newaxis], (*mask.shape, len(part.units)))
    if by == "layer":
        yield None, whole
    numbers, axis = {"unit": (part.units, 2), "timestep": (part.timesteps, 1), "layer": ((), 0)}[by]
    for place, number in enumerate(numbers):
        chosen = np.zeros(whole.shape, bool)
        np.moveaxis(chosen, axis, 0)[place] = True
        yield int(number), whole & chosen


def naive(part, by):
    """Yield (place, signal, expected columns) by NumPy over whole float64 arrays, and by loops."""
    units = len(part.units)
    signals = {name: np.float64(value).reshape(*value.shape[:2], units) for name, value in part.items()}
    with np.errstate(all="ignore"):
        memory = memory_of(part, signals)
    for place, at in rows_at(part, by):
        for name, value in signals.items():
            there = value[at]
            good = there[np.isfinite(there)]
            low, high = limits(name)
            expected = {"count": len(good), "not_finite": len(there) - len(good)}
            if len(good):
                expected |= {"mean": good.mean(), "sd": good.std(), "min": good.min(), "max": good.max()}
                expected |= {f"q{100 * one:g}": np.quantile(good, one) for one in QUANTILES}
                expected |= {"low": None if low is None else (good < low).mean()}
                expected |= {"high": None if high is None else (good > high).mean()}
                if name == ("forget_gate" if "forget_gate" in signals else "update_gate"):
                    expected |= {"time_constant": decay(good.mean())}
            if name in memory:
                expected |= {what: mean_at(found, at) for what, found in memory[name].items()}
            yield place, name, expected


def decay(forget):
    return math.inf if forget >= 1 else 0 if forget <= 0 else -1 / math.log(forget)


def mean_at(values, at):
    there = values[at]
    there = there[np.isfinite(there)]
    return there.mean() if len(there) else None


def memory_of(part, signals):
    """Return what is carried, written and kept at each timestep, one number after the other."""
    state = "cell_state" if "cell_state" in signals else "hidden_state"
    keeps, writes = KEPT_BY[state]
    if not {keeps, writes or keeps, "candidate"} <= signals.keys():
        return {}
    found = {name: np.full(signals[state].shape, np.nan) for name in ("carried", "written", "kept")}
    numbers = {int(number): place for place, number in enumerate(part.timesteps)}
    for at in np.ndindex(signals[state].shape):
        sample, place, unit = at
        gate = 1 - signals[keeps][at] if writes is None else signals[writes][at]
        found["carried"][at] = signals[keeps][at] > 0.9 and (writes is None or gate < 0.1)
        before = numbers.get(int(part.timesteps[place]) + (1 if part.backwards else -1))
        if before is not None and not np.isnan(signals[state][sample, before, unit]):
            found["written"][at] = abs(gate * signals["candidate"][at])
            found["kept"][at] = abs(signals[keeps][at] * signals[state][sample, before, unit])
    return {state: found}


def check(found, parts, by, rel=2e-6):
    place_of = {"layer": lambda row: None}.get(by, lambda row: row[by])
    listed = found.to_polars().to_dicts()
    rows = {(row["layer"], row["direction"], place_of(row), row["signal"]): row for row in listed}
    seen = 0
    for part in parts:
        for place, name, expected in naive(part, by):
            row = rows[part.layer, part.direction, place, name]
            seen += 1
            for column, value in expected.items():
                where = (part.layer, part.direction, by, place, name, column)
                if value is None:
                    assert row[column] is None, where
                else:
                    scale = 1 + max(abs(expected.get("min", 0)), abs(expected.get("max", 0)))
                    assert row[column] == pytest.approx(value, rel=rel * 50, abs=rel * scale), where
    assert seen == len(rows)


BYS = ["layer", "unit", "timestep"]


@pytest.mark.parametrize(("call", "arrays", "exact"), list(recorded()))
def test_statistics_of_what_keras_recorded(call, arrays, exact):
    """Both directions, masks, LSTM, GRU, ConvLSTM and stacks."""
    part, _ = trace_of(call, arrays)
    for by in BYS:
        found = statistics([TraceChunk(np.arange(len(part["hidden_state"])), (part,))], Settings(by=by))
        check(found, [part], by, rel=2e-6 if exact else 2e-3)


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_the_same_from_a_run_as_from_its_trace(by, batch_size):
    model, x = gateprobe.read(MODELS / "tokens.keras"), np.load(MODELS / "tokens.npy")
    assert (model.trace(x)["bidirectional"].forward.mask == 0).any()
    check(model.stats(x, by=by, batch_size=batch_size), model.trace(x).directions, by)
    check(model.trace(x).stats(by=by), model.trace(x).directions, by)


def test_a_selection_looks_at_no_more():
    model, x = gateprobe.read(MODELS / "brackets.keras"), np.load(MODELS / "brackets.npy")
    chosen = {"signals": ["f", "c"], "timesteps": "1:5,8", "units": 1, "samples": [0, 2]}
    found = model.stats(x, by="unit", **chosen).to_polars()
    kept = model.trace(x, **chosen)["lstm"].forward
    assert found["signal"].to_list() == ["forget_gate", "cell_state"]
    assert found["unit"].to_list() == [1, 1]
    assert found["count"].to_list() == [10, 10]
    assert found["mean"].to_list() == pytest.approx([kept.forget_gate.mean(), kept.cell_state.mean()])


def test_units_at_some_timesteps_know_what_they_kept():
    """At timesteps 1, 2, 3, 4 and 8, the step before is known for 2, 3 and 4 alone."""
    model, x = gateprobe.read(MODELS / "brackets.keras"), np.load(MODELS / "brackets.npy")
    whole = model.trace(x)["lstm"].forward
    at = [2, 3, 4]
    kept = np.abs(whole.forget_gate[:, at] * whole.cell_state[:, [1, 2, 3]]).mean()
    written = np.abs(whole.input_gate[:, at] * whole.candidate[:, at]).mean()
    row = model.stats(x, timesteps="1:5,8").to_polars().row(by_predicate=pl.col("signal") == "cell_state", named=True)
    assert (row["kept"], row["written"]) == pytest.approx((kept, written))


# however they arrive


@st.composite
def parts(draw):
    """One direction of a layer, of any size and place in memory, with values that are hard on sums."""
    samples, timesteps, units = (draw(st.integers(1, most)) for most in (7, 9, 3))
    names = draw(st.sampled_from([LSTM, GRU, ("hidden_state",), ("forget_gate", "hidden_state")]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    offset = draw(st.sampled_from([0.0, 0.5, 8.0, -1000.0]))
    spread = draw(st.sampled_from([1.0, 1e-3, 0.0]))
    shape = (timesteps, len(names), samples, units)  # as the replay lays them out
    values = (offset + spread * rng.standard_normal(shape)).astype(draw(st.sampled_from(["f4", "f8"])))
    if draw(st.booleans()):
        odd = rng.random(shape) < 0.05
        values[odd] = rng.choice([np.nan, np.inf, -np.inf, 3e38], odd.sum())
    side_by_side = draw(st.booleans())
    signals = {name: np.swapaxes(values[:, k], 0, 1) for k, name in enumerate(names)}
    if not side_by_side:
        signals = {name: value.copy() for name, value in signals.items()}
    mask = rng.random((samples, timesteps)) < 0.7 if draw(st.booleans()) else None
    way = draw(st.sampled_from(["forward", "backward"]))
    return replace(direction_of("layer", way, signals, mask), units=np.arange(units))


def cut(part, at):
    signals = {name: value[at] for name, value in part.signals.items()}
    return replace(part, signals=signals, mask=None if part.mask is None else part.mask[at])


@given(parts(), st.lists(st.integers(0, 7), max_size=4), st.randoms(), st.sampled_from(BYS))
def test_chunks_of_any_size_in_any_order_give_the_same(part, places, random, by):
    samples = np.arange(10, 10 + len(part["hidden_state"]))
    bounds = [0, *sorted({place for place in places if 0 < place < len(samples)}), len(samples)]
    pieces = [slice(a, b) for a, b in pairwise(bounds)]
    random.shuffle(pieces)
    chunks = [TraceChunk(samples[at], (cut(part, at),)) for at in pieces]
    check(statistics(chunks, Settings(by=by)), [part], by, rel=1e-5)


@pytest.mark.parametrize("by", BYS)
def test_more_masked_rows_than_a_block_holds(by):
    """They stand side by side in rows of equal length, and what is left over counts too."""
    rng = np.random.default_rng(2)
    signals = {name: rng.uniform(-1, 1, (13, 41, 3)).astype(np.float32) for name in LSTM}
    part = direction_of("layer", "backward", signals, rng.random((13, 41)) < 0.8)
    assert part.mask.sum() > 3 * 128
    assert part.mask.sum() % 128
    check(statistics([TraceChunk(np.arange(13), (part,))], Settings(by=by)), [part], by)


def test_slabs_give_what_the_whole_gives():
    rng = np.random.default_rng(3)
    signals = {name: rng.normal(2, 1, (2, 400, 3)).astype(np.float32) for name in LSTM}
    part = direction_of("layer", "forward", signals)
    chunks = []
    for sample in range(2):
        for start in range(0, 400, 150):
            at = slice(start, start + 150)
            some = {name: value[sample : sample + 1, at] for name, value in part.signals.items()}
            slab = replace(part, signals=some, timesteps=part.timesteps[at], whole=400)
            chunks.append(TraceChunk(np.array([sample]), (slab,), continues=start > 0))
    plain = [replace(chunk, directions=tuple(map(strip, chunk.directions))) for chunk in chunks]
    check(statistics(plain, Settings(by="timestep")), [strip(joined(chunks).directions[0])], "timestep")
    found = statistics(chunks, Settings(by="unit"))
    assert found.samples == 2
    row = found.to_polars().row(by_predicate=(pl.col("signal") == "cell_state") & (pl.col("unit") == 1), named=True)
    known = np.delete(np.arange(400), [0, 150, 300])  # the step before those is in another slab
    kept = np.abs(part["forget_gate"][:, known, 1] * part["cell_state"][:, known - 1, 1])
    assert (row["count"], row["kept"]) == (800, pytest.approx(kept.mean()))


def strip(part):
    """Leave out the signals that only make a ledger: what is kept differs at the edges of slabs."""
    return replace(part, signals={name: value for name, value in part.signals.items() if name != "input_gate"})


def test_a_unit_that_hardly_moves_far_from_zero_keeps_its_deviation():
    """In float32, the squares of these numbers differ in their last digit or not at all."""
    values = (8 + 1e-4 * np.sin(np.arange(60_000))).astype(np.float32).reshape(500, 120, 1)
    part = direction_of("layer", "forward", {"hidden_state": values})
    found = statistics([TraceChunk(np.arange(500), (part,))], Settings()).to_polars()
    assert found["sd"].item() == pytest.approx(np.float64(values).std(), rel=1e-4)
    assert found["mean"].item() == pytest.approx(np.float64(values).mean(), abs=1e-8)


# the sample of timesteps


def drawn(samples, timesteps, places, order=None, pieces=1):
    """Return the sample of a run whose rows say which sample and timestep they are."""
    sketch = RowSample((2,), np.dtype(np.float64), places)
    numbers = np.arange(samples) if order is None else order
    for some in np.array_split(numbers, pieces):
        keys = row_sample.keys_of(some, np.arange(timesteps))

        def take(rows, times, out, some=some):
            out[:] = np.stack([some[rows], times], axis=1)

        sketch.offer(some, np.arange(timesteps), keys, None, take)
    return sketch


def test_a_small_run_is_its_own_sample():
    where, rows = drawn(7, 11, 77).rows()
    assert where.tolist() == rows.tolist() == [list(at) for at in np.ndindex(7, 11)]


@given(st.permutations(range(40)), st.integers(1, 40), st.integers(1, 40))
def test_the_sample_depends_on_no_order(order, pieces, split):
    expected = drawn(40, 5, 20).rows()
    whole = drawn(40, 5, 20, np.array(order), pieces)
    assert (whole.rows()[1] == expected[1]).all()
    first, second = (drawn(40, 5, 20, np.array(some)) for some in (order[:split], order[split:]))
    first.merge(second)
    assert (first.rows()[1] == expected[1]).all()
    assert first.seen == 200


def test_the_sample_does_not_depend_on_what_is_expected():
    """Knowing how many timesteps come only turns most of them away at once; of few, none."""
    model, x = gateprobe.read(MODELS / "brackets.keras"), np.tile(np.load(MODELS / "brackets.npy"), (1000, 1, 1))
    known, (unknown,) = model.stats(x), statistics(model.iter_trace(x)).parts
    (part,) = known.parts
    assert len(part.where) == row_sample.PLACES
    assert part.where.tolist() == unknown.where.tolist()
    assert (part.sampled == unknown.sampled).all()
    few, offered = RowSample((1,), np.dtype(float), 100, expected=150), []
    keys = row_sample.keys_of(np.arange(30), np.arange(5))
    few.offer(np.arange(30), np.arange(5), keys, None, lambda rows, times, out: offered.extend(rows))
    assert len(offered) == 100
    many, offered = RowSample((1,), np.dtype(float), 100, expected=100_000), []
    keys = row_sample.keys_of(np.arange(100), np.arange(1000))
    for row in range(100):
        many.offer(np.array([row]), np.arange(1000), keys[row : row + 1], None, lambda r, t, out: offered.extend(t))
    assert 100 < len(offered) < 300
    assert len(many.rows()[0]) == 100


def test_every_timestep_has_the_same_chance():
    counts = np.zeros((50, 20))
    for shift in range(400):
        where, _ = drawn(50, 20, 100, np.arange(50) + 50 * shift).rows()
        counts[where[:, 0] - 50 * shift, where[:, 1]] += 1
    assert counts.sum() == 40_000
    expected, sd = 40, math.sqrt(400 * 0.1 * 0.9)
    assert abs(counts.mean(axis=1) - expected).max() < 5 * sd / math.sqrt(20)
    assert abs(counts.mean(axis=0) - expected).max() < 5 * sd / math.sqrt(50)
    assert abs(counts - expected).max() < 6 * sd


def test_quantiles_of_a_large_run_are_within_the_bound():
    """Sorted values are the worst that can come: a sketch that forgets has only the last ones."""
    values = np.linspace(0, 1, 2_000_000, dtype=np.float32).reshape(20_000, 100, 1)
    part = direction_of("layer", "forward", {"hidden_state": values})
    chunks = [TraceChunk(np.arange(k, k + 500), (cut(part, slice(k, k + 500)),)) for k in range(0, 20_000, 500)]
    row = statistics(chunks, Settings()).to_polars().row(0, named=True)
    assert row["sampled"] == row_sample.PLACES == 8192
    for share in QUANTILES:
        assert row[f"q{100 * share:g}"] == pytest.approx(share, abs=0.018)
    assert (row["count"], row["min"], row["max"]) == (2_000_000, 0, 1)


# units that stand out


def unit_of(**signals):
    """Return an LSTM's unit at 200 timesteps that does nothing remarkable but for some signals."""
    rng = np.random.default_rng(5)
    plain = {name: rng.uniform(0.3, 0.7, (1, 200)) for name in LSTM}
    return {name: np.broadcast_to(signals.get(name, plain[name]), (1, 200)) for name in LSTM}


def turns(*values):
    return np.resize(np.array(values, float), (1, 200))


UNITS = {
    "": {},
    "is dead: hidden_state is never beyond ±0.004": {"hidden_state": turns(0.001, -0.004)},
    "is stuck: hidden_state stays between 0.5 and 0.505": {"hidden_state": turns(0.5, 0.505)},
    "forget_gate is above 0.9 at every timestep": {"forget_gate": turns(0.95)},
    "input_gate is below 0.1 at every timestep": {"input_gate": turns(0.05)},
    "output_gate is below 0.1 at every timestep": {"output_gate": turns(0.05, 0.0)},
    "counts: cell_state goes up by about 1 at 10 % of the timesteps, and down at 20 %": {
        "input_gate": turns(1, 1, 1, *[0.5] * 7),
        "forget_gate": turns(1, 1, 1, *[0.5] * 7),
        "candidate": turns(1, -1, -1, *[0.5] * 7),
    },
    "carries: cell_state stays as it is at 60 % of the timesteps": {
        "forget_gate": turns(0.95, 0.95, 0.95, 0.5, 0.5),
        "input_gate": turns(0.05, 0.05, 0.05, 0.5, 0.5),
    },
    "remembers: the mean forget_gate is 0.92, a time constant of 12 timesteps": {"forget_gate": turns(0.99, 0.85)},
    "cell_state ranges from -8 to 0.3": {"cell_state": turns(-8, 0.3)},
    "has 66 values that are NaN or infinite": {"output_gate": turns(0.5, 0.6, np.nan)},
}


def several_units():
    units = [unit_of(**signals) for signals in UNITS.values()]
    signals = {name: np.stack([unit[name] for unit in units], axis=2).astype(np.float32) for name in LSTM}
    return TraceChunk(np.arange(1), (direction_of("layer", "forward", signals),))


def test_units_that_stand_out_are_named_with_their_reasons():
    found = statistics([several_units()])
    named = {one.unit: one.reasons for one in found.remarkable()}
    also = {3: ("remembers: the mean forget_gate is 0.95, a time constant of 19.5 timesteps",)}
    for unit, reason in enumerate(UNITS):
        assert set(named.get(unit, ())) == {*filter(None, [reason]), *also.get(unit, ())}, unit


def test_what_is_rare_comes_first():
    chunk = several_units()
    twice = replace(chunk.directions[0], layer="other")
    found = statistics([replace(chunk, directions=(*chunk.directions, twice))]).remarkable()
    bits = [one.bits for one in found]
    assert bits == sorted(bits, reverse=True)
    total, both = 2 * len(UNITS), next(one for one in found if one.unit == 3)
    assert both.bits == pytest.approx(math.log2(total / 2) + math.log2(total / 4))
    assert found[:2] == (both, replace(both, layer="other"))


def test_the_unit_that_counts_brackets_comes_first():
    model, x = gateprobe.read(MODELS / "brackets.keras"), np.load(MODELS / "brackets.npy")
    first = model.stats(x).remarkable(1)[0]
    assert (first.layer, first.unit) == ("lstm", 0)
    assert first.reasons[0].startswith("counts")


# what is asked for


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": "gate"}, "by=gate: expected layer, unit or timestep"),
        ({"low": 0.9, "high": 0.1}, r"low=0.9 and high=0.1: expected 0 <= low < high <= 1"),
        ({"low": math.nan}, "expected 0 <= low"),
        ({"quantiles": [0.5, 2]}, "quantiles=2: expected numbers from 0 to 1"),
        ({"quantiles": [math.nan]}, "expected numbers from 0 to 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(asked, message):
    model = gateprobe.read(MODELS / "brackets.keras")
    with pytest.raises(InputError, match=message):
        model.stats(np.load(MODELS / "brackets.npy"), **asked)


def test_thresholds_and_quantiles_can_be_chosen():
    trace = gateprobe.read(MODELS / "brackets.keras").trace(np.load(MODELS / "brackets.npy"))
    found = trace.stats(low=0.3, high=0.8, quantiles=[0.25]).to_polars()
    gate = trace["lstm"]["forget_gate"]
    assert found["low"][1] == pytest.approx((gate < 0.3).mean())
    assert found["high"][1] == pytest.approx((gate > 0.8).mean())
    assert found["low"][2] == pytest.approx((trace["lstm"]["candidate"] < -0.8).mean())
    assert found["q25"][1] == pytest.approx(np.quantile(gate, 0.25))
    assert [name for name in found.columns if name.startswith("q")] == ["q25"]


def test_a_trace_without_layers_or_samples_is_refused():
    with pytest.raises(InputError, match="there is nothing to look at: there are no samples"):
        statistics([])
    with pytest.raises(InputError, match="there is nothing to look at: the trace holds no recurrent layer"):
        statistics([TraceChunk(np.arange(2), ())])


def test_a_sequence_that_is_masked_throughout_counts_nothing():
    signals = {name: np.ones((1, 4, 2), np.float32) for name in LSTM}
    part = direction_of("layer", "forward", signals, np.zeros((1, 4), bool))
    for by in BYS:
        found = statistics([TraceChunk(np.arange(1), (part,))], Settings(by=by))
        assert found.to_polars()["count"].to_list() == [0] * len(found.to_polars())
        assert found.to_polars()["mean"].null_count() == len(found.to_polars())
        assert found.remarkable() == ()
    assert isinstance(found, Statistics)


# the command

BRACKETS = (str(MODELS / "brackets.keras"), str(MODELS / "brackets.npy"))


def run(*arguments, status=0, width="100"):
    from gateprobe.cli import main

    done = CliRunner(env={"COLUMNS": width, "NO_COLOR": "1"}).invoke(main, ["stats", *arguments], prog_name="gateprobe")
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


def test_json_says_what_python_says():
    found = json.loads(run(*BRACKETS, "--by", "unit", "--top", "1", "--json"))
    model, x = gateprobe.read(BRACKETS[0]), np.load(BRACKETS[1])
    expected = model.stats(x, by="unit")
    assert found["rows"] == expected.to_polars().to_dicts()
    assert (found["by"], found["samples"], found["remarkable_units"]) == ("unit", 3, 2)
    (first,) = found["remarkable"]
    assert (first["unit"], first["reasons"]) == (0, list(expected.remarkable(1)[0].reasons))


def test_json_is_json_where_a_gate_never_closes(tmp_path):
    part = direction_of("layer", "forward", {name: np.ones((1, 4, 1), np.float32) for name in LSTM})
    gateprobe.Trace(np.arange(1), (part,), {"format": 2}).save(tmp_path / "t.npz")
    rows = json.loads(run(str(tmp_path / "t.npz"), "--json"), parse_constant=pytest.fail)["rows"]
    assert [row["time_constant"] for row in rows][:2] == [None, "inf"]


def test_tables_are_written_as_they_are_in_python(tmp_path):
    expected = gateprobe.read(BRACKETS[0]).stats(np.load(BRACKETS[1]), by="unit").to_polars()
    outputs = [tmp_path / f"out.{suffix}" for suffix in ("csv", "parquet", "arrow", "jsonl")]
    text = run(*BRACKETS, "--by", "unit", *(word for name in outputs for word in ("-o", str(name))))
    assert "Units that stand out" in text
    assert pl.read_csv(outputs[0]).equals(expected)
    assert pl.read_parquet(outputs[1]).equals(expected)
    assert pl.read_ipc(outputs[2]).equals(expected)
    assert json.loads(outputs[3].read_text().splitlines()[0]) == expected.row(0, named=True)
    described = json.loads(pl.read_parquet_metadata(outputs[1])["gateprobe"])
    assert described["statistics"]["low"] == 0.1
    assert described["model"]["file"] == "brackets.keras"
    assert pl.read_csv(io.StringIO(run(*BRACKETS, "--by", "unit", "-o", "-"))).equals(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--low", "2"), "--low 2 and --high 0.9: expected 0 <= low < high <= 1"),
        (("--quantiles", "a"), "--quantiles a: expected numbers from 0 to 1, such as 0.1,0.5,0.9"),
        (("--json", "-o", "-"), "--json and -o - both go to standard output; give one of them"),
        (("--format", "csv"), "--format csv: no file is written; use -o FILE"),
        (("-o", "x.npz"), "unknown format '.npz'"),
        (("--unit", "7"), "--unit 7 selects nothing; available: 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message):
    (line,) = run(*BRACKETS, *arguments, status=2).splitlines()
    assert message in line


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_the_report_fits_the_screen(width):
    lines = run(*BRACKETS, width=width).splitlines()
    assert max(map(len, lines)) <= int(width)
    assert any(line.startswith("  lstm forward unit 0 counts") for line in lines)


def test_names_that_spreadsheets_would_compute_are_escaped(tmp_path):
    part = direction_of("=cmd()", "forward", {"hidden_state": np.ones((1, 4, 1), np.float32)})
    gateprobe.Trace(np.arange(1), (part,), {"format": 2}).save(tmp_path / "t.npz")
    assert run(str(tmp_path / "t.npz"), "-o", "-").splitlines()[1].startswith("\\x3dcmd(),forward,hidden_state,4,0,")


# the recorded models beside the project

CASES = list(files()) if SHARED.exists() else []


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "path", "architecture"), [pytest.param(*case, id=case[0]) for case in CASES])
def test_published_models_have_statistics(name, path, architecture):
    """Whatever can be traced gives a table and words, and units that follow the position."""
    try:
        model = gateprobe.read(path, architecture=architecture)
    except gateprobe.ReadError as fault:
        if "is HDF5 and not a Keras file" not in str(fault):  # inputs and outputs beside a model are none
            raise
        return
    try:
        plan = opened(model).plan(Selection())
        inputs, *_ = generate(opened(model).record, model.inputs, seed=0, samples=None, batch=plan.batch_size)
    except (UnsupportedModel, InputError):
        return
    if not model.recurrent_layers:
        return
    found = model.stats(dict(inputs.arrays), by="unit")
    table = found.to_polars()
    assert (table["count"] + table["not_finite"] > 0).any()
    assert all(unit.reasons for unit in found.remarkable())
    chunks = list(model.iter_trace(dict(inputs.arrays), signals="h"))
    if any(part.length > 1 for part in chunks[0].directions):
        assert len(track(chunks, Position()).followers) > 0


def test_no_option_changes_nothing(tmp_path):
    """Labels of timesteps have no place here; a vocabulary has where texts become ids, and nowhere else."""
    assert re.search("stats has no option --tokens", run(*BRACKETS, "--tokens", "words.txt", status=2))
    vocab, trace = tmp_path / "words.json", tmp_path / "trace.npz"
    vocab.write_text('{"<OOV>": 1, "good": 2, "bad": 3}', encoding="utf-8")
    model = gateprobe.read(MODELS / "tokens.keras")
    model.trace(np.load(MODELS / "tokens.npy")).save(trace)
    beside_numbers = run(str(MODELS / "tokens.keras"), str(MODELS / "tokens.npy"), "--vocab", str(vocab), status=2)
    assert re.search(r"--vocab \S*words.json: no texts are made into ids here", beside_numbers)
    assert "--vocab does not go with it" in run(str(trace), "--vocab", str(vocab), status=2)
    found = json.loads(run(str(MODELS / "tokens.keras"), "--text", "bad good", "--vocab", str(vocab), "--json"))
    assert found["rows"] == json.loads(json.dumps(model.stats(np.array([[3, 2]])).to_polars().to_dicts()))
