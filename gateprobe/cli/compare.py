"""``gateprobe compare``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import (
    ASSUMING,
    READING,
    RUNNING,
    Assumed,
    ModelFile,
    Report,
    Run,
    Talk,
    bundle,
    command,
    force,
    only_direction,
    print_json,
    reporting,
    selection_of,
    taken,
    talking,
)
from gateprobe.cli.tolerances import faults_in, junit, tolerating

if TYPE_CHECKING:
    from gateprobe.analysis.agreement import Tolerance
    from gateprobe.analysis.comparison import Comparison
    from gateprobe.inputs.samples import Samples
    from gateprobe.opened_model import OpenedModel
    from gateprobe.traces.foreign import Foreign
    from gateprobe.traces.selection import Selection

_ORDER = "give the model first, then its inputs, then the other program's numbers"
_RUNNING = RUNNING[:5]
"""What is given and --dtype: everything runs in one process."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared."""

    file: ModelFile
    run: Run
    assumed: Assumed
    theirs: str
    mapping: tuple[str, ...]
    last: bool

    @property
    def is_trace(self) -> bool:
        """Whether the first one is a trace as well, and no model."""
        from gateprobe.trace_files.foreign import is_foreign

        return is_foreign(self.file.model)

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        if self.is_trace:
            yield self.file.model
        else:
            yield from self.file.reads()
            yield from self.run.reads()
        yield self.theirs


@dataclass(frozen=True, slots=True)
class Files:
    """What is written beside the report."""

    junit: str | None
    force: bool

    def writes(self) -> list[str]:
        """Return the files that are written."""
        return [] if self.junit is None else [self.junit]


def _sides(ours: str, others: tuple[str, ...], mapping: tuple[str, ...], last: bool, **values: Any) -> Sides:
    *inputs, theirs = others

    file, assumed = ModelFile(ours, **taken(values, READING)), Assumed(**taken(values, ASSUMING))
    run = Run(tuple(inputs), batch_size=None, threads=None, **taken(values, _RUNNING))
    return Sides(file, run, assumed, theirs, mapping, last)


comparing = bundle(
    "sides",
    _sides,
    click.argument("ours", metavar="OURS"),
    click.argument("others", metavar="[INPUT...] THEIRS", nargs=-1, required=True),
    click.option(
        "--map",
        "mapping",
        multiple=True,
        metavar="THEIRS=OURS",
        help="Take a name in THEIRS for a signal of ours, such as gate1=forget_gate, or for a layer. May be repeated.",
    ),
    click.option("--last", is_flag=True, help="An array of two axes is the last timestep of each sample."),
    *READING,
    *_RUNNING,
    *ASSUMING,
)
choosing = bundle(
    "selection",
    selection_of,
    click.option(
        "--layer",
        multiple=True,
        metavar="GLOBS",
        help="Compare these layers; the one that THEIRS is of, if it does not say. May be repeated.",
    ),
    only_direction("Compare only one direction of the layers"),
)
writing = bundle("files", Files, junit, force)


@command(
    "gateprobe compare model.keras x.npy firmware.csv",
    "gateprobe compare model.h5 x.npy mine.npz --layer lstm_1 --map gate1=forget_gate",
    "gateprobe compare before.npz after.csv --json",
)
@comparing
@choosing
@tolerating("THEIRS")
@writing
@reporting
@talking
def compare(sides: Sides, selection: Selection, tolerance: Tolerance, files: Files, report: Report, talk: Talk) -> int:
    """Compare a port with its model, or two traces, and name the mistake.

    OURS is a model, which is run on INPUT..., or a trace. THEIRS holds the numbers of another program, whatever signals
    it logs: CSV, TSV, NPZ or NPY, or a trace of gateprobe. With a model, known mistakes are tried, one at a time and in
    pairs: what makes all numbers agree is named. Exit status: 0 agrees, 1 disagrees, 2 could not compare.
    """
    with faults_in(files.junit, "compare", sides.theirs, force=files.force):
        result = _traces(sides, selection, tolerance) if sides.is_trace else _port(sides, selection, tolerance, talk)
    if files.junit is not None:
        from gateprobe.analysis.comparison_report import as_junit
        from gateprobe.writers.target import write_files

        write_files({files.junit: as_junit(result)}, force=files.force)
    for note in result.notes:
        talk.note(note)
    if report.as_json:
        from gateprobe.analysis.comparison_report import as_json

        print_json(as_json(result))
    else:
        from gateprobe.cli.compared import show_comparison

        show_comparison(result, quiet=talk.quiet, verbose=bool(talk.verbose))
    return 0 if result else 1


def _traces(sides: Sides, selection: Selection, tolerance: Tolerance) -> Comparison:
    from gateprobe.analysis.compare_traces import compare_traces
    from gateprobe.analysis.fitting import Asked
    from gateprobe.cli.source import refuse_about_runs
    from gateprobe.cli.swapped import model_among
    from gateprobe.errors import InputError
    from gateprobe.trace_files.foreign import read_foreign
    from gateprobe.trace_files.names import read_mapping

    if sides.run.inputs:
        model = model_among((*sides.run.inputs, sides.theirs))
        if model is not None:
            raise InputError(f"is no model, and {model} is one", file=sides.file.model, remedy=_ORDER)
        inputs = ", ".join(sides.run.inputs)
        raise InputError("is a trace, which takes no inputs", file=sides.file.model, remedy=f"leave out {inputs}")
    refuse_about_runs(sides.file.model)
    mapping = read_mapping(sides.mapping)
    ours, theirs = (
        read_foreign(name, words, sides.file.max_bytes)
        for name, words in ((sides.file.model, {}), (sides.theirs, mapping))
    )
    return compare_traces(ours, theirs, Asked(selection, sides.last), tolerance)


def _port(sides: Sides, selection: Selection, tolerance: Tolerance, talk: Talk) -> Comparison:
    from gateprobe.analysis.compare_port import PortOptions, compare_port
    from gateprobe.analysis.fitting import Asked
    from gateprobe.cli.steps import step_line
    from gateprobe.errors import GateprobeError, InputError

    model = sides.assumed.complete(sides.file.read(), selection)
    try:
        theirs, samples = _loaded(sides, model)
    except GateprobeError:
        if _is_last_input(sides, model):
            reason = "fits the model's input, and stands where the other program's numbers belong"
            raise InputError(reason, file=sides.theirs, remedy=_ORDER) from None
        raise
    talk.details(model, samples)
    options = PortOptions(Asked(selection, sides.last), tolerance, sides.run.dtype)
    with step_line(talk) as tell:
        result = compare_port(model, samples, theirs, options, tell)
    for note in samples.notes:
        talk.note(note)
    return result


def _loaded(sides: Sides, model: OpenedModel) -> tuple[Foreign, Samples]:
    """Return the other program's numbers, and the model's inputs."""
    from gateprobe.trace_files.foreign import read_foreign
    from gateprobe.trace_files.names import read_mapping

    theirs = read_foreign(sides.theirs, read_mapping(sides.mapping), sides.file.max_bytes)
    return theirs, sides.run.load(model, sides.file)


def _is_last_input(sides: Sides, model: OpenedModel) -> bool:
    """Whether the last two files are right in the other order: THEIRS before the last INPUT."""
    from gateprobe.errors import GateprobeError

    if not sides.run.inputs:
        return False
    *first, last = sides.run.inputs
    try:
        _loaded(replace(sides, theirs=last, run=replace(sides.run, inputs=(*first, sides.theirs))), model)
    except GateprobeError:
        return False
    return True
