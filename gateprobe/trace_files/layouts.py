"""What the columns of a table of a trace are, in each layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gateprobe.errors import ReadError
from gateprobe.trace_files.described import SIGNALS
from gateprobe.traces.chunk import AXES, LABEL, Layout

PLACES = ("unit", *AXES)
"""The columns that say where a number is in its layer: its unit, or row, column and filter in a ConvLSTM."""
NUMBERS = ("sample", "timestep", "step", *PLACES)
_BEFORE = ("sample", "layer", "direction", "timestep", "step")
_WIDE = re.compile(rf"({'|'.join(sorted(SIGNALS, key=len, reverse=True))})_(\d{{1,9}}(?:_\d{{1,9}}){{0,3}})")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a table."""

    names: tuple[str, ...]
    layout: Layout
    context: tuple[str, ...]
    """Those that stand beside the signals."""
    values: tuple[str, ...]
    """Those that hold numbers of the trace."""

    def schema(self, value: pl.DataType) -> dict[str, pl.DataType]:
        """Return the types in which a text is read: those of what stands beside the signals are found out later."""
        kinds: dict[str, pl.DataType] = {name: pl.String() for name in ("layer", "direction", "signal", *self.context)}
        kinds |= {name: pl.Int64() for name in NUMBERS} | {"masked": pl.Boolean()}
        return {name: kinds.get(name, value) for name in self.names}

    @property
    def places(self) -> tuple[str, ...]:
        """Those that say where a number is in its layer."""
        return tuple(name for name in PLACES if name in self.names)

    def column(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Return signal and place of a column of the wide layout: a unit, or row, column and filter."""
        match = _WIDE.fullmatch(name)
        assert match is not None
        return match[1], tuple(map(int, match[2].split("_")))


def header_of(names: Sequence[str]) -> Header:
    """Find out how a table arranges a trace.

    Raises:
        ReadError: It holds none.
    """
    end = names.index("masked") if "masked" in names else 0
    places = tuple(names[len(_BEFORE) : end])
    is_trace = tuple(names[: len(_BEFORE)]) == _BEFORE and places == tuple(name for name in PLACES if name in places)
    wide = not places
    rest = list(names[end + 1 :])
    context = []
    while rest and (rest[0] == LABEL or rest[0].startswith(("input.", "output."))):
        context.append(rest.pop(0))
    layout: Layout | None = None
    if is_trace and len(set(names)) == len(names) and rest:
        if wide:
            layout = "wide" if all(map(_WIDE.fullmatch, rest)) else None
        elif rest == ["signal", "value"]:
            layout, rest = "long", ["value"]
        elif SIGNALS.issuperset(rest):
            layout = "tidy"
    if layout is None:
        raise ReadError(
            "is no table of a trace that gateprobe wrote", remedy="a trace has the columns of docs/formats.md"
        )
    return Header(tuple(names), layout, tuple(context), tuple(rest))
