"""Memory that goes back to its owner when nobody holds it any more, to be written again by the next batch.

The system clears the pages of every new array, which costs a tenth of what the replay of a batch does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gateprobe.graph import Array

_WORTHWHILE = 1 << 20
"""Bytes below which new memory is as good."""
_SPARE = 2
"""Blocks kept: one is often still in use while the next batch is computed."""


class Arena:
    """Blocks of one size."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: list[Array] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an uninitialised array; its memory comes back when it and all its views are gone."""
        size = math.prod(shape) * dtype.itemsize
        if size < _WORTHWHILE:
            return np.empty(shape, dtype)
        self._free[:] = [block for block in self._free if block.nbytes == size]
        block = self._free.pop() if self._free else np.empty(size, np.uint8)
        return np.asarray(_Lease(self, block)).view(dtype).reshape(shape)

    def put_back(self, block: Array) -> None:
        """Take a block that nobody holds any more."""
        if len(self._free) < _SPARE:
            self._free.append(block)


class _Lease:
    """What the arrays over one block hold."""

    __slots__ = ("__array_interface__", "_arena", "_block")

    def __init__(self, arena: Arena, block: Array) -> None:
        self._arena, self._block = arena, block
        self.__array_interface__ = block.__array_interface__

    def __del__(self) -> None:
        self._arena.put_back(self._block)
