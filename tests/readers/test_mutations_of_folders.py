"""Whatever is changed in a file that goes with a model: the same numbers, a note, or one line that says what is wrong.

`test_mutations.py` changes whole models. Here stand SavedModel folders, TensorFlow.js, weights alone, wirings, files of
words, files of samples, and traces. Where a changed byte may be another number (a digit in a text; formats without
checksums, see SECURITY.md), the numbers are not compared, and only the answer's form is judged.
"""

import random
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from readers.build import keras, members, tree_bytes

import gateprobe
from gateprobe.analysis.weights import weights_of
from gateprobe.cli import main
from gateprobe.errors import GateprobeError
from gateprobe.model import opened

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_models"
X = np.random.default_rng(5).normal(0, 1, (2, 5, 3)).astype(np.float32)
ROUNDS = 15


def changed(data, chance):
    """Change some bytes, cut some off, leave some out or say them twice."""
    data = bytearray(data)
    how = chance.random()
    if how < 0.6:
        for _ in range(chance.choice([1, 1, 2, 8])):
            at = chance.randrange(len(data))
            data[at] = chance.choice([0, 255, data[at] ^ (1 << chance.randrange(8)), chance.randrange(256)])
    elif how < 0.8:
        del data[chance.randrange(len(data)) :]
    else:
        start = chance.randrange(len(data))
        part = data[start : start + chance.choice([1, 4, 64])]
        data[start : start + len(part)] = b"" if how < 0.9 else part * 2
    return bytes(data)


def answer(act):
    """Return what comes out, ``None`` for a refusal, and whether something was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = act()
        except GateprobeError as error:
            assert "\n" not in str(error), repr(str(error))  # noqa: PT017 -- most changes are harmless
            return None, True
    assert all(issubclass(one.category, gateprobe.GateprobeWarning) for one in said), [str(one.message) for one in said]
    return value, bool(said)


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)


def try_all(path, act, *, rounds=ROUNDS, exact=True, seed=7):
    """Change a file again and again; return how often it was refused.

    Args:
        path: The file.
        act: Reads what it belongs to; returns arrays by name.
        exact: Whether other numbers need a note.
    """
    good, chance = path.read_bytes(), random.Random(seed)
    first, _ = answer(act)
    assert first is not None
    refused = 0
    try:
        for number in range(rounds):
            data = changed(good, chance)
            path.write_bytes(data)
            value, noted = answer(act)
            refused += value is None
            assert value is None or noted or not exact or same(value, first), f"{path.name}: change {number}"
    finally:
        path.write_bytes(good)
    return refused


# --- models beside test_mutations.py


def predicted(path, x=X, **options):
    def act():
        model = gateprobe.read(path, **options)
        shapes = [spec.shape for spec in model.inputs]
        given = x if len(shapes) == 1 else None
        return {name: np.asarray(value) for name, value in model.predict(given).items()}

    return act


def test_weights_of_keras_3(tmp_path):
    """HDF5 has no checksums: a changed byte among the numbers is another weight (see SECURITY.md)."""
    path, whole = tmp_path / "m.weights.h5", keras(tmp_path / "m.keras")
    path.write_bytes(tree_bytes())
    given = tmp_path / "m.json"
    given.write_bytes(members()["config.json"])
    assert gateprobe.read(whole)
    assert try_all(path, predicted(path, architecture=given), exact=False) > 1
    assert try_all(given, predicted(path, architecture=given), exact=False) > 1


def test_tfjs(tmp_path):
    """The shards have no checksums, and the numbers of a manifest may stay numbers."""
    folder = tmp_path / "m"
    shutil.copytree(ROOT / "tests" / "data" / "tfjs" / "lstm", folder)
    path = next(folder.rglob("model.json"))
    model = gateprobe.read(path)
    (spec,) = model.inputs
    x = np.random.default_rng(1).normal(size=[2, *(size or 4 for size in spec.shape[1:])]).astype(np.float32)
    assert try_all(path, predicted(path, x), exact=False) > 1
    shard = next(folder.rglob("*.bin"))
    try_all(shard, predicted(path, x), exact=False)
    data = shard.read_bytes()
    for wrong in (data[:-1], data + b"\0", b""):
        shard.write_bytes(wrong)
        assert answer(predicted(path, x)) == (None, True)


# --- samples


def ran(*arguments):
    """Run a command, which ends with 0, or with 2 and one line."""
    done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="gateprobe")
    assert done.exit_code in (0, 2), (done.output, done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    if done.exit_code:
        (line,) = [line for line in done.stderr.splitlines() if ": note: " not in line]
        raise GateprobeError(line)


def x_of(path, folder):
    """Return what ``dump`` makes of a file of samples."""
    model = keras(folder / "model.keras")

    def act():
        out = folder / "out.npz"
        ran("dump", model, path, "-o", out, "--force")
        with np.load(out) as stored:
            return {key: stored[key] for key in stored.files if not key.startswith("__")}

    return act


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "tsv", "parquet"])
def test_samples(tmp_path, suffix):
    """Zips have checksums; a changed byte of the others may be another number, as a digit in a CSV."""
    path = tmp_path / f"x.{suffix}"
    frame = pl.DataFrame(X.reshape(10, 3), schema=["a", "b", "c"]).select(
        pl.Series("sample", np.repeat([0, 1], 5)), pl.Series("timestep", np.tile(np.arange(5), 2)), pl.all()
    )
    match suffix:
        case "npy":
            np.save(path, X)
        case "npz":
            np.savez(path, x=X)
        case "parquet":
            frame.write_parquet(path)
        case _:
            frame.write_csv(path, separator="," if suffix == "csv" else "\t")
    try_all(path, x_of(path, tmp_path), exact=suffix == "npz")


def labelled(folder, *options):
    """Return what a report of a model of token ids and its labels is."""

    def act():
        out = folder / "out.csv"
        ran("dump", SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", *options, "-o", out, "--force")
        table = pl.read_csv(out, infer_schema=False).drop("token", strict=False)
        return {"table": table.hash_rows().to_numpy()}

    return act


def test_tokens_change_no_number(tmp_path):
    path = tmp_path / "tokens.txt"
    shutil.copy(SAMPLES / "brackets_tokens.txt", path)
    try_all(path, labelled(tmp_path, "--sample", "0:2", "--tokens", path), rounds=12)


def test_wirings(tmp_path):
    """A wiring is a text: a changed one that is still a wiring states another model."""
    given, path = tmp_path / "w.json", tmp_path / "m.weights.h5"
    path.write_bytes(tree_bytes())
    given.write_bytes(members()["config.json"])
    try_all(given, predicted(path, architecture=given), exact=False, seed=3)


@pytest.fixture(scope="module")
def savedmodel(tmp_path_factory):
    """Unpack a SavedModel, and return its folder and what goes in."""
    folder = tmp_path_factory.mktemp("saved")
    with tarfile.open(ROOT / "tests" / "data" / "text" / "keras2_savedmodel.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("saved_model.pb")).parent


@pytest.mark.parametrize("name", ["saved_model.pb", "keras_metadata.pb", "variables/*.index", "variables/*data*"])
def test_savedmodels(savedmodel, tmp_path, name):
    """The bundle has checksums; the rest says what the model is, and must say it whole."""
    folder = tmp_path / "m"
    shutil.copytree(savedmodel, folder)
    (path,) = folder.glob(name)

    def act():
        layers = weights_of(opened(gateprobe.read(folder)))
        return {f"{k}/{key}": array for k, one in enumerate(layers) for key, array in one.to_numpy().items()}

    try_all(path, act, exact=name.startswith("variables"), rounds=20)
