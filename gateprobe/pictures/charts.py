"""Pictures as Altair charts: each panel a chart of its own, with its numbers inside."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import altair as alt
import numpy as np

from gateprobe.errors import InputError, printable
from gateprobe.pictures.colours import BLOT, GREY, VIRIDIS, is_dark, rgb_of, stops
from gateprobe.pictures.fitting import fitted, sampled
from gateprobe.pictures.values import Cell, Heat, Histogram, Panel, Passage, Picture, Saturation, Scale, short

MOST_CELLS = 50_000
"""Of all maps of a picture: above that, several timesteps or units share a place."""
MOST_TOKENS = 5_000
"""Of all texts of a picture."""
_MOST_NUMBERED = 32
"""Timesteps up to which the signals of a unit are places with numbers; above, they are lines."""
_WIDE, _WIDEST, _TALL = 640, 1_200, 400
"""Pixels across all panels of a row, as far as places of one pixel allow, and down a panel."""
_NAMES = {Cell.VALUE: "value", Cell.MASKED: "masked", Cell.NAN: "NaN", Cell.INFINITE: "infinite"}
_HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"
_MOST_DESCRIBED = 2_000
"""Places up to which an SVG describes each to a screen reader."""
_LINE = 10
"""Pixels from one upright token to the next."""
_MOST_NAMED = 6
"""Units that a point of a scatter names."""
_EM = 8
"""Pixels of a character of the text."""
_SCRIPT = re.compile(r"<(?=/?script|!--)", re.IGNORECASE)

Records: TypeAlias = list[dict[str, Any]]
Drawn: TypeAlias = Any
"""A chart or a mark of one: Altair's types of what its methods return differ between its versions."""


def chart_of(picture: Picture) -> alt.ConcatChart:
    """Draw a picture.

    Raises:
        InputError: A text is too long.
    """
    panels, notes = _fitted(picture)
    charts = [_drawn(panel, picture.across) for panel in panels]
    told = [*picture.notes, *notes]
    told += _meanings(panels)
    title = alt.Title(safe(picture.title), subtitle=[safe(text) for text in told], anchor="start", offset=16)
    whole = alt.concat(*charts, columns=picture.across, title=title, spacing=24)
    whole = whole.resolve_scale(color="independent", x="independent", y="independent")
    drawn: alt.ConcatChart = whole.configure(aria=_size(panels) <= _MOST_DESCRIBED, view=alt.ViewConfig(stroke=None))
    return drawn


def _size(panels: Sequence[Panel]) -> int:
    return sum(panel.cells.size for panel in panels if isinstance(panel, (Heat, Passage)))


def _meanings(panels: Sequence[Panel]) -> Iterator[str]:
    """Yield what the colours of places without a number that counts mean."""
    cells = {int(kind) for panel in panels if isinstance(panel, (Heat, Passage)) for kind in np.unique(panel.cells)}
    if Cell.MASKED in cells:
        yield "grey: masked"
    if cells & {Cell.NAN, Cell.INFINITE}:
        yield "pink: NaN or infinite"


def safe(text: str) -> str:
    """Make a text from a file safe wherever a chart is shown: no page in which it stands takes it for a script."""
    return _SCRIPT.sub("‹", printable(text))


def _fitted(picture: Picture) -> tuple[list[Panel], list[str]]:
    """Return panels that are small enough, and what to tell of them."""
    panels: list[Panel] = []
    notes: list[str] = []
    room = MOST_CELLS // len(picture.panels)
    if sum(len(panel.tokens) for panel in picture.panels if isinstance(panel, Passage)) > MOST_TOKENS:
        raise InputError(f"the texts have more than {MOST_TOKENS:,} tokens", remedy="choose with --timestep")
    for panel in picture.panels:
        told: tuple[str, ...] = ()
        if isinstance(panel, Heat):
            panel, told = fitted(panel, *_room(panel, room, picture.across))  # noqa: PLW2901
            told = (*told, *_left_out(panel, picture.across))
        elif isinstance(panel, Saturation):
            panel, told = sampled(panel, room)  # noqa: PLW2901
        panels.append(panel)
        notes += told
    return panels, list(dict.fromkeys(notes))


def _left_out(heat: Heat, across: int) -> Iterator[str]:
    """Yield what is not written of the tokens."""
    every = _every(_step(heat, across))
    if heat.tokens is not None and every > 1:
        yield f"one of {every} tokens is written"


