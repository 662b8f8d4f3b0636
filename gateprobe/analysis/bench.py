"""Runs a model as it is and with mistakes, and keeps what its recurrent layers were given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gateprobe.analysis.mistakes.watch import Fields, Given, Halves, Key, Watch, watched
from gateprobe.graph import Array
from gateprobe.inputs.samples import Samples
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.objects import ObjectWeights, known_weights, trace_path
from gateprobe.replay.run import batches_of, run
from gateprobe.traces.chunk import DirectionTrace, joined
from gateprobe.traces.selection import Selection

Rule = Callable[[Key], Fields]


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What one run left behind."""

    traces: Mapping[Key, DirectionTrace]
    """In the order in which the layers ran."""
    given: Mapping[Key, Given]
    """What each got, where it can be altered."""
    every: tuple[Key, ...]
    """Also the layers that are not traced, in the order in which they ran."""


@dataclass(frozen=True, eq=False)
class Bench:
    """A model and its inputs."""

    model: OpenedModel
    samples: Samples
    selection: Selection
    dtype: str | None = None
    pre: bool = False

    @cached_property
    def halves(self) -> Halves:
        """See `halves_of`."""
        return halves_of(self.model)

    def run(self, rule: Rule | None = None, *, exact: bool = False, numbers: Array | None = None) -> Ran:
        """Run the model.

        Args:
            rule: The mistakes of each direction of a layer; none without it.
            exact: Whether to compute in float64.
            numbers: Which samples; all without it.

        Raises:
            UnsupportedModel: Something cannot be replayed exactly.
            InputError: The samples do not fit.
        """
        plan = self.model.plan(self.selection, feeds=self.samples.feeds, dtype="float64" if exact else self.dtype)
        seen: dict[Key, list[Given]] = {}
        watch = Watch(rule or (lambda key: {}), self.halves, seen)
        plan = replace(plan, graph=watched(plan.graph, watch))
        numbers = np.arange(self.samples.count) if numbers is None else numbers
        batches = replace(batches_of(plan, self.samples, numbers), timesteps=None)
        sizes: list[int] = []
        chunks = []
        for result in run(
            plan, self.samples, traced=self.selection.takes_layer, numbers=numbers, batches=batches,
            pre_activations=self.pre,
        ):  # fmt: skip
            chunks.append(self.selection.apply(result.chunk) if result.chunk.directions else result.chunk)
            sizes.append(len(result.chunk.samples))
        whole = joined(chunks)
        traces = {(part.layer, part.direction): part for part in whole.directions}
        given = {key: _whole(parts, sizes) for key, parts in seen.items() if len(parts) == len(sizes)}
        traced = {key: one for key, one in given.items() if key in traces}
        return Ran(traces, _stacked(traced, traces), tuple(watch.ran))


def _whole(parts: list[Given], sizes: list[int]) -> Given:
    """Put what the batches got together; a single sample runs beside a copy of itself, which is left out."""

    def joined_rows(arrays: Iterable[Array]) -> Array:
        return np.concatenate([array[:size] for array, size in zip(arrays, sizes, strict=True)])

    masks = [part.mask for part in parts]
    whole_mask = None
    if any(mask is not None for mask in masks):
        whole_mask = joined_rows(
            np.ones(part.x.shape[:2], bool) if mask is None else mask for mask, part in zip(masks, parts, strict=True)
        )
    first = parts[0]
    initial = tuple(joined_rows(part.initial[n] for part in parts) for n in range(len(first.initial)))
    return replace(first, x=joined_rows(part.x for part in parts), mask=whole_mask, initial=initial)


def _stacked(given: Mapping[Key, Given], traces: Mapping[Key, DirectionTrace]) -> dict[Key, Given]:
    """Give each of stacked cells but the first the hidden states of the one before."""
    found = {}
    for (layer, direction), one in given.items():
        name, slash, number = layer.rpartition("/cell_")
        if slash and int(number) > 0:
            before = traces.get((f"{name}/cell_{int(number) - 1}", direction))
            if before is None:
                continue
            one = replace(one, x=before.signals["hidden_state"])  # noqa: PLW2901
        found[layer, direction] = one
    return found


def halves_of(model: OpenedModel) -> Halves:
    """Return both halves of the bias of every CuDNN LSTM, which the replay adds up."""
    objects, _ = known_weights(model.graph, model.record, model.semantics)  # the plan says why not of the others
    return dict(pair for item in objects for pair in halves_in(item))


def halves_in(item: ObjectWeights) -> Iterator[tuple[Key, tuple[Array, Array]]]:
    """Yield both halves of the bias of an object, if it is the cell of a CuDNN LSTM."""
    bias, recurrent = item.weights.get("bias"), item.weights.get("recurrent_kernel")
    if bias is None or recurrent is None or recurrent.ndim != 2 or bias.shape != (2 * recurrent.shape[-1],):
        return
    if recurrent.shape[-1] == 4 * recurrent.shape[0]:
        layer, direction = trace_path(item.path)
        first, second = np.split(bias, 2)
        yield from (((layer, way), (first, second)) for way in _WAYS if direction in (None, way))


def cut(given: Given, rows: int) -> Given:
    """Leave out the rows behind the samples: a single one runs beside a copy of itself."""
    mask = None if given.mask is None else given.mask[:rows]
    return replace(given, x=given.x[:rows], mask=mask, initial=tuple(state[:rows] for state in given.initial))


_WAYS = ("forward", "backward")
