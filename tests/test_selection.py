"""Selections: ranges, layers, and what of a trace is kept."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import GRU, direction_of, lstm_chunk

from gateprobe.errors import GateprobeWarning, InputError, choices
from gateprobe.trace import join
from gateprobe.traces.chunk import TraceChunk
from gateprobe.traces.selection import Ranges, Selection, check_layers, ranges_of
from gateprobe.traces.words import ALIASES
from gateprobe.writers.table import table

BOUND = st.none() | st.integers(-25, 25)
SLICES = st.builds(slice, BOUND, BOUND, st.none() | st.integers(-3, 3).filter(bool))


def text_of(cut):
    parts = [cut.start, cut.stop] if cut.step is None else [cut.start, cut.stop, cut.step]
    return ":".join("" if part is None else str(part) for part in parts)


@given(st.integers(1, 20), st.lists(SLICES, min_size=1, max_size=3))
def test_ranges_are_slices_of_python(size, slices):
    text = ",".join(map(text_of, slices))
    wanted = sorted({n for cut in slices for n in list(range(size))[cut]})
    assert Ranges(text).matches(size, "unit").tolist() == wanted


@given(st.integers(1, 20), SLICES)
def test_a_slice_selects_what_it_selects_of_a_list(size, cut):
    assert Selection(units=cut).units.matches(size, "unit").tolist() == sorted(list(range(size))[cut])


@given(st.integers(1, 20), st.sets(st.integers(-30, 30), min_size=1), st.sampled_from([list, tuple, set, np.array]))
def test_a_list_selects_the_numbers_that_it_holds(size, numbers, kind):
    given_as = kind(sorted(numbers, reverse=True)) if kind is not set else numbers
    wanted = sorted({list(range(size))[n] for n in numbers if -size <= n < size})
    assert Selection(timesteps=given_as).timesteps.matches(size, "timestep").tolist() == wanted


@given(st.integers(0, 9), st.integers(0, 9), st.integers(-3, 3).filter(bool))
def test_a_range_selects_the_numbers_that_it_holds(start, stop, step):
    numbers = range(start, stop, step)
    wanted = sorted(numbers)
    if wanted:
        assert Selection(samples=numbers).samples.pick(10, "sample").tolist() == wanted


@pytest.mark.parametrize("number", [3, np.int64(3), np.array(3), "3", [3], range(3, 4), slice(3, 4), Ranges("3")])
def test_one_number_may_be_given_in_any_form(number):
    assert Selection(units=number).units.pick(5, "unit").tolist() == [3]


@pytest.mark.parametrize("wrong", [True, 2.5, [1, 2.5], ["1"], [[1]], np.array([True]), object(), slice(0.5, 2)])
def test_what_is_no_whole_number_is_refused(wrong):
    with pytest.raises(InputError, match=r"^units=.*: expected whole numbers, a slice, or a text such as 0:8,31$"):
        Selection(units=wrong)


def test_names_may_stand_alone():
    assert Selection(layers="lstm", directions="forward", signals="i,f") == Selection(
        layers=["lstm"], directions=("forward",), signals=("i", "f")
    )


def test_a_selection_describes_itself_in_values_of_json():
    chosen = Selection(layers="lstm*", signals="f,o", units=[0, 1, 2, 7], timesteps=slice(0, 10))
    assert chosen.described() == {
        "layers": ["lstm*"], "signals": ["f", "o"], "units": "0:3,7", "timesteps": "0:10"
    }  # fmt: skip
    assert Selection(**chosen.described()) == chosen
    assert Selection().described() == {}


@pytest.mark.parametrize(
    ("text", "picked"),
    [("3", [3]), ("-1", [4]), ("0:2,4", [0, 1, 4]), (":", [0, 1, 2, 3, 4]), ("3:", [3, 4]), ("2, 2,1", [1, 2])],
)
def test_single_numbers_and_open_ranges(text, picked):
    assert Ranges(text).pick(5, "unit").tolist() == picked


@pytest.mark.parametrize("text", ["", "a", "1-3", "1:2:3:4", "1:2:0", "1,,2", "--1", "9" * 30, "0x1"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(InputError, match="expected numbers and ranges such as 0:8,31"):
        Ranges(text).matches(5, "unit")


def test_numbers_that_are_not_there_are_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"samples=7:9 selects nothing; available: 0 to 4"):
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
    with pytest.raises(InputError, match="layers=nope selects nothing; available: lstm, gru"):
        check_layers(Selection(layers=("lstm", "nope")), ["lstm", "gru"])
    with pytest.raises(InputError, match=r"layers=ltsm selects nothing; did you mean lstm\? available: gru, lstm"):
        check_layers(Selection(layers=("ltsm",)), ["gru", "lstm"])
    with pytest.raises(InputError, match="layers=dense: dense is not recurrent; recurrent layers: lstm"):
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
        (Selection(timesteps=Ranges("5")), "timesteps=5 leaves out short, which has the timesteps 0 to 2"),
        (Selection(units=Ranges("3")), "units=3 leaves out short, which has the units 0 to 1"),
        (Selection(signals=("f", "c")), "signals=forget_gate,cell_state leaves out short, which has hidden_state"),
        (Selection(directions=("forward",)), "directions=forward leaves out short, which has the direction backward"),
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
        (Selection(timesteps=Ranges("10:")), r"timesteps=10: selects nothing; available: 0 to 9"),
        (Selection(units=Ranges("4")), r"units=4 selects nothing; available: 0 to 3"),
        (Selection(signals=("z",)), r"signals=update_gate selects nothing; available: input_gate, forget_gate"),
        (Selection(signals=("q",)), r"signals=q: no such signal; available: input_gate"),
        (Selection(directions=("sideways",)), r"directions=sideways selects nothing; available: forward, backward"),
        (Selection(layers=("gru",)), r"layers=gru selects nothing; available: lstm, short"),
    ],
)
def test_a_selection_of_nothing_lists_what_there_is(selection, message):
    with pytest.raises(InputError, match=message):
        selection.apply(two_lengths())


def test_what_there_is_may_have_holes():
    parts = Selection(units=Ranges("0:2,3,6:9")).apply(lstm_chunk(1, 2, 9))
    with pytest.raises(InputError, match=r"units=4 selects nothing; available: 0 to 1, 3, 6 to 8$"):
        Selection(units=Ranges("4")).apply(parts)


@pytest.mark.parametrize(
    ("numbers", "text"), [([3, 4, -2], "-2,3:5"), ([-1, 0, 1], "-1,0:2"), ([-3, -2], "-3,-2"), ([5, 5, 7], "5,7")]
)
def test_numbers_that_follow_each_other_are_written_as_a_range(numbers, text):
    assert ranges_of(numbers, "unit").text == text


@pytest.mark.parametrize("units", [[0, 2], [1, 2], [3], [0, 1, 3]])
def test_units_are_picked_whether_or_not_they_follow_each_other(units):
    chunk = lstm_chunk(2, 3, 5)
    (part,) = Selection(units=ranges_of(units, "unit")).apply(chunk).directions
    np.testing.assert_array_equal(part.signals["candidate"], chunk.directions[0].signals["candidate"][..., units])
    assert part.units.tolist() == units


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
    with pytest.raises(InputError, match="no layer 'x' in this trace; available: lstm"):
        trace["x"]


def cut(part, a, b):
    return direction_of(part.layer, "forward", {k: v[a:b] for k, v in part.signals.items()}, part.mask[a:b])
