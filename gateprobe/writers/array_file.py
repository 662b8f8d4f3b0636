"""NPY files whose array grows."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy

from gateprobe.graph import Array
from gateprobe.writers.base import Sink
from gateprobe.writers.rows import Outputs
from gateprobe.writers.target import Target, blamed


@dataclass(slots=True, eq=False)
class _ArraySink:
    """The header, which says how many rows follow, is written again at the end."""

    target: Target
    first: Array | None = None
    rows: int = 0

    def add(self, item: Outputs) -> None:
        (array,) = item
        block = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        with blamed(self.target.name):
            if self.first is None:
                self.first = block[:0]
                self.target.file.write(self._header(0))
            self.target.file.write(block.data)
        self.rows += len(block)

    def finish(self) -> None:
        header = self._header(self.rows)
        assert len(header) == len(self._header(0))  # NumPy leaves room for the first axis to grow
        with blamed(self.target.name):
            self.target.file.seek(0)
            self.target.file.write(header)

    def close(self) -> None:
        """Nothing to release."""

    def _header(self, rows: int) -> bytes:
        assert self.first is not None
        return npy_header(self.first.dtype, (rows, *self.first.shape[1:]))


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return what stands before the numbers of an ``.npy`` file in C order."""
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def begin_outputs(target: Target) -> Sink[Outputs]:
    """Begin with the only output of a model."""
    return _ArraySink(target)
