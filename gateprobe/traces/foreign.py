"""Numbers of another program, as far as its file says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateprobe.graph import Array

Form: TypeAlias = Literal["sequences", "rows", "last"]


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """One signal in a file."""

    label: str
    """What the file calls it."""
    layer: str | None
    """``None`` where the file does not say."""
    direction: str | None
    signal: str
    """A signal of ours; ``z``, which is the candidate of an LSTM and the update gate of a GRU."""
    values: Array
    """``(samples, timesteps, units)`` in float64; one sample of ``rows``, one timestep of ``last``."""
    there: Array
    """Of that shape: what is not empty."""
    slack: Array
    """Of that shape: how far a number may be from what it stands for."""
    form: Form = "sequences"
    """``rows`` may be timesteps of one sample, or the last timestep of many."""
    samples: Array | None = None
    """``(samples,)`` numbers; ``None`` where the file does not number them."""
    timesteps: Array | None = None
    units: Array | None = None
    backwards: bool | None = None
    """Whether the layer ran from the end, where the file says so."""
    mask: Array | None = None
    """``(samples, timesteps)``, where the file has one."""
    half: bool = False
    """Whether the numbers are stored as float16."""

    def kind(self, kinds: Mapping[str, str]) -> str:
        """Return the signal, given what ``z`` is."""
        return kinds.get(self.signal, self.signal)


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """What a file holds."""

    name: str
    written: tuple[Written, ...]
    notes: tuple[str, ...] = ()
