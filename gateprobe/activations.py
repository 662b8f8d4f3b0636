"""Keras's activation functions: one closed table, so that a name in a file can never select code of its own.

Every function works in place on float32 or float64 (`Activation.apply` writes into ``out``, which may be ``x``).
Formulas: ``keras/src/activations/activations.py`` 3.15.1 and ``tf_keras/src/activations.py`` 2.21.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateprobe.graph import Array, Era
from gateprobe.semantics import Semantics

Apply = Callable[[Array, Array], None]


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """A labelled function, such as ``hard_sigmoid[slope=0.2]``."""

    label: str
    """The Keras name and every constant that is not the same in all eras."""
    apply: Apply
    """``apply(x, out)``: computes into ``out``, which may be ``x`` itself."""
    elementwise: bool = True
    """Whether every value is computed from itself alone; a softmax looks at a whole row."""

    def __call__(self, x: Array) -> Array:
        """Return the activation of ``x`` as a new array."""
        out = np.empty_like(x)
        self.apply(x, out)
        return out


REGISTERED_HARD_SIGMOID = "gateprobe>hard_sigmoid_02"
"""The ``hard_sigmoid`` of Keras 1 and 2 in files that ``gateprobe migrate`` writes for Keras 3, if it is asked to."""


class UnknownActivation(ValueError):
    """The file describes an activation that is not understood."""


class UnlistedActivation(UnknownActivation):
    """The file names an activation that is not in the table."""


def before_positions(activation: Activation) -> Activation:
    """Return an activation for images whose channels are the last axis here and the second one in Keras.

    A softmax is taken along the last axis of Keras's array, which is then one of positions.
    """
    if activation.elementwise:
        return activation

    def apply(x: Array, out: Array) -> None:
        np.copyto(out, np.moveaxis(activation(np.ascontiguousarray(np.moveaxis(x, -1, 1))), 1, -1))

    return replace(activation, apply=apply)


def resolve(serialized: object, semantics: Semantics, options: Mapping[str, Any] | None = None) -> Activation:
    """Turn what a configuration holds into a function of ours.

    Args:
        serialized: ``None``, a name, Keras 3's ``{"class_name": "function", "config": name}``, or a serialised
            activation layer (``{"class_name": "LeakyReLU", "config": {...}}``).
        semantics: Decides what ``hard_sigmoid`` means.
        options: Of the function, beside those of a serialised layer.

    Raises:
        UnknownActivation: It is none of these; the message says what was found.
    """
    name, found = _name_and_options(serialized)
    maker = _TABLE.get(name)
    by_name = not (isinstance(serialized, Mapping) and serialized.get("class_name") in _LAYERS)
    if maker is None or (by_name and name not in _NAMES.get(semantics.era, _TABLE)):
        raise UnlistedActivation(f"{_shown(name)} is no activation of {semantics.era.value}")
    try:
        return maker(semantics, **found, **(options or {}))
    except TypeError:
        raise UnknownActivation(f"activation {_shown(name)} with unknown options {sorted(found)}") from None


def activation_names(era: Era) -> tuple[str, ...]:
    """Return the names of activation functions that an era knows."""
    return tuple(sorted(map(str, _NAMES.get(era, _TABLE))))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_LAYERS: Mapping[object, tuple[str, Mapping[str, Any]]] = {
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.3}),
    "ReLU": ("relu", {}),
    "ELU": ("elu", {}),
    "Softmax": ("softmax", {}),
}
"""Class → function, and the defaults of the class that are not those of the function (the same in every Keras)."""
_RENAMED = {"alpha": "negative_slope"}
_INERT = frozenset({"name", "trainable", "dtype"})
_OWN_MODULES = ("keras.", "tf_keras.")
_KERAS1 = frozenset("linear tanh sigmoid hard_sigmoid relu elu softmax softplus softsign".split())
_KERAS2 = _KERAS1 | frozenset("relu6 leaky_relu selu gelu silu swish mish log_softmax exponential".split())
_NAMES: Mapping[Era, frozenset[str]] = {Era.KERAS1: _KERAS1, Era.KERAS2: _KERAS2}
"""Other names in files of these eras are those of functions that users wrote (``keras/activations.py`` 1.2.2,
``tf_keras/src/activations.py`` 2.21)."""


def _name_and_options(serialized: object) -> tuple[object, dict[Any, Any]]:
    if serialized is None:
        return "linear", {}
    if not isinstance(serialized, Mapping):
        return serialized if isinstance(serialized, str) else _shown(serialized), {}
    class_name, config = serialized.get("class_name"), serialized.get("config")
    if class_name == "function":
        known = serialized.get("registered_name") in (None, "function", config)
        return (config if known and isinstance(config, str) else _shown(serialized)), {}
    if class_name in _LAYERS and isinstance(config, Mapping) and _is_own(serialized):
        name, defaults = _LAYERS[class_name]
        renamed = {} if class_name == "ELU" else _RENAMED
        options = {renamed.get(key, key): _option(key, config[key]) for key in config if key not in _INERT}
        return name, {**defaults, **options}
    return _shown(serialized), {}


def _is_own(serialized: Mapping[str, Any]) -> bool:
    """Whether a serialised layer is one of Keras, as far as the file says."""
    module, registered = serialized.get("module"), serialized.get("registered_name")
    return (module is None or str(module).startswith(_OWN_MODULES)) and registered in (None, serialized["class_name"])


def _option(key: str, value: object) -> object:
    """Return an option of a serialised layer: a number, or no maximum."""
    if isinstance(value, Mapping):  # Keras 2 stored some numbers as {"type": "ndarray", "value": x}
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if value is None and key == "max_value":
            return value
        raise UnknownActivation(f"activation with {key}={_shown(value)}, where a number belongs")
    return value


def _linear(x: Array, out: Array) -> None:
    np.copyto(out, x)


def _tanh(x: Array, out: Array) -> None:
    np.tanh(x, out=out)


def _sigmoid(x: Array, out: Array) -> None:
    small = np.exp(-np.abs(x))  # never overflows, and gates near zero keep all their digits
    np.divide(np.where(x >= 0, x.dtype.type(1), small), 1 + small, out=out)


def _softplus(x: Array, out: Array) -> None:
    np.logaddexp(x, 0, out=out)


def _softsign(x: Array, out: Array) -> None:
    np.divide(x, 1 + np.abs(x), out=out)


def _exponential(x: Array, out: Array) -> None:
    with np.errstate(over="ignore"):
        np.exp(x, out=out)


def _silu(x: Array, out: Array) -> None:
    gate = np.empty_like(x)
    _sigmoid(x, gate)
    np.multiply(x, gate, out=out)


def _hard_silu(x: Array, out: Array) -> None:
    np.multiply(x, np.clip(x / 6 + 0.5, 0, 1), out=out)


def _mish(x: Array, out: Array) -> None:
    np.multiply(x, np.tanh(np.logaddexp(x, 0)), out=out)


def _log_sigmoid(x: Array, out: Array) -> None:
    np.negative(np.logaddexp(-x, 0), out=out)


def _tanh_shrink(x: Array, out: Array) -> None:
    np.subtract(x, np.tanh(x), out=out)


def _squareplus(x: Array, out: Array, b: float = 4.0) -> None:
    np.divide(x + np.sqrt(np.square(x) + b), 2, out=out)


def _hard_tanh(x: Array, out: Array) -> None:
    np.clip(x, -1, 1, out=out)


def _sparse_plus(x: Array, out: Array) -> None:
    np.copyto(out, np.where(x <= -1, 0, np.where(x < 1, np.square(x + 1) / 4, x)))


def _sparse_sigmoid(x: Array, out: Array) -> None:
    np.clip(0.5 * (x + 1), 0, 1, out=out)


def _plain(label: str, apply: Apply, *, elementwise: bool = True) -> Callable[[Semantics], Activation]:
    return lambda semantics: Activation(label, apply, elementwise)


def _hard_sigmoid(semantics: Semantics) -> Activation:
    slope = semantics.hard_sigmoid_slope

    def apply(x: Array, out: Array) -> None:
        np.multiply(x, slope, out=out)
        np.add(out, 0.5, out=out)
        np.clip(out, 0, 1, out=out)

    return Activation(f"hard_sigmoid[slope={'0.2' if slope == 0.2 else '1/6'}]", apply)


def _relu(
    semantics: Semantics,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Activation:
    slope, floor = float(negative_slope), float(threshold)
    if not floor and max_value is None:
        slope = float(np.float32(slope))  # as in `_leaky_relu`

    def apply(x: Array, out: Array) -> None:
        if slope:
            np.copyto(out, np.where(x > floor, x, slope * (x - floor)))
        elif floor:
            np.multiply(x, x > floor, out=out)  # NaN stays NaN
        else:
            np.maximum(x, 0, out=out)
        if max_value is not None:
            np.minimum(out, max_value, out=out)

    options = [f"negative_slope={slope:g}"] * bool(slope) + [f"threshold={floor:g}"] * bool(floor)
    options += [f"max_value={max_value:g}"] if max_value is not None else []
    return Activation(f"relu[{', '.join(options)}]" if options else "relu", apply)


def _leaky_relu(semantics: Semantics, negative_slope: float = 0.2) -> Activation:
    slope = float(np.float32(negative_slope))  # TensorFlow holds it in float32, also beside float64

    def apply(x: Array, out: Array) -> None:
        np.copyto(out, np.where(x > 0, x, slope * x))

    return Activation(f"leaky_relu[slope={negative_slope:g}]", apply)


def _elu(semantics: Semantics, alpha: float = 1.0) -> Activation:
    def apply(x: Array, out: Array) -> None:
        np.copyto(out, np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))

    return Activation("elu" if alpha == 1 else f"elu[alpha={alpha:g}]", apply)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _selu(x: Array, out: Array) -> None:
    np.copyto(out, _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0))))


def _celu(semantics: Semantics, alpha: float = 1.0) -> Activation:
    def apply(x: Array, out: Array) -> None:
        np.copyto(out, np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0))

    return Activation("celu", apply)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(semantics: Semantics, approximate: bool = False) -> Activation:
    # tf.nn.gelu holds these two constants in float32, also beside float64
    slope, cubic = float(np.float32(math.sqrt(0.5))), float(np.float32(0.044715))

    def apply(x: Array, out: Array) -> None:
        if approximate:
            np.copyto(out, 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + cubic * x * x * x))))
        else:
            np.copyto(out, 0.5 * x * (1 + _erf(x * slope).astype(x.dtype)))

    return Activation("gelu[approximate]" if approximate else "gelu", apply)


def softmax(x: Array, axis: int | tuple[int, ...], out: Array | None = None) -> Array:
    """Return ``exp(x)`` divided by its sum over axes, in ``out`` if that is given."""
    shares: Array = np.subtract(x, x.max(axis=axis, keepdims=True), out=out)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=axis, keepdims=True)
    return shares


def _softmax(semantics: Semantics, axis: int = -1) -> Activation:
    def apply(x: Array, out: Array) -> None:
        softmax(x, axis, out)

    return Activation("softmax" if axis == -1 else f"softmax[axis={axis}]", apply, elementwise=False)


def _log_softmax(x: Array, out: Array) -> None:
    np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.subtract(out, np.log(np.exp(out).sum(axis=-1, keepdims=True)), out=out)


def sparsemax(x: Array) -> Array:
    """Return Keras's sparsemax of the last axis."""
    ranked = -np.sort(-x, axis=-1)
    total = np.cumsum(ranked, axis=-1)
    rank = np.cumsum(np.ones_like(ranked), axis=-1)
    support = ranked - (total - 1) / rank > 0
    # Martins & Astudillo 2016 take the last of these cumulative sums; every backend of Keras takes their sum
    threshold = (np.where(support, total, 0).sum(axis=-1, keepdims=True) - 1) / support.sum(axis=-1, keepdims=True)
    result: Array = np.maximum(x - threshold.astype(x.dtype), 0)
    return result


