"""The tree of objects in a SavedModel: which variable belongs to which layer.

Messages: ``tensorflow/core/protobuf/trackable_object_graph.proto`` (in the checkpoint) and
``keras/protobuf/saved_metadata.proto`` (``keras_metadata.pb``); what Keras tracks by which name:
``tf_keras/src/saving/legacy/saved_model/{model,layer}_serialization.py`` 2.21.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.readers import safe_json
from gateprobe.readers.savedmodel.wire import Message

MAX_OBJECTS = 1_000_000
ROOT = 0
BOOKKEEPING = frozenset(
    "keras_api variables trainable_variables non_trainable_variables regularization_losses signatures optimizer "
    "metrics __call__ call_and_return_all_conditional_losses call_and_return_conditional_losses "
    "_random_generator seed_generator _default_save_signature".split()
)
"""What Keras adds to an object for its own loader, and training state."""


@dataclass(frozen=True, slots=True)
class TrackedObject:
    """One object: the objects it holds, by name, and where its value stands in the checkpoint."""

    children: Mapping[str, int]
    key: str | None
    """Of a variable."""
    full_name: str
    """Of a variable, such as ``encoder/lstm_cell/kernel``."""
    table: tuple[str, str] | None = None
    """Where the keys and the values of a table stand."""


@dataclass(frozen=True, slots=True)
class Described:
    """What Keras recorded of one layer or model."""

    node: int
    path: str
    """``root.layer_with_weights-1.cell``."""
    identifier: str
    value: Mapping[str, Any]
    """``class_name``, ``config``, ``name``, ..."""

    @property
    def name(self) -> str:
        """The layer's name."""
        name = self.value.get("name")
        if not isinstance(name, str):
            config = self.value.get("config")
            name = config.get("name") if isinstance(config, dict) else None
        return name if isinstance(name, str) and name else self.path


def tracked_objects(graph: Message) -> tuple[TrackedObject, ...]:
    """Read the graph of objects that a checkpoint carries along."""
    nodes = [_tracked(node) for node in _bounded(graph.messages(1), graph.place)]
    for node in nodes:
        if any(not 0 <= child < len(nodes) for child in node.children.values()):
            raise ReadError("an object refers to one that is not there", place=graph.place)
    if not nodes:
        raise ReadError("holds no objects", place=graph.place)
    return tuple(nodes)


def held_keys(objects: tuple[TrackedObject, ...]) -> frozenset[str]:
    """Return the keys of the variables that the model holds, by whatever way they are called."""
    seen, stack = {ROOT}, [ROOT]
    while stack:
        for name, child in objects[stack.pop()].children.items():
            if name not in BOOKKEEPING and child not in seen:
                seen.add(child)
                stack.append(child)
    return frozenset(key for number in seen if (key := objects[number].key) is not None)


def _tracked(node: Message) -> TrackedObject:
    key, full_name = None, ""
    columns = {attribute.text(1): attribute.text(3) for attribute in node.messages(2)}
    table = (
        (columns["table-keys"], columns["table-values"]) if {"table-keys", "table-values"} <= columns.keys() else None
    )
    for attribute in node.messages(2):
        if attribute.text(1) == "VARIABLE_VALUE":
            key, full_name = attribute.text(3), attribute.text(2)
    return TrackedObject({child.text(2): child.integer(1) for child in node.messages(1)}, key, full_name, table)


def _bounded(messages: Iterator[Message], place: str) -> Iterator[Message]:
    for count, message in enumerate(messages):
        if count >= MAX_OBJECTS:
            raise UnsafeFile(f"holds more than {MAX_OBJECTS:,} objects", place=place)
        yield message


def described_objects(metadata: Message) -> dict[int, Described]:
    """Read ``keras_metadata.pb``: what Keras recorded, by the number of the object."""
    found: dict[int, Described] = {}
    for node in _bounded(metadata.messages(1), metadata.place):
        number, path = node.integer(2), node.text(3)
        if number in found:
            raise ReadError("describes one object twice", place=f"{metadata.place}: {path}")
        found[number] = describe(number, path, node.text(4), node.text(5), metadata.place)
    return found


def describe(number: int, path: str, identifier: str, text: str, place: str) -> Described:
    """Parse what Keras recorded of one object."""
    value = plain(safe_json.loads(text, f"{place}: {path}")) if text else {}
    if not isinstance(value, dict):
        raise ReadError("is not a description of a layer", place=f"{place}: {path}")
    return Described(number, path, identifier, value)


def plain(value: Any) -> Any:
    """Turn the tuples and shapes that Keras marks in this JSON into lists (``json_utils.py`` of ``saved_model``)."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in ("__tuple__", "TensorShape") and set(value) == {"class_name", "items"}:
        return plain(value["items"])
    return {key: plain(item) for key, item in value.items()}


def check_paths(objects: tuple[TrackedObject, ...], described: Mapping[int, Described], place: str) -> None:
    """Refuse a description whose path leads to another object than its number says."""
    for item in described.values():
        number = _follow(objects, item.path) if item.path else None
        if not 0 <= item.node < len(objects) or (number is not None and number != item.node):
            raise ReadError(
                "names another object than the checkpoint has there",
                place=f"{place}: {item.path}",
                remedy=f"{place} seems to be left over from another save: save into an empty folder, or read it with "
                "--ignore-metadata",
            )


def _follow(objects: tuple[TrackedObject, ...], path: str) -> int | None:
    """Return the object at a path, or ``None`` where a name of its own has a dot."""
    at = ROOT
    for name in path.split(".")[1:]:
        child = objects[at].children.get(name)
        if child is None:
            return None
        at = child
    return at
