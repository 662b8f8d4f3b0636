"""Models that read text: how long their rows are, and which tokens stand at each timestep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from gateprobe.graph import Array, TensorRef
from gateprobe.layers.base import Tokenizer
from gateprobe.layers.binding.graph import Graph, Step, call_name
from gateprobe.replay.plan import Plan
from gateprobe.replay.timelines import Origin, Timelines

_ROWS = 1_024
"""Samples that are looked through at once."""


class Texts(Protocol):
    """Samples that can be read in blocks; see `gateprobe.replay.run.Blocks`."""

    @property
    def count(self) -> int:
        """Number of samples."""

    def input(self, number: int, numbers: Array) -> Array | None:
        """Return some samples of one input."""


def padded(plan: Plan, samples: Texts) -> Plan:
    """Return a plan in which all texts make rows of one length: that of the longest sample.

    Keras pads each batch to its own longest text. One length for all lets a trace hold all samples, and makes no number
    depend on the batch; where what is padded is masked, as by an Embedding with ``mask_zero``, none depends on it.
    """
    steps = tuple(_padded(step, plan.graph, samples) for step in plan.graph.steps)
    return replace(plan, graph=replace(plan.graph, steps=steps))


def _padded(step: Step, graph: Graph, samples: Texts) -> Step:
    place = _input_of(step, graph)
    if place is None or not isinstance(step.layer, Tokenizer) or not step.layer.pads_to_longest:
        return step
    longest = max((len(row) for row in _rows(step.layer, samples, place)), default=0)
    return replace(step, layer=step.layer.padded(longest)) if longest else step


def _input_of(step: Step, graph: Graph) -> int | None:
    """Return the number of the model's input that a step reads directly."""
    read = step.call.args[0] if step.call.args else step.call.kwargs.get("inputs")
    read = read[0] if isinstance(read, tuple) and len(read) == 1 else read
    return graph.inputs.index(read) if isinstance(read, TensorRef) and read in graph.inputs else None


def _rows(layer: Tokenizer, samples: Texts, place: int) -> Iterator[list[str]]:
    for start in range(0, samples.count, _ROWS):
        block = samples.input(place, np.arange(start, min(start + _ROWS, samples.count)))
        if block is not None:
            yield from layer.tokens(block)


@dataclass(frozen=True, slots=True, eq=False)
class TextTokens:
    """The tokens that a model makes of its texts; a `gateprobe.traces.labeller.Labeller`."""

    layer: Tokenizer
    samples: Texts
    place: int
    """Number of the input."""

    def labels(
        self,
        sample: int,
        timesteps: Array,
        *,
        layer: str | None = None,
        length: int | None = None,
        mask: Array | None = None,
    ) -> tuple[str, ...] | None:
        """Return the tokens at some timesteps, empty where a row is padded.

        ``None`` for a layer that has another number of timesteps.
        """
        if length not in (None, self.layer.row_length):
            return None
        block = self.samples.input(self.place, np.array([sample]))
        if block is None:
            return None
        (row,) = self.layer.tokens(block)
        return tuple(row[at] if at < len(row) else "" for at in map(int, timesteps))


def tokens_of(plan: Plan, samples: Texts, lines: Timelines, traced: Sequence[str]) -> TextTokens | None:
    """Return the tokens behind the timesteps of some layers.

    Args:
        plan: What runs, see `padded`.
        samples: The texts.
        lines: Which timesteps are the same.
        traced: Paths of recurrent layers.

    Returns:
        ``None`` unless all of them read the timesteps of one layer that makes rows of ids of an input.
    """
    for step in plan.graph.steps:
        place, root = _input_of(step, plan.graph), call_name(*step.node)
        if place is None or not isinstance(step.layer, Tokenizer) or step.layer.row_length is None:
            continue
        begun = (lines.of(path).named(Origin.LAYER) for path in traced)
        if traced and all(names == {root} for names in begun):
            return TextTokens(step.layer, samples, place)
    return None
