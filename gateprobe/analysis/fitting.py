"""Puts another program's numbers on the grid of a layer: which samples, timesteps and units they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from gateprobe.analysis.mistakes.block import Theirs
from gateprobe.analysis.mistakes.watch import Key
from gateprobe.errors import InputError, choices
from gateprobe.graph import Array
from gateprobe.traces.foreign import Foreign, Written
from gateprobe.traces.selection import Selection, check_layers
from gateprobe.traces.words import SIGNAL_ORDER


@dataclass(frozen=True, slots=True)
class Grid:
    """A direction of a layer."""

    layer: str
    direction: str
    backwards: bool
    samples: tuple[int, ...]
    """Their numbers."""
    timesteps: int
    units: int
    signals: frozenset[str]
    joined_with: str | None = None
    """The other direction of a Bidirectional that puts both side by side."""

    @property
    def key(self) -> Key:
        """Layer and direction."""
        return self.layer, self.direction

    @property
    def shown(self) -> str:
        """For messages."""
        shape = (len(self.samples), self.timesteps, self.units)
        return f"{self.layer} {self.direction} (samples, timesteps, units) = {shape}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user says of a file."""

    selection: Selection = field(default_factory=Selection)
    """Of layers and of one direction."""
    last: bool = False
    """Whether two axes are the last timestep of many samples, where they may be timesteps as well."""

    @property
    def direction(self) -> str | None:
        """The one that was asked for."""
        return self.selection.directions[0] if self.selection.directions else None


class Misfit(Exception):
    """Numbers do not fit a grid; says why."""


