"""The program around the commands: lazy imports, exit statuses, one line for each fault."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

import click

from gateprobe.cli.again import ARGUMENTS, again
from gateprobe.cli.did_you_mean import is_file, usage_reason
from gateprobe.cli.help import SECTIONS
from gateprobe.cli.options import LEFT_KEY, MODEL_KEY
from gateprobe.errors import GateprobeError, GateprobeWarning, UnsupportedModel, in_flags, nearest, printable

REFUSED = 2
"""Exit status: usage, unreadable file, unsupported model, missing extra."""

INTERRUPTED = 130

_COMPLETING = "_GATEPROBE_COMPLETE"
"""Set while a shell asks for completions or for the script that asks for them."""

_REASONS_ON_A_LINE = 3
_STARVED = 64 << 20
"""Bytes of address space: less is no room for a library."""


class _Terminated(BaseException):
    """SIGTERM as an exception so that unfinished files are removed."""


class Program(click.Group):
    """A group whose commands are imported when they are used.

    Args:
        commands: Name and short help.
        others: What others call a command → its name.
        options: As for `click.Group`.
    """

    def __init__(self, commands: Mapping[str, str], others: Mapping[str, str], **options: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
        super().__init__(context_settings=settings, no_args_is_help=False, **options)
        self._short_helps = commands
        self._others = others
        click.version_option(None, "--version", package_name="gateprobe", message="%(prog)s %(version)s")(self)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show help when nothing is asked for, and for ``gateprobe help [COMMAND]``."""
        if not args or args[0] == "help":
            args = [*args[1:2], "--help"]
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self._short_helps)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._short_helps:
            return None
        module = importlib.import_module(f"gateprobe.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        if _COMPLETING in os.environ:
            from gateprobe.cli import completion

            completion.equip(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; an unknown one gets the nearest name, and a file the command that was forgotten."""
        if args[0] in self._short_helps or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        if is_file(args[0]):
            wanted = next((word for word in args[1:] if word in self._short_helps), "inspect")
            raise click.UsageError(f"the command comes first: gateprobe {wanted} {shlex.quote(args[0])}", ctx)
        near = nearest(args[0], [*self._short_helps, "help"], self._others)
        raise click.UsageError(f"no command {args[0]!r}{f'; did you mean {near}?' if near else ''}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        grouped = {name for names in SECTIONS.values() for name in names}
        rest = tuple(name for name in self._short_helps if name not in grouped)
        widest = max(map(len, self._short_helps))
        for title, names in (*SECTIONS.items(), ("Commands", rest)):
            found = [(f"{name:{widest}}", self._short_helps[name]) for name in names if name in self._short_helps]
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an interruption ends it with a line that says what is left and how to go on."""
        try:
            with suppress(AttributeError):  # a name that the terminal cannot show is no reason to fail
                sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # tests replace stdout
            with _terminable(), _silent_warnings():
                status = super().invoke(ctx)
                if sys.stdout is not None:
                    sys.stdout.flush()
                return status
        except (KeyboardInterrupt, _Terminated) as interruption:
            _tell_left(ctx)
            raise click.exceptions.Exit(INTERRUPTED if isinstance(interruption, KeyboardInterrupt) else 143) from None
        except GateprobeError as error:
            error.file = error.file or ctx.meta.get(MODEL_KEY)
            if error.way is not None:
                error.way = again(ctx, self.get_command(ctx, ctx.meta[ARGUMENTS][0]), error.way)
            raise
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(0) from None

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the program and leave with an exit status."""
        _fill_descriptors()
        if _COMPLETING in os.environ:
            importlib.import_module("gateprobe.cli.completion")  # click finds our scripts for the shells
        run: Callable[[], Any] = functools.partial(super().main, args, *rest, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        try:
            status = run()
        except click.exceptions.Abort:  # before or after the command itself
            status = INTERRUPTED
        except Exception as fault:  # noqa: BLE001 - the one place where every fault becomes a line
            _report(fault)
            status = REFUSED
        sys.exit(status if isinstance(status, int) else 0)


def _fill_descriptors() -> None:
    """Open what is closed of the standard streams, lest a file gets their number and so what libraries print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _report(fault: Exception) -> None:
    """Say what is wrong in one line on stderr; a model with many reasons gets a line for each."""
    if os.environ.get("GATEPROBE_DEBUG"):
        traceback.print_exception(fault)
    with suppress(OSError):
        click.echo(f"gateprobe: {_message(fault)}", err=True)
    if isinstance(fault, OSError) and fault.errno == errno.ENOSPC:
        _forget_stdout()


def _message(fault: Exception) -> str:
    if isinstance(fault, UnsupportedModel) and 1 < len(fault.refusals) <= _REASONS_ON_A_LINE:
        reasons = " | ".join(refusal.flagged for refusal in fault.refusals)
        return printable(f"{fault.file}: {reasons}{fault.advice(in_flags)}")
    if isinstance(fault, GateprobeError):
        return fault.flagged
    if isinstance(fault, click.UsageError):
        help_of = fault.ctx.command_path if fault.ctx is not None else "gateprobe"
        reason = printable(usage_reason(fault))
        return f"{reason}{'' if reason.endswith(('.', '?')) else '.'} Try {help_of} -h."
    if isinstance(fault, click.ClickException):
        return printable(fault.format_message())
    if isinstance(fault, OSError):
        return printable(f"{fault.filename or 'standard output'}: {fault.strerror or fault}")
    if isinstance(fault, MemoryError) or _is_starved():
        return f"not enough memory for {_command_line()}; choose a smaller --batch-size, or fewer layers with --layer"
    reason = printable(f"{type(fault).__name__}: {fault}")
    return f"internal error, please report it (GATEPROBE_DEBUG=1 shows more): {reason:.300}, in {_command_line()}"


def _tell_left(ctx: click.Context) -> None:
    left = ctx.meta.get(LEFT_KEY)
    with suppress(OSError):
        click.echo(printable(f"gateprobe: interrupted{f'; {left()}' if left else ''}"), err=True)


def _is_starved() -> bool:
    """Whether so little address space is left that libraries fail in ways of their own."""
    from gateprobe.limits.system import free_address_space

    free = free_address_space()
    return free is not None and free < _STARVED


def _command_line() -> str:
    from gateprobe.files.remote import redact_url

    return printable(" ".join(["gateprobe", *map(redact_url, sys.argv[1:])]))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the program like Ctrl-C does."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _silent_warnings() -> Iterator[None]:
    """Show our own warnings as notes; keep those of libraries off stderr, unless ``python -W`` asks for them."""
    with warnings.catch_warnings():
        warnings.showwarning = _note
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.simplefilter("once", GateprobeWarning)
        yield


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for `warnings.showwarning`."""
    text = message.flagged if isinstance(message, GateprobeWarning) else message
    click.echo(f"gateprobe: note: {printable(text)}", err=True)


def _forget_stdout() -> None:
    """Make the flush at exit harmless after a fault of standard output."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
