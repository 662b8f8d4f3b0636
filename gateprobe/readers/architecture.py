"""Architectures: JSON of any Keras → `ModelRecord`.

Sources: ``Sequential.get_config`` in ``keras/models.py`` 1.2.2 and 2.0.4, ``keras/src/models/sequential.py`` 3.15.1;
``Wrapper.get_config`` in ``keras/layers/wrappers.py``; see ``functional`` for functional models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gateprobe.errors import USERS_CODE, ReadError
from gateprobe.graph import LISTS, Call, Config, Era, GateLayout, LayerRecord, ModelRecord, Namespace, TensorRef
from gateprobe.readers import keras1
from gateprobe.readers.acyclic import check_acyclic
from gateprobe.readers.entries import INPUT, Entry, entry_of
from gateprobe.readers.functional import functional, layer_entries

_CHILDREN = ("layer", "backward_layer", "cell", "output_layer", *LISTS)
_CODE_ONLY = (
    f"the model is of the class {{}}, {USERS_CODE}, so there is no graph; a wiring file can say how its layers are "
    "connected, and its recurrent layers can be traced one by one with --layer"
)
_SUBCLASS = (
    "the model's class {} is not Keras's own; its graph is read as that of a Functional model, which it is unless the "
    "class overrides call()"
)
_SHAPES = ("batch_shape", "batch_input_shape")
_TEXT_FIRST = ("TextVectorization", "StringLookup")
"""Layers whose input is text, whatever their dtype says."""


def read_architecture(value: Any, era: Era) -> tuple[ModelRecord | None, tuple[str, ...]]:
    """Read a whole architecture.

    Args:
        value: ``{"class_name": ..., "config": ...}`` from JSON.
        era: Of the Keras that wrote it.

    Returns:
        The model, or ``None`` when it is a class whose code is not in the file; and notes for the user.

    Raises:
        ReadError: It is not an architecture.
    """
    entry = entry_of(keras1.with_orderings(value) if era is Era.KERAS1 else value, era, "the architecture")
    notes: tuple[str, ...] = ()
    if not entry.is_model:
        if not {"layers", "input_layers", "output_layers"} <= set(entry.settings):
            return None, (_CODE_ONLY.format(entry.class_name),)
        notes = (_SUBCLASS.format(entry.class_name),)
        entry = replace(entry, class_name="Functional", namespace=Namespace.LAYER)
    return _model(entry, entry.name or "model", era, ""), notes


def read_layer(value: Any, era: Era, place: str) -> LayerRecord:
    """Read one layer by itself, without calls.

    Raises:
        ReadError: It is none.
    """
    return _layer(entry_of(value, era, place), era, f"{place}/")


def _model(entry: Entry, name: str, era: Era, place: str) -> ModelRecord:
    if entry.class_name == "Sequential":
        model = _sequential(entry, name, era, place)
    else:
        model = functional(entry, name, era, lambda item, where: _layer(item, era, where), place)
    check_acyclic(model)
    return model


def _layer(entry: Entry, era: Era, place: str) -> LayerRecord:
    """Read one layer without its calls."""
    name = entry.name or entry.class_name.lower()
    if entry.is_model:
        settings = dict(entry.settings) if isinstance(entry.config, dict) else {"layers": entry.config}
        model = _model(entry, name, era, f"{place}{name}/")
        return LayerRecord(name, entry.class_name, settings, model=model, module=entry.module)
    config, class_name, namespace, layout = entry.config, entry.class_name, entry.namespace, GateLayout.FUSED
    if class_name == "Merge" and namespace is Namespace.LAYER and era is not Era.KERAS3:
        class_name, config, namespace = keras1.merge(config)
    elif era is Era.KERAS1 and namespace is Namespace.LAYER:
        layout = keras1.gate_layout(class_name, config)
        class_name, config = keras1.translate(class_name, config)
    return LayerRecord(
        name=name,
        class_name=class_name,
        config=config,
        namespace=namespace,
        children=_children(config, era, f"{place}{name}/"),
        gate_layout=layout,
        module=entry.module,
    )


def _children(config: Config, era: Era, place: str) -> dict[str, tuple[LayerRecord, ...]]:
    """Read the layers inside a layer's configuration."""
    children: dict[str, tuple[LayerRecord, ...]] = {}
    for key in _CHILDREN:
        value = config.get(key)
        found = value if isinstance(value, list) else [value]
        if found and all(isinstance(item, dict) and "class_name" in item for item in found):
            children[key] = tuple(_layer(entry_of(item, era, f"{place}{key}"), era, place) for item in found)
    return children


