"""A uniform sample of timesteps in memory of a fixed size, the same however they arrive.

Every timestep of every sample has a number that looks random but follows from the two alone; kept are those with the
smallest. This is a bottom-k sample (Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"): samples of two
parts merge into the sample of the whole, and neither the order of the parts nor the size of batches changes it. As long
as there are no more timesteps than places, all are kept, and what is computed from them is exact. Beyond that, the
share of values below a quantile of the sample differs from what it should be by more than ``ε`` with a probability of
at most ``2 exp(-2 k ε²)`` (Hoeffding 1963; drawing without replacement is no worse).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gateprobe.graph import Array

PLACES = 8_192
"""Timesteps that are kept: of the quantiles, 99 % are right to 1.8 percentage points."""
BYTES = 64 << 20
"""What they may take together in one direction of a layer; large layers get fewer places."""
_LEAST = 64

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)


def keys_of(samples: Array, timesteps: Array) -> Array:
    """Return the numbers ``(samples, timesteps)`` uint64 by which places are given away.

    They are those of splitmix64 (Steele, Lea and Flood 2014), begun once with the sample and once with the timestep.
    """
    with np.errstate(over="ignore"):
        seeds = _mixed(samples.astype(np.uint64) + np.uint64(1))
        return _mixed(seeds[:, np.newaxis] + timesteps.astype(np.uint64) + np.uint64(1))


def _mixed(numbers: Array) -> Array:
    z = numbers * _STEP
    z = (z ^ (z >> np.uint64(30))) * _MIX[0]
    z = (z ^ (z >> np.uint64(27))) * _MIX[1]
    return z ^ (z >> np.uint64(31))


def _limit(places: int, expected: int) -> int:
    """Return a key that enough timesteps do not exceed: ten standard deviations more than there are places."""
    share = (places + 10 * math.sqrt(places)) / max(1, expected)
    return int(min(1, share) * 2**53) * 2**11 - 1


class RowSample:
    """The rows of the timesteps that are kept.

    Args:
        shape: Of a row.
        dtype: Of its numbers.
        places: Rows that are kept, at most.
        expected: Timesteps that will be offered and count, where that is known: most are turned away at once.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[np.floating],
        places: int | None = None,
        expected: int | None = None,
    ) -> None:
        size = max(1, int(np.prod(shape))) * dtype.itemsize
        self.places = max(_LEAST, min(PLACES, BYTES // size)) if places is None else places
        self.seen = 0
        """Timesteps that were offered."""
        self._kept = 0
        self._limit = np.uint64(_limit(self.places, expected or 0))
        room = 2 * self.places  # what is never written to takes no memory
        self._keys, self._where = np.empty(room, np.uint64), np.empty((room, 2), np.int64)
        self._rows = np.empty((room, *shape), dtype)

    def offer(
        self,
        samples: Array,
        timesteps: Array,
        keys: Array,
        valid: Array | None,
        take: Callable[[Array, Array, Array], None],
    ) -> None:
        """Offer some timesteps.

        Args:
            samples: ``(samples,)`` numbers.
            timesteps: ``(timesteps,)`` numbers.
            keys: ``(samples, timesteps)``: what `keys_of` returns for these.
            valid: ``(samples, timesteps)``: those that count; all without it.
            take: Given positions in the two, each ``(rows,)``, and memory for as many rows, writes the rows there.
        """
        self.seen += keys.size if valid is None else int(np.count_nonzero(valid))
        wanted = keys <= self._limit if valid is None else (keys <= self._limit) & valid
        row, column = np.nonzero(wanted)
        chosen = keys[row, column]
        if len(chosen) > self.places:
            least = np.argpartition(chosen, self.places - 1)[: self.places]
            chosen, row, column = chosen[least], row[least], column[least]
        if len(chosen):
            places = self._taken(len(chosen))
            self._keys[places] = chosen
            self._where[places, 0], self._where[places, 1] = samples[row], timesteps[column]
            take(row, column, self._rows[places])

    def merge(self, other: RowSample) -> None:
        """Take in the sample of another part of the run."""
        other._prune()
        self.seen += other.seen
        kept, places = slice(other._kept), self._taken(other._kept)
        self._keys[places], self._where[places] = other._keys[kept], other._where[kept]
        self._rows[places] = other._rows[kept]

    def _taken(self, count: int) -> slice:
        """Make room for some rows, no more than there are places."""
        if self._kept + count > len(self._keys):
            self._prune()
        self._kept += count
        return slice(self._kept - count, self._kept)

    def _prune(self) -> None:
        """Keep the smallest keys; rows stay where they are, and those behind the last place fill the gaps."""
        if self._kept <= self.places:
            return
        keys = self._keys[: self._kept]
        chosen = np.argpartition(keys, self.places - 1)[: self.places]
        stays = np.zeros(self._kept, bool)
        stays[chosen] = True
        gaps, spare = np.flatnonzero(~stays[: self.places]), self.places + np.flatnonzero(stays[self.places :])
        for array in (self._keys, self._where, self._rows):
            array[gaps] = array[spare]
        self._kept = self.places
        self._limit = self._keys[: self.places].max()  # whatever is above it would be dropped

    def rows(self) -> tuple[Array, Array]:
        """Return samples and timesteps ``(rows, 2)``, and the rows, in the order of both."""
        self._prune()
        where = self._where[: self._kept]
        order = np.lexsort((where[:, 1], where[:, 0]))
        return where[order], self._rows[: self._kept][order]
