"""``gateprobe track``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.layout import Column, Page
from gateprobe.cli.options import Talk, bundle, command, print_json, selecting, talking
from gateprobe.cli.outputs import Tabulating, tabulating
from gateprobe.cli.progress import progress_bar
from gateprobe.cli.source import Source, observing, say_notes
from gateprobe.errors import InputError

if TYPE_CHECKING:
    from gateprobe.analysis.targets import Target
    from gateprobe.analysis.tracking import Tracking
    from gateprobe.observed import Observed
    from gateprobe.traces.selection import Selection

JSON_FORMAT = 1
"""Version of the JSON's layout."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What units are to follow."""

    signal_file: str | None
    match: str | None
    position: bool

    def __post_init__(self) -> None:
        given = [self.signal_file is not None, self.match is not None, self.position]
        if sum(given) != 1:
            raise click.UsageError("say what to follow, by one of --with FILE, --match REGEX and --position")

    def reads(self) -> Iterator[str]:
        """Yield the file that is read."""
        from gateprobe.inputs.files import file_of

        if self.signal_file is not None:
            yield file_of(self.signal_file)

    def target(self, observed: Observed, max_bytes: int | None) -> Target:
        """Return it.

        Raises:
            InputError: It does not fit what is looked at.
        """
        from gateprobe.analysis.targets import Given, Matches, Position

        if self.position:
            return Position()
        if self.match is not None:
            if not observed.labelled:
                raise InputError("--match needs tokens", remedy="give --tokens=FILE, or --vocab=FILE")
            return Matches(self.match, observed.labels)
        return Given.read(self.signal_file or "", observed.numbers, _total(observed), max_bytes)


def _total(observed: Observed) -> int | None:
    return None if observed.samples is None else observed.samples.count


following = bundle(
    "followed",
    Followed,
    click.option(
        "--with",
        "signal_file",
        metavar="FILE",
        help="Follow the signal in this .npy, .npz or .csv file: (samples, timesteps), a number for each timestep; NaN "
        "is no value.",
    ),
    click.option(
        "--match",
        metavar="REGEX",
        help="Follow the tokens in which this regular expression is found: what the model or the trace knows, or "
        "--tokens.",
    ),
    click.option("--position", is_flag=True, help="Follow the number of the timestep."),
)
"""Adds what to follow; the command takes ``followed``."""


@command(
    "gateprobe track model.keras x.npy --with depth.npy",
    "gateprobe track model.keras x.npy --tokens tokens.txt --match '^[0-9]+$'",
    "gateprobe track trace.npz --with depth.csv --signal i,f --json",
    "gateprobe track model.h5 x.npy --position --layer lstm_1 -o units.csv",
)
@observing
@selecting
@following
@click.option(
    "--lags", type=click.IntRange(0), default=5, metavar="N", help="Try lags of up to N timesteps either way, not 5."
)
@click.option("--top", type=click.IntRange(1), default=20, metavar="N", help="List the N strongest, not 20.")
@tabulating
@talking
def track(
    source: Source,
    selection: Selection,
    followed: Followed,
    lags: int,
    top: int,
    tabulating: Tabulating,
    talk: Talk,
) -> None:
    """Find the units that follow a signal you give.

    The units' cell_state and hidden_state are compared with the signal, or what --signal says. A lag of 2 means that a
    unit is strongest two timesteps after the signal, one of -2 that it is ahead of it. For a signal of 0 and 1, the ROC
    area is the probability that a unit's value at a timestep with 1 is above that at one with 0. Masked timesteps are
    left out.
    """
    from gateprobe.analysis.tracking import DEFAULT_SIGNALS
    from gateprobe.analysis.tracking import track as follow
    from gateprobe.writers import write_table

    outputs = tabulating.outputs()
    wanted = selection if selection.signals else replace(selection, signals=DEFAULT_SIGNALS)
    observed = source.open(wanted, talk)
    target = followed.target(observed, source.file.max_bytes)
    with progress_bar(talk, data_on_stdout=not tabulating.reports) as tell:
        found = follow(observed.chunks(tell), target, lags=lags)
    if outputs:
        write_table(found.to_polars(), outputs, {"tracking": _described(found), **observed.metadata})
    if tabulating.as_json:
        print_json(as_json(found))
    elif tabulating.reports:
        show(found, top)
    say_notes(observed, talk)


def _described(found: Tracking) -> dict[str, Any]:
    return {"signal": found.signal, "yes_or_no": found.yes_or_no, "lags": found.lags, "samples": found.samples}


def as_json(found: Tracking) -> dict[str, Any]:
    """Return what was found as a value for JSON."""
    from dataclasses import asdict

    units = [{name: _plain(value) for name, value in asdict(one).items()} for one in found.followers]
    return {"format": JSON_FORMAT, **_described(found), "units": units}


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def show(found: Tracking, top: int) -> None:
    """Print the units that follow a signal best, for people."""
    page = Page()
    page.sentence(f"{found.signal}: units that follow it, in {found.samples:,} samples")
    page.line()
    columns = [
        Column("layer"),
        Column("direction"),
        Column("unit"),
        Column("signal"),
        Column("correlation", 1),
        Column("strongest"),
        Column("at lag"),
        Column("ROC area", 1),
        Column("timesteps", 2),
    ]
    rows = [
        [
            one.layer,
            one.direction,
            one.unit,
            one.signal,
            _number(one.correlation),
            _number(one.best),
            one.lag,
            _number(one.roc_area),
            f"{one.count:,}",
        ]
        for one in found.followers[:top]
    ]
    page.table(columns, rows)
    left = len(found.followers) - len(rows)
    if left:
        page.sentence(f"(and {left:,} weaker ones; --top shows more)", "dim")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
