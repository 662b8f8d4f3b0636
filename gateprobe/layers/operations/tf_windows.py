"""Convolutions, poolings and resizing of ``tf.nn`` and ``tf.image``, with weights that stand in the graph.

Meanings: the documentation of TensorFlow 2.21; what they compute: `gateprobe.layers.conv`, `gateprobe.layers.pooling`
and `gateprobe.layers.resizing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.conv import correlate, depthwise
from gateprobe.layers.operations import dtypes, tf_sizes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.pooling import highest_of_windows, mean_of_windows
from gateprobe.layers.resizing import RESIZERS, resized
from gateprobe.layers.sizes import constant
from gateprobe.layers.windows import Window, channels_last

_LAST = (None, "NWC", "NHWC", "NDHWC")
_FIRST = ("NCW", "NCHW", "NCDHW")


def _floats(x: Value, rank: int | None = None) -> Array:
    array = ts.batch(x)
    if array.dtype.kind != "f" or array.ndim not in ((3, 4, 5) if rank is None else (rank + 2,)):
        raise InputError(f"windows over {array.dtype} of shape {array.shape} are not replayed")
    return array


def _first(layout: Any) -> bool:
    if layout not in (*_LAST, *_FIRST):
        raise InputError(f"data_format={layout!r:.40} is not replayed")
    return layout in _FIRST


def _each(value: Any, rank: int, *, first: bool) -> tuple[int, ...]:
    """Return a number for each spatial axis, of one for all, one for each, or one for each axis of the tensor."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(given) == rank + 2:
        ends = (given[0], given[1] if first else given[-1])
        given = given[2:] if first else given[1:-1]
        if ends != (1, 1):
            raise InputError(f"windows that skip samples or channels {ts.MIXES}")
    sizes = given * rank if len(given) == 1 else given
    if len(sizes) != rank or not all(type(size) is int and size > 0 for size in sizes):
        raise InputError(f"{value!r:.40} are no sizes of a window over {rank} axes")
    return sizes


def _padding(value: Any) -> str:
    if value not in ("SAME", "VALID"):
        raise InputError(f"padding={value!r:.40} is not replayed")
    return str(value).lower()


def _weights(value: Value, like: Array) -> Array:
    kernel = ts.array_of(constant(value))
    if isinstance(value, Tensor) or kernel.ndim != like.ndim or kernel.dtype.kind not in "iuf":
        raise InputError(f"only constant weights with {like.ndim} axes are replayed")
    return kernel.astype(like.dtype)


def _convolved(
    floatx: str,
    x: Value,
    filters: Value,
    strides: Any = 1,
    padding: Any = "VALID",
    data_format: Any = None,
    dilations: Any = None,
    *,
    rank: int | None = None,
    each: bool = False,
) -> Tensor:
    array, first = _floats(x, rank), _first(data_format)
    kernel, axes = _weights(filters, array), array.ndim - 2
    steps, holes = (_each(1 if value is None else value, axes, first=first) for value in (strides, dilations))
    window = Window(kernel.shape[:axes], steps, holes, _padding(padding))

    def convolve(pixels: Array) -> Array:
        if each:
            return depthwise(pixels, kernel, window)
        groups, left = divmod(pixels.shape[-1], max(1, kernel.shape[-2]))
        if left or not groups or kernel.shape[-1] % groups:
            raise InputError(f"a kernel {kernel.shape} does not divide {pixels.shape[-1]} channels")
        return correlate(pixels, kernel, groups, window)

    return dtypes.made(channels_last(convolve, first=first)(array), dtypes.name_of(x, floatx))


def _pooled(
    floatx: str,
    x: Value,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: Any = None,
    *,
    rank: int | None = None,
    function: Callable[[Array, Window], Array],
) -> Tensor:
    array, first = _floats(x, rank), _first(data_format)
    axes = array.ndim - 2
    size, steps = (_each(value, axes, first=first) for value in (ksize, strides))
    window = Window(size, steps, (1,) * axes, _padding(padding))
    pooled = channels_last(lambda pixels: function(pixels, window), first=first)(array)
    return dtypes.made(pooled, dtypes.name_of(x, floatx))


def _resized(floatx: str, images: Value, size: Any, method: Any = "bilinear") -> Tensor:
    array, sizes = ts.batch(images), tf_sizes.shape_of(size)
    if method not in RESIZERS or array.ndim != 4 or len(sizes) != 2 or min(sizes) < 1:
        raise InputError(f"resizing {array.shape} to {sizes} by {method!r:.40} is not replayed")
    if method != "nearest":  # what is interpolated becomes float32, whatever it was
        array = array.astype(floatx)
    result = resized(array, sizes, str(method))
    return dtypes.made(result, dtypes.name_of(images, floatx) if method == "nearest" else floatx)


_CONV = ("strides", "padding", "data_format", "dilations")
_POOL = ("ksize", "strides", "padding", "data_format")

WINDOWS: Mapping[str, tuple[tuple[str, ...], Callable[..., Tensor]]] = {
    "nn.conv1d": (
        ("input", "filters", "stride", "padding", "data_format", "dilations"),
        lambda floatx, x, filters, stride=1, *rest, **options: _convolved(
            floatx, x, filters, stride, *rest, rank=1, **options
        ),
    ),
    "nn.conv2d": (("input", "filters", *_CONV), partial(_convolved, rank=2)),
    "nn.conv3d": (("input", "filters", *_CONV), partial(_convolved, rank=3)),
    "nn.convolution": (("input", "filters", *_CONV), _convolved),
    "nn.depthwise_conv2d": (
        ("input", "filter", *_CONV),
        lambda floatx, x, filter, *rest, **options: _convolved(  # noqa: A006  # TensorFlow's name
            floatx, x, filter, *rest, rank=2, each=True, **options
        ),
    ),
    **{
        f"nn.{kind}_pool{suffix}": (("input", *_POOL), partial(_pooled, rank=rank, function=function))
        for kind, function in (("avg", mean_of_windows), ("max", highest_of_windows))
        for suffix, rank in (("", None), ("1d", 1), ("2d", 2), ("3d", 3))
    },
    "image.resize": (("images", "size", "method"), _resized),
}
"""Name of a function → its parameters, and the function."""
