"""Traces as named arrays: the keys of NPZ and HDF5, and the index that goes into their metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.traces.chunk import LABEL, DirectionTrace, Grid, TraceChunk
from gateprobe.writers.names import archive_key

METADATA_KEY = "__metadata__"
"""The name of the metadata: a JSON text."""


def group_key(direction: DirectionTrace) -> str:
    """Return ``layer/direction``, under which the signals stand."""
    return archive_key(f"{direction.layer}/{direction.direction}")


def mask_key(direction: DirectionTrace) -> str:
    """Return ``layer/mask``; both directions of a layer have the same mask."""
    return archive_key(f"{direction.layer}/mask")


def context_key(layer: str, name: str) -> str:
    """Return ``layer/input/NAME`` or ``layer/output/NAME``; both directions of a layer have the same there."""
    kind, _, plain = name.partition(".")
    return f"{archive_key(layer)}/{kind}/{archive_key(plain).replace('/', _SLASH)}"


_SLASH = "\\x2f"


def axis_names(signal: Array, grid: Grid) -> tuple[str, ...]:
    """Name a signal's axes; a ConvLSTM has several behind the timesteps, through which ``unit`` counts."""
    images = tuple(name for name, _ in grid) or tuple(f"axis_{number}" for number in range(2, signal.ndim))
    inner = ("unit",) if signal.ndim == 3 else images
    return ("sample", "timestep", *inner)


def arrays_of(chunk: TraceChunk) -> Iterator[tuple[str, Array, int]]:
    """Yield everything in a chunk: key, array, and the timesteps of the array when the sample is complete.

    Texts are left out: these files hold numbers.
    """
    shared: dict[str, tuple[Array, int]] = {}
    for direction in chunk.directions:
        for name, value in direction.signals.items():
            yield f"{group_key(direction)}/{name}", value, direction.kept
        if direction.mask is not None:
            shared.setdefault(mask_key(direction), (direction.mask, direction.kept))
        for name, value in numbers_beside(direction).items():
            shared.setdefault(context_key(direction.layer, name), (value, direction.kept))
    for key, (value, kept) in shared.items():
        yield key, value, kept


def numbers_beside(direction: DirectionTrace) -> dict[str, Array]:
    """Return what stands beside the signals, without texts."""
    return {name: value for name, value in direction.context.items() if name != LABEL}


def context_axes(value: Array) -> tuple[str, ...]:
    """Name the axes of what stands beside the signals; features are numbered by a scale for each size."""
    return ("sample", "timestep", *(f"feature_{size}" for size in value.shape[2:]))


class _Numbers:
    """Ascending numbers, in memory that does not grow where they follow each other."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def add(self, numbers: Array) -> None:
        """Append numbers."""
        for part in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if len(numbers) else ():
            start, stop = int(part[0]), int(part[-1]) + 1
            if self._spans and self._spans[-1][1] == start:
                start, _ = self._spans.pop()
            self._spans.append((start, stop))

    @property
    def text(self) -> str:
        """The numbers in the form in which the command line takes them: ``0:8,31``."""
        return ",".join(f"{start}" if stop == start + 1 else f"{start}:{stop}" for start, stop in self._spans)


def numbers_text(numbers: Array) -> str:
    """Write ascending numbers in the form in which the command line takes them: ``0:8,31``."""
    found = _Numbers()
    found.add(numbers)
    return found.text


@dataclass(slots=True, eq=False)
class Index:
    """What the arrays themselves do not say: which samples, timesteps and units they hold."""

    _samples: _Numbers = field(default_factory=_Numbers)
    _directions: list[dict[str, Any]] = field(default_factory=list)
    _timesteps: list[_Numbers] = field(default_factory=list)
    """Of each direction, in the first sample: all have the same."""
    _begun: int = 0
    """Chunks that begin with a new sample."""

    def add(self, chunk: TraceChunk) -> None:
        """Take note of a chunk."""
        if not chunk.continues:
            self._samples.add(chunk.samples)
            self._begun += 1
        if not self._directions:
            self._directions = [_described(direction) for direction in chunk.directions]
            self._timesteps = [_Numbers() for _ in chunk.directions]
        if self._begun == 1:
            for numbers, direction in zip(self._timesteps, chunk.directions, strict=True):
                numbers.add(direction.timesteps)

    def described(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        directions = [
            {**direction, "timesteps": timesteps.text}
            for direction, timesteps in zip(self._directions, self._timesteps, strict=True)
        ]
        return {"samples": self._samples.text, "directions": directions}


def _described(direction: DirectionTrace) -> dict[str, Any]:
    beside = numbers_beside(direction)
    return {
        "key": group_key(direction),
        "layer": direction.layer,
        "direction": direction.direction,
        "backwards": direction.backwards,
        "length": direction.length,
        "timesteps": "",
        "units": numbers_text(direction.units),
        "signals": list(direction.signals),
        **({"context": list(beside)} if beside else {}),
        **({"grid": [list(axis) for axis in direction.grid]} if direction.grid else {}),
    }
