"""Stands between a bound model and its recurrent layers: sees what each gets, and lets it compute as a port does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gateprobe.analysis.mistakes.port import ALTERABLE, GATES, Port, kind_of
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.binding.graph import Graph, Step
from gateprobe.layers.recurrent.cells import Cell
from gateprobe.layers.recurrent.conv_lstm import ConvLSTMCell
from gateprobe.layers.recurrent.rnn import Recurrent

Key: TypeAlias = tuple[str, str]
"""Layer path and direction."""
Fields: TypeAlias = Mapping[str, Any]
"""Fields of `Port` that a mistake sets."""
Halves: TypeAlias = Mapping[Key, tuple[Array, Array]]
"""Both halves of the bias of CuDNN LSTMs."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a call of a recurrent layer gets."""

    cell: Any
    backwards: bool
    x: Array
    """``(samples, timesteps, features)``, in the layer's precision."""
    mask: Array | None
    """``(samples, timesteps)``."""
    initial: tuple[Array, ...]
    """States, each ``(samples, units)``."""
    starts: bool
    """Whether these states were given to the layer, and are not its own zeros."""
    precision: Precision


@dataclass(slots=True, eq=False)
class Watch:
    """What is to be done at each recurrent layer, and what was seen there."""

    changes: Callable[[Key], Fields]
    """The mistakes of a direction of a layer; nothing for none."""
    halves: Halves
    seen: dict[Key, list[Given]]
    """Empty at first; one entry for each batch, of layers that are traced."""
    ran: dict[Key, None] = field(default_factory=dict)
    """Every direction of every layer, in the order in which they ran."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A recurrent layer that is watched."""

    layer: Recurrent
    watch: Watch

    @property
    def return_sequences(self) -> bool:
        """Of the layer."""
        return self.layer.return_sequences

    @property
    def return_state(self) -> bool:
        """Of the layer."""
        return self.layer.return_state

    @property
    def go_backwards(self) -> bool:
        """Of the layer."""
        return self.layer.go_backwards

    @property
    def precision(self) -> Precision:
        """Of the layer."""
        return self.layer.precision

    def replay(self, call: Arguments, scope: Scope, direction: str | None = None) -> tuple[Tensor, ...]:
        """See `Recurrent.replay`."""
        way = direction or ("backward" if self.layer.go_backwards else "forward")
        if any(scope.traced(_part(scope.path, n, self.layer)) for n in range(len(self.layer.cells))):
            self._note(call, scope, way)
        key = (scope.path, way)
        self.watch.ran[key] = None
        changes = self.watch.changes(key)
        ports = [self._port(cell, (_part(scope.path, n, self.layer), way)) for n, cell in enumerate(self.layer.cells)]
        if not changes or not all(applies(changes, port.cell) for port in ports):
            return self.layer.replay(call, scope, direction)
        ports = [replace(port, **changes) for port in ports]
        return _ported(self.layer, ports, call, scope, way)

    def _port(self, cell: Cell, key: Key) -> Port:
        return Port(cell, self.layer.go_backwards, halves=self.watch.halves.get(key))

    def _note(self, call: Arguments, scope: Scope, way: str) -> None:
        """Note what the first cell is given; the others get the hidden states of the one before."""
        layer = self.layer
        first, *more = call.tensors
        x = layer.precision.cast(first.value)
        given = tuple(tensors_in(call.get(1, "initial_state"))) or tuple(more)
        mask = layer._mask(call, first)  # noqa: SLF001 - this class stands for the layer
        mask = None if layer.states_hide_mask and given and call.kwargs.get("mask") is None else mask
        carried = scope.states.get((*scope.owner, way))
        states = layer._initial_states(given, carried, np.swapaxes(x, 0, 1))  # noqa: SLF001
        for number, (cell, initial) in enumerate(zip(layer.cells, states, strict=True)):
            key = (_part(scope.path, number, layer), way)
            seen = Given(cell, layer.go_backwards, x, mask, initial, bool(given), layer.precision)
            self.watch.seen.setdefault(key, []).append(seen)


def _part(path: str, number: int, layer: Recurrent) -> str:
    return f"{path}/cell_{number}" if layer.stacked else path


