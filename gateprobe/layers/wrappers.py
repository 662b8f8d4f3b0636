"""TimeDistributed: the same layer at every timestep.

Source: ``keras/src/layers/rnn/time_distributed.py`` 3.15.1, ``tf_keras/src/layers/rnn/time_distributed.py`` 2.21.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, records_within
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, is_recurrent, part_of, replays, wrapped_layer
from gateprobe.layers.recurrent.rnn import is_stateful
from gateprobe.layers.unary import mask_of
from gateprobe.limits import room
from gateprobe.semantics import DistributedMask


@dataclass(frozen=True, slots=True, eq=False)
class TimeDistributed:
    """Calls a layer for each timestep."""

    layer: Layer
    stepwise: bool
    """Whether a recurrent layer is inside: it is then called timestep by timestep, and its traces are those of
    ``layer``, ``layer:1``, ..., in this order. Any other layer gets all timesteps at once as samples."""
    masks: DistributedMask
    refuses_masks: bool = False
    """Whether a mask makes Keras repeat outputs, which is not replayed (a stateful layer in tf.keras)."""
    holds_softmax: bool = False
    """Whether there is a Softmax inside. Keras gives it the mask of whole timesteps, which fits only by accident: for
    one sample, or as many as there are features. It refuses that mask, then."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay one call on ``(samples, timesteps, ...)``."""
        x = call.tensor
        if x.value.ndim < 2:
            raise InputError(f"expected (samples, timesteps, ...), got shape {x.value.shape}")
        mask = mask_of(call, x)
        if mask is not None and self.refuses_masks:
            raise InputError("a mask around a stateful layer is not replayed", remedy="remove the mask")
        return self._stepped(x, mask, scope) if self.stepwise else self._folded(x, mask, scope)

    def _folded(self, x: Tensor, mask: Array | None, scope: Scope) -> tuple[Tensor, ...]:
        lead = x.value.shape[:2]
        seen = mask.reshape(-1, *mask.shape[2:]) if mask is not None and self.holds_softmax else None
        rows = Tensor(x.value.reshape(-1, *x.value.shape[2:]), _within(mask, self.masks) if seen is None else seen)
        results = self.layer.replay(Arguments((rows,)), scope.within("layer"))

        def unfolded(rows: Array) -> Array:
            return rows.reshape(*lead, *rows.shape[1:])

        return tuple(
            Tensor(unfolded(one.value), self._outgoing(mask, None if one.mask is None else unfolded(one.mask)))
            for one in results
        )

    def _stepped(self, x: Tensor, mask: Array | None, scope: Scope) -> tuple[Tensor, ...]:
        results = []
        seen = _within(mask, self.masks)
        steps_mask = None if seen is None or mask is None else seen.reshape(mask.shape)
        for t in range(x.value.shape[1]):
            inside = scope.within("layer" if t == 0 else f"layer:{t}", owner="layer")
            step_mask = None if steps_mask is None else steps_mask[:, t]
            results.append(self.layer.replay(Arguments((Tensor(x.value[:, t], step_mask),)), inside))
        return tuple(
            Tensor(room.stack([one.value for one in group], 1), self._outgoing(mask, _stacked(group)))
            for group in zip(*results, strict=True)
        )

    def _outgoing(self, mask: Array | None, own: Array | None) -> Array | None:
        """Return the output's mask.

        Args:
            mask: Of the input.
            own: What the layer inside gave as the output's mask, for every timestep.
        """
        if self.masks is not DistributedMask.COMPUTED:
            return mask
        if own is not None or mask is None:
            return own
        return np.asarray(mask.any(axis=tuple(range(2, mask.ndim))))


def _within(mask: Array | None, masks: DistributedMask) -> Array | None:
    """Return the mask for the layer inside, all timesteps as samples; a mask of whole timesteps means nothing there."""
    if mask is None or mask.ndim < 3 or masks is DistributedMask.UNSEEN:
        return None
    return mask.reshape(-1, *mask.shape[2:])


def _stacked(group: tuple[Tensor, ...]) -> Array | None:
    masks = [one.mask for one in group if one.mask is not None]
    return room.stack(masks, 1) if len(masks) == len(group) else None


@replays("TimeDistributed", parts=wrapped_layer, takes=("inputs", "training", "mask"))
def _bind(binding: Binding) -> TimeDistributed:
    binding.settings.ignore("layer")
    binding.settings.finish()
    inside, masks = part_of(binding.record, "layer"), binding.semantics.distributed_mask
    refuses = masks is DistributedMask.COMPUTED and is_stateful(inside)
    softmax = masks is not DistributedMask.UNSEEN and any(one.class_name == "Softmax" for one in records_within(inside))
    recurrent = any(map(is_recurrent, records_within(inside)))
    return TimeDistributed(binding.parts["layer"], recurrent, masks, refuses, softmax)
