"""HDF5 files whose datasets grow, with dimension scales, as netCDF and xarray expect them.

``<layer>/<direction>`` holds the signals, ``unit`` and ``step``; ``<layer>`` holds ``sample``, ``timestep`` and
``mask``. The bytes depend on the arrays alone: datasets grow by whole chunks.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h5py
import numpy as np

from gateprobe.errors import OutputError
from gateprobe.graph import Array
from gateprobe.traces.chunk import Grid, TraceChunk
from gateprobe.writers.arrays import (
    METADATA_KEY,
    Index,
    arrays_of,
    axis_names,
    context_axes,
    context_key,
    group_key,
    numbers_beside,
)
from gateprobe.writers.base import Metadata, Output, Sink
from gateprobe.writers.chunks import Regrouper
from gateprobe.writers.names import archive_key
from gateprobe.writers.rows import Outputs, Rows
from gateprobe.writers.seal import seal, seal_entry
from gateprobe.writers.target import Target, blamed

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_BYTES = 1 << 18
"""Wanted size of the chunks of a dataset."""
WAITING_BYTES = 1 << 25
"""Wanted size of the samples of all layers that wait until they fill chunks."""
MAX_OPEN = 512
"""Datasets that are open at a time: HDF5 keeps a chunk and more for each."""


class _Disk(io.RawIOBase):
    """The target as HDF5 sees it: a disk that never fails.

    HDF5 crashes when it cannot write what it holds back until it closes a file. So the first fault is kept, everything
    after it is forgotten, and `check` raises it.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self._fault: OSError | None = None

    def check(self) -> None:
        """Raise the fault, if there was one."""
        if self._fault is not None:
            with blamed(self._target.name):
                raise self._fault

    def write(self, data: Buffer, /) -> int:
        size = memoryview(data).nbytes
        self._attempt(lambda: self._target.file.write(data))
        return size

    def truncate(self, size: int | None = None, /) -> int:
        self._attempt(lambda: self._target.file.truncate(size))
        return size or 0

    def flush(self) -> None:
        self._attempt(self._target.file.flush)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._attempt(lambda: self._target.file.seek(offset, whence))  # writes what is still held back

    def tell(self) -> int:
        return self._attempt(self._target.file.tell)

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._target.file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the disk and leave the target open, to be published; without this, closing comes too late."""
        if not self.closed and not self._target.file.closed:
            super().close()

    def seal(self) -> None:
        """Put the checksum into the file, which HDF5 has closed."""
        self.check()
        if self._target.is_file:
            with blamed(self._target.name):
                seal(self._target.file)

    def _attempt(self, act: Callable[[], int | None]) -> int:
        if self._fault is None:
            try:
                return act() or 0
            except OSError as fault:
                self._fault = fault
            except ValueError:  # an interruption closed the target before HDF5 let go of it: nothing is kept of it
                self._fault = OSError("the target is closed")
        return 0


@dataclass(slots=True, eq=False)
class _Hdf5Sink:
    disk: _Disk
    compress: bool
    metadata: Metadata
    file: h5py.File
    groups: Regrouper | None = None
    index: Index = field(default_factory=Index)
    scales: list[str] = field(default_factory=list)
    """The datasets that hold the numbers of the samples; none before the first samples."""
    filled: dict[str, int] = field(default_factory=dict)
    """The timesteps that the last rows of the datasets hold."""
    opened: dict[str, h5py.Dataset] = field(default_factory=dict)

    def add(self, chunk: TraceChunk) -> None:
        self.groups = self.groups or Regrouper(_samples_together(chunk))
        for block in (chunk,) if chunk.is_slab else self.groups.push(chunk):
            self._write(block)

    def finish(self) -> None:
        rest = self.groups.rest() if self.groups is not None else None
        if rest is not None:
            self._write(rest)
        described = {**self.metadata, "trace": self.index.described()}
        self.file.attrs[METADATA_KEY] = json.dumps(described)
        self.file.close()
        self.disk.seal()

    def close(self) -> None:
        if self.file:
            self.file.close()
        self.disk.close()

    def _write(self, block: TraceChunk) -> None:
        if not self.filled:
            self._create(block)
        if not block.continues:
            for key in self.scales:
                _lengthen(self._open(key), len(block.samples))[-len(block.samples) :] = block.samples
        for key, value, _ in arrays_of(block):
            self._put(key, value, fresh=not block.continues)
        for direction in block.directions:
            self._number(f"{group_key(direction).rpartition('/')[0]}/timestep", direction.timesteps)
            self._number(f"{group_key(direction)}/step", direction.steps)
        self.disk.check()
        self.index.add(block)

    def _open(self, key: str) -> h5py.Dataset:
        """Return a dataset; each is looked up once, because HDF5 walks through its groups to find it."""
        found = self.opened.get(key)
        if found is None:
            if len(self.opened) >= MAX_OPEN:
                self.opened.clear()
            found = self.opened[key] = self.file[key]
        return found

    def _put(self, key: str, block: Array, *, fresh: bool) -> None:
        """Write to new rows of a dataset, or to what is left of its last one."""
        dataset, first = self._open(key), 0 if fresh else self.filled[key]
        if fresh:
            _lengthen(dataset, len(block))
        dataset[-len(block) :, first : first + block.shape[1]] = block
        self.filled[key] = first + block.shape[1]

    def _number(self, key: str, numbers: Array) -> None:
        """Write the coordinates of an axis; those of the first sample hold for all."""
        dataset, first = self._open(key), self.filled.setdefault(key, 0)
        if first < len(dataset):
            dataset[first : first + len(numbers)] = numbers
            self.filled[key] += len(numbers)

    def _create(self, block: TraceChunk) -> None:
        for direction in block.directions:
            layer = self.file.require_group(group_key(direction).rpartition("/")[0])
            if "sample" not in layer:
                _scale(layer, "sample", 0, grows=True)
                _scale(layer, "timestep", direction.kept)
                self.scales.append(f"{layer.name}/sample")
            group = self.file.create_group(group_key(direction))
            group.attrs["backwards"], group.attrs["length"] = direction.backwards, direction.length
            _scale(group, "unit", len(direction.units))[:] = direction.units
            group.create_dataset("step", (direction.kept,), "<i8").dims[0].attach_scale(layer["timestep"])
            for name, value in direction.signals.items():
                scales = [_inner_scale(group, axis, size) for axis, size in _inner_axes(value, direction.grid)]
                self._grow(group, name, value, direction.kept, [layer["sample"], layer["timestep"], *scales])
                group[name].attrs["coordinates"] = "step"
            if direction.mask is not None and "mask" not in layer:
                self._grow(layer, "mask", direction.mask, direction.kept, [layer["sample"], layer["timestep"]])
            for name, value in numbers_beside(direction).items():
                key = context_key(direction.layer, name)
                if key not in self.file:
                    axes = zip(context_axes(value)[2:], value.shape[2:], strict=True)
                    inner = [_inner_scale(layer, axis, size) for axis, size in axes]
                    self._grow(self.file, key, value, direction.kept, [layer["sample"], layer["timestep"], *inner])

    def _grow(self, group: h5py.Group, name: str, first: Array, timesteps: int, scales: list[h5py.Dataset]) -> None:
        """Create an empty dataset that grows along the samples."""
        per_timestep = max(1, first.dtype.itemsize * int(np.prod(first.shape[2:])))
        together = min(timesteps, max(1, CHUNK_BYTES // per_timestep))
        dataset = group.create_dataset(
            name,
            (0, timesteps, *first.shape[2:]),
            first.dtype.newbyteorder("<"),
            maxshape=(None, timesteps, *first.shape[2:]),
            chunks=(len(first), together, *first.shape[2:]),
            compression="gzip" if self.compress else None,
            shuffle=self.compress,
        )
        for axis, scale in zip(dataset.dims, scales, strict=True):
            axis.attach_scale(scale)


def _inner_axes(signal: Array, grid: Grid) -> Iterator[tuple[str, int]]:
    """Yield name and size of the axes behind the timesteps."""
    return zip(axis_names(signal, grid)[2:], signal.shape[2:], strict=True)


def _inner_scale(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    if name not in group:
        _scale(group, name, size)[:] = np.arange(size)
    return group[name]


def _scale(group: h5py.Group, name: str, size: int, *, grows: bool = False) -> h5py.Dataset:
    """Create the coordinates of an axis."""
    dataset = group.create_dataset(
        name, (size,), "<i8", maxshape=(None,) if grows else None, chunks=(1024,) if grows else None
    )
    dataset.make_scale(name)
    return dataset


def _lengthen(dataset: h5py.Dataset, rows: int) -> h5py.Dataset:
    dataset.resize(dataset.shape[0] + rows, axis=0)
    return dataset


def _samples_together(chunk: TraceChunk) -> int:
    """Return how many samples make a chunk of a dataset."""
    sizes: list[int] = [value[0].nbytes for part in chunk.directions for value in part.signals.values()] or [1]
    return max(1, min(1024, CHUNK_BYTES // max(1, *sizes), WAITING_BYTES // max(1, sum(sizes))))


def _begun(disk: _Disk) -> h5py.File:
    """Begin a file with its seal, in front of all names from the model."""
    file = h5py.File(disk, "w")
    key, text = seal_entry()
    file.attrs[key] = np.bytes_(text)
    return file


def begin_trace(target: Target, output: Output, metadata: Metadata) -> Sink[TraceChunk]:
    """Write HDF5, each signal a dataset."""
    disk = _Disk(target)
    return _Hdf5Sink(disk, output.compress, metadata, _begun(disk))


@dataclass(slots=True, eq=False)
class _PredictionSink:
    """Datasets that grow by whole chunks, one for each output."""

    disk: _Disk
    output: Output
    keys: tuple[str, ...]
    metadata: Metadata
    file: h5py.File
    rows: Rows | None = None

    def add(self, item: Outputs) -> None:
        if self.rows is None:
            largest = max(value[:1].nbytes for value in item)
            self.rows = Rows(max(1, min(1024, CHUNK_BYTES // max(1, largest))))
            self._create(item, self.rows.size)
        for block in self.rows.push(item):
            self._write(block)

    def finish(self) -> None:
        for block in self.rows.rest() if self.rows is not None else ():
            self._write(block)
        self.file.attrs[METADATA_KEY] = json.dumps(self.metadata)
        self.file.close()
        self.disk.seal()

    def close(self) -> None:
        if self.file:
            self.file.close()
        self.disk.close()

    def _create(self, first: Outputs, together: int) -> None:
        for key, value in zip(self.keys, first, strict=True):
            shape = value.shape[1:]
            try:
                self.file.create_dataset(
                    archive_key(key),
                    (0, *shape),
                    value.dtype.newbyteorder("<"),
                    maxshape=(None, *shape),
                    chunks=(together, *(max(1, size) for size in shape)),
                    compression="gzip" if self.output.compress else None,
                    shuffle=self.output.compress,
                )
            except (TypeError, ValueError):
                reason = f"the output {key} cannot stand beside {', '.join(self.keys)} in one HDF5 file"
                raise OutputError(reason, file=self.output.name, remedy="write npz") from None

    def _write(self, block: Outputs) -> None:
        for key, value in zip(self.keys, block, strict=True):
            _lengthen(self.file[archive_key(key)], len(value))[-len(value) :] = value
        self.disk.check()


def begin_outputs(target: Target, output: Output, keys: tuple[str, ...], metadata: Metadata) -> Sink[Outputs]:
    """Write HDF5, each output a dataset."""
    disk = _Disk(target)
    return _PredictionSink(disk, output, keys, metadata, _begun(disk))
