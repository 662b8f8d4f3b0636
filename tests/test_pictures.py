"""Pictures show the numbers of a trace, at their places, in colours that mean what the legend says."""

import re

import altair as alt
import numpy as np
import pytest
from charts import covered, domains, numbers, panels
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import chunks, direction_of, lstm_chunk

import gateprobe
from gateprobe.observed import of_chunk
from gateprobe.pictures.charts import chart_of
from gateprobe.pictures.colours import is_dark, rgb_of
from gateprobe.pictures.fitting import fitted
from gateprobe.pictures.kinds import KINDS, picture_of, to_trace
from gateprobe.pictures.scales import OPEN_OR_SHUT, around_zero, scale_of
from gateprobe.pictures.values import Cell, Heat
from gateprobe.trace import Trace
from gateprobe.traces.chunk import STATES, TraceChunk
from gateprobe.traces.selection import Selection

GATES = ("input_gate", "forget_gate", "output_gate")


@pytest.fixture(scope="module")
def tokens():
    return gateprobe.read("sample_models/tokens.keras").trace(np.load("sample_models/tokens.npy"))


@pytest.fixture(scope="module")
def brackets():
    return gateprobe.read("sample_models/brackets.keras").trace(np.load("sample_models/brackets.npy"))


@pytest.fixture(autouse=True, scope="module")
def _home():
    import os
    from pathlib import Path

    before = Path.cwd()
    os.chdir(Path(__file__).parents[1])
    yield
    os.chdir(before)


def a_trace(*parts, samples=1):
    return Trace(np.arange(samples), parts, {"model": {"file": "m.keras"}})


def one_map(values, *, scale=None, pooling="mean", cells=None, tokens=None):
    """Return a map of ``(rows, columns)``."""
    values = np.array(values, np.float64)
    rows, columns = values.shape
    if cells is None:
        cells = np.where(np.isnan(values), Cell.NAN, Cell.VALUE)
    names = tuple(map(str, range(rows))), tuple(map(str, range(columns)))
    scales = (scale or OPEN_OR_SHUT,) * rows
    return Heat({}, values, cells, "unit", names[0], "timestep", names[1], scales, tokens, pooling=pooling)


# what stands where


@pytest.mark.parametrize("sample", [0, 1])
def test_a_heat_map_holds_the_numbers_of_the_trace(tokens, sample):
    seen = set()
    for title, marks in panels(tokens.plot(samples=sample)):
        direction, signal = title.split(" · ")
        part = getattr(tokens["bidirectional"], direction)
        kept = part.mask[sample]
        found = numbers(marks)
        assert found.keys() == {(str(u), str(t)) for u in range(4) for t in range(8) if kept[t]}
        for (unit, timestep), value in found.items():
            assert value == pytest.approx(part[signal][sample, int(timestep), int(unit)], rel=1e-6)
        hidden = covered(marks)
        assert hidden == {(str(u), str(t)): "masked" for u in range(4) for t in range(8) if not kept[t]}
        seen.add((direction, signal))
    assert seen == {(part.direction, name) for part in tokens.directions for name in part}


def test_a_unit_holds_its_signals(brackets):
    ((_, marks),) = panels(brackets.plot("unit", units=1, samples=2))
    for (row, timestep), value in numbers(marks).items():
        signal = row.split()[0]
        assert value == pytest.approx(brackets["lstm"][signal][2, int(timestep), 1], rel=1e-6)
    assert len(numbers(marks)) == 6 * 12


def test_a_long_unit_is_lines_that_break_where_it_is_masked():
    mask = np.ones((1, 50), bool)
    mask[0, 20:30] = False
    part = lstm_chunk(1, 50, 1).directions[0]
    part = direction_of("lstm", "forward", part.signals, mask)
    ((_, marks),) = panels(a_trace(part).plot("unit"))
    lines = [(encoding["y"]["axis"]["title"], rows) for mark, encoding, rows in marks if mark["type"] == "line"]
    assert [name for name, _ in lines] == list(part.signals)
    for name, rows in lines:
        assert [row["timestep"] for row in rows if row["value"] is None] == [str(t) for t in range(20, 30)]
        shown = [row["value"] for row in rows if row["value"] is not None]
        np.testing.assert_allclose(shown, part[name][0, mask[0], 0], rtol=1e-6)


