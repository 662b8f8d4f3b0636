"""Nodes of a graph that are functions without weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateprobe.errors import InputError
from gateprobe.graph import Array, Namespace
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.binding.registry import Bind, Binding, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations.dtypes import HALVES
from gateprobe.layers.operations.tensors import MIXES
from gateprobe.layers.unary import fitting

Compute = Callable[..., "Array | Tensor | tuple[Array | Tensor, ...]"]
"""Takes the node's arguments: tensors, constants, lists of them. An array that it returns has the dtype of the first
tensor; what computes returns tensors, which know their own."""

Maker = Callable[[Settings, str], Compute]
"""Takes the settings, and the dtype that Keras gives to floats from integers (its ``floatx``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A function of tensors and constants. Its results carry no mask."""

    function: Compute
    counts: bool = False
    """Whether it is given the number of samples, too."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Call the function with the node's arguments."""
        operands = list(tensors_in([list(call.args), dict(call.kwargs)]))
        try:
            with fitting(*(tensor.value for tensor in operands)):
                known = {"samples": scope.samples} if self.counts else {}
                result = self.function(*call.args, **call.kwargs, **known)
        except TypeError as error:
            raise InputError(f"the arguments of this operation are not understood: {error}") from None
        own = next((tensor.dtype for tensor in operands), None)
        return tuple(as_tensor(one, own) for one in (result if isinstance(result, tuple) else (result,)))


def as_tensor(result: Tensor | Array, own: str | None) -> Tensor:
    """Return a result as a tensor; an array of floats in half precision where the operand is."""
    if isinstance(result, Tensor):
        return result
    return Tensor(result, None, own if result.dtype.kind == "f" and own in HALVES else None)


def floatx_of(precision: Precision) -> str:
    """Return the dtype of floats that are made from integers, which no policy of half precision changes."""
    return precision.name if precision.exact else "float32"


def operation(*class_names: str, counts: bool = False) -> Callable[[Maker], Maker]:
    """Register what makes the computation of an operation from its settings.

    Args:
        class_names: Of the operations.
        counts: Whether it is given the number of samples as ``samples``.
    """

    def register(maker: Maker) -> Maker:
        replays(*class_names, namespace=Namespace.OPERATION, takes=None)(_binder(maker, counts))
        return maker

    return register


def _binder(maker: Maker, counts: bool) -> Bind:
    def bind(binding: Binding) -> Layer:
        function = maker(binding.settings, floatx_of(binding.precision))
        binding.settings.finish()
        return Node(function, counts)

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


def one_axis(settings: Settings, key: str = "axis", default: Any = None) -> int:
    """Read one axis.

    Raises:
        Unsupported: There is none, there are several, or it is that of the samples.
    """
    axis = axis_of(settings, key, default)
    if type(axis) is not int:
        raise Unsupported(f"config.{key}: expected one axis, got {axis!r:.40}")
    return axis


def no_dtype(settings: Settings) -> None:
    """Refuse a dtype of the result that is not that of the operands."""
    if settings.raw("dtype") is not None:
        raise Unsupported(f"config.dtype: a result of dtype {settings.raw('dtype')!r:.40} is not replayed")
