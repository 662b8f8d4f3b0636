"""Selections: ranges, layers, and what of a trace is kept."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import GRU, direction_of, lstm_chunk

from gateprobe.errors import GateprobeWarning, InputError, choices
from gateprobe.trace import join
from gateprobe.traces.chunk import ALIASES, TraceChunk
from gateprobe.traces.selection import Ranges, Selection, check_layers
from gateprobe.writers.table import table


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(-25, 25), st.integers(-25, 25)), min_size=1, max_size=3))
def test_ranges_are_those_of_python(size, bounds):
    text = ",".join(f"{a}:{b}" for a, b in bounds)
    wanted = sorted({n for a, b in bounds for n in list(range(size))[a:b]})
    assert [n for span in Ranges(text).spans(size, "unit") for n in span] == wanted


@pytest.mark.parametrize(
    ("text", "picked"),
    [("3", [3]), ("-1", [4]), ("0:2,4", [0, 1, 4]), (":", [0, 1, 2, 3, 4]), ("3:", [3, 4]), ("2, 2,1", [1, 2])],
)
def test_single_numbers_and_open_ranges(text, picked):
    assert Ranges(text).pick(5, "unit").tolist() == picked


@pytest.mark.parametrize("text", ["", "a", "1-3", "1:2:3", "1,,2", "--1", "9" * 30, "0x1"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(InputError, match="expected numbers and ranges such as 0:8,31"):
        Ranges(text).spans(5, "unit")


def test_numbers_that_are_not_there_are_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"--sample 7:9 selects nothing; available: 0 to 4"):
        Ranges("7:9").pick(5, "sample")


@pytest.mark.parametrize(
    ("patterns", "path", "taken"),
    [
        ((), "any", True),
        (("lstm",), "lstm", True),
        (("lstm",), "lstm:1", True),
        (("lstm:1",), "lstm", False),
        (("lstm",), "lstm/cell_0", True),
        (("enc/*",), "enc:1/lstm", True),
        (("lstm[1]",), "lstm[1]", True),
        (("ls*", "gru"), "gru_1", False),
    ],
)
def test_layers_match_by_path_call_and_cell(patterns, path, taken):
    assert Selection(layers=patterns).takes_layer(path) is taken


def test_a_pattern_without_a_layer_is_refused():
    with pytest.raises(InputError, match="--layer nope selects nothing; available: lstm, gru"):
        check_layers(Selection(layers=("lstm", "nope")), ["lstm", "gru"])
    with pytest.raises(InputError, match=r"--layer ltsm selects nothing; did you mean lstm\? available: gru, lstm"):
        check_layers(Selection(layers=("ltsm",)), ["gru", "lstm"])
    with pytest.raises(InputError, match="--layer dense: dense is not recurrent; recurrent layers: lstm"):
        check_layers(Selection(layers=("dense",)), ["lstm"], ["lstm", "dense"])


def test_long_lists_of_what_is_available_are_cut():
    assert choices(map(str, range(22)), "a").endswith("18, 19 and 2 more")
    assert choices([]) is None
    with pytest.raises(InputError, match="the model has no recurrent layer"):
        check_layers(Selection(layers=("x",)), [])


def two_lengths():
    short = {"hidden_state": np.zeros((1, 3, 2), np.float32)}
    return TraceChunk(np.arange(1), (*lstm_chunk(1, 10, 4).directions, direction_of("short", "backward", short)))


def test_parts_are_cut_out_with_their_numbers():
    chunk = lstm_chunk(2, 6, 5, masked=True)
    kept = Selection(signals=("f", "hidden_state"), timesteps=Ranges("-2:"), units=Ranges("1,4")).apply(chunk)
    (part,) = kept.directions
    (whole,) = chunk.directions
    assert list(part.signals) == ["forget_gate", "hidden_state"]
    assert part.timesteps.tolist() == [4, 5]
    assert part.units.tolist() == [1, 4]
    assert part.length == 6
    np.testing.assert_array_equal(part.signals["forget_gate"], whole.signals["forget_gate"][:, 4:, [1, 4]])
    np.testing.assert_array_equal(part.mask, whole.mask[:, 4:])


def test_a_selection_goes_by_number_also_when_something_has_been_cut_before():
    once = Selection(timesteps=Ranges("4:8"), units=Ranges("1:3")).apply(lstm_chunk(1, 10, 4))
    twice = Selection(timesteps=Ranges("5"), units=Ranges("2")).apply(once)
    assert twice.directions[0].timesteps.tolist() == [5]
    assert twice.directions[0].units.tolist() == [2]


@pytest.mark.parametrize(
    ("selection", "note"),
    [
        (Selection(timesteps=Ranges("5")), "--timestep 5 leaves out short, which has the timesteps 0 to 2"),
        (Selection(units=Ranges("3")), "--unit 3 leaves out short, which has the units 0 to 1"),
        (Selection(signals=("f", "c")), "--signal forget_gate,cell_state leaves out short, which has hidden_state"),
        (Selection(directions=("forward",)), "--direction forward leaves out short, which has the direction backward"),
    ],
)
def test_a_layer_that_is_left_out_altogether_is_told(selection, note):
    with pytest.warns(GateprobeWarning, match=note) as told:
        assert [part.layer for part in selection.apply(two_lengths()).directions] == ["lstm"]
    assert len(told) == 1


def test_a_layer_of_which_one_direction_stays_is_not_told():
    both = TraceChunk(
        np.arange(1),
        tuple(direction_of("l", way, {"hidden_state": np.ones((1, 2, 3))}) for way in ("forward", "backward")),
    )
    assert len(Selection(directions=("backward",)).apply(both).directions) == 1


@given(st.permutations(["i", "f", "g", "o", "c", "h", "z", "r", "pre_f"]), st.integers(1, 9))
def test_signals_keep_the_order_asked_for_in_arrays_and_tables(names, count):
    """Also where no layer has all of them."""
    lstm = {**lstm_chunk(1, 2, 2).directions[0].signals, "pre_forget_gate": np.ones((1, 2, 2), np.float32)}
    gru = {name: np.ones((1, 2, 2), np.float32) for name in GRU}
    chunk = TraceChunk(np.arange(1), (direction_of("gru", "forward", gru), direction_of("lstm", "forward", lstm)))
    wanted = [ALIASES.get(name, f"pre_{ALIASES['f']}") for name in names[:count]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GateprobeWarning)
        kept = Selection(signals=tuple(names[:count])).apply(chunk)
    for part in kept.directions:
        assert list(part.signals) == [name for name in wanted if name in (gru if part.layer == "gru" else lstm)]
    assert table(kept).columns[7:] == wanted
    assert table(kept, "wide").columns[6:] == [f"{name}_{unit}" for name in wanted for unit in (0, 1)]
    assert table(kept, "long")["signal"].dtype.categories.to_list() == wanted


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(timesteps=Ranges("10:")), r"--timestep 10: selects nothing; available: 0 to 9"),
        (Selection(units=Ranges("4")), r"--unit 4 selects nothing; available: 0 to 3"),
        (Selection(signals=("z",)), r"--signal update_gate selects nothing; available: input_gate, forget_gate"),
        (Selection(signals=("q",)), r"--signal q: no such signal; available: input_gate"),
        (Selection(directions=("sideways",)), r"--direction sideways selects nothing; available: forward, backward"),
        (Selection(layers=("gru",)), r"--layer gru selects nothing; available: lstm, short"),
    ],
)
def test_a_selection_of_nothing_lists_what_there_is(selection, message):
    with pytest.raises(InputError, match=message):
        selection.apply(two_lengths())


def test_units_of_many_axes_are_numbered_through():
    value = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    chunk = TraceChunk(np.arange(1), (direction_of("conv", "forward", {"hidden_state": value}),))
    (part,) = Selection(units=Ranges("5,11")).apply(chunk).directions
    np.testing.assert_array_equal(part.signals["hidden_state"], value.reshape(1, 2, 12)[..., [5, 11]])


def test_chunks_join_in_their_order():
    whole = lstm_chunk(5, masked=True)
    parts = [TraceChunk(whole.samples[a:b], (cut(whole.directions[0], a, b),)) for a, b in ((0, 2), (2, 5))]
    trace = join(parts, {})
    np.testing.assert_array_equal(trace["lstm"].forward.mask, whole.directions[0].mask)
    np.testing.assert_array_equal(trace["lstm"].forget_gate, whole.directions[0].signals["forget_gate"])
    assert "forget_gate" in dir(trace["lstm"].forward)
    assert trace == trace  # noqa: PLR0124 - a mapping of arrays would compare them
    with pytest.raises(InputError, match="no trace of layer 'x'; there are lstm"):
        trace["x"]


def cut(part, a, b):
    return direction_of(part.layer, "forward", {k: v[a:b] for k, v in part.signals.items()}, part.mask[a:b])
