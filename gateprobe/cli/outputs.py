"""What ``-o``, ``--format``, ``--layout`` and ``--compress`` ask for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import bundle, force
from gateprobe.cli.progress import is_terminal, samples_done
from gateprobe.errors import InputError
from gateprobe.files.places import STREAM
from gateprobe.writers.formats import all_formats, table_formats, trace_formats

if TYPE_CHECKING:
    from gateprobe.scale.dataset import Destination
    from gateprobe.traces.chunk import Layout
    from gateprobe.writers import Format, Output


@dataclass(frozen=True, slots=True)
class Predicting:
    """Where a model's outputs go, and in which form."""

    output: tuple[str, ...]
    format: str | None
    compress: bool
    force: bool

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written."""
        return self.output or (STREAM,)

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return left_of(self.writes())

    def outputs(self) -> list[Output]:
        """Return the outputs; each takes the options that fit it, and each option must fit one.

        Raises:
            OutputError: A format is unknown.
            InputError: An option fits no output.
        """
        return [output for output, _ in self._found()]

    @property
    def to_stdout(self) -> bool:
        """Whether something goes to standard output."""
        return STREAM in self.writes()

    @property
    def on_screen(self) -> bool:
        """Whether a person looks at what was not asked for as a file or a format."""
        return not self.output and self.format is None and is_terminal(sys.stdout)

    @property
    def described(self) -> bool:
        """Whether a format has a place for metadata."""
        return any(kind.described for _, kind in self._found())

    def _found(self) -> list[tuple[Output, Format]]:
        return _found(self, all_formats())


@dataclass(frozen=True, slots=True)
class Writing(Predicting):
    """Where a trace goes, and in which form."""

    layout: Layout

    def left(self) -> str:
        """Return what an interruption leaves behind, and how to go on."""
        from gateprobe.files.remote import redact_url
        from gateprobe.scale.dataset import is_folder

        for name in filter(is_folder, self.output):
            return f"{redact_url(name)} keeps {samples_done()}; run the same command again to resume"
        return f"{left_of(self.writes())}; -o DIR/ writes part by part and resumes"

    def destination(self) -> Destination | None:
        """Return the folder to fill, if it is not files that were asked for.

        Raises:
            InputError: Another output or an option does not go with it.
        """
        from gateprobe.files.remote import redact_url
        from gateprobe.scale.dataset import Destination, is_folder

        folders = [name for name in self.output if is_folder(name)]
        if not folders:
            return None
        found = Destination(folders[0], self.layout, self.compress)
        if len(self.output) > 1:
            raise InputError("a folder is the only output of a run", file=redact_url(folders[0]))
        if self.format not in (None, "parquet") or (self.format is not None and found.is_zarr):
            raise InputError(
                f"a folder cannot hold {self.format}", remedy="end its name with / for Parquet or with .zarr"
            )
        if self.layout != "tidy" and found.is_zarr:
            raise InputError(f"--layout {self.layout}: Zarr holds arrays and has no layout")
        if self.compress and not found.is_zarr:
            raise InputError(
                f"--compress: Parquet files always are; only {_names(compressible=True)} and zarr can be compressed"
            )
        return found

    def _found(self) -> list[tuple[Output, Format]]:
        found = _found(self, trace_formats())
        if self.layout != "tidy" and not any(kind.tabular for _, kind in found):
            raise InputError(f"--layout {self.layout}: only {_names(tabular=True)} have a layout")
        return [(replace(output, layout=self.layout if kind.tabular else "tidy"), kind) for output, kind in found]


def _found(asked: Predicting, among: tuple[Format, ...]) -> list[tuple[Output, Format]]:
    """Return each output with its format; ``--compress`` goes to those that it fits."""
    from gateprobe.writers import Output, format_of

    refuse_format(asked.format, asked.writes())
    plain = [Output(name, asked.format, force=asked.force) for name in asked.writes()]
    kinds = [format_of(output, among) for output in plain]
    if asked.compress and not any(kind.compressible for kind in kinds):
        raise InputError(f"--compress: only {_names(compressible=True)} can be compressed")
    return [
        (replace(output, compress=asked.compress and kind.compressible), kind)
        for output, kind in zip(plain, kinds, strict=True)
    ]


def _names(**facts: bool) -> str:
    """Return the names of the formats of traces of which some facts hold."""
    return _and(
        found.name for found in trace_formats() if all(getattr(found, fact) == value for fact, value in facts.items())
    )


def _suffixes(kinds: Iterable[Format]) -> str:
    return _and((found.suffixes[0] for found in kinds), "or")


def _and(words: Iterable[str], last: str = "and") -> str:
    """Put words into a sentence."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


