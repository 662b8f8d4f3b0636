"""The memory ledger: which timestep wrote a state, and how much of that is left.

The cell state of an LSTM is a sum. With ``c_0``, the initial state, and ``∏`` over the steps after ``t`` up to ``T``::

    c_T = c_0 * ∏ f + Σ_t (i_t * g_t) * ∏ f

so that every step has written one part, ``i_t * g_t``, of which the forget gates since then have kept ``∏ f``
(Murdoch and Szlam 2017, arXiv 1702.02540, section 3). The hidden state of a GRU is such a sum too, with ``z`` in the
place of ``f`` and ``(1 - z) * candidate`` in that of ``i * g``. A SimpleRNN has none: its state goes through its
activation at every step. A masked step writes nothing and keeps everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gateprobe.analysis.memory import GRU, LSTM
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace

_SIGNIFICANDS = (8, 11, 24, 53)
"""Bits of bfloat16, float16, float32 and float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """The parts of a state at one timestep of one sample, in float64; they add up to it but for rounding."""

    state: str
    """``cell_state``, or ``hidden_state`` of a GRU."""
    timestep: int
    """At which the state is looked at; a position in the layer's input."""
    units: Array
    """``(units,)`` numbers of the units; those of a ConvLSTM number its pixels and filters in C order."""
    written_at: Array
    """``(writes,)`` timesteps that wrote, in the order in which the layer processed them; masked ones did not."""
    written: Array
    """``(writes, units)``: what each of them wrote, ``i * g``."""
    kept: Array
    """``(writes, units)``: the share of it that is left, the product of the forget gates since."""
    initial: Array
    """``(units,)``: what is left of the initial state, or of the state before `since`."""
    since: int | None
    """The first timestep of a trace that does not begin where the layer began; ``None`` where it does."""
    value: Array
    """``(units,)``: the state itself, from the trace."""
    rounding: Array
    """``(units,)``: how far the roundings of the replay can move the state from the sum of its parts."""

    @property
    def contribution(self) -> Array:
        """``(writes, units)``: what is left of each write."""
        contribution: Array = self.written * self.kept
        return contribution

    @property
    def total(self) -> Array:
        """``(units,)``: the sum of all parts."""
        total: Array = self.initial + self.contribution.sum(axis=0)
        return total

    @property
    def residual(self) -> Array:
        """``(units,)``: the state less the sum of its parts."""
        residual: Array = self.value - self.total
        return residual

    @property
    def adds_up(self) -> bool:
        """Whether the parts add up to the state but for rounding; NaN and infinity have no parts."""
        return bool((np.abs(self.residual) <= self.rounding).all())