def test_a_picture_says_what_it_shows(tokens):
    chart = tokens.plot("unit", samples=3, units=2, directions="backward").to_dict()
    assert chart["title"]["text"] == "tokens.keras · bidirectional · backward · sample 3 · unit 2"
    assert chart["title"]["subtitle"] == ["grey: masked"]
    (panel,) = chart["concat"]
    axes = {layer["encoding"]["x"].get("title") for layer in panel["layer"]}
    assert axes == {"timestep (read from the last to the first)"}
    both = [title for title, _ in panels(tokens.plot(signals="f"))]
    assert both == ["forward", "backward"]


def test_tokens_stand_above_their_timesteps(brackets):
    ((_, marks),) = panels(brackets.plot("unit", tokens="((a)(a(a)))a"))
    ((_, _, rows),) = [mark for mark in marks if mark[0].get("font") == "monospace"]
    assert "".join(row["token"] for row in rows) == "((a)(a(a)))a"
    assert [row["timestep"] for row in rows] == [str(t) for t in range(12)]


def test_tokens_are_those_of_the_sample(brackets):
    texts = ["((a)(a(a)))a", "(((((())))))", "a(a)a(a)a(a)"]
    for sample, text in enumerate(texts):
        for form in (text, list(text), [list(one) for one in texts]):
            ((_, marks),) = panels(brackets.plot("text", samples=sample, tokens=form))
            (boxes,) = [rows for mark, _, rows in marks if mark["type"] == "rect"]
            assert "".join(row["token"] for row in boxes) == text
            shown = [row["value"] for row in boxes]
            np.testing.assert_allclose(shown, brackets["lstm"].cell_state[sample, :, 0], rtol=1e-6)


def test_text_breaks_into_lines_and_keeps_its_order():
    words = [f"word{n}" for n in range(60)]
    part = lstm_chunk(1, 60, 1).directions[0]
    ((_, marks),) = panels(a_trace(part).plot("text", tokens=words))
    ((_, _, rows),) = [mark for mark in marks if mark[0]["type"] == "text"]
    assert [row["token"] for row in sorted(rows, key=lambda row: (row["top"], row["left"]))] == words
    assert all(row["right"] <= 640 for row in rows)
    assert len({(row["top"], row["left"]) for row in rows}) == 60


def test_a_stored_trace_is_drawn_like_the_run(tokens, tmp_path):
    tokens.save(tmp_path / "t.npz")
    stored = gateprobe.load_trace(tmp_path / "t.npz")
    for kind in ("heatmap", "ledger", "histogram", "saturation"):
        assert stored.plot(kind).to_dict() == tokens.plot(kind).to_dict()


def test_layers_and_directions_draw_themselves(tokens):
    whole = tokens.plot("unit", directions="backward", samples=1)
    assert tokens["bidirectional"].plot("unit", directions="backward", samples=1).to_dict() == whole.to_dict()
    assert tokens["bidirectional/backward"].plot("unit", samples=1).to_dict() == whole.to_dict()
    assert isinstance(whole, alt.ConcatChart)
    alone = tokens["bidirectional"].backward.plot("unit", samples=1, tokens="abcdefgh")
    assert dict(panels(alone)) and alone.to_dict()["concat"][0]["width"] == whole.to_dict()["concat"][0]["width"]  # noqa: PT018


def test_the_first_sample_of_a_part_is_drawn_under_its_own_number(tokens):
    assert tokens[2:].plot("unit").to_dict()["title"]["text"] == "tokens.keras · bidirectional · sample 2 · unit 0"


