"""The closed table of what can be replayed: Keras class name → how to bind it.

A string from a file selects code in two places only: here and in ``activations``. The package imports every module of
``layers``; two layers claiming one class is an error at import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateprobe.graph import Array, LayerRecord, Namespace
from gateprobe.layers.base import Layer, Precision
from gateprobe.layers.binding.call_arguments import INPUTS
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.semantics import Semantics


@dataclass(frozen=True, slots=True)
class Slot:
    """One weight that a layer owns, in the order in which Keras creates it."""

    role: str
    """Keras's own name: ``kernel``, ``recurrent_kernel``, ``bias``, ``gamma``, ..."""
    shape: tuple[int | None, ...] | None
    """``None`` where only the file can tell; altogether ``None`` when that is so of the number of axes, too."""
    trainable: bool = True
    autocast: bool = True
    """Whether a half-precision policy rounds it; normalization layers keep theirs in float32."""
    integers: bool = False
    """Whether the file may hold integers."""
    alias: bool = False
    """Whether it is a weight of a layer inside, which object trees store here a second time and lists do not."""


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """Everything a layer is bound from."""

    record: LayerRecord
    settings: Settings
    weights: Mapping[str, Array]
    """By role; shapes checked against the slots, values already in the compute precision."""
    parts: Mapping[str, Layer]
    """The bound layers inside, by attribute path."""
    semantics: Semantics
    precision: Precision


Slots = Callable[[LayerRecord, Settings], tuple[Slot, ...]]
Parts = Callable[[LayerRecord], Mapping[str, LayerRecord]]
Bind = Callable[[Binding], Layer]


def no_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    """A layer without weights of its own."""
    return ()


def no_parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """A layer with no layers inside."""
    return {}


def part_of(record: LayerRecord, key: str) -> LayerRecord:
    """Return the one layer or cell that a configuration holds by a key.

    Raises:
        Unsupported: There is none, or several.
    """
    parts = record.children.get(key, ())
    if len(parts) != 1:
        raise Unsupported(f"config.{key}: expected one {key}")
    return parts[0]


def wrapped_layer(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """The one layer inside a wrapper."""
    return {"layer": part_of(record, "layer")}


def with_bias(slots: tuple[Slot, ...], settings: Settings, *shape: int | None) -> tuple[Slot, ...]:
    """Append the slot of a bias when the layer has one."""
    return (*slots, Slot("bias", shape)) if settings.flag("use_bias", True) else slots


@dataclass(frozen=True, slots=True)
class Kind:
    """How one Keras class is bound."""

    class_name: str
    namespace: Namespace
    bind: Bind
    slots: Slots
    """The layer's own weights, from its configuration alone."""
    parts: Parts
    """The layers inside it: attribute path as in Keras 3 files (``cell``, ``forward_layer``) → record."""
    recurrent: bool = False
    """Whether the layer itself steps through time and hands over signals."""
    augments: bool = False
    """Whether the layer changes images at random in training mode."""
    takes: tuple[str, ...] | None = INPUTS
    """See `gateprobe.layers.binding.call_arguments`."""


_KINDS: dict[tuple[Namespace, str], Kind] = {}


def replays(
    *class_names: str,
    slots: Slots = no_slots,
    parts: Parts = no_parts,
    recurrent: bool = False,
    augments: bool = False,
    namespace: Namespace = Namespace.LAYER,
    takes: tuple[str, ...] | None = INPUTS,
) -> Callable[[Bind], Bind]:
    """Register a ``bind`` function for Keras classes.

    Args:
        class_names: As written in files, after the translation of Keras 1 names.
        slots: The layer's own weights.
        parts: The layers inside it.
        recurrent: Whether the layer steps through time and hands over signals.
        augments: Whether the layer changes images at random in training mode.
        namespace: Layers, or operations of a Keras 3 graph.
        takes: The parameters of Keras's ``call`` that the layer understands, in their order; ``None`` for a function
            that checks its own arguments.
    """

    def register(bind: Bind) -> Bind:
        for name in class_names:
            if (namespace, name) in _KINDS:
                raise ImportError(f"two layers claim {name}")
            _KINDS[namespace, name] = Kind(name, namespace, bind, slots, parts, recurrent, augments, takes)
        return bind

    return register


def kind_of(record: LayerRecord) -> Kind | None:
    """Return how to bind a record, or ``None`` when its class is unknown, or not of Keras."""
    return _KINDS.get((record.namespace, record.class_name))


def is_recurrent(record: LayerRecord) -> bool:
    """Whether a layer itself steps through time and hands over signals."""
    kind = kind_of(record)
    return kind is not None and kind.recurrent


def registered() -> tuple[Kind, ...]:
    """Every kind, sorted by name."""
    return tuple(sorted(_KINDS.values(), key=lambda kind: (kind.namespace.value, kind.class_name)))
