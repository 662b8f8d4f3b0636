"""Tokens and vocabularies: every form that users have, and a refusal where a label might stand at a wrong timestep."""

import json

import numpy as np
import pytest
from graphs import chain, lstm_weights

import gateprobe
from gateprobe.inputs.tokens import read_tokens, read_vocabulary
from gateprobe.labels import listed_tokens, looked_up_tokens
from gateprobe.model import opened
from gateprobe.readers import safe_json


def written(tmp_path, text, name="tokens"):
    data = text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode()
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


def listed(tmp_path, text, samples=1, total=None):
    found = read_tokens(written(tmp_path, text), np.arange(samples), samples if total is None else total)
    return [found.labels(number, np.arange(len(found.lists[number]))) for number in found.lists]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the\ncat\nsat\n", [("the", "cat", "sat")]),
        ("the\r\ncat\r\nsat", [("the", "cat", "sat")]),
        ("\ufeffthe\ncat", [("the", "cat")]),
        ("a\n \nb\n", [("a", " ", "b")]),  # characters
        ("[\n(\n)\n]\n", [("[", "(", ")", "]")]),
        ("[\n[\n]\n]\n", [("[", "[", "]", "]")]),  # which would be JSON, too
        ("the\ncat\n\nsat\n\n", [("the", "cat"), ("sat",)]),
        ("the cat\na dog sat\nno\n", [("the", "cat"), ("a", "dog", "sat"), ("no",)]),
        (["the", "cat", 3], [("the", "cat", "3")]),
        ([["the", " "], ["[", "", "\n"]], [("the", " "), ("[", "", "\n")]),
        ('["the", "cat"]\n["sat"]\n', [("the", "cat"), ("sat",)]),
        ('\n["the", "cat"]\n\n["sat"]', [("the", "cat"), ("sat",)]),
        ('[["a"],\n ["b"]]', [("a",), ("b",)]),
        ("é\n\u2028\nüü\n", [("é", "\u2028", "üü")]),
    ],
)
def test_every_form_is_read(tmp_path, text, tokens):
    assert listed(tmp_path, text, len(tokens)) == tokens


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no tokens"),
        ("[[]]x", "2 samples are looked at"),
        ([["a"], []], "holds no tokens for sample 1"),
        ([["a"], {"b": 1}], "holds .* where a token belongs"),
        ([["a"], [True]], "holds true where a token belongs"),
        ([["a"], [["b"]]], r'holds \["b"\] where a token belongs'),
        ('["a", "b"\n,]', "is not JSON"),
        (b"\xff\xfe", "is not UTF-8 text: byte 0"),
        ("a\nb\n", "holds the tokens of 1 sample, and 2 samples are looked"),
        ("a b\nc\nd\n", "holds the tokens of 3 samples, and 2 samples are looked at"),
        ("[" * 300 + "]" * 299 + '"]', "nested more than 200 deep"),
    ],
)
def test_other_texts_are_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(gateprobe.GateprobeError, match=message) as caught:
        listed(tmp_path, text, 2)
    assert caught.value.file.endswith("tokens")
    assert "\n" not in str(caught.value)


def test_files_are_limited_and_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_json, "MAX_BYTES", 10)
    with pytest.raises(gateprobe.InputError, match="has more than 10 bytes"):
        read_tokens(written(tmp_path, "a\n" * 6), [0], 1)
    with pytest.raises(gateprobe.InputError, match="has more than 10 bytes"):
        read_vocabulary(written(tmp_path, "a\n" * 6))
    for name, message in (
        ("none", "there is no such file"),
        ("a\0b", "not a possible file name"),
        ("", "cannot be read: Is a directory"),
    ):
        with pytest.raises(gateprobe.InputError, match=message):
            read_tokens(str(tmp_path / name) if name != "a\0b" else name, [0], 1)


def test_lists_belong_to_all_samples_or_to_the_chosen_ones(tmp_path):
    three = written(tmp_path, [["a"], ["b"], ["c"]])
    at = np.arange(1)
    every = read_tokens(three, [1, 2], 3)
    assert [every.labels(number, at) for number in (1, 2)] == [("b",), ("c",)]
    chosen = read_tokens(three, [4, 6, 9], 10)
    assert [chosen.labels(number, at) for number in (4, 6, 9)] == [("a",), ("b",), ("c",)]
    assert chosen.labels(5, at) is None
    stored = read_tokens(three, [1, 2], None)  # a trace, which does not say of how many samples it has some
    assert stored.labels(2, at) == ("c",)
    with pytest.raises(gateprobe.InputError, match="tokens of 3 samples, and 2 samples are looked at, of 5"):
        read_tokens(three, [1, 2], 5)


