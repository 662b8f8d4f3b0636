"""What units may follow: numbers that the user gives, tokens that match a pattern, or the position."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.inputs.array_files import UNPACKED_LIMIT
from gateprobe.inputs.files import read_input
from gateprobe.traces.chunk import DirectionTrace


class Target(Protocol):
    """A number for each timestep of each sample."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def timesteps(self) -> int | None:
        """How many each sample has; ``None`` where there are as many as a layer's input has."""

    def values(self, samples: Array, part: DirectionTrace, at: slice) -> Array:
        """Return the numbers ``(samples, timesteps)`` at the timesteps of a direction, NaN where there are none.

        Args:
            samples: ``(samples,)`` numbers.
            part: The direction.
            at: Which of the samples of the direction these are.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Numbers for each sample.

    Args:
        name: Where they come from.
        rows: ``(samples, timesteps)``.
        place: Number of a sample → its row.
    """

    name: str
    rows: Array
    place: Callable[[Array], Array]

    @classmethod
    def of(cls, name: str, rows: Array, numbers: Array, total: int | None) -> Given:
        """Give numbers to samples.

        Args:
            name: Where they come from.
            rows: ``(samples, timesteps)`` or ``(samples, timesteps, 1)``: a row for each sample of the input, or for
                each that is looked at.
            numbers: ``(samples,)``: those that are looked at.
            total: How many the input has; ``None`` where that is not known.

        Raises:
            InputError: They are of another shape, or no real numbers.
        """
        if rows.ndim == 3 and rows.shape[2] == 1:
            rows = rows[:, :, 0]
        shown = "(" + ", ".join(map(str, rows.shape)) + ")"
        if rows.ndim != 2:
            raise InputError(
                f"has the shape {shown}", file=name, remedy="give (samples, timesteps), a number for each timestep"
            )
        if rows.dtype.kind not in "fiub":
            raise InputError(f"holds {rows.dtype}", file=name, remedy="give real numbers")
        if len(rows) == total or (total is None and len(rows) > max(len(numbers), numbers.max(initial=-1))):
            return cls(name, rows, lambda samples: samples)
        if len(rows) == len(numbers):
            order = np.argsort(numbers)
            return cls(name, rows, lambda samples: order[np.searchsorted(numbers, samples, sorter=order)])
        wanted = f"{len(numbers)} samples are looked at" + ("" if total in (None, len(numbers)) else f", of {total}")
        raise InputError(
            f"has the shape {shown}, and {wanted}", file=name, remedy=f"give ({total or len(numbers)}, timesteps)"
        )

    @classmethod
    def of_array(cls, value: object, numbers: Array, total: int | None) -> Given:
        """Give the numbers of a caller to samples; see `of`."""
        if value is None:
            raise InputError("there is no signal to follow", remedy="give an array (samples, timesteps)")
        return cls.of("signal", np.asarray(value), numbers, total)

    @classmethod
    def read(cls, file: str, numbers: Array, total: int | None, max_bytes: int | None = None) -> Given:
        """Read numbers from a file, and give them to samples; see `of`.

        Args:
            file: ``.npy``, ``.npz``, ``FILE.npz[key]``, a table with a row for each sample, or one with the columns
                sample, timestep and a third; may be a URL, or ``-``.
            numbers: See `of`.
            total: See `of`.
            max_bytes: Limit for what is read into memory.
        """
        limit = UNPACKED_LIMIT if max_bytes is None else max_bytes
        source = read_input(file, (None, None), limit)[""]
        return cls.of(source.name or file, np.array(source.array), numbers, total)

    @property
    def timesteps(self) -> int:
        """How many each sample has."""
        return int(self.rows.shape[1])

    def values(self, samples: Array, part: DirectionTrace, at: slice) -> Array:
        """See `Target`."""
        found: Array = np.asarray(self.rows[self.place(samples)][:, part.timesteps], np.float64)
        return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True, slots=True)
class Position:
    """The number of the timestep."""

    name: str = "the position"
    timesteps: None = None

    def values(self, samples: Array, part: DirectionTrace, at: slice) -> Array:
        """See `Target`."""
        return np.broadcast_to(part.timesteps.astype(np.float64), (len(samples), len(part.timesteps)))


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """1 where a token matches a pattern, 0 where it does not, NaN where there is none.

    Args:
        pattern: Found anywhere in a token; ``^...$`` for all of it.
        labels: Returns the tokens at the timesteps of a direction for a row and a sample; ``None`` where it has none.
    """

    pattern: str
    labels: Callable[[DirectionTrace, int, int], tuple[str, ...] | None]

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(f"{self.pattern!r} is no regular expression: {error}") from None

    @property
    def name(self) -> str:
        """The pattern."""
        return f"tokens that match {self.pattern}"

    @property
    def timesteps(self) -> None:
        """As many as the layer has."""
        return

    def values(self, samples: Array, part: DirectionTrace, at: slice) -> Array:
        """See `Target`."""
        found = np.full((len(samples), len(part.timesteps)), np.nan)
        search = re.compile(self.pattern).search
        for row, sample in enumerate(samples, at.start or 0):
            tokens = self.labels(part, row, int(sample))
            if tokens is not None:
                found[row - (at.start or 0)] = [search(token) is not None for token in tokens]
        return found
