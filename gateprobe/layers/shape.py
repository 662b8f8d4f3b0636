"""Layers that only move numbers: flatten, reshape, permute, repeat; and the order of axes in images.

Formulas: ``keras/src/layers/reshaping/*.py`` 3.15.1. Keras drops the mask in all of them.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Layer
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.unary import Function, Unary
from gateprobe.layers.windows import channels_last
from gateprobe.limits import room

_FORMATS = ("channels_last", "channels_first", None)


def channels_first(settings: Settings) -> bool:
    """Read ``data_format``; a configuration without one means channels last.

    Raises:
        Unsupported: It is neither, or Keras 1 did not save it and no other layer of the model tells it.
    """
    if settings.raw("data_format") == "unsaid":
        raise Unsupported(
            "config.dim_ordering: Keras 1 does not save it for this layer, and no other layer tells it, or they differ"
        )
    return bool(settings.choice("data_format", _FORMATS) == "channels_first")


def spatial(function: Function, binding: Binding, *, keeps_integers: bool = False) -> Layer:
    """Finish the settings of a layer that is a function of ``(samples, *spatial, channels)``, in either data format.

    Keras drops the mask in all of them.
    """
    first = channels_first(binding.settings)
    binding.settings.finish()
    function = channels_last(function, first=first)
    return Unary(function, binding.precision, keeps_mask=False, keeps_integers=keeps_integers)


def _mover(function: Function, binding: Binding) -> Unary:
    binding.settings.finish()
    return Unary(function, binding.precision, keeps_mask=False, keeps_integers=True)


def _flatten(x: Array, channels_first: bool) -> Array:
    if channels_first and x.ndim > 1:
        x = np.moveaxis(x, 1, -1)
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


@replays("Flatten")
def _bind_flatten(binding: Binding) -> Layer:
    return _mover(partial(_flatten, channels_first=channels_first(binding.settings)), binding)


def _reshape(x: Array, target: tuple[int, ...]) -> Array:
    known = int(np.prod([size for size in target if size != -1]))
    size = int(np.prod(x.shape[1:]))
    if (size % known if -1 in target and known else size != known) or (not known and -1 in target):
        raise InputError(f"{size} values in each sample cannot be reshaped to {target}")
    return x.reshape(len(x), *(size // known if wanted == -1 else wanted for wanted in target))


@replays("Reshape")
def _bind_reshape(binding: Binding) -> Layer:
    given = binding.settings.raw("target_shape")
    if isinstance(given, (list, tuple)):  # Keras 3 takes None for -1
        given = [-1 if size is None else size for size in given]
    if not isinstance(given, list) or any(isinstance(v, bool) or not isinstance(v, int) or v < -1 for v in given):
        raise Unsupported(f"config.target_shape: expected a list of sizes, got {given!r:.60}")
    if given.count(-1) > 1:
        raise Unsupported(f"config.target_shape: more than one unknown size in {given}")
    return _mover(partial(_reshape, target=tuple(given)), binding)


def _permute(x: Array, dims: tuple[int, ...]) -> Array:
    if x.ndim != len(dims) + 1:
        raise InputError(f"expected {len(dims) + 1} axes, got an input of shape {x.shape}")
    return x.transpose(0, *dims)


@replays("Permute")
def _bind_permute(binding: Binding) -> Layer:
    dims = binding.settings.integers("dims")
    if sorted(dims) != list(range(1, len(dims) + 1)):
        raise Unsupported(f"config.dims: {list(dims)} is not an order of the axes 1..{len(dims)}")
    return _mover(partial(_permute, dims=dims), binding)


def _repeat(x: Array, times: int) -> Array:
    if x.ndim != 2:
        raise InputError(f"expected 2 axes (samples, features), got an input of shape {x.shape}")
    return room.repeat(x[:, np.newaxis], times, 1)


@replays("RepeatVector")
def _bind_repeat(binding: Binding) -> Layer:
    return _mover(partial(_repeat, times=binding.settings.integer("n")), binding)
