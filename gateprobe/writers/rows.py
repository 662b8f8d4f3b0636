"""A model's outputs, batch by batch, in blocks of one size."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from gateprobe.graph import Array

Outputs: TypeAlias = tuple[Array, ...]
"""One array for each output, ``(samples, ...)``."""


@dataclass(slots=True, eq=False)
class Rows:
    """Turns blocks of any number of samples into blocks of one number."""

    size: int
    """Samples of every block but the last."""
    patience: float = math.inf
    """Seconds after which what is there goes on in a smaller block, so that slow runs can be watched."""
    _waiting: list[Outputs] = field(default_factory=list)
    _since: float = -math.inf

    def push(self, block: Outputs) -> Iterator[Outputs]:
        """Take a block and yield what is ready."""
        self._waiting.append(block)
        late = self.patience < math.inf and time.monotonic() - self._since >= self.patience
        if not late and sum(len(outputs[0]) for outputs in self._waiting) < self.size:
            return
        whole = self._taken()
        samples = len(whole[0])
        kept = 0 if late else samples % self.size
        for start in range(0, samples - kept, self.size):
            yield tuple(array[start : start + self.size] for array in whole)
        if kept:
            self._waiting.append(tuple(array[samples - kept :] for array in whole))

    def rest(self) -> Iterator[Outputs]:
        """Yield what is left at the end."""
        if self._waiting:
            yield self._taken()

    def _taken(self) -> Outputs:
        together = tuple(np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        self._since = time.monotonic()
        return together
