"""Nodes of a graph that are functions without weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, Namespace
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.registry import Bind, Binding, replays
from gateprobe.layers.settings import Settings, Unsupported
from gateprobe.layers.tensors import MIXES
from gateprobe.layers.unary import fitting, settled

Compute = Callable[..., Array | tuple[Array, ...]]
"""Takes the node's arguments: tensors, constants, lists of them."""

Maker = Callable[[Settings, Precision], Compute]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A function of tensors and constants. Its results carry no mask."""

    function: Compute
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Call the function with the node's arguments."""
        values = [tensor.value for tensor in tensors_in([list(call.args), dict(call.kwargs)])]
        try:
            with fitting(*values):
                result = self.function(*call.args, **call.kwargs)
        except TypeError as error:
            raise InputError(f"the arguments of this operation are not understood: {error}") from None
        results = result if isinstance(result, tuple) else (result,)
        return tuple(Tensor(settled(np.asarray(array), self.precision)) for array in results)


def operation(*class_names: str) -> Callable[[Maker], Maker]:
    """Register what makes the computation of an operation from its settings."""

    def register(maker: Maker) -> Maker:
        replays(*class_names, namespace=Namespace.OPERATION)(_binder(maker))
        return maker

    return register


def _binder(maker: Maker) -> Bind:
    def bind(binding: Binding) -> Layer:
        function = maker(binding.settings, binding.precision)
        binding.settings.finish()
        return Node(function, binding.precision)

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
