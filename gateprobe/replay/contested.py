"""Words whose meaning differs between the eras that a file may be of.

Where a file does not tell its era beyond doubt, its `Semantics` has rivals. What is bound then asks a `Watched`
semantics, which remembers the questions; a question that the rivals answer differently is a reason to refuse, or to
say which answer was taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from gateprobe.graph import ModelRecord, records_in
from gateprobe.semantics import Semantics

_NO_WORDS = frozenset("era rivals weight_order keras1_kernels theano unroll_zeroes_masked emits_hidden_state".split())
"""What says where the file comes from, how it stores its weights, which it shows by itself, or on what Keras runs."""
_OF_MASKS = frozenset(
    """
    masked_output bidirectional_zeroes_masked conv_lstm_zeroes_masked merged_mask softmax_sees_mask
    softmax_zeroes_masked attention_sees_masks attention_fused attention_takes_masks states_hide_mask
    identity_keeps_mask distributed_mask explicit_mask_goes_on null_mask_hides group_norm_sees_mask
    cast_keeps_mask
    """.split()
)
"""What matters only where there is a mask."""


class Watched(Semantics):
    """The same meanings, and a memory of which were asked for."""

    _asked: set[str]

    @classmethod
    def over(cls, semantics: Semantics) -> Watched:
        """Watch a semantics."""
        watched = cls(**{field.name: getattr(semantics, field.name) for field in fields(semantics)})
        object.__setattr__(watched, "_asked", set())
        return watched

    def __getattribute__(self, name: str) -> Any:
        """Return a meaning, and remember that it was asked for."""
        found = super().__getattribute__(name)
        if not name.startswith("_"):
            super().__getattribute__("__dict__").get("_asked", set()).add(name)
        return found

    def differing(self, *, masked: bool, same_era: bool) -> Iterator[str]:
        """Yield the words that were asked for and that a rival answers differently.

        Args:
            masked: Whether there is a mask anywhere in the model.
            same_era: Whether to look at the rivals of the same era, or at those of others.
        """
        rivals = [rival for rival in self.rivals if (rival.era is self.era) is same_era]
        for name in self.asked(masked=masked):
            if any(getattr(rival, name) != getattr(self, name) for rival in rivals):
                yield name.replace("_", " ")

    def asked(self, *, masked: bool) -> list[str]:
        """Return the words that were asked for so far, sorted; those about masks only where there is one."""
        return sorted((self._asked & _FIELDS) - (_NO_WORDS if masked else _NO_WORDS | _OF_MASKS))


_FIELDS = frozenset(field.name for field in fields(Semantics))


def has_masks(model: ModelRecord) -> bool:
    """Whether something in a model makes a mask, or a call is given one."""
    return any(
        record.class_name == "Masking"
        or record.config.get("mask_zero")
        or any(key.endswith("mask") for call in record.calls for key in call.kwargs)
        for record in records_in(model)
    )
