"""``gateprobe weights``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import (
    Assumed,
    ModelFile,
    Report,
    Talk,
    assuming,
    bundle,
    choosing,
    command,
    force,
    gate_order,
    print_json,
    reading,
    reporting,
    talking,
    transpose,
)
from gateprobe.cli.outputs import refuse_format
from gateprobe.errors import InputError
from gateprobe.files.places import STREAM

if TYPE_CHECKING:
    from gateprobe.analysis.weights import DirectionWeights, LayerWeights, Measure
    from gateprobe.opened_model import OpenedModel
    from gateprobe.traces.selection import Selection

JSON_FORMAT = 1
"""Version of the JSON's layout."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the weights go, and how they are arranged."""

    output: tuple[str, ...]
    format: str | None
    order: str | None
    transpose: bool
    force: bool

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written; the report says that standard output may be."""
        return tuple(name for name in self.output if name != STREAM)

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return "nothing is written; run the command again"

    def check(self, report: Report) -> None:
        """Refuse what does not go together, before anything is read.

        Raises:
            InputError: An option has nothing to act on.
            OutputError: A format is unknown.
        """
        from gateprobe.writers.weights import format_of

        if self.output and report.as_json:
            raise InputError("--json prints the table, -o writes the weights", remedy="give one of them")
        if not self.output and (self.format, self.order, self.transpose) != (None, None, False):
            raise InputError("--format, --order and --transpose arrange files", remedy="name one with -o")
        refuse_format(self.format, self.output)
        for name in self.output:
            format_of(name, self.format)


_files = bundle(
    "files",
    Files,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help="Write the weights to this file, in the format of its suffix: .npz, .h5, .csv or .json; - is stdout. May "
        "be repeated.",
    ),
    click.option(
        "--format",
        type=click.Choice(["npz", "h5", "csv", "json"]),
        metavar="FORMAT",
        help="Write this format, such as npz or json, whatever the suffix.",
    ),
    gate_order("Write the weights of all gates together, too, in this order"),
    transpose,
    force,
)


@command(
    "gateprobe weights model.keras",
    "gateprobe weights model.h5 --layer lstm_1 --signal f",
    "gateprobe weights model.keras -o w.npz --order iofg --transpose",
)
@reading
@choosing
@_files
@assuming
@reporting
@talking
def weights(file: ModelFile, selection: Selection, files: Files, assumed: Assumed, report: Report, talk: Talk) -> None:
    """Split the weights of recurrent layers by gate, in any gate order.

    Whatever the layout in the file, they are those of Keras: kernel (features, units), recurrent_kernel (units, units)
    and bias (units) of each gate. Without -o a table of their norms; orthogonality is the distance of U U^T from the
    identity, 0 for a new recurrent kernel of Keras.
    """
    from gateprobe.analysis.weights import arrays_of, weights_of
    from gateprobe.writers.weights import write_weights

    files.check(report)
    model = file.read().with_layers(selection.layers, assumed.given)
    layers = weights_of(model, selection)
    if files.output:
        arrays = list(arrays_of(layers, files.order, transpose=files.transpose))
        write_weights(arrays, files.output, _described(model, layers, files), form=files.format, force=files.force)
    else:
        _show(model, layers, report)
    for note in model.notes:
        talk.note(note)


def _described(model: OpenedModel, layers: tuple[LayerWeights, ...], files: Files) -> dict[str, Any]:
    """Return where the weights come from, JSON-ready."""
    about = model.metadata()
    return {
        **{key: about[key] for key in ("gateprobe", "model", "era", "keras_version", "evidence", "notes")},
        "order": files.order,
        "transpose": files.transpose,
        "layers": [_about(part) for layer in layers for part in layer.directions],
    }


def _about(part: DirectionWeights) -> dict[str, Any]:
    return {
        "layer": part.layer,
        "direction": part.direction,
        "features": part.features,
        "units": part.units,
        "gates": list(part.gates),
    }


def _show(model: OpenedModel, layers: tuple[LayerWeights, ...], report: Report) -> None:
    from gateprobe.analysis.weights import LayerWeights, measures

    if report.as_json:
        about = [_about(part) for layer in layers for part in layer.directions]
        numbers = [_plain(one) for one in measures(layers)]
        print_json({"format": JSON_FORMAT, "file": model.graph.file, "layers": about, "weights": numbers})
        return
    from gateprobe.cli.layout import Column, Page

    page, columns = Page(), [Column(title, rank) for title, rank in _COLUMNS]
    if page.width is None:
        page.table(columns, [(one.key.path, *_row(one)) for one in measures(layers)])
        return
    parts = [part for layer in layers for part in layer.directions]
    for number, part in enumerate(parts):
        found = list(measures([LayerWeights(part.layer, (part,))]))
        if number:
            page.line()
        page.sentence(_heading(part), "bold")
        page.table(
            columns, [(one.key.path.removeprefix(f"{part.layer}/{part.direction}/"), *_row(one)) for one in found]
        )


_COLUMNS = (("weight", 0), ("shape", 0), ("norm", 0), ("mean", 1), ("min", 2), ("max", 2), ("orthogonality", 3))


def _heading(part: DirectionWeights) -> str:
    features, units = ("channels", "filters") if part.kernel.ndim > 2 else ("features", "units")
    return f"{part.layer}/{part.direction}: {part.features} {features}, {part.units} {units}"


def _row(one: Measure) -> Iterator[str]:
    yield "×".join(map(str, one.shape))
    yield from (f"{value:.4g}" for value in (one.norm, one.mean, one.minimum, one.maximum))
    yield "" if one.orthogonality is None else f"{one.orthogonality:.3g}"


def _plain(one: Measure) -> dict[str, Any]:
    """Return a measure for JSON; what is no number is ``null``."""
    numbers = {name: getattr(one, name) for name in ("norm", "mean", "minimum", "maximum", "orthogonality")}
    finite = {name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()}
    return {**one.key._asdict(), "shape": one.shape, **finite}
