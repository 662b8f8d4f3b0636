"""Nodes of ``keras.ops.image`` on batches of images, ``(samples, height, width, channels)``.

Formulas: ``keras/src/ops/image.py`` and ``keras/src/backend/tensorflow/image.py`` 3.15.1, and the kernels behind them,
``tensorflow/core/kernels/image/colorspace_op.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.conv import correlate, depthwise
from gateprobe.layers.operations import dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, operation
from gateprobe.layers.resizing import RESIZERS, resized
from gateprobe.layers.shape import channels_first
from gateprobe.layers.windows import Window, channels_last
from gateprobe.limits import room

Paint = Callable[[Array], Array]


def _images(x: Value) -> Array:
    array = ts.batch(x)
    if array.ndim != 4 or array.dtype.kind != "f":
        raise InputError(f"expected images of floats (samples, height, width, channels), got {array.dtype} "
                         f"of shape {array.shape}")  # fmt: skip
    return array


def _painting(settings: Settings, floatx: str, paint: Paint) -> Compute:
    function = channels_last(paint, first=channels_first(settings))

    def compute(images: Value) -> Tensor:
        return dtypes.made(function(_images(images)), dtypes.name_of(images, floatx))

    return compute


@operation("Resize")
def _resize(settings: Settings, floatx: str) -> Compute:
    height, width = settings.integers("size", 2)
    how = settings.choice("interpolation", tuple(RESIZERS), "bilinear")
    if how == "bicubic" and not settings.semantics.of_tensorflow:
        raise Unsupported("config.interpolation: bicubic differs between the backends of Keras 3, the file names none")
    for flag in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        if settings.flag(flag, False):
            raise Unsupported(f"config.{flag}: it is not replayed")
    settings.ignore("fill_mode", "fill_value")  # of what is padded
    return _painting(settings, floatx, lambda x: resized(x, (height, width), how))


def _colours(x: Array) -> tuple[Array, Array, Array]:
    if x.shape[-1] != 3:
        raise InputError(f"expected three channels, got {x.shape[-1]}")
    return x[..., 0], x[..., 1], x[..., 2]


def to_hsv(x: Array) -> Array:
    """Return hue, saturation and value of red, green and blue."""
    red, green, blue = _colours(x)
    value = x.max(axis=-1)
    spread = value - x.min(axis=-1)
    one, none = np.ones((), x.dtype), np.zeros((), x.dtype)
    saturation = np.where(value > 0, spread / np.where(value > 0, value, one), none)
    norm = 1 / (6 * np.where(spread > 0, spread, one))
    others = np.where(green == value, norm * (blue - red) + x.dtype.type(2 / 6),
                      norm * (red - green) + x.dtype.type(4 / 6))  # fmt: skip
    hue = np.where(spread > 0, np.where(red == value, norm * (green - blue), others), none)
    return room.stack([np.where(hue < 0, hue + one, hue), saturation, value], -1)


def to_rgb(x: Array) -> Array:
    """Return red, green and blue of hue, saturation and value."""
    hue, saturation, value = _colours(x)
    turned = hue * 6
    shares = (np.abs(turned - 3) - 1, 2 - np.abs(turned - 2), 2 - np.abs(turned - 4))
    return room.stack([((1 - saturation) + saturation * np.clip(share, 0, 1)) * value for share in shares], -1)


operation("RGBToHSV")(partial(_painting, paint=to_hsv))
operation("HSVToRGB")(partial(_painting, paint=to_rgb))


@operation("GaussianBlur")
def _blur(settings: Settings, floatx: str) -> Compute:
    sizes = settings.integers("kernel_size", 2, 3)
    sigma = settings.raw("sigma", (1.0, 1.0))
    if not isinstance(sigma, (tuple, list)) or len(sigma) != 2 or not all(type(s) in (int, float) for s in sigma):
        raise Unsupported(f"config.sigma: {sigma!r:.40} is not replayed")

    def curve(size: int, width: float, dtype: np.dtype[Any]) -> Array:
        x = room.arange(size, dtype) - dtype.type((size - 1) / 2)
        bell = np.exp(dtype.type(-0.5) * (x / dtype.type(width)) ** 2)
        total: Array = bell / bell.sum()
        return total

    def paint(x: Array) -> Array:
        first, second = (curve(size, width, x.dtype) for size, width in zip(sizes, sigma, strict=True))
        room.afford(first.size * second.size * x.shape[-1] * x.itemsize)
        plane = (second[:, np.newaxis] * first).reshape(*sizes, 1, 1)  # as Keras: the second one along the first axis
        window = Window(sizes, (1, 1), (1, 1), "same")
        return depthwise(x, room.repeat(plane, x.shape[-1], axis=2), window)

    return _painting(settings, floatx, paint)


@operation("ExtractPatches")
def _patches(settings: Settings, floatx: str) -> Compute:
    sizes = settings.integers("size", 2)
    strides = sizes if settings.raw("strides") is None else settings.integers("strides", 2)
    holes = settings.integers("dilation_rate", 2, 1)
    window = Window(sizes, strides, holes, settings.choice("padding", ("valid", "same"), "valid"))

    def paint(x: Array) -> Array:
        count = sizes[0] * sizes[1] * x.shape[-1]
        identity = room.zeros((count, count), x.dtype)
        np.fill_diagonal(identity, 1)
        return correlate(x, identity.reshape(*sizes, x.shape[-1], count), 1, window)

    return _painting(settings, floatx, paint)


def _bell(size: int, sigma: float, dtype: np.dtype[Any]) -> Array:
    x = room.arange(size, dtype) - dtype.type((size - 1) / 2)
    bell = np.exp(-(x**2) / dtype.type(2.0 * sigma**2))
    share: Array = bell / bell.sum()
    return share


@operation("SSIM")
def _similarity(settings: Settings, floatx: str) -> Compute:
    """Compare two images by mean, spread and shape under a moving bell; one number for each sample."""
    highest, sigma = settings.number("max_val", 1.0), settings.number("filter_sigma", 1.5)
    size, first = settings.integer("filter_size", 11), channels_first(settings)
    shift, spread = ((settings.number(key, default) * highest) ** 2 for key, default in (("k1", 0.01), ("k2", 0.03)))

    def compute(image1: Value, image2: Value) -> Array:
        pair = [_images(one) for one in (image1, image2)]
        if pair[0].shape != pair[1].shape or pair[0].dtype != pair[1].dtype:
            raise InputError(f"comparing images of {pair[0].shape} and {pair[1].shape} is not replayed")
        if any(dtypes.name_of(one, floatx) in dtypes.HALVES for one in (image1, image2)):
            raise InputError("comparing images in half precision is not replayed")
        room.afford(8 * pair[0].nbytes)
        x, y = (one if first else np.moveaxis(one, -1, 1) for one in pair)
        count, channels, height, width = x.shape
        if min(height, width) < size:
            raise InputError(f"images of {height} x {width} are smaller than the window of {size} x {size}")
        bell = _bell(size, sigma, x.dtype)
        plane = (bell[:, np.newaxis] * bell).reshape(size, size, 1, 1)
        window = Window((size, size), (1, 1), (1, 1), "valid")
        mean_x, mean_y, squares_x, squares_y, products = (
            correlate(one.reshape(-1, height, width, 1), plane, 1, window) for one in (x, y, x * x, y * y, x * y)
        )
        both = mean_x * mean_y
        above = (2 * both + shift) * (2 * (products - both) + spread)
        below = (mean_x * mean_x + mean_y * mean_y + shift) * (
            (squares_x - mean_x * mean_x) + (squares_y - mean_y * mean_y) + spread
        )
        alike = np.ascontiguousarray(above / below).reshape(count, channels, -1)
        result: Array = alike.mean(axis=-1).mean(axis=-1)
        return result

    return compute


@operation("SobelEdges")
def _edges(settings: Settings, floatx: str) -> Compute:
    """Return how steep an image is along its height and its width, ``(samples, height, width, channels, 2)``."""
    if not settings.semantics.of_tensorflow:
        raise Unsupported("what lies beyond the borders differs between the backends of Keras 3, the file names none")
    first = channels_first(settings)

    def paint(x: Array) -> Array:
        wide = room.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
        height, width = x.shape[1:3]
        down, right = wide[:, 2:] - wide[:, :height], wide[:, :, 2:] - wide[:, :, :width]
        lines = [down[:, :, n : n + width] for n in range(3)], [right[:, n : n + height] for n in range(3)]
        return room.stack([before + 2 * here + after for before, here, after in lines], -1)

    def compute(images: Value) -> Tensor:
        array = _images(images)
        if min(array.shape[2:] if first else array.shape[1:3]) < 2:
            raise InputError(f"an image of {array.shape} has no second pixel to reflect")
        edges = paint(np.moveaxis(array, 1, -1) if first else array)
        return dtypes.made(np.moveaxis(edges, -2, 1) if first else edges, dtypes.name_of(images, floatx))

    return compute
