"""What of a trace a page holds: all of it, or an excerpt by a stated rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.inputs.tokens import Labels
from gateprobe.observed import Observed
from gateprobe.traces.chunk import STATES, DirectionTrace, TraceChunk, joined

if TYPE_CHECKING:
    from gateprobe.replay.run import Progress

MOST_VALUES = 200_000
"""Values that a page holds unless more are asked for: with these it stays smooth."""

_FEWEST_TIMESTEPS = 100
"""Units are left out before sequences become shorter than this."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How much a page shows; ``None`` for all."""

    samples: int
    timesteps: int | None = None
    units: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """A part of a trace that a page can hold."""

    chunk: TraceChunk
    """Arrays ``(samples, timesteps, units)``, a mask too where units differ; a direction without values is left out."""
    labels: tuple[tuple[Labels | None, ...], ...]
    """For each direction and sample, a token for each timestep."""
    left_out: tuple[str, ...]
    """Sentences that say what is missing."""


def excerpt_of(observed: Observed, limit: int, progress: Progress | None = None) -> Excerpt:
    """Go through a trace until the page is full.

    Samples are left out first: the page then has the first ones. Where not even one fits, it has that one's first
    timesteps, and where a hundred of these do not fit, the units whose state varies most.

    Args:
        observed: The trace.
        limit: How many values the page may hold, over all signals.
        progress: Is told of samples or timesteps that are done.

    Raises:
        InputError: There is nothing to show, or one value of each signal is more than the limit.
    """
    chunks = observed.chunks(progress)
    first = next(chunks, None)
    if first is None or not observed.count:
        raise InputError("there is nothing to show: there are no samples")
    sizes = [(part.kept, len(part.units), len(part.signals)) for part in first.directions]
    if not any(t * u * s for t, u, s in sizes):
        why = "no recurrent layer has a timestep" if sizes else "the model has no recurrent layer"
        raise InputError(f"there is nothing to show: {why}")
    cut = cut_of(sizes, observed.count, limit)
    gathered = list(_gathered(observed, chain((first,), chunks), cut))
    whole = joined(chunk for chunk, _ in gathered)
    labels = [_along_samples(gathered, place) for place in range(len(whole.directions))]
    there = [place for place, part in enumerate(whole.directions) if next(iter(part.values())).size]
    directions = [_with_units(whole.directions[place], cut.units) for place in there]
    return Excerpt(
        replace(whole, directions=tuple(directions)),
        tuple(labels[place] for place in there),
        tuple(_sentences(cut, observed.count, limit, [sizes[place] for place in there], directions)),
    )


