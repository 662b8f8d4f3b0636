"""Folders of parts: equal to one file, resumed after every kind of end, filled by workers of which one is killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights
from traces import lstm_chunk

from gateprobe.cli import main
from gateprobe.errors import GateprobeWarning, InputError
from gateprobe.inputs.samples import from_arrays
from gateprobe.layers.recurrent.kernels.blas import arithmetic
from gateprobe.model import opened
from gateprobe.scale.dask_workers import _check_workers
from gateprobe.scale.dataset import Block, Destination
from gateprobe.scale.dump import dump_folder
from gateprobe.scale.opening import open_dataset
from gateprobe.scale.task import Job, Sources, Task, TaskFault, perform
from gateprobe.traces.selection import Ranges, Selection

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "sample_models" / "tokens.keras"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PROGRAM = "from gateprobe.cli import main; main(prog_name='gateprobe')"
SAMPLES, BLOCK = 1_322, 64  # the last block is short, and so is its last batch
MANY = 8_010  # so many that a run with workers does not end before it is interrupted
pytestmark = pytest.mark.xdist_group("folders")  # they share a folder and a cluster
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


SLOWLY = """
import time
from gateprobe.scale.parts import PartsFolder
write = PartsFolder.write
PartsFolder.write = lambda *arguments: (time.sleep(0.1), write(*arguments))
"""
"""A run that waits before each part."""


def start(*arguments, folder, before=""):
    command = [sys.executable, "-c", before + PROGRAM, "dump", MODEL, "x.npy", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=folder, start_new_session=True)


def finish(process):
    err = process.communicate(timeout=120)[1].decode()
    return process.returncode, err


def dump(*arguments, folder):
    return finish(start(*arguments, folder=folder))


def run(*arguments):
    """Do the same in this process, whose BLAS may have threads and so round differently."""
    done = CliRunner().invoke(main, ["dump", str(MODEL), *map(str, arguments)])
    return done.exit_code, done.stderr


def prepared(folder, samples):
    """Write an input and the trace of it in one file, by this machine alone."""
    np.save(folder / "x.npy", np.random.default_rng(0).integers(0, 10, (samples, 8)).astype(np.int32))
    assert dump("-o", "x.parquet", "-o", "x.npz", folder=folder) == (0, "")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("work"), SAMPLES)


@pytest.fixture(scope="module")
def much_work(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("much_work"), MANY)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_complete(folder, samples=SAMPLES):
    parts = sorted(folder.glob("*.parquet"))
    assert [path.name for path in parts] == [f"part-{start:012d}.parquet" for start in range(0, samples, BLOCK)]
    assert names(folder) == ["_SUCCESS", "_gateprobe.json", *(path.name for path in parts)]
    assert pl.read_parquet(folder / "*.parquet").equals(pl.read_parquet(folder.parent / "x.parquet"))
    metadata = pl.read_parquet_metadata(folder.parent / "x.parquet")["gateprobe"]
    assert {pl.read_parquet_metadata(path)["gateprobe"] for path in parts} == {metadata}


def wait_for(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def workers_of(process):
    """Return the workers of a process: those of its descendants that dask has spawned."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if b"spawn_main" in command:
            children.setdefault(parent, []).append(int(path.parent.name))
    return children.get(process.pid, [])


@linux_only
@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(much_work):
    pytest.importorskip("distributed")
    process = start("-o", "killed/", "--workers", 2, "--block-size", BLOCK, folder=much_work)
    wait_for(lambda: len(list(much_work.glob("killed/*.parquet"))) > 3, process)
    victim, *others = workers_of(process)
    os.kill(victim, signal.SIGKILL)
    assert others
    assert not (much_work / "killed" / "_SUCCESS").exists()
    assert finish(process) == (0, "")
    assert_complete(much_work / "killed", MANY)