def applies(changes: Fields, cell: Any) -> bool:
    """Whether a cell can be computed with these mistakes."""
    kind = kind_of(cell)
    if not kind or (isinstance(cell, ConvLSTMCell) and not ALTERABLE.issuperset(changes)):
        return False
    order, features = changes.get("order"), changes.get("features")
    fitting_order = order is None or len(order) == len(GATES[kind])
    return fitting_order and (features is None or len(features) == cell.kernel.shape[-2])


def _ported(layer: Recurrent, ports: list[Port], call: Arguments, scope: Scope, way: str) -> tuple[Tensor, ...]:
    """Replay a call as the ports compute it."""
    port = ports[0]
    altered = replace(layer, cells=tuple(one.altered() for one in ports), go_backwards=port.backwards)
    if not port.masked:
        first = call.tensors[0]
        call = Arguments((Tensor(first.value), *call.args[1:]), {k: v for k, v in call.kwargs.items() if k != "mask"})
    if not port.initial:
        call = Arguments((call.tensors[0],), {k: v for k, v in call.kwargs.items() if k != "initial_state"})
    inside = scope if not port.flipped else replace(scope, deliver=_flipping(scope.deliver))
    if port.state != "carried":
        return altered.replay(call, inside, way)
    return _carried(replace(altered, stateful=True, return_state=altered.return_state), call, inside, way)


def _flipping(deliver: Callable[..., None]) -> Callable[..., None]:
    """Turn the rows of the signals, not the mask, which both programs read from the input."""

    def turned(path: str, *, signals: Mapping[str, Array], **rest: Any) -> None:
        deliver(path, signals={name: value[:, ::-1] for name, value in signals.items()}, **rest)

    return turned


def _carried(layer: Recurrent, call: Arguments, scope: Scope, way: str) -> tuple[Tensor, ...]:
    """Replay sample after sample, each with the states that the one before left behind."""
    first = call.tensors[0]
    parts: list[dict[str, Any]] = []
    outputs = []
    for n in range(len(first.value)):
        row = Tensor(first.value[n : n + 1], None if first.mask is None else first.mask[n : n + 1])
        collected = replace(scope, deliver=lambda path, **rest: parts.append({"path": path, **rest}))
        kwargs = {} if n else dict(call.kwargs)
        given = {name: _row(value, n) for name, value in kwargs.items()}
        outputs.append(layer.replay(Arguments((row,), given), collected, way))
    for path in dict.fromkeys(part["path"] for part in parts):
        same = [part for part in parts if part["path"] == path]
        whole = {
            "signals": {name: np.concatenate([part["signals"][name] for part in same]) for name in same[0]["signals"]},
            "mask": _masks([part["mask"] for part in same]),
        }
        scope.deliver(**{**same[0], **whole})
    return tuple(
        Tensor(np.concatenate([part[k].value for part in outputs]), _masks([part[k].mask for part in outputs]))
        for k in range(len(outputs[0]))
    )


def _row(value: Any, n: int) -> Any:
    if isinstance(value, Tensor):
        return Tensor(value.value[n : n + 1], None if value.mask is None else value.mask[n : n + 1])
    return tuple(_row(one, n) for one in value) if isinstance(value, (tuple, list)) else value


def _masks(masks: list[Array | None]) -> Array | None:
    kept = [mask for mask in masks if mask is not None]
    return np.concatenate(kept) if kept else None


def watched(graph: Graph, watch: Watch) -> Graph:
    """Return a graph whose recurrent layers are watched, wherever they are inside other layers."""
    found: Graph = _walk(graph, watch)
    return found


def _walk(value: Any, watch: Watch) -> Any:
    if isinstance(value, Recurrent):
        return Watched(value, watch)
    if isinstance(value, tuple):
        items = tuple(_walk(item, watch) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, Step):
        return replace(value, layer=_walk(value.layer, watch))
    if is_dataclass(value) and not isinstance(value, type) and hasattr(value, "replay"):
        inside = {one.name: getattr(value, one.name) for one in fields(value)}
        new = {name: _walk(one, watch) for name, one in inside.items() if _may_hold(one)}
        changed = {name: one for name, one in new.items() if one is not inside[name]}
        return replace(value, **changed) if changed else value
    return value


def _may_hold(value: Any) -> bool:
    return isinstance(value, tuple) or hasattr(value, "replay")