def _room(heat: Heat, cells: int, across: int) -> tuple[int, int]:
    """Return how many columns and rows a map may have; time gives way first."""
    rows = min(len(heat.rows), _TALL)
    columns = min(len(heat.columns), _WIDEST // across, max(cells // rows, 60))
    return columns, min(rows, max(cells // columns, 1))


def _drawn(panel: Panel, across: int) -> Drawn:
    if isinstance(panel, Heat):
        return _lines(panel) if panel.numbers and len(panel.columns) > _MOST_NUMBERED else _heat(panel, across)
    if isinstance(panel, Passage):
        return _passage(panel)
    return _saturation(panel, across) if isinstance(panel, Saturation) else _histogram(panel, across)


def _title(panel: Panel) -> Any:
    """Return what only this panel shows; nothing where all is in the title of the whole."""
    if not panel.facts:
        return alt.Undefined
    return alt.Title(safe(" · ".join(panel.facts.values())), anchor="start", fontSize=12, offset=8)


# maps


def _step(heat: Heat, across: int) -> int:
    """Return the width of a place in pixels."""
    step = max(1, min(36, _WIDE // across // len(heat.columns)))
    return max(step, 34) if heat.numbers and len(heat.columns) <= _MOST_NUMBERED else step


def _heat(heat: Heat, across: int) -> Drawn:
    step = _step(heat, across)
    down = max(1, min(26, 240 // len(heat.rows)))
    layers = [*_places(heat), *_covers(heat, min(step, down))]
    if heat.numbers:
        layers.append(_numbers(heat))
    if heat.tokens is not None:
        layers.append(_tokens(heat, step))
    chart = alt.layer(*layers, title=_title(heat))
    return chart.properties(width=step * len(heat.columns), height=down * len(heat.rows)).resolve_scale(
        color="independent"
    )


def _time(heat: Heat) -> str:
    return f"{heat.column_title} (read from the last to the first)" if heat.backwards else heat.column_title


def _across(heat: Heat) -> alt.X:
    axis = alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False, titleFontWeight="normal")
    return alt.X("timestep:O", title=_time(heat), axis=axis, scale=alt.Scale(domain=list(map(safe, heat.columns))))


def _down(heat: Heat) -> alt.Y:
    names = _row_names(heat)
    title = None if heat.row_title == "signal" else heat.row_title
    axis = alt.Axis(labelOverlap=True, ticks=False, domain=False, titleFontWeight="normal")
    return alt.Y("row:O", title=title, axis=axis, scale=alt.Scale(domain=names))


def _row_names(heat: Heat) -> list[str]:
    """Return the labels of the rows, with the limits of those that have scales of their own."""
    if heat.one_scale is not None:
        return [safe(row) for row in heat.rows]
    limits = (f"  ±{short(scale.high)}" if scale.signed else "" for scale in heat.scales)
    return [f"{safe(row)}{limit}" for row, limit in zip(heat.rows, limits, strict=True)]


def _places(heat: Heat) -> Iterator[Drawn]:
    """Yield the places of a map that hold a number, by the kind of their colours."""
    for signed in dict.fromkeys(scale.signed for scale in heat.scales):
        scale, field = heat.one_scale or Scale(-1.0 if signed else 0.0, 1.0), "value:Q"
        legend = _legend(scale, max(60, min(120, 16 * len(heat.rows))), None if heat.one_scale is not None else "gate")
        if heat.one_scale is None and signed:
            field, legend = "part:Q", alt.Legend(title="of its limit", gradientLength=60, values=[-1, 0, 1])
        rows = [row for row, own in enumerate(heat.scales) if own.signed == signed]
        mark = _chart(_records(heat, [Cell.VALUE], rows)).mark_rect()
        tip = [*_tooltip(heat), alt.Tooltip("value:Q")]
        yield mark.encode(_across(heat), _down(heat), color=_colour(field, scale, legend), tooltip=tip)


def _colour(field: str, scale: Scale, legend: alt.Legend) -> alt.Color:
    colours = alt.Scale(domain=[scale.low, scale.high], range=list(stops(scale)))
    return alt.Color(field, scale=colours, legend=legend)


def _legend(scale: Scale, length: int, title: str | None = None) -> alt.Legend:
    ends = [float(f"{value:.3g}") for value in (scale.low, (scale.low + scale.high) / 2, scale.high)]
    return alt.Legend(title=title, gradientLength=length, values=ends, format=".3~g")


def _covers(heat: Heat, step: int) -> Iterator[Drawn]:
    """Yield what covers places without a number that counts: masked ones are hatched where there is room."""
    across, down, tip = _across(heat), _down(heat), [*_tooltip(heat), alt.Tooltip("cell:N", title="is")]
    rows = range(len(heat.rows))
    masked = _records(heat, [Cell.MASKED], rows)
    if masked:
        yield _chart(masked).mark_rect(color=GREY).encode(across, down, tooltip=tip)
    if masked and step > 3:
        size = (step - 2) ** 2
        lines = _chart(masked).mark_point(shape=_HATCH, size=size, stroke="white", strokeWidth=1)
        yield lines.encode(across, down, tooltip=tip)
    special = _records(heat, [Cell.NAN, Cell.INFINITE], rows)
    if special:
        yield _chart(special).mark_rect(color=BLOT).encode(across, down, tooltip=tip)


def _chart(records: Records) -> Drawn:
    return alt.Chart({"values": records})


def _tooltip(heat: Heat) -> list[alt.Tooltip]:
    found = [alt.Tooltip("timestep:N", title=heat.column_title), alt.Tooltip("row:N", title=heat.row_title)]
    if heat.tokens is not None:
        found.append(alt.Tooltip("token:N", title="token"))
    return found


def _records(heat: Heat, kinds: Sequence[Cell], rows: Sequence[int]) -> Records:
    """Return a row of data for each place of some rows that holds one of some kinds."""
    columns, names = list(map(safe, heat.columns)), _row_names(heat)
    tokens = None if heat.tokens is None else list(map(safe, heat.tokens))
    own = heat.one_scale is None
    chosen = np.isin(heat.cells, kinds)
    chosen[np.setdiff1d(np.arange(len(names)), rows)] = False
    records: Records = []
    for y, x in np.argwhere(chosen).tolist():
        value = heat.values[y, x]
        record: dict[str, Any] = {"timestep": columns[x], "row": names[y]}
        if heat.cells[y, x] == Cell.VALUE:
            record["value"] = _finite(value)
            if own:
                record["part"] = _finite(value / heat.scales[y].high)
        else:
            record["cell"] = _NAMES[Cell(heat.cells[y, x])]
        if tokens is not None:
            record["token"] = tokens[x]
        records.append(record)
    return records


def _finite(value: float) -> float | None:
    """Return a number as JSON holds it, with the seven digits of a float32."""
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _numbers(heat: Heat) -> Drawn:
    rows = _row_names(heat)
    records = [
        {"timestep": safe(heat.columns[x]), "row": rows[y], "number": short(heat.values[y, x]), "ink": _ink(heat, y, x)}
        for y, x in np.argwhere(heat.cells == Cell.VALUE).tolist()
    ]
    text = _chart(records).mark_text(fontSize=10)
    return text.encode(_across(heat), _down(heat), text="number:N", color=alt.Color("ink:N", scale=None))


def _ink(heat: Heat, row: int, column: int) -> str:
    red, green, blue = rgb_of(heat.values[row, column], heat.scales[row]).tolist()
    return "#fff" if is_dark(red, green, blue) else "#222"


def _tokens(heat: Heat, step: int) -> Drawn:
    """Return tokens above the columns, upright where they are short."""
    tokens = [_cut(safe(token)) for token in heat.tokens or ()]
    every = _every(step)
    records = [
        {"timestep": safe(heat.columns[x]), "token": tokens[x]} for x in range(0, len(tokens), every) if tokens[x]
    ]
    widest = max(map(_width, tokens), default=0)
    upright = widest * 7 <= step
    how: dict[str, Any] = {"baseline": "bottom"} if upright else {"angle": 270, "align": "left", "baseline": "middle"}
    mark = _chart(records).mark_text(font="monospace", fontSize=12, clip=False, y=-4, **how)
    return mark.encode(_across(heat), text="token:N")


def _every(step: int) -> int:
    """Return which tokens are written where a place has so many pixels: all, or one of several."""
    return max(1, -(-_LINE // step))


def _cut(token: str) -> str:
    return token if len(token) <= 24 else f"{token[:23]}…"


def _width(text: str) -> int:
    """Return how many characters wide a text is in a font in which all letters are as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


# lines


def _lines(heat: Heat) -> Drawn:
    """Draw each signal of a unit as a line, one below the other."""
    step = _step(heat, 1)
    charts = []
    for y, name in enumerate(heat.rows):
        row = slice(y, y + 1)
        one = replace(heat, rows=(name,), values=heat.values[row], cells=heat.cells[row], scales=heat.scales[row])
        layers = _line(one, last=y == len(heat.rows) - 1)
        if y == 0 and heat.tokens is not None:
            layers.append(_tokens(heat, step))
        charts.append(alt.layer(*layers).properties(width=step * len(heat.columns), height=56))
    return alt.vconcat(*charts, title=_title(heat), spacing=8).resolve_scale(x="shared")


def _line(heat: Heat, *, last: bool) -> list[Drawn]:
    """Return the marks of one signal: what is no number covers the whole height, and the line is broken there."""
    scale, across = heat.scales[0], _across(heat)
    if not last:
        across = across.axis(None)
    title = alt.Axis(title=heat.rows[0], titleAngle=0, titleAlign="right", titleFontWeight="normal", tickCount=3)
    up = alt.Y("value:Q", axis=title, scale=alt.Scale(domain=[scale.low, scale.high], clamp=True))
    layers: list[Drawn] = []
    for colour, kinds in ((GREY, (Cell.MASKED,)), (BLOT, (Cell.NAN, Cell.INFINITE))):
        covered = _records(heat, kinds, [0])
        if covered:
            tip = [*_tooltip(heat), alt.Tooltip("cell:N", title="is")]
            layers.append(_chart(covered).mark_rect(color=colour).encode(across, tooltip=tip))
    records = [{"value": None} | record for record in _records(heat, list(_NAMES), [0])]
    line = _chart(records).mark_line(strokeWidth=1.3, color=VIRIDIS[3])
    return [*layers, line.encode(across, up, tooltip=[*_tooltip(heat), alt.Tooltip("value:Q")])]


# text


def _passage(passage: Passage) -> Drawn:
    records, lines = _laid_out(passage)
    wide = max(record["right"] for record in records)
    tip = [alt.Tooltip(f"{name}:N") for name in ("timestep", "token", "value", "cell")]
    left = alt.X("left:Q", axis=None, scale=alt.Scale(domain=[0, wide], nice=False))
    flow = alt.Scale(domain=[0, lines], reverse=True, nice=False)
    colour = _colour("value:Q", passage.scale, _legend(passage.scale, 60))
    colours = ((colour, (Cell.VALUE,)), (alt.value(GREY), (Cell.MASKED,)), (alt.value(BLOT), (Cell.NAN, Cell.INFINITE)))
    layers = []
    for one, kinds in colours:
        chosen = [record for record in records if record["cell"] in {_NAMES[kind] for kind in kinds}]
        top = alt.Y("top:Q", axis=None, scale=flow)
        if chosen:
            layers.append(
                _chart(chosen)
                .mark_rect()
                .encode(left, top, x2=alt.X2(field="right"), y2=alt.Y2(field="bottom"), color=one, tooltip=tip)
            )
    text = _chart(records).mark_text(font="monospace", fontSize=13, align="left", dx=2, baseline="middle")
    middle = alt.Y("middle:Q", axis=None, scale=flow)
    layers.append(text.encode(left, middle, text="token:N", color=alt.Color("ink:N", scale=None)))
    return alt.layer(*layers, title=_title(passage)).properties(width=wide, height=24 * lines)


def _laid_out(passage: Passage) -> tuple[Records, int]:
    """Return the places of the tokens, line by line, and how many lines they make."""
    records: Records = []
    left, line = 0, 0
    colours = rgb_of(passage.values, passage.scale).tolist()
    for n, token in enumerate(map(_cut, map(safe, passage.tokens))):
        wide = max(_width(token), 1) * _EM + 4
        if left + wide > _WIDE:
            left, line = 0, line + 1
        kind = Cell(int(passage.cells[n]))
        records.append(
            {
                "timestep": int(passage.timesteps[n]),
                "token": token,
                "value": _finite(float(passage.values[n])),
                "cell": _NAMES[kind],
                "left": left,
                "right": left + wide,
                "top": line,
                "middle": line + 0.46,
                "bottom": line + 0.92,
                "ink": "#fff" if kind in (Cell.NAN, Cell.INFINITE) or is_dark(*colours[n]) else "#222",
            }
        )
        left += wide
    return records, line + 1


# counts


def _saturation(found: Saturation, across: int) -> Drawn:
    low, high = (f"{limit:g}" for limit in found.limits)
    at_place: dict[tuple[float, float], list[int]] = {}
    for unit, *place in zip(found.units.tolist(), found.low.tolist(), found.high.tolist(), strict=True):
        at_place.setdefault((place[0], place[1]), []).append(unit)
    records: Records = [
        {"units": _several(units), "number": len(units), "low": _finite(left), "high": _finite(right)}
        for (left, right), units in at_place.items()
    ]
    share = alt.Scale(domain=[0, 1])
    points = _chart(records).encode(
        alt.X("low:Q", title=f"share of timesteps below {low}", scale=share, axis=alt.Axis(format="%", tickCount=5)),
        alt.Y("high:Q", title=f"share above {high}", scale=share, axis=alt.Axis(format="%", tickCount=5)),
    )
    dots = points.mark_circle(size=40, opacity=0.6, color=VIRIDIS[3]).encode(
        tooltip=[
            alt.Tooltip("units:N"),
            alt.Tooltip("number:Q", title="number of units"),
            alt.Tooltip("low:Q", format=".1%"),
            alt.Tooltip("high:Q", format=".1%"),
        ]
    )
    edge = _chart([{"low": 0, "high": 1}, {"low": 1, "high": 0}]).mark_line(
        color=GREY, strokeDash=[3, 3], strokeWidth=1
    )
    size = max(_WIDE // across - 40, 130)
    placed = sorted((one for one in records if one["high"] is not None), key=lambda one: (-one["high"], one["low"]))
    named = _beside(placed, size) if len(records) <= 16 else {}
    names = [
        _chart(chosen)
        .mark_text(align="left" if dx > 0 else "right", dx=dx, dy=dy, fontSize=10)
        .encode(alt.X("low:Q"), alt.Y("high:Q"), text="units:N")
        for (dx, dy), chosen in named.items()
    ]
    marks = [edge.encode(alt.X("low:Q"), alt.Y("high:Q")), dots, *names]
    return alt.layer(*marks, title=_title(found)).properties(width=size, height=size)


_CORNERS = ((5, -5), (5, 8), (-5, -5), (-5, 8))
"""From a point to the label beside it, in pixels; the first corner that is free is taken."""


def _beside(records: Records, size: int) -> dict[tuple[int, int], Records]:
    """Return which points of a square have their label at which corner; where no corner is free, there is none."""
    places = [(one["low"] * size, (1 - one["high"]) * size) for one in records]
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    found: dict[tuple[int, int], Records] = {}
    for one, (x, y) in zip(records, places, strict=True):
        wide = 6 * len(one["units"])
        for dx, dy in _CORNERS:
            left = x + dx - (wide if dx < 0 else 0)
            box = (left, y + dy - 5, left + wide, y + dy + 5)
            if left >= 0 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found.setdefault((dx, dy), []).append(one)
                break
    return found


_Box: TypeAlias = tuple[float, float, float, float]


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _several(units: list[int]) -> str:
    """Return the numbers of units at one place, as many as one can read."""
    shown = ", ".join(map(str, units[:_MOST_NAMED]))
    return f"{shown}, …" if len(units) > _MOST_NAMED else shown


def _histogram(found: Histogram, across: int) -> Drawn:
    total = max(int(found.counts.sum()), 1)
    records = [
        {"from": _finite(left), "to": _finite(right), "share": count / total, "count": count}
        for left, right, count in zip(
            found.edges[:-1].tolist(), found.edges[1:].tolist(), found.counts.tolist(), strict=True
        )
    ]
    reach = alt.Scale(domain=[float(found.edges[0]), float(found.edges[-1])], nice=False)
    bars = (
        _chart(records)
        .mark_bar(color=VIRIDIS[3], binSpacing=0)
        .encode(
            alt.X("from:Q", bin="binned", title=None, scale=reach, axis=alt.Axis(tickCount=5)),
            alt.X2(field="to"),
            alt.Y("share:Q", title="share of values", axis=alt.Axis(format="%", tickCount=4)),
            tooltip=[
                alt.Tooltip("from:Q"),
                alt.Tooltip("to:Q"),
                alt.Tooltip("count:Q"),
                alt.Tooltip("share:Q", format=".2%"),
            ],
        )
    )
    return alt.layer(bars, title=_title(found)).properties(width=max(_WIDE // across - 40, 130), height=120)
