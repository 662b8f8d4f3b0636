"""Cuts chunks into pieces whose signals lie side by side, and pieces into blocks of rows without masked timesteps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gateprobe.analysis.moments import MOST_ROWS
from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace

_LARGEST = 1 << 22
"""Values in a piece that has to be copied, unless one sample has more."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some samples of one direction."""

    names: tuple[str, ...]
    """Of the signals, in the order in which they lie in memory."""
    values: Array
    """``(timesteps, signals, samples, units)``, float32 or float64."""
    mask: Array | None
    """``(timesteps, samples)``; ``None`` where all count."""

    def signal(self, name: str) -> Array:
        """Return the values of a signal, ``(timesteps, samples, units)``."""
        found: Array = self.values[:, self.names.index(name)]
        return found

    def blocks(self) -> Iterator[Array]:
        """Yield what counts, as ``(rows, sets, signals, sets, units)``: all units in as many sets as a row has.

        One of the two numbers of sets is 1: samples lie inside a signal, but a masked timestep takes its place out of
        all signals.
        """
        if self.mask is None:
            for start in range(0, len(self.values), MOST_ROWS):
                yield self.values[start : start + MOST_ROWS, np.newaxis]
            return
        kept = np.swapaxes(self.values, 1, 2)[self.mask]  # (rows, signals, units)
        if not len(kept):
            return
        tall = min(len(kept), MOST_ROWS)
        even = len(kept) // tall * tall  # long rows are fast: sets stand side by side
        for rows in (kept[:even].reshape(tall, -1, *kept.shape[1:]), kept[even:, np.newaxis]):
            if rows.size:
                yield rows[:, :, :, np.newaxis]


def pieces(part: DirectionTrace) -> Iterator[tuple[slice, Piece]]:
    """Yield which samples of a direction make a piece, and the piece; what the replay hands over is not copied."""
    samples, timesteps = next(iter(part.signals.values())).shape[:2]
    if not timesteps or not len(part.units):
        return
    names, whole = _side_by_side({name: _time_first(value, len(part.units)) for name, value in part.signals.items()})
    step = samples if whole is not None else max(1, _LARGEST // (timesteps * len(part.units) * len(names)))
    for start in range(0, samples, step):
        at = slice(start, start + step)
        mask = None if part.mask is None or part.mask[at].all() else part.mask[at].T
        values = [_time_first(value[at], len(part.units)) for value in part.signals.values()] if whole is None else []
        yield at, Piece(names, np.stack(values, axis=1) if whole is None else whole, mask)


def _time_first(values: Array, units: int) -> Array:
    """Return ``(timesteps, samples, units)``, in float32 at least."""
    wide = values if values.dtype.itemsize >= 4 else values.astype(np.float32)
    return (wide if wide.ndim == 3 else wide.reshape(*values.shape[:2], units)).swapaxes(0, 1)


def _side_by_side(signals: Mapping[str, Array]) -> tuple[tuple[str, ...], Array | None]:
    """Look at arrays that lie at equal distances in memory as one, with the signals on the second axis.

    Returns:
        The names in that order, and the array; ``None`` where they lie elsewhere, or are of different types.
    """
    places = {name: value.__array_interface__["data"][0] for name, value in signals.items()}
    names = tuple(sorted(signals, key=places.__getitem__))
    first = signals[names[0]]
    steps = {places[b] - places[a] for a, b in pairwise(names)} or {0}
    alike = {(value.shape, value.strides, value.dtype) for value in signals.values()}
    if len(steps) > 1 or len(alike) > 1 or first[0].strides[1] != first.itemsize:
        return tuple(signals), None
    shape, strides = (len(names), *first.shape), (*steps, *first.strides)
    return names, as_strided(first, shape, strides).swapaxes(0, 1)
