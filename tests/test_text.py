"""Models that read text, against what TensorFlow and both Kerases made of the same texts."""

from __future__ import annotations

import csv
import importlib
import json
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from layers import bound

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import InputError, ReadError, UnsafeFile, UnsupportedModel
from gateprobe.graph import Era, LayerRecord
from gateprobe.inputs.samples import load
from gateprobe.layers.base import FLOAT32, Arguments, Tensor
from gateprobe.layers.binding.registry import Binding, kind_of
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.text_hashes import farm, sip
from gateprobe.layers.text_rules import parted, standardized
from gateprobe.model import opened
from gateprobe.observed import of_run
from gateprobe.readers.savedmodel.objects import Described
from gateprobe.readers.savedmodel.tables import Tables
from gateprobe.readers.savedmodel.wire import parse
from gateprobe.verification.clean_copy import Unfit, clean_copy
from gateprobe.verification.run import verify
from gateprobe.verification.trust import objections

DATA = Path(__file__).parent / "data" / "text"
SAMPLES = Path(__file__).parents[1] / "sample_models"
ANSWERS = json.loads((DATA / "answers.json").read_text())
STRINGS = ANSWERS["strings"]


def layer_of(class_name, config, era="keras3"):
    record = LayerRecord("layer", class_name, config)
    meaning = bound.meaning(Era(era))
    return kind_of(record).bind(Binding(record, Settings(config, meaning), {}, {}, meaning, FLOAT32))


def answer_of(layer, class_name, x):
    columns = x if class_name == "HashedCrossing" else [x]
    tensors = tuple(Tensor(np.array(column)) for column in columns)
    (made,) = layer.replay(Arguments((tensors if class_name == "HashedCrossing" else tensors[0],)), bound.scope())
    return made.value


def case_id(entry: dict[str, Any]) -> str:
    given = {key: value for key, value in entry["given"].items() if key != "vocabulary"}
    return f"{entry['era']}-{entry['class_name']}-{given}"


@pytest.mark.parametrize("entry", ANSWERS["cases"], ids=case_id)
def test_a_layer_gives_what_keras_gave(entry):
    layer = layer_of(entry["class_name"], entry["config"], entry["era"])
    ours = answer_of(layer, entry["class_name"], entry["x"])
    theirs = np.array(entry["y"]["value"])
    assert ours.shape == theirs.shape
    if theirs.dtype.kind == "f" and entry["given"].get("output_mode") == "tf_idf":
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    else:
        np.testing.assert_array_equal(ours.astype(theirs.dtype), theirs)


def test_texts_are_changed_as_by_tensorflow():
    texts = STRINGS["texts"]
    assert [standardized(text, "lower") for text in texts] == STRINGS["lower"]
    assert [standardized(text, "strip_punctuation") for text in texts] == STRINGS["stripped"]
    assert [parted(text, "whitespace") for text in texts] == STRINGS["split"]
    assert [parted(text, "character") for text in texts] == STRINGS["characters"]


def test_hashes_are_those_of_tensorflow():
    data = [text.encode() for text in STRINGS["hashed"]]
    assert [farm(one) % (2**63 - 1) for one in data] == STRINGS["farm"]
    assert [sip(one, (2**40 + 7, 3)) % (2**63 - 1) for one in data] == STRINGS["sip"]


@pytest.mark.parametrize(
    ("class_name", "config", "said"),
    [
        ("TextVectorization", {}, "vocabulary is in none of the files"),
        ("TextVectorization", {"vocabulary": ["a"], "ragged": True}, "ragged"),
        ("TextVectorization", {"vocabulary": ["a"], "output_mode": None}, "ragged texts"),
        (
            "TextVectorization",
            {"vocabulary": ["a"], "standardize": {"class_name": "function", "config": "own"}},
            "'own'",
        ),
        ("TextVectorization", {"vocabulary": ["a"], "split": "own_split"}, "'own_split'"),
        ("TextVectorization", {"vocabulary": ["a"], "encoding": "latin-1"}, "latin-1"),
        ("TextVectorization", {"vocabulary": ["a"], "ngrams": 0}, "ngrams"),
        ("TextVectorization", {"vocabulary": ["a", "b"], "max_tokens": 3}, "more than max_tokens=3"),
        ("TextVectorization", {"vocabulary": ["a", "a"]}, "twice"),
        ("StringLookup", {"vocabulary": "words.txt"}, "names a file"),
        ("StringLookup", {"vocabulary": ["a", "", "b"], "mask_token": ""}, "mask token"),
        ("StringLookup", {"vocabulary": [1, 2]}, "list of texts"),
        ("StringLookup", {"vocabulary": ["a"], "output_mode": "tf_idf"}, "idf_weights"),
        ("StringLookup", {"vocabulary": ["a"], "output_mode": "tf_idf", "idf_weights": [1.0, 2.0]}, "expected 1"),
        ("StringLookup", {"vocabulary": ["a"], "salt": "x"}, "salt"),
        ("StringLookup", {"vocabulary": ["a"], "output_mode": "count", "invert": True}, "invert"),
        ("IntegerLookup", {"vocabulary": ["1"]}, "list of integers"),
        ("Hashing", {"num_bins": 0}, "num_bins"),
        ("Hashing", {"num_bins": 3, "mask_value": [1]}, "mask_value"),
    ],
)
def test_what_is_not_understood_is_refused(class_name, config, said):
    with pytest.raises(Unsupported, match=said):
        layer_of(class_name, config)


