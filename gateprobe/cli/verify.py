"""``gateprobe verify``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import (
    TEXTS,
    ModelFile,
    Report,
    Run,
    Talk,
    bundle,
    command,
    force,
    guard,
    print_json,
    reading,
    reporting,
    talking,
)
from gateprobe.cli.tolerances import faults_in, junit, tolerating
from gateprobe.errors import InputError

if TYPE_CHECKING:
    from gateprobe.analysis.agreement import Tolerance
    from gateprobe.inputs.samples import Samples
    from gateprobe.opened_model import OpenedModel
    from gateprobe.verification.result import Verification
    from gateprobe.verification.run import Made
    from gateprobe.vocabulary import Side


@dataclass(frozen=True, slots=True)
class Given:
    """What is verified on, if not on made inputs."""

    inputs: tuple[str, ...]
    text: tuple[str, ...]
    vocab: str | None
    pad: Side | None

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        return self._run.reads()

    @property
    def _run(self) -> Run:
        return Run(self.inputs, (), None, None, None, self.text, self.vocab, self.pad)

    def load(self, model: OpenedModel, file: ModelFile) -> Samples | None:
        """Open the inputs; ``None`` where there are none."""
        from gateprobe.vocabulary import refuse_unused

        if self.inputs or self.text:
            return self._run.load(model, file)
        refuse_unused({}, model.left_of(self.vocab), self.pad)
        return None


@dataclass(frozen=True, slots=True)
class Files:
    """What is written beside the report."""

    save_input: str | None
    junit: str | None
    force: bool

    def writes(self) -> list[str]:
        """Return the files that are written, as far as they are known before the inputs are made."""
        return [name for name in (self.save_input, self.junit) if name is not None]

    def left(self) -> str:
        """Return what an interruption leaves behind."""
        return "there is no result; run the command again"

    def check(self) -> None:
        """Refuse a name that says something else than what the file will hold.

        Raises:
            InputError: It does.
        """
        if self.save_input is not None and PurePath(self.save_input).suffix.lower() != ".npz":
            raise InputError("inputs are saved as .npz", file=self.save_input, remedy="end its name in .npz")


def _made(seed: int, samples: int | None) -> Made:
    from gateprobe.verification.run import Made

    return Made(seed, samples)


making = bundle(
    "made",
    _made,
    click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Make the inputs from this seed, instead of from 0.",
    ),
    click.option("--samples", type=click.IntRange(1), metavar="N", help="Make N samples for each set of inputs."),
)
giving = bundle("given", Given, click.argument("inputs", metavar="[INPUT...]", nargs=-1), *TEXTS)
writing = bundle(
    "files",
    Files,
    click.option(
        "--save-input",
        metavar="FILE",
        help="Write the inputs to this .npz file; those of other lengths to FILE-2.npz, ...",
    ),
    junit,
    force,
)


on_backend = click.option(
    "--backend",
    type=click.Choice(["tensorflow", "jax", "torch"]),
    metavar="NAME",
    help="Run Keras 3 on tensorflow, jax or torch, instead of on the first of them that is installed.",
)


@command(
    "gateprobe verify model.keras",
    "gateprobe verify model.h5 x.npy --json",
    "gateprobe verify model.h5 --against keras3",
    "gateprobe verify model.keras --backend jax",
)
@reading
@giving
@click.option(
    "--against",
    type=click.Choice(["keras3", "tf_keras"]),
    metavar="KERAS",
    help="Ask keras3 or tf_keras, instead of the Keras that speaks for the file's era.",
)
@on_backend
@tolerating("Keras")
@making
@writing
@reporting
@talking
def verify(
    file: ModelFile,
    given: Given,
    against: str | None,
    backend: str | None,
    tolerance: Tolerance,
    made: Made,
    files: Files,
    report: Report,
    talk: Talk,
) -> int:
    """Step the real Keras beside the replay and compare every gate.

    Without INPUT, inputs are made from the graph. Exit status: 0 agrees, 1 disagrees, 2 could not verify. Needs a
    Keras: pip install 'gateprobe[keras]'; for files of Keras 3, 'gateprobe[keras-jax]' or 'gateprobe[keras-torch]' will
    do. Keras itself opens a copy of the file, made of checked parts, in a process of its own; where it cannot, the
    model is built from the graph that was read. What depends on a custom layer is left out.
    """
    from gateprobe.errors import flagged

    files.check()
    with faults_in(files.junit, "verify", file.model, force=files.force):
        result = _result(file, given, talk, against=against, backend=backend, tolerance=tolerance, made=made)
    _write(result, files)
    for note in result.notes:
        talk.note(flagged(note))
    if report.as_json:
        from gateprobe.verification.report import as_json as json_of

        print_json(json_of(result))
    else:
        from gateprobe.cli.verdict import show_verdict

        show_verdict(result, quiet=talk.quiet, verbose=bool(talk.verbose))
    return 0 if result else 1


def _result(file: ModelFile, given: Given, talk: Talk, **options: Any) -> Verification:
    from gateprobe.cli.steps import step_line
    from gateprobe.model import Model
    from gateprobe.verification.run import verify as compare

    model = file.read()
    x = given.load(model, file)
    if x is not None:
        talk.details(model, x)
    with step_line(talk) as tell:
        return compare(Model(model), x, tell=tell, **options)


def _write(result: Verification, files: Files) -> None:
    """Write the files that were asked for: all of them, or none."""
    from gateprobe.verification.report import as_junit
    from gateprobe.writers.target import write_files

    saved = {} if files.save_input is None else dict(_saved(result, files.save_input))
    guard().writes(list(saved)[1:])  # how many there are is known only now
    reports = {} if files.junit is None else {files.junit: as_junit(result)}
    write_files({**reports, **saved}, force=files.force)


def _saved(result: Verification, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield file and content for each set of inputs."""
    import io

    import numpy as np

    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - the name may be a URL
    for number, one in enumerate(result.inputs):
        data = io.BytesIO()
        np.savez(data, **one.arrays)  # type: ignore[arg-type]  # keyword arrays
        yield name if number == 0 else f"{stem}-{number + 1}{suffix}", data.getvalue()
