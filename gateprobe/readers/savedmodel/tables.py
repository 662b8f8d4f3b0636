"""Vocabularies of a SavedModel: the tables of its lookup layers.

Since TensorFlow 2.6 a table is filled by a function, ``_initialize``, from constants in the graph; before, the
checkpoint held its keys and values. Messages: ``saved_object_graph.proto``, ``graph.proto``, ``tensor.proto``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np

from gateprobe.errors import ReadError
from gateprobe.graph import LOOKUPS, Vocabulary
from gateprobe.readers.savedmodel.objects import Described
from gateprobe.readers.savedmodel.wire import Message, varint

_STRING, _INT64 = 7, 9
_CHILDREN, _CONSTANT = 1, 9
_TABLES = ("lookup_table", "_table", "_static_table")

Column = tuple[bytes, ...] | tuple[int, ...]
Stored = Callable[[int], tuple[Column, Column] | None]
"""Returns the keys and values that the checkpoint holds of an object."""


class Tables:
    """The tables in ``saved_model.pb``.

    Args:
        meta_graph: The message with the graph and the objects.
        objects: The ``SavedObject`` messages.
        stored: What the checkpoint holds.
    """

    def __init__(self, meta_graph: Message, objects: tuple[Message, ...], stored: Stored) -> None:
        self._graph, self._objects, self._stored = meta_graph.message(2), objects, stored

    @cached_property
    def _nodes(self) -> dict[str, Message]:
        """The operations of the outermost graph that are constants, by name."""
        return {node.text(1): node for node in self._graph.messages(1) if node.text(2) == "Const"}

    def _children(self, number: int) -> dict[str, int]:
        if not 0 <= number < len(self._objects):
            return {}
        return {child.text(2): child.integer(1) for child in self._objects[number].messages(_CHILDREN)}

    def vocabularies(self, described: Mapping[int, Described]) -> Iterator[tuple[str, Vocabulary]]:
        """Yield the name of each lookup layer and its words."""
        for item in described.values():
            if item.value.get("class_name") not in LOOKUPS:
                continue
            children = self._children(item.node)
            children = self._children(children.get("_lookup_layer", -1)) or children
            found = next((self._columns(children[name]) for name in _TABLES if name in children), None)
            if found is not None:
                config = item.value.get("config")
                turned = isinstance(config, dict) and config.get("invert") is True
                yield item.name, _vocabulary(*(found[::-1] if turned else found), item.name)

    def _columns(self, table: int) -> tuple[Column, Column] | None:
        """Return keys and values of a table."""
        initialize = self._children(table).get("_initialize", -1)
        captured = self._children(self._children(initialize).get("trace_0", -1))
        constants = [self._constant(captured[name]) for name in sorted(captured, key=_number)]
        if len(constants) == 2 and constants[0] is not None and constants[1] is not None:
            return constants[0], constants[1]
        return self._stored(table)

    def _constant(self, number: int) -> Column | None:
        if not 0 <= number < len(self._objects):
            return None
        node = self._nodes.get(self._objects[number].message(_CONSTANT).text(1))
        values = [] if node is None else [entry.message(2) for entry in node.messages(5) if entry.text(1) == "value"]
        return _tensor(values[0].message(8)) if values else None


def _number(name: str) -> int:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else 0


def _tensor(tensor: Message) -> Column | None:
    """Return the texts or integers of a ``TensorProto`` of one axis."""
    kind, sizes = tensor.integer(1), [axis.integer(1) for axis in tensor.message(2).messages(2)]
    if kind == _STRING:
        texts = tuple(bytes(value) for number, value in tensor.fields() if number == 8 and not isinstance(value, int))
        return texts if sizes == [len(texts)] else None
    if kind != _INT64 or len(sizes) != 1:
        return None
    numbers = _integers(tensor)
    if len(numbers) == 1 and 0 < sizes[0] < 1 << 24:  # a value that repeats is stored once
        numbers = numbers * sizes[0]
    return numbers if sizes == [len(numbers)] else None


def _integers(tensor: Message) -> tuple[int, ...]:
    found: list[int] = []
    for number, value in tensor.fields():
        if number == 4 and not isinstance(value, int):
            if len(value) % 8:
                raise ReadError("is damaged: a constant of integers", place=tensor.place)
            found += np.frombuffer(bytes(value), "<i8").tolist()
        elif number == 10:
            found += [value] if isinstance(value, int) else _varints(value, tensor.place)
    return tuple(one - (1 << 64) if one >= 1 << 63 else one for one in found)


def _varints(data: memoryview, place: str) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = varint(data, position, place)
        yield value


def _vocabulary(tokens: Column, ids: Column, place: str) -> Vocabulary:
    """Return the words in the order of their ids, which follow each other.

    Raises:
        ReadError: They do not, or a word is not UTF-8.
    """
    if not ids or len(ids) != len(tokens) or not all(isinstance(one, int) for one in ids):
        raise ReadError("its table is empty, or its words and ids do not go together", place=place)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    first = int(ids[order[0]])
    if [ids[at] for at in order] != list(range(first, first + len(ids))):
        raise ReadError("the ids of its table do not follow each other", place=place)
    return Vocabulary(tuple(_word(tokens[at], place) for at in order), f"the table of {place}", first)


def _word(token: bytes | int, place: str) -> str | int:
    if isinstance(token, int):
        return token
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        raise ReadError("its vocabulary is not UTF-8 text", place=place) from None
