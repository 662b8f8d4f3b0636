"""Tables in files, piece by piece: Parquet, Arrow, CSV, TSV, JSON lines, and folders of Parquet files."""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gateprobe.errors import ReadError
from gateprobe.limits.system import require_room_for_tables
from gateprobe.readers import safe_json
from gateprobe.trace_files.described import Metadata, checked, metadata_of
from gateprobe.trace_files.layouts import Header, header_of
from gateprobe.trace_files.recognised import Kind
from gateprobe.writers.arrow_footer import metadata_in
from gateprobe.writers.columnar import METADATA_KEY
from gateprobe.writers.folders import MANIFEST, PART, SUCCESS, run_id
from gateprobe.writers.seal import examine, require_intact

PIECE_CELLS = 4 << 20
"""Wanted cells of a piece."""
PIECE_BYTES = 16 << 20
"""Wanted bytes of a piece of text."""
_HEADER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table in a file."""

    header: Header
    metadata: Callable[[], Metadata]
    """Reads them, where there is a place for them."""
    pieces: Callable[[], Iterator[pl.DataFrame]]
    """Yields all rows in their order."""
    written: bool = False
    """Whether numbers stand there as text, so that their types have to be found out."""
    escaped: bool = False
    """Whether names and tokens are written so that spreadsheets do not run them."""


def open_pieces(kind: Kind, path: Path) -> Table:
    """Open a table.

    Raises:
        ReadError: It is no table of a trace, is not complete, or is damaged.
    """
    with translated():
        return _OPENERS[kind](path)


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever polars raises on a damaged file into one line."""
    require_room_for_tables()
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ReadError(f"is damaged, or no table of a trace: {reason}") from None


def _parquet(path: Path) -> Table:
    _require_intact(path)
    header = header_of(list(pl.read_parquet_schema(path)))
    table = pl.scan_parquet(path, glob=False, hive_partitioning=False)

    def metadata() -> Metadata:
        return metadata_of(pl.read_parquet_metadata(path).get(METADATA_KEY))

    return Table(header, metadata, _sliced(table, header))


def _require_intact(path: Path) -> None:
    with path.open("rb") as file:
        require_intact(file)


def _arrow(path: Path) -> Table:
    _require_intact(path)
    header = header_of(list(pl.read_ipc_schema(path)))
    table = pl.scan_ipc(path)

    def metadata() -> Metadata:
        with path.open("rb") as file:
            return metadata_of(metadata_in(file, METADATA_KEY))

    return Table(header, metadata, _sliced(table, header))


def _sliced(table: pl.LazyFrame, header: Header) -> Callable[[], Iterator[pl.DataFrame]]:
    rows: int = table.select(pl.len()).collect().item()
    together = max(1, PIECE_CELLS // len(header.names))

    def pieces() -> Iterator[pl.DataFrame]:
        for start in range(0, rows, together):
            with translated():
                piece = table.slice(start, together).collect()
            yield piece

    return pieces


def _parts(path: Path) -> Table:
    """Open a folder of Parquet files, all of one run and all there."""
    with (path / MANIFEST).open("rb") as file:
        manifest = safe_json.loads(file.read(safe_json.MAX_BYTES + 1), MANIFEST)
    metadata = checked(manifest.get("metadata") if isinstance(manifest, dict) else None)
    names = sorted(found.name for found in path.iterdir() if PART.fullmatch(found.name))
    if not (path / SUCCESS).is_file() or not names:
        raise ReadError("is not complete", remedy="run the command that wrote it again: it goes on")
    _check_seals(path, names, manifest)
    tables = [_parquet(path / name) for name in names]
    if any(table.header != tables[0].header for table in tables):
        raise ReadError("has files with other columns than the first")

    def pieces() -> Iterator[pl.DataFrame]:
        for table in tables:
            yield from table.pieces()

    return Table(tables[0].header, lambda: metadata, pieces)


def _check_seals(path: Path, names: Sequence[str], manifest: Mapping[str, Any]) -> None:
    """Look whether the files are those of the run, each where the one before it ends.

    Raises:
        ReadError: One is of another run, or one is missing.
    """
    run, position = run_id(manifest), 0
    for name in names:
        with (path / name).open("rb") as file:
            seal = examine(file, all_of_it=False).seal
        if seal is None or seal.run != run:
            raise ReadError("is not a part of this run", place=name)
        if seal.start != position:
            raise ReadError(f"lacks the part with the samples from position {position}")
        position = seal.stop
    if position != manifest.get("samples"):
        raise ReadError(f"lacks the part with the samples from position {position}")


def _text(path: Path) -> Table:
    """Open CSV or TSV, which has no metadata."""
    with path.open("rb") as file:
        first = file.readline(_HEADER_BYTES)
    line = first.decode("utf-8", "replace").rstrip("\r\n")
    separator = "\t" if "\t" in line else ","
    names = line.split(separator) if '"' not in line else pl.read_csv(BOM_UTF8 + first, separator=separator).columns
    header = header_of(names)

    def parsed(block: bytes) -> pl.DataFrame:
        return pl.read_csv(
            io.BytesIO(BOM_UTF8 + first + block), schema=header.schema(pl.Float64()), separator=separator
        )

    return Table(header, dict, _blocks(path, len(first), parsed), written=True, escaped=True)


def _json_lines(path: Path) -> Table:
    """Open JSON lines, which have no metadata."""
    with path.open("rb") as file:
        first = safe_json.loads(file.readline(_HEADER_BYTES), "the first line")
    header = header_of(list(first))

    def parsed(block: bytes) -> pl.DataFrame:
        try:
            return pl.read_ndjson(io.BytesIO(block), schema=header.schema(pl.Float64()))
        except pl.exceptions.PolarsError:  # "NaN" and the like are texts
            values = pl.col(header.values).cast(pl.Float64)
            return pl.read_ndjson(io.BytesIO(block), schema=header.schema(pl.String())).with_columns(values)

    return Table(header, dict, _blocks(path, 0, parsed), written=True)


def _blocks(path: Path, start: int, parsed: Callable[[bytes], pl.DataFrame]) -> Callable[[], Iterator[pl.DataFrame]]:
    """Return what reads a text in blocks of whole lines, from a place on."""

    def pieces() -> Iterator[pl.DataFrame]:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(PIECE_BYTES):
                block += file.readline()
                with translated():
                    piece = parsed(block)
                yield piece

    return pieces


_OPENERS: Mapping[Kind, Callable[[Path], Table]] = {
    Kind.PARQUET: _parquet,
    Kind.ARROW: _arrow,
    Kind.TEXT: _text,
    Kind.JSONL: _json_lines,
    Kind.PARTS: _parts,
}