def test_a_convolution_is_drawn_by_the_numbers_that_tables_use():
    rng = np.random.default_rng(0)
    signals = {name: rng.random((1, 3, 2, 2, 4)) for name in (*GATES, "candidate", *STATES)}
    part = direction_of("conv", "forward", signals)
    trace = a_trace(part)
    chart = trace.plot(signals="f")
    ((_, marks),) = panels(chart)
    table = trace.to_polars()
    for row in table.iter_rows(named=True):
        assert numbers(marks)[str(row["unit"]), str(row["timestep"])] == pytest.approx(row["forget_gate"], rel=1e-6)
    assert "the units of conv number its pixels and filters" in chart.to_dict()["title"]["subtitle"]
    mask = np.ones((1, 3, 2, 2, 1), bool)
    mask[0, 1, 0, 1] = False  # pixel 1 at timestep 1: its four filters
    part = direction_of("conv", "forward", signals)
    masked = a_trace(gateprobe.DirectionTrace("conv", "forward", False, signals, mask, part.timesteps, part.units, 3))
    ((_, marks),) = panels(masked.plot(signals="f"))
    assert covered(marks) == {(str(unit), "1"): "masked" for unit in range(4, 8)}


# colours


def test_gates_run_from_0_to_1_and_states_as_far_down_as_up(tokens):
    for title, marks in panels(tokens.plot(samples=1)):
        signal = title.split(" · ")[1]
        ((low, high),) = domains(marks)
        parts = [part[signal][1][part.mask[1]] for part in tokens.directions]
        if signal in GATES:
            assert (low, high) == (0, 1)
        elif signal == "candidate":
            assert (low, high) == (-1, 1)
        else:
            assert high == -low == pytest.approx(max(np.abs(part).max() for part in parts), rel=1e-6)


def test_a_gate_that_leaves_0_to_1_is_drawn_around_zero_and_said():
    signals = {"forget_gate": np.array([[[-0.5], [2.0]]]), "output_gate": np.array([[[0.0], [1.0]]])}
    chart = a_trace(direction_of("lstm", "forward", signals)).plot()
    (_, forget), (_, output) = panels(chart)
    assert domains(forget) == [[-2, 2]]
    assert domains(output) == [[0, 1]]
    assert any("forget_gate leaves 0 to 1" in note for note in chart.to_dict()["title"]["subtitle"])
    assert not any("output_gate" in note for note in chart.to_dict()["title"]["subtitle"])


def test_scales():
    assert scale_of("hidden_state", [np.zeros(3)]) == around_zero(1.0)
    assert scale_of("hidden_state", [np.array([0.1, -0.2])]) == around_zero(0.2)
    assert scale_of("candidate", [np.array([0.1, -0.2])]) == around_zero(1.0)
    assert scale_of("candidate", [np.array([3.0, -0.2])]) == around_zero(3.0)
    assert scale_of("cell_state", [np.array([np.nan, np.inf, -4.0])]) == around_zero(4.0)
    assert scale_of("pre_forget_gate", [np.array([0.2])]) == around_zero(0.2)


