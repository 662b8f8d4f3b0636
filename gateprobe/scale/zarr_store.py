"""A Zarr store (format 3): the arrays of the NPZ file, each block a region of whole chunks.

The attributes of the root hold the metadata, the manifest, and whether the store is ``complete``. The array
``__finished__`` has a chunk for each block, so that a task marks its block in a file that no other task writes. A mark
is two checksums: of the run and the block that it belongs to, and of the block's numbers; zeros are no mark. Each
chunk ends in its CRC-32C, which every reader of Zarr checks, and the metadata have a sha256 beside them.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import GateprobeError, InputError, MissingExtra, OutputError
from gateprobe.files.remote import is_url, joined, local_path, redact_url, redacted, remote
from gateprobe.graph import Array
from gateprobe.replay.run import SLAB
from gateprobe.scale.dataset import (
    Block,
    Destination,
    Manifest,
    checked_manifest,
    damaged,
    folder_of,
    foreign,
    irregular,
    parsed_manifest,
    stranger,
)
from gateprobe.traces.chunk import TraceChunk
from gateprobe.writers.arrays import METADATA_KEY, Index, arrays_of, context_key
from gateprobe.writers.chunks import Regrouper
from gateprobe.writers.folders import FINISHED, SUM_BYTES, ZARR_ROOT, Sums, digest_of, mark_of, run_id, sum_of
from gateprobe.writers.seal import SEAL_KEY

_FILE = re.compile(
    r"(?:(?P<node>.+)/)?(?:(?:zarr\.json|zarr\.[0-9a-f]{32}\.partial)|(?P<chunk>c(?:/\d{1,18})*)(?:\.[0-9a-f]{32}\.partial)?)"
)
"""The files of a Zarr store, also those that a process leaves that is killed while it writes them."""
CHUNK_BYTES = 8 << 20
"""Largest size of the chunks of an array, unless a sample is larger."""


class ZarrStore:
    """A `Dataset` in a Zarr store."""

    def __init__(self, destination: Destination) -> None:
        try:
            import zarr.codecs  # noqa: PLC0415 - an import of 0.3 s
        except ImportError:
            raise MissingExtra("zarr", "zarr") from None
        self._zarr: Any = zarr
        self._folder = folder_of(destination)
        self._name = local_path(destination.name)
        self._compress = destination.compress

    def manifest(self) -> Manifest | None:
        """Return the manifest, if there is one."""
        found = self._attributes().get("manifest") if self._names() else None
        return None if found is None else checked_manifest(found, joined(self._name, ZARR_ROOT))

    def clear(self) -> None:
        """Remove the store; what says whose it is goes last."""
        names = self._names()
        if not names:
            return
        with self._faults():
            self._refuse_strangers(_keys_of(self._attributes().get(METADATA_KEY)))
            for name in sorted(names, key=ZARR_ROOT.__eq__):
                self._folder.remove(name)

    def begin(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Create the root and the arrays, as far as they are not there."""
        with self._faults():
            root = self._open("r+")
            if root is None:
                root = self._zarr.create_group(self._where, attributes=_attributes(manifest, first, numbers))
            self._fill(root, manifest, first, numbers)

    def finished(
        self, blocks: Sequence[Block], manifest: Manifest, first: TraceChunk, numbers: Array
    ) -> Collection[Block]:
        """Return the blocks whose marks are those of this run and of the numbers that are there.

        By path every number is read; by URL the marks alone.
        """
        with self._faults():
            self._check(manifest, first, numbers)
            root = self._open("r")
            if FINISHED not in root:  # the run before was interrupted at once
                return ()
            marks = _marks_of(root[FINISHED], len(blocks))
            run = run_id(manifest)
            return {block for block, mark in zip(blocks, marks, strict=True) if self._is_whole(root, block, run, mark)}

    def write(self, block: Block, chunks: Iterable[TraceChunk], manifest: Manifest) -> None:
        """Fill a block's region, then mark it."""
        with self._faults():
            root = self._open("r+")
        place, arrays = _Place(block.start), dict[str, Any]()
        sums = Sums()
        for chunk in _regrouped(chunks, manifest["block"]):
            place.turn_to(chunk)
            for key, value, kept in arrays_of(chunk):
                with self._faults():
                    array = arrays[key] if key in arrays else arrays.setdefault(key, root[key])
                    if array.shape[1:] != (kept, *value.shape[2:]):
                        raise _uneven(key, array.shape[1:], (kept, *value.shape[2:]))
                    array[place.of(key, value)] = value
                sums.add(key, value)
        with self._faults():
            root[FINISHED][block.start // manifest["block"]] = np.frombuffer(
                mark_of(block.start, block.stop, run_id(manifest)) + sums.digest(), np.uint8
            )

    def reopen(self) -> None:
        """Remove the mark."""
        with self._faults():
            self._open("r+").attrs["complete"] = False

    def complete(self) -> None:
        """Mark the whole as complete."""
        with self._faults():
            self._open("r+").attrs["complete"] = True

    def _names(self) -> list[str]:
        with self._faults():
            names = self._folder.names()
        if names and ZARR_ROOT not in names:
            raise foreign(self._name)
        return names

    def _attributes(self) -> Mapping[str, Any]:
        """Return what the root says of the store.

        Raises:
            OutputError: It is damaged, or of another store.
        """
        with self._faults():
            data = self._folder.read(ZARR_ROOT)
        root = parsed_manifest(data, joined(self._name, ZARR_ROOT))
        found = root.get("attributes") if isinstance(root, dict) else None
        if not isinstance(found, dict) or not isinstance(found.get("manifest"), dict):
            raise foreign(self._name)
        return found

    def _fill(self, root: Any, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Create the arrays, as far as they are not there."""
        together = _together(first, manifest["block"])
        slab = SLAB if first.is_slab else None
        for key, value, kept in arrays_of(first):
            self._create(root, key, (len(numbers), kept, *value.shape[2:]), value.dtype, (together, slab))
        blocks = -(-len(numbers) // manifest["block"])
        self._create(root, FINISHED, (blocks, 2 * SUM_BYTES), np.dtype(np.uint8), (1, None))

    def _check(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Compare what there is with what this run would create.

        Raises:
            OutputError: It differs.
        """
        expected = self._zarr.create_group(self._zarr.storage.MemoryStore())
        self._fill(expected, manifest, first, numbers)
        described = {name: node.metadata.to_dict() for name, node in expected.members(max_depth=None)}
        keys = {name: node for name, node in expected.members(max_depth=None) if hasattr(node, "shape")}
        if not is_url(self._name):  # to list a storage takes long; what is too much there, no reader of the arrays sees
            self._refuse_strangers(keys.keys(), {key: _grid(node) for key, node in keys.items()})
        if _attributes(manifest, first, numbers)[METADATA_KEY] != self._attributes().get(METADATA_KEY):
            raise stranger(self._name, ZARR_ROOT, "which does not describe this run")
        for name, node in self._open("r").members(max_depth=None):
            if described.get(name) != node.metadata.to_dict():
                raise stranger(self._name, f"{name}/{ZARR_ROOT}", "which does not describe an array of this run")

    def _refuse_strangers(self, keys: Collection[str], grids: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """Refuse what is not a file of the store's arrays.

        Args:
            keys: Of the arrays.
            grids: How many chunks each has along its axes, if they are known.

        Raises:
            OutputError: There is such a file, or a link, a pipe or a device.
        """
        groups = {"", *(key[:end] for key in keys for end, letter in enumerate(key) if letter == "/")}
        for relative in remote(self._name).files() if is_url(self._name) else _files(self._name):
            node, chunk = _node_and_chunk(relative)
            known = node in keys or (chunk is None and node in groups)
            if known and chunk and grids is not None:
                known = len(chunk) == len(grids[node]) and all(
                    n < size for n, size in zip(chunk, grids[node], strict=True)
                )
            if not known:
                raise stranger(self._name, relative, "which is no part of this trace")
            if not is_url(self._name) and not stat.S_ISREG(Path(self._name, relative).lstat().st_mode):
                raise irregular(joined(self._name, relative))

    def _is_whole(self, root: Any, block: Block, run: str, mark: bytes) -> bool:
        if not any(mark):
            return False
        named = mark[:SUM_BYTES] == mark_of(block.start, block.stop, run)
        if named and (is_url(self._name) or mark[SUM_BYTES:] == _sum_of(root, block)):
            return True
        damaged(f"{self._name}, samples from position {block.start} to {block.stop - 1},")
        return False

    @property
    def _where(self) -> str | Path:
        return self._name if is_url(self._name) else Path(self._name)

    def _open(self, mode: str) -> Any:
        """Return the root, or ``None`` where there is none."""
        try:
            return self._zarr.open_group(self._where, mode=mode)
        except FileNotFoundError:
            return None

    def _create(
        self, root: Any, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], together: tuple[int, int | None]
    ) -> None:
        """Create an array; what has not been computed is NaN, or false.

        Args:
            root: Where.
            key: Its name.
            shape: Of all of it.
            dtype: Of its numbers.
            together: Samples of a chunk, and its timesteps where they come in slabs.
        """
        if key in root:
            return
        samples, slab = together
        codecs = self._zarr.codecs
        most = slab or max(1, CHUNK_BYTES // _bytes(samples, dtype, shape[2:]))
        root.create_array(
            key,
            shape=shape,
            chunks=(min(samples, shape[0]), *(min(size, most) for size in shape[1:2]), *shape[2:]),
            dtype=dtype,
            compressors=[*([codecs.ZstdCodec()] if self._compress else []), codecs.Crc32cCodec()],
            fill_value=np.nan if dtype.kind == "f" else 0,
            dimension_names=("sample", "timestep", "unit")[: len(shape)] if len(shape) <= 3 else None,
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except GateprobeError:
            raise
        except Exception as fault:  # noqa: BLE001 - every storage has errors of its own
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            raise OutputError(redacted(f"cannot write: {reason}", self._name), file=redact_url(self._name)) from None


def _attributes(manifest: Manifest, first: TraceChunk, numbers: Array) -> dict[str, Any]:
    """Return what the root of the store of a run says."""
    index = Index()
    index.add(replace(first, samples=numbers))
    described = {**manifest["metadata"], "trace": index.described()}
    return {METADATA_KEY: described, SEAL_KEY: digest_of(described), "manifest": manifest, "complete": False}


def _keys_of(metadata: Any) -> set[str]:
    """Return the arrays of a store of another run, as far as its metadata tell."""
    keys = {FINISHED}
    trace = metadata.get("trace") if isinstance(metadata, dict) else None
    directions = trace.get("directions") if isinstance(trace, dict) else None
    for direction in directions if isinstance(directions, list) else ():
        if isinstance(direction, dict) and isinstance(direction.get("signals"), list):
            group = str(direction.get("key"))
            keys |= {f"{group}/{signal}" for signal in direction["signals"]}
            keys.add(f"{group.rpartition('/')[0]}/mask")
            beside = direction.get("context", ())
            keys |= {context_key(str(direction.get("layer")), str(name)) for name in beside if isinstance(beside, list)}
    return keys


def _files(folder: str) -> Iterator[str]:
    """Yield everything in a folder that is no folder, without following links, as paths relative to it."""
    for place, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if Path(place, name).is_symlink())]:
            yield Path(place, name).relative_to(folder).as_posix()


def _node_and_chunk(path: str) -> tuple[str, tuple[int, ...] | None]:
    """Return the array or group that a file of a store belongs to, and which chunk it is, if it is one.

    A file that is none of these belongs to itself.
    """
    match = _FILE.fullmatch(path)
    if match is None:
        return path, None
    chunk = match["chunk"]
    return match["node"] or "", None if chunk is None else tuple(map(int, chunk.split("/")[1:]))


def _grid(array: Any) -> tuple[int, ...]:
    return tuple(-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True))


