"""What the shell completes: file names, layers of the model on the line, signals.

What a parameter takes is said once, by the metavar that its help shows; `_COMPLETED` says what follows from it. The
scripts for the shells are click's, with a few words changed. Imported only while a shell asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete, add_completion_class

_Items = list[CompletionItem]
_READ_AT_MOST = 64 << 20
"""Size in bytes of a model that is read for its layers while a user waits."""
_HARMLESS = re.compile(r"[\w.][\w./:+-]*", re.ASCII)
"""Names that no shell interprets; a file must not put any others on a command line."""


def _files(ctx: click.Context, incomplete: str) -> _Items:
    return [CompletionItem(incomplete, type="file")]


def _layers(ctx: click.Context, incomplete: str) -> _Items:
    return _listed(incomplete, _layer_names(ctx))


def _feeds(ctx: click.Context, incomplete: str) -> _Items:
    if "=" in incomplete:
        return _files(ctx, incomplete)
    return _starting(incomplete, (f"{name}=" for name in _layer_names(ctx)))


def _signals(ctx: click.Context, incomplete: str) -> _Items:
    from gateprobe.traces.words import SIGNAL_ORDER

    return _listed(incomplete, SIGNAL_ORDER)


def _formats(ctx: click.Context, incomplete: str) -> _Items:
    if ctx.info_name == "plot":
        from gateprobe.cli.picture_files import PICTURES

        return _starting(incomplete, PICTURES)
    from gateprobe.writers.formats import all_formats, trace_formats

    kinds = trace_formats() if ctx.info_name == "dump" else all_formats()
    return [CompletionItem(kind.name, help=kind.title) for kind in kinds if kind.name.startswith(incomplete)]


def _kinds(ctx: click.Context, incomplete: str) -> _Items:
    from gateprobe.pictures.kinds import KINDS

    return _starting(incomplete, KINDS)


def _listed(incomplete: str, names: Iterable[str]) -> _Items:
    """Complete the last name of a list with commas."""
    before, comma, _ = incomplete.rpartition(",")
    return _starting(incomplete, (before + comma + name for name in names))


def _starting(incomplete: str, values: Iterable[str]) -> _Items:
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _layer_names(ctx: click.Context) -> list[str]:
    """Return the recurrent layers of the model on the line, if it can be read quickly and says nothing strange."""
    names: Iterable[str] = ()
    with suppress(Exception):  # a command line that is not finished is no place for complaints
        # what stands before an option without its value is still among the arguments
        path = Path(ctx.params.get("model") or ctx.params.get("source") or ctx.args[0])
        if path.is_file() and path.stat().st_size <= _READ_AT_MOST:
            from gateprobe.opened_model import open_model

            model = open_model(path, architecture=ctx.params.get("architecture"), max_bytes=_READ_AT_MOST)
            found = model.groups if model.graph.model is None else ()
            names = [group.name for group in found] or [call.path for call in model.recurrent]
    return [name for name in names if _HARMLESS.fullmatch(name)]


_COMPLETED: dict[str, Callable[[click.Context, str], _Items]] = {
    "MODEL": _files,
    "SOURCE": _files,
    "INPUT...": _files,
    "[INPUT...]": _files,
    "OURS": _files,
    "[INPUT...] THEIRS": _files,
    "FILE": _files,
    "JSON": _files,
    "LAYER=FILE": _feeds,
    "GLOBS": _layers,
    "LAYER": _layers,
    "NAMES": _signals,
    "FORMAT": _formats,
    "KIND": _kinds,
}
"""Metavar → what completes it."""


def equip(command: click.Command) -> None:
    """Let the parameters of a command complete what their metavars say."""
    for parameter in command.params:
        complete = _COMPLETED.get(parameter.metavar or "")
        if complete is not None and not isinstance(parameter.type, click.Choice):  # those click completes itself
            parameter.type = _Completed(complete)


class _Completed(click.types.StringParamType):
    """A text that is completed."""

    def __init__(self, complete: Callable[[click.Context, str], _Items]) -> None:
        self._complete = complete

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> _Items:
        """See `click.ParamType`."""
        return self._complete(ctx, incomplete)


@add_completion_class
class _Bash(BashComplete):
    """Leaves no space behind ``LAYER=``."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace"
    )


@add_completion_class
class _Zsh(ZshComplete):
    """Completes the file in ``NAME=FILE``, too."""

    source_template = ZshComplete.source_template.replace("_path_files -f", "compset -P 1 '*='; _path_files -f")


@add_completion_class
class _Fish(FishComplete):
    """Completes the file in ``NAME=FILE``, too, and keeps what follows a comma in names and descriptions."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","').replace(
        "__fish_complete_path $metadata[2];",
        """set -l named (string match -r '^[^=/]*=' -- "$metadata[2]");
            for path in (__fish_complete_path (string replace -- "$named" "" "$metadata[2]"));
                echo "$named$path";
            end;""",
    )