@dataclass(frozen=True, slots=True)
class Tabulating:
    """Where a table goes, and what is printed."""

    output: tuple[str, ...]
    format: str | None
    force: bool
    as_json: bool

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written; the report goes to standard output unless the table does."""
        return self.output if STREAM in self.output else (STREAM, *self.output)

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return left_of(self.writes())

    def outputs(self) -> list[Output]:
        """Return the outputs for the table; perhaps none.

        Raises:
            OutputError: A format is unknown, or holds no tables.
            InputError: An option fits no output, or two results go to standard output.
        """
        if self.as_json and not self.reports:
            raise InputError("--json and -o - both go to standard output", remedy="give one of them")
        refuse_format(self.format, self.output)
        asked = Predicting(self.output, self.format, compress=False, force=self.force)
        return [output for output, _ in _found(asked, table_formats())] if self.output else []

    @property
    def reports(self) -> bool:
        """Whether the report is printed."""
        return STREAM not in self.output


def refuse_format(form: str | None, names: Sequence[str]) -> None:
    """Refuse ``--format`` where not just one file is written.

    Raises:
        InputError: There are none or several, and a format.
    """
    if form is not None and not names:
        raise InputError(f"--format={form}: no file is written", remedy="use -o FILE")
    if form is not None and len(names) > 1:
        raise InputError("--format goes with one output; the suffixes choose the formats of several")


def left_of(names: Sequence[str]) -> str:
    """Return what an interruption leaves behind of files, which appear whole or not at all."""
    from gateprobe.files.remote import redact_url

    files = ", ".join(redact_url(name) for name in names if name != STREAM)
    return f"not written: {files}" if files else "the output is not complete"


_COMPRESSED = _and(found.suffixes[0] for found in all_formats() if found.compressible)
_FORMAT = click.option(
    "--format", metavar="FORMAT", help="Write this format, such as csv or npz, whatever the suffix of the file."
)

predicting = bundle(
    "predicting",
    Predicting,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help=f"Write this file, in the format of its suffix: {_suffixes(all_formats())}; - is stdout. May be repeated.",
    ),
    _FORMAT,
    click.option("--compress", is_flag=True, help=f"Compress {_COMPRESSED} files."),
    force,
)
"""Adds -o and its companions for a model's outputs; the command takes ``predicting``."""

tabulating = bundle(
    "tabulating",
    Tabulating,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help=f"Write the table to this file too, in the format of its suffix: {_suffixes(table_formats())}; - is "
        "stdout, instead of the report. May be repeated.",
    ),
    _FORMAT,
    force,
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
)
"""Adds -o and its companions for one table, and --json; the command takes ``tabulating``."""

writing = bundle(
    "writing",
    Writing,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help=f"Write this file, in the format of its suffix: {_suffixes(trace_formats())}; - is stdout. May be "
        "repeated. DIR/ is filled with Parquet files and DIR.zarr with arrays, part by part; the same command again "
        "resumes.",
    ),
    _FORMAT,
    click.option(
        "--layout",
        type=click.Choice(["tidy", "long", "wide"]),
        default="tidy",
        metavar="LAYOUT",
        help="Arrange a table with a row per unit (tidy), per unit and signal (long), or per timestep (wide).",
    ),
    click.option("--compress", is_flag=True, help=f"Compress {_COMPRESSED} files, and .zarr."),
    force,
)
"""Adds -o and its companions; the command takes ``writing``."""
