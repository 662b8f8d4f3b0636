"""Every format gives back exactly what was traced, however the samples arrived."""

import csv
import io
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import h5py
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import GRU, chunks, direction_of, lstm_chunk, rows_of, same_bits

from gateprobe.errors import GateprobeWarning, InputError, MissingExtra, OutputError
from gateprobe.trace import Trace
from gateprobe.traces.chunk import TraceChunk
from gateprobe.writers import Output, trace_formats, write, write_predictions
from gateprobe.writers.chunks import cut_rows
from gateprobe.writers.names import archive_key, cell_text
from gateprobe.writers.table import columns_of, frames, table

SUFFIXES = [kind.name for kind in trace_formats()]
METADATA = {"format": 1, "gateprobe": "0.2.0", "model": {"file": "é\x00.h5"}}
INDEX = ("sample", "layer", "direction", "timestep", "step", "unit", "masked")

quick = settings(max_examples=40)


def written(folder, parts, suffix, **options):
    path = folder / f"trace.{suffix}"
    write(parts, [Output(str(path), force=True, **options)], METADATA)
    return path


def agrees(row, want):
    """Whether a row that was read back is the row that was traced; signals only."""
    return all(
        (row[name] is None) == (value is None) and (value is None or same_bits(row[name], value))
        for name, value in want.items()
        if name not in INDEX
    )


@quick
@given(chunk=chunks())
def test_csv_reads_back_to_the_same_bits(tmp_path, chunk):
    text = written(tmp_path, [chunk], "csv").read_text("utf-8")
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    want = list(rows_of(chunk))
    assert list(rows[0]) == list(want[0])
    assert len(rows) == len(want)
    for row, expected in zip(rows, want, strict=True):
        index = {name: row[name] for name in INDEX}
        shown = {name: str(expected[name]) for name in INDEX}
        assert index == shown | {"layer": cell_text(expected["layer"]), "masked": str(expected["masked"]).lower()}
        assert agrees({name: text or None for name, text in row.items()}, expected)


@quick
@given(chunk=chunks(), suffix=st.sampled_from(["parquet", "arrow", "jsonl"]))
def test_tables_read_back_to_the_same_bits(tmp_path, chunk, suffix):
    path = written(tmp_path, [chunk], suffix)
    if suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    else:
        rows = (pl.read_parquet(path) if suffix == "parquet" else pl.read_ipc(path)).to_dicts()
    for row, expected in zip(rows, rows_of(chunk), strict=True):
        assert [row[name] for name in INDEX] == [expected[name] for name in INDEX]
        assert agrees(row, expected)


@quick
@given(chunk=chunks())
def test_long_and_wide_hold_the_same_values(tmp_path, chunk):
    want = {
        (row["sample"], row["layer"], row["direction"], row["timestep"], row["unit"]): row for row in rows_of(chunk)
    }
    trace = Trace(chunk.samples, chunk.directions)
    counted = 0
    for row in trace.to_polars("long").to_dicts():
        expected = want[row["sample"], row["layer"], row["direction"], row["timestep"], row["unit"]]
        assert agrees({row["signal"]: row["value"]}, {row["signal"]: expected[row["signal"]]})
        assert (row["step"], row["masked"]) == (expected["step"], expected["masked"])
        counted += 1
    assert counted == sum(value.size for part in chunk.directions for value in part.signals.values())
    for row in trace.to_polars("wide").to_dicts():
        for column, value in row.items():
            name, _, unit = column.rpartition("_")
            if unit.isdigit():
                expected = want.get((row["sample"], row["layer"], row["direction"], row["timestep"], int(unit)), {})
                assert agrees({name: value}, {name: expected.get(name)})


@quick
@given(chunk=chunks())
def test_npz_and_hdf5_give_the_arrays_back(tmp_path, chunk):
    path = written(tmp_path, [chunk], "npz")
    hdf5 = written(tmp_path, [chunk], "h5")
    with np.load(path, allow_pickle=False) as arrays, h5py.File(hdf5) as file:
        for part in chunk.directions:
            key = archive_key(f"{part.layer}/{part.direction}")
            for name, value in part.signals.items():
                np.testing.assert_array_equal(arrays[f"{key}/{name}"], value)
                np.testing.assert_array_equal(file[f"{key}/{name}"], value)
            if part.mask is not None:
                np.testing.assert_array_equal(arrays[archive_key(f"{part.layer}/mask")], part.mask)
                np.testing.assert_array_equal(file[archive_key(f"{part.layer}/mask")], part.mask)
        for text in (str(arrays["__metadata__"]), file.attrs["__metadata__"]):
            metadata = json.loads(text)
            assert METADATA.items() <= metadata.items()
            assert metadata["trace"]["samples"] in (f"7:{7 + len(chunk.samples)}", "7")
            assert [one["layer"] for one in metadata["trace"]["directions"]] == [
                part.layer for part in chunk.directions
            ]


