"""SOURCE: a trace file, or a model with its inputs; the same for every command that looks."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import (
    ASSUMING,
    LABELLING,
    MODEL_KEY,
    READING,
    RUNNING,
    Assumed,
    Labelling,
    ModelFile,
    Run,
    Talk,
    bundle,
    given,
    names_of,
    taken,
)
from gateprobe.errors import InputError

if TYPE_CHECKING:
    from gateprobe.observed import Observed
    from gateprobe.opened_model import Tracing
    from gateprobe.traces.selection import Selection


@dataclass(frozen=True, slots=True)
class Source:
    """What to look at."""

    file: ModelFile
    run: Run
    assumed: Assumed
    labels: Labelling
    labelled: bool
    """Whether the command names timesteps, so that labels are of use."""
    is_trace: bool
    """Whether it is a trace file; what is no readable file is taken for a model, whose reader says why not."""

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        yield from self.file.reads()
        if Path(self.file.model).is_dir() and self.is_trace:
            yield from (os.path.join(folder, name) for folder, _, names in os.walk(self.file.model) for name in names)  # noqa: PTH118
        yield from self.run.reads()
        yield from self.labels.reads()

    def open(self, selection: Selection, talk: Talk) -> Observed:
        """Open the trace, or the model and its inputs, so that it can be gone through.

        Args:
            selection: What to look at.
            talk: What is said on stderr.

        Raises:
            ReadError: It is neither trace nor model.
            InputError: Inputs or options are missing, or do not go with a trace; the selection matches nothing.
            UnsupportedModel: The model cannot be replayed.
        """
        return self._stored(selection) if self.is_trace else self._run(selection, talk)

    def _stored(self, selection: Selection) -> Observed:
        from dataclasses import replace

        from gateprobe.files.remote import redact_url
        from gateprobe.observed import of_file

        click.get_current_context().meta[MODEL_KEY] = redact_url(self.file.model)
        self._refuse_beside_trace()
        found = of_file(self.file.model, selection=selection, max_bytes=self.file.max_bytes)
        return replace(found, tokens=self.labels.of_trace(found.numbers))

    def _refuse_beside_trace(self) -> None:
        """Refuse inputs and options of a run.

        Raises:
            InputError: There are some.
        """
        if self.run.inputs:
            raise InputError("is a trace, which takes no inputs", remedy=f"leave out {', '.join(self.run.inputs)}")
        refuse_about_runs()

    def _run(self, selection: Selection, talk: Talk) -> Observed:
        from gateprobe.observed import of_run

        model = self.assumed.complete(self.file.read(), selection)
        samples = self.run.load(model, self.file, labels=self.labelled)
        talk.details(model, samples)
        options = {**self.run.how, "selection": selection}
        tracing: Tracing = model.tracing(samples, **options)
        tokens = self.labels.of_run(model, samples, selection, self.run.vocab) if self.labelled else None
        return of_run(tracing, options=options, threads=self.run.threads, tokens=tokens)


def refuse_about_runs(file: str | None = None, *, also: Collection[str] = ()) -> None:
    """Refuse options of a run beside a trace.

    Args:
        file: Its name, unless the program knows it.
        also: Names of further parameters that mean nothing for a trace.

    Raises:
        InputError: There are some.
    """
    for option in given({*_ABOUT_RUNS, *also}):
        raise InputError(f"is a trace, which is not run: {option} does not go with it", file=file)


def say_notes(observed: Observed, talk: Talk) -> None:
    """Say what is worth knowing about what was looked at, when that is done."""
    if observed.model is not None and observed.samples is not None:
        talk.notes(observed.model, observed.samples)
        return
    for note in observed.metadata.get("notes", ()):
        talk.note(f"{observed.name}: {note}")


_ABOUT_RUNS = names_of(*READING, *RUNNING, *ASSUMING) - {"max_bytes"}
"""Options that mean nothing for a trace."""


def _source(source: str, inputs: tuple[str, ...], **values: Any) -> Source:
    from gateprobe.trace_files.recognised import is_trace

    return Source(
        ModelFile(source, **taken(values, READING)),
        Run(inputs, **taken(values, RUNNING)),
        Assumed(**taken(values, ASSUMING)),
        Labelling(values.get("tokens")),
        "tokens" in values,
        is_trace(source),
    )


_SOURCE = (
    click.argument("source", metavar="SOURCE"),
    click.argument("inputs", metavar="[INPUT...]", nargs=-1),
    *READING,
    *RUNNING,
    *ASSUMING,
)
measuring = bundle("source", _source, *_SOURCE)
"""Adds SOURCE [INPUT...] and how to read and run it; the command takes ``source`` and names no timestep."""
observing = bundle("source", _source, *_SOURCE, *LABELLING)
"""Adds labels, too, for a command that names timesteps."""
