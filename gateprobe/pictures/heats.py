"""Maps of numbers over time: units below each other, the signals of one unit, text, and the memory ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gateprobe.analysis.ledger import Ledger, ledger
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.pictures.scales import around_zero, scale_of
from gateprobe.pictures.values import Cell, Facts, Heat, Passage, Scale
from gateprobe.pictures.views import View, cells_of, scales_of
from gateprobe.traces.chunk import STATES
from gateprobe.traces.selection import Ranges

_MOST_STATES, _MOST_PARTS = 400, 20_000_000
"""Rows of the ledger of a unit, and parts of all of them."""


def heat_maps(views: Sequence[View]) -> Iterator[Heat]:
    """Yield a map of each signal of each view: units from top to bottom."""
    scales = scales_of(views)
    for view in views:
        rows = tuple(map(str, view.part.units))
        for name in view.part.signals:
            values = view.values(name)
            heat = _over_time(view, values, view.cells(values), "unit", rows, (scales[name],) * len(rows))
            yield replace(heat, facts={**view.facts, "signal": name})


def unit_maps(views: Sequence[View]) -> Iterator[Heat]:
    """Yield a map for each unit of each view: its signals from top to bottom, each with colours of its own."""
    for view in views:
        names = tuple(view.part.signals)
        tables = [view.values(name) for name in names]
        masks = [view.cells(table) for table in tables]
        for at, unit in enumerate(view.part.units):
            values, cells = (np.stack([table[at] for table in found]) for found in (tables, masks))
            scales = tuple(
                scale_of(name, [row[kinds == Cell.VALUE]])
                for name, row, kinds in zip(names, values, cells, strict=True)
            )
            heat = _over_time(view, values, cells, "signal", names, scales)
            yield replace(heat, facts={**view.facts, "unit": f"unit {unit}"}, numbers=True)


def passages(views: Sequence[View]) -> Iterator[Passage]:
    """Yield the tokens of each view, coloured by each of its units.

    Raises:
        InputError: A view has no tokens, or no state and several other signals.
    """
    scales = scales_of(views)
    for view in views:
        if view.tokens is None:
            raise InputError("--kind=text colours tokens, and there are none", remedy="give --tokens")
        for name in _coloured_by(view):
            values, scale = view.values(name), scales[name]
            cells = view.cells(values)
            for at, unit in enumerate(view.part.units):
                facts = {**view.facts, "unit": f"unit {unit}", "signal": name}
                yield Passage(facts, view.tokens, values[at], cells[at], view.part.timesteps, scale)


def _coloured_by(view: View) -> tuple[str, ...]:
    """Return the signals that were asked for, else the state that a layer remembers by."""
    if view.part.order:
        return tuple(view.part.signals)
    return next((name,) for name in STATES if name in view.part.signals)


def ledgers(views: Sequence[View], chosen: Ranges | None) -> Iterator[Heat]:
    """Yield who wrote the state of each view, and how much of that is left.

    One unit gives a map of all timesteps: each row takes the state at one of them apart. Several units give a map of
    the units, at the last timestep.

    Args:
        views: With every timestep up to those that are looked at, in processing order.
        chosen: Timesteps at which the state is looked at; several of them for one unit only.

    Raises:
        InputError: A layer has no ledger, or a view lacks what it needs.
    """
    for view in views:
        order = _computed(view)
        if chosen is not None:
            order = order[np.isin(order, chosen.pick(view.part.length, "timestep"))]
        if not len(order):
            there = "" if chosen is None else f"--timestep={chosen.text}: "
            raise InputError(
                f"{there}{view.part.layer} {view.part.direction} computed no state there: it is all masked"
            )
        yield _of_unit(view, np.sort(order)) if len(view.part.units) == 1 else _of_layer(view, int(order[-1]))


def _computed(view: View) -> Array:
    """Return the timesteps that are not masked, in processing order."""
    part = view.part
    order = np.argsort(part.steps)
    if part.mask is not None:
        order = order[part.mask[view.row].reshape(len(order), -1).any(axis=1)[order]]
    timesteps: Array = part.timesteps[order]
    return timesteps


def _of_layer(view: View, timestep: int) -> Heat:
    found = ledger(view.part, view.row, timestep)
    values, cells, columns, tokens = _with_initial(view, [found], *_spread(view, found))
    facts = {**view.facts, "signal": f"ledger of the {found.state} at timestep {timestep}"}
    heat = _written(view, facts, values, cells, ("unit", tuple(map(str, found.units))), columns, tokens)
    return replace(heat, notes=_doubts([found]))


def _doubts(found: Sequence[Ledger]) -> tuple[str, ...]:
    """Return what to say of parts that are not those of the state: it is NaN, or the trace was altered."""
    return () if all(one.adds_up for one in found) else ("the parts do not add up to the state",)


def _of_unit(view: View, timesteps: Array) -> Heat:
    every = -(-len(timesteps) // max(1, min(_MOST_STATES, _MOST_PARTS // len(view.part.timesteps))))
    timesteps = timesteps[::-1][::every][::-1]  # the last one stays
    found = [ledger(view.part, view.row, int(timestep)) for timestep in timesteps]
    tables = [_spread(view, one) for one in found]
    values, cells = (np.concatenate([table[part] for table in tables]) for part in (0, 1))
    values, cells, columns, tokens = _with_initial(view, found, values, cells)
    facts = {**view.facts, "unit": f"unit {view.part.units[0]}", "signal": f"ledger of the {found[0].state}"}
    heat = _written(view, facts, values, cells, ("state at timestep", tuple(map(str, timesteps))), columns, tokens)
    sampled = [f"one of {every} states is shown"] if every > 1 else []
    return replace(heat, notes=(*sampled, *_doubts(found)))


def _spread(view: View, found: Ledger) -> tuple[Array, Array]:
    """Return values and cells, ``(units, timesteps)``, of what each timestep wrote."""
    part = view.part
    at = np.searchsorted(part.timesteps, found.written_at)
    values = np.full((len(found.units), len(part.timesteps)), np.nan)
    values[:, at] = found.contribution.T
    cells = np.full(values.shape, Cell.NOTHING, np.uint8)
    cells[:, part.steps <= part.steps[part.timesteps == found.timestep]] = Cell.MASKED
    cells[:, at] = cells_of(values[:, at])
    return values, cells


def _with_initial(
    view: View, found: Sequence[Ledger], values: Array, cells: Array
) -> tuple[Array, Array, tuple[str, ...], tuple[str, ...] | None]:
    """Add a column for what is left of an initial state, if there was one, on the side where the layer began."""
    columns, tokens = tuple(map(str, view.part.timesteps)), view.tokens
    initial = np.concatenate([one.initial for one in found])[:, None]
    if not initial.any():
        return values, cells, columns, tokens
    first = found[0].since
    name = "initial" if first is None else f"{'after' if view.part.backwards else 'before'} {first}"
    way = -1 if view.part.backwards else 1
    values = np.concatenate([initial, values][::way], axis=1)
    cells = np.concatenate([cells_of(initial), cells][::way], axis=1)
    columns = (*columns, name) if way < 0 else (name, *columns)
    if tokens is not None:
        tokens = (*tokens, "") if way < 0 else ("", *tokens)
    return values, cells, columns, tokens


def _written(
    view: View,
    facts: Facts,
    values: Array,
    cells: Array,
    rows: tuple[str, tuple[str, ...]],
    columns: tuple[str, ...],
    tokens: tuple[str, ...] | None,
) -> Heat:
    """Return a map of what was written: places put together show the sum of their parts."""
    limit = float(np.abs(values[cells == Cell.VALUE]).max(initial=0))
    return Heat(
        facts,
        values,
        cells,
        *rows,
        "timestep that wrote it",
        columns,
        (around_zero(limit),) * len(rows[1]),
        tokens,
        view.part.backwards,
        pooling="sum",
    )


def _over_time(
    view: View, values: Array, cells: Array, row_title: str, rows: tuple[str, ...], scales: tuple[Scale, ...]
) -> Heat:
    columns = tuple(map(str, view.part.timesteps))
    return Heat(
        view.facts, values, cells, row_title, rows, "timestep", columns, scales, view.tokens, view.part.backwards
    )
