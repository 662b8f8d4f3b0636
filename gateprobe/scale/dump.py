"""Decides how a run is cut into blocks, and sees to it that all of them are computed."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from itertools import chain
from typing import Any, cast

import numpy as np

from gateprobe.errors import InputError, OutputError
from gateprobe.files.remote import redact_url
from gateprobe.graph import Array
from gateprobe.inputs.samples import Samples
from gateprobe.layers.recurrent.kernels.choice import Kernel
from gateprobe.opened_model import OpenedModel, Tracing
from gateprobe.replay.run import Batches, Progress
from gateprobe.scale.dask_workers import DaskWorkers, Perform
from gateprobe.scale.dataset import Block, Dataset, Destination, Manifest
from gateprobe.scale.opening import open_dataset
from gateprobe.scale.task import Job, compute
from gateprobe.traces.chunk import TraceChunk
from gateprobe.traces.selection import Selection
from gateprobe.writers import with_format
from gateprobe.writers.chunks import Regrouper

FORMAT = 2
"""Version of the manifest."""
BLOCK_BYTES = 64 << 20
"""Wanted size of the arrays of a block: a second or so of work, beside which the overhead of a task is nothing."""


def dump_folder(
    model: OpenedModel,
    samples: Samples,
    destination: Destination,
    workers: DaskWorkers | None = None,
    *,
    options: Mapping[str, Any],
    block_size: int | None = None,
    force: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Compute what is missing in a folder of traces.

    Args:
        model: What to run.
        samples: On what.
        destination: The folder.
        workers: Others who compute the blocks; without them this process does it.
        options: Arguments of `OpenedModel.tracing`.
        block_size: Samples of a block, a multiple of the rows of a batch.
        force: Whether to start anew where another run's trace is.
        threads: How many batches run side by side in one process; without it, one on each core where this process
            computes, and one in each of the workers.
        progress: Is told after every block.

    Raises:
        InputError: The model is stateful, or the sizes do not fit.
        OutputError: The folder cannot be written, or holds something else.
        MissingExtra: The folder or the workers needs a package.
    """
    dataset = open_dataset(destination)
    tracing = _with_chosen_kernel(model.tracing(samples, **options))
    first = _outline(next(tracing.chunks()), tracing.selection)
    found = dataset.manifest()
    size = _block_size(first, tracing.batches.rows, block_size, found or {})
    wanted = _manifest(tracing.metadata(options), tracing.numbers, tracing.batches, destination, size)
    blocks = list(_blocks(tracing.numbers, size))
    manifest, there = _what_is_there(dataset, found, wanted, blocks, first, tracing.numbers, destination, force=force)
    tracing = replace(tracing, batches=replace(tracing.batches, kernel=Kernel(**manifest["kernel"])))
    job = Job(options, tracing.batches, destination, manifest, threads if workers is None else threads or 1)
    missing = [block for block in blocks if block not in there]
    with _at_work(workers if missing else None) as perform:
        if found is not manifest:
            dataset.clear()
        elif missing:
            dataset.reopen()
        dataset.begin(manifest, first, tracing.numbers)
        _follow(perform(missing, tracing, job), there, len(tracing.numbers), progress)
    samples.check()
    dataset.complete()


def store_folder(
    chunks: Iterable[TraceChunk],
    numbers: Array,
    metadata: Manifest,
    destination: Destination,
    *,
    block_size: int | None = None,
    force: bool = False,
) -> None:
    """Write a trace that is there already to a folder, as far as it is not in it yet.

    Args:
        chunks: All of it, in chunks of whole samples.
        numbers: Of its samples, ``(samples,)``.
        metadata: Of the trace.
        destination: The folder.
        block_size: Samples of a block.
        force: Whether to start anew where another trace is.

    Raises:
        InputError: There are no samples or signals.
        OutputError: The folder cannot be written, or holds something else.
        MissingExtra: The folder needs a package.
    """
    dataset, coming = open_dataset(destination), iter(chunks)
    first = next(coming, None)
    if first is None:
        raise InputError("there is nothing to write: the trace has no samples")
    found = dataset.manifest()
    size = _block_size(first, 1, block_size, found or {})
    wanted = _manifest(with_format(metadata), numbers, Batches(1, Kernel("numpy")), destination, size)
    blocks = list(_blocks(numbers, size))
    manifest, there = _what_is_there(dataset, found, wanted, blocks, first, numbers, destination, force=force)
    if found is not manifest:
        dataset.clear()
    elif len(there) < len(blocks):
        dataset.reopen()
    dataset.begin(manifest, first, numbers)
    for block, chunk in zip(blocks, _regrouped(chain((first,), coming), size), strict=True):
        if block not in there:
            dataset.write(block, (chunk,), manifest)
    dataset.complete()


def _regrouped(chunks: Iterable[TraceChunk], size: int) -> Iterator[TraceChunk]:
    regrouper = Regrouper(size)
    for chunk in chunks:
        yield from regrouper.push(chunk)
    rest = regrouper.rest()
    if rest is not None:
        yield rest


