"""Layers of unknown code, computed as a user states: a layer or an operation of the closed tables in their place.

Nothing is run and nothing is guessed. What was stated stands in the notes and in the metadata of every trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from gateprobe.errors import ReadError, UnsupportedModel, choices
from gateprobe.graph import (
    Call,
    LayerRecord,
    ModelGraph,
    ModelRecord,
    Namespace,
    Stated,
    WeightArray,
    WeightGroup,
    WeightStore,
)
from gateprobe.layers.binding.registry import Kind, kind_of, registered
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.binding.weight_assignment import ListedWeights, TreeWeights, Weights, find_weights
from gateprobe.layers.binding.weight_order import layer_paths, order_of, parts_of, slots_of
from gateprobe.replay.calls import RecurrentLayer, join_path
from gateprobe.replay.plan import bind_alone
from gateprobe.semantics import Semantics

_LISTS = frozenset({"Concatenate", "Stack", "Hstack", "Vstack", "Dstack"})
"""Operations that take their tensors in one list."""
_KEPT = ("dtype", "trainable")
"""What the file says of any layer, and what holds for the stated one, too."""
_SEEDS = "seed_generator"
"""The state of a random generator inside a layer, which computes nothing at inference."""


def with_stated(graph: ModelGraph, semantics: Semantics) -> ModelGraph:
    """Return a model in which the layers that a wiring file replaces are what it states.

    Raises:
        ReadError: There is no such layer, it needs no replacing, or what is stated is no layer that fits its weights.
    """
    if not graph.stated:
        return graph
    file = next(iter(graph.stated.values())).file
    if graph.model is None:
        raise ReadError("says what layers do, and the model has no graph", file=file, place="replace")
    there = {one.path: one for one in _every_layer(graph, graph.model, semantics)}
    for path in graph.stated:
        _check(graph, semantics, path, there)
    found = replace(graph, model=_model(graph.model, "", graph.stated))
    notes = []
    for path, stated in graph.stated.items():
        found, note = _fitted(found, semantics, path, stated)
        notes.append(note)
    return replace(found, notes=(*found.notes, *notes))


def _check(graph: ModelGraph, semantics: Semantics, path: str, there: Mapping[str, RecurrentLayer]) -> None:
    """Refuse to replace what is not there, or what the file itself tells."""
    stated = graph.stated[path]
    needing = [name for name, one in there.items() if _is_unknown(graph, semantics, one)]
    if path not in there:
        remedy = choices(needing or there, path)
        raise ReadError("is no layer of the model", file=stated.file, place=f"replace.{path}", remedy=remedy)
    if path not in needing:
        reason = f"is a {there[path].record.class_name} that needs no replacing: the file says what it does"
        raise ReadError(reason, file=stated.file, place=f"replace.{path}", remedy=choices(needing))
    _kind(path, stated)


def _is_unknown(graph: ModelGraph, semantics: Semantics, layer: RecurrentLayer) -> bool:
    """Whether a layer itself, and not one inside it, is unknown code."""
    if layer.record.model is not None or layer.record.class_name == "InputLayer":
        return False
    try:
        layer.weights()
        bind_alone(graph, semantics, layer)
    except UnsupportedModel as error:
        return any(one.unknown and one.layer == layer.path for one in error.refusals)
    except Unsupported:  # because of a layer beside it in one list
        return kind_of(layer.record) is None
    return False


def _kind(path: str, stated: Stated) -> Kind:
    """Return the layer of the stated name, or the operation: first, where it is called with further arguments."""
    name = stated.record.class_name
    known = {(kind.namespace, kind.class_name): kind for kind in registered()}
    order = (Namespace.LAYER, Namespace.OPERATION)
    for namespace in reversed(order) if stated.args or stated.kwargs else order:
        if (namespace, name) in known:
            return known[namespace, name]
    remedy = choices(sorted({one for namespace, one in known if namespace in order}), name)
    raise ReadError(
        f"{name!r:.60} is in no table of gateprobe", file=stated.file, place=f"replace.{path}", remedy=remedy
    )


def _every_layer(graph: ModelGraph, model: ModelRecord, semantics: Semantics) -> Iterator[RecurrentLayer]:
    """Yield every layer, those inside others too, by the paths that refusals name."""
    find = find_weights(model, graph.weights, semantics)
    for record in model.layers:
        yield from _layers_in(record.name, record, partial(find, record))


def _layers_in(path: str, record: LayerRecord, weights: Callable[[], Weights]) -> Iterator[RecurrentLayer]:
    yield RecurrentLayer(path, record, weights)
    for name, attribute, part in _inside(record):
        yield from _layers_in(join_path(path, name), part, partial(_part, weights, attribute, part))


def _part(weights: Callable[[], Weights], attribute: str, part: LayerRecord) -> Weights:
    return weights().part(attribute, part)


def _inside(record: LayerRecord) -> Iterator[tuple[str, str, LayerRecord]]:
    """Yield the layers that a configuration holds: component of the path, attribute for the weights, record."""
    if record.model is not None:
        paths = layer_paths(record.model)
        yield from ((inner.name, f"{paths[inner.name]}#{inner.name}", inner) for inner in record.model.layers)
    elif kind_of(record) is not None:
        own = {id(child) for group in record.children.values() for child in group}
        try:
            parts = parts_of(record)
        except Unsupported:  # told when it is needed
            return
        yield from ((name, name, part) for name, part in parts.items() if id(part) in own)


def _model(model: ModelRecord, path: str, stated: Mapping[str, Stated]) -> ModelRecord:
    return replace(model, layers=tuple(_record(one, join_path(path, one.name), stated) for one in model.layers))


def _record(record: LayerRecord, path: str, stated: Mapping[str, Stated]) -> LayerRecord:
    if path in stated:
        return _stated(record, path, stated[path])
    if not any(one.startswith(f"{path}/") for one in stated):
        return record
    if record.model is not None:
        return replace(record, model=_model(record.model, path, stated))
    changed = {id(part): _record(part, join_path(path, name), stated) for name, _, part in _inside(record)}
    children = {key: tuple(changed.get(id(child), child) for child in group) for key, group in record.children.items()}
    return replace(record, children=children)


def _stated(record: LayerRecord, path: str, stated: Stated) -> LayerRecord:
    kind = _kind(path, stated)
    layer = kind.namespace is Namespace.LAYER
    kept = {key: record.config[key] for key in _KEPT if layer and key in record.config}
    return replace(
        stated.record,
        name=record.name,
        class_name=kind.class_name,
        namespace=kind.namespace,
        config={**kept, **stated.record.config, "name": record.name},
        calls=tuple(_call(call, kind, stated) for call in record.calls),
        instead_of=record.class_name,
    )


def _call(call: Call, kind: Kind, stated: Stated) -> Call:
    first, kwargs = call.args[:1], {key: value for key, value in call.kwargs.items() if value is not None}
    if kind.takes is None:  # a function: the file's keywords are those of the code that it replaces
        spread = first and isinstance(first[0], tuple) and kind.class_name not in _LISTS
        first, kwargs = (first[0] if spread else first), {}
    elif stated.kwargs is None and not stated.args:
        first = call.args
    return Call((*first, *stated.args), kwargs if stated.kwargs is None else stated.kwargs)


def _fitted(graph: ModelGraph, semantics: Semantics, path: str, stated: Stated) -> tuple[ModelGraph, str]:
    """Return a model whose stated layer has the weights that the file stores for it, and a note.

    Raises:
        ReadError: They do not fit, or a setting is not understood.
    """
    layer = _layer_at(graph, semantics, path)
    try:
        group = _group(layer)
        graph = _bound(graph, semantics, layer, group)
        taken = _taken(layer.record, _layer_at(graph, semantics, path).weights(), semantics)
        _refuse_spare(group, taken.values())
    except (UnsupportedModel, Unsupported) as error:
        reason = error.refusals[0].reason if isinstance(error, UnsupportedModel) else str(error)
        raise ReadError(reason, file=stated.file, place=f"replace.{path} ({layer.record.class_name})") from None
    weights = "; ".join(f"{role} is {name}" for role, name in taken.items())
    note = (
        f"{path} ({layer.record.instead_of}) is computed as {_shown(stated)}, as {stated.file} states; its code was "
        f"not looked at, and nothing checks that{f'; {weights}' * bool(weights)}"
    )
    return graph, note


def _bound(graph: ModelGraph, semantics: Semantics, layer: RecurrentLayer, group: WeightGroup | None) -> ModelGraph:
    """Bind a stated layer; return a model in which its weights are where it has them."""
    try:
        bind_alone(graph, semantics, layer)
    except UnsupportedModel:
        graph = _dealt(graph, semantics, layer.record, group)
        bind_alone(graph, semantics, _layer_at(graph, semantics, layer.path))
    return graph


def _refuse_spare(group: WeightGroup | None, taken: Collection[str]) -> None:
    spare = [array.name for array in _flat(group) if array.name not in taken]
    if spare:
        raise Unsupported(f"the file stores more for this layer: {', '.join(spare[:5])}")


def _shown(stated: Stated) -> str:
    given = {**stated.record.config, **(stated.kwargs or {})}
    words = [*map(repr, stated.args), *(f"{key}={value!r:.40}" for key, value in given.items() if key != "name")]
    return f"{stated.record.class_name}({', '.join(words)})"


def _layer_at(graph: ModelGraph, semantics: Semantics, path: str) -> RecurrentLayer:
    assert graph.model is not None
    return next(one for one in _every_layer(graph, graph.model, semantics) if one.path == path)


def _group(layer: RecurrentLayer) -> WeightGroup | None:
    """Return where the file stores a layer's weights, in a tree of objects."""
    weights = layer.weights()
    return weights.group if isinstance(weights, TreeWeights) else None


