"""One conformance case: a layer, its weights, what it is called with."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateprobe.graph import Array, Era, Namespace


@dataclass(frozen=True)
class X:
    """The n-th input tensor, as an argument."""

    number: int = 0


@dataclass(frozen=True)
class W:
    """A weight that must be positive, such as a variance."""

    shape: tuple[int, ...]


BOTH = (Era.KERAS2, Era.KERAS3)


@dataclass(frozen=True)
class Case:
    """What is drawn is drawn from a seed made of the case's name."""

    class_name: str
    note: str = ""
    """Tells the cases of one class apart."""
    config: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ((4, 5, 6),)
    """Of the inputs, samples first."""
    weights: tuple[tuple[int, ...] | W, ...] = ()
    """Shapes, in the order of Keras's ``layer.weights``."""
    masked: tuple[int, ...] = ()
    """Which inputs carry a mask ``(samples, timesteps)``."""
    args: tuple[Any, ...] | None = None
    """With `X` for tensors; by default the only input, or the list of all."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    integers: int = 0
    """Inputs are token ids below this number, if it is not zero."""
    whole: bool = False
    """Inputs are ones and zeros, as floats."""
    eras: tuple[Era, ...] = BOTH
    """Those whose Keras knows the layer as configured here."""
    per_era: Mapping[Era, Mapping[str, Any]] = field(default_factory=dict)
    """Settings that are called differently."""
    namespace: Namespace = Namespace.LAYER
    module: str | None = None
    """Of an operation."""
    per_sample: bool = True
    """Whether samples do not know of each other."""
    scale: float = 1.0
    """Of the inputs."""
    file: str = ""
    """The archive in ``tests/data`` that holds the answers, where it is another than that of all cases alike."""

    @property
    def id(self) -> str:
        name = f"ops.{self.class_name}" if self.namespace is Namespace.OPERATION else self.class_name
        return f"{name}-{self.note}" if self.note else name

    def _draw(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.id}/{what}".encode()))

    def inputs(self) -> list[Array]:
        draw = self._draw("inputs")
        if self.integers:
            return [draw.integers(0, self.integers, shape).astype(np.int32) for shape in self.shapes]
        if self.whole:
            return [draw.integers(0, 2, shape).astype(np.float32) for shape in self.shapes]
        return [(self.scale * draw.standard_normal(shape)).astype(np.float32) for shape in self.shapes]

    def masks(self) -> list[Array | None]:
        draw = self._draw("masks")
        masks: list[Array | None] = [None] * len(self.shapes)
        for number in self.masked:
            mask = draw.random(self.shapes[number][:2]) < 0.7
            mask[:, :1] = True  # a sample in which everything is masked has its own cases
            masks[number] = mask
        return masks

    def arrays(self) -> list[Array]:
        draw = self._draw("weights")
        arrays = []
        for weight in self.weights:
            shape = weight.shape if isinstance(weight, W) else weight
            value = np.asarray(draw.standard_normal(shape))
            arrays.append((np.abs(value) + 0.5 if isinstance(weight, W) else value).astype(np.float32))
        return arrays

    def settings(self, era: Era) -> dict[str, Any]:
        return {**self.config, **self.per_era.get(era, {})}

    def arguments(self) -> tuple[Any, ...]:
        if self.args is not None:
            return self.args
        tensors = [X(number) for number in range(len(self.shapes))]
        return (tensors[0],) if len(tensors) == 1 else (tensors,)


def filled(value: Any, tensors: list[Any]) -> Any:
    """Put tensors in place of `X`."""
    if isinstance(value, X):
        return tensors[value.number]
    if isinstance(value, (list, tuple)):
        return type(value)(filled(item, tensors) for item in value)
    if isinstance(value, Mapping):
        return {key: filled(item, tensors) for key, item in value.items()}
    return value
