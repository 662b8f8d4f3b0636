"""Which layers, directions, signals, units, timesteps and samples a user wants: the same everywhere."""

from __future__ import annotations

import fnmatch
import math
import operator
import re
import reprlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

from gateprobe.errors import GateprobeWarning, InputError, choices
from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace, TraceChunk
from gateprobe.traces.words import OTHERS, SIGNAL_ORDER, in_full

_ITEM = re.compile(r"(-?\d{1,18})?(:(-?\d{1,18})?(?::(-?\d{1,18})?)?)?")

_Directions: TypeAlias = tuple[DirectionTrace, ...]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Numbers picked like ``0:8,31``: single ones and Python slices, negative ones counted from the end."""

    text: str

    def matches(self, size: int, what: str) -> Array:
        """Return the picked numbers below ``size``, ascending and each once; perhaps none.

        Args:
            size: How many numbers there are.
            what: The option, for messages: ``unit``.

        Raises:
            InputError: The text is not a list of ranges.
        """
        picked = [np.arange(0)]
        for item in self.text.split(","):
            match = _ITEM.fullmatch(item.strip())
            if match is None or not match[0] or match[4] in ("0", "-0"):
                raise InputError(f"--{what}={self.text}: expected numbers and ranges such as 0:8,31")
            start, stop, step = (None if bound is None else int(bound) for bound in match.group(1, 3, 4))
            if match[2]:
                picked.append(np.arange(size)[start:stop:step])
            elif start is not None and -size <= start < size:
                picked.append(np.array([start % size]))
        return np.unique(np.concatenate(picked))

    def pick(self, size: int, what: str) -> Array:
        """Do the same, and insist on at least one.

        Raises:
            InputError: The text is not a list of ranges, or it picks nothing.
        """
        picked = self.matches(size, what)
        if not len(picked):
            raise _nothing(f"--{what}={self.text}", [f"0 to {size - 1}"])
        return picked


Numbers: TypeAlias = SupportsIndex | slice | str | Ranges | Iterable[SupportsIndex]
"""Which units, timesteps or samples: ``3``, ``[0, 3]``, ``slice(0, 10)``, ``range(10)``, or a text like ``0:8,31``."""
Names: TypeAlias = str | Iterable[str]
"""One name or several."""


def ranges_of(numbers: Numbers, what: str) -> Ranges:
    """Put numbers into the form in which selections keep them.

    Args:
        numbers: Any form of them.
        what: The option, for messages: ``unit``.

    Raises:
        InputError: They are not whole numbers.
    """
    if isinstance(numbers, Ranges):
        return numbers
    if isinstance(numbers, str):
        return Ranges(numbers)
    try:
        return Ranges(_slice_text(numbers) if isinstance(numbers, slice) else _list_text(numbers))
    except TypeError:
        raise InputError(
            f"--{what}={reprlib.repr(numbers)}: expected whole numbers, a slice, or a text such as 0:8,31"
        ) from None


def _slice_text(numbers: slice) -> str:
    bounds = ["" if bound is None else str(operator.index(bound)) for bound in (numbers.start, numbers.stop)]
    return ":".join(bounds if numbers.step is None else [*bounds, str(operator.index(numbers.step))])


def _list_text(numbers: SupportsIndex | Iterable[SupportsIndex]) -> str:
    """Write single numbers, those that follow each other as a range."""
    listed = [numbers] if isinstance(numbers, SupportsIndex) and np.ndim(numbers) == 0 else numbers  # type: ignore[arg-type]
    wanted = sorted({_whole(number) for number in listed})  # type: ignore[union-attr]  # what is neither is a TypeError
    runs: list[list[int]] = []
    for number in wanted:
        if runs and number == runs[-1][-1] + 1 and number > 0 and runs[-1][0] >= 0:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join(f"{run[0]}:{run[-1] + 1}" if len(run) > 1 else str(run[0]) for run in runs)


def _whole(number: SupportsIndex) -> int:
    if isinstance(number, (bool, np.bool_)):
        raise TypeError("a truth value is no number")
    return operator.index(number)


def _names(names: Names, *, split: bool = False) -> tuple[str, ...]:
    """Return several names where one may stand alone; ``split`` takes ``i,f`` apart."""
    listed = (names,) if isinstance(names, str) else tuple(names)
    return tuple(part for name in listed for part in name.split(",")) if split else listed


@dataclass(frozen=True, slots=True, init=False)
class Selection:
    """What to keep of a trace; empty means all.

    Args:
        layers: Globs over layer paths, such as ``lstm*``.
        directions: ``forward`` or ``backward``.
        signals: Names such as ``forget_gate``, or aliases such as ``f``.
        units: Their numbers, see `Numbers`.
        timesteps: Likewise.
        samples: Likewise.

    Raises:
        InputError: The numbers are not whole ones.
    """

    layers: tuple[str, ...]
    """Globs over layer paths; ``name`` also selects the further calls ``name:1`` and the cells ``name/cell_0``."""
    directions: tuple[str, ...]
    signals: tuple[str, ...]
    """Names or aliases."""
    units: Ranges | None
    timesteps: Ranges | None
    samples: Ranges | None

    def __init__(
        self,
        layers: Names = (),
        directions: Names = (),
        signals: Names = (),
        units: Numbers | None = None,
        timesteps: Numbers | None = None,
        samples: Numbers | None = None,
    ) -> None:
        put = partial(object.__setattr__, self)
        put("layers", _names(layers))
        put("directions", _names(directions))
        put("signals", _names(signals, split=True))
        for what, numbers in (("units", units), ("timesteps", timesteps), ("samples", samples)):
            put(what, None if numbers is None else ranges_of(numbers, what.removesuffix("s")))

    def described(self) -> dict[str, Any]:
        """Return what is selected, JSON-ready; nothing where all is."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in values.items() if value}

    def __str__(self) -> str:
        """Say it as on the command line."""
        words = [f"--layer {text}" for text in self.layers] + [f"--direction {text}" for text in self.directions]
        words += [f"--signal {text}" for text in self.signals]
        ranges = {"unit": self.units, "timestep": self.timesteps, "sample": self.samples}
        words += [f"--{name} {picked.text}" for name, picked in ranges.items() if picked is not None]
        return " ".join(words) or "everything"

    def takes_layer(self, path: str) -> bool:
        """Whether a layer path is wanted."""
        plain = re.sub(r":\d+", "", path)
        owner = re.sub(r"/cell_\d+$", "", plain)
        return not self.layers or any(
            name == pattern or fnmatch.fnmatchcase(name, pattern)
            for pattern in self.layers
            for name in (path, plain, owner)
        )

    def signal_names(self) -> tuple[str, ...]:
        """Return the wanted signals in full.

        Raises:
            InputError: A name is no signal.
        """
        names = []
        for text in self.signals:
            name = in_full(text)
            plain = name.removeprefix("pre_")
            if plain not in SIGNAL_ORDER:
                remedy = f"{choices(SIGNAL_ORDER, plain, OTHERS)}, each also with pre_"
                raise InputError(f"--signal={text}: no such signal", remedy=remedy)
            names.append(name)
        return tuple(names)

    def apply(self, chunk: TraceChunk) -> TraceChunk:
        """Return the wanted part of a chunk; samples have been chosen before the run.

        A direction that has none of the wanted signals, timesteps or units is left out.

        Raises:
            InputError: The selection matches nothing; the message lists what there is.

        A layer that is left out altogether is told by a `GateprobeWarning`.
        """
        directions = chunk.directions
        for narrow in (self._by_layer, self._by_direction, self._by_signal, self._by_timestep, self._by_unit):
            directions = narrow(directions)
        return replace(chunk, directions=directions)

    def _by_layer(self, directions: _Directions) -> _Directions:
        kept = tuple(direction for direction in directions if self.takes_layer(direction.layer))
        if not kept:
            there = [direction.layer for direction in directions]
            raise _nothing(f"--layer={','.join(self.layers)}", there, *self.layers[:1])
        return kept

    def _by_direction(self, directions: _Directions) -> _Directions:
        wanted = self.directions or ("forward", "backward")
        kept = tuple(direction for direction in directions if direction.direction in wanted)
        if not kept:
            raise _nothing(f"--direction={','.join(wanted)}", [direction.direction for direction in directions])
        _tell_dropped(
            f"--direction={','.join(wanted)}", directions, kept, lambda part: f"the direction {part.direction} only"
        )
        return kept

    def _by_signal(self, directions: _Directions) -> _Directions:
        wanted = self.signal_names()
        if not wanted:
            return directions
        kept = []
        for direction in directions:
            signals = {name: direction.signals[name] for name in wanted if name in direction.signals}
            if signals:
                kept.append(replace(direction, signals=signals, order=wanted))
        if not kept:
            raise _nothing(f"--signal={','.join(wanted)}", [name for part in directions for name in part.signals])
        _tell_dropped(f"--signal={','.join(wanted)}", directions, tuple(kept), lambda part: ", ".join(part.signals))
        return tuple(kept)

    def _by_timestep(self, directions: _Directions) -> _Directions:
        if self.timesteps is None:
            return directions
        kept = []
        for direction in directions:
            wanted = self.timesteps.matches(direction.length, "timestep")
            at = _positions(direction.timesteps, wanted)
            whole = None if direction.whole is None else len(wanted)
            if whole or len(direction.timesteps[at]):
                kept.append(replace(direction.between(at), whole=whole))
        if not kept:
            raise _nothing(f"--timestep={self.timesteps.text}", _spans(part.timesteps for part in directions))
        _tell_dropped(
            f"--timestep={self.timesteps.text}",
            directions,
            tuple(kept),
            lambda part: f"the timesteps 0 to {part.length - 1}",
        )
        return tuple(kept)

    def _by_unit(self, directions: _Directions) -> _Directions:
        if self.units is None:
            return directions
        kept = []
        for direction in directions:
            size = int(direction.units.max()) + 1
            at = _positions(direction.units, self.units.matches(size, "unit"))
            if len(direction.units[at]):
                signals = {
                    name: value.reshape(*value.shape[:2], math.prod(value.shape[2:]))[..., at]
                    for name, value in direction.signals.items()
                }
                kept.append(replace(direction, signals=signals, units=direction.units[at]))
        if not kept:
            raise _nothing(f"--unit={self.units.text}", _spans(part.units for part in directions))
        _tell_dropped(
            f"--unit={self.units.text}", directions, tuple(kept), lambda part: f"the units 0 to {part.units.max()}"
        )
        return tuple(kept)


