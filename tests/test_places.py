"""No command writes over what it reads, nor one result over another, however the names are spelled."""

import hashlib
import os
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gateprobe.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
SAVEDMODELS = ROOT / "tests" / "data"


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, prog_name="gateprobe")


def contents(folder):
    """Return everything below a folder: kind, content, permissions, inode."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_ino, hashlib.sha256(data).hexdigest())
    return found


def same(path):
    return path


def dotted(path):
    return f"{path.parent}/./{path.name}"


def symbolic(path):
    link = path.parent / f"symbolic{path.suffix}"
    link.symlink_to(path.name)
    return link


def through_a_folder(path):
    folder = path.parent.parent / "elsewhere"
    folder.symlink_to(path.parent, target_is_directory=True)
    return folder / path.name


def hard(path):
    link = path.parent / f"hard{path.suffix}"
    os.link(path, link)
    return link


def url(path):
    return path.as_uri()


def local(path):
    return f"local://{path}"


ALIASES = [same, dotted, symbolic, through_a_folder, hard, url, local]


def plain(folder):
    return ["keras2.h5", "keras2.npy"], [folder / "keras2.h5", folder / "keras2.npy"]


def keyed(folder):
    x = np.load(folder / "keras2.npy")
    np.savez(folder / "x.npz", a=x, b=x)
    return ["keras2.h5", "lstm_1_input=x.npz[b]"], [folder / "x.npz"]


def named(folder):
    return ["keras2.h5", "lstm_1_input=keras2.npy"], [folder / "keras2.npy"]


def fed(folder):
    np.save(folder / "state.npy", np.zeros((3, 3), np.float32))
    np.save(folder / "mask.npy", np.ones((3, 6), bool))
    feeds = ["--feed", "lstm_1.initial_state[0]=state.npy", "--feed", "lstm_1.mask=mask.npy"]
    return ["keras2.h5", "keras2.npy", *feeds], [folder / "state.npy", folder / "mask.npy"]


def described(folder):
    return ["w.h5", "keras2.npy", "--architecture", "a.json"], [folder / "a.json", folder / "w.h5"]


def sharded(folder):
    (folder / "index.json").write_text('{"weight_map": {"/layers/a": ["s1.h5"], "/layers/b": "s2.h5"}}')
    for name in ("s1.h5", "s2.h5"):
        with h5py.File(folder / name, "w") as file:
            file["x"] = [1.0]
    return ["index.json", "keras2.npy"], [folder / name for name in ("index.json", "s1.h5", "s2.h5")]


def saved(folder):
    sm = folder / "sm"
    (sm / "variables").mkdir(parents=True)
    files = [sm / "saved_model.pb", sm / "keras_metadata.pb", sm / "variables" / "variables.index"]
    for path in files:
        path.write_bytes(b"x")
    return ["sm", "keras2.npy"], files


def checkpointed(folder):
    files = [folder / name for name in ("ck.index", "ck.data-00000-of-00002", "ck.data-00001-of-00002", "checkpoint")]
    for path in files:
        path.write_bytes(b"x")
    files[0].write_bytes(bytes(40) + struct.pack("<Q", 0xDB4775248B80FB57))
    return ["ck", "keras2.npy", "--architecture", "a.json"], files


SOURCES = [plain, keyed, named, fed, described, sharded, saved, checkpointed]


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    for path in SAMPLES.glob("keras2.*"):
        shutil.copy(path, folder)
    (folder / "w.h5").write_bytes(b"weights")
    (folder / "a.json").write_bytes(b"{}")
    monkeypatch.chdir(folder)
    return folder


def refused(tmp_path, arguments, words):
    before = contents(tmp_path)
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    (line,) = done.stderr.splitlines()
    assert any(word in line for word in words), line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("sources", SOURCES)
@pytest.mark.parametrize("command", ["dump", "predict"])
def test_what_is_read_is_never_written(work, tmp_path, command, sources, alias):
    arguments, files = sources(work)
    for number, path in enumerate(files):
        if number and alias in (symbolic, through_a_folder, hard):
            break
        target = alias(path)
        words = ["is also an input", "lies in the input"]
        refused(tmp_path, [command, *arguments, "-o", target, "--format", "csv", "--force"], words)
        refused(tmp_path, [command, *arguments, "-o", "new.csv", "-o", target, "--force"], words)


@pytest.mark.parametrize("option", ["--tokens", "--vocab"])
@pytest.mark.parametrize("spec", ["words.csv", "lstm_1_input=words.csv"])
def test_labels_are_never_written_over(work, tmp_path, option, spec):
    (work / "words.csv").write_text("a\n")
    if option == "--vocab":
        spec = spec.rpartition("=")[2]
    refused(
        tmp_path, ["dump", "keras2.h5", "keras2.npy", option, spec, "-o", "words.csv", "--force"], ["is also an input"]
    )


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("option", ["--save-input", "--junit"])
def test_verify_never_writes_over_what_it_reads(work, tmp_path, option, alias):
    for name in ("keras2.npy", "keras2.h5", "a.json"):
        link = alias(work / name)
        arguments = ["verify", "keras2.h5", "keras2.npy", "--architecture", "a.json", option, link, "--force"]
        refused(tmp_path, arguments, ["is also an input"])
        for path in (tmp_path / "elsewhere", work / f"symbolic{Path(name).suffix}", work / f"hard{Path(name).suffix}"):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("alias", ALIASES)
def test_a_report_never_writes_over_what_it_reads(work, tmp_path, alias):
    labels = {"--tokens": "tokens.txt", "--vocab": "vocab.txt", "--verification": "verdict.json"}
    for name in labels.values():
        (work / name).write_text("mine")
    given = [word for pair in labels.items() for word in pair]
    for name in ("keras2.npy", "keras2.h5", *labels.values()):
        link = alias(work / name)
        refused(tmp_path, ["report", "keras2.h5", "keras2.npy", *given, "-o", link, "--force"], ["is also an input"])
        for path in (tmp_path / "elsewhere", work / f"symbolic{Path(name).suffix}", work / f"hard{Path(name).suffix}"):
            path.unlink(missing_ok=True)


def test_every_argument_of_every_command_that_names_a_file_is_guarded():
    """A new option with a file must go through a bundle that says so; then it belongs in this list and the tests."""
    guarded = {
        "model",
        "source",
        "architecture",
        "inputs",
        "feed",
        "output",
        "save_input",
        "junit",
        "tokens",
        "vocab",
        "verification",
        "write",
        "others",
        "signal_file",
    }
    words = ("FILE", "MODEL", "INPUT", "JSON", "DIR", "PATH")
    for name in COMMANDS:
        for parameter in main.get_command(None, name).params:
            if any(word in (parameter.metavar or "") for word in words):
                assert parameter.name in guarded, f"{name}: {parameter.name}"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("sm/trace.csv", "lies in the input"),
        ("sm/variables/trace.csv", "lies in the input"),
        ("sm/traces/", "lies in the input"),
        ("sm/", "is also an input"),
        ("../work/", "holds the input"),
        ("../", "holds the input"),
    ],
)
def test_folders_and_savedmodels(work, tmp_path, target, words):
    saved(work)
    refused(tmp_path, ["dump", "sm", "keras2.npy", "-o", target, "--force"], [words])


@pytest.mark.parametrize("inner", [False, True])
def test_a_folder_that_holds_an_input_is_never_cleared(work, tmp_path, inner):
    pytest.importorskip("zarr")
    assert run("dump", "keras2.h5", "keras2.npy", "-o", "t.zarr").exit_code == 0
    place = work / "t.zarr" / ("deep" if inner else ".")
    place.mkdir(exist_ok=True)
    shutil.copy("keras2.h5", place / "model.h5")
    (work / "link.h5").symlink_to(place / "model.h5")
    for model in (place / "model.h5", "link.h5"):
        refused(tmp_path, ["dump", model, "keras2.npy", "-o", "t.zarr", "--force", "--pre"], ["holds the input"])


@pytest.mark.parametrize("command", ["dump", "predict"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.csv", "a.csv"),
        ("a.csv", "./a.csv"),
        ("a.csv", "../work/a.csv"),
        ("a.csv", "A.csv"),
        ("dangling.csv", "a.csv"),
        ("old.csv", "hard.csv"),
        ("old.csv", "symbolic.csv"),
        ("a.csv", "file:{}/a.csv"),
        ("-", "-"),
        ("-", "/dev/stdout"),
        ("/dev/stdout", "/dev/fd/1"),
        ("/dev/stdout", "/proc/self/fd/1"),
    ],
)
def test_two_results_never_go_to_one_place(work, tmp_path, command, one, other):
    (work / "dangling.csv").symlink_to("a.csv")
    (work / "old.csv").write_text("old")
    os.link(work / "old.csv", work / "hard.csv")
    (work / "symbolic.csv").symlink_to("old.csv")
    other = other.format(f"//{work}") if "{}" in other else other
    names = ["-o", one, "-o", other, "--force"]
    refused(tmp_path, [command, "keras2.h5", "keras2.npy", *names], ["named twice as an output"])


def test_one_storage_has_one_place_for_a_url(work):
    fsspec = pytest.importorskip("fsspec")
    storage = fsspec.filesystem("memory")
    storage.pipe_file("/in/keras2.h5", Path("keras2.h5").read_bytes())
    before = storage.cat_file("/in/keras2.h5")
    try:
        for target in ("memory://in/keras2.h5", "MEMORY://in//keras2.h5", "memory:///in/keras2.h5"):
            done = run("dump", "memory://in/keras2.h5", "keras2.npy", "-o", target, "--force")
            assert (done.exit_code, "is also an input" in done.stderr) == (2, True), done.output
        done = run("dump", "keras2.h5", "keras2.npy", "-o", "memory://out/a.csv", "-o", "memory:///out/a.csv")
        assert (done.exit_code, "named twice" in done.stderr) == (2, True), done.output
        assert storage.cat_file("/in/keras2.h5") == before
        assert not storage.exists("/out")
    finally:
        storage.rm("/", recursive=True)


@pytest.mark.parametrize("target", ["simplecache::file://{}/keras2.h5", "zip://a.csv::file://{}/keras2.h5"])
def test_a_url_within_a_url_reaches_no_input(work, tmp_path, target):
    pytest.importorskip("fsspec")
    before = contents(tmp_path)
    done = run("dump", "keras2.h5", "keras2.npy", "-o", target.format(work), "--format", "csv", "--force")
    assert done.exit_code == 2
    assert contents(tmp_path) == before


def test_a_device_may_be_read_and_written(work):
    assert run("dump", "keras2.h5", "keras2.npy", "-o", os.devnull, "--format", "csv").exit_code == 0
