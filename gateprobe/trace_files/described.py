"""What a file says of its trace: the metadata, and the index of its arrays. Nothing in it is believed unchecked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from gateprobe.errors import ReadError
from gateprobe.graph import Array
from gateprobe.readers.safe_json import loads
from gateprobe.traces.chunk import TRACE_FORMAT, DirectionTrace, Grid, TraceChunk, image_axes
from gateprobe.traces.words import SIGNAL_ORDER
from gateprobe.writers.arrays import context_key

Metadata: TypeAlias = Mapping[str, Any]
Opened: TypeAlias = tuple[Metadata, Array, tuple[DirectionTrace, ...], Callable[[], Iterator[TraceChunk]]]
"""A trace of which nothing but the outline is in memory: metadata, numbers of the samples, every direction without
samples, and what begins a pass."""
T = TypeVar("T")

SIGNALS = frozenset({*SIGNAL_ORDER, *(f"pre_{name}" for name in SIGNAL_ORDER)})
_SPAN = re.compile(r"(\d{1,18})(?::(\d{1,18}))?")


def metadata_of(text: str | None) -> Metadata:
    """Parse the metadata of a trace.

    Raises:
        ReadError: There are none, or those of another program or a later version.
    """
    if text is None:
        raise ReadError("holds no metadata of gateprobe", remedy="give a trace that gateprobe wrote")
    return checked(loads(text, "metadata"))


def checked(value: Any) -> Metadata:
    """Return metadata that have been parsed.

    Raises:
        ReadError: They are those of another program or of a later version.
    """
    found: Metadata = _typed(value, dict, "metadata")
    version = found.get("format")
    if type(version) is not int or not 1 <= version <= TRACE_FORMAT:
        reason = f"has the format {version!r}; this gateprobe reads 1 to {TRACE_FORMAT}"
        raise ReadError(reason, place="metadata", remedy="install a newer gateprobe")
    return found


@dataclass(frozen=True, slots=True)
class Described:
    """What the index says of one direction."""

    key: str
    layer: str
    direction: str
    backwards: bool
    length: int
    timesteps: str
    units: str
    signals: Sequence[str]
    context: Sequence[str] = ()
    grid: Grid = ()

    @property
    def mask_key(self) -> str:
        """Where the mask stands, if there is one."""
        return f"{self.key.rpartition('/')[0]}/mask"

    def trace(self, signals: Mapping[str, Array], mask: Array | None, context: Mapping[str, Array]) -> DirectionTrace:
        """Put arrays and index together.

        Raises:
            ReadError: They contradict each other.
        """
        shapes = {value.shape for value in signals.values()}
        shape = next(iter(shapes), ())
        if len(shapes) != 1 or len(shape) < 3:
            raise ReadError("the arrays differ in their shapes", place=self.key)
        if any(value.dtype.kind != "f" for value in signals.values()):
            raise ReadError("holds other arrays than floats", place=self.key)
        if mask is not None and (mask.shape != shape[:2] or mask.dtype != np.bool_):
            raise ReadError("the mask is not one of these timesteps", place=self.mask_key)
        for name, value in context.items():
            if value.shape[:2] != shape[:2] or value.ndim not in (2, 3) or value.dtype.kind not in "fiub":
                raise ReadError("is no array of these timesteps", place=context_key(self.layer, name))
        units = numbers(self.units, int(np.prod(shape[2:])), self.key)
        grid = self.grid or (image_axes(shape[2:]) if 4 <= len(shape) <= 6 else ())
        sizes = tuple(size for _, size in grid)
        if (len(shape) > 3 and sizes != shape[2:]) or (grid and len(units) and units.max() >= math.prod(sizes)):
            raise ReadError("the arrays have other axes than their description", place=self.key)
        return DirectionTrace(
            layer=self.layer,
            direction=self.direction,
            backwards=self.backwards,
            signals=signals,
            mask=mask,
            timesteps=numbers(self.timesteps, shape[1], self.key),
            units=units,
            length=self.length,
            context=context,
            grid=grid,
        )


def directions_of(index: Mapping[str, Any]) -> Iterator[Described]:
    """Read the directions of an index.

    Raises:
        ReadError: It is not one that gateprobe writes.
    """
    for entry in _typed(index.get("directions"), list, "directions"):
        found = _typed(entry, dict, "directions")
        words = {name: _typed(found.get(name), str, name) for name in ("key", "layer", "direction")}
        signals = [_typed(name, str, "signals") for name in _typed(found.get("signals"), list, "signals")]
        if not signals or not SIGNALS.issuperset(signals) or words["direction"] not in ("forward", "backward"):
            raise ReadError("names signals or directions that no trace has", place=f"metadata: {words['key']}")
        context = [_typed(name, str, "context") for name in _typed(found.get("context", []), list, "context")]
        if not all(name.startswith(("input.", "output.")) for name in context):
            raise ReadError("names columns that no trace has", place=f"metadata: {words['key']}")
        yield Described(
            **words,
            backwards=_typed(found.get("backwards"), bool, "backwards"),
            length=_typed(found.get("length"), int, "length"),
            timesteps=_typed(found.get("timesteps"), str, "timesteps"),
            units=_typed(found.get("units"), str, "units"),
            signals=signals,
            context=context,
            grid=_grid(found.get("grid", []), words["key"]),
        )


def _grid(value: Any, key: str) -> Grid:
    """Read the axes of a ConvLSTM."""
    axes = [_typed(axis, list, "grid") for axis in _typed(value, list, "grid")]
    sizes = [axis[1] for axis in axes if len(axis) == 2 and type(axis[1]) is int and 0 < axis[1] < 1 << 31]
    known = [image_axes(tuple(sizes), filters_first=first) for first in (False, True)] if 2 <= len(sizes) <= 4 else []
    found = tuple(map(tuple, axes))
    if axes and found not in known:
        raise ReadError("names axes that no trace has", place=f"metadata: {key}")
    return found


def numbers(text: str, size: int, place: str) -> Array:
    """Return the numbers that a text such as ``0:8,31`` lists.

    Args:
        text: The numbers.
        size: How many there must be: the axis that they number.
        place: What it belongs to, for messages.

    Raises:
        ReadError: It is no such text, or lists more or fewer.
    """
    spans = _spans(text, place)
    listed = sum(map(len, spans))
    if listed != size:
        raise ReadError(f"numbers {listed} places of an axis of {size}", place=f"metadata: {place}")
    return np.concatenate([np.arange(0), *(np.arange(span.start, span.stop) for span in spans)])


def _spans(text: str, place: str) -> list[range]:
    spans = []
    for part in text.split(",") if text else ():
        match = _SPAN.fullmatch(part)
        if match is None:
            raise ReadError(f"{part!r:.40} is no range", place=f"metadata: {place}")
        start = int(match[1])
        spans.append(range(start, start + 1 if match[2] is None else int(match[2])))
    return spans


def _typed(value: Any, kind: type[T], place: str) -> T:
    if type(value) is not kind:
        raise ReadError("is not what gateprobe writes there", place=f"metadata: {place}")
    return value
