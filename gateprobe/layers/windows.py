"""Sliding windows over the spatial axes, shared by convolutions and poolings.

Padding ``same`` gives ``ceil(size / stride)`` windows. TensorFlow pads as much as they need, the odd one at the end;
Theano pads in front by the size of the window alone (``conv2d`` and ``pool2d`` in ``theano_backend.py`` 2.3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.limits import room
from gateprobe.semantics import SamePadding, Semantics


@dataclass(frozen=True, slots=True)
class Window:
    """The geometry of a convolution or pooling, one number for each spatial axis."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    """``valid``, ``same`` or ``causal`` (all of it before the first timestep)."""
    in_front: tuple[int, ...] | None = None
    """How much ``same`` pads before each axis, where that does not depend on the axis's size."""

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def extent(self) -> tuple[int, ...]:
        """Size of the dilated window."""
        return tuple((size - 1) * step + 1 for size, step in zip(self.size, self.dilation, strict=True))

    def margins(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        """How much to pad before and after each spatial axis of the given sizes."""
        if self.padding == "valid":
            return [(0, 0)] * self.rank
        if self.padding == "causal":
            return [(extent - 1, 0) for extent in self.extent]
        missing = [
            (-(-size // stride) - 1) * stride + extent - size
            for size, stride, extent in zip(sizes, self.strides, self.extent, strict=True)
        ]
        before = self.in_front or [max(total, 0) // 2 for total in missing]
        return [(front, max(total - front, 0)) for total, front in zip(missing, before, strict=True)]


def read_window(settings: Settings, rank: int, size_key: str, *, causal: bool = False) -> Window:
    """Read a window from a configuration.

    Args:
        settings: Of the layer.
        rank: Number of spatial axes.
        size_key: ``kernel_size`` or ``pool_size``.
        causal: Whether the layer knows causal padding.
    """
    size = settings.integers(size_key, rank, default=2 if size_key == "pool_size" else None)
    pooling = size_key == "pool_size"
    strides = settings.raw("strides", None if pooling else 1)
    window = Window(
        size=size,
        strides=size if strides is None and pooling else settings.integers("strides", rank, 1),
        dilation=settings.integers("dilation_rate", rank, 1),
        padding=settings.choice("padding", ("valid", "same", "causal") if causal else ("valid", "same"), "valid"),
    )
    return padded_as_in(settings.semantics, window, before_pooling if pooling else before_convolution)


def padded_as_in(semantics: Semantics, window: Window, in_front: Callable[[int], int]) -> Window:
    """Return a window that pads to ``same`` as the file's backend does.

    Args:
        semantics: Of the file.
        window: As TensorFlow pads.
        in_front: How much Theano pads before an axis, by the extent of the window.

    Raises:
        Unsupported: That is not certain.
    """
    front = tuple(map(in_front, window.extent))
    halves = all(2 * before == extent - 1 for before, extent in zip(front, window.extent, strict=True))
    if window.padding != "same" or (halves and set(window.strides) == {1}):  # all backends agree
        return window
    if semantics.same_padding is SamePadding.UNCERTAIN:
        raise Unsupported("config.padding: 'same' of the CNTK backend is replayed for odd windows without strides only")
    return replace(window, in_front=front) if semantics.same_padding is SamePadding.IN_FRONT else window


def before_convolution(extent: int) -> int:
    """Return how much Theano pads before an axis that a convolution goes along."""
    return extent // 2


def before_pooling(extent: int) -> int:
    """Return how much Theano pads before an axis that a pooling goes along."""
    return extent - 2 if extent > 2 and extent % 2 else extent - 1


def check_rank(x: Array, rank: int) -> None:
    """Check that there are ``rank`` spatial axes between samples and channels.

    Raises:
        InputError: There are more or fewer.
    """
    if x.ndim != rank + 2:
        raise InputError(f"expected {rank + 2} axes, got an input of shape {x.shape}")


def views(x: Array, window: Window, fill: float = 0.0) -> Array:
    """Return every window of ``x``.

    Args:
        x: ``(samples, *spatial, channels)``.
        window: Its geometry.
        fill: What the padding holds.

    Returns:
        Read-only view ``(samples, *positions, channels, *size)`` of the padded input.

    Raises:
        InputError: The input has not the window's number of axes, or is smaller than the window.
    """
    check_rank(x, window.rank)
    sizes = x.shape[1:-1]
    margins = window.margins(sizes)
    if any(map(any, margins)):
        x = room.pad(x, [(0, 0), *margins, (0, 0)], constant_values=fill)
    if any(size < extent for size, extent in zip(x.shape[1:-1], window.extent, strict=True)):
        raise InputError(f"an input of size {sizes} is smaller than the window {window.extent}")
    spatial = tuple(range(1, window.rank + 1))
    every: Array = np.lib.stride_tricks.sliding_window_view(x, window.extent, axis=spatial)
    steps = tuple(slice(None, None, stride) for stride in window.strides)
    inside = tuple(slice(None, None, step) for step in window.dilation)
    return every[(slice(None), *steps, slice(None), *inside)]


def channels_last(function: Callable[[Array], Array], *, first: bool) -> Callable[[Array], Array]:
    """Let a function on ``(samples, *spatial, channels)`` work on data with the channels first, too."""
    if not first:
        return function
    return lambda x: np.moveaxis(function(np.moveaxis(x, 1, -1)), -1, 1)
