"""The wire format of protocol buffers, as far as a SavedModel needs it, from untrusted bytes.

A message is a row of fields: a number, and a varint, 4 or 8 bytes, or a length and that many bytes
(https://protobuf.dev/programming-guides/encoding/). Only what is asked for is looked at; nothing is built from a schema
in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateprobe.errors import ReadError

_MAX_VARINT_BYTES = 10
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a view into the bytes of a file, taken apart when it is asked for a field."""

    data: memoryview
    place: str
    """For messages to the user."""

    def fields(self) -> Iterator[tuple[int, int | memoryview]]:
        """Yield every field's number and its value: an int, or a view of the bytes.

        Raises:
            ReadError: It is not a message.
        """
        data, position = self.data, 0
        while position < len(data):
            key, position = self._varint(position)
            number, kind = key >> 3, key & 7
            if number == 0:
                raise self._damaged()
            if kind == _VARINT:
                value, position = self._varint(position)
                yield number, value
                continue
            length = {_EIGHT: 8, _FOUR: 4}.get(kind)
            if kind == _BYTES:
                length, position = self._varint(position)
            if length is None or length > len(data) - position:
                raise self._damaged()
            yield number, data[position : position + length]
            position += length

    def messages(self, number: int) -> Iterator[Message]:
        """Yield the messages of a repeated field."""
        for found, value in self.fields():
            if found == number:
                yield Message(self._bytes(value), self.place)

    def message(self, number: int) -> Message:
        """Return the message of a field; without it, one that has no fields."""
        return next(self.messages(number), Message(memoryview(b""), self.place))

    def texts(self, number: int) -> Iterator[str]:
        """Yield the texts of a repeated field."""
        for found, value in self.fields():
            if found == number:
                yield self._text(self._bytes(value))

    def text(self, number: int) -> str:
        """Return the text of a field; without it, the empty one."""
        return next(self.texts(number), "")

    def integer(self, number: int) -> int:
        """Return the integer of a field; without it, 0."""
        for found, value in self.fields():
            if found == number:
                if not isinstance(value, int):
                    raise self._damaged()
                return value - (1 << 64) if value >= 1 << 63 else value
        return 0

    def fixed32(self, number: int) -> int:
        """Return the integer of a field of four bytes; without it, 0."""
        for found, value in self.fields():
            if found == number:
                if len(self._bytes(value)) != 4:
                    raise self._damaged()
                return int.from_bytes(self._bytes(value), "little")
        return 0

    def has(self, number: int) -> bool:
        """Tell whether there is such a field."""
        return any(found == number for found, _ in self.fields())

    def _bytes(self, value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            raise self._damaged()
        return value

    def _text(self, value: memoryview) -> str:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise self._damaged() from None

    def _varint(self, position: int) -> tuple[int, int]:
        return varint(self.data, position, self.place)

    def _damaged(self) -> ReadError:
        return _damaged(self.place)


def varint(data: memoryview, position: int, place: str) -> tuple[int, int]:
    """Return the integer at a position and the position behind it.

    Raises:
        ReadError: There is none.
    """
    result = 0
    for count, byte in enumerate(data[position : position + _MAX_VARINT_BYTES]):
        result |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return result & ((1 << 64) - 1), position + count + 1
    raise _damaged(place)


def _damaged(place: str) -> ReadError:
    return ReadError("is damaged or truncated: it is no protocol buffer", place=place)


def parse(data: bytes, place: str) -> Message:
    """Look at bytes as a message."""
    return Message(memoryview(data), place)
