"""Dot-product and additive attention, and attention with several heads.

Formulas: ``keras/src/layers/attention/*.py`` 3.15.1, ``tf_keras/src/layers/attention`` 2.21.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gateprobe.activations import softmax
from gateprobe.errors import GateprobeWarning, InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.activation_layers import masked_softmax
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor, Value
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.unary import as_mask, fitting, masks_of
from gateprobe.limits import room
from gateprobe.semantics import MergedMask, Semantics

Score = Callable[[Array, Array], Array]
"""``(samples, queries, features)``, ``(samples, keys, features)`` → ``(samples, queries, keys)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Blends values by how well their keys answer a query."""

    score: Score
    causal: bool
    """Whether a query never sees later keys."""
    precision: Precision
    keeps_mask: bool
    """Whether the query's mask goes on."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay ``layer([query, value, key])``; the key defaults to the value."""
        tensors = call.tensors
        ranks = {tensor.value.ndim for tensor in tensors}
        if len(tensors) in (2, 3) and ranks == {2}:
            return self._across_samples(tensors, call, scope)
        if len(tensors) not in (2, 3) or ranks != {3}:
            raise InputError("expected query, value and optionally key, each (samples, timesteps, features)")
        masks = masks_of(call, tensors)
        query, value, *key = (self.precision.cast(tensor.value) for tensor in tensors)
        with fitting(query, value):
            scores = self.precision.round(self.score(query, key[0] if key else value))
            kept = _all_of(
                None if masks[1] is None else masks[1][:, np.newaxis],
                _lower_triangle(scores) if self.causal or call.kwargs.get("use_causal_mask") else None,
            )
            shares = self.precision.round(self._shares(scores, kept))
            output = self.precision.round(room.matmul(shares, value))
            if masks[0] is not None:
                output = np.where(masks[0][..., np.newaxis], output, np.zeros((), output.dtype))
        first = Tensor(output, masks[0] if self.keeps_mask else None)
        return (first, Tensor(shares)) if call.kwargs.get("return_attention_scores") else (first,)

    def _across_samples(self, tensors: tuple[Tensor, ...], call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Attend from sample to sample: what Keras makes of inputs that have no timesteps."""
        warnings.warn(
            f"{scope.path}: attends from sample to sample, as Keras does with inputs that have no timesteps; "
            "its numbers depend on which samples share a batch",
            GateprobeWarning,
            stacklevel=2,
        )
        alone = slice(1) if scope.padded else slice(None)
        sequences = tuple(Tensor(tensor.value[np.newaxis, alone]) for tensor in tensors)
        results = self.replay(Arguments((sequences,), call.kwargs), scope)
        return tuple(Tensor(room.repeat(result.value[0], 2 if scope.padded else 1, 0)) for result in results)

    def _shares(self, scores: Array, kept: Array | None) -> Array:
        if kept is None:
            return softmax(scores, (2,))
        lowest = -65504.0 if self.precision.name == "float16" else -1e9
        return masked_softmax(scores, kept, (2,), self.precision, zeroes_masked=False, lowest=lowest)


def _all_of(*masks: Array | None) -> Array | None:
    """Return where all of the given masks are true."""
    result = None
    for mask in masks:
        if mask is not None:
            room.combining(mask, mask if result is None else result)
            result = mask if result is None else result & mask
    return result


def _lower_triangle(scores: Array) -> Array:
    return room.tri(*scores.shape[-2:])


_TAKES = ("inputs", "mask", "training", "return_attention_scores", "use_causal_mask")
_MASKS = ("query_mask", "value_mask", "key_mask", "attention_mask")
_HEADS_TAKE = ("query", "value", "key", *_MASKS, "return_attention_scores", "training", "use_causal_mask")


def _scale_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    slots = (Slot("scale", ()),) if settings.flag("use_scale", False) else ()
    concat = settings.choice("score_mode", ("dot", "concat"), "dot") == "concat"
    return (*slots, Slot("concat_score_weight", ())) if concat else slots


def _additive_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return (Slot("scale", (None,)),) if settings.flag("use_scale", True) else ()


@replays("Attention", slots=_scale_slots, takes=_TAKES)
def _bind_attention(binding: Binding) -> Layer:
    scale, weight = (binding.weights.get(role) for role in ("scale", "concat_score_weight"))
    score = partial(_dot_scores, scale=scale) if weight is None else partial(_concat_scores, scale=scale, weight=weight)
    binding.settings.ignore("use_scale", "score_mode")
    return _attention(binding, score)


@replays("AdditiveAttention", slots=_additive_slots, takes=_TAKES)
def _bind_additive(binding: Binding) -> Layer:
    binding.settings.ignore("use_scale", "score_mode")
    return _attention(binding, partial(_additive_scores, scale=binding.weights.get("scale")))


def _attention(binding: Binding, score: Score) -> Attention:
    causal = binding.settings.flag("causal", False)
    binding.settings.ignore("dropout")
    binding.settings.finish()
    return Attention(score, causal, binding.precision, binding.semantics.merged_mask is not MergedMask.NONE)


def _dot_scores(query: Array, key: Array, scale: Array | None) -> Array:
    scores = room.matmul(query, key.swapaxes(1, 2))
    return scores if scale is None else scores * scale


def _sums(query: Array, key: Array) -> Array:
    """Return the sum of every query with every key: ``(samples, queries, keys, features)``."""
    queries, keys = query[:, :, np.newaxis], key[:, np.newaxis]
    room.combining(queries, keys)
    return queries + keys


def _concat_scores(query: Array, key: Array, scale: Array | None, weight: Array) -> Array:
    sums = _sums(query, key)
    scores: Array = weight * np.tanh(sums if scale is None else scale * sums).sum(axis=-1)
    return scores


def _additive_scores(query: Array, key: Array, scale: Array | None) -> Array:
    agreement: Array = np.tanh(_sums(query, key))
    if scale is None:
        total: Array = agreement.sum(axis=-1)
        return total
    if scale.shape != agreement.shape[-1:]:
        raise InputError(f"expected {scale.shape[0]} features, got {agreement.shape[-1]}")
    return room.matmul(agreement, scale)


@dataclass(frozen=True, slots=True, eq=False)
class HeadedAttention:
    """Attention with several heads; groups of query heads may share a key head."""

    parts: Mapping[str, Layer]
    """``query_dense``, ``key_dense``, ``value_dense``, ``output_dense`` and perhaps ``gate_dense``."""
    scale: float
    sharing: int
    """How many query heads look at one key head."""
    sees_masks: bool
    """Whether the masks that query, key and value carry hide keys, and the output carries that of the query."""
    fused: bool
    """Whether Keras takes the path on which a query that sees no key gets exactly the mean of all values."""
    zeroes_masked: bool
    """Whether a query that sees no key gets zeros on the other path, instead of nearly the mean of all values."""
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay ``layer(query, value, key=None, ...)`` on ``(samples, timesteps, features)``."""
        given = {name: call.get(position, name) for position, name in enumerate(("query", "value", "key"))}
        query, value = (_one(given[name], name) for name in ("query", "value"))
        key = value if given["key"] is None else _one(given["key"], "key")
        heads = {
            name: self._projected(name, tensor, scope)
            for name, tensor in (("query", query), ("key", key), ("value", value))
        }
        with fitting(query.value, value.value):
            fused = self.fused and not call.kwargs.get("return_attention_scores")
            kept = self._mask(call, query=query, key=key, value=value)
            shares, blended = self._blend(heads, kept, fused=fused)
            if "gate_dense" in self.parts:
                blended = self.precision.round(blended * self._dense("gate_dense", query.value, scope))
        output = Tensor(self._dense("output_dense", blended, scope), query.mask if self.sees_masks else None)
        return (output, shares) if call.kwargs.get("return_attention_scores") else (output,)

    def _dense(self, part: str, x: Array, scope: Scope) -> Array:
        return self.parts[part].replay(Arguments((Tensor(x),)), scope.within(part))[0].value

    def _projected(self, name: str, tensor: Tensor, scope: Scope) -> Array:
        """Return ``(samples, heads, timesteps, features)``."""
        if tensor.value.ndim != 3:
            raise InputError(f"expected {name} as (samples, timesteps, features), got shape {tensor.value.shape}")
        x = self._dense(f"{name}_dense", tensor.value, scope).swapaxes(1, 2)
        return x if name == "query" else room.repeat(x, self.sharing, 1)

    def _blend(self, heads: Mapping[str, Array], kept: Array | None, *, fused: bool) -> tuple[Tensor, Array]:
        """Return shares and blended values.

        The shares ``(samples, heads, queries, keys)`` keep the mask of their softmax; the blended values are
        ``(samples, queries, heads, features)``.
        """
        query = self.precision.round(heads["query"] * self.precision.dtype.type(self.scale))
        scores = self.precision.round(room.matmul(query, heads["key"].swapaxes(2, 3)))
        if kept is None:
            shares = softmax(scores, (3,))
        else:
            kept = kept.reshape(*kept.shape[:-2], *[1] * (4 - kept.ndim), *kept.shape[-2:])
            zeroes_masked = self.zeroes_masked and not fused
            shares = masked_softmax(scores, kept, (3,), self.precision, zeroes_masked=zeroes_masked, replaces=fused)
        shares = self.precision.round(shares)
        return Tensor(shares, kept), self.precision.round(room.matmul(shares, heads["value"])).swapaxes(1, 2)

    def _mask(self, call: Arguments, **tensors: Tensor) -> Array | None:
        """Return which key each query may see: ``(samples, queries, keys)`` or broadcastable to it."""
        queries, keys = (tensors[name].value.shape[1] for name in ("query", "value"))
        masks = [
            _along(name, _explicit(call, f"{name}_mask", tensor.mask if self.sees_masks else None))
            for name, tensor in tensors.items()
        ]
        causal = room.tri(queries, keys)[np.newaxis] if call.kwargs.get("use_causal_mask") else None
        return _all_of(*masks, causal, _explicit(call, "attention_mask", None))


def _one(value: Value, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(f"expected one tensor as {name}")
    return value


def _explicit(call: Arguments, name: str, default: Array | None) -> Array | None:
    given = call.kwargs.get(name)
    return default if given is None else as_mask(given)


def _along(name: str, mask: Array | None) -> Array | None:
    if mask is None:
        return None
    return mask[:, :, np.newaxis] if name == "query" else mask[:, np.newaxis]


def _projection(record: LayerRecord, shape: list[Any], activation: str = "linear") -> LayerRecord:
    """Return the record of a dense layer inside: one axis to heads and features."""
    return _einsum(record, "...a,abc->...bc", "bc", shape, activation)


def _einsum(
    record: LayerRecord, equation: str, bias_axes: str, shape: list[Any] | None = None, activation: str = "linear"
) -> LayerRecord:
    config: dict[str, Any] = {
        "equation": equation,
        "output_shape": shape,
        "bias_axes": bias_axes if record.config.get("use_bias", True) else None,
        "activation": activation,
        "dtype": record.config.get("dtype"),
    }
    return replace(record, class_name="EinsumDense", config=config, children={}, calls=())


def _dense_parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    shape = record.config.get("output_shape")
    letters = "def"[: len(shape)] if isinstance(shape, (list, tuple)) and shape else "d"
    grouped = record.class_name != "MultiHeadAttention"
    get = record.config.get
    features = get("head_dim" if grouped else "key_dim")
    queries, keys = [get("num_query_heads"), get("num_key_value_heads")] if grouped else [get("num_heads")] * 2
    gate = {"gate_dense": _projection(record, [queries, None], "sigmoid")} if get("use_gate") else {}
    return {
        "query_dense": _projection(record, [queries, features]),
        "key_dense": _projection(record, [keys, features]),
        **({} if grouped else gate),
        "value_dense": _projection(record, [keys, features if grouped else get("value_dim") or features]),
        **(gate if grouped else {}),
        "output_dense": _einsum(record, f"...bc,bc{letters}->...{letters}", letters),
    }


def _scale_of(features: int, semantics: Semantics) -> float:
    scale = 1 / float(np.sqrt(features))
    return float(np.float32(scale)) if semantics.attention_scale_in_float32 else scale


@replays("MultiHeadAttention", parts=_dense_parts, takes=_HEADS_TAKE)
def _bind_heads(binding: Binding) -> Layer:
    settings = binding.settings
    settings.integer("num_heads")
    settings.ignore("value_dim", "softmax_robust_masking")
    if settings.raw("attention_axes") not in (None, 1, [1], (1,)):
        raise Unsupported("config.attention_axes: only attention over the timesteps is replayed")
    return _headed(binding, settings.integer("key_dim"), sharing=1)


@replays("GroupedQueryAttention", "GroupQueryAttention", parts=_dense_parts, takes=_HEADS_TAKE)
def _bind_grouped(binding: Binding) -> Layer:
    settings = binding.settings
    heads, key_heads = settings.integer("num_query_heads"), settings.integer("num_key_value_heads")
    if heads % key_heads:
        raise Unsupported(f"config: {heads} query heads cannot share {key_heads} key heads")
    return _headed(binding, settings.integer("head_dim"), sharing=heads // key_heads)


_HEADS_KEYS = ("use_bias", "use_gate", "output_shape", "query_shape", "key_shape", "value_shape", "flash_attention")


def _headed(binding: Binding, features: int, sharing: int) -> Layer:
    settings, semantics = binding.settings, binding.semantics
    dropout = settings.number("dropout", 0.0)
    settings.ignore(*_HEADS_KEYS)
    settings.finish()
    return HeadedAttention(
        binding.parts,
        _scale_of(features, semantics),
        sharing=sharing,
        sees_masks=semantics.attention_sees_masks,
        fused=semantics.attention_fused and not dropout,
        zeroes_masked=semantics.softmax_zeroes_masked,
        precision=binding.precision,
    )
