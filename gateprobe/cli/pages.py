"""What ``gateprobe inspect`` prints for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateprobe.cli.layout import Column, Page

LAYERS_SHOWN = 40
"""Layers listed without ``-v``."""


def show_summary(report: Mapping[str, Any], *, everything: bool) -> None:
    """Print what ``inspect`` found.

    Args:
        report: From `gateprobe.cli.summary.summarise`.
        everything: Whether to list every layer, and the semantics in full.
    """
    page = Page()
    page.facts(_facts(report, everything=everything))
    page.line()
    if report["model"] is not None:
        _show_layers(page, report, everything=everything)
        page.line()
        _show_recurrent(page, report["recurrent"])
    else:
        _show_groups(page, report["groups"])
    page.line()
    _show_verdicts(page, report)


def _facts(report: Mapping[str, Any], *, everything: bool) -> Iterator[tuple[str, str]]:
    version = f", Keras {report['keras_version']}" if report["keras_version"] else ""
    backend = f", {report['backend']}" if report["backend"] else ""
    yield "file", report["file"]
    yield "container", report["container"]
    yield "era", f"{report['era']}{version}{backend}"
    yield from (("evidence", text) for text in report["evidence"])
    if everything or report["model"] is None:
        yield "semantics", report["semantics"]
    yield from (("meaning", one["text"]) for one in report["meanings"])
    if report["today"] is not None:
        yield "in today's Keras", report["today"]["text"]
    if report["model"] is not None:
        model = report["model"]
        size = "" if model["parameters"] is None else f", {model['parameters']:,} parameters"
        yield "model", f"{model['class']} {model['name']!r}, {model['layers']} layers{size}"
    for spec in report["inputs"]:
        yield "input", f"{spec['name']} {_input_shape(spec['shape'])} {spec['dtype']}"
    yield from (("output", key) for key in report["outputs"])
    yield from (("note", text) for text in report["notes"])


def _input_shape(shape: Sequence[int | None] | None) -> str:
    return _shape(shape).replace("(any", "(samples", 1)


def _shape(shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return "of any shape"
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


_LAYER = (
    Column("layer"),
    Column("class"),
    Column("output shape", 2),
    Column("parameters", 1),
    Column("reads", 3),
    Column("", 4),
)


def _show_layers(page: Page, report: Mapping[str, Any], *, everything: bool) -> None:
    layers = report["layers"]
    shown = layers if everything else layers[:LAYERS_SHOWN]
    page.table(_LAYER, [_layer_row(layer) for layer in shown])
    if len(shown) < len(layers):
        page.line(f"... and {len(layers) - len(shown)} more; -v lists all")


def _layer_row(layer: Mapping[str, Any]) -> Sequence[object]:
    return (
        layer["path"],
        layer["class"],
        "; ".join(map(_input_shape, filter(None, layer["output_shapes"]))),
        "" if layer["parameters"] is None else f"{layer['parameters']:,}",
        ", ".join(layer["inbound"]),
        _remark(layer),
    )


def _remark(layer: Mapping[str, Any]) -> str:
    if layer["instead_of"] is not None:
        return f"stated; {layer['instead_of']} in the file"
    return "" if layer["known"] else "not a layer that gateprobe knows"


_CELL = {
    "path": Column("recurrent layer"),
    "class": Column("cell", 2),
    "direction": Column("direction", 1),
    "features": Column("features", 3),
    "units": Column("units", 1),
    "filters": Column("filters", 1),
    "kernel_size": Column("kernel size", 3),
    "recurrent_activation": Column("gates", 4),
    "activation": Column("activation", 5),
    "trace": Column("trace"),
}
_OF_IMAGES = ("filters", "kernel_size")


def _show_recurrent(page: Page, calls: Sequence[Mapping[str, Any]]) -> None:
    if not calls:
        page.line("no recurrent layer")
        return
    rows = [row for call in calls for row in _rows(call)]
    unused = {key for key in _OF_IMAGES if not any(row.get(key) for row in rows)}
    unused |= {"units"} if not unused and not any(row.get("units") for row in rows) else set()
    shown = [key for key in _CELL if key not in unused]
    page.table([_CELL[key] for key in shown], [[row.get(key, "") for key in shown] for row in rows])


def _rows(call: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
    own = {"path": call["path"], "trace": "yes" if call["replayable"] else "no"}
    if not call["cells"]:
        yield {"class": call["class"], **own}
    for cell in call["cells"]:
        found = {key: value for key, value in cell.items() if value is not None}
        if cell["class"].startswith("SimpleRNN"):
            del found["recurrent_activation"]
        if cell["kernel_size"] is not None:
            found |= {"units": "", "kernel_size": "×".join(map(str, cell["kernel_size"]))}
        yield {**found, **own}


_GROUP = (
    Column("recurrent weights"),
    Column("class"),
    Column("directions", 1),
    Column("features", 2),
    Column("units", 1),
    Column("bias", 3),
    Column("arrays", 4),
)


def _show_groups(page: Page, groups: Sequence[Mapping[str, Any]]) -> None:
    if not groups:
        page.line("the weights prove no recurrent layer")
        return
    page.table(_GROUP, [_group_row(group) for group in groups])


def _group_row(group: Mapping[str, Any]) -> Sequence[object]:
    return (
        group["name"],
        "CuDNN" * group["cudnn"] + group["class"],
        group["directions"],
        group["features"],
        group["units"],
        "yes" if group["use_bias"] else "no",
        ", ".join(_shape(shape) for shape in group["arrays"].values()),
    )


def _show_verdicts(page: Page, report: Mapping[str, Any]) -> None:
    reasons = {
        (reason["layer"], reason["class"], reason["reason"]): None
        for verdict in (*report["recurrent"], report["predict"])
        for reason in verdict["reasons"]
    }
    if report["model"] is not None:
        outputs = "can" if report["predict"]["replayable"] else "cannot"
        page.sentence(f"{_traced(report['recurrent'])}; the outputs {outputs} be replayed")
    for layer, class_name, reason in reasons:
        page.sentence(f"{layer} ({class_name}): {reason}", indent="  ")
    if report["way"]:
        page.sentence(report["way"])


def _traced(calls: Sequence[Mapping[str, Any]]) -> str:
    """Say how many calls of recurrent layers can be traced; a Bidirectional is one call with two directions."""
    rows = sum(max(len(call["cells"]), 1) for call in calls)
    traced = sum(call["replayable"] for call in calls)
    of = f"{len(calls)} recurrent layer{'s' * (len(calls) != 1)}"
    return f"{traced} of {of}{f' ({rows} cells)' if rows != len(calls) else ''} can be traced"
