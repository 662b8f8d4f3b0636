"""Shapes of what layers return: a replay of two tiny batches of zeros.

An axis that is longer in the batch whose free axes are longer is a free axis. What does not run, or would take long,
has no shape here: shapes are observed, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from gateprobe.errors import GateprobeError
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.graph import REPLAY_ERRORS, Graph
from gateprobe.layers.recurrent.kernels.blas import ONE_THREAD
from gateprobe.limits import room
from gateprobe.replay.plan import Plan

Shape: TypeAlias = tuple[int | None, ...]
"""``None`` for an axis of any length, such as that of the samples."""

_ROWS, _LENGTHS = (2, 3), (40, 104)
"""Of the two batches: samples, and the length of every free axis."""
_MAX_BYTES = 64 << 20
_MAX_WORK = 1 << 31
"""Timesteps or pixels times weights."""
_MAX_STEPS = 200_000
"""Timesteps times layers."""


@dataclass(frozen=True, slots=True)
class Input:
    """What a model takes at one input."""

    shape: Shape | None
    dtype: str


def output_shapes(plan: Plan, inputs: Sequence[Input], parameters: int) -> dict[str, tuple[Shape, ...]]:
    """Return the shapes of the tensors that each call of a layer returns, by its path.

    Args:
        plan: What to run, with all its outputs.
        inputs: Of the plan's model, in its order.
        parameters: How many weights there are; a large model is not run.
    """
    if any(one.shape is None for one in inputs) or not inputs:
        return {}
    positions = max(math.prod(size or _LENGTHS[1] for size in (one.shape or ())[1:-1]) for one in inputs)
    if positions * max(parameters, 1) > _MAX_WORK or positions * len(plan.graph.steps) > _MAX_STEPS:
        return {}
    first, second = (dict(_observed(plan, inputs, rows, length)) for rows, length in zip(_ROWS, _LENGTHS, strict=True))
    return {path: shapes for path, made in first.items() if (shapes := _common(made, second.get(path, ())))}


_Noted: TypeAlias = dict[str, tuple[Shape, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """A layer whose results are looked at."""

    layer: Layer
    found: _Noted

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """See `gateprobe.layers.base.Layer`."""
        made = self.layer.replay(call, scope)
        self.found[scope.path] = tuple(() if one.value is None else one.value.shape for one in made)
        return made


def _observed(plan: Plan, inputs: Sequence[Input], rows: int, length: int) -> _Noted:
    """Run one batch of zeros as far as it goes."""
    found: _Noted = {}
    scope = Scope("", lambda _: False, lambda *_, **__: None, max_bytes=_MAX_BYTES)
    try:
        given = tuple(_zeros(one, plan.batch_size or rows, length) for one in inputs)
        with ONE_THREAD, np.errstate(all="ignore"), room.limited(_MAX_BYTES):
            _watched(plan.graph, found).replay(Arguments(given), scope)
    except (GateprobeError, *REPLAY_ERRORS):
        pass
    return found


def _zeros(one: Input, rows: int, length: int) -> Tensor:
    shape = (rows, *(length if size is None else size for size in (one.shape or ())[1:]))
    if one.dtype == "string":
        return Tensor(np.full(shape, " ".join(["a"] * length), object))
    dtype = one.dtype if one.dtype in ("int32", "int64", "uint8", "bool", "float64") else "float32"
    room.afford(4 * math.prod(shape))
    return Tensor(np.zeros(shape, dtype))


def _watched(graph: Graph, found: _Noted) -> Graph:
    """Return a graph that looks at the results of its layers, those of nested models too."""
    steps = []
    for step in graph.steps:
        layer = _watched(step.layer, found) if isinstance(step.layer, Graph) else step.layer
        steps.append(replace(step, layer=_Observed(layer, found)))
    return replace(graph, steps=tuple(steps))


def _common(one: tuple[Shape, ...], two: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Return the shapes of two batches with their free axes, none unless the numbers of axes are the same.

    What nothing reads is not computed, and its shape is empty.
    """
    if list(map(len, one)) != list(map(len, two)):
        return ()
    return tuple(tuple(_axes(a, b)) for a, b in zip(one, two, strict=True))


def _axes(one: Shape, two: Shape) -> Iterator[int | None]:
    yield from (a if a == b else None for a, b in zip(one, two, strict=True))
