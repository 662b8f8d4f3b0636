"""Words of a lookup layer that are in neither the weights nor the JSON: of a whole model, or of the user."""

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import InputError, ReadError, UnsafeFile, UnsupportedModel
from gateprobe.model import opened
from gateprobe.verification.run import verify

DATA = Path(__file__).parent / "data" / "text"
MODELS = json.loads((DATA / "models.json").read_text())
TEXTS = MODELS["texts"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models apart: weights alone, JSON alone, a checkpoint, the words as Keras lists them."""
    folder = tmp_path_factory.mktemp("apart")
    for name in ("keras2", "keras3"):
        with zipfile.ZipFile(DATA / f"{name}.keras") as whole:
            (folder / f"{name}.weights.h5").write_bytes(whole.read("model.weights.h5"))
            version = json.loads(whole.read("metadata.json"))["keras_version"]
            config = {**json.loads(whole.read("config.json")), "keras_version": version}  # as model.to_json() writes it
            (folder / f"{name}.json").write_text(json.dumps(config))
            assets = [info for info in whole.namelist() if info.endswith("/vocabulary.txt")]
            (folder / f"{name}.txt").write_bytes(whole.read(min(assets, key=len)) + b"\n")
    with tarfile.open(DATA / "keras2_savedmodel.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "texts.txt").write_text("\n".join(text for text in TEXTS if text.isprintable() and text.strip()))
    return folder


def listed(folder, name="keras3"):
    return (folder / f"{name}.txt").read_text().removesuffix("\n").split("\n")


def run(*args, code=0):
    result = CliRunner().invoke(main, list(map(str, args)))
    assert result.exit_code == code, result.output
    return result


def is_that_of(model, name):
    (ours,) = model.predict(TEXTS).values()
    np.testing.assert_allclose(ours, np.array(MODELS[name]), rtol=0, atol=1e-7)


CHECKPOINT = "keras2_savedmodel/variables/variables.index"


@pytest.mark.parametrize(
    ("weights", "architecture", "name"),
    [
        ("keras3.weights.h5", DATA / "keras3.keras", "keras3"),
        ("keras2.weights.h5", DATA / "keras2.keras", "keras2"),
        ("keras2.weights.h5", "keras2_savedmodel", "keras2"),
        ("keras2.weights.h5", "keras2_savedmodel/saved_model.pb", "keras2"),
        (CHECKPOINT, DATA / "keras2.keras", "keras2"),
        (CHECKPOINT, "keras2_savedmodel", "keras2"),
    ],
)
def test_a_whole_model_as_architecture_gives_the_words_too(folder, weights, architecture, name):
    given = folder / architecture
    model = gateprobe.read(folder / weights, architecture=given)
    is_that_of(model, name)
    file = given.parent if given.name == "saved_model.pb" else given
    (note,) = model.notes
    assert note.endswith(f"its words are not in the model's file; they are those of the architecture, {file}")
    assert model.trace(TEXTS[:1]).metadata["words_of"] == {"encoder": str(file)}


@pytest.mark.parametrize("written", ["as listed", "without special entries", "JSON", "the layer"])
@pytest.mark.parametrize("name", ["keras2", "keras3"])
def test_words_of_the_user(folder, tmp_path, name, written):
    words = listed(folder, name)
    config = json.loads((folder / f"{name}.json").read_text())["config"]["layers"]
    (config,) = [one["config"] for one in config if one["class_name"] == "TextVectorization"]
    content = {
        "as listed": "\n".join(words) + "\n",
        "without special entries": "\r\n".join(words[2:]),
        "JSON": json.dumps(words),
        "the layer": json.dumps({"class_name": "TextVectorization", "config": {**config, "vocabulary": words[2:]}}),
    }[written]
    path = tmp_path / "words"
    path.write_text(content, newline="")
    weights, architecture = folder / f"{name}.weights.h5", folder / f"{name}.json"
    model = gateprobe.read(weights, architecture=architecture, vocab=path)
    is_that_of(model, name)
    assert [note for note in model.notes if f"they are those of {path}, as given with vocab" in note]
    metadata = model.trace(TEXTS[:1]).metadata
    assert metadata["words_of"] == {"encoder": str(path)}
    assert any(str(path) in note for note in metadata["notes"])
    path.write_text(content.replace("great", "grand"), newline="")
    other = gateprobe.read(weights, architecture=architecture, vocab=path)
    assert opened(other).graph.origin.sha256 != opened(model).graph.origin.sha256


def test_words_of_a_model_without_its_assets_and_of_a_checkpoint(folder, tmp_path):
    bare = tmp_path / "bare.keras"
    with zipfile.ZipFile(DATA / "keras3.keras") as old, zipfile.ZipFile(bare, "w") as new:
        for info in old.infolist():
            if not info.filename.startswith("assets/"):
                new.writestr(info.filename, old.read(info))
    is_that_of(gateprobe.read(bare, vocab=folder / "keras3.txt"), "keras3")
    words = {"architecture": folder / "keras2.json", "vocab": folder / "keras2.txt"}
    is_that_of(gateprobe.read(folder / CHECKPOINT, **words), "keras2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda words: words[1:], r"has '\[UNK\]' among the words of encoder, which begin with \['', '\[UNK\]'\] or"),
        (lambda words: ["", *words[2:]], "has '' among the words of encoder"),
        (lambda words: words[:-1], "makes 18 words of encoder, which has 19; give layer.get_vocabulary"),
        (lambda words: [*words, "more"], "makes 20 words of encoder, which has 19"),
        (lambda words: [*words[:-1], words[-2]], "holds a word twice"),
        (lambda words: {word: at for at, word in enumerate(words)}, "numbers its words itself"),
    ],
)
def test_words_that_would_get_other_ids_are_refused(folder, tmp_path, change, message):
    size = len(listed(folder))
    message = message.replace("18", str(size - 1)).replace("19", str(size)).replace("20", str(size + 1))
    path = tmp_path / "words.json"
    path.write_text(json.dumps(change(listed(folder))))
    with pytest.raises((InputError, UnsupportedModel), match=message):
        gateprobe.read(folder / "keras3.weights.h5", architecture=folder / "keras3.json", vocab=path).predict(TEXTS)


def test_words_that_may_be_those_of_several_layers_are_refused(folder, tmp_path):
    config = json.loads((folder / "keras3.json").read_text())
    layers = config["config"]["layers"]
    (one,) = [layer for layer in layers if layer["class_name"] == "TextVectorization"]
    second = {"class_name": "StringLookup", "config": {"name": "second", "vocabulary": "words.txt"}}
    layers.insert(layers.index(one), second)
    (tmp_path / "two.json").write_text(json.dumps(config))
    how = {"architecture": tmp_path / "two.json", "vocab": folder / "keras3.txt"}
    with pytest.raises(InputError, match="second and encoder lack their words, and these may be those of any"):
        gateprobe.read(folder / "keras3.weights.h5", **how)


@pytest.mark.parametrize("setting", [{"vocabulary_size": 2}, {"vocabulary": []}, {"vocabulary": "words.txt"}])
def test_an_architecture_from_before_the_words_were_there_takes_them(folder, tmp_path, setting):
    config = json.loads((folder / "keras3.json").read_text())
    (one,) = [layer for layer in config["config"]["layers"] if layer["class_name"] == "TextVectorization"]
    one["config"].update(setting)
    (tmp_path / "early.json").write_text(json.dumps(config))
    how = {"architecture": tmp_path / "early.json", "vocab": folder / "keras3.txt"}
    is_that_of(gateprobe.read(folder / "keras3.weights.h5", **how), "keras3")


def test_no_file_of_an_architecture_is_overwritten(folder):
    kept = folder / "keras2_savedmodel" / "keras_metadata.pb"
    before = kept.read_bytes()
    model = [folder / "keras2.weights.h5", folder / "texts.txt", f"--architecture={kept.parent}"]
    assert "keras_metadata.pb" in run("dump", *model, "--format=csv", "-o", kept, "--force", code=2).stderr
    assert kept.read_bytes() == before


def test_a_model_that_lacks_no_words_is_given_none(folder):
    with pytest.raises(InputError, match="no layer of the model lacks its words; leave it out"):
        gateprobe.read(DATA / "keras3.keras", vocab=folder / "keras3.txt")
    model = gateprobe.read(folder / "keras3.weights.h5", architecture=folder / "keras3.json")
    with pytest.raises(InputError, match=r"the model itself lacks its words; read it with them"):
        model.predict(TEXTS, vocab=folder / "keras3.txt")


@pytest.mark.parametrize("weights", ["keras2.weights.h5", CHECKPOINT])
def test_the_refusal_says_what_to_do_and_that_works(folder, weights):
    model = [folder / weights, folder / "texts.txt", f"--architecture={folder / 'keras2.json'}"]
    said = run("predict", *model, code=2).stderr
    assert "give layer.get_vocabulary(), one word a line, with --vocab FILE" in said
    assert "a whole .keras or SavedModel of the same model with --architecture MODEL" in said
    given = run("predict", *model, f"--vocab={folder / 'keras2.txt'}")
    assert "as given with --vocab" in given.stderr
    other = run("predict", folder / weights, folder / "texts.txt", f"--architecture={folder / 'keras2_savedmodel'}")
    assert given.stdout == other.stdout
    named = run("dump", *model, f"--vocab={folder / 'keras2.txt'}", "--unit=0", "--sample=0", "--signal=f").stdout
    assert ",the," in named
    with pytest.raises(UnsupportedModel, match="with vocab=FILE"):
        gateprobe.read(folder / weights, architecture=folder / "keras2.json").predict(TEXTS)


@pytest.mark.slow
def test_workers_read_the_same_words(folder, tmp_path):
    model = [folder / "keras3.weights.h5", folder / "texts.txt", f"--architecture={folder / 'keras3.json'}"]
    how = [f"--vocab={folder / 'keras3.txt'}", "-o", f"{tmp_path / 'out'}/", "--workers=1"]
    run("dump", *model, *how)
    filled = gateprobe.load_trace(tmp_path / "out")
    whole = gateprobe.read(DATA / "keras3.keras").trace((folder / "texts.txt").read_text().splitlines())
    for key, value in whole.to_numpy().items():
        np.testing.assert_array_equal(filled.to_numpy()[key], value)


def test_words_of_an_architecture_are_within_the_limit(folder, tmp_path):
    large = tmp_path / "large.keras"
    with zipfile.ZipFile(DATA / "keras3.keras") as old, zipfile.ZipFile(large, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info, data + b"\nx" * 100_000 if info.filename.endswith("vocabulary.txt") else data)
    with pytest.raises(UnsafeFile, match=r"vocabulary\.txt"):
        gateprobe.read(folder / "keras3.weights.h5", architecture=large, max_bytes=150_000)


def test_a_folder_without_layers_is_no_architecture(folder, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ReadError, match=f"{tmp_path}.*without Keras's own description"):
        gateprobe.read(folder / "keras3.weights.h5", architecture=tmp_path)


@pytest.mark.oracle
@pytest.mark.parametrize("how", ["vocab", "architecture"])
def test_the_real_keras_agrees(in_process, folder, how):
    given = {"architecture": folder / "keras2.json", "vocab": folder / "keras2.txt"}
    given = given if how == "vocab" else {"architecture": folder / "keras2_savedmodel"}
    result = verify(folder / "keras2.weights.h5", TEXTS, **given)
    assert result
    assert "the words of encoder are those of" in str(result.built_because)
