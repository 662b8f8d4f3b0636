"""What the real Keras computes for a case: Keras 3, or tf_keras for Keras 2."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np

from gateprobe.graph import Array, Era, Namespace
from layers.answer import Answer
from layers.case import Case, filled


def installed(era: Era) -> bool:
    return importlib.util.find_spec("keras" if era is Era.KERAS3 else "tf_keras") is not None


def ask(case: Case, era: Era) -> Answer:
    layer = _layer(case, era)
    inputs = [_tensor(value, mask, era) for value, mask in zip(case.inputs(), case.masks(), strict=True)]
    args, kwargs = filled(case.arguments(), inputs), filled(case.kwargs, inputs)
    if case.weights:
        _build(layer, case, era, args, kwargs)
        layer.set_weights(case.arrays())
        if hasattr(layer, "finalize_state"):  # as Normalization does when it is loaded
            layer.finalize_state()
    inputs = [_tensor(value, mask, era) for value, mask in zip(case.inputs(), case.masks(), strict=True)]
    result = layer(*filled(case.arguments(), inputs), **filled(case.kwargs, inputs))
    outputs = list(result) if isinstance(result, (list, tuple)) else [result]
    config = {**case.settings(era), **_config(layer)}  # tf_keras forgets to save the ``causal`` of an Attention
    return Answer(config, [np.asarray(output) for output in outputs], [_mask(output) for output in outputs])


def _build(layer: Any, case: Case, era: Era, args: Any, kwargs: Any) -> None:
    """Calling the layer builds it."""
    layer(*args, **kwargs)


def _config(layer: Any) -> dict[str, Any]:
    """The configuration as a file holds it. Keras 3 wraps names of dtypes; those say nothing here."""
    config = dict(layer.get_config())
    config.pop("dtype", None)
    if "layer" in config:
        inner = layer.layer if hasattr(layer, "layer") else layer.forward_layer
        config["layer"] = {"class_name": type(inner).__name__, "config": _config(inner)}
    return json.loads(json.dumps(config, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if hasattr(value, "as_list"):
        return value.as_list()
    return list(value) if hasattr(value, "__iter__") else str(value)


def _layer(case: Case, era: Era) -> Any:
    config = case.settings(era)
    if case.namespace is Namespace.OPERATION:
        return getattr(importlib.import_module(str(case.module)), case.class_name).from_config(config)
    layers = importlib.import_module("keras.layers" if era is Era.KERAS3 else "tf_keras.layers")
    if "layer" in config:
        inner = config["layer"]
        config["layer"] = getattr(layers, inner["class_name"]).from_config(inner["config"])
        return getattr(layers, case.class_name)(**config)
    if case.class_name in ("TFOpLambda", "SlicingOpLambda"):
        core = importlib.import_module("tf_keras.src.layers.core.tf_op_layer")
        return getattr(core, case.class_name).from_config(config)
    if case.class_name == "TensorFlowOpLayer":
        return importlib.import_module("tf_keras.src.engine.base_layer").TensorFlowOpLayer.from_config(config)
    return getattr(layers, case.class_name)(**config)


def _tensor(value: Array, mask: Array | None, era: Era) -> Any:
    import tensorflow as tf

    tensor = tf.constant(value)
    if mask is not None:
        tensor._keras_mask = tf.constant(mask)
    return tensor


def _mask(output: Any) -> Array | None:
    mask = getattr(output, "_keras_mask", None)
    return None if mask is None else np.asarray(mask)
