"""Functions of TensorFlow that pick parts of each sample, reorder them, or compute with the matrices in it.

Meanings: the documentation of TensorFlow 2.21.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.operations import dtypes, network, products, signals, tf_sizes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.sizes import Sizes, constant
from gateprobe.limits import room

# Parts


def strided(
    floatx: str,
    x: Value,
    begin: Value,
    end: Value,
    strides: Value = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Tensor:
    """Slice as ``tf.strided_slice``: a bit of a mask says what one entry of the indices means."""
    starts, stops = _numbers(begin), _numbers(end)
    steps = [1] * len(starts) if strides is None else _numbers(strides)
    if not len(starts) == len(stops) == len(steps):
        raise InputError("a strided slice whose indices differ in number is not replayed")
    key: list[Any] = []
    for place, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        bit = 1 << place
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(start)
        else:
            key.append(slice(None if begin_mask & bit else start, None if end_mask & bit else stop, step))
    if isinstance(x, Sizes):
        return tf_sizes.part_of(x, tuple(key))
    dtype = x.dtype if isinstance(x, Tensor) else None
    return Tensor(ts.picked(x, tuple(key)), None, dtype or ts.batch(x).dtype.name)


def _numbers(value: Value) -> list[int]:
    array = ts.array_of(constant(value)) if not isinstance(value, Tensor) or isinstance(value, Sizes) else None
    if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"slicing with {value!r:.60} is not replayed")
    return [int(number) for number in array]


def _picked_each(floatx: str, params: Value, indices: Value, batch_dims: Any = 0) -> Array:
    """Pick parts of each sample by the indices of that sample, one for each of the axes behind the samples."""
    if batch_dims != 1:
        raise InputError(f"picking by the numbers of samples {ts.MIXES}")
    array, places = ts.batch(params), ts.batch(indices)
    if places.ndim < 2 or places.dtype.kind not in "iu" or len(places) != len(array):
        raise InputError(f"picking from {array.shape} by {places.dtype} of shape {places.shape} is not replayed")
    axes = places.shape[-1]
    if axes >= array.ndim:
        raise InputError(f"{axes} indices for the {array.ndim - 1} axes of each sample")
    sizes = array.shape[1 : 1 + axes]
    if places.size and not ((places >= 0) & (places < np.asarray(sizes))).all():
        raise InputError(f"an index is outside the axes of {sizes} values")
    room.afford(places.size // max(1, axes) * math.prod(array.shape[1 + axes :]) * array.itemsize)
    rows = np.expand_dims(room.arange(len(array)), tuple(range(1, places.ndim - 1)))
    chosen: Array = array[(rows, *np.moveaxis(places, -1, 0))]
    return chosen


def _reversed(floatx: str, x: Value, seq_lengths: Value, seq_axis: Any = None, batch_axis: Any = None) -> Array:
    """Turn the first values of an axis round, as many as the lengths of the samples say."""
    array, lengths = ts.batch(x), ts.batch(seq_lengths)
    place = ts.inner_axis(seq_axis, array.ndim)
    if batch_axis not in (None, 0) or lengths.shape != array.shape[:1] or lengths.dtype.kind not in "iu":
        raise InputError(f"reversing {array.shape} by lengths of shape {lengths.shape} is not replayed")
    count = array.shape[place]
    if lengths.size and not (lengths.min() >= 0 and lengths.max() <= count):
        raise InputError(f"a length is outside 0..{count}")
    room.afford(len(lengths) * count * 8)
    places, ends = room.arange(count), lengths[:, np.newaxis].astype(np.int64)
    order = np.where(places < ends, ends - 1 - places, places)
    shape = [1] * array.ndim
    shape[0], shape[place] = order.shape
    return ts.taken_along(x, Tensor(order.reshape(shape)), place)


def _framed(
    floatx: str,
    signal: Value,
    frame_length: Any,
    frame_step: Any,
    pad_end: Any = False,
    pad_value: Any = 0,
    axis: Any = -1,
) -> Array:
    array = ts.batch(signal)
    sizes = (frame_length, frame_step)
    if not all(type(size) is int and size > 0 for size in sizes) or pad_end or axis not in (-1, array.ndim - 1):
        raise InputError("only constant frames of the last axis, without padding, are replayed")
    return signals.frames(signals.frameable(signal), *sizes)


def _same_shape(floatx: str, x: Value, shape: Any) -> Value:
    array = ts.batch(x)
    wanted = shape if isinstance(shape, (tuple, list)) else ()
    if len(wanted) != array.ndim or any(
        size not in (None, have) for size, have in zip(wanted[1:], array.shape[1:], strict=True)
    ):
        raise InputError(f"a tensor of shape {array.shape} has not the shape {shape!r:.40}")
    return x


def _undropped(floatx: str, x: Value, rate: Any = None) -> Array:
    """Return what nothing is dropped from; ``tf.nn.dropout`` knows no inference."""
    if rate != 0:
        raise InputError("tf.nn.dropout drops values at random at inference, too")
    return ts.batch(x)


def _both_signs(floatx: str, features: Value, axis: Any = -1) -> Array:
    array = ts.batch(features)
    if array.dtype.kind != "f":
        raise InputError(f"this activation of {array.dtype} is not replayed")
    place = ts.inner_axis(axis, array.ndim)
    zero = np.zeros((), array.dtype)
    return np.maximum(room.concatenate([array, -array], place), zero)


# Matrices


def _algebra(function: Callable[[Array], Array], floatx: str, x: Value, adjoint: Any = False) -> Array:
    if adjoint:
        raise InputError("the adjoint is not replayed")
    result: Array = products.solved(function, products.matrix(x))
    return result


def _solution(floatx: str, matrix: Value, rhs: Value, adjoint: Any = False) -> Array:
    if adjoint or ts.batch(rhs).ndim != ts.batch(matrix).ndim:
        raise InputError("solving for anything but matrices is not replayed")
    return products.solution(products.matrix(matrix), rhs)


def _times_vector(floatx: str, a: Value, b: Value, transpose_a: Any = False, adjoint_a: Any = False) -> Tensor:
    matrix = a
    if transpose_a or adjoint_a:
        matrix = Tensor(ts.batch(a).swapaxes(-1, -2), None, a.dtype)
    vectors = ts.batch(b)
    if isinstance(matrix, Tensor) and matrix.value.ndim != vectors.ndim + 1:
        raise InputError(f"multiplying matrices by vectors of shape {vectors.shape} {ts.MIXES}")
    columns = Tensor(vectors[..., np.newaxis], None, b.dtype)
    product = products.multiplied(matrix, columns, floatx)
    return Tensor(product.value[..., 0], None, product.dtype)


def _diagonal(floatx: str, diagonal: Value, k: Any = 0) -> Array:
    """Return matrices with vectors along their diagonals."""
    array = ts.batch(diagonal)
    if array.ndim < 2 or k not in (0, [0], (0,)):
        raise InputError(f"a matrix of the samples, or a diagonal beside the main one: this {ts.MIXES}")
    size = array.shape[-1]
    matrices = room.zeros((*array.shape, size), array.dtype)
    places = room.arange(size)
    matrices[..., places, places] = array
    return matrices


def _with_diagonal(floatx: str, x: Value, diagonal: Value, k: Any = 0) -> Array:
    array, values = ts.batch(x), ts.batch(diagonal)
    size = min(array.shape[-2:]) if array.ndim > 2 else -1
    if k not in (0, [0], (0,)) or values.shape != (*array.shape[:-2], size) or values.dtype != array.dtype:
        raise InputError(f"a diagonal of shape {values.shape} in matrices of shape {array.shape} is not replayed")
    room.afford(array.nbytes)
    result, places = array.copy(), room.arange(size)
    result[..., places, places] = values
    return result


# Pictures


def _images(x: Value) -> Array:
    array = ts.batch(x)
    if array.ndim != 4 or array.dtype.kind != "f":
        raise InputError(f"expected images of floats (samples, height, width, channels), got {array.dtype} "
                         f"of shape {array.shape}")  # fmt: skip
    return array


def _painted(function: Callable[[Array], Array], floatx: str, images: Value) -> Tensor:
    return dtypes.made(function(_images(images)), dtypes.name_of(images, floatx))


def _standardized(x: Array) -> Array:
    """Return each image with mean 0 and variance 1; what is almost constant is not blown up."""
    count = int(np.prod(x.shape[1:]))
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    spread = np.sqrt(np.square(x - mean).mean(axis=(1, 2, 3), keepdims=True))
    result: Array = (x - mean) / np.maximum(spread, np.asarray(1 / np.sqrt(count), x.dtype))
    return result


def _blocks(
    function: Callable[[Array, int], Array], floatx: str, x: Value, block_size: Any, data_format: Any = "NHWC"
) -> Array:
    if data_format != "NHWC" or type(block_size) is not int or block_size < 2 or ts.batch(x).ndim != 4:
        raise InputError(f"blocks of {block_size!r:.40} in {ts.batch(x).shape} are not replayed")
    return function(ts.batch(x), block_size)


_PICTURE = ("image",)

PARTS: Mapping[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "strided_slice": (
        ("input_", "begin", "end", "strides", "begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask",
         "shrink_axis_mask"),
        strided,
    ),
    **{
        f"{prefix}gather_nd": (("params", "indices", "batch_dims"), _picked_each) for prefix in ("", "compat.v1.")
    },
    "reverse_sequence": (("input", "seq_lengths", "seq_axis", "batch_axis"), _reversed),
    "signal.frame": (("signal", "frame_length", "frame_step", "pad_end", "pad_value", "axis"), _framed),
    "ensure_shape": (("x", "shape"), _same_shape),
    "nn.dropout": (("x", "rate"), _undropped),
    "compat.v1.nn.crelu": (("features", "axis"), _both_signs),
    "linalg.det": (("input",), partial(_algebra, np.linalg.det)),
    "linalg.inv": (("input", "adjoint"), partial(_algebra, np.linalg.inv)),
    "linalg.cholesky": (("input",), partial(_algebra, np.linalg.cholesky)),
    "linalg.solve": (("matrix", "rhs", "adjoint"), _solution),
    "linalg.matvec": (("a", "b", "transpose_a", "adjoint_a"), _times_vector),
    "linalg.diag": (("diagonal", "k"), _diagonal),
    "linalg.set_diag": (("input", "diagonal", "k"), _with_diagonal),
    "image.rgb_to_grayscale": (("images",), partial(_painted, network.gray)),
    "image.per_image_standardization": (_PICTURE, partial(_painted, _standardized)),
    "image.flip_left_right": (_PICTURE, partial(_painted, lambda x: np.flip(x, 2))),
    "image.flip_up_down": (_PICTURE, partial(_painted, lambda x: np.flip(x, 1))),
    "nn.space_to_depth": (("input", "block_size", "data_format"), partial(_blocks, network.space_to_depth)),
    "nn.depth_to_space": (("input", "block_size", "data_format"), partial(_blocks, network.depth_to_space)),
}  # fmt: skip
"""Name of a function → its parameters, and the function."""
