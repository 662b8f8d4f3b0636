"""The two Keras libraries, and the backends of one of them, behind one small interface.

Runs only inside the oracle's process.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


class Unavailable(Exception):
    """A package that the oracle needs is not installed."""


class Refused(Exception):
    """This Keras cannot open, build or run the model."""


@dataclass(frozen=True, slots=True)
class Library:
    """An imported Keras."""

    name: str
    """``keras3`` or ``tf_keras``."""
    keras: Any
    backend: str
    """``tensorflow``, ``jax`` or ``torch``."""
    engine: Any
    """What computes: the imported backend."""

    @property
    def legacy(self) -> bool:
        """Whether this is Keras 2."""
        return self.name == "tf_keras"

    def layer_class(self, class_name: str) -> Any:
        """Return a public layer class.

        Raises:
            Refused: This Keras has none of that name.
        """
        found = getattr(self.keras.layers, class_name, None)
        if found is None:
            raise Refused(f"{self.name} {self.keras.__version__} has no layer {class_name}")
        return found

    def operation_class(self, class_name: str) -> Any:
        """Return the class of an operation in a graph of Keras 3.

        Raises:
            Refused: This Keras has none of that name.
        """
        for module in () if self.legacy else ("numpy", "core", "math", "nn", "linalg"):
            found = getattr(importlib.import_module(f"keras.src.ops.{module}"), class_name, None)
            if found is not None:
                return found
        raise Refused(f"{self.name} {self.keras.__version__} has no operation {class_name}")

    def tensor(self, value: Any) -> Any:
        """Return a tensor; of a variable a copy."""
        if self.backend == "tensorflow":
            return self.engine.convert_to_tensor(value)
        return self.keras.ops.copy(self.keras.ops.convert_to_tensor(value))

    def flat(self, value: Any) -> list[Any]:
        """Return the tensors of a nested structure."""
        return [] if value is None else list(self._tree.flatten(value))

    def map(self, function: Callable[..., Any], *structures: Any) -> Any:
        """Return a nested structure of what a function makes of the tensors of others."""
        return self._tree.map_structure(function, *structures)

    def where(self, condition: Any, one: Any, other: Any) -> Any:
        """Return ``one`` where a NumPy array is true, and ``other`` elsewhere."""
        chosen = self.engine.where if self.legacy else self.keras.ops.where
        return chosen(self.tensor(condition), one, other)

    def array(self, value: Any) -> Any:
        """Return a tensor or variable as a NumPy array; half types become float32, which holds all their values."""
        array = np.asarray(value if self.backend == "tensorflow" else self.keras.ops.convert_to_numpy(value))
        if array.dtype.kind in "biu":
            return array
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)

    def inference(self) -> AbstractContextManager[Any]:
        """Return a context in which nothing is kept for gradients."""
        return self.engine.no_grad() if self.backend == "torch" else nullcontext()

    @property
    def _tree(self) -> Any:
        return self.engine.nest if self.legacy else self.keras.tree


def load_library(name: str, backend: str) -> Library:
    """Import one of the two, with a backend.

    Raises:
        Unavailable: It is not installed.
    """
    os.environ["KERAS_BACKEND"] = backend
    try:
        engine = importlib.import_module(backend)
        keras = importlib.import_module("tf_keras" if name == "tf_keras" else "keras")
    except ImportError as error:
        raise Unavailable(error.name or str(error)) from None
    if name == "keras3" and not keras.__version__.startswith("3."):
        raise Unavailable(f"keras 3 (installed is {keras.__version__})")
    if name == "keras3" and keras.backend.backend() != backend:
        raise Refused(f"it runs on {keras.backend.backend()} already, not on {backend}")
    return Library(name, keras, backend, engine)


def load_native(library: Library, file: str, architecture: str | None) -> Any:
    """Let Keras itself open a file: no compilation, ``safe_mode``, no custom objects.

    Raises:
        Refused: Keras does not open it; says what Keras says.
    """
    models = library.keras.models
    try:
        if architecture is None:
            return models.load_model(file, compile=False, safe_mode=True)
        model = models.model_from_json(_architecture_text(architecture))
        model.load_weights(file)
    except Exception as error:  # noqa: BLE001 - whatever Keras raises means that it refuses
        raise Refused(first_line(error)) from None
    return model


def _architecture_text(path: str) -> str:
    """Return the JSON of an architecture; some tools wrote it as a JSON string inside JSON."""
    text = Path(path).read_text(encoding="utf-8")
    inner = json.loads(text)
    return inner if isinstance(inner, str) else text


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception encountered when calling")] or lines
    text = telling[0] if telling else type(error).__name__
    return text if len(text) <= 240 else f"{text[:237]}..."


def is_model(layer: Any) -> bool:
    """Whether a layer is itself a graph of layers."""
    return hasattr(layer, "_nodes_by_depth") or getattr(layer, "_functional", None) is not None


def graph_of(model: Any) -> Any:
    """Return the object that holds a model's nodes: the model, or the functional model inside a Sequential."""
    return getattr(model, "_functional", None) or model


def calls_in_order(model: Any) -> Mapping[int, list[int]]:
    """Return for each layer of a model (by ``id``) the numbers of its calls in the order in which Keras runs them.

    A call's number is its position among the layer's calls in this model, which is their order in a file.
    """
    graph = graph_of(model)
    by_depth = getattr(graph, "_nodes_by_depth", None) or {}
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    inside = {id(node) for node in nodes}
    order: dict[int, list[int]] = {}
    for node in nodes:
        layer = getattr(node, "operation", None) or getattr(node, "layer", None)
        if layer is None or node.is_input:
            continue
        own = [id(n) for n in layer._inbound_nodes if id(n) in inside]  # noqa: SLF001 - Keras has no public way
        order.setdefault(id(layer), []).append(own.index(id(node)))
    return order


def attribute(owner: Any, name: str) -> Any:
    """Return an attribute under its name in a file, which lacks a leading underscore.

    Raises:
        Refused: There is none.
    """
    for candidate in (name, f"_{name}"):
        found = getattr(owner, candidate, None)
        if found is not None:
            return found
    raise Refused(f"Keras's {type(owner).__name__} has no {name}")


def by_name(model: Any) -> dict[str, Any]:
    """Return the layers of a model by Keras's names.

    Raises:
        Refused: It holds no layers.
    """
    if not is_model(model):
        raise Refused(f"Keras's {type(model).__name__} is no model")
    return {layer.name: layer for layer in model.layers}


def recurrent_layers(library: Library, layer: Any) -> Iterator[Any]:
    """Yield every recurrent layer in a layer."""
    if isinstance(layer, library.keras.layers.RNN):
        yield layer
    for child in children(library, layer):
        yield from recurrent_layers(library, child)


def children(library: Library, layer: Any) -> list[Any]:
    """Return the layers inside a model, a TimeDistributed or a Bidirectional."""
    layers = library.keras.layers
    if is_model(layer):
        return list(layer.layers)
    if isinstance(layer, layers.TimeDistributed):
        return [layer.layer]
    if isinstance(layer, layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return []