def _what_is_there(
    dataset: Dataset,
    found: Manifest | None,
    wanted: Manifest,
    blocks: Sequence[Block],
    first: TraceChunk,
    numbers: Array,
    destination: Destination,
    *,
    force: bool,
) -> tuple[Manifest, Collection[Block]]:
    """Return the manifest to go on with, and the blocks that are finished.

    Raises:
        OutputError: Something else is there, and --force was not given.
    """
    if found is not None and _goes_on(found, wanted, destination, force=force):
        try:
            return found, dataset.finished(blocks, found, first, numbers)  # with the kernel that was chosen then
        except OutputError:
            if not force:
                raise
    return wanted, ()


def _with_chosen_kernel(tracing: Tracing) -> Tracing:
    """Decide about the kernel, for all who will compute a block.

    Raises:
        InputError: The run cannot be cut.
    """
    if tracing.plan.batch_size is not None:
        reason = "is stateful: a sample's numbers depend on those before it, so that it cannot be cut into blocks"
        raise InputError(reason, file=tracing.model.graph.file, remedy="write one file, such as -o trace.parquet")
    return replace(tracing, batches=replace(tracing.batches, kernel=tracing.batches.kernel.chosen()))


def _outline(first: TraceChunk, selection: Selection) -> TraceChunk:
    """Return the first chunk of a run, as if a slab of a long sequence had the timesteps of all."""
    if not first.is_slab:
        return first
    timesteps = [
        np.arange(part.length) if selection.timesteps is None else selection.timesteps.pick(part.length, "timestep")
        for part in first.directions
    ]
    directions = zip(first.directions, timesteps, strict=True)
    return replace(first, directions=tuple(replace(part, timesteps=numbers) for part, numbers in directions))


def _block_size(first: TraceChunk, rows: int, wanted: int | None, found: Manifest) -> int:
    """Return the number of samples of a block: what is wanted, or was before, or suits the size of a sample.

    It does not depend on who is there to compute, so that a second run cuts in the same places.
    """
    if wanted is None and found.get("batch") == rows:
        wanted = found.get("block")
    if wanted is not None and wanted % rows:
        raise InputError(f"--block-size {wanted} is not a multiple of the batch size {rows}")
    if not first.directions:
        raise InputError("there is nothing to write: the model has no recurrent layer")
    arrays = [(part.kept, value) for part in first.directions for value in part.signals.values()]
    sample = sum(kept * value.dtype.itemsize * math.prod(value.shape[2:]) for kept, value in arrays)
    return wanted or max(1, BLOCK_BYTES // max(1, sample * rows)) * rows


def _blocks(numbers: Array, size: int) -> Iterator[Block]:
    for start in range(0, len(numbers), size):
        yield Block(start, min(start + size, len(numbers)), int(numbers[start]))


def _manifest(
    metadata: Mapping[str, Any], numbers: Array, batches: Batches, destination: Destination, size: int
) -> Manifest:
    """Return what makes a run the one that it is; JSON-ready."""
    manifest = {
        "format": FORMAT,
        "metadata": metadata,
        "samples": len(numbers),
        "batch": batches.rows,
        "block": size,
        "layout": destination.layout,
        "compress": destination.compress,
        "kernel": asdict(batches.kernel),
    }
    return cast("Manifest", json.loads(json.dumps(manifest)))  # as it will be read


def _goes_on(found: Manifest, wanted: Manifest, destination: Destination, *, force: bool) -> bool:
    """Return whether a run goes on with what is there; if not, it starts anew.

    Raises:
        OutputError: It is that of another run, and --force was not given.
    """
    others = sorted(_differences({**found, "kernel": None}, {**wanted, "kernel": None}))
    if others and not force:
        reason = f"holds the trace of another run: other {', '.join(others)}"
        raise OutputError(
            reason, file=redact_url(destination.name), remedy="name another folder, or start anew with --force"
        )
    return not others


def _differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield the places in which two manifests differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        if one != other:
            yield place or "manifest"
        return
    for key in one.keys() | other.keys():
        inner = key if place in ("", "metadata") else f"{place}.{key}"
        yield from _differences(one.get(key), other.get(key), inner)


def _at_work(workers: DaskWorkers | None) -> AbstractContextManager[Perform]:
    return nullcontext(_here) if workers is None else workers.at_work()


def _here(blocks: Iterable[Block], tracing: Tracing, job: Job) -> Iterator[Block]:
    """Compute blocks in this process."""
    for block in blocks:
        compute(block, tracing, job)
        yield block


def _follow(finished: Iterable[Block], there: Iterable[Block], total: int, progress: Progress | None) -> None:
    done = sum(block.stop - block.start for block in there)
    for block in finished:
        done += block.stop - block.start
        if progress is not None:
            progress(done, total, "samples")
