"""Padding with zeros and cropping along the spatial axes. Keras drops the mask in all of them.

Formulas: ``keras/src/layers/reshaping/*.py`` 3.15.1, ``tf_keras/src/layers/reshaping`` 2.21.
"""

from __future__ import annotations

from functools import partial

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Layer
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.conv import rank_of
from gateprobe.layers.shape import spatial
from gateprobe.layers.windows import check_rank
from gateprobe.limits import room

Margins = tuple[tuple[int, int], ...]


def _margins(settings: Settings, key: str, rank: int, default: int) -> Margins:
    """Read how much to add or remove before and after each spatial axis.

    Known are one int for all, one int or pair for each axis, and Keras 1's four ints for an image.
    """
    value = settings.raw(key, default)
    if isinstance(value, int):
        value = [value] * rank
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
    return spatial(partial(_padded, margins=margins), binding, keeps_integers=True)


def _padded(x: Array, margins: Margins) -> Array:
    check_rank(x, len(margins))
    return room.pad(x, [(0, 0), *margins, (0, 0)])


@replays("Cropping1D", "Cropping2D", "Cropping3D")
def _bind_cropping(binding: Binding) -> Layer:
    rank = rank_of(binding.record)
    margins = _margins(binding.settings, "cropping", rank, default=0 if rank == 2 else 1)
    return spatial(partial(_cropped, margins=margins), binding, keeps_integers=True)


def _cropped(x: Array, margins: Margins) -> Array:
    check_rank(x, len(margins))
    if any(sum(margin) >= size for margin, size in zip(margins, x.shape[1:-1], strict=True)):
        raise InputError(f"nothing is left of an input of shape {x.shape} after cropping {margins}")
    kept = (slice(before, size - after) for (before, after), size in zip(margins, x.shape[1:-1], strict=True))
    return x[(slice(None), *kept)]
