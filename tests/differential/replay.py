"""The replay of a saved file: outputs with their masks, and the signals of every recurrent layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.layers.base import FLOAT32, FLOAT64, Arguments, Scope, Tensor
from gateprobe.readers import read as read_graph
from gateprobe.replay.plan import Wanted, make_plan
from gateprobe.replay.run import run
from gateprobe.semantics import semantics_of
from gateprobe.trace import join

from .compare import without_rounding


@dataclass(frozen=True)
class Blocks:
    """Samples in the order of the model's inputs, as `gateprobe.replay.run` wants them."""

    arrays: Sequence[np.ndarray]

    @property
    def count(self) -> int:
        return len(self.arrays[0])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(array.shape for array in self.arrays)

    @property
    def fed(self) -> bool:
        return False

    def block(
        self, numbers: np.ndarray, timesteps: slice = slice(None)
    ) -> tuple[Sequence[np.ndarray], Mapping[str, np.ndarray]]:
        cut = not (timesteps.start is None and timesteps.stop is None)
        return [array[numbers, timesteps] if cut else array[numbers] for array in self.arrays], {}


Key = tuple[str, str, str]
"""Layer path, direction and signal."""


@dataclass(frozen=True)
class Replayed:
    """What a file gives, and what it would give if nothing were rounded."""

    outputs: list[np.ndarray]
    exact_outputs: list[np.ndarray]
    masks: list[np.ndarray | None]
    """Of the outputs; only of the first batch when the model is stateful."""
    signals: dict[Key, np.ndarray]
    exact_signals: dict[Key, np.ndarray]
    signal_masks: dict[tuple[str, str], np.ndarray | None]
    notes: tuple[str, ...] = ()


def replay(path: str, data: Mapping[str, np.ndarray], precision: str, *, rows: int) -> Replayed:
    """Read a file and replay it as it says, in float64, and a model of float64 in float32 as well.

    Raises:
        GateprobeError: The file is refused.
    """
    graph = read_graph(path)
    semantics = semantics_of(graph.origin)
    assert graph.model is not None
    order = [ref.layer for ref in graph.model.inputs]
    arrays = [data[name] for name in order] if set(order) <= data.keys() else list(data.values())
    runs = []
    for wanted in (None, FLOAT64, FLOAT32) if precision == "float64" else (None, FLOAT64):
        plan = make_plan(graph, semantics, Wanted(lambda path: True, outputs=True), wanted)
        parts = list(run(plan, Blocks(arrays), traced=lambda path: True))
        outputs = [np.concatenate(batch) for batch in zip(*(part.outputs for part in parts), strict=True)]
        runs.append((outputs, join([part.chunk for part in parts], {})))
    plan = make_plan(graph, semantics, Wanted(lambda path: False, outputs=True))
    scope = Scope("", lambda path: False, lambda *args, **kwargs: None)
    with np.errstate(all="ignore"):
        tensors = plan.graph.replay(Arguments(tuple(Tensor(array[:rows]) for array in arrays)), scope)
    signals = [_signals(trace) for _, trace in runs]
    return Replayed(
        runs[0][0],
        [without_rounding(*values) for values in zip(*(outputs for outputs, _ in runs), strict=True)],
        [tensor.mask for tensor in tensors],
        signals[0],
        {key: without_rounding(*(one[key] for one in signals)) for key in signals[0]},
        {(one.layer, one.direction): one.mask for one in runs[0][1].directions},
        plan.notes,
    )


def _signals(trace: Any) -> dict[Key, np.ndarray]:
    return {(one.layer, one.direction, name): value for one in trace.directions for name, value in one.signals.items()}