@dataclass(slots=True)
class _Chain:
    """A Sequential while it is being converted into a graph."""

    layers: list[LayerRecord]
    inputs: list[TensorRef]

    def add(self, record: LayerRecord, *sources: TensorRef) -> TensorRef:
        """Append a layer called on the outputs of others."""
        argument = sources[0] if len(sources) == 1 else tuple(sources)
        self.layers.append(replace(record, calls=(Call((argument,)),)))
        return TensorRef(record.name)

    def add_input(self, record: LayerRecord) -> TensorRef:
        """Append an input."""
        self.layers.append(record)
        self.inputs.append(TensorRef(record.name))
        return TensorRef(record.name)


def _sequential(entry: Entry, name: str, era: Era, place: str) -> ModelRecord:
    chain = _Chain([], [])
    last = _chain(chain, entry, era, place)
    seen = set[str]()
    for layer in chain.layers:
        if layer.name in seen:
            raise ReadError("two layers of one model have this name", place=f"{place}{layer.name}")
        seen.add(layer.name)
    trainable = entry.settings.get("trainable") is not False
    return ModelRecord(name, "Sequential", tuple(chain.layers), tuple(chain.inputs), (last,), trainable)


def _chain(chain: _Chain, entry: Entry, era: Era, place: str) -> TensorRef:
    """Append the layers of a Sequential and return its output."""
    listed = entry.config.get("layers") if isinstance(entry.config, dict) else entry.config
    entries = _named(layer_entries(listed, era, place))
    first = entries[0]
    if first.class_name == INPUT:
        last = chain.add_input(_layer(first, era, place))
    elif first.class_name == "Merge" and era is not Era.KERAS3 and isinstance(first.settings.get("layers"), list):
        branches = _named(layer_entries(first.settings["layers"], era, place), len(entries))
        ends = [_branch(chain, branch, era, place) for branch in branches]
        last = chain.add(_layer(first, era, place), *ends)
    else:
        record = _layer(first, era, place)
        last = chain.add(record, chain.add_input(_implied_input(record, first, entry.settings)))
    for item in entries[1:]:
        last = chain.add(_layer(item, era, place), last)
    return last


def _branch(chain: _Chain, entry: Entry, era: Era, place: str) -> TensorRef:
    """Append one of the models that a Keras 1 ``Merge`` joins, layer by layer.

    Keras stored the weights of such a Sequential by the layers inside its branches (``flattened_layers`` in
    ``keras/models.py`` 1.2.2), so they belong to this level of the graph.
    """
    if entry.is_model and entry.class_name == "Sequential":
        return _chain(chain, entry, era, place)
    if entry.is_model:
        model = _model(entry, entry.name or "model", era, place)
        chain.layers.extend(model.layers)
        chain.inputs.extend(model.inputs)
        if len(model.outputs) != 1:
            raise ReadError("a Merge joins a model of several outputs", place=model.name)
        return model.outputs[0]
    record = _layer(entry, era, place)
    return chain.add(record, chain.add_input(_implied_input(record, entry, {})))


def _named(entries: list[Entry], start: int = 0) -> list[Entry]:
    """Give names to nested Sequentials, whose names Keras before 2.2.3 did not store."""
    taken = {entry.name for entry in entries}
    named = []
    for number, entry in enumerate(entries, start + 1):
        name = entry.name or f"{entry.class_name.lower()}_{number}"
        while entry.name is None and name in taken:
            name += "_"
        named.append(replace(entry, name=name))
    return named


def _implied_input(record: LayerRecord, entry: Entry, model_config: Config) -> LayerRecord:
    """Make the input that Keras makes for the first layer of a Sequential (``Sequential.add``)."""
    shape = _implied_shape(record, entry, model_config)
    dtype = entry.settings.get("dtype", entry.settings.get("input_dtype"))
    if record.class_name in _TEXT_FIRST and entry.settings.get("invert") is not True:
        dtype = "string"
    name = f"{record.name}_input"
    return LayerRecord(name, INPUT, {"name": name, "batch_shape": shape, "dtype": dtype or "float32"})


def _implied_shape(record: LayerRecord, entry: Entry, model_config: Config) -> list[Any] | None:
    if record.model is not None:
        first = next((layer for layer in record.model.layers if layer.class_name == INPUT), None)
        return None if first is None else _stored_shape(first.config)
    shape = _stored_shape(entry.settings) or _keras1_shape(entry)
    build = model_config.get("build_input_shape")
    return shape or (build if isinstance(build, list) else None)


def _stored_shape(config: Config) -> list[Any] | None:
    for key in _SHAPES:
        if isinstance(config.get(key), list):
            return list(config[key])
    return None


def _keras1_shape(entry: Entry) -> list[Any] | None:
    """Derive a batch shape from ``input_dim`` and ``input_length``, as layers of Keras 1 did."""
    length, width = entry.settings.get("input_length"), entry.settings.get("input_dim")
    if entry.class_name == "Embedding":
        return [None, length]
    if not isinstance(width, int):
        return None
    sequence = "input_length" in entry.settings
    return [None, length, width] if sequence else [None, width]
