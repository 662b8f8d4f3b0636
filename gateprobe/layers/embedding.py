"""Embedding: rows of a table, looked up by token id.

Formulas: ``keras/src/layers/core/{embedding,reversible_embedding}.py`` 3.15.1, ``keras/layers/embeddings.py`` 1.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.sizes import Sizes, constant
from gateprobe.layers.unary import fitting
from gateprobe.limits import room


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Replaces every token id by its row."""

    embeddings: Array
    """``(vocabulary, features)``."""
    mask_zero: bool
    takes_shared: ClassVar[bool] = True
    """Whether it takes numbers without samples, such as positions, too."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Look up ``(samples, ...)`` ids; the result has one more axis."""
        given = call.tensor
        ids = token_ids(np.asarray(constant(given)) if given.shared else given.value, len(self.embeddings))
        if given.shared:
            return (Sizes(room.take(self.embeddings, ids, 0)),)
        return (Tensor(room.take(self.embeddings, ids, 0), ids != 0 if self.mask_zero else None),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks:
        """See `gateprobe.layers.base.Timewise`."""
        return (ranks[0] + 1,)


def token_ids(values: Array, vocabulary: int) -> Array:
    """Return ids as integers.

    Args:
        values: Integers, or floats that are whole.
        vocabulary: Number of known ids.

    Raises:
        InputError: Some value is no whole number or no known id. Keras would cut off fractions, and would read rows
            of zeros or fail for unknown ids, depending on the device.
    """
    if np.issubdtype(values.dtype, np.floating):
        broken = ~(values == np.rint(values))
        if broken.any():
            raise InputError(f"token ids must be whole numbers, got {values[broken].flat[0]}")
    unknown = ~((values >= 0) & (values < vocabulary))
    if unknown.any():
        raise InputError(f"token id {values[unknown].flat[0]:.0f} is outside 0..{vocabulary - 1}")
    return values.astype(np.intp)


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return (Slot("embeddings", (settings.integer("input_dim"), settings.integer("output_dim"))),)


@replays("Embedding", slots=_slots)
def _bind(binding: Binding) -> Layer:
    settings = binding.settings
    mask_zero = settings.flag("mask_zero", False)
    settings.ignore("input_dim", "output_dim", "dropout")
    settings.finish()
    return Embedding(binding.weights["embeddings"], mask_zero)


@dataclass(frozen=True, slots=True, eq=False)
class ReversibleEmbedding:
    """An embedding that also turns vectors into scores of all tokens."""

    embedding: Embedding
    reverse: Array
    """``(features, vocabulary)``."""
    soft_cap: float | None
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Look up ids or, called with ``reverse=True``, compute ``x @ reverse``."""
        if not call.get(1, "reverse", default=False):
            return self.embedding.replay(call, scope)
        x = self.precision.cast(call.tensor.value)
        with fitting(x):
            scores = self.precision.round(multiply(x, self.reverse))
            if self.soft_cap is not None:
                scores = self.precision.round(np.tanh(scores / self.soft_cap) * self.soft_cap)
        return (Tensor(scores),)


def _reversible_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    tokens, features = settings.integer("input_dim"), settings.integer("output_dim")
    tied = settings.flag("tie_weights", True)
    return (*_slots(record, settings), *(() if tied else (Slot("reverse_embeddings", (features, tokens)),)))


@replays("ReversibleEmbedding", slots=_reversible_slots, takes=("inputs", "reverse"))
def _bind_reversible(binding: Binding) -> Layer:
    settings, weights = binding.settings, binding.weights
    cap = None if settings.raw("logit_soft_cap") is None else settings.number("logit_soft_cap")
    if settings.raw("reverse_dtype") not in (None, binding.precision.name):
        raise Unsupported("config.reverse_dtype: another dtype than the layer's own is not replayed")
    mask_zero = settings.flag("mask_zero", False)
    settings.ignore("input_dim", "output_dim", "tie_weights")
    settings.finish()
    table = weights["embeddings"]
    reverse = weights.get("reverse_embeddings", table.T)
    return ReversibleEmbedding(Embedding(table, mask_zero), reverse, cap, binding.precision)
