"""Nodes of ``keras.ops.image`` that move the pixels of images ``(samples, height, width, channels)``.

Formulas: ``keras/src/ops/image.py`` and ``keras/src/backend/tensorflow/image.py`` 3.15.1, and the kernel behind them,
``tensorflow/core/kernels/image/image_ops.h``, which computes in float32 whatever the dtype of the image.
"""

from __future__ import annotations

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
from gateprobe.layers.operations.node import Compute, operation
from gateprobe.layers.operations.products import solved
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.shape import channels_first
from gateprobe.layers.windows import channels_last
from gateprobe.limits import room

# Where a pixel of the result lies in the image


def _inside(places: Array, size: int) -> Array:
    """Take the nearest pixel for what lies outside."""
    return np.clip(places, 0, np.float32(size - 1))


def _reflected(places: Array, size: int) -> Array:
    """Continue ``abcd`` as ``dcba|abcd|dcba``."""
    if size <= 1:
        return np.where((places < 0) | (places > size - 1), np.float32(0), places)
    double = np.float32(2 * size)
    near = np.where(places < double, double * np.trunc(-places / double) + places, places)
    before = np.where(near < -size, near + double, -near - 1)
    rest = places - double * np.trunc(places / double)
    after = np.where(rest >= size, double - rest - 1, rest)
    return _inside(np.where(places < 0, before, np.where(places > size - 1, after, places)), size)


def _wrapped(places: Array, size: int) -> Array:
    """Continue ``abcd`` as ``abcd|abcd|abcd``."""
    if size <= 1:
        return np.where((places < 0) | (places > size - 1), np.float32(0), places)
    whole, last = np.float32(size), np.float32(size - 1)
    before = places + whole * (np.trunc(-places / last) + 1)
    after = places - whole * np.trunc(places / last)
    return _inside(np.where(places < 0, before, np.where(places > last, after, places)), size)


_MODES: Mapping[str, Callable[[Array, int], Array]] = {
    "constant": lambda places, size: places,
    "nearest": _inside,
    "reflect": _reflected,
    "wrap": _wrapped,
}
"""Name of a fill mode → where a place outside the image lies in it."""

_FAR = np.float32(2**30)
"""Beyond every image."""


def _projected(transforms: Array, height: int, width: int) -> tuple[Array, Array, Array]:
    """Return rows and columns ``(samples, height, width)`` of the image, and where there are none."""
    a = transforms.astype(np.float32)[:, :, np.newaxis, np.newaxis]
    columns, rows = room.arange(width, np.float32), room.arange(height, np.float32)[:, np.newaxis]
    room.afford(len(transforms) * height * width * 8 * 4)
    scale = a[:, 6] * columns + a[:, 7] * rows + np.float32(1)
    nowhere = scale == 0
    divisor = np.where(nowhere, np.float32(1), scale)
    x = (a[:, 0] * columns + a[:, 1] * rows + a[:, 2]) / divisor
    y = (a[:, 3] * columns + a[:, 4] * rows + a[:, 5]) / divisor
    return y, x, nowhere


def _read(images: Array, rows: Array, columns: Array, fill: Array) -> Array:
    """Read pixels at whole places ``(samples, height, width)``; what lies outside is filled."""
    height, width = images.shape[1:3]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    row, column = (np.where(inside, places, 0).astype(np.intp) for places in (rows, columns))
    room.afford(inside.size * images.shape[-1] * images.itemsize)
    pixels = images[room.arange(len(images))[:, np.newaxis, np.newaxis], row, column]
    return np.where(inside[..., np.newaxis], pixels, fill)


def _away_from_zero(places: Array) -> Array:
    """Round halves away from zero, as C does."""
    return np.copysign(np.floor(np.abs(places) + np.float32(0.5)), places)


def _nearest(images: Array, y: Array, x: Array, fill: Array) -> Array:
    return _read(images, _away_from_zero(y), _away_from_zero(x), fill)


def _bilinear(images: Array, y: Array, x: Array, fill: Array) -> Array:
    top, left = np.floor(y), np.floor(x)
    down, right = ((one - floor)[..., np.newaxis] for one, floor in ((y, top), (x, left)))
    up, back = ((floor + 1 - one)[..., np.newaxis] for one, floor in ((y, top), (x, left)))

    def along(rows: Array) -> Array:
        first, second = (_read(images, rows, columns, fill).astype(np.float32) for columns in (left, left + 1))
        line: Array = back * first + right * second
        return line

    result: Array = up * along(top) + down * along(top + 1)
    return result.astype(images.dtype)


