"""Activation functions that are layers, some with weights of their own.

Formulas: ``keras/src/layers/activations/*.py`` and ``keras/src/activations/activations.py`` 3.15.1,
``tf_keras/src/layers/activation`` 2.21, ``keras/layers/advanced_activations.py`` 1.2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.activations import resolve, softmax
from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor, beyond_time
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.unary import Unary, axis_in, fitting, mask_of


def _serialized(binding: Binding, class_name: str, **options: float | None) -> Layer:
    """Return the layer as what it is in place of an activation's name."""
    binding.settings.finish()
    activation = resolve({"class_name": class_name, "config": options}, binding.semantics)
    return Unary(activation, binding.precision, along=())


@replays("ReLU")
def _bind_relu(binding: Binding) -> Layer:
    settings = binding.settings
    limit = None if settings.raw("max_value") is None else settings.number("max_value")
    slope, threshold = settings.number("negative_slope", 0.0), settings.number("threshold", 0.0)
    if (limit is not None and limit < 0) or slope < 0 or threshold < 0:
        raise Unsupported("config: max_value, negative_slope and threshold of a ReLU cannot be negative")
    return _serialized(binding, "ReLU", negative_slope=slope, max_value=limit, threshold=threshold)


@replays("LeakyReLU")
def _bind_leaky(binding: Binding) -> Layer:
    key = "negative_slope" if binding.settings.has("negative_slope") else "alpha"
    return _serialized(binding, "LeakyReLU", negative_slope=binding.settings.number(key, 0.3))


@replays("ELU")
def _bind_elu(binding: Binding) -> Layer:
    return _serialized(binding, "ELU", alpha=binding.settings.number("alpha", 1.0))


