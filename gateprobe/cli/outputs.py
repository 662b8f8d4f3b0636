"""What ``-o``, ``--format``, ``--layout`` and ``--compress`` ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import bundle, force
from gateprobe.errors import InputError, OutputError

if TYPE_CHECKING:
    from gateprobe.chunk import Layout
    from gateprobe.scale.dataset import Destination
    from gateprobe.writers import Output


@dataclass(frozen=True, slots=True)
class Writing:
    """Where a trace goes, and in which form."""

    output: tuple[str, ...]
    format: str | None
    layout: Layout
    compress: bool
    force: bool

    def outputs(self) -> list[Output]:
        """Return the outputs; each takes the options that fit it, and each option must fit one.

        Raises:
            OutputError: A format is unknown.
            InputError: An option fits no output.
        """
        from gateprobe.writers import STDOUT, Format, Output, format_of

        names = self.output or (STDOUT,)
        if self.format is not None and len(names) > 1:
            raise InputError("--format goes with one output; the suffixes choose the formats of several")
        given = None if self.format is None else Format(self.format)
        plain = [Output(name, given, force=self.force) for name in names]
        tabular = [format_of(output).tabular for output in plain]
        if self.layout != "tidy" and not any(tabular):
            raise InputError(f"--layout {self.layout}: npz and h5 hold arrays and have no layout")
        if self.compress and all(tabular):
            raise InputError("--compress: only npz and h5 can be compressed")
        return [
            replace(output, layout=self.layout) if table else replace(output, compress=self.compress)
            for output, table in zip(plain, tabular, strict=True)
        ]

    def destination(self) -> Destination | None:
        """Return the folder to fill, if it is not files that were asked for.

        Raises:
            InputError: Another output or an option does not go with it.
        """
        from gateprobe.remote import shown
        from gateprobe.scale.dataset import Destination, is_folder

        folders = [name for name in self.output if is_folder(name)]
        if not folders:
            return None
        found = Destination(folders[0], self.layout, self.compress)
        if len(self.output) > 1:
            raise InputError("a folder is the only output of a run", file=shown(folders[0]))
        if self.format not in (None, "parquet") or (self.format is not None and found.is_zarr):
            raise InputError(
                f"a folder cannot hold {self.format}", remedy="end its name with / for Parquet or with .zarr"
            )
        if self.layout != "tidy" and found.is_zarr:
            raise InputError(f"--layout {self.layout}: Zarr holds arrays and has no layout")
        if self.compress and not found.is_zarr:
            raise InputError("--compress: Parquet files always are; only npz, h5 and zarr can be compressed")
        return found

    @property
    def to_stdout(self) -> bool:
        """Whether something goes to standard output."""
        return not self.output or "-" in self.output

    @property
    def described(self) -> bool:
        """Whether a format has a place for metadata."""
        from gateprobe.writers import format_of

        return any(format_of(output).described for output in self.outputs())


writing = bundle(
    "writing",
    Writing,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help="csv, tsv, jsonl, parquet, arrow, npz or h5 by its suffix; - is stdout; may be repeated. DIR/ takes "
        "Parquet files and DIR.zarr arrays, part by part.",
    ),
    click.option(
        "--format",
        type=click.Choice(["csv", "tsv", "jsonl", "parquet", "arrow", "npz", "h5"]),
        help="Instead of the suffix's.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["tidy", "long", "wide"]),
        default="tidy",
        help="Of tables: a row per unit; per unit and signal; per timestep.",
    ),
    click.option("--compress", is_flag=True, help="Compress npz, h5 and zarr."),
    force,
)
"""Adds -o and its companions; the command takes ``writing``."""


def refuse_overwriting(outputs: Iterable[str], sources: Iterable[str]) -> None:
    """Refuse to write a result over the model or an input, even with --force.

    Raises:
        OutputError: Names the file.
    """
    from gateprobe.remote import is_url, local_path, shown

    names = [local_path(source) for source in sources]
    there = [path for name in names if (path := Path(name)).exists()]
    for output in map(local_path, outputs):
        same = output in names if is_url(output) else Path(output).exists() and any(map(Path(output).samefile, there))
        if same:
            raise OutputError("is also an input", file=shown(output), remedy="write to another file")
