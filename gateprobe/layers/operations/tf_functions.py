"""The closed table of TensorFlow functions, with TensorFlow's own names of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from gateprobe.activations import resolve
from gateprobe.errors import InputError
from gateprobe.graph import Array, Era, Origin
from gateprobe.layers.activation_layers import softmax
from gateprobe.layers.base import Precision, Tensor, Value
from gateprobe.layers.merge import norm
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations import tf_sizes
from gateprobe.layers.operations.axes import logsumexp
from gateprobe.layers.operations.elementwise import divide_no_nan, logical, whole
from gateprobe.semantics import semantics_of

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One function."""

    parameters: tuple[str, ...]
    """In TensorFlow's order."""
    function: Function
    """Called with the precision and the first argument, and with the others by TensorFlow's names."""
    sizes: bool = False
    """Whether it knows what to do with sizes (see `tf_sizes`)."""


# Element by element


def _binary(precision: Precision, x: Value, y: Value, *, function: Function, floating: bool) -> Array:
    result: Array = function(*ts.operands((x, y), precision, floating=floating))
    return result


def _squared_difference(x: Array, y: Array) -> Array:
    square: Array = np.square(x - y)
    return square


_BINARY: Mapping[str, tuple[Function, bool]] = {
    "__operators__.add": (np.add, False),
    "math.add": (np.add, False),
    "math.subtract": (np.subtract, False),
    "math.multiply": (np.multiply, False),
    "math.truediv": (np.true_divide, True),
    "math.divide": (np.true_divide, True),
    "math.divide_no_nan": (divide_no_nan, True),
    "math.floordiv": (whole(np.floor_divide), False),
    "math.floormod": (whole(np.mod), False),
    "math.pow": (np.power, False),
    "math.maximum": (np.maximum, False),
    "math.minimum": (np.minimum, False),
    "math.squared_difference": (_squared_difference, False),
    "math.equal": (np.equal, False),
    "math.not_equal": (np.not_equal, False),
    "math.greater": (np.greater, False),
    "math.greater_equal": (np.greater_equal, False),
    "math.less": (np.less, False),
    "math.less_equal": (np.less_equal, False),
    "math.logical_and": (logical(np.logical_and), False),
    "math.logical_or": (logical(np.logical_or), False),
    "math.logical_xor": (logical(np.logical_xor), False),
}


def _unary(precision: Precision, x: Value, *, function: Function, floating: bool) -> Array:
    array = ts.batch(x)
    result: Array = function(ts.floats(array, precision) if floating else array)
    return result


_UNARY: Mapping[str, tuple[str, Function, bool]] = {
    "math.negative": ("x", np.negative, False),
    "math.abs": ("x", np.abs, False),
    "math.square": ("x", np.square, False),
    "math.sign": ("x", np.sign, False),
    "math.sqrt": ("x", np.sqrt, True),
    "math.rsqrt": ("x", lambda x: 1 / np.sqrt(x), True),
    "math.reciprocal": ("x", lambda x: 1 / x, True),
    "math.exp": ("x", np.exp, True),
    "math.expm1": ("x", np.expm1, True),
    "math.log": ("x", np.log, True),
    "math.log1p": ("x", np.log1p, True),
    "math.sin": ("x", np.sin, True),
    "math.cos": ("x", np.cos, True),
    "math.tanh": ("x", np.tanh, True),
    "math.floor": ("x", np.floor, True),
    "math.ceil": ("x", np.ceil, True),
    "math.logical_not": ("x", logical(np.logical_not), False),
    "math.is_nan": ("x", np.isnan, True),
    "identity": ("input", np.copy, False),
    "stop_gradient": ("input", np.copy, False),
}

_MEANING = semantics_of(Origin("hdf5", Era.KERAS2, ()))
"""The activations below mean the same in every era."""