@quick
@given(chunk=chunks(), cuts=st.sets(st.integers(1, 4)), suffix=st.sampled_from(SUFFIXES))
def test_the_arrival_of_samples_never_changes_a_byte(tmp_path, chunk, cuts, suffix):
    whole = written(tmp_path, [chunk], suffix).read_bytes()
    bounds = [0, *sorted(cut for cut in cuts if cut < len(chunk.samples)), len(chunk.samples)]
    parts = [chunk.rows(slice(a, b)) for a, b in pairwise(bounds)]
    assert written(tmp_path, iter(parts), suffix).read_bytes() == whole


def test_the_time_of_day_never_changes_a_byte(tmp_path):
    chunk = lstm_chunk(masked=True)
    first = {suffix: written(tmp_path, [chunk], suffix).read_bytes() for suffix in SUFFIXES}
    time.sleep(1.1)
    assert {suffix: written(tmp_path, [chunk], suffix).read_bytes() for suffix in SUFFIXES} == first


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_large_runs_do_not_depend_on_the_batch_either(tmp_path, suffix):
    chunk = lstm_chunk(700, 20, 16, masked=True)  # several row groups, HDF5 chunks and blocks of a table
    whole = written(tmp_path, [chunk], suffix).read_bytes()
    parts = [chunk.rows(slice(a, a + 33)) for a in range(0, 700, 33)]
    assert written(tmp_path, parts, suffix).read_bytes() == whole


def test_a_sample_larger_than_a_block_is_cut_in_the_order_of_its_rows():
    chunk = lstm_chunk(2, 50, 3)
    pieces = list(cut_rows(chunk, (3,), rows=40))
    assert len(pieces) == 8
    got = pl.concat([table(piece) for piece in pieces])
    assert got.equals(table(chunk))


def test_many_small_layers_of_a_large_sample_share_tables():
    one = lstm_chunk(1, 5, 2).directions[0]
    chunk = TraceChunk(np.arange(1), tuple(replace(one, layer=f"lstm:{k}") for k in range(30)))
    pieces = list(cut_rows(chunk, (2,) * 30, rows=45))
    assert [len(piece.directions) for piece in pieces] == [4] * 7 + [2]
    plain = pl.col("layer").cast(pl.String)  # the names are those of each piece
    got = pl.concat([table(piece).with_columns(plain) for piece in pieces])
    assert got.equals(table(chunk).with_columns(plain))


def test_columns_of_layers_of_several_kinds_are_a_union():
    both = TraceChunk(np.arange(1), (lstm_chunk(1, 1, 1).directions[0], gru_direction()))
    assert table(both).columns[7:] == [
        *("input_gate", "forget_gate", "update_gate", "reset_gate"),
        *("candidate", "output_gate", "cell_state", "hidden_state"),
    ]
    assert table(both)["update_gate"].to_list() == [None, 0.5]


def gru_direction():
    return direction_of("gru", "forward", {name: np.full((1, 1, 1), 0.5, np.float32) for name in GRU})


def test_float32_text_is_short_and_float64_keeps_its_digits(tmp_path):
    chunk = lstm_chunk(1, 1, 1)
    chunk.directions[0].signals["forget_gate"][...] = np.float32(0.1)
    assert ",0.1," in written(tmp_path, [chunk], "csv").read_text()


def test_predictions_are_keyed_in_the_order_of_the_model(tmp_path):
    blocks = [(np.full((2, 3), k, np.float32), np.full((2,), k, np.int64)) for k in range(3)]
    write_predictions(blocks, ("z", "../a"), [Output(str(tmp_path / "y.npz"))], {})
    with np.load(tmp_path / "y.npz") as arrays:
        assert list(arrays) == ["z", "\\x2e\\x2e/a"]
        assert arrays["z"].shape == (6, 3)
        np.testing.assert_array_equal(arrays["\\x2e\\x2e/a"], [0, 0, 1, 1, 2, 2])


def test_compressed_arrays_read_back(tmp_path):
    chunk = lstm_chunk(50, 20, 8)
    for suffix in ("npz", "h5"):
        plain = written(tmp_path, [chunk], suffix).stat().st_size
        packed = written(tmp_path, [chunk], suffix, compress=True)
        assert packed.stat().st_size < plain
    with np.load(tmp_path / "trace.npz") as arrays, h5py.File(tmp_path / "trace.h5") as file:
        want = chunk.directions[0].signals["forget_gate"]
        np.testing.assert_array_equal(arrays["lstm/forward/forget_gate"], want)
        np.testing.assert_array_equal(file["lstm/forward/forget_gate"], want)


