"""The ``hard_sigmoid`` of Keras 1 and 2 in the words of Keras 3.

It was ``clip(0.2 * x + 0.5, 0, 1)`` before Keras 3 and is ``clip(x / 6 + 0.5, 0, 1)`` there, so that
``old(x) = new(1.2 * x)``: what computes ``x`` is scaled by 1.2. Only the weights round, by half a unit in the last
place each. Or it is written as a function that the user registers in Keras, which is exact and needs that code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateprobe.activations import REGISTERED_HARD_SIGMOID
from gateprobe.graph import Array, Call, LayerRecord, Namespace, TensorRef
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.migration.graphs import free
from gateprobe.semantics import Semantics

SCALE = 1.2
"""``(1 / 5) / (1 / 6)``."""
CODE = """\
@keras.saving.register_keras_serializable("gateprobe")
def hard_sigmoid_02(x):
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)
"""
"""What a user runs before Keras loads a file with the registered function."""
_LINEAR = ("Dense", "EinsumDense", "Conv", "SeparableConv", "DepthwiseConv", "SimpleRNN")
"""Layers, by the beginning of their class, whose activation follows a product with their last kernel and a bias."""
_FUNCTION = {
    "module": "builtins",
    "class_name": "function",
    "config": REGISTERED_HARD_SIGMOID,
    "registered_name": "function",
}
_KEYS = ("activation", "recurrent_activation")


@dataclass(frozen=True, slots=True)
class HardSigmoid:
    """How to express it."""

    semantics: Semantics
    """Of the file."""
    registered: bool
    """Whether as a function of its own."""

    def layer(self, old: LayerRecord, new: LayerRecord) -> LayerRecord:
        """Return a layer in which Keras 3 understands every activation as it was meant.

        Raises:
            Unsupported: It cannot be expressed exactly.
        """
        if self.registered:
            steep = {key: _FUNCTION for key in _KEYS if self._steep(new.config.get(key))}
            return replace(new, config={**new.config, **steep})
        kind = new.class_name.removesuffix("Cell")
        if self._steep(old.config.get("activation")):
            if kind == "LSTM" or kind.startswith("ConvLSTM"):
                raise Unsupported(
                    "its activation is a hard_sigmoid of slope 0.2, also on the cell state, where no weights can be "
                    "scaled; --hard-sigmoid=registered writes it as a function"
                )
            if kind not in ("GRU", "Activation") and not kind.startswith(_LINEAR):
                raise Unsupported("its activation is a hard_sigmoid of slope 0.2, and there are no weights to scale")
        return new

    def told(self, old: LayerRecord) -> str | None:
        """Say what was expressed in another way."""
        own = self._steep(old.config.get("activation"))
        if not own and not self._steep(self._gates(old)):
            return None
        if self.registered:
            return f"hard_sigmoid of slope 0.2: the registered function {REGISTERED_HARD_SIGMOID}"
        if old.class_name == "Activation":
            return "hard_sigmoid of slope 0.2: a Rescaling by 1.2 before that of Keras 3, whose slope is 1/6"
        return "hard_sigmoid of slope 0.2: the weights before it are scaled by 1.2, for the slope of Keras 3, 1/6"

    def before(self, old: LayerRecord, new: LayerRecord, taken: Collection[str]) -> tuple[LayerRecord, ...]:
        """Return a layer, and what must stand before it: an activation without weights gets its input scaled."""
        if self.registered or new.class_name != "Activation" or not self._steep(old.config.get("activation")):
            return (new,)
        name = free(f"{new.name}_scale", taken)
        config = {"scale": SCALE}
        scale = LayerRecord(name, "Rescaling", config, Namespace.LAYER, calls=new.calls, module="keras.layers")
        after = tuple(
            Call((TensorRef(name, number), *call.args[1:]), call.kwargs) for number, call in enumerate(new.calls)
        )
        return scale, replace(new, calls=after)

    def weights(self, old: LayerRecord, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return an object's own weights, scaled where a steeper hard_sigmoid follows.

        Args:
            old: As read.
            values: By role, in the layout of Keras 3.
        """
        own, gates = self._steep(old.config.get("activation")), self._steep(self._gates(old))
        if self.registered or not values or not (own or gates):
            return dict(values)
        kind = old.class_name.removesuffix("Cell")
        if kind == "LSTM" or kind.startswith("ConvLSTM"):
            return _scaled_columns(values, (gates, gates, False, gates))  # i, f, c, o
        if kind == "GRU":
            return _scaled_columns(values, (gates, gates, own))  # z, r, h
        last = [role for role in values if role.endswith("kernel")][-1:]
        chosen = [*last, "bias", *(["kernel", "recurrent_kernel"] if kind == "SimpleRNN" else [])]
        return {role: _scaled(array) if role in chosen else array for role, array in values.items()}

    def _steep(self, value: Any) -> bool:
        """Tell whether an activation is a hard_sigmoid that is steeper than that of Keras 3."""
        return value == "hard_sigmoid" and self.semantics.hard_sigmoid_slope != 1 / 6

    def _gates(self, record: LayerRecord) -> Any:
        """Return the activation of the gates, which an era takes for granted where the file does not say it."""
        if record.class_name.startswith("ConvLSTM"):
            return record.config.get("recurrent_activation", self.semantics.conv_recurrent_activation)
        if record.class_name.removesuffix("Cell") in ("LSTM", "GRU"):
            return record.config.get("recurrent_activation", self.semantics.recurrent_activation)
        return None


def _scaled_columns(values: Mapping[str, Array], flags: tuple[bool, ...]) -> dict[str, Array]:
    """Scale the columns of some gates, which stand side by side along the last axis."""
    found = {}
    for role, array in values.items():
        columns = np.repeat(flags, array.shape[-1] // len(flags))
        found[role] = np.where(columns, _scaled(array), array)
    return found


def _scaled(array: Array) -> Array:
    """Multiply in float64, and round once."""
    return (array.astype(np.float64) * SCALE).astype(array.dtype)
