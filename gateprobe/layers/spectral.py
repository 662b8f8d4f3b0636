"""SpectralNormalization, which at inference uses the kernel as it was stored.

Source: ``keras/src/layers/normalization/spectral_normalization.py`` 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateprobe.graph import LayerRecord
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, Slot, replays, wrapped_layer
from gateprobe.layers.binding.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class SpectralNormalization:
    """Calls the layer inside."""

    layer: Layer

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hand the call on."""
        return self.layer.replay(Arguments(call.args), scope.within("layer"))


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    return (Slot("kernel", None, alias=True), Slot("vector_u", (1, None), trainable=False))


@replays("SpectralNormalization", slots=_slots, parts=wrapped_layer)
def _bind(binding: Binding) -> Layer:
    binding.settings.ignore("layer", "power_iterations")
    binding.settings.finish()
    return SpectralNormalization(binding.parts["layer"])
