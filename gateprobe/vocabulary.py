"""Texts as the ids that a model reads, by the rules of a vocabulary.

Rules: ``texts_to_sequences`` and ``text_to_word_sequence`` of ``keras_preprocessing/text.py`` 1.1.2, which Keras 2 and
tf.keras share, ``pad_sequences`` in ``keras/src/utils/sequence_utils.py`` 3.15.1, and for the vocabulary of a
TextVectorization or StringLookup what these layers do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, Era, LayerRecord, Origin
from gateprobe.inputs.tokens import VocabularyFile, read_vocabulary
from gateprobe.inputs.word_ids import WordIds
from gateprobe.layers.base import FLOAT32
from gateprobe.layers.binding.registry import Binding, kind_of
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.lookup import Lookup, Table, TextVectorization
from gateprobe.layers.text_rules import STANDARDIZE, parted, standardized, texts_of
from gateprobe.limits import room
from gateprobe.semantics import semantics_of

Side: TypeAlias = Literal["pre", "post"]
"""Where rows of ids are padded, and cut."""

_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""What a Tokenizer takes for white space unless told otherwise."""
_UNKNOWN = ("[UNK]", "[OOV]", "<OOV>", "<oov>", "<UNK>", "<unk>")
"""What lists of words and word indices call an unknown word."""
_SPECIAL = re.compile(r"\[.*\]|<.*>|", re.DOTALL)
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """How a vocabulary turns a text into ids."""

    said: str
    """In words."""
    part: Callable[[str], list[str]]
    """Returns the words of a text."""
    look_up: Callable[[str], int | None]
    """Returns the id of a word; ``None`` for one that is left out."""
    known: Callable[[str], bool]
    pad: Side
    """Where Keras pads what these rules make, unless it is told otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class TextRules:
    """Turns texts into rows of ids; a `gateprobe.inputs.word_ids.Converter`."""

    vocabulary: VocabularyFile
    pad: Side | None = None
    """As Keras pads what the rules make, without it."""

    def ids(self, texts: Array, length: int | None) -> WordIds:
        """Return the ids of texts, padded with 0 or cut.

        Args:
            texts: ``(samples,)`` or ``(samples, 1)``.
            length: Of every row; that of the longest without it.

        Raises:
            InputError: A word has no id and the vocabulary has none for such, no text has a known word, or the rules
                are not understood.
        """
        rules = _rules(self.vocabulary)
        pad = self.pad or rules.pad
        words = [rules.part(text) for text in texts_of(texts)]
        rows = [[(word, found) for word in row if (found := rules.look_up(word)) is not None] for row in words]
        longest = max(map(len, rows), default=0)
        if not longest or not any(rules.known(word) for row in words for word in row):
            raise InputError("has no word of any text", file=self.vocabulary.name, remedy="give the model's vocabulary")
        size = longest if length is None else length
        room.afford(len(rows) * size * 16)
        ids, tokens = room.zeros((len(rows), size), np.int64), []
        for number, row in enumerate(rows):
            kept = row[max(len(row) - size, 0) :] if pad == "pre" else row[:size]
            start = size - len(kept) if pad == "pre" else 0
            ids[number, start : start + len(kept)] = [found for _, found in kept]
            left = [""] * size
            left[start : start + len(kept)] = [word for word, _ in kept]
            tokens.append(tuple(left))
        return WordIds(
            ids,
            tuple(tokens),
            self.vocabulary.name,
            self.vocabulary.sha256,
            f"{self._said(rules, words)}{_fitted(rows, size, pad)}",
        )

    def _said(self, rules: Rules, words: list[list[str]]) -> str:
        every = [word for row in words for word in row]
        strange = [word for word in every if not rules.known(word)]
        shown = ", ".join(map(repr, list(dict.fromkeys(strange))[:_EXAMPLES]))
        unknown = f"; {len(strange)} of {len(every)} words are unknown, such as {shown}" if strange else ""
        return f"texts become ids by {self.vocabulary.name}: {rules.said}{unknown}"


def _fitted(rows: Sequence[Sequence[object]], size: int, pad: Side) -> str:
    """Say how many rows were padded or cut to get their size."""
    lengths = [len(row) for row in rows]
    moved = [f"{sum(n < size for n in lengths)} padded with 0"] if min(lengths) < size else []
    moved += [f"{sum(n > size for n in lengths)} cut"] if max(lengths) > size else []
    way = "in front" if pad == "pre" else "at the end"
    return f"; of {len(rows)} texts, {' and '.join(moved)} {way} to {size} ids" if moved else ""


def refuse_unused(words: Mapping[str, WordIds], vocab: str | None, pad: Side | None) -> None:
    """Refuse options about ids where no texts became ids, for they would change nothing.

    Args:
        words: Of the inputs that were texts and became ids.
        vocab: A vocabulary that was given to make ids, and for nothing else.
        pad: Where to pad them.

    Raises:
        InputError: One of the options is given, and there are no such inputs.
    """
    for option, value in (("--vocab", vocab), ("--pad", pad)):
        if value is not None and not words:
            raise InputError(f"{option}={value}: no texts are made into ids here", remedy="leave it out")


def text_rules(file: str, pad: Side | None = None) -> TextRules:
    """Read a vocabulary; its rules are looked at when there are texts.

    Args:
        file: See `gateprobe.inputs.tokens.read_vocabulary`.
        pad: ``pre`` or ``post``; as Keras pads what the rules make, without it.

    Raises:
        InputError: It is no vocabulary.
    """
    return TextRules(read_vocabulary(file), pad)


def _rules(vocabulary: VocabularyFile) -> Rules:
    config = vocabulary.config
    if "word_index" in config:
        return _tokenizer(vocabulary, config)
    return _layer(vocabulary, config) if config else _plain(vocabulary)


def _tokenizer(vocabulary: VocabularyFile, config: Mapping[str, Any]) -> Rules:
    """Return the rules of Keras's Tokenizer."""
    ids = {word: number for number, word in vocabulary.words.items() if word}
    filters, split, unknown = config.get("filters", _FILTERS), config.get("split", " "), config.get("oov_token")
    lower, characters, most = config.get("lower", True), config.get("char_level", False), config.get("num_words")
    if (
        not isinstance(filters, str)
        or not isinstance(split, str)
        or not split
        or not isinstance(lower, bool)
        or not isinstance(characters, bool)
        or not (most is None or type(most) is int)
        or not (unknown is None or (isinstance(unknown, str) and unknown in ids))
    ):
        raise InputError("holds a Tokenizer whose settings are not understood", file=vocabulary.name)
    last = most or max(ids.values()) + 1
    table = str.maketrans(dict.fromkeys(filters, split))

    def part(text: str) -> list[str]:
        text = text.lower() if lower else text
        return list(text) if characters else [word for word in text.translate(table).split(split) if word]

    def known(word: str) -> bool:
        return ids.get(word, last) < last

    def look_up(word: str) -> int | None:
        return ids[word] if known(word) else None if unknown is None else ids[unknown]

    how = "characters" if characters else f"words between {split!r}, without {filters.strip()}"
    limit = f", ids below {most}" if most else ""
    said = f"Keras's Tokenizer: {'lower case, ' if lower else ''}{how}{limit}, {_unknown_said(unknown)}"
    return Rules(said, part, look_up, known, "pre")