_INTERPOLATIONS = {"nearest": _nearest, "bilinear": _bilinear}


def _number(settings: Settings, key: str) -> float:
    value = settings.raw(key, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unsupported(f"config.{key}: expected a number, got {value!r:.40}")
    return float(value)


def _pixels(value: Value) -> Array:
    array = ts.batch(value)
    if array.ndim != 4 or array.dtype.name not in ("uint8", "int32", "int64", "float32", "float64"):
        raise InputError(f"expected images (samples, height, width, channels), got {array.dtype} of {array.shape}")
    return array


def _for_each(value: Value, shape: tuple[int, ...], count: int) -> Array:
    """Return numbers for each sample: those of its own, or constants for all.

    Raises:
        InputError: They are none, or numbers for samples in a constant.
    """
    array = ts.array_of(value).astype(np.float32)
    if not isinstance(value, Tensor) and array.ndim == len(shape):
        array = array[np.newaxis]
    if array.shape not in ((count, *shape), (1, *shape)) or (not isinstance(value, Tensor) and len(array) != 1):
        raise InputError(f"{array.shape} numbers for {count} samples, one of which takes {shape}: this {ts.MIXES}")
    if not np.isfinite(array).all():
        raise InputError("a transformation with numbers that are not finite is not replayed")
    return array


def _moved(settings: Settings, mode: str, transforms_of: Callable[..., Array]) -> Callable[..., Array]:
    """Return what moves the pixels of images, given what says how."""
    look = _INTERPOLATIONS[settings.choice("interpolation", tuple(_INTERPOLATIONS), "bilinear")]
    filling, first = _number(settings, "fill_value"), channels_first(settings)

    def move(images: Value, *how: Value) -> Array:
        array = _pixels(images)
        fill = np.asarray(filling).astype(array.dtype)
        transforms = transforms_of(len(array), *how)

        def paint(pixels: Array) -> Array:
            y, x, nowhere = _projected(transforms, *pixels.shape[1:3])
            y, x = (
                np.clip(_MODES[mode](places, size), -_FAR, _FAR)
                for places, size in zip((y, x), pixels.shape[1:3], strict=True)
            )
            y, x = (np.broadcast_to(places, (len(pixels), *places.shape[1:])) for places in (y, x))
            return np.where(nowhere[..., np.newaxis], fill, look(pixels, y, x, fill))

        return channels_last(paint, first=first)(array)

    return move


@operation("AffineTransform")
def _affine(settings: Settings, floatx: str) -> Compute:
    mode, known = settings.choice("fill_mode", tuple(_MODES), "constant"), settings.semantics.of_tensorflow
    if mode == "wrap" and not known:
        raise Unsupported("config.fill_mode: 'wrap' differs between the backends of Keras 3, the file names none")

    def transforms(count: int, transform: Value) -> Array:
        numbers = _for_each(transform, (8,), count)
        if numbers[:, 6:].any() and not known:
            raise InputError("the last two numbers of a transformation count with TensorFlow only, and the file does "
                             "not name its backend")  # fmt: skip
        return numbers

    move = _moved(settings, mode, transforms)
    return lambda images, transform: dtypes.made(move(images, transform), dtypes.name_of(images, floatx))


def _homographies(count: int, start: Value, end: Value) -> Array:
    """Return the eight numbers of a projection that takes four points to four others, for each sample."""
    corners, targets = (_for_each(points, (4, 2), count) for points in (start, end))
    corners, targets = corners + 0 * targets, targets + 0 * corners  # as many of both
    ones, zeros = np.ones_like(targets[..., :1]), np.zeros_like(targets)
    rows = [
        room.concatenate([*parts, -corners[..., which : which + 1] * targets], -1)
        for which, parts in enumerate(((targets, ones, zeros, zeros[..., :1]), (zeros, zeros[..., :1], targets, ones)))
    ]
    matrices = room.stack(rows, 2).reshape(len(targets), 8, 8)
    result: Array = solved(np.linalg.solve, matrices, corners.reshape(len(targets), 8, 1))[..., 0]
    return result


@operation("PerspectiveTransform")
def _perspective(settings: Settings, floatx: str) -> Compute:
    move = _moved(settings, "constant", _homographies)
    return lambda images, start_points, end_points: dtypes.made(
        move(images, start_points, end_points), dtypes.name_of(images, floatx)
    )


# Sizes and places that are no whole pixels


def _triangle(x: Array) -> Array:
    result: Array = np.maximum(x.dtype.type(0), 1 - np.abs(x))
    return result


def _cubic(x: Array) -> Array:
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x >= 2, x.dtype.type(0), np.where(x >= 1, far, near))


