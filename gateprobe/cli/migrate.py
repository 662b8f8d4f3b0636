"""``gateprobe migrate``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import (
    ModelFile,
    Report,
    Talk,
    bundle,
    command,
    force,
    print_json,
    reading,
    reporting,
    talking,
)
from gateprobe.cli.verify import Given, giving, on_backend

if TYPE_CHECKING:
    from gateprobe.migration.run import Change, HardSigmoid, Migration

JSON_FORMAT = 1
"""Version of the JSON's layout."""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is written, and how."""

    write: str | None
    hard_sigmoid: HardSigmoid
    verify: bool
    backend: str | None
    force: bool

    def writes(self) -> Iterator[str]:
        """Yield the file that is written."""
        if self.write is not None:
            yield self.write

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return "nothing was written; run the command again"


writing = bundle(
    "new",
    NewFile,
    click.option(
        "-o", "--write", "write", metavar="FILE", help="Write the model for Keras 3 to this .keras or .h5 file."
    ),
    click.option(
        "--hard-sigmoid",
        type=click.Choice(["scaled", "registered"]),
        default="scaled",
        metavar="HOW",
        help="Express the hard_sigmoid of Keras 1 and 2 by weights that are scaled by 1.2 (scaled), or by a function "
        "that is registered in Keras before it loads the file (registered).",
    ),
    click.option("--verify", is_flag=True, help="Let the installed Keras 3 open the new file and step it."),
    on_backend,
    force,
)


@command(
    "gateprobe migrate old.h5",
    "gateprobe migrate old.h5 x.npy --write new.keras",
    "gateprobe migrate old.h5 --write new.keras --verify",
)
@reading
@giving
@writing
@reporting
@talking
def migrate(file: ModelFile, given: Given, new: NewFile, report: Report, talk: Talk) -> int:
    """Say what changes in today's Keras, and write a clean Keras 3 file.

    Inputs are made from the graph, beside those that you give. The new file loads in Keras 3 without custom objects and
    computes what the old model computed; both are replayed on the inputs before anything is written. No Keras is
    needed, except for --verify. Exit status: 0 done; 1 Keras 3, asked by --verify, disagrees; 2 Keras 3 has nothing
    that computes the same.
    """
    from gateprobe.migration.run import migrate as migrated
    from gateprobe.model import Model

    if new.verify and new.write is None:
        raise click.UsageError("--verify goes with --write")
    if new.backend is not None and not new.verify:
        raise click.UsageError("--backend goes with --verify")
    model = file.read()
    x = given.load(model, file)
    found = migrated(Model(model), x, hard_sigmoid=new.hard_sigmoid)
    if new.write is not None:
        found.write(new.write, overwrite=new.force)
    verdict = _verified(new, x) if new.verify else None
    for note in found.notes:
        talk.note(note)
    if report.as_json:
        print_json(_as_json(found, new) | ({} if verdict is None else {"agrees": bool(verdict)}))
    else:
        _show(found, new, everything=bool(talk.verbose))
        if verdict is not None:
            from gateprobe.cli.verdict import show_verdict

            show_verdict(verdict, quiet=talk.quiet, verbose=bool(talk.verbose))
    return 0 if verdict is None or verdict else 1


def _verified(new: NewFile, x: Any) -> Any:
    """Step the real Keras 3 beside the replay of the new file."""
    from gateprobe.verification.run import verify

    assert new.write is not None
    given = None if x is None else dict(zip(x.names, x.arrays, strict=True))
    return verify(new.write, given, against="keras3", backend=new.backend)


def _as_json(found: Migration, new: NewFile) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "format": JSON_FORMAT,
        "file": found.file,
        "today": asdict(found.today) | {"text": found.today.text},
        "inputs": list(found.inputs),
        "moved": [asdict(change) for change in found.moved],
        "names": dict(found.names),
        "rewritten": dict(found.rewritten),
        "kept": [asdict(change) for change in found.kept],
        "unproven": list(found.unproven),
        "notes": list(found.notes),
        "refusals": [{"layer": one.layer, "class": one.class_name, "reason": one.reason} for one in found.refusals],
        "written": new.write,
    }


def _show(found: Migration, new: NewFile, *, everything: bool) -> None:
    from gateprobe.cli.layout import Page

    page = Page()
    page.facts(_facts(found, new))
    if found.moved:
        page.line()
        page.sentence("Opened as it is, Keras 3 would compute other numbers:")
        _table(page, found.moved, everything=everything)


def _facts(found: Migration, new: NewFile) -> Iterator[tuple[str, str]]:
    yield "file", found.file
    yield "in today's Keras", found.today.text
    for text in found.inputs:
        yield "compared on", text
    for refusal in found.refusals:
        yield "cannot be written", refusal.flagged
    for old, fresh in found.names.items():
        yield "renamed", f"{old} -> {fresh}"
    for layer, text in found.rewritten.items():
        yield "rewritten", f"{layer}: {text}"
    if found:
        worst = max((change.largest for change in found.kept), default=0.0)
        yield "new model", f"the same, in float64 to within {worst:.1e}"
        for text in found.unproven:
            yield "not shown by any input", f"Keras 3: {text}"
    if new.write is not None:
        yield "written", new.write
        if new.hard_sigmoid == "registered" and found.rewritten:
            yield "before loading it", "register the function that docs/migrate.md shows"


def _table(page: Any, changes: tuple[Change, ...], *, everything: bool) -> None:
    from gateprobe.cli.layout import Column

    shown = changes if everything else changes[:_SHOWN]
    columns = [Column("where"), Column("signal"), Column("largest difference"), Column("largest number", 1)]
    page.table(columns, [(one.place, one.signal, f"{one.largest:.2g}", f"{one.scale:.2g}") for one in shown])
    if len(shown) < len(changes):
        page.sentence(f"and {len(changes) - len(shown)} more; -v shows all")
