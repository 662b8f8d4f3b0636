"""Preprocessing that is plain arithmetic: scaling, standardising, bucketing, one-hot codes.

Formulas: ``keras/src/layers/preprocessing/*.py`` 3.15.1 and ``tf_keras/src/layers/preprocessing`` 2.21.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor, Value
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.embedding import token_ids
from gateprobe.layers.encoding import encoded
from gateprobe.layers.text_rules import is_text
from gateprobe.layers.unary import Unary, axis_in, fitting


def _numbers(settings: Settings, key: str, default: Any = None) -> Array | None:
    """Read a number or a (nested) list of numbers; ``None`` when there is none."""
    value = settings.raw(key, default)
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise Unsupported(f"config.{key}: expected numbers, got {value!r:.60}") from None
    if not np.isfinite(array).all():
        raise Unsupported(f"config.{key}: expected finite numbers")
    return array


def _cast(numbers: Array, precision: Precision) -> Array:
    """Cast numbers from a configuration; TensorFlow makes them float32 first, whatever they are then cast to."""
    return precision.cast(numbers.astype(np.float32))


@replays("Rescaling")
def _bind_rescaling(binding: Binding) -> Layer:
    scale, offset = _numbers(binding.settings, "scale"), _numbers(binding.settings, "offset", 0.0)
    binding.settings.finish()
    if scale is None or offset is None:
        raise Unsupported("config.scale: expected numbers")
    function = partial(_rescaled, scale=_cast(scale, binding.precision), offset=_cast(offset, binding.precision))
    return Unary(function, binding.precision, keeps_mask=binding.semantics.identity_keeps_mask, along=(-1,))


def _rescaled(x: Array, scale: Array, offset: Array) -> Array:
    for numbers in (scale, offset):
        if numbers.ndim and numbers.shape != x.shape[-1:]:
            raise InputError(f"{numbers.shape[0]} numbers do not fit an input of shape {x.shape}")
    result: Array = x * scale + offset
    return result


def _kept_axes(settings: Settings) -> tuple[int, ...]:
    return () if settings.raw("axis", -1) is None else settings.axes()


def _normalization_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    if settings.raw("mean") is not None:
        return ()
    shape = (None,) * len(_kept_axes(settings))
    mean, variance = (Slot(role, shape, trainable=False) for role in ("mean", "variance"))
    return (mean, variance, Slot("count", (), trainable=False, integers=True))


@replays("Normalization", slots=_normalization_slots)
def _bind_normalization(binding: Binding) -> Layer:
    settings = binding.settings
    axes, invert = _kept_axes(settings), settings.flag("invert", False)
    given = {key: _numbers(settings, key) for key in ("mean", "variance")}
    settings.finish()
    precision = binding.precision
    cast = partial(_cast, precision=precision) if binding.semantics.config_in_float32 else precision.cast
    numbers = {key: cast(value) for key, value in given.items() if value is not None}
    if len(numbers) == 1 or 0 in axes:
        raise Unsupported("config: expected both mean and variance, along other axes than the samples")
    function = Standardize(
        numbers or {key: binding.weights[key] for key in ("mean", "variance")},
        axes,
        exact=not numbers,
        invert=invert,
    )
    return Unary(function, precision, keeps_mask=binding.semantics.identity_keeps_mask, along=axes)


@dataclass(frozen=True, slots=True, eq=False)
class Standardize:
    """``(x - mean) / max(sqrt(variance), 1e-7)``, or the way back."""

    numbers: Mapping[str, Array]
    axes: tuple[int, ...]
    exact: bool
    """Whether the numbers have the very shape of the axes; those of a configuration are stretched."""
    invert: bool

    def __call__(self, x: Array) -> Array:
        """Standardize any input that has the axes."""
        mean, variance = (self._spread(x, self.numbers[key]) for key in ("mean", "variance"))
        spread = np.maximum(np.sqrt(variance), np.asarray(1e-7, x.dtype))
        result: Array = mean + x * spread if self.invert else (x - mean) / spread
        return result

    def _spread(self, x: Array, numbers: Array) -> Array:
        kept = sorted(axis_in(axis, x.ndim) for axis in self.axes)
        shape = tuple(x.shape[axis] for axis in kept)
        if self.exact and numbers.shape != shape:
            raise InputError(f"expected {numbers.shape} values along axes {self.axes}, got an input of {x.shape}")
        numbers = np.broadcast_to(numbers, shape)
        return numbers.reshape([size if axis in kept else 1 for axis, size in enumerate(x.shape)])


@replays("Discretization")
def _bind_discretization(binding: Binding) -> Layer:
    settings = binding.settings
    boundaries = _numbers(settings, "bin_boundaries")
    mode = settings.choice("output_mode", ("int", *_CODES), "int")
    settings.ignore("epsilon", "num_bins")
    settings.finish()
    if boundaries is None or boundaries.ndim != 1:
        raise Unsupported("config.bin_boundaries: boundaries that are not in the configuration are not replayed")
    function = partial(_bucket, boundaries=boundaries.astype(np.float32), mode=mode, dtype=binding.precision.dtype)
    return Unary(function, Precision("float32"), keeps_mask=False)


def _bucket(x: Array, boundaries: Array, mode: str, dtype: np.dtype[Any]) -> Array:
    buckets = np.searchsorted(boundaries, x, side="right")
    return buckets if mode == "int" else encoded(buckets, mode, len(boundaries) + 1).astype(dtype)


_CODES = ("one_hot", "multi_hot", "count")


@dataclass(frozen=True, slots=True, eq=False)
class CategoryEncoding:
    """Codes of ids below ``tokens``."""

    tokens: int
    mode: str
    precision: Precision
    mixes_single: bool
    """Whether Keras mixes the samples where a row holds a single id."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Return ``(..., tokens)``, a code of each id or of each row of them.

        Raises:
            InputError: There are texts, unknown ids, or no rows.
        """
        ids, given = call.tensor.value, call.get(1, "count_weights")
        if is_text(ids):
            raise InputError("takes ids, not texts, in Keras, too", remedy="put a StringLookup in front of it")
        if self.mixes_single and self.mode != "one_hot" and ids.ndim > 1 and ids.shape[-1] == 1:
            raise InputError("Keras 3.0 to 3.3 mixes the samples where rows hold a single id")
        ids = token_ids(ids, self.tokens)
        with fitting(ids):
            codes = encoded(ids, self.mode, self.tokens, self._weights(given, ids))
        return (Tensor(self.precision.cast(codes)),)

    def _weights(self, given: Value, ids: Array) -> Array | None:
        if given is None:
            return None
        weights = self.precision.cast(np.asarray(given.value if isinstance(given, Tensor) else given))
        if self.mode != "count" or weights.shape != ids.shape:
            shapes = f"{weights.shape} for ids of shape {ids.shape}"
            raise InputError(f"count_weights of shape {shapes} and output_mode={self.mode!r}, which Keras refuses")
        return weights


@replays("CategoryEncoding", takes=("inputs", "count_weights", "training"))
def _bind_category(binding: Binding) -> Layer:
    settings = binding.settings
    tokens = settings.integer("num_tokens")
    mode = settings.choice("output_mode", (*_CODES, "binary"), "multi_hot")
    settings.finish()
    mode = "multi_hot" if mode == "binary" else mode
    return CategoryEncoding(tokens, mode, binding.precision, binding.semantics.single_codes_mix)
