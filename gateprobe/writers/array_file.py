"""NPY files whose array grows."""

from __future__ import annotations

import io
from dataclasses import dataclass

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
                self.target.file.write(_header(self.first, 0))
            self.target.file.write(block.data)
        self.rows += len(block)

    def finish(self) -> None:
        assert self.first is not None
        header = _header(self.first, self.rows)
        assert len(header) == len(_header(self.first, 0))  # NumPy leaves room for the first axis to grow
        with blamed(self.target.name):
            self.target.file.seek(0)
            self.target.file.write(header)

    def close(self) -> None:
        """Nothing to release."""


def _header(array: Array, rows: int) -> bytes:
    buffer = io.BytesIO()
    shape = (rows, *array.shape[1:])
    npy.write_array_header_1_0(
        buffer, {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def begin_outputs(target: Target) -> Sink[Outputs]:
    """Begin with the only output of a model."""
    return _ArraySink(target)
