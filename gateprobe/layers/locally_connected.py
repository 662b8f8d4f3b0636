"""Convolutions with a kernel of its own at every position.

Formulas: ``tf_keras/src/layers/locally_connected/*.py`` and ``tf_keras/src/backend.py::local_conv`` 2.21.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Layer
from gateprobe.layers.binding.registry import Binding, Slot, replays, with_bias
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.conv import Convolution, convolution_of, rank_of
from gateprobe.layers.shape import channels_first, spatial
from gateprobe.layers.windows import views
from gateprobe.limits import room


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    filters = settings.integer("filters")
    return with_bias((Slot("kernel", (None, None, filters)),), settings, *[None] * rank_of(record), filters)


@replays("LocallyConnected1D", "LocallyConnected2D", slots=_slots)
def _bind(binding: Binding) -> Layer:
    settings = binding.settings
    if settings.raw("implementation", 1) != 1:
        raise Unsupported("config.implementation: only implementation 1 of a locally connected layer is replayed")
    convolution = convolution_of(binding)
    if convolution.window.padding != "valid" or set(convolution.window.dilation) != {1}:
        raise Unsupported("config: a locally connected layer has neither padding nor dilation")
    first = channels_first(settings)
    settings.ignore("filters", "use_bias")
    return spatial(partial(_local, kernel=binding.weights["kernel"], first=first, convolution=convolution), binding)


def _local(x: Array, kernel: Array, convolution: Convolution, *, first: bool) -> Array:
    """Multiply every window with the kernel of its position.

    Args:
        x: ``(samples, *spatial, channels)``.
        kernel: ``(positions, size * channels, filters)``; the channels run fastest, or slowest if they come first.
        convolution: Geometry, bias ``(*positions, filters)`` and activation.
        first: Whether the data has its channels first.
    """
    window, precision = convolution.window, convolution.precision
    windows = views(x, window)  # (samples, *positions, channels, *size)
    positions = windows.shape[1 : window.rank + 1]
    if not first:
        windows = np.moveaxis(windows, window.rank + 1, -1)
    flat = windows.reshape(len(x), int(np.prod(positions)), -1)
    if flat.shape[1:] != kernel.shape[:2]:
        raise InputError(f"expected {kernel.shape[:2]} positions and values, got {flat.shape[1:]}")
    product = room.matmul(flat[:, :, np.newaxis], kernel).reshape(len(x), *positions, kernel.shape[2])
    precision.round_in_place(product)
    if convolution.bias is not None:
        if convolution.bias.shape != product.shape[1:]:
            raise InputError(f"the bias has shape {convolution.bias.shape} for an output of {product.shape[1:]}")
        product = product + convolution.bias
        precision.round_in_place(product)
    return convolution.activation(product)
