"""JSON from an untrusted file: bounded in depth and size, without duplicate keys, NaN or huge numbers."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from gateprobe.errors import ReadError, UnsafeFile

MAX_BYTES = 64 << 20
MAX_DEPTH = 200
MAX_DIGITS = 20

_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
"""Strings and brackets. The closing quote is optional: a text without one would be tried from each of its quotes."""


def loads(data: bytes | str, place: str) -> Any:
    """Parse JSON.

    Args:
        data: UTF-8 text.
        place: What holds it, for messages: ``model_config``, ``config.json``.

    Raises:
        ReadError: It is not JSON, or JSON that Keras does not write (NaN, duplicate keys, numbers out of range).
        UnsafeFile: It is too large or too deep.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > MAX_BYTES:
        raise UnsafeFile(f"{len(raw):,} bytes of JSON; the limit is {MAX_BYTES:,}", place=place)
    _check_depth(raw, place)
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except UnicodeDecodeError as error:
        raise ReadError(f"is not UTF-8 text: {error.reason} at byte {error.start}", place=place) from None
    except _BadValueError as error:
        raise ReadError(str(error), place=place) from None
    except (ValueError, RecursionError) as error:
        raise ReadError(f"is not JSON: {error}", place=place) from None


class _BadValueError(Exception):
    """A value that JSON allows, or nearly, and Keras does not write."""


def _check_depth(raw: bytes, place: str) -> None:
    """Refuse deep nesting before the parser recurses into it; brackets inside strings do not count."""
    depth = 0
    for token in _TOKENS.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise UnsafeFile(f"JSON nested more than {MAX_DEPTH} deep", place=place)
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                raise _BadValueError(f"the key {key!r} occurs twice in one object, with one meaning for each reader")
            seen.add(key)
    return result


def _constant(text: str) -> NoReturn:
    raise _BadValueError(f"holds {text}, which is not JSON")


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise _BadValueError(f"holds an integer of {len(text.lstrip('-'))} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _BadValueError(f"holds the number {text[:40]}, which is out of range")
    return value
