"""Normalization layers, which at inference use stored statistics or those of each sample.

Formulas: ``keras/src/layers/normalization/*.py`` 3.15.1, ``tf_keras/src/layers/normalization`` 2.21 and
``keras/layers/normalization.py`` 1.2.2 (whose ``running_std`` holds a variance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import FLOAT32, Arguments, Layer, Precision, Ranks, Scope, Tensor, beyond_time
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported, policy_name
from gateprobe.layers.merge import held, norm
from gateprobe.layers.unary import Unary, Unmasked, axis_in, fitting, mask_of


def _axes(settings: Settings) -> tuple[int, ...]:
    """Read ``axis``, which is an int or a list."""
    axes = settings.axes()
    if not axes or 0 in axes or list(axes) != sorted(axes):
        raise Unsupported(f"config.axis: {settings.raw('axis')} is not a list of axes in ascending order")
    return axes


def _spread(x: Array, weights: Array, axes: tuple[int, ...]) -> Array:
    """Reshape weights so that they broadcast along the axes of ``x``.

    Raises:
        InputError: The sizes of these axes are not those of the weights.
    """
    places = tuple(axis_in(axis, x.ndim) for axis in axes)
    sizes = tuple(x.shape[place] for place in places)
    if sizes != weights.shape or list(places) != sorted(set(places)):
        raise InputError(f"expected {weights.shape} values along axis {axes}, got an input of shape {x.shape}")
    return weights.reshape([size if place in places else 1 for place, size in enumerate(x.shape)])


def _scale_and_center(settings: Settings, shape: tuple[None, ...], *, autocast: bool = False) -> tuple[Slot, ...]:
    gamma = (Slot("gamma", shape, autocast=autocast),) if settings.flag("scale", True) else ()
    return (*gamma, Slot("beta", shape, autocast=autocast)) if settings.flag("center", True) else gamma


_MOVING = ("moving_mean", "moving_variance")
_RENORM = ("moving_stddev", "renorm_mean", "renorm_stddev")


def _batch_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    statistics = _MOVING + (_RENORM if settings.flag("renorm", False) else ())
    moving = (Slot(role, (None,), trainable=False, autocast=False) for role in statistics)
    return (*_scale_and_center(settings, (None,)), *moving)


@replays(
    "BatchNormalization",
    "BatchNormalizationV1",
    "BatchNormalizationV2",
    "SyncBatchNormalization",
    slots=_batch_slots,
    takes=("inputs", "training", "mask"),
)
def _bind_batch(binding: Binding) -> Layer:
    settings, weights = binding.settings, binding.weights
    _refuse_rounded_weights(binding, rounded=binding.semantics.halves_round_weights)
    axes = _axes(settings)
    if len(axes) > 1:
        raise Unsupported(f"config.axis: several axes {list(axes)} are not replayed")
    if settings.raw("mode", 0) != 0:
        raise Unsupported("config.mode: only mode 0 of Keras 1 normalizes by stored statistics")
    epsilon = settings.number("epsilon", 1e-3)
    settings.ignore("momentum", "center", "scale", "renorm", "renorm_clipping", "renorm_momentum", "synchronized")
    settings.finish()
    if len({weights[role].shape for role in weights}) > 1:
        raise Unsupported("the file's gamma, beta, mean and variance are not of one size")
    with np.errstate(all="ignore"):
        after = binding.semantics.epsilon_after_root
        variance = weights["moving_variance"]
        deviation = np.sqrt(variance) + epsilon if after else np.sqrt(variance + epsilon)
        scale = weights.get("gamma", 1) / deviation
        shift = weights.get("beta", 0) - weights["moving_mean"] * scale
    return Unary(partial(_rescaled, scale=scale, shift=shift, axes=axes), binding.precision, along=axes)


def _rescaled(x: Array, scale: Array, shift: Array, axes: tuple[int, ...]) -> Array:
    return x * _spread(x, scale, axes) + _spread(x, shift, axes)


@dataclass(frozen=True, slots=True, eq=False)
class InInputDtype:
    """A normalization that computes in the dtype of its input, but at least in float32, whatever its policy says."""

    function: Callable[..., Array]
    """Takes the input and ``weights``."""
    weights: Mapping[str, Array]
    precision: Precision
    """To which the result is cast."""
    along: tuple[int, ...] | None
    """As in `Unary`."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Compute, round to the input's dtype, then to the layer's."""
        tensor = call.tensor
        x = tensor.value
        if x.dtype.kind != "f":
            raise InputError("whole numbers are not normalized", remedy="give the model floats")
        with fitting(x):
            result = self.function(x, weights={role: value.astype(x.dtype) for role, value in self.weights.items()})
        result = Precision(tensor.dtype or x.dtype.name).round(result)
        return (Tensor(self.precision.cast(result), mask_of(call, tensor)),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks if self.along is not None and beyond_time(self.along, ranks[0]) else None


def _refuse_rounded_weights(binding: Binding, *, rounded: bool) -> None:
    """Refuse half precision where Keras rounds weights that are kept in float32 before and after it.

    Raises:
        Unsupported: Such a Keras wrote the file.
    """
    if rounded and binding.precision.name in ("float16", "bfloat16"):
        raise Unsupported(f"config.dtype: {binding.precision.name} is not replayed as the Keras of this file has it")


def _of_each_sample(
    function: Callable[..., Array], binding: Binding, along: tuple[int, ...] | None = None, *, in_input_dtype: bool
) -> Layer:
    """Return a layer that normalizes each sample by its own statistics, in its input's dtype or in its own."""
    if in_input_dtype:
        return InInputDtype(function, binding.weights, binding.precision, along)
    return Unary(partial(function, weights=binding.weights), binding.precision, along=along)


def _layer_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    shape = (None,) * len(_axes(settings))
    if settings.flag("rms_scaling", False):
        return (Slot("gamma", shape, autocast=False),)
    return _scale_and_center(settings, shape)


@replays("LayerNormalization", slots=_layer_slots)
def _bind_layer(binding: Binding) -> Layer:
    settings = binding.settings
    rms_scaling, axes = settings.flag("rms_scaling", False), _axes(settings)
    function = partial(
        _layer_normalized,
        axes=axes,
        epsilon=settings.number("epsilon", 1e-3),
        rms_scaling=rms_scaling,
    )
    settings.ignore("scale", "center")
    settings.finish()
    _refuse_rounded_weights(binding, rounded=binding.semantics.halves_round_weights)
    in_input_dtype = binding.semantics.layer_norm_in_input_dtype
    if policy_name(binding.record.config) in ("float16", "bfloat16") and not in_input_dtype:
        function = partial(function, fused=False, precision=binding.precision)
    else:
        fused = binding.semantics.layer_norm_fused and binding.precision.name != "float64"
        function = partial(function, fused=fused)
    return _of_each_sample(function, binding, axes, in_input_dtype=in_input_dtype)


def _layer_normalized(
    x: Array,
    weights: Mapping[str, Array],
    axes: tuple[int, ...],
    epsilon: float,
    *,
    rms_scaling: bool,
    fused: bool,
    precision: Precision = FLOAT32,
) -> Array:
    """Normalize each sample by its own mean and variance along axes.

    Args:
        x: ``(samples, ...)``.
        weights: ``gamma`` and ``beta``, either of which may be missing.
        axes: Those over which mean and variance are taken.
        epsilon: Added to the variance.
        rms_scaling: Keras 3's variant that divides without subtracting the mean.
        fused: Whether TensorFlow's fused operation subtracts the mean first, where the axes are the last ones.
        precision: To which each operation rounds.
    """
    where = tuple(axis_in(axis, x.ndim) for axis in axes)
    last = where == tuple(range(where[0], x.ndim))
    if not rms_scaling and not (fused and last and epsilon >= 1.001e-5):
        gamma, beta = (_spread(x, weights[role], axes) if role in weights else None for role in ("gamma", "beta"))
        return standardized(x, where, epsilon, gamma, beta, precision)
    centered = x - x.mean(axis=where, keepdims=True)
    variance = np.square(centered).mean(axis=where, keepdims=True)
    result = (x if rms_scaling else centered) / np.sqrt(variance + epsilon)
    return _weighted(result, weights, axes)


def standardized(
    x: Array, where: tuple[int, ...], epsilon: float, gamma: Array | None, beta: Array | None, precision: Precision
) -> Array:
    """Return ``x * inverse + (beta - mean * inverse)``, in the order of ``tf.nn.batch_normalization``.

    Where ``x`` is nearly its own mean, what is left are the rounding errors of this very order.
    """
    rounded = precision.round
    mean = x.mean(axis=where, keepdims=True)
    variance = rounded(np.square(x - mean).mean(axis=where, keepdims=True))
    inverse = rounded(1 / np.sqrt(rounded(variance + epsilon)))
    inverse = inverse if gamma is None else rounded(inverse * gamma)
    offset = rounded(rounded(mean) * inverse)
    offset = -offset if beta is None else rounded(beta - offset)
    return rounded(x * inverse) + offset


def _weighted(x: Array, weights: Mapping[str, Array], axes: tuple[int, ...]) -> Array:
    if "gamma" in weights:
        x = x * _spread(x, weights["gamma"], axes)
    return x + _spread(x, weights["beta"], axes) if "beta" in weights else x


def _group_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return _scale_and_center(settings, (None,), autocast=not settings.semantics.group_norm_in_input_dtype)


@replays("GroupNormalization", slots=_group_slots, takes=("inputs", "mask"))
def _bind_group(binding: Binding) -> Layer:
    settings = binding.settings
    axes = _axes(settings)
    if len(axes) > 1:
        raise Unsupported(f"config.axis: expected one axis, got {list(axes)}")
    groups = settings.integer("groups", 32, minimum=-1)
    if groups == 0:
        raise Unsupported("config.groups: there must be at least one group")
    epsilon = settings.number("epsilon", 1e-3)
    settings.ignore("scale", "center")
    settings.finish()
    _refuse_rounded_weights(binding, rounded=binding.semantics.group_norm_rounds_weights)
    in_input_dtype = binding.semantics.group_norm_in_input_dtype
    precision = FLOAT32 if in_input_dtype else binding.precision
    function = partial(_group_normalized, axis=axes[0], groups=groups, epsilon=epsilon, precision=precision)
    layer = _of_each_sample(function, binding, in_input_dtype=in_input_dtype)
    if not binding.semantics.group_norm_sees_mask:
        return layer
    return Unmasked(layer, "statistics of what is not masked are not replayed")


def _group_normalized(
    x: Array, weights: Mapping[str, Array], axis: int, groups: int, epsilon: float, precision: Precision
) -> Array:
    """Normalize each sample by the mean and variance of each of several groups of channels."""
    place = axis_in(axis, x.ndim)
    channels = x.shape[place]
    groups = channels if groups == -1 else groups
    if channels % groups:
        raise InputError(f"{channels} channels cannot be divided into {groups} groups")

    def grouped(values: Array) -> Array:
        return values.reshape(*values.shape[:place], groups, channels // groups, *values.shape[place + 1 :])

    where = tuple(number for number in range(1, x.ndim + 1) if number != place)
    spread = (_spread(x, weights[role], (axis,)) if role in weights else None for role in ("gamma", "beta"))
    gamma, beta = (None if values is None else grouped(values) for values in spread)
    return standardized(grouped(x), where, epsilon, gamma, beta, precision).reshape(x.shape)


def _rms_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return (Slot("scale", (None,) * len(_axes(settings))),)


@replays("RMSNormalization", slots=_rms_slots)
def _bind_rms(binding: Binding) -> Layer:
    settings = binding.settings
    axes, epsilon = _axes(settings), settings.number("epsilon", 1e-6)
    settings.finish()
    function = partial(_rms_normalized, scale=binding.weights["scale"], axes=axes, epsilon=epsilon)
    return Unary(function, binding.precision, keeps_mask=False, along=axes)


def _rms_normalized(x: Array, scale: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    where = tuple(axis_in(axis, x.ndim) for axis in axes)
    result: Array = x / np.sqrt(np.square(x).mean(axis=where, keepdims=True) + epsilon) * _spread(x, scale, axes)
    return result


@replays("UnitNormalization")
def _bind_unit(binding: Binding) -> Layer:
    axes = _axes(binding.settings)
    binding.settings.finish()
    function = partial(
        _unit_normalized, axes=axes, floor=binding.semantics.unit_norm_floor, precision=binding.precision
    )
    return Unary(function, binding.precision, along=axes)


def _unit_normalized(x: Array, axes: tuple[int, ...], floor: float, precision: Precision) -> Array:
    length = norm(x, tuple(axis_in(axis, x.ndim) for axis in axes))
    result: Array = x / np.maximum(length, held(floor, precision))
    return result
