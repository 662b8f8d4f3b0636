"""The graph of a functional model: which call reads which tensor.

Sources: ``Container.get_config`` in ``keras/engine/topology.py`` 1.2.2 and 2.0.4, ``get_network_config`` in
``tf_keras/src/engine/functional.py`` 2.21, ``Functional.get_config`` in ``keras/src/models/functional.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateprobe.errors import ReadError
from gateprobe.graph import Call, Era, LayerRecord, ModelRecord, TensorRef
from gateprobe.readers.entries import INPUT, Entry, checked_name, entry_of
from gateprobe.readers.nodes import Refer, is_leaf, parse_call

MakeLayer = Callable[[Entry, str], LayerRecord]
"""Makes a record without calls from an entry and its place."""


def functional(entry: Entry, name: str, era: Era, make_layer: MakeLayer, place: str) -> ModelRecord:
    """Read a functional model.

    Args:
        entry: With ``layers``, ``input_layers`` and ``output_layers`` in its configuration.
        name: Of the model.
        era: Of the architecture.
        make_layer: Reads one layer.
        place: For messages.

    Raises:
        ReadError: The graph is not one.
    """
    config = entry.settings
    entries = layer_entries(config.get("layers"), era, place)
    names = [checked_name(item.name, place) for item in entries]
    records = [make_layer(item, f"{place}{name}/" if place else "") for item, name in zip(entries, names, strict=True)]
    records = [replace(record, name=name) for record, name in zip(records, names, strict=True)]
    for key in ("input_layers", "output_layers"):
        if key not in config:
            raise ReadError(f"the model has no {key}", place=place or name)
    numbering = _numbering(records, entries, config, era)
    layers = tuple(
        replace(record, calls=_calls(record, item, numbering.refer, numbering.counts))
        for record, item in zip(records, entries, strict=True)
    )
    return ModelRecord(
        name=name,
        class_name=entry.class_name,
        layers=layers,
        inputs=tuple(numbering.boundary(ref) for ref in _flat(config["input_layers"])),
        outputs=tuple(numbering.boundary(ref) for ref in _flat(config["output_layers"])),
        trainable=config.get("trainable") is not False,
        input_keys=_keys(config["input_layers"]),
    )


def layer_entries(value: Any, era: Era, place: str) -> list[Entry]:
    """Return the entries of a list of layers."""
    if value == []:
        raise ReadError("the model has no layers", place=place or None)
    if not isinstance(value, list):
        raise ReadError(f"the model's layers are {type(value).__name__}, not a list of layers", place=place or None)
    return [entry_of(item, era, place or "layers") for item in value]


def _flat(value: Any) -> Iterator[list[Any]]:
    """Yield references in Keras's flattening order: mappings by sorted key."""
    if is_leaf(value):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _flat(value[key])
    else:
        raise ReadError(f"expected [layer, call, tensor], got {value!r:.60}", place="input_layers or output_layers")


def _keys(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict) and all(is_leaf(item) for item in value.values()):
        return tuple(sorted(value))
    return ()


def _calls(record: LayerRecord, entry: Entry, refer: Refer, known: Container[str]) -> tuple[Call, ...]:
    try:
        return tuple(parse_call(node, record.class_name, refer, known) for node in entry.nodes or ())
    except ReadError as error:
        raise ReadError(error.reason, place=error.place or record.name) from None


@dataclass(slots=True)
class _Numbering:
    """How the file numbers the calls of each layer.

    A nested functional model starts with a call of its own, from its inputs to its outputs, which is not stored; so
    its stored calls count from 1. Keras 3 counts so in ``input_layers`` and ``output_layers`` and from 0 elsewhere.
    """

    counts: Mapping[str, int]
    """Stored calls of each layer."""
    inner: dict[str, int] = field(default_factory=dict)
    """Number of a layer's first call where other layers refer to it."""
    outer: dict[str, int] = field(default_factory=dict)
    """The same in ``input_layers`` and ``output_layers``."""

    def refer(self, layer: str, node: int, tensor: int) -> TensorRef:
        """Make a reference inside the graph."""
        return self._ref(layer, node, tensor, self.inner)

    def boundary(self, leaf: list[Any]) -> TensorRef:
        """Make a reference from ``input_layers`` or ``output_layers``."""
        if type(leaf[2]) is not int or leaf[2] < 0:
            raise ReadError(f"expected [layer, call, tensor], got {leaf!r:.60}")
        return self._ref(leaf[0], leaf[1], leaf[2], self.outer)

    def _ref(self, layer: str, node: int, tensor: int, first: Mapping[str, int]) -> TensorRef:
        if layer not in self.counts:
            raise ReadError(f"refers to the layer {layer!r}, which is not in the model")
        call = node - first.get(layer, 0)
        if not 0 <= call < self.counts[layer]:
            raise ReadError(f"refers to call {node} of {layer!r}, which is called {self.counts[layer]} times")
        return TensorRef(layer, call, tensor)


def _numbering(records: list[LayerRecord], entries: list[Entry], config: Mapping[str, Any], era: Era) -> _Numbering:
    counts: dict[str, int] = {}
    for record, entry in zip(records, entries, strict=True):
        if record.name in counts:
            raise ReadError("two layers of one model have this name", place=record.name)
        counts[record.name] = len(entry.nodes or ()) or int(record.class_name == INPUT)
    numbering = _Numbering(counts)
    models = {record.name: record for record in records if record.model is not None or "layers" in record.config}
    if not models:
        return numbering
    inner, outer = _used(records, entries, config)
    for name, record in models.items():
        first = _first(record, counts[name], inner.get(name, set()), outer.get(name, set()), era)
        numbering.inner[name], numbering.outer[name] = first
    return numbering


def _used(
    records: list[LayerRecord], entries: list[Entry], config: Mapping[str, Any]
) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Collect the numbers by which calls of each layer are referred to, inside the graph and at its ends."""
    known = {record.name for record in records}
    inner: dict[str, set[int]] = {}
    outer: dict[str, set[int]] = {}

    def note(name: str, node: int, tensor: int) -> None:
        inner.setdefault(name, set()).add(node)

    for record, entry in zip(records, entries, strict=True):
        _calls(record, entry, note, known)
    for key in ("input_layers", "output_layers"):
        for leaf in _flat(config[key]):
            outer.setdefault(leaf[0], set()).add(leaf[1])
    return inner, outer


def _first(record: LayerRecord, count: int, inner: set[int], outer: set[int], era: Era) -> tuple[int, int]:
    """Return the number of a model's first stored call, inside the graph and at its ends.

    The last of ``count`` stored calls is always referred to, or it would not have been stored; so the number ``count``
    occurs exactly when counting starts at 1. Keras 3 writes the numbers at the ends by other code, which adds 1 for
    functional models and not for a Sequential.
    """
    if era is not Era.KERAS3:
        first = int(count in inner | outer)
        return first, first
    at_ends = 0 if record.class_name == "Sequential" and count not in outer else 1
    return int(count in inner), at_ends
