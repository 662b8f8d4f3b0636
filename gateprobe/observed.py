"""What there is to look at: a trace file, or a model with inputs, which is replayed again at each look."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gateprobe.errors import InputError
from gateprobe.files.remote import redact_url
from gateprobe.graph import Array
from gateprobe.inputs.samples import Samples
from gateprobe.inputs.tokens import Labels, Tokens
from gateprobe.opened import OpenedModel, Tracing
from gateprobe.replay.run import Progress
from gateprobe.stored.load import load
from gateprobe.traces.chunk import DirectionTrace, TraceChunk
from gateprobe.traces.selection import Selection, check_layers

Pass: TypeAlias = Callable[[Progress | None], Iterator[TraceChunk]]
"""Begins a new pass over all chunks."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A trace that can be gone through, chunk by chunk and as often as wanted, in memory that does not grow.

    What was not selected is not in it.
    """

    name: str
    """Of the model or of the trace file, as the user wrote it."""
    numbers: Array
    """``(samples,)``: the numbers of the samples, in the order in which they come."""
    begin: Pass
    describe: Callable[[], Mapping[str, Any]]
    """Makes the metadata; of a run, it reads all inputs for their digests."""
    tracing: Tracing | None = None
    """The run, where there is a model."""
    tokens: Tokens | None = None

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.numbers)

    @property
    def model(self) -> OpenedModel | None:
        """The model; ``None`` for a trace file."""
        return None if self.tracing is None else self.tracing.model

    @property
    def samples(self) -> Samples | None:
        """The model's inputs, all of them; ``None`` for a trace file."""
        return None if self.tracing is None else self.tracing.samples

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What a trace says of itself, JSON-ready; computed now."""
        return self.describe()

    def chunks(self, progress: Progress | None = None) -> Iterator[TraceChunk]:
        """Begin a new pass: chunks of some samples, very long ones in slabs; see `TraceChunk`.

        Args:
            progress: Is told of samples or timesteps that are done.
        """
        return self.begin(progress)

    def labels(self, part: DirectionTrace, row: int, sample: int) -> Labels | None:
        """Return the tokens at the timesteps of one sample in one direction.

        Args:
            part: The direction.
            row: Position of the sample in its arrays.
            sample: Its number.

        Returns:
            One for each of ``part.timesteps``; ``None`` where there are none.

        Raises:
            InputError: There are more or fewer tokens than timesteps.
        """
        if self.tokens is None:
            return None
        whole = part.mask is not None and part.mask.shape[1] == part.length
        mask = part.mask[row] if whole and part.mask is not None else None
        return self.tokens.labels(sample, part.timesteps, length=part.length, mask=mask)

    def needs_run(self, why: str) -> Tracing:
        """Return the run.

        Args:
            why: What is needed of it, for messages: ``the weights``.

        Raises:
            InputError: This is a trace file.
        """
        if self.tracing is None:
            raise InputError(f"is a trace, without {why}", file=self.name, remedy="give the model and its inputs")
        return self.tracing


def of_run(
    tracing: Tracing,
    *,
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    tokens: Tokens | None = None,
) -> Observed:
    """Look at a run, which each pass computes anew.

    Args:
        tracing: The run.
        options: What the metadata say of its options.
        threads: Batches that run side by side; ``None`` for one on each core.
        tokens: Labels of timesteps.
    """
    return Observed(
        tracing.model.graph.file,
        tracing.numbers,
        lambda progress: tracing.chunks(threads=threads, progress=progress),
        lambda: tracing.metadata(options),
        tracing,
        tokens,
    )


def of_chunk(
    chunk: TraceChunk, metadata: Mapping[str, Any], *, name: str = "", selection: Selection | None = None
) -> Observed:
    """Look at a trace in memory.

    Raises:
        InputError: The selection matches nothing; lists what there is.
    """
    selection = selection or Selection()
    check_layers(selection, dict.fromkeys(part.layer for part in chunk.directions))
    kept = selection.apply(_some_samples(chunk, selection)) if chunk.directions else chunk
    return Observed(name, kept.samples, lambda progress: iter((kept,)), lambda: metadata)


def of_file(
    path: str | os.PathLike[str], *, selection: Selection | None = None, max_bytes: int | None = None
) -> Observed:
    """Look at a trace file.

    Args:
        path: What `gateprobe.load_trace` reads.
        selection: What to look at.
        max_bytes: Limit for what is read into memory; 4 GiB without it.

    Raises:
        ReadError: It holds no trace, or is damaged.
        InputError: The selection matches nothing; lists what there is.
    """
    name = os.fspath(path)
    chunk, metadata = load(name, max_bytes)
    return of_chunk(chunk, metadata, name=redact_url(name), selection=selection)


def _some_samples(chunk: TraceChunk, selection: Selection) -> TraceChunk:
    """Return the chosen samples; their numbers are those of the run that was stored."""
    if selection.samples is None:
        return chunk
    wanted = selection.samples.pick(int(chunk.samples.max(initial=-1)) + 1, "sample")
    at = np.flatnonzero(np.isin(chunk.samples, wanted))
    if not len(at):
        there = f"{chunk.samples.min(initial=0)} to {chunk.samples.max(initial=0)}"
        raise InputError(f"--sample={selection.samples.text} selects nothing", remedy=f"available: {there}")
    return replace(
        chunk,
        samples=chunk.samples[at],
        directions=tuple(
            replace(
                part,
                signals={name: value[at] for name, value in part.signals.items()},
                mask=None if part.mask is None else part.mask[at],
            )
            for part in chunk.directions
        ),
    )
