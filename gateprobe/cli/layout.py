"""Tables and sentences that fit the screen: words and numbers are never cut.

At a terminal, and wherever ``COLUMNS`` says how wide the screen is, tables are aligned: the least important columns go
first when it gets narrow, and below 60 columns, or where the rest does not fit either, each row becomes a list. In a
pipe every row and every sentence is one line, without padding; the cells of a row are separated by tabs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from gateprobe.cli.progress import is_terminal
from gateprobe.errors import printable

LIST_BELOW = 60
"""Columns of a screen on which rows become lists, unless the whole table fits."""
_GAP = "   "
_NUMBERS = frozenset("0123456789,.%+-e…")
_LISTED = 10
"""How many columns that are left out are named."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    rank: int = 0
    """The highest rank is left out first when the screen is narrow; 0 stays."""
    style: Callable[[str], str] = lambda cell: ""
    """The style of a cell below the title, where colour is on."""


class _Console(Console):
    """A console that leaves a closed pipe to the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Page:
    """Where to print for people.

    Attributes:
        width: Columns of the screen; ``None`` in a pipe, where lines have any length.
    """

    def __init__(self) -> None:
        told = os.environ.get("COLUMNS", "")
        given = int(told) if told.isdecimal() and int(told) > 0 else None
        self._console = _Console(file=sys.stdout, width=given, highlight=False, markup=False, emoji=False)
        self.width = given or (self._console.width if is_terminal(sys.stdout) else None)

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Print one line as it is."""
        if self.width is None:  # rich would turn tabs into spaces
            click.echo(str(text))
        else:
            self._console.print(Text(text, style=style) if isinstance(text, str) else text, soft_wrap=True)

    def sentence(self, text: str, style: str = "", *, indent: str = "") -> None:
        """Print a text, broken between words only."""
        for line in wrapped(f"{indent}{printable(text)}", self.width, f"{indent}  "):
            self.line(line, style)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Print titles and what there is to say about each."""
        facts = [(title, printable(text)) for title, text in facts]
        if self.width is None:
            for title, text in facts:
                self.line(f"{title}\t{text}")
            return
        if self.width < LIST_BELOW:
            for title, text in facts:
                self.sentence(f"{title}: {text}")
            return
        room = max((len(title) for title, _ in facts), default=0) + len(_GAP)
        for title, text in facts:
            for number, line in enumerate(wrapped(text, self.width - room, "")):
                self.line(f"{'' if number else title:<{room}}{line}")

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[object]], *, lists: bool = True) -> None:
        """Print rows under titles; columns in which all cells are empty are left out.

        Args:
            columns: Of the table.
            rows: A cell for each column.
            lists: Whether rows become lists on a narrow screen, instead of losing columns.
        """
        cells = [[printable(str(cell)) for cell in row] for row in rows]
        used = [n for n in range(len(columns)) if columns[n].rank == 0 or any(row[n] for row in cells)]
        columns, cells = [columns[n] for n in used], [[row[n] for n in used] for row in cells]
        if self.width is None:
            for row in [[column.title for column in columns], *cells]:
                self.line("\t".join(row))
            return
        widths = [
            max(map(cell_len, [column.title, *(row[n] for row in cells)]), default=0)
            for n, column in enumerate(columns)
        ]
        shown = fitting(columns, widths, self.width, lists=lists)
        if shown is None:
            self._list(columns, cells)
            return
        for line in _aligned(columns, cells, widths, shown):
            self.line(line)
        if left_out := [column.title for n, column in enumerate(columns) if n not in shown]:
            more = f" and {len(left_out) - _LISTED} more" if len(left_out) > _LISTED else ""
            self.sentence(f"(not shown at this width: {', '.join(left_out[:_LISTED])}{more})", "dim")

    def _list(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Print each row as its first cell, and a line below for each of the others."""
        for first, *others in rows:
            self.line(first, "bold")
            for column, cell in zip(columns[1:], others, strict=True):
                if cell:
                    self.sentence(f"{column.title}: {cell}".removeprefix(": "), column.style(cell), indent="  ")


def fitting(columns: Sequence[Column], widths: Sequence[int], screen: int, *, lists: bool = True) -> list[int] | None:
    """Return the numbers of the columns to show, or ``None`` when rows had better be lists.

    Args:
        columns: All columns.
        widths: Of each column, in cells of the screen.
        screen: Columns of the screen.
        lists: Whether rows had better be lists on any narrow screen.
    """
    shown = list(range(len(columns)))
    while sum(widths[n] for n in shown) + len(_GAP) * (len(shown) - 1) > screen:
        last = max(reversed(shown), key=lambda n: columns[n].rank, default=None)
        if last is None or columns[last].rank == 0 or (lists and screen < LIST_BELOW):
            return None
        shown.remove(last)
    return shown


def wrapped(text: str, width: int | None, indent: str) -> Iterator[str]:
    """Yield the lines of a text, broken between words only: a word that is too long stays whole.

    Args:
        text: Without line breaks.
        width: In cells of the screen; ``None`` breaks nothing.
        indent: Of the lines after the first.
    """
    if width is None:
        yield text
        return
    start = text[: len(text) - len(text.lstrip())]
    line, empty = start, True
    for word in text[len(start) :].split(" "):
        if not empty and cell_len(line) + 1 + cell_len(word) > width:
            yield line.rstrip()
            line, empty = indent, True
        line, empty = (line + word if empty else f"{line} {word}"), False
    yield line.rstrip()


def _aligned(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], shown: Sequence[int]
) -> Iterator[Text]:
    """Yield the lines of a table; numbers stand on the right."""
    right = {n for n in shown if any(row[n] for row in rows) and all(_NUMBERS.issuperset(row[n]) for row in rows)}

    def laid(cells: Sequence[str], styles: Sequence[str]) -> Text:
        padded = []
        for n in shown:
            space = " " * (widths[n] - cell_len(cells[n]))
            padded.append(Text(space + cells[n] if n in right else cells[n] + space, styles[n]))
        line = Text(_GAP).join(padded)
        line.rstrip()
        return line

    yield laid([column.title for column in columns], ["bold"] * len(columns))
    yield Text("─" * (sum(widths[n] for n in shown) + len(_GAP) * (len(shown) - 1)))
    for row in rows:
        yield laid(row, [column.style(cell) for column, cell in zip(columns, row, strict=True)])
