"""Write ``tests/data/text``: what TensorFlow and both Kerases make of texts, and the text classifier in each container.

Run with keras 3.15, tf_keras 2.21 and TensorFlow 2.21 installed: ``python tests/data/generate/text.py``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf_keras

FOLDER = Path(__file__).parents[1] / "text"

TEXTS = [
    "The MOVIE was great!",
    "",
    "   ",
    "it's well-made, isn't it?  (yes_no) [a\\b] {c|d} ~e` @f #g $h %i ^j &k *l +m =n <o> \"p\" :q ;r /s",
    "ÀÉ Straße İstanbul ΣΊΣΥΦΟΣ DŽ",
    "tab\tnew\nline\x0bvt\x0cff\rcr",
    "nbsp\u00a0em\u2003nel\x85fs\x1cls\u2028end",
    "日本語 テスト。「引用」",
    "e\u0301 👩‍👩‍👧 ﬁ",
    "\ufeffbom the",
    "the the movie movie the film",
    "great",
]
WORDS = ["the", "movie", "was", "great", "film", "é", "日本語", "its", "it's", "nbsp\u00a0em"]
LONG = ["x" * n for n in range(70)] + ["ab\u00e9" * n for n in (5, 8, 11, 16, 17, 20, 21, 32, 33, 64, 100)]

K2, K3 = ["keras2"], ["keras3"]
BOTH = K2 + K3
ROWS = [[text] for text in TEXTS]
WORDS_ROWS = [["the", "zzz", "movie"], ["", "qqq", "great"], ["the", "the", "[UNK]"]]
NUMBERS = [[12, 36, 7], [0, -1, 1138], [12, 12, -8]]


def vectorization(**config: Any) -> dict[str, Any]:
    return {"class_name": "TextVectorization", "config": {"vocabulary": WORDS, **config}, "x": ROWS, "eras": BOTH}


def lookup(name: str, x: Any, eras: list[str] = BOTH, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "config": config, "x": x, "eras": eras}


IDF = [0.25, 0.5, 1.5, 2.0, 0.125, 3.0, 1.0, 0.75, 0.375, 2.5]
CHARS = ["t", "h", "e", " ", "é", "語", "\ufeff", "👩", "\u200d"]
ABC = ["the", "movie", "great"]
CASES = [
    vectorization(),
    vectorization(output_sequence_length=4),
    vectorization(output_sequence_length=30),
    vectorization(standardize="lower"),
    vectorization(standardize="strip_punctuation"),
    vectorization(standardize=None),
    vectorization(vocabulary=CHARS, split="character"),
    vectorization(vocabulary=CHARS, split="character", standardize=None, output_mode="count"),
    vectorization(vocabulary=["the movie was great", "great"], split=None),
    vectorization(vocabulary=["the movie was great", "great"], split=None, output_sequence_length=3),
    vectorization(vocabulary=["the movie was great", "great"], split=None, output_mode="multi_hot"),
    vectorization(vocabulary=["the", "the movie", "movie was great"], ngrams=3),
    vectorization(vocabulary=["the", "the movie", "movie was great"], ngrams=[2]),
    vectorization(vocabulary=["the", "the movie", "movie was great"], ngrams=[3, 1], output_sequence_length=5),
    vectorization(output_mode="multi_hot"),
    vectorization(output_mode="count"),
    vectorization(output_mode="count", max_tokens=20, pad_to_max_tokens=True),
    vectorization(output_mode="tf_idf", idf_weights=IDF),
    vectorization(output_mode="tf_idf", idf_weights=IDF, max_tokens=20, pad_to_max_tokens=True),
    vectorization(output_mode="tf_idf", vocabulary=["[UNK]", *ABC], idf_weights=[0.3, 0.5, 0.7, 0.9]),
    vectorization(vocabulary=["", "[UNK]", *ABC], max_tokens=9, pad_to_max_tokens=True),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, mask_token=""),
    lookup("StringLookup", WORDS_ROWS, vocabulary=["[MASK]", "[UNK]", *ABC], mask_token="[MASK]"),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, num_oov_indices=5),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, num_oov_indices=5, mask_token=""),
    lookup("StringLookup", WORDS_ROWS, K3, vocabulary=ABC, num_oov_indices=5, salt=[133, 137]),
    lookup("StringLookup", [["the"], ["great"]], vocabulary=ABC, num_oov_indices=0),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, output_mode="multi_hot"),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, output_mode="multi_hot", mask_token=""),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, output_mode="count", num_oov_indices=3),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, output_mode="tf_idf", idf_weights=[0.5, 0.25, 2.0]),
    lookup("StringLookup", [["the"], ["q"], ["great"]], vocabulary=ABC, output_mode="one_hot"),
    lookup("StringLookup", [["the"], ["q"], [""]], vocabulary=ABC, output_mode="one_hot", mask_token=""),
    lookup("StringLookup", WORDS_ROWS, K3, vocabulary=ABC, output_mode="one_hot"),
    lookup("StringLookup", WORDS_ROWS, vocabulary=ABC, output_mode="count", max_tokens=8, pad_to_max_tokens=True),
    lookup("StringLookup", [[0, 1, 2], [3, 4, 9]], vocabulary=ABC, invert=True),
    lookup("StringLookup", [[0, 1, 2], [3, 4, -9]], vocabulary=ABC, invert=True, mask_token=""),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36, 1138]),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36, 1138], mask_token=0),
    lookup("IntegerLookup", NUMBERS, vocabulary=[0, -1, 12, 36, 1138], mask_token=0),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36, 1138], num_oov_indices=3),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36, 1138], num_oov_indices=3, mask_token=7),
    lookup("IntegerLookup", NUMBERS, K3, vocabulary=[12, 36], num_oov_indices=3, oov_method="farmhash"),
    lookup("IntegerLookup", NUMBERS, K3, vocabulary=[12, 36], num_oov_indices=3, oov_method="farmhash", salt=9),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36, 1138], output_mode="count"),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36, 1138], output_mode="multi_hot", mask_token=7),
    lookup("IntegerLookup", NUMBERS, vocabulary=[12, 36], output_mode="tf_idf", idf_weights=[0.5, 0.25]),
    lookup("IntegerLookup", [[12], [5]], vocabulary=[12, 36, 1138], output_mode="one_hot"),
    lookup("IntegerLookup", [[0, 1, 2], [3, 4, -9]], vocabulary=[12, 36, 1138], invert=True),
    lookup("IntegerLookup", [[0, 1, 2], [3, 4, -9]], vocabulary=[12, 36, 1138], invert=True, mask_token=0),
    lookup("Hashing", WORDS_ROWS, num_bins=7),
    lookup("Hashing", WORDS_ROWS, num_bins=1),
    lookup("Hashing", WORDS_ROWS, num_bins=7, mask_value=""),
    lookup("Hashing", WORDS_ROWS, num_bins=1, mask_value=""),
    lookup("Hashing", WORDS_ROWS, num_bins=7, salt=[133, 137]),
    lookup("Hashing", WORDS_ROWS, num_bins=7, salt=133, mask_value="the"),
    lookup("Hashing", NUMBERS, num_bins=7),
    lookup("Hashing", NUMBERS, num_bins=7, mask_value=12),
    lookup("Hashing", [[1.9, -2.9, 12.0]], K3, num_bins=7),
    lookup("Hashing", WORDS_ROWS, num_bins=7, output_mode="multi_hot"),
    lookup("Hashing", WORDS_ROWS, num_bins=7, output_mode="count"),
    lookup("Hashing", [["the"], ["q"]], num_bins=7, output_mode="one_hot"),
    lookup("Hashing", WORDS_ROWS, K3, num_bins=7, output_mode="one_hot"),
    lookup("HashedCrossing", [[["A"], ["B"], [""]], [[101], [-102], [0]]], num_bins=11),
    lookup("HashedCrossing", [["A", "B"], ["x", "é"]], num_bins=1000003),
    lookup("HashedCrossing", [[["A"], ["B"]], [[101], [102]]], num_bins=5, output_mode="one_hot"),
    lookup("HashedCrossing", [["A", "B"], ["x", "é"]], num_bins=5, output_mode="one_hot"),
]


def tensors(class_name: str, x: Any) -> Any:
    return tuple(tf.constant(one) for one in x) if class_name == "HashedCrossing" else tf.constant(x)


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def plain(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        return {"dtype": "string", "value": [[item.decode() for item in row] for row in array]}
    return {"dtype": str(array.dtype), "value": array.tolist()}


def answers() -> list[dict[str, Any]]:
    found = []
    for case in CASES:
        for era in case["eras"]:
            layers = (keras if era == "keras3" else tf_keras).layers
            config = dict(case["config"])
            if isinstance(config.get("ngrams"), list):
                config["ngrams"] = tuple(config["ngrams"])
            entry = {"class_name": case["class_name"], "era": era, "given": case["config"], "x": case["x"]}
            layer = getattr(layers, case["class_name"])(**config)
            entry["y"] = plain(layer(tensors(case["class_name"], case["x"])))
            saved = json.loads(json.dumps(layer.get_config(), default=_item))
            entry["config"] = {key: value for key, value in saved.items() if key != "dtype"}
            found.append(entry)
    return found


def strings() -> dict[str, Any]:
    given = tf.constant(TEXTS)
    punctuation = r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']'
    return {
        "texts": TEXTS,
        "lower": [one.decode() for one in tf.strings.lower(given).numpy()],
        "stripped": [one.decode() for one in tf.strings.regex_replace(given, punctuation, "").numpy()],
        "split": [[one.decode() for one in row.numpy()] for row in tf.strings.split(given)],
        "characters": [[one.decode() for one in row.numpy()] for row in tf.strings.unicode_split(given, "UTF-8")],
        "hashed": LONG,
        "farm": [int(one) for one in tf.strings.to_hash_bucket_fast(LONG, 2**63 - 1).numpy()],
        "sip": [int(one) for one in tf.strings.to_hash_bucket_strong(LONG, 2**63 - 1, [2**40 + 7, 3]).numpy()],
    }


TRAINING = [
    "The movie was great, really great!",
    "What a terrible film: boring...",
    "great film \u201cmoving\u201d movie",
]


def classifier(library: Any, functional: bool = False) -> Any:
    """The model of the tutorial "Text classification with an RNN", smaller."""
    library.utils.set_random_seed(7)
    layers = library.layers
    encoder = layers.TextVectorization(max_tokens=20, name="encoder")
    encoder.adapt(tf.constant(TRAINING))
    return library.Sequential(
        [
            *([library.Input((1,), dtype="string")] if functional else []),
            encoder,
            layers.Embedding(len(encoder.get_vocabulary()), 4, mask_zero=True, name="embedding"),
            layers.Bidirectional(layers.LSTM(3, name="lstm"), name="bidirectional"),
            layers.Dense(4, activation="relu", name="dense"),
            layers.Dense(1, name="score"),
        ]
    )


def lookups(library: Any) -> Any:
    """Layers whose vocabulary and weights stand beside the configuration."""
    layers = library.layers
    words, numbers = (
        library.Input((3,), dtype="string", name="words"),
        library.Input((3,), dtype="int64", name="numbers"),
    )
    strings = layers.StringLookup(output_mode="tf_idf", num_oov_indices=2, name="strings")
    strings.adapt(tf.constant([["the", "movie", "was"], ["great", "the", "film"]]))
    integers = layers.IntegerLookup(mask_token=0, name="integers")
    integers.adapt(tf.constant([[12, 36, 36], [12, 12, 7]], tf.int64))
    return library.Model([words, numbers], [strings(words), integers(numbers)])


def given(library: Any) -> Any:
    """A vocabulary that stands in the configuration."""
    layers = library.layers
    x = library.Input((1,), dtype="string", name="text")
    ids = layers.TextVectorization(vocabulary=["the", "movie", "great"], output_sequence_length=5, name="encoder")(x)
    return library.Model(x, layers.LSTM(2, name="lstm")(layers.Embedding(5, 3, name="embedding")(ids)))


def models() -> dict[str, Any]:
    found: dict[str, Any] = {"texts": TEXTS}
    x = tf.constant(TEXTS)
    for name, library in (("keras3", keras), ("keras2", tf_keras)):
        entry = library is keras
        model = classifier(library, entry)
        found[name] = np.asarray(model(x[:, tf.newaxis] if entry else x)).tolist()
        found[f"{name}_ids"] = np.asarray(model.layers[0](x[:, tf.newaxis])).tolist()
        model.save(FOLDER / f"{name}.keras")
        if library is tf_keras:
            _pack_savedmodel(model, f"{name}_savedmodel")
        both = lookups(library)
        both.save(FOLDER / f"{name}_lookups.keras")
        found[f"{name}_lookups"] = [
            np.asarray(y).tolist() for y in both([tf.constant(WORDS_ROWS), tf.constant(NUMBERS, tf.int64)])
        ]
        whole = given(library)
        whole.save(str(FOLDER / f"{name}_given.h5"))
        found[f"{name}_given"] = np.asarray(whole(x[:, tf.newaxis])).tolist()
    return found


def _pack_savedmodel(model: Any, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / name, save_format="tf")
        with tarfile.open(FOLDER / f"{name}.tar.xz", "w:xz", preset=9) as archive:
            archive.add(Path(folder) / name, name)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tf_keras", "tensorflow")}
    found = {"versions": versions, "strings": strings(), "cases": answers()}
    (FOLDER / "answers.json").write_text(json.dumps(found, ensure_ascii=True))
    (FOLDER / "models.json").write_text(json.dumps(models()))


if __name__ == "__main__":
    main()
