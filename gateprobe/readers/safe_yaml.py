"""YAML from an untrusted file: the plain values that ``model.to_yaml()`` of Keras 1 and 2 writes, and nothing else.

PyYAML takes the text apart into events; no constructor of its own runs, and a tag selects one of a closed table of
plain values. Keras writes a tuple as ``!!python/tuple``, and an object that occurs twice once, with an anchor: what an
alias stands for is counted again, so that a text cannot grow without bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateprobe.errors import MissingExtra, ReadError, UnsafeFile
from gateprobe.readers import safe_json

MAX_BYTES = 16 << 20
MAX_VALUES = 1_000_000
_BEGINS = re.compile(rb"(?:\A|\n)(?:backend|class_name|config|keras_version|name|gateprobe_wiring):(?:[ \r\n]|\Z)")
"""How the text of an architecture, or of a wiring file, has a line."""
_TAG = "tag:yaml.org,2002:"
_TRUTHS = {**dict.fromkeys(("yes", "true", "on"), True), **dict.fromkeys(("no", "false", "off"), False)}


def is_yaml(head: bytes) -> bool:
    """Tell an architecture as YAML from other texts by its first bytes."""
    return not head.lstrip().startswith((b"{", b"[")) and _BEGINS.search(head) is not None


def loads(data: bytes, place: str) -> Any:
    """Parse YAML into what JSON would hold: mappings with texts as keys, lists, texts, numbers, truth values, ``None``.

    Args:
        data: UTF-8 text.
        place: What holds it, for messages.

    Raises:
        ReadError: It is not YAML, or YAML that Keras does not write: other tags, duplicate keys, several documents.
        UnsafeFile: It is too large or too deep, also by what its aliases stand for.
        MissingExtra: PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415 - few files are YAML
    except ImportError:
        raise MissingExtra("PyYAML, which reads architectures as YAML,", "yaml") from None
    if len(data) > MAX_BYTES:
        raise UnsafeFile(f"{len(data):,} bytes of YAML; the limit is {MAX_BYTES:,}", place=place)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReadError(f"is not UTF-8 text: {error.reason} at byte {error.start}", place=place) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Document(place, yaml).value(yaml.parse(text, Loader=loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ReadError(f"is not YAML: {reason:.200}", place=place) from None


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun."""

    mapping: bool
    anchor: str | None
    items: list[Any] = field(default_factory=list)
    size: int = 1
    """Values in it, itself too."""
    height: int = 1
    """Lists and mappings in each other, itself too."""


class _Kept(NamedTuple):
    """A value, the number of values in it, and how deep they are in each other."""

    value: Any
    size: int
    height: int


@dataclass(slots=True)
class _Document:
    """Builds the value of one document from events, without recursion."""

    place: str
    yaml: Any
    anchors: dict[str, _Kept] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=list)

    def value(self, events: Iterator[Any]) -> Any:
        """Return the only document's value."""
        yaml, resolver, done = self.yaml, self.yaml.resolver.Resolver(), list[Any]()
        for event in events:
            if isinstance(event, yaml.AliasEvent):
                self._add(done, self._alias(event.anchor))
            elif isinstance(event, yaml.ScalarEvent):
                tag = event.tag if event.tag not in (None, "!") else None
                tag = tag or resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
                self._keep(done, event.anchor, _Kept(_scalar(tag, event.value, self.place), 1, 0))
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._begin(event, mapping=isinstance(event, yaml.MappingStartEvent))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                ended = self.stack.pop()
                self._keep(done, ended.anchor, _Kept(self._built(ended), ended.size, ended.height))
        if len(done) != 1:
            raise ReadError(f"holds {len(done)} documents", place=self.place)
        return done[0]

    def _begin(self, event: Any, *, mapping: bool) -> None:
        if event.tag not in (None, "!") and event.tag not in (_MAPPINGS if mapping else _SEQUENCES):
            raise _unknown(event.tag, self.place)
        self.stack.append(_Open(mapping, event.anchor))
        self._check_depth(0)

    def _check_depth(self, height: int) -> None:
        if len(self.stack) + height > safe_json.MAX_DEPTH:
            raise UnsafeFile(f"YAML nested more than {safe_json.MAX_DEPTH} deep", place=self.place)

    def _alias(self, anchor: str) -> _Kept:
        if anchor not in self.anchors:
            raise ReadError(f"the alias *{anchor:.40} stands for nothing, or for itself", place=self.place)
        return self.anchors[anchor]

    def _keep(self, done: list[Any], anchor: str | None, kept: _Kept) -> None:
        if anchor is not None:
            self.anchors[anchor] = kept
        self._add(done, kept)

    def _add(self, done: list[Any], kept: _Kept) -> None:
        """Put a value where it belongs."""
        if not self.stack:
            done.append(kept.value)
            return
        self._check_depth(kept.height)
        within = self.stack[-1]
        within.items.append(kept.value)
        within.size, within.height = within.size + kept.size, max(within.height, kept.height + 1)
        if within.size > MAX_VALUES:
            raise UnsafeFile(f"stands for more than {MAX_VALUES:,} values", place=self.place)

    def _built(self, ended: _Open) -> Any:
        if not ended.mapping:
            return ended.items
        found: dict[str, Any] = {}
        for key, value in zip(ended.items[::2], ended.items[1::2], strict=True):
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise ReadError(f"has the key {key!r:.60}, which is no text", place=self.place)
            if str(key) in found:
                raise ReadError(f"the key {key!r:.60} occurs twice in one object", place=self.place)
            found[str(key)] = value
        return found


def _unknown(tag: str, place: str) -> ReadError:
    shown = tag.replace(_TAG, "!!", 1)
    return ReadError(f"holds the tag {shown:.80}, which is none of a plain value", place=place)


def _scalar(tag: str, text: str, place: str) -> Any:
    made = _SCALARS.get(tag)
    if made is None:
        raise _unknown(tag, place)
    return made(text)


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError(f"{text!r:.40} is no truth value")
    return _TRUTHS[text.lower()]


def _integer(text: str) -> int:
    """Read the integers that PyYAML and Keras write: decimal ones."""
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)[lL]?", text) is None or len(text) > safe_json.MAX_DIGITS:
        raise ValueError(f"{text!r:.40} is no decimal integer")
    return int(text.rstrip("lL"))


def _number(text: str) -> float:
    if re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text) is None:
        raise ValueError(f"{text!r:.40} is no number that an architecture may hold")
    if not math.isfinite(float(text)):
        raise ValueError(f"{text!r:.40} is out of range")
    return float(text)


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    _TAG + name: made
    for made, names in (
        (str, ("str", "python/str", "python/unicode")),
        (_integer, ("int", "python/int", "python/long")),
        (_number, ("float", "python/float")),
        (_truth, ("bool", "python/bool")),
        (lambda text: None, ("null", "python/none")),
    )
    for name in names
}
_SEQUENCES = frozenset(_TAG + name for name in ("seq", "python/tuple", "python/list"))
_MAPPINGS = frozenset(_TAG + name for name in ("map", "python/dict"))
