"""What operations compute from arrays, and in which dtype: one table for ``keras.ops`` and for TensorFlow's functions.

Where TensorFlow defines a number that NumPy does not share (a division by zero, NaN in a maximum, ties), the functions
here follow TensorFlow. Formulas: ``keras/src/backend/tensorflow/{numpy,math,nn}.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gateprobe.activations import softmax, sparsemax
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.merge import norm
from gateprobe.layers.operations import dtypes, special
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.dtypes import made, promoted


@dataclass(frozen=True, slots=True)
class Function:
    """Arithmetic on arrays."""

    apply: Callable[..., Any]
    """Takes arrays that are all of one dtype."""
    computes: dtypes.Rule = promoted
    """In which dtype, from those of the operands."""
    gives: str | None = None
    """The dtype of the result, where it is another one."""
    weak: bool = False
    """Whether numbers of Python take the dtype of the tensors beside them."""
    kinds: str = "biuf"
    """What it computes with: booleans, signed and unsigned integers, floats."""
    first: int = 0
    """How many operands keep a dtype of their own, such as the condition of a choice."""
    steps: bool = False
    """Whether it rounds between its steps, and so is given what rounds to the dtype as ``rounded``."""

    def applied(self, arrays: Sequence[Array], name: str, **options: Any) -> Tensor:
        """Apply it to arrays of a dtype."""
        if self.steps:
            options["rounded"] = partial(dtypes.converted, name=name)
        return made(self.apply(*arrays, **options), self.gives or name)


def combined(function: Function, values: Sequence[Value], floatx: str, names: Sequence[str] | None = None) -> Tensor:
    """Combine operands element by element.

    Args:
        function: What to compute.
        values: Tensors and constants.
        floatx: The dtype of floats that are made from integers.
        names: The dtypes that decide in which one it computes; those of all operands by default.

    Raises:
        InputError: Samples would see each other, or Keras has no such numbers for these dtypes.
    """
    if names is None:
        names = [dtypes.name_of(value, floatx, weak=function.weak) for value in values[function.first :]]
    name = function.computes(floatx, *names)
    return function.applied(_arrays(function, values, name), name)


def _arrays(function: Function, values: Sequence[Value], name: str) -> list[Array]:
    if dtypes.storage(name).kind not in function.kinds:
        raise InputError(f"this operation on {name} is not replayed: Keras has no numbers for it")
    arrays = ts.operands(values, name)
    own = [ts.array_of(value) for value in values[: function.first]]
    return [*own, *arrays[function.first :]]


def of_one(function: Function, x: Value, floatx: str, **options: Any) -> Tensor:
    """Apply a function to one tensor."""
    ts.batch(x)
    name = function.computes(floatx, dtypes.name_of(x, floatx))
    return function.applied(_arrays(function, [x], name), name, **options)


def along(function: Function, x: Value, axis: Any, floatx: str, **options: Any) -> Tensor:
    """Apply a function along one axis of each sample."""
    return of_one(function, x, floatx, axis=ts.inner_axis(axis, ts.batch(x).ndim), **options)


def reduced(function: Function, x: Value, axis: Any, floatx: str, *, keepdims: bool = False) -> Tensor:
    """Reduce axes of each sample."""
    axes = ts.inner_axes(axis, ts.batch(x).ndim)
    if 0 in (ts.batch(x).shape[place] for place in axes):
        raise InputError("an axis without values is not reduced")
    return of_one(function, x, floatx, axis=axes, keepdims=bool(keepdims))


# Element by element


def logical(function: Callable[..., Array]) -> Callable[..., Array]:
    """Let a function see truth values: whatever is not zero is true."""
    return lambda *arrays: function(*(array != 0 for array in arrays))


def check_divisor(y: Array) -> None:
    """Refuse a division of integers by zero, for which Keras has no number."""
    if y.dtype.kind in "iu" and not y.all():
        raise InputError("an integer is divided by zero, for which Keras has no number")


Rounded = Callable[[Array], Array]
"""Rounds to a dtype."""


def floor_divide(x: Array, y: Array, rounded: Rounded) -> Array:
    """Divide and round down; floats are divided first, where NumPy subtracts a remainder."""
    check_divisor(y)
    quotient: Array = np.floor(rounded(x / y)) if x.dtype.kind == "f" else np.floor_divide(x, y)
    return quotient


def floor_mod(x: Array, y: Array) -> Array:
    """Return the remainder with the sign of the divisor; that of a zero is the dividend's, unlike NumPy's."""
    check_divisor(y)
    if x.dtype.kind != "f":
        return np.mod(x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((y < 0) != (rest < 0)), rest + y, rest)


def _truncated_mod(x: Array, y: Array) -> Array:
    return _sign(x) * floor_mod(np.abs(x), np.abs(y))


def divide_no_nan(x: Array, y: Array) -> Array:
    """Divide, with zero where the divisor is zero."""
    zero = np.zeros((), x.dtype)
    return np.where(y == 0, zero, x / np.where(y == 0, np.ones((), x.dtype), y))


def multiply_no_nan(x: Array, y: Array) -> Array:
    """Multiply, with zero where the second is zero."""
    return np.where(y == 0, np.zeros((), x.dtype), x * y)


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu" and (y < 0).any():
        raise InputError("an integer to a negative power is not replayed: TensorFlow has no number for it")
    result: Array = np.power(x, y)
    return result


def squared_difference(x: Array, y: Array) -> Array:
    """Return ``(x - y) ** 2``."""
    square: Array = np.square(x - y)
    return square


def _subtract(x: Array, y: Array) -> Array:
    if x.dtype.kind == "b":
        raise InputError("booleans cannot be subtracted")
    return x - y


def _log_add_exp(x: Array, y: Array, rounded: Rounded) -> Array:
    delta = rounded(x - y)
    more = rounded(np.log1p(rounded(np.exp(-np.abs(delta)))))
    return np.where(np.isnan(delta), x + y, np.maximum(x, y) + more)


def _log_add_exp2(x: Array, y: Array, rounded: Rounded) -> Array:
    delta = rounded(x - y)
    log2 = rounded(np.log(np.asarray(2, np.float32)).astype(x.dtype))  # Keras takes that of float32, also for float64
    more = rounded(rounded(np.log1p(rounded(np.exp(rounded(-np.abs(delta) * log2))))) / log2)
    return np.where(np.isnan(delta), x + y, np.maximum(x, y) + more)


def _heaviside(x: Array, at_zero: Array) -> Array:
    return np.where(x < 0, np.zeros((), x.dtype), np.where(x > 0, np.ones((), x.dtype), at_zero))


def _hypot(x: Array, y: Array) -> Array:
    largest, smallest = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    result: Array = largest * np.sqrt(1 + np.square(divide_no_nan(smallest, largest)))
    return result


def _gcd(x: Array, y: Array) -> Array:
    return np.gcd(_size(x), _size(y))


def _size(x: Array) -> Array:
    size = np.abs(x)
    if (size < 0).any():
        raise InputError(f"{x.min()} of {x.dtype} has no absolute value")
    return size


def _lcm(x: Array, y: Array) -> Array:
    x, y = _size(x), _size(y)
    divisor, zero = np.gcd(x, y), np.zeros((), x.dtype)
    return np.where(divisor == 0, zero, x * (y // np.where(divisor == 0, zero + 1, divisor)))


def _shift(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Shift bits, by no more than there are, as TensorFlow does."""

    def shift(x: Array, y: Array) -> Array:
        most = np.asarray(8 * x.itemsize - 1, y.dtype)
        return function(x, np.clip(y, 0, most))

    return shift


