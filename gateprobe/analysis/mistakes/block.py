"""One direction of one layer beside the numbers of a port, and how well a `Port` explains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gateprobe.analysis.agreement import SignalReport, Tolerance, Trio, compare, epsilon
from gateprobe.analysis.mistakes.port import Port
from gateprobe.analysis.mistakes.watch import Fields, Given, Key
from gateprobe.graph import Array
from gateprobe.traces.chunk import STATES

_LOOSE = 1e-4
"""How far a port may be off, relative to the larger of 1 and the value, to be looked at further."""
_ULPS = 256.0


@dataclass(frozen=True, slots=True, eq=False)
class Theirs:
    """One signal of another program, on the grid of the layer's samples, timesteps and units."""

    values: Array
    """``(samples, timesteps, units)``."""
    there: Array
    """Of that shape: which numbers the file has."""
    slack: Array
    """Of that shape: how far each may be from what it stands for, because of how it was printed."""


@dataclass(frozen=True, eq=False)
class Block:
    """A direction of a layer, what it gets, and what the other program says of it."""

    key: Key
    given: Given
    exact: Given
    """The same in float64."""
    theirs: Mapping[str, Theirs]
    """In the order of computing."""
    tolerance: Tolerance
    halves: tuple[Array, Array] | None = None

    @property
    def base(self) -> Port:
        """The layer without mistakes."""
        return Port(self.given.cell, self.given.backwards, halves=self.halves)

    def port(self, fields: Fields) -> Port:
        """Return the layer with mistakes."""
        return replace(self.base, **fields)

    def compared(self, port: Port) -> Mapping[str, Array]:
        """Return where each signal is compared: gates only where the mask keeps them, where alone they are used."""
        return self._flipped if port.flipped else self._compared

    @cached_property
    def _compared(self) -> Mapping[str, Array]:
        return self._compared_by(self.given.mask)

    @cached_property
    def _flipped(self) -> Mapping[str, Array]:
        """Where the rows, and with them the masked ones, stand in the opposite order of time."""
        return self._compared_by(None if self.given.mask is None else self.given.mask[:, ::-1])

    def _compared_by(self, mask: Array | None) -> Mapping[str, Array]:
        return {
            name: one.there if mask is None or name in STATES else one.there & mask[:, :, None]
            for name, one in self.theirs.items()
        }

    @property
    def timesteps(self) -> int:
        """Of the layer's input."""
        return int(self.given.x.shape[1])

    @property
    def pre(self) -> bool:
        """Whether the other program has gates before their activation."""
        return any(name.startswith("pre_") for name in self.theirs)

    @cached_property
    def loose(self) -> float:
        """What is allowed relative to the larger of 1 and the value, for a first look."""
        given = [self.tolerance.of(name) for name in self.theirs]
        asked = max((2 * (pair[0] + pair[1]) for pair in given if pair is not None), default=0.0)
        return max(_LOOSE, _ULPS * epsilon(self.given.precision.name), asked)

    def first_there(self, port: Port, rows: Array) -> int:
        """Return the number of the first step of a port of which the file has something."""
        there = np.zeros(self.timesteps, bool)
        for name, compared in self.compared(port).items():
            if self.theirs[name].values.size:
                there |= compared[rows].any(axis=(0, 2))
        position = np.flatnonzero(there[reported(port, self.timesteps)])
        return int(position[0]) if len(position) else self.timesteps - 1

    def gap(self, port: Port, rows: Array, steps: int) -> dict[str, tuple[float, bool]]:
        """Simulate the first steps.

        Returns:
            Signal → largest difference, and whether all numbers are near enough.
        """
        found = {}
        with np.errstate(all="ignore"):
            for name, apart, room in self._apart(port, rows, steps):
                ok = apart <= room
                found[name] = float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0)), bool(ok.all())
        return found

    def fits(self, port: Port, rows: Array, steps: int) -> bool:
        """Whether all numbers of the first steps are near enough."""
        with np.errstate(all="ignore"):
            return all((apart <= room).all() for _, apart, room in self._apart(port, rows, steps))

    def _apart(self, port: Port, rows: Array, steps: int) -> Iterator[tuple[str, Array, Array]]:
        """Yield each signal with its differences in the first steps and what is near enough; not finite is far."""
        ran, positions = simulate(port, self.given, rows, steps, pre=self.pre)
        for name, (values, slack, use) in self._looked_at(port, rows, positions).items():
            if name in ran:
                mine = ran[name][use]
                apart = np.abs(mine - values)
                if not np.isfinite(apart).all():
                    apart = np.where((mine == values) | (np.isnan(mine) & np.isnan(values)), 0.0, apart)
                yield name, apart, self.loose * np.maximum(1.0, np.abs(mine)) + slack

    def _looked_at(self, port: Port, rows: Array, positions: Array) -> Mapping[str, tuple[Array, Array, Array]]:
        """Return the numbers of some rows, how far each may be off, and which of all numbers these are."""
        key = (port.flipped, rows.tobytes(), positions.tobytes())
        if key not in self._looks:
            compared, at = self.compared(port), np.ix_(rows, positions)
            self._looks[key] = {
                name: (one.values[at][use], one.slack[at][use], use)
                for name, one in self.theirs.items()
                for use in [compared[name][at]]
            }
        return self._looks[key]

    @cached_property
    def _looks(self) -> dict[tuple[bool, bytes, bytes], Mapping[str, tuple[Array, Array, Array]]]:
        return {}

    def reports(self, port: Port) -> list[SignalReport]:
        """Compare everything with a port, by the rule."""
        return list(self.judged(self.simulated(port, self.given), self.simulated(port, self.exact), port))

    def simulated(self, port: Port, given: Given) -> dict[str, Array]:
        """Return all signals of a port, each ``(samples, timesteps, units)`` in the order of its rows."""
        signals, positions = simulate(port, given, np.arange(len(given.x)), pre=self.pre)
        order = np.argsort(positions)
        return {name: value[:, order] for name, value in signals.items()}

    def judged(self, plain: Mapping[str, Array], exact: Mapping[str, Array], port: Port) -> Iterator[SignalReport]:
        """Compare with signals of a port in the layer's precision and in float64, ``(samples, timesteps, units)``."""
        backwards, compared = port.backwards != port.flipped, self.compared(port)
        for name, one in self.theirs.items():
            if name in plain:
                trio = Trio(
                    *self.key, name, one.values, plain[name], exact[name], compared[name], backwards,
                    self.given.precision.name, np.arange(len(one.values)), slack=one.slack,
                )  # fmt: skip
                yield judged(trio, self.tolerance)


