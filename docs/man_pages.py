"""Man pages from the help texts: gateprobe.1, and gateprobe-dump.1 and so on for the commands.

python docs/man_pages.py FOLDER        writes them

Hatchling calls `ManPages` when it builds a wheel, which puts them into share/man/man1. click-man would make pages from
the same commands, but knows neither our groups of options nor the examples.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # to write pages, nothing but gateprobe is needed
    BuildHookInterface = object


class ManPages(BuildHookInterface):
    """Puts the pages into a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make them; an editable install goes without."""
        if version == "editable":
            return
        sys.path.insert(0, str(ROOT))
        self._folder = tempfile.TemporaryDirectory()
        for path in write(Path(self._folder.name)):
            build_data["shared_data"][str(path)] = f"share/man/man1/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made."""
        if version != "editable":
            self._folder.cleanup()


def write(folder: Path) -> list[Path]:
    """Write all pages into a folder."""
    paths = []
    for name, text in pages().items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def pages() -> dict[str, str]:
    """Return the pages: file name → troff."""
    import click

    from gateprobe.cli import COMMANDS, main

    whole = click.Context(main, info_name="gateprobe", help_option_names=["-h", "--help"])
    found = {"gateprobe.1": "\n".join(_program(main, whole)) + "\n"}
    for name in COMMANDS:
        command = main.get_command(whole, name)
        context = click.Context(command, info_name=name, parent=whole, help_option_names=["-h", "--help"])
        found[f"gateprobe-{name}.1"] = "\n".join(_command(command, context)) + "\n"
    return found


def _program(main: Any, context: Any) -> Iterator[str]:
    from gateprobe.cli import COMMANDS
    from gateprobe.cli.help import SECTIONS

    yield from _head("gateprobe", main.help)
    yield from (r".B gateprobe", r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]...")
    yield from (".SH DESCRIPTION", *_text(main.help))
    for title, names in SECTIONS.items():
        yield f'.SH "{title.upper()}"'
        for name in names:
            yield from (".TP", rf"\fBgateprobe\-{name}\fR(1)", *_text(COMMANDS[name]))
    yield ".SH OPTIONS"
    for parameter in main.get_params(context):
        yield from _option(*parameter.get_help_record(context))
    for paragraph in main.epilog.split("\n\n"):
        yield from (".PP", *_text(paragraph))


def _command(command: Any, context: Any) -> Iterator[str]:
    from gateprobe.cli import COMMANDS
    from gateprobe.cli.help import DOCS, grouped

    yield from _head(f"gateprobe-{command.name}", COMMANDS[command.name])
    yield rf".B gateprobe {command.name}"
    yield _escaped(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    for paragraph in _paragraphs(command.help):
        yield from (".PP", *_text(paragraph))
    for title, rows in grouped(command, context).items():
        yield f'.SH "{title.upper()}"'
        for row in rows:
            yield from _option(*row)
    yield from (".SH EXAMPLES", ".nf", *map(_escaped, command.examples), ".fi")
    yield from (".SH FILES", *_text(DOCS[command.name]))
    yield from (".SH SEE ALSO", r"\fBgateprobe\fR(1)")


def _head(name: str, summary: str) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        of = f" {version('gateprobe')}"
    except PackageNotFoundError:  # while the wheel is built
        of = ""
    yield f'.TH "{name.upper()}" "1" "" "gateprobe{of}" "gateprobe"'
    yield from (".SH NAME", rf"{_escaped(name)} \- {_escaped(summary.rstrip('.'))}", ".SH SYNOPSIS")


def _paragraphs(text: str) -> list[str]:
    import inspect

    return [" ".join(part.replace("\b", "").split()) for part in inspect.cleandoc(text).split("\n\n")]


def _option(left: str, right: str) -> Iterator[str]:
    yield from (".TP", rf"\fB{_escaped(left)}\fR", *_text(right))


def _text(text: str) -> Iterator[str]:
    yield _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    """Return a line that troff shows as it is."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{plain}" if plain.startswith(".") else plain


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
