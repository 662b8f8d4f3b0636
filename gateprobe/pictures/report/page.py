"""Makes the page: a template, one style, one script and the values, in one file.

Nothing of a file becomes markup: names and tokens stand in JSON, without a character that HTML understands, and the
script puts them into the page as text. Beside that the page's policy lets only this very style and this very script
run, and no request leave it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from gateprobe.errors import GateprobeWarning, printable
from gateprobe.graph import Array
from gateprobe.inputs.tokens import Labels
from gateprobe.inputs.verdicts import WrittenVerification
from gateprobe.observed import Observed
from gateprobe.pictures.colours import BLUE_ORANGE, BLUE_ORANGE_ON_BLACK, VIRIDIS
from gateprobe.pictures.kinds import SATURATED
from gateprobe.pictures.report.about import about
from gateprobe.pictures.report.excerpt import MOST_VALUES, excerpt_of
from gateprobe.traces.chunk import DirectionTrace

if TYPE_CHECKING:
    from gateprobe.replay.run import Progress


_SCRIPTS = ("data", "measures", "colours", "strip", "panels", "page")
_MARK = re.compile(r"@(\w+)@")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What HTML could understand, as JSON writes it; ASCII alone is left besides."""


def page_of(
    observed: Observed,
    *,
    verdict: WrittenVerification | None = None,
    max_values: int = MOST_VALUES,
    progress: Progress | None = None,
) -> str:
    """Return the page of a trace.

    Args:
        observed: The trace.
        verdict: What `verify` said of its model.
        max_values: How many values the page may hold, over all signals; what is left out, it says and a warning says.
        progress: Is told of samples or timesteps that are done.

    Raises:
        InputError: There is nothing to show, the limit is too small, or the verdict is on another model.
    """
    metadata = observed.metadata
    told = None if verdict is None else verdict.about(metadata)
    excerpt = excerpt_of(observed, max_values, progress)
    for sentence in excerpt.left_out:
        warnings.warn(f"{sentence} --max-values allows more", GateprobeWarning, stacklevel=2)
    words: dict[str, int] = {}
    found = about(observed.name, metadata, excerpt)
    return filled(
        {
            "samples": excerpt.chunk.samples.tolist(),
            "parts": [
                _part(part, labels, found.classes, words)
                for part, labels in zip(excerpt.chunk.directions, excerpt.labels, strict=True)
            ],
            "words": list(words),
            "about": {"title": found.title, "tagline": found.tagline, "facts": found.facts},
            "verdict": told,
            "left_out": excerpt.left_out,
            "saturated": SATURATED,
        }
    )


def filled(payload: Mapping[str, Any]) -> str:
    """Put the values into the template."""
    style, script = _asset("page.css"), _script()
    texts = {
        "policy": f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; "
        "form-action 'none'",
        "title": html.escape(f"{payload['about']['title']} · gateprobe"),
        "style": style,
        "script": script,
        "data": _as_json(payload),
    }
    return _MARK.sub(lambda mark: texts[mark[1]], _asset("page.html"))


def _script() -> str:
    """Return the scripts as one that leaves no name behind."""
    stops = {"light": BLUE_ORANGE, "dark": BLUE_ORANGE_ON_BLACK, "shares": VIRIDIS}
    colours = f"const STOPS = {json.dumps(stops)};"
    return "\n".join(['"use strict";', "(() => {", colours, *(_asset(f"{name}.js") for name in _SCRIPTS), "})();", ""])


def _asset(name: str) -> str:
    return files("gateprobe.pictures.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _as_json(value: object) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return "".join(_UNSAFE.get(character, character) for character in text)


def _part(
    part: DirectionTrace, labels: Iterable[Labels | None], classes: Mapping[str, str], words: dict[str, int]
) -> dict[str, Any]:
    """Return one direction; arrays are little-endian, in C order ``(samples, timesteps, units)``."""
    first = next(iter(part.values()))
    wide = any(value.dtype.itemsize > 4 for value in part.values())
    return {
        "layer": printable(part.layer),
        "direction": part.direction,
        "class": printable(classes.get(part.layer, "")),
        "backwards": part.backwards,
        "complete": [0 in part.timesteps, part.length - 1 in part.timesteps],
        "timesteps": part.timesteps.tolist(),
        "units": part.units.tolist(),
        "shape": first.shape,
        "dtype": "float64" if wide else "float32",
        "signals": [[name, _array(value, "<f8" if wide else "<f4")] for name, value in part.signals.items()],
        "mask": None if part.mask is None else _array(~part.mask, "u1"),
        "mask_units": part.mask is not None and part.mask.ndim > 2,
        "tokens": _tokens(labels, first.shape[1], words),
    }


def _array(value: Array, dtype: str) -> str:
    return _base64(np.ascontiguousarray(value, dtype).tobytes())


def _tokens(labels: Iterable[Labels | None], timesteps: int, words: dict[str, int]) -> str | None:
    """Number the tokens; ``None`` where no sample has any."""
    listed = list(labels)
    if not any(one is not None for one in listed):
        return None
    texts = (one or ("",) * timesteps for one in listed)
    return _array(np.array([[words.setdefault(printable(word), len(words)) for word in row] for row in texts]), "<u4")