def _sparsemax(x: Array, out: Array) -> None:
    np.copyto(out, sparsemax(x))


def _shrink(label: str, soft: bool) -> Callable[..., Activation]:
    def make(semantics: Semantics, threshold: float = 0.5) -> Activation:
        def apply(x: Array, out: Array) -> None:
            kept = np.sign(x) * (np.abs(x) - threshold) if soft else x
            np.copyto(out, np.where(np.abs(x) > threshold, kept, 0))

        return Activation(label, apply)

    return make


_TABLE: Mapping[object, Callable[..., Activation]] = {
    "linear": _plain("linear", _linear),
    "tanh": _plain("tanh", _tanh),
    "sigmoid": _plain("sigmoid", _sigmoid),
    "hard_sigmoid": _hard_sigmoid,
    REGISTERED_HARD_SIGMOID: lambda semantics: _hard_sigmoid(replace(semantics, hard_sigmoid_slope=0.2)),
    "relu": _relu,
    "relu6": lambda semantics: _relu(semantics, max_value=6.0),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _plain("selu", _selu),
    "celu": _celu,
    "gelu": _gelu,
    "silu": _plain("silu", _silu),
    "swish": _plain("silu", _silu),
    "hard_silu": _plain("hard_silu", _hard_silu),
    "hard_swish": _plain("hard_silu", _hard_silu),
    "mish": _plain("mish", _mish),
    "softmax": _softmax,
    "log_softmax": _plain("log_softmax", _log_softmax, elementwise=False),
    "sparsemax": _plain("sparsemax", _sparsemax, elementwise=False),
    "softplus": _plain("softplus", _softplus),
    "softsign": _plain("softsign", _softsign),
    "exponential": _plain("exponential", _exponential),
    "log_sigmoid": _plain("log_sigmoid", _log_sigmoid),
    "tanh_shrink": _plain("tanh_shrink", _tanh_shrink),
    "soft_shrink": _shrink("soft_shrink", soft=True),
    "hard_shrink": _shrink("hard_shrink", soft=False),
    "squareplus": _plain("squareplus", _squareplus),
    "hard_tanh": _plain("hard_tanh", _hard_tanh),
    "sparse_plus": _plain("sparse_plus", _sparse_plus),
    "sparse_sigmoid": _plain("sparse_sigmoid", _sparse_sigmoid),
}
ACTIVATION_NAMES = tuple(str(name) for name in _TABLE)
