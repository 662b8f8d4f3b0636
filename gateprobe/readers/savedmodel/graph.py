"""The functions that TensorFlow recorded in ``saved_model.pb``, looked at as data: nothing here computes a tensor.

Messages: ``tensorflow/core/framework/{function,op_def,node_def,attr_value,tensor}.proto`` and
``tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gateprobe.readers.savedmodel.wire import Message

_INT32, _INT64 = 3, 9
_PASSED_ON = ("Identity", "StopGradient")


class Unproven(Exception):
    """The functions do not show what they would have to show; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation."""

    op: str
    inputs: tuple[str, ...]
    """Data only, without control dependencies."""
    attributes: Mapping[str, Message]

    def function(self, name: str) -> str:
        """Return the name of the function in an attribute, such as the body of a loop."""
        return self.attributes[name].message(10).text(1) if name in self.attributes else ""


@dataclass(frozen=True, slots=True)
class Function:
    """One recorded function: nodes by name, and what it returns."""

    arguments: tuple[str, ...]
    nodes: Mapping[str, Node]
    returns: tuple[str, ...]

    def value(self, text: str) -> Value:
        """Follow a reference, ``argument`` or ``node:output:0``, through operations that only pass a value on."""
        for _ in range(len(self.nodes) + 1):
            if text in self.arguments:
                return Value(self, None, "", self.arguments.index(text))
            name, _, port = text.partition(":")
            node = self.nodes.get(name)
            if node is None:
                break
            if node.op not in _PASSED_ON or not node.inputs:
                return Value(self, node, port, None)
            text = node.inputs[0]
        raise Unproven(f"a recorded function refers to {text!r:.60}, which it does not hold")

    def result(self, number: int) -> Value:
        """Return what the function returns at a position."""
        if number >= len(self.returns):
            raise Unproven(f"a recorded function returns {len(self.returns)} values, number {number} is wanted")
        return self.value(self.returns[number])


@dataclass(frozen=True, slots=True)
class Value:
    """Where a value in a function comes from: an operation, or an argument."""

    function: Function
    node: Node | None
    port: str
    argument: int | None

    @property
    def op(self) -> str:
        """The operation; empty for an argument."""
        return "" if self.node is None else self.node.op

    def inputs(self, *ops: str) -> list[Value]:
        """Return where the operands come from; none when it is another operation than one of ``ops``."""
        if self.node is None or self.node.op not in ops:
            return []
        return [self.function.value(text) for text in self.node.inputs]

    @property
    def constant(self) -> int | None:
        """The value of a constant integer."""
        if self.node is None or self.node.op != "Const" or "value" not in self.node.attributes:
            return None
        return _scalar(self.node.attributes["value"].message(8))

    def same(self, other: Value) -> bool:
        """Whether two values of one function are the same."""
        return (self.node, self.port, self.argument) == (other.node, other.port, other.argument)


def _scalar(tensor: Message) -> int | None:
    """Return the integer in a ``TensorProto`` of one integer."""
    kind, content = tensor.integer(1), b""
    for number, value in tensor.fields():
        if number == 4 and not isinstance(value, int):
            content = bytes(value)
    if kind not in (_INT32, _INT64):
        return None
    if content:
        size = 4 if kind == _INT32 else 8
        return None if len(content) != size else int(struct.unpack("<i" if size == 4 else "<q", content)[0])
    return _unpacked(tensor, 7 if kind == _INT32 else 10)


def _unpacked(tensor: Message, field: int) -> int:
    """Return the only element of a repeated integer, which may be packed; nothing stands for 0."""
    for number, value in tensor.fields():
        if number == field:
            if isinstance(value, int):
                return value - (1 << 64) if value >= 1 << 63 else value
            packed = Message(memoryview(b"\x08" + bytes(value)), tensor.place)  # as field 1 of a message
            return packed.integer(1)
    return 0


class Library:
    """All recorded functions of a SavedModel, parsed one by one when they are asked for.

    Args:
        saved_model: The message in ``saved_model.pb``.
    """

    def __init__(self, saved_model: Message) -> None:
        self._graph = saved_model.message(2)

    @property
    def meta_graph(self) -> Message:
        """The message with the graph and the objects."""
        return self._graph

    @cached_property
    def _functions(self) -> dict[str, Message]:
        definitions = self._graph.message(2).message(2).messages(1)
        return {definition.message(1).text(1): definition for definition in definitions}

    @cached_property
    def objects(self) -> tuple[Message, ...]:
        """The ``SavedObject`` messages, numbered as in the checkpoint."""
        return tuple(self._graph.message(7).messages(1))

    def calls_of(self, number: int) -> list[str]:
        """Return the names of the functions recorded for calls of a layer."""
        if number >= len(self.objects):
            return []
        names: dict[str, None] = {}
        for child in self.objects[number].messages(1):
            target = child.integer(1)
            if child.text(2) == "call_and_return_all_conditional_losses" and 0 <= target < len(self.objects):
                names |= dict.fromkeys(self.objects[target].message(6).texts(1))
        return list(names)

    def function(self, name: str) -> Function:
        """Return a function by its name."""
        definition = self._functions.get(name)
        if definition is None:
            raise Unproven(f"the function {name!r:.80} is not recorded")
        signature = definition.message(1)
        returned = {entry.text(1): entry.text(2) for entry in definition.messages(4)}
        outputs = [output.text(1) for output in signature.messages(3)]
        if any(output not in returned for output in outputs):
            raise Unproven(f"the function {name!r:.80} does not say what it returns")
        return Function(
            tuple(argument.text(1) for argument in signature.messages(2)),
            {node.text(1): _node(node) for node in definition.messages(3)},
            tuple(returned[output] for output in outputs),
        )


def _node(node: Message) -> Node:
    attributes = {entry.text(1): entry.message(2) for entry in node.messages(5)}
    return Node(node.text(2), tuple(text for text in node.texts(3) if not text.startswith("^")), attributes)
