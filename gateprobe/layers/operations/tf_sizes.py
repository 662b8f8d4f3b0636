"""Sizes of tensors inside a graph: what ``tf.shape`` returns, and what becomes of it.

Sizes are no tensors with samples. The number of samples in a block is gateprobe's own affair, so it may only be used
to say that the samples stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value, tensors_in
from gateprobe.layers.operations.tensors import array_of, batch
from gateprobe.layers.sizes import COUNTED, Sizes, constant
from gateprobe.limits import room


def sizes_of(value: Value) -> Sizes:
    """Return the sizes of a tensor."""
    array = batch(value)
    return Sizes(np.array(array.shape, np.int32), samples=np.arange(array.ndim) == 0)


def part_of(sizes: Sizes, key: Any) -> Sizes:
    """Return ``sizes[key]``."""
    samples = np.zeros(sizes.value.shape, bool) if sizes.samples is None else sizes.samples
    chosen = samples[key]
    return Sizes(np.asarray(sizes.value[key]), samples=np.asarray(chosen) if np.any(chosen) else None)


def multiple(x: Value, y: Value) -> Sizes:
    """Return the number of samples, or a multiple of it, times a constant.

    Raises:
        InputError: It is anything else.
    """
    (many, _), (factor, unknown) = sorted(map(_number_of, (x, y)), key=lambda one: not one[1])
    if unknown or many.ndim or factor.ndim or factor.dtype.kind not in "iu" or factor < 1:
        raise InputError(COUNTED)
    return Sizes(np.asarray(many * factor), samples=np.ones((), bool))


def _number_of(value: Value) -> tuple[Array, bool]:
    """Return a size, and whether it depends on the number of samples."""
    known = not isinstance(value, Sizes) or value.samples is None
    return array_of(value), not known


def depends_on_samples(arguments: Any) -> bool:
    """Whether sizes among the arguments are the number of samples, or a multiple of it."""
    return any(isinstance(one, Sizes) and one.samples is not None for one in tensors_in(arguments))


def only_sizes(arguments: Any) -> bool:
    """Whether the arguments hold sizes and no tensors with samples."""
    tensors = list(tensors_in(arguments))
    return bool(tensors) and all(isinstance(tensor, Sizes) for tensor in tensors)


def as_rows(value: Value) -> Value:
    """Return sizes as a tensor of one sample, so that operations can compute with them."""
    if isinstance(value, Sizes):
        return Tensor(np.asarray(constant(value))[np.newaxis])
    if isinstance(value, tuple):
        return tuple(as_rows(item) for item in value)
    if isinstance(value, Mapping):
        return {key: as_rows(item) for key, item in value.items()}
    return value


def of_sizes(arguments: Mapping[str, Value], parameters: Sequence[str]) -> dict[str, Value]:
    """Return arguments with a row in front of sizes, and axes that count it; all axes of a reduction are those behind.

    Raises:
        InputError: The number of samples is among the sizes.
    """
    rows = {key: as_rows(value) for key, value in arguments.items()}
    rank = max(tensor.value.ndim for tensor in tensors_in(rows))
    if "axis" in parameters and rows.get("axis") is None and "keepdims" in parameters:
        rows["axis"] = tuple(range(1, rank))
    elif "axis" in rows:
        rows["axis"] = _behind_rows(rows["axis"])
    return rows


def _behind_rows(axis: Value) -> Value:
    if isinstance(axis, (tuple, list)):
        return tuple(map(_behind_rows, axis))
    return axis + 1 if isinstance(axis, int) and axis >= 0 else axis


def ranged(start: Value, limit: Value, delta: Value, name: str | None, floatx: str) -> Sizes:
    """Return ``tf.range``: numbers that are the same for every sample.

    Raises:
        InputError: They depend on the samples.
    """
    first, last, step = (_number(value) for value in ((0, start, delta) if limit is None else (start, limit, delta)))
    whole = all(isinstance(value, int) for value in (first, last, step))
    dtype = np.dtype(name or ("int32" if whole else floatx))
    count = -((first - last) // step) if step else 0
    if not step or dtype.kind not in "iuf":
        raise InputError(f"a range of {dtype} in steps of {step} is not replayed")
    places = room.arange(max(0, int(count)))
    return Sizes((np.asarray(first) + places * np.asarray(step)).astype(dtype))


def _number(value: Value) -> int | float:
    if isinstance(value, Tensor) and not isinstance(value, Sizes):
        raise InputError("a range that depends on the samples is not replayed")
    array = array_of(constant(value))
    if array.ndim or array.dtype.kind not in "iuf" or not np.isfinite(array):
        raise InputError(f"{value!r:.60} is no end of a range")
    number: int | float = array.item()
    return number


def spread(sizes: Sizes, shape: Value, *, repeats: bool) -> Array | Sizes:
    """Return sizes with a row for each sample, or as often as a list of constants says.

    Args:
        sizes: Whose first axis has one row, where rows become samples.
        shape: How often each axis is repeated, or the shape that it is stretched to.
        repeats: Which of the two it is.

    Raises:
        InputError: They do not fit.
    """
    wanted = shape_of(shape)
    value = constant(sizes)
    if len(wanted) != value.ndim or (counts_samples(shape) and len(value) != 1):
        raise InputError(f"repeating {value.shape} to {wanted} is not replayed")
    if repeats:
        made = room.tile(value, wanted)
    else:
        room.afford(math.prod(wanted) * value.itemsize)
        made = np.ascontiguousarray(np.broadcast_to(value, wanted))
    return made if counts_samples(shape) else Sizes(made)


def shape_of(value: Value) -> tuple[int, ...]:
    """Return a shape as ints.

    Args:
        value: A list of ints and sizes, or sizes.

    Raises:
        InputError: It is no shape, or the number of samples is not its first entry.
    """
    items = [part_of(value, n) for n in range(value.value.size)] if isinstance(value, Sizes) else value
    if not isinstance(items, (tuple, list)):
        raise InputError(f"{value!r:.60} is no shape")
    shape = []
    for place, item in enumerate(items):
        if isinstance(item, Sizes) and item.samples is not None and item.samples.all() and place == 0:
            shape.append(int(item.value))
        else:
            array = array_of(constant(item))
            if array.ndim or array.dtype.kind not in "iu":
                raise InputError(f"{value!r:.60} is no shape")
            shape.append(int(array))
    return tuple(shape)


def joined(values: Value) -> Sizes | None:
    """Return sizes and ints, or lists of them, as one list; ``None`` when there are no sizes among them."""
    if not isinstance(values, (tuple, list)) or not any(isinstance(value, Sizes) for value in values):
        return None
    parts = [value if isinstance(value, Sizes) else Sizes(array_of(value)) for value in values]
    samples = [
        np.zeros(part.value.size, bool) if part.samples is None else np.atleast_1d(part.samples) for part in parts
    ]
    return Sizes(np.concatenate([np.atleast_1d(part.value) for part in parts]), samples=np.concatenate(samples))


def counts_samples(value: Value) -> bool:
    """Whether the first entry of a shape is the number of samples."""
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return isinstance(first, Sizes) and first.samples is not None and bool(np.atleast_1d(first.samples)[0])


def filled(value: Value, fill: float, dtype: Any) -> Array:
    """Return an array with a row for each sample, all of one number.

    Raises:
        InputError: The first size is not the number of samples.
    """
    if not counts_samples(value):
        raise InputError("a constant tensor without samples is not replayed")
    return room.full(shape_of(value), fill, dtype)
