"""What ``dump`` and ``predict`` show on a terminal: the head and the tail of their table, and how many rows it has."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_ROWS = 5
"""Of the head, and of the tail."""
_GAP = "…"
_RANKS = {"step": 9, "masked": 8, "direction": 7, "output": 6, "layer": 5}
"""Which columns go first on a narrow screen, where all the rows that are shown have one value in them."""
_PLACES = ("sample", "timestep", "unit", "signal", *_RANKS)
"""The columns that say what a number is; of the others, as many are shown as there is room for."""


@dataclass(slots=True)
class Preview:
    """A table in short."""

    names: list[str] = field(default_factory=list)
    head: list[Sequence[object]] = field(default_factory=list)
    tail: deque[Sequence[object]] = field(default_factory=lambda: deque(maxlen=_ROWS))
    count: int = 0
    """Rows of the whole table."""

    def take(self, frames: Iterable[pl.DataFrame]) -> None:
        """Look through the whole table, which comes in pieces."""
        for frame in frames:
            self.names = frame.columns
            self.head += frame.head(_ROWS - len(self.head)).rows()
            self.tail.extend(frame.tail(_ROWS).rows())
            self.count += len(frame)

    def show(self) -> None:
        """Print it."""
        from gateprobe.cli.layout import Column, Page

        behind = min(_ROWS, self.count - len(self.head))
        last = list(self.tail)[_ROWS - behind :] if behind else []
        between = [[_GAP] * len(self.names)] if self.count > len(self.head) + behind else []
        columns = [
            Column(name, _rank(name, [row[n] for row in (*self.head, *last)])) for n, name in enumerate(self.names)
        ]
        page = Page()
        page.table(columns, [*map(_cells, self.head), *between, *map(_cells, last)], lists=False)
        page.line()
        rows = f"{self.count:,} row{'' if self.count == 1 else 's'}"
        page.sentence(f"{rows}; -o FILE.csv writes them all, and a pipe gets them as CSV")


def _rank(name: str, shown: Sequence[object]) -> int:
    if name not in _PLACES:
        return 1
    return _RANKS.get(name, 0) if len(set(shown)) == 1 or name == "step" else 0


def _cells(row: Sequence[object]) -> list[str]:
    return [_cell(value) for value in row]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6f}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.4e}"