_ACTIVATIONS: Mapping[str, tuple[str, str]] = {
    "math.sigmoid": ("x", "sigmoid"),
    "math.softplus": ("features", "softplus"),
    "nn.relu": ("features", "relu"),
    "nn.relu6": ("features", "relu6"),
    "nn.elu": ("features", "elu"),
    "nn.selu": ("features", "selu"),
    "nn.silu": ("features", "silu"),
    "nn.softsign": ("features", "softsign"),
}


def _leaky_relu(precision: Precision, features: Value, alpha: float = 0.2) -> Array:
    x = ts.floats(ts.batch(features), precision)
    return np.where(x > 0, x, x * np.asarray(alpha, x.dtype))


def _where(precision: Precision, condition: Value, x: Value, y: Value) -> Array:
    kept = ts.operands((condition, x, y), precision)[0]
    return np.where(kept != 0, *ts.operands((x, y), precision))


def _clip(precision: Precision, t: Value, clip_value_min: Value, clip_value_max: Value) -> Array:
    return np.clip(*ts.operands((t, clip_value_min, clip_value_max), precision))


def _add_n(precision: Precision, inputs: Value) -> Array:
    total: Array = reduce(np.add, ts.operands(inputs, precision))
    return total


# Along axes


def _reduce(
    precision: Precision,
    input_tensor: Value,
    axis: Any = None,
    *,
    keepdims: bool = False,
    function: Function,
    floating: bool,
) -> Array:
    array = ts.batch(input_tensor)
    if floating and array.dtype.kind != "f":
        raise InputError("the mean of integers is not replayed")
    return ts.reduced(function, input_tensor, axis, keepdims=keepdims)


