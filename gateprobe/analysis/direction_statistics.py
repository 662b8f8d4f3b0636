"""What is known of one direction of a layer, and what was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from gateprobe.analysis.memory import Memory, memory_of
from gateprobe.analysis.moments import Bounds, Moments
from gateprobe.errors import InputError
from gateprobe.graph import Array

By: TypeAlias = Literal["layer", "unit", "timestep"]
"""What a row of the table is about, beside a layer, a direction and a signal."""

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
"""Those that are computed unless others are asked for."""
GATES = ("input_gate", "forget_gate", "update_gate", "reset_gate", "output_gate")
"""Signals from 0 to 1: saturated below ``low`` and above ``high``."""
_SQUASHED = ("candidate", "hidden_state")
"""Signals from -1 to 1: saturated below ``-high`` and above ``high``."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is computed.

    Args:
        by: A row for each ``layer``, ``unit`` or ``timestep``.
        low: A gate below it is closed, as in Karpathy, Johnson and Fei-Fei 2015 (arXiv 1506.02078, section 4.3).
        high: A gate above it is open.
        quantiles: Which ones, from 0 to 1.

    Raises:
        InputError: They are none of these.
    """

    by: By = "layer"
    low: float = 0.1
    high: float = 0.9
    quantiles: tuple[float, ...] = QUANTILES

    def __post_init__(self) -> None:
        if self.by not in ("layer", "unit", "timestep"):
            raise InputError(f"--by={self.by}: expected layer, unit or timestep")
        if not 0 <= self.low < self.high <= 1:
            raise InputError(f"--low={self.low:g} and --high={self.high:g}: expected 0 <= low < high <= 1")
        wrong = [share for share in self.quantiles if not 0 <= share <= 1]
        if wrong:
            raise InputError(f"--quantiles={wrong[0]:g}: expected numbers from 0 to 1, such as 0.1,0.5,0.9")
        object.__setattr__(self, "quantiles", tuple(sorted(set(map(float, self.quantiles)))))

    @property
    def bounds(self) -> Mapping[str, Bounds]:
        """Signal → what is saturated; no entry for signals without limits."""
        gates = dict.fromkeys(GATES, Bounds(self.low, self.high))
        return {**gates, **dict.fromkeys(_SQUASHED, Bounds(-self.high, self.high))}


@dataclass(frozen=True, slots=True, eq=False)
class DirectionStatistics:
    """What is known of one direction of one layer."""

    layer: str
    direction: str
    signals: tuple[str, ...]
    units: Array
    """``(units,)`` numbers of the units."""
    by_unit: Moments
    """``(signals, units)``."""
    where: Array
    """``(rows, 2)``: sample and timestep of those that were kept, of which quantiles are computed."""
    sampled: Array
    """``(rows, signals, units)``: their values."""
    before: Array | None
    """``(rows, units)``: the state at the steps before, NaN where it is not known; ``None`` for a SimpleRNN, and where
    the state or its gates were not kept."""
    masked: bool
    """Whether any timestep was left out because of a mask."""
    timesteps: Array
    """``(timesteps,)``: their numbers; empty unless rows are timesteps."""
    by_timestep: Moments
    """``(signals, timesteps)``."""

    @property
    def label(self) -> str:
        """Layer and direction, for people."""
        return f"{self.layer} {self.direction}"

    @property
    def counted(self) -> int:
        """How many unmasked timesteps there were."""
        return int((self.by_unit.count + self.by_unit.odd).max(initial=0))

    @property
    def memory(self) -> Memory | None:
        """How the layer keeps its state; ``None`` for a SimpleRNN, and where gates are missing."""
        return memory_of(self.signals)

    @property
    def sampled_signals(self) -> dict[str, Array]:
        """Name → ``(rows, units)``."""
        return {name: self.sampled[:, k] for k, name in enumerate(self.signals)}

    def signal(self, name: str) -> Moments | None:
        """Return the moments ``(units,)`` of a signal; ``None`` where it was not kept."""
        return self.by_unit.at(self.signals.index(name)) if name in self.signals else None


def time_constant(forget: float) -> float:
    """Return after how many timesteps a state has decayed to 1/e under a gate that keeps this share: ``-1 / ln f``."""
    if not forget > 0:
        return 0.0 if forget <= 0 else math.nan
    return math.inf if forget >= 1 else -1 / math.log(forget)


def share(part: Array, whole: Array) -> Array:
    """Return quotients; NaN where there is nothing to divide by."""
    quotients: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return quotients


def remembered(part: DirectionStatistics, settings: Settings) -> dict[str, Array]:
    """Return what the sampled timesteps show of the memory, as far as the signals allow.

    Returns:
        ``carried``, ``added`` and ``taken``: where that holds, ``(rows, units)``; ``written`` and ``kept``: magnitudes,
        NaN where the step before is not known.
    """
    memory, signals = part.memory, part.sampled_signals
    if memory is None:
        return {}
    with np.errstate(all="ignore"):  # infinities are counted, not warned of
        found = {"carried": memory.carried(signals, settings.low, settings.high)}
        counted = memory.counted(signals, settings.high)
        if counted is not None:
            found["added"], found["taken"] = counted
        written = memory.written(signals)
        if written is not None and part.before is not None:
            found["written"] = np.where(np.isnan(part.before), np.nan, written)
            found["kept"] = memory.kept(signals, part.before)
    return found


def mean_of_known(values: Array) -> Array:
    """Return the mean of the finite values of each column, ``(columns,)`` float64; NaN where there are none."""
    known = np.isfinite(values)
    return share(np.where(known, values, 0).sum(axis=0, dtype=np.float64), known.sum(axis=0))
