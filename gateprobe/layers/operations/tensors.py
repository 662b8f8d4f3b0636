"""Arithmetic of graph nodes on tensors whose first axis is the samples.

Nodes of a graph (``keras.ops``, ``tf.math.multiply``) are functions without weights. gateprobe computes samples in
blocks, so everything here refuses to let one sample see another, which Keras's own functions would allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Precision, Tensor, Value
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.unary import axis_in, whole
from gateprobe.limits import room

_VIEW = 200
"""Bytes that an array takes beside its numbers."""

MIXES = "mixes samples, which gateprobe keeps apart"


def array_of(value: Value) -> Array:
    """Return the array of a tensor or constant.

    Raises:
        InputError: It is neither.
    """
    if isinstance(value, Tensor):
        return value.value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected a tensor or numbers, got {value!r:.60}")
    return array


def batch(value: Value) -> Array:
    """Return the array of a tensor that has samples.

    Raises:
        InputError: It is a constant.
    """
    if not isinstance(value, Tensor) or value.value.ndim == 0:
        raise InputError(f"expected a tensor, got {value!r:.60}")
    return value.value


def inner_axis(axis: Any, rank: int) -> int:
    """Return a non-negative axis that is not that of the samples.

    Raises:
        InputError: It is, or it is no axis.
    """
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise InputError(f"an operation over axis {axis} {MIXES}" if axis is None else f"{axis!r:.40} is no axis")
    place = axis_in(axis, rank)
    if place == 0:
        raise InputError(f"an operation over axis {axis} {MIXES}")
    return place


def inner_axes(axis: Any, rank: int) -> tuple[int, ...]:
    """Return the axes of a reduction, none of which may be that of the samples."""
    if isinstance(axis, (tuple, list)):
        return tuple(inner_axis(item, rank) for item in axis)
    return (inner_axis(axis, rank),)


def floats(x: Array, precision: Precision) -> Array:
    """Return ``x`` in the compute dtype."""
    return x.astype(precision.dtype, copy=False)


def operands(values: Sequence[Value], precision: Precision, *, floating: bool = False) -> list[Array]:
    """Prepare operands that are to be combined element by element.

    Args:
        values: Tensors, of which all must have the same number of axes, and constants.
        precision: Of floats. When there is a float among the operands, all become floats.
        floating: Whether they become floats in any case.

    Raises:
        InputError: Broadcasting would bring samples of one operand together with another axis of the other.
    """
    arrays = [array_of(value) for value in values]
    ranks = {value.value.ndim for value in values if isinstance(value, Tensor) and value.value.ndim}
    if len(ranks) > 1:
        raise InputError(f"combining tensors of {' and '.join(map(str, sorted(ranks)))} axes {MIXES}")
    rank = max(ranks, default=0)
    for value, array in zip(values, arrays, strict=True):
        constant = not isinstance(value, Tensor)
        if constant and (array.ndim > rank or (array.ndim == rank and rank and array.shape[0] != 1)):
            raise InputError(f"a constant of shape {array.shape} beside the samples {MIXES}")
    room.combining(*arrays)
    if floating or any(array.dtype.kind == "f" for array in arrays):
        return [floats(array, precision) for array in arrays]
    return arrays


def reduced(function: Callable[..., Any], x: Value, axis: Any, *, keepdims: bool = False) -> Array:
    """Reduce axes of each sample."""
    array = batch(x)
    result: Array = function(array, axis=inner_axes(axis, array.ndim), keepdims=bool(keepdims))
    return result


def picked(x: Value, key: Any) -> Array:
    """Return ``x[key]`` with a key of ints, slices, ``None`` and ``...`` that leaves the samples alone."""
    array = batch(x)
    items = key if isinstance(key, tuple) else (key,)
    if not all(item is None or item is Ellipsis or isinstance(item, (int, slice)) for item in items) or any(
        isinstance(item, bool) for item in items
    ):
        raise InputError(f"indexing with {key!r:.60} is not replayed")
    first = items[0] if items else Ellipsis
    whole = isinstance(first, slice) and first in (slice(None), slice(None, None, 1), slice(0, None), slice(0, None, 1))
    used = sum(item is not None and item is not Ellipsis for item in items)
    if not whole and not (first is Ellipsis and used < array.ndim):
        raise InputError(f"indexing with {key!r:.60} {MIXES}")
    return array[items]


def reshaped(x: Value, shape: Any) -> Array:
    """Reshape the samples to ``(-1, ...)`` without joining parts of different samples into one row."""
    array = batch(x)
    if not isinstance(shape, (tuple, list)) or not all(type(size) is int and size >= -1 for size in shape) or not shape:
        raise InputError(f"reshaping to {shape!r:.60} is not replayed")
    first, *rest = shape
    inner = int(np.prod(array.shape[1:]))
    if first == -1:
        known = int(np.prod(rest))
        if not known or inner % known:
            raise InputError(f"reshaping {array.shape} to {tuple(shape)} {MIXES}")
        return array.reshape(len(array) * (inner // known), *rest)
    if first != len(array):
        raise InputError(f"reshaping {array.shape} to {tuple(shape)} {MIXES}")
    return array.reshape(shape)


def transposed(x: Value, axes: Any) -> Array:
    """Permute axes other than the first."""
    array = batch(x)
    if not isinstance(axes, (tuple, list)) or sorted(axes) != list(range(array.ndim)) or axes[0] != 0:
        raise InputError(f"transposing {array.shape} with {axes!r:.60} {MIXES}")
    return array.transpose(axes)


def expanded(x: Value, axis: Any) -> Array:
    """Insert axes of size one after the samples."""
    array = batch(x)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return np.expand_dims(array, inner_axes(axes, array.ndim + len(axes)))


def squeezed(x: Value, axis: Any = None) -> Array:
    """Remove axes of size one; without an axis, all but that of the samples."""
    array = batch(x)
    if axis is None or axis == ():
        return array.reshape(len(array), *(size for size in array.shape[1:] if size != 1))
    return np.squeeze(array, inner_axes(axis, array.ndim))


def joined(values: Any, axis: Any, precision: Precision, *, new_axis: bool) -> Array:
    """Concatenate tensors along an axis, or stack them along a new one."""
    if not isinstance(values, (tuple, list)) or not values:
        raise InputError("expected a list of tensors")
    arrays = operands([Tensor(batch(value)) for value in values], precision)
    place = inner_axis(axis, arrays[0].ndim + new_axis)
    return room.stack(arrays, place) if new_axis else room.concatenate(arrays, place)


def divided(x: Value, sections: Any, axis: Any) -> tuple[Array, ...]:
    """Split a tensor into equal sections, or at indices."""
    array = batch(x)
    if not isinstance(sections, int) and not all(type(item) is int for item in sections):
        raise InputError(f"splitting at {sections!r:.60} is not replayed")
    return tuple(np.split(array, sections, axis=inner_axis(axis, array.ndim)))


def unstacked(x: Value, axis: Any) -> tuple[Array, ...]:
    """Return the slices of a tensor along an axis."""
    array = batch(x)
    place = inner_axis(axis, array.ndim)
    room.afford(array.shape[place] * _VIEW)
    return tuple(np.moveaxis(array, place, 0))


def taken(x: Value, indices: Any, axis: Any) -> Array:
    """Take constant indices along an axis; negative ones count from the end."""
    array, places = batch(x), np.asarray(indices)
    if isinstance(indices, Tensor) or places.dtype.kind not in "iu":
        raise InputError("taking at indices that are not constant is not replayed")
    return room.take(array, places, inner_axis(axis, array.ndim))


def repeated(x: Value, times: Any, axis: Any) -> Array:
    """Repeat each element along an axis."""
    array = batch(x)
    if type(times) is not int or times < 0:
        raise InputError(f"repeating {times!r:.40} times is not replayed")
    return room.repeat(array, times, inner_axis(axis, array.ndim))


def tiled(x: Value, times: Any) -> Array:
    """Repeat whole axes other than that of the samples."""
    array = batch(x)
    if not isinstance(times, (tuple, list)) or not all(type(item) is int and item >= 0 for item in times):
        raise InputError(f"tiling {times!r:.40} times is not replayed")
    if len(times) > array.ndim or (len(times) == array.ndim and times[0] != 1):
        raise InputError(f"tiling an input of shape {array.shape} {tuple(times)} times {MIXES}")
    return room.tile(array, times)


def padded(x: Value, widths: Any, mode: str, fill: Any = None) -> Array:
    """Pad axes other than that of the samples."""
    array = batch(x)
    margins = np.asarray(widths)
    if margins.shape != (array.ndim, 2) or margins.dtype.kind not in "iu" or margins.min() < 0:
        raise InputError(f"padding {array.shape} by {widths!r:.60} is not replayed")
    if margins[0].any():
        raise InputError(f"padding the samples {MIXES}")
    mode = mode.lower()
    if mode not in ("constant", "reflect", "symmetric"):
        raise InputError(f"padding mode {mode!r:.40} is not replayed")
    options = {"constant_values": 0 if fill is None else array_of(fill)} if mode == "constant" else {}
    return room.pad(array, margins, mode, **options)


def multiplied(left: Value, right: Value, precision: Precision) -> Array:
    """Multiply matrices, sample by sample; one of them may be a constant."""
    ranks = (array_of(left).ndim, array_of(right).ndim)
    match isinstance(left, Tensor), isinstance(right, Tensor):
        case True, True:
            apart = ranks[0] == ranks[1] and ranks[0] > 2
        case True, False:
            apart = ranks[0] > 1 and ranks[1] == 2
        case _:
            apart = ranks[0] == 2 and ranks[1] > 2
    if not apart:
        raise InputError(f"multiplying matrices of {ranks[0]} and {ranks[1]} axes {MIXES}")
    x, y = (floats(array_of(value), precision) for value in (left, right))
    return multiply(x, y) if y.ndim == 2 else room.matmul(x, y)


def cast(x: Value, dtype: Any, precision: Precision) -> Tensor:
    """Cast to a dtype by name.

    Raises:
        InputError: The dtype is not replayed, or a number that is not finite would become an integer.
    """
    array = array_of(x)
    name = str(dtype).removeprefix("<dtype: '").removesuffix("'>")
    if name == "bool":
        return Tensor(array != 0)
    if name in ("float16", "bfloat16", "float32", "float64"):
        return Tensor(Precision(name).cast(array), None, name)
    if name not in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"):
        raise InputError(f"casting to {name!r:.40} in {precision.name} is not replayed")
    return Tensor(whole(array, name))


def codes(x: Value, classes: Any, precision: Precision) -> Array:
    """Return one-hot codes along a new last axis; ids that are out of range become zeros."""
    ids = array_of(x)
    if type(classes) is not int or classes < 1 or ids.dtype.kind not in "biu":
        raise InputError("one-hot codes need integers and a constant number of classes")
    room.afford(ids.size * classes * precision.dtype.itemsize)
    hot: Array = ids[..., np.newaxis] == room.arange(classes)
    return hot.astype(precision.dtype)