def _plain(value: tuple[str, ...] | Ranges) -> list[str] | str:
    return value.text if isinstance(value, Ranges) else list(value)


def _positions(numbers: Array, wanted: Array) -> slice | Array:
    """Return where the wanted numbers stand among ``numbers``; a slice, which copies nothing, where that is enough."""
    at = np.flatnonzero(np.isin(numbers, wanted, assume_unique=True))
    whole = len(at) and at[-1] - at[0] + 1 == len(at)
    return slice(int(at[0]), int(at[-1]) + 1) if whole else at


def _spans(numbers: Iterable[Array]) -> list[str]:
    """Say which numbers there are: ``0 to 7``, or several such spans where a trace is itself a selection."""
    there = np.unique(np.concatenate(list(numbers)))
    runs = np.split(there, np.flatnonzero(np.diff(there) != 1) + 1)
    return [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run)]


def _nothing(option: str, there: Iterable[str], wanted: str = "") -> InputError:
    return InputError(f"{option} selects nothing", remedy=choices(there, wanted))


def _tell_dropped(option: str, before: _Directions, after: _Directions, has: Callable[[DirectionTrace], str]) -> None:
    """Note which layers a selection drops altogether."""
    kept = {direction.layer for direction in after}
    for direction in {part.layer: part for part in before if part.layer not in kept}.values():
        note = f"{option} leaves out {direction.layer}, which has {has(direction)}"
        warnings.warn(note, GateprobeWarning, stacklevel=2)


def check_layers(selection: Selection, paths: Iterable[str], others: Iterable[str] = ()) -> None:
    """Refuse layer patterns that match nothing.

    Args:
        selection: What is wanted.
        paths: The recurrent layers.
        others: Layers that are there too.

    Raises:
        InputError: Lists the recurrent layers that exist.
    """
    there = list(paths)
    for pattern in selection.layers:
        if not any(replace(selection, layers=(pattern,)).takes_layer(path) for path in there):
            if pattern in set(others):
                remedy = f"recurrent layers: {', '.join(there) or 'none'}"
                raise InputError(f"--layer={pattern}: {pattern} is not recurrent", remedy=remedy)
            layer, _, direction = pattern.rpartition("/")
            if layer in there and direction in ("forward", "backward"):
                raise InputError(
                    f"--layer={pattern} selects nothing", remedy=f"use --layer={layer} --direction={direction}"
                )
            remedy = choices(there, pattern) or "the model has no recurrent layer"
            raise InputError(f"--layer={pattern} selects nothing", remedy=remedy)
