"""The replay's side of a comparison: signals and outputs, in any precision, of a graph that may have been altered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gateprobe.graph import Array, ModelGraph
from gateprobe.inputs.samples import InputSpec, from_arrays
from gateprobe.layers.base import FLOAT64, Precision
from gateprobe.replay.plan import Plan, Wanted, make_plan
from gateprobe.replay.run import run
from gateprobe.semantics import Semantics
from gateprobe.traces.chunk import DirectionTrace, joined

Key = tuple[str, str]
"""Layer path and direction."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is replayed: a graph, and what its words mean."""

    graph: ModelGraph
    semantics: Semantics
    adjust: Callable[[Plan], Plan] | None = None
    """A change of the bound layers."""
    _plans: dict[tuple[Wanted, Precision | None], Plan] = field(default_factory=dict, init=False, repr=False)

    def plan(self, wanted: Wanted, precision: Precision | None) -> Plan:
        """Bind what is wanted, once for all inputs."""
        if (wanted, precision) not in self._plans:
            plan = make_plan(self.graph, self.semantics, wanted, precision)
            self._plans[wanted, precision] = plan if self.adjust is None else self.adjust(plan)
        return self._plans[wanted, precision]


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What a replay gave for one set of inputs."""

    traces: Mapping[Key, DirectionTrace]
    """In the order in which the layers ran."""
    outputs: tuple[Array | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReplayOptions:
    """How to replay."""

    specs: Sequence[InputSpec]
    rows: int
    precision: Precision | None = None
    """Instead of that of the file."""
    traced: Callable[[str], bool] = lambda path: True
    outputs: bool = True


def in_both_precisions(
    subject: Subject, inputs: Mapping[str, Array], options: ReplayOptions, feeds: Mapping[str, Array] | None = None
) -> tuple[Replayed, Replayed]:
    """Replay one set of inputs as `replay` does, and again in float64."""
    exact = replace(options, precision=FLOAT64)
    return replay(subject, inputs, options, feeds), replay(subject, inputs, exact, feeds)


def replay(
    subject: Subject, inputs: Mapping[str, Array], options: ReplayOptions, feeds: Mapping[str, Array] | None = None
) -> Replayed:
    """Replay one set of inputs.

    Args:
        subject: What to replay.
        inputs: By name.
        options: How.
        feeds: What to give to layers directly.

    Raises:
        UnsupportedModel: Something cannot be replayed exactly.
        InputError: The inputs do not fit.
    """
    wanted = Wanted(options.traced, outputs=options.outputs, fed=frozenset(feeds or ()))
    plan = subject.plan(wanted, options.precision)
    samples = from_arrays(dict(inputs) or None, options.specs, feeds)
    results = list(run(plan, samples, traced=options.traced, batch_size=options.rows))
    trace = joined(result.chunk for result in results)
    outputs = tuple(
        None if any(part is None for part in parts) else np.concatenate([part for part in parts if part is not None])
        for parts in zip(*(result.outputs for result in results), strict=True)
    )
    return Replayed({(one.layer, one.direction): one for one in trace.directions}, outputs)
