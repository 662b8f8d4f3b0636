"""The graph that was read, as JSON from which Keras's own layers can be built again, and its weights by role.

Only what decides the numbers is kept of a configuration: initializers, regularizers, constraints and shapes stay
behind, so that nothing of the file can select code in Keras but the layer and activation names of our own tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.errors import InputError, Refusal
from gateprobe.graph import (
    LISTS,
    Argument,
    Array,
    Call,
    LayerRecord,
    ModelRecord,
    Namespace,
    TensorRef,
)
from gateprobe.layers.binding.registry import is_recurrent, kind_of
from gateprobe.layers.binding.settings import INERT, unknown_class
from gateprobe.replay.calls import join_path
from gateprobe.replay.objects import ObjectPath, ObjectWeights
from gateprobe.semantics import Semantics

_RECURRENT = ("LSTM", "GRU", "LSTMCell", "GRUCell")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_CONVOLUTIONAL = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


def blueprint_of(
    model: ModelRecord, semantics: Semantics, library: str, objects: Sequence[ObjectWeights]
) -> dict[str, Any]:
    """Return a model as JSON for the oracle.

    Args:
        model: As read.
        semantics: Fills in what the file's era takes for granted and today's Keras does not.
        library: ``keras3`` or ``tf_keras``: whose words to use.
        objects: The weights, which say what a cell's configuration may not.

    Raises:
        InputError: An input has no shape.
    """
    weights = {item.path: item.weights for item in objects}
    return _Draft(semantics, library, weights).model(model, ())


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """Translates records into the words of one library."""

    semantics: Semantics
    library: str
    weights: Mapping[ObjectPath, Mapping[str, Array]]

    def model(self, model: ModelRecord, path: ObjectPath) -> dict[str, Any]:
        return {
            "layers": [self.layer(record, (*path, record.name)) for record in model.layers],
            "inputs": [_argument(ref) for ref in model.inputs],
            "outputs": [_argument(ref) for ref in model.outputs],
        }

    def layer(self, record: LayerRecord, path: ObjectPath) -> dict[str, Any]:
        class_name, config = translated(record, self.semantics, self.library)
        kind = {"InputLayer": "input"}.get(class_name, "layer")
        parts = {key: self.parts(key, group, path) for key, group in record.children.items()}
        return {
            "name": record.name,
            "kind": "operation" if record.namespace is Namespace.OPERATION else kind,
            "class_name": class_name,
            "config": {**self.shown_by_weights(class_name, path), **config},
            "parts": parts,
            "calls": [self.call(record, call) for call in record.calls],
            "model": None if record.model is None else self.model(record.model, path),
        }

    def call(self, record: LayerRecord, call: Call) -> dict[str, Any]:
        """Translate a call."""
        call = states_by_keyword(record, call) if self.library == "keras3" else call
        kwargs = {key: _argument(value) for key, value in call.kwargs.items()}
        return {"args": [_argument(argument) for argument in call.args], "kwargs": kwargs}

    def parts(self, key: str, group: Sequence[LayerRecord], path: ObjectPath) -> list[dict[str, Any]]:
        """Return the layers inside a layer; a ``layer`` of a Bidirectional is its ``forward_layer``."""
        attribute = (
            ".forward_layer" if key == "layer" and (*path, ".forward_layer", ".cell") in self.weights else f".{key}"
        )
        return [
            self.layer(part, (*path, attribute, *((str(n),) if key in LISTS else ()))) for n, part in enumerate(group)
        ]

    def shown_by_weights(self, class_name: str, path: ObjectPath) -> dict[str, Any]:
        """Return the size of a cell whose configuration the file lacks, as one Keras saved them."""
        weights = self.weights.get(path)
        if weights is None or not class_name.endswith("Cell") or "recurrent_kernel" not in weights:
            return {}
        return {"units": weights["recurrent_kernel"].shape[0], "use_bias": "bias" in weights}


def states_by_keyword(record: LayerRecord, call: Call) -> Call:
    """Return a call of a recurrent layer as Keras 3 takes it: initial states, listed after the input, by keyword."""
    recurrent = is_recurrent(record) and not record.class_name.endswith(("Cell", "Cells"))
    if not recurrent or not call.args or not isinstance(call.args[0], (tuple, list)):
        return call
    first, *states = call.args[0]
    given = {"initial_state": tuple(states)} if states else {}
    return Call((first, *call.args[1:]), {**call.kwargs, **given})


def _argument(argument: Argument) -> Any:
    if isinstance(argument, TensorRef):
        return {"@ref": [argument.layer, argument.call, argument.tensor]}
    if isinstance(argument, np.ndarray):
        return {"@constant": argument.tolist(), "dtype": argument.dtype.name}
    if isinstance(argument, slice):
        return {"@slice": [argument.start, argument.stop, argument.step]}
    if isinstance(argument, Mapping):
        return {key: _argument(value) for key, value in argument.items()}
    return [_argument(item) for item in argument] if isinstance(argument, (tuple, list)) else argument


def translated(record: LayerRecord, semantics: Semantics, library: str) -> tuple[str, dict[str, Any]]:
    """Return the class name and configuration in the words of the oracle's Keras."""
    if record.class_name == "InputLayer":
        return "InputLayer", _input(record)
    if record.model is not None:
        return record.class_name, {}
    kept = {
        key: _plain(value) for key, value in record.config.items() if key not in INERT and key not in record.children
    }
    config = {**defaults(record, semantics), **kept, **_policy(record)}
    class_name = record.class_name
    if class_name.startswith("CuDNN"):
        class_name = class_name.removeprefix("CuDNN")
        config |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
        config |= {"reset_after": True} if class_name == "GRU" else {}
    return _renamed(class_name, config) if library == "keras3" else (class_name, config)