@replays("ThresholdedReLU")
def _bind_thresholded(binding: Binding) -> Layer:
    return _serialized(binding, "ReLU", threshold=binding.settings.number("theta", 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Softmax:
    """Softmax over one or several axes, in which what is masked gets no share."""

    axes: tuple[int, ...]
    sees_mask: bool
    zeroes_masked: bool
    """Whether a row in which everything is masked becomes zero."""
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Softmax of one tensor; a mask that the call gives takes the place of the tensor's own."""
        tensor = call.tensor
        x = self.precision.cast(tensor.value)
        mask = mask_of(call, tensor)
        with fitting(x):
            if mask is None or not self.sees_mask:
                return (Tensor(self.precision.round(softmax(x, self._axes(x))), mask),)
            return (Tensor(self.precision.round(self._masked(x, mask)), mask),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks if beyond_time(self.axes, ranks[0]) else None

    def _axes(self, x: Array) -> tuple[int, ...]:
        return tuple(axis_in(axis, x.ndim) for axis in self.axes)

    def _masked(self, x: Array, mask: Array) -> Array:
        if mask.ndim != x.ndim:
            raise InputError(f"a mask of shape {mask.shape} does not fit a softmax of an input of shape {x.shape}")
        return masked_softmax(x, mask, self._axes(x), self.precision, zeroes_masked=self.zeroes_masked)


def masked_softmax(
    x: Array,
    mask: Array,
    axes: tuple[int, ...],
    precision: Precision,
    *,
    zeroes_masked: bool,
    replaces: bool = False,
    lowest: float | None = None,
) -> Array:
    """Return the softmax in which masked values count as hugely negative.

    Args:
        x: Any shape.
        mask: ``False`` where masked; broadcasts to ``x``.
        axes: Over which the shares sum to one.
        precision: Rounds the sum; decides how large the negative number is when none is given.
        zeroes_masked: Whether a row in which everything is masked becomes zero, as in Keras 3.10 and later.
        replaces: Whether the negative number takes the place of what is masked instead of being added to it.
        lowest: The negative number.
    """
    zero = np.zeros((), x.dtype)
    number = lowest if lowest is not None else -3e4 if precision.name == "float16" else -1e9
    negative = np.asarray(number, x.dtype)
    hidden = np.where(mask, x, negative) if replaces else x + np.where(mask, zero, negative)
    shares = softmax(precision.round(hidden), axes)
    return np.where(mask, shares, zero) if zeroes_masked else shares


@replays("Softmax", takes=("inputs", "mask"))
def _bind_softmax(binding: Binding) -> Layer:
    settings, semantics = binding.settings, binding.semantics
    axes = settings.axes()
    settings.ignore("robust_masking")
    settings.finish()
    if not axes or 0 in axes:
        raise Unsupported(f"config.axis: {settings.raw('axis')} includes the samples or nothing")
    return Softmax(axes, semantics.softmax_sees_mask, semantics.softmax_zeroes_masked, binding.precision)


@dataclass(frozen=True, slots=True, eq=False)
class Parametric:
    """An activation with weights for each position of its input, or for several positions together."""

    function: Callable[[Array, Mapping[str, Array]], Array]
    weights: Mapping[str, Array]
    shared: frozenset[int]
    """Axes along which the weights have size one."""

    def __call__(self, x: Array) -> Array:
        """Check that the weights belong to this input, then compute."""
        expected = tuple(1 if axis in self.shared else size for axis, size in enumerate(x.shape) if axis)
        for role, weight in self.weights.items():
            if weight.shape != expected:
                raise InputError(f"{role} has shape {weight.shape}, which does not fit an input of shape {x.shape}")
        return self.function(x, self.weights)


def _prelu(x: Array, weights: Mapping[str, Array]) -> Array:
    value: Array = np.maximum(x, 0) - weights["alpha"] * np.maximum(-x, 0)
    return value


def _parametric_softplus(x: Array, weights: Mapping[str, Array]) -> Array:
    value: Array = np.logaddexp(weights["betas"] * x, 0) * weights["alphas"]
    return value


def _srelu(x: Array, weights: Mapping[str, Array], *, clips_below: bool = False) -> Array:
    """Three straight lines: slope ``a_left`` below ``t_left``, one between, ``a_right`` above.

    Args:
        x: Any shape that the weights fit.
        weights: ``t_left``, ``a_left``, ``t_right``, ``a_right``.
        clips_below: Whether the first line, too, ends at the height of the second one's end, which it reaches where
            ``a_left`` is negative: ``relu`` in ``keras/backend/theano_backend.py`` 1.0.0 to 1.2.2 clips both.
    """
    left, right = weights["t_left"], weights["t_left"] + np.abs(weights["t_right"])
    inside = np.minimum(np.maximum(x - left, 0), right - left)
    below = weights["a_left"] * np.minimum(x - left, 0)
    lines = left + inside + (np.minimum(below, right - left) if clips_below else below)
    value: Array = lines + weights["a_right"] * np.maximum(x - right, 0)
    return value


_PARAMETRIC = {
    "PReLU": (_prelu, ("alpha",)),
    "ParametricSoftplus": (_parametric_softplus, ("alphas", "betas")),
    "SReLU": (_srelu, ("t_left", "a_left", "t_right", "a_right")),
}
"""Class → function, and its weights in the order in which Keras creates them."""


def _parametric_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    """Return weights of the input's shape, which only the file tells."""
    return tuple(Slot(role, None) for role in _PARAMETRIC[record.class_name][1])


@replays(*_PARAMETRIC, slots=_parametric_slots)
def _bind_parametric(binding: Binding) -> Layer:
    settings = binding.settings
    shared = settings.raw("shared_axes")
    axes = settings.integers("shared_axes", None if isinstance(shared, list) else 1) if shared is not None else ()
    settings.ignore("t_left_init", "a_left_init", "t_right_init", "a_right_init", "init", "alpha_init", "beta_init")
    settings.finish()
    function: Callable[..., Array] = _PARAMETRIC[binding.record.class_name][0]
    if function is _srelu:
        function = partial(_srelu, clips_below=binding.semantics.theano)
    return Unary(Parametric(function, binding.weights, frozenset(axes)), binding.precision)
