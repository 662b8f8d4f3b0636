"""Nodes of ``keras.ops`` that compute element by element, in the graphs of Keras 3.

Keras saves an operation's constructor arguments as its configuration and its operands as the node's arguments
(``keras/src/ops/operation.py::__new__`` 3.15.1). What they compute: `gateprobe.layers.operations.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gateprobe.activations import Activation, UnknownActivation, resolve
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations import arithmetic, dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.arithmetic import Function, combined, of_one
from gateprobe.layers.operations.node import Compute, operation


def _unary(settings: Settings, floatx: str, *, function: Function) -> Compute:
    return lambda x: of_one(function, x, floatx)


def _binary(settings: Settings, floatx: str, *, function: Function) -> Compute:
    return lambda x1, x2: combined(function, (x1, x2), floatx)


def _bitwise(settings: Settings, floatx: str, *, function: Function) -> Compute:
    return lambda x, y: combined(function, (x, y), floatx)


def _shift(settings: Settings, floatx: str, *, function: Function) -> Compute:
    weak = replace(function, weak=True)
    return lambda x, y: combined(weak if type(y) is int and isinstance(x, Tensor) else function, (x, y), floatx)


for _name, _one in arithmetic.UNARY.items():
    operation(_name)(partial(_unary, function=_one))

for _name, _two in arithmetic.BINARY.items():
    _make = _shift if "Shift" in _name else _bitwise if "Bitwise" in _name else _binary
    operation(_name)(partial(_make, function=_two))


@operation("Where")
def _where(settings: Settings, floatx: str) -> Compute:
    return lambda condition, x1, x2: combined(arithmetic.CHOICE, (condition, x1, x2), floatx)


@operation("Isclose")
def _is_close(settings: Settings, floatx: str) -> Compute:
    equal_nan = settings.flag("equal_nan", False)

    def compute(x1: Value, x2: Value, rtol: float = 1e-5, atol: float = 1e-8) -> Tensor:
        close = partial(arithmetic.is_close, rtol=rtol, atol=atol, equal_nan=equal_nan)
        return combined(Function(close, gives="bool"), (x1, x2), floatx)

    return compute


@operation("Round")
def _round(settings: Settings, floatx: str) -> Compute:
    decimals = settings.integer("decimals", 0, minimum=-300)
    return lambda x: rounded_to(x, decimals, floatx)


def rounded_to(x: Value, decimals: int, floatx: str) -> Tensor:
    """Round to a number of decimals, halves to even, as TensorFlow does: scale, round, scale back."""
    name = dtypes.name_of(x, floatx)
    array = ts.batch(x)
    if array.dtype.kind == "b":
        raise InputError("booleans are not rounded")
    if decimals == 0 or (array.dtype.kind != "f" and decimals > 0):
        return dtypes.made(np.round(array), name)
    inner = name if name in dtypes.FLOATS else floatx
    factor = dtypes.converted(np.asarray(10.0**decimals, np.float32), inner)  # of float32, also beside float64
    scaled = dtypes.converted(dtypes.converted(array, inner) * factor, inner)
    result = np.round(scaled) / factor
    return ts.cast(Tensor(result), name) if name not in dtypes.FLOATS else dtypes.made(result, name)


@operation("Clip")
def _clip(settings: Settings, floatx: str) -> Compute:
    bounds = [settings.raw(key) for key in ("x_min", "x_max")]
    return lambda x: clipped(x, *bounds)


def clipped(x: Value, low: Value, high: Value) -> Tensor:
    """Return ``max(min(x, high), low)`` in the dtype of ``x``: NaN stays, and ``low`` wins if it is above ``high``."""
    array = ts.batch(x)
    name = "int32" if array.dtype.kind == "b" else dtypes.name_of(x, "float32")
    if dtypes.storage(name).kind in "iu" and any(ts.array_of(bound).dtype.kind == "f" for bound in (low, high)):
        raise InputError("integers are not clipped to floats")
    value, least, most = ts.operands((x, low, high), name)
    return dtypes.made(np.maximum(np.minimum(value, most), least), name)


@operation("NanToNum")
def _nan_to_num(settings: Settings, floatx: str) -> Compute:
    nan = settings.number("nan", 0.0)
    given = {key: None if settings.raw(key) is None else settings.number(key) for key in ("posinf", "neginf")}

    return lambda x: arithmetic.finite(x, floatx, nan=nan, **given)


@operation("Threshold")
def _threshold(settings: Settings, floatx: str) -> Compute:
    threshold, default = settings.number("threshold"), settings.number("default_value")

    def apply(x: Array) -> Array:
        return np.where(x > np.asarray(threshold, x.dtype), x, np.asarray(default, x.dtype))

    return lambda x: of_one(Function(apply, kinds="f"), x, floatx)


@operation("Squareplus")
def _square_plus(settings: Settings, floatx: str) -> Compute:
    b = settings.number("b", 4)

    def apply(x: Array) -> Array:
        result: Array = (x + np.sqrt(np.square(x) + np.asarray(b, x.dtype))) / 2
        return result

    return lambda x: of_one(Function(apply, kinds="f"), x, floatx)


@operation("Cast")
def _cast(settings: Settings, floatx: str) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: ts.cast(x, dtype)


@operation("ConvertToTensor", "Array")
def _convert(settings: Settings, floatx: str) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: ts.cast_like(x, dtype)


@operation("SaturateCast")
def _saturate(settings: Settings, floatx: str) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: saturated(x, dtype)


def saturated(x: Value, dtype: Any) -> Tensor:
    """Cast, with what does not fit clipped to the ends of the dtype first."""
    array = ts.batch(x)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise InputError("NaN is not cast to saturate")
    if array.dtype.kind != "f" and dtype in dtypes.FLOATS:
        raise InputError(f"saturating integers in {dtype} is not replayed")
    low, high = dtypes.ends(dtype)
    return ts.cast(Tensor(np.clip(array, low, high) if array.dtype.kind != "b" else array), dtype)


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


def _activation(settings: Settings, floatx: str, *, name: str, keys: tuple[str, ...]) -> Compute:
    options = {key: settings.raw(key) for key in keys if settings.raw(key) is not None}
    function = Function(_resolved(name, settings, options), kinds="f")
    return lambda x: of_one(function, x, floatx)


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
