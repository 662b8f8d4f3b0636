"""A trace written in another format: the same numbers, bit by bit, and the same metadata where both have a place."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from test_load_trace import ARRAYS, COLUMNS, METADATA, TEXTS, assert_same, small_pieces
from traces import chunks, direction_of

import gateprobe
from gateprobe.cli import main
from gateprobe.trace import Trace

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
FORMATS = (*(f"t.{suffix}" for suffix in (*ARRAYS, *COLUMNS, *TEXTS)), "t/", "t.zarr")


def run(*arguments, status=0):
    done = CliRunner().invoke(main, ["dump", *map(str, arguments)], prog_name="gateprobe")
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    file = tmp_path_factory.mktemp("trace") / "t.npz"
    model = gateprobe.read(SAMPLES / "tokens.keras")
    model.trace(np.load(SAMPLES / "tokens.npy")).save(file)
    return file


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back(trace, tmp_path, name):
    """Through every format; text has no place for metadata, and its trace says its format alone."""
    there, back = f"{tmp_path}/{name}", tmp_path / "back.npz"
    run(trace, "-o", there)
    run(there.rstrip("/"), "-o", back)
    first, last = gateprobe.load_trace(trace), gateprobe.load_trace(back)
    assert_same(last, first, index=name[2:] not in TEXTS)
    for ours, theirs in zip(first.directions, last.directions, strict=True):
        assert all(ours[signal].tobytes() == theirs[signal].tobytes() for signal in ours)
    described = {"format": 2, "gateprobe": last.metadata["gateprobe"]}
    assert last.metadata == (described if name[2:] in TEXTS else first.metadata)
    Draft202012Validator(json.loads((ROOT / "docs/schemas/trace-metadata-2.json").read_text())).validate(last.metadata)


@settings(max_examples=15)
@given(
    chunks(),
    st.sampled_from([*ARRAYS, *COLUMNS, *TEXTS]),
    st.sampled_from([*FORMATS[:-1]]),
    st.sampled_from(["tidy", "long", "wide"]),
)
def test_any_trace_in_any_format_becomes_any_other(tmp_path_factory, chunk, before, after, layout):
    assume(all(part.mask is None or part.mask.any() for part in chunk.directions))
    folder = tmp_path_factory.mktemp("any")
    first = Trace(chunk.samples, chunk.directions, METADATA)
    first.save(folder / f"a.{before}", layout="tidy" if before in ARRAYS else layout)
    run(folder / f"a.{before}", "-o", f"{folder}/{after}", *([] if after[2:] in ARRAYS else ["--layout", layout]))
    assert_same(gateprobe.load_trace(folder / after.rstrip("/")), first, index=False)


@pytest.mark.parametrize("name", ["t.npz", "t.zarr"])
def test_a_mask_that_begins_late_is_one_of_all_samples(tmp_path, monkeypatch, name):
    """A table is read sample by sample, and the first ones hold no masked timestep."""
    mask = np.array([[True, True], [True, False], [True, True]])
    signals = {"hidden_state": np.arange(6, dtype=np.float32).reshape(3, 2, 1)}
    first = Trace(np.arange(3), (direction_of("rnn", "forward", signals, mask),), METADATA)
    first.save(tmp_path / "t.csv")
    small_pieces(monkeypatch, 1)
    run(tmp_path / "t.csv", "-o", tmp_path / name)
    assert_same(gateprobe.load_trace(tmp_path / name), first)


@pytest.mark.parametrize("name", ["t.parquet", "-", "t/"])
def test_a_selection_is_that_of_a_run(trace, tmp_path, name):
    chosen = ("--signal", "c,f", "--sample", "1,3", "--timestep", "2:5", "--unit", "0", "--direction", "backward")
    inputs = (SAMPLES / "tokens.keras", SAMPLES / "tokens.npy")
    if name == "-":
        assert run(trace, *chosen) == run(*inputs, *chosen)
        return
    run(trace, *chosen, "-o", f"{tmp_path}/{name}")
    run(*inputs, *chosen, "-o", tmp_path / "run.npz")
    assert_same(
        gateprobe.load_trace(tmp_path / name.rstrip("/")), gateprobe.load_trace(tmp_path / "run.npz"), index=False
    )


def test_tokens_and_what_stood_beside_the_signals_stay(tmp_path):
    tokens = tmp_path / "words.json"
    tokens.write_text(json.dumps([[f"{sample}.{step}" for step in range(12)] for sample in range(3)]))
    inputs = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy")
    assert np.load(inputs[1]).shape[:2] == (3, 12)
    run(*inputs, "--with-input", "--with-output", "-o", tmp_path / "t.parquet")
    expected = run(*inputs, "--with-input", "--with-output", "--tokens", tokens)
    assert run(tmp_path / "t.parquet", "--tokens", tokens) == expected
    run(tmp_path / "t.parquet", "--tokens", tokens, "-o", tmp_path / "u.arrow")
    assert run(tmp_path / "u.arrow") == expected


@pytest.mark.parametrize("name", ["t/", "t.zarr"])
def test_a_folder_goes_on_and_keeps_the_traces_of_others(trace, tmp_path, name):
    folder = f"{tmp_path}/{name}"
    run(trace, "-o", folder, "--block-size", "1")
    parts = sorted(Path(folder).rglob("*.parquet")) or [Path(folder, "bidirectional/forward/cell_state/c/1/0/0")]
    times = [part.stat().st_mtime_ns for part in parts]
    parts[-1].unlink()
    if name == "t/":
        run(trace, "-o", folder, "--block-size", "1")
        assert [part.stat().st_mtime_ns for part in parts][:-1] == times[:-1]
    else:
        run(trace, "-o", folder, "--block-size", "1", "--force")
    assert_same(gateprobe.load_trace(folder.rstrip("/")), gateprobe.load_trace(trace))
    assert "holds the trace of another run" in run(trace, "--sample", "0", "-o", folder, status=2)
    run(trace, "--sample", "0", "-o", folder, "--force")
    assert gateprobe.load_trace(folder.rstrip("/")).samples.tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.npy"], "t.npz: is a trace, which takes no inputs; leave out x.npy"),
        (["--pre"], "t.npz: is a trace, which is not run: --pre does not go with it"),
        (["--with-input"], "--with-input does not go with it"),
        (["--with-output"], "--with-output does not go with it"),
        (["--workers", "2", "-o", "t/"], "--workers does not go with it"),
        (["--batch-size", "2"], "--batch-size does not go with it"),
        (["--vocab", "v.json"], "--vocab does not go with it"),
        (["--block-size", "2"], "--block-size goes with a folder"),
        (["--unit", "9"], "t.npz: --unit 9 selects nothing; available: 0 to 3"),
    ],
)
def test_what_does_not_go_with_a_trace_is_refused(trace, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    error = run(trace, *arguments, status=2)
    assert (error.count("\n"), message in error) == (1, True), error
    assert list(tmp_path.iterdir()) == []


def test_nothing_writes_over_what_it_reads(trace, tmp_path):
    run(trace, "-o", f"{tmp_path}/t/")
    for name in (trace, f"{tmp_path}/t/"):
        assert "is also an input; write to another file" in run(name, "-o", name, "--force", status=2)


def test_python_says_that_a_trace_is_none_of_its_models(trace, tmp_path):
    run(trace, "-o", tmp_path / "t.csv")
    for file in (trace, tmp_path / "t.csv"):
        with pytest.raises(gateprobe.ReadError, match=r"is a trace, not a model; use gateprobe\.load_trace\('"):
            gateprobe.read(file)
    text = gateprobe.load_trace(tmp_path / "t.csv")
    text.save(tmp_path / "again.npz")
    assert_same(gateprobe.load_trace(tmp_path / "again.npz"), text)
