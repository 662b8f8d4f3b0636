"""Models, inputs and outputs by URL."""

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import InputError
from gateprobe.files.remote import Remote, redact_url, remote
from gateprobe.inputs.array_files import RemoteRows

SAMPLES = Path(__file__).parents[2] / "sample_models"
fsspec = pytest.importorskip("fsspec")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def memory():
    """A storage in memory with a folder of sample models."""
    storage = fsspec.filesystem("memory")
    for path in SAMPLES.iterdir():
        storage.pipe_file(f"/models/{path.name}", path.read_bytes())
    yield storage
    storage.rm("/", recursive=True)


@pytest.mark.parametrize("suffix", ["parquet", "npz", "h5", "csv", "arrow"])
def test_files_by_url_are_the_files_by_path(memory, tmp_path, suffix):
    for place, out in (("memory://models", "memory://out"), (SAMPLES, tmp_path), (SAMPLES.as_uri(), tmp_path.as_uri())):
        name = "local" if out == tmp_path else "far"
        done = run("dump", f"{place}/keras2.h5", f"{place}/keras2.npy", "-o", f"{out}/{name}.{suffix}")
        assert (done.exit_code, done.stderr) == (0, "")
    expected = (tmp_path / f"local.{suffix}").read_bytes()
    assert (tmp_path / f"far.{suffix}").read_bytes() == expected
    if suffix == "csv":  # the others hold what the storage says of the input's version
        assert memory.cat_file(f"/out/far.{suffix}") == expected
    assert memory.exists(f"/out/far.{suffix}")


@pytest.mark.parametrize(
    "given",
    ["memory://models/all.npz", "encoder_input=memory://models/all.npz[encoder_input]"],
)
def test_archives_by_url(memory, tmp_path, given):
    arrays = {name: np.load(SAMPLES / f"translate_{name}.npy") for name in ("source", "target")}
    names = {"encoder_input": arrays["source"], "decoder_input": arrays["target"]}
    np.savez(tmp_path / "all.npz", **names)
    memory.put_file(str(tmp_path / "all.npz"), "/models/all.npz")
    rest = () if "=" not in given else (f"decoder_input={SAMPLES}/translate_target.npy",)
    far = run("dump", "memory://models/translate.keras", given, *rest)
    near = run("dump", SAMPLES / "translate.keras", tmp_path / "all.npz")
    assert (far.exit_code, far.stdout) == (0, near.stdout)


def test_tables_by_url(memory):
    rows = "".join(f"0,{timestep},{timestep},1\n" for timestep in range(6))
    memory.pipe_file("/models/x", f"sample,timestep,a,b\n{rows}".encode())
    done = run("dump", SAMPLES / "keras2.h5", "memory://models/x", "--unit", 0, "--signal", "h")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 7


def test_only_the_rows_that_are_needed_are_fetched(memory, monkeypatch, tmp_path):
    x = np.arange(3_000_000, dtype=">f4").reshape(1000, 1000, 3)
    np.save(tmp_path / "x.npy", x)
    memory.put_file(str(tmp_path / "x.npy"), "/x.npy")
    asked = []
    read = Remote.read
    monkeypatch.setattr(Remote, "read", lambda self, *span: asked.append(span) or read(self, *span))
    file = remote("memory://x.npy")
    rows = RemoteRows(file.read, file.size(), file.name)
    np.testing.assert_array_equal(rows[500:510], x[500:510])
    np.testing.assert_array_equal(rows[510:520], x[510:520])  # came with them
    np.testing.assert_array_equal(rows[np.array([3, 4, 999])], x[[3, 4, 999]])
    np.testing.assert_array_equal(rows.fetch(7, 9), x[7:9])
    assert rows.shape == x.shape
    assert [stop - start for start, stop in asked[1:]] == [349 * 12_000, 349 * 12_000, 12_000, 24_000]