def test_hdf5_axes_have_scales(tmp_path):
    with h5py.File(written(tmp_path, [lstm_chunk(masked=True)], "h5")) as file:
        gate = file["lstm/forward/forget_gate"]
        assert [axis[0].name for axis in gate.dims] == ["/lstm/sample", "/lstm/timestep", "/lstm/forward/unit"]
        assert gate.maxshape == (None, 4, 2)
        assert file["lstm/mask"].dims[0][0].name == "/lstm/sample"


@quick
@given(chunk=chunks())
def test_xarray_opens_the_hdf5_file_as_the_tree_of_the_trace(tmp_path, chunk):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    ours = Trace(chunk.samples, chunk.directions, METADATA).to_xarray()
    with xarray.open_datatree(written(tmp_path, [chunk], "h5"), engine="h5netcdf") as opened:
        assert opened.attrs.pop("gateprobe.seal")
        xarray.testing.assert_identical(opened.load(), ours)


def test_a_tree_is_labelled(tmp_path):
    xarray = pytest.importorskip("xarray")
    trace, path = both_directions(), tmp_path / "tree.h5"
    tree = trace.to_xarray()
    gate = tree["outer/bi/backward"]["forget_gate"].sel(sample=6, unit=1)
    np.testing.assert_array_equal(gate.sel(timestep=3), 11)  # of sample 6, timestep 3 and unit 1
    assert gate.coords["step"].values.tolist() == [3, 2, 1, 0]
    assert tree["outer/bi"]["mask"].dims == ("sample", "timestep")
    images = tree["conv/forward"]["forget_gate"]
    assert images.dims == ("sample", "timestep", "axis_2", "axis_3")
    pytest.importorskip("h5netcdf")
    trace.save(path)
    with xarray.open_datatree(path, engine="h5netcdf") as opened:
        assert opened["conv/forward"]["forget_gate"].equals(images)


def both_directions():
    """Two samples, 5 and 6, of 4 timesteps and 2 units; every value of the backward direction tells its place."""
    values = np.arange(16, dtype=np.float32).reshape(2, 4, 2) - 4
    mask = np.ones((2, 4), bool)
    directions = [direction_of("outer/bi", name, {"forget_gate": values}, mask) for name in ("forward", "backward")]
    images = direction_of("conv", "forward", {"forget_gate": np.zeros((2, 4, 3, 2), np.float32)})
    return Trace(np.arange(5, 7), (*directions, images), {})


def test_without_xarray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtra, match=r"xarray is not installed; run: pip install 'gateprobe\[xarray\]'"):
        both_directions().to_xarray()


def test_parquet_and_arrow_carry_the_metadata(tmp_path):
    path = written(tmp_path, [lstm_chunk()], "parquet")
    assert json.loads(pl.read_parquet_metadata(path)["gateprobe"]) == METADATA
    ipc = pytest.importorskip("pyarrow.ipc")
    with ipc.open_file(written(tmp_path, [lstm_chunk(9, masked=True)], "arrow")) as file:
        assert json.loads(file.schema.metadata[b"gateprobe"]) == METADATA
        assert file.read_all().num_rows == 9 * 4 * 2


