"""Pictures in the terminal: colours where it has them, else blocks whose height is the number."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from gateprobe.cli.layout import Page
from gateprobe.errors import printable
from gateprobe.graph import Array
from gateprobe.pictures.colours import BLOT, GREY, RGB, is_dark, rgb, rgb_of
from gateprobe.pictures.fitting import fitted
from gateprobe.pictures.values import Cell, Heat, Histogram, Panel, Passage, Picture, Saturation, Scale, short

PIPED = 80
"""Columns of a picture that goes to no screen."""
_MOST_ROWS = 16
"""Lines of a map; with colours, twice as many rows."""
_NUMBER = 6
"""Columns of a number with a space on either side."""
_WIDEST = 3
"""Columns of a timestep, unless its token needs more."""
_BARS = 20
"""Columns of a histogram, and lines times eight of its highest."""
_HIGH = 6
_GRID = (25, 10)
"""Columns and lines of a scatter."""
_GAP = "  "


@dataclass(frozen=True, slots=True)
class _Pen:
    """What the terminal can show."""

    width: int
    colours: bool
    blocks: str
    """Eight characters, from low to high."""
    masked: str

    @property
    def ascii(self) -> bool:
        """Whether the terminal has no other characters."""
        return self.blocks.isascii()

    def known(self, text: str) -> str:
        """Return a text in characters that the terminal has."""
        return text.replace("·", "-").replace("±", "+-") if self.ascii else text

    @classmethod
    def of(cls, page: Page) -> _Pen:
        """Look at a page; a terminal without blocks gets digits."""
        width = PIPED if page.width is None else page.width
        try:
            "▁▂▃▄▅▆▇█·╱▀▄…±·".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return cls(width, page.colours, "12345678", "/")
        return cls(width, page.colours, "▁▂▃▄▅▆▇█", "╱" if page.colours else "·")

    def cell(self, value: float, kind: int, scale: Scale, width: int, text: str | None = None) -> Text:
        """Return a place of a map, with a text in it or without."""
        mark = {Cell.MASKED: self.masked, Cell.NAN: "?", Cell.INFINITE: "!", Cell.NOTHING: " "}.get(Cell(kind))
        if mark is not None:
            return Text((text or mark * width) if self.colours else mark * width, self.style(value, kind, scale))
        if self.colours:
            return Text(text or " " * width, self.style(value, kind, scale))
        return Text(text or self.blocks[_level(value, scale)] * width)

    def style(self, value: float, kind: int, scale: Scale) -> Style:
        """Return the colours of a place."""
        if not self.colours or kind == Cell.NOTHING:
            return Style()
        ground = _ground(value, kind, scale)
        ink = (255, 255, 255) if is_dark(*ground) or kind in (Cell.NAN, Cell.INFINITE) else (34, 34, 34)
        return Style(color=_hex(ink), bgcolor=_hex(ground))


def draw(page: Page, picture: Picture) -> None:
    """Print a picture.

    Args:
        page: Where to; its width is that of the picture.
        picture: What to draw.
    """
    pen = _Pen.of(page)
    page.sentence(pen.known(picture.title), "bold" if pen.colours else "")
    blocks: list[list[Text]] = []
    notes: list[str] = []
    for panel in picture.panels:
        lines, told = _drawn(pen, panel)
        blocks.append(lines)
        notes += told
    words = dict.fromkeys([*picture.notes, *_axes(picture.panels), *notes, *_marks(pen, picture.panels)])
    if words:
        page.sentence(pen.known("; ".join(words)))
    across = len(blocks) if isinstance(picture.panels[0], (Saturation, Histogram)) else picture.across
    for lines in _beside(blocks, across, pen.width):
        page.line()
        for line in lines:
            page.text(line)


def _drawn(pen: _Pen, panel: Panel) -> tuple[list[Text], list[str]]:
    """Return the lines of a panel, and what to tell of it."""
    title = pen.known(" · ".join(map(printable, panel.facts.values())))
    if isinstance(panel, Heat):
        return _heat(pen, panel, title)
    if isinstance(panel, Passage):
        return [*_head(pen, title, panel.scale), *_passage(pen, panel)], []
    if isinstance(panel, Histogram):
        return [Text(title), *_bars(pen, panel)], []
    low, high = panel.limits
    axes = f"right: share of timesteps below {low:g}; up: share above {high:g}; a number counts units, # from 10"
    return [Text(title), *_scatter(panel)], [axes]


def _axes(panels: Iterable[Panel]) -> Iterator[str]:
    """Yield what runs across and down, and which maps were read backwards."""
    maps = [panel for panel in panels if isinstance(panel, Heat)]
    for across, down in dict.fromkeys((panel.column_title, panel.row_title) for panel in maps):
        yield f"across: {across}" if down == "signal" else f"down: {down}, across: {across}"
    if any(panel.backwards for panel in maps):
        yield "backward: read from the last timestep to the first"


def _marks(pen: _Pen, panels: Iterable[Panel]) -> Iterator[str]:
    """Yield what the marks of places without a number mean."""
    found = {int(kind) for panel in panels if isinstance(panel, (Heat, Passage)) for kind in np.unique(panel.cells)}
    for kind, mark, name in (
        (Cell.MASKED, pen.masked, "masked"),
        (Cell.NAN, "?", "NaN"),
        (Cell.INFINITE, "!", "infinite"),
    ):
        if kind in found:
            yield f"{mark} is {name}"


def _head(pen: _Pen, title: str, scale: Scale | None) -> list[Text]:
    """Return the title of a panel, and what its colours or blocks mean; on two lines where one is too short."""
    if scale is None:
        legend = Text("gates ") + _legend(pen, Scale(0.0, 1.0), "0", "1")
    else:
        legend = _legend(pen, scale, f"{scale.low:.3g}", f"{scale.high:.3g}")
    if not title:
        return [legend]
    whole = Text(f"{title}{_GAP}") + legend
    return [whole] if whole.cell_len <= pen.width else [Text(title), legend]


def _legend(pen: _Pen, scale: Scale, low: str, high: str) -> Text:
    steps = scale.low + (np.arange(len(pen.blocks)) + 0.5) / len(pen.blocks) * (scale.high - scale.low)
    ramp = Text().join(pen.cell(step, Cell.VALUE, scale, 1) for step in steps.tolist())
    return Text(f"{low} ") + ramp + Text(f" {high}")


# maps


def _heat(pen: _Pen, heat: Heat, title: str) -> tuple[list[Text], list[str]]:
    labels = _labels(pen, heat)
    room = max(pen.width - max(map(cell_len, labels)) - 1, 1)
    numbered = heat.numbers and _NUMBER * len(heat.columns) <= room
    both = pen.colours and not numbered and len(heat.rows) > _MOST_ROWS
    smaller, notes = fitted(heat, room, _MOST_ROWS * (1 + both))
    told = list(notes)
    cell = _NUMBER if numbered else _cell_width(smaller, room)
    labels = _labels(pen, smaller)
    margin = max(map(cell_len, labels)) + 1
    plain = numbered and not pen.colours  # the numbers themselves say how high they are
    lines = [Text(title)] * bool(title) if plain else _head(pen, title, smaller.one_scale)
    if heat.tokens is not None and not _fits(smaller, cell):
        told.append("tokens do not fit at this width")
    elif smaller.tokens is not None:
        lines.append(Text(" " * margin + "".join(_padded(printable(token), cell) for token in smaller.tokens)))
    rows = _in_pairs(smaller, cell) if both else _one_by_one(pen, smaller, cell, numbered=numbered)
    shown = labels[::2] if both else labels
    lines += [Text(f"{label:>{margin - 1}} ") + row for label, row in zip(shown, rows, strict=True)]
    lines.append(Text(" " * margin + _ruler(smaller.columns, cell)))
    return lines, told


def _labels(pen: _Pen, heat: Heat) -> list[str]:
    """Return the labels of the rows, with the limits of those that have scales of their own."""
    names = [_first(printable(row)) for row in heat.rows]
    if heat.one_scale is not None:
        return names
    limits = (pen.known(f" ±{scale.high:.3g}") if scale.signed else "" for scale in heat.scales)
    return [f"{name}{limit}" for name, limit in zip(names, limits, strict=True)]


def _cell_width(heat: Heat, room: int) -> int:
    most = room // len(heat.columns)
    widest = max(map(cell_len, map(printable, heat.tokens or ())), default=0)
    return widest + 1 if 1 < widest < most else min(most, _WIDEST)


def _fits(heat: Heat, cell: int) -> bool:
    widths = [cell_len(printable(token)) for token in heat.tokens or ()]
    return bool(widths) and (max(widths) < cell or max(widths) == cell == 1)


def _padded(text: str, width: int) -> str:
    space = width - cell_len(text)
    return f"{' ' * (space // 2)}{text}{' ' * (space - space // 2)}"


def _by_row(heat: Heat) -> Iterator[tuple[list[float], list[int], Scale]]:
    return zip(heat.values.tolist(), heat.cells.tolist(), heat.scales, strict=True)


def _one_by_one(pen: _Pen, heat: Heat, cell: int, *, numbered: bool) -> Iterator[Text]:
    for values, cells, scale in _by_row(heat):
        yield Text().join(
            pen.cell(
                value, kind, scale, cell, f"{short(value):>{cell - 1}} " if numbered and kind == Cell.VALUE else None
            )
            for value, kind in zip(values, cells, strict=True)
        )


def _in_pairs(heat: Heat, cell: int) -> Iterator[Text]:
    """Yield lines that hold two rows each: the upper one in the ink, the lower one in the ground."""
    grounds = [
        [
            _ground(value, kind, scale) if kind != Cell.NOTHING else None
            for value, kind in zip(values, cells, strict=True)
        ]
        for values, cells, scale in _by_row(heat)
    ]
    empty: list[RGB | None] = [None] * len(heat.columns)
    for upper, lower in zip_longest(grounds[::2], grounds[1::2], fillvalue=empty):
        yield Text().join(_halves(one, other, cell) for one, other in zip(upper, lower, strict=True))


def _halves(upper: RGB | None, lower: RGB | None, width: int) -> Text:
    if upper is None:
        return Text(" " * width) if lower is None else Text("▄" * width, Style(color=_hex(lower)))
    return Text("▀" * width, Style(color=_hex(upper), bgcolor=None if lower is None else _hex(lower)))


def _ruler(columns: Sequence[str], cell: int) -> str:
    """Return the labels of the columns, as many as fit beside each other; a span has that of its first timestep."""
    labels = [_first(column) for column in columns]
    every = -(-(max(map(len, labels)) + 1) // cell)
    if every == 1:
        return "".join(_padded(label, cell) for label in labels).rstrip()
    ruler = ""
    for at in range(0, len(labels), every):
        if at * cell + len(labels[at]) <= len(labels) * cell:
            ruler = ruler.ljust(at * cell) + labels[at]
    return ruler


def _first(label: str) -> str:
    return label.partition("–")[0]


# text


def _passage(pen: _Pen, passage: Passage) -> Iterator[Text]:
    tokens = [printable(token) or " " for token in passage.tokens]
    gap = "" if all(cell_len(token) == 1 for token in tokens) else " "
    above, line = Text(), Text()
    for token, value, kind in zip(tokens, passage.values.tolist(), passage.cells.tolist(), strict=True):
        width = cell_len(token)
        if line and cell_len(line.plain) + width > pen.width:
            yield from [line] if pen.colours else [above, line]
            above, line = Text(), Text()
        above += pen.cell(value, kind, passage.scale, width) + Text(gap)
        line += Text(token, pen.style(value, kind, passage.scale)) + Text(gap)
    yield from [line] if pen.colours else [above, line]


# counts


def _scatter(found: Saturation) -> list[Text]:
    """Return a grid that says how many units stand where."""
    columns, rows = _GRID
    counts = np.zeros((rows, columns), np.int64)
    np.add.at(counts, (rows - 1 - _place(found.high, rows), _place(found.low, columns)), 1)
    lines = []
    for at, row in enumerate(counts.tolist()):
        label = {0: "100%", rows - 1: "0%"}.get(at, "")
        lines.append(Text(f"{label:>5} |" + "".join(_figure(count) for count in row)))
    return [*lines, Text(f"      +{'-' * columns}"), Text(f"       0%{'100%':>{columns - 2}}")]


def _place(share: Array, size: int) -> Array:
    return np.minimum((share * size).astype(np.int64), size - 1)


def _figure(count: int) -> str:
    return "#" if count > 9 else str(count or " ")


def _bars(pen: _Pen, found: Histogram) -> list[Text]:
    """Return upright bars, each of some bins."""
    together = -(-len(found.counts) // _BARS)
    counts = np.add.reduceat(found.counts, np.arange(0, len(found.counts), together))
    shares = counts / max(int(counts.sum()), 1)
    top = float(shares.max()) or 1.0
    heights = np.rint(shares / top * _HIGH * len(pen.blocks)).astype(int).tolist()
    lines = []
    for line in range(_HIGH - 1, -1, -1):
        label = {_HIGH - 1: f"{top:.0%}", 0: "0%"}.get(line, "")
        lines.append(Text(f"{label:>5} |" + "".join(_bar(pen, height - line * len(pen.blocks)) for height in heights)))
    low, high = f"{found.edges[0]:g}", f"{found.edges[-1]:g}"
    return [
        *lines,
        Text(f"      +{'-' * len(heights)}"),
        Text(f"       {low}{high:>{max(len(heights) - len(low), len(high) + 1)}}"),
    ]


def _bar(pen: _Pen, height: int) -> str:
    if height <= 0:
        return " "
    solid = "#" if pen.ascii else pen.blocks[-1]
    return solid if height >= len(pen.blocks) or solid == "#" else pen.blocks[height - 1]


def _beside(blocks: Sequence[list[Text]], most: int, width: int) -> Iterator[list[Text]]:
    """Yield lines of panels side by side, as many as the width holds."""
    each = max(line.cell_len for block in blocks for line in block) + len(_GAP)
    fit = (width + len(_GAP)) // each
    across = max(1, fit if most == len(blocks) else min(fit, most))
    for start in range(0, len(blocks), across):
        some = blocks[start : start + across]
        yield [_joined(lines, each) for lines in zip_longest(*some, fillvalue=Text())]


def _joined(lines: Sequence[Text], each: int) -> Text:
    whole = Text()
    for number, line in enumerate(lines):
        whole += Text(" " * (number * each - whole.cell_len)) + line
    return whole


def _level(value: float, scale: Scale) -> int:
    return min(int(float(scale.share(np.array(value))) * 8), 7)


def _ground(value: float, kind: int, scale: Scale) -> RGB:
    if kind == Cell.MASKED:
        return rgb(GREY)
    if kind in (Cell.NAN, Cell.INFINITE):
        return rgb(BLOT)
    red, green, blue = rgb_of(np.array(value), scale).tolist()
    return red, green, blue


def _hex(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