Placed = dict[Key, dict[str, Theirs]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken for granted of one signal, in a sentence that several may share."""

    text: str
    """With ``{}`` for the signals and ``{be}`` for *is* or *are*."""
    label: str


Notes: TypeAlias = list[str | Taken]


def _said(notes: Notes) -> list[str]:
    """Return each sentence once, with all signals of which it holds."""
    labels: dict[str, dict[str, None]] = {}
    for note in notes:
        text, label = (note.text, note.label) if isinstance(note, Taken) else (note, None)
        labels.setdefault(text, {}).update({} if label is None else {label: None})
    return [_filled(text, list(found)) if found else text for text, found in labels.items()]


def _filled(text: str, labels: list[str]) -> str:
    listed = labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
    return text.format(listed, be="is" if len(labels) == 1 else "are")


def fit(foreign: Foreign, grids: Sequence[Grid], asked: Asked) -> tuple[Placed, list[str]]:
    """Find out which layers the numbers of a file are of, and place them.

    Returns:
        The numbers of each direction of a layer, signals in the order of computing, and notes.

    Raises:
        InputError: No layer fits, several do, or the file names one that is not there.
    """
    placed: Placed = {}
    notes: Notes = list(foreign.notes)
    check_layers(asked.selection, dict.fromkeys(grid.layer for grid in grids))
    wanted = [grid for grid in grids if asked.selection.takes_layer(grid.layer)]
    if asked.direction is not None:
        wanted = [grid for grid in wanted if grid.direction == asked.direction]
        if not wanted:
            there = list(dict.fromkeys(grid.direction for grid in grids))
            raise InputError(f"--direction={asked.direction} selects nothing", remedy=choices(there))
    for (layer, direction), group in _groups(foreign).items():
        for grid, part in _chosen(foreign.name, layer, direction, group, wanted, grids, asked, notes):
            signals = placed.setdefault(grid.key, {})
            for one in part:
                name = _signal(one, grid)
                if name not in grid.signals:
                    if layer is None:
                        raise InputError(f"{one.label} is {name}, which {grid.layer} does not have", file=foreign.name)
                    notes.append(f"not compared: {one.label}, since {grid.layer} has no {name}")
                    continue
                if name in signals:
                    raise InputError(f"has {name} of {grid.layer} {grid.direction} twice", file=foreign.name)
                signals[name] = on_grid(one, grid, asked, notes)
    rank = [*(f"pre_{name}" for name in SIGNAL_ORDER), *SIGNAL_ORDER]
    ordered = {
        grid.key: {name: placed[grid.key][name] for name in rank if name in placed[grid.key]}
        for grid in grids
        if placed.get(grid.key)
    }
    if not ordered:
        raise InputError("has nothing to compare", file=foreign.name)
    return ordered, _said(notes)


def _groups(foreign: Foreign) -> dict[tuple[str | None, str | None], list[Written]]:
    groups: dict[tuple[str | None, str | None], list[Written]] = {}
    for one in foreign.written:
        groups.setdefault((one.layer, one.direction), []).append(one)
    return groups


def _signal(one: Written, grid: Grid) -> str:
    """Say what ``z`` is in this layer."""
    if one.signal != "z":
        return one.signal
    return "update_gate" if "update_gate" in grid.signals else "candidate"


def _chosen(
    name: str, layer: str | None, direction: str | None, group: list[Written], wanted: Sequence[Grid],
    grids: Sequence[Grid], asked: Asked, notes: Notes,
) -> Iterator[tuple[Grid, list[Written]]]:  # fmt: skip
    """Yield where the numbers under one label belong."""
    if {grid.layer for grid in grids} == {""}:
        layer = None  # a log of one layer, which does not say its name
    if layer is not None:
        wanted = _of_layer(layer, name, wanted, grids)
        if not wanted:
            return  # another layer was asked for
    if direction is not None:
        wanted = [grid for grid in wanted if grid.direction == direction]
    fitting, halves, reasons = [], [], []
    for grid in wanted:
        try:
            for one in group:
                _check_signal(one, grid)
                on_grid(one, grid, asked, [])
            fitting.append(grid)
        except Misfit as reason:
            reasons.append(f"{grid.shown}: {reason}")
            if grid.joined_with is not None and direction is None:
                halves += [(grid, half) for half in [_half(group, grid, asked)] if half is not None]
    if len(fitting) == 1:
        if layer is None and len(grids) > 1 and not asked.selection.layers:
            notes.append(f"{name} is taken for {fitting[0].layer} {fitting[0].direction}, which its shape fits")
        yield fitting[0], group
    elif len(fitting) > 1:
        listed = ", ".join(f"{grid.layer} {grid.direction}" for grid in fitting)
        ways = "--direction" if len({grid.layer for grid in fitting}) == 1 else "--layer"
        raise InputError(f"its shape fits several: {listed}", file=name, remedy=f"choose one with {ways}")
    elif halves and len({grid.layer for grid, _ in halves}) == 1:
        notes.append(f"{name} is taken for both directions of {halves[0][0].layer} side by side, which its shape fits")
        yield from halves
    else:
        shape = "×".join(map(str, group[0].values.shape))
        raise InputError(
            f"no recurrent layer fits {group[0].label} ({shape})", file=name, remedy="; ".join(reasons[:4]) or None
        )


def _of_layer(layer: str, name: str, wanted: Sequence[Grid], grids: Sequence[Grid]) -> list[Grid]:
    """Return those of the wanted grids that are of a layer.

    Raises:
        InputError: None of all grids is.
    """
    mine = [grid for grid in grids if grid.layer == layer]
    if not mine:
        near = choices(dict.fromkeys(grid.layer for grid in grids), layer)
        remedy = f"{near}; rename it with --map THEIRS=OURS" if near else "give numbers of a layer that can be replayed"
        raise InputError(f"there is no recurrent layer {layer!r}", file=name, remedy=remedy)
    return [grid for grid in mine if grid in wanted]


def _check_signal(one: Written, grid: Grid) -> None:
    if one.layer is None and _signal(one, grid) not in grid.signals:
        raise Misfit(f"has no {_signal(one, grid)}")


def _half(group: list[Written], grid: Grid, asked: Asked) -> list[Written] | None:
    """Return the half of the units that belongs to one direction of a Bidirectional."""
    units = slice(0, grid.units) if grid.direction == "forward" else slice(grid.units, 2 * grid.units)
    if any(
        one.values.shape[2] != 2 * grid.units or (one.units is not None and len(one.units) != 2 * grid.units)
        for one in group
    ):
        return None
    cut = [
        replace(
            one, values=one.values[:, :, units], there=one.there[:, :, units], slack=one.slack[:, :, units], units=None
        )
        for one in group
    ]
    try:
        for one in cut:
            _check_signal(one, grid)
            on_grid(one, grid, asked, [])
    except Misfit:
        return None
    return cut


# --- one array


def on_grid(one: Written, grid: Grid, asked: Asked, notes: Notes) -> Theirs:
    """Place an array.

    Args:
        one: The array.
        grid: Where.
        asked: What the user says.
        notes: Where to say what was taken for granted.

    Raises:
        Misfit: It does not fit.
    """
    units = _units(one, grid, notes)
    samples, timesteps, arrays = _rows(one, grid, asked, notes)
    shape = (len(grid.samples), grid.timesteps, grid.units)
    made = [np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape)]
    at = np.ix_(samples, timesteps, units)
    for whole, part in zip(made, arrays, strict=True):
        whole[at] = part
    values, there, slack = made
    return Theirs(values, there, slack)


def _units(one: Written, grid: Grid, notes: Notes) -> Array:
    count = one.values.shape[2]
    if one.units is None:
        if count != grid.units:
            raise Misfit(f"{one.label} has {count} units")
        return np.arange(count)
    numbers = one.units
    if int(numbers.max()) == grid.units and int(numbers.min()) > 0:
        notes.append(Taken("the units of {} are numbered from 1", one.label))
        return numbers - 1
    if int(numbers.max()) >= grid.units:
        raise Misfit(f"{one.label} has a unit {int(numbers.max())}")
    return numbers


_Rows = tuple[Array, Array, tuple[Array, Array, Array]]


def _rows(one: Written, grid: Grid, asked: Asked, notes: Notes) -> _Rows:
    """Return the places of samples and timesteps, and the arrays in the shape that they take then."""
    arrays = (one.values, one.there, one.slack)
    if one.form == "sequences":
        return _samples(one, grid, notes), _timesteps(one, grid, notes), arrays
    rows = one.values.shape[0] if one.form == "last" else one.values.shape[1]
    turned = _as_samples(arrays) if one.form == "rows" else arrays
    count, last = len(grid.samples), np.array([0 if grid.backwards else grid.timesteps - 1])
    if one.form == "last" or asked.last or (rows == count and rows != grid.timesteps):
        if one.form == "last" and one.samples is not None:
            return _samples(one, grid, notes), last, turned
        if rows != count:
            raise Misfit(f"{one.label} has {rows} rows for {count} samples")
        if one.form == "rows" and not asked.last:
            notes.append(Taken("the rows of {} are taken for the last timestep of each sample", one.label))
        return np.arange(count), last, turned
    if rows == count == grid.timesteps and count > 1:
        notes.append(
            f"the rows of {one.label} are taken for the timesteps of sample {grid.samples[0]}; if they are the last "
            "timestep of each sample, say --last"
        )
    if rows == count * grid.timesteps and count > 1:
        shape = (count, grid.timesteps, one.values.shape[2])
        return np.arange(count), np.arange(grid.timesteps), tuple(a.reshape(shape) for a in arrays)  # type: ignore[return-value]
    if rows > grid.timesteps:
        raise Misfit(f"{one.label} has {rows} rows for {grid.timesteps} timesteps")
    if count > 1 and rows != grid.timesteps:
        raise Misfit(f"{one.label} has {rows} rows for {count} samples of {grid.timesteps} timesteps")
    if count > 1:
        notes.append(Taken(f"{{}} {{be}} taken for sample {grid.samples[0]}", one.label))
    return np.array([0]), _late(rows, one, grid, notes), arrays


def _as_samples(arrays: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    return tuple(np.swapaxes(array, 0, 1) for array in arrays)  # type: ignore[return-value]


def _samples(one: Written, grid: Grid, notes: Notes) -> Array:
    count = one.values.shape[0]
    if one.samples is None:
        if count == len(grid.samples):
            return np.arange(count)
        if count == 1:
            notes.append(Taken(f"{{}} {{be}} taken for sample {grid.samples[0]}", one.label))
            return np.array([0])
        raise Misfit(f"{one.label} has {count} samples")
    places = {number: at for at, number in enumerate(grid.samples)}
    numbers = one.samples.tolist()
    if not set(numbers) <= places.keys() and min(numbers) == 1 and {n - 1 for n in numbers} <= places.keys():
        notes.append(Taken("the samples of {} are numbered from 1", one.label))
        numbers = [number - 1 for number in numbers]
    missing = [number for number in numbers if number not in places]
    if missing:
        raise Misfit(f"{one.label} has a sample {missing[0]}")
    return np.array([places[number] for number in numbers])


def _timesteps(one: Written, grid: Grid, notes: Notes) -> Array:
    numbers = one.timesteps
    if numbers is None:
        return _late(one.values.shape[1], one, grid, notes)
    if int(numbers.max()) == grid.timesteps and int(numbers.min()) > 0:
        notes.append(Taken("the timesteps of {} are numbered from 1", one.label))
        return numbers - 1
    if int(numbers.max()) >= grid.timesteps:
        raise Misfit(f"{one.label} has a timestep {int(numbers.max())}")
    return numbers


def _late(rows: int, one: Written, grid: Grid, notes: Notes) -> Array:
    """Return the places of rows that nothing numbers: where there are fewer, the first ones are missing."""
    if rows > grid.timesteps:
        raise Misfit(f"{one.label} has {rows} timesteps")
    if rows < grid.timesteps:
        notes.append(f"{one.label} has {rows} of {grid.timesteps} timesteps: the first ones are taken to be missing")
    return np.arange(grid.timesteps - rows, grid.timesteps)
