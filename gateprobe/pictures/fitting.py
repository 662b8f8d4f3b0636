"""Fewer rows and columns where there is no room for all: each then stands for several, and the panel says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gateprobe.graph import Array
from gateprobe.pictures.scales import around_zero
from gateprobe.pictures.values import Cell, Heat, Saturation


def fitted(heat: Heat, columns: int, rows: int) -> tuple[Heat, tuple[str, ...]]:
    """Make a map small enough.

    Args:
        heat: The map.
        columns: How many there may be, at least one.
        rows: Likewise.

    Returns:
        The map, and what to tell of it: ``each column is the mean of 4 timesteps``.
    """
    notes = []
    across = _together(heat.values.shape[1], columns)
    down = _together(heat.values.shape[0], rows)
    if across > 1:
        notes.append(f"each column is the {heat.pooling} of {across} timesteps")
        heat = _turned(_pooled(_turned(heat), across, heat.pooling))
    if down > 1:
        notes.append(f"each row is the mean of {down} {_plural(heat.row_title)}")
        heat = replace(_pooled(heat, down, "mean"), scales=heat.scales[::down])
    if across > 1 and heat.pooling == "sum":
        values = heat.values[heat.cells == Cell.VALUE]
        heat = replace(heat, scales=(around_zero(float(np.abs(values).max(initial=0))),) * len(heat.rows))
    return heat, tuple(notes)


def _together(there: int, room: int) -> int:
    """Return how many share a place."""
    return -(-there // max(room, 1))


def _turned(heat: Heat) -> Heat:
    """Swap rows and columns."""
    return replace(heat, values=heat.values.T, cells=heat.cells.T, rows=heat.columns, columns=heat.rows)


def _pooled(heat: Heat, size: int, pooling: str) -> Heat:
    """Put ``size`` rows together; masked places do not count, and NaN or infinity among others stays visible."""
    values, cells = _blocks(heat.values, size, 0.0), _blocks(heat.cells, size, Cell.NOTHING)
    counts = cells == Cell.VALUE
    sums = np.where(counts, values, 0.0).sum(axis=1)
    number = counts.sum(axis=1)
    means = sums if pooling == "sum" else sums / np.maximum(number, 1)
    return replace(
        heat,
        values=np.where(number > 0, means, np.nan),
        cells=_worst(cells),
        rows=tuple(_span(heat.rows[start : start + size]) for start in range(0, len(heat.rows), size)),
        tokens=None,
        numbers=False,
    )


def _blocks(array: Array, size: int, filling: float) -> Array:
    """Return ``(blocks, size, columns)`` of ``(rows, columns)``."""
    missing = -len(array) % size
    padded = np.concatenate([array, np.full((missing, array.shape[1]), filling, array.dtype)])
    return padded.reshape(-1, size, array.shape[1])


def _worst(cells: Array) -> Array:
    """Return what several places together are: what is not finite first, then a value, then masked."""
    found = np.full((cells.shape[0], cells.shape[2]), Cell.NOTHING, cells.dtype)
    for kind in (Cell.MASKED, Cell.VALUE, Cell.INFINITE, Cell.NAN):
        found[(cells == kind).any(axis=1)] = kind
    return found


def _span(labels: tuple[str, ...]) -> str:
    first, last = labels[0].split("–")[0], labels[-1].split("–")[-1]
    return first if first == last else f"{first}–{last}"


def sampled(found: Saturation, most: int) -> tuple[Saturation, tuple[str, ...]]:
    """Leave out units of a scatter that has more points than one can see, evenly."""
    every = _together(len(found.units), most)
    if every == 1:
        return found, ()
    fewer = replace(found, units=found.units[::every], low=found.low[::every], high=found.high[::every])
    return fewer, (f"one of {every} units is shown",)


def _plural(title: str) -> str:
    return "states" if title.startswith("state") else f"{title}s"
