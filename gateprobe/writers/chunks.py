"""Cutting chunks into pieces of another size."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gateprobe.traces.chunk import DirectionTrace, TraceChunk, joined
from gateprobe.writers.pieces import BLOCK_ROWS


def cut_rows(chunk: TraceChunk, heights: tuple[int, ...], rows: int = BLOCK_ROWS) -> Iterator[TraceChunk]:
    """Cut a chunk into chunks whose tables have at most about ``rows`` rows, in the order of the rows.

    Args:
        chunk: What to cut.
        heights: Table rows of one timestep of each direction.
        rows: Wanted number of rows; exceeded where one timestep alone has more.
    """
    lengths = [height * len(part.timesteps) for height, part in zip(heights, chunk.directions, strict=True)]
    together = max(1, rows // max(1, sum(lengths)))
    for start in range(0, len(chunk.samples), together):
        block = chunk.rows(slice(start, start + together))
        if sum(lengths) <= rows:
            yield block
        else:
            yield from _cut_sample(block, heights, rows)


def _cut_sample(chunk: TraceChunk, heights: tuple[int, ...], rows: int) -> Iterator[TraceChunk]:
    """Cut one sample that is too large: directions that fit go together, and one that does not in slabs."""
    fitting: list[DirectionTrace] = []
    taken = 0
    for height, direction in zip(heights, chunk.directions, strict=True):
        length = height * len(direction.timesteps)
        if fitting and taken + length > rows:
            yield replace(chunk, directions=tuple(fitting))
            fitting, taken = [], 0
        if length <= rows:
            fitting.append(direction)
            taken += length
            continue
        slab = max(1, rows // height)
        for first in range(0, len(direction.timesteps), slab):
            yield replace(chunk, directions=(direction.between(slice(first, first + slab)),))
    if fitting:
        yield replace(chunk, directions=tuple(fitting))


@dataclass(slots=True, eq=False)
class Gatherer:
    """Collects chunks that are too small to be worth a table of their own, but not for long."""

    rows: int = BLOCK_ROWS
    patience: float = 0.1
    """Seconds after which what is there goes on, so that slow runs can be watched."""
    _waiting: list[TraceChunk] = field(default_factory=list)
    _height: int = 0
    _since: float = -math.inf

    def push(self, chunk: TraceChunk, height: int) -> TraceChunk | None:
        """Take a chunk of ``height`` rows; return what has been collected when it is time. The first goes at once.

        Slabs of a long sequence go on as they are: they cannot be one chunk with those of another sample or layer.
        """
        if chunk.is_slab:
            return chunk
        self._waiting.append(chunk)
        self._height += height
        if self._height < self.rows and time.monotonic() - self._since < self.patience:
            return None
        return self.rest()

    def rest(self) -> TraceChunk | None:
        """Return what is left."""
        self._height, self._since = 0, time.monotonic()
        return _taken(self._waiting)


@dataclass(slots=True, eq=False)
class Regrouper:
    """Turns chunks of any size into chunks of one size."""

    size: int
    """Samples of every chunk but the last."""
    _waiting: list[TraceChunk] = field(default_factory=list)

    def push(self, chunk: TraceChunk) -> Iterator[TraceChunk]:
        """Take a chunk and yield the full ones that it completes."""
        self._waiting.append(chunk)
        if sum(len(part.samples) for part in self._waiting) < self.size:
            return
        whole = self.rest()
        assert whole is not None
        full = len(whole.samples) // self.size * self.size
        for start in range(0, full, self.size):
            yield whole.rows(slice(start, start + self.size))
        if full < len(whole.samples):
            self._waiting.append(whole.rows(slice(full, None)))

    def rest(self) -> TraceChunk | None:
        """Return what is left at the end."""
        return _taken(self._waiting)


def _taken(waiting: list[TraceChunk]) -> TraceChunk | None:
    """Empty a list of chunks and return them as one."""
    if not waiting:
        return None
    together = joined(waiting)
    waiting.clear()
    return together
