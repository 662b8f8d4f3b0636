"""Texts become the ids that Keras's Tokenizer and pad_sequences make of them, for models that take ids."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights

import gateprobe
from gateprobe.cli import main
from gateprobe.inputs.samples import load
from gateprobe.model import opened
from gateprobe.vocabulary import text_rules

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
KERAS = json.loads((Path(__file__).parent / "data" / "text" / "tokenizer.json").read_text(encoding="utf-8"))
INDEX = {"the": 1, "film": 2, "was": 3, "great": 4, "bad": 5}


def written(folder, value, name="vocab.json"):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(folder / name)


def made(folder, value, texts, length=None, pad=None):
    return text_rules(written(folder, value), pad).ids(np.array(texts, object), length)


@pytest.mark.parametrize("case", KERAS["cases"], ids=lambda case: str(case["tokenizer"]["config"]["num_words"]))
@pytest.mark.parametrize("pad", ["pre", "post", None])
def test_a_tokenizer_gives_the_ids_of_keras(tmp_path, case, pad):
    for length in (None, 3):
        found = made(tmp_path, case["tokenizer"], KERAS["texts"], length, pad)
        assert found.ids.tolist() == case["rows"][f"{pad or 'pre'}-{length}"]


def test_a_word_index_alone_means_a_tokenizer_that_was_told_nothing(tmp_path):
    plain, unknown, *_, characters, _ = KERAS["cases"]
    for case in (plain, unknown, characters):
        found = made(tmp_path, case["word_index"], KERAS["texts"])
        assert found.ids.tolist() == case["rows"]["pre-None"]


def test_the_words_stand_where_their_ids_are(tmp_path):
    texts = ["The film was GREAT!", "bad unseen film"]
    found = made(tmp_path, INDEX, texts, 3)
    assert found.ids.tolist() == [[2, 3, 4], [0, 5, 2]]
    assert found.tokens == (("film", "was", "great"), ("", "bad", "film"))
    assert re.search(
        r"vocab.json: a word index, .* unknown words left out; 1 of 7 words are unknown, such as 'unseen'; of 2 texts, "
        r"1 padded with 0 and 1 cut in front to 3 ids",
        found.said,
    )
    found = made(tmp_path, {**INDEX, "<OOV>": 6}, texts, 3, "post")
    assert found.ids.tolist() == [[1, 2, 3], [5, 6, 2]]
    assert found.tokens[1] == ("bad", "unseen", "film")
    assert "unknown words as <OOV>" in found.said
    assert "1 cut at the end to 3 ids" in found.said


LAYER = {"standardize": "lower_and_strip_punctuation", "split": "whitespace", "vocabulary": ["film", "great"]}


@pytest.mark.parametrize(
    ("value", "texts", "ids"),
    [
        (["", "[UNK]", "film", "great"], ["A GREAT film!", "film"], [[1, 3, 2], [2, 0, 0]]),
        (LAYER, ["A GREAT film!", "film"], [[1, 3, 2], [2, 0, 0]]),
        ({"class_name": "TextVectorization", "config": LAYER}, ["A GREAT-film", "film"], [[1, 1], [2, 0]]),
        ({**LAYER, "split": "character", "vocabulary": ["f", "i"]}, ["Fi x"], [[2, 3, 1, 1]]),
        ({**LAYER, "standardize": None, "ngrams": [1, 2], "vocabulary": ["a b"]}, ["a b"], [[1, 1, 2]]),
        ({"vocabulary": ["Film", "great"], "num_oov_indices": 1}, ["great Film film"], [[2, 1, 0]]),
        ({"vocabulary": ["a"], "num_oov_indices": 1, "mask_token": ""}, ["a  b"], [[2, 1]]),
        ("\n[UNK]\nfilm\ngreat\n", ["Great film"], [[3, 2]]),
        (["<pad>", "<unk>", "Film"], ["a Film, film"], [[1, 2, 1]]),  # a capital letter: texts keep theirs
        (["a", "b", "B", " "], ["aB b"], [[0, 2, 3, 1]]),
        ({"0": "<PAD>", "1": "<OOV>", "2": "film"}, ["the film"], [[1, 2]]),
    ],
)
def test_other_vocabularies_have_rules_of_their_own(tmp_path, value, texts, ids):
    assert made(tmp_path, value, texts).ids.tolist() == ids


@pytest.mark.oracle
def test_a_text_vectorization_gives_the_ids_of_keras(tmp_path):
    import keras

    texts = ["A GREAT film!", "film", "it's -- great\tGREAT"]
    for options in ({}, {"standardize": None, "split": "character"}, {"ngrams": 2}, {"standardize": "lower"}):
        layer = keras.layers.TextVectorization(vocabulary=["film", "great", "g", "great film"], **options)
        found = made(tmp_path, json.dumps({"config": layer.get_config()}, default=str), texts)
        np.testing.assert_array_equal(found.ids, np.array(layer(texts)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["film", "great"], "does not hold 'the', and has no word for unknown ones; add a word"),
        (["<unk>", "[UNK]", "film"], r"several words for unknown ones: \[UNK\], <unk>"),
        ({"other": 1}, "has no word of any text"),
        ({"vocabulary": ["the"], "num_oov_indices": 0}, "'film' is not in the vocabulary"),
        (
            {**LAYER, "standardize": {"class_name": "function", "config": "mine"}},
            "TextVectorization that is not replayed",
        ),
        ({"config": {"word_index": '{"the": 1}', "filters": 3}}, "settings are not understood"),
        ({"config": {"word_index": '{"the": 1}', "oov_token": "<OOV>"}}, "settings are not understood"),
        ({"config": {"word_index": '{"the": 1}', "split": ""}}, "settings are not understood"),
    ],
)
def test_vocabularies_that_do_not_say_enough_are_refused(tmp_path, value, message):
    with pytest.raises(gateprobe.InputError, match=message):
        made(tmp_path, value, ["the film"])


def test_ids_need_no_rules(tmp_path):
    """A vocabulary that only labels timesteps may leave open what becomes of texts."""
    rules = text_rules(written(tmp_path, ["<unk>", "[UNK]", "film"]))
    np.save(tmp_path / "ids.npy", np.array(IDS))
    assert not load([str(tmp_path / "ids.npy")], opened(model()).inputs, converter=rules).words


def model(length=4, dtype="float32"):
    layers = [("Embedding", "embedding", {"input_dim": 7, "output_dim": 3}), ("LSTM", "lstm", {"units": 2})]
    rng = np.random.default_rng(0)
    weights = {"embedding": [rng.normal(size=(7, 3))], "lstm": lstm_weights(rng, 3, 2)}
    return chain(layers, weights, input_shape=(None, length), dtype=dtype)


TEXTS = ["the film was great", "BAD film"]
IDS = [[1, 2, 3, 4], [0, 0, 5, 2]]


@pytest.mark.parametrize(
    ("name", "content", "spec"),
    [
        ("texts.txt", "\n".join(TEXTS) + "\n", "{}"),
        ("texts.csv", f"id,text\n1,{TEXTS[0]}\n2,{TEXTS[1]}\n", "{}[text]"),
        ("texts.tsv", f"input\tid\n{TEXTS[0]}\t1\n{TEXTS[1]}\t2\n", "{}"),
        ("texts.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS), "{}[text]"),
        ("texts.json", json.dumps(TEXTS), "input={}"),
        ("ids.csv", "1,2,3,4\n0,0,5,2\n", "{}"),
        ("ids.txt", "a,b,c,d\n1,2,3,4\n0,0,5,2\n", "{}"),
    ],
)
def test_every_form_of_texts_and_of_ids_is_read(tmp_path, name, content, spec):
    rules = text_rules(written(tmp_path, INDEX))
    samples = load([spec.format(written(tmp_path, content, name))], opened(model()).inputs, converter=rules)
    assert np.asarray(samples.arrays[0]).tolist() == IDS
    assert bool(samples.words) is name.startswith("texts")


def test_arrays_of_texts_are_read(tmp_path):
    rules = text_rules(written(tmp_path, INDEX))
    np.save(tmp_path / "texts.npy", np.array(TEXTS))
    np.savez(tmp_path / "texts.npz", input=np.array(TEXTS)[:, np.newaxis])
    for file in ("texts.npy", "texts.npz"):
        samples = load([str(tmp_path / file)], opened(model()).inputs, converter=rules)
        assert samples.arrays[0].tolist() == IDS
    np.save(tmp_path / "texts.npy", np.array([TEXTS]))
    with pytest.raises(gateprobe.InputError, match="where one text for each sample belongs"):
        load([str(tmp_path / "texts.npy")], opened(model()).inputs, converter=rules)


def test_in_python_the_words_label_the_trace_and_the_rules_stand_in_it(tmp_path):
    vocab = Path(written(tmp_path, INDEX))
    trace = model().trace(TEXTS, vocab=vocab, with_input=True)
    expected = model().trace(np.array(IDS))
    for name in ("forget_gate", "hidden_state"):
        np.testing.assert_array_equal(getattr(trace["lstm"], name), getattr(expected["lstm"], name))
    assert trace["lstm"].context["token"].tolist() == [["the", "film", "was", "great"], ["", "", "bad", "film"]]
    (note,) = trace.metadata["notes"]
    assert note.startswith(f"texts become ids by {vocab}: a word index")
    assert trace.metadata["inputs"]["input"]
    (ours,) = model().predict(TEXTS, vocab=str(vocab), pad="post").values()
    (theirs,) = model().predict(np.array([IDS[0], [5, 2, 0, 0]])).values()
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(gateprobe.InputError, match=r"holds texts, but input 'input' takes numbers; .* vocab=FILE"):
        model().predict(TEXTS)


def test_without_a_length_rows_are_as_long_as_the_longest_text(tmp_path):
    (ours,) = model(None).predict(TEXTS, vocab=written(tmp_path, INDEX)).values()
    (theirs,) = model(None).predict(np.array(IDS)).values()
    np.testing.assert_array_equal(ours, theirs)


def test_numbers_that_are_no_ids_are_not_made_of_texts(tmp_path):
    dense = chain([("Dense", "dense", {"units": 1})], {"dense": [np.ones((4, 1)), np.ones(1)]}, input_shape=(None, 4))
    with pytest.raises(gateprobe.InputError, match="holds texts, but input 'input' takes numbers"):
        dense.predict(TEXTS, vocab=written(tmp_path, INDEX))
    assert not opened(dense).inputs[0].ids
    assert opened(model()).inputs[0].ids


def run(*args, code=0):
    result = CliRunner().invoke(main, list(map(str, args)))
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def vocab(tmp_path):
    """The sample model has ids 0 to 4 at least; any words will do."""
    return written(tmp_path, ["", "[UNK]", "good", "bad"])


TOKENS = SAMPLES / "tokens.keras"
TALK = "texts become ids by"


@pytest.mark.parametrize(
    "command",
    [
        ("dump",),
        ("predict",),
        ("stats",),
        ("explain", "--unit", "0", "--direction", "forward"),
        ("plot",),
        ("track", "--match", "good"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_takes_texts_with_a_vocabulary(vocab, command):
    result = run(command[0], TOKENS, "--text", "a good one", "--text", "bad", "--vocab", vocab, *command[1:])
    assert TALK in result.stderr
    assert result.stdout
    ids = np.array([[1, 2, 1], [3, 0, 0]])
    if command[0] == "predict":
        expected = next(iter(gateprobe.read(TOKENS).predict(ids).values()))
        numbers = [float(line.rsplit(",", 1)[1]) for line in result.stdout.splitlines()[1:]]
        np.testing.assert_allclose(numbers, expected.ravel(), rtol=1e-6)
    if command[0] == "dump":
        assert "token" in result.stdout.splitlines()[0]
        assert ",good," in result.stdout


def test_a_report_and_a_comparison_take_them_too(vocab, tmp_path):
    texts = ("--text", "a good one", "--vocab", vocab)
    run("report", TOKENS, *texts, "-o", tmp_path / "r.html")
    assert "good" in (tmp_path / "r.html").read_text(encoding="utf-8")
    run("dump", TOKENS, *texts, "-o", tmp_path / "t.npz")
    result = run("compare", TOKENS, tmp_path / "t.npz", *texts)
    assert TALK in result.stderr


@pytest.mark.slow
def test_workers_make_the_same_ids(vocab, tmp_path):
    texts = ("--text", "a good one", "--text", "bad", "--vocab", vocab, "--pad", "pre")
    run("dump", TOKENS, *texts, "-o", f"{tmp_path}/parts/", "--workers", "1")
    run("dump", TOKENS, *texts, "-o", tmp_path / "whole.npz")
    parts, whole = (gateprobe.load_trace(tmp_path / name) for name in ("parts", "whole.npz"))
    np.testing.assert_array_equal(
        parts["bidirectional"].forward.forget_gate, whole["bidirectional"].forward.forget_gate
    )


def test_python_takes_them_wherever_inputs_are_given(vocab, tmp_path):
    texts, ids = ["a good one", "bad"], np.array([[1, 2, 1], [3, 0, 0]])
    gateprobe.read(TOKENS).trace(ids).save(tmp_path / "theirs.npz")
    found = gateprobe.compare_port(TOKENS, texts, tmp_path / "theirs.npz", vocab=vocab)
    assert found
    assert any(note.startswith(TALK) for note in found.notes)
    assert not gateprobe.compare_port(TOKENS, texts, tmp_path / "theirs.npz", vocab=vocab, pad="pre")
    moved = gateprobe.migrate(TOKENS, texts, vocab=vocab)
    assert moved
    assert moved.notes[0].startswith(TALK)
    for call in (
        lambda **options: gateprobe.compare_port(TOKENS, ids, tmp_path / "theirs.npz", **options),
        lambda **options: gateprobe.migrate(TOKENS, ids, **options),
        lambda **options: gateprobe.verify(TOKENS, ids, **options),
    ):
        with pytest.raises(gateprobe.InputError, match="no texts are made into ids here"):
            call(vocab=vocab)
    for call in (gateprobe.migrate, gateprobe.verify):
        with pytest.raises(gateprobe.InputError, match="an input is missing"):
            call(TOKENS, vocab=vocab)


def test_commands_that_compare_say_what_became_of_texts(vocab, tmp_path):
    texts = ("--text", "a good one", "--vocab", vocab)
    result = run("migrate", TOKENS, *texts, "--json")
    assert TALK in result.stderr
    assert json.loads(result.stdout)["notes"][0].startswith(TALK)
    assert TALK in run("golden", TOKENS, *texts, "-o", tmp_path / "golden").stderr
    made = json.loads((tmp_path / "golden" / "golden.json").read_text(encoding="utf-8"))
    ids = np.array([[1, 2, 1]])
    expected = gateprobe.read(TOKENS).trace(ids)["bidirectional"].forward.hidden_state
    np.testing.assert_allclose(made["layers"][0]["hidden_state"], expected, rtol=1e-6)


def test_a_pattern_is_searched_in_the_tokens_that_a_model_or_a_trace_knows(tmp_path):
    texts = written(tmp_path, "the film is lovely\na film that is not lovely\n", "films.txt")
    asked = ("--match", "^not$", "--signal", "f", "--json")
    listed = run("track", SAMPLES / "opinions.keras", texts, "--tokens", texts, *asked)
    assert json.loads(listed.stdout)["units"]
    assert run("track", SAMPLES / "opinions.keras", texts, *asked).stdout == listed.stdout
    run("dump", SAMPLES / "opinions.keras", texts, "-o", tmp_path / "trace.csv")
    assert run("track", tmp_path / "trace.csv", *asked).stdout == listed.stdout
    run("dump", TOKENS, SAMPLES / "tokens.npy", "-o", tmp_path / "ids.npz")
    assert "--match needs tokens" in run("track", tmp_path / "ids.npz", *asked, code=2).stderr


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_verify_takes_them(vocab, in_process):
    assert TALK in run("verify", TOKENS, "--text", "a good one", "--vocab", vocab).stderr
    result = gateprobe.verify(TOKENS, ["a good one", "bad"], vocab=vocab)
    assert result
    assert any(note.startswith(TALK) for note in result.notes)
    np.testing.assert_array_equal(next(iter(result.inputs[0].arrays.values())), [[1, 2, 1], [3, 0, 0]])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--text", "a"), "no input of the model takes texts; give the model's vocabulary with --vocab FILE"),
        (("{ids}", "--pad", "pre"), "--pad says where ids made of texts are padded; give --vocab FILE"),
        (("{ids}", "--vocab", "{vocab}", "--pad", "pre"), "no texts are made into ids here"),
        (("{texts}",), "holds text where numbers are wanted; .*--vocab FILE"),
        (("--text", "a", "--vocab", "nowhere.json"), "nowhere.json: there is no such file"),
    ],
)
def test_what_is_missing_is_said(vocab, tmp_path, args, message):
    np.save(tmp_path / "ids.npy", np.array([[1, 2]]))
    texts = written(tmp_path, "some words\nand more\n", "texts.txt")
    filled = [arg.format(vocab=vocab, ids=tmp_path / "ids.npy", texts=texts) for arg in args]
    result = run("dump", TOKENS, *filled, code=2)
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_vocabulary_that_changes_nothing_is_refused(vocab):
    """Beside ids it only labels timesteps."""
    ids = SAMPLES / "tokens.npy"
    message = "no texts are made into ids here; leave it out"
    for command in ("predict", "stats"):
        assert message in run(command, TOKENS, ids, "--vocab", vocab, code=2).stderr
    for options in ({"vocab": vocab}, {"pad": "pre"}):
        with pytest.raises(gateprobe.InputError, match=message):
            gateprobe.read(TOKENS).predict(np.load(ids), **options)