def test_colours_are_those_of_the_scale():
    assert rgb_of(np.array([0.0, 1.0]), OPEN_OR_SHUT).tolist() == [[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]
    blue, white, orange = rgb_of(np.array([-3.0, 0.0, 3.0]), around_zero(3.0)).tolist()
    assert white == [0xF2, 0xF0, 0xEB]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert rgb_of(np.array([-9.0, 9.0]), around_zero(3.0)).tolist() == [blue, orange]
    assert is_dark(*blue)
    assert not is_dark(*white)


def test_what_is_not_finite_is_counted_and_drawn_as_such():
    signals = {"cell_state": np.array([[[1.0, np.nan], [np.inf, 2.0], [-np.inf, -4.0]]])}
    chart = a_trace(direction_of("lstm", "forward", signals)).plot()
    ((_, marks),) = panels(chart)
    assert covered(marks) == {("1", "0"): "NaN", ("0", "1"): "infinite", ("0", "2"): "infinite"}
    assert numbers(marks) == {("0", "0"): 1, ("1", "1"): 2, ("1", "2"): -4}
    assert domains(marks) == [[-4, 4]]
    assert chart.to_dict()["title"]["subtitle"] == ["1 value is NaN", "2 values are infinite", "pink: NaN or infinite"]


# too much for a picture


def test_neighbours_share_a_place_by_their_mean():
    values = np.arange(20.0).reshape(2, 10)
    small, notes = fitted(one_map(values), 4, 2)
    np.testing.assert_allclose(small.values, [[1, 4, 7, 9], [11, 14, 17, 19]])
    assert small.columns == ("0–2", "3–5", "6–8", "9")
    assert notes == ("each column is the mean of 3 timesteps",)
    small, notes = fitted(one_map(values), 10, 1)
    np.testing.assert_allclose(small.values, [np.arange(10.0) + 5])
    assert small.rows == ("0–1",)
    assert notes == ("each row is the mean of 2 units",)


def test_masked_places_do_not_count_and_others_stay_visible():
    values = [[1.0, np.nan, np.nan, 5.0, np.nan, 7.0, np.inf, 8.0]]
    cells = np.array([[0, 1, 1, 1, 2, 0, 3, 0]])
    small, _ = fitted(one_map(values, cells=cells), 4, 1)
    assert small.cells.tolist() == [[Cell.VALUE, Cell.MASKED, Cell.NAN, Cell.INFINITE]]
    assert small.values[0, 0] == 1


def test_a_small_map_stays_as_it_is():
    heat = one_map(np.ones((3, 4)), tokens=("a", "b", "c", "d"))
    assert fitted(heat, 4, 3) == (heat, ())


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.sampled_from(["mean", "sum"]))
def test_a_map_fits_and_keeps_what_it_shows(rows, columns, most_rows, most_columns, pooling):
    values = np.random.default_rng(rows * 41 + columns).normal(size=(rows, columns))
    small, notes = fitted(one_map(values, scale=around_zero(9.0), pooling=pooling), most_columns, most_rows)
    assert small.values.shape == (len(small.rows), len(small.columns)) == small.cells.shape
    assert small.values.shape[0] <= most_rows
    assert small.values.shape[1] <= most_columns
    assert len(small.scales) == len(small.rows)
    assert bool(notes) is (rows > most_rows or columns > most_columns)
    if pooling == "sum" and rows <= most_rows:
        np.testing.assert_allclose(small.values.sum(), values.sum(), atol=1e-9)
        if columns > most_columns:
            assert small.scales[0].high == pytest.approx(np.abs(small.values).max())


def test_a_chart_has_at_most_50000_places_and_says_what_shares_one():
    part = lstm_chunk(1, 1500, 64).directions[0]
    chart = a_trace(part).plot()
    assert sum(len(numbers(marks)) for _, marks in panels(chart)) <= 50_000
    assert chart.to_dict()["title"]["subtitle"][-1] == "each column is the mean of 12 timesteps"
    (_, marks), *_ = panels(a_trace(part).plot(signals="f"))
    found = numbers(marks)
    first = part.forget_gate[0].astype(np.float64)
    assert found["7", "0–1"] == pytest.approx(first[:2, 7].mean(), rel=1e-6)


def test_a_picture_of_too_many_panels_says_what_to_choose(tokens):
    with pytest.raises(gateprobe.InputError, match=r"at most 24 panels.*choose with layers.*layers: bidirectional"):
        tokens.plot("unit", units=range(4), samples=range(4))
    many = a_trace(*[lstm_chunk(1, 3, 2, layer=f"lstm_{n}").directions[0] for n in range(5)])
    with pytest.raises(gateprobe.InputError, match="layers: lstm_0, lstm_1"):
        many.plot()
    assert len(list(panels(many.plot(signals="f")))) == 5
    wide = Trace(np.arange(30), lstm_chunk(30).directions, {})
    with pytest.raises(gateprobe.InputError, match="samples chooses 30 samples"):
        wide.plot(samples=slice(None))


# the ledger


