"""A line on stderr that says what is being done, for work whose length is not known beforehand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateprobe.cli.options import Talk
from gateprobe.cli.progress import is_terminal
from gateprobe.errors import printable


@contextmanager
def step_line(talk: Talk) -> Iterator[Callable[[str], None]]:
    """Show the current step: with ``-v`` a line for each, else a status on a terminal, else nothing."""
    if talk.verbose:
        yield talk.detail
        return
    if talk.quiet or not is_terminal(sys.stderr):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(Text(printable(text)))
