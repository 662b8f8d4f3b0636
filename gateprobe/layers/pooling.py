"""Pooling: the maximum or mean of windows, of everything, or of a given number of windows.

Formulas: ``keras/src/layers/pooling/*.py`` and ``keras/src/backend/tensorflow/nn.py`` 3.15.1, ``tf_keras`` 2.21. Keras
drops the mask in all of them; the mean over time uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.conv import rank_of
from gateprobe.layers.shape import channels_first, spatial
from gateprobe.layers.unary import fitting, mask_of
from gateprobe.layers.windows import Window, check_rank, read_window, views
from gateprobe.limits import room

_BOUND = 400
"""Bytes that one window of an adaptive pooling takes beside its numbers."""


@replays("MaxPooling1D", "MaxPooling2D", "MaxPooling3D")
def _bind_max(binding: Binding) -> Layer:
    window = read_window(binding.settings, rank_of(binding.record), "pool_size")
    return spatial(partial(highest_of_windows, window=window), binding)


def highest_of_windows(x: Array, window: Window) -> Array:
    """Return the maximum of every window of ``(samples, *spatial, channels)``."""
    highest: Array = views(x, window, fill=-np.inf).max(axis=tuple(range(-window.rank, 0)))
    return highest


@replays("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
def _bind_average(binding: Binding) -> Layer:
    window = read_window(binding.settings, rank_of(binding.record), "pool_size")
    return spatial(partial(mean_of_windows, window=window), binding)


def mean_of_windows(x: Array, window: Window) -> Array:
    """Average what lies inside the input; padding does not count."""
    axes = tuple(range(-window.rank, 0))
    total: Array = views(x, window).sum(axis=axes)
    count: Array = views(room.full((1, *x.shape[1:-1], 1), 1, x.dtype), window).sum(axis=axes)
    return total / count


@dataclass(frozen=True, slots=True, eq=False)
class GlobalPooling:
    """The maximum or mean over all spatial axes."""

    rank: int
    maximum: bool
    first: bool
    """Whether the channels come before the spatial axes."""
    keepdims: bool
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Pool one tensor. A mean over time leaves out masked timesteps."""
        tensor = call.tensor
        x = self.precision.cast(tensor.value)
        check_rank(x, self.rank)
        axes = tuple(range(2, self.rank + 2) if self.first else range(1, self.rank + 1))
        mask = mask_of(call, tensor)
        with fitting(x):
            if self.maximum:
                result = x.max(axis=axes, keepdims=self.keepdims)
            elif mask is None or self.rank > 1:
                result = x.mean(axis=axes, keepdims=self.keepdims)
            else:
                result = self._masked_mean(x, mask, axes)
        return (Tensor(self.precision.round(result)),)

    def _masked_mean(self, x: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        weights = np.expand_dims(mask, 1 if self.first else 2)
        kept = np.where(weights, x, np.zeros((), x.dtype)).sum(axis=axes, keepdims=self.keepdims)
        mean: Array = kept / weights.astype(x.dtype).sum(axis=axes, keepdims=self.keepdims)
        return mean


@replays("GlobalAveragePooling1D", takes=("inputs", "mask"))
@replays(*(f"GlobalMaxPooling{rank}D" for rank in (1, 2, 3)), "GlobalAveragePooling2D", "GlobalAveragePooling3D")
def _bind_global(binding: Binding) -> Layer:
    first, keepdims = channels_first(binding.settings), binding.settings.flag("keepdims", False)
    binding.settings.finish()
    maximum = "Max" in binding.record.class_name
    return GlobalPooling(rank_of(binding.record), maximum, first, keepdims, binding.precision)


@replays(*(f"Adaptive{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)))
def _bind_adaptive(binding: Binding) -> Layer:
    sizes = binding.settings.integers("output_size", rank_of(binding.record))
    return spatial(partial(adaptive, sizes=sizes, maximum="Max" in binding.record.class_name), binding)


def adaptive(x: Array, sizes: tuple[int, ...], *, maximum: bool) -> Array:
    """Pool each spatial axis to a given size with windows that differ in size by at most two."""
    check_rank(x, len(sizes))
    for axis, size in enumerate(sizes, 1):
        length = x.shape[axis]
        room.afford(size * (x.nbytes // max(1, length) + _BOUND))
        bounds = [(n * length // size, -(-(n + 1) * length // size)) for n in range(size)]
        parts = [room.take(x, range(start, end), axis) for start, end in bounds]
        x = room.stack([part.max(axis=axis) if maximum else part.mean(axis=axis) for part in parts], axis)
    return x
