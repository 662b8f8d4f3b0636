"""TensorFlow functions that tf.keras saved as layers: ``TFOpLambda`` and ``SlicingOpLambda``.

A name in a file selects one of our own functions from a closed table. The file gives the first argument by position
and all others by name (``tf_keras/src/layers/core/tf_op_layer.py`` 2.21). Meanings: the documentation of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from gateprobe.errors import InputError
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor, Value, tensors_in
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations import tf_sizes
from gateprobe.layers.operations.node import as_tensor, floatx_of
from gateprobe.layers.operations.tf_functions import FUNCTIONS, Entry
from gateprobe.layers.sizes import Sizes, constant
from gateprobe.layers.unary import fitting


@dataclass(frozen=True, slots=True, eq=False)
class TensorFlowNode:
    """A TensorFlow function. Its results carry no mask."""

    entry: Entry
    floatx: str
    """The dtype of floats that are made from nothing."""
    takes_shared: ClassVar[bool] = True
    """Whether it takes numbers without samples, too."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Call the function; numbers computed from sizes alone stay sizes."""
        arguments = self._named(call)
        operands = list(tensors_in(arguments))
        with fitting(*(tensor.value for tensor in operands)):
            if self.entry.sizes:
                results = self._called(arguments, {"samples": scope.samples} if self.entry.counts else {})
            elif tf_sizes.only_sizes(arguments):
                results = self._of_sizes(arguments)
            else:
                constants = {key: constant(value) for key, value in arguments.items()}
                results = self._called(constants)
        several = results if isinstance(results, tuple) else (results,)
        own = next((tensor.dtype for tensor in operands), None)
        return tuple(as_tensor(result, own) for result in several)

    def _of_sizes(self, arguments: dict[str, Value]) -> Any:
        if self.entry.of_samples is not None and tf_sizes.depends_on_samples(arguments):
            return self.entry.of_samples(**arguments)
        return _without_samples(self._called(tf_sizes.of_sizes(arguments, self.entry.parameters)))

    def _called(self, arguments: dict[str, Value], known: Mapping[str, Value] = MappingProxyType({})) -> Any:
        first = self.entry.parameters[0]
        if first not in arguments:
            raise InputError(f"the argument {first} is missing")
        others = {key: value for key, value in arguments.items() if key not in (first, _REST)}
        return self.entry.function(self.floatx, arguments[first], *arguments.get(_REST, ()), **others, **known)

    def _named(self, call: Arguments) -> dict[str, Value]:
        """Return the arguments by name, without those that only name or check."""
        given = dict(zip(self.entry.parameters, call.args, strict=False)) | dict(call.kwargs)
        named = {key: value for key, value in given.items() if key in self.entry.parameters and value is not None}
        rest = call.args[len(self.entry.parameters) :]
        return named | ({_REST: rest} if rest else {})


def _without_samples(result: Any) -> Sizes:
    """Turn what was computed from sizes, with one row as `tf_sizes.as_rows` gave it, back into sizes."""
    if isinstance(result, tuple):
        raise InputError("splitting sizes is not replayed")
    return Sizes(np.asarray(np.asarray(result.value if isinstance(result, Tensor) else result)[0]))


_REST = "*"
"""Further arguments by position, of functions that take any number."""
_INERT = frozenset({"name", "validate_indices", "conjugate", "out_type", "bad_indices_policy", "stable"})


@replays("TFOpLambda", takes=None)
def _bind_function(binding: Binding) -> Layer:
    name = binding.settings.raw("function")
    binding.settings.finish()
    entry = FUNCTIONS.get(name) if isinstance(name, str) else None
    if entry is None:
        raise Unsupported(f"config.function: the TensorFlow function {name!r:.60} is not in gateprobe's table")
    for call in binding.record.calls:
        unknown = [key for key, value in call.kwargs.items() if value is not None and not _known(key, value, entry)]
        if unknown or (len(call.args) > len(entry.parameters) and not entry.more):
            raise Unsupported(f"{name} is called with {', '.join(unknown) or 'more arguments'}, not understood")
        if entry.more and len(call.args) <= len(entry.parameters):
            raise Unsupported(f"the file does not say what {name} computes with: tf.keras saves only its first "
                              "argument, and cannot load the model either")  # fmt: skip
    return TensorFlowNode(entry, floatx_of(binding.precision))


def _known(key: str, value: object, entry: Entry) -> bool:
    """Whether an argument is understood; flags that are off are those of other functions."""
    return key in entry.parameters or key in _INERT or value is False


@dataclass(frozen=True, slots=True, eq=False)
class Slicing:
    """``x[slice_spec]``."""

    takes_shared: ClassVar[bool] = True

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Slice a tensor, or pick a size."""
        value = call.get(0, "tensor")
        key = _key(call.get(1, "slice_spec"))
        with fitting():
            if isinstance(value, Sizes):
                return (tf_sizes.part_of(value, key),)
            return (Tensor(ts.picked(value, key), None, value.dtype or value.value.dtype.name),)


def _key(spec: Value) -> Any:
    """Turn a slice specification into a key."""
    if isinstance(spec, (tuple, list)):
        return tuple(_key(item) for item in spec)
    if isinstance(spec, Mapping) and set(spec) <= {"start", "stop", "step"}:
        return slice(*(_bound(spec.get(part)) for part in ("start", "stop", "step")))
    if spec is Ellipsis or spec in ("Ellipsis", {"class_name": "__ellipsis__"}):
        return Ellipsis
    if isinstance(spec, slice):
        return spec
    return _bound(spec)


def _bound(value: Value) -> int | None:
    value = constant(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if value is not None and type(value) is not int:
        raise InputError(f"slicing with {value!r:.60} is not replayed")
    return value


@replays("SlicingOpLambda", takes=None)
def _bind_slicing(binding: Binding) -> Layer:
    binding.settings.choice("function", ("__operators__.getitem",), "__operators__.getitem")
    binding.settings.finish()
    return Slicing()
