"""Sizes of tensors inside a graph: what ``tf.shape`` returns, and what becomes of it.

Sizes are no tensors with samples. The number of samples in a block is gateprobe's own affair, so it may only be used
to say that the samples stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value, tensors_in
from gateprobe.layers.operations.tensors import array_of, batch
from gateprobe.limits import room

_SAMPLES = "the number of samples is used as a number, which gateprobe does not replay"


@dataclass(frozen=True, slots=True, eq=False)
class Sizes(Tensor):
    """Sizes, or numbers computed from them: the same for every sample."""

    samples: Array | None = None
    """Which of them are the number of samples; ``None`` when none is."""


def sizes_of(value: Value) -> Sizes:
    """Return the sizes of a tensor."""
    array = batch(value)
    return Sizes(np.array(array.shape, np.int32), samples=np.arange(array.ndim) == 0)


def part_of(sizes: Sizes, key: Any) -> Sizes:
    """Return ``sizes[key]``."""
    samples = np.zeros(sizes.value.shape, bool) if sizes.samples is None else sizes.samples
    chosen = samples[key]
    return Sizes(np.asarray(sizes.value[key]), samples=np.asarray(chosen) if np.any(chosen) else None)


def constant(value: Value) -> Value:
    """Return sizes as a constant.

    Raises:
        InputError: The number of samples is among them.
    """
    if not isinstance(value, Sizes):
        return value
    if value.samples is not None and value.samples.any():
        raise InputError(_SAMPLES)
    return value.value


def only_sizes(arguments: Any) -> bool:
    """Whether the arguments hold sizes and no tensors with samples."""
    tensors = list(tensors_in(arguments))
    return bool(tensors) and all(isinstance(tensor, Sizes) for tensor in tensors)


def as_rows(value: Value) -> Value:
    """Return sizes as a tensor of one sample, so that operations can compute with them."""
    if isinstance(value, Sizes):
        return Tensor(np.asarray(constant(value))[np.newaxis])
    if isinstance(value, tuple):
        return tuple(as_rows(item) for item in value)
    if isinstance(value, Mapping):
        return {key: as_rows(item) for key, item in value.items()}
    return value


def shape_of(value: Value) -> tuple[int, ...]:
    """Return a shape as ints.

    Args:
        value: A list of ints and sizes, or sizes.

    Raises:
        InputError: It is no shape, or the number of samples is not its first entry.
    """
    items = [part_of(value, n) for n in range(value.value.size)] if isinstance(value, Sizes) else value
    if not isinstance(items, (tuple, list)):
        raise InputError(f"{value!r:.60} is no shape")
    shape = []
    for place, item in enumerate(items):
        if isinstance(item, Sizes) and item.samples is not None and item.samples.all() and place == 0:
            shape.append(int(item.value))
        else:
            array = array_of(constant(item))
            if array.ndim or array.dtype.kind not in "iu":
                raise InputError(f"{value!r:.60} is no shape")
            shape.append(int(array))
    return tuple(shape)


def joined(values: Value) -> Sizes | None:
    """Return sizes and ints, or lists of them, as one list; ``None`` when there are no sizes among them."""
    if not isinstance(values, (tuple, list)) or not any(isinstance(value, Sizes) for value in values):
        return None
    parts = [value if isinstance(value, Sizes) else Sizes(array_of(value)) for value in values]
    samples = [
        np.zeros(part.value.size, bool) if part.samples is None else np.atleast_1d(part.samples) for part in parts
    ]
    return Sizes(np.concatenate([np.atleast_1d(part.value) for part in parts]), samples=np.concatenate(samples))


def counts_samples(value: Value) -> bool:
    """Whether the first entry of a shape is the number of samples."""
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return isinstance(first, Sizes) and first.samples is not None and bool(np.atleast_1d(first.samples)[0])


def filled(value: Value, fill: float, dtype: Any) -> Array:
    """Return an array with a row for each sample, all of one number.

    Raises:
        InputError: The first size is not the number of samples.
    """
    if not counts_samples(value):
        raise InputError("a constant tensor without samples is not replayed")
    return room.full(shape_of(value), fill, dtype)
