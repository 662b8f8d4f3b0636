"""Faults of the machine: a target is whole, old or absent afterwards, and no temporary file stays."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from readers.build import add_layer, arrays, h5
from traces import lstm_chunk

from gateprobe.errors import GateprobeWarning, InputError, OutputError, ReadError
from gateprobe.inputs.samples import load
from gateprobe.model import read
from gateprobe.writers import Output, trace_formats, write

ROOT = Path(__file__).parents[1]
MODEL, INPUT = str(ROOT / "sample_models" / "keras2.h5"), str(ROOT / "sample_models" / "keras2.npy")
SUFFIXES = [kind.name for kind in trace_formats()]
PATH = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])

linux_only = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
root_only = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount and demote")


def run(*arguments, **how):
    """Run the program to its end."""
    command = [sys.executable, "-c", "from gateprobe.cli import main; main(prog_name='gateprobe')", *arguments]
    environment = {**os.environ, "PYTHONPATH": PATH} | how.pop("env", {})
    given = {key: value for key, value in environment.items() if value is not None}
    return subprocess.run([*map(str, command)], capture_output=True, env=given, check=False, timeout=120, **how)


def whole(folder, suffix, seed=0):
    """Return the bytes of a good file."""
    path = folder / f"whole{seed}.{suffix}"
    write([lstm_chunk(seed=seed)], [Output(str(path))], {})
    data = path.read_bytes()
    path.unlink()
    return data


# kill -9


ENDLESS = """
import sys
from gateprobe.writers import Output, write
from traces import lstm_chunk
def chunks():
    for k in range(10**9):
        yield lstm_chunk(100, 20, 16, first=100 * k)
        if k == 3:
            print("writing", flush=True)
write(chunks(), [Output(name, force=True) for name in sys.argv[1:]], {})
"""


@linux_only
def test_a_killed_run_leaves_the_old_file_and_nothing_else(tmp_path):
    """All formats at once, old files under half of the names."""
    names = [f"x.{suffix}" for suffix in SUFFIXES]
    old = names[::2]
    for name in old:
        (tmp_path / name).write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, *(str(tmp_path / name) for name in names)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
    )
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(old, "old")


# two runs, one target


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_runs_writing_one_target(tmp_path, suffix):
    """The second run starts and ends while the first one writes."""
    path, (ours, theirs) = tmp_path / f"x.{suffix}", (whole(tmp_path, suffix, seed) for seed in (0, 1))

    def meanwhile(*, force):
        yield lstm_chunk(seed=0)
        write([lstm_chunk(seed=1)], [Output(str(path), force=force)], {})
        assert path.read_bytes() == theirs

    with pytest.raises(OutputError, match="exists already"):
        write(meanwhile(force=False), [Output(str(path))], {})
    assert path.read_bytes() == theirs
    write(meanwhile(force=True), [Output(str(path), force=True)], {})
    assert path.read_bytes() == ours
    assert list(tmp_path.iterdir()) == [path]


# full and read-only file systems


@contextmanager
def tmpfs(options):
    """Mount a small file system of our own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.decode()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@root_only
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk(suffix):
    with tmpfs("size=256k") as disk:
        (disk / f"old.{suffix}").write_text("old")
        for name in ("new", "old"):
            path = disk / f"{name}.{suffix}"
            chunks = (lstm_chunk(100, 20, 16, first=100 * k, seed=k) for k in range(20))
            with pytest.raises(OutputError, match=rf"{name}\.{suffix}: cannot write: No space left on device"):
                write(chunks, [Output(str(path), force=True)], {})
            assert [(path.name, path.read_text()) for path in disk.iterdir()] == [(f"old.{suffix}", "old")]


@root_only
def test_a_read_only_disk():
    with tmpfs("size=256k") as disk:
        for suffix in SUFFIXES:
            (disk / f"old.{suffix}").write_text("old")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for suffix in SUFFIXES:
            for name in ("new", "old"):
                with pytest.raises(OutputError, match=rf"{name}\.{suffix}: cannot write: Read-only file system"):
                    write([lstm_chunk()], [Output(str(disk / f"{name}.{suffix}"), force=True)], {})
        assert {path.read_text() for path in disk.iterdir()} == {"old"}


