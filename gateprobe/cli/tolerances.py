"""What the commands that compare have in common: tolerances, and reports beside what is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
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


def publish(contents: Mapping[str, bytes], *, force: bool) -> None:
    """Write files: all of them, or none."""
    from gateprobe.writers.target import open_target

    with ExitStack() as stack:
        targets = [stack.enter_context(open_target(name, force=force)) for name in contents]
        for target, data in zip(targets, contents.values(), strict=True):
            target.write(data)
        for target in targets:
            target.publish()