@pytest.mark.parametrize(
    ("class_name", "config", "x", "said"),
    [
        ("StringLookup", {"vocabulary": ["a"], "num_oov_indices": 0}, [["b"]], "'b' is not in the vocabulary"),
        ("StringLookup", {"vocabulary": ["a"], "output_mode": "count"}, ["a", "b"], "takes rows"),
        ("StringLookup", {"vocabulary": ["a"]}, [[1]], "takes texts"),
        ("IntegerLookup", {"vocabulary": [1]}, [["a"]], "takes integers"),
        ("TextVectorization", {"vocabulary": ["a"]}, [["a", "b"]], "one text for each sample"),
        ("TextVectorization", {"vocabulary": ["a"]}, [[" "], [""]], "no text has a word"),
        ("TextVectorization", {"vocabulary": ["a"]}, np.array([[b"\xff"]]), "not UTF-8"),
        ("TextVectorization", {"vocabulary": ["a"]}, [["\ud800"]], "surrogate"),
        ("TextVectorization", {"vocabulary": ["a"], "split": None, "ngrams": 2}, ["a", "b"], "rows of texts"),
        ("Hashing", {"num_bins": 3, "mask_value": 1}, [["a"]], "mask_value"),
        ("HashedCrossing", {"num_bins": 3}, [["a"]], "several inputs"),
        ("HashedCrossing", {"num_bins": 3}, [["a"], ["a", "b"]], "one shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(class_name, config, x, said):
    with pytest.raises(InputError, match=said):
        answer_of(layer_of(class_name, config), class_name, x)


MODELS = json.loads((DATA / "models.json").read_text())
TEXTS = MODELS["texts"]


@pytest.fixture(scope="session")
def savedmodel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("savedmodel")
    with tarfile.open(DATA / "keras2_savedmodel.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "keras2_savedmodel"


@pytest.fixture(params=["keras3.keras", "keras2.keras", "savedmodel", "keras3_given.h5", "keras2_given.h5"])
def file(request):
    return request.getfixturevalue("savedmodel") if request.param == "savedmodel" else DATA / request.param


def theirs_of(file):
    return np.array(MODELS["keras2" if file.is_dir() else file.stem])


def test_a_classifier_gives_what_keras_gave(file):
    model = gateprobe.read(file)
    (ours,) = model.predict(TEXTS).values()
    np.testing.assert_allclose(ours, theirs_of(file), rtol=0, atol=1e-7)


def test_the_numbers_do_not_depend_on_the_batch(file):
    model = gateprobe.read(file)
    whole, single = model.trace(TEXTS), model.trace(TEXTS, batch_size=1)
    for key, value in whole.to_numpy().items():
        np.testing.assert_array_equal(value, single.to_numpy()[key])


@pytest.mark.parametrize("era", ["keras2", "keras3"])
def test_vocabularies_and_weights_beside_the_configuration(era):
    model = gateprobe.read(DATA / f"{era}_lookups.keras")
    words = np.array([["the", "zzz", "movie"], ["", "qqq", "great"], ["the", "the", "[UNK]"]])
    ours = model.predict({"words": words, "numbers": np.array([[12, 36, 7], [0, -1, 1138], [12, 12, -8]])})
    for one, other in zip(ours.values(), MODELS[f"{era}_lookups"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert opened(model).notes == ()


def test_every_form_of_input_gives_the_same(tmp_path, file):
    model = opened(gateprobe.read(file))
    texts = [text.replace("\n", " ").replace("\r", " ") for text in TEXTS]
    (name,) = (spec.name for spec in model.inputs)
    written = {
        "lines.txt": "\n".join(texts) + "\n",
        "windows.txt": "\ufeff" + "\r\n".join(texts),
        "named.jsonl": "\n".join(json.dumps({"id": n, name: text}) for n, text in enumerate(texts)),
        "plain.jsonl": "\n".join(json.dumps(text) for text in texts),
        "list.json": json.dumps(texts, ensure_ascii=False),
    }
    for key, content in written.items():
        (tmp_path / key).write_text(content, newline="")
    with (tmp_path / "table.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["id", "review"], *enumerate(texts)])
    np.save(tmp_path / "unicode.npy", np.array(texts))
    np.save(tmp_path / "bytes.npy", np.array([[text.encode()] for text in texts]))
    np.savez(tmp_path / "many.npz", texts=np.array(texts), other=np.zeros(3))
    specs = [*written, "table.csv[review]", "unicode.npy", "bytes.npy", "many.npz[texts]"]
    expected = next(iter(gateprobe.read(file).predict(texts).values()))
    for spec in specs:
        samples = load([str(tmp_path / spec)], model.inputs)
        (made,) = (np.concatenate(parts) for parts in zip(*model.iter_predict(samples), strict=True))
        np.testing.assert_array_equal(made, expected, err_msg=spec)
        assert all(len(digest) == 64 for digest in samples.digests.values())
        assert samples.fingerprint(np.arange(2)) == load([str(tmp_path / spec)], model.inputs).fingerprint(np.arange(2))
    typed = load([], model.inputs, texts=texts)
    (made,) = (np.concatenate(parts) for parts in zip(*model.iter_predict(typed), strict=True))
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", b"", "is empty"),
        ("x.txt", b"caf\xe9\n", "is not UTF-8 text: byte 3"),
        ("x.csv", b"a,b\nx,y\n", r"has 2 columns: a, b; choose one: .*x.csv\[a\]"),
        ("x.csv", b"a,input_layer\nx\n", "line 2.*has 1 cells where the header has 2"),
        ("x.csv", b'a\n"x\n', "is not a table"),
        ("x.csv", b"a\n", "is empty"),
        ("x.jsonl", b'"a"\n3\n', "value 1: is int where a text belongs"),
        ("x.jsonl", b'{"a": "x", "b": "y"}', "has 2 columns"),
        ("x.jsonl", b'"a"\n{', "line 2"),
        ("x.dat", b"a\nb\n", "a text a line .txt"),
        ("x.txt", b"a\0b", "is neither an .npy file nor text"),
    ],
)
def test_files_of_texts_that_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    model = opened(gateprobe.read(DATA / "keras3.keras"))
    with pytest.raises(InputError, match=said):
        load([str(tmp_path / name)], model.inputs)


def test_a_column_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("review,b\nx,y\n")
    model = opened(gateprobe.read(DATA / "keras3.keras"))
    with pytest.raises(InputError, match=r"no column 'reveiw'.*review"):
        load([f"{tmp_path / 'x.csv'}[reveiw]"], model.inputs)


def test_numbers_and_texts_are_told_apart(tmp_path):
    reads_text, reads_numbers = gateprobe.read(DATA / "keras3.keras"), gateprobe.read(SAMPLES / "keras2.h5")
    with pytest.raises(InputError, match="holds numbers, but input 'input_layer' takes texts"):
        reads_text.trace(np.zeros((2, 1)))
    with pytest.raises(InputError, match=r"holds texts, but input .* takes numbers"):
        reads_numbers.trace(np.array([["1.5"]]))
    with pytest.raises(InputError, match="no input of the model takes texts"):
        load([], opened(reads_numbers).inputs, texts=["1.5"])
    with pytest.raises(InputError, match="holds object"):
        reads_text.trace(np.array([["a"], [None]], object))


def changed(tmp_path, change):
    """Write ``keras3.keras`` with another vocabulary."""
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(DATA / "keras3.keras") as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, change(data) if info.filename.endswith("vocabulary.txt") else data)
    return path


def test_a_vocabulary_with_line_ends_of_windows(tmp_path):
    model = gateprobe.read(changed(tmp_path, lambda data: data.replace(b"\n", b"\r\n")))
    (ours,) = model.predict(TEXTS).values()
    np.testing.assert_allclose(ours, MODELS["keras3"], rtol=0, atol=1e-7)


def test_a_vocabulary_that_kerases_read_differently_is_told(tmp_path):
    model = gateprobe.read(changed(tmp_path, lambda data: data.replace(b"movie", b"mov\xc2\x85ie")))
    (note,) = opened(model).notes
    assert "13 words; today's Keras" in note
    assert note.endswith("reads 14")
    unchanged = gateprobe.read(DATA / "keras3.keras")
    assert unchanged.predict(["movie"])["score"] != model.predict(["movie"])["score"]


def test_a_vocabulary_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(ReadError, match=r"vocabulary\.txt: is not UTF-8 text"):
        gateprobe.read(changed(tmp_path, lambda data: data + b"\xff"))


def test_a_vocabulary_is_within_the_limit(tmp_path):
    with pytest.raises(UnsafeFile, match=r"vocabulary\.txt"):
        gateprobe.read(changed(tmp_path, lambda data: data + b"\nx" * 100_000), max_bytes=150_000)


def test_a_model_without_its_vocabulary_is_refused(tmp_path):
    path = tmp_path / "bare.keras"
    with zipfile.ZipFile(DATA / "keras3.keras") as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            if not info.filename.startswith("assets/"):
                new.writestr(info.filename, old.read(info))
    with pytest.raises(UnsupportedModel, match="vocabulary is in none of the files"):
        gateprobe.read(path).trace(TEXTS)


def test_tokens_label_the_timesteps(file):
    tracing = opened(gateprobe.read(file)).tracing(["The MOVIE, was", "great"])
    observed = of_run(tracing)
    (part, *_) = next(observed.chunks()).directions
    words = [word for word in observed.labels(part, 0, 0) if word]
    assert part.context["token"][0, 0] == "the"
    assert words == ["the", "movie", "was"]
    assert len(observed.labels(part, 0, 1)) == part.length
    tokens = tracing.context.tokens
    assert tokens.labels(0, np.arange(1), length=part.length + 1) is None


def test_a_model_of_numbers_has_no_tokens():
    assert opened(gateprobe.read(SAMPLES / "keras2.h5")).tracing(np.zeros((1, 6, 2))).context is None


@pytest.mark.oracle
@pytest.mark.parametrize("form", ["made", "given"])
def test_the_real_keras_agrees(in_process, tmp_path, file, form):
    lines = tmp_path / "lines.txt"
    lines.write_text("The movie was GREAT!\nwhat, a boring\tfilm\n\nunknown words\n")
    model = gateprobe.read(file)
    found = verify(model, load([str(lines)], model.inputs) if form == "given" else None)
    assert found
    old = metadata.version("tf_keras") < "2.21" and not file.is_dir() and model.era == "keras2"
    if old:  # it refuses `optional` of an InputLayer, which the tf_keras that wrote the files knows
        assert "deserializing class 'InputLayer'" in found.built_because
    else:
        assert (found.built_because is None) is (not file.is_dir())


@pytest.mark.oracle
def test_layers_give_what_the_installed_keras_gives():
    """The recorded answers are those of the installed Kerases."""
    keras = importlib.import_module("keras")
    for entry in ANSWERS["cases"][::7]:
        if entry["era"] == "keras3":
            layer = getattr(keras.layers, entry["class_name"]).from_config(dict(entry["config"]))
            x = entry["x"] if entry["class_name"] == "HashedCrossing" else [entry["x"]]
            tensors = [importlib.import_module("tensorflow").constant(one) for one in x]
            theirs = np.asarray(layer(tensors if len(tensors) > 1 else tensors[0]))
            ours = answer_of(layer_of(entry["class_name"], entry["config"]), entry["class_name"], entry["x"])
            if theirs.dtype.kind != "O":
                np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def in_copy(tmp_path, extra):
    """Return the names in the copy of ``keras3.keras``, with one more member, that Keras would get."""
    path = tmp_path / "more.keras"
    path.write_bytes((DATA / "keras3.keras").read_bytes())
    with zipfile.ZipFile(path, "a") as members:
        members.writestr(extra, "a\nb")
    (tmp_path / "copy").mkdir()
    with zipfile.ZipFile(clean_copy(str(path), None, tmp_path / "copy", 1 << 20).file) as copied:
        return copied.namelist()


def test_keras_gets_vocabularies_and_no_other_asset(tmp_path):
    names = in_copy(tmp_path, "assets/layers/text_vectorization/code.py")
    assert [name for name in names if name.startswith("assets/")] == [
        "assets/layers/text_vectorization/_lookup_layer/vocabulary.txt",
        "assets/layers/text_vectorization/vocabulary.txt",
    ]


@pytest.mark.parametrize(
    "name", ["assets/../vocabulary.txt", "assets//etc/vocabulary.txt", "assets/a\\b/vocabulary.txt"]
)
def test_a_vocabulary_that_would_leave_its_folder_is_not_given_to_keras(tmp_path, name):
    with pytest.raises(Unfit, match="a vocabulary is at"):
        in_copy(tmp_path, name)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"vocabulary": "/etc/passwd"}, "names a file"),
        ({"standardize": "os.system"}, "not on the list"),
        ({"split": {"class_name": "function", "config": "own"}}, "not on the list"),
    ],
)
def test_keras_gets_no_layer_that_names_a_file_or_code(config, said):
    layer = {"class_name": "TextVectorization", "config": {"vocabulary": ["relu", "a"], "split": "whitespace"}}
    model = {"class_name": "Sequential", "config": {"layers": [layer]}}
    assert list(objections(model)) == []
    layer["config"] |= config
    (found,) = objections(model)
    assert said in found