@pytest.mark.parametrize("layout", ["tidy", "long", "wide"])
def test_parquet_has_row_groups_that_can_be_read_alone_and_skipped(tmp_path, monkeypatch, layout):
    monkeypatch.setattr("gateprobe.writers.formats.parquet.GROUP_ROWS", 500)
    chunk = lstm_chunk(700, 20, 2, masked=True)
    path, want = written(tmp_path, [chunk], "parquet", layout=layout), table(chunk, layout)
    assert pl.read_parquet(path).equals(want)
    late = pl.scan_parquet(path).filter(pl.col("sample") > 690, pl.col("timestep") == 3).collect()
    assert late.equals(want.filter(pl.col("sample") > 690, pl.col("timestep") == 3))
    parquet = pytest.importorskip("pyarrow.parquet").ParquetFile(path)
    sizes = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
    assert sizes == [500] * (len(want) // 500)
    start = 0
    for number, size in enumerate(sizes):
        group = pl.from_arrow(parquet.read_row_group(number))
        assert group.select(pl.exclude("layer", "direction", "signal")).equals(
            want[start : start + size].select(pl.exclude("layer", "direction", "signal"))
        )
        statistics = parquet.metadata.row_group(number).column(0).statistics
        assert (statistics.min, statistics.max) == (group["sample"].min(), group["sample"].max())
        start += size


@pytest.mark.slow
def test_a_wide_table_has_no_more_in_memory_than_a_long_one(tmp_path, monkeypatch):
    """A row of 3,078 cells counts for as much as 236 rows of 13."""
    monkeypatch.setattr("gateprobe.writers.formats.parquet.GROUP_CELLS", 100_000)
    monkeypatch.setattr("gateprobe.writers.table.BLOCK_CELLS", 20_000)
    monkeypatch.setattr("gateprobe.writers.formats.arrow.BLOCK_CELLS", 20_000)
    chunk = lstm_chunk(7, 20, 512)
    want = table(chunk, "wide")
    assert want.shape == (140, 6 + 6 * 512)
    assert [len(frame) for frame in frames(chunk, columns_of(chunk, "wide"))] == [6, 6, 6, 2] * 7
    parquet, arrow = (written(tmp_path, [chunk], suffix, layout="wide") for suffix in ("parquet", "arrow"))
    groups = pytest.importorskip("pyarrow.parquet").ParquetFile(parquet).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [32] * 4 + [12]
    with pytest.importorskip("pyarrow.ipc").open_file(arrow) as file:
        assert max(file.get_batch(n).num_rows for n in range(file.num_record_batches)) <= 6
    assert pl.read_parquet(parquet).equals(want)
    assert pl.read_ipc(arrow).equals(want)


@pytest.mark.parametrize(
    "name", ["=1+1", "@SUM(A1)", "+1", "-1", "a\t=1", 'x"=1', "a,=1", "two\nlines", "\x1b[2J", "\u202eevil"]
)
def test_a_name_is_no_formula_and_no_control_sequence(tmp_path, name):
    text = written(tmp_path, [lstm_chunk(1, 1, 1, layer=name)], "csv").read_text("utf-8")
    assert text.count("\n") == 2
    assert not re.search(r"""(^|[,;\t"'])["']?[=@]""", text, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", text)
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["layer"].encode("latin-1", "backslashreplace").decode("unicode_escape") == name


def test_names_never_collide():
    assert cell_text("=a") != cell_text("\\x3da")
    assert archive_key("a/../b") == "a/\\x2e\\x2e/b"
    assert archive_key("/a//b") == "\\x/a/\\x/b"
    assert archive_key("\ud800") == "\\ud800"


def test_names_that_are_no_unicode_can_be_written(tmp_path):
    for suffix in SUFFIXES:
        assert written(tmp_path, [lstm_chunk(layer="bad\udc80")], suffix).stat().st_size


def test_a_run_without_samples_or_layers_is_refused(tmp_path):
    with pytest.raises(InputError, match="no samples"):
        written(tmp_path, [], "csv")
    with pytest.raises(InputError, match="no recurrent layer"):
        written(tmp_path, [TraceChunk(np.arange(2), ())], "csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (Output("x.foo"), "unknown format '.foo'"),
        (Output("-", "npz"), "npz cannot go to standard output"),
        (Output("x.npz", layout="wide"), "has no layout"),
        (Output("x.csv", compress=True), "cannot be compressed"),
    ],
)
def test_formats_that_do_not_fit_are_refused(output, message):
    with pytest.raises(OutputError, match=message):
        write([lstm_chunk()], [output], {})


def test_importing_the_writers_loads_neither_polars_nor_h5py():
    code = "import sys, gateprobe.writers; print({'polars', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_trace_saves_itself(tmp_path):
    chunk = lstm_chunk(masked=True)
    trace = Trace(chunk.samples, chunk.directions, METADATA)
    trace.save(tmp_path / "t.csv", layout="long")
    assert (
        (tmp_path / "t.csv").read_text().startswith("sample,layer,direction,timestep,step,unit,masked,signal,value\n")
    )
    with pytest.raises(OutputError, match="exists already; use overwrite=True"):
        trace.save(tmp_path / "t.csv")
    trace.save(tmp_path / "t.csv", overwrite=True)
    assert "3×4×2" in repr(trace)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_a_model_without_recurrent_layers_leaves_metadata_alone_and_no_table(tmp_path, suffix):
    chunk = TraceChunk(np.arange(2), ())
    with pytest.warns(GateprobeWarning, match="no recurrent layer: the trace holds its metadata alone"):
        write([chunk], [Output(str(tmp_path / f"t.{suffix}"))], {"era": "keras2"})
    assert (tmp_path / f"t.{suffix}").stat().st_size
    with pytest.raises(InputError, match="nothing to write: the model has no recurrent layer"):
        write([chunk], [Output(str(tmp_path / "t.csv"))], {})
    assert [path.name for path in tmp_path.iterdir()] == [f"t.{suffix}"]