def test_an_input_that_changes_is_refused(memory):
    model = gateprobe.read(SAMPLES / "keras2.h5")
    from gateprobe.inputs.samples import load

    samples = load(["memory://models/keras2.npy"], model.inputs)
    memory.pipe_file("/models/keras2.npy", (SAMPLES / "keras2.npy").read_bytes())
    with pytest.raises(InputError, match=r"memory://models/keras2\.npy: was changed while it was read"):
        model.trace(samples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.h5", "keras2.npy"], "memory://models/no.h5: there is no such file"),
        (["keras2.h5", "no.npy"], "memory://models/no.npy: there is no such file"),
        (["keras2.h5", "keras2.h5"], "memory://models/keras2.h5: is neither an .npy file nor text"),
        (["keras2.h5", "keras2.npy", "-o", "keras2.h5"], "models/keras2.h5: is also an input; write to another file"),
        (["keras2.h5", "keras2.npy", "-o", "there.csv"], "models/there.csv: exists already; use --force to replace it"),
        (["keras2.h5", "fortran.npy"], "fortran.npy: is in Fortran order, so that the rows of a sample lie apart; "),
        (["keras2.h5", "short.npy"], "short.npy: ends early"),
    ],
)
def test_what_is_wrong_is_said_of_the_url(memory, arguments, message, tmp_path):
    x = np.load(SAMPLES / "keras2.npy")
    np.save(tmp_path / "fortran.npy", np.asfortranarray(x))
    memory.put_file(str(tmp_path / "fortran.npy"), "/models/fortran.npy")
    memory.pipe_file("/models/short.npy", (SAMPLES / "keras2.npy").read_bytes()[:-1])
    memory.pipe_file("/models/there.csv", b"precious")
    done = run("dump", *(name if name == "-o" else f"memory://models/{name}" for name in arguments))
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert memory.cat_file("/models/there.csv") == b"precious"


def test_an_upload_that_fails_is_one_line_and_names_no_credentials(memory, monkeypatch):
    def failing(self, path, *args, **kwargs):
        raise RuntimeError("403 for memory://me:secret@out/x.csv?token=secret, key secret\nand more")

    monkeypatch.setattr(type(memory), "open", failing)
    done = run("dump", SAMPLES / "keras2.h5", SAMPLES / "keras2.npy", "-o", "memory://me:secret@out/x.csv?token=secret")
    assert done.exit_code == 2
    assert "memory://out/x.csv: cannot write: RuntimeError: 403 for memory://out/x.csv" in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://me:secret@x/y", "nosuch://x/y: cannot be reached: Protocol not known: nosuch"),
        ("abfs://x/y?sig=secret", "abfs://x/y: Install adlfs"),
    ],
)
def test_a_storage_that_is_not_there(url, message):
    if url.startswith("abfs") and "adlfs" in sys.modules:
        pytest.skip("it is there")
    done = run("inspect", url)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "secret" not in done.stderr


def test_without_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    done = run("inspect", "s3://x/y.h5")
    assert "fsspec, which reads and writes URLs, is not installed; run: pip install 'gateprobe[remote]'" in done.stderr


def test_names_for_messages():
    assert redact_url("s3://bucket/a b?versionId=1#x") == "s3://bucket/a b"
    assert redact_url("ftp://me:pw@host/a@b") == "ftp://host/a@b"
    assert redact_url("Forbidden: https://h/x?sig=1 'gs://u:p@b/k?q'") == "Forbidden: https://h/x 'gs://b/k'"
    assert redact_url(r"C:\x?y") == r"C:\x?y"


@pytest.mark.parametrize("name", ["t", "t.zarr"])
def test_a_folder_by_url_that_was_changed(memory, tmp_path, name):
    pytest.importorskip("zarr")
    same = ["dump", "memory://models/tokens.keras", "memory://models/tokens.npy", "-o", f"memory://out/{name}/"]
    same += ["--batch-size", "2", "--block-size", "2"]
    assert run(*same).exit_code == 0
    expected = {path: memory.cat_file(path) for path in memory.find("/out")}
    part = "part-000000000002.parquet" if name == "t" else "__finished__/c/1/0"
    other = "part-000000000000.parquet" if name == "t" else "__finished__/c/0/0"
    memory.pipe_file(f"/out/{name}/{part}", memory.cat_file(f"/out/{name}/{part}")[:-10] if name == "t" else bytes(64))
    assert run(*same).exit_code == 0
    assert {path: memory.cat_file(path) for path in memory.find("/out")} == expected
    memory.pipe_file(f"/out/{name}/{part}", memory.cat_file(f"/out/{name}/{other}"))
    done = run(*same)
    if name == "t":
        assert (done.exit_code, f"{part}, which is of another run" in done.stderr) == (2, True), done.output
    else:
        assert (done.exit_code, "is damaged: it is computed again" in done.stderr) == (0, True), done.output
    memory.pipe_file(f"/out/{name}/precious.parquet", b"x")
    done = run(*same, "--pre", "--force")
    assert (done.exit_code, "holds precious.parquet, which" in done.stderr) == (2, True), done.output
    assert memory.cat_file(f"/out/{name}/precious.parquet") == b"x"