def judged(trio: Trio, tolerance: Tolerance) -> SignalReport:
    """Compare by the rule; a program that computes in float64 may agree with the replay in float64 instead."""
    report = compare(trio, tolerance)
    if report.agrees:
        return report
    other = compare(replace(trio, replay=trio.exact), tolerance)
    return other if other.agrees else report


def reported(port: Port, timesteps: int) -> Array:
    """Return the row under which each step of a port stands in its file."""
    order = np.arange(timesteps)
    return order[::-1] if port.backwards != port.flipped else order


def simulate(
    port: Port, given: Given, rows: Array, steps: int | None = None, *, pre: bool = False
) -> tuple[dict[str, Array], Array]:
    """Compute a layer as a port does.

    Args:
        port: What to compute.
        given: What the layer gets.
        rows: Which samples.
        steps: How many steps; all without it.
        pre: Whether to keep the gates before their activation.

    Returns:
        The signals, each ``(samples, steps, units)`` in the order of the steps, and the row of each step.
    """
    timesteps = given.x.shape[1]
    count = timesteps if steps is None else min(steps, timesteps)
    if port.state == "carried":
        ran = _carried(port, given, int(rows.max()) + 1, pre=pre)
        signals = {name: value[rows, :count] for name, value in ran.items()}
    else:
        initial = tuple(state[rows] if port.initial else np.zeros_like(state[rows]) for state in given.initial)
        signals, _ = _stepped(port, given, rows, initial, count, pre=pre)
    return signals, reported(port, timesteps)[:count]


def _carried(port: Port, given: Given, samples: int, *, pre: bool) -> dict[str, Array]:
    """Run sample after sample, each from the states that the one before left behind."""
    states = tuple(state[:1] if port.initial else np.zeros_like(state[:1]) for state in given.initial)
    parts = []
    for n in range(samples):
        signals, states = _stepped(port, given, np.array([n]), states, given.x.shape[1], pre=pre)
        parts.append(signals)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stepped(
    port: Port, given: Given, rows: Array, states: tuple[Array, ...], count: int, *, pre: bool
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    order = slice(None, None, -1) if port.backwards else slice(None)
    x = np.swapaxes(given.x[rows], 0, 1)[order][:count]
    mask = None
    if given.mask is not None and port.masked:
        mask = np.swapaxes(given.mask[rows], 0, 1)[order]
    with np.errstate(all="ignore"):
        run = port.altered().begin(x, pre=pre)
        for t in range(count):
            new = run.step(t, states)
            if mask is not None and not mask[t].all():
                for after, before in zip(new, states, strict=True):
                    after[~mask[t]] = before[~mask[t]]
                _hold(run.signals(), t, new)
            states = new
    signals = {name: np.swapaxes(value, 0, 1) for name, value in run.signals().items()}
    return {name: value.reshape(*value.shape[:2], -1) for name, value in signals.items()}, states


def _hold(signals: Mapping[str, Array], t: int, states: tuple[Array, ...]) -> None:
    """Log the states that are held where the mask is false."""
    for name, state in zip(("hidden_state", "cell_state"), states, strict=False):
        signals[name][t] = state