def _dealt(graph: ModelGraph, semantics: Semantics, record: LayerRecord, group: WeightGroup | None) -> ModelGraph:
    """Return a model in which a layer's arrays stand where the stated layer has them, in the order of the file."""
    places, arrays = order_of(record, semantics).created, list(_flat(group))
    if group is None or len(places) != len(arrays) or not places:
        return graph
    root = _Grown()
    for place, array in zip(places, arrays, strict=True):
        root.at(place.path.strip("/").split("/") if place.path else []).arrays.append(array)
    store = graph.weights
    return replace(graph, weights=WeightStore(store.scheme, _exchanged(store.root, group, root.group(group.name))))


@dataclass(slots=True)
class _Grown:
    """A group while it grows."""

    arrays: list[WeightArray]
    children: dict[str, _Grown]

    def __init__(self) -> None:
        self.arrays, self.children = [], {}

    def at(self, path: list[str]) -> _Grown:
        return self.children.setdefault(path[0], _Grown()).at(path[1:]) if path else self

    def group(self, name: str | None = None) -> WeightGroup:
        return WeightGroup(tuple(self.arrays), {key: one.group() for key, one in self.children.items()}, name)


def _exchanged(root: WeightGroup, old: WeightGroup, new: WeightGroup) -> WeightGroup:
    if root is old:
        return new
    return replace(root, children={key: _exchanged(one, old, new) for key, one in root.children.items()})


def _flat(group: WeightGroup | None) -> Iterator[WeightArray]:
    """Yield the arrays of an object and of the objects inside it, in the order of the file."""
    if group is not None:
        yield from group.arrays
        for name, child in group.children.items():
            if name != _SEEDS:
                yield from _flat(child)


def _taken(record: LayerRecord, weights: Weights, semantics: Semantics) -> dict[str, str]:
    """Return which array of the file is which weight."""
    named = {id(array.value): array.name for array in _known(weights)}
    own = weights.own(slots_of(record, semantics))
    found = {role: named.get(id(value), "in the file") for role, value in own.items()}
    for name, part in parts_of(record).items():
        inside = _taken(part, weights.part(name, part), semantics)
        found |= {f"{name}/{role}": array for role, array in inside.items()}
    return found


def _known(weights: Weights) -> Iterator[WeightArray]:
    if isinstance(weights, TreeWeights):
        yield from weights.group.arrays
    elif isinstance(weights, ListedWeights):
        yield from weights.arrays.get(weights.prefix, {}).values()
