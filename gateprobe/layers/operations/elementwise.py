"""Nodes of ``keras.ops`` that compute element by element, in the graphs of Keras 3.

Keras saves an operation's constructor arguments as its configuration and its operands as the node's arguments
(``keras/src/ops/operation.py::__new__`` 3.15.1). Formulas: ``keras/src/ops/{numpy,nn,math}.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gateprobe.activations import Activation, UnknownActivation, resolve
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Precision, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, operation


def _binary(
    x1: Value, x2: Value, *, function: Callable[[Array, Array], Array], precision: Precision, floating: bool
) -> Array:
    left, right = ts.operands((x1, x2), precision, floating=floating)
    if left.dtype.kind == "b" and right.dtype.kind == "b" and function in (np.subtract, np.negative):
        raise InputError("booleans cannot be subtracted")
    return function(left, right)


def _ternary(condition: Value, x1: Value, x2: Value, *, precision: Precision) -> Array:
    ranks = ts.operands((condition, x1, x2), precision)
    values = ts.operands((x1, x2), precision)
    return np.where(ranks[0] != 0, *values)


def logical(function: Callable[..., Array]) -> Callable[..., Array]:
    """Let a function see truth values: whatever is not zero is true."""
    return lambda *arrays: function(*(array != 0 for array in arrays))


def whole(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Refuse a division of integers by zero, for which Keras has no number."""

    def divide(x: Array, y: Array) -> Array:
        if y.dtype.kind in "iu" and not y.all():
            raise InputError("an integer is divided by zero")
        return function(x, y)

    return divide


def divide_no_nan(x: Array, y: Array) -> Array:
    """Divide, with zero where the divisor is zero."""
    zero = np.zeros((), x.dtype)
    return np.where(y == 0, zero, x / np.where(y == 0, np.ones((), x.dtype), y))


_BINARY: Mapping[str, tuple[Callable[[Array, Array], Array], bool]] = {
    "Add": (np.add, False),
    "Subtract": (np.subtract, False),
    "Multiply": (np.multiply, False),
    "Divide": (np.true_divide, True),
    "TrueDivide": (np.true_divide, True),
    "DivideNoNan": (divide_no_nan, True),
    "FloorDivide": (whole(np.floor_divide), False),
    "Mod": (whole(np.mod), False),
    "Power": (np.power, False),
    "Maximum": (np.maximum, False),
    "Minimum": (np.minimum, False),
    "Arctan2": (np.arctan2, True),
    "Logaddexp": (np.logaddexp, True),
    "Equal": (np.equal, False),
    "NotEqual": (np.not_equal, False),
    "Greater": (np.greater, False),
    "GreaterEqual": (np.greater_equal, False),
    "Less": (np.less, False),
    "LessEqual": (np.less_equal, False),
    "LogicalAnd": (logical(np.logical_and), False),
    "LogicalOr": (logical(np.logical_or), False),
    "LogicalXor": (logical(np.logical_xor), False),
}
"""Class → function, and whether integers become floats first."""


def _elementwise(
    settings: Settings, precision: Precision, *, compute: Compute, function: Callable[..., Array], floating: bool
) -> Compute:
    return partial(compute, function=function, precision=precision, floating=floating)


for _name, (_two, _floating) in _BINARY.items():
    operation(_name)(partial(_elementwise, compute=_binary, function=_two, floating=_floating))


@operation("Where")
def _where(settings: Settings, precision: Precision) -> Compute:
    return partial(_ternary, precision=precision)


def _unary(x: Value, *, function: Callable[[Array], Array], precision: Precision, floating: bool) -> Array:
    array = ts.batch(x)
    return function(ts.floats(array, precision) if floating else array)


_UNARY: Mapping[str, tuple[Callable[[Array], Array], bool]] = {
    "Absolute": (np.abs, False),
    "Abs": (np.abs, False),
    "Negative": (np.negative, False),
    "Square": (np.square, False),
    "Sign": (np.sign, False),
    "Floor": (np.floor, True),
    "Ceil": (np.ceil, True),
    "Copy": (np.copy, False),
    "StopGradient": (np.copy, False),
    "LogicalNot": (logical(np.logical_not), False),
    "Isnan": (np.isnan, True),
    "Isinf": (np.isinf, True),
    "Isfinite": (np.isfinite, True),
    "Exp": (np.exp, True),
    "Expm1": (np.expm1, True),
    "Log": (np.log, True),
    "Log1p": (np.log1p, True),
    "Log2": (np.log2, True),
    "Log10": (np.log10, True),
    "Sqrt": (np.sqrt, True),
    "Rsqrt": (lambda x: 1 / np.sqrt(x), True),
    "Reciprocal": (lambda x: 1 / x, True),
    "Sin": (np.sin, True),
    "Cos": (np.cos, True),
    "Tan": (np.tan, True),
    "Arcsin": (np.arcsin, True),
    "Arccos": (np.arccos, True),
    "Arctan": (np.arctan, True),
    "Sinh": (np.sinh, True),
    "Cosh": (np.cosh, True),
    "Tanh": (np.tanh, True),
}
"""As `_BINARY`."""

for _name, (_one, _floating) in _UNARY.items():
    operation(_name)(partial(_elementwise, compute=_unary, function=_one, floating=_floating))

_ACTIVATIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Relu": ("relu", ()),
    "Relu6": ("relu6", ()),
    "Sigmoid": ("sigmoid", ()),
    "SparseSigmoid": ("sparse_sigmoid", ()),
    "Softplus": ("softplus", ()),
    "Softsign": ("softsign", ()),
    "SoftShrink": ("soft_shrink", ("threshold",)),
    "HardShrink": ("hard_shrink", ("threshold",)),
    "SparsePlus": ("sparse_plus", ()),
    "Silu": ("silu", ()),
    "LogSigmoid": ("log_sigmoid", ()),
    "LeakyRelu": ("leaky_relu", ("negative_slope",)),
    "HardSigmoid": ("hard_sigmoid", ()),
    "HardSilu": ("hard_silu", ()),
    "Elu": ("elu", ("alpha",)),
    "Selu": ("selu", ()),
    "Gelu": ("gelu", ("approximate",)),
    "Celu": ("celu", ("alpha",)),
    "TanhShrink": ("tanh_shrink", ()),
    "HardTanh": ("hard_tanh", ()),
}
"""Class → name of the activation, and its settings."""


def _activation(settings: Settings, precision: Precision, *, name: str, keys: tuple[str, ...]) -> Compute:
    options = {key: settings.raw(key) for key in keys if settings.raw(key) is not None}
    return partial(_unary, function=_resolved(name, settings, options), precision=precision, floating=True)


def _resolved(name: str, settings: Settings, options: Mapping[str, Any]) -> Activation:
    for key, value in options.items():
        if not isinstance(value, (bool, int, float)):
            raise Unsupported(f"config.{key}: expected a number, got {value!r:.40}")
    try:
        return resolve(name, settings.semantics, options)
    except UnknownActivation as error:
        raise Unsupported(str(error)) from None


for _name, (_function_name, _keys) in _ACTIVATIONS.items():
    operation(_name)(partial(_activation, name=_function_name, keys=_keys))
