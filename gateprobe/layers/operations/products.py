"""Nodes of ``keras.ops`` that multiply and sum: matrices, tensors, distances, linear algebra of each sample.

Formulas: ``keras/src/backend/tensorflow/{numpy,math,linalg}.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations import dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.arithmetic import Function, of_one
from gateprobe.layers.operations.node import Compute, one_axis, operation
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.unary import axis_in
from gateprobe.limits import room

Names = Sequence[str] | None
"""The dtypes that decide in which one is computed; those of all operands for ``None``."""


def product(compute: Callable[..., Array], values: Sequence[Value], floatx: str, names: Names = None) -> Tensor:
    """Multiply in floats, as Keras does with integers, too, and return the dtype of the operands."""
    names = [dtypes.name_of(value, floatx) for value in values] if names is None else names
    given = dtypes.promoted(floatx, *names)
    name = dtypes.as_float(floatx, *names)
    if given == "int8":
        raise InputError("a product of int8 is not replayed")
    result = compute(*(dtypes.converted(ts.array_of(value), name) for value in values))
    return dtypes.made(result, given) if given in dtypes.FLOATS else ts.cast(Tensor(result), given)


def multiplied(left: Value, right: Value, floatx: str, names: Names = None) -> Tensor:
    """Multiply matrices, sample by sample; one of them may be a constant."""
    ranks = (ts.array_of(left).ndim, ts.array_of(right).ndim)
    match isinstance(left, Tensor), isinstance(right, Tensor):
        case True, True:
            apart = ranks[0] == ranks[1] and ranks[0] > 2
        case True, False:
            apart = ranks[0] > 1 and ranks[1] in (1, 2)
        case _:
            apart = ranks[0] == 2 and ranks[1] > 2
    if not apart:
        raise InputError(f"multiplying matrices of {ranks[0]} and {ranks[1]} axes {ts.MIXES}")
    return product(_matrices, [left, right], floatx, names)


def _matrices(x: Array, y: Array) -> Array:
    if y.ndim == 1:
        return multiply(x, y[:, np.newaxis])[..., 0]
    return multiply(x, y) if y.ndim == 2 else room.matmul(x, y)


@operation("Matmul")
def _matmul(settings: Settings, floatx: str) -> Compute:
    return lambda x1, x2: multiplied(x1, x2, floatx)


def contracted(x: Value, y: Value, axes: tuple[list[int], list[int]], floatx: str, names: Names = None) -> Tensor:
    """Contract axes of a tensor with those of a constant.

    Returns:
        The axes of ``x`` that are left, then those of ``y``.
    """
    array, other = ts.batch(x), ts.array_of(y)
    if isinstance(y, Tensor):
        raise InputError(f"a product of every sample with every other {ts.MIXES}")
    mine, theirs = ts.inner_axes(axes[0], array.ndim), [axis_in(axis, other.ndim) for axis in axes[1]]
    if [array.shape[place] for place in mine] != [other.shape[place] for place in theirs]:
        raise InputError(f"contracting {array.shape} along {axes[0]} with {other.shape} along {axes[1]}")

    def compute(x: Array, y: Array) -> Array:
        kept = [place for place in range(x.ndim) if place not in mine]
        rest = [place for place in range(y.ndim) if place not in theirs]
        size = int(np.prod([x.shape[place] for place in mine]))
        rows = x.transpose([*kept, *mine]).reshape(*(x.shape[place] for place in kept), size)
        matrix = y.transpose([*theirs, *rest]).reshape(size, -1)
        return multiply(rows, matrix).reshape(*rows.shape[:-1], *(y.shape[place] for place in rest))

    return product(compute, [x, y], floatx, names)


@operation("Dot")
def _dot(settings: Settings, floatx: str) -> Compute:
    return lambda x1, x2: contracted(x1, x2, ([-1], [max(np.ndim(ts.array_of(x2)) - 2, 0)]), floatx)


@operation("Inner")
def _inner(settings: Settings, floatx: str) -> Compute:
    return lambda x1, x2: contracted(x1, x2, ([-1], [-1]), floatx)


@operation("Tensordot")
def _tensordot(settings: Settings, floatx: str) -> Compute:
    axes = settings.raw("axes", 2)

    def compute(x1: Value, x2: Value) -> Tensor:
        return contracted(x1, x2, pairs(axes, ts.batch(x1).ndim), floatx)

    if not (type(axes) is int and axes >= 0) and not (isinstance(axes, (tuple, list)) and len(axes) == 2):
        raise Unsupported(f"config.axes: {axes!r:.60} is not replayed")
    return compute


def pairs(axes: Any, rank: int) -> tuple[list[int], list[int]]:
    """Return the axes to contract of two tensors, from a number of them, a pair or a pair of lists."""
    if type(axes) is int:
        if not 0 <= axes <= rank:
            raise InputError(f"{axes} axes of a tensor that has {rank} are not contracted")
        return list(range(rank - axes, rank)), list(range(axes))
    mine, theirs = ([item] if type(item) is int else list(item) for item in axes)
    if len(mine) != len(theirs) or not all(type(axis) is int for axis in (*mine, *theirs)):
        raise InputError(f"contracting axes {axes!r:.60} is not replayed")
    return mine, theirs


@operation("Outer")
def _outer(settings: Settings, floatx: str) -> Compute:
    def compute(x1: Value, x2: Value) -> Tensor:
        if isinstance(x2, Tensor):
            raise InputError(f"a product of every sample with every other {ts.MIXES}")
        name = dtypes.common(floatx, (x1, x2))
        rows = dtypes.converted(ts.batch(x1), name).reshape(-1, 1)
        columns = dtypes.converted(ts.array_of(x2), name).reshape(1, -1)
        room.combining(rows, columns)
        return dtypes.made(rows * columns, name)

    return compute


@operation("Kron")
def _kron(settings: Settings, floatx: str) -> Compute:
    def compute(x1: Value, x2: Value) -> Tensor:
        array, other = ts.batch(x1), ts.array_of(x2)
        if isinstance(x2, Tensor) or other.ndim > array.ndim:
            raise InputError(f"a product of every sample with every other {ts.MIXES}")
        name = dtypes.common(floatx, (x1, x2))
        blocks = dtypes.converted(other, name).reshape([1] * (array.ndim - other.ndim) + list(other.shape))
        left = np.expand_dims(dtypes.converted(array, name), tuple(range(1, 2 * array.ndim, 2)))
        right = np.expand_dims(blocks, tuple(range(0, 2 * array.ndim, 2)))
        room.combining(left, right)
        sizes = [mine * theirs for mine, theirs in zip(array.shape, blocks.shape, strict=True)]
        return dtypes.made((left * right).reshape(sizes), name)

    return compute


@operation("Cross")
def _cross(settings: Settings, floatx: str) -> Compute:
    axis = settings.raw("axis")
    axes = [one_axis(settings, key, -1) for key in ("axisa", "axisb", "axisc")]
    axes = axes if axis is None else [one_axis(settings)] * 3
    return lambda x1, x2: crossed(x1, x2, axes, floatx)


def crossed(x1: Value, x2: Value, axes: list[int], floatx: str) -> Tensor:
    """Return the cross product of vectors of two or three values; of two with two only its last value."""
    name = dtypes.common(floatx, (x1, x2))
    moved = [
        Tensor(np.moveaxis(ts.batch(x), ts.inner_axis(axis, ts.batch(x).ndim), -1))
        for x, axis in zip((x1, x2), axes, strict=False)
    ]
    if any(x.value.shape[-1] not in (2, 3) for x in moved):
        raise InputError("a cross product takes vectors of two or three values")
    flat = all(x.value.shape[-1] == 2 for x in moved)
    parts = [[x.value[..., n] if n < x.value.shape[-1] else None for n in range(3)] for x in moved]
    (a, b, c), (d, e, f) = ([np.zeros_like(vector[0]) if part is None else part for part in vector] for vector in parts)
    a, b, c, d, e, f = ts.operands([Tensor(value) for value in (a, b, c, d, e, f)], name)
    if flat:
        return dtypes.made(a * e - b * d, name)
    return dtypes.made(np.moveaxis(room.stack([b * f - c * e, c * d - a * f, a * e - b * d], -1), -1, axes[2]), name)


@operation("CDist")
def _distances(settings: Settings, floatx: str) -> Compute:
    def compute(x: Value, y: Value) -> Tensor:
        name = dtypes.common(floatx, (x, y))
        left, right = ts.batch(x), ts.array_of(y)
        if left.ndim < 3 and isinstance(y, Tensor):
            raise InputError(f"distances of samples from each other: this {ts.MIXES}")
        first, second = ts.operands(
            (Tensor(left[..., :, np.newaxis, :]), _spread(y, right[..., np.newaxis, :, :])), name
        )
        return dtypes.made(np.sqrt(np.square(first - second).sum(axis=-1)), name)

    return compute


def _spread(value: Value, array: Array) -> Value:
    return Tensor(array) if isinstance(value, Tensor) else array


# Einsum


@operation("Einsum")
def _einsum(settings: Settings, floatx: str) -> Compute:
    subscripts = settings.raw("subscripts")
    check_subscripts(subscripts)
    return lambda *operands: summed(subscripts, operands, floatx)


def check_subscripts(subscripts: Any) -> None:
    """Check an equation.

    Raises:
        Unsupported: Samples would be summed up, or stand elsewhere than first.
    """
    if not isinstance(subscripts, str) or "->" not in subscripts:
        raise Unsupported(f"config.subscripts: {subscripts!r:.60} is not replayed")
    terms, output = subscripts.replace(" ", "").split("->")
    first = output[:1]
    if not first.isalpha() or any(first in term[1:] for term in terms.split(",")):
        raise Unsupported(f"config.subscripts: {subscripts!r:.60} {ts.MIXES}")


def summed(subscripts: str, operands: tuple[Value, ...], floatx: str, names: Names = None) -> Tensor:
    """Return an einsum, sample by sample."""
    terms, output = subscripts.replace(" ", "").split("->")
    letters = terms.split(",")
    if len(letters) != len(operands):
        raise InputError(f"{len(operands)} operands for {subscripts!r:.60}")
    for term, operand in zip(letters, operands, strict=True):
        if isinstance(operand, Tensor) != (term[:1] == output[:1]):
            raise InputError(f"the einsum {subscripts!r:.60} {ts.MIXES}")
    _check_letters(letters, [ts.array_of(operand) for operand in operands])
    constant = [not isinstance(operand, Tensor) for operand in operands]
    count = next((len(ts.array_of(one)) for one in operands if isinstance(one, Tensor)), 0)

    def compute(*arrays: Array) -> Array:
        room.contracting(subscripts, *arrays)
        parts = [
            room.einsum(subscripts, *(x if alone else x[n : n + 1] for x, alone in zip(arrays, constant, strict=True)))
            for n in range(count)
        ]
        return room.concatenate(parts, 0)  # a product of all samples would round by how many they are

    return product(compute, operands, floatx, names)


def _check_letters(terms: list[str], arrays: list[Array]) -> None:
    """Check sizes, because einsum would stretch an axis of size one."""
    sizes: dict[str, int] = {}
    if [len(term) for term in terms] != [array.ndim for array in arrays] or "." in "".join(terms):
        raise InputError("the operands' axes do not fit the einsum equation")
    for term, array in zip(terms, arrays, strict=True):
        for letter, size in zip(term, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise InputError(f"axis {letter} of the einsum has both {sizes[letter]} and {size} values")


# Linear algebra


def matrix(x: Value, *, square: bool = True) -> Array:
    """Return the matrices in each sample, in float32 or float64.

    Raises:
        InputError: There are none.
    """
    array = ts.batch(x)
    if array.ndim < 3:
        raise InputError(f"a matrix of the samples: this {ts.MIXES}")
    if square and array.shape[-1] != array.shape[-2]:
        raise InputError(f"expected square matrices, got {array.shape}")
    if array.dtype.kind != "f" or (isinstance(x, Tensor) and x.dtype in dtypes.HALVES):
        raise InputError("linear algebra needs float32 or float64")
    if not np.isfinite(array).all():
        raise InputError("linear algebra with numbers that are not finite is not replayed")
    return array


def solved(compute: Callable[..., Any], *arrays: Array) -> Any:
    """Compute what some matrices do not have; an `InputError` says so."""
    try:
        return compute(*arrays)
    except np.linalg.LinAlgError as error:
        raise InputError(f"a matrix of a sample: {error}") from None


def _algebra(compute: Callable[[Array], Any]) -> Callable[[Settings, str], Compute]:
    return lambda settings, floatx: lambda x: solved(compute, matrix(x))


def _log_determinant(x: Array) -> Array:
    """Return the logarithm of the determinant of positive definite matrices; TensorFlow has no other."""
    diagonals = np.diagonal(np.linalg.cholesky(x), axis1=-2, axis2=-1)
    total: Array = 2 * np.log(diagonals).sum(axis=-1)
    return total


operation("Det")(_algebra(np.linalg.det))
operation("Inv")(_algebra(np.linalg.inv))
operation("Logdet")(_algebra(_log_determinant))
operation("Slogdet")(_algebra(lambda x: tuple(np.linalg.slogdet(x))))


def _lower(x: Array) -> Array:
    """Return matrices without what stands above their diagonals."""
    places = room.arange(x.shape[-1])
    return np.where(places <= places[:, np.newaxis], x, np.zeros((), x.dtype))


@operation("Cholesky")
def _cholesky(settings: Settings, floatx: str) -> Compute:
    upper = settings.flag("upper", False)

    def compute(x: Value) -> Array:
        root: Array = solved(np.linalg.cholesky, matrix(x))
        return root.swapaxes(-1, -2) if upper else root

    return compute


@operation("CholeskyInverse")
def _cholesky_inverse(settings: Settings, floatx: str) -> Compute:
    upper = settings.flag("upper", False)

    def compute(x: Value) -> Array:
        root = matrix(x)
        inverse = solved(np.linalg.inv, _lower(root.swapaxes(-1, -2) if upper else root))
        return room.matmul(inverse.swapaxes(-1, -2), inverse)

    return compute


def solution(a: Array, b: Value) -> Array:
    """Solve ``a @ x = b`` for each sample."""
    other = ts.batch(b)
    if other.dtype != a.dtype or other.ndim not in (a.ndim - 1, a.ndim):
        raise InputError(f"solving {a.shape} for {other.shape} of {other.dtype} is not replayed")
    if other.shape[: a.ndim - 1] != a.shape[:-1]:
        raise InputError(f"solving {a.shape} for {other.shape} is not replayed")
    flat = other.ndim == a.ndim - 1
    solution: Array = solved(np.linalg.solve, a, other[..., np.newaxis] if flat else other)
    return solution[..., 0] if flat else solution


@operation("Solve")
def _solve(settings: Settings, floatx: str) -> Compute:
    return lambda a, b: solution(matrix(a), b)


@operation("SolveTriangular")
def _solve_triangular(settings: Settings, floatx: str) -> Compute:
    lower = settings.flag("lower", False)

    def compute(a: Value, b: Value) -> Array:
        given = matrix(a)
        half = _lower(given) if lower else _lower(given.swapaxes(-1, -2)).swapaxes(-1, -2)
        return solution(half, b)

    return compute


@operation("Qr")
def _qr(settings: Settings, floatx: str) -> Compute:
    mode = settings.choice("mode", ("reduced", "complete"), "reduced")

    def compute(x: Value) -> tuple[Array, ...]:
        array = matrix(x, square=False)
        if mode == "complete":  # a square matrix of all rows
            room.afford(array.nbytes // max(1, array.shape[-1]) * array.shape[-2])
        return tuple(np.linalg.qr(array, mode))

    return compute


@operation("SVD")
def _svd(settings: Settings, floatx: str) -> Compute:
    settings.flag("full_matrices", True)
    if settings.flag("compute_uv", True):
        raise Unsupported("config.compute_uv: the signs of singular vectors are TensorFlow's own choice")
    return lambda x: solved(lambda x: np.linalg.svd(x, compute_uv=False), matrix(x, square=False))


def _relative(settings: Settings, key: str) -> float | None:
    return None if settings.raw(key) is None else settings.number(key)


@operation("Pinv")
def _pinv(settings: Settings, floatx: str) -> Compute:
    rcond = _relative(settings, "rcond")

    def compute(x: Value) -> Array:
        array = matrix(x, square=False)
        cut = 10 * max(array.shape[-2:]) * np.finfo(array.dtype).eps if rcond is None else rcond
        inverse: Array = solved(lambda x: np.linalg.pinv(x, cut), array)
        return inverse

    return compute


@operation("MatrixRank")
def _rank(settings: Settings, floatx: str) -> Compute:
    tolerance = _relative(settings, "tol")

    def compute(x: Value) -> Tensor:
        array = matrix(x, square=False)
        singular = solved(lambda x: np.linalg.svd(x, compute_uv=False), array)
        least = singular.max(axis=-1, keepdims=True) * max(array.shape[-2:]) * np.finfo(array.dtype).eps
        return dtypes.made((singular > (least if tolerance is None else tolerance)).sum(axis=-1), "int32")

    return compute


@operation("Vander")
def _vander(settings: Settings, floatx: str) -> Compute:
    count, increasing = settings.integer("N"), settings.flag("increasing", False)

    def compute(x: Value) -> Tensor:
        if ts.batch(x).ndim != 1:
            raise InputError("expected one number for each sample")
        powers = room.arange(count) if increasing else room.arange(count)[::-1]
        room.afford(ts.batch(x).nbytes * count)
        function = Function(lambda x: np.power(x[:, np.newaxis], powers.astype(x.dtype)), dtypes.as_float32)
        return ts.cast(of_one(function, x, floatx), dtypes.name_of(x, floatx))

    return compute