def _unknown_said(unknown: str | None) -> str:
    return "unknown words left out" if unknown is None else f"unknown words as {unknown}"


def _layer(vocabulary: VocabularyFile, config: Mapping[str, Any]) -> Rules:
    """Return the rules of a TextVectorization or StringLookup; the words of the latter stand between white space."""
    class_name = "TextVectorization" if "standardize" in config else "StringLookup"
    record = LayerRecord(vocabulary.name, class_name, {**config, "output_sequence_length": None})
    record = record if class_name == "TextVectorization" else LayerRecord(vocabulary.name, class_name, config)
    semantics, kind = semantics_of(Origin("json", Era.KERAS3, (), None, None)), kind_of(record)
    assert kind is not None
    try:
        layer = kind.bind(Binding(record, Settings(record.config, semantics), {}, {}, semantics, FLOAT32))
    except Unsupported as error:
        raise InputError(f"holds a {class_name} that is not replayed: {error}", file=vocabulary.name) from None
    if isinstance(layer, TextVectorization):
        vectorization = layer
        said = f"TextVectorization: standardize={layer.standardize}, split={layer.split}, ngrams={layer.ngrams}"
        return _table_rules(
            f"{said}, unknown words as {layer.table.unknown}",
            lambda text: vectorization.tokens(np.array([text], object))[0],
            layer.table,
        )
    assert isinstance(layer, Lookup)
    said = f"StringLookup: words between white space, as they are, unknown words as {layer.table.unknown}"
    return _table_rules(said, lambda text: parted(text, "whitespace"), layer.table)


