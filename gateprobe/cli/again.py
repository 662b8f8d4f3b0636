"""The user's own command line once more, with what makes it work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import click

from gateprobe.cli.options import READING, parameters_of
from gateprobe.errors import Way

ARGUMENTS = "gateprobe.arguments"
"""Where the context of click keeps the words of the command line."""
_TEXT = "--text"


def again(ctx: click.Context, command: click.Command | None, way: Way) -> Way:
    """Put the user's own command and files into what is advised.

    A command that takes no ``--feed`` or ``--layer`` is replaced by ``dump`` of its model.

    Args:
        ctx: Of the program.
        command: The one that ran.
        way: What is advised; its own command stands where the user's cannot.
    """
    words: Sequence[str] = ctx.meta.get(ARGUMENTS, ())
    if command is None or not words:
        return way
    taken = {name for parameter in command.params for name in parameter.opts}
    if way.traces or not taken.issuperset(["--feed"] * bool(way.feeds) + ["--layer"] * bool(way.layers)):
        read = {name for parameter in parameters_of(*READING) for name in parameter.opts}
        return replace(way, command=("gateprobe", "dump", *_kept(words[1:], command, taken - read, inputs=False)))
    dropped = {name for name, gone in ((_TEXT, not way.inputs), ("--layer", way.layers)) if gone}
    return replace(way, command=("gateprobe", words[0], *_kept(words[1:], command, dropped, inputs=way.inputs)))


def _kept(words: Sequence[str], command: click.Command, dropped: set[str], *, inputs: bool) -> Iterator[str]:
    """Yield words without some options and, if so, without all arguments but the first."""
    valued = {
        name
        for one in command.params
        if isinstance(one, click.Option) and not (one.is_flag or one.count)
        for name in one.opts
    }
    rest = iter(words)
    first = True
    for word in rest:
        name, equals, _ = word.partition("=")
        if word.startswith("-") and word != "-":
            value = [next(rest, "")] if name in valued and not equals else []
            if name not in dropped:
                yield from (word, *value)
        elif first or inputs:
            first = False
            yield word
