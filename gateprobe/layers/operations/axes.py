"""Nodes of ``keras.ops`` that compute along axes of each sample: reductions, running sums, softmax, norms.

Formulas: ``keras/src/ops/{numpy,nn,math,linalg}.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.layers.activation_layers import softmax
from gateprobe.layers.base import Precision, Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.merge import norm
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, axis_of, no_dtype, operation


def _reduction(
    settings: Settings, precision: Precision, *, function: Callable[..., Any], prepare: Callable[[Array], Array] | None
) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)
    if settings.raw("initial") is not None:
        raise Unsupported("config.initial: an initial value is not replayed")
    no_dtype(settings)

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        array = ts.floats(array, precision) if prepare is None else prepare(array)
        return ts.reduced(function, Tensor(array), axis, keepdims=keepdims)

    return compute


def _same(x: Array) -> Array:
    return x


def _numbers(x: Array) -> Array:
    """Let booleans count as integers."""
    return x.astype(np.int64) if x.dtype.kind == "b" else x


def _truth(x: Array) -> Array:
    truth: Array = x != 0
    return truth


def logsumexp(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    """Return ``log(sum(exp(x)))`` without overflow."""
    highest = x.max(axis=axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, np.zeros((), x.dtype))
    total: Array = np.log(np.exp(x - highest).sum(axis=axis, keepdims=True)) + highest
    return total if keepdims else np.squeeze(total, axis)


_REDUCTIONS: Mapping[str, tuple[Callable[..., Any], Callable[[Array], Array] | None]] = {
    "Mean": (np.mean, None),
    "Var": (np.var, None),
    "Std": (np.std, None),
    "Sum": (np.sum, _numbers),
    "Prod": (np.prod, _numbers),
    "Max": (np.max, _same),
    "Amax": (np.max, _same),
    "Min": (np.min, _same),
    "Amin": (np.min, _same),
    "Any": (np.any, _truth),
    "All": (np.all, _truth),
    "Logsumexp": (logsumexp, None),
}
"""Class → function, and what becomes of the operand first; ``None`` makes it a float."""

for _name, (_function, _prepare) in _REDUCTIONS.items():
    operation(_name)(partial(_reduction, function=_function, prepare=_prepare))


@operation("Argmax")
def _argmax(settings: Settings, precision: Precision) -> Compute:
    return _position(settings, np.argmax)


@operation("Argmin")
def _argmin(settings: Settings, precision: Precision) -> Compute:
    return _position(settings, np.argmin)


def _position(settings: Settings, function: Callable[..., Any]) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        place: Array = function(array, axis=ts.inner_axis(axis, array.ndim), keepdims=keepdims)
        return place

    return compute


@operation("Norm")
def _norm(settings: Settings, precision: Precision) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)
    if settings.raw("ord") not in (None, 2, "fro", "euclidean") or (isinstance(axis, tuple) and len(axis) > 1):
        raise Unsupported("config: only the Euclidean norm along one axis is replayed")

    def compute(x: Value) -> Array:
        array = ts.floats(ts.batch(x), precision)
        axes = ts.inner_axes(axis, array.ndim)
        length = norm(array, axes)
        return length if keepdims else np.squeeze(length, axes)

    return compute


# Along an axis, shape kept


def _along(settings: Settings, precision: Precision, *, function: Callable[..., Array], floating: bool) -> Compute:
    axis = axis_of(settings, default=-1)
    no_dtype(settings)

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        return function(ts.floats(array, precision) if floating else array, axis=ts.inner_axis(axis, array.ndim))

    return compute


def _log_softmax(x: Array, axis: int) -> Array:
    return x - logsumexp(x, (axis,), keepdims=True)


operation("Cumsum")(partial(_along, function=np.cumsum, floating=False))
operation("Cumprod")(partial(_along, function=np.cumprod, floating=False))
operation("Sort")(partial(_along, function=np.sort, floating=False))
operation("LogSoftmax")(partial(_along, function=_log_softmax, floating=True))


@operation("Softmax")
def _softmax(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings, default=-1)

    def compute(x: Value) -> Array:
        array = ts.floats(ts.batch(x), precision)
        return softmax(array, ts.inner_axes(axis, array.ndim))

    return compute


@operation("Normalize")
def _normalize(settings: Settings, precision: Precision) -> Compute:
    axis, epsilon = axis_of(settings, default=-1), settings.raw("epsilon")
    if settings.raw("order", 2) != 2 or not isinstance(epsilon, (int, float, type(None))):
        raise Unsupported("config.order: only the Euclidean norm is replayed")

    def compute(x: Value) -> Array:
        array = ts.floats(ts.batch(x), precision)
        result: Array = array / np.maximum(
            norm(array, ts.inner_axes(axis, array.ndim)), np.asarray(1e-7 if epsilon is None else epsilon, array.dtype)
        )
        return result

    return compute


@operation("Clip")
def _clip(settings: Settings, precision: Precision) -> Compute:
    low, high = settings.number("x_min"), settings.number("x_max")

    def compute(x: Value) -> Array:
        array, *bounds = ts.operands((x, low, high), precision)
        return np.clip(array, *bounds)

    return compute
