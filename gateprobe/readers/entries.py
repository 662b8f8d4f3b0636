"""One serialised layer, as an untrusted mapping, as typed fields.

Sources: ``keras/src/saving/serialization_lib.py::serialize_keras_object`` 3.15.1 (``module``, ``registered_name``),
``tf_keras/src/saving/legacy/serialization.py`` 2.21 (``class_name`` and ``config`` only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateprobe.errors import ReadError
from gateprobe.graph import Era, Namespace

MODEL_CLASSES = frozenset({"Model", "Functional", "Sequential", "Container", "Network"})
INPUT = "InputLayer"

_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What the file says of one layer or model."""

    class_name: str
    config: Any
    """A mapping; a list for a Sequential of Keras before 2.2.3."""
    name: str | None
    nodes: tuple[Any, ...] | None
    """``inbound_nodes``; ``None`` outside a functional graph."""
    namespace: Namespace
    module: str | None

    @property
    def is_model(self) -> bool:
        """Whether Keras itself would rebuild a graph from this."""
        return self.class_name in MODEL_CLASSES and self.namespace is Namespace.LAYER

    @property
    def settings(self) -> Mapping[str, Any]:
        """The configuration when it is a mapping, else nothing."""
        return self.config if isinstance(self.config, dict) else {}


def entry_of(value: Any, era: Era, place: str) -> Entry:
    """Check and type one serialised layer.

    Args:
        value: From JSON.
        era: Of the architecture.
        place: For messages.

    Raises:
        ReadError: It is not what any Keras writes.
    """
    if not isinstance(value, dict):
        raise ReadError(f"expected a layer, got {_shown(value)}", place=place)
    class_name = value.get("class_name")
    if not isinstance(class_name, str) or not class_name:
        raise ReadError(f"a layer has no class_name but {_shown(class_name)}", place=place)
    if "config" not in value:
        raise ReadError(f"a {class_name:.60} has no config, without which Keras does not load it either", place=place)
    config = value["config"]
    if not isinstance(config, (dict, list)) or (isinstance(config, list) and class_name != "Sequential"):
        raise ReadError(f"the config of a {class_name} is {_shown(config)}", place=place)
    nodes = value.get("inbound_nodes")
    if nodes is not None and not isinstance(nodes, list):
        raise ReadError(f"inbound_nodes of a {class_name} is {_shown(nodes)}", place=place)
    return Entry(
        class_name=class_name,
        config=config,
        name=_name(value, config, place),
        nodes=None if nodes is None else tuple(nodes),
        namespace=_namespace(value, era),
        module=value["module"] if isinstance(value.get("module"), str) else None,
    )


def _name(value: Mapping[str, Any], config: Any, place: str) -> str | None:
    """Return the layer's name, which stands in the entry, in its configuration, or (old Sequential) nowhere."""
    name = value.get("name")
    if name is None and isinstance(config, dict):
        name = config.get("name")
    return None if name is None else checked_name(name, place)


def checked_name(name: Any, place: str) -> str:
    """Return a layer's name.

    Raises:
        ReadError: It is not a text, or not one that can be written as UTF-8.
    """
    if not isinstance(name, str) or not name:
        raise ReadError(f"a layer's name is {_shown(name)}, not a text", place=place)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ReadError(f"the layer name {name!a} is not valid Unicode", place=place) from None
    return name


def _namespace(value: Mapping[str, Any], era: Era) -> Namespace:
    """Tell Keras's own classes from everybody else's by what the file says, never by the class name alone."""
    class_name, registered = value["class_name"], value.get("registered_name")
    if ">" in class_name:  # "package>Class": registered by users
        return Namespace.CUSTOM
    if "module" not in value:
        return Namespace.OPERATION if _legacy_operation(value, era) else Namespace.LAYER
    module = value["module"]
    if not isinstance(module, str) or registered not in (None, class_name):
        return Namespace.CUSTOM
    if not any(module == own or module.startswith(f"{own}.") for own in _OWN_MODULES):
        return Namespace.CUSTOM
    return Namespace.OPERATION if "ops" in module.split(".") else Namespace.LAYER


def _legacy_operation(value: Mapping[str, Any], era: Era) -> bool:
    """Tell an operation ``Add`` from a layer ``Add`` in HDF5 of Keras 3, where no module is named.

    ``Operation.get_config`` (``keras/src/ops/operation.py``) writes the name and constructor arguments only, while
    ``Layer.get_config`` always adds ``trainable``; only a few leave it out.
    """
    config = value.get("config")
    if era is not Era.KERAS3 or "inbound_nodes" not in value or not isinstance(config, dict):
        return False
    return "trainable" not in config and value["class_name"] not in {INPUT, *MODEL_CLASSES, *_WITHOUT_TRAINABLE}


_WITHOUT_TRAINABLE = ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Discretization")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}" if value is not None else "nothing"
