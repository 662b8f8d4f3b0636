"""Layers of Keras 1 that later versions dropped.

Formulas: ``keras/layers/core.py`` 1.2.2 and ``keras/legacy/layers.py`` 2.2.4.
"""

from __future__ import annotations

from functools import partial

from gateprobe.activations import Activation, resolve
from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Layer, Precision
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings
from gateprobe.layers.core import affine
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.unary import Unary


def _has_bias(settings: Settings) -> bool:
    return settings.flag("use_bias", True) and settings.flag("bias", True)


def _maxout_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    units, features = _units(settings), settings.integer("nb_feature", 4)
    kernel = Slot("kernel", (features, None, units))
    return (kernel, Slot("bias", (features, units))) if _has_bias(settings) else (kernel,)


def _units(settings: Settings) -> int:
    return settings.integer("units" if settings.raw("units") is not None else "output_dim")


@replays("MaxoutDense", slots=_maxout_slots)
def _bind_maxout(binding: Binding) -> Layer:
    settings, weights = binding.settings, binding.weights
    settings.ignore("units", "output_dim", "nb_feature", "use_bias", "bias", "input_dim", "init")
    settings.finish()
    function = partial(_maxout, kernel=weights["kernel"], bias=weights.get("bias"), precision=binding.precision)
    return Unary(function, binding.precision, keeps_mask=False)


def _maxout(x: Array, kernel: Array, bias: Array | None, precision: Precision) -> Array:
    """Return the largest of several affine functions, for each unit.

    Args:
        x: ``(samples, features)``.
        kernel: ``(functions, features, units)``.
        bias: ``(functions, units)`` or ``None``.
        precision: Rounds after each operation.
    """
    if x.ndim != 2 or x.shape[1] != kernel.shape[1]:
        raise InputError(f"expected {kernel.shape[1]} features, got an input of shape {x.shape}")
    product = multiply(x, kernel.swapaxes(0, 1).reshape(x.shape[1], -1))
    z = precision.round(product.reshape(len(x), len(kernel), -1))
    highest: Array = (z if bias is None else precision.round(z + bias)).max(axis=1)
    return highest


def _highway_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    kernels = (Slot("kernel", (None, None)), Slot("carry_kernel", (None, None)))
    return (*kernels, Slot("bias", (None,)), Slot("carry_bias", (None,))) if _has_bias(settings) else kernels


@replays("Highway", slots=_highway_slots)
def _bind_highway(binding: Binding) -> Layer:
    settings, weights = binding.settings, binding.weights
    function = partial(
        _highway,
        kernels=(weights["kernel"], weights["carry_kernel"]),
        biases=(weights.get("bias"), weights.get("carry_bias")),
        activations=(settings.activation("activation"), resolve("sigmoid", binding.semantics)),
        precision=binding.precision,
    )
    settings.ignore("use_bias", "bias", "input_dim", "init", "transform_bias")
    settings.finish()
    return Unary(function, binding.precision, keeps_mask=False)


def _highway(
    x: Array,
    kernels: tuple[Array, Array],
    biases: tuple[Array | None, Array | None],
    activations: tuple[Activation, Activation],
    precision: Precision,
) -> Array:
    """Blend the input with a dense layer of it, as a gate decides."""
    new, gate = (
        affine(x, kernel, bias, activation, precision)
        for kernel, bias, activation in zip(kernels, biases, activations, strict=True)
    )
    if new.shape != x.shape or gate.shape != x.shape:
        raise InputError(f"expected {new.shape[-1]} features, got an input of shape {x.shape}")
    blended: Array = precision.round(new * gate) + precision.round((1 - gate) * x)
    return blended
