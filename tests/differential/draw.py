"""Random choices, and what the generator knows of a tensor on its way."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .spec import Spec

T = TypeVar("T")
KERAS3, TF_KERAS = "keras3", "tf_keras"


class Draw(random.Random):
    """A seeded source of choices for one Keras.

    Args:
        seed: Of everything.
        family: ``keras3`` or ``tf_keras``.
        available: Whether the replay knows a class.
    """

    def __init__(self, seed: int, family: str, available: Callable[[str], bool]) -> None:
        super().__init__(f"{family}:{seed}")
        self.family = family
        self.available = available
        self.lacking: set[str] = set()
        self.names = 0
        self.broadcasts = False
        """Whether a sum broadcasts: with a single sample Keras 3 on TensorFlow may add along another axis."""

    def maybe(self, probability: float) -> bool:
        return self.random() < probability

    def between(self, low: int, high: int) -> int:
        return self.randint(low, high)

    def options(self, **drawn: tuple[float, Callable[[], Any]]) -> dict[str, Any]:
        """Draw each option with its probability; the others stay at Keras's defaults."""
        return {name: make() for name, (probability, make) in drawn.items() if self.maybe(probability)}

    def weighted(self, items: Sequence[tuple[float, T]]) -> T:
        return self.choices([item for _, item in items], [weight for weight, _ in items])[0]

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem.lower()}_n{self.names}"

    def knows(self, name: str) -> bool:
        """Ask whether the replay knows a class, and remember it when not."""
        if self.available(name):
            return True
        self.lacking.add(name)
        return False


@dataclass(frozen=True)
class Flow:
    """A tensor of the graph under construction."""

    ref: Spec
    shape: tuple[int, ...]
    """Without the samples; the sizes of the data, also where the model declares them unknown."""
    open: bool = False
    """Whether the model declares the first of these axes as unknown."""
    kind: str = "float"
    """``float``, ``tokens``, ``bool``, or ``other`` for what is only looked at."""
    vocabulary: int = 0
    positive: bool = False
    """Whether no value is zero or below."""
    states_of: str = ""
    """``lstm:units`` or ``gru:units`` for a state, so that a decoder can find it."""

    def like(self, **changes: Any) -> Flow:
        return replace(self, **changes)


@dataclass(frozen=True)
class Proposal:
    """A layer that fits its input, and what it returns."""

    layer: Spec
    shapes: tuple[tuple[int, ...], ...]
    open: bool = False
    kwargs: dict[str, Any] | None = None
    states_of: str = ""
    """What the tensors after the first are the states of."""
    states: tuple[tuple[int, ...], ...] = ()
    """The shapes of the initial states that a recurrent layer takes."""
    nested_states: tuple[int, ...] = ()
    """How many of them each cell of a stack has, where Keras wants a list for each cell."""


def layer(class_name: str, config: dict[str, Any]) -> Spec:
    return {"class": class_name, "config": config}


def padded_size(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """Return the output size of a convolution or pooling along one axis, or 0 when it does not fit."""
    extent = (kernel - 1) * dilation + 1
    if padding in ("same", "causal"):
        return -(-size // stride)
    return max(0, -(-(size - extent + 1) // stride))
