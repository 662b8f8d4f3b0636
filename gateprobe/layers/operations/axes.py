"""Nodes of ``keras.ops`` that compute along axes of each sample: reductions, running sums, ranks, softmax, norms.

Formulas: ``keras/src/ops/{numpy,nn,math,linalg}.py`` 3.15.1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.merge import norm
from gateprobe.layers.operations import arithmetic, dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.arithmetic import ALONG, POSITIONS, REDUCTIONS, Function, along, of_one, reduced
from gateprobe.layers.operations.node import Compute, axis_of, no_dtype, one_axis, operation
from gateprobe.limits import room


def _reduction(settings: Settings, floatx: str, *, function: Function) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)
    initial = settings.raw("initial")
    no_dtype(settings)
    if initial is None:
        return lambda x: reduced(function, x, axis, floatx, keepdims=keepdims)
    if function not in (REDUCTIONS["Max"], REDUCTIONS["Min"]) or type(initial) not in (int, float):
        raise Unsupported(f"config.initial: {initial!r:.40} is not replayed")
    pair = arithmetic.BINARY["Maximum" if function is REDUCTIONS["Max"] else "Minimum"]
    return lambda x: arithmetic.combined(pair, (reduced(function, x, axis, floatx, keepdims=keepdims), initial), floatx)


for _name, _function in REDUCTIONS.items():
    operation(_name)(partial(_reduction, function=_function))


def _position(settings: Settings, floatx: str, *, function: Function) -> Compute:
    axis, keepdims = one_axis(settings), settings.flag("keepdims", False)
    return lambda x: along(function, x, axis, floatx, keepdims=keepdims)


for _name, _function in POSITIONS.items():
    operation(_name)(partial(_position, function=_function))


def _along(settings: Settings, floatx: str, *, function: Function) -> Compute:
    axis = one_axis(settings, default=-1)
    no_dtype(settings)
    return lambda x: along(function, x, axis, floatx)


for _name, _function in ALONG.items():
    operation(_name)(partial(_along, function=_function))


def _without_nan(settings: Settings, floatx: str, *, name: str, instead: float) -> Compute:
    axis = one_axis(settings)
    no_dtype(settings)
    return lambda x: along(ALONG[name], arithmetic.finite(x, floatx, nan=instead), axis, floatx)


operation("Nancumsum")(partial(_without_nan, name="Cumsum", instead=0.0))
operation("Nancumprod")(partial(_without_nan, name="Cumprod", instead=1.0))


@operation("Norm")
def _norm(settings: Settings, floatx: str) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)
    order = settings.raw("ord")
    axes = axis if isinstance(axis, tuple) else (axis,)
    function = Function(partial(normed, order=_order_of(order, len(axes))), dtypes.as_float)
    return lambda x: reduced(function, x, axis, floatx, keepdims=keepdims)


def _order_of(order: Any, axes: int) -> float:
    """Return the order of a norm of vectors; 2 for the Frobenius norm of matrices."""
    if axes == 1 and (order is None or (isinstance(order, (int, float)) and not isinstance(order, bool))):
        return 2.0 if order is None else float(order)
    if order == "fro" or (order is None and axes <= 2):
        return 2.0
    if axes == 1 and order in ("inf", "Infinity", "-inf", "-Infinity"):
        return -np.inf if str(order).startswith("-") else np.inf
    raise Unsupported(f"config.ord: the norm {order!r:.40} over {axes} axes is not replayed")


def normed(x: Array, axis: tuple[int, ...], *, keepdims: bool, order: float) -> Array:
    """Return the norm of vectors, or the Frobenius norm (2) of matrices."""
    if order == 2:
        return arithmetic.euclidean(x, axis, keepdims=keepdims)
    size = np.abs(x)
    if np.isinf(order):
        extreme: Array = (np.max if order > 0 else np.min)(size, axis=axis, keepdims=keepdims)
        return extreme
    if order == 0:
        count: Array = (x != 0).sum(axis=axis, keepdims=keepdims).astype(x.dtype)
        return count
    total = np.power(size, np.asarray(order, x.dtype)).sum(axis=axis, keepdims=keepdims)
    root: Array = np.power(total, np.asarray(1 / order, x.dtype))
    return root


@operation("Normalize")
def _normalize(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings, default=-1)
    epsilon = 1e-7 if settings.raw("epsilon") is None else settings.number("epsilon")
    if settings.raw("order", 2) != 2:
        raise Unsupported("config.order: only the Euclidean norm is replayed")

    def apply(x: Array, axis: tuple[int, ...]) -> Array:
        result: Array = x / np.maximum(norm(x, axis), np.asarray(epsilon, x.dtype))
        return result

    return lambda x: of_one(Function(apply, dtypes.as_float), x, floatx, axis=ts.inner_axes(axis, ts.batch(x).ndim))


@operation("Glu")
def _glu(settings: Settings, floatx: str) -> Compute:
    axis = one_axis(settings, default=-1)

    def apply(x: Array, axis: int) -> Array:
        left, right = np.split(x, 2, axis=axis)
        gated: Array = left / (1 + np.exp(-right))
        return gated

    return lambda x: along(Function(apply, kinds="f"), x, axis, floatx)


@operation("Diff")
def _diff(settings: Settings, floatx: str) -> Compute:
    times, axis = settings.integer("n", 1, minimum=0), one_axis(settings, default=-1)
    return lambda x: along(Function(partial(_differences, times=times)), x, axis, floatx)


def _differences(x: Array, axis: int, times: int) -> Array:
    """Subtract neighbours, so many times; `numpy.diff` would go on when nothing is left."""
    if times >= x.shape[axis]:
        return np.split(x, [0], axis=axis)[0]
    return np.diff(x, times, axis=axis)


@operation("Average")
def _average(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)

    def compute(x: Value, weights: Value = None) -> Tensor:
        if weights is None:
            return reduced(REDUCTIONS["Mean"], x, axis, floatx)
        name = dtypes.as_float(floatx, dtypes.name_of(x, floatx), dtypes.name_of(weights, floatx))
        return dtypes.made(_weighted_mean(x, weights, axis, name), name)

    return compute


def _weighted_mean(x: Value, weights: Value, axis: Any, name: str) -> Array:
    array, given = ts.batch(x), ts.array_of(weights)
    places = ts.inner_axes(axis, array.ndim)
    if given.ndim != array.ndim and not isinstance(weights, Tensor):
        if given.ndim != 1 or len(places) != 1:
            raise InputError(f"weights of shape {given.shape} are not replayed beside {array.shape}")
        weights = given.reshape([-1 if place == places[0] else 1 for place in range(array.ndim)])
    values, shares = ts.operands((x, weights), name)
    if isinstance(weights, Tensor) is False and given.ndim == array.ndim and given.shape != array.shape:
        raise InputError(f"weights of shape {given.shape} are not replayed beside {array.shape}")
    total: Array = shares.sum(axis=places)
    mean: Array = (values * shares).sum(axis=places) / total
    return mean


@operation("Trapezoid")
def _trapezoid(settings: Settings, floatx: str) -> Compute:
    axis, step = one_axis(settings, default=-1), settings.number("dx", 1.0)
    if settings.raw("x") is not None:
        raise Unsupported("config.x: places of their own are not replayed")

    def apply(x: Array, axis: int) -> Array:
        moved = np.moveaxis(x, axis, -1)
        heights = 0.5 * (moved[..., 1:] + moved[..., :-1])
        area: Array = (heights * np.asarray(step, x.dtype)).sum(axis=-1)
        return area

    return lambda x: along(Function(apply, dtypes.as_float), x, axis, floatx)


@operation("Moments")
def _moments(settings: Settings, floatx: str) -> Compute:
    axes, keepdims = axis_of(settings, "axes"), settings.flag("keepdims", False)
    settings.ignore("synchronized")
    return lambda x: moments(x, axes, floatx, keepdims=keepdims)


def moments(x: Value, axes: Any, floatx: str, *, keepdims: bool) -> tuple[Tensor, Tensor]:
    """Return mean and variance; those of half precision are clipped to what float16 can hold."""
    name = dtypes.name_of(x, floatx)
    if name not in dtypes.FLOATS:
        raise InputError("the moments of integers are not replayed")
    both = (reduced(REDUCTIONS[which], x, axes, floatx, keepdims=keepdims) for which in ("Mean", "Var"))
    mean, variance = (clipped_half(one, name) for one in both)
    return mean, variance


def clipped_half(x: Tensor, name: str) -> Tensor:
    """Clip to what float16 can hold, where the dtype is a half type."""
    most = dtypes.highest("float16")
    return dtypes.made(np.clip(x.value, -most, most), name) if name in dtypes.HALVES else x


@operation("TopK")
def _top_k(settings: Settings, floatx: str) -> Compute:
    count, ordered = settings.integer("k"), settings.flag("sorted", True)
    if not ordered:
        raise Unsupported("config.sorted: TensorFlow leaves the order of unsorted results open")
    return lambda x: highest(x, count)


def highest(x: Value, count: int) -> tuple[Array, Array]:
    """Return the highest values of the last axis in descending order, and where they stand; the first of equal ones."""
    array = ts.batch(x)
    place = ts.inner_axis(-1, array.ndim)
    if count > array.shape[place]:
        raise InputError(f"the {count} highest of {array.shape[place]} values")
    order = np.argsort(arithmetic.ordered(np.flip(array, place)), axis=place, kind="stable")
    places = array.shape[place] - 1 - np.flip(order, place)[..., :count]
    return np.take_along_axis(array, places, place), places.astype(np.int32)


@operation("InTopK")
def _in_top_k(settings: Settings, floatx: str) -> Compute:
    count = settings.integer("k")

    def compute(targets: Value, predictions: Value) -> Array:
        classes, scores = ts.batch(targets), ts.batch(predictions)
        if scores.ndim != 2 or classes.shape != scores.shape[:1] or not np.isfinite(scores).all():
            raise InputError("expected one class for each row of finite predictions")
        if classes.size and not (classes.min() >= 0 and classes.max() < scores.shape[1]):
            raise InputError("a class is out of range")
        better = (scores > np.take_along_axis(scores, classes[:, np.newaxis], 1)).sum(axis=1)
        return np.asarray(better < count)

    return compute


# Quantiles

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(settings: Settings, floatx: str, *, percent: bool = False, without_nan: bool = False) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)
    method = settings.choice("method", _METHODS, "linear")
    method = method if percent or without_nan else "linear"  # a node of Quantile does not pass it on

    def compute(x: Value, q: Value) -> Tensor:
        if isinstance(q, Tensor):
            raise InputError("quantiles that are not constant are not replayed")
        share = np.asarray(q, np.float32) / np.asarray(100 if percent else 1, np.float32)
        return quantile(x, share, axis, floatx, method, keepdims=keepdims, without_nan=without_nan)

    return compute


operation("Quantile")(_quantile)
operation("Percentile")(partial(_quantile, percent=True))
operation("Nanquantile")(partial(_quantile, without_nan=True))
operation("Nanpercentile")(partial(_quantile, percent=True, without_nan=True))


def _median(settings: Settings, floatx: str, *, without_nan: bool) -> Compute:
    axis, keepdims = axis_of(settings), settings.flag("keepdims", False)
    return lambda x: quantile(x, np.asarray(0.5), axis, floatx, "linear", keepdims=keepdims, without_nan=without_nan)


operation("Median")(partial(_median, without_nan=False))
operation("Nanmedian")(partial(_median, without_nan=True))


def quantile(
    x: Value, q: Any, axis: Any, floatx: str, method: str, *, keepdims: bool, without_nan: bool = False
) -> Tensor:
    """Return a quantile over axes, with Keras's own interpolation; NaN where there is one among the values."""
    share = np.asarray(q, np.float64)
    if share.ndim or not 0 <= share <= 1:
        raise InputError("quantiles other than one constant between 0 and 1 are not replayed")
    if without_nan and np.isnan(ts.batch(x)).any():
        raise InputError("quantiles beside NaN are not replayed")
    function = partial(_interpolated, share=float(share), method=method)
    return reduced(Function(function, dtypes.as_float), x, axis, floatx, keepdims=keepdims)


