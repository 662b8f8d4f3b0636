"""The outputs of a model in every format."""

import csv
import io
import itertools
import json
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import InputError, OutputError
from gateprobe.writers import Output, write_predictions

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL, INPUT = str(SAMPLES / "keras2.h5"), str(SAMPLES / "keras2.npy")
SUFFIXES = ["csv", "tsv", "jsonl", "parquet", "arrow", "npz", "h5", "npy"]
TABLES = SUFFIXES[:5]
NAMES = ("last", "seq=1", "scalar", "image")
COLUMNS = ["sample", "output", "timestep", "axis_1", "axis_2", "unit", "value"]


def outputs(samples=5):
    rng = np.random.default_rng(0)
    shapes = [(3,), (4, 2), (), (2, 3, 2)]
    return tuple(rng.normal(size=(samples, *shape)).astype(np.float32) for shape in shapes)


def blocks(arrays, *sizes):
    first = 0
    for size in itertools.cycle(sizes):
        if first >= len(arrays[0]):
            return
        yield tuple(array[first : first + size] for array in arrays)
        first += size


def rows_of(arrays):
    """Return the rows of the table, number by number."""
    rows = []
    for sample in range(len(arrays[0])):
        for name, array in zip(NAMES, arrays, strict=True):
            names = {0: [], 1: ["unit"], 2: ["timestep", "unit"], 3: ["axis_1", "axis_2", "unit"]}[array.ndim - 1]
            for place in np.ndindex(array.shape[1:]):
                row = dict.fromkeys(COLUMNS) | dict(zip(names, place, strict=True))
                rows.append(row | {"sample": sample, "output": name, "value": float(array[(sample, *place)])})
    return rows


READ = {
    "csv": pl.read_csv,
    "tsv": lambda path: pl.read_csv(path, separator="\t"),
    "jsonl": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    "parquet": pl.read_parquet,
    "arrow": pl.read_ipc,
}


def written(folder, suffix, items, **options):
    path = folder / f"y.{suffix}"
    write_predictions(items, NAMES, [Output(str(path), **options)], {"era": "keras3"})
    return path


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("few_rows", [False, True])
def test_a_table_has_a_row_for_each_number(tmp_path, monkeypatch, suffix, few_rows):
    if few_rows:  # so that one sample has more rows than a piece of the table
        monkeypatch.setattr("gateprobe.writers.predictions.BLOCK_ROWS", 7)
    arrays = outputs()
    found = READ[suffix](written(tmp_path, suffix, blocks(arrays, 2, 1)))
    assert found.columns == COLUMNS
    expected = rows_of(arrays)
    for column in COLUMNS[1:6]:
        assert found[column].to_list() == [row[column] for row in expected], column
    np.testing.assert_array_equal(found["value"].to_numpy().astype(np.float32), [row["value"] for row in expected])
    assert found["sample"].to_list() == [row["sample"] for row in expected]


@pytest.mark.parametrize("suffix", [*TABLES, "h5", "npz"])
def test_the_bytes_do_not_depend_on_batches(tmp_path, suffix):
    arrays = outputs(50)
    once = written(tmp_path, suffix, [arrays]).read_bytes()
    assert written(tmp_path, suffix, blocks(arrays, 7, 3), force=True).read_bytes() == once


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_arrays_have_the_names_of_the_outputs(tmp_path, suffix, compress):
    arrays = outputs(40)
    path = written(tmp_path, suffix, blocks(arrays, 9), compress=compress)
    with np.load(path) if suffix == "npz" else h5py.File(path) as found:
        assert set(found) == set(NAMES)
        for name, array in zip(NAMES, arrays, strict=True):
            np.testing.assert_array_equal(found[name][()], array)
            assert found[name].dtype == array.dtype
        if suffix == "h5":
            assert json.loads(found.attrs["__metadata__"]) == {"era": "keras3"}


def test_the_command_writes_every_format_at_once(tmp_path):
    names = [str(tmp_path / f"y.{suffix}") for suffix in SUFFIXES]
    done = CliRunner().invoke(main, ["predict", MODEL, INPUT, *[word for name in names for word in ("-o", name)]])
    assert (done.exit_code, done.output) == (0, "")
    ((key, want),) = gateprobe.read(MODEL).predict(np.load(INPUT)).items()
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), want)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")[key], want)
    for suffix in TABLES:
        found = READ[suffix](tmp_path / f"y.{suffix}")["value"].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(found, want.ravel())


def test_csv_goes_to_stdout():
    done = CliRunner().invoke(main, ["predict", MODEL, INPUT])
    rows = list(csv.reader(io.StringIO(done.stdout)))
    ((key, want),) = gateprobe.read(MODEL).predict(np.load(INPUT)).items()
    assert rows[0] == ["sample", "output", "unit", "value"]
    assert [row[:3] for row in rows[1:]] == [[str(n), key, "0"] for n in range(len(want))]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.bool_])
def test_the_table_holds_numbers_of_every_type_exactly(tmp_path, dtype):
    arrays = (np.array([[0.1, 1.0], [3.0, 12345 if dtype is np.float16 else 2**53 + 1]]).astype(dtype),)
    path = tmp_path / "y.parquet"
    write_predictions([arrays], ("a",), [Output(str(path))], {})
    found = pl.read_parquet(path)["value"].to_numpy()
    np.testing.assert_array_equal(found.astype(dtype), arrays[0].ravel())


def test_what_cannot_be_written_is_refused(tmp_path):
    two = [(np.zeros((1, 2)), np.zeros((1, 2)))]
    path = str(tmp_path / "y.npy")
    with pytest.raises(OutputError, match=r"y\.npy: an .npy file holds one array, .* outputs a, b; write .npz"):
        write_predictions(two, ("a", "b"), [Output(path)], {})
    with pytest.raises(InputError, match="two outputs of the model have one name: a:1, a:1"):
        write_predictions(two, ("a:1", "a:1"), [Output(str(tmp_path / "y.npz"))], {})
    with pytest.raises(OutputError, match="cannot stand beside a, a/b in one HDF5 file; write npz"):
        write_predictions(two, ("a", "a/b"), [Output(str(tmp_path / "y.h5"))], {})
    with pytest.raises(InputError, match="the outputs hold no numbers"):
        write_predictions([(np.zeros((3, 0)),)], ("a",), [Output(str(tmp_path / "y.parquet"))], {})
    with pytest.raises(InputError, match="the run gave no samples"):
        write_predictions([], ("a",), [Output(path)], {})
    assert not list(tmp_path.iterdir())
