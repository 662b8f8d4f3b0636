"""HDF5: the arrays of the NPZ file as chunked datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateprobe.writers.base import Format, Metadata, Output, Sink
from gateprobe.writers.target import Target

if TYPE_CHECKING:
    from gateprobe.traces.chunk import TraceChunk
    from gateprobe.writers.rows import Outputs


class Hdf5(Format):
    """HDF5, which xarray and netCDF tools read, too."""

    name = "h5"
    title = "HDF5, for h5py and xarray"
    suffixes = (".h5", ".hdf5")
    compressible = True
    described = True

    def open_trace(self, target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
        """Begin with a dataset for each signal."""
        from gateprobe.writers.datasets import begin_trace

        return begin_trace(target, output, metadata)

    def open_outputs(self, target: Target, output: Output, names: Sequence[str], metadata: Metadata) -> Sink[Outputs]:
        """Begin with a dataset for each output."""
        from gateprobe.writers.datasets import begin_outputs

        return begin_outputs(target, output, tuple(names), metadata)


FORMAT = Hdf5()
