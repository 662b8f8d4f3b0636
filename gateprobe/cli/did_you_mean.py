"""What was meant by a word on the command line that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from gateprobe.errors import by_word, choices, nearest

_OTHERS = {
    "--signal": "gate gates state states channel quantity",
    "--timestep": "step steps t frame position token",
    "--unit": "neuron cell node index",
    "--sample": "row rows batch example n",
    "--layer": "name module",
    "--output": "file to save dest destination",
    "--write": "output out o save to file dest destination",
    "--match": "regex regexp pattern token-class grep",
    "--with": "follow target signal-file",
    "--format": "latex markdown md json csv png",
    "--force": "overwrite y yes replace clobber",
    "--map": "rename column columns names",
    "--threads": "jobs j cpus",
    "--feed": "input inputs",
    "--architecture": "config json arch",
    "--by": "group groupby group-by per",
    "--verbose": "debug",
}
"""Option → what others call it, for those who try that."""
_CHOICE = re.compile(r"(?P<value>.*) is not (one of )?'", re.DOTALL)

_TOO_SMALL = re.compile(r"(?P<value>-?\d+) is not in the range")


def is_file(word: str) -> bool:
    """Whether a word is the name of a file rather than of a command."""
    return "." in word or "/" in word or Path(word).exists()


def usage_reason(fault: click.UsageError) -> str:
    """Return what is wrong with a command line, in the words of our own messages where click's say less."""
    if isinstance(fault, click.NoSuchOption):
        return _no_option(fault)
    if isinstance(fault, click.BadParameter) and fault.param is not None:
        return _no_choice(fault, fault.param) or _out_of_range(fault, fault.param) or fault.format_message()
    return fault.format_message()


def _no_option(fault: click.NoSuchOption) -> str:
    command = fault.ctx.command if fault.ctx is not None else None
    there = list(_options(command)) if command is not None else []
    name = fault.option_name
    plain = {option.lstrip("-"): option for option in there}
    meant = by_word({option.lstrip("-"): words for option, words in _OTHERS.items() if option in there})
    near = nearest(name.lstrip("-"), (word for word in plain if len(word) > 1), meant)
    whose = "gateprobe" if fault.ctx is None else fault.ctx.info_name
    return f"{whose} has no option {name}{f'; did you mean {plain[near]}?' if near else ''}"


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)


def _no_choice(fault: click.BadParameter, param: click.Parameter) -> str | None:
    """Return what to say of a word that is none of an option's; ``None`` for other faults."""
    match = _CHOICE.match(fault.message)
    if not isinstance(param.type, click.Choice) or match is None:
        return None
    given = match["value"].strip("'")
    there = [str(choice) for choice in param.type.choices]
    return f"{max(param.opts, key=len)} {given}: no such choice; {choices(there, given)}"


def _out_of_range(fault: click.BadParameter, param: click.Parameter) -> str | None:
    """Return what to say of a number that is too small; ``None`` for other faults."""
    match = _TOO_SMALL.match(fault.message)
    if not isinstance(param.type, click.IntRange) or match is None:
        return None
    return f"{max(param.opts, key=len)} {match['value']}: expected {param.type.min} or more"
