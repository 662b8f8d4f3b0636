"""Nodes of ``keras.ops`` that move numbers or make new ones.

Formulas: ``keras/src/ops/{numpy,nn,core}.py`` 3.15.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations import dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, as_tensor, axis_of, one_axis, operation
from gateprobe.layers.unary import whole
from gateprobe.limits import room


@operation("GetItem")
def _get_item(settings: Settings, floatx: str) -> Compute:
    return ts.picked


@operation("Reshape", counts=True)
def _reshape(settings: Settings, floatx: str) -> Compute:
    shape = settings.raw("newshape")
    shape = [-1 if size is None else size for size in shape] if isinstance(shape, (list, tuple)) else shape
    return lambda x, samples: ts.reshaped(x, shape, samples)


@operation("Transpose")
def _transpose(settings: Settings, floatx: str) -> Compute:
    axes = settings.raw("axes")
    return lambda x: ts.transposed(x, axes)


@operation("Swapaxes")
def _swapaxes(settings: Settings, floatx: str) -> Compute:
    axes = [axis_of(settings, key) for key in ("axis1", "axis2")]
    return lambda x: np.swapaxes(ts.batch(x), *(ts.inner_axis(axis, ts.batch(x).ndim) for axis in axes))


@operation("Moveaxis")
def _moveaxis(settings: Settings, floatx: str) -> Compute:
    source, destination = (axis_of(settings, key) for key in ("source", "destination"))

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        return np.moveaxis(array, ts.inner_axes(source, array.ndim), ts.inner_axes(destination, array.ndim))

    return compute


@operation("ExpandDims")
def _expand_dims(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)
    return lambda x: ts.expanded(x, axis)


@operation("Squeeze")
def _squeeze(settings: Settings, floatx: str) -> Compute:
    axis = None if settings.raw("axis") is None else axis_of(settings)
    return lambda x: ts.squeezed(x, axis)


@operation("Flip")
def _flip(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)
    return lambda x: np.flip(ts.batch(x), ts.inner_axes(axis, ts.batch(x).ndim))


@operation("Roll")
def _roll(settings: Settings, floatx: str) -> Compute:
    axis, shift = axis_of(settings), settings.integer("shift", minimum=-(2**31))
    return lambda x: np.roll(ts.batch(x), shift, ts.inner_axis(axis, ts.batch(x).ndim))


@operation("Repeat")
def _repeat(settings: Settings, floatx: str) -> Compute:
    axis, times = axis_of(settings), settings.integer("repeats", minimum=0)
    return lambda x: ts.repeated(x, times, axis)


@operation("Tile")
def _tile(settings: Settings, floatx: str) -> Compute:
    times = settings.raw("repeats")
    return lambda x: ts.tiled(x, [times] if isinstance(times, int) else times)


@operation("Pad")
def _pad(settings: Settings, floatx: str) -> Compute:
    widths, mode = settings.raw("pad_width"), settings.choice("mode", ("constant", "reflect", "symmetric"), "constant")
    return lambda x, constant_values=None: ts.padded(x, widths, mode, constant_values)


@operation("Concatenate")
def _concatenate(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)
    return lambda xs: ts.joined(xs, axis, floatx, new_axis=False)


@operation("Stack")
def _stack(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)
    return lambda x: ts.joined(x, axis, floatx, new_axis=True)


@operation("Split")
def _split(settings: Settings, floatx: str) -> Compute:
    axis, sections = axis_of(settings), settings.raw("indices_or_sections")
    return lambda x: ts.divided(x, sections, axis)


@operation("Unstack")
def _unstack(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)
    settings.ignore("num")
    return lambda x: ts.unstacked(x, axis)


@operation("Take")
def _take(settings: Settings, floatx: str) -> Compute:
    axis = axis_of(settings)
    return lambda x, indices: ts.taken(x, indices, axis)


@operation("TakeAlongAxis")
def _take_along(settings: Settings, floatx: str) -> Compute:
    axis = one_axis(settings)
    return lambda x, indices: ts.taken_along(x, indices, axis)


def _alike(settings: Settings, floatx: str, *, fill: int) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: ts.cast_like(as_tensor(np.full_like(ts.batch(x), fill), dtypes.name_of(x, floatx)), dtype)


operation("ZerosLike", "EmptyLike")(partial(_alike, fill=0))
operation("OnesLike")(partial(_alike, fill=1))


@operation("FullLike")
def _full_like(settings: Settings, floatx: str) -> Compute:
    dtype = settings.raw("dtype")

    def compute(x: Value, fill_value: Value) -> Tensor:
        like = ts.cast_like(as_tensor(np.zeros_like(ts.batch(x)), dtypes.name_of(x, floatx)), dtype)
        name = dtypes.name_of(like, floatx)
        if ts.array_of(fill_value).dtype.kind == "f" and name not in dtypes.FLOATS:
            raise InputError(f"{name} is not filled with floats")
        shape, fill = ts.operands((like, fill_value), name)
        if np.broadcast_shapes(shape.shape, fill.shape) != shape.shape:
            raise InputError(f"an array of shape {fill.shape} does not fill {shape.shape}")
        return dtypes.made(np.broadcast_to(fill, shape.shape), name)

    return compute


# Pieces


@operation("BroadcastTo")
def _broadcast(settings: Settings, floatx: str) -> Compute:
    shape = settings.raw("shape")
    return lambda x: ts.broadcast(x, shape)


@operation("Full")
def _full(settings: Settings, floatx: str) -> Compute:
    """Stretch numbers of the samples to a shape."""
    shape, dtype = settings.raw("shape"), settings.raw("dtype")
    return lambda fill_value: ts.cast(Tensor(ts.broadcast(fill_value, shape)), dtype or floatx)


@operation("Bincount")
def _bincount(settings: Settings, floatx: str) -> Compute:
    """Count how often each whole number occurs in a sample."""
    count = settings.integer("minlength", 0, minimum=0)
    if settings.raw("weights") is not None or settings.flag("sparse", False):
        raise Unsupported("config.weights, config.sparse: only plain counts are replayed")

    def compute(x: Value) -> Tensor:
        array = ts.batch(x)
        if array.ndim != 2:
            raise InputError(f"counting in {array.shape} {ts.MIXES}")
        numbers = whole(array, "int32") if array.dtype.kind != "i" else array
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < count):
            raise InputError(f"a number outside 0..{count - 1}: how many counts there are depends on all samples of a "
                             "batch", remedy="give Bincount a minlength above all numbers")  # fmt: skip
        room.afford((array.size + len(array) * count) * 8)
        places = numbers.astype(np.int64) + room.arange(len(array))[:, np.newaxis] * count
        counts = np.bincount(places.reshape(-1), minlength=len(array) * count).reshape(len(array), count)
        return Tensor(counts.astype(np.int32))

    return compute


@operation("Slice")
def _slice(settings: Settings, floatx: str) -> Compute:
    shape = settings.raw("shape")
    return lambda inputs, start_indices: ts.window(inputs, start_indices, shape)


@operation("SliceUpdate")
def _slice_update(settings: Settings, floatx: str) -> Compute:
    return ts.updated


def _pieces(settings: Settings, floatx: str, *, axis: int) -> Compute:
    sections = settings.raw("indices_or_sections")
    return lambda x: ts.divided(x, sections, axis if axis < ts.batch(x).ndim else 0)


operation("Hsplit")(partial(_pieces, axis=1))
operation("Dsplit")(partial(_pieces, axis=2))


@operation("ArraySplit")
def _array_split(settings: Settings, floatx: str) -> Compute:
    axis, count = one_axis(settings), settings.integer("indices_or_sections")

    def compute(x: Value) -> tuple[Array, ...]:
        array = ts.batch(x)
        place = ts.inner_axis(axis, array.ndim)
        room.afford(count * ts.VIEW)
        size, more = divmod(array.shape[place], count)
        ends = [size * (n + 1) + min(n + 1, more) for n in range(count - 1)]
        return tuple(np.split(array, ends, axis=place))

    return compute


@operation("Append")
def _append(settings: Settings, floatx: str) -> Compute:
    axis = one_axis(settings)
    return lambda x1, x2: ts.joined([x1, x2], axis, floatx, new_axis=False)


@operation("Hstack")
def _hstack(settings: Settings, floatx: str) -> Compute:
    return lambda xs: ts.joined(xs, 1, floatx, new_axis=False)


@operation("Dstack")
def _dstack(settings: Settings, floatx: str) -> Compute:
    def compute(xs: Value) -> Tensor:
        flat = isinstance(xs, (tuple, list)) and all(isinstance(x, Tensor) and x.value.ndim == 2 for x in xs)
        return ts.joined(xs, 2, floatx, new_axis=flat)

    return compute


@operation("Fliplr")
def _fliplr(settings: Settings, floatx: str) -> Compute:
    return lambda x: np.flip(ts.batch(x), ts.inner_axis(1, ts.batch(x).ndim))


@operation("Rot90")
def _rot90(settings: Settings, floatx: str) -> Compute:
    times, axes = settings.integer("k", 1, minimum=-(2**31)), axis_of(settings, "axes", (0, 1))
    if not isinstance(axes, tuple) or len(axes) != 2:
        raise Unsupported(f"config.axes: {axes!r:.40} is no plane")

    def compute(x: Value) -> Array:
        first, second = ts.inner_axes(axes, ts.batch(x).ndim)
        return np.rot90(ts.batch(x), times % 4, (first, second))

    return compute


# Triangles and diagonals


def _triangle(settings: Settings, floatx: str, *, upper: bool) -> Compute:
    offset = settings.integer("k", 0, minimum=-(2**31))

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        if array.ndim < 3:
            raise InputError(f"a triangle of the samples {ts.MIXES}")
        rows, columns = (room.arange(size) for size in array.shape[-2:])
        room.afford(len(rows) * len(columns))
        ahead = columns - rows[:, np.newaxis]
        return np.where(ahead >= offset if upper else ahead <= offset, array, np.zeros((), array.dtype))

    return compute


operation("Tril")(partial(_triangle, upper=False))
operation("Triu")(partial(_triangle, upper=True))


def _plane(settings: Settings) -> tuple[int, tuple[int, int]]:
    offset = settings.integer("offset", 0, minimum=-(2**31))
    return offset, (one_axis(settings, "axis1", 0), one_axis(settings, "axis2", 1))


def _diagonals(x: Value, offset: int, axes: tuple[int, int]) -> Array:
    array = ts.batch(x)
    return np.diagonal(array, offset, *ts.inner_axes(axes, array.ndim))


@operation("Diagonal")
def _diagonal(settings: Settings, floatx: str) -> Compute:
    offset, axes = _plane(settings)
    return lambda x: _diagonals(x, offset, axes)


@operation("Trace")
def _trace(settings: Settings, floatx: str) -> Compute:
    offset, axes = _plane(settings)

    def compute(x: Value) -> Tensor:
        name = dtypes.as_total(floatx, dtypes.name_of(x, floatx))
        diagonals = dtypes.converted(_diagonals(x, offset, axes), name)
        return dtypes.made(diagonals.sum(axis=-1, dtype=diagonals.dtype), name)

    return compute


@operation("OneHot")
def _one_hot(settings: Settings, floatx: str) -> Compute:
    classes, axis = settings.integer("num_classes"), settings.integer("axis", -1, minimum=-32)
    dtype = settings.raw("dtype", "float32") or floatx
    if settings.flag("sparse", False):
        raise Unsupported("config.sparse: a sparse result is not replayed")
    return lambda x: ts.cast(Tensor(ts.codes(x, classes, axis)), floatx if dtype == "float32" else dtype)


@operation("MultiHot")
def _multi_hot(settings: Settings, floatx: str) -> Compute:
    classes = settings.integer("num_classes")
    settings.choice("axis", (-1,), -1)
    dtype = settings.raw("dtype") or floatx
    if settings.flag("sparse", False):
        raise Unsupported("config.sparse: a sparse result is not replayed")

    def compute(inputs: Value) -> Tensor:
        if ts.batch(inputs).ndim < 2:
            raise InputError(f"one code of all samples {ts.MIXES}")
        return ts.cast(Tensor(np.asarray(ts.codes(inputs, classes).any(axis=1))), dtype)

    return compute


# Lines between tensors


@operation("Linspace")
def _linspace(settings: Settings, floatx: str) -> Compute:
    make, retstep = _line(settings, floatx), settings.flag("retstep", False)
    if retstep:
        raise Unsupported("config.retstep: the step is not replayed")
    return make


@operation("Logspace")
def _logspace(settings: Settings, floatx: str) -> Compute:
    make, base = _line(settings, floatx), settings.number("base", 10)

    def compute(start: Value, stop: Value) -> Tensor:
        line = make(start, stop)
        name = dtypes.name_of(line, floatx)
        return dtypes.made(np.power(np.asarray(base, line.value.dtype), line.value), name)

    return compute


def _line(settings: Settings, floatx: str) -> Callable[[Value, Value], Tensor]:
    count, endpoint, axis = settings.integer("num", 50), settings.flag("endpoint", True), one_axis(settings)
    dtype = settings.raw("dtype")
    if dtype is not None and dtype not in dtypes.FLOATS:
        raise Unsupported(f"config.dtype: a line of dtype {dtype!r:.40} is not replayed")

    def make(start: Value, stop: Value) -> Tensor:
        name = dtype or dtypes.common(floatx, (start, stop, 0.0), weak=True)
        first, last = ts.operands((start, stop), name)
        place = ts.inner_axis(axis, max(first.ndim, last.ndim) + 1)
        return dtypes.made(room.linspace(first, last, count, place, endpoint=endpoint), name)

    return make


@operation("Select")
def _select(settings: Settings, floatx: str) -> Compute:
    def compute(condlist: Value, choicelist: Value, default: Value = 0) -> Tensor:
        if len(condlist) != len(choicelist) or not condlist:
            raise InputError("expected as many choices as conditions")
        name = dtypes.common(floatx, [*choicelist, default], weak=True)
        *choices, chosen = ts.operands([*choicelist, default], name)
        for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
            (kept,) = ts.operands([condition], "bool")
            room.combining(kept, choice, chosen)
            chosen = np.where(kept, choice, chosen)
        return dtypes.made(chosen, name)

    return compute


# Others


@operation("Ravel")
def _ravel(settings: Settings, floatx: str) -> Compute:
    return lambda x: ts.reshaped(x, (-1,))


@operation("IsIn")
def _is_in(settings: Settings, floatx: str) -> Compute:
    invert = settings.flag("invert", False)
    settings.ignore("assume_unique")

    def compute(x1: Value, x2: Value) -> Array:
        if isinstance(x2, Tensor):
            raise InputError(f"looking for values of all samples {ts.MIXES}")
        name = dtypes.common(floatx, (x1, x2))
        array, values = (dtypes.converted(ts.array_of(one), name) for one in (ts.cast_like(x1, None), x2))
        if not values.size:
            return np.zeros_like(array, bool)
        found: Array = np.isin(array, values) != invert
        return found

    return compute


@operation("UnravelIndex")
def _unravel(settings: Settings, floatx: str) -> Compute:
    sizes = settings.integers("shape")

    def compute(indices: Value) -> tuple[Array, ...]:
        rest = ts.batch(indices)
        if rest.dtype.kind not in "iu":
            raise InputError("expected indices")
        room.afford(len(sizes) * rest.nbytes)
        places = []
        for size in reversed(sizes) if rest.ndim == 1 else sizes:  # Keras begins with the first axis otherwise
            places.append(rest % np.asarray(size, rest.dtype))
            rest = rest // np.asarray(size, rest.dtype)
        return tuple(reversed(places))

    return compute


@operation("View")
def _view(settings: Settings, floatx: str) -> Compute:
    dtype = settings.raw("dtype")
    if dtype not in ("float32", "float64", *dtypes.INTEGERS):
        raise Unsupported(f"config.dtype: a view of {dtype!r:.40} is not replayed")

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        if isinstance(x, Tensor) and x.dtype in dtypes.HALVES:
            raise InputError(f"a view of {x.dtype} is not replayed")
        if array.ndim < 2 and array.itemsize != np.dtype(dtype).itemsize:
            raise InputError(f"a view of numbers of several samples {ts.MIXES}")
        return np.ascontiguousarray(array).view(dtype)

    return compute


@operation("Rearrange")
def _rearrange(settings: Settings, floatx: str) -> Compute:
    return rearranged


def rearranged(tensor: Value, pattern: Any, **sizes: Any) -> Array:
    """Split, permute and join axes by a pattern of einops: ``b (h w) c -> b c h w``."""
    array = ts.batch(tensor)
    if (
        not isinstance(pattern, str)
        or pattern.count("->") != 1
        or not all(type(size) is int for size in sizes.values())
    ):
        raise InputError(f"rearranging by {pattern!r:.60} is not replayed")
    before, after = (re.findall(r"\w+|\([\w\s]*\)", side) for side in pattern.split("->"))
    inner = [re.findall(r"\w+", axis) for axis in before]
    names = [name for axis in inner for name in axis]
    wanted = [re.findall(r"\w+", axis) for axis in after]
    order = [name for axis in wanted for name in axis]
    if sorted(names) != sorted(order) or len(set(names)) != len(names) or len(before) != array.ndim:
        raise InputError(f"rearranging {array.shape} by {pattern!r:.60} is not replayed")
    if before[0] != names[0] or not wanted or wanted[0][:1] != names[:1]:
        raise InputError(f"rearranging by {pattern!r:.60} {ts.MIXES}")
    lengths: dict[str, int] = {}
    for axis, size in zip(inner, array.shape, strict=True):
        lengths |= _split_axis(axis, size, sizes)
    split = array.reshape([lengths[name] for name in names])
    moved = split.transpose([names.index(name) for name in order])
    return moved.reshape([math.prod(lengths[name] for name in axis) for axis in wanted])


def _split_axis(names: list[str], size: int, given: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of the parts of an axis, of which one need not be given."""
    open_names = [name for name in names if name not in given]
    known = math.prod(given[name] for name in names if name in given)
    if len(open_names) > 1 or known < 1 or size % known or (not open_names and known != size):
        raise InputError(f"an axis of {size} values cannot be split into {' '.join(names)}")
    return {name: given.get(name, size // known) for name in names}
