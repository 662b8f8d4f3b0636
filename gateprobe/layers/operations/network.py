"""Nodes of ``keras.ops`` that compute what layers compute, with weights that stand in the graph.

Formulas: ``keras/src/ops/nn.py`` and ``keras/src/backend/tensorflow/nn.py`` 3.15.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gateprobe.activations import softmax
from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import FLOAT32, Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.conv import correlate, depthwise
from gateprobe.layers.normalization import standardized
from gateprobe.layers.operations import dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, axis_of, one_axis, operation
from gateprobe.layers.pooling import adaptive, highest_of_windows, mean_of_windows
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.shape import channels_first
from gateprobe.layers.windows import Window, channels_last, views
from gateprobe.limits import room

Sizes = Callable[[int], tuple[int, ...]]
"""Number of spatial axes → a number for each."""


def _sizes(settings: Settings, key: str, default: Any = None, minimum: int = 1) -> Sizes:
    """Read a number, or one for each spatial axis, of which only the call knows how many there are."""
    given = settings.raw(key, default)
    values = settings.integers(key, 1 if type(given) is int else None, default, minimum)

    def of_rank(rank: int) -> tuple[int, ...]:
        sizes = values * rank if type(given) is int else values
        if len(sizes) != rank:
            raise InputError(f"{key} has {len(sizes)} numbers for {rank} spatial axes")
        return sizes

    return of_rank


def _floats(x: Value) -> Array:
    array = ts.batch(x)
    if array.dtype.kind != "f":
        raise InputError("this operation on integers is not replayed: Keras has no numbers for it")
    return array


def _rank(x: Value) -> int:
    rank = _floats(x).ndim - 2
    if not 1 <= rank <= 3:
        raise InputError(f"expected one to three spatial axes, got an input of shape {ts.batch(x).shape}")
    return rank


def _constant(value: Value, like: Array, axes: int) -> Array:
    if isinstance(value, Tensor):
        raise InputError(f"weights that differ from sample to sample: this {ts.MIXES}")
    array = ts.array_of(value)
    if array.ndim != axes or array.dtype.kind != "f":
        raise InputError(f"expected weights of {axes} axes, got {array.dtype} {array.shape}")
    return array.astype(like.dtype)


# Poolings


def _pool(settings: Settings, floatx: str, *, function: Callable[[Array, Window], Array]) -> Compute:
    size, first = _sizes(settings, "pool_size"), channels_first(settings)
    strides = size if settings.raw("strides") is None else _sizes(settings, "strides")
    padding = settings.choice("padding", ("valid", "same"), "valid")

    def compute(inputs: Value) -> Tensor:
        rank = _rank(inputs)
        window = Window(size(rank), strides(rank), (1,) * rank, padding)
        pooled = channels_last(lambda x: function(x, window), first=first)(_floats(inputs))
        return dtypes.made(pooled, dtypes.name_of(inputs, floatx))

    return compute


operation("MaxPool")(partial(_pool, function=highest_of_windows))
operation("AveragePool")(partial(_pool, function=mean_of_windows))


def _adaptive(settings: Settings, floatx: str, *, maximum: bool) -> Compute:
    size, first = _sizes(settings, "output_size"), channels_first(settings)

    def compute(inputs: Value) -> Tensor:
        sizes = size(_rank(inputs))
        pooled = channels_last(lambda x: adaptive(x, sizes, maximum=maximum), first=first)(_floats(inputs))
        return dtypes.made(pooled, dtypes.name_of(inputs, floatx))

    return compute


operation("AdaptiveMaxPool")(partial(_adaptive, maximum=True))
operation("AdaptiveAveragePool")(partial(_adaptive, maximum=False))


# Convolutions


def _convolution(settings: Settings, *, pointwise: bool = False) -> Callable[[Value, Sequence[Value], Any], Tensor]:
    """Read what convolutions have in common, and return what applies one to an input and its kernels."""
    strides, dilation = _sizes(settings, "strides", 1), _sizes(settings, "dilation_rate", 1)
    padding, first = settings.choice("padding", ("valid", "same"), "valid"), channels_first(settings)

    def apply(inputs: Value, kernels: Sequence[Value], function: Callable[..., Array]) -> Tensor:
        rank, array = _rank(inputs), _floats(inputs)
        given = [_constant(kernel, array, rank + 2) for kernel in kernels]
        window = Window(given[0].shape[:rank], strides(rank), dilation(rank), padding)
        result = channels_last(lambda x: function(x, *given, window), first=first)(array)
        return dtypes.made(result, dtypes.name_of(inputs, "float32"))

    return apply


@operation("Conv")
def _conv(settings: Settings, floatx: str) -> Compute:
    apply = _convolution(settings)

    def convolve(x: Array, kernel: Array, window: Window) -> Array:
        groups, left = divmod(x.shape[-1], max(1, kernel.shape[-2]))
        if left or not groups or kernel.shape[-1] % groups:
            raise InputError(f"a kernel {kernel.shape} does not divide {x.shape[-1]} channels")
        return correlate(x, kernel, groups, window)

    return lambda inputs, kernel: apply(inputs, [kernel], convolve)


@operation("DepthwiseConv")
def _depthwise(settings: Settings, floatx: str) -> Compute:
    apply = _convolution(settings)
    return lambda inputs, kernel: apply(inputs, [kernel], depthwise)


@operation("SeparableConv")
def _separable(settings: Settings, floatx: str) -> Compute:
    apply = _convolution(settings)

    def convolve(x: Array, kernel: Array, pointwise: Array, window: Window) -> Array:
        between = depthwise(x, kernel, window)
        matrix = pointwise.reshape(pointwise.shape[-2:])
        if between.shape[-1] != len(matrix):
            raise InputError(f"expected {len(matrix)} channels after the depthwise part, got {between.shape[-1]}")
        return multiply(between, matrix)

    return lambda inputs, depthwise_kernel, pointwise_kernel: apply(
        inputs, [depthwise_kernel, pointwise_kernel], convolve
    )


# Normalizations


def _in_at_least_float32(x: Value) -> tuple[Array, str]:
    return _floats(x), dtypes.name_of(x, "float32")


def _weights(value: Value, x: Array, axes: tuple[int, ...]) -> Array | None:
    """Return weights so that they broadcast along the axes of ``x``."""
    if value is None:
        return None
    array = ts.array_of(value)
    if isinstance(value, Tensor) or array.ndim == x.ndim:
        (spread,) = ts.operands([value], x.dtype.name)
        if np.broadcast_shapes(spread.shape, x.shape) != x.shape:
            raise InputError(f"weights of shape {array.shape} beside an input of shape {x.shape}")
        return spread
    if axes != (x.ndim - 1,):
        shape = [size if place in axes else 1 for place, size in enumerate(x.shape)]
        if array.size != math.prod(shape):
            raise InputError(f"weights of shape {array.shape} beside an input of shape {x.shape}")
        array = array.reshape(shape)
    if array.ndim > x.ndim or np.broadcast_shapes(array.shape, x.shape) != x.shape:
        raise InputError(f"weights of shape {array.shape} beside an input of shape {x.shape}")
    return array.astype(x.dtype)


@operation("LayerNorm")
def _layer_norm(settings: Settings, floatx: str) -> Compute:
    axis, epsilon = axis_of(settings, default=-1), _epsilon(settings)
    rms_scaling = settings.flag("rms_scaling", False)

    def compute(x: Value, gamma: Value = None, beta: Value = None) -> Tensor:
        array, name = _in_at_least_float32(x)
        axes = tuple(sorted(ts.inner_axes(axis, array.ndim)))
        scale, shift = _weights(gamma, array, axes), _weights(beta, array, axes)
        small = np.asarray(epsilon, array.dtype)
        if rms_scaling:
            result = array * (1 / np.sqrt(array.var(axis=axes, keepdims=True) + small))
            return dtypes.made(result if scale is None else result * scale, name)
        return dtypes.made(standardized(array, axes, epsilon, scale, shift, FLOAT32), name)

    return compute


def _epsilon(settings: Settings) -> float:
    return 1e-7 if settings.raw("epsilon") is None else settings.number("epsilon")


@operation("RMSNorm")
def _rms_norm(settings: Settings, floatx: str) -> Compute:
    axis, epsilon = axis_of(settings, default=-1), _epsilon(settings)

    def compute(x: Value, scale: Value = None) -> Tensor:
        array, name = _in_at_least_float32(x)
        axes = ts.inner_axes(axis, array.ndim)
        root = np.sqrt(np.square(array).mean(axis=axes, keepdims=True) + np.asarray(epsilon, array.dtype))
        result = array * (1 / root)
        weights = None if scale is None else ts.operands([x, scale], array.dtype.name)[1]
        return dtypes.made(result if weights is None else result * weights, name)

    return compute


@operation("BatchNorm")
def _batch_norm(settings: Settings, floatx: str) -> Compute:
    axis, epsilon = one_axis(settings), settings.number("epsilon", 1e-3)

    def compute(x: Value, mean: Value, variance: Value, offset: Value = None, scale: Value = None) -> Tensor:
        array, name = _in_at_least_float32(x)
        place = ts.inner_axis(axis, array.ndim)
        moved = [_statistics(one, array, place, last=axis == -1) for one in (mean, variance, offset, scale)]
        center, spread, shift, factor = moved
        if center is None or spread is None:
            raise InputError("a mean or a variance is missing")
        inverse = 1 / np.sqrt(spread + np.asarray(epsilon, array.dtype))
        inverse = inverse if factor is None else inverse * factor
        rest = -center * inverse if shift is None else shift - center * inverse
        return dtypes.made(array * inverse + rest, name)

    return compute


def _statistics(value: Value, x: Array, place: int, *, last: bool) -> Array | None:
    if value is None:
        return None
    array = ts.array_of(value)
    if last:
        return ts.operands([Tensor(x), value], x.dtype.name)[1]
    if isinstance(value, Tensor) or array.shape != (x.shape[place],):
        raise InputError(f"statistics of shape {array.shape} along axis {place} of an input of shape {x.shape}")
    shape = [size if axis == place else 1 for axis, size in enumerate(x.shape)]
    return array.astype(x.dtype).reshape(shape)


# Attention


@operation("DotProductAttention")
def _attention(settings: Settings, floatx: str) -> Compute:
    causal = settings.flag("is_causal", False)
    settings.ignore("flash_attention", "attn_logits_soft_cap")

    def compute(
        query: Value, key: Value, value: Value, bias: Value = None, mask: Value = None, scale: Any = None
    ) -> Tensor:
        name = dtypes.common(floatx, (query, key, value))
        arrays = [dtypes.converted(_floats(one), name) for one in (query, key, value)]
        if any(array.ndim != 4 for array in arrays):
            raise InputError("expected (samples, timesteps, heads, features)")
        heads = [np.moveaxis(array, 1, 2) for array in _shared(arrays)]
        if scale is not None and (isinstance(scale, bool) or not isinstance(scale, (int, float))):
            raise InputError(f"a scale of {scale!r:.40} is not replayed")
        factor = 1 / math.sqrt(heads[1].shape[-1]) if scale is None else scale
        return dtypes.made(np.moveaxis(_attended(heads, bias, mask, factor, name, causal=causal), 1, 2), name)

    return compute


def _shared(arrays: list[Array]) -> list[Array]:
    """Let groups of query heads share a key head."""
    query, key, value = arrays
    groups, left = divmod(query.shape[2], key.shape[2])
    if left or key.shape[2] != value.shape[2] or (groups > 1 and key.shape[2] == 1):
        raise InputError(f"{query.shape[2]} query heads beside {key.shape[2]} key heads")
    return [query, room.repeat(key, groups, 2), room.repeat(value, groups, 2)]


def _attended(heads: list[Array], bias: Value, mask: Value, scale: float, name: str, *, causal: bool) -> Array:
    query, key, value = heads
    scores = dtypes.converted(room.matmul(query, key.swapaxes(-1, -2)), name) * np.asarray(scale, query.dtype)
    if bias is not None:
        scores = scores + dtypes.converted(ts.operands([Tensor(scores), bias], scores.dtype.name)[1], name)
    kept = np.ones_like(scores, bool)
    if mask is not None:
        kept = kept & ts.operands([Tensor(scores), mask], "bool")[1]
    if causal:
        kept = kept & room.tri(*scores.shape[-2:])
    if mask is not None or causal:
        scores = np.where(kept, scores, np.asarray(-0.7 * 3.38953e38, scores.dtype))
    return room.matmul(dtypes.converted(softmax(scores, (3,)), name), value)


# Pictures and patches


def _blocks(settings: Settings) -> tuple[int, bool]:
    return settings.integer("block_size", minimum=2), channels_first(settings)


@operation("DepthToSpace")
def _depth_to_space(settings: Settings, floatx: str) -> Compute:
    size, first = _blocks(settings)

    return lambda x: channels_last(partial(depth_to_space, size=size), first=first)(ts.batch(x))


def depth_to_space(x: Array, size: int) -> Array:
    """Spread channels over squares of pixels."""
    count, height, width, channels = x.shape
    blocks = x.reshape(count, height, width, size, size, channels // size**2).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, height * size, width * size, channels // size**2)


@operation("SpaceToDepth")
def _space_to_depth(settings: Settings, floatx: str) -> Compute:
    size, first = _blocks(settings)

    return lambda x: channels_last(partial(space_to_depth, size=size), first=first)(ts.batch(x))


def space_to_depth(x: Array, size: int) -> Array:
    """Gather squares of pixels into channels."""
    count, height, width, channels = x.shape
    blocks = x.reshape(count, height // size, size, width // size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, height // size, width // size, channels * size**2)


@operation("Unfold")
def _unfold(settings: Settings, floatx: str) -> Compute:
    size, dilation, stride = (_sizes(settings, key, 1)(2) for key in ("kernel_size", "dilation", "stride"))
    margins = _sizes(settings, "padding", 0, minimum=0)(2)

    def compute(x: Value) -> Array:
        array = _floats(x)
        padded = room.pad(array, [(0, 0), (0, 0), *((margin, margin) for margin in margins)])
        windows = views(np.moveaxis(padded, 1, -1), Window(size, stride, dilation, "valid"))
        room.copying(windows)
        patches = windows.transpose(0, 3, 4, 5, 1, 2)
        return patches.reshape(len(array), array.shape[1] * math.prod(size), -1)

    return compute


@operation("Fold")
def _fold(settings: Settings, floatx: str) -> Compute:
    size, dilation, stride = (_sizes(settings, key, 1)(2) for key in ("kernel_size", "dilation", "stride"))
    margins, output = _sizes(settings, "padding", 0, minimum=0)(2), _sizes(settings, "output_size")(2)
    full = tuple(length + 2 * margin for length, margin in zip(output, margins, strict=True))
    counts = tuple(
        (length - step * (extent - 1) - 1) // jump + 1
        for length, step, extent, jump in zip(full, dilation, size, stride, strict=True)
    )
    if min(counts) < 1:
        raise Unsupported(f"config.output_size: {output} is smaller than the kernel {size}")

    def compute(x: Value) -> Tensor:
        array = _floats(x)
        patches = array.reshape(len(array), array.shape[1] // math.prod(size), *size, *counts)
        whole = room.zeros((*patches.shape[:2], *full), array.dtype)
        for row in range(size[0]):
            for column in range(size[1]):
                rows, columns = (
                    slice(at * step, at * step + (count - 1) * jump + 1, jump)
                    for at, step, count, jump in zip((row, column), dilation, counts, stride, strict=True)
                )
                whole[:, :, rows, columns] += patches[:, :, row, column]
        inner = whole[:, :, margins[0] : full[0] - margins[0], margins[1] : full[1] - margins[1]]
        return dtypes.made(inner, dtypes.name_of(x, floatx))

    return compute


_GRAY = (0.2989, 0.5870, 0.1140)


def gray(x: Array) -> Array:
    """Return the brightness of red, green and blue, as one channel."""
    if x.shape[-1] != 3:
        raise InputError(f"expected three channels, got {x.shape[-1]}")
    total: Array = (x * np.asarray(_GRAY, x.dtype)).sum(axis=-1, keepdims=True)
    return total


@operation("RGBToGrayscale")
def _grayscale(settings: Settings, floatx: str) -> Compute:
    first = channels_first(settings)
    return lambda images: dtypes.made(channels_last(gray, first=first)(_floats(images)), dtypes.name_of(images, floatx))


def _borders(settings: Settings, what: str) -> Callable[[tuple[int, int]], list[tuple[int, int]]]:
    """Read how much is padded or cropped on each side; of a given target size, one side may be left open."""
    keys = (("top", "bottom", "height"), ("left", "right", "width"))
    given = [
        [
            None if settings.raw(key) is None else settings.integer(key, minimum=0)
            for key in (f"{before}_{what}", f"{after}_{what}", f"target_{size}")
        ]
        for before, after, size in keys
    ]

    def of_sizes(sizes: tuple[int, int]) -> list[tuple[int, int]]:
        return [
            _both((before, after, target), size, what)
            for (before, after, target), size in zip(given, sizes, strict=True)
        ]

    return of_sizes


def _both(given: tuple[int | None, int | None, int | None], size: int, what: str) -> tuple[int, int]:
    before, after, target = given
    if given.count(None) != 1:
        raise InputError(f"expected two of three numbers for a {what}")
    if target is not None:
        total = target - size if what == "padding" else size - target
        before = total - after if before is None and after is not None else before
        after = total - before if after is None and before is not None else after
    if before is None or after is None or min(before, after) < 0:
        raise InputError(f"a {what} of {before} and {after}")
    return before, after


@operation("PadImages")
def _pad_images(settings: Settings, floatx: str) -> Compute:
    borders, first = _borders(settings, "padding"), channels_first(settings)

    def pad(x: Array) -> Array:
        return room.pad(x, [(0, 0), *borders(x.shape[1:3]), (0, 0)])

    return lambda images: channels_last(pad, first=first)(_picture(images))


@operation("CropImages")
def _crop_images(settings: Settings, floatx: str) -> Compute:
    borders, first = _borders(settings, "cropping"), channels_first(settings)

    def crop(x: Array) -> Array:
        (top, bottom), (left, right) = borders(x.shape[1:3])
        return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]

    return lambda images: channels_last(crop, first=first)(_picture(images))


def _picture(x: Value) -> Array:
    array = ts.batch(x)
    if array.ndim != 4:
        raise InputError(f"expected pictures of four axes, got an input of shape {array.shape}")
    return array