def rows_of(marks):
    """Return the numbers of a map by row."""
    found = {}
    for (row, column), value in numbers(marks).items():
        found.setdefault(row, {})[column] = value
    return found


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("sample", [0, 1, 3])
def test_the_rows_of_a_ledger_add_up_to_the_state(tokens, direction, sample):
    part = getattr(tokens["bidirectional"], direction)
    for unit in range(4):
        ((_, marks),) = panels(tokens.plot("ledger", units=unit, samples=sample, directions=direction))
        rows = rows_of(marks)
        assert rows.keys() == {str(t) for t in np.flatnonzero(part.mask[sample])}
        for timestep, parts in rows.items():
            state = part.cell_state[sample, int(timestep), unit]
            assert sum(parts.values()) == pytest.approx(state, abs=2e-5)
            before = [int(t) for t in parts if (int(t) > int(timestep)) is (direction == "forward") and t != timestep]
            assert before == []
        masked = {str(t) for t in np.flatnonzero(~part.mask[sample])} if direction == "backward" else set()
        assert {timestep for _, timestep in covered(marks)} == masked  # what comes later is not drawn at all


def test_what_was_there_before_stands_where_the_layer_began():
    whole = gateprobe.read("sample_models/tokens.keras").trace(np.load("sample_models/tokens.npy"), timesteps="0:5")
    for direction, name, place in (("backward", "after 4", -1), ("forward", None, 0)):
        ((_, marks),) = panels(whole.plot("ledger", directions=direction, samples=0, units=1))
        (columns,) = {tuple(encoding["x"]["scale"]["domain"]) for _, encoding, _ in marks}
        assert columns == tuple("01234") if name is None else columns[place] == name
        state = getattr(whole["bidirectional"], direction).cell_state[0, :, 1]
        for timestep, parts in rows_of(marks).items():
            assert sum(parts.values()) == pytest.approx(state[int(timestep)], abs=2e-5)


def test_the_ledger_of_a_layer_shows_its_units_and_what_was_there_before():
    samples = [np.load(f"sample_models/translate_{name}.npy") for name in ("source", "target")]
    trace = gateprobe.read("sample_models/translate.keras").trace(samples)
    maps = dict(panels(trace.plot("ledger", samples=2)))
    for layer, marks in maps.items():
        state = trace[layer].cell_state[2, -1]
        for unit, parts in rows_of(marks).items():
            assert sum(parts.values()) == pytest.approx(state[int(unit)], abs=1e-4)
            assert ("initial" in parts) is (layer == "decoder")
    earlier = dict(panels(trace.plot("ledger", samples=2, timesteps="0:2")))
    assert set(rows_of(earlier["encoder"])["3"]) == {"0", "1"}


def test_a_ledger_needs_every_signal_and_a_state_that_is_a_sum(tokens):
    with pytest.raises(gateprobe.InputError, match="kind=ledger is made of several signals; leave out signals"):
        tokens.plot("ledger", signals="c")
    with pytest.raises(gateprobe.InputError, match="all masked"):
        tokens.plot("ledger", samples=1, timesteps=7)
    simple = a_trace(direction_of("rnn", "forward", {"hidden_state": np.ones((1, 2, 3))}))
    with pytest.raises(gateprobe.InputError, match="the ledger needs"):
        simple.plot("ledger")


def test_an_altered_trace_is_told_from_one_that_adds_up(brackets):
    assert "subtitle" not in str(brackets.plot("ledger").to_dict()["title"].get("subtitle") or "")
    broken = {name: value.copy() for name, value in brackets["lstm"].forward.signals.items()}
    broken["forget_gate"][0, 5] = 0.9
    chart = Trace(brackets.samples, (direction_of("lstm", "forward", broken),), {}).plot("ledger")
    assert chart.to_dict()["title"]["subtitle"] == ["the parts do not add up to the state"]


def test_the_ledger_of_a_long_sequence_shows_some_of_its_states():
    part = lstm_chunk(1, 900, 1).directions[0]
    from gateprobe.pictures.heats import ledgers
    from gateprobe.pictures.views import View

    (heat,) = ledgers([View(part, 0, 0, None)], None)
    assert heat.notes[0] == "one of 3 states is shown"
    assert heat.rows[-1] == "899"
    assert len(heat.rows) == 300


