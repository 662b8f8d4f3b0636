"""The three-way comparison, on numbers made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from gateprobe.analysis.agreement import FLOOR_ULPS, Tolerance, Trio, compare, earliest, epsilon, merged


def trio(
    keras, replay, exact, *, compared=None, backwards=False, precision="float32", signal="forget_gate", timed=True
):
    arrays = [np.asarray(a, np.float64) for a in (keras, replay, exact)]
    return Trio(
        "lstm", "forward", signal, *arrays, compared, backwards, precision, np.arange(len(arrays[0])), timed=timed
    )


@pytest.fixture
def exact():
    return np.random.default_rng(0).uniform(0.1, 0.9, (3, 5, 4))


def test_rounding_on_both_sides_agrees(exact):
    noise = np.random.default_rng(1).normal(0, 1e-7, (2, 3, 5, 4))
    report = compare(trio(exact + noise[0], exact + noise[1], exact), Tolerance())
    assert report.agrees
    assert report.values == 60
    assert 0 < report.required < 1
    assert report.keras_replay.max_abs <= report.keras_exact.max_abs + report.replay_exact.max_abs


@pytest.mark.parametrize("side", ["keras", "replay"])
def test_a_mistake_moves_only_one_side(exact, side):
    moved = exact.copy()
    moved[1, 2, 3] += 1e-4
    sides = {"keras": exact, "replay": exact, side: moved}
    report = compare(trio(sides["keras"], sides["replay"], exact), Tolerance())
    assert report.mismatches == 1
    assert (report.first.sample, report.first.timestep, report.first.unit) == (1, 2, 3)
    assert report.first.difference == pytest.approx(1e-4)
    assert report.first.allowed == pytest.approx(FLOOR_ULPS * 2**-23)


def test_rounding_that_grows_with_time_is_allowed_only_from_then_on(exact):
    growth = 1e-7 * 10.0 ** np.arange(5)[None, :, None] * np.ones_like(exact)
    ours, theirs = exact + growth, exact - growth
    assert compare(trio(theirs, ours, exact), Tolerance()).agrees
    early = theirs.copy()
    early[0, 0, 0] -= 1e-3  # would pass among the rounding of the last timestep
    report = compare(trio(early, ours, exact), Tolerance())
    assert (report.first.timestep, report.mismatches) == (0, 1)


def test_the_first_disagreement_is_the_first_that_the_layer_computed(exact):
    moved = exact.copy()
    moved[:, 1:4] += 0.01
    forward = compare(trio(exact, moved, exact), Tolerance()).first
    backward = compare(trio(exact, moved, exact, backwards=True), Tolerance()).first
    assert (forward.timestep, forward.step) == (1, 1)
    assert (backward.timestep, backward.step) == (3, 1)


def test_masked_timesteps_are_not_compared(exact):
    compared = np.ones((3, 5), bool)
    compared[1, 2] = False
    moved = exact.copy()
    moved[1, 2] = np.nan
    report = compare(trio(exact, moved, exact, compared=compared), Tolerance())
    assert report.agrees
    assert report.values == 56


def test_numbers_that_are_not_finite(exact):
    one, two = exact.copy(), exact.copy()
    one[0, 0, :3] = two[0, 0, :3] = [np.nan, np.inf, -np.inf]
    assert compare(trio(one, two, one), Tolerance()).agrees
    two[0, 0, 1] = 1e30
    report = compare(trio(one, two, one), Tolerance())
    assert report.mismatches == 1
    assert report.required == np.inf


def test_tolerances_of_the_user(exact):
    moved = exact + 1e-3
    assert not compare(trio(exact, moved, exact), Tolerance()).agrees
    assert compare(trio(exact, moved, exact), Tolerance(absolute=2e-3)).agrees
    assert compare(trio(exact, moved, exact), Tolerance(relative=0.1)).agrees
    one_signal = Tolerance(absolute=1e-9, signals={"forget_gate": (2e-3, None)})
    assert compare(trio(exact, moved, exact), one_signal).agrees
    assert not compare(trio(exact, moved, exact, signal="cell_state"), one_signal).agrees
    assert "forget_gate: |keras - replay| <= 0.002" in one_signal.rule
    assert "float64" in Tolerance().rule


def test_a_zero_tolerance_allows_nothing_and_equals_agree(exact):
    assert compare(trio(exact, exact, exact + 1), Tolerance(absolute=0.0)).agrees
    assert not compare(trio(exact, np.nextafter(exact, 1), exact), Tolerance(absolute=0.0)).agrees


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_types_have_their_own_ulp(exact, precision):
    moved = exact + 3 * epsilon(precision)
    assert compare(trio(exact, moved, exact, precision=precision), Tolerance()).agrees
    assert not compare(trio(exact, moved, exact), Tolerance()).agrees


def test_an_ulp_is_that_of_the_value_or_of_the_signal():
    exact = np.array([[[4.0, 1e-9, 2.0]]])
    report = compare(trio(exact + 2**-21, exact, exact), Tolerance())
    # 4 has a spacing of 2**-21 in float32; root mean square 2.58 gives the tiny value one of 2**-22
    assert report.keras_replay.max_ulp == pytest.approx(2.0)


def test_outputs_have_no_time():
    exact = np.zeros((4, 3))
    moved = exact.copy()
    moved[2, 1] = 1
    report = compare(trio(exact, moved, exact, timed=False, signal="output"), Tolerance())
    assert (report.first.sample, report.first.timestep, report.first.unit) == (2, None, 1)


def test_the_earliest_of_several_signals(exact):
    late, early = exact.copy(), exact.copy()
    late[0, 3] += 1
    early[2, 1] += 1
    reports = [
        compare(trio(exact, moved, exact, signal=signal), Tolerance())
        for signal, moved in (("input_gate", exact), ("forget_gate", late), ("cell_state", early))
    ]
    assert earliest(reports).signal == "cell_state"
    together = merged([reports[0], reports[2]])
    assert (together.values, together.mismatches) == (120, 4)
    assert together.first == reports[2].first


@pytest.mark.parametrize("value", [0.5, -4.0])
@pytest.mark.parametrize(("smaller", "larger"), [(0.0, 0.0), (0.0, 1.0), (1e-6, 1e-6), (1e-6, 1.0)])
@pytest.mark.parametrize("side", [1, -1])
def test_what_is_allowed_is_exactly_the_rule(value, smaller, larger, side):
    """16 times the smaller of both errors so far, and 32 ulp of the larger of 1 and the value."""
    allowed = 16 * smaller + 32 * 2.0**-23 * max(1.0, abs(value))
    for factor, agrees in ((0.999, True), (1.001, False)):
        error = np.array([[[smaller], [0.0]], [[0.0], [0.0]]])  # the first timestep's error counts in the second
        exact = np.full(error.shape, value)
        keras, replay = exact + error * side, exact + error * larger / (smaller or 1.0)
        replay[0, 0] = keras[0, 0]
        replay[1, 1] = exact[1, 1]
        keras[1, 1] = exact[1, 1] + side * allowed * factor
        report = compare(trio(keras, replay, exact), Tolerance())
        assert report.agrees == agrees
        assert report.required == pytest.approx(factor, rel=1e-6)
        assert report.worst.allowed == pytest.approx(allowed)


def test_the_rounding_of_a_backward_layer_grows_towards_the_first_timestep(exact):
    growth = 1e-7 * 10.0 ** np.arange(5)[None, ::-1, None] * np.ones_like(exact)
    ours, theirs = exact + growth, exact - growth
    assert compare(trio(theirs, ours, exact, backwards=True), Tolerance()).agrees
    late = theirs.copy()
    late[0, 4, 0] -= 1e-3  # computed first; would pass among the rounding of timestep 0
    report = compare(trio(late, ours, exact, backwards=True), Tolerance())
    assert (report.first.timestep, report.first.step, report.mismatches) == (4, 0, 1)
    assert compare(trio(late, ours, exact, backwards=False), Tolerance()).agrees


def test_an_earlier_error_is_rounding_of_every_later_timestep(exact):
    """And of no earlier one, in either direction."""
    for backwards in (False, True):
        for where in range(5):
            ours, theirs = exact.copy(), exact.copy()
            ours[:, 2], theirs[:, 2] = exact[:, 2] + 1e-3, exact[:, 2] + 1e-3
            theirs[1, where] += 5e-3
            late = where <= 2 if backwards else where >= 2
            assert compare(trio(theirs, ours, exact, backwards=backwards), Tolerance()).agrees == late


def test_the_number_of_the_inputs_goes_into_every_place(exact):
    moved = exact.copy()
    moved[1, 2, 3] += 1
    report = compare(replace(trio(exact, moved, exact), run=2), Tolerance())
    assert (report.first.run, report.worst.run) == (2, 2)
    earlier = compare(replace(trio(exact, moved, exact, signal="cell_state"), run=1), Tolerance())
    assert earliest([report, earlier]) == earlier.first
    assert earliest([earlier, report]) == earlier.first


@pytest.mark.parametrize(
    ("precision", "spacing"),
    [
        ("float64", np.finfo("f8").eps),
        ("float32", np.finfo("f4").eps),
        ("float16", np.finfo("f2").eps),
        ("bfloat16", 1 / 128),
    ],
)
def test_the_spacing_of_numbers_is_that_of_their_type(precision, spacing):
    assert epsilon(precision) == spacing


def test_parts_of_the_samples_are_judged_like_all_of_them(exact):
    noise = np.random.default_rng(5).normal(0, 1e-7, (2, 3, 5, 4))
    exact = exact.clip(0.5, 0.9)  # so that an ulp is the same everywhere
    whole = compare(trio(exact + noise[0], exact + noise[1], exact), Tolerance())
    parts = [slice(0, 1), slice(1, 3)]
    reports = [compare(trio(exact[p] + noise[0, p], exact[p] + noise[1, p], exact[p]), Tolerance()) for p in parts]
    together = merged(reports)
    assert together.values == whole.values
    for gap in ("keras_replay", "keras_exact", "replay_exact"):
        ours, all_at_once = getattr(together, gap), getattr(whole, gap)
        for number in ("max_abs", "mean_abs", "max_ulp", "mean_ulp"):
            assert getattr(ours, number) == pytest.approx(getattr(all_at_once, number), rel=1e-12), (gap, number)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_side_alone_is_no_number(exact, side, value):
    sides = [exact, exact.copy()]
    sides[side] = exact.copy()
    sides[side][1, 2, 3] = value
    report = compare(trio(*sides, exact), Tolerance())
    assert (report.mismatches, report.required) == (1, np.inf)
    assert compare(trio(*sides, exact), Tolerance(absolute=1.0)).mismatches == 1


def test_an_ulp_of_zeros_is_small_and_not_zero():
    zeros = np.zeros((1, 2, 2))
    report = compare(trio(zeros + 2.0**-120, zeros, zeros), Tolerance())
    assert report.keras_replay.max_ulp == pytest.approx(2.0 ** (-120 + 23 + 100))


def test_rounding_in_one_unit_of_one_sample_is_rounding_of_the_timestep(exact):
    """A unit reads all others, so that their errors become its own."""
    ours, theirs = exact.copy(), exact.copy()
    ours[0, 1, 0] += 1e-3
    theirs[0, 1, 0] += 1e-3
    theirs[2, 1, 3] += 5e-3
    assert compare(trio(theirs, ours, exact), Tolerance()).agrees


def test_nothing_to_compare_needs_no_tolerance():
    report = compare(trio(*[np.zeros((0, 5, 4))] * 3), Tolerance())
    assert (report.values, report.required, report.agrees, report.worst) == (0, 0.0, True, None)


def test_a_mask_is_one_of_timesteps_also_for_images():
    exact = np.zeros((2, 3, 2, 2, 1))
    moved = exact.copy()
    moved[1, 2] = 1
    compared = np.ones((2, 3), bool)
    compared[1, 2] = False
    report = compare(trio(exact, moved, exact, compared=compared), Tolerance())
    assert (report.values, report.mismatches) == (20, 0)
    assert (report.keras_replay.max_abs, report.keras_replay.mean_ulp) == (0, 0)


def test_gaps_are_those_of_the_finite_numbers_that_are_compared(exact):
    moved, kept = exact.copy(), np.ones((3, 5), bool)
    moved[0, 0, 0] = np.inf
    moved[1, 1, 1] += 0.25
    moved[2, 2] += 9
    kept[2, 2] = False
    gap = compare(trio(exact, moved, exact, compared=kept), Tolerance()).keras_replay
    assert gap.max_abs == pytest.approx(0.25)
    assert gap.mean_abs == pytest.approx(0.25 / (60 - 4 - 1))


@pytest.mark.parametrize(("absolute", "relative"), [(1e-3, None), (None, 1e-3)])
def test_one_tolerance_of_the_user_takes_the_place_of_the_rule(absolute, relative):
    words = f"|keras - replay| <= {absolute or 0:g} + {relative or 0:g} * |keras|"
    assert Tolerance(absolute, relative).rule == words