def assert_resumes(work, samples, *workers, before=""):
    folder = work / "broken"
    process = start("-o", f"{folder.name}/", *workers, "--block-size", BLOCK, folder=work, before=before)
    wait_for(lambda: len(list(folder.glob("*.parquet"))) > 3, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    status, err = finish(process)
    assert status == 130
    kept = rf"[\d,]+ of {samples:,} samples; run the same command again to resume"
    assert re.fullmatch(rf"gateprobe: interrupted; {folder.name}/ keeps {kept}\n", err)
    there = {path.name: path.stat().st_ino for path in folder.glob("*.parquet")}
    assert not (folder / "_SUCCESS").exists()
    assert len(there) < samples // BLOCK
    assert dump("-o", folder.name, folder=work) == (0, "")  # with the block size of before
    assert_complete(folder, samples)
    assert {name: (folder / name).stat().st_ino for name in there} == there


@linux_only
def test_an_interruption_leaves_what_is_finished_and_the_next_run_does_the_rest(work):
    assert_resumes(work, SAMPLES, before=SLOWLY)


@linux_only
@pytest.mark.slow
def test_an_interruption_of_workers_leaves_what_is_finished_too(much_work):
    pytest.importorskip("distributed")
    assert_resumes(much_work, MANY, "--workers", 2)


def test_only_what_is_missing_or_broken_is_computed(work):
    folder = work / "holes"
    assert dump("-o", "holes/", "--block-size", BLOCK, folder=work) == (0, "")
    parts = sorted(folder.glob("*.parquet"))
    before = [path.stat().st_mtime_ns for path in parts]
    parts[1].unlink()
    parts[2].write_bytes(b"")  # as a machine may leave it that loses its power
    (folder / "_SUCCESS").unlink()
    (folder / ".gateprobe-0123456789abcdef").write_bytes(b"half a part of a process that was killed")
    status, err = dump("-o", "holes/", folder=work)
    assert (status, err) == (0, f"gateprobe: note: holes/{parts[2].name} is damaged: it is computed again\n")
    assert_complete(folder)
    after = [path.stat().st_mtime_ns for path in parts]
    assert [number for number, (one, other) in enumerate(zip(before, after, strict=True)) if one != other] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--unit", "0"], "options.selection.units"),
        (["--block-size", "640"], "block"),
        (["--pre"], "options.pre_activations"),
        (["--layout", "wide"], "layout"),
        (["--dtype", "float64"], "options.dtype"),
    ],
)
def test_another_run_is_refused(work, arguments, words):
    folder = work / "others"
    same = [work / "x.npy", "-o", f"{folder}/", "--sample", "0:640"]
    assert run(*same, "--block-size", BLOCK) == (0, "")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    status, err = run(*same, *arguments)
    assert (status, f"others/: holds the trace of another run: other {words}; name another folder" in err) == (2, True)
    assert err.count("\n") == 1
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["t/", "t.zarr"])
def test_another_input_is_refused_and_force_starts_anew(tmp_path, monkeypatch, name):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    x = np.zeros((640, 8), np.int32)
    for number, expected in enumerate([(0, ""), (2, "other inputs.tokens;")]):
        x[-1, -1] = number
        np.save("x.npy", x)
        status, err = run("x.npy", "-o", name, "--block-size", 320)
        assert (status, expected[1] in err) == (expected[0], True)
    precious = tmp_path / name / "precious.parquet"
    precious.write_text("x")
    before = sorted(Path(name).rglob("*"))
    status, err = run("x.npy", "-o", name, "--block-size", 640, "--force")
    assert (status, "holds precious.parquet, which" in err, err.count("\n")) == (2, True, 1)
    assert sorted(Path(name).rglob("*")) == before
    precious.unlink()
    assert run("x.npy", "-o", name, "--block-size", 640, "--force") == (0, "")
    kept = {"t/": ["_SUCCESS", "_gateprobe.json", "part-000000000000.parquet"]}
    assert names(tmp_path / name) == kept.get(name, ["__finished__", "bidirectional", "zarr.json"])


@pytest.mark.parametrize("name", ["t/", "t.zarr"])
def test_a_folder_of_something_else_is_never_touched(work, tmp_path, name):
    pytest.importorskip("zarr")
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_text("x")
    for force in ([], ["--force"]):
        status, err = run(work / "x.npy", "-o", f"{tmp_path}/{name}", *force)
        assert (status, "holds files that are not a trace in parts; name another folder" in err) == (2, True)
    assert names(tmp_path / name) == ["precious"]


def test_a_stateful_model_is_refused(tmp_path):
    config = {"units": 4, "stateful": True, "return_sequences": True}
    weights = {"lstm": lstm_weights(np.random.default_rng(0), 3, 4)}
    model = chain([("LSTM", "lstm", config)], weights, input_shape=(2, None, 3))
    samples = from_arrays(np.zeros((4, 5, 3), np.float32), model.inputs)
    with pytest.raises(InputError, match=r"is stateful: .* cannot be cut into blocks; write one file"):
        dump_folder(opened(model), samples, Destination(f"{tmp_path}/t/"), options={})
    assert not names(tmp_path)


