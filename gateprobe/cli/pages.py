"""What people read: summaries as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateprobe.cli.progress import is_terminal
from gateprobe.errors import printable

LAYERS_SHOWN = 40
"""Layers listed without ``-v``."""

_WIDTH = 160  # of text that is not for a terminal


class _Console(Console):
    """A console that leaves a closed pipe to the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Return where to print: plain text without colours unless it is a terminal."""
    width = None if is_terminal(sys.stdout) else _WIDTH
    return _Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table whose cells are safe to print."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        made.add_column(title, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def show_summary(report: Mapping[str, Any], *, all_layers: bool) -> None:
    """Print what ``inspect`` found.

    Args:
        report: From `gateprobe.cli.summary.summarise`.
        all_layers: Whether to list every layer.
    """
    out = console()
    facts = table(["", ""], _facts(report))
    facts.show_header = False
    out.print(facts)
    if report["model"] is not None:
        _show_layers(out, report["layers"], all_layers=all_layers)
        _show_recurrent(out, report["recurrent"])
    else:
        _show_groups(out, report["groups"])
    _show_verdicts(out, report)


def _facts(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    version = f", Keras {report['keras_version']}" if report["keras_version"] else ""
    backend = f", {report['backend']}" if report["backend"] else ""
    yield "file", report["file"]
    yield "container", report["container"]
    yield "era", f"{report['era']}{version}{backend}"
    yield from (("evidence", text) for text in report["evidence"])
    yield "semantics", report["semantics"]
    if report["model"] is not None:
        model = report["model"]
        yield "model", f"{model['class']} {model['name']!r}, {model['layers']} layers"
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


def _show_layers(out: Console, layers: Sequence[Mapping[str, Any]], *, all_layers: bool) -> None:
    shown = layers if all_layers else layers[:LAYERS_SHOWN]
    out.print()
    rows = [(layer["path"], layer["class"], "" if layer["known"] else "not a layer that gateprobe knows")
            for layer in shown]  # fmt: skip
    out.print(table(["layer", "class", ""], rows))
    if len(shown) < len(layers):
        out.print(f"... and {len(layers) - len(shown)} more; -v lists all")


def _show_recurrent(out: Console, calls: Sequence[Mapping[str, Any]]) -> None:
    out.print()
    if not calls:
        out.print("no recurrent layer")
        return
    titles = ["recurrent layer", "cell", "direction", "features", "units", "gates", "activation", "trace"]
    out.print(table(titles, [row for call in calls for row in _rows(call)]))


def _rows(call: Mapping[str, Any]) -> Iterable[Sequence[object]]:
    verdict = "yes" if call["replayable"] else "no"
    if not call["cells"]:
        yield call["path"], call["class"], "", "", "", "", "", verdict
    for cell in call["cells"]:
        gates = "" if cell["class"].startswith("SimpleRNN") else cell["recurrent_activation"]
        sizes = ("" if cell[key] is None else cell[key] for key in ("features", "units"))
        yield call["path"], cell["class"], cell["direction"], *sizes, gates, cell["activation"], verdict


def _show_groups(out: Console, groups: Sequence[Mapping[str, Any]]) -> None:
    out.print()
    if not groups:
        out.print("the weights prove no recurrent layer")
        return
    titles = ["recurrent weights", "class", "directions", "features", "units", "bias", "arrays"]
    out.print(
        table(
            titles,
            [
                (
                    group["name"],
                    "CuDNN" * group["cudnn"] + group["class"],
                    group["directions"],
                    group["features"],
                    group["units"],
                    "yes" if group["use_bias"] else "no",
                    ", ".join(_shape(shape) for shape in group["arrays"].values()),
                )
                for group in groups
            ],
        )
    )


def _show_verdicts(out: Console, report: Mapping[str, Any]) -> None:
    out.print()
    reasons = {
        (reason["layer"], reason["class"], reason["reason"]): None
        for verdict in (*report["recurrent"], report["predict"])
        for reason in verdict["reasons"]
    }
    traced = sum(call["replayable"] for call in report["recurrent"])
    outputs = "can" if report["predict"]["replayable"] else "cannot"
    if report["model"] is not None:
        out.print(
            f"{traced} of {len(report['recurrent'])} recurrent calls can be traced; the outputs {outputs} be replayed"
        )
    for layer, class_name, reason in reasons:
        out.print(Text(printable(f"  {layer} ({class_name}): {reason}")), soft_wrap=True)
