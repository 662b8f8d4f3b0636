"""``gateprobe explain``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import Labelling, Report, Talk, bundle, command, only_direction, reporting, talking
from gateprobe.cli.source import Source, observing, say_notes
from gateprobe.errors import InputError

if TYPE_CHECKING:
    from gateprobe.analysis.explain import Computed
    from gateprobe.cli.explained import Seen
    from gateprobe.observed import Observed
    from gateprobe.traces.chunk import DirectionTrace


@dataclass(frozen=True, slots=True)
class Which:
    """Which number to look at."""

    layer: str | None
    direction: str | None
    sample: int
    timestep: int | None
    unit: int | None


_which = bundle(
    "which",
    Which,
    click.option("--layer", metavar="LAYER", help="Look at this layer; may be left out where there is only one."),
    only_direction("Look at this direction of it"),
    click.option(
        "--sample",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Look at this sample, instead of the first one.",
    ),
    click.option(
        "--timestep",
        type=int,
        metavar="N",
        help="Look at this timestep, instead of the last one that was computed; negative ones count from the end.",
    ),
    click.option("--unit", type=int, metavar="N", help="Look at this unit; negative ones count from the end."),
)


@command(
    "gateprobe explain model.keras x.npy --unit 0 --timestep 5",
    "gateprobe explain model.keras x.npy --unit 0 --timestep 5 --format latex",
    "gateprobe explain model.keras x.npy --ledger --unit 0",
    "gateprobe explain trace.npz --ledger --layer lstm_1 --direction backward",
)
@observing
@_which
@click.option(
    "--ledger", is_flag=True, help="Show who wrote the state: what each timestep wrote, and what is left of it."
)
@click.option(
    "--top",
    type=click.IntRange(0),
    metavar="N",
    help="Show the N largest products of each sum, or the N largest parts of the state, and the sum of the rest.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "latex"]),
    default="text",
    metavar="FORMAT",
    help="Print text, markdown or latex.",
)
@reporting
@talking
def explain(source: Source, which: Which, ledger: bool, top: int | None, form: str, report: Report, talk: Talk) -> int:
    """Show one timestep of one unit as a worked equation, or who wrote its state.

    For each gate its products with the input and with the hidden state before, the largest first, the bias, their sum
    and its activation; then the new states. They are checked against the replay.

    With --ledger, the cell state as the sum that it is: what each timestep wrote into it, the share that the forget
    gates have kept since, and what is left. Without --unit, of all units. A stored trace is enough.
    """
    from gateprobe.cli import explained

    if report.as_json and form != "text":
        raise InputError("--json and --format both say what to print", remedy="give one of them")
    observed = _open(source, which, talk)
    seen = _ledger(observed, which) if ledger else _equation(observed, which)
    explained.show(seen, top, "json" if report.as_json else form)
    say_notes(observed, talk)
    if seen.doubt:
        talk.note(seen.doubt)
    return int(bool(seen.doubt))


def _open(source: Source, which: Which, talk: Talk) -> Observed:
    """Open the source; only the layer that is meant runs, and tokens are those of the sample."""
    import numpy as np

    from gateprobe.traces.selection import Selection

    layers = () if which.layer is None else (which.layer,)
    bare = replace(source, labels=Labelling(None))
    samples = which.sample if source.is_trace else None
    observed = bare.open(Selection(layers=layers, samples=samples), talk)
    if observed.model is None or observed.samples is None:
        return replace(observed, tokens=source.labels.of_trace(np.array([which.sample])) or observed.tokens)
    chosen = Selection(layers=layers, samples=which.sample)
    return replace(observed, tokens=source.labels.of_run(observed.model, observed.samples, chosen, source.run.vocab))


def _equation(observed: Observed, which: Which) -> Seen:
    from gateprobe.analysis.explain import explain_step
    from gateprobe.cli.explained import Equation

    tracing = observed.needs_run("the weights and the inputs of the layer")
    computed = _computed(observed, which)
    step = explain_step(tracing, computed, which.sample, which.timestep, which.unit)
    return Equation(step, _token(observed, computed.part, which, step.timestep))


def _ledger(observed: Observed, which: Which) -> Seen:
    from gateprobe.analysis.explain import begins_with, chosen_unit, timestep_of
    from gateprobe.analysis.ledger import ledger
    from gateprobe.cli.explained import LedgerTable

    if observed.tracing is None:
        part, begins = _stored(observed, which), "the initial state"
    else:
        computed = _computed(observed, which)
        part, begins = computed.part, begins_with(observed.tracing, computed.part.layer, computed.begins)
    timestep = timestep_of(part, which.timestep)
    found = ledger(part if which.unit is None else chosen_unit(part, which.unit), 0, timestep)
    tokens = {int(t): _token(observed, part, which, int(t)) for t in (*found.written_at, timestep)}
    return LedgerTable(found, part.layer, part.direction, which.sample, begins, tokens)


def _computed(observed: Observed, which: Which) -> Computed:
    from gateprobe.analysis.explain import compute

    return compute(observed.needs_run("the weights"), which.layer, which.direction, which.sample)


def _stored(observed: Observed, which: Which) -> DirectionTrace:
    """Return one direction of the sample in a trace file."""
    from gateprobe.analysis.explain import only_direction
    from gateprobe.traces.chunk import joined

    return only_direction(joined(observed.chunks()).directions, which.layer, which.direction)


def _token(observed: Observed, part: DirectionTrace, which: Which, timestep: int) -> str | None:
    labels = observed.labels(part, 0, which.sample)
    return None if labels is None else labels[part.timesteps.tolist().index(timestep)]
