"""In which order Keras reads the weights of a layer from an HDF5 file: what is frozen comes later.

Every file of lists holds ``layer.trainable_weights + layer.non_trainable_weights`` for each layer of the model
(``keras/engine/topology.py`` 1.2.2 to ``keras/src/legacy/saving/legacy_h5_format.py`` 3.15.1). Which weights are
trainable is that of the layers that Keras has just built from the configuration, which is not always what it was when
the file was written: `gateprobe.layers.binding.weight_names` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateprobe.graph import LayerRecord, ModelRecord, Namespace
from gateprobe.layers.binding.lora import adapted_role, with_adapters
from gateprobe.layers.binding.object_names import counted_names
from gateprobe.layers.binding.registry import Slot, kind_of
from gateprobe.layers.binding.settings import Settings, unknown_class
from gateprobe.semantics import Semantics, WeightOrder


@dataclass(frozen=True, slots=True)
class Place:
    """One weight in a layer's list."""

    path: str
    """Of the object that owns it, from the top-level layer on."""
    slot: Slot
    names: tuple[str, ...]
    """The names of the top-level layer and of the layers inside it, down to the owner."""
    owner: LayerRecord

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others of the list."""
        return self.path, self.slot.role


Places = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class _Object:
    """A layer as Keras builds it from its configuration."""

    trainable: bool
    own: Places
    """Its own weights that are trained, or were before it got adapters."""
    own_fixed: Places
    """Its own weights that are never trained."""
    parts: tuple[_Object, ...] = ()
    container: bool = False
    """Whether it is a model; in standalone Keras also stacked cells, which list their weights like one."""


@dataclass(frozen=True, slots=True)
class Order:
    """The weights of a top-level layer."""

    read: Places
    """As Keras reads them from the layer's list."""
    created: Places
    """As if nothing were frozen: each object's own before those of the objects inside it."""


def order_of(record: LayerRecord, semantics: Semantics) -> Order:
    """Return the order of a top-level layer's weights.

    Raises:
        Unsupported: A class in it is unknown or its configuration is not understood.
    """
    built = _built(record, "", (record.name,), semantics, None)
    created = _once(_every(built))
    if semantics.weight_order is WeightOrder.BY_OWNER:
        return Order(_by_owner(built, created), created)
    listed = _standalone if semantics.weight_order is WeightOrder.STANDALONE else _tf_keras
    return Order(_once((*listed.trainable(built), *listed.rest(built))), created)


def _once(places: Iterable[Place]) -> Places:
    """Keep each weight where it is met first."""
    first: dict[tuple[str, str], Place] = {}
    for place in places:
        first.setdefault(place.key, place)
    return tuple(first.values())


def _every(built: _Object) -> Iterator[Place]:
    yield from (*built.own, *built.own_fixed)
    for part in built.parts:
        yield from _every(part)


def _by_owner(built: _Object, created: Places) -> Places:
    """Keras 3: each variable is trainable when the layer that made it was (``Layer._track_variable`` 3.15.1).

    A frozen layer lists what is inside it in the order of creation, whatever is trainable there
    (``Layer.trainable_weights`` and ``non_trainable_weights``).
    """
    if not built.trainable:
        return created
    moving = {place.key for place in _moving(built)}
    return tuple(sorted(created, key=lambda place: place.key not in moving))


def _moving(built: _Object) -> Iterator[Place]:
    if built.trainable:
        yield from (place for place in built.own if place.slot.trainable)
    for part in built.parts:
        yield from _moving(part)


@dataclass(frozen=True, slots=True)
class _Rules:
    """How a Keras of layers that are frozen as a whole lists weights: a layer inside a frozen one counts as frozen.

    Sources: ``trainable_weights``, ``non_trainable_weights`` and ``weights`` in
    ``keras/engine/{base_layer,network}.py`` and ``keras/layers/{recurrent,wrappers}.py`` 2.2.4 and 2.3.1, and in
    ``tf_keras/src/engine/{base_layer,training}.py`` 2.21.
    """

    plain_models: bool
    """Whether ``weights`` of a model, which a frozen layer around it asks for, are in the order of creation (tf.keras),
    or what is trainable comes first there too."""

    def trainable(self, built: _Object) -> Places:
        """Return what ``trainable_weights`` lists."""
        return (*built.own, *_gathered(self.trainable, built.parts)) if built.trainable else ()

    def rest(self, built: _Object) -> Places:
        """Return what ``non_trainable_weights`` lists."""
        if built.trainable:
            return (*built.own_fixed, *_gathered(self.rest, built.parts))
        if built.container:
            return (*_gathered(self.trainable, built.parts), *_gathered(self.rest, built.parts))
        return (*built.own, *built.own_fixed, *_gathered(self.weights, built.parts))

    def weights(self, built: _Object) -> Places:
        """Return what ``weights`` lists."""
        if built.container and self.plain_models:
            return _gathered(self.weights, built.parts)
        return (*self.trainable(built), *self.rest(built))