def is_close(x: Array, y: Array, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> Array:
    """Compare with tolerances; integers must be equal."""
    if x.dtype.kind != "f":
        return np.equal(x, y)
    bound = np.asarray(atol, x.dtype) + np.asarray(rtol, x.dtype) * np.abs(y)
    close: Array = np.abs(x - y) <= bound
    return close | (np.isnan(x) & np.isnan(y)) if equal_nan else close


def _sign(x: Array) -> Array:
    """Return the sign; Keras takes that of int32 for uint32."""
    return np.sign(x.view(np.int32)).view(np.uint32) if x.dtype == np.uint32 else np.sign(x)


def _next_after(x: Array, y: Array) -> Array:
    """Return the next number of float64, which float32 can seldom tell from the number itself."""
    return np.nextafter(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)


def _ldexp(x: Array, exponent: Array) -> Array:
    result = x * np.power(np.asarray(2, x.dtype), exponent)
    return np.where(np.isinf(x) | (x == 0), x, result)


def _not_uint32(floatx: str, *names: str) -> str:
    name = dtypes.as_number(floatx, *names)
    if name == "uint32":
        raise InputError("the remainder of uint32, which Keras computes in int32, is not replayed")
    return name


_FLOAT_OF_64 = dtypes.as_float_of_64
_FLOAT = dtypes.as_float

BINARY: Mapping[str, Function] = {
    "Add": Function(np.add, weak=True),
    "Subtract": Function(_subtract, weak=True),
    "Multiply": Function(np.multiply, weak=True),
    "Divide": Function(np.true_divide, _FLOAT, weak=True),
    "TrueDivide": Function(np.true_divide, _FLOAT, weak=True),
    "DivideNoNan": Function(divide_no_nan, _FLOAT, weak=True),
    "FloorDivide": Function(floor_divide, weak=True, kinds="iuf", steps=True),
    "Mod": Function(floor_mod, dtypes.as_number),
    "Fmod": Function(_truncated_mod, _not_uint32),
    "Power": Function(_power, weak=True, kinds="iuf"),
    "Maximum": Function(np.maximum, weak=True, kinds="iuf"),
    "Minimum": Function(np.minimum, weak=True, kinds="iuf"),
    "Fmax": Function(np.fmax, weak=True, kinds="iuf"),
    "Fmin": Function(np.fmin, weak=True, kinds="iuf"),
    "Arctan2": Function(np.arctan2, _FLOAT),
    "Logaddexp": Function(_log_add_exp, _FLOAT, steps=True),
    "Logaddexp2": Function(_log_add_exp2, _FLOAT, steps=True),
    "Heaviside": Function(_heaviside, _FLOAT_OF_64),
    "Hypot": Function(_hypot, _FLOAT_OF_64),
    "Gcd": Function(_gcd, kinds="iu"),
    "Lcm": Function(_lcm, kinds="iu"),
    "Ldexp": Function(_ldexp, _FLOAT),
    "Nextafter": Function(_next_after, _FLOAT),
    "Equal": Function(np.equal, gives="bool"),
    "NotEqual": Function(np.not_equal, gives="bool"),
    "Greater": Function(np.greater, gives="bool", kinds="iuf"),
    "GreaterEqual": Function(np.greater_equal, gives="bool", kinds="iuf"),
    "Less": Function(np.less, gives="bool", kinds="iuf"),
    "LessEqual": Function(np.less_equal, gives="bool", kinds="iuf"),
    "LogicalAnd": Function(logical(np.logical_and), gives="bool"),
    "LogicalOr": Function(logical(np.logical_or), gives="bool"),
    "LogicalXor": Function(logical(np.logical_xor), gives="bool"),
    "BitwiseAnd": Function(np.bitwise_and, kinds="iu"),
    "BitwiseOr": Function(np.bitwise_or, kinds="iu"),
    "BitwiseXor": Function(np.bitwise_xor, kinds="iu"),
    "BitwiseLeftShift": Function(_shift(np.left_shift), kinds="iu"),
    "LeftShift": Function(_shift(np.left_shift), kinds="iu"),
    "BitwiseRightShift": Function(_shift(np.right_shift), kinds="iu"),
    "RightShift": Function(_shift(np.right_shift), kinds="iu"),
}
"""Of two operands."""

CHOICE = Function(lambda condition, x1, x2: np.where(condition != 0, x1, x2), weak=True, first=1)
"""``where(condition, x1, x2)``."""


def _log_of(base: int) -> Callable[..., Array]:
    def log(x: Array, rounded: Rounded) -> Array:
        result: Array = rounded(np.log(x)) / rounded(np.log(np.asarray(base, x.dtype)))
        return result

    return log


def _sinc(x: Array, rounded: Rounded) -> Array:
    scaled, one = rounded(x * rounded(np.asarray(np.pi, x.dtype))), np.ones((), x.dtype)
    return np.where(x == 0, one, rounded(np.sin(scaled)) / np.where(x == 0, one, scaled))


def _cbrt(x: Array) -> Array:
    root: Array = np.sign(x) * np.power(np.abs(x), np.asarray(1 / 3, x.dtype))
    return root


def _degrees(x: Array, rounded: Rounded) -> Array:
    return x * rounded(np.asarray(180, x.dtype) / rounded(np.asarray(np.pi, x.dtype)))


def _radians(x: Array, rounded: Rounded) -> Array:
    return x * rounded(rounded(np.asarray(np.pi, x.dtype)) / np.asarray(180, x.dtype))


def _trunc(x: Array) -> Array:
    return np.trunc(x) if x.dtype.kind == "f" else x


def _angle(x: Array) -> Array:
    return np.where(x < 0, np.asarray(np.pi, x.dtype), np.zeros((), x.dtype))


UNARY: Mapping[str, Function] = {
    "Absolute": Function(np.abs),
    "Abs": Function(np.abs),
    "Fabs": Function(np.abs, _FLOAT),
    "Negative": Function(np.negative, kinds="iuf"),
    "Square": Function(np.square, dtypes.as_number),
    "Sign": Function(_sign, kinds="iuf"),
    "Floor": Function(np.floor, _FLOAT),
    "Ceil": Function(np.ceil, _FLOAT),
    "Trunc": Function(_trunc),
    "Copy": Function(np.copy),
    "StopGradient": Function(np.copy),
    "Conj": Function(np.copy),
    "Conjugate": Function(np.copy),
    "Real": Function(np.copy),
    "Imag": Function(np.zeros_like),
    "Angle": Function(_angle, _FLOAT),
    "LogicalNot": Function(logical(np.logical_not), gives="bool"),
    "BitwiseNot": Function(np.invert, kinds="iu"),
    "BitwiseInvert": Function(np.invert, kinds="iu"),
    "Isnan": Function(np.isnan, gives="bool"),
    "Isinf": Function(np.isinf, gives="bool"),
    "Isneginf": Function(lambda x: x == -np.inf, gives="bool"),
    "Isposinf": Function(lambda x: x == np.inf, gives="bool"),
    "Isfinite": Function(np.isfinite, gives="bool"),
    "Isreal": Function(lambda x: np.ones_like(x, bool), gives="bool"),
    "Signbit": Function(lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0, gives="bool"),
    "Exp": Function(np.exp, _FLOAT),
    "Exp2": Function(np.exp2, _FLOAT),
    "Expm1": Function(np.expm1, _FLOAT),
    "Log": Function(np.log, _FLOAT),
    "Log1p": Function(np.log1p, _FLOAT),
    "Log2": Function(_log_of(2), _FLOAT, steps=True),
    "Log10": Function(_log_of(10), _FLOAT, steps=True),
    "Sqrt": Function(np.sqrt, _FLOAT),
    "Rsqrt": Function(lambda x: 1 / np.sqrt(x), kinds="f"),
    "Cbrt": Function(_cbrt, _FLOAT_OF_64),
    "Reciprocal": Function(lambda x: 1 / x, kinds="f"),
    "Sin": Function(np.sin, _FLOAT),
    "Cos": Function(np.cos, _FLOAT),
    "Tan": Function(np.tan, _FLOAT),
    "Arcsin": Function(np.arcsin, _FLOAT),
    "Arccos": Function(np.arccos, _FLOAT),
    "Arctan": Function(np.arctan, _FLOAT),
    "Sinh": Function(np.sinh, _FLOAT),
    "Cosh": Function(np.cosh, _FLOAT),
    "Tanh": Function(np.tanh, _FLOAT),
    "Arcsinh": Function(np.arcsinh, _FLOAT),
    "Arccosh": Function(np.arccosh, _FLOAT),
    "Arctanh": Function(np.arctanh, _FLOAT),
    "Sinc": Function(_sinc, _FLOAT, steps=True),
    "Deg2rad": Function(_radians, _FLOAT_OF_64, steps=True),
    "Rad2deg": Function(_degrees, _FLOAT_OF_64, steps=True),
    "I0": Function(special.bessel_i0, _FLOAT_OF_64),
    "Erf": Function(special.erf, kinds="f"),
    "Erfc": Function(special.erfc, kinds="f"),
    "Erfinv": Function(special.erfinv, kinds="f"),
}
"""Of one operand."""


# Reductions


def logsumexp(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    """Return ``log(sum(exp(x)))`` without overflow."""
    highest = x.max(axis=axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, np.zeros((), x.dtype))
    total: Array = np.log(np.exp(x - highest).sum(axis=axis, keepdims=True)) + highest
    return total if keepdims else np.squeeze(total, axis)


def euclidean(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    """Return the root of the sum of squares."""
    length = norm(x, axis)
    return length if keepdims else np.squeeze(length, axis)


def _kept(function: Callable[..., Array]) -> Callable[..., Array]:
    """Sum in the dtype of the numbers: integers wrap around, as in TensorFlow."""
    return lambda x, axis, keepdims: function(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def _true(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda x, axis, keepdims: function(x != 0, axis=axis, keepdims=keepdims)


def _extreme(function: Callable[..., Any], of_truth: Callable[..., Any]) -> Callable[..., Array]:
    def extreme(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
        result: Array = (of_truth if x.dtype.kind == "b" else function)(x, axis=axis, keepdims=keepdims)
        return result

    return extreme


_highest, _lowest = _extreme(np.max, np.any), _extreme(np.min, np.all)


def _without_nan(function: Callable[..., Array], instead: float) -> Callable[..., Array]:
    """Put a number in place of NaN first."""

    def clean(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
        return function(_filled(x, instead), axis=axis, keepdims=keepdims)

    return clean


def _filled(x: Array, instead: float) -> Array:
    return np.where(np.isnan(x), np.asarray(instead, x.dtype), x) if x.dtype.kind == "f" else x


def _unless_all_nan(function: Callable[..., Array], instead: float) -> Callable[..., Array]:
    def extreme(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
        result = _without_nan(function, instead)(x, axis, keepdims=keepdims)
        if x.dtype.kind != "f":
            return result
        return np.where(np.isnan(x).all(axis=axis, keepdims=keepdims), np.asarray(np.nan, x.dtype), result)

    return extreme


def nan_mean(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    """Return the mean of what is not NaN."""
    count = (~np.isnan(x)).sum(axis=axis, keepdims=keepdims).astype(x.dtype)
    mean: Array = _filled(x, 0).sum(axis=axis, keepdims=keepdims) / count
    return mean


def _nan_variance(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    centered = x - nan_mean(x, axis, keepdims=True)
    return nan_mean(np.square(centered), axis, keepdims=keepdims)


def _nan_deviation(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    deviation: Array = np.sqrt(_nan_variance(x, axis, keepdims=keepdims))
    return deviation


def _span(x: Array, axis: tuple[int, ...], *, keepdims: bool) -> Array:
    span: Array = x.max(axis=axis, keepdims=keepdims) - x.min(axis=axis, keepdims=keepdims)
    return span


REDUCTIONS: Mapping[str, Function] = {
    "Mean": Function(np.mean, _FLOAT),
    "Var": Function(np.var, _FLOAT),
    "Std": Function(np.std, _FLOAT),
    "Sum": Function(_kept(np.sum), dtypes.as_total),
    "Prod": Function(_kept(np.prod), dtypes.as_total),
    "Max": Function(_highest),
    "Amax": Function(_highest),
    "Min": Function(_lowest),
    "Amin": Function(_lowest),
    "Any": Function(_true(np.any), gives="bool"),
    "All": Function(_true(np.all), gives="bool"),
    "CountNonzero": Function(_true(np.sum), gives="int32"),
    "Logsumexp": Function(logsumexp, kinds="f"),
    "Ptp": Function(_span, kinds="iuf"),
    "Nansum": Function(_without_nan(_kept(np.sum), 0), dtypes.as_total),
    "Nanprod": Function(_without_nan(_kept(np.prod), 1), dtypes.as_total),
    "Nanmax": Function(_unless_all_nan(_highest, -np.inf)),
    "Nanmin": Function(_unless_all_nan(_lowest, np.inf)),
    "Nanmean": Function(nan_mean, _FLOAT),
    "Nanvar": Function(_nan_variance, _FLOAT),
    "Nanstd": Function(_nan_deviation, _FLOAT),
}
"""Over axes."""


# Along one axis


def log_softmax(x: Array, axis: int, rounded: Rounded) -> Array:
    """Return the logarithm of a softmax."""
    shifted = rounded(x - x.max(axis=axis, keepdims=True))
    result: Array = shifted - rounded(np.log(rounded(rounded(np.exp(shifted)).sum(axis=axis, keepdims=True))))
    return result


def _running_sum(x: Array, axis: int) -> Array:
    total: Array = np.cumsum(x, axis=axis, dtype=x.dtype) + np.zeros((), x.dtype)  # a sum of -0.0 begins with 0.0
    return total


def _running_product(x: Array, axis: int) -> Array:
    return np.cumprod(x, axis=axis, dtype=x.dtype)


def finite(x: Value, floatx: str, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Replace what is not finite; infinities by the largest numbers of the dtype."""
    name = dtypes.name_of(x, floatx)
    most = dtypes.highest(name) if name in dtypes.FLOATS else 0.0
    ends = {"posinf": most if posinf is None else posinf, "neginf": -most if neginf is None else neginf}
    return of_one(Function(partial(np.nan_to_num, nan=nan, **ends) if most else np.copy), x, floatx)


def position(x: Array, axis: int, *, keepdims: bool = False, lowest: bool = False) -> Array:
    """Return where the highest (lowest) value stands, the first of several; -0.0 is less than 0.0."""
    if x.dtype.kind == "b":
        raise InputError("the position of a boolean is not replayed")
    if x.dtype.kind == "f":
        if np.isnan(x).any():
            raise InputError("the position of the highest of values with NaN is not replayed")
        x = np.where((x == 0) & np.signbit(x), -np.finfo(x.dtype).tiny, x)
    place: Array = (np.argmin if lowest else np.argmax)(x, axis=axis, keepdims=keepdims)
    return place


def _nan_position(x: Array, axis: int, *, keepdims: bool = False, lowest: bool = False) -> Array:
    instead = np.inf if lowest else -np.inf
    place = position(_filled(x, instead), axis, keepdims=keepdims, lowest=lowest)
    if x.dtype.kind != "f":
        return place
    return np.where(np.isnan(x).all(axis=axis, keepdims=keepdims), -1, place)


def _lowest_of(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, axis, keepdims=False: function(x, axis, keepdims=keepdims, lowest=True)


def ordered(x: Array) -> Array:
    """Return values that are about to be sorted.

    Raises:
        InputError: There is NaN among them.
    """
    if x.dtype.kind == "f" and np.isnan(x).any():
        raise InputError("sorting values with NaN is not replayed: TensorFlow leaves their order open")
    return x


def _sorted(x: Array, axis: int) -> Array:
    return np.sort(ordered(x), axis=axis, kind="stable")


def _order(x: Array, axis: int) -> Array:
    return np.argsort(ordered(x), axis=axis, kind="stable")


def _sparsemax(x: Array, axis: int) -> Array:
    return np.moveaxis(sparsemax(np.moveaxis(ordered(x), axis, -1)), -1, axis)


ALONG: Mapping[str, Function] = {
    "Cumsum": Function(_running_sum, dtypes.as_number),
    "Cumprod": Function(_running_product, dtypes.as_number),
    "Sort": Function(_sorted),
    "Argsort": Function(_order, gives="int32"),
    "Softmax": Function(softmax, kinds="f"),
    "LogSoftmax": Function(log_softmax, kinds="f", steps=True),
    "Sparsemax": Function(_sparsemax, kinds="f"),
}
"""Along one axis, which stays."""

POSITIONS: Mapping[str, Function] = {
    "Argmax": Function(position, gives="int32"),
    "Argmin": Function(_lowest_of(position), gives="int32"),
    "Nanargmax": Function(_nan_position, gives="int32"),
    "Nanargmin": Function(_lowest_of(_nan_position), gives="int32"),
}
"""Along one axis, which goes."""