# counts


def counted(values, mask):
    """Return the values that no mask covers, one column for each unit."""
    kept = np.ones(values.shape[:2], bool) if mask is None else mask
    return np.concatenate([values[s, t][None] for s, t in np.argwhere(kept)])


def test_saturation_is_the_share_of_timesteps(tokens):
    for title, marks in panels(tokens.plot("saturation")):
        direction, signal = title.split(" · ")
        part = getattr(tokens["bidirectional"], direction)
        values = counted(part[signal], part.mask)
        ((_, _, rows),) = [mark for mark in marks if mark[0]["type"] == "circle"]
        found = {int(unit): row for row in rows for unit in row["units"].split(", ")}
        assert found.keys() == set(range(4))
        for unit, row in found.items():
            assert row["low"] == pytest.approx(np.mean([value < 0.1 for value in values[:, unit]]))
            assert row["high"] == pytest.approx(np.mean([value > 0.9 for value in values[:, unit]]))
    notes = tokens.plot("saturation").to_dict()["title"]["subtitle"]
    assert notes == ["4 samples", "masked timesteps are left out"]


def test_the_units_of_a_scatter_are_named_where_they_can_be_read():
    """Points above each other, one close beside them, and one that others surround."""
    low = [0, 0, 0, 2, 3, 3, 3, 3, 3, 16]
    high = [16, 15, 14, 14, 9, 9, 8, 10, 11, 0]
    gate = np.repeat(0.5, 160).reshape(16, 10)
    for unit in range(10):
        gate[: low[unit], unit], gate[16 - high[unit] :, unit] = 0, 1
    trace = a_trace(direction_of("lstm", "forward", {"forget_gate": gate[None]}))
    chart = trace.plot("saturation")
    ((_, marks),) = panels(chart)
    size = chart.to_dict()["concat"][0]["width"]
    boxes = []
    for mark, _, rows in marks:
        for row in rows:
            x, y = row["low"] * size, (1 - row["high"]) * size
            if mark["type"] == "circle":
                boxes.append((x - 3, x + 3, y - 3, y + 3))
            elif mark["type"] == "text":
                near, far = sorted([x + mark["dx"], x + mark["dx"] + (6 if mark["dx"] > 0 else -6) * len(row["units"])])
                boxes.append((near, far, y + mark["dy"] - 5, y + mark["dy"] + 5))
                assert near >= 0
    assert len(boxes) > 9 + 6
    for number, (left, right, top, bottom) in enumerate(boxes):
        for start, end, above, below in boxes[:number]:
            assert right <= start or end <= left or bottom <= above or below <= top


@pytest.mark.parametrize("signal", ["forget_gate", "cell_state"])
def test_a_histogram_counts_every_value_once(tokens, signal):
    for direction, marks in panels(tokens.plot("histogram", signals=signal)):
        part = getattr(tokens["bidirectional"], direction)
        values = counted(part[signal], part.mask).ravel().astype(np.float64)
        ((_, _, rows),) = marks
        edges = [row["from"] for row in rows] + [rows[-1]["to"]]
        expected, _ = np.histogram(values, edges)
        assert [row["count"] for row in rows] == expected.tolist()
        assert sum(row["count"] for row in rows) == values.size
        assert edges[0] == (0 if signal == "forget_gate" else -edges[-1])