def test_a_zarr_store_holds_the_arrays_of_the_npz_file(work):
    zarr = pytest.importorskip("zarr")
    assert dump("-o", "x.zarr", "--block-size", BLOCK, folder=work) == (0, "")
    root = zarr.open_group(work / "x.zarr", mode="r")
    with np.load(work / "x.npz") as expected:
        metadata = json.loads(str(expected["__metadata__"]))
        arrays = {key: expected[key] for key in expected if key != "__metadata__"}
    assert root.attrs["__metadata__"] == metadata
    assert root.attrs["complete"] is True
    found = {key: node for key, node in root.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert found.keys() == arrays.keys() | {"__finished__"}
    for key, value in arrays.items():
        np.testing.assert_array_equal(found[key][:], value)
        assert found[key].dtype == value.dtype
        assert BLOCK % found[key].chunks[0] == 0
        assert found[key].metadata.dimension_names == ("sample", "timestep", "unit")[: value.ndim]


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(timesteps=Ranges("2:4,8,-1"), samples=Ranges("1:"))], ids=str
)
def test_long_sequences_go_into_folders_in_slabs(tmp_path, monkeypatch, selection):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr("gateprobe.replay.run.LONG", 10)
    monkeypatch.setattr("gateprobe.replay.run.SLAB", 3)
    rng = np.random.default_rng(1)
    layers = [("LSTM", name, {"units": 4, "return_sequences": True}) for name in ("a", "b")]
    model = chain(layers, {"a": lstm_weights(rng, 3, 4), "b": lstm_weights(rng, 4, 4)})
    x = rng.normal(size=(3, 11, 3)).astype(np.float32)
    expected = model.trace(x, selection=selection)
    expected.save(tmp_path / "x.npz")
    samples, options = from_arrays(x, model.inputs), {"selection": selection}
    for name in ("x.zarr", "x/"):
        dump_folder(opened(model), samples, Destination(f"{tmp_path}/{name}"), options=options, block_size=2)
    assert pl.read_parquet(tmp_path / "x" / "*.parquet").equals(expected.to_polars())
    root = zarr.open_group(tmp_path / "x.zarr", mode="r")
    with np.load(tmp_path / "x.npz") as arrays:
        assert root.attrs["__metadata__"]["trace"] == json.loads(str(arrays["__metadata__"]))["trace"]
        for key in set(arrays) - {"__metadata__"}:
            np.testing.assert_array_equal(root[key][:], arrays[key])


def test_blocks_of_a_zarr_store_that_are_not_marked_or_changed_are_computed(work):
    zarr = pytest.importorskip("zarr")
    key = "bidirectional/backward/cell_state"
    assert dump("-o", "y.zarr", "--block-size", BLOCK, "--compress", folder=work) == (0, "")
    root = zarr.open_group(work / "y.zarr", mode="r+")
    expected = root[key][:]
    root.attrs["complete"] = False
    root["__finished__"][2] = 0
    root[key][2 * BLOCK : 4 * BLOCK] = -1
    root["__finished__"][5] = root["__finished__"][6]
    status, err = dump("-o", "y.zarr", "--compress", folder=work)
    words = [f"from position {n * BLOCK} to {(n + 1) * BLOCK - 1}, is damaged: it is computed again" for n in (3, 5)]
    assert (status, [word in line for word, line in zip(words, err.splitlines(), strict=True)]) == (0, [True, True])
    np.testing.assert_array_equal(root[key][:], expected)
    assert zarr.open_group(work / "y.zarr", mode="r").attrs["complete"] is True


def test_batches_of_several_lengths_do_not_fit_an_array(tmp_path):
    pytest.importorskip("zarr")
    store = open_dataset(Destination(f"{tmp_path}/t.zarr"))
    manifest = {"metadata": {}, "block": 2}
    store.begin(manifest, lstm_chunk(2, timesteps=4), np.arange(4))
    with pytest.raises(InputError, match=r"lstm/forward/input_gate has shape \(4, 2\) in one batch and \(3, 2\)"):
        store.write(Block(2, 4, 2), [lstm_chunk(2, timesteps=3)], manifest)
    blocks = [Block(0, 2, 0), Block(2, 4, 2)]
    assert not store.finished(blocks, manifest, lstm_chunk(2, timesteps=4), np.arange(4))


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with two workers."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow  # a cluster imports everything in three processes
@pytest.mark.parametrize("name", ["far.zarr", "far"])
def test_the_workers_of_a_scheduler(work, scheduler, monkeypatch, name):
    zarr = pytest.importorskip("zarr")
    monkeypatch.chdir(work)
    same = ["x.npy", "-o", f"{name}/", "--scheduler", scheduler]
    assert run(*same, "--sample", "5:", "--block-size", BLOCK) == (0, "")
    if name == "far":
        expected = pl.read_parquet("x.parquet").filter(pl.col("sample") >= 5)
        assert pl.read_parquet("far/*.parquet").equals(expected)
        assert "far/part-000000000005.parquet" in map(str, Path("far").iterdir())
    else:
        key = "bidirectional/forward/hidden_state"
        np.testing.assert_array_equal(zarr.open_group(name)[key][:], np.load("x.npz")[key][5:])
    assert run(*same, "--sample", "5:") == (0, "")  # there is nothing to do


