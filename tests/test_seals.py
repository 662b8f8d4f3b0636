"""A changed byte in a trace is noticed, wherever the format has a place for a checksum."""

import shutil

import h5py
import numpy as np
import polars as pl
import pytest
from test_interface import SAMPLES
from traces import direction_of, lstm_chunk

import gateprobe
from gateprobe.trace import Trace
from gateprobe.traces.chunk import TRACE_FORMAT
from gateprobe.writers import Output, write_predictions
from gateprobe.writers.seal import seal_entry

METADATA = {"format": TRACE_FORMAT}
SEALED = ("parquet", "arrow", "h5", "npz")


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """Dump a model with masks and two directions into every format."""
    from click.testing import CliRunner

    from gateprobe.cli import main

    folder = tmp_path_factory.mktemp("dumped")
    run = ["dump", str(SAMPLES / "tokens.keras"), str(SAMPLES / "tokens.npy"), "--batch-size=2", "--unit=0:2"]
    files = [option for suffix in SEALED for option in ("-o", str(folder / f"t.{suffix}"))]
    for options in (files, ["-o", f"{folder}/t/", "--block-size=2"], ["-o", f"{folder}/t.zarr", "--block-size=2"]):
        result = CliRunner().invoke(main, [*run, *options])
        assert result.exit_code == 0, result.output
    return folder


def numbers(path):
    """Return all that a trace holds, to be compared."""
    found = gateprobe.load_trace(path)
    parts = [(part.layer, part.direction, part.length, part.steps, part.units, part.mask) for part in found.directions]
    signals = [(name, part[name].tobytes()) for part in found.directions for name in part]
    return found.metadata, found.samples.tolist(), repr(parts), signals


@pytest.mark.parametrize("name", [*(f"t.{suffix}" for suffix in SEALED), "t", "t.zarr"])
def test_a_changed_bit_never_loads_as_another_number(dumped, tmp_path, name):
    whole, copy = dumped / name, tmp_path / name
    want, refused = numbers(whole), 0
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, copy)
    rng = np.random.default_rng(0)
    files = sorted(path for path in ([copy] if copy.is_file() else copy.rglob("*")) if path.is_file())
    for file in files:
        data = file.read_bytes()
        for place in rng.integers(0, len(data), 24 // len(files) + 1) if data else ():
            changed = bytearray(data)
            changed[place] ^= 1 << rng.integers(8)
            file.write_bytes(changed)
            try:
                assert numbers(copy) == want, (file.name, place)
            except gateprobe.ReadError:
                refused += 1
        file.write_bytes(data)
    assert refused > 16
    assert numbers(copy) == want


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "h5"])
def test_a_layer_that_is_called_like_a_seal_changes_nothing(tmp_path, suffix):
    _, text = seal_entry()
    signals = lstm_chunk(2, 3, 2).directions[0].signals
    trace = Trace(np.arange(2), (direction_of(text, "forward", signals),), METADATA)
    trace.save(tmp_path / f"t.{suffix}")
    assert gateprobe.load_trace(tmp_path / f"t.{suffix}").directions[0].layer == text


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "h5"])
def test_an_output_that_is_called_like_a_seal_changes_nothing(tmp_path, suffix):
    _, text = seal_entry()
    values = np.ones((2, 3), np.float32)
    write_predictions([(values, values)], (text, "b"), [Output(str(tmp_path / f"y.{suffix}"))], METADATA)
    if suffix == "h5":
        with h5py.File(tmp_path / "y.h5") as file:
            assert set(file) == {text, "b"}
    else:
        read = {"parquet": pl.read_parquet, "arrow": pl.read_ipc}[suffix]
        assert set(read(tmp_path / f"y.{suffix}")["output"]) == {text, "b"}


def test_what_another_program_changed_is_read_once_its_seal_is_removed(dumped, tmp_path):
    file = shutil.copy(dumped / "t.h5", tmp_path / "t.h5")
    with h5py.File(file, "r+") as changed:
        changed["bidirectional/forward/cell_state"][0, 0, 0] = 5
    with pytest.raises(gateprobe.ReadError, match="its sha256 is not the one in its seal"):
        gateprobe.load_trace(file)
    with h5py.File(file, "r+") as changed:
        del changed.attrs["gateprobe.seal"]
    assert gateprobe.load_trace(file)["bidirectional/forward"]["cell_state"][0, 0, 0] == 5


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(dumped):
    import hashlib
    import json

    with h5py.File(dumped / "t.h5") as file:
        texts = {"h5": file.attrs["gateprobe.seal"].decode()}
    texts["parquet"] = pl.read_parquet_metadata(dumped / "t.parquet")["gateprobe.seal"]
    texts["arrow"] = pytest.importorskip("pyarrow.ipc").open_file(dumped / "t.arrow").schema.metadata[b"gateprobe.seal"]
    for suffix, text in texts.items():
        digits = json.loads(text)["sha256"].encode()
        data = (dumped / f"t.{suffix}").read_bytes()
        assert data.count(digits) == 1
        assert hashlib.sha256(data.replace(digits, b"0" * 64)).hexdigest() == digits.decode()
