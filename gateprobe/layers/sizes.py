"""Numbers in a graph that are the same for every sample: sizes of tensors, and what is computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value

COUNTED = "the number of samples is used as a number, which gateprobe does not replay"


@dataclass(frozen=True, slots=True, eq=False)
class Sizes(Tensor):
    """Sizes, or numbers computed from them: the same for every sample."""

    shared: ClassVar[bool] = True
    samples: Array | None = None
    """Which of them are the number of samples, or a multiple of it; ``None`` when none is."""


def constant(value: Value) -> Value:
    """Return sizes as a constant.

    Raises:
        InputError: The number of samples is among them.
    """
    if not isinstance(value, Sizes):
        return value
    if value.samples is not None and value.samples.any():
        raise InputError(COUNTED)
    return value.value