def test_more_or_fewer_tokens_than_timesteps_are_refused(tmp_path):
    found = read_tokens(written(tmp_path, "a\nb\nc\n"), [0], 1)
    assert found.labels(0, np.array([0, 2]), length=3) == ("a", "c")
    for length, mask in ((4, None), (2, None), (5, np.ones(5, bool)), (5, np.array([0, 0, 1, 1, 0], bool))):
        with pytest.raises(gateprobe.InputError, match=f"sample 0 has 3 tokens and {length} timesteps; give a token"):
            found.labels(0, np.arange(2), length=length, mask=mask)


def test_tokens_belong_to_the_timesteps_that_are_not_masked(tmp_path):
    """As a sentence does to its padded ids, wherever the padding is."""
    found = read_tokens(written(tmp_path, "a\nb\nc\n"), [0], 1)
    for mask, labels in (([0, 0, 1, 1, 1], ("", "", "a", "b", "c")), ([1, 1, 0, 1, 0], ("a", "b", "", "c", ""))):
        assert found.labels(0, np.arange(5), length=5, mask=np.array(mask, bool)) == labels


TOKENIZER = {
    "class_name": "Tokenizer",
    "config": {
        "num_words": None,
        "oov_token": "<OOV>",
        "word_index": json.dumps({"<OOV>": 1, "the": 2, "café": 3}),
        "index_word": json.dumps({"1": "<OOV>", "2": "the", "3": "café"}),
    },
}
VECTORIZER = {"standardize": "lower_and_strip_punctuation", "split": "whitespace", "output_mode": "int"}


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        (TOKENIZER, {0: "", 1: "<OOV>", 2: "the", 3: "café"}),
        ({"class_name": "TextVectorization", "config": {**VECTORIZER, "vocabulary": ["the", "cat"]}},
         {0: "", 1: "[UNK]", 2: "the", 3: "cat"}),
        ({**VECTORIZER, "vocabulary": ["", "[UNK]", "the", "cat"]}, {0: "", 1: "[UNK]", 2: "the", 3: "cat"}),
        ({"class_name": "StringLookup", "config": {"vocabulary": ["the"], "mask_token": None, "num_oov_indices": 2,
                                                   "oov_token": "?"}}, {0: "?", 1: "?", 2: "the"}),
        (["", "[UNK]", "the"], {0: "", 1: "[UNK]", 2: "the"}),
        ({"the": 1, "cat": 2}, {0: "", 1: "the", 2: "cat"}),
        ({"<pad>": 0, "config": 1}, {0: "<pad>", 1: "config"}),
        ({"1": 7}, {0: "", 7: "1"}),
        ({"0": "<pad>", "7": "the"}, {0: "<pad>", 7: "the"}),
        ("\n[UNK]\nthe\ncat\n", {0: "", 1: "[UNK]", 2: "the", 3: "cat"}),
        ("[PAD]\n[CLS]\nthe", {0: "[PAD]", 1: "[CLS]", 2: "the"}),
        ("{\n}\n", {0: "{", 1: "}"}),
        ("a b\r\nc\r\n", {0: "a b", 1: "c"}),
    ],
)  # fmt: skip
def test_every_vocabulary_is_read(tmp_path, vocabulary, words):
    assert dict(read_vocabulary(written(tmp_path, vocabulary)).words) == words


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ("", "is no vocabulary; give the JSON of a Tokenizer"),
        ({}, "is no vocabulary"),
        ([], "is no vocabulary"),
        ([1, 2], "is no vocabulary"),
        ({"a": 1, "b": "c"}, "is no vocabulary"),
        ({"a": 1, "b": True}, "is no vocabulary"),
        ({"a": 1.5}, "is no vocabulary"),
        ({"a": "b"}, "is no vocabulary"),
        ({"a": 1, "b": 1}, "gives the number 1 to 'a' and to 'b'"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ({"class_name": "TextVectorization", "config": {**VECTORIZER, "vocabulary": None}}, "layer without its vocab"),
        ({"class_name": "TextVectorization", "config": {**VECTORIZER, "output_mode": "tf_idf", "vocabulary": ["a"]}},
         "does not turn words into ids"),
        ({"config": {**VECTORIZER, "vocabulary": ["a"], "num_oov_indices": "x"}}, "is no vocabulary"),
        ({"config": {"word_index": "[1]"}}, "is no vocabulary"),
    ],
)  # fmt: skip
def test_what_is_no_vocabulary_is_refused(tmp_path, vocabulary, message):
    with pytest.raises(gateprobe.GateprobeError, match=message) as caught:
        read_vocabulary(written(tmp_path, vocabulary))
    assert caught.value.file.endswith("tokens")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_words_have_the_numbers_that_keras_gives_them(kerases, tmp_path):
    text = ["the cat sat on the mat", "a dog"]
    tokenizer = kerases["tf_keras"].preprocessing.text.Tokenizer(oov_token="<OOV>")
    tokenizer.fit_on_texts(text)
    found = read_vocabulary(written(tmp_path, tokenizer.to_json()))
    (ids,) = tokenizer.texts_to_sequences(["the mat zebra"])
    assert [found.word(number) for number in ids] == ["the", "mat", "<OOV>"]
    for keras in kerases.values():
        for vocabulary in (["the", "cat"], ["", "[UNK]", "the", "cat"]):
            layer = keras.layers.TextVectorization(vocabulary=vocabulary)
            ids = np.array(layer([["the cat zebra"]]))[0]
            for form in (layer.get_config(), {"config": layer.get_config()}, layer.get_vocabulary()):
                found = read_vocabulary(written(tmp_path, json.dumps(form, default=str)))
                assert [found.word(int(number)) for number in ids] == ["the", "cat", "[UNK]"]
        layer = keras.layers.StringLookup(vocabulary=["the", "cat"], num_oov_indices=1)
        ids = np.array(layer(["the", "cat", "zebra"]))
        found = read_vocabulary(written(tmp_path, json.dumps({"config": layer.get_config()}, default=str)))
        assert [found.word(int(number)) for number in ids] == ["the", "cat", "[UNK]"]


