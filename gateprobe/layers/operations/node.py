"""Nodes of a graph that are functions without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, Namespace
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.binding.registry import Bind, Binding, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations.tensors import MIXES
from gateprobe.layers.unary import fitting, rounded

Compute = Callable[..., Array | Tensor | tuple[Array, ...]]
"""Takes the node's arguments: tensors, constants, lists of them."""

Maker = Callable[[Settings, Precision], Compute]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A function of tensors and constants. Its results carry no mask."""

    functions: Mapping[str, Compute]
    """By the name of the precision: a node has no dtype of its own but computes in that of its operands."""
    default: Precision
    """When no operand is a float."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Call the function with the node's arguments."""
        operands = list(tensors_in([list(call.args), dict(call.kwargs)]))
        precision = common_precision(operands, self.default)
        try:
            with fitting(*(tensor.value for tensor in operands)):
                result = self.functions[precision.name](*call.args, **call.kwargs)
        except TypeError as error:
            raise InputError(f"the arguments of this operation are not understood: {error}") from None
        results = result if isinstance(result, tuple) else (result,)
        return tuple(made(one, precision) for one in results)


_PRECISIONS = ("float16", "bfloat16", "float32", "float64")


def common_precision(operands: Iterable[Tensor], default: Precision) -> Precision:
    """Return the precision to which operands of several float dtypes are promoted, in Keras and in JAX."""
    names = {tensor.dtype or tensor.value.dtype.name for tensor in operands} & set(_PRECISIONS)
    if not names:
        return default
    return Precision(names.pop() if len(names) == 1 else "float64" if "float64" in names else "float32")


def made(result: Tensor | Array, precision: Precision) -> Tensor:
    """Return what an operation computed as a tensor that knows its dtype."""
    if isinstance(result, Tensor):
        return result
    value = rounded(np.asarray(result), precision)
    return Tensor(value, None, precision.name if value.dtype.kind == "f" else None)


def operation(*class_names: str) -> Callable[[Maker], Maker]:
    """Register what makes the computation of an operation from its settings."""

    def register(maker: Maker) -> Maker:
        replays(*class_names, namespace=Namespace.OPERATION, takes=None)(_binder(maker))
        return maker

    return register


def _binder(maker: Maker) -> Bind:
    def bind(binding: Binding) -> Layer:
        functions = {name: maker(binding.settings, Precision(name)) for name in _PRECISIONS}
        binding.settings.finish()
        return Node(functions, binding.precision)

    return bind


def axis_of(settings: Settings, key: str = "axis", default: Any = None) -> Any:
    """Read an axis or a list of axes.

    Raises:
        Unsupported: There is none, or it is that of the samples.
    """
    axis = settings.raw(key, default)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if not axes or any(type(item) is not int or item == 0 for item in axes):
        raise Unsupported(f"config.{key}: {axis!r:.40} {MIXES}")
    return tuple(axes) if isinstance(axis, (list, tuple)) else axis


def no_dtype(settings: Settings) -> None:
    """Refuse a dtype of the result that is not that of the operands."""
    if settings.raw("dtype") is not None:
        raise Unsupported(f"config.dtype: a result of dtype {settings.raw('dtype')!r:.40} is not replayed")
