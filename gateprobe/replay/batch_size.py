"""How many samples run together unless it is given: chosen by what one sample takes.

The choice follows from the model and the shape of the input alone, never from the machine or from the numbers in the
input: it decides how a BLAS rounds, and so belongs to what makes a trace reproducible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.graph import NOT_COMPUTED, Graph
from gateprobe.layers.recurrent.kernels.choice import Kernel

DEFAULT_ROWS = 32
AUTO = "auto"

BatchSize: TypeAlias = int | str | None
"""A number of samples, `AUTO`, or ``None`` for `DEFAULT_ROWS`."""

_BUDGET = 1 << 25
"""Bytes that the signals and layer outputs of a batch may have: as many as a processor's caches can hold back."""
_MOST = 1024
"""Samples from which on a step's products do not become faster."""


def given_rows(batch_size: BatchSize) -> int:
    """Return the number of rows of a batch for which a number was given, or nothing.

    Raises:
        InputError: It is no number.
    """
    if batch_size is None:
        return DEFAULT_ROWS
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"{batch_size!r} is no batch size", remedy="choose auto, or a number from 1 on")
    return batch_size


def fitting_rows(graph: Graph, inputs: Sequence[Array | None], feeds: Mapping[str, Array]) -> int:
    """Return the largest power of two for which a batch is within the budget.

    Args:
        graph: What will run.
        inputs: One sample; only its shapes and dtypes are looked at.
        feeds: Likewise.
    """
    scale = _Scale()
    scope = Scope("", lambda path: True, scale.signals, kernel=Kernel("numpy"))
    zeros = tuple(Tensor(NOT_COMPUTED if value is None else np.zeros_like(value)) for value in inputs)
    try:
        with np.errstate(all="ignore"):
            scale.weighed(graph).replay(
                Arguments(zeros), replace(scope, feeds={key: np.zeros_like(value) for key, value in feeds.items()})
            )
    except InputError:
        return DEFAULT_ROWS  # zeros are no input for this model, or nothing is: the run itself will tell
    rows = max(1, min(_MOST, _BUDGET // max(1, scale.size)))
    return int(1 << (rows.bit_length() - 1))


@dataclass(slots=True)
class _Scale:
    """Adds up what one sample leaves behind."""

    size: int = 0
    """In bytes."""

    def signals(self, path: str, *, signals: Mapping[str, Array], **described: object) -> None:
        """Take the signals of a recurrent layer."""
        self.size += sum(value.nbytes for value in signals.values())

    def weighed(self, graph: Graph) -> Graph:
        """Return a graph whose layers are weighed, those of graphs inside it too."""
        layers = {id(step.layer): self._weighed(step.layer) for step in graph.steps}
        return replace(graph, steps=tuple(replace(step, layer=layers[id(step.layer)]) for step in graph.steps))

    def _weighed(self, layer: Layer) -> Layer:
        return self.weighed(layer) if isinstance(layer, Graph) else _Weighed(layer, self)


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """A layer whose outputs are weighed."""

    layer: Layer
    scale: _Scale

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay the call."""
        results = self.layer.replay(call, scope)
        self.scale.size += sum(result.value.nbytes for result in results)
        return results
