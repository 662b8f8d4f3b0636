"""What `compare` returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateprobe.analysis.mistakes.factors import Factor


class Verdict(Enum):
    """How a comparison ended."""

    AGREES = "agrees"
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True)
class Place:
    """One number on which two programs disagree."""

    layer: str
    direction: str
    signal: str
    sample: int
    timestep: int
    """Position in the layer's input."""
    step: int
    """The order in which the layer processed it."""
    unit: int
    ours: float
    theirs: float
    exact: float | None
    """The replay in float64; ``None`` between two traces."""
    allowed: float

    @property
    def difference(self) -> float:
        """Absolute difference of both programs."""
        return abs(self.ours - self.theirs)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two programs are apart in one signal of one direction of one layer."""

    layer: str
    direction: str
    signal: str
    values: int
    """How many numbers were compared."""
    max_abs: float
    mean_abs: float
    growth: tuple[tuple[int, float], ...]
    """``(step, largest difference at that step)`` for some steps, the first and the last one among them."""
    required: float
    """The largest difference as a multiple of what is allowed; above 1 is a disagreement."""
    mismatches: int
    first: Place | None
    """The earliest disagreement."""
    worst: Place | None
    """The value that needs the largest tolerance."""

    @property
    def agrees(self) -> bool:
        """Whether every number agrees."""
        return self.mismatches == 0


@dataclass(frozen=True, slots=True)
class Cause:
    """What makes the numbers agree."""

    names: tuple[str, ...]
    """Short: ``gate order``, ``bias left out``, ``number format``, ... one for each mistake."""
    text: str
    """What is so in the other program: ``the gate order is i, f, o, g``."""
    where: tuple[str, ...]
    """Layer and direction of what it explains."""
    agrees_to: float
    """The largest difference that is left."""
    allowed: float | None
    """The most that the number format can do, if it is one; such numbers are consistent with it, and no more."""
    everything: bool
    """Whether nothing else disagrees then, and with the causes before it."""
    alike: tuple[str, ...]
    """What these numbers cannot tell it from."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """The result of a comparison; true when both programs agree."""

    ours: str
    """A model file, or a trace."""
    theirs: str
    signals: tuple[Difference, ...]
    """In the order of computing."""
    first: Place | None
    """The earliest number on which they disagree."""
    causes: tuple[Cause, ...]
    """The simplest explanation of each part that disagrees."""
    factors: tuple[Factor, ...]
    """Where nothing explains the first disagreement: what it is made of."""
    problems: tuple[str, ...]
    """What disagrees and is not a number: masks."""
    notes: tuple[str, ...]
    """What a reader of the result must know: which layer was compared, what was not."""
    rule: str
    """What counts as agreement, in words."""
    tried: int | None
    """How many explanations were tried, ``None`` where there is no model."""

    @property
    def verdict(self) -> Verdict:
        """How it ended."""
        return Verdict.AGREES if not self.problems and all(one.agrees for one in self.signals) else Verdict.DISAGREES

    def __bool__(self) -> bool:
        return self.verdict is Verdict.AGREES

    def __repr__(self) -> str:
        lines = [f"Comparison of {self.theirs} with {self.ours}: {self.verdict.value}"]
        lines += [f"  {len(self.signals)} signals, largest difference {max(s.max_abs for s in self.signals):.2g}"]
        return "\n".join([*lines, *(f"  agrees to {one.agrees_to:.1g} if {one.text}" for one in self.causes)])
