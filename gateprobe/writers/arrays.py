"""Traces as named arrays: the keys of NPZ and HDF5, and the index that goes into their metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.trace import DirectionTrace, TraceChunk
from gateprobe.writers.names import archive_key

METADATA_KEY = "__metadata__"
"""The name of the metadata: a JSON text."""


def group_key(direction: DirectionTrace) -> str:
    """Return ``layer/direction``, under which the signals stand."""
    return archive_key(f"{direction.layer}/{direction.direction}")


def mask_key(direction: DirectionTrace) -> str:
    """Return ``layer/mask``; both directions of a layer have the same mask."""
    return archive_key(f"{direction.layer}/mask")


def arrays_of(chunk: TraceChunk) -> Iterator[tuple[str, Array]]:
    """Yield key and array of everything in a chunk."""
    masks: dict[str, Array] = {}
    for direction in chunk.directions:
        for name, value in direction.signals.items():
            yield f"{group_key(direction)}/{name}", value
        if direction.mask is not None:
            masks.setdefault(mask_key(direction), direction.mask)
    yield from masks.items()


def index_of(chunk: TraceChunk, samples: Sequence[Array]) -> dict[str, Any]:
    """Return what the arrays themselves do not say, JSON-ready: which samples, timesteps and units they hold.

    Args:
        chunk: Any chunk of the run.
        samples: The numbers of the samples of every chunk.
    """
    return {
        "samples": ranges_text(np.concatenate(samples)),
        "directions": [
            {
                "key": group_key(direction),
                "layer": direction.layer,
                "direction": direction.direction,
                "backwards": direction.backwards,
                "length": direction.length,
                "timesteps": ranges_text(direction.timesteps),
                "units": ranges_text(direction.units),
                "signals": list(direction.signals),
            }
            for direction in chunk.directions
        ],
    }


def ranges_text(numbers: Array) -> str:
    """Return ascending numbers in the form in which the command line takes them: ``0:8,31``."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.concatenate([[0], ends + 1])]
    stops = numbers[np.concatenate([ends, [len(numbers) - 1]])] + 1
    return ",".join(
        f"{start}" if stop == start + 1 else f"{start}:{stop}" for start, stop in zip(starts, stops, strict=True)
    )
