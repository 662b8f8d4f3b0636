"""``gateprobe golden``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import (
    ModelFile,
    Report,
    Run,
    Talk,
    bundle,
    command,
    force,
    gate_order,
    only_direction,
    print_json,
    reading,
    reporting,
    running,
    selection_of,
    talking,
    transpose,
)
from gateprobe.errors import InputError

if TYPE_CHECKING:
    from gateprobe.golden.formats import Study
    from gateprobe.inputs.samples import Samples
    from gateprobe.opened_model import OpenedModel
    from gateprobe.traces.selection import Selection

JSON_FORMAT = 1
"""Version of the JSON's layout."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where golden vectors go, and how they are arranged."""

    output: str | None
    order: str | None
    transpose: bool
    c: bool
    study: bool
    keep: float | None
    force: bool

    def writes(self) -> Iterator[str]:
        """Yield the files that are written."""
        from gateprobe.golden.run import FILES

        if self.output is not None:
            yield from (os.path.join(self.output, name) for name in FILES)  # noqa: PTH118 - as the user wrote it

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return "nothing was written; run the command again"

    def check(self, report: Report) -> None:
        """Refuse what does not go together, before anything is read.

        Raises:
            InputError: Nothing is asked for, or an option has nothing to act on.
        """
        if self.output is None and not self.study:
            raise InputError("nothing is asked for", remedy="use -o DIR for vectors, or --study for number formats")
        if self.output is None and (self.order, self.transpose, self.c) != (None, False, True):
            raise InputError("--order, --transpose and --no-c arrange files", remedy="name a folder with -o")
        if self.keep is not None and not self.study:
            raise InputError("--keep goes with --study")
        if report.as_json and not self.study:
            raise InputError("--json prints what --study finds", remedy="give --study, too, or leave out --json")


_folder = bundle(
    "folder",
    Folder,
    click.option("-o", "--output", metavar="DIR", help="Write the vectors into this folder."),
    gate_order("Keep the gates in this order"),
    transpose,
    click.option("--c/--no-c", default=True, help="Write the C sources, or JSON and NPZ alone."),
    click.option("--study", is_flag=True, help="Print what number formats cost: float16, bfloat16 and Qm.n."),
    click.option(
        "--keep", type=float, metavar="X", help="Find the smallest Qm.n that keeps the outputs within X, with --study."
    ),
    force,
)
_choosing = bundle(
    "selection",
    selection_of,
    click.option("--layer", multiple=True, metavar="GLOBS", help="Take these layers alone, such as 'lstm*'."),
    only_direction("Take this direction alone"),
    click.option("--sample", default="0", metavar="RANGES", help="Take these samples, instead of the first one."),
)


@command(
    "gateprobe golden model.keras x.npy -o golden/",
    "gateprobe golden model.h5 x.npy -o golden/ --layer lstm_1 --order iofg --transpose",
    "gateprobe golden model.h5 x.npy --study --keep 0.01",
)
@reading
@running
@_choosing
@_folder
@reporting
@talking
def golden(file: ModelFile, run: Run, selection: Selection, folder: Folder, report: Report, talk: Talk) -> None:
    """Write golden vectors for a port, with a C checker.

    The folder gets C99 sources with the weights of each gate, inputs, every intermediate and tolerances, a reference
    step, and a checker that exits with 1 and names the first wrong value; and the same as JSON and NPZ. Build it with:
    cc -std=c99 *.c -lm -o golden_check. Then put your own step in the place of golden_step.c.
    """
    folder.check(report)
    model = file.read()
    samples = run.load(model, file)
    talk.details(model, samples)
    if folder.output is not None:
        _write(model, samples, run, selection, folder, talk)
    if folder.study:
        _study(model, samples, folder, report)
    talk.notes(model, samples)


def _write(model: OpenedModel, samples: Samples, run: Run, selection: Selection, folder: Folder, talk: Talk) -> None:
    from gateprobe.golden.run import golden as made
    from gateprobe.golden.run import write

    assert selection.samples is not None, "there is a default"
    found = made(
        model,
        samples,
        selection=selection,
        samples=selection.samples.pick(samples.count, "sample").tolist(),
        order=folder.order,
        transpose=folder.transpose,
        dtype=run.dtype,
    )
    assert folder.output is not None
    write(found, folder.output, c=folder.c, overwrite=folder.force)
    numbers = sum(value.size for one in found.vectors for value in one.signals.values())
    talk.detail(f"{folder.output}: {len(found.blocks)} layers and directions, {numbers:,} values")


def _study(model: OpenedModel, samples: Samples, folder: Folder, report: Report) -> None:
    from dataclasses import asdict

    import numpy as np

    from gateprobe.golden.formats import study

    arrays = zip(samples.names, samples.arrays, strict=True)
    x = {name: np.asarray(array[: samples.count]) for name, array in arrays if array is not None}
    found = study(model, x, keep=folder.keep)
    if report.as_json:
        print_json({"format": JSON_FORMAT, **asdict(found)})
    else:
        _show(found)


def _show(found: Study) -> None:
    from gateprobe.cli.layout import Column, Page

    page = Page()
    page.line("Ranges")
    ranges = [(one.place, one.signal, f"{one.low:.4g}", f"{one.high:.4g}") for one in found.ranges]
    page.table([Column("where"), Column("signal"), Column("lowest"), Column("highest")], ranges)
    page.line()
    page.line("Largest error in each number format")
    formats = list(dict.fromkeys(cost.format for cost in found.costs))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cost in found.costs:
        rows.setdefault((cost.place, cost.signal), {})[cost.format] = f"{cost.worst:.1e}"
    columns = [Column("where"), Column("signal"), *(Column(name, rank) for rank, name in enumerate(formats))]
    page.table(columns, [(*key, *(row[name] for name in formats)) for key, row in rows.items()])
    if found.keep is not None:
        page.line()
        answer = found.smallest or "no format of up to 32 bits"
        page.sentence(f"Smallest format that keeps the outputs within {found.keep:g}: {answer}")