_tf_keras = _Rules(plain_models=True)
_standalone = _Rules(plain_models=False)


def _gathered(listed: Callable[[_Object], Places], parts: tuple[_Object, ...]) -> Places:
    return tuple(place for part in parts for place in listed(part))


def _built(
    record: LayerRecord, path: str, names: tuple[str, ...], semantics: Semantics, imposed: bool | None
) -> _Object:
    """Build what decides the order of weights from a layer's configuration.

    Args:
        record: The layer.
        path: Of the layer, from the top-level one on.
        names: Of the layers around it, and its own.
        semantics: The meaning of words.
        imposed: What the wrapper around it sets it to.
    """
    standalone = semantics.weight_order is WeightOrder.STANDALONE
    trainable = _is_trainable(record, semantics) if imposed is None else imposed
    passed_on = trainable if standalone and _passes_on(record) else None
    own, fixed, parts = list[Place](), list[Place](), dict[str, _Object]()
    if record.class_name != "InputLayer":
        parts = {
            name: _built(part, f"{path}/{name}", (*names, _scope(name, part)), semantics, passed_on)
            for name, part in parts_of(record).items()
        }
    adapted = adapted_role(record)
    for slot in with_adapters(record, slots_of(record, semantics)):
        if slot.alias:  # the first weight of the layer inside, which this one holds too
            own.append(next(_every(next(iter(parts.values())))))
        else:
            (own if slot.trainable or slot.role == adapted else fixed).append(Place(path, slot, names, record))
    container = record.model is not None or (standalone and record.class_name == "StackedRNNCells")
    inside = tuple(parts.values())
    return _Object(trainable, tuple(own), tuple(fixed), inside, container)


def _passes_on(record: LayerRecord) -> bool:
    """Return whether a layer of standalone Keras decides for what is inside: a wrapper, or the maker of a cell."""
    own = record.model is None and not record.children
    return own or record.class_name in ("TimeDistributed", "Bidirectional")


def _is_trainable(record: LayerRecord, semantics: Semantics) -> bool:
    """Return whether a layer is trainable after Keras has built it from its configuration.

    Models forget that they were frozen (``Model.from_config`` and ``Sequential.from_config`` of tf_keras 2.21 and
    Keras 2), but for a functional one of Keras 3.
    """
    if record.model is not None:
        kept = semantics.weight_order is WeightOrder.BY_OWNER and record.class_name != "Sequential"
        return not kept or record.config.get("trainable", True) is not False
    return record.config.get("trainable", True) is not False


_HALVES = {"forward_layer": "forward_", "backward_layer": "backward_"}
_PROJECTIONS = {
    "query_dense": "query",
    "key_dense": "key",
    "value_dense": "value",
    "gate_dense": "gate",
    "output_dense": "attention_output",
}


def _scope(attribute: str, part: LayerRecord) -> str:
    """Return the name under which Keras creates the weights of a part."""
    prefix = _HALVES.get(attribute, "")
    return _PROJECTIONS.get(attribute) or prefix + part.name.removeprefix(prefix)


def layer_paths(model: ModelRecord) -> dict[str, str]:
    """Return the attribute path of each layer of a model, by the layer's name."""
    tracked = [layer.namespace is not Namespace.OPERATION or layer.instead_of is not None for layer in model.layers]
    layers = tuple(layer for layer, is_tracked in zip(model.layers, tracked, strict=True) if is_tracked)
    return {layer.name: f"layers/{name}" for layer, name in zip(layers, counted_names(layers), strict=True)} | {
        layer.name: "layers/" for layer, is_tracked in zip(model.layers, tracked, strict=True) if not is_tracked
    }


def parts_of(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """Return the records inside a record by attribute path.

    Raises:
        Unsupported: The class is unknown, so what is inside is unknown too.
    """
    if record.model is not None:
        paths = layer_paths(record.model)
        return {f"{paths[layer.name]}#{layer.name}": layer for layer in record.model.layers}
    kind = kind_of(record)
    if kind is None:
        raise unknown_class(record)
    return kind.parts(record)


def slots_of(record: LayerRecord, semantics: Semantics) -> tuple[Slot, ...]:
    """Return a record's own weights in Keras's order.

    Raises:
        Unsupported: The class is unknown or its configuration is not understood.
    """
    kind = kind_of(record)
    if record.model is not None or record.class_name == "InputLayer":
        return ()
    if kind is None:
        raise unknown_class(record)
    return kind.slots(record, Settings(record.config, semantics))
