"""NPY: one array, as ``numpy.load`` opens it, with ``mmap_mode`` too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateprobe.errors import OutputError
from gateprobe.files.remote import redact_url
from gateprobe.writers.base import Format, Metadata, Output, Sink
from gateprobe.writers.target import Target

if TYPE_CHECKING:
    from gateprobe.traces.chunk import TraceChunk
    from gateprobe.writers.rows import Outputs


class Npy(Format):
    """NumPy's file of one array."""

    name = "npy"
    title = "the NumPy array of a model's only output"
    suffixes = (".npy",)
    holds_traces = False

    def open_trace(self, target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
        """Refuse: a trace has many arrays."""
        raise OutputError("an .npy file holds one array", file=redact_url(output.name), remedy="write .npz")

    def open_outputs(self, target: Target, output: Output, names: Sequence[str], metadata: Metadata) -> Sink[Outputs]:
        """Begin with the header.

        Raises:
            OutputError: The model has several outputs.
        """
        from gateprobe.writers.array_file import begin_outputs

        if len(names) > 1:
            reason = f"an .npy file holds one array, and the model has the outputs {', '.join(names)}"
            raise OutputError(reason, file=redact_url(output.name), remedy="write .npz")
        return begin_outputs(target)


FORMAT = Npy()
