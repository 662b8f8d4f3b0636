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
from gateprobe.opened_model import OpenedModel, Tracing
from gateprobe.replay.run import Progress
from gateprobe.trace_files.load import open_trace
from gateprobe.traces.chunk import LABEL, DirectionTrace, TraceChunk
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
    def labelled(self) -> bool:
        """Whether timesteps have labels: given ones, or those that the model or the trace knows; looks at a trace."""
        if self.tokens is not None:
            return True
        if self.tracing is not None:
            return self.tracing.context is not None and self.tracing.context.tokens is not None
        first = next(self.chunks(), None)
        return first is not None and any(LABEL in part.context for part in first.directions)

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
            told = part.context.get(LABEL)  # a trace may hold them itself
            return None if told is None else tuple(map(str, told[row]))
        whole = part.mask is not None and part.mask.shape[1] == part.length
        mask = part.mask[row] if whole and part.mask is not None else None
        return self.tokens.labels(sample, part.timesteps, layer=part.layer, length=part.length, mask=mask)

    def labelled_chunks(self, progress: Progress | None = None) -> Iterator[TraceChunk]:
        """Begin a new pass, with the given tokens beside the signals.

        Raises:
            InputError: A sample has none, or more or fewer than timesteps.
        """
        for chunk in self.chunks(progress):
            yield chunk if self.tokens is None else self._with_tokens(chunk)

    def _with_tokens(self, chunk: TraceChunk) -> TraceChunk:
        def tokens(part: DirectionTrace) -> Array:
            rows = [self.labels(part, row, int(sample)) for row, sample in enumerate(chunk.samples)]
            for sample, labels in zip(chunk.samples, rows, strict=True):
                if labels is None:
                    raise InputError(f"there are no tokens for sample {sample}", place=part.layer)
            return np.array(rows, np.str_).reshape(len(rows), len(part.timesteps))

        parts = (replace(part, context={LABEL: tokens(part), **_without(part.context)}) for part in chunk.directions)
        return replace(chunk, directions=tuple(parts))

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


def _without(context: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in context.items() if name != LABEL}


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
    return _chosen(name, chunk.samples, chunk.directions, lambda: iter((chunk,)), metadata, selection or Selection())


def of_file(
    path: str | os.PathLike[str], *, selection: Selection | None = None, max_bytes: int | None = None
) -> Observed:
    """Look at a trace file, which is read chunk by chunk at each pass.

    Args:
        path: What `gateprobe.load_trace` reads.
        selection: What to look at.
        max_bytes: Limit for what is in memory at a time; 4 GiB without it.

    Raises:
        ReadError: It holds no trace, or is damaged.
        InputError: The selection matches nothing; lists what there is.
    """
    name = os.fspath(path)
    found = open_trace(name, max_bytes)
    return _chosen(
        redact_url(name), found.samples, found.directions, found.begin, found.metadata, selection or Selection()
    )


def _chosen(
    name: str,
    samples: Array,
    outline: tuple[DirectionTrace, ...],
    begin: Callable[[], Iterator[TraceChunk]],
    metadata: Mapping[str, Any],
    selection: Selection,
) -> Observed:
    """Look at what is selected of a trace; nothing else goes on from a chunk."""
    check_layers(selection, dict.fromkeys(part.layer for part in outline))
    wanted = _wanted(samples, selection)
    if outline:
        selection.apply(TraceChunk(samples[:0], outline))  # refuses what matches nothing

    def chunks(progress: Progress | None) -> Iterator[TraceChunk]:
        done = 0
        for chunk in begin():
            at = np.isin(chunk.samples, wanted, assume_unique=True)
            if at.any():
                kept = chunk if at.all() else chunk.rows(np.flatnonzero(at))
                yield selection.apply(kept) if kept.directions else kept
                done += len(kept.samples)
                if progress is not None:
                    progress(done, len(wanted), "samples")

    return Observed(name, wanted, chunks, lambda: metadata)


def _wanted(samples: Array, selection: Selection) -> Array:
    """Return the numbers of the chosen samples, which are those of the run that was stored.

    Raises:
        InputError: None is chosen; says which there are.
    """
    if selection.samples is None:
        return samples
    last = int(samples.max(initial=-1))
    found: Array = samples[np.isin(samples, selection.samples.matches(last + 1, "sample"))]
    if not len(found):
        there = f"{samples.min()} to {last}" if len(samples) else "none"
        raise InputError(f"--sample={selection.samples.text} selects nothing", remedy=f"available: {there}")
    return found