def _renamed(class_name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Use the words of Keras 3."""
    if class_name == "LeakyReLU" and "alpha" in config:
        config = {**config, "negative_slope": config["alpha"]}
        del config["alpha"]
    if class_name == "BatchNormalization" and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config = {**config, "axis": config["axis"][0]}
    if class_name == "ThresholdedReLU":
        return "ReLU", {"threshold": config.get("theta", 1.0)}
    return class_name, config


def defaults(record: LayerRecord, semantics: Semantics) -> dict[str, Any]:
    """Return what the file's era understood where the configuration says nothing."""
    if record.class_name in _RECURRENT:
        reset = {"reset_after": semantics.gru_reset_after} if record.class_name.startswith("GRU") else {}
        return {"recurrent_activation": semantics.recurrent_activation, **reset}
    if record.class_name in _CONVOLUTIONAL:
        return {"recurrent_activation": semantics.conv_recurrent_activation}
    return {}


def _input(record: LayerRecord) -> dict[str, Any]:
    config = record.config
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if not isinstance(shape, (list, tuple)):
        raise InputError(f"the file does not say the shape of input {record.name!r}")
    return {"batch_shape": list(shape), "dtype": str(config.get("dtype") or "float32")}


def _policy(record: LayerRecord) -> dict[str, str]:
    dtype = record.config.get("dtype")
    if isinstance(dtype, Mapping):
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, Mapping) else None
    # Keras 1 and 2 up to 2.2 put the dtype of an Embedding's input here
    return {"dtype": dtype} if isinstance(dtype, str) and dtype.removeprefix("mixed_") in _FLOATS else {}


def _plain(value: Any) -> Any:
    """Return a configuration value without the wrappings of serialisation."""
    if not isinstance(value, Mapping):
        return list(value) if isinstance(value, tuple) else value
    if value.get("class_name") == "function":
        return value.get("config")
    if value.get("type") == "ndarray":
        return value.get("value")
    inner = value.get("config")
    if "class_name" in value and isinstance(inner, Mapping):
        return {"@layer": value["class_name"], "config": {k: v for k, v in inner.items() if k not in INERT}}
    return dict(value)


def unknown_layers(model: ModelRecord, path: str = "") -> list[Refusal]:
    """Return every layer that the registry does not know, at any depth."""
    found = []
    for record in model.layers:
        place = join_path(path, record.name)
        if record.model is not None:
            found += unknown_layers(record.model, place)
        elif record.class_name != "InputLayer":
            if kind_of(record) is None:
                found.append(Refusal(place, record.class_name, str(unknown_class(record)), unknown=True))
            for name, group in record.children.items():
                for child in group:
                    inside = ModelRecord(child.name, "", (child,), (), ())
                    found += unknown_layers(inside, f"{place}/{name}")
    return found