@contextmanager
def unprivileged():
    """Be a user without rights."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@root_only
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_of_another_user(suffix):
    described = {"format": 2, "gateprobe": "0.2.0"}  # another user may not read the version that is installed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        expected = whole(folder, suffix)
        (folder / f"old.{suffix}").write_text("old")
        for file in ("new", "old"):
            with (
                unprivileged(),
                pytest.raises(OutputError, match=rf"{file}\.{suffix}: cannot write: Permission denied"),
            ):
                write([lstm_chunk()], [Output(str(folder / f"{file}.{suffix}"), force=True)], described)
        assert [path.read_text() for path in folder.iterdir()] == ["old"]
        assert expected


@root_only
def test_files_that_may_not_be_read():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        model = h5(folder / "model.h5")
        np.save(folder / "x.npy", np.ones((2, 5, 3)))
        for path in folder.iterdir():
            path.chmod(0o600)
        inputs = read(model).inputs
        with unprivileged():
            with pytest.raises(ReadError, match=r"model\.h5: cannot be read: Permission denied"):
                read(model)
            with pytest.raises(InputError, match=r"x\.npy: cannot be read: Permission denied"):
                load([str(folder / "x.npy")], inputs)


# inputs that change


@pytest.mark.parametrize("how", ["shorter", "longer", "other numbers"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_input_that_changes_while_it_is_read(tmp_path, suffix, how):
    """A mapped file that has become shorter would otherwise end the program with SIGBUS."""
    model, folder = read(h5(tmp_path / "model.h5")), tmp_path / "out"
    folder.mkdir()
    source = tmp_path / "x.npy"
    np.save(source, np.ones((4000, 5, 3), np.float32))
    samples = load([str(source)], model.inputs)

    def chunks():
        for number, chunk in enumerate(model.iter_trace(samples, batch_size=1000)):
            yield chunk
            if number == 1:
                change(source, how)

    with pytest.raises(InputError, match=r"x\.npy: was changed while it was read; use a file at rest"):
        write(chunks(), [Output(str(folder / f"x.{suffix}"))], {})
    assert not list(folder.iterdir())


def change(path, how):
    if how == "other numbers":
        with path.open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"abcd")
        os.utime(path, ns=(1, 1))  # the clock of the file system may be too coarse to notice
    else:
        os.truncate(path, path.stat().st_size // 2 if how == "shorter" else path.stat().st_size + 100)


def test_an_input_that_is_deleted_is_read_on(tmp_path):
    model, source = read(h5(tmp_path / "model.h5")), tmp_path / "x.npy"
    np.save(source, np.ones((8, 5, 3), np.float32))
    chunks = model.iter_trace(load([str(source)], model.inputs), batch_size=4)
    next(chunks)
    source.unlink()
    assert len(list(chunks)) == 1


# pipes, limits, environments


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "arrow"])
def test_a_closed_pipe(form):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "from gateprobe.cli import main; main(prog_name='gateprobe')"]
    done = subprocess.run(
        [*command, "dump", MODEL, INPUT, "--format", form],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_limited_memory_no_home_no_temporary_folder_plain_locale(tmp_path):
    """All at once, on paths that are not ASCII, from a folder that cannot be written to."""
    import resource

    model, source = tmp_path / "модель é 名.h5", tmp_path / "entrée.npy"
    model.write_bytes(Path(MODEL).read_bytes())
    source.write_bytes(Path(INPUT).read_bytes())
    target = tmp_path / "ausgänge.csv"
    plain = {"LANG": "C", "LC_ALL": "C", "HOME": None, "TMPDIR": "/nowhere", "PYTHONUTF8": "0", "USER": None}
    limit = 4 << 30
    done = run(
        "dump", model, source, "-o", target, env=plain, cwd="/proc",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_bytes() == run("dump", MODEL, INPUT).stdout


def test_a_name_that_is_no_unicode(tmp_path):
    model = os.fsencode(tmp_path) + b"/\xff\xfe\x1b[2J.h5"
    Path(os.fsdecode(model)).write_bytes(Path(MODEL).read_bytes())
    done = run("inspect", os.fsdecode(model))
    assert done.returncode == 0
    done.stdout.decode("utf-8")
    assert b"\x1b" not in done.stdout


@pytest.mark.skipif(not Path("/usr/bin/unshare").exists(), reason="needs unshare")
def test_without_a_network(tmp_path):
    """The audit in test_no_code_runs shows that no socket is asked for; here there is none to be had."""
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("cannot unshare")
    done = subprocess.run(
        [
            "unshare",
            "-rn",
            sys.executable,
            "-c",
            "from gateprobe.cli import main; main()",
            "predict",
            MODEL,
            INPUT,
            "-o",
            str(tmp_path / "p.npz"),
        ],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": PATH},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.npz").exists()


# numbers


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_told(tmp_path, value):
    import h5py

    weights = arrays()
    weights["recurrent_kernel"][1, 3:5] = value
    path = h5(tmp_path / "model.h5", layers={"lstm": weights})
    message = r"lstm/cell \(LSTMCell\): 2 of the 16 numbers of recurrent_kernel are NaN or infinite"
    with pytest.warns(GateprobeWarning, match=message):
        read(path).trace(np.ones((1, 5, 3), np.float32))
    with h5py.File(path, "r+") as file:  # float64 weights beyond float32 become infinite, as in Keras
        group = file["model_weights"]
        del group["lstm"]
        add_layer(group, "lstm", arrays() | {"bias": np.full(8, 1e300)})
    with pytest.warns(GateprobeWarning, match="8 of the 8 numbers of bias are NaN or infinite"):
        read(path).trace(np.ones((1, 5, 3), np.float32))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([[10**6, 1, 2]]), "1000000"),
        (np.array([[-1, 1, 2]]), "-1"),
        (np.array([[0.5, 1, 2]]), "whole numbers|fraction|0.5"),
        (np.array([[np.nan, 1, 2]]), "whole numbers|fraction|nan|NaN"),
        (np.array([[np.inf, 1, 2]]), "inf does not fit into int32"),
    ],
)
def test_tokens_that_are_none_are_refused(tokens, message):
    model = read(ROOT / "sample_models" / "tokens.keras")
    timesteps = model.inputs[0].shape[1] or 3
    tokens = np.resize(tokens, (1, timesteps))
    with pytest.raises(InputError, match=message):
        model.trace(tokens)