def _marks_of(array: Any, count: int) -> list[bytes]:
    """Return the marks of all blocks; one whose bytes were changed is the mark of no run."""
    try:
        return [bytes(mark) for mark in array[:]]
    except ValueError:  # what the codec raises where a checksum is another one
        return [_mark_in(array, number) for number in range(count)]


def _mark_in(array: Any, number: int) -> bytes:
    try:
        return bytes(array[number])
    except ValueError:
        return b"changed"


def _sum_of(root: Any, block: Block) -> bytes | None:
    """Return the checksum of the numbers that are there; ``None`` where they cannot be read."""
    try:
        return sum_of(root, block.start, block.stop)
    except OutputError:
        raise
    except Exception:  # noqa: BLE001 - what a codec raises for damaged chunks
        return None


@dataclass(slots=True)
class _Place:
    """Where in the arrays the numbers of a chunk go."""

    stop: int
    """Position behind the samples of the chunk."""
    start: int = 0
    filled: dict[str, int] = field(default_factory=dict)
    """Timesteps that these samples have already, by array."""

    def turn_to(self, chunk: TraceChunk) -> None:
        """Go to the samples of a chunk."""
        if not chunk.continues:
            self.start, self.stop = self.stop, self.stop + len(chunk.samples)
            self.filled.clear()

    def of(self, key: str, value: Array) -> tuple[slice, slice]:
        """Return where the next timesteps of an array go."""
        first = self.filled.get(key, 0)
        self.filled[key] = first + value.shape[1]
        return slice(self.start, self.stop), slice(first, first + value.shape[1])


def _bytes(samples: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return samples * dtype.itemsize * math.prod(shape)


def _together(first: TraceChunk, block: int) -> int:
    """Return how many samples make a chunk: the most that fit of those that divide a block."""
    largest = max(_bytes(kept, value.dtype, value.shape[2:]) for _, value, kept in arrays_of(first))
    return next(
        size for size in range(block, 0, -1) if block % size == 0 and (size * largest <= CHUNK_BYTES or size == 1)
    )


def _regrouped(chunks: Iterable[TraceChunk], block: int) -> Iterator[TraceChunk]:
    """Yield samples in such numbers that they fill whole chunks."""
    groups = None
    for chunk in chunks:
        if chunk.is_slab:
            yield chunk
            continue
        groups = groups or Regrouper(_together(chunk, block))
        yield from groups.push(chunk)
    rest = None if groups is None else groups.rest()
    if rest is not None:
        yield rest


def _uneven(key: str, one: tuple[int, ...], other: tuple[int, ...]) -> InputError:
    reason = f"{key} has shape {one} in one batch and {other} in another, which no array holds"
    return InputError(reason, remedy="write a folder of Parquet files")