def _euclidean(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    length = norm(x, axis)
    return length if keepdims else np.squeeze(length, axis)


_REDUCTIONS: Mapping[str, tuple[Function, bool]] = {
    "math.reduce_mean": (np.mean, True),
    "math.reduce_std": (np.std, True),
    "math.reduce_variance": (np.var, True),
    "math.reduce_sum": (np.sum, False),
    "math.reduce_prod": (np.prod, False),
    "math.reduce_max": (np.max, False),
    "math.reduce_min": (np.min, False),
    "math.reduce_any": (np.any, False),
    "math.reduce_all": (np.all, False),
    "math.reduce_logsumexp": (logsumexp, True),
    "math.reduce_euclidean_norm": (_euclidean, True),
}


def _norm(precision: Precision, tensor: Value, ord: Any = None, axis: Any = None, *, keepdims: bool = False) -> Array:  # noqa: A002  # TensorFlow's name
    if ord not in (None, "euclidean", 2) or (isinstance(axis, (tuple, list)) and len(axis) > 1):
        raise InputError("only the Euclidean norm along one axis is replayed")
    return ts.reduced(_euclidean, Tensor(ts.floats(ts.batch(tensor), precision)), axis, keepdims=keepdims)


def _position(precision: Precision, x: Value, axis: Any = None, *, function: Function) -> Array:
    array = ts.batch(x)
    place: Array = function(array, axis=ts.inner_axis(axis, array.ndim))
    return place


def _cumsum(precision: Precision, x: Value, axis: Any = 0, *, exclusive: bool = False, reverse: bool = False) -> Array:
    array = ts.batch(x)
    place = ts.inner_axis(axis, array.ndim)
    flipped = np.flip(array, place) if reverse else array
    total = np.cumsum(flipped, axis=place, dtype=array.dtype)
    if exclusive:
        total = np.insert(total, 0, 0, axis=place).take(range(array.shape[place]), axis=place)
    return np.flip(total, place) if reverse else total


def _softmax(precision: Precision, logits: Value, axis: Any = -1) -> Array:
    array = ts.floats(ts.batch(logits), precision)
    return softmax(array, ts.inner_axes(axis, array.ndim))


def _log_softmax(precision: Precision, logits: Value, axis: Any = -1) -> Array:
    array = ts.floats(ts.batch(logits), precision)
    return array - logsumexp(array, ts.inner_axes(axis, array.ndim), keepdims=True)


def _l2_normalize(precision: Precision, x: Value, axis: Any = None, epsilon: float = 1e-12) -> Array:
    array = ts.floats(ts.batch(x), precision)
    squares = np.square(array).sum(axis=ts.inner_axes(axis, array.ndim), keepdims=True)
    result: Array = array / np.sqrt(np.maximum(squares, np.asarray(epsilon, array.dtype)))
    return result


# Shapes and types


def _concat(precision: Precision, values: Value, axis: Any) -> Any:
    return tf_sizes.joined(values) or ts.joined(_plain(values), axis, precision, new_axis=False)


def _stack(precision: Precision, values: Value, axis: Any = 0) -> Any:
    return tf_sizes.joined(values) or ts.joined(_plain(values), axis, precision, new_axis=True)


def _plain(values: Value) -> Value:
    return tuple(map(tf_sizes.constant, values)) if isinstance(values, (tuple, list)) else values


def _unstack(precision: Precision, value: Value, num: Any = None, axis: Any = 0) -> Any:
    if isinstance(value, tf_sizes.Sizes):
        return tuple(tf_sizes.part_of(value, n) for n in range(value.value.size))
    return ts.unstacked(value, axis)


def _split(precision: Precision, value: Value, num_or_size_splits: Any, axis: Any = 0, num: Any = None) -> Any:
    if isinstance(num_or_size_splits, (tuple, list)):
        sizes = tf_sizes.shape_of(num_or_size_splits)
        if -1 in sizes or sum(sizes) != ts.batch(value).shape[ts.inner_axis(axis, ts.batch(value).ndim)]:
            raise InputError(f"splitting into {sizes} is not replayed")
        return ts.divided(value, tuple(int(end) for end in np.cumsum(sizes)[:-1]), axis)
    return ts.divided(value, num_or_size_splits, axis)


def _reshape(precision: Precision, tensor: Value, shape: Value) -> Array:
    wanted = tf_sizes.shape_of(shape)
    if not tf_sizes.counts_samples(shape):
        return ts.reshaped(tensor, wanted)
    return ts.batch(tensor).reshape(wanted)  # rows of one sample stand together, whatever their number


def _pad(
    precision: Precision, tensor: Value, paddings: Any, mode: str = "CONSTANT", constant_values: Value = 0
) -> Array:
    return ts.padded(tensor, paddings, str(mode), constant_values)


def _gather(precision: Precision, params: Value, indices: Any, axis: Any = None, batch_dims: Any = 0) -> Array:
    if batch_dims not in (0, None):
        raise InputError("gathering with batch dimensions is not replayed")
    return ts.taken(params, indices, 0 if axis is None else axis)


def _one_hot(
    precision: Precision, indices: Value, depth: Any, on_value: Any = 1, off_value: Any = 0, axis: Any = -1
) -> Array:
    if (on_value, off_value) != (1, 0) or axis not in (-1, None):
        raise InputError("one-hot codes other than 0 and 1 along a last axis are not replayed")
    return ts.codes(indices, depth, precision)


def _matmul(precision: Precision, a: Value, b: Value, *, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    left, right = (_turned(value) if flipped else value for value, flipped in ((a, transpose_a), (b, transpose_b)))
    return ts.multiplied(left, right, precision)


def _turned(value: Value) -> Value:
    array = ts.array_of(value)
    if array.ndim < (3 if isinstance(value, Tensor) else 2):
        raise InputError(f"transposing a matrix of the samples {ts.MIXES}")
    flipped = array.swapaxes(-1, -2)
    return Tensor(flipped) if isinstance(value, Tensor) else flipped


def _table() -> dict[str, Entry]:
    table = {
        name: Entry(("x", "y"), partial(_binary, function=function, floating=floating))
        for name, (function, floating) in _BINARY.items()
    }
    for name, (parameter, function, floating) in _UNARY.items():
        table[name] = Entry((parameter,), partial(_unary, function=function, floating=floating))
    for name, (parameter, activation) in _ACTIVATIONS.items():
        table[name] = Entry((parameter,), partial(_unary, function=resolve(activation, _MEANING), floating=True))
    for name, (function, floating) in _REDUCTIONS.items():
        apply = partial(_reduce, function=function, floating=floating)
        table[name] = Entry(("input_tensor", "axis", "keepdims"), apply)
    return {**table, **_SHAPED}


_SHAPED: Mapping[str, Entry] = {
    "nn.leaky_relu": Entry(("features", "alpha"), _leaky_relu),
    "where": Entry(("condition", "x", "y"), _where),
    "clip_by_value": Entry(("t", "clip_value_min", "clip_value_max"), _clip),
    "math.add_n": Entry(("inputs",), _add_n),
    "math.argmax": Entry(("input", "axis"), partial(_position, function=np.argmax)),
    "math.argmin": Entry(("input", "axis"), partial(_position, function=np.argmin)),
    "math.cumsum": Entry(("x", "axis", "exclusive", "reverse"), _cumsum),
    "math.l2_normalize": Entry(("x", "axis", "epsilon"), _l2_normalize),
    "nn.softmax": Entry(("logits", "axis"), _softmax),
    "nn.log_softmax": Entry(("logits", "axis"), _log_softmax),
    "concat": Entry(("values", "axis"), _concat, sizes=True),
    "stack": Entry(("values", "axis"), _stack, sizes=True),
    "unstack": Entry(("value", "num", "axis"), _unstack, sizes=True),
    "split": Entry(("value", "num_or_size_splits", "axis", "num"), _split, sizes=True),
    "expand_dims": Entry(("input", "axis"), lambda precision, x, axis: ts.expanded(x, axis)),
    "reshape": Entry(("tensor", "shape"), _reshape, sizes=True),
    "tile": Entry(
        ("input", "multiples"),
        lambda precision, x, multiples: ts.tiled(x, tf_sizes.shape_of(multiples)),
        sizes=True,
    ),
    "repeat": Entry(
        ("input", "repeats", "axis"), lambda precision, x, repeats, axis=None: ts.repeated(x, repeats, axis)
    ),
    "reverse": Entry(
        ("tensor", "axis"),
        lambda precision, tensor, axis: np.flip(ts.batch(tensor), ts.inner_axes(axis, ts.batch(tensor).ndim)),
    ),
    "cast": Entry(("x", "dtype"), lambda precision, x, dtype: ts.cast(x, dtype, precision)),
    "zeros_like": Entry(("input",), lambda precision, x: np.zeros_like(ts.batch(x))),
    "ones_like": Entry(("input",), lambda precision, x: np.ones_like(ts.batch(x))),
    "zeros": Entry(("shape",), lambda precision, shape: tf_sizes.filled(shape, 0, precision.dtype), sizes=True),
    "ones": Entry(("shape",), lambda precision, shape: tf_sizes.filled(shape, 1, precision.dtype), sizes=True),
    "one_hot": Entry(("indices", "depth", "on_value", "off_value", "axis"), _one_hot),
    "linalg.matmul": Entry(("a", "b", "transpose_a", "transpose_b"), _matmul),
    **{
        f"{prefix}{name}": entry
        for prefix in ("", "compat.v1.")
        for name, entry in {
            "shape": Entry(("input",), lambda precision, x: tf_sizes.sizes_of(x), sizes=True),
            "squeeze": Entry(("input", "axis"), lambda precision, x, axis=None: ts.squeezed(x, axis)),
            "transpose": Entry(("a", "perm"), lambda precision, a, perm: ts.transposed(a, perm)),
            "pad": Entry(("tensor", "paddings", "mode", "constant_values"), _pad),
            "gather": Entry(("params", "indices", "axis", "batch_dims"), _gather),
            "norm": Entry(("tensor", "ord", "axis", "keepdims"), _norm),
        }.items()
    },
}

FUNCTIONS: Mapping[str, Entry] = _table()
"""Name in a file → function."""
