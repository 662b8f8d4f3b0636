"""The closed table of TensorFlow functions, with TensorFlow's own names of parameters.

What they compute: `gateprobe.layers.operations.arithmetic`, the table of ``keras.ops``. Only the dtypes differ:
TensorFlow promotes nothing, so that constants take the dtype of the tensors beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from gateprobe.activations import resolve
from gateprobe.errors import InputError
from gateprobe.graph import Array, Era, Origin
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.operations import arithmetic, axes, dtypes, elementwise, products, tf_sizes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.arithmetic import ALONG, BINARY, REDUCTIONS, UNARY, Function, along, of_one, reduced
from gateprobe.layers.operations.dtypes import made, promoted
from gateprobe.layers.operations.tf_parts import PARTS
from gateprobe.layers.operations.tf_windows import WINDOWS
from gateprobe.layers.sizes import Sizes, constant
from gateprobe.limits import room
from gateprobe.semantics import semantics_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One function."""

    parameters: tuple[str, ...]
    """In TensorFlow's order."""
    function: Callable[..., Any]
    """Called with the dtype of floats, the first argument, and with the others by TensorFlow's names."""
    sizes: bool = False
    """Whether it knows what to do with sizes (see `tf_sizes`)."""
    more: bool = False
    """Whether it takes any number of arguments after those."""
    counts: bool = False
    """Whether it is given the number of samples as ``samples``."""
    of_samples: Callable[..., Sizes] | None = None
    """What computes with sizes among which is the number of samples; ``None`` where that is refused."""


# Element by element


def _truediv(floatx: str, *names: str) -> str:
    """Integers of 32 bits and more become float64, smaller ones float32."""
    name = promoted(floatx, *names)
    if name in dtypes.FLOATS:
        return name
    return "float64" if name in ("int32", "int64", "uint32") else "float32"


def _of_tensors(function: Function, values: Sequence[Value], floatx: str) -> Tensor:
    """Combine operands in the dtype of the tensors among them."""
    return arithmetic.combined(function, values, floatx, _names(values[function.first :], floatx))


def _binary(floatx: str, x: Value, y: Value, *, function: Function) -> Tensor:
    return _of_tensors(function, (x, y), floatx)


