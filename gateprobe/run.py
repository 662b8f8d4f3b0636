"""Runs a plan over samples, batch by batch: the only module that knows of batches.

Batches have a fixed number of rows; the last one is padded with copies of its last sample and trimmed afterwards,
because a BLAS may round differently for another number of rows. A run's numbers therefore depend on the samples alone
and not on how they arrive. Memory does not grow with the number of samples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.kernels.choice import Kernel, choose
from gateprobe.layers.base import Arguments, Scope, Tensor
from gateprobe.layers.functional import NOT_COMPUTED
from gateprobe.plan import Plan
from gateprobe.trace import DirectionTrace, TraceChunk, blank

DEFAULT_ROWS = 32

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the number there are."""


class Blocks(Protocol):
    """Samples that can be read in blocks; `gateprobe.samples.Samples` is one."""

    @property
    def count(self) -> int:
        """Number of samples."""

    def block(self, numbers: Array) -> tuple[Sequence[Array | None], Mapping[str, Array]]:
        """Return the inputs and the feeds of some samples; ``None`` for an input that feeds make unnecessary."""


@dataclass(frozen=True, slots=True)
class Batches:
    """How a run goes. A part of it that goes the same way gives the same numbers, wherever it runs."""

    rows: int
    """Of every batch."""
    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Result:
    """What one batch gave."""

    chunk: TraceChunk
    outputs: tuple[Array | None, ...]
    """One for each output of the model; ``None`` where it was not asked for."""


@dataclass(slots=True)
class _Recorder:
    """Collects what recurrent layers hand over during one batch."""

    rows: int
    """Of the batch."""
    wanted: int
    """How many of them are samples; the rest is padding."""
    directions: list[DirectionTrace] = field(default_factory=list)

    def __call__(
        self, path: str, *, direction: str, backwards: bool, signals: Mapping[str, Array], mask: Array | None
    ) -> None:
        kept = {name: _samples_of(value, self.rows, path)[: self.wanted] for name, value in signals.items()}
        kept_mask = None if mask is None else mask[: self.wanted]
        first = next(iter(kept.values()))
        self.directions.append(
            DirectionTrace(
                layer=path,
                direction=direction,
                backwards=backwards,
                signals=blank(kept, kept_mask),
                mask=kept_mask,
                timesteps=np.arange(first.shape[1]),
                units=np.arange(int(np.prod(first.shape[2:]))),
                length=first.shape[1],
            )
        )


def run(
    plan: Plan,
    samples: Blocks,
    *,
    traced: Callable[[str], bool],
    numbers: Array | None = None,
    batch_size: int | None = None,
    pre_activations: bool = False,
    kernel: str = "auto",
    batches: Batches | None = None,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Replay samples.

    Args:
        plan: What to run.
        samples: Where they come from.
        traced: Whether the recurrent layer at a path is wanted.
        numbers: Which samples, ``(samples,)``; all without it.
        batch_size: Rows of a batch; a stateful model has its own number.
        pre_activations: Whether to record the ``pre_`` signals too.
        kernel: ``auto``, ``numpy`` or ``compiled``.
        batches: How the whole goes of which this is a part, instead of ``batch_size`` and ``kernel``.
        progress: Is told after every batch.

    Yields:
        One result for each batch, in the order of the samples.

    Raises:
        InputError: The samples do not fit a layer; the place is the layer's path.
    """
    numbers = np.arange(samples.count) if numbers is None else numbers
    how = batches or batches_of(plan, samples, numbers, batch_size=batch_size, kernel=kernel)
    rows = how.rows
    states: dict[tuple[str, ...], tuple[Array, ...]] = {}
    for start in range(0, len(numbers), rows):
        picked = numbers[start : start + rows]
        padded = np.concatenate([picked, np.repeat(picked[-1:], rows - len(picked))])
        inputs, feeds = samples.block(padded)
        recorder = _Recorder(rows, len(picked))
        scope = Scope("", traced, recorder, states, pre_activations, feeds, how.kernel, padded=len(picked) < rows)
        with np.errstate(all="ignore"):  # infinities and NaN are results here, as they are in Keras
            given = tuple(Tensor(NOT_COMPUTED if value is None else value) for value in inputs)
            outputs = plan.graph.replay(Arguments(given), scope)
        chunk = TraceChunk(picked, tuple(recorder.directions))
        values = (None if out.value is None else _samples_of(out.value, rows, "the output") for out in outputs)
        yield Result(chunk, tuple(None if value is None else value[: len(picked)] for value in values))
        if progress is not None:
            progress(start + len(picked), len(numbers))


def batches_of(
    plan: Plan, samples: Blocks, numbers: Array, *, batch_size: int | None = None, kernel: str = "auto"
) -> Batches:
    """Decide how a run goes; takes what `run` takes.

    Raises:
        InputError: There are no samples, or too few or too many for a stateful model.
        MissingExtra: The kernel needs an extra.
    """
    rows = _rows(plan, samples, numbers, batch_size)
    return Batches(rows, choose(kernel, batches=-(-len(numbers) // rows)))


def _samples_of(value: Array, rows: int, place: str) -> Array:
    """Check that an array has one row for each sample, which a graph may change by reshaping.

    Raises:
        InputError: It has more or fewer, so that nobody can say which rows belong to which sample.
    """
    if len(value) != rows:
        raise InputError(f"has {len(value)} rows for {rows} samples, which gateprobe does not tell apart", place=place)
    return value


def _rows(plan: Plan, samples: Blocks, numbers: Array, batch_size: int | None) -> int:
    """Return the number of rows of every batch."""
    if not len(numbers):
        raise InputError("there are no samples", remedy="give the model's inputs; a model without any cannot be run")
    if plan.batch_size is None:
        return min(batch_size or DEFAULT_ROWS, len(numbers))
    if len(numbers) != samples.count:
        raise InputError("this model is stateful: a sample's numbers depend on those before it", remedy="run them all")
    if len(numbers) % plan.batch_size:
        raise InputError(
            f"this model is stateful in batches of {plan.batch_size} samples, the input has {len(numbers)}",
            remedy="give a multiple of it",
        )
    return plan.batch_size


def plain_path(path: str) -> str:
    """Return a layer path without the numbers of calls."""
    return re.sub(r":\d+", "", path)
