"""Embedding: rows of a table, looked up by token id.

Formulas: ``keras/src/layers/core/embedding.py`` 3.15.1, ``keras/layers/embeddings.py`` 1.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.registry import Binding, Slot, replays
from gateprobe.layers.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Replaces every token id by its row."""

    embeddings: Array
    """``(vocabulary, features)``."""
    mask_zero: bool

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Look up ``(samples, ...)`` ids; the result has one more axis."""
        ids = token_ids(call.tensor.value, len(self.embeddings))
        return (Tensor(self.embeddings[ids], ids != 0 if self.mask_zero else None),)


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
