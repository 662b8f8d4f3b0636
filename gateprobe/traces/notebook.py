"""Small tables of HTML, which notebooks show in the place of a ``repr``: no script, and every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TypeVar

from gateprobe.errors import printable

Row = Sequence[object]
T = TypeVar("T", bound=Row)


def table(title: str, columns: Sequence[str], rows: Iterable[Row], notes: Iterable[str] = ()) -> str:
    """Return a heading, a table below it, and lines below that.

    Args:
        title: Of the whole.
        columns: Titles of the columns.
        rows: As many cells each as there are columns.
        notes: One line each.
    """
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    lines = "".join(f"<div>{_text(note)}</div>" for note in notes)
    filled = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
    return f"<div><strong>{_text(title)}</strong>{filled}{lines}</div>"


def shortened(rows: Sequence[T], most: int, what: str) -> tuple[list[T], list[str]]:
    """Return the first rows, and what says how many more there are."""
    more = len(rows) - most
    return list(rows[:most]), [f"and {more:,} more {what}"] if more > 0 else []


def _cells(row: Row) -> str:
    return "".join(f"<td>{_text(cell)}</td>" for cell in row)


def _text(value: object) -> str:
    return html.escape(printable(value))
