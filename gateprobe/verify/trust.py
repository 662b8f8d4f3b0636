"""Whether a file may be given to Keras itself.

Keras resolves names in a file to code. Before it gets one, everything in the architecture that could select code must
be on the lists here; what is not, is built from the graph instead, in which such things do not occur.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateprobe.graph import Namespace
from gateprobe.layers.registry import registered
from gateprobe.layers.tf_functions import FUNCTIONS
from gateprobe.readers import archive, hdf5, safe_json

_HARMLESS = frozenset(
    """
    Functional Model Sequential InputLayer Merge function slice DTypePolicy DTypePolicyMap Policy PolicyV1
    FloatDTypePolicy QuantizedDTypePolicy TensorShape __tuple__ __ellipsis__ __keras_tensor__ __numpy__ __tensor__
    Zeros Ones Constant Identity Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling
    GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform
    zeros ones constant identity orthogonal uniform normal glorot_normal glorot_uniform he_normal he_uniform
    OrthogonalInitializer IdentityInitializer L1 L2 L1L2 OrthogonalRegularizer
    MaxNorm MinMaxNorm NonNeg UnitNorm RadialConstraint
    """.split()
)
"""Class names beside those of layers: initializers, regularizers, constraints, policies, plain structures."""

_ROOTS = ("keras", "tf_keras")
_UNLISTED = "is not on the list of what verify lets Keras resolve"


def objections(file: str, architecture: str | None) -> Iterator[str]:
    """Yield what in an architecture keeps us from giving the file to Keras."""
    value = _architecture(file, architecture)
    if not isinstance(value, Mapping) or "class_name" not in value:
        yield "the layers are connected by something else than Keras's own JSON"
        return
    layers = {kind.class_name for kind in registered() if kind.namespace is not Namespace.CUSTOM}
    yield from _objections(value, _HARMLESS | layers, "")


def _architecture(file: str, architecture: str | None) -> Any:
    path = Path(architecture or file)
    if architecture is not None:
        value = safe_json.loads(path.read_bytes(), "architecture")
        return safe_json.loads(value, "architecture") if isinstance(value, str) else value
    with path.open("rb") as stream:
        if stream.read(4) == b"PK\x03\x04":
            stream.seek(0)
            with archive.opened(stream, path.stat().st_size) as members:
                return safe_json.loads(archive.read(members, archive.CONFIG, safe_json.MAX_BYTES), archive.CONFIG)
        stream.seek(0)
        with hdf5.opened(stream) as stored:
            text = hdf5.text_attribute(stored, "model_config")
            return safe_json.loads(text, "model_config") if text is not None else None


def _objections(value: Any, classes: frozenset[str], place: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _objections(item, classes, f"{place}[{number}]")
    elif isinstance(value, Mapping):
        yield from _names(value, classes, place)
        for key, item in value.items():
            if key != "compile_config":  # never looked at: models are loaded without compilation
                yield from _objections(item, classes, f"{place}.{key}" if place else key)


def _names(value: Mapping[str, Any], classes: frozenset[str], place: str) -> Iterator[str]:
    class_name, module, registered_name = (value.get(key) for key in ("class_name", "module", "registered_name"))
    if isinstance(class_name, str) and class_name not in classes:
        yield f"{place}: class {class_name!r} {_UNLISTED}"
    if class_name in ("TFOpLambda", "SlicingOpLambda"):
        function = _function(value.get("config"))
        if function not in FUNCTIONS and function != "__operators__.getitem":
            yield f"{place}: function {function!r} {_UNLISTED}"
    if module is not None and not _trusted_module(module, class_name):
        yield f"{place}: module {module!r} {_UNLISTED}"
    plain = registered_name is None or registered_name == class_name or registered_name == value.get("config")
    if "class_name" in value and not plain:
        yield f"{place}: registered_name {registered_name!r} {_UNLISTED}"


def _function(config: Any) -> object:
    """Return the TensorFlow function that a node of tf.keras names."""
    function = config.get("function") if isinstance(config, Mapping) else None
    return function if isinstance(function, str) else repr(function)


def _trusted_module(module: Any, class_name: Any) -> bool:
    if class_name == "function" or (isinstance(class_name, str) and class_name.startswith("__")):
        return module in ("builtins", "keras.activations", "tf_keras.activations")
    return isinstance(module, str) and (module == "builtins" or module.split(".")[0] in _ROOTS)