def cut_of(sizes: Iterable[tuple[int, int, int]], samples: int, limit: int) -> Cut:
    """Decide what is shown.

    Args:
        sizes: Timesteps, units and signals of each direction.
        samples: How many there are.
        limit: How many values may be shown.

    Raises:
        InputError: Not even one value of each signal is within the limit.
    """
    listed = list(sizes)
    longest, widest = max(t for t, _, _ in listed), max(u for _, u, _ in listed)

    def values(timesteps: int, units: int) -> int:
        return sum(min(t, timesteps) * min(u, units) * s for t, u, s in listed)

    one = values(longest, widest)
    if one <= limit:
        return Cut(min(samples, limit // one))
    timesteps = _most(longest, lambda t: values(t, widest) <= limit)
    if timesteps >= min(longest, _FEWEST_TIMESTEPS):
        return Cut(1, timesteps)
    timesteps = min(longest, _FEWEST_TIMESTEPS)
    units = _most(widest, lambda u: values(timesteps, u) <= limit)
    if units == 0:
        units, timesteps = 1, _most(timesteps, lambda t: values(t, 1) <= limit)
    if timesteps == 0:
        least = f"{values(1, 1):,} is the least: one timestep of one unit of each layer"
        raise InputError(f"--max-values={limit}: {least}", remedy="ask for more, or choose layers with --layer")
    return Cut(1, timesteps, units if units < widest else None)


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to ``most`` that fits, where all smaller ones do; 0 if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


_Row = list[Labels | None]


def _gathered(observed: Observed, chunks: Iterable[TraceChunk], cut: Cut) -> Iterator[tuple[TraceChunk, list[_Row]]]:
    """Yield chunks of the wanted samples and timesteps, each with the labels of each direction."""
    samples = 0
    taken: list[int] = []
    for chunk in chunks:
        if not chunk.continues:
            if samples >= cut.samples:
                return
            taken = [0] * len(chunk.directions)
        rows = slice(0, len(chunk.samples) if chunk.continues else cut.samples - samples)
        directions, labels = [], []
        for place, part in enumerate(chunk.directions):
            stop = len(part.timesteps) if cut.timesteps is None else max(0, cut.timesteps - taken[place])
            some = replace(part, context={}).rows(rows).between(slice(0, stop))
            taken[place] += len(some.timesteps)
            directions.append(some)
            labels.append(_labels(observed, part, chunk.samples[rows], len(some.timesteps)))
        samples += 0 if chunk.continues else len(chunk.samples[rows])
        yield replace(chunk, samples=chunk.samples[rows], directions=tuple(directions)), labels


def _labels(observed: Observed, part: DirectionTrace, samples: Array, timesteps: int) -> _Row:
    found = (observed.labels(part, row, int(sample)) for row, sample in enumerate(samples))
    return [None if one is None else one[:timesteps] for one in found]


def _along_samples(gathered: Iterable[tuple[TraceChunk, list[_Row]]], place: int) -> tuple[Labels | None, ...]:
    """Put the labels of one direction together; those of the slabs of a sample follow each other."""
    found: _Row = []
    for chunk, labels in gathered:
        if chunk.continues:
            before, more = found.pop(), labels[place][0]
            found.append(None if before is None or more is None else (*before, *more))
        else:
            found.extend(labels[place])
    return tuple(found)


def _with_units(part: DirectionTrace, most: int | None) -> DirectionTrace:
    """Flatten what is behind the timesteps, and keep the units whose state varies most."""
    signals = {name: value.reshape(*value.shape[:2], -1) for name, value in part.signals.items()}
    part = replace(part, signals=signals, mask=_plain_mask(part.mask, signals))
    if most is None or len(part.units) <= most:
        return part
    chosen = np.sort(np.argsort(-_spread(signals[state_of(part)]), kind="stable")[:most])
    mask = part.mask if part.mask is None or part.mask.ndim == 2 else part.mask[..., chosen]
    signals = {name: value[..., chosen] for name, value in signals.items()}
    return replace(part, signals=signals, mask=mask, units=part.units[chosen])


def _plain_mask(mask: Array | None, signals: Mapping[str, Array]) -> Array | None:
    """Return a mask ``(samples, timesteps)``, or ``(samples, timesteps, units)`` where images have one for each pixel.

    Which units of a selection lie in which pixel is not known here, but masked gates are NaN.
    """
    if mask is None or mask.ndim == 2:
        return mask
    gate = next((value for name, value in signals.items() if name not in STATES), None)
    return np.asarray(mask.reshape(*mask.shape[:2], -1).any(axis=-1) if gate is None else ~np.isnan(gate))


def _spread(values: Array) -> Array:
    """Return ``(units,)``: the standard deviation of what is finite."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    with np.errstate(all="ignore"):
        largest = np.abs(np.where(np.isfinite(flat), flat, 0)).max(axis=0, initial=0)
        scaled = np.where(
            np.isfinite(flat), flat / np.where(largest, largest, 1), np.nan
        )  # its square must not overflow
        spread: Array = np.nan_to_num(np.sqrt(_mean((scaled - _mean(scaled)) ** 2))) * largest
    return spread


def _mean(values: Array) -> Array:
    there = np.isfinite(values)
    mean: Array = np.where(there, values, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return mean


def state_of(part: DirectionTrace) -> str:
    """Return the signal that tells most of a unit: its cell state, or what comes nearest."""
    return next((name for name in STATES if name in part.signals), list(part.signals)[-1])


def _sentences(
    cut: Cut, samples: int, limit: int, sizes: list[tuple[int, int, int]], directions: list[DirectionTrace]
) -> Iterator[str]:
    """Say what is left out, and why."""
    missing = []
    if cut.samples < samples:
        missing.append(f"the first {cut.samples:,} of {samples:,} samples" if cut.samples > 1 else
                       f"the first of {samples:,} samples")  # fmt: skip
    longest = max(t for t, _, _ in sizes)
    if cut.timesteps is not None and cut.timesteps < longest:
        missing.append(f"the first {cut.timesteps:,} of {longest:,} timesteps")
    if cut.units is not None:
        widest = max(u for _, u, _ in sizes)
        states = ", ".join(dict.fromkeys(state_of(part) for part in directions))
        several = f"the {cut.units:,} units" if cut.units > 1 else "the one unit"
        missing.append(f"of each layer {several} (of up to {widest:,}) whose {states} varies most")
    if missing:
        yield f"Shown: {'; '.join(missing)}. The page holds at most {limit:,} values."
