"""The progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from gateprobe.cli.options import Talk

Tell = Callable[[int, int, str], None]
"""Is told what is done, what there is to do, and what is counted."""

_DONE_KEY = "gateprobe.done"
_PATIENCE = 0.7  # seconds before a bar appears: short runs need none


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; the process that started this one may have closed it."""
    return stream is not None and stream.isatty()


def remembered(tell: Tell | None) -> Tell:
    """Return what tells the same, and remembers it for `samples_done`."""
    meta = click.get_current_context().meta

    def remember(done: int, total: int, unit: str) -> None:
        meta[_DONE_KEY] = (done, total)
        if tell is not None:
            tell(done, total, unit)

    return remember


def samples_done() -> str:
    """Return how far a folder is, as far as that is known."""
    done, total = click.get_current_context().meta.get(_DONE_KEY, (0, 0))
    return f"{done:,} of {total:,} samples" if done else "its finished parts"


@contextmanager
def progress_bar(talk: Talk, *, data_on_stdout: bool = False) -> Iterator[Tell | None]:
    """Show progress on stderr, if that is a terminal that shows nothing else.

    Args:
        talk: Quiet or not.
        data_on_stdout: Whether the results go to standard output.
    """
    crowded = data_on_stdout and is_terminal(sys.stdout)
    if talk.quiet or crowded or not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("samples", total=None, rate="")
    begun = time.monotonic()

    def tell(done: int, total: int, unit: str) -> None:
        elapsed = time.monotonic() - begun
        if elapsed > _PATIENCE and not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total, rate=f"{done / elapsed:,.0f} {unit}/s")

    try:
        yield tell
    finally:
        bar.stop()