# tables of SavedModels, as TensorFlow before 2.6 kept them in the checkpoint


def field(number, value):
    data = varint(number << 3 | (2 if isinstance(value, bytes) else 0))
    return data + (varint(len(value)) + value if isinstance(value, bytes) else varint(value))


def varint(value):
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def child(name, number):
    return field(1, field(1, number) + field(2, name.encode()))


def tables(columns, config):
    """Return what is read of a lookup layer whose table is in the checkpoint."""
    saved = [child("_table", 1), b""]
    objects = tuple(parse(one, "test") for one in saved)
    described = {
        0: Described(0, "root", "_tf_keras_layer", {"class_name": "StringLookup", "config": config, "name": "s"})
    }
    made = Tables(parse(b"", "test"), objects, lambda number: columns if number == 1 else None)
    return dict(made.vocabularies(described))


def test_a_table_in_the_checkpoint():
    found = tables(((b"b", b"a", b"c"), (3, 2, 4)), {})
    assert found["s"].words == ("a", "b", "c")
    assert found["s"].first == 2


def test_an_inverted_table():
    assert tables(((3, 2), (b"b", b"a")), {"invert": True})["s"].words == ("a", "b")
    assert tables(((3, 2), (20, 30)), {"invert": True})["s"].words == (30, 20)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (((b"a", b"b"), (2, 4)), "do not follow each other"),
        (((b"a", b"b"), (2, 2)), "do not follow each other"),
        (((b"a",), (2, 3)), "do not go together"),
        (((), ()), "is empty"),
        (((b"\xff",), (1,)), "not UTF-8"),
    ],
)
def test_tables_that_are_refused(columns, said):
    with pytest.raises(ReadError, match=said):
        tables(columns, {})


