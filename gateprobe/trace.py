"""A whole trace in memory: all signals of a run, by layer, and ways to look at them and to save them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace, Layout, TraceChunk, joined

if TYPE_CHECKING:
    import polars as pl
    import xarray


@dataclass(frozen=True, slots=True, eq=False)
class LayerTrace:
    """One call of one recurrent layer."""

    forward: DirectionTrace | None = None
    backward: DirectionTrace | None = None

    def __getattr__(self, name: str) -> Array:
        """Return a signal of a layer that has only one direction."""
        found: list[DirectionTrace] = [
            direction
            for direction in (object.__getattribute__(self, "forward"), object.__getattribute__(self, "backward"))
            if direction is not None
        ]
        if len(found) == 1:
            value: Array = getattr(found[0], name)
            return value
        raise AttributeError(f"{name!r}: this layer runs in both directions; say .forward.{name} or .backward.{name}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace(Mapping[str, LayerTrace]):
    """All signals of a run, by layer path."""

    samples: Array
    """``(samples,)`` numbers of the samples."""
    directions: tuple[DirectionTrace, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Format version, digests, era, semantics, layer table, options."""

    def __getitem__(self, layer: str) -> LayerTrace:
        """Return the trace of one call of a layer.

        Raises:
            InputError: There is no such layer; the message lists those there are.
        """
        found = {direction.direction: direction for direction in self.directions if direction.layer == layer}
        if not found:
            raise InputError(f"no trace of layer {layer!r}", remedy=f"there are {', '.join(self)}")
        return LayerTrace(found.get("forward"), found.get("backward"))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the layer paths, in the order in which they ran."""
        return iter(dict.fromkeys(direction.layer for direction in self.directions))

    def __len__(self) -> int:
        """Return the number of calls of recurrent layers."""
        return len({direction.layer for direction in self.directions})

    def __repr__(self) -> str:
        return "\n".join([f"Trace of {len(self.samples)} samples", *(f"  {part!r}" for part in self.directions)])

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def to_polars(self, layout: Layout = "tidy") -> pl.DataFrame:
        """Return the table that a CSV file holds.

        Args:
            layout: ``tidy``: a row per sample, layer, direction, timestep and unit; ``long``: and signal; ``wide``: a
                row per sample, layer, direction and timestep.
        """
        from gateprobe.writers.table import table  # noqa: PLC0415 - Polars takes 0.1 s to import

        return table(TraceChunk(self.samples, self.directions), layout)

    def to_xarray(self) -> xarray.DataTree:
        """Return a tree with a node ``layer/direction`` for each direction.

        Its variables are the signals, with the dimensions ``sample``, ``timestep`` and ``unit`` and the coordinate
        ``step``, the order of processing. The node above it, ``layer``, has the ``mask``.

        Raises:
            MissingExtra: xarray is not installed.
        """
        from gateprobe.writers.trees import tree_of  # noqa: PLC0415

        return tree_of(TraceChunk(self.samples, self.directions), self.metadata)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        layout: Layout = "tidy",
        compress: bool = False,
        force: bool = False,
    ) -> None:
        """Write the trace to a file; the format follows from the suffix.

        Args:
            path: ``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``, ``.arrow``, ``.npz`` or ``.h5``.
            layout: See `to_polars`; NPZ and HDF5 have only one.
            compress: Whether to compress NPZ and HDF5.
            force: Whether to replace a file that is there.

        Raises:
            OutputError: The file exists already, the suffix is none of these, or it cannot be written.
        """
        from gateprobe.writers import Output, write  # noqa: PLC0415

        output = Output(os.fspath(path), layout=layout, compress=compress, force=force)
        write([TraceChunk(self.samples, self.directions)], [output], self.metadata)


def join(chunks: Iterable[TraceChunk], metadata: Mapping[str, Any]) -> Trace:
    """Put the chunks of a run together, in their order.

    Raises:
        InputError: There are none.
    """
    whole = joined(chunks)
    return Trace(whole.samples, whole.directions, metadata)