def ledger(direction: DirectionTrace, sample: int, timestep: int) -> Ledger:
    """Take a state apart.

    Args:
        direction: A trace with the signals ``input_gate``, ``forget_gate``, ``candidate`` and ``cell_state``, or those
            of a GRU, ``update_gate``, ``candidate`` and ``hidden_state``; every timestep up to the one that is looked
            at, in processing order.
        sample: Position of the sample in this trace.
        timestep: Position in the layer's input.

    Returns:
        The parts of each unit that the trace holds.

    Raises:
        InputError: A signal is missing, the layer has no ledger, or the trace has no such sample or timestep.
    """
    places = _places(direction, timestep)
    run = _Run.of(direction, sample, places)
    since = np.ones_like(run.keeps)
    np.cumprod(run.keeps[:0:-1], axis=0, out=since[-2::-1])
    first = run.states[0] - run.writes[0]  # of what was there before the first step; it keeps a part
    first[np.abs(first) <= 2 * run.unit * np.abs(run.writes[0])] = 0  # the rounding of the write
    before = np.concatenate([np.zeros_like(run.states[:1]), run.states[:-1]])
    roundings = np.abs(run.keeps * before) + np.abs(run.writes) + np.abs(run.states)
    wrote = run.counts.any(axis=1)
    begins = int(direction.steps[places[0]])
    return Ledger(
        state=run.state,
        timestep=timestep,
        units=direction.units,
        written_at=direction.timesteps[places][wrote],
        written=run.writes[wrote],
        kept=since[wrote],
        initial=first * since[0],
        since=None if begins == 0 else int(direction.timesteps[places[0]]),
        value=run.states[-1],
        rounding=2 * run.unit * (roundings * np.abs(since)).sum(axis=0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """The steps of one sample up to a timestep, in processing order; arrays ``(steps, units)`` of float64."""

    state: str
    states: Array
    keeps: Array
    """The share of the state before that each step kept; 1 where it is masked."""
    writes: Array
    """What each step wrote; 0 where it is masked."""
    counts: Array
    """Whether a step was computed."""
    unit: float
    """Unit roundoff of the signals."""

    @classmethod
    def of(cls, direction: DirectionTrace, sample: int, places: Array) -> _Run:
        memory = GRU if GRU.keeps in direction.signals else LSTM
        needed = tuple(filter(None, (memory.writes, memory.keeps, "candidate", memory.state)))
        if not set(needed) <= direction.signals.keys():
            there = ", ".join(direction.signals)
            raise InputError(
                f"{direction.layer}: the ledger needs {', '.join(needed)}; the trace has {there}",
                remedy="an LSTM or a GRU has one, a SimpleRNN has none",
            )
        samples = len(direction.signals["candidate"])
        if not 0 <= sample < samples:
            raise InputError(f"--sample={sample}: the trace has 0 to {samples - 1}")
        signals = {name: _steps(direction.signals[name][sample], places) for name in needed}
        counts = _counts(direction, sample, places)
        return cls(
            memory.state,
            signals[memory.state],
            np.where(counts, signals[memory.keeps], 1.0),
            np.where(counts, memory.write(signals), 0.0),
            counts,
            unit_roundoff(signals.values()),
        )


def _steps(signal: Array, places: Array) -> Array:
    """Return some timesteps of ``(timesteps, ...)`` as ``(steps, units)`` of float64."""
    return signal[places].reshape(len(places), -1).astype(np.float64)


def _counts(direction: DirectionTrace, sample: int, places: Array) -> Array:
    """Return which units were computed at which step; a mask may be one for each pixel of images."""
    shape = direction.signals["candidate"].shape[2:]
    if direction.mask is None:
        return np.ones((len(places), math.prod(shape)), np.bool_)
    mask = direction.mask[sample][places]
    aligned = mask.reshape(*mask.shape, *[1] * (1 + len(shape) - mask.ndim))
    return np.broadcast_to(aligned, (len(places), *shape)).reshape(len(places), -1)


def _places(direction: DirectionTrace, timestep: int) -> Array:
    """Return where the steps up to a timestep stand in a trace, in processing order.

    Raises:
        InputError: The trace does not hold the timestep, or not all before it.
    """
    order = np.argsort(direction.steps, kind="stable")
    at = np.flatnonzero(direction.timesteps[order] == timestep)
    if not len(at):
        first, last = direction.timesteps.min(), direction.timesteps.max()
        raise InputError(f"--timestep={timestep}: the trace of {direction.layer} has {first} to {last}")
    places = order[: int(at[0]) + 1]
    if (np.diff(direction.steps[places]) != 1).any():
        raise InputError(
            f"the trace of {direction.layer} leaves out timesteps, and the ledger needs all of them",
            remedy="trace it without --timestep",
        )
    return places


def unit_roundoff(arrays: Iterable[Array]) -> float:
    """Return the relative error of one rounding in the precision of some arrays, which may be kept in a wider one."""
    values = np.concatenate([np.ravel(value) for value in arrays])
    significands = np.frexp(values[np.isfinite(values)])[0]
    for bits in _SIGNIFICANDS:
        scaled = np.ldexp(significands, bits)
        if np.array_equal(scaled, np.rint(scaled)):
            return 2.0**-bits
    return 2.0**-53
