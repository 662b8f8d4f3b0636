"""A graph in today's words → the configuration that Keras 3 writes into its files.

Source: ``Functional.get_config``, ``serialize_node`` and ``deserialize_node`` in ``keras/src/models/functional.py``,
``serialize_keras_object`` in ``keras/src/saving/serialization_lib.py`` 3.15.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from gateprobe.graph import LISTS, Argument, Call, LayerRecord, ModelRecord, Namespace, TensorRef


def model_config(model: ModelRecord) -> dict[str, Any]:
    """Return a model as ``config.json`` holds it."""
    models = {record.name for record in model.layers if record.model is not None}
    refs: dict[str, list[Any]] = {
        "input_layers": [_history(ref) for ref in model.inputs],
        "output_layers": [_end(ref, models) for ref in model.outputs],
    }
    places: dict[str, Any] = {key: found[0] if len(found) == 1 else found for key, found in refs.items()}
    if model.input_keys:
        places["input_layers"] = dict(zip(model.input_keys, refs["input_layers"], strict=True))
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": model.name,
            "trainable": True,
            "layers": [_layer(record) for record in model.layers],
            **places,
        },
        "registered_name": "Functional",
    }


def _layer(record: LayerRecord) -> dict[str, Any]:
    """Return a layer with its calls."""
    return {
        **_object(record),
        "name": record.name,
        "inbound_nodes": [] if record.class_name == "InputLayer" else [_node(call) for call in record.calls],
    }


def _object(record: LayerRecord) -> dict[str, Any]:
    """Return a layer without its calls."""
    if record.model is not None:
        made = model_config(record.model)
        return {**made, "config": {**made["config"], "name": record.name}}
    registered = record.class_name if record.namespace is Namespace.OPERATION else None
    parts = {key: [_object(child) for child in group] for key, group in record.children.items()}
    inside = {key: group if key in LISTS else group[0] for key, group in parts.items()}
    config = {key: _value(value) for key, value in record.config.items()}
    return {
        "module": record.module,
        "class_name": record.class_name,
        "config": {"name": record.name, **config, **inside},
        "registered_name": registered,
    }


def _value(value: Any) -> Any:
    """Return a setting; an activation that is a layer is written as one."""
    if isinstance(value, Mapping) and "@layer" in value:
        return {
            "module": "keras.layers",
            "class_name": value["@layer"],
            "config": dict(value["config"]),
            "registered_name": None,
        }
    return value


def _node(call: Call) -> dict[str, Any]:
    return {
        "args": [_argument(argument) for argument in call.args],
        "kwargs": {key: _argument(value) for key, value in call.kwargs.items()},
    }


def _argument(value: Argument) -> Any:
    if isinstance(value, TensorRef):
        # Keras finds the tensor by its history; its own files hold the shape too, and nothing reads it
        config = {"shape": [], "dtype": "float32", "keras_history": _history(value)}
        return {"class_name": "__keras_tensor__", "config": config}
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    if isinstance(value, slice):
        parts = {"start": value.start, "stop": value.stop, "step": value.step}
        return {"class_name": "slice", "module": "builtins", "config": parts, "registered_name": "slice"}
    if isinstance(value, Mapping):
        return {key: _argument(item) for key, item in value.items()}
    return [_argument(item) for item in value] if isinstance(value, (tuple, list)) else value


def _end(ref: TensorRef, models: Collection[str]) -> list[Any]:
    """Return an output of the model; the calls of models inside it count from 1 there (``map_tensors`` 3.15.1)."""
    return [ref.layer, ref.call + (ref.layer in models), ref.tensor]


def _history(ref: TensorRef) -> list[Any]:
    return [ref.layer, ref.call, ref.tensor]
