"""A bound model, itself a layer: its layers' calls in execution order.

Keras's own execution: ``keras/src/models/functional.py`` and ``keras/src/ops/function.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateprobe.errors import InputError
from gateprobe.graph import Argument, Call, TensorRef
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor, Value, tensors_in

Node = tuple[str, int]
"""Layer name and number of its call."""


def call_name(layer: str, call: int) -> str:
    """Return the path component of one call: ``name``, then ``name:1``, ``name:2``."""
    return layer if call == 0 else f"{layer}:{call}"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of one bound layer."""

    node: Node
    layer: Layer
    call: Call
    last_use_of: tuple[Node, ...]
    """Calls whose outputs nobody needs after this step."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A bound model, itself a layer: its steps in execution order."""

    inputs: tuple[TensorRef, ...]
    input_keys: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[TensorRef | None, ...]
    """``None`` for outputs that nobody asked for."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay the whole graph on the tensors of the call."""
        given = self._ordered(call)
        if len(given) != len(self.inputs):
            raise InputError(f"expected {len(self.inputs)} inputs, got {len(given)}")
        values: dict[Node, tuple[Tensor, ...]] = {
            (ref.layer, ref.call): (tensor,) for ref, tensor in zip(self.inputs, given, strict=True)
        }
        for step in self.steps:
            inside = scope.within(call_name(*step.node))
            arguments = _fed(Arguments(*_resolved(step.call, values, inside)), inside)
            try:
                values[step.node] = step.layer.replay(arguments, inside)
            except InputError as error:
                raise (
                    error if error.place else InputError(error.reason, place=inside.path, remedy=error.remedy)
                ) from None
            for node in step.last_use_of:
                values.pop(node, None)
        return tuple(
            Tensor(NOT_COMPUTED) if ref is None else values[ref.layer, ref.call][ref.tensor] for ref in self.outputs
        )

    def _ordered(self, call: Arguments) -> tuple[Tensor, ...]:
        first = call.get(0, "inputs")
        if isinstance(first, Mapping) and self.input_keys:
            return tuple(tensor for key in self.input_keys for tensor in tensors_in(first.get(key)))
        return tuple(tensors_in(call.args)) or tuple(tensors_in(first))


NOT_COMPUTED: Any = None
"""Stands for a value that nobody asked for."""


def _resolved(
    call: Call, values: Mapping[Node, tuple[Tensor, ...]], scope: Scope
) -> tuple[tuple[Value, ...], dict[str, Value]]:
    """Put tensors in place of references; a reference that a feed replaces may have no value."""

    def resolve(argument: Argument) -> Value:
        if isinstance(argument, TensorRef):
            made = values.get((argument.layer, argument.call))
            if made is None:
                return None
            if argument.tensor >= len(made):
                raise InputError(f"{argument.layer} returns {len(made)} tensors, number {argument.tensor} is wanted")
            return made[argument.tensor]
        if isinstance(argument, tuple):
            return tuple(resolve(item) for item in argument)
        if isinstance(argument, Mapping):
            return {key: resolve(item) for key, item in argument.items()}
        return argument

    return tuple(resolve(argument) for argument in call.args), {k: resolve(v) for k, v in call.kwargs.items()}


def _fed(call: Arguments, scope: Scope) -> Arguments:
    """Put what the user feeds in place of a layer's input, mask and initial states."""
    feeds, path = scope.feeds, scope.path
    if not any(key == path or key.startswith(f"{path}.") for key in feeds):
        return call
    args, kwargs = call.args, dict(call.kwargs)
    if path in feeds:
        first = tuple(call.get(0, "inputs") if isinstance(call.get(0, "inputs"), tuple) else (call.get(0, "inputs"),))
        fed = Tensor(feeds[path], feeds.get(f"{path}.mask"))
        args = (fed if len(first) == 1 else (fed, *first[1:]), *call.args[1:])
        kwargs.pop("mask", None)
    if f"{path}.mask" in feeds:
        kwargs["mask"] = Tensor(feeds[f"{path}.mask"])
    states = sorted(key for key in feeds if key.startswith(f"{path}.initial_state["))
    if states:
        kwargs["initial_state"] = tuple(Tensor(feeds[key]) for key in states)
    return Arguments(args, kwargs)
