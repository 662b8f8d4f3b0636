"""``gateprobe plot``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import Talk, command, selecting, talking
from gateprobe.cli.picture_files import Drawing, drawing
from gateprobe.cli.progress import progress_bar
from gateprobe.cli.source import Source, observing, say_notes

if TYPE_CHECKING:
    from gateprobe.observed import Observed
    from gateprobe.pictures.kinds import Kind
    from gateprobe.traces.selection import Selection


@command(
    "gateprobe plot model.keras x.npy",
    "gateprobe plot model.keras x.npy --layer lstm --unit 3 --kind unit --tokens words.txt -o unit.svg",
    "gateprobe plot trace.npz --layer lstm --signal c -o cell_state.png -o cell_state.html",
    "gateprobe plot model.keras x.npy --kind saturation",
    "gateprobe plot model.keras x.npy --kind text --vocab vocabulary.json --unit 7 --sample 3",
)
@observing
@selecting
@click.option(
    "--kind",
    default="heatmap",
    metavar="KIND",
    help="Draw a heatmap of units over time; the signals of one unit; text coloured by a cell state; the ledger of who "
    "wrote a cell state; a histogram of gates; or the saturation of units.",
)
@drawing
@talking
def plot(source: Source, selection: Selection, kind: str, drawing: Drawing, talk: Talk) -> None:
    """Draw gates and states, in the terminal or to .png, .svg, .pdf and .html.

    A heatmap, unit, text or ledger shows one sample, the first unless --sample chooses; a histogram and the saturation
    show all samples. Colours run from 0 to 1 for gates, and as far below zero as above for states. Masked timesteps are
    grey and hatched.
    """
    from gateprobe.pictures.kinds import kind_of, picture_of

    with drawing.targets() as targets:
        wanted = kind_of(kind)
        observed = _observed(source, wanted, selection, talk)
        with progress_bar(talk, data_on_stdout=drawing.to_stdout) as tell:
            picture = picture_of(observed, wanted, selection, tell)
        if drawing.output:
            targets.write(picture)
        else:
            from gateprobe.cli.drawing import draw
            from gateprobe.cli.layout import Page

            draw(Page(), picture)
    say_notes(observed, talk)


def _observed(source: Source, kind: Kind, selection: Selection, talk: Talk) -> Observed:
    """Open what is drawn; of a model, only what the picture shows is run."""
    from gateprobe.pictures.kinds import shows_one_sample, to_trace
    from gateprobe.traces.selection import Ranges

    traced = to_trace(kind, selection)
    if traced.samples is None and shows_one_sample(kind) and not source.is_trace:
        traced = replace(traced, samples=Ranges("0"))
    return source.open(traced, talk)
