"""How much memory a batch may take: asked for before it is taken, by every layer that may make more of its input.

A file of some hundred bytes can describe layers whose outputs fill any machine (`RepeatVector`, padding, upsampling,
attention over long sequences), and only the replay knows the shapes. So the functions of NumPy whose results can be
larger than what they are given are called through this module (``tests/layers/test_room.py`` finds those that are not),
and a graph counts here what it holds from one layer to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array

DEFAULT_LIMIT = 4 << 30
"""Bytes of arrays that a batch may hold at a time when nothing else is said."""


@dataclass(slots=True)
class _Room:
    """What one batch may take and has taken."""

    limit: int
    held: int = 0
    """Bytes of what earlier layers of the batch computed and later ones need."""


_ROOM: ContextVar[_Room | None] = ContextVar("room", default=None)


@contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Limit what is held and asked for inside, in bytes; `DEFAULT_LIMIT` for ``None``."""
    token = _ROOM.set(_Room(DEFAULT_LIMIT if limit is None else limit))
    try:
        yield
    finally:
        _ROOM.reset(token)


def afford(size: int) -> None:
    """Ask for memory.

    Args:
        size: Of what is about to be computed, in bytes.

    Raises:
        InputError: This and what the batch holds already is more than the limit.
    """
    room = _ROOM.get()
    limit, held = (DEFAULT_LIMIT, 0) if room is None else (room.limit, room.held)
    if held + size > limit:
        beside = f" beside the {held:,} that the batch holds" if held else ""
        raise InputError(
            f"would need {size:,} bytes{beside}; the limit for a batch is {limit:,}",
            remedy="choose a smaller --batch-size or fewer layers with --layer, or raise --max-bytes",
        )


def hold(arrays: Iterable[Array | None]) -> None:
    """Count arrays that stay until `release`.

    Raises:
        InputError: The batch holds more than its limit.
    """
    room = _ROOM.get()
    if room is not None:
        size = _bytes(arrays)
        afford(size)
        room.held += size


def release(arrays: Iterable[Array | None]) -> None:
    """Count arrays no longer."""
    room = _ROOM.get()
    if room is not None:
        room.held -= _bytes(arrays)


def _bytes(arrays: Iterable[Array | None]) -> int:
    return sum(array.nbytes for array in arrays if array is not None)


def combining(*arrays: Array) -> None:
    """Ask for the result of combining arrays element by element, which may be larger than all of them."""
    if any(array.shape != arrays[0].shape for array in arrays):
        shape = _broadcast(*(array.shape for array in arrays))
        _afford_array(shape, max(array.itemsize for array in arrays))


def copying(view: Array) -> None:
    """Ask for a copy of a view, such as one of overlapping windows, which may be larger than what it looks at."""
    _afford_array(view.shape, view.itemsize)


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a result; an empty one where shapes do not go together, as what combines them will say."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return ()


def _afford_array(shape: Iterable[int], itemsize: int) -> None:
    afford(math.prod(map(int, shape)) * itemsize)


# NumPy's functions, with less freedom in what they take


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As `numpy.empty`."""
    _afford_array(shape, np.dtype(dtype).itemsize)
    return np.empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """As `numpy.zeros`."""
    return full(shape, 0, dtype)


def full(shape: tuple[int, ...], fill: float, dtype: Any) -> Array:
    """As `numpy.full`."""
    _afford_array(shape, np.dtype(dtype).itemsize)
    return np.zeros(shape, dtype) if fill == 0 else np.full(shape, fill, dtype)


def arange(stop: int, dtype: Any = np.int64) -> Array:
    """As `numpy.arange`, from zero."""
    _afford_array((stop,), np.dtype(dtype).itemsize)
    return np.arange(stop, dtype=dtype)


def linspace(start: Array, stop: Array, count: int, axis: int, *, endpoint: bool, dtype: Any = None) -> Array:
    """As `numpy.linspace`, between arrays."""
    afford(count * max(start.nbytes, stop.nbytes))
    return np.linspace(start, stop, count, endpoint=endpoint, dtype=dtype, axis=axis)


def tri(rows: int, columns: int) -> Array:
    """As `numpy.tri`, of booleans."""
    _afford_array((rows, columns), 1)
    return np.tri(rows, columns, dtype=bool)


def repeat(x: Array, times: int, axis: int) -> Array:
    """As `numpy.repeat`."""
    afford(x.nbytes * times)
    return np.repeat(x, times, axis=axis)


def tile(x: Array, times: Sequence[int]) -> Array:
    """As `numpy.tile`."""
    afford(x.nbytes * math.prod(map(int, times)))
    return np.tile(x, tuple(times))


def pad(x: Array, margins: Any, mode: Any = "constant", **options: Any) -> Array:
    """As `numpy.pad`, with one pair of widths for each axis."""
    _afford_array((size + int(a) + int(b) for size, (a, b) in zip(x.shape, margins, strict=True)), x.itemsize)
    result: Array = np.pad(x, margins, mode=mode, **options)
    return result


def take(x: Array, places: Any, axis: int) -> Array:
    """As `numpy.take`."""
    count = len(places) if isinstance(places, range) else np.size(places)
    afford(x.nbytes // max(1, x.shape[axis]) * count)
    result: Array = np.take(x, places, axis=axis)
    return result


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """As `numpy.concatenate`."""
    afford(_bytes(arrays))
    return np.concatenate(arrays, axis=axis)


def stack(arrays: Sequence[Array], axis: int) -> Array:
    """As `numpy.stack`."""
    afford(_bytes(arrays))
    return np.stack(arrays, axis=axis)


def matmul(left: Array, right: Array) -> Array:
    """As `numpy.matmul`."""
    rows, columns = left.shape[-2:-1], right.shape[-1:] if right.ndim > 1 else ()
    lead = _broadcast(left.shape[:-2], right.shape[:-2])
    _afford_array((*lead, *rows, *columns), max(left.itemsize, right.itemsize))
    result: Array = np.matmul(left, right)
    return result


def einsum(equation: str, *operands: Array) -> Array:
    """As `numpy.einsum` with ``->`` in its equation, for which it asks."""
    contracting(equation, *operands)
    result: Array = np.einsum(equation, *operands, optimize=True)
    return result


def contracting(equation: str, *operands: Array) -> None:
    """Ask for the result of an einsum."""
    terms, output = equation.replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms.split(","), operands, strict=True):
        before, dots, after = term.partition("...")
        rest = operand.ndim - len(before) - len(after)
        between = operand.shape[len(before) : len(before) + rest] if dots else ()
        named = [*operand.shape[: len(before)], *operand.shape[operand.ndim - len(after) :]]
        for letter, size in [("...", math.prod(between)), *zip(before + after, named, strict=False)]:
            sizes[letter] = max(size, sizes.get(letter, 1))
    wanted = [*output.replace("...", ""), *(["..."] if "..." in output else [])]
    _afford_array((sizes.get(letter, 1) for letter in wanted), max(operand.itemsize for operand in operands))
