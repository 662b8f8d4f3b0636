"""Nodes of ``keras.ops`` that move numbers, change their type, or multiply matrices.

Formulas: ``keras/src/ops/{numpy,nn,core}.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Precision, Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, axis_of, operation
from gateprobe.limits import room


@operation("GetItem")
def _get_item(settings: Settings, precision: Precision) -> Compute:
    return ts.picked


@operation("Reshape")
def _reshape(settings: Settings, precision: Precision) -> Compute:
    shape = settings.raw("newshape")
    shape = [-1 if size is None else size for size in shape] if isinstance(shape, (list, tuple)) else shape
    return lambda x: ts.reshaped(x, shape)


@operation("Transpose")
def _transpose(settings: Settings, precision: Precision) -> Compute:
    axes = settings.raw("axes")
    return lambda x: ts.transposed(x, axes)


@operation("Swapaxes")
def _swapaxes(settings: Settings, precision: Precision) -> Compute:
    axes = [axis_of(settings, key) for key in ("axis1", "axis2")]
    return lambda x: np.swapaxes(ts.batch(x), *(ts.inner_axis(axis, ts.batch(x).ndim) for axis in axes))


@operation("Moveaxis")
def _moveaxis(settings: Settings, precision: Precision) -> Compute:
    source, destination = (axis_of(settings, key) for key in ("source", "destination"))

    def compute(x: Value) -> Array:
        array = ts.batch(x)
        return np.moveaxis(array, ts.inner_axes(source, array.ndim), ts.inner_axes(destination, array.ndim))

    return compute


@operation("ExpandDims")
def _expand_dims(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings)
    return lambda x: ts.expanded(x, axis)


@operation("Squeeze")
def _squeeze(settings: Settings, precision: Precision) -> Compute:
    axis = None if settings.raw("axis") is None else axis_of(settings)
    return lambda x: ts.squeezed(x, axis)


@operation("Flip")
def _flip(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings)
    return lambda x: np.flip(ts.batch(x), ts.inner_axes(axis, ts.batch(x).ndim))


@operation("Roll")
def _roll(settings: Settings, precision: Precision) -> Compute:
    axis, shift = axis_of(settings), settings.integer("shift", minimum=-(2**31))
    return lambda x: np.roll(ts.batch(x), shift, ts.inner_axis(axis, ts.batch(x).ndim))


@operation("Repeat")
def _repeat(settings: Settings, precision: Precision) -> Compute:
    axis, times = axis_of(settings), settings.integer("repeats", minimum=0)
    return lambda x: ts.repeated(x, times, axis)


@operation("Tile")
def _tile(settings: Settings, precision: Precision) -> Compute:
    times = settings.raw("repeats")
    return lambda x: ts.tiled(x, [times] if isinstance(times, int) else times)


@operation("Pad")
def _pad(settings: Settings, precision: Precision) -> Compute:
    widths, mode = settings.raw("pad_width"), settings.choice("mode", ("constant", "reflect", "symmetric"), "constant")
    return lambda x, constant_values=None: ts.padded(x, widths, mode, constant_values)


@operation("Concatenate")
def _concatenate(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings)
    return lambda xs: ts.joined(xs, axis, precision, new_axis=False)


@operation("Stack")
def _stack(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings)
    return lambda x: ts.joined(x, axis, precision, new_axis=True)


@operation("Split")
def _split(settings: Settings, precision: Precision) -> Compute:
    axis, sections = axis_of(settings), settings.raw("indices_or_sections")
    return lambda x: ts.divided(x, sections, axis)


@operation("Unstack")
def _unstack(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings)
    settings.ignore("num")
    return lambda x: ts.unstacked(x, axis)


@operation("Take")
def _take(settings: Settings, precision: Precision) -> Compute:
    axis = axis_of(settings)
    return lambda x, indices: ts.taken(x, indices, axis)


@operation("ZerosLike")
def _zeros_like(settings: Settings, precision: Precision) -> Compute:
    return _alike(settings, precision, np.zeros_like)


@operation("OnesLike")
def _ones_like(settings: Settings, precision: Precision) -> Compute:
    return _alike(settings, precision, np.ones_like)


def _alike(settings: Settings, precision: Precision, make: Callable[[Array], Array]) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: make(ts.batch(x)) if dtype is None else ts.cast(Tensor(make(ts.batch(x))), dtype, precision)


# Types and products


@operation("Cast")
def _cast(settings: Settings, precision: Precision) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: ts.cast(x, dtype, precision)


@operation("ConvertToTensor")
def _convert(settings: Settings, precision: Precision) -> Compute:
    dtype = settings.raw("dtype")
    return lambda x: ts.batch(x) if dtype is None else ts.cast(x, dtype, precision)


@operation("OneHot")
def _one_hot(settings: Settings, precision: Precision) -> Compute:
    classes = settings.integer("num_classes")
    settings.choice("axis", (-1,), -1)
    settings.choice("dtype", (None, "float32"), None)
    return lambda x: ts.codes(x, classes, precision)


@operation("Matmul")
def _matmul(settings: Settings, precision: Precision) -> Compute:
    return lambda x1, x2: ts.multiplied(x1, x2, precision)


@operation("Einsum")
def _einsum(settings: Settings, precision: Precision) -> Compute:
    subscripts = settings.raw("subscripts")
    if not isinstance(subscripts, str) or "->" not in subscripts:
        raise Unsupported(f"config.subscripts: {subscripts!r:.60} is not replayed")
    terms, output = subscripts.replace(" ", "").split("->")
    first = output[:1]
    if not first.isalpha() or any(term[:1] != first or first in term[1:] for term in terms.split(",")):
        raise Unsupported(f"config.subscripts: {subscripts!r:.60} {ts.MIXES}")

    def compute(*operands: Value) -> Array:
        arrays = [ts.floats(ts.batch(operand), precision) for operand in operands]
        _check_letters(terms.split(","), arrays)
        room.contracting(subscripts, *arrays)
        parts = [room.einsum(subscripts, *(array[n : n + 1] for array in arrays)) for n in range(len(arrays[0]))]
        return room.concatenate(parts, 0)  # a product of all samples would round by how many they are

    return compute


def _check_letters(terms: list[str], arrays: list[Array]) -> None:
    """Check sizes, because einsum would stretch an axis of size one."""
    sizes: dict[str, int] = {}
    if [len(term) for term in terms] != [array.ndim for array in arrays] or "." in "".join(terms):
        raise InputError("the operands' axes do not fit the einsum equation")
    for term, array in zip(terms, arrays, strict=True):
        for letter, size in zip(term, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise InputError(f"axis {letter} of the einsum has both {sizes[letter]} and {size} values")
