"""SpectralNormalization, which at inference uses the kernel as it was stored.

Source: ``keras/src/layers/normalization/spectral_normalization.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateprobe.graph import LayerRecord
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported


@dataclass(frozen=True, slots=True, eq=False)
class SpectralNormalization:
    """Calls the layer inside."""

    layer: Layer

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hand the call on."""
        return self.layer.replay(Arguments(call.args), scope.within("layer"))


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return (Slot("kernel", None, alias=True), Slot("vector_u", (1, None), trainable=False))


def _parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    wrapped = record.children.get("layer", ())
    if len(wrapped) != 1:
        raise Unsupported("config.layer: expected one layer")
    return {"layer": wrapped[0]}


@replays("SpectralNormalization", slots=_slots, parts=_parts)
def _bind(binding: Binding) -> Layer:
    binding.settings.ignore("layer", "power_iterations")
    binding.settings.finish()
    return SpectralNormalization(binding.parts["layer"])
