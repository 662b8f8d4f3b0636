"""Keras 1 words in Keras 2 words.

Sources: ``get_config`` of ``keras/layers/*.py`` and ``keras/engine/topology.py`` 1.0.8, 1.1.0 and 1.2.2;
``keras/legacy/interfaces.py`` 2.0.4 for what became of the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateprobe.graph import Config, GateLayout, Namespace

CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",  # a Dense of Keras 2 works on the last axis of any input
}
_UNTOUCHED = frozenset("Lambda MaxoutDense Highway SReLU ParametricSoftplus Deconvolution2D Merge".split())
"""Classes that Keras 2 no longer has: nothing to translate to."""
_RENAMED = {
    "output_dim": "units",
    "inner_activation": "recurrent_activation",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "stride": "strides",
    "pool_length": "pool_size",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "p": "rate",
    "sigma": "stddev",
    "length": "size",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "input_dtype": "dtype",
}
_INERT = frozenset(
    """
    init inner_init forget_bias_init W_regularizer U_regularizer b_regularizer activity_regularizer
    W_constraint U_constraint b_constraint gamma_regularizer beta_regularizer
    """.split()
)
_KERNEL_SIZES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}
_UNSAID = "unsaid"
"""The order of dimensions of a layer of which nothing in the file tells it; no layer takes it."""
_ORDERED = frozenset("UpSampling2D UpSampling3D ZeroPadding2D ZeroPadding3D Cropping2D Cropping3D".split())
"""Classes whose ``get_config`` leaves out ``dim_ordering``, which decides what they compute (Keras 1.0.0 to 1.2.2)."""
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot"}
"""``cos`` is not among them: it clips the product of the norms and returns one axis more than ``Dot`` does."""


def with_orderings(value: Any) -> Any:
    """Return an architecture in which each layer says its order of dimensions.

    Some classes never save it: they get the one that all other layers agree on. Keras 1 takes ``image_dim_ordering`` of
    the user's ``keras.json`` for what a file does not say, and so did the layers that do save it.
    """
    said = {ordering for ordering in _orderings(value) if isinstance(ordering, str)}
    (ordering,) = said if len(said) == 1 else (_UNSAID,)
    return _ordered(value, ordering)


def _orderings(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += item.values()
            yield item.get("dim_ordering")
        elif isinstance(item, list):
            stack += item


def _ordered(value: Any, ordering: str) -> Any:
    if isinstance(value, list):
        return [_ordered(item, ordering) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _ordered(item, ordering) for key, item in value.items()}
    name, config = found.get("class_name"), found.get("config")
    if isinstance(name, str) and name in _ORDERED and isinstance(config, dict) and config.get("dim_ordering") is None:
        found["config"] = {**config, "dim_ordering": ordering}
    return found


def translate(class_name: str, config: Config) -> tuple[str, dict[str, Any]]:
    """Translate the class and the configuration of one layer; words without a translation stay as they are."""
    if class_name in _UNTOUCHED:
        return class_name, dict(config)
    translated = {_RENAMED.get(key, key): value for key, value in config.items() if key not in _INERT}
    if class_name == "Embedding":
        translated["output_dim"] = translated.pop("units", None)
        translated.pop("dropout", None)  # of whole words, while training
    else:
        translated.pop("input_dim", None)
    if translated.get("consume_less") in ("cpu", "mem", "gpu"):
        del translated["consume_less"]
    for keys in _KERNEL_SIZES:
        if all(key in translated for key in keys):
            translated["kernel_size"] = [translated.pop(key) for key in keys]
    if "dim_ordering" in translated:
        ordering = translated.pop("dim_ordering")
        translated["data_format"] = _DATA_FORMATS.get(ordering, ordering) if isinstance(ordering, str) else ordering
    if class_name == "BatchNormalization" and translated.get("mode") == 0:
        del translated["mode"]
    return CLASSES.get(class_name, class_name), translated


def gate_layout(class_name: str, config: Config) -> GateLayout:
    """Return how a recurrent layer stores its weights; ``consume_less`` was ``cpu`` unless said otherwise."""
    if class_name == "ConvLSTM2D" or (class_name in ("LSTM", "GRU") and config.get("consume_less", "cpu") != "gpu"):
        return GateLayout.PER_GATE
    return GateLayout.FUSED


def merge(config: Config) -> tuple[str, dict[str, Any], Namespace]:
    """Translate a ``Merge`` into the layer of Keras 2 for its mode; one with code or unknown modes becomes custom."""
    mode = config.get("mode")
    kept = {key: config[key] for key in ("name", "trainable") if key in config}
    target = _MERGES.get(mode) if isinstance(mode, str) and config.get("mode_type", "raw") == "raw" else None
    if target is None:
        return "Merge", dict(config), Namespace.CUSTOM
    if target == "Concatenate":
        kept["axis"] = config.get("concat_axis", -1)
    if target == "Dot":
        kept |= {"axes": config.get("dot_axes", -1), "normalize": False}
    return target, kept, Namespace.LAYER
