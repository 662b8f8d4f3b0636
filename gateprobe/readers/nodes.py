"""Calls of layers in a functional graph, in the notation of every Keras.

Keras 1 and 2 write ``[["name", node, tensor], ...]`` for each call, with keyword arguments as a fourth element
(``Container.get_config`` in ``keras/engine/topology.py`` 1.2.2, ``Node.serialize`` in ``tf_keras/src/engine/node.py``
2.21); Keras 3 writes ``{"args": [...], "kwargs": {...}}`` with marked tensors (``serialize_node`` in
``keras/src/models/functional.py`` and ``serialize_keras_object`` in ``keras/src/saving/serialization_lib.py`` 3.15.1).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

import numpy as np

from gateprobe.errors import ReadError
from gateprobe.graph import Argument, Call, freeze

Refer = Callable[[str, int, int], Argument]
"""Makes a reference from a layer's name, the file's number of the call, and the number of the tensor."""

CONSTANT = "_CONSTANT_VALUE"
_KEEPS_STRUCTURE = frozenset({"TFOpLambda", "ClassMethod", "InstanceProperty", "InstanceMethod", "SlicingOpLambda"})
"""Layers of tf.keras that are called with a list of one tensor when the file says so."""
_DTYPES = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 bfloat16".split())


def parse_call(node: Any, class_name: str, refer: Refer, known: Container[str]) -> Call:
    """Parse one call.

    Args:
        node: One element of ``inbound_nodes``.
        class_name: Of the layer that is called.
        refer: Makes references.
        known: The names of the model's layers, which tell references from other lists.

    Raises:
        ReadError: It is not what any Keras writes.
    """
    if isinstance(node, dict) and set(node) == {"args", "kwargs"}:
        return _parse_marked(node, refer)
    if not isinstance(node, (list, dict)):
        raise ReadError(f"a call is written as {type(node).__name__}")
    kwargs = _keywords(node)
    first = _first(node, refer)
    if isinstance(first, tuple) and len(first) == 1 and class_name not in _KEEPS_STRUCTURE:
        first = first[0]
    return Call((first,), {key: _keyword(value, refer, known) for key, value in kwargs.items()})


def is_leaf(value: Any) -> bool:
    """Tell whether a list is a reference of Keras 1 or 2, with or without keyword arguments."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and type(value[1]) is int
        and (len(value) == 3 or isinstance(value[3], dict))
    )


def _leaves(value: Any) -> Iterator[list[Any]]:
    if is_leaf(value):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)


def _keywords(node: Any) -> dict[str, Any]:
    """Return the keyword arguments, which Keras repeats at each tensor of the first argument."""
    found = [leaf[3] for leaf in _leaves(node) if len(leaf) == 4]
    if any(other != found[0] for other in found[1:]):
        raise ReadError("a call gives different keyword arguments for its tensors")
    return found[0] if found else {}


def _first(node: Any, refer: Refer) -> Argument:
    if is_leaf(node):
        if node[0] == CONSTANT and node[1] == -1:
            return _frozen(node[2])
        return refer(node[0], node[1], _tensor(node[2]))
    if isinstance(node, list):
        return tuple(_first(item, refer) for item in node)
    if isinstance(node, dict):
        return {key: _first(item, refer) for key, item in node.items()}
    raise ReadError(f"a call's argument is written as {type(node).__name__} {node!r:.40}")


def _tensor(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ReadError(f"a reference gives {value!r:.40} as the number of the tensor")
    return value


def _keyword(value: Any, refer: Refer, known: Container[str]) -> Argument:
    """Convert a keyword argument of Keras 2, in which references look like any other list."""
    if is_leaf(value) and len(value) == 3 and type(value[2]) is int and value[0] in known:
        return refer(value[0], value[1], _tensor(value[2]))
    if isinstance(value, list):
        return tuple(_keyword(item, refer, known) for item in value)
    if isinstance(value, dict):
        return {key: _keyword(item, refer, known) for key, item in value.items()}
    return value


def _frozen(value: Any) -> Argument:
    """Turn lists of a constant into tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _parse_marked(node: dict[str, Any], refer: Refer) -> Call:
    args, kwargs = node["args"], node["kwargs"]
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise ReadError("a call's args or kwargs are not a list and a mapping")
    return Call(
        tuple(_marked(item, refer) for item in args), {key: _marked(item, refer) for key, item in kwargs.items()}
    )


def _marked(value: Any, refer: Refer) -> Argument:
    """Convert an argument of Keras 3, in which everything that is not plain JSON is marked by its class."""
    if isinstance(value, list):
        return tuple(_marked(item, refer) for item in value)
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__keras_tensor__" and isinstance(config, dict):
        return _history(config.get("keras_history"), refer)
    if kind in ("__numpy__", "__tensor__") and isinstance(config, dict):
        return _constant(config)
    if kind in ("__slice__", "slice") and isinstance(config, dict):
        return slice(*(_marked(config.get(part), refer) for part in ("start", "stop", "step")))
    if kind == "__ellipsis__":
        return Ellipsis
    if kind == "__tuple__" and isinstance(value.get("items"), list):
        return tuple(_marked(item, refer) for item in value["items"])
    return {key: _marked(item, refer) for key, item in value.items()}


def _history(history: Any, refer: Refer) -> Argument:
    if not is_leaf(history) or len(history) != 3:
        raise ReadError(f"a tensor's keras_history is {history!r:.60}")
    return refer(history[0], history[1], _tensor(history[2]))


def _constant(config: dict[str, Any]) -> Argument:
    dtype = config.get("dtype")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ReadError(f"a constant has the dtype {dtype!r:.40}")
    try:
        value = np.array(config.get("value"), np.float32 if dtype == "bfloat16" else dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ReadError(f"a constant array is malformed: {error}") from None
    return freeze(value)
