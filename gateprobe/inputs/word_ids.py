"""Ids that were made of texts, with the words behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateprobe.graph import Array


@dataclass(frozen=True, slots=True, eq=False)
class WordIds:
    """Rows of ids."""

    ids: Array
    """``(samples, timesteps)`` of int64."""
    tokens: tuple[tuple[str, ...], ...]
    """The word at each timestep of each sample, empty where it is padded."""
    file: str
    """The vocabulary."""
    sha256: str
    """Of the vocabulary."""
    said: str
    """The rules, what was unknown, padded or cut, in words."""


class Converter(Protocol):
    """Turns texts into ids."""

    def ids(self, texts: Array, length: int | None) -> WordIds:
        """Return the ids of texts ``(samples,)``; ``length`` for every row, or that of the longest."""
