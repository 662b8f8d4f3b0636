"""Runs a plan over samples: the only module that knows of batches, of slabs of time and of threads.

What a sample's numbers depend on: the model, how it is run (``dtype``, ``semantics``, feeds), the sample itself, the
kernel, and the BLAS and NumPy of the machine. They are the same, bit by bit, alone, in a selection and in the whole
run; the batch size, the other samples, their number and order, and the number of threads change nothing. Three rules
see to that: a layer multiplies so that rows do not depend on each other (``layers/recurrent/kernels/blas.py``);
whether the kernel is compiled, and whether a sample runs in slabs, follows from the model and the shape of one sample;
and a single sample runs beside a copy of itself, because NumPy walks over an axis of size one in another order. Only
stateful models, and layers that mix the samples of a batch, make a sample depend on others, as they do in Keras.

Batches run side by side on threads, and the BLAS has one thread. Memory does not grow with the number of samples, nor
with their length where no layer looks ahead: very long sequences then run one by one, in slabs of timesteps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event
from typing import Protocol

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Scope, Tensor
from gateprobe.layers.binding.graph import NOT_COMPUTED, Graph, call_name
from gateprobe.layers.recurrent.cells import CellRun
from gateprobe.layers.recurrent.kernels.blas import ONE_THREAD
from gateprobe.layers.recurrent.kernels.choice import Kernel, choose
from gateprobe.limits import room
from gateprobe.replay.batch_size import AUTO, BatchSize, fitting_rows, given_rows
from gateprobe.replay.plan import Plan
from gateprobe.replay.text import padded
from gateprobe.replay.threads import in_order, threads_of
from gateprobe.traces.chunk import DirectionTrace, Grid, TraceChunk, blank, image_axes

LONG = 16_384
"""Timesteps of the longest sequences that run as a whole if they can run in slabs."""
SLAB = 4_096
"""Timesteps of a slab."""
_WORTH_THREADS = 2_000_000
"""Multiplications of a batch in a timestep from which on batches run side by side unless it is asked for: in shorter
steps, threads wait for Python's lock longer than they compute (`benchmarks/threads.py`)."""

Progress = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and what is counted: ``samples``, or ``timesteps``."""


class Blocks(Protocol):
    """Samples that can be read in blocks; `gateprobe.inputs.samples.Samples` is one."""

    @property
    def count(self) -> int:
        """Number of samples."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of each input, samples first; empty for an input that feeds make unnecessary."""

    @property
    def fed(self) -> bool:
        """Whether anything is given to layers directly."""

    def input(self, number: int, numbers: Array) -> Array | None:
        """Return some samples of one input; ``None`` where feeds make it unnecessary."""

    def block(
        self, numbers: Array, timesteps: slice = slice(None)
    ) -> tuple[Sequence[Array | None], Mapping[str, Array]]:
        """Return the inputs and the feeds of some samples, the inputs perhaps cut along their second axis.

        An input that feeds make unnecessary is ``None``.
        """


@dataclass(frozen=True, slots=True)
class Batches:
    """How a run goes. Its parts are the same wherever they run; their numbers depend on the kernel alone."""

    rows: int
    """Of every batch but the last one."""
    kernel: Kernel
    timesteps: int | None = None
    """Of very long sequences, which run one by one and in slabs."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one batch gave."""

    chunk: TraceChunk
    outputs: tuple[Array | None, ...]
    """One for each output of the model; ``None`` where it was not asked for."""
    ran: tuple[CellRun, ...] = ()
    """What the cells ran on, one for each direction of the chunk that has timesteps; empty unless asked for."""


@dataclass(slots=True)
class _Recorder:
    """Collects what recurrent layers hand over during one batch."""

    rows: int
    """Of the batch."""
    wanted: int
    """How many of them are samples; the rest is a copy."""
    first: int = 0
    """Number of the first timestep."""
    timesteps: int | None = None
    """Of the whole sequences, where the batch holds a slab of them."""
    cell_runs: bool = False
    """Whether to keep what the cells ran on."""
    directions: list[DirectionTrace] = field(default_factory=list)
    ran: list[CellRun] = field(default_factory=list)
    """One for each direction, or none."""

    def __call__(
        self,
        path: str,
        *,
        direction: str,
        backwards: bool,
        signals: Mapping[str, Array],
        mask: Array | None,
        ran: CellRun,
    ) -> None:
        kept = {name: _samples_of(value, self.rows, path)[: self.wanted] for name, value in signals.items()}
        kept_mask = None if mask is None else mask[: self.wanted]
        first = next(iter(kept.values()))
        if self.cell_runs:
            self.ran.append(ran)
        self.directions.append(
            DirectionTrace(
                layer=path,
                direction=direction,
                backwards=backwards,
                signals=blank(kept, kept_mask),
                mask=kept_mask,
                timesteps=np.arange(self.first, self.first + first.shape[1]),
                units=np.arange(int(np.prod(first.shape[2:]))),
                length=self.timesteps or first.shape[1],
                whole=self.timesteps,
                grid=_grid(first.shape[2:], ran),
            )
        )


