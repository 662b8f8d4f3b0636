"""Convolutions: ordinary, depthwise, separable.

Formulas: ``keras/src/layers/convolutional/*.py`` 3.15.1, ``tf_keras`` 2.21. How older files store kernels:
``keras/engine/topology.py::preprocess_weights_for_loading`` 2.0.4 and ``keras/layers/convolutional.py`` 1.0.8, 1.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.activations import Activation, before_positions
from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Layer, Precision
from gateprobe.layers.binding.registry import Binding, Slot, replays, with_bias
from gateprobe.layers.binding.settings import OtherWeights, Settings, Unsupported
from gateprobe.layers.core import biased, refuse_stray_bias
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.shape import channels_first, spatial
from gateprobe.layers.unary import Function
from gateprobe.layers.windows import Window, read_window, views
from gateprobe.limits import room


def rank_of(record: LayerRecord) -> int:
    """Return the number of spatial axes, which stands in the class name: ``Conv2DTranspose`` → 2."""
    return next(int(letter) for letter in record.class_name if letter.isdigit())


def kernel_slot(role: str, settings: Settings, rank: int, *tail: int | None) -> Slot:
    """Return the slot of a kernel of shape ``(*kernel_size, *tail)``.

    Keras 1 stores other shapes, which `stored_kernel` turns into this one.
    """
    if settings.semantics.keras1_kernels:
        return Slot(role, (None,) * max(rank + 2, 4))
    return Slot(role, (*settings.integers("kernel_size", rank), *tail))


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    filters = settings.integer("filters")
    return with_bias((kernel_slot("kernel", settings, rank_of(record), None, filters),), settings, filters)


def is_convolution(record: LayerRecord) -> bool:
    """Whether a layer convolves, also one that does so at each timestep."""
    return "Conv" in record.class_name


def flips(record: LayerRecord) -> bool:
    """Whether a layer flips its kernels on Theano, which convolves where all others correlate.

    Keras flips those of depthwise convolutions back: ``depthwise_conv2d`` and ``_preprocess_conv2d_depthwise_kernel``
    in ``keras/backend/theano_backend.py`` 2.1.6, 2.3.1.
    """
    return is_convolution(record) and not record.class_name.startswith(("Depthwise", "Separable"))


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """What convolutions of all kinds share."""

    window: Window
    bias: Array | None
    activation: Activation
    precision: Precision
    bias_goes_astray: bool

    def finished(self, product: Array) -> Array:
        """Add the bias and apply the activation to ``(samples, *positions, filters)``."""
        if self.bias is not None and self.bias.shape != product.shape[-1:]:
            raise InputError(f"the bias has {self.bias.shape[0]} values for {product.shape[-1]} filters")
        if self.bias is not None and self.bias_goes_astray:
            refuse_stray_bias(_as_channels_first(product.shape), (len(self.bias), *[1] * (product.ndim - 2)))
        return biased(product, self.bias, self.activation, self.precision)


def convolution_of(binding: Binding, *, causal: bool = False) -> Convolution:
    """Read the settings that convolutions of all kinds share."""
    settings, activation = binding.settings, binding.settings.activation("activation")
    return Convolution(
        read_window(settings, rank_of(binding.record), "kernel_size", causal=causal),
        binding.weights.get("bias"),
        before_positions(activation) if channels_first(settings) else activation,
        binding.precision,
        binding.semantics.bias_goes_astray and channels_first(settings),
    )


def _as_channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[-1], *shape[1:-1])


def finished(binding: Binding, function: Function) -> Layer:
    """Finish the settings and let the function work on either data format."""
    binding.settings.ignore("filters", "use_bias", "groups", "depth_multiplier", "input_dim")
    return spatial(function, binding)


def stored_kernel(binding: Binding, role: str, *, transposed: bool = False) -> Array:
    """Return a kernel as today's Keras would store it: ``(*kernel_size, inputs, filters)``.

    Args:
        binding: Of the layer.
        role: Of the weight.
        transposed: Whether the layer is a transposed convolution, with ``(*kernel_size, filters, inputs)``.

    Raises:
        Unsupported: A Keras 1 kernel has none of the shapes that Keras 1 wrote.
    """
    kernel, rank = binding.weights[role], rank_of(binding.record)
    if binding.semantics.keras1_kernels:
        kernel = _from_keras1(binding, kernel, rank, transposed=transposed)
    if binding.semantics.theano and flips(binding.record):
        kernel = np.flip(kernel, axis=tuple(range(rank)))
    return kernel


def _from_keras1(binding: Binding, kernel: Array, rank: int, *, transposed: bool) -> Array:
    size, last = binding.settings.integers("kernel_size", rank), not channels_first(binding.settings)
    if rank == 1:
        filters = binding.settings.integer("filters")
        if kernel.shape[:2] == (size[0], 1) and kernel.shape[3] == filters:
            return kernel[:, 0]
        if kernel.shape[0] == filters and kernel.shape[2:] == (size[0], 1):  # before 1.1
            return kernel.transpose(2, 3, 1, 0)[:, 0]
        raise Unsupported(f"kernel: {kernel.shape} is no shape in which Keras 1 stores one")
    if not last:
        kernel = np.moveaxis(kernel, (0, 1), (-2, -1) if transposed else (-1, -2))
    elif transposed:
        kernel = kernel.swapaxes(-2, -1)
    if kernel.shape[:rank] != size and kernel.shape[:rank] != (1,) * rank:
        raise OtherWeights(f"kernel: expected a window of {size}, the file holds {kernel.shape}")
    return kernel


@replays("Conv1D", "Conv2D", "Conv3D", slots=_slots)
def _bind_conv(binding: Binding) -> Layer:
    convolution = convolution_of(binding, causal=rank_of(binding.record) == 1)
    kernel, groups = stored_kernel(binding, "kernel"), binding.settings.integer("groups", 1)
    if kernel.shape[-1] % groups:
        raise Unsupported(f"config.groups: {kernel.shape[-1]} filters cannot be divided into {groups} groups")
    return finished(binding, partial(_convolved, kernel=kernel, groups=groups, convolution=convolution))


def _convolved(x: Array, kernel: Array, groups: int, convolution: Convolution) -> Array:
    return convolution.finished(correlate(x, kernel, groups, convolution.window))


def correlate(x: Array, kernel: Array, groups: int, window: Window) -> Array:
    """Multiply every window of the input with a kernel.

    Args:
        x: ``(samples, *spatial, channels)``.
        kernel: ``(*size, channels / groups, filters)``.
        groups: Number of groups of channels, each of which sees its share of the filters only.
        window: Geometry.

    Returns:
        ``(samples, *positions, filters)``.

    Raises:
        InputError: The number of channels is not the kernel's.
    """
    if x.shape[-1] != kernel.shape[-2] * groups:
        raise InputError(f"expected {kernel.shape[-2] * groups} channels, got {x.shape[-1]}")
    parts = [
        _multiplied(views(part, window), weights, window.rank)
        for part, weights in zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    ]
    return parts[0] if groups == 1 else room.concatenate(parts, -1)


def _multiplied(windows: Array, kernel: Array, rank: int) -> Array:
    """Multiply windows ``(samples, *positions, channels, *size)`` with a kernel ``(*size, channels, filters)``."""
    room.copying(windows)
    rows = np.moveaxis(windows, rank + 1, -1)  # the kernel's own order: runs of channels
    flat = rows.reshape(len(rows), int(np.prod(rows.shape[1 : rank + 1])), kernel[..., 0].size)
    return multiply(flat, kernel.reshape(-1, kernel.shape[-1])).reshape(*windows.shape[: rank + 1], kernel.shape[-1])


def _depthwise_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    multiplier = settings.integer("depth_multiplier", 1)
    return with_bias((kernel_slot("depthwise_kernel", settings, rank_of(record), None, multiplier),), settings, None)


@replays("DepthwiseConv1D", "DepthwiseConv2D", slots=_depthwise_slots)
def _bind_depthwise(binding: Binding) -> Layer:
    convolution = convolution_of(binding, causal=rank_of(binding.record) == 1)
    kernel = stored_kernel(binding, "depthwise_kernel")
    return finished(binding, partial(_depthwise, kernel=kernel, convolution=convolution))


def _depthwise(x: Array, kernel: Array, convolution: Convolution) -> Array:
    return convolution.finished(depthwise(x, kernel, convolution.window))


def depthwise(x: Array, kernel: Array, window: Window) -> Array:
    """Convolve every channel with filters of its own.

    Args:
        x: ``(samples, *spatial, channels)``.
        kernel: ``(*size, channels, multiplier)``.
        window: Geometry.

    Returns:
        ``(samples, *positions, channels * multiplier)``, all filters of the first channel first.
    """
    channels, multiplier = kernel.shape[-2:]
    if x.shape[-1] != channels:
        raise InputError(f"expected {channels} channels, got {x.shape[-1]}")
    windows = views(x, window)
    wide = np.result_type(x, kernel, np.float32)
    total = room.zeros((*windows.shape[: window.rank + 2], multiplier), wide)  # (..., channels, multiplier)
    product = room.empty(total.shape, wide)
    for place in np.ndindex(*window.size):  # one after the other: an einsum adds in an order that goes by the batch
        total += np.multiply(windows[(..., *place, np.newaxis)], kernel[place], out=product)
    return total.reshape(*total.shape[:-2], channels * multiplier).astype(np.result_type(x, kernel), copy=False)


def _separable_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    rank, filters = rank_of(record), settings.integer("filters")
    multiplier = settings.integer("depth_multiplier", 1)
    pointwise = (None,) * (rank + 2) if settings.semantics.keras1_kernels else (*[1] * rank, None, filters)
    kernels = (
        kernel_slot("depthwise_kernel", settings, rank, None, multiplier),
        Slot("pointwise_kernel", pointwise),
    )
    return with_bias(kernels, settings, filters)


@replays("SeparableConv1D", "SeparableConv2D", slots=_separable_slots)
def _bind_separable(binding: Binding) -> Layer:
    convolution = convolution_of(binding, causal=rank_of(binding.record) == 1)
    kernel, pointwise = (stored_kernel(binding, f"{kind}_kernel") for kind in ("depthwise", "pointwise"))
    if convolution.window.in_front is not None and any(extent % 2 == 0 for extent in convolution.window.extent):
        raise Unsupported("config.padding: Theano gives more windows than 'same' says for an even size")
    function = partial(
        _separable, kernel=kernel, pointwise=pointwise.reshape(pointwise.shape[-2:]), convolution=convolution
    )
    return finished(binding, function)


def _separable(x: Array, kernel: Array, pointwise: Array, convolution: Convolution) -> Array:
    between = depthwise(x, kernel, convolution.window)
    convolution.precision.round_in_place(between)
    if between.shape[-1] != pointwise.shape[0]:
        raise InputError(f"expected {pointwise.shape[0]} channels after the depthwise part, got {between.shape[-1]}")
    return convolution.finished(multiply(between, pointwise))