def test_counts_do_not_depend_on_the_batches():
    from gateprobe.pictures.tallies import histograms, saturations

    whole = lstm_chunk(12, 5, 3, masked=True)
    scaled = [*np.linspace(0.5, 40, 12)]
    part = whole.directions[0]
    signals = {name: value * np.array(scaled)[:, None, None] for name, value in part.signals.items()}
    parts = []
    for sample in range(12):
        cut = {name: value[sample : sample + 1] for name, value in signals.items()}
        own = gateprobe.DirectionTrace(
            "lstm", "forward", False, cut, part.mask[sample : sample + 1], part.timesteps, part.units, 5
        )
        parts.append(TraceChunk(np.array([sample]), (own,)))
    together = gateprobe.DirectionTrace("lstm", "forward", False, signals, part.mask, part.timesteps, part.units, 5)
    for order in (parts, parts[::-1]):
        (one,), _ = histograms(order, ["cell_state"])
        (other,), told = histograms([TraceChunk(whole.samples, (together,))], ["cell_state"])
        np.testing.assert_array_equal(one.edges, other.edges)
        np.testing.assert_array_equal(one.counts, other.counts)
        assert told.samples == 12
        (one,), _ = saturations(order, ["forget_gate"], (0.1, 0.9))
        (other,), _ = saturations([TraceChunk(whole.samples, (together,))], ["forget_gate"], (0.1, 0.9))
        np.testing.assert_array_equal(one.low, other.low)


def test_counts_leave_out_what_is_not_finite_and_say_so():
    signals = {"forget_gate": np.array([[[0.05], [np.nan], [0.95], [np.inf]]])}
    trace = a_trace(direction_of("lstm", "forward", signals))
    chart = trace.plot("saturation")
    ((_, marks),) = panels(chart)
    ((_, _, (row,)),) = [mark for mark in marks if mark[0]["type"] == "circle"]
    assert (row["low"], row["high"]) == (0.5, 0.5)
    assert "2 values that are NaN or infinite are left out" in chart.to_dict()["title"]["subtitle"]


def test_saturation_is_of_gates(tokens):
    with pytest.raises(gateprobe.InputError, match="kind=saturation shows gates; choose signals among input_gate"):
        tokens.plot("saturation", signals="c")
    simple = a_trace(direction_of("rnn", "forward", {"hidden_state": np.ones((1, 2, 3))}))
    with pytest.raises(gateprobe.InputError, match="there are none of the signals"):
        simple.plot("saturation")


# whatever a trace holds


@settings(max_examples=40)
@given(chunks(), st.sampled_from(["heatmap", "unit", "histogram", "saturation"]))
def test_any_trace_is_drawn_or_refused(chunk, kind):
    try:
        found = picture_of(of_chunk(chunk, {}), kind, Selection())
    except gateprobe.InputError:
        return
    spec = chart_of(found).to_dict()
    text = str(spec)
    assert "\x1b" not in text
    assert "\nlines" not in text
    assert not re.search(r"\bnan\b|\binf\b", text.replace("'NaN'", "").replace("'infinite'", ""))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_without_a_line_of_javascript(brackets, kind):
    """Texts from files are data: a chart has no expression in which they could stand, and asks for nothing."""
    chart = brackets.plot(kind, tokens="((a)(a(a)))a").to_dict()
    text = str({key: value for key, value in chart.items() if key != "datasets"})
    assert not re.search(r"'(expr|labelExpr|calculate|filter|signal|url|href)':|'(image|geoshape)'", text)


def test_an_unknown_kind_gets_the_nearest_name(brackets):
    with pytest.raises(gateprobe.InputError, match="kind=heat: no such kind of picture; did you mean heatmap"):
        brackets.plot("heat")
    with pytest.raises(gateprobe.InputError, match="kind=text colours tokens, and there are none; give tokens"):
        brackets.plot("text")
    with pytest.raises(gateprobe.InputError, match="3 tokens and 12 timesteps"):
        brackets.plot(tokens="abc")
    with pytest.raises(gateprobe.InputError, match="2 lists of tokens and 3 samples"):
        brackets.plot(tokens=[["a"], ["b"]])


def test_what_has_to_be_traced():
    assert to_trace("unit", Selection(timesteps="3")) == Selection(timesteps="3")
    assert to_trace("ledger", Selection(timesteps="3", units=2)) == Selection(units=2)


def test_without_the_extra_a_picture_says_what_to_install(brackets, monkeypatch):
    from gateprobe.pictures import extra

    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(gateprobe.MissingExtra, match=r"pip install 'gateprobe\[plot\]'"):
        brackets.plot()
