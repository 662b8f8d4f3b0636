"""What `verify` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateprobe.analysis.agreement import Divergence, SignalReport
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.traces import notebook

_SHOWN = 5
"""Findings that a ``repr`` shows."""


class Status(Enum):
    """How a verification ended."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    RANDOM = "random"
    """Everything that Keras computes twice alike agrees; something it does not."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One known difference that makes the replay agree where it first did not."""

    name: str
    """Short: ``hard_sigmoid slope``, ``gate order``, ``weights``, ..."""
    text: str
    """One sentence."""
    everything: bool
    """Whether nothing else disagrees then."""


@dataclass(frozen=True, slots=True, eq=False)
class InputSet:
    """Inputs of one length."""

    description: str
    arrays: Mapping[str, Array] = field(repr=False)
    """By name."""

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Verification:
    """The result of a comparison; true when the replay agrees with Keras."""

    file: str
    sha256: str
    """Of the file, with that of its architecture where this is another one."""
    era: str
    keras: str
    """``keras 3.15.1`` or ``tf_keras 2.21.0``."""
    backend: str
    """On which it ran, with the version: ``tensorflow 2.21.0``, ``jax 0.10.2`` or ``torch 2.13.0``."""
    built_because: str | None
    """Why the Keras model was built from the graph that was read; ``None`` when Keras opened a copy of the file."""
    inputs: tuple[InputSet, ...]
    semantics: str
    """What the file's words mean, as ``inspect`` says it; ``notes`` tell where other rules were run."""
    signals: tuple[SignalReport, ...]
    """Every signal of every direction of every call of a recurrent layer, then every output of the model."""
    problems: tuple[str, ...]
    """What disagrees and is not a number: masks, shapes, weights, layers that only one side ran."""
    first: Divergence | None
    """The earliest number on which Keras and the replay disagree."""
    explanations: tuple[Explanation, ...]
    notes: tuple[str, ...]
    """What a reader of the result must know: what could not be checked, and why."""
    random: tuple[str, ...]
    """Calls and outputs that Keras does not compute twice alike."""
    left_out: tuple[str, ...]
    """Layers that Keras did not get or that cannot be replayed, and why: what depends on them was not compared."""
    rule: str
    """What counts as agreement, in words."""

    @property
    def status(self) -> Status:
        """How it ended."""
        if self.problems or not all(report.agrees for report in self.signals):
            return Status.DISAGREES
        return Status.RANDOM if self.random else Status.AGREES

    @property
    def worst(self) -> SignalReport:
        """The signal that needs the largest tolerance.

        Raises:
            InputError: Nothing was compared.
        """
        if not self.signals:
            raise InputError("no numbers were compared", file=self.file)
        return max(self.signals, key=lambda report: report.required)

    def __repr__(self) -> str:
        lines = [self._heading(), *(f"  {text}" for text in (*self._measured(), *self._found()[:_SHOWN]))]
        return "\n".join([*lines, "  ..."] if len(self._found()) > _SHOWN else lines)

    def _repr_html_(self) -> str:
        rows = [
            (one.layer, one.direction, one.signal, f"{one.required:.2g}", "yes" if one.agrees else "no")
            for one in sorted(self.signals, key=lambda report: -report.required)
        ]
        columns = ("layer", "direction", "signal", "largest difference, of what is allowed", "agrees")
        found = [*self._found()[:_SHOWN], *(["..."] if len(self._found()) > _SHOWN else [])]
        rows, more = notebook.shortened(rows, _SHOWN, "signals, which are nearer to Keras")
        return notebook.table(self._heading(), columns, rows, (*more, *found))

    def _heading(self) -> str:
        return f"Verification of {self.file} against {self.keras} on {self.backend}: {self.status.value}"

    def _measured(self) -> list[str]:
        """Return how many signals were compared, and the largest difference."""
        if not self.signals:
            return []
        worst = self.worst
        return [
            (
                f"{len(self.signals)} signals; the largest difference is {worst.required:.2g} of what is allowed, in "
                f"{worst.layer} {worst.direction} {worst.signal}"
            )
        ]

    def _found(self) -> list[str]:
        """Return what disagrees, and what explains it."""
        return [*self.problems, *(one.text for one in self.explanations)]

    def __bool__(self) -> bool:
        return self.status is not Status.DISAGREES
