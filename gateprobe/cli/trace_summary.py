"""What ``gateprobe inspect`` says of a trace: as plain values, the keys of ``--json``, and as a page.

Top level: ``file``, ``kind``, ``layout``, ``samples``, ``numbers`` (which samples), ``traces`` (one for each direction
of each layer) and ``metadata`` (what the file says of itself; empty for CSV, TSV and JSON lines). Keys are only ever
added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateprobe.cli.layout import Column, Page
from gateprobe.files.remote import redact_url
from gateprobe.trace_files.load import StoredTrace
from gateprobe.traces.chunk import DirectionTrace
from gateprobe.traces.words import ALIASES
from gateprobe.writers.arrays import numbers_text

JSON_FORMAT = 1
"""Version of the JSON's layout."""


def summarise_trace(name: str, trace: StoredTrace) -> dict[str, Any]:
    """Return everything that ``inspect`` says about a trace; JSON-ready."""
    return {
        "format": JSON_FORMAT,
        "file": redact_url(name),
        "kind": trace.kind.value,
        "layout": trace.layout,
        "samples": len(trace.samples),
        "numbers": numbers_text(trace.samples),
        "traces": [_described(part, len(trace.samples)) for part in trace.directions],
        "metadata": dict(trace.metadata),
    }


def _described(part: DirectionTrace, samples: int) -> dict[str, Any]:
    first = next(iter(part.signals.values()))
    return {
        "layer": part.layer,
        "direction": part.direction,
        "backwards": part.backwards,
        "signals": list(part.signals),
        "dtype": first.dtype.name,
        "shape": [samples, *first.shape[1:]],
        "units": numbers_text(part.units),
        "timesteps": numbers_text(part.timesteps),
        "length": part.length,
        "masked": part.mask is not None,
        "context": {name: [samples, *value.shape[1:]] for name, value in part.context.items()},
    }


_TRACE = (
    Column("layer"),
    Column("direction"),
    Column("signals", 1),
    Column("shape"),
    Column("units", 2),
    Column("timesteps", 3),
    Column("type", 6),
    Column("mask", 4),
    Column("beside", 5),
)


def show_trace(report: Mapping[str, Any], *, everything: bool) -> None:
    """Print it.

    Args:
        report: From `summarise_trace`.
        everything: Whether to show digests and semantics too.
    """
    page = Page()
    page.facts(_facts(report, everything=everything))
    page.line()
    if report["traces"]:
        page.table(_TRACE, list(map(_row, report["traces"])))
    else:
        page.line("no recurrent layer")


def _facts(report: Mapping[str, Any], *, everything: bool) -> Iterator[tuple[str, str]]:
    metadata = report["metadata"]
    yield "file", report["file"]
    yield "trace", report["kind"] if report["layout"] == "arrays" else f"{report['kind']}, {report['layout']} layout"
    yield "samples", f"{report['samples']:,}: {report['numbers']}" if report["samples"] else "0"
    yield "numbers", f"{sum(math.prod(one['shape']) * len(one['signals']) for one in report['traces']):,}"
    if not metadata:
        yield "model", "not said: this kind of file holds no metadata"
    yield from _said(metadata, everything=everything)
    yield from (("note", str(text)) for text in _list(metadata.get("notes")))


def _said(metadata: Mapping[str, Any], *, everything: bool) -> Iterator[tuple[str, str]]:
    """Yield what the metadata say; nothing of what is there is taken for granted."""
    model, inputs = metadata.get("model"), metadata.get("inputs")
    if isinstance(model, dict):
        yield "model", str(model.get("file"))
        yield "sha256", str(model.get("sha256"))
    if "era" in metadata:
        version = metadata.get("keras_version")
        yield "era", f"{metadata['era']}{f', Keras {version}' if version else ''}"
    if "gateprobe" in metadata:
        yield "written by", f"gateprobe {metadata['gateprobe']}"
    options = metadata.get("options")
    if isinstance(options, dict) and any(options.values()):
        yield "options", ", ".join(f"{name}={_text(value)}" for name, value in options.items() if value)
    if everything:
        yield "semantics", str(metadata.get("semantics"))
        yield from (("evidence", str(text)) for text in _list(metadata.get("evidence")))
        for name, digest in inputs.items() if isinstance(inputs, dict) else ():
            yield f"input {name}", str(digest)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}:{_text(inner)}" for name, inner in value.items())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


_LETTERS = {name: letter for letter, name in ALIASES.items()}


def _letter(signal: str) -> str:
    """Return a signal as short as the command line takes it."""
    plain = signal.removeprefix("pre_")
    return signal.replace(plain, _LETTERS[plain])


def _row(one: Mapping[str, Any]) -> Sequence[object]:
    return (
        one["layer"],
        one["direction"],
        " ".join(map(_letter, one["signals"])),
        f"({', '.join(map(str, one['shape']))})",
        one["units"],
        one["timesteps"],
        one["dtype"],
        "yes" if one["masked"] else "",
        ", ".join(one["context"]),
    )
