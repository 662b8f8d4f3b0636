"""Which object of a checkpoint is which layer of an architecture; a checkpoint itself names no layer.

Keras calls the layers of a model by their numbers: ``layer-0``, and ``layer_with_weights-0`` for the same object
(``_layer_checkpoint_dependencies`` in ``tf_keras/src/engine/functional.py`` 2.21, ``Network._checkpoint_dependencies``
of TensorFlow 2.0); Keras 3 keeps them in the list ``_operations``, among operations, which hold nothing, and which are
left out. An architecture lists the same layers in the same order. A Sequential counts its input with TensorFlow 2.0 to
2.2 and with Keras 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateprobe.errors import ReadError
from gateprobe.graph import LISTS, Era, LayerRecord, ModelRecord, Namespace
from gateprobe.readers.contradictions import EraVerdict
from gateprobe.readers.savedmodel.objects import BOOKKEEPING, ROOT, Described, TrackedObject

_NUMBERED = re.compile(r"layer-([0-9]{1,7})")
_NUMBER = re.compile(r"[0-9]{1,7}")
_LIST, _BUILT = "_operations", "_functional"
_KERAS_3 = frozenset(["_operations", "_inbound_nodes", "_losses_override"])
"""What only models of Keras 3 hold."""
_MODEL, _LAYER = "_tf_keras_network", "_tf_keras_layer"
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "layer": ("layer", "forward_layer", "backward_layer"),
    "backward_layer": ("backward_layer",),
    "cell": ("cell",),
    "output_layer": ("output_layer",),
}
"""What layers call those that their configuration holds under a name; the last word counts."""
_WAY_ON = "leave --architecture out: its recurrent layers can be traced one by one, with --layer"


def era_of(tracked: Sequence[TrackedObject]) -> EraVerdict:
    """Return the era whose Keras holds objects in this way. Only ``tf.keras`` and Keras 3 write checkpoints."""
    evidence = ("no version is recorded",)
    if any(_KERAS_3 & item.children.keys() for item in tracked):
        said = "models hold _operations (Keras 3)"
        return EraVerdict(Era.KERAS3, (*evidence, said), rivals=((Era.KERAS3, "3.0.0"),))
    said = "it is a checkpoint of TensorFlow, in which models of Keras 3 hold other attributes (tf.keras)"
    return EraVerdict(Era.KERAS2, (*evidence, said), rivals=((Era.KERAS2, "2.2.4-tf"),))


def layers_of(tracked: Sequence[TrackedObject], number: int) -> list[int] | None:
    """Return the objects that are the layers of a model, in its order; ``None`` if an object numbers none.

    Raises:
        ReadError: A number is missing.
    """
    children = tracked[number].children
    found = {int(match[1]): child for name, child in children.items() if (match := _NUMBERED.fullmatch(name))}
    if found:
        if sorted(found) != list(range(len(found))):
            raise ReadError(f"numbers its layers {sorted(found)[:20]}: one is missing", place="the object graph")
        return [found[key] for key in range(len(found))]
    if _BUILT in children:
        return layers_of(tracked, children[_BUILT])
    if _LIST in children:
        listed = tracked[children[_LIST]].children.items()
        return [child for _, child in sorted((int(name), child) for name, child in listed if _NUMBER.fullmatch(name))]
    return None


def models_in(tracked: Sequence[TrackedObject]) -> dict[str, int]:
    """Return the models of a checkpoint: what was saved itself, or what ``tf.train.Checkpoint`` was given, by names."""
    if layers_of(tracked, ROOT) is not None:
        return {"": ROOT}
    held = tracked[ROOT].children.items()
    return {name: child for name, child in held if child != ROOT and layers_of(tracked, child) is not None}


def model_for(tracked: Sequence[TrackedObject], model: ModelRecord) -> int:
    """Return the object that is the model of an architecture: the only one, or the only one with as many layers.

    Raises:
        ReadError: There is none, or there are several.
    """
    found = models_in(tracked)
    if not found:
        names = ", ".join(_attributes(tracked)[:6]) or "none"
        reason = f"names its layers by attributes ({names}), as the models of users' own classes do, and does not "
        raise ReadError(f"{reason}say which layer of an architecture is which", remedy=_WAY_ON)
    if len(found) == 1:
        return next(iter(found.values()))
    fitting = [number for number in found.values() if _paired(model, layers_of(tracked, number) or []) is not None]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} ({len(layers_of(tracked, number) or [])} layers)" for name, number in found.items())
        reason = f"holds several models, {listed}, of which {len(fitting)} may be that of the architecture"
        raise ReadError(reason, remedy="save the weights of that model alone, with model.save_weights()")
    return fitting[0]


def _attributes(tracked: Sequence[TrackedObject]) -> list[str]:
    """Return what the model of a user's own class calls its parts."""

    def held(number: int) -> dict[str, int]:
        children = tracked[number].children.items()
        return {name: child for name, child in children if name not in BOOKKEEPING and tracked[child].children}

    found = held(ROOT)
    return list(held(next(iter(found.values()))) if len(found) == 1 else found)


def _paired(model: ModelRecord, numbers: list[int]) -> list[tuple[LayerRecord, int]] | None:
    """Pair the layers of a model with objects; ``None`` where there are other numbers of them."""
    layers = [layer for layer in model.layers if layer.namespace is not Namespace.OPERATION]
    if model.class_name == "Sequential" and len(numbers) < len(layers):
        layers = [layer for layer in layers if layer.class_name != "InputLayer"]
    return list(zip(layers, numbers, strict=True)) if len(layers) == len(numbers) else None


def described_by(model: ModelRecord, tracked: Sequence[TrackedObject]) -> tuple[int, dict[int, Described]]:
    """Return the object that is the model, and what an architecture says of it and of every object in it.

    Raises:
        ReadError: It is that of another model.
    """
    root, naming = model_for(tracked, model), _Naming(tracked)
    naming.found[root] = Described(root, "", _MODEL, {"name": model.name})
    naming.model(model, root, "")
    return root, naming.found


@dataclass(slots=True)
class _Naming:
    """Walks through an architecture and a graph of objects side by side."""

    tracked: Sequence[TrackedObject]
    found: dict[int, Described] = field(default_factory=dict)

    def model(self, model: ModelRecord, number: int, path: str) -> None:
        """Name what is inside a model."""
        numbers = layers_of(self.tracked, number) or []
        pairs = _paired(model, numbers)
        if pairs is None:
            where = f"the model {path!r} in" if path else "the model in"
            reason = f"{where} the checkpoint has {len(numbers)} layers, that of the architecture {len(model.layers)}"
            raise ReadError(reason, remedy="give the architecture of the model that was saved")
        for record, child in pairs:
            self._layer(record, child, f"{path}/{record.name}" if path else record.name)

    def _layer(self, record: LayerRecord, number: int, path: str) -> None:
        kind = _LAYER if record.model is None else _MODEL
        self.found[number] = Described(number, path, kind, {"name": record.name})
        if record.model is not None:
            self.model(record.model, number, path)
            return
        for child, inner in self._inside(record, number):
            self._layer(child, inner, f"{path}/{child.name}")

    def _inside(self, record: LayerRecord, number: int) -> Iterator[tuple[LayerRecord, int]]:
        """Yield the layers inside a layer, with their objects."""
        children = self.tracked[number].children
        for key, records in record.children.items():
            for attribute in _ATTRIBUTES.get(key, ()):
                if attribute in children:
                    yield records[0], children[attribute]
            if key in LISTS and key in children:
                listed = self.tracked[children[key]].children
                yield from ((one, listed[str(at)]) for at, one in enumerate(records) if str(at) in listed)
