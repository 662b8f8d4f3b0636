"""NPZ: the archive that ``numpy.load`` opens, with ``allow_pickle=False``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateprobe.writers.base import Format, Metadata, Output, Sink
from gateprobe.writers.target import Target

if TYPE_CHECKING:
    from gateprobe.traces.chunk import TraceChunk
    from gateprobe.writers.rows import Outputs


class Npz(Format):
    """NumPy's archive of arrays."""

    name = "npz"
    title = "NumPy arrays"
    suffixes = (".npz",)
    compressible = True
    described = True

    def open_trace(self, target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
        """Begin with one array for each signal; the masks and the metadata follow."""
        from gateprobe.writers.archive import begin_trace

        return begin_trace(target, output, metadata)

    def open_outputs(self, target: Target, output: Output, names: Sequence[str], metadata: Metadata) -> Sink[Outputs]:
        """Begin with one array for each output, and nothing else."""
        from gateprobe.writers.archive import begin_outputs

        return begin_outputs(target, output, tuple(names))


FORMAT = Npz()
