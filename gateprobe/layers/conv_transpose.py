"""Transposed convolutions.

Formulas: ``keras/src/layers/convolutional/base_conv_transpose.py`` and ``_get_output_shape_given_tf_padding`` in
``keras/src/backend/common/backend_utils.py`` 3.15.1; ``tf_keras/src/utils/conv_utils.py::deconv_output_length`` 2.21.
"""

from __future__ import annotations

from functools import partial
from itertools import product

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Layer
from gateprobe.layers.binding.registry import Binding, Slot, replays, with_bias
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.conv import Convolution, convolution_of, finished, kernel_slot, rank_of, stored_kernel
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.windows import Window, check_rank
from gateprobe.limits import room


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    filters = settings.integer("filters")
    return with_bias((kernel_slot("kernel", settings, rank_of(record), filters, None),), settings, filters)


@replays("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", slots=_slots)
def _bind(binding: Binding) -> Layer:
    settings, rank = binding.settings, rank_of(binding.record)
    convolution = convolution_of(binding)
    kernel = stored_kernel(binding, "kernel", transposed=True)
    extra = None if settings.raw("output_padding") is None else settings.integers("output_padding", rank, minimum=0)
    if settings.raw("output_shape") is not None:
        raise Unsupported("config.output_shape: a Deconvolution2D of fixed output shape is not replayed")
    return finished(binding, partial(_transposed, kernel=kernel, extra=extra, convolution=convolution))


def _transposed(x: Array, kernel: Array, extra: tuple[int, ...] | None, convolution: Convolution) -> Array:
    """Spread every input value over a window of the output.

    Args:
        x: ``(samples, *spatial, channels)``.
        kernel: ``(*size, filters, channels)``.
        extra: Output padding, which fixes the output's size beyond what the padding says.
        convolution: Geometry, bias and activation.

    Returns:
        ``(samples, *positions, filters)``.
    """
    window = convolution.window
    check_rank(x, window.rank)
    if x.shape[-1] != kernel.shape[-1]:
        raise InputError(f"expected {kernel.shape[-1]} channels, got {x.shape[-1]}")
    whole = _spread(x, kernel, window)
    sizes = _output_sizes(x.shape[1:-1], window, extra)
    return convolution.finished(_cut(whole, x.shape[1:-1], sizes, window))


def _spread(x: Array, kernel: Array, window: Window) -> Array:
    """Return the sum of all windows, with nothing cut off."""
    spatial = x.shape[1:-1]
    full = tuple(
        (size - 1) * stride + extent
        for size, stride, extent in zip(spatial, window.strides, window.extent, strict=True)
    )
    out = room.zeros((len(x), *full, kernel.shape[-2]), x.dtype)
    for offset in product(*map(range, window.size)):
        places = tuple(
            slice(at * step, at * step + (size - 1) * stride + 1, stride)
            for at, step, size, stride in zip(offset, window.dilation, spatial, window.strides, strict=True)
        )
        out[(slice(None), *places)] += multiply(x, kernel[offset].T)
    return out


def _output_sizes(spatial: tuple[int, ...], window: Window, extra: tuple[int, ...] | None) -> tuple[int, ...]:
    sizes = []
    for axis, (size, stride, extent) in enumerate(zip(spatial, window.strides, window.extent, strict=True)):
        if extra is not None:
            cut = 2 * (extent // 2) if window.padding == "same" else 0
            sizes.append((size - 1) * stride + extent - cut + extra[axis])
        elif window.padding == "same":
            sizes.append(size * stride)
        else:
            sizes.append(size * stride + max(extent - stride, 0))
    return tuple(sizes)


def _cut(whole: Array, spatial: tuple[int, ...], sizes: tuple[int, ...], window: Window) -> Array:
    """Cut or pad with zeros to the output's sizes; ``same`` cuts from both ends."""
    for axis, (size, wanted) in enumerate(zip(spatial, sizes, strict=True), 1):
        full = (size - 1) * window.strides[axis - 1] + window.extent[axis - 1]
        before = max(full - wanted, 0) // 2 if window.padding == "same" else 0
        whole = room.take(whole, range(before, min(before + wanted, full)), axis)
        if whole.shape[axis] < wanted:
            margins = [(0, 0)] * whole.ndim
            margins[axis] = (0, wanted - whole.shape[axis])
            whole = room.pad(whole, margins)
    return whole
