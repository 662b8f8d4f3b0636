"""The weights of every object of a model, by role, as they stand in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gateprobe.errors import Refusal, UnsupportedModel
from gateprobe.graph import Array, GateLayout, LayerRecord, ModelGraph, ModelRecord
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.binding.weight_assignment import Weights, find_weights
from gateprobe.layers.binding.weight_order import layer_paths, parts_of, slots_of
from gateprobe.layers.conv import flips, is_convolution, rank_of
from gateprobe.replay.plan import model_of
from gateprobe.semantics import Semantics

ObjectPath = tuple[str, ...]
"""Names of layers, attributes with a dot before them, numbers inside lists: ``("bi", ".forward_layer", ".cell")``."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectWeights:
    """The weights of one object."""

    path: ObjectPath
    weights: Mapping[str, Array]
    """By role, in the order in which Keras creates them, as they stand in the file."""
    convert: str | None
    """The Keras version in whose layout they are, for Keras's own converter; ``None`` for today's layout."""
    flip: int = 0
    """The number of leading axes along which a kernel of the Theano backend is reversed."""


def object_weights(graph: ModelGraph, part: ModelRecord, semantics: Semantics) -> list[ObjectWeights]:
    """Return the weights of every object of a model, or of a part of it.

    Args:
        graph: With the whole model, since the place of an object's weights depends on all layers.
        part: The model, or what Keras runs of it.
        semantics: The meaning of the file's words.

    Raises:
        UnsupportedModel: Some weights cannot be told apart; carries every reason.
    """
    found, refusals = known_weights(graph, part, semantics)
    if refusals:
        raise UnsupportedModel(refusals, file=graph.file)
    return found


def known_weights(
    graph: ModelGraph, part: ModelRecord, semantics: Semantics
) -> tuple[list[ObjectWeights], list[Refusal]]:
    """Return what `object_weights` returns of all layers where it can, and why it cannot for the others."""
    found: list[ObjectWeights] = []
    refusals: list[Refusal] = []
    model = model_of(graph)
    weights = find_weights(model, graph.weights, semantics)
    wanted = set(_paths(part, ()))
    for record in model.layers:
        try:
            if record.calls and (record.name,) in wanted:
                found += list(_weights_in(record, weights(record), (record.name,), semantics, wanted))
        except Unsupported as reason:
            refusals.append(Refusal(record.name, record.class_name, str(reason)))
    return found, refusals


def _paths(model: ModelRecord, path: ObjectPath) -> Iterator[ObjectPath]:
    """Yield the paths of all layers, nested ones too."""
    for record in model.layers:
        yield (*path, record.name)
        if record.model is not None:
            yield from _paths(record.model, (*path, record.name))


def _weights_in(
    record: LayerRecord, weights: Weights, path: ObjectPath, semantics: Semantics, wanted: Collection[ObjectPath]
) -> Iterator[ObjectWeights]:
    if record.class_name == "InputLayer":
        return
    if record.model is not None:
        paths = layer_paths(record.model)
        within = wanted if path in wanted else {(*path, inner.name) for inner in record.model.layers}
        for inner in record.model.layers:
            if (*path, inner.name) in within:
                part = weights.part(f"{paths[inner.name]}#{inner.name}", inner)
                yield from _weights_in(inner, part, (*path, inner.name), semantics, wanted)
        return
    own = weights.own(slots_of(record, semantics))
    if own:
        yield ObjectWeights(path, own, _layout(record, own, semantics), _flip(record, semantics))
    for number, (name, part_record) in enumerate(parts_of(record).items()):
        inside = (".cells", str(number)) if name.startswith("cells/") else (f".{name}",)
        yield from _weights_in(part_record, weights.part(name, part_record), (*path, *inside), semantics, wanted)


def _layout(record: LayerRecord, own: Mapping[str, Array], semantics: Semantics) -> str | None:
    if record.gate_layout is GateLayout.PER_GATE or (semantics.keras1_kernels and is_convolution(record)):
        return "1"
    units = record.config.get("units")
    gates = {"LSTMCell": 4, "GRUCell": 3}.get(record.class_name)
    bias = own.get("bias")
    cudnn = gates is not None and isinstance(units, int) and bias is not None and bias.shape == (2 * gates * units,)
    return "2" if cudnn else None


def _flip(record: LayerRecord, semantics: Semantics) -> int:
    return rank_of(record) if semantics.theano and flips(record) else 0


def trace_path(path: ObjectPath) -> tuple[str, str | None]:
    """Return layer path and direction, as in a trace, of an object."""
    parts: list[str] = []
    direction = None
    for part in path:
        if part in (".forward_layer", ".backward_layer"):
            direction = part[1:].removesuffix("_layer")
        elif part not in (".cell", ".cells"):
            parts.append(f"cell_{part}" if part.isdigit() and parts else part.removeprefix("."))
    return "/".join(parts), direction
