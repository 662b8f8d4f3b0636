"""What ``-o`` and ``--format`` ask for where a picture is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import bundle, force
from gateprobe.cli.outputs import left_of, refuse_format
from gateprobe.errors import OutputError, choices
from gateprobe.files.places import STREAM

if TYPE_CHECKING:
    from gateprobe.pictures.values import Picture
    from gateprobe.writers.target import Target


@dataclass(frozen=True, slots=True)
class Drawing:
    """Where a picture goes, and in which form."""

    output: tuple[str, ...]
    format: str | None
    force: bool

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written."""
        return self.output or (STREAM,)

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return left_of(self.writes())

    @property
    def to_stdout(self) -> bool:
        """Whether something goes to standard output."""
        return STREAM in self.writes()

    @contextmanager
    def targets(self) -> Iterator[PictureTargets]:
        """Open all files for writing, before anything is run.

        Raises:
            OutputError: A format is unknown, or a file cannot be written.
            InputError: ``--format`` goes with no output, or with several.
            MissingExtra: What draws charts is not installed.
        """
        forms = [_form(name, self.format) for name in self.output]
        refuse_format(self.format, self.output)
        if forms:
            from gateprobe.pictures.extra import require_charts

            require_charts()
        from gateprobe.writers.target import open_target

        with ExitStack() as stack:
            opened = [stack.enter_context(open_target(name, force=self.force)) for name in self.output]
            yield PictureTargets(tuple(zip(opened, forms, strict=True)))


@dataclass(frozen=True, slots=True)
class PictureTargets:
    """Files that wait for a picture."""

    opened: tuple[tuple[Target, str], ...]
    """Each with its format."""

    def write(self, picture: Picture) -> None:
        """Draw the picture into all files; all of them appear, or none.

        Raises:
            OutputError: One cannot be written.
        """
        from gateprobe.pictures.charts import chart_of
        from gateprobe.pictures.rendering import rendered

        chart = chart_of(picture)
        for target, form in self.opened:
            target.write(rendered(chart, form, picture.title))
        for target, _ in self.opened:
            target.publish()


PICTURES = ("png", "svg", "pdf", "html")
"""Names of formats, which are their suffixes."""


def _form(name: str, form: str | None) -> str:
    """Return the format of a picture."""
    from gateprobe.files.remote import redact_url

    suffix = PurePath(redact_url(name)).suffix.lower()
    if form is not None and form not in PICTURES:
        raise OutputError(f"--format={form}: no such format of pictures", remedy=choices(PICTURES, form))
    found = form or {f".{known}": known for known in PICTURES}.get(suffix)
    if found is None:
        reason = f"unknown format of pictures {suffix!r}" if suffix else "has no suffix that names a format of pictures"
        remedy = f"use --format or one of {', '.join(f'.{known}' for known in PICTURES)}"
        raise OutputError(reason, file=redact_url(name), remedy=remedy)
    return found


drawing = bundle(
    "drawing",
    Drawing,
    click.option(
        "-o",
        "--output",
        multiple=True,
        metavar="FILE",
        help="Write this file instead of drawing in the terminal, in the format of its suffix: .png, .svg, .pdf or "
        ".html; - is stdout. May be repeated.",
    ),
    click.option(
        "--format",
        metavar="FORMAT",
        help="Write this format, such as svg or html, whatever the suffix.",
    ),
    force,
)
"""Adds -o and its companions for pictures; the command takes ``drawing``."""
