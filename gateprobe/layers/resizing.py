"""Images of another size: upsampling, resizing and cropping to the centre. Keras drops the mask in all of them.

Sources: ``keras/src/layers/reshaping/up_sampling2d.py``, ``keras/src/layers/preprocessing/image_preprocessing`` 3.15.1,
``tf_keras/src/layers/preprocessing/image_preprocessing.py`` 2.21, and the kernels they end in,
``tensorflow/core/kernels/image/resize_{nearest_neighbor,bilinear,bicubic}_op.cc``, which compute places and results in
float32 whatever the dtype of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Layer
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.conv import rank_of
from gateprobe.layers.shape import spatial
from gateprobe.layers.windows import check_rank
from gateprobe.limits import room

Along = Callable[[Array, int, int], Array]
"""Takes an array, an axis and its new size."""

_HALF = np.float32(0.5)
_TABLE = 1024
"""In how many steps TensorFlow tabulates the distance of a pixel from its neighbours."""


def _places(size: int, wanted: int) -> Array:
    """Return where the centres of the wanted pixels lie, counted in old pixels."""
    scale = np.asarray(np.float32(size) / np.float32(wanted))
    places: Array = (room.arange(wanted, np.float32) + _HALF) * scale - _HALF
    return places


def _floats(x: Array) -> Array:
    if x.dtype.kind != "f":
        raise InputError("whole numbers are not interpolated", remedy="give the model floats")
    values: Array = x.astype(np.float32, copy=False)
    return values


def _nearest(x: Array, axis: int, wanted: int) -> Array:
    index = np.floor(_places(x.shape[axis], wanted) + _HALF).astype(np.intp)
    return room.take(x, np.minimum(index, x.shape[axis] - 1), axis)


def _bilinear(x: Array, axis: int, wanted: int) -> Array:
    """Interpolate linearly between the centres of pixels."""
    places = _places(x.shape[axis], wanted)
    below = np.floor(places).astype(np.intp)
    share = _aligned((places - below).astype(np.float32), axis, x.ndim)
    last, values = x.shape[axis] - 1, _floats(x)
    low, high = (room.take(values, np.clip(index, 0, last), axis) for index in (below, np.ceil(places).astype(int)))
    result: Array = low + (high - low) * share
    return result.astype(x.dtype, copy=False)


def _bicubic(x: Array, axis: int, wanted: int) -> Array:
    """Interpolate by Keys's cubic between four pixels; those outside the image count for nothing."""
    size, values = x.shape[axis], _floats(x)
    places = _places(size, wanted)
    below = np.floor(places)
    step = np.rint((places - below) * np.float32(_TABLE)).astype(np.float64) / _TABLE
    neighbours = [(below + n, _keys(np.abs(n - step)).astype(np.float32)) for n in (-1, 0, 1, 2)]
    kept = [(index, np.where((index >= 0) & (index < size), weight, 0)) for index, weight in neighbours]
    share = np.float32(1) / np.asarray(sum(weight for _, weight in kept), np.float32)
    result = room.zeros((*x.shape[:axis], wanted, *x.shape[axis + 1 :]), np.float32)
    for index, weight in kept:
        pixels = room.take(values, np.clip(index, 0, size - 1).astype(np.intp), axis)
        result += pixels * _aligned(weight * share, axis, x.ndim)
    return result.astype(x.dtype, copy=False)


def _keys(distance: Array) -> Array:
    """Return Keys's cubic with ``a = -0.5`` for distances up to 2."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, far)


def _aligned(values: Array, axis: int, rank: int) -> Array:
    return values.reshape([-1 if n == axis else 1 for n in range(rank)])


RESIZERS: Mapping[str, Along] = {"nearest": _nearest, "bilinear": _bilinear, "bicubic": _bicubic}
"""Name of an interpolation → what computes it."""


def _interpolation(binding: Binding, default: str) -> Along:
    """Read how pixels are interpolated.

    Raises:
        Unsupported: In a way that is not replayed, or that depends on the backend, which the file does not say.
    """
    how = binding.settings.choice("interpolation", ("nearest", "bilinear", "bicubic"), default)
    if how == "bilinear" and not binding.semantics.resize_half_pixels:
        raise Unsupported(
            "config.interpolation: bilinear is replayed from TensorFlow 2.1 on; before, it takes other pixels, and the "
            "files of TensorFlow 1.13 to 2.0 do not tell which"
        )
    if how == "bicubic" and not binding.semantics.resizes_with_tensorflow:
        raise Unsupported("config.interpolation: bicubic differs between the backends of Keras 3, the file names none")
    return RESIZERS[how]


@replays("UpSampling1D", "UpSampling2D", "UpSampling3D")
def _bind_upsampling(binding: Binding) -> Layer:
    factors = binding.settings.integers("size", rank_of(binding.record), 2)
    function = partial(_upsampled, factors=factors, along=_interpolation(binding, "nearest"))
    return spatial(function, binding, keeps_integers=True)


def _upsampled(x: Array, factors: tuple[int, ...], along: Along) -> Array:
    check_rank(x, len(factors))
    return _resized(x, tuple(size * factor for size, factor in zip(x.shape[1:-1], factors, strict=True)), along)


@replays("Resizing")
def _bind_resizing(binding: Binding) -> Layer:
    settings = binding.settings
    size = (settings.integer("height"), settings.integer("width"))
    along = _interpolation(binding, "bilinear")
    settings.ignore("fill_mode", "fill_value")  # of padding to an aspect ratio, which is refused
    return spatial(partial(_resized, size=size, along=along), binding, keeps_integers=True)


def resized(x: Array, size: tuple[int, ...], how: str = "bilinear") -> Array:
    """Return images ``(samples, height, width, channels)`` in another size."""
    return _resized(x, size, RESIZERS[how])


def _resized(x: Array, size: tuple[int, ...], along: Along) -> Array:
    """Resize along each spatial axis, in TensorFlow's order: the height is first in its cubic, last otherwise."""
    check_rank(x, len(size))
    for axis in sorted(range(1, len(size) + 1), reverse=along is not _bicubic):
        x = along(x, axis, size[axis - 1])
    return x


@replays("CenterCrop")
def _bind_center_crop(binding: Binding) -> Layer:
    size = (binding.settings.integer("height"), binding.settings.integer("width"))
    return spatial(partial(_center, size=size), binding, keeps_integers=True)


def _center(x: Array, size: tuple[int, int]) -> Array:
    """Cut out the centre; an odd margin is smaller before than after."""
    check_rank(x, len(size))
    margins = [have - wanted for have, wanted in zip(x.shape[1:3], size, strict=True)]
    if min(margins) < 0:
        raise InputError(f"an image of {x.shape[1]} x {x.shape[2]} is smaller than the crop of {size[0]} x {size[1]}")
    kept = (slice(margin // 2, margin // 2 + wanted) for margin, wanted in zip(margins, size, strict=True))
    return x[(slice(None), *kept)]
