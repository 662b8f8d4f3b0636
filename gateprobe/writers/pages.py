"""Pages of HTML: one text that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from gateprobe.errors import OutputError
from gateprobe.files.places import STREAM
from gateprobe.files.remote import redact_url
from gateprobe.writers.target import open_target

_SUFFIXES = (".html", ".htm")


def write_page(name: str, make: Callable[[], str], *, force: bool = False) -> None:
    """Write a page.

    Args:
        name: Ends in ``.html``, or is ``-`` for standard output.
        make: Makes the page, when the file can be written.
        force: Whether to replace a file that is there.

    Raises:
        OutputError: The name has another suffix, the file exists already or cannot be written.
    """
    if name != STREAM and PurePath(redact_url(name)).suffix.lower() not in _SUFFIXES:
        raise OutputError("a report is a page of HTML", file=redact_url(name), remedy="end its name in .html")
    with open_target(name, force=force) as target:
        target.write(make().encode())
        target.publish()
