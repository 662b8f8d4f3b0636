"""What the commands that compare have in common: tolerances, and reports beside what is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import bundle

if TYPE_CHECKING:
    from gateprobe.analysis.agreement import Tolerance


def _tolerance(atol: tuple[str, ...], rtol: tuple[str, ...]) -> Tolerance:
    """Return what ``--atol`` and ``--rtol`` ask for."""
    from gateprobe.analysis.agreement import Tolerance

    absolute, relative = _numbers("--atol", atol), _numbers("--rtol", rtol)
    names = (absolute.keys() | relative.keys()) - {""}
    signals = {name: (absolute.get(name), relative.get(name)) for name in sorted(names)}
    return Tolerance(absolute.get(""), relative.get(""), signals)


def _numbers(option: str, texts: Iterable[str]) -> dict[str, float]:
    """Return signal → number; the empty name stands for all signals."""
    from gateprobe.analysis.agreement import OUTPUT
    from gateprobe.errors import choices
    from gateprobe.traces.words import OTHERS, SIGNAL_ORDER, in_full

    found = {}
    for text in texts:
        name, _, number = text.rpartition(":")
        name = in_full(name)
        if name and name not in (*SIGNAL_ORDER, OUTPUT):
            raise click.UsageError(
                f"{option} {text}: no signal {name!r}; {choices((*SIGNAL_ORDER, OUTPUT), name, OTHERS)}"
            )
        try:
            found[name] = float(number)
        except ValueError:
            raise click.UsageError(f"{option} {text}: expected a number such as 1e-6") from None
        if not found[name] >= 0:
            raise click.UsageError(f"{option} {text}: expected a number that is not negative")
    return found


def tolerating(whose: str) -> Callable[[Any], Any]:
    """Add --atol and --rtol; the command takes ``tolerance``.

    Args:
        whose: Numbers a relative tolerance is of.
    """
    return bundle(
        "tolerance",
        _tolerance,
        click.option(
            "--atol",
            multiple=True,
            metavar="[SIGNAL:]X",
            help="Allow numbers to differ by X, instead of by what rounding explains.",
        ),
        click.option(
            "--rtol",
            multiple=True,
            metavar="[SIGNAL:]X",
            help=f"Allow numbers to differ by X times the size of {whose}'s number.",
        ),
    )


junit = click.option("--junit", metavar="FILE", help="Write a JUnit XML report to this file.")


@contextmanager
def faults_in(report: str | None, command: str, subject: str, *, force: bool) -> Iterator[None]:
    """Let what prevents a comparison stand in the JUnit report, too.

    Args:
        report: The file of the report, if there is to be one.
        command: Its name.
        subject: The file that is judged.
        force: Whether the report may replace a file.
    """
    from gateprobe.analysis.junit import error
    from gateprobe.errors import GateprobeError
    from gateprobe.writers.target import write_files

    try:
        yield
    except GateprobeError as fault:
        if report is not None:
            write_files({report: error(command, subject, fault.flagged)}, force=force)
        raise