def _xlogy(log: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """Return ``x * log(y)``, with zero where ``x`` is zero."""
    return lambda x, y: np.where(x == 0, np.zeros((), x.dtype), x * log(y))


def _truncated(x: Array, y: Array) -> Array:
    arithmetic.check_divisor(y)
    return np.fmod(x, y)


def _truncated_division(x: Array, y: Array) -> Array:
    arithmetic.check_divisor(y)
    quotient: Array = np.trunc(x / y) if x.dtype.kind == "f" else (x - np.fmod(x, y)) // y
    return quotient


_TRUEDIV = Function(np.true_divide, _truediv)
_BINARY: Mapping[str, Function] = {
    "__operators__.add": BINARY["Add"],
    "__operators__.eq": BINARY["Equal"],
    "__operators__.ne": BINARY["NotEqual"],
    "math.add": BINARY["Add"],
    "math.subtract": BINARY["Subtract"],
    "math.multiply": BINARY["Multiply"],
    "math.truediv": _TRUEDIV,
    "math.divide": _TRUEDIV,
    "math.divide_no_nan": BINARY["DivideNoNan"],
    "math.multiply_no_nan": Function(arithmetic.multiply_no_nan, kinds="f"),
    "math.floordiv": BINARY["FloorDivide"],
    "compat.v1.floor_div": BINARY["FloorDivide"],
    "math.floormod": BINARY["Mod"],
    "truncatemod": Function(_truncated, kinds="iuf"),
    "truncatediv": Function(_truncated_division, kinds="iu"),
    "math.pow": BINARY["Power"],
    "math.maximum": BINARY["Maximum"],
    "math.minimum": BINARY["Minimum"],
    "math.squared_difference": Function(arithmetic.squared_difference, kinds="iuf"),
    "math.xlogy": Function(_xlogy(np.log), kinds="f"),
    "math.xlog1py": Function(_xlogy(np.log1p), kinds="f"),
    "math.xdivy": Function(lambda x, y: np.where(x == 0, np.zeros((), x.dtype), x / y), kinds="f"),
    "math.equal": BINARY["Equal"],
    "math.not_equal": BINARY["NotEqual"],
    "math.greater": BINARY["Greater"],
    "math.greater_equal": BINARY["GreaterEqual"],
    "math.less": BINARY["Less"],
    "math.less_equal": BINARY["LessEqual"],
    "math.logical_and": BINARY["LogicalAnd"],
    "math.logical_or": BINARY["LogicalOr"],
    "math.logical_xor": BINARY["LogicalXor"],
    "bitwise.bitwise_and": BINARY["BitwiseAnd"],
    "bitwise.bitwise_or": BINARY["BitwiseOr"],
    "bitwise.bitwise_xor": BINARY["BitwiseXor"],
    "bitwise.left_shift": BINARY["LeftShift"],
    "bitwise.right_shift": BINARY["RightShift"],
}


def _unary(floatx: str, x: Value, *, function: Function) -> Tensor:
    return of_one(function, x, floatx)


def _no_nan_reciprocal(x: Array) -> Array:
    return arithmetic.divide_no_nan(np.ones((), x.dtype), x)


_UNARY: Mapping[str, tuple[str, Function]] = {
    **{
        f"math.{name}": ("x", replace(UNARY[class_name], kinds="f"))
        for name, class_name in {
            "sqrt": "Sqrt", "rsqrt": "Rsqrt", "reciprocal": "Reciprocal", "exp": "Exp", "expm1": "Expm1", "log": "Log",
            "log1p": "Log1p", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Arcsin", "acos": "Arccos",
            "atan": "Arctan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "asinh": "Arcsinh", "acosh": "Arccosh",
            "atanh": "Arctanh", "floor": "Floor", "ceil": "Ceil", "is_nan": "Isnan", "is_inf": "Isinf",
            "is_finite": "Isfinite", "erf": "Erf", "erfc": "Erfc", "erfinv": "Erfinv", "bessel_i0": "I0",
        }.items()
    },
    "math.negative": ("x", UNARY["Negative"]),
    "math.abs": ("x", UNARY["Abs"]),
    "math.square": ("x", replace(UNARY["Square"], kinds="iuf")),
    "math.sign": ("x", UNARY["Sign"]),
    "math.reciprocal_no_nan": ("x", Function(_no_nan_reciprocal, kinds="f")),
    "math.rint": ("x", Function(np.rint, kinds="f")),
    "math.log_sigmoid": ("x", Function(lambda x: -np.logaddexp(-x, 0), kinds="f")),
    "math.round": ("x", Function(np.round, kinds="iuf")),
    "math.logical_not": ("x", UNARY["LogicalNot"]),
    "math.real": ("input", UNARY["Real"]),
    "bitwise.invert": ("x", UNARY["BitwiseInvert"]),
    "identity": ("input", UNARY["Copy"]),
    "stop_gradient": ("input", UNARY["StopGradient"]),
}  # fmt: skip

_MEANING = semantics_of(Origin("hdf5", Era.KERAS2, ()))
"""The activations below mean the same in every era."""

_ACTIVATIONS: Mapping[str, tuple[str, str]] = {
    "math.sigmoid": ("x", "sigmoid"),
    "math.softplus": ("features", "softplus"),
    "nn.relu": ("features", "relu"),
    "nn.relu6": ("features", "relu6"),
    "nn.elu": ("features", "elu"),
    "nn.selu": ("features", "selu"),
    "nn.softsign": ("features", "softsign"),
}


def _activated(floatx: str, x: Value, *, name: str, options: Mapping[str, Any] | None = None) -> Tensor:
    return of_one(Function(resolve(name, _MEANING, options or {}), kinds="f"), x, floatx)


def _leaky_relu(floatx: str, features: Value, alpha: float = 0.2) -> Tensor:
    apply = partial(_leaking, slope=float(alpha))
    return of_one(Function(apply, kinds="f"), features, floatx)


def _leaking(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, x * np.asarray(slope, x.dtype))


def _silu(floatx: str, features: Value, beta: float = 1.0) -> Tensor:
    if beta == 1:
        return _activated(floatx, features, name="silu")
    return of_one(Function(lambda x: x / (1 + np.exp(-np.asarray(beta, x.dtype) * x)), kinds="f"), features, floatx)


def _gelu(floatx: str, features: Value, approximate: Any = False) -> Tensor:
    return _activated(floatx, features, name="gelu", options={"approximate": bool(approximate)})


def _where(floatx: str, condition: Value, x: Value = None, y: Value = None) -> Tensor:
    if x is None or y is None:
        raise InputError(f"the places of all true values: this {ts.MIXES}")
    return _of_tensors(arithmetic.CHOICE, (condition, x, y), floatx)


def _clip(floatx: str, t: Value, clip_value_min: Value, clip_value_max: Value) -> Tensor:
    return elementwise.clipped(t, clip_value_min, clip_value_max)


def _add_n(floatx: str, inputs: Value) -> Tensor:
    total: Tensor = reduce(lambda x, y: _of_tensors(BINARY["Add"], (x, y), floatx), inputs)
    return total


def _scalar_mul(floatx: str, scalar: Value, x: Value) -> Tensor:
    return _of_tensors(BINARY["Multiply"], (scalar, x), floatx)


def _bias_add(floatx: str, value: Value, bias: Value, data_format: Any = None) -> Tensor:
    if data_format not in (None, "NHWC", "NWC", "N...C"):
        raise InputError(f"a bias along other axes than the last ({data_format!r:.40}) is not replayed")
    if isinstance(bias, Tensor) or np.ndim(bias) != 1:
        raise InputError(f"a bias that differs from sample to sample: this {ts.MIXES}")
    return _of_tensors(BINARY["Add"], (value, bias), floatx)


# Along axes


def _reduce(
    floatx: str, input_tensor: Value, axis: Any = None, *, keepdims: bool = False, function: Function
) -> Tensor:
    return reduced(function, input_tensor, axis, floatx, keepdims=bool(keepdims))


_REDUCTIONS: Mapping[str, Function] = {
    "math.reduce_mean": replace(REDUCTIONS["Mean"], kinds="f", computes=promoted),
    "math.reduce_std": replace(REDUCTIONS["Std"], kinds="f", computes=promoted),
    "math.reduce_variance": replace(REDUCTIONS["Var"], kinds="f", computes=promoted),
    "math.reduce_sum": replace(REDUCTIONS["Sum"], kinds="iuf", computes=promoted),
    "math.reduce_prod": replace(REDUCTIONS["Prod"], kinds="iuf", computes=promoted),
    "math.reduce_max": replace(REDUCTIONS["Max"], kinds="iuf"),
    "math.reduce_min": replace(REDUCTIONS["Min"], kinds="iuf"),
    "math.reduce_any": replace(REDUCTIONS["Any"], kinds="b"),
    "math.reduce_all": replace(REDUCTIONS["All"], kinds="b"),
    "math.reduce_logsumexp": REDUCTIONS["Logsumexp"],
    "math.reduce_euclidean_norm": Function(arithmetic.euclidean, kinds="f"),
}


def _count_nonzero(floatx: str, x: Value, axis: Any = None, keepdims: Any = False, dtype: Any = "int64") -> Tensor:
    return ts.cast(reduced(REDUCTIONS["CountNonzero"], x, axis, floatx, keepdims=bool(keepdims)), dtype)


def _norm(floatx: str, tensor: Value, ord: Any = None, axis: Any = None, *, keepdims: Any = False) -> Tensor:  # noqa: A002  # TensorFlow's name
    places = axis if isinstance(axis, (tuple, list)) else [axis]
    order = 2.0 if ord in (None, "euclidean", "fro") else ord
    if isinstance(order, bool) or not isinstance(order, (int, float)) or order <= 0 or (len(places) > 1 and order != 2):
        raise InputError(f"the norm {ord!r:.40} over {len(places)} axes is not replayed")
    function = Function(partial(axes.normed, order=float(order)), kinds="f")
    return reduced(function, tensor, axis, floatx, keepdims=bool(keepdims))


def _place(x: Array, axis: int, lowest: bool) -> Array:  # as NumPy's functions
    if x.dtype.kind == "f" and np.isnan(x).any():
        raise InputError("the position of the highest of values with NaN is not replayed")
    places: Array = (np.argmin if lowest else np.argmax)(x, axis=axis)
    return places


def _position(floatx: str, x: Value, axis: Any = None, output_type: Any = "int64", *, lowest: bool) -> Tensor:
    return ts.cast(along(Function(partial(_place, lowest=lowest), kinds="iuf"), x, axis, floatx), output_type)


def _running(
    floatx: str,
    x: Value,
    axis: Any = 0,
    *,
    exclusive: Any = False,
    reverse: Any = False,
    function: Function,
    start: int,
) -> Tensor:
    array = ts.batch(x)
    place = ts.inner_axis(axis, array.ndim)
    if array.dtype.kind == "b":
        raise InputError("running sums of booleans are not replayed")
    flipped = np.flip(array, place) if reverse else array
    if exclusive:
        first = room.full((*array.shape[:place], 1, *array.shape[place + 1 :]), start, array.dtype)
        kept = flipped[(slice(None),) * place + (slice(0, -1),)]
        flipped = room.concatenate([first, kept], place)[(slice(None),) * place + (slice(0, array.shape[place]),)]
    total = along(function, replace(x, value=flipped, mask=None), place, floatx)
    return replace(total, value=np.flip(total.value, place)) if reverse else total


def _softmax(floatx: str, logits: Value, axis: Any = -1, *, function: Function) -> Tensor:
    return along(function, logits, -1 if axis is None else axis, floatx)


def _l2_normalize(floatx: str, x: Value, axis: Any = None, epsilon: float = 1e-12) -> Tensor:
    def apply(x: Array, axis: tuple[int, ...]) -> Array:
        squares = np.square(x).sum(axis=axis, keepdims=True)
        result: Array = x / np.sqrt(np.maximum(squares, np.asarray(epsilon, x.dtype)))
        return result

    return of_one(Function(apply, kinds="f"), x, floatx, axis=ts.inner_axes(axis, ts.batch(x).ndim))


def _clip_by_norm(floatx: str, t: Value, clip_norm: Any, axes: Any = None) -> Tensor:
    def apply(x: Array, axis: tuple[int, ...]) -> Array:
        length = np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
        most = np.asarray(clip_norm, x.dtype)
        result: Array = x * most / np.maximum(length, most)
        return result

    return of_one(Function(apply, kinds="f"), t, floatx, axis=ts.inner_axes(axes, ts.batch(t).ndim))


def _sorted(floatx: str, values: Value, axis: Any = -1, direction: Any = "ASCENDING", *, function: Function) -> Tensor:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise InputError(f"the direction {direction!r:.40} is not replayed")
    if direction == "ASCENDING":
        return along(function, values, axis, floatx)
    array = ts.batch(values)
    if array.dtype.kind == "b":
        raise InputError("booleans are not sorted")
    place = ts.inner_axis(axis, array.ndim)
    turned = replace(values, value=np.flip(array, place), mask=None)
    ordered = along(function, turned, place, floatx)
    result = np.flip(ordered.value, place)
    return replace(ordered, value=result if function is ALONG["Sort"] else array.shape[place] - 1 - result)


def _top_k(floatx: str, x: Value, k: Any = 1, sorted: Any = True) -> Any:  # noqa: A002  # TensorFlow's name
    if sorted is not True or type(k) is not int or k < 1:
        raise InputError("only a constant number of the highest values, in their order, is replayed")
    return axes.highest(x, k)


# Shapes and types


def _concat(floatx: str, values: Value, axis: Any) -> Any:
    return tf_sizes.joined(values) or ts.joined(_plain(values), axis, floatx, new_axis=False)


def _stack(floatx: str, values: Value, axis: Any = 0) -> Any:
    return tf_sizes.joined(values) or ts.joined(_plain(values), axis, floatx, new_axis=True)


def _plain(values: Value) -> Value:
    return tuple(map(constant, values)) if isinstance(values, (tuple, list)) else values


def _unstack(floatx: str, value: Value, num: Any = None, axis: Any = 0) -> Any:
    if isinstance(value, Sizes):
        return tuple(tf_sizes.part_of(value, n) for n in range(value.value.size))
    return ts.unstacked(value, axis)


def _split(floatx: str, value: Value, num_or_size_splits: Any, axis: Any = 0, num: Any = None) -> Any:
    if isinstance(num_or_size_splits, (tuple, list)):
        total = ts.batch(value).shape[ts.inner_axis(axis, ts.batch(value).ndim)]
        sizes = _completed(tf_sizes.shape_of(num_or_size_splits), total)
        return ts.divided(value, tuple(int(end) for end in np.cumsum(sizes)[:-1]), axis)
    return ts.divided(value, num_or_size_splits, axis)


def _completed(sizes: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Put what is left of an axis in place of a size of -1."""
    left = total - sum(size for size in sizes if size != -1)
    complete = tuple(left if size == -1 else size for size in sizes)
    if sizes.count(-1) > 1 or left < 0 or sum(complete) != total:
        raise InputError(f"splitting {total} values into {sizes} is not replayed")
    return complete


def _reshape(floatx: str, tensor: Value, shape: Value, samples: int = 0) -> Any:
    wanted = tf_sizes.shape_of(shape)
    if isinstance(tensor, Sizes):
        return Sizes(constant(tensor).reshape(wanted))
    if not tf_sizes.counts_samples(shape):
        return ts.reshaped(tensor, wanted, samples)
    return ts.batch(tensor).reshape(wanted)  # rows of one sample stand together, whatever their number


def _pad(floatx: str, tensor: Value, paddings: Any, mode: str = "CONSTANT", constant_values: Value = 0) -> Array:
    return ts.padded(tensor, paddings, str(mode), constant_values)


def _gather(floatx: str, params: Value, indices: Any, axis: Any = None, batch_dims: Any = 0) -> Any:
    if batch_dims == 1 and isinstance(params, Tensor) and isinstance(indices, Tensor):
        return _gathered_each(params, indices, 1 if axis is None else axis)
    if batch_dims not in (0, None):
        raise InputError("gathering with several batch dimensions is not replayed")
    if isinstance(indices, Tensor) and not isinstance(params, Tensor) and axis in (None, 0):
        return _looked_up(params, indices, floatx)
    return ts.taken(params, indices, 0 if axis is None else axis)


def _gathered_each(params: Value, indices: Value, axis: Any) -> Array:
    """Gather the first axis after the samples at indices of each sample."""
    array, places = ts.batch(params), ts.batch(indices)
    if axis not in (1, 1 - array.ndim) or places.dtype.kind not in "iu" or len(places) != len(array):
        raise InputError(f"gathering {array.shape} at {places.shape} along axis {axis} is not replayed")
    _check_indices(places, array.shape[1])
    room.afford(places.size * (array.nbytes // max(1, array.shape[0] * array.shape[1])))
    rows = np.expand_dims(room.arange(len(array)), tuple(range(1, places.ndim)))
    chosen: Array = array[rows, places]
    return chosen


def _check_indices(places: Array, size: int) -> None:
    if places.size and not (places.min() >= 0 and places.max() < size):
        raise InputError(f"an index is outside 0..{size - 1}")


def _looked_up(table: Value, indices: Value, floatx: str) -> Array:
    """Look rows of a constant up."""
    rows, places = dtypes.converted(ts.array_of(table), dtypes.name_of(table, floatx)), ts.batch(indices)
    if places.dtype.kind not in "iu" or not rows.ndim:
        raise InputError("expected whole numbers to look up")
    _check_indices(places, len(rows))
    return room.take(rows, places, 0)


def _embedding_lookup(
    floatx: str, params: Value, ids: Value, partition_strategy: Any = "mod", max_norm: Any = None
) -> Any:
    if max_norm is not None or isinstance(params, Tensor) or not isinstance(ids, Tensor):
        raise InputError("only rows of a constant are looked up, without a highest norm")
    return _looked_up(params, ids, floatx)


def _one_hot(
    floatx: str, indices: Value, depth: Any, on_value: Any = 1, off_value: Any = 0, axis: Any = -1, dtype: Any = None
) -> Tensor:
    codes = ts.codes(indices, depth, -1 if axis is None else axis)
    given = [value for value in (on_value, off_value) if isinstance(value, float)]
    name = str(dtype) if dtype is not None else floatx if (on_value, off_value) == (1, 0) or given else "int32"
    number = dtypes.storage(name)
    return made(np.where(codes, np.asarray(on_value, number), np.asarray(off_value, number)), name)


def _sequence_mask(floatx: str, lengths: Value, maxlen: Any = None, dtype: Any = "bool") -> Tensor:
    count = constant(maxlen)
    count = int(count) if isinstance(count, np.ndarray) and count.ndim == 0 else count
    places = ts.batch(lengths)
    if type(count) is not int or count < 0 or places.dtype.kind not in "iu":
        raise InputError("a mask of a length that depends on the samples that share a batch is not replayed")
    room.afford(places.size * count)
    return ts.cast(Tensor(room.arange(count) < places[..., np.newaxis]), dtype)


def _matmul(floatx: str, a: Value, b: Value, *, transpose_a: Any = False, transpose_b: Any = False) -> Tensor:
    left, right = (_turned(value) if flipped else value for value, flipped in ((a, transpose_a), (b, transpose_b)))
    return products.multiplied(left, right, floatx, _names((left, right), floatx))


def _names(values: Sequence[Value], floatx: str) -> list[str] | None:
    """Return the dtypes of the tensors among operands; ``None`` when there are none."""
    return [dtypes.name_of(value, floatx) for value in values if isinstance(value, Tensor)] or None


def _turned(value: Value) -> Value:
    array = ts.array_of(value)
    if array.ndim < (3 if isinstance(value, Tensor) else 2):
        raise InputError(f"transposing a matrix of the samples {ts.MIXES}")
    flipped = array.swapaxes(-1, -2)
    return replace(value, value=flipped, mask=None) if isinstance(value, Tensor) else flipped


def _tensordot(floatx: str, a: Value, b: Value, axes: Any) -> Tensor:
    given = constant(axes)
    given = given.tolist() if isinstance(given, np.ndarray) else given
    return products.contracted(a, b, products.pairs(given, ts.batch(a).ndim), floatx, _names((a, b), floatx))


def _einsum(floatx: str, equation: Value, *operands: Value) -> Tensor:
    products.check_subscripts(equation)
    return products.summed(equation, operands, floatx, _names(operands, floatx))


def _roll(floatx: str, value: Value, shift: Any, axis: Any) -> Array:
    array = ts.batch(value)
    places, shifts = (item if isinstance(item, (tuple, list)) else (item,) for item in (axis, shift))
    if len(places) != len(shifts) or not all(type(item) is int for item in shifts):
        raise InputError(f"rolling by {shift!r:.40} is not replayed")
    return np.roll(array, shifts, ts.inner_axes(places, array.ndim))


def _slice(floatx: str, x: Value, begin: Any, size: Any) -> Any:
    if isinstance(x, Sizes):
        (first,), (count,) = tf_sizes.shape_of(begin), tf_sizes.shape_of(size)
        return tf_sizes.part_of(x, slice(first, None if count == -1 else first + count))
    sizes = list(tf_sizes.shape_of(size))
    if tf_sizes.counts_samples(size):
        sizes[0] = -1
    return ts.window(x, tf_sizes.shape_of(begin), sizes)


def _band_part(floatx: str, x: Value, num_lower: Any, num_upper: Any) -> Array:
    array = ts.batch(x)
    if array.ndim < 3 or type(num_lower) is not int or type(num_upper) is not int:
        raise InputError(f"a band of a matrix of the samples: this {ts.MIXES}")
    rows, columns = (room.arange(size) for size in array.shape[-2:])
    room.afford(len(rows) * len(columns) * 8)
    ahead = columns - rows[:, np.newaxis]
    kept = (num_lower < 0) | (-ahead <= num_lower)
    return np.where(kept & ((num_upper < 0) | (ahead <= num_upper)), array, np.zeros((), array.dtype))


def _diag_part(floatx: str, x: Value, k: Any = 0) -> Array:
    array = ts.batch(x)
    if array.ndim < 3 or type(k) is not int:
        raise InputError(f"a diagonal of a matrix of the samples: this {ts.MIXES}")
    return np.diagonal(array, k, -2, -1)


def _trace(floatx: str, x: Value) -> Tensor:
    total: Array = _diag_part(floatx, x).sum(axis=-1, dtype=ts.batch(x).dtype)
    return made(total, dtypes.name_of(x, floatx))


def _tile(floatx: str, x: Value, multiples: Any) -> Any:
    if isinstance(x, Sizes):
        return tf_sizes.spread(x, multiples, repeats=True)
    return ts.tiled(x, tf_sizes.shape_of(multiples))


def _range(floatx: str, start: Value, limit: Value = None, delta: Value = 1, dtype: Any = None) -> Sizes:
    name = None if dtype is None else dtypes.name_of(ts.cast(0, dtype), floatx)
    return tf_sizes.ranged(start, limit, delta, name, floatx)


def _broadcast(floatx: str, x: Value, shape: Any) -> Any:
    if isinstance(x, Sizes):
        return tf_sizes.spread(x, shape, repeats=False)
    sizes: list[int | None] = list(tf_sizes.shape_of(shape))
    if tf_sizes.counts_samples(shape):
        sizes[0] = None
    return ts.broadcast(x, sizes)


def _alike_filled(floatx: str, x: Value, dtype: Any = None, *, fill: int) -> Tensor:
    return ts.cast_like(made(np.full_like(ts.batch(x), fill), dtypes.name_of(x, floatx)), dtype)


def _filled(floatx: str, dims: Value, value: Any = 0, dtype: Any = None) -> Tensor:
    number = ts.array_of(constant(value))
    if number.ndim or (isinstance(value, Tensor) and not isinstance(value, Sizes)):
        raise InputError("a tensor is filled with one constant number only")
    name = dtype or {"f": floatx, "b": "bool"}.get(number.dtype.kind, "int32")
    return ts.cast(Tensor(tf_sizes.filled(dims, number.item(), dtypes.storage(floatx))), name)


def _of_ones(floatx: str, shape: Value, dtype: Any = None, *, fill: int) -> Tensor:
    return _filled(floatx, shape, fill, dtype or floatx)


def _repeated(floatx: str, x: Value, repeats: Any, axis: Any = None) -> Array:
    return ts.repeated(x, repeats, axis)


def _flipped(floatx: str, tensor: Value, axis: Any) -> Array:
    return np.flip(ts.batch(tensor), ts.inner_axes(axis, ts.batch(tensor).ndim))


def _cast(floatx: str, x: Value, dtype: Any) -> Tensor:
    return ts.cast(x, dtype)


def _to_floatx(floatx: str, x: Value) -> Tensor:
    return ts.cast(x, floatx)


def _flat(floatx: str, x: Value) -> Array:
    array = ts.batch(x)
    return array.reshape(len(array), -1)


def _boolean_mask(floatx: str, tensor: Value, mask: Any, name: Any = None, axis: Any = None) -> Array:
    chosen = np.asarray([] if isinstance(mask, Tensor) else mask)
    if chosen.ndim != 1 or chosen.dtype.kind != "b" or axis is None:
        raise InputError(f"a mask other than a constant along one axis {ts.MIXES}")
    array = ts.batch(tensor)
    place = ts.inner_axis(axis, array.ndim)
    if len(chosen) != array.shape[place]:
        raise InputError(f"a mask of {len(chosen)} along an axis of {array.shape[place]} values")
    return array.compress(chosen, axis=place)


def _searched(
    floatx: str, sorted_sequence: Value, values: Value, side: Any = "left", out_type: Any = "int32"
) -> Tensor:
    if isinstance(sorted_sequence, Tensor) or np.ndim(sorted_sequence) != 1 or side not in ("left", "right"):
        raise InputError(f"searching in a tensor {ts.MIXES}")
    array = ts.batch(values)
    room.afford(array.size * 8)
    return ts.cast(Tensor(np.searchsorted(np.asarray(sorted_sequence, array.dtype), array, side=side)), out_type)


def _cross(floatx: str, a: Value, b: Value) -> Tensor:
    return products.crossed(a, b, [-1, -1, -1], floatx)


def _table() -> dict[str, Entry]:
    table = {name: Entry(("x", "y"), partial(_binary, function=function)) for name, function in _BINARY.items()}
    table["math.multiply"] = replace(table["math.multiply"], of_samples=tf_sizes.multiple)
    for name, (parameter, function) in _UNARY.items():
        table[name] = Entry((parameter,), partial(_unary, function=function))
    for name, (parameter, activation) in _ACTIVATIONS.items():
        table[name] = Entry((parameter,), partial(_activated, name=activation))
    for name, function in _REDUCTIONS.items():
        table[name] = Entry(("input_tensor", "axis", "keepdims"), partial(_reduce, function=function))
    others = {name: Entry(parameters, function) for name, (parameters, function) in {**WINDOWS, **PARTS}.items()}
    return {**table, **_SHAPED, **others}


def _arctan2(floatx: str, y: Value, x: Value) -> Tensor:
    return _of_tensors(BINARY["Arctan2"], (y, x), floatx)


_SHAPED: Mapping[str, Entry] = {
    "math.atan2": Entry(("y", "x"), _arctan2),
    "compat.v1.math.scalar_mul": Entry(("scalar", "x"), _scalar_mul),
    "nn.leaky_relu": Entry(("features", "alpha"), _leaky_relu),
    "nn.silu": Entry(("features", "beta"), _silu),
    "nn.gelu": Entry(("features", "approximate"), _gelu),
    "nn.bias_add": Entry(("value", "bias", "data_format"), _bias_add),
    "where": Entry(("condition", "x", "y"), _where),
    "clip_by_value": Entry(("t", "clip_value_min", "clip_value_max"), _clip),
    "clip_by_norm": Entry(("t", "clip_norm", "axes"), _clip_by_norm),
    "math.add_n": Entry(("inputs",), _add_n),
    "math.accumulate_n": Entry(("inputs",), _add_n),
    "math.argmax": Entry(("input", "axis", "output_type"), partial(_position, lowest=False)),
    "math.argmin": Entry(("input", "axis", "output_type"), partial(_position, lowest=True)),
    "math.count_nonzero": Entry(("input", "axis", "keepdims", "dtype"), _count_nonzero),
    "math.cumsum": Entry(("x", "axis", "exclusive", "reverse"), partial(_running, function=ALONG["Cumsum"], start=0)),
    "math.cumprod": Entry(("x", "axis", "exclusive", "reverse"), partial(_running, function=ALONG["Cumprod"], start=1)),
    "math.l2_normalize": Entry(("x", "axis", "epsilon"), _l2_normalize),
    "math.top_k": Entry(("input", "k", "sorted"), _top_k),
    "sort": Entry(("values", "axis", "direction"), partial(_sorted, function=ALONG["Sort"])),
    "argsort": Entry(("values", "axis", "direction"), partial(_sorted, function=ALONG["Argsort"])),
    "nn.softmax": Entry(("logits", "axis"), partial(_softmax, function=ALONG["Softmax"])),
    "nn.log_softmax": Entry(("logits", "axis"), partial(_softmax, function=ALONG["LogSoftmax"])),
    "concat": Entry(("values", "axis"), _concat, sizes=True),
    "stack": Entry(("values", "axis"), _stack, sizes=True),
    "unstack": Entry(("value", "num", "axis"), _unstack, sizes=True),
    "split": Entry(("value", "num_or_size_splits", "axis", "num"), _split, sizes=True),
    "slice": Entry(("input_", "begin", "size"), _slice, sizes=True),
    "expand_dims": Entry(("input", "axis"), lambda floatx, x, axis: ts.expanded(x, axis)),
    "reshape": Entry(("tensor", "shape"), _reshape, sizes=True, counts=True),
    "keras.backend.batch_flatten": Entry(("x",), _flat),
    "keras.backend.cast_to_floatx": Entry(("x",), _to_floatx),
    "tile": Entry(("input", "multiples"), _tile, sizes=True),
    "range": Entry(("start", "limit", "delta", "dtype"), _range, sizes=True),
    "repeat": Entry(("input", "repeats", "axis"), _repeated),
    "reverse": Entry(("tensor", "axis"), _flipped),
    "roll": Entry(("input", "shift", "axis"), _roll),
    "broadcast_to": Entry(("input", "shape"), _broadcast, sizes=True),
    "cast": Entry(("x", "dtype"), _cast),
    "zeros_like": Entry(("input", "dtype"), partial(_alike_filled, fill=0)),
    "ones_like": Entry(("input", "dtype"), partial(_alike_filled, fill=1)),
    "zeros": Entry(("shape", "dtype"), partial(_of_ones, fill=0), sizes=True),
    "ones": Entry(("shape", "dtype"), partial(_of_ones, fill=1), sizes=True),
    "fill": Entry(("dims", "value"), _filled, sizes=True),
    "one_hot": Entry(("indices", "depth", "on_value", "off_value", "axis", "dtype"), _one_hot),
    "sequence_mask": Entry(("lengths", "maxlen", "dtype"), _sequence_mask, sizes=True),
    "searchsorted": Entry(("sorted_sequence", "values", "side", "out_type"), _searched),
    "linalg.matmul": Entry(("a", "b", "transpose_a", "transpose_b"), _matmul),
    "linalg.band_part": Entry(("input", "num_lower", "num_upper"), _band_part),
    "linalg.diag_part": Entry(("input", "k"), _diag_part),
    "linalg.trace": Entry(("x",), _trace),
    "linalg.cross": Entry(("a", "b"), _cross),
    "tensordot": Entry(("a", "b", "axes"), _tensordot),
    "einsum": Entry(("equation",), _einsum, more=True),
    "compat.v1.nn.embedding_lookup": Entry(("params", "ids", "partition_strategy", "max_norm"), _embedding_lookup),
    **{
        f"{prefix}{name}": entry
        for prefix in ("", "compat.v1.")
        for name, entry in {
            "shape": Entry(("input",), lambda floatx, x: tf_sizes.sizes_of(x), sizes=True),
            "squeeze": Entry(("input", "axis"), lambda floatx, x, axis=None: ts.squeezed(x, axis)),
            "transpose": Entry(("a", "perm"), lambda floatx, a, perm=None: ts.transposed(a, perm)),
            "pad": Entry(("tensor", "paddings", "mode", "constant_values"), _pad),
            "gather": Entry(("params", "indices", "axis", "batch_dims"), _gather),
            "norm": Entry(("tensor", "ord", "axis", "keepdims"), _norm),
            "boolean_mask": Entry(("tensor", "mask", "name", "axis"), _boolean_mask),
        }.items()
    },
}

FUNCTIONS: Mapping[str, Entry] = _table()
"""Name in a file → function."""