def _grid(sizes: tuple[int, ...], ran: CellRun) -> Grid:
    """Return the axes of the images of a ConvLSTM."""
    return image_axes(sizes, filters_first=ran.cell.anatomy.channels_first) if len(sizes) > 1 else ()


def run(
    plan: Plan,
    samples: Blocks,
    *,
    traced: Callable[[str], bool],
    numbers: Array | None = None,
    batch_size: BatchSize = None,
    pre_activations: bool = False,
    cell_runs: bool = False,
    kernel: str = "auto",
    batches: Batches | None = None,
    threads: int | None = 1,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Replay samples.

    Args:
        plan: What to run.
        samples: Where they come from.
        traced: Whether the recurrent layer at a path is wanted.
        numbers: Which samples, ``(samples,)``; all without it.
        batch_size: Rows of a batch, 32 without it, or ``auto``; a stateful model has its own number, and very long
            sequences run one by one.
        pre_activations: Whether to record the ``pre_`` signals too.
        cell_runs: Whether to keep what the cells ran on; holds more memory.
        kernel: ``auto``, ``numpy`` or ``compiled``.
        batches: How the whole goes of which this is a part, instead of ``batch_size`` and ``kernel``.
        threads: How many batches run side by side; ``None`` for one on each core that the process may use, or for one
            alone where steps are so short that threads would only wait for each other. The batches of a stateful model
            and slabs run one after the other.
        progress: Is told after every batch.

    Yields:
        One result for each batch, in the order of the samples; of very long sequences one for each slab, in the order
        sample, layer, timestep.

    Raises:
        InputError: The samples do not fit a layer; the place is the layer's path.
    """
    numbers = np.arange(samples.count) if numbers is None else numbers
    plan = padded(plan, samples)
    how = batches or batches_of(plan, samples, numbers, batch_size=batch_size, kernel=kernel)
    scope = Scope(
        "",
        traced,
        _nowhere,
        pre_activations=pre_activations,
        cell_runs=cell_runs,
        kernel=how.kernel,
        max_bytes=plan.max_bytes,
    )
    threads = threads_of(threads if threads is not None or _worth_threads(plan, samples, how) else 1)
    if how.timesteps is None:
        yield from _in_batches(plan, samples, numbers, how.rows, scope, threads, progress or _untold)
    else:
        yield from _in_slabs(plan, samples, numbers, how.timesteps, scope, progress or _untold)


def _worth_threads(plan: Plan, samples: Blocks, how: Batches) -> bool:
    """Return whether batches gain by running side by side; compiled code always does, as it needs no lock."""
    if plan.step_weights is None or how.rows * plan.step_weights >= _WORTH_THREADS:
        return True
    return how.kernel.compiles(max((shape[1] for shape in samples.shapes if len(shape) > 1), default=0))


def _in_batches(
    plan: Plan, samples: Blocks, numbers: Array, rows: int, scope: Scope, threads: int, progress: Progress
) -> Iterator[Result]:
    """Run whole sequences, ``rows`` at a time, and several of these batches side by side."""
    scope = replace(scope, stop=Event())
    starts = range(0, len(numbers), rows)
    jobs = (_batch(plan, samples, numbers[start : start + rows], scope) for start in starts)
    done = 0
    for result in in_order(jobs, 1 if plan.batch_size else min(threads, len(starts)), scope.stop):
        yield result
        done += len(result.chunk.samples)
        progress(done, len(numbers), "samples")


def _batch(plan: Plan, samples: Blocks, picked: Array, scope: Scope) -> Callable[[], Result]:
    """Read the samples of a batch; what is returned replays them."""
    padded = len(picked) == 1 and plan.batch_size is None
    inputs, feeds = samples.block(np.repeat(picked, 2) if padded else picked)
    return partial(_run_batch, plan.graph, inputs, picked, replace(scope, feeds=feeds, padded=padded))


def _run_batch(graph: Graph, inputs: Sequence[Array | None], picked: Array, scope: Scope) -> Result:
    """Replay a batch; a copy of a single sample is cut off."""
    rows = len(picked) + scope.padded
    recorder = _Recorder(rows, len(picked), cell_runs=scope.cell_runs)
    outputs = _replay(graph, inputs, replace(scope, deliver=recorder))
    chunk = TraceChunk(picked, tuple(recorder.directions))
    values = (None if out.value is None else _samples_of(out.value, rows, "the output") for out in outputs)
    return Result(
        chunk, tuple(None if value is None else value[: len(picked)] for value in values), tuple(recorder.ran)
    )


def _replay(graph: Graph, inputs: Sequence[Array | None], scope: Scope) -> tuple[Tensor, ...]:
    # infinities and NaN are results here, as they are in Keras
    with ONE_THREAD, np.errstate(all="ignore"), room.limited(scope.max_bytes):
        given = tuple(Tensor(NOT_COMPUTED if value is None else value) for value in inputs)
        return graph.replay(Arguments(given), scope)


def _in_slabs(
    plan: Plan, samples: Blocks, numbers: Array, timesteps: int, scope: Scope, progress: Progress
) -> Iterator[Result]:
    """Run long sequences one by one, and again for each layer: nothing but a slab is held.

    A layer is run with all that lies before it, which is computed anew: only so do the slabs of a layer follow each
    other, as the rows of a table must.
    """
    outline = _slab(plan.graph, samples, int(numbers[0]), range(1), replace(scope, states={}), timesteps).directions
    empty = tuple(_emptied(part) for part in outline)
    done, total = 0, len(numbers) * len(outline) * timesteps
    for sample in map(int, numbers):
        for place, wanted in enumerate(outline):
            graph = _up_to(plan.graph, wanted.layer)
            inside = replace(scope, traced=wanted.layer.__eq__, states={})
            for start in range(0, timesteps, SLAB):
                span = range(start, min(start + SLAB, timesteps))
                recorded = _slab(graph, samples, sample, span, inside, timesteps)
                (part,) = recorded.directions
                directions = (*empty[:place], part, *empty[place + 1 :])
                chunk = TraceChunk(np.array([sample]), directions, continues=place > 0 or start > 0)
                yield Result(chunk, (None,) * len(plan.graph.outputs), tuple(recorded.ran))
                done += len(span)
                progress(done, total, "timesteps")


def _slab(graph: Graph, samples: Blocks, sample: int, span: range, scope: Scope, timesteps: int) -> _Recorder:
    """Replay some timesteps of one sample, going on with the states in the scope."""
    inputs, _ = samples.block(np.array([sample]), slice(span.start, span.stop))
    recorder = _Recorder(1, 1, span.start, timesteps, scope.cell_runs)
    _replay(graph, inputs, replace(scope, deliver=recorder, slab=True))
    return recorder


def _up_to(graph: Graph, path: str) -> Graph:
    """Return the steps of a graph up to the one that holds a layer."""
    holding = [
        number
        for number, step in enumerate(graph.steps)
        if f"{path}/".startswith(f"{call_name(*step.node)}/")  # several, where names hold slashes
    ]
    return replace(graph, steps=graph.steps[: holding[-1] + 1])


def _emptied(direction: DirectionTrace) -> DirectionTrace:
    """Return a direction without its timesteps."""
    signals = {name: value[:, :0] for name, value in direction.signals.items()}
    mask = None if direction.mask is None else direction.mask[:, :0]
    return replace(direction, signals=signals, mask=mask, timesteps=direction.timesteps[:0])


def _nowhere(*args: object, **kwargs: object) -> None:
    """Placeholder; each batch sets its own recorder."""


def _untold(done: int, total: int, unit: str) -> None:
    """Stand in for progress where none is asked for."""


def batches_of(
    plan: Plan, samples: Blocks, numbers: Array, *, batch_size: BatchSize = None, kernel: str = "auto"
) -> Batches:
    """Decide how a run goes; takes what `run` takes.

    Raises:
        InputError: There are no samples, or too few or too many for a stateful model.
        MissingExtra: The kernel needs an extra.
    """
    if not len(numbers):
        raise InputError("there are no samples", remedy="give the model's inputs; a model without any cannot be run")
    timesteps = _timesteps_to_cut(plan, samples)
    if timesteps is not None:
        return Batches(1, choose(kernel, timesteps), timesteps)
    return Batches(_rows(plan, samples, numbers, batch_size), choose(kernel))


def _samples_of(value: Array, rows: int, place: str) -> Array:
    """Check that an array has one row for each sample, which a graph may change by reshaping.

    Raises:
        InputError: It has more or fewer, so that it is unknown which rows belong to which sample.
    """
    if len(value) != rows:
        raise InputError(f"has {len(value)} rows for {rows} samples, which gateprobe does not tell apart", place=place)
    return value


def _rows(plan: Plan, samples: Blocks, numbers: Array, batch_size: BatchSize) -> int:
    """Return the number of rows of every batch."""
    if plan.batch_size is None:
        auto = batch_size == AUTO
        with room.limited(plan.max_bytes):
            rows = fitting_rows(plan.graph, *samples.block(numbers[:1])) if auto else given_rows(batch_size)
        return min(rows, len(numbers))
    if len(numbers) != samples.count:
        raise InputError(
            "this model keeps states, or holds constants for one batch: a sample depends on its place among all",
            remedy="run them all",
        )
    if len(numbers) % plan.batch_size:
        raise InputError(
            f"this model was built for batches of {plan.batch_size} samples, the input has {len(numbers)}",
            remedy="give a multiple of it",
        )
    return plan.batch_size


def _timesteps_to_cut(plan: Plan, samples: Blocks) -> int | None:
    """Return the number of timesteps of sequences that are to run in slabs, if they are.

    This depends on the plan and on the shape of the input alone, so that the numbers do, too.
    """
    lengths = {shape[1:2] for shape in samples.shapes}
    asked = any(plan.graph.outputs) or not plan.graph.steps
    if len(lengths) != 1 or samples.fed or plan.batch_size is not None or asked:
        return None
    (length,) = lengths
    if not length or length[0] <= LONG or plan.graph.over_time(tuple(map(len, samples.shapes))) is None:
        return None
    return length[0]
