"""Padding with zeros, cropping and upsampling along the spatial axes. Keras drops the mask in all of them.

Formulas: ``keras/src/layers/reshaping/*.py`` 3.15.1, ``tf_keras/src/layers/reshaping`` 2.21.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Layer
from gateprobe.layers.conv import rank_of
from gateprobe.layers.registry import Binding, replays
from gateprobe.layers.settings import Settings, Unsupported
from gateprobe.layers.shape import channels_first
from gateprobe.layers.unary import Function, Unary
from gateprobe.layers.windows import channels_last, check_rank

Margins = tuple[tuple[int, int], ...]


def _spatial(function: Function, binding: Binding) -> Layer:
    first = channels_first(binding.settings)
    binding.settings.finish()
    return Unary(channels_last(function, first=first), binding.precision, keeps_mask=False, keeps_integers=True)


def _margins(settings: Settings, key: str, rank: int, default: int) -> Margins:
    """Read how much to add or remove before and after each spatial axis.

    Known are one int for all, one int or pair for each axis, and Keras 1's four ints for an image.
    """
    value = settings.raw(key, default)
    if isinstance(value, int):
        value = [value] * rank if rank > 1 else [[value, value]]
    if isinstance(value, (list, tuple)) and rank == 1 and len(value) == 2:
        value = [value]
    if isinstance(value, (list, tuple)) and rank == 2 and len(value) == 4:
        value = [value[:2], value[2:]]
    pairs = (
        [[item, item] if isinstance(item, int) else item for item in value] if isinstance(value, list | tuple) else []
    )
    if len(pairs) != rank or not all(map(_is_pair, pairs)):
        raise Unsupported(f"config.{key}: expected sizes for {rank} axes, got {value!r:.60}")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _is_pair(item: object) -> bool:
    return (
        isinstance(item, (list, tuple))
        and len(item) == 2
        and all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in item)
    )


@replays("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def _bind_padding(binding: Binding) -> Layer:
    margins = _margins(binding.settings, "padding", rank_of(binding.record), default=1)
    return _spatial(partial(_padded, margins=margins), binding)


def _padded(x: Array, margins: Margins) -> Array:
    check_rank(x, len(margins))
    return np.pad(x, [(0, 0), *margins, (0, 0)])


@replays("Cropping1D", "Cropping2D", "Cropping3D")
def _bind_cropping(binding: Binding) -> Layer:
    rank = rank_of(binding.record)
    margins = _margins(binding.settings, "cropping", rank, default=1 if rank == 1 else 0 if rank == 2 else 1)
    return _spatial(partial(_cropped, margins=margins), binding)


def _cropped(x: Array, margins: Margins) -> Array:
    check_rank(x, len(margins))
    if any(sum(margin) >= size for margin, size in zip(margins, x.shape[1:-1], strict=True)):
        raise InputError(f"nothing is left of an input of shape {x.shape} after cropping {margins}")
    kept = (slice(before, size - after) for (before, after), size in zip(margins, x.shape[1:-1], strict=True))
    return x[(slice(None), *kept)]


@replays("UpSampling1D", "UpSampling2D", "UpSampling3D")
def _bind_upsampling(binding: Binding) -> Layer:
    settings = binding.settings
    size = settings.integers("size", rank_of(binding.record), 2)
    how = settings.choice("interpolation", ("nearest", "bilinear"), "nearest")
    if how == "bilinear" and not binding.semantics.resize_half_pixels:
        raise Unsupported("config.interpolation: bilinear of standalone Keras is not replayed")
    return _spatial(partial(_resized, size=size, along=_repeated if how == "nearest" else _blended), binding)


def _resized(x: Array, size: tuple[int, ...], along: Callable[[Array, int, int], Array]) -> Array:
    check_rank(x, len(size))
    for axis, factor in enumerate(size, 1):
        x = along(x, factor, axis)
    return x


def _repeated(x: Array, factor: int, axis: int) -> Array:
    return np.repeat(x, factor, axis=axis)


def _blended(x: Array, factor: int, axis: int) -> Array:
    """Interpolate linearly between the centres of pixels."""
    size = x.shape[axis]
    place = np.maximum((np.arange(size * factor) + 0.5) / factor - 0.5, 0)
    below = np.floor(place).astype(np.intp)
    shape = [1] * x.ndim
    shape[axis] = -1
    share = (place - below).reshape(shape).astype(x.dtype)
    low, high = (np.take(x, np.minimum(index, size - 1), axis=axis) for index in (below, below + 1))
    result: Array = low + (high - low) * share
    return result
