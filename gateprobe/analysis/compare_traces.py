"""Two traces beside each other, number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.analysis.agreement import FLOOR_ULPS, Tolerance, Trio, compare, earliest, rule_of
from gateprobe.analysis.comparison import Comparison
from gateprobe.analysis.differences import difference, place
from gateprobe.analysis.fitting import Asked, Grid, Misfit, fit, on_grid
from gateprobe.analysis.mistakes.block import Theirs
from gateprobe.analysis.mistakes.watch import Key
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.traces.chunk import STATES
from gateprobe.traces.foreign import Foreign, Written

TRACES_RULE = (
    f"two traces disagree where they differ by more than {FLOOR_ULPS:g} ulp of float32 (of float16 where one is stored "
    "so) of the larger of 1 and the value, and half of the last digit where one is printed"
)
"""The rule without a model, in words: there is no replay in float64 by which rounding could be measured."""


def compare_traces(ours: Foreign, theirs: Foreign, asked: Asked, tolerance: Tolerance) -> Comparison:
    """Compare two traces.

    Args:
        ours: The one by which the other is measured.
        theirs: The other; signals may be missing in it, and timesteps and units.
        asked: What the user says of it.
        tolerance: What is allowed, instead of rounding.

    Raises:
        InputError: They have nothing in common.
    """
    grids, mine = _grids(ours)
    placed, notes = fit(theirs, grids, asked)
    grid_of = {grid.key: grid for grid in grids}
    masks = _masks(ours, theirs)
    reports, signals, problems = [], [], list[str]()
    for key, found in placed.items():
        grid = grid_of[key]
        mask, problem = _mask(masks, key, grid)
        problems += problem
        for name, one in found.items():
            trio, apart, compared = _trio(grid, name, mine[key][name], one, mask, _half(ours, theirs))
            report = compare(trio, tolerance)
            reports.append(report)
            signals.append(difference(report, apart, compared, backwards=grid.backwards, exact=False))
    notes += _missing(mine, placed)
    if not any(one.values for one in signals):
        raise InputError("the traces have no number in common", file=theirs.name)
    first = earliest(reports)
    return Comparison(
        ours.name, theirs.name, tuple(signals),
        None if first is None else place(first, exact=False),
        (), (), tuple(problems), tuple(notes), rule_of(tolerance, TRACES_RULE), None,
    )  # fmt: skip


def _grids(foreign: Foreign) -> tuple[list[Grid], dict[Key, dict[str, Theirs]]]:
    """Return the directions of a trace, and their numbers on the grid that they span."""
    parts: dict[Key, list[Written]] = {}
    for one in foreign.written:
        parts.setdefault((one.layer or "", one.direction or "forward"), []).append(one)
    grids, values = [], {}
    for key, group in parts.items():
        samples = sorted({int(n) for one in group for n in _numbers(one.samples, one.values.shape[0])})
        timesteps = max(int(_numbers(one.timesteps, one.values.shape[1]).max()) + 1 for one in group)
        units = max(int(_numbers(one.units, one.values.shape[2]).max()) + 1 for one in group)
        backwards = group[0].backwards if group[0].backwards is not None else key[1] == "backward"
        named = {_named(one): one for one in group}
        grid = Grid(key[0], key[1], backwards, tuple(samples), timesteps, units, frozenset(named))
        grids.append(grid)
        values[key] = {name: _own(one, grid) for name, one in named.items()}
    return grids, values


def _named(one: Written) -> str:
    return one.signal if one.signal != "z" else "update_gate"


def _own(one: Written, grid: Grid) -> Theirs:
    """Place a trace on its own grid."""
    samples = _numbers(one.samples, one.values.shape[0])
    timesteps = _numbers(one.timesteps, one.values.shape[1])
    units = _numbers(one.units, one.values.shape[2])
    try:
        return on_grid(
            replace(one, form="sequences", samples=samples, timesteps=timesteps, units=units), grid, Asked(), []
        )
    except Misfit as reason:
        raise InputError(str(reason)) from None


def _numbers(numbers: Array | None, size: int) -> Array:
    return np.arange(size) if numbers is None else numbers


def _half(ours: Foreign, theirs: Foreign) -> bool:
    return any(one.half for one in (*ours.written, *theirs.written))


def _trio(
    grid: Grid,
    name: str,
    mine: Theirs,
    theirs: Theirs,
    mask: Array | None,
    half: bool,
) -> tuple[Trio, Array, Array]:
    compared = mine.there & theirs.there
    if mask is not None and name not in STATES:
        compared = compared & mask[:, :, None]
    with np.errstate(all="ignore"):
        apart = np.abs(theirs.values - mine.values)
    trio = Trio(
        *grid.key, name, theirs.values, mine.values, mine.values, compared, grid.backwards,
        "float16" if half else "float32", np.array(grid.samples), slack=mine.slack + theirs.slack,
    )  # fmt: skip
    return trio, apart, compared


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """The masks of both traces, where they have some: ``(samples, timesteps)`` and what numbers them."""

    ours: Mapping[Key, Written]
    theirs: Mapping[Key, Written]


def _masks(ours: Foreign, theirs: Foreign) -> _Masks:
    def of(foreign: Foreign) -> dict[Key, Written]:
        return {(one.layer or "", one.direction or "forward"): one for one in foreign.written if one.mask is not None}

    return _Masks(of(ours), of(theirs))


def _mask(masks: _Masks, key: Key, grid: Grid) -> tuple[Array | None, list[str]]:
    """Return where both traces use the gates, and what to say where they differ."""
    both = [_spread(side.get(key), grid) for side in (masks.ours, masks.theirs)]
    ours, theirs = both
    if ours is None or theirs is None:
        return ours if theirs is None else theirs, []
    differ = np.argwhere(ours != theirs)
    if not len(differ):
        return ours, []
    n, t = (int(i) for i in differ[0])
    words = ("unmasked", "masked")
    problem = (
        f"{key[0]} {key[1]} mask: sample {grid.samples[n]}, timestep {t} is {words[int(not theirs[n, t])]} in theirs "
        f"and {words[int(not ours[n, t])]} in ours ({len(differ)} differ)"
    )
    return ours & theirs, [problem]


def _spread(one: Written | None, grid: Grid) -> Array | None:
    if one is None or one.mask is None:
        return None
    mask = np.ones((len(grid.samples), grid.timesteps), bool)
    samples = [list(grid.samples).index(int(n)) for n in _numbers(one.samples, len(one.mask)) if int(n) in grid.samples]
    timesteps = _numbers(one.timesteps, one.mask.shape[1])
    if len(samples) == len(one.mask) and timesteps.max() < grid.timesteps:
        mask[np.ix_(np.array(samples), timesteps)] = one.mask
    return mask


def _missing(mine: Mapping[Key, Mapping[str, Theirs]], placed: Mapping[Key, Mapping[str, Theirs]]) -> Iterator[str]:
    for key, signals in mine.items():
        if key not in placed:
            yield f"not compared, since only one has it: {' '.join(filter(None, key))}"
        elif missing := [name for name in signals if name not in placed[key]]:
            yield f"not compared, since only one has it: {' '.join(filter(None, key))} {', '.join(missing)}"