def _table_rules(said: str, part: Callable[[str], list[str]], table: Table) -> Rules:
    def look_up(word: str) -> int | None:
        return int(table.look_up([word], 0)[0])

    return Rules(said, part, look_up, lambda word: word in table.ids or word == table.mask, "post")


def _plain(vocabulary: VocabularyFile) -> Rules:
    """Return the rules for words and numbers alone: those that are Keras's own where nothing else is said.

    A word index is what a Tokenizer has, a list what a TextVectorization has. Where every entry is one character, texts
    are taken apart into characters; where entries have capital letters, texts keep theirs.
    """
    ids = {word: number for number, word in reversed(list(vocabulary.words.items())) if word or number}
    plain = [word for word in ids if not _SPECIAL.fullmatch(word)]
    unknown = [word for word in _UNKNOWN if word in ids]
    if len(unknown) > 1:
        raise InputError(f"has several words for unknown ones: {', '.join(unknown)}", file=vocabulary.name)
    characters = bool(plain) and all(len(word) == 1 for word in plain)
    lower = not any(word != word.lower() for word in plain) and not (characters and vocabulary.listed)
    part, how = (_of_list if vocabulary.listed else _of_index)(lower, characters)

    def look_up(word: str) -> int | None:
        if word not in ids and not unknown and vocabulary.listed:
            remedy = "add a word for unknown ones, [UNK], where the model has one"
            raise InputError(
                f"does not hold {word!r}, and has no word for unknown ones", file=vocabulary.name, remedy=remedy
            )
        return ids.get(word, ids[unknown[0]] if unknown else None)

    case = "" if lower else ", as they are written"
    said = f"{how}{case}, {_unknown_said(unknown[0] if unknown else None)}"
    return Rules(said, part, look_up, ids.__contains__, "post" if vocabulary.listed else "pre")


def _of_index(lower: bool, characters: bool) -> tuple[Callable[[str], list[str]], str]:
    table = str.maketrans(dict.fromkeys(_FILTERS, " "))

    def part(text: str) -> list[str]:
        text = text.lower() if lower else text
        return list(text) if characters else [word for word in text.translate(table).split(" ") if word]

    return part, "a word index, by the defaults of the Tokenizer of Keras, in " + (
        "characters" if characters else "words"
    )


def _of_list(lower: bool, characters: bool) -> tuple[Callable[[str], list[str]], str]:
    how = None if characters else STANDARDIZE[0] if lower else "strip_punctuation"

    def part(text: str) -> list[str]:
        return parted(standardized(text, how), "character" if characters else "whitespace")

    return part, "a list, by the defaults of the TextVectorization of Keras, in " + (
        "characters" if characters else "words"
    )
