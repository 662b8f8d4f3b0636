"""Dense layers, activations, masking, and the many layers that do nothing at inference.

Formulas: ``keras/src/layers/{core,regularization}/*.py`` 3.15.1 and ``tf_keras/src/layers`` 2.21.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.activations import Activation
from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, Slot, replays, with_bias
from gateprobe.layers.binding.settings import Settings
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.unary import Unary, autocast, mask_of


def _dense_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    units = settings.integer("units")
    return with_bias((Slot("kernel", (None, units)),), settings, units)


@replays("Dense", slots=_dense_slots)
def _bind_dense(binding: Binding) -> Layer:
    settings = binding.settings
    function = partial(
        affine,
        kernel=binding.weights["kernel"],
        bias=binding.weights.get("bias"),
        activation=settings.activation("activation"),
        precision=binding.precision,
    )
    settings.ignore("units", "use_bias", "input_dim")
    settings.finish()
    return Unary(function, binding.precision, along=(-1,))


def affine(x: Array, kernel: Array, bias: Array | None, activation: Activation, precision: Precision) -> Array:
    """Compute ``activation(x @ kernel + bias)`` over the last axis of ``x``.

    Args:
        x: ``(..., features)``.
        kernel: ``(features, units)``.
        bias: ``(units,)`` or ``None``.
        activation: Applied at the end.
        precision: Rounds after each of the three operations.

    Returns:
        ``(..., units)``.

    Raises:
        InputError: The number of features is not the kernel's.
    """
    if x.ndim < 2 or x.shape[-1] != kernel.shape[0]:
        raise InputError(f"expected {kernel.shape[0]} features on the last axis, got an input of shape {x.shape}")
    return biased(multiply(x, kernel), bias, activation, precision)


def refuse_stray_bias(shape: tuple[int, ...], bias: tuple[int, ...]) -> None:
    """Refuse a bias that TensorFlow adds along the wrong axis.

    A bias of which only one axis is longer than one is given to ``tf.nn.bias_add``, along the last axis if that has
    the bias's size, else along the second (``add`` in ``keras/src/backend/tensorflow/numpy.py`` 3.7 to 3.15).

    Args:
        shape: Of what the bias is added to, with the samples.
        bias: Its shape, which broadcasts along the last axes.

    Raises:
        InputError: That is another axis than the right one; other backends of Keras do it right.
    """
    long = [number for number, size in enumerate(bias) if size > 1]
    if len(long) != 1 or len(shape) < 2:
        return
    size, right = bias[long[0]], len(shape) - len(bias) + long[0]
    taken = len(shape) - 1 if shape[-1] == size else 1 if shape[1] == size else right
    if taken != right:
        raise InputError(
            f"a bias of {size} values is meant for axis {right} of {shape}, but Keras with TensorFlow adds it along "
            f"axis {taken}, which has the same size; with other backends it does not"
        )


def biased(z: Array, bias: Array | None, activation: Activation, precision: Precision) -> Array:
    """Add a bias to the last axis and apply an activation, both in place."""
    precision.round_in_place(z)
    if bias is not None:
        z += bias
        precision.round_in_place(z)
    activation.apply(z, z)
    return z


@replays("Activation")
def _bind_activation(binding: Binding) -> Layer:
    binding.settings.require("activation")
    activation = binding.settings.activation("activation")
    binding.settings.finish()
    return Unary(activation, binding.precision, along=() if activation.elementwise else (-1,))


@dataclass(frozen=True, slots=True, eq=False)
class Inert:
    """A layer that hands its input on at inference."""

    precision: Precision
    keeps_mask: bool

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hand on every tensor of the input."""
        return tuple(
            Tensor(autocast(tensor.value, self.precision), mask_of(call, tensor) if self.keeps_mask else None)
            for tensor in call.tensors
        )

    def over_time(self, ranks: tuple[int, ...]) -> Ranks:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks


@replays(
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
)
def _bind_random(binding: Binding) -> Layer:
    binding.settings.ignore("rate", "p", "sigma", "stddev", "noise_shape", "data_format")
    binding.settings.finish()
    return Inert(binding.precision, keeps_mask=True)


@replays("ActivityRegularization")
def _bind_regularization(binding: Binding) -> Layer:
    binding.settings.ignore("l1", "l2")
    binding.settings.finish()
    return Inert(binding.precision, keeps_mask=True)


@replays("Identity")
def _bind_identity(binding: Binding) -> Layer:
    binding.settings.finish()
    return Inert(binding.precision, keeps_mask=binding.semantics.identity_keeps_mask)


@dataclass(frozen=True, slots=True, eq=False)
class Masking:
    """Masks the timesteps whose features all equal one value, and sets them to zero."""

    mask_value: float
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Make the mask from the values; a mask of the input is forgotten."""
        x = autocast(call.tensor.value, self.precision)
        floating = np.issubdtype(x.dtype, np.floating)
        value = self.precision.cast(np.asarray(self.mask_value)) if floating else self.mask_value
        mask = (x != value).any(axis=-1)
        return (Tensor(np.where(mask[..., np.newaxis], x, np.zeros((), x.dtype)), mask),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks if ranks[0] > 2 else None


@replays("Masking")
def _bind_masking(binding: Binding) -> Layer:
    value = binding.settings.number("mask_value", 0.0)
    binding.settings.finish()
    return Masking(value, binding.precision)
