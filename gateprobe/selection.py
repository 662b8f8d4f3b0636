"""Which layers, directions, signals, units, timesteps and samples a user wants: the same everywhere."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.trace import ALIASES, SIGNAL_ORDER, DirectionTrace, TraceChunk

_ITEM = re.compile(r"(-?\d*)(?:(:)(-?\d*))?")


@dataclass(frozen=True, slots=True)
class Ranges:
    """Numbers picked like ``0:8,31``: single ones and Python ranges, negative ones counted from the end."""

    text: str

    def pick(self, size: int, what: str) -> Array:
        """Return the picked numbers below ``size``, ascending.

        Raises:
            InputError: The text is not a list of ranges, or it picks nothing.
        """
        picked: set[int] = set()
        for item in self.text.split(","):
            match = _ITEM.fullmatch(item.strip())
            if match is None or (not match[1] and not match[2]):
                raise InputError(f"--{what} {self.text}: expected numbers and ranges such as 0:8,31")
            if match[2]:
                bounds = (int(match[1]) if match[1] else None, int(match[3]) if match[3] else None)
                picked.update(range(*slice(*bounds).indices(size)))
            elif -size <= int(match[1]) < size:
                picked.add(int(match[1]) % size)
        if not picked:
            raise InputError(f"--{what} {self.text} selects nothing", remedy=f"there are 0 to {size - 1}")
        return np.array(sorted(picked))


@dataclass(frozen=True, slots=True)
class Selection:
    """What to keep of a trace; empty means all."""

    layers: tuple[str, ...] = ()
    """Globs over layer paths; ``name`` also selects the further calls ``name:1`` and the cells ``name/cell_0``."""
    directions: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    """Names or aliases."""
    units: Ranges | None = None
    timesteps: Ranges | None = None
    samples: Ranges | None = None

    def takes_layer(self, path: str) -> bool:
        """Whether a layer path is wanted."""
        plain = re.sub(r":\d+", "", path)
        owner = re.sub(r"/cell_\d+$", "", plain)
        return not self.layers or any(
            fnmatch.fnmatchcase(name, pattern) for pattern in self.layers for name in (path, plain, owner)
        )

    def signal_names(self) -> tuple[str, ...]:
        """Return the wanted signals in full.

        Raises:
            InputError: A name is no signal.
        """
        names = []
        for text in self.signals:
            pre, plain = ("pre_", text[4:]) if text.startswith("pre_") else ("", text)
            name = ALIASES.get(plain, plain)
            if name not in SIGNAL_ORDER:
                remedy = f"choose from {', '.join(SIGNAL_ORDER)}, each also with pre_"
                raise InputError(f"--signal {text}: no such signal", remedy=remedy)
            names.append(pre + name)
        return tuple(names)

    def apply(self, chunk: TraceChunk) -> TraceChunk:
        """Return the wanted part of a chunk; samples have been chosen before the run.

        Raises:
            InputError: The selection matches nothing; the message lists what there is.
        """
        kept = tuple(
            direction for direction in chunk.directions if not self.directions or direction.direction in self.directions
        )
        if not kept:
            there = sorted({direction.direction for direction in chunk.directions})
            raise InputError("--direction selects nothing", remedy=f"there is {', '.join(there)}")
        wanted = self.signal_names()
        cut = tuple(part for part in (self._cut(direction, wanted) for direction in kept) if part.signals)
        if not cut:
            there = dict.fromkeys(name for direction in kept for name in direction.signals)
            raise InputError("--signal selects nothing", remedy=f"there are {', '.join(there)}")
        return replace(chunk, directions=cut)

    def _cut(self, direction: DirectionTrace, wanted: Sequence[str]) -> DirectionTrace:
        signals = {name: value for name, value in direction.signals.items() if not wanted or name in wanted}
        timesteps, units, mask = direction.timesteps, direction.units, direction.mask
        if self.timesteps is not None:
            picked = self.timesteps.pick(len(timesteps), "timestep")
            signals = {name: value[:, picked] for name, value in signals.items()}
            timesteps, mask = timesteps[picked], None if mask is None else mask[:, picked]
        if self.units is not None:
            picked = self.units.pick(len(units), "unit")
            signals = {name: value.reshape(*value.shape[:2], -1)[..., picked] for name, value in signals.items()}
            units = units[picked]
        return replace(direction, signals=signals, timesteps=timesteps, units=units, mask=mask)


def check_layers(selection: Selection, paths: Iterable[str]) -> None:
    """Refuse layer patterns that match nothing.

    Raises:
        InputError: Lists the recurrent layers that exist.
    """
    there = list(paths)
    for pattern in selection.layers:
        if not any(replace(selection, layers=(pattern,)).takes_layer(path) for path in there):
            remedy = f"there are {', '.join(there)}" if there else "the model has no recurrent layer"
            raise InputError(f"--layer {pattern} selects nothing", remedy=remedy)
