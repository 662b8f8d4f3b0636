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
