"""Memory that goes back to its owner when no array holds it any more, to be written again by the next batch.

The system clears the pages of every new array, which costs a tenth of what the replay of a batch does.
"""

from __future__ import annotations

import math
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.limits import room

_WORTHWHILE = 1 << 20
"""Bytes below which new memory is as good."""
_SPARE = 2
"""Blocks kept: one is often still in use while the next batch is computed."""


class Arena:
    """Blocks of one size, for batches that run side by side too: a block has one owner at a time."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: SimpleQueue[Array] = SimpleQueue()  # may be put into while it is asked, by a garbage collection

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an uninitialised array; its memory comes back when it and all its views are gone."""
        size = math.prod(shape) * dtype.itemsize
        room.afford(size)
        if size < _WORTHWHILE:
            return np.empty(shape, dtype)
        return np.asarray(_Lease(self, self._block(size))).view(dtype).reshape(shape)

    def _block(self, size: int) -> Array:
        """Return a spare block of a size, or a new one; those of other sizes are let go."""
        try:
            while (block := self._free.get_nowait()).nbytes != size:
                pass
        except Empty:
            return np.empty(size, np.uint8)
        return block

    def put_back(self, block: Array) -> None:
        """Take a block that no array holds any more."""
        if self._free.qsize() < _SPARE:
            self._free.put(block)


class _Lease:
    """What the arrays over one block hold."""

    __slots__ = ("__array_interface__", "_arena", "_block")

    def __init__(self, arena: Arena, block: Array) -> None:
        self._arena, self._block = arena, block
        self.__array_interface__ = block.__array_interface__

    def __del__(self) -> None:
        self._arena.put_back(self._block)