def _lanczos(radius: float, x: Array) -> Array:
    waves = radius * np.sin(np.pi * x) * np.sin(np.pi * x / radius)
    squares = np.where(x != 0, np.pi**2 * x**2, x.dtype.type(1))
    inside = np.where(x > 1e-3, waves / squares, x.dtype.type(1))
    return np.where(x > radius, x.dtype.type(0), inside)


_KERNELS: Mapping[str, Callable[[Array], Array]] = {
    **dict.fromkeys(("linear", "bilinear", "trilinear"), _triangle),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), _cubic),
    "lanczos3": partial(_lanczos, 3.0),
    "lanczos5": partial(_lanczos, 5.0),
}


def _shares(size: int, wanted: int, scale: Any, shift: Any, kernel: Callable[[Array], Array], *, smooth: bool) -> Array:
    """Return how much each old pixel counts for each new one, ``(size, wanted)``, in the dtype of the scale."""
    inverse = 1 / scale
    width = max(inverse, scale.dtype.type(1)) if smooth else scale.dtype.type(1)
    room.afford(size * wanted * scale.itemsize * 4)
    places = (
        (room.arange(wanted, scale.dtype) + scale.dtype.type(0.5)) * inverse - shift * inverse - scale.dtype.type(0.5)
    )
    weights = kernel(np.abs(places - room.arange(size, scale.dtype)[:, np.newaxis]) / width)
    total = weights.sum(axis=0, keepdims=True)
    enough = np.abs(total) > 1000 * float(np.finfo(np.float32).eps)
    shares = np.where(enough, weights / np.where(total != 0, total, 1), 0)
    seen = (places >= -0.5) & (places <= size - 0.5)
    return np.where(seen, shares, 0).astype(scale.dtype)


@operation("ScaleAndTranslate")
def _scaled(settings: Settings, floatx: str) -> Compute:
    kernel = _KERNELS[settings.choice("method", tuple(_KERNELS))]
    axes = _axes(settings.raw("spatial_dims"))
    smooth = settings.flag("antialias", True)

    def compute(images: Value, output_shape: Value, scale: Value, translation: Value) -> Tensor:
        array, name = ts.batch(images), dtypes.name_of(images, floatx)
        if array.dtype.kind != "f":
            raise InputError(
                f"whole numbers, of which Keras keeps to the range that all have together: this {ts.MIXES}"
            )
        scales, shifts = _constants(scale, translation, len(axes), floatx)
        sizes = output_shape if isinstance(output_shape, (tuple, list)) else ()
        for axis, factor, shift in zip(axes, scales, shifts, strict=True):
            place = ts.inner_axis(axis, array.ndim)
            wanted = sizes[place] if len(sizes) == array.ndim else None
            if type(wanted) is not int or wanted < 0:
                raise InputError(f"images of shape {output_shape!r:.60} are not replayed")
            shares = _shares(array.shape[place], wanted, factor, shift, kernel, smooth=smooth)
            moved = np.ascontiguousarray(np.moveaxis(array, place, -1))
            product = multiply(moved, dtypes.converted(shares, name).astype(array.dtype))
            array = np.moveaxis(dtypes.converted(product, name), -1, place)
        return dtypes.made(array, name)

    return compute


def _axes(axes: Any) -> tuple[int, ...]:
    """Return the axes along which images are scaled."""
    if not isinstance(axes, (tuple, list)) or any(type(axis) is not int or axis == 0 for axis in axes):
        raise Unsupported(f"config.spatial_dims: {axes!r:.40} {ts.MIXES}")
    return tuple(axes)


def _constants(scale: Value, translation: Value, count: int, floatx: str) -> tuple[Array, Array]:
    """Return scales and translations in the dtype of both."""
    if isinstance(scale, Tensor) or isinstance(translation, Tensor):
        raise InputError("a scale that is not constant is not replayed")
    name = dtypes.common(floatx, (scale, translation))
    arrays = [np.asarray(value) for value in (scale, translation)]
    if any(one.shape != (count,) or one.dtype.kind != "f" or not np.isfinite(one).all() for one in arrays):
        raise InputError(f"expected {count} floats to scale by, and as many to move by")
    if name not in ("float32", "float64") or not arrays[0].all():
        raise InputError(f"scaling by {scale!r:.60} of {name} is not replayed")
    first, second = (one.astype(name) for one in arrays)
    return first, second
