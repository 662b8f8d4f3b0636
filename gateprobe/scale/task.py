"""One block of a run, computed and written in whichever process has time for it.

A task carries names and plain values only: the process that computes it opens the model and the samples by itself.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from gateprobe.errors import GateprobeError, InputError
from gateprobe.files.remote import is_url, local_path
from gateprobe.inputs.files import STDIN
from gateprobe.inputs.samples import Samples, load, split_feed, split_spec
from gateprobe.opened_model import OpenedModel, Tracing, open_model
from gateprobe.readers.weights_only import Assumptions
from gateprobe.replay.run import Batches
from gateprobe.scale.dataset import Block, Destination, Manifest
from gateprobe.scale.opening import open_dataset
from gateprobe.vocabulary import Side, text_rules

SAME_VERSION = "install the same everywhere"


@dataclass(frozen=True, slots=True)
class Sources:
    """Which files a run reads, in the words of the command line."""

    model: str
    inputs: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    architecture: str | None = None
    semantics: str = "auto"
    max_bytes: int | None = None
    ignore_metadata: bool = False
    dropout: str | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)
    layers: tuple[str, ...] = ()
    """What is traced of a file of weights alone."""
    texts: tuple[str, ...] = ()
    """Samples of an input of texts, in place of a file."""
    vocab: str | None = None
    """Turns texts into ids."""
    pad: Side | None = None

    def read(self) -> OpenedModel:
        """Read the model."""
        model = open_model(
            self.model,
            architecture=self.architecture,
            semantics=self.semantics,
            max_bytes=self.max_bytes,
            ignore_metadata=self.ignore_metadata,
            dropout=self.dropout,
            vocab=self.vocab,
        )
        return model.completed(self.assumptions, self.layers)

    def load(self, model: OpenedModel) -> Samples:
        """Open the inputs."""
        vocab = model.left_of(self.vocab)
        converter = None if vocab is None else text_rules(vocab, self.pad)
        how: dict[str, Any] = {"max_bytes": self.max_bytes, "texts": self.texts, "converter": converter}
        return load(self.inputs, model.inputs, self.feeds, **how)

    def anywhere(self) -> Sources:
        """Return the same with names that do not depend on the current folder.

        Raises:
            InputError: Standard input, which no other process can read.
        """
        return replace(
            self,
            model=anywhere(self.model),
            architecture=None if self.architecture is None else anywhere(self.architecture),
            vocab=None if self.vocab is None else anywhere(self.vocab),
            inputs=tuple(map(_spec_anywhere, self.inputs)),
            feeds=tuple(f"{layer}={anywhere(file)}" for layer, file in map(split_feed, self.feeds)),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a run have in common."""

    options: Mapping[str, Any]
    """Arguments of `OpenedModel.tracing`."""
    batches: Batches
    destination: Destination
    manifest: Manifest
    threads: int | None = 1
    """How many batches a process runs side by side; ``None`` for one on each core."""


@dataclass(frozen=True, slots=True)
class Task:
    """A block to compute."""

    job: Job
    sources: Sources
    block: Block
    fingerprint: str | None = None
    """Of its samples, as the process that asks sees them."""


class TaskFault(Exception):
    """A `GateprobeError` on its way to another process; its arguments are reason, file, place and remedy."""


def perform(task: Task, gateprobe: str) -> None:
    """Compute a block in a process that knows nothing yet.

    Args:
        task: What to do.
        gateprobe: The version that asks.

    Raises:
        TaskFault: It cannot be done.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # who asks has heard them
            _perform(task, gateprobe)
    except GateprobeError as error:
        raise TaskFault(error.reason, error.file, error.place, error.remedy) from None


def _perform(task: Task, gateprobe: str) -> None:
    if gateprobe != version("gateprobe"):
        raise InputError(f"a worker has gateprobe {version('gateprobe')}, and here is {gateprobe}", remedy=SAME_VERSION)
    model, samples = _opened(task.sources)
    tracing = model.tracing(samples, **task.job.options, batches=task.job.batches)
    _compare(task, tracing)
    compute(task.block, tracing, task.job)


def compute(block: Block, tracing: Tracing, job: Job) -> None:
    """Compute a block and write it."""
    part = slice(block.start, block.stop)
    tracing.samples.fetch(tracing.numbers[part])
    open_dataset(job.destination).write(block, tracing.chunks(part, threads=job.threads), job.manifest)


@lru_cache(maxsize=1)
def _opened(sources: Sources) -> tuple[OpenedModel, Samples]:
    """Read the model once in a process."""
    model = sources.read()
    return model, sources.load(model)


def _compare(task: Task, tracing: Tracing) -> None:
    """Look whether the files here are those of the process that asks.

    Raises:
        InputError: They are others.
    """
    numbers = tracing.numbers[task.block.start : task.block.stop]
    if tracing.model.graph.origin.sha256 != task.job.manifest["metadata"]["model"]["sha256"]:
        raise _another(tracing.model.graph.file)
    if task.fingerprint is not None and task.fingerprint != tracing.samples.fingerprint(numbers):
        raise _another(tracing.samples.files)


def _another(file: str) -> InputError:
    remedy = "name it so that all see the same: on shared storage, or by URL"
    return InputError("is another file for a worker", file=file, remedy=remedy)


def anywhere(name: str) -> str:
    """Return a name that does not depend on the current folder.

    Raises:
        InputError: It is standard input, which no other process can read.
    """
    if name == STDIN:
        raise InputError("workers cannot read standard input", remedy="name a file")
    name = local_path(name)
    return name if is_url(name) else os.path.join(os.getcwd(), name)  # noqa: PTH109, PTH118 - keeps FILE.npz[a/../b]


def _spec_anywhere(spec: str) -> str:
    """Do the same for ``NAME=FILE``."""
    name, file = split_spec(spec)
    return anywhere(file) if name is None else f"{name}={anywhere(file)}"
