"""Samples from Parquet, Arrow and CSV with semicolons: the arrays that the same CSV with commas gives."""

import io

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gateprobe.cli import main
from gateprobe.errors import InputError, UnsafeFile
from gateprobe.inputs.files import read_input
from gateprobe.inputs.tables import read_table, separator_of

MODEL = "sample_models/brackets.keras"
LIMIT = 1 << 30
WRITERS = {".parquet": pl.DataFrame.write_parquet, ".arrow": pl.DataFrame.write_ipc}


@pytest.fixture
def table():
    """Two samples of three timesteps, rows out of order, with columns of several types."""
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    frame = pl.DataFrame({"timestep": [0, 1, 2] * 2, "a": x[:, 0], "sample": [0] * 3 + [1] * 3, "b": x[:, 1] > 0})
    return frame.reverse(), np.stack([x[:, 0], x[:, 1] > 0], axis=1).reshape(2, 3, 2)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_table_with_typed_columns_is_read(suffix, table, tmp_path):
    frame, expected = table
    file = tmp_path / f"x{suffix}"
    WRITERS[suffix](frame, file)
    assert read_input(str(file), (None, None, 2), LIMIT)[""].array.tolist() == expected.tolist()
    renamed = file.rename(tmp_path / "x.bin")
    assert read_input(str(renamed), (None, None, 2), LIMIT)[""].array.tolist() == expected.tolist()


@pytest.mark.parametrize("suffix", WRITERS)
def test_ids_stay_whole_numbers_with_a_row_for_each_sample(suffix, tmp_path):
    file = tmp_path / f"x{suffix}"
    WRITERS[suffix](pl.DataFrame({"w0": [3, 1], "w1": [2, 0]}, schema={"w0": pl.UInt8, "w1": pl.Int16}), file)
    array = read_input(str(file), (None, None), LIMIT)[""].array
    assert array.dtype.kind == "i"
    assert array.tolist() == [[3, 2], [1, 0]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["x"]}, r"column 'a' holds String, no numbers"),
        ({"a": [[1, 2]]}, r"column 'a' holds List\(Int64\), no numbers; .* a column for each"),
        ({"a": [1.5, None]}, r"row 1, column 'a': a value is missing"),
        ({"a": pl.Series([], dtype=pl.Float64)}, "has no rows"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(columns, message, tmp_path):
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        read_input(str(tmp_path / "x.parquet"), (None, None), LIMIT)


def test_a_damaged_file_is_refused(tmp_path):
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(buffer)
    (tmp_path / "x.parquet").write_bytes(buffer.getvalue()[:-20])
    with pytest.raises(InputError, match="is damaged, or no table"):
        read_input(str(tmp_path / "x.parquet"), (None, None), LIMIT)


def test_a_small_file_with_very_many_rows_is_refused(tmp_path):
    pl.DataFrame({"a": np.zeros(100_000)}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UnsafeFile, match="100,000 rows may need more than the limit"):
        read_input(str(tmp_path / "x.parquet"), (None, None), 100_000)


def test_commands_take_parquet_as_a_file_and_from_a_pipe(tmp_path):
    x = np.load("sample_models/brackets.npy")
    at = {"sample": np.repeat(range(3), 12), "timestep": np.tile(range(12), 3)}
    pl.DataFrame(at | {f"x{n}": x[..., n].ravel() for n in range(3)}).write_parquet(tmp_path / "x.parquet")
    run = CliRunner().invoke
    expected = run(main, ["dump", MODEL, "sample_models/brackets.npy"])
    from_file = run(main, ["dump", MODEL, str(tmp_path / "x.parquet")])
    from_pipe = run(main, ["dump", MODEL, "-"], input=(tmp_path / "x.parquet").read_bytes())
    assert expected.exit_code == 0
    assert expected.stdout == from_file.stdout == from_pipe.stdout


@given(arrays(np.float64, (2, 3), elements=st.floats(-1e6, 1e6, allow_subnormal=False)), st.booleans(), st.booleans())
def test_semicolons_and_decimal_commas_say_the_same(x, commas, headed):
    lines = [";".join(map(str, map(float, row))) for row in x]
    text = "\n".join(["a;b;c"] * headed + lines)
    data = (text.replace(".", ",") if commas else text).encode()
    assert read_table(data, "x.csv", (None, None)).tolist() == x.tolist()


def test_points_beside_decimal_commas_are_refused():
    with pytest.raises(InputError, match="has decimal commas and decimal points"):
        read_table(b"a;b\n1.234;0,5\n", "x.csv", (None, None))


@pytest.mark.parametrize(
    ("line", "separator"),
    [(b"a,b", ","), (b"a;b", ";"), (b"0,5;1,5", ";"), (b"1;2", ";"), (b"a\tb", "\t"), (b"1,2", ","),
     (b"time (s; ms),h", ","), (b"1", ",")],
)  # fmt: skip
def test_the_first_line_says_what_parts_cells(line, separator):
    assert separator_of(line) == separator
