"""What of an architecture Keras may get.

Keras resolves names in a file to code. It gets an architecture only when every name in it that could select code is on
the lists here, at every depth; otherwise the model is built from the graph, in which such names do not occur. How a
model was trained is cut out: nothing in it decides what the model computes, and losses and metrics are names of
functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateprobe.activations import ACTIVATION_NAMES
from gateprobe.graph import Namespace
from gateprobe.layers.binding.registry import registered
from gateprobe.layers.operations.tf_functions import FUNCTIONS
from gateprobe.layers.operations.tf_nodes import OPERATIONS
from gateprobe.layers.text_rules import SPLIT, STANDARDIZE

_TRAINING = frozenset({"compile_config", "training_config"})
"""``compile_config`` stands beside any nested model in files of Keras 3, and is carried out there whatever is asked."""

_STRUCTURES = frozenset(
    """
    Functional Model Sequential InputLayer Merge slice DTypePolicy DTypePolicyMap Policy PolicyV1
    FloatDTypePolicy QuantizedDTypePolicy TensorShape __tuple__ __ellipsis__ __keras_tensor__ __numpy__ __tensor__
    """.split()
)
_INITIALIZERS = frozenset(
    """
    Zeros Ones Constant Identity Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling
    GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform OrthogonalInitializer IdentityInitializer
    zero zeros one ones constant identity orthogonal uniform normal truncated_normal random_normal random_uniform
    variance_scaling glorot_normal glorot_uniform he_normal he_uniform lecun_normal lecun_uniform
    """.split()
)
_REGULARIZERS = frozenset("L1 L2 L1L2 OrthogonalRegularizer l1 l2 l1l2 l1_l2".split())
_CONSTRAINTS = frozenset(
    "MaxNorm MinMaxNorm NonNeg UnitNorm RadialConstraint max_norm min_max_norm non_neg nonneg unit_norm".split()
)
_NAMED = {
    "activation": frozenset(ACTIVATION_NAMES),
    "initializer": _INITIALIZERS,
    "init": _INITIALIZERS,
    "regularizer": _REGULARIZERS,
    "constraint": _CONSTRAINTS,
    "standardize": frozenset(filter(None, STANDARDIZE)),
    "split": frozenset(filter(None, SPLIT)),
}
"""The last word of a setting → what a plain text there may name."""
_FUNCTION_MODULES = frozenset({"keras.activations", "tf_keras.activations"})
_MODULES = frozenset(
    root + inner
    for root in ("keras", "tf_keras")
    for inner in (
        "",
        *(f".{name}" for name in "layers models initializers regularizers constraints mixed_precision".split()),
        ".dtype_policies",
        *(f"{place}.functional" for place in (".src.models", ".src.engine", ".engine")),
        *(f"{place}.sequential" for place in (".src.models", ".src.engine", ".engine")),
        *(f".src.ops.{name}" for name in "numpy core math nn linalg".split()),
    )
)  # fmt: skip
_UNLISTED = "is not on the list of what verify lets Keras resolve"


def without_training(value: Any) -> Any:
    """Return an architecture without what it says of training, at every depth."""
    if isinstance(value, list):
        return [without_training(item) for item in value]
    if isinstance(value, Mapping):
        return {key: without_training(item) for key, item in value.items() if key not in _TRAINING}
    return value


def objections(value: Any) -> Iterator[str]:
    """Yield what in an architecture keeps Keras from getting it.

    Args:
        value: From JSON.
    """
    if not isinstance(value, Mapping) or "class_name" not in value:
        yield "the layers are connected by something else than Keras's own JSON"
        return
    layers = {kind.class_name for kind in registered() if kind.namespace is not Namespace.CUSTOM}
    yield from _objections(value, _STRUCTURES | _INITIALIZERS | _REGULARIZERS | _CONSTRAINTS | layers, "model")


def _objections(value: Any, classes: frozenset[str], place: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _objections(item, classes, f"{place}[{number}]")
    elif isinstance(value, Mapping):
        yield from _names(value, classes, place)
        for key, item in value.items():
            inner = f"{place}.{key}"
            yield from _texts(key, item, inner)
            yield from _objections(item, classes, inner)


def _names(value: Mapping[str, Any], classes: frozenset[str], place: str) -> Iterator[str]:
    """Yield what is unlisted among the names by which one object is looked up."""
    if not {"class_name", "module", "registered_name"} & value.keys():
        return
    class_name, config, registered_name = (value.get(key) for key in ("class_name", "config", "registered_name"))
    if class_name == "function":
        if not _listed(config, ACTIVATION_NAMES):
            yield f"{place}: function {config!r} {_UNLISTED}"
    elif "class_name" in value and not _listed(class_name, classes):
        yield f"{place}: class {class_name!r} {_UNLISTED}"
    if class_name in ("TFOpLambda", "SlicingOpLambda"):
        function = config.get("function") if isinstance(config, Mapping) else None
        if not _listed(function, (*FUNCTIONS, "__operators__.getitem")):
            yield f"{place}: function {function!r} {_UNLISTED}"
    if class_name == "TensorFlowOpLayer":
        node = config.get("node_def") if isinstance(config, Mapping) else None
        operation = node.get("op") if isinstance(node, Mapping) else None
        if not _listed(operation, OPERATIONS):
            yield f"{place}: operation {operation!r} {_UNLISTED}"
    modules = _FUNCTION_MODULES if class_name == "function" else _MODULES
    if "module" in value and value["module"] is not None and not _listed(value["module"], modules):
        yield f"{place}: module {value['module']!r} {_UNLISTED}"
    if registered_name not in (None, class_name, config):
        yield f"{place}: registered_name {registered_name!r} {_UNLISTED}"


def _listed(name: object, names: Any) -> bool:
    return isinstance(name, str) and name in names


def _texts(key: str, value: object, place: str) -> Iterator[str]:
    """Yield what a setting names that Keras would look up by its name alone."""
    if key == "vocabulary" and isinstance(value, str):
        yield f"{place}: names a file, {value!r}"
    names = _NAMED.get(key.rpartition("_")[2])
    texts = value if isinstance(value, list) else [value]
    if names is not None:
        yield from (f"{place}: {text!r} {_UNLISTED}" for text in texts if isinstance(text, str) and text not in names)
