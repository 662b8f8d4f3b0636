"""How large a piece of a table may be, so that memory grows neither with the samples nor with the units."""

from __future__ import annotations

BLOCK_ROWS = 1 << 14
"""Rows of the tables into which a chunk is cut, so that memory does not grow with it."""
BLOCK_CELLS = 1 << 21
"""Cells of a piece of a table that is wide: a row of the wide layout has a cell for each unit."""


def rows_within(rows: int, cells: int, columns: int) -> int:
    """Return how many rows a piece of a table may have: ``rows``, and fewer where they would have more cells."""
    return max(1, min(rows, cells // max(1, columns)))
