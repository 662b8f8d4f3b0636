"""What a picture shows, before anything is drawn: panels of numbers with their places, colours and words.

The charts and the terminal draw the same values, so that what is binned, masked or left out is decided once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

import numpy as np

from gateprobe.graph import Array

Facts: TypeAlias = Mapping[str, str]
"""What a panel shows, such as ``signal`` → ``forget_gate``; what all panels share stands in the title of the whole."""

Progress: TypeAlias = Callable[[int, int, str], None]
"""Is told what is done, what there is to do, and what is counted."""


class Cell(IntEnum):
    """What a place of a panel holds."""

    VALUE = 0
    MASKED = 1
    NAN = 2
    INFINITE = 3
    NOTHING = 4
    """There is no such place: a value written after the timestep that is looked at."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Which numbers the colours mean."""

    low: float
    high: float

    @property
    def signed(self) -> bool:
        """Whether zero is the middle, and the colours diverge from it."""
        return self.low < 0

    def share(self, values: Array) -> Array:
        """Return how far values are from ``low`` (0) to ``high`` (1); what is not finite gives 0."""
        share = (np.where(np.isfinite(values), values, self.low) - self.low) / (self.high - self.low)
        return np.clip(share, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A map of numbers: timesteps from left to right, rows from top to bottom."""

    facts: Facts
    values: Array
    """``(rows, columns)`` float64."""
    cells: Array
    """``(rows, columns)`` of `Cell`."""
    row_title: str
    """What the rows are: ``unit``."""
    rows: tuple[str, ...]
    column_title: str
    """What the columns are: ``timestep``."""
    columns: tuple[str, ...]
    """Timesteps, or spans of them."""
    scales: tuple[Scale, ...]
    """One for each row."""
    tokens: tuple[str, ...] | None = None
    """One for each column."""
    backwards: bool = False
    """Whether the layer read the timesteps from the last to the first."""
    pooling: Literal["mean", "sum"] = "mean"
    """What stands for several timesteps where there are too many to draw."""
    notes: tuple[str, ...] = ()
    """What a viewer must know of it."""
    numbers: bool = False
    """Whether to write the numbers into the places where they fit."""

    @property
    def one_scale(self) -> Scale | None:
        """The scale of all rows, if they share one."""
        return self.scales[0] if len(set(self.scales)) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """Tokens in the order of the input, each with a number."""

    facts: Facts
    tokens: tuple[str, ...]
    values: Array
    """``(tokens,)`` float64."""
    cells: Array
    """``(tokens,)`` of `Cell`."""
    timesteps: Array
    """``(tokens,)``."""
    scale: Scale


@dataclass(frozen=True, slots=True, eq=False)
class Saturation:
    """How often each unit's gate is nearly shut or nearly open."""

    facts: Facts
    units: Array
    """``(units,)`` numbers."""
    low: Array
    """``(units,)`` share of the timesteps at which the gate is below the low limit."""
    high: Array
    """``(units,)`` likewise above the high limit."""
    limits: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often a signal has which value."""

    facts: Facts
    edges: Array
    """``(bins + 1,)``."""
    counts: Array
    """``(bins,)``."""


Panel: TypeAlias = Heat | Passage | Saturation | Histogram


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]
    across: int
    """How many panels stand beside each other where there is room."""
    notes: tuple[str, ...] = ()
    """What a viewer must know: what is masked, binned or not a number."""


def short(value: float) -> str:
    """Write a number in about four characters."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}"
