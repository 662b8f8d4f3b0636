"""Bidirectional: two recurrent layers over the same input, one of them from the end.

Source: ``keras/src/layers/rnn/bidirectional.py`` 3.15.1, ``tf_keras/src/layers/rnn/bidirectional.py`` 2.21,
``keras/layers/wrappers.py`` 1.2.2 to 2.3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.binding.call_arguments import RECURRENT
from gateprobe.layers.binding.registry import Binding, part_of, replays
from gateprobe.layers.binding.settings import Unsupported, users_code
from gateprobe.limits import room


class SequenceLayer(Protocol):
    """What a Bidirectional needs of the layers inside it: a `Recurrent` or a ConvLSTM."""

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    precision: Precision

    def replay(self, call: Arguments, scope: Scope, direction: str | None = None) -> tuple[Tensor, ...]:
        """See `gateprobe.layers.recurrent.rnn.Recurrent`."""


@dataclass(frozen=True, slots=True, eq=False)
class Bidirectional:
    """Runs both layers and merges what they return."""

    forward: SequenceLayer
    backward: SequenceLayer
    merge_mode: str | None
    masking_known: bool = True
    """Whether it is certain what the layers emit at masked timesteps."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay one call; initial states are split in halves, the first for the forward layer."""
        first, *more = call.tensors
        states = tuple(tensors_in(call.get(1, "initial_state"))) or tuple(more)
        if len(states) % 2:
            raise InputError(f"initial states are split in halves, the call gives {len(states)}")
        half = len(states) // 2
        kwargs: dict[str, Any] = {"mask": call.kwargs["mask"]} if "mask" in call.kwargs else {}
        ahead = Arguments((first,), {**kwargs, "initial_state": states[:half]})
        behind = Arguments((first,), {**kwargs, "initial_state": states[half:]})
        y, *after = self.forward.replay(ahead, scope, "forward")
        y_back, *after_back = self.backward.replay(behind, scope, "backward")
        if self.forward.return_sequences:
            if y.mask is not None and not self.masking_known:
                raise InputError(
                    "TensorFlow 2.1 and 2.2 differ in what they emit at masked timesteps, the file fits both"
                )
            y_back = Tensor(np.flip(y_back.value, 1), y_back.mask)
        return (*self._merge(y, y_back), *after, *after_back)

    def _merge(self, y: Tensor, y_back: Tensor) -> tuple[Tensor, ...]:
        if self.merge_mode is None:
            return y, y_back
        return (Tensor(self.forward.precision.round(self._merged(y.value, y_back.value)), y.mask),)

    def _merged(self, y: Array, y_back: Array) -> Array:
        if self.merge_mode == "concat":
            return room.concatenate([y, y_back], -1)
        if self.merge_mode == "mul":
            return y * y_back
        total = y + y_back
        return total / 2 if self.merge_mode == "ave" else total


def _parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """The forward layer, and the backward one: its own record or the forward one the other way round."""
    forward = part_of(record, "layer")
    given = record.children.get("backward_layer", ())
    mirrored = {**forward.config, "go_backwards": not forward.config.get("go_backwards", False)}
    backward = given[0] if given else replace(forward, config=mirrored)
    return {"forward_layer": forward, "backward_layer": backward}


@replays("Bidirectional", parts=_parts, recurrent=True, takes=RECURRENT)
def _bind(binding: Binding) -> Bidirectional:
    settings = binding.settings
    merge_mode = settings.choice("merge_mode", ("concat", "sum", "mul", "ave", None), "concat")
    if settings.raw("num_constants"):
        raise users_code("config.num_constants: a cell with constants is")
    settings.ignore("layer", "backward_layer")
    settings.finish()
    forward, backward = (_inner(binding, name) for name in ("forward_layer", "backward_layer"))
    if forward.go_backwards == backward.go_backwards:
        raise Unsupported("both layers run in the same direction")
    if (forward.return_sequences, forward.return_state) != (backward.return_sequences, backward.return_state):
        raise Unsupported("the two layers return different things")
    return Bidirectional(forward, backward, merge_mode, binding.semantics.bidirectional_zeroes_masked is not None)


def _inner(binding: Binding, name: str) -> Any:
    """Return a bound layer with what this era's Bidirectional changes about it."""
    layer: Any = binding.parts[name]
    if not hasattr(layer, "return_sequences"):
        raise Unsupported(f"{name}: expected a recurrent layer")
    changes = {}
    if binding.semantics.bidirectional_zeroes_masked:
        changes["zero_output_for_mask"] = layer.return_sequences
    if layer.stateful:
        changes["stateful"] = _keeps_states(binding)
    return replace(layer, **changes) if changes else layer


def _keeps_states(binding: Binding) -> bool:
    """Whether a stateful Bidirectional starts a batch from the states of the batch before.

    Raises:
        Unsupported: The file does not tell.
    """
    keeps = binding.semantics.bidirectional_keeps_states
    if keeps is None:
        raise Unsupported(
            "is stateful: TensorFlow 1.15 and 2.0 differ in whether a Bidirectional carries its states to the next "
            "batch, and the file fits both"
        )
    return keeps
