"""Write ``tests/data/text/tokenizer.json``: what Keras's Tokenizer and pad_sequences make of texts.

Run with tf_keras 2.21, whose Tokenizer is that of every Keras 2: ``python tests/data/generate/word_ids.py``.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tf_keras.preprocessing.sequence import pad_sequences
from tf_keras.preprocessing.text import Tokenizer

FILE = Path(__file__).parents[1] / "text" / "tokenizer.json"
SEEN = ["The MOVIE was great!", "the film, the movie: it's well-made", "Straße ÀÉ İ nbsp\u00a0em\ttab the the"]
TEXTS = [
    "The movie was awful, awful!",
    "it's  WELL-made\n\ttab; great",
    "STRASSE straße àé i̇ nbsp\u00a0em",
    "unseen",
    "",
]
SETTINGS = [
    {},
    {"oov_token": "<OOV>"},
    {"num_words": 4},
    {"num_words": 4, "oov_token": "<OOV>"},
    {"filters": ",;", "lower": False},
    {"split": "-", "filters": "!: "},
    {"char_level": True},
    {"char_level": True, "lower": False, "oov_token": "?"},
]


def answer(settings):
    tokenizer = Tokenizer(**settings)
    tokenizer.fit_on_texts(SEEN)
    ids = tokenizer.texts_to_sequences(TEXTS)
    rows = {
        f"{side}-{length}": pad_sequences(ids, maxlen=length, padding=side, truncating=side).tolist()
        for side in ("pre", "post")
        for length in (None, 3)
    }
    return {"tokenizer": json.loads(tokenizer.to_json()), "word_index": tokenizer.word_index, "rows": rows}


FILE.write_text(json.dumps({"texts": TEXTS, "cases": [answer(one) for one in SETTINGS]}, ensure_ascii=False) + "\n")