RNG = np.random.default_rng(0)


def embedding_model(*before, length=5):
    embedding = ("Embedding", "embedding", {"input_dim": 9, "output_dim": 3, "mask_zero": False})
    lstm = ("LSTM", "lstm", {"units": 2})
    weights = {"embedding": [RNG.normal(size=(9, 3))], "lstm": lstm_weights(RNG, 3, 2)}
    return opened(chain([embedding, *before, lstm], weights, input_shape=(None, length), dtype="float32"))


EVERYTHING = gateprobe.Selection()


def test_ids_are_looked_up_in_the_input_that_the_layer_reads(tmp_path):
    model = embedding_model()
    samples = model.samples(np.array([[1.0, 2, 3, 8, 0]]))  # as a table gives them
    found = looked_up_tokens(written(tmp_path, {"a": 1, "b": 2, "c": 3}), model, samples, EVERYTHING)
    with pytest.warns(gateprobe.GateprobeWarning, match="has no words for some ids of the input"):
        assert found.labels(0, np.arange(5), layer="lstm", length=5) == ("a", "b", "c", "8", "")
    assert found.labels(0, np.array([2]), layer="lstm", length=5) == ("c",)
    assert found.labels(0, np.arange(4), layer="lstm", length=4) is None
    halves = model.samples(np.array([[1.5, 2, 3, 8, 0]]))
    found = looked_up_tokens(written(tmp_path, ["a"]), model, halves, EVERYTHING)
    with pytest.raises(gateprobe.InputError, match="the input input holds no ids but fractions"):
        found.labels(0, np.arange(5), layer="lstm", length=5)


def test_a_layer_with_other_timesteps_gets_no_words(tmp_path):
    pool = ("MaxPooling1D", "pool", {"pool_size": 1, "strides": 1, "padding": "valid", "data_format": "channels_last"})
    model = embedding_model(pool)
    samples = model.samples(np.ones((1, 5), np.int32))
    with pytest.raises(gateprobe.InputError, match="no timesteps of lstm are those of an input with ids of words"):
        looked_up_tokens(written(tmp_path, ["a"]), model, samples, EVERYTHING)


def test_a_model_without_ids_is_told(tmp_path):
    model = opened(chain([("LSTM", "lstm", {"units": 2})], {"lstm": lstm_weights(RNG, 3, 2)}))
    samples = model.samples(np.ones((1, 5, 3), "f4"))
    with pytest.raises(gateprobe.InputError, match="no input holds ids of words"):
        looked_up_tokens(written(tmp_path, ["a"]), model, samples, EVERYTHING)


def test_tokens_of_one_input_label_its_layers_alone(tmp_path):
    from pathlib import Path

    folder = Path(__file__).parents[1] / "sample_models"
    model = opened(gateprobe.read(folder / "translate.keras"))
    samples = model.samples([np.load(folder / f"translate_{name}.npy") for name in ("source", "target")])
    lengths = dict(zip(samples.names, (array.shape[1] for array in samples.arrays), strict=True))
    tokens = [["a"] * lengths["encoder_input"]] * samples.count
    file = written(tmp_path, tokens)
    with pytest.raises(gateprobe.InputError, match=r"timesteps of decoder_input and encoder_input; say whose"):
        listed_tokens(file, model, samples, EVERYTHING)
    with pytest.raises(gateprobe.InputError, match=r"no timesteps are those of 'encoder_inputs'; did you mean"):
        listed_tokens(f"encoder_inputs={file}", model, samples, EVERYTHING)
    for spec, selection in ((f"encoder_input={file}", EVERYTHING), (file, gateprobe.Selection(layers="encoder"))):
        found = listed_tokens(spec, model, samples, selection)
        at, length = np.arange(1), lengths["encoder_input"]
        assert found.labels(0, at, layer="encoder", length=length) == ("a",)
        assert found.labels(0, at, layer="decoder", length=lengths["decoder_input"]) is None
