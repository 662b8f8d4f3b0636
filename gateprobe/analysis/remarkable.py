"""Units that stand out, with the reasons in words.

A reason counts for as much as it is rare: ``log2(units / units with that reason)`` bits, over all units of the run. A
unit's bits are the sum of those of its reasons, and units with equal bits are ordered by how strongly the reasons hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.analysis.direction_statistics import (
    GATES,
    DirectionStatistics,
    Settings,
    mean_of_known,
    remembered,
    time_constant,
)
from gateprobe.analysis.memory import KEEPERS
from gateprobe.graph import Array

STILL = 0.01
"""A state that moves by no more than this is still."""
FAR = 3.0
"""Beyond it, tanh of a cell state is above 0.995: the hidden state shows no more of it."""
COUNTED = 0.05
"""Share of the timesteps at which a counter adds, and at which it takes away, at least."""
CARRIED = 0.5
"""Share of the timesteps at which a unit carries its state, at least."""


@dataclass(frozen=True, slots=True)
class RemarkableUnit:
    """A unit that stands out."""

    layer: str
    direction: str
    unit: int
    bits: float
    """How rare its reasons are, added up."""
    reasons: tuple[str, ...]
    """In words, the rarest first."""

    def __str__(self) -> str:
        """The unit and its reasons on one line."""
        return f"{self.layer} {self.direction} unit {self.unit} {'; '.join(self.reasons)}"


@dataclass(frozen=True, slots=True, eq=False)
class _Reason:
    """What holds for some units of one direction."""

    kind: str
    """The same for all units whose reasons are alike."""
    strength: Array
    """``(units,)`` from 0 to 1; 0 where it does not hold."""
    words: Callable[[int], str]
    """For a position among the units."""


def remarkable_units(parts: Sequence[DirectionStatistics], settings: Settings) -> tuple[RemarkableUnit, ...]:
    """Return all units for which there are reasons, the most remarkable first."""
    found = [list(_reasons(part, settings)) for part in parts]
    counts: dict[str, int] = {}
    for reason in (reason for reasons in found for reason in reasons):
        counts[reason.kind] = counts.get(reason.kind, 0) + int(np.count_nonzero(reason.strength))
    total = sum(len(part.units) for part in parts)
    bits = {kind: math.log2(total / count) for kind, count in counts.items() if count}
    ranked = []
    for number, (part, reasons) in enumerate(zip(parts, found, strict=True)):
        for at in np.flatnonzero(sum((reason.strength for reason in reasons), np.zeros(len(part.units)))):
            held = sorted((one for one in reasons if one.strength[at] > 0), key=lambda one: -bits[one.kind])
            rarity = math.fsum(bits[one.kind] for one in held)
            strength = math.fsum(float(one.strength[at]) for one in held)
            words = tuple(one.words(int(at)) for one in held)
            unit = RemarkableUnit(part.layer, part.direction, int(part.units[at]), rarity, words)
            ranked.append((-rarity, -strength, number, int(at), unit))
    return tuple(unit for *_, unit in sorted(ranked, key=lambda one: one[:-1]))


def _reasons(part: DirectionStatistics, settings: Settings) -> Iterator[_Reason]:
    yield from _faults(part)
    yield from _still(part)
    yield from _stuck_gates(part, settings)
    yield from _memories(part, settings)


def _faults(part: DirectionStatistics) -> Iterator[_Reason]:
    odd = part.by_unit.odd.sum(axis=0)
    yield _Reason("faulty", (odd > 0).astype(float), lambda at: f"has {odd[at]:,} values that are NaN or infinite")


def _still(part: DirectionStatistics) -> Iterator[_Reason]:
    """Yield what is dead, and what is stuck elsewhere; the hidden state decides where it is there."""
    name = next((name for name in ("hidden_state", "cell_state") if name in part.signals), None)
    state = None if name is None else part.signal(name)
    if state is None:
        return
    there = state.count > 0
    reach = np.where(there, np.maximum(np.abs(state.least), np.abs(state.most)), np.inf)
    dead = reach <= STILL
    stuck = there & ~dead & (state.most - state.least <= STILL)
    yield _Reason("dead", dead.astype(float), lambda at: f"is dead: {name} is never beyond ±{_number(reach[at])}")
    yield _Reason(
        "stuck",
        stuck.astype(float),
        lambda at: f"is stuck: {name} stays between {_number(state.least[at])} and {_number(state.most[at])}",
    )


def _stuck_gates(part: DirectionStatistics, settings: Settings) -> Iterator[_Reason]:
    for name in GATES:
        gate = part.signal(name)
        if gate is None:
            continue
        for side, count, limit in (("below", gate.low, settings.low), ("above", gate.high, settings.high)):
            always = (gate.count > 0) & (count == gate.count)
            words = f"{name} is {side} {limit:g} at every timestep"
            yield _Reason(f"{name} {side}", always.astype(float), partial(_always, words))


def _memories(part: DirectionStatistics, settings: Settings) -> Iterator[_Reason]:
    yield from _kept(part, settings)
    for name in KEEPERS:
        gate = part.signal(name)
        if gate is not None:
            mean = np.where((gate.count > 0) & (gate.mean > settings.high), gate.mean, 0)
            yield _Reason("remembers", np.minimum(mean, 1), partial(_remembers, name, mean))
    state = part.signal("cell_state")
    if state is not None:
        reach = np.where(state.count > 0, np.maximum(np.abs(state.least), np.abs(state.most)), 0)
        yield _Reason(
            "far",
            np.where(reach >= FAR, 1 - 1 / np.maximum(reach, FAR), 0),
            lambda at: f"cell_state ranges from {_number(state.least[at])} to {_number(state.most[at])}",
        )


def _kept(part: DirectionStatistics, settings: Settings) -> Iterator[_Reason]:
    """Yield what the gates do to the state together."""
    memory = part.memory
    if memory is None:
        return
    shares = {name: mean_of_known(values) for name, values in remembered(part, settings).items()}
    never = np.zeros(len(part.units))
    carried, added, taken = (np.nan_to_num(shares.get(name, never)) for name in ("carried", "added", "taken"))
    yield _Reason(
        "counts",
        np.where(np.minimum(added, taken) >= COUNTED, added + taken, 0),
        lambda at: (
            f"counts: {memory.state} goes up by about 1 at {_percent(added[at])} of the timesteps, and down at "
            f"{_percent(taken[at])}"
        ),
    )
    yield _Reason(
        "carries",
        np.where(carried >= CARRIED, carried, 0),
        lambda at: f"carries: {memory.state} stays as it is at {_percent(carried[at])} of the timesteps",
    )


def _remembers(name: str, mean: Array, at: int) -> str:
    lasts = _number(time_constant(float(mean[at])))
    return f"remembers: the mean {name} is {_number(mean[at])}, a time constant of {lasts} timesteps"


def _always(words: str, at: int) -> str:
    return words


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _number(value: float) -> str:
    return f"{value:.3g}"
