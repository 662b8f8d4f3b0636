"""A folder with a Parquet file for each block.

A block is finished when its file is there, since files appear whole. ``_SUCCESS`` says that none is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from gateprobe.chunk import TraceChunk
from gateprobe.errors import OutputError
from gateprobe.graph import Array
from gateprobe.remote import is_url, joined
from gateprobe.scale.dataset import MANIFEST, Block, Destination, Manifest, folder_of, foreign
from gateprobe.writers import Format, Output, write
from gateprobe.writers.target import blamed, open_target

SUCCESS = "_SUCCESS"
_OURS = re.compile(rf"part-\d+\.parquet|{MANIFEST}|{SUCCESS}|\.gateprobe-[0-9a-f]+")
_MAGIC = b"PAR1"


class PartsFolder:
    """A `Dataset` of Parquet files."""

    def __init__(self, destination: Destination) -> None:
        self._layout = destination.layout
        self._folder = folder_of(destination)
        self._name = self._folder.name

    def manifest(self) -> Manifest | None:
        """Return the manifest, if somebody has begun."""
        with blamed(self._name):
            names = self._folder.names()
            if MANIFEST not in names:
                if names:
                    raise foreign(self._name)
                return None
            try:
                found = json.loads(self._folder.read(MANIFEST))
            except ValueError:
                raise OutputError(
                    "is not JSON", file=joined(self._name, MANIFEST), remedy="name another folder"
                ) from None
        return found if isinstance(found, dict) else {}

    def clear(self) -> None:
        """Remove all that gateprobe wrote; the manifest goes last."""
        with blamed(self._name):
            for name in sorted(self._folder.names(), key=MANIFEST.__eq__):
                if _OURS.fullmatch(name):
                    self._folder.remove(name)

    def begin(self, manifest: Manifest, first: TraceChunk, numbers: Array) -> None:
        """Write the manifest, if there is none."""
        with blamed(self._name):
            self._folder.create()
            if MANIFEST in self._folder.names():
                return
        self._put(MANIFEST, json.dumps(manifest, indent=1).encode())

    def finished(self, blocks: Iterable[Block]) -> Collection[Block]:
        """Return the blocks whose files are there."""
        with blamed(self._name):
            names = set(self._folder.names())
            return {block for block in blocks if _part(block) in names and self._is_whole(_part(block))}

    def write(self, block: Block, chunks: Iterable[TraceChunk], manifest: Manifest) -> None:
        """Write a block's file; another one may have done the same meanwhile, which is as good."""
        output = Output(joined(self._name, _part(block)), Format.PARQUET, self._layout, force=True)
        write(chunks, [output], manifest["metadata"])

    def complete(self) -> None:
        """Mark the folder; remove what killed processes left where files cannot be without a name."""
        with blamed(self._name):
            names = self._folder.names()
            for name in names:
                if name.startswith(".gateprobe-"):
                    self._folder.remove(name)
        if SUCCESS not in names:
            self._put(SUCCESS, b"")

    def _put(self, name: str, data: bytes) -> None:
        with open_target(joined(self._name, name), force=True) as target:
            target.file.write(data)
            target.publish()

    def _is_whole(self, name: str) -> bool:
        """Look at the end of a file: a machine that lost its power may have left it empty."""
        if is_url(self._name):
            return True
        data = Path(self._name, name)
        with data.open("rb") as file:
            file.seek(max(0, data.stat().st_size - len(_MAGIC)))
            return file.read() == _MAGIC


def _part(block: Block) -> str:
    return f"part-{block.sample:012d}.parquet"
