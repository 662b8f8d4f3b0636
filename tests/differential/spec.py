"""What the generator draws: a model as plain JSON, independent of the Keras that will build it.

A model is ``{"kind", "inputs", "nodes", "outputs", ...}``; a layer is ``{"class", "config"}``, whose configuration may
hold further layers (``layer``, ``cell``, ``cells``, ``backward_layer``), or ``{"model": ...}`` for a nested model. A
node is one call: ``{"name", "layer", "args", "kwargs"}``, with ``"layer": {"shared": name}`` for a further call of
the layer of an earlier node. Inside arguments ``{"t": name, "i": 0}`` is a tensor and ``{"slice": [a, b, c]}`` a slice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]


def tensor(name: str, number: int = 0) -> Spec:
    """Return a reference to one output tensor of a node, or to an input."""
    return {"t": name, "i": number}


def references(argument: Any) -> Iterator[Spec]:
    """Yield the references inside an argument."""
    if isinstance(argument, dict):
        if "t" in argument:
            yield argument
        else:
            for item in argument.values():
                yield from references(item)
    elif isinstance(argument, (list, tuple)):
        for item in argument:
            yield from references(item)


def replaced(argument: Any, old: Spec, new: Spec) -> Any:
    """Return a copy of an argument in which one reference is another."""
    if isinstance(argument, dict):
        if "t" in argument:
            return dict(new) if argument == old else argument
        return {key: replaced(item, old, new) for key, item in argument.items()}
    if isinstance(argument, list):
        return [replaced(item, old, new) for item in argument]
    return argument


def layers_in(layer: Spec) -> Iterator[Spec]:
    """Yield a layer and the layers inside it, also those of nested models."""
    if "shared" in layer:
        return
    yield layer
    if "model" in layer:
        for node in layer["model"]["nodes"]:
            yield from layers_in(node["layer"])
        return
    for value in layer.get("config", {}).values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and ("class" in item or "model" in item):
                yield from layers_in(item)


def all_layers(spec: Spec) -> Iterator[Spec]:
    """Yield every layer of a model."""
    for node in spec["nodes"]:
        yield from layers_in(node["layer"])


def classes_of(spec: Spec) -> set[str]:
    """Return the names of all classes and operations in a model."""
    names = {layer["class"] for layer in all_layers(spec) if "class" in layer}
    names |= {layer["op"] for layer in all_layers(spec) if "op" in layer}
    return names | {layer["model"]["kind"] for layer in all_layers(spec) if "model" in layer}


def pruned(spec: Spec) -> Spec:
    """Return a copy without the nodes and inputs that no output needs."""
    spec = copy.deepcopy(spec)
    needed = {ref["t"] for ref in references(spec["outputs"])}
    kept = []
    for node in reversed(spec["nodes"]):
        if node["name"] in needed:
            kept.append(node)
            needed |= {ref["t"] for ref in references([node["args"], node["kwargs"]])}
            if "shared" in node["layer"]:
                needed.add(node["layer"]["shared"])
    spec["nodes"] = kept[::-1]
    spec["inputs"] = [item for item in spec["inputs"] if item["name"] in needed]
    return spec
