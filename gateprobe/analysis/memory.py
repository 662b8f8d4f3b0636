"""What a state keeps and what is written to it, for each kind of layer whose gates say so.

An LSTM writes ``i * g`` to its cell state and keeps ``f * c_prev``; a GRU writes ``(1 - z) * candidate`` to its hidden
state and keeps ``z * h_prev``. A SimpleRNN has no gates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace


@dataclass(frozen=True, slots=True)
class Memory:
    """How a kind of layer keeps its state."""

    state: str
    keeps: str
    """The gate that keeps it."""
    writes: str | None
    """The gate that writes to it; ``None`` where that is 1 less the other one."""

    def fits(self, names: Collection[str]) -> bool:
        """Whether a trace with these signals is of such a layer and holds its gates."""
        return self.keeps in names and (self.writes is None or self.writes in names)

    def carried(self, signals: Mapping[str, Array], low: float, high: float) -> Array:
        """Return where the state is kept and next to nothing written to it."""
        keeps: Array = signals[self.keeps] > high
        return keeps if self.writes is None else keeps & (signals[self.writes] < low)

    def counted(self, signals: Mapping[str, Array], high: float) -> tuple[Array, Array] | None:
        """Return where about 1 is added to a state that is kept, and where about 1 is taken away.

        Only an LSTM can do so (Weiss, Goldberg and Yahav 2018, arXiv 1805.04908): it does it with both gates open and
        a candidate near 1 or -1. ``None`` for a GRU, and where the candidate is missing.
        """
        if self.writes is None or "candidate" not in signals:
            return None
        opened = (signals[self.keeps] > high) & (signals[self.writes] > high)
        return opened & (signals["candidate"] > high), opened & (signals["candidate"] < -high)

    def written(self, signals: Mapping[str, Array]) -> Array | None:
        """Return the magnitude of what is written; ``None`` where the candidate is missing."""
        return None if "candidate" not in signals else np.abs(self.write(signals))

    def write(self, signals: Mapping[str, Array]) -> Array:
        """Return what is written, in float64."""
        gate = 1 - signals[self.keeps] if self.writes is None else signals[self.writes]
        written: Array = np.multiply(gate, signals["candidate"], dtype=np.float64)
        return written

    def kept(self, signals: Mapping[str, Array], before: Array) -> Array:
        """Return the magnitude of what is kept of the state at the step before."""
        magnitude: Array = np.abs(np.multiply(signals[self.keeps], before, dtype=np.float64))
        return magnitude


LSTM = Memory("cell_state", "forget_gate", "input_gate")
GRU = Memory("hidden_state", "update_gate", None)
KEEPERS = (LSTM.keeps, GRU.keeps)
"""The gates that say how long a state lasts."""


def memory_of(names: Collection[str]) -> Memory | None:
    """Return how the layer of a trace keeps its state; ``None`` for a SimpleRNN, and where gates are missing."""
    return next((memory for memory in (LSTM, GRU) if memory.fits(names)), None)


def places_before(part: DirectionTrace, places: Array) -> Array:
    """Return the places of the steps before some timesteps, as the layer processed them; -1 for none.

    The state at a masked timestep is the one that was carried on, so that it is the right one in any case. Before the
    first step there is an initial state, which no trace holds; and where timesteps were left out, nothing is guessed.

    Args:
        part: A trace.
        places: Of the timesteps, among those of the trace.
    """
    step = 1 if part.backwards else -1
    before = places + step
    there = (before >= 0) & (before < len(part.timesteps))
    there[there] = part.timesteps[before[there]] == part.timesteps[places[there]] + step
    return np.where(there, before, -1)
