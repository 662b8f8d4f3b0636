"""Arithmetic of graph nodes on tensors whose first axis is the samples.

Nodes of a graph (``keras.ops``, ``tf.math.multiply``) are functions without weights. gateprobe computes samples in
blocks, so everything here refuses to let one sample see another, which Keras's own functions would allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.operations.dtypes import FLOATS, INTEGERS, common, converted, made
from gateprobe.layers.unary import axis_in, whole
from gateprobe.limits import room

VIEW = 200
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


def operands(values: Sequence[Value], name: str) -> list[Array]:
    """Prepare operands that are to be combined element by element.

    Args:
        values: Tensors, of which all must have the same number of axes, and constants.
        name: The dtype in which they are combined.

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
    return [converted(array, name) for array in arrays]


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


def reshaped(x: Value, shape: Any, samples: int = 0) -> Array:
    """Reshape to ``(-1, ...)`` without joining parts of different samples into one row.

    Args:
        x: A tensor, with one row for each sample or the same number of rows for each, one after the other.
        shape: Its first size is -1 or the number of rows.
        samples: How many samples there are; rows are only joined where this is known.

    Raises:
        InputError: It is no shape, or samples would be joined.
    """
    array = batch(x)
    if not isinstance(shape, (tuple, list)) or not all(type(size) is int and size >= -1 for size in shape) or not shape:
        raise InputError(f"reshaping to {shape!r:.60} is not replayed")
    first, *rest = shape
    each = len(array) // samples if samples and len(array) % samples == 0 else 1
    values = each * int(np.prod(array.shape[1:]))
    if first == -1:
        known = int(np.prod(rest))
        if known <= 0 or values % known:
            raise InputError(f"reshaping {array.shape} to {tuple(shape)} {MIXES}")
        return array.reshape(len(array) // each * (values // known), *rest)
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


def joined(values: Any, axis: Any, floatx: str, *, new_axis: bool) -> Tensor:
    """Concatenate tensors along an axis, or stack them along a new one."""
    if not isinstance(values, (tuple, list)) or not values:
        raise InputError("expected a list of tensors")
    name = common(floatx, values)
    arrays = operands([Tensor(batch(value)) for value in values], name)
    place = inner_axis(axis, arrays[0].ndim + new_axis)
    return made(room.stack(arrays, place) if new_axis else room.concatenate(arrays, place), name)


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
    room.afford(array.shape[place] * VIEW)
    return tuple(np.moveaxis(array, place, 0))


def taken(x: Value, indices: Any, axis: Any) -> Array:
    """Take constant indices along an axis; negative ones count from the end."""
    array, places = batch(x), np.asarray(indices)
    if isinstance(indices, Tensor) or places.dtype.kind not in "iu":
        raise InputError("taking at indices that are not constant is not replayed")
    _check_places(places, array.shape[inner_axis(axis, array.ndim)])
    return room.take(array, places, inner_axis(axis, array.ndim))


def taken_along(x: Value, indices: Value, axis: Any) -> Array:
    """Take values along an axis at indices for each sample; negative ones count from the end."""
    array, places = batch(x), array_of(indices)
    if places.dtype.kind not in "iu" or places.ndim != array.ndim:
        raise InputError(f"taking values of {array.shape} at {places.dtype} indices of shape {places.shape}")
    operands((x, indices), "int64")  # samples must stay apart
    place = inner_axis(axis, array.ndim)
    _check_places(places, array.shape[place])
    shape = np.broadcast_shapes(_without(array.shape, place), _without(places.shape, place))
    room.afford(math.prod(shape) * max(array.shape[place] * array.itemsize, places.shape[place] * 8))
    values = np.broadcast_to(array, (*shape[:place], array.shape[place], *shape[place + 1 :]))
    wanted = np.broadcast_to(places, (*shape[:place], places.shape[place], *shape[place + 1 :]))
    return np.take_along_axis(values, wanted.astype(np.int64), place)


def _without(shape: tuple[int, ...], place: int) -> tuple[int, ...]:
    return (*shape[:place], 1, *shape[place + 1 :])


def _check_places(places: Array, size: int) -> None:
    if places.size and not (-size <= places.min() and places.max() < size):
        raise InputError(
            f"an index is outside {-size}..{size - 1}, where TensorFlow gives another number on each device"
        )


def broadcast(x: Value, shape: Any) -> Array:
    """Stretch axes of size one to a shape, whose first size is that of the samples: ``None`` or -1."""
    array = batch(x)
    if not isinstance(shape, (tuple, list)) or len(shape) != array.ndim or not all(map(_is_size, shape)):
        raise InputError(f"broadcasting {array.shape} to {shape!r:.60} is not replayed")
    if shape[0] not in (None, -1, len(array)):
        raise InputError(f"broadcasting {array.shape} to {tuple(shape)} {MIXES}")
    wanted = [size if given in (None, -1) else given for given, size in zip(shape, array.shape, strict=True)]
    room.afford(math.prod(wanted) * array.itemsize)
    return np.ascontiguousarray(np.broadcast_to(array, wanted))


def _is_size(size: Any) -> bool:
    return size is None or (type(size) is int and size >= -1)


def window(x: Value, start: Any, shape: Any) -> Array:
    """Return the part of each sample that begins at a constant place and has a shape; -1 for all that is left."""
    array = batch(x)
    begin = _start(start, array)
    if not isinstance(shape, (tuple, list)) or len(shape) != array.ndim or not all(map(_is_size, shape)):
        raise InputError(f"a slice of shape {shape!r:.60} is not replayed")
    if shape[0] not in (None, -1, len(array)):
        raise InputError(f"a slice of {shape[0]} samples {MIXES}")
    sizes = [
        full - first if size in (None, -1) else size
        for size, first, full in zip(shape, begin, array.shape, strict=True)
    ]
    sizes[0] = len(array)
    if any(first + size > full for first, size, full in zip(begin, sizes, array.shape, strict=True)):
        raise InputError(f"a slice of {sizes} from {begin} reaches beyond {array.shape}")
    return array[tuple(slice(first, first + size) for first, size in zip(begin, sizes, strict=True))]


def updated(inputs: Value, start_indices: Any, updates: Value) -> Array:
    """Replace the part of each sample that begins at a constant place."""
    array, part = batch(inputs), batch(updates)
    begin = _start(start_indices, array)
    if part.ndim != array.ndim or len(part) != len(array) or part.dtype != array.dtype:
        raise InputError(f"updating {array.shape} with {part.shape} of {part.dtype} is not replayed")
    if any(first + size > full for first, size, full in zip(begin, part.shape, array.shape, strict=True)):
        raise InputError(f"an update of {part.shape} at {begin} reaches beyond {array.shape}")
    result = array.copy()
    result[tuple(slice(first, first + size) for first, size in zip(begin, part.shape, strict=True))] = part
    return result


def _start(start: Any, array: Array) -> list[int]:
    places = np.asarray([] if isinstance(start, Tensor) else start)
    if places.shape != (array.ndim,) or places.dtype.kind not in "iu" or (places < 0).any():
        raise InputError(f"a slice that begins at {start!r:.60} is not replayed")
    if places[0]:
        raise InputError(f"a slice from sample {places[0]} {MIXES}")
    return [int(place) for place in places]


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


def cast(x: Value, dtype: Any) -> Tensor:
    """Cast to a dtype by name.

    Raises:
        InputError: The dtype is not replayed, or a number that is not finite would become an integer.
    """
    array = array_of(x)
    name = str(dtype).removeprefix("<dtype: '").removesuffix("'>")
    if name == "bool":
        return Tensor(array != 0)
    if name in FLOATS:
        return made(array, name)
    if name not in INTEGERS:
        raise InputError(f"casting to {name!r:.40} is not replayed")
    return Tensor(whole(array, name))


def cast_like(x: Value, dtype: Any) -> Tensor:
    """Return a tensor in a dtype by name; in its own for ``None``."""
    return x if dtype is None and isinstance(x, Tensor) else cast(x, dtype)


def codes(x: Value, classes: Any, axis: Any = -1) -> Array:
    """Return one-hot codes, as booleans, along a new axis; ids that are out of range become zeros."""
    ids = array_of(x)
    if type(classes) is not int or classes < 1 or ids.dtype.kind not in "biu":
        raise InputError("one-hot codes need integers and a constant number of classes")
    place = axis_in(axis, ids.ndim + 1)
    if place == 0:
        raise InputError(f"one-hot codes along axis {axis} {MIXES}" if ids.ndim else "a number has no samples")
    room.afford(ids.size * classes)
    hot: Array = ids[..., np.newaxis] == room.arange(classes)
    return np.moveaxis(hot, -1, place)
