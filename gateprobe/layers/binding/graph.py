"""A bound model, itself a layer: its layers' calls in execution order.

Keras's own execution: ``keras/src/models/functional.py`` and ``keras/src/ops/function.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Argument, Array, Call, TensorRef, references
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor, Timewise, Value, tensors_in
from gateprobe.layers.binding.call_arguments import spread
from gateprobe.layers.binding.call_order import Node
from gateprobe.layers.unary import as_mask, whole
from gateprobe.limits import room


def call_name(layer: str, call: int) -> str:
    """Return the path component of one call: ``name``, then ``name:1``, ``name:2``."""
    return layer if call == 0 else f"{layer}:{call}"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of one bound layer."""

    node: Node
    layer: Layer
    call: Call
    dtype: str | None
    """What Keras calls the dtype of the floats that the layer returns, if that is a half type."""
    last_use_of: tuple[Node, ...]
    """Calls whose outputs no later step needs."""
    unmasked: frozenset[TensorRef] = frozenset()
    """Tensors that have lost their masks by now."""
    keeps_own_mask: bool = False
    """Whether the output carries on the input's mask although the call gives another one by keyword."""

    def run(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay the call."""
        given = tuple(_given(call))
        if any(tensor.value is not NOT_COMPUTED and tensor.value.dtype.kind in "USOT" for tensor in given):
            _require_reader(self.layer)
        if any(tensor.shared for tensor in given) and not getattr(self.layer, "takes_shared", False):
            raise InputError("is given numbers that are the same for every sample, as a tensor with samples")
        results = _labelled(self.layer.replay(call, scope), self.dtype)
        if not self.keeps_own_mask or call.kwargs.get("mask") is None:
            return results
        own = next((tensor.mask for tensor in call.tensors), None)
        return tuple(Tensor(one.value, None if one.mask is None else own, one.dtype) for one in results)


NOT_COMPUTED: Any = None
"""Stands for a value that was not asked for."""


@dataclass(frozen=True, slots=True)
class InputCast:
    """What a model makes of a tensor that it is given, by one of its input layers.

    Sources: ``Functional._standardize_inputs`` in ``keras/src/models/functional.py`` 3.15.1,
    ``Functional._conform_to_reference_input`` in ``tf_keras/src/engine/functional.py`` 2.21.
    """

    dtype: str | None = None
    """What it is cast to; ``None`` leaves it as it is."""
    shape: tuple[int | None, ...] | None = None
    """With the samples axis; ``None`` when the file does not say."""
    keeps_mask: bool = False
    """Whether the mask stays when the tensor changes."""
    exact: bool = False
    """Whether fractions are refused where whole numbers are expected (a user's mistake), or cut off as Keras does."""

    def take(self, tensor: Tensor) -> Tensor:
        """Cast a tensor, and add or remove a last axis of size one."""
        if tensor.value is NOT_COMPUTED:
            return tensor
        value = self._with_rank(tensor.value)
        before = tensor.dtype or value.dtype.name
        changed = value is not tensor.value or self.dtype not in (None, before)
        if self.dtype not in (None, before) and not (self.dtype == "string" and value.dtype.kind in "USOT"):
            value = self._cast(value, self.dtype or "")
        mask = tensor.mask if self.keeps_mask or not changed else None
        return Tensor(value, mask, self.dtype or tensor.dtype)

    def _with_rank(self, value: Array) -> Array:
        if self.shape is None or value.ndim == len(self.shape):
            return value
        if value.ndim == len(self.shape) + 1 and value.shape[-1] == 1:
            return value[..., 0]
        if value.ndim == len(self.shape) - 1 and self.shape[-1] == 1:
            return value[..., np.newaxis]
        raise InputError(f"the model takes inputs of {len(self.shape)} axes, got one of shape {value.shape}")

    def _cast(self, value: Array, dtype: str) -> Array:
        if value.dtype.kind in "USOT" or dtype == "string":
            raise InputError(f"the model takes {'texts' if dtype == 'string' else 'numbers'}, got {value.dtype}")
        if dtype in ("float16", "bfloat16", "float32", "float64"):
            return Precision(dtype).cast(value)
        if dtype == "bool":
            return value.astype(dtype)
        if self.exact and value.dtype.kind == "f" and not np.array_equal(value, np.trunc(value)):
            raise InputError(f"the model takes whole numbers ({dtype}), the input has fractions")
        return whole(value, dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A bound model, itself a layer: its steps in execution order."""

    inputs: tuple[TensorRef, ...]
    input_casts: tuple[InputCast, ...]
    """One for each input."""
    input_keys: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[TensorRef | None, ...]
    """``None`` for outputs that were not asked for."""
    unmasked: frozenset[TensorRef] = frozenset()
    """Outputs that have lost their masks at the end."""
    reads_text: bool = True
    """Whether it may be given texts: its own layers are asked one by one."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay the whole graph on the tensors of the call."""
        given = self._ordered(call)
        if len(given) != len(self.inputs):
            raise InputError(f"expected {len(self.inputs)} inputs, got {len(given)}")
        cast = [one.take(tensor) for one, tensor in zip(self.input_casts, given, strict=True)]
        taken = _masked(cast, call)
        values: dict[Node, tuple[Tensor, ...]] = {
            (ref.layer, ref.call): (tensor,) for ref, tensor in zip(self.inputs, taken, strict=True)
        }
        for made in values.values():
            room.hold(tensor.value for tensor in made)
        rows = next((len(tensor.value) for tensor in given if tensor.value is not NOT_COMPUTED), 1)
        scope = replace(scope, samples=rows)
        for step in self.steps:
            scope.go_on()
            inside = scope.within(call_name(*step.node), owner=step.node[0])
            try:
                absent = Tensor(NOT_COMPUTED) if isinstance(step.layer, Graph) else None
                arguments = _fed(Arguments(*_resolved(step.call, values, step.unmasked, rows, absent)), inside)
                values[step.node] = step.run(arguments, inside)
                room.hold(tensor.value for tensor in values[step.node])
            except InputError as error:
                raise (
                    error if error.place else InputError(error.reason, place=inside.path, remedy=error.remedy)
                ) from None
            except MemoryError:
                raise InputError("not enough memory", place=inside.path, remedy=_SMALLER) from None
            except REPLAY_ERRORS as error:
                raise InputError(misfit(error), place=inside.path) from error
            for node in step.last_use_of:
                room.release(tensor.value for tensor in values.pop(node, ()))
        for made in values.values():
            room.release(tensor.value for tensor in made)
        return tuple(self._output(ref, values) for ref in self.outputs)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        if len(ranks) != len(self.inputs):
            return None
        made: dict[Node, Ranks] = {
            (ref.layer, ref.call): (len(input_cast.shape) if input_cast.shape else rank,)
            for ref, input_cast, rank in zip(self.inputs, self.input_casts, ranks, strict=True)
        }
        for step in self.steps:
            given = _sequences(step.call, made)
            after = step.layer.over_time(given) if given and isinstance(step.layer, Timewise) else None
            if after is None:
                return None
            made[step.node] = after
        return tuple(None if ref is None else _rank(ref, made) for ref in self.outputs)

    def _output(self, ref: TensorRef | None, values: Mapping[Node, tuple[Tensor, ...]]) -> Tensor:
        if ref is None:
            return Tensor(NOT_COMPUTED)
        made = values.get((ref.layer, ref.call), ())
        if ref.tensor >= len(made):
            raise InputError(f"{ref.layer} returns {len(made)} tensors, number {ref.tensor} is an output of the model")
        return _without_mask(made[ref.tensor]) if ref in self.unmasked else made[ref.tensor]

    def _ordered(self, call: Arguments) -> tuple[Tensor, ...]:
        first = call.get(0, "inputs")
        if isinstance(first, Mapping) and self.input_keys:
            return tuple(tensor for key in self.input_keys for tensor in tensors_in(first.get(key)))
        return tuple(tensors_in(call.args)) or tuple(tensors_in(first))


REPLAY_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError)
"""What NumPy and Python raise when shapes, ranks or numbers of tensors do not go together."""


_SMALLER = "choose a smaller --batch-size, or fewer layers with --layer"


def misfit(error: Exception) -> str:
    """Say that a layer cannot be computed as the file describes it.

    Layers check what Keras checks when it builds them; a damaged or made-up file can describe graphs that no Keras
    would have built, and there are more ways to do that than checks.
    """
    return f"cannot be computed as the file describes it: {type(error).__name__}: {error!s:.200}"


def _given(call: Arguments) -> Iterator[Tensor]:
    yield from tensors_in((call.args, call.kwargs))


def _require_reader(layer: Layer) -> None:
    """Refuse texts for a layer that computes with numbers: NumPy would make numbers of some of them."""
    if not getattr(layer, "reads_text", False):
        raise InputError("is given texts, and it takes numbers")


def _sequences(call: Call, made: Mapping[Node, Ranks]) -> tuple[int, ...] | None:
    """Return the ranks of a call's inputs, or ``None`` unless all its tensors are sequences in its first argument."""
    if any(references((call.args[1:], call.kwargs))) or any(isinstance(value, Mapping) for value in call.args):
        return None
    if any(tensors_in((call.args, call.kwargs))):  # constants, which no slab cuts
        return None
    ranks = [_rank(ref, made) for ref in references(call.args)]
    whole = [rank for rank in ranks if rank is not None and rank > 1]
    return tuple(whole) if len(whole) == len(ranks) else None


def _rank(ref: TensorRef, made: Mapping[Node, Ranks]) -> int | None:
    ranks = made.get((ref.layer, ref.call), ())
    return ranks[ref.tensor] if ref.tensor < len(ranks) else None


def _masked(tensors: list[Tensor], call: Arguments) -> list[Tensor]:
    """Put the masks that a call gives in the place of the tensors' own; where it gives none, they keep theirs."""
    masks = list(_leaves(call.kwargs.get("mask")))
    if len(masks) > len(tensors):
        raise InputError(f"expected at most {len(tensors)} masks, got {len(masks)}")
    masks += [None] * (len(tensors) - len(masks))
    return [
        tensor if mask is None else replace(tensor, mask=as_mask(mask))
        for tensor, mask in zip(tensors, masks, strict=True)
    ]


def _leaves(given: Value) -> Iterator[Value]:
    """Yield what is inside lists and mappings, in the order of `tensors_in`."""
    if isinstance(given, Mapping):
        given = tuple(given[key] for key in sorted(given))
    if isinstance(given, (tuple, list)):
        for item in given:
            yield from _leaves(item)
    else:
        yield given


def _without_mask(tensor: Tensor) -> Tensor:
    return replace(tensor, mask=None)


def _labelled(tensors: tuple[Tensor, ...], dtype: str | None) -> tuple[Tensor, ...]:
    if dtype is None:
        return tensors
    return tuple(
        replace(tensor, dtype=dtype) if tensor.dtype is None and tensor.value.dtype.kind == "f" else tensor
        for tensor in tensors
    )


def _resolved(
    call: Call,
    values: Mapping[Node, tuple[Tensor, ...]],
    unmasked: frozenset[TensorRef],
    rows: int,
    absent: Tensor | None,
) -> tuple[tuple[Value, ...], dict[str, Value]]:
    """Put tensors in place of references, and constants that stand for every sample.

    ``absent`` stands for what feeds make unnecessary: a nested model still takes as many tensors as it has inputs.
    """
    fill = partial(_filled, values=values, unmasked=unmasked, rows=rows, absent=absent)
    return tuple(map(fill, call.args)), {key: fill(argument) for key, argument in call.kwargs.items()}


def _filled(
    argument: Argument,
    values: Mapping[Node, tuple[Tensor, ...]],
    unmasked: frozenset[TensorRef],
    rows: int,
    absent: Tensor | None,
) -> Value:
    """Fill one argument (a closure that calls itself would keep the tensors until the next garbage collection)."""
    if isinstance(argument, Tensor):
        return spread(argument, rows)
    if isinstance(argument, TensorRef):
        made = _made(argument, values, unmasked)
        return absent if made is None else made
    if isinstance(argument, tuple):
        return tuple(_filled(item, values, unmasked, rows, absent) for item in argument)
    if isinstance(argument, Mapping):
        return {key: _filled(item, values, unmasked, rows, absent) for key, item in argument.items()}
    return argument


def _made(ref: TensorRef, values: Mapping[Node, tuple[Tensor, ...]], unmasked: frozenset[TensorRef]) -> Tensor | None:
    """Return what a reference stands for; one that a feed replaces may have no value."""
    made = values.get((ref.layer, ref.call))
    if made is None:
        return None
    if ref.tensor >= len(made):
        raise InputError(f"{ref.layer} returns {len(made)} tensors, number {ref.tensor} is wanted")
    tensor = made[ref.tensor]
    return _without_mask(tensor) if ref in unmasked else tensor


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
