"""``gateprobe report``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import Talk, bundle, command, force, selecting, talking
from gateprobe.cli.progress import progress_bar
from gateprobe.cli.source import Source, observing, say_notes
from gateprobe.files.places import STREAM

if TYPE_CHECKING:
    from gateprobe.traces.selection import Selection


@dataclass(frozen=True, slots=True)
class Paging:
    """Where the page goes, and what stands in it beside the trace."""

    output: str
    verification: str | None
    max_values: int | None
    force: bool

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        yield from filter(None, (self.verification,))

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written."""
        return (self.output,)

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        from gateprobe.cli.outputs import left_of

        return left_of(self.writes())


paging = bundle(
    "paging",
    Paging,
    click.option("-o", "--output", metavar="FILE", required=True, help="Write this .html file; - is stdout."),
    click.option(
        "--verification",
        metavar="JSON",
        help="Show what this file says, the output of 'gateprobe verify --json' on the same model.",
    ),
    click.option(
        "--max-values",
        type=click.IntRange(1),
        metavar="N",
        help="Put up to N values into the page, instead of 200,000: the first samples; of a sample that is too large, "
        "the first timesteps, then the units that vary most.",
    ),
    force,
)


@command(
    "gateprobe report model.keras x.npy -o report.html",
    "gateprobe report trace.npz --tokens words.txt -o report.html",
    "gateprobe report model.h5 ids.npy --vocab vocab.json --verification verdict.json -o report.html",
)
@observing
@selecting
@paging
@talking
def report(source: Source, selection: Selection, paging: Paging, talk: Talk) -> None:
    """Write an interactive page: one file that asks nothing of the network.

    Heat map, signals and ledger of a unit, text, contexts, a search for units, saturation, and where all of it comes
    from.
    """
    from gateprobe.inputs.verdicts import read_verdict
    from gateprobe.pictures.report.excerpt import MOST_VALUES
    from gateprobe.pictures.report.page import page_of
    from gateprobe.writers.pages import write_page

    verdict = None if paging.verification is None else read_verdict(paging.verification)
    observed = source.open(selection, talk)
    most = MOST_VALUES if paging.max_values is None else paging.max_values
    with progress_bar(talk, data_on_stdout=paging.output == STREAM) as tell:
        write_page(
            paging.output,
            lambda: page_of(observed, verdict=verdict, max_values=most, progress=tell),
            force=paging.force,
        )
    say_notes(observed, talk)