@pytest.mark.slow
def test_a_fault_of_a_task_is_one_line_and_the_rest_stays(work, scheduler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.load(work / "x.npy")
    x[-1] = 10**6  # outside of the vocabulary
    np.save("x.npy", x)
    status, err = run("x.npy", "-o", "t/", "--scheduler", scheduler, "--block-size", BLOCK)
    assert (status, err.count("\n")) == (2, 1)
    assert "x.npy" in err
    assert names(tmp_path / "t")[0] == "_gateprobe.json"


def task_of(work, folder, **changes):
    sources = Sources(str(MODEL), (str(work / "x.npy"),))
    model = sources.read()
    tracing = model.tracing(sources.load(model), batch_size=32)
    manifest = {"metadata": model.metadata(), "block": 64}
    job = Job({"batch_size": 32}, tracing.batches, Destination(f"{folder}/"), manifest)
    fingerprint = tracing.samples.fingerprint(np.arange(64, 128))
    return replace(Task(job, sources, Block(64, 128, 64), fingerprint), **changes)


def test_a_task_refuses_what_it_does_not_know(work, tmp_path):
    here = version("gateprobe")
    with pytest.raises(TaskFault, match=f"a worker has gateprobe {here}, and here is 0.0.9"):
        perform(task_of(work, tmp_path), "0.0.9")
    other = tmp_path / "other.npy"
    np.save(other, np.zeros((SAMPLES, 8), np.int32))
    keras2 = ROOT / "sample_models" / "keras2"
    for model, x in ((MODEL, other), (f"{keras2}.h5", f"{keras2}.npy")):
        with pytest.raises(TaskFault) as fault:
            perform(task_of(work, tmp_path, sources=Sources(str(model), (str(x),))), here)
        assert fault.value.args[:2] == ("is another file for a worker", str(other if x is other else model))
    assert names(tmp_path) == ["other.npy"]
    perform(task_of(work, tmp_path), here)
    assert names(tmp_path) == ["other.npy", "part-000000000064.parquet"]


class Client:
    """Two workers that say different things."""

    def __init__(self, *answers):
        self.answers = iter(answers)

    def run(self, function, *arguments, **options):
        return {"tcp://a": function(*arguments), "tcp://b": next(self.answers)}


def test_workers_that_differ():
    with pytest.raises(InputError, match=r"the worker tcp://b has gateprobe 0\.0\.9, and here is .*; install the same"):
        _check_workers(Client("0.0.9"))
    with pytest.raises(InputError, match=r"the worker tcp://b has no gateprobe, and"):
        _check_workers(Client(PackageNotFoundError()))
    _check_workers(Client(version("gateprobe"), arithmetic()))
    with pytest.warns(GateprobeWarning, match=r"last digits of their parts may differ: another way; .*NumPy with"):
        _check_workers(Client(version("gateprobe"), "another way"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "--workers goes with a folder; use -o traces/"),
        (["-o", "a/", "-o", "b.csv"], "a/: a folder is the only output of a run"),
        (["-o", "a/", "--format", "csv"], "a folder cannot hold csv; end its name with / for Parquet or with .zarr"),
        (["-o", "a.zarr", "--layout", "wide"], "--layout wide: Zarr holds arrays and has no layout"),
        (["-o", "a/", "--block-size", "50"], "--block-size 50 is not a multiple of the batch size 32"),
        (["-o", "a/", "--workers", "1", "--scheduler", "x"], "give one of them"),
        (["-o", "no/such/a/"], "no/such/a/: cannot write: No such file or directory"),
        (["-o", "a/", "--scheduler", "tcp://127.0.0.1:1"], "cannot work with tcp://127.0.0.1:1: "),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(work, arguments, message, monkeypatch, tmp_path):
    pytest.importorskip("distributed")
    monkeypatch.setattr("gateprobe.scale.dask_workers.CONNECT", 0.5)
    monkeypatch.chdir(tmp_path)
    status, err = run(work / "x.npy", *arguments)
    assert (status, message in err) == (2, True), err
    assert err.count("\n") == 1
    assert not names(tmp_path)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20, bytes(range(255, 0, -1)) * 20, b""])
def test_a_scheduler_that_is_none(work, tmp_path, monkeypatch, answer):
    pytest.importorskip("distributed")
    monkeypatch.setattr("gateprobe.scale.dask_workers.CONNECT", 1)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def serve():
            while not over.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            status, err = run(work / "x.npy", "-o", "t/", "--scheduler", address)
        finally:
            over.set()
            thread.join()
    assert (status, err.count("\n"), f"cannot work with {address}: " in err) == (2, 1, True), err
    assert "memory" not in err
    assert not names(tmp_path)
