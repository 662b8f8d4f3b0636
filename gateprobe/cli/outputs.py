"""What ``-o``, ``--format``, ``--layout`` and ``--compress`` ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import bundle, force
from gateprobe.cli.progress import samples_done
from gateprobe.errors import InputError
from gateprobe.files.places import STREAM

if TYPE_CHECKING:
    from gateprobe.scale.dataset import Destination
    from gateprobe.traces.chunk import Layout
    from gateprobe.writers import Format, Output


@dataclass(frozen=True, slots=True)
class Writing:
    """Where a trace goes, and in which form."""

    output: tuple[str, ...]
    format: str | None
    layout: Layout
    compress: bool
    force: bool

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written."""
        return self.output or (STREAM,)

    def left(self) -> str:
        """Return what an interruption leaves behind, and how to go on."""
        from gateprobe.files.remote import redact_url
        from gateprobe.scale.dataset import is_folder

        for name in filter(is_folder, self.output):
            return f"{redact_url(name)} keeps {samples_done()}; run the same command again to resume"
        return f"{_left(self.writes())}; -o DIR/ writes part by part and resumes"

    def outputs(self) -> list[Output]:
        """Return the outputs; each takes the options that fit it, and each option must fit one.

        Raises:
            OutputError: A format is unknown.
            InputError: An option fits no output.
        """
        from gateprobe.writers import SUFFIXES

        found = _outputs(self.writes(), self.format, SUFFIXES, compress=self.compress, force=self.force)
        if self.layout != "tidy" and not any(kind.tabular for _, kind in found):
            raise InputError(f"--layout {self.layout}: npz and h5 hold arrays and have no layout")
        return [replace(output, layout=self.layout) if kind.tabular else output for output, kind in found]

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
            raise InputError("--compress: Parquet files always are; only npz, h5 and zarr can be compressed")
        return found

    @property
    def to_stdout(self) -> bool:
        """Whether something goes to standard output."""
        return STREAM in self.writes()

    @property
    def described(self) -> bool:
        """Whether a format has a place for metadata."""
        from gateprobe.writers import format_of

        return any(format_of(output).described for output in self.outputs())


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
        return _left(self.writes())

    def outputs(self) -> list[Output]:
        """Return the outputs.

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
    def described(self) -> bool:
        """Whether a format has a place for metadata."""
        return any(kind.described for _, kind in self._found())

    def _found(self) -> list[tuple[Output, Format]]:
        from gateprobe.writers import PREDICTION_SUFFIXES

        return _outputs(self.writes(), self.format, PREDICTION_SUFFIXES, compress=self.compress, force=self.force)


def _left(names: Sequence[str]) -> str:
    """Return what an interruption leaves behind of files, which appear whole or not at all."""
    from gateprobe.files.remote import redact_url

    files = ", ".join(redact_url(name) for name in names if name != STREAM)
    return f"not written: {files}" if files else "the output is not complete"


def _outputs(
    names: Sequence[str], form: str | None, suffixes: Mapping[str, Format], *, compress: bool, force: bool
) -> list[tuple[Output, Format]]:
    """Return each output with its format; ``--compress`` goes to those that it fits."""
    from gateprobe.writers import Format, Output, format_of

    if form is not None and len(names) > 1:
        raise InputError("--format goes with one output; the suffixes choose the formats of several")
    plain = [Output(name, None if form is None else Format(form), force=force) for name in names]
    kinds = [format_of(output, suffixes) for output in plain]
    if compress and not any(kind.compressible for kind in kinds):
        raise InputError("--compress: only npz and h5 can be compressed")
    return [
        (replace(output, compress=compress and kind.compressible), kind)
        for output, kind in zip(plain, kinds, strict=True)
    ]


_FORMATS = ("csv", "tsv", "jsonl", "parquet", "arrow", "npz", "h5")
_FORMAT_HELP = "Write this format, such as csv or npz, whatever the suffix."

predicting = bundle(
    "predicting",
    Predicting,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help="Write this file, in the format of its suffix: .csv, .tsv, .jsonl, .parquet, .arrow, .npz, .h5 or .npy; - "
        "is stdout. May be repeated.",
    ),
    click.option("--format", type=click.Choice([*_FORMATS, "npy"]), metavar="FORMAT", help=_FORMAT_HELP),
    click.option("--compress", is_flag=True, help="Compress .npz and .h5 files."),
    force,
)
"""Adds -o and its companions for a model's outputs; the command takes ``predicting``."""

writing = bundle(
    "writing",
    Writing,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help="Write this file, in the format of its suffix: .csv, .tsv, .jsonl, .parquet, .arrow, .npz or .h5; - is "
        "stdout. May be repeated. DIR/ is filled with Parquet files and DIR.zarr with arrays, part by part; the same "
        "command again resumes.",
    ),
    click.option("--format", type=click.Choice(_FORMATS), metavar="FORMAT", help=_FORMAT_HELP),
    click.option(
        "--layout",
        type=click.Choice(["tidy", "long", "wide"]),
        default="tidy",
        metavar="LAYOUT",
        help="Arrange a table with a row per unit (tidy), per unit and signal (long), or per timestep (wide).",
    ),
    click.option("--compress", is_flag=True, help="Compress .npz and .h5 files, and .zarr."),
    force,
)
"""Adds -o and its companions; the command takes ``writing``."""
