"""Where a trace comes from, in words: from its metadata, of which nothing is believed unchecked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from gateprobe.errors import printable
from gateprobe.pictures.report.excerpt import Excerpt


@dataclass(frozen=True, slots=True)
class About:
    """What the page says of the model and of the run."""

    title: str
    tagline: str
    facts: list[tuple[str, list[str]]]
    """Name → sentences."""
    classes: Mapping[str, str]
    """Layer path → Keras class."""


def about(name: str, metadata: Mapping[str, Any], excerpt: Excerpt) -> About:
    """Describe a trace.

    Args:
        name: Of the model or of the trace file.
        metadata: What the trace says of itself; perhaps nothing.
        excerpt: What the page shows of it.
    """
    model = _mapping(metadata.get("model"))
    classes = {str(one.get("path")): _text(one.get("class")) for one in map(_mapping, _list(metadata.get("layers")))}
    version = _text(metadata.get("keras_version"))
    era = " ".join(filter(None, (_text(metadata.get("era")), version and f"(Keras {version})")))
    title = _text(model.get("file")) or printable(PurePath(name).name) or "trace"
    count = len(excerpt.chunk.samples)
    shown = list(dict.fromkeys(_shown(part.layer, classes, len(part.units)) for part in excerpt.chunk.directions))
    more = f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    facts = {
        "source": [printable(name)],
        "model": [_text(model.get("file"))],
        "sha256": [_text(model.get("sha256"))],
        "era": [era],
        "evidence": [_text(text) for text in _list(metadata.get("evidence"))],
        "semantics": [_text(metadata.get("semantics"))],
        "layers": [f"{printable(path)} ({kind})" for path, kind in classes.items()],
        "sha256 of inputs": [
            f"{printable(key)}: {_text(value)}" for key, value in _mapping(metadata.get("inputs")).items()
        ],
        "options": list(_options(_mapping(metadata.get("options")))),
        "notes": [_text(text) for text in _list(metadata.get("notes"))],
        "made by": [f"gateprobe {_text(metadata.get('gateprobe'))}" if metadata.get("gateprobe") else ""],
    }
    told = [(key, [text for text in texts if text]) for key, texts in facts.items()]
    return About(
        title,
        " · ".join(
            filter(None, (era, f"{count:,} sample{'' if count == 1 else 's'}", ", ".join(shown[:_LISTED]) + more))
        ),
        [(key, texts) for key, texts in told if texts],
        classes,
    )


_LISTED = 4
"""Layers that stand under the title."""


def _shown(layer: str, classes: Mapping[str, str], units: int) -> str:
    kind = classes.get(layer)
    return f"{printable(layer)} ({f'{kind}, ' if kind else ''}{units:,} unit{'' if units == 1 else 's'})"


def _options(options: Mapping[str, Any]) -> Iterator[str]:
    for key, value in options.items():
        if value not in (None, {}, [], False):
            yield f"{printable(key)}: {printable(value)}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return printable(value) if isinstance(value, (str, int, float)) else ""
