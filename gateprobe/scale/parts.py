"""A folder with a Parquet file for each block.

A block is finished when its file is there, since files appear whole. Each file carries a seal: the run and the samples
that it belongs to, and a checksum, which a run that goes on compares. ``_SUCCESS`` says that no file is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from threading import Event

from gateprobe.files.remote import is_url, joined
from gateprobe.graph import Array
from gateprobe.replay.threads import in_order
from gateprobe.scale.dataset import (
    Block,
    Destination,
    Manifest,
    checked_manifest,
    damaged,
    folder_of,
    foreign,
    parsed_manifest,
    stranger,
)
from gateprobe.traces.chunk import TraceChunk
from gateprobe.writers import Output, write
from gateprobe.writers.folders import MANIFEST, PART, SUCCESS, run_id
from gateprobe.writers.seal import Seal, examine
from gateprobe.writers.target import blamed, open_target

_READERS = 4
"""Files that are checked at a time."""
_UNFINISHED = re.compile(r"\.gateprobe-[0-9a-f]{16}")


class PartsFolder:
    """A `Dataset` of Parquet files."""

    def __init__(self, destination: Destination) -> None:
        self._layout = destination.layout
        self._folder = folder_of(destination)
        self._name = self._folder.name

    def manifest(self) -> Manifest | None:
        """Return the manifest, if there is one."""
        with blamed(self._name):
            names = self._folder.names()
            if MANIFEST not in names:
                if names:
                    raise foreign(self._name)
                return None
            file = joined(self._name, MANIFEST)
            return checked_manifest(parsed_manifest(self._folder.read(MANIFEST), file), file)

    def clear(self) -> None:
        """Remove all that gateprobe wrote; the manifest goes last."""
        with blamed(self._name):
            names = self._folder.names()
            parts = [name for name in names if PART.fullmatch(name)]
            for name in names:
                if name.endswith(".parquet") and (name not in parts or self._is_foreign(name)):
                    raise stranger(self._name, name, "which gateprobe did not write")
            rest = [name for name in names if _UNFINISHED.fullmatch(name) or name == SUCCESS]
            for name in [*rest, *parts, MANIFEST]:
                if name in names:
                    self._folder.remove(name)

    def begin(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Write the manifest, if there is none."""
        with blamed(self._name):
            self._folder.create()
            if MANIFEST in self._folder.names():
                return
        self._put(MANIFEST, json.dumps(manifest, indent=1).encode())

    def finished(
        self, blocks: Sequence[Block], manifest: Manifest, first: TraceChunk, numbers: Array
    ) -> Collection[Block]:
        """Return the blocks whose files are there and carry an unbroken seal of this run and this block.

        By path every byte is read; by URL the seal alone, at the end of each file.
        """
        run = run_id(manifest)
        with blamed(self._name):
            names = set(self._folder.names())
            wanted = {_part(block): block for block in blocks}
            for name in sorted(names - wanted.keys()):
                if name.endswith(".parquet"):
                    raise stranger(self._name, name, "which is no part of this run")
            there = [block for name, block in wanted.items() if name in names]
            whole = list(in_order((partial(self._is_whole, block, run) for block in there), _READERS, Event()))
        for block, good in zip(there, whole, strict=True):
            if not good:
                damaged(joined(self._name, _part(block)))
        return {block for block, good in zip(there, whole, strict=True) if good}

    def write(self, block: Block, chunks: Iterable[TraceChunk], manifest: Manifest) -> None:
        """Write a block's file; another process may have done the same meanwhile, which is as good."""
        seal = Seal(run_id(manifest), block.start, block.stop)
        output = Output(joined(self._name, _part(block)), "parquet", self._layout, force=True, seal=seal)
        write(chunks, [output], manifest["metadata"])

    def reopen(self) -> None:
        """Remove the mark."""
        with blamed(self._name):
            if SUCCESS in self._folder.names():
                self._folder.remove(SUCCESS)

    def complete(self) -> None:
        """Mark the folder; remove what killed processes left where files cannot be without a name."""
        with blamed(self._name):
            names = self._folder.names()
            for name in names:
                if _UNFINISHED.fullmatch(name):
                    self._folder.remove(name)
        if SUCCESS not in names:
            self._put(SUCCESS, b"")

    def _put(self, name: str, data: bytes) -> None:
        with open_target(joined(self._name, name), force=True) as target:
            target.write(data)
            target.publish()

    def _is_whole(self, block: Block, run: str) -> bool:
        """Look whether the file of a block is what was written for it; a cut or changed one is not.

        Raises:
            OutputError: It is another file, which is never removed.
        """
        name = _part(block)
        with self._folder.opened(name) as file:
            found = examine(file, all_of_it=not is_url(self._name))
        if found.whole and found.seal is None:
            raise stranger(self._name, name, "which gateprobe did not write")
        if found.seal is None or not (found.intact or is_url(self._name)):
            return False
        if found.seal != Seal(run, block.start, block.stop):
            raise stranger(self._name, name, "which is of another run or of other samples")
        return True

    def _is_foreign(self, name: str) -> bool:
        """Look whether a file is a Parquet file of others, whatever its name says."""
        with self._folder.opened(name) as file:
            found = examine(file, all_of_it=False)
        return found.whole and found.seal is None


def _part(block: Block) -> str:
    return f"part-{block.sample:012d}.parquet"
