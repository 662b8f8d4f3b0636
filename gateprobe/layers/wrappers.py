"""TimeDistributed: the same layer at every timestep.

Source: ``keras/src/layers/rnn/time_distributed.py`` 3.15.1, ``tf_keras/src/layers/rnn/time_distributed.py`` 2.21.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.registry import Binding, kind_of, replays
from gateprobe.layers.settings import Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class TimeDistributed:
    """Calls a layer for each timestep."""

    layer: Layer
    stepwise: bool
    """Whether a recurrent layer is inside: it is then called timestep by timestep, and its traces are those of
    ``layer``, ``layer:1``, ..., in this order. Any other layer gets all timesteps at once as samples."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay one call on ``(samples, timesteps, ...)``."""
        x = call.tensor
        if x.value.ndim < 2:
            raise InputError(f"expected (samples, timesteps, ...), got shape {x.value.shape}")
        mask = _mask(call, x)
        return self._stepped(x, mask, scope) if self.stepwise else self._folded(x, mask, scope)

    def _folded(self, x: Tensor, mask: Array | None, scope: Scope) -> tuple[Tensor, ...]:
        lead = x.value.shape[:2]
        rows = Tensor(x.value.reshape(-1, *x.value.shape[2:]))
        results = self.layer.replay(Arguments((rows,)), scope.within("layer"))
        return tuple(Tensor(result.value.reshape(*lead, *result.value.shape[1:]), mask) for result in results)

    def _stepped(self, x: Tensor, mask: Array | None, scope: Scope) -> tuple[Tensor, ...]:
        results = []
        for t in range(x.value.shape[1]):
            inside = scope.within("layer" if t == 0 else f"layer:{t}")
            step_mask = None if mask is None or mask.ndim < 3 else mask[:, t]
            results.append(self.layer.replay(Arguments((Tensor(x.value[:, t], step_mask),)), inside))
        return tuple(
            Tensor(np.stack([result[n].value for result in results], axis=1), mask) for n in range(len(results[0]))
        )


def _mask(call: Arguments, x: Tensor) -> Array | None:
    given = call.kwargs.get("mask")
    return given.value if isinstance(given, Tensor) else x.mask


def _parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    wrapped = record.children.get("layer", ())
    if len(wrapped) != 1:
        raise Unsupported("config.layer: expected one layer")
    return {"layer": wrapped[0]}


@replays("TimeDistributed", parts=_parts)
def _bind(binding: Binding) -> TimeDistributed:
    binding.settings.ignore("layer")
    binding.settings.finish()
    return TimeDistributed(binding.parts["layer"], stepwise=_recurrent(_parts(binding.record)["layer"]))


def _recurrent(record: LayerRecord) -> bool:
    """Whether a record is or holds a recurrent layer."""
    kind = kind_of(record)
    inside = [*(child for group in record.children.values() for child in group)]
    inside += record.model.layers if record.model is not None else ()
    return (kind is not None and kind.recurrent) or any(_recurrent(part) for part in inside)