def test_a_model_is_migrated_with_its_vocabulary(tmp_path):
    new = tmp_path / "new.keras"
    assert cli("migrate", DATA / "keras2.keras", "--write", new).exit_code == 0
    (ours,) = gateprobe.read(new).predict(TEXTS).values()
    np.testing.assert_allclose(ours, MODELS["keras2"], rtol=0, atol=1e-7)


def test_weights_of_tf_idf_cannot_be_migrated(tmp_path):
    result = cli("migrate", DATA / "keras2_lookups.keras", "--write", tmp_path / "new.keras")
    assert result.exit_code == 2
    assert "strings (StringLookup): Keras 3 keeps the weights of tf_idf" in result.stderr
    assert not (tmp_path / "new.keras").exists()


def test_texts_on_the_command_line_are_those_of_a_file(tmp_path):
    lines = tmp_path / "x.txt"
    lines.write_text("The movie was great\nbad\n")
    model = DATA / "keras3.keras"
    typed = cli("dump", model, "--text", "The movie was great", "--text", "bad")
    assert typed.exit_code == 0
    assert typed.stdout == cli("dump", model, lines).stdout
    header, first, *_ = typed.stdout.splitlines()
    assert dict(zip(header.split(","), first.split(","), strict=True))["token"] == "the"
    refused = cli("dump", model, lines, "--text", "x")
    assert refused.exit_code == 2
    assert "is one file too many" in refused.stderr
    assert cli("dump", SAMPLES / "keras2.h5", "--text", "x").exit_code == 2


def cli(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))
