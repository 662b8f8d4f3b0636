"""Folders that were changed between two runs: nothing wrong is marked as complete, nothing of others is lost."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from gateprobe.cli import main
from gateprobe.writers.seal import examine

MODEL = Path(__file__).parents[2] / "sample_models" / "tokens.keras"
PARTS = [f"part-{start:012d}.parquet" for start in (0, 64, 128, 192)]
ZARR = "t.zarr"
KEY = "bidirectional/forward/cell_state"


def run(*arguments):
    options = ["--batch-size", 32, "--block-size", 64]
    words = ["dump", MODEL, "x.npy", *arguments, *options]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert not isinstance(done.exception, Exception), done.exception
    return done.exit_code, done.stderr


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """A folder of two runs of either kind."""
    folder = tmp_path_factory.mktemp("traces")
    before = Path.cwd()
    os.chdir(folder)
    try:
        np.save("x.npy", np.random.default_rng(0).integers(0, 10, (256, 8)).astype(np.int32))
        assert run("-o", "t/") == (0, "")
        assert run("-o", "pre/", "--pre") == (0, "")
        pytest.importorskip("zarr")
        assert run("-o", ZARR) == (0, "")
        assert run("-o", "pre.zarr", "--pre") == (0, "")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def work(traces, tmp_path, monkeypatch):
    shutil.copytree(traces, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def flipped(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def another_digit(path, key):
    """Change a hexadecimal digit of the seal, which stays one; which digits a seal has depends on the version."""
    data = bytearray(path.read_bytes())
    at = data.rindex(key) + len(key) + 9
    data[at] = ord("1") if data[at] == ord("0") else ord("0")
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def cut_inside(path):
    data = path.read_bytes()
    path.write_bytes(data[:100] + data[300:])


DAMAGE = {
    "cut": cut,
    "cut inside": cut_inside,
    "empty": lambda path: path.write_bytes(b""),
    "first bits": lambda path: flipped(path, 10),
    "middle": lambda path: flipped(path, path.stat().st_size // 2),
    "footer": lambda path: flipped(path, -400),
    "size of the footer": lambda path: flipped(path, -8),
    "checksum": lambda path: another_digit(path, b'"sha256": "'),
    "run": lambda path: another_digit(path, b'"run": "'),
}


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_is_named_and_computed_again(work, damage, marked):
    expected = contents(work / "t")
    DAMAGE[damage](work / "t" / PARTS[1])
    if not marked:
        (work / "t" / "_SUCCESS").unlink()
    status, err = run("-o", "t/")
    assert (status, err) == (0, f"gateprobe: note: t/{PARTS[1]} is damaged: it is computed again\n")
    assert contents(work / "t") == expected


def test_every_bit_of_a_part_counts(work):
    """Each byte of the file is flipped in turn; no change passes for an unbroken seal."""
    path = work / "t" / PARTS[3]
    whole = path.read_bytes()
    with path.open("rb") as file:
        assert examine(file).intact
    for at in {*range(0, len(whole), 97), *range(len(whole) - 300, len(whole))}:
        path.write_bytes(whole)
        flipped(path, at)
        with path.open("rb") as file:
            assert not examine(file).intact, at


def test_the_mark_goes_while_a_part_is_computed_again(work, monkeypatch):
    cut(work / "t" / PARTS[0])

    def interrupted(*arguments):
        assert not (work / "t" / "_SUCCESS").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("gateprobe.scale.dump.compute", interrupted)
    assert run("-o", "t/")[0] == 130
    assert not (work / "t" / "_SUCCESS").exists()


def other_run(folder):
    shutil.copy(folder.parent / "pre" / PARTS[1], folder / PARTS[1])


def other_block(folder):
    shutil.copy(folder / PARTS[0], folder / PARTS[1])


def others_parquet(folder):
    pl.DataFrame({"a": [1]}).write_parquet(folder / PARTS[1])


def superfluous(folder):
    shutil.copy(folder / PARTS[1], folder / "part-000000000999.parquet")


def unknown(folder):
    (folder / "more.parquet").write_bytes(b"x")


def fifo(folder):
    (folder / PARTS[1]).unlink()
    os.mkfifo(folder / PARTS[1])


def manifest_fifo(folder):
    (folder / "_gateprobe.json").unlink()
    os.mkfifo(folder / "_gateprobe.json")


def directory(folder):
    (folder / PARTS[1]).unlink()
    (folder / PARTS[1]).mkdir()


def link(folder):
    (folder / PARTS[1]).rename(folder.parent / "precious")
    (folder / PARTS[1]).symlink_to("../precious")


def device(folder):
    (folder / PARTS[1]).unlink()
    (folder / PARTS[1]).symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_run, f"t/: holds {PARTS[1]}, which is of another run or of other samples"),
        (other_block, f"t/: holds {PARTS[1]}, which is of another run or of other samples"),
        (others_parquet, f"t/: holds {PARTS[1]}, which gateprobe did not write"),
        (superfluous, "t/: holds part-000000000999.parquet, which is no part of this run"),
        (unknown, "t/: holds more.parquet, which is no part of this run"),
        (fifo, f"t/{PARTS[1]}: is not a regular file"),
        (manifest_fifo, "t/_gateprobe.json: is not a regular file"),
        (directory, f"t/{PARTS[1]}: is not a regular file"),
        (link, f"t/{PARTS[1]}: is not a regular file"),
        (device, f"t/{PARTS[1]}: is not a regular file"),
    ],
)
def test_what_does_not_belong_there_is_named_and_stays(work, change, words):
    change(work / "t")
    before = contents(work / "t")
    status, err = run("-o", "t/")
    assert (status, words in err, err.count("\n")) == (2, True, 1), err
    assert contents(work / "t") == before


@pytest.mark.parametrize("change", [other_run, superfluous])
def test_force_starts_anew_where_parts_of_ours_do_not_belong(work, change):
    expected = contents(work / "t")
    change(work / "t")
    assert run("-o", "t/", "--force") == (0, "")
    assert contents(work / "t") == expected


@pytest.mark.parametrize("options", [[], ["--pre"]])
@pytest.mark.parametrize("change", [others_parquet, unknown, link, fifo, directory])
def test_even_force_removes_nothing_of_others(work, change, options):
    change(work / "t")
    before = contents(work / "t")
    status, err = run("-o", "t/", "--force", *options)
    assert (status, err.count("\n")) == (2, 1), err
    assert contents(work / "t") == before


NESTED = "[" * 100_000 + "]" * 100_000
DEEP = "[" * 300 + "]" * 300
MANIFESTS = {
    "nested": lambda text: NESTED,
    "deep": lambda text: text.replace('"block": 64', f'"block": 64, "x": {DEEP}'),
    "unknown key of the kernel": lambda text: text.replace('"required"', '"more": 1, "required"', 1),
    "no kernel": lambda text: text.replace('"kernel"', '"kernels"', 1),
    "kernel of another name": lambda text: text.replace('"name": "numpy"', '"name": "x"').replace('"auto"', '"x"'),
    "block": lambda text: text.replace('"block": 64', '"block": "64"'),
    "no block": lambda text: text.replace('"block": 64', '"block": 0'),
    "cut": lambda text: text[: len(text) // 2],
    "list": lambda text: "[]",
    "number": lambda text: "7",
    "bytes": lambda text: "\udcff",
    "empty": lambda text: "",
}


@pytest.mark.parametrize("name", ["t/_gateprobe.json", f"{ZARR}/zarr.json"])
@pytest.mark.parametrize("change", MANIFESTS)
def test_a_damaged_manifest_is_one_line(work, change, name):
    file = work / name
    changed = MANIFESTS[change](json.dumps(json.loads(file.read_text())))
    file.write_bytes(changed.encode("utf-8", "surrogateescape"))
    before = contents(file.parent)
    for force in ([], ["--force"]):
        status, err = run("-o", f"{file.parent.name}/", *force)
        assert (status, err.count("\n")) == (2, 1), err
        assert any(word in err for word in ("damaged", "not a trace")), err
    assert contents(file.parent) == before


def zarr_chunk(folder):
    return folder / KEY / "c" / "1" / "0" / "0"


ZARR_DAMAGE = {
    "bit": lambda folder: flipped(zarr_chunk(folder), 9),
    "cut": lambda folder: cut(zarr_chunk(folder)),
    "gone": lambda folder: zarr_chunk(folder).unlink(),
    "another run": lambda folder: shutil.copy(
        folder.parent / "pre.zarr" / "__finished__" / "c" / "1" / "0", folder / "__finished__" / "c" / "1" / "0"
    ),
    "another block": lambda folder: shutil.copy(
        folder / "__finished__" / "c" / "0" / "0", folder / "__finished__" / "c" / "1" / "0"
    ),
    "numbers of another block": lambda folder: shutil.copy(folder / KEY / "c" / "0" / "0" / "0", zarr_chunk(folder)),
}


@pytest.mark.parametrize("damage", ZARR_DAMAGE)
def test_a_damaged_block_of_a_store_is_named_and_computed_again(work, damage):
    expected = contents(work / ZARR)
    ZARR_DAMAGE[damage](work / ZARR)
    status, err = run("-o", ZARR)
    assert (status, err.count("\n")) == (0, 1), err
    assert f"{ZARR}, samples from position 64 to 127, is damaged: it is computed again" in err
    assert contents(work / ZARR) == expected


def zarr_fifo(folder):
    zarr_chunk(folder).unlink()
    os.mkfifo(zarr_chunk(folder))


def zarr_link(folder):
    zarr_chunk(folder).rename(folder.parent / "precious")
    zarr_chunk(folder).symlink_to(folder.parent / "precious")


def linked_folder(folder):
    (folder / KEY).rename(folder.parent / "moved")
    (folder / KEY).symlink_to(folder.parent / "moved")


def described_otherwise(folder):
    file = folder / KEY / "zarr.json"
    file.write_text(file.read_text().replace('"float32"', '"float64"'))


def described_in_part(folder):
    cut(folder / KEY / "zarr.json")


def too_many(folder):
    target = folder / KEY / "c" / "4" / "0"
    target.mkdir(parents=True)
    shutil.copy(zarr_chunk(folder), target / "0")


def another_array(folder):
    shutil.copytree(folder / KEY, folder / "mine")


@pytest.mark.parametrize("force", [[], ["--force", "--pre"]])
@pytest.mark.parametrize(
    "change", [zarr_fifo, zarr_link, linked_folder, described_otherwise, described_in_part, too_many, another_array]
)
def test_what_does_not_belong_in_a_store_is_named_and_stays(work, change, force):
    change(work / ZARR)
    if force and change in (described_otherwise, described_in_part, too_many):
        return  # these are files of ours, which --force removes
    before = contents(work / ZARR)
    status, err = run("-o", ZARR, *force)
    assert (status, err.count("\n")) == (2, 1), err
    assert ZARR in err
    assert contents(work / ZARR) == before