def _interpolated(x: Array, axis: tuple[int, ...], *, keepdims: bool, share: float, method: str) -> Array:
    kept = [place for place in range(x.ndim) if place not in axis]
    values = x.transpose([*kept, *axis]).reshape(*(x.shape[place] for place in kept), -1)
    ranked = np.sort(values, axis=-1)
    result = np.where(np.isnan(values).any(axis=-1), np.asarray(np.nan, x.dtype), _at(ranked, share, method))
    return np.expand_dims(result, axis) if keepdims else result


def _at(ranked: Array, share: float, method: str) -> Array:
    last = ranked.shape[-1] - 1
    exact = last * share
    lower, higher, nearest = (min(max(int(f(exact)), 0), last) for f in (np.floor, np.ceil, np.round))
    if method == "midpoint":
        middle: Array = 0.5 * (ranked[..., lower] + ranked[..., higher])
        return middle
    if method != "linear":
        chosen: Array = ranked[..., {"lower": lower, "higher": higher, "nearest": nearest}[method]]
        return chosen
    below = max(higher - 1, 0)
    above = min(below + 1, last)
    fraction = np.asarray(above - exact, ranked.dtype)
    between: Array = ranked[..., above] * (1 - fraction) + ranked[..., below] * fraction
    return between


# Places


@operation("Digitize")
def _digitize(settings: Settings, floatx: str) -> Compute:
    def compute(x: Value, bins: Value) -> Tensor:
        edges = np.asarray(bins.value if isinstance(bins, Tensor) else bins, np.float32)
        if isinstance(bins, Tensor) or edges.ndim != 1 or (np.diff(edges) < 0).any():
            raise InputError("expected constant bins in ascending order")
        array = ts.batch(x)
        room.afford(array.size * 8)
        return dtypes.made(np.searchsorted(edges, array, side="right"), "int32")

    return compute


@operation("SearchSorted")
def _search(settings: Settings, floatx: str) -> Compute:
    side = settings.choice("side", ("left", "right"), "left")

    def compute(sorted_sequence: Value, values: Value) -> Tensor:
        if isinstance(sorted_sequence, Tensor) or np.ndim(sorted_sequence) != 1:
            raise InputError(f"searching in a tensor {ts.MIXES}")
        array = ts.batch(values)
        if array.ndim != 1:
            raise InputError("only one value for each sample is searched for, as in TensorFlow")
        return dtypes.made(np.searchsorted(np.asarray(sorted_sequence), array, side=side), "int32")

    return compute
