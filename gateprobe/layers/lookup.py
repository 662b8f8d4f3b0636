"""StringLookup, IntegerLookup and TextVectorization: from texts and integers to ids, and back.

Rules: ``keras/src/layers/preprocessing/{index_lookup,string_lookup,integer_lookup,text_vectorization}.py`` 3.15.1 and
those of ``tf_keras`` 2.21. A vocabulary that a file keeps beside the configuration has been put into it by the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Settings, Unsupported, users_code
from gateprobe.layers.encoding import encoded
from gateprobe.layers.hashing import Salt, bucket, salt_of
from gateprobe.layers.text_rules import SPLIT, STANDARDIZE, as_array, is_text, ngrams, parted, standardized, texts_of
from gateprobe.layers.unary import whole
from gateprobe.limits import room

_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}
"""Older names."""
_ABSENT = -1
"""The id of what leaves no trace in a code."""

Token = str | int


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Which token has which id."""

    ids: Mapping[Token, int]
    """Without the mask token and the unknown ones."""
    mask: Token | None
    unknown: Token
    first_unknown: int
    """The first of the ids for unknown tokens."""
    unknown_count: int
    salt: Salt | None
    modulo: bool
    """Whether unknown integers are divided, not hashed."""

    @property
    def size(self) -> int:
        """Ids below it exist."""
        return self.first_unknown + self.unknown_count + len(self.ids)

    def look_up(self, tokens: Sequence[Token], masked: int) -> Array:
        """Return ids ``(tokens,)``; ``masked`` for the mask token.

        Raises:
            InputError: A token is unknown, and there is no id for such.
        """
        return np.array([self._id(token, masked) for token in tokens], np.int64)

    def _id(self, token: Token, masked: int) -> int:
        found = masked if token == self.mask else self.ids.get(token)
        return self._unknown(token) if found is None else found

    def _unknown(self, token: Token) -> int:
        if self.unknown_count == 1:
            return self.first_unknown
        if not self.unknown_count:
            raise InputError(f"{token!r} is not in the vocabulary, and num_oov_indices=0 leaves no id for it")
        if self.modulo:
            return self.first_unknown + int(token) % self.unknown_count
        return self.first_unknown + bucket(token, self.salt, self.unknown_count)

    def tokens(self, ids: Array) -> list[Token]:
        """Return the tokens of ids, for ``invert``."""
        found = {number: token for token, number in self.ids.items()}
        if self.mask is not None:
            found[0] = self.mask
        return [found.get(number, self.unknown) for number in ids.ravel().tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """What becomes of ids."""

    mode: str
    depth: int
    weights: Array | None
    """Of ``tf_idf``, ``(depth,)``."""

    @property
    def masked(self) -> int:
        """The id of the mask token."""
        return 0 if self.mode == "int" else _ABSENT

    def of(self, ids: Array) -> Array:
        """Return the ids, or their codes."""
        if self.mode == "int":
            return ids
        if self.weights is None:
            return encoded(ids, self.mode, self.depth)
        counts: Array = encoded(ids, "count", self.depth) * self.weights
        return counts


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """Ids, or their codes, of texts or integers."""

    table: Table
    codes: Codes
    texts: bool
    reads_text: bool = True

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Look up every value; the result has its shape, or codes in place of its last axis."""
        value = call.tensor.value
        tokens: Sequence[Token] = texts_of(value) if self.texts else _integers(value).ravel().tolist()
        return (Tensor(self.codes.of(self.table.look_up(tokens, self.codes.masked).reshape(value.shape))),)


@dataclass(frozen=True, slots=True, eq=False)
class Inverse:
    """Texts or integers of ids."""

    table: Table
    texts: bool
    reads_text: bool = True

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Look up every id; the result has their shape."""
        ids = _integers(call.tensor.value)
        found: list[Any] = self.table.tokens(ids)
        return (Tensor(as_array(found, ids.shape) if self.texts else np.array(found, np.int64).reshape(ids.shape)),)


def _integers(values: Array) -> Array:
    if is_text(values):
        raise InputError("takes integers, got texts")
    return whole(values, "int64")


@dataclass(frozen=True, slots=True, eq=False)
class TextVectorization:
    """Ids, or their codes, of the words of texts."""

    standardize: str | None
    split: str | None
    ngrams: tuple[int, ...] | None
    table: Table
    codes: Codes
    length: int | None
    """Of every row of ids; ``None`` for that of the longest text of a batch."""
    reads_text: bool = True

    @property
    def pads_to_longest(self) -> bool:
        """Whether the number of timesteps depends on the texts that are given."""
        return self.codes.mode == "int" and self.length is None and self.split is not None

    @property
    def row_length(self) -> int | None:
        """See `gateprobe.layers.base.Tokenizer`."""
        return self.length if self.codes.mode == "int" else None

    def padded(self, length: int) -> TextVectorization:
        """Return the layer with a length for every row."""
        return replace(self, length=length)

    def tokens(self, values: Array) -> list[list[str]]:
        """Return the words of each text that makes a row of ids."""
        texts = [standardized(text, self.standardize) for text in texts_of(values)]
        if self.split is None:
            width = values.shape[-1] if values.ndim > 1 else 1
            rows = [texts[at : at + width] for at in range(0, len(texts), width)]
        else:
            if values.ndim > 1 and values.shape[-1] != 1:
                raise InputError(f"takes one text for each sample, got an input of shape {values.shape}")
            rows = [parted(text, self.split) for text in texts]
        return rows if self.ngrams is None else [ngrams(row, self.ngrams) for row in rows]

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Take texts ``(samples,)`` or ``(samples, 1)`` apart and look up their words."""
        value = call.tensor.value
        if self.split is None and value.ndim < 2 and self.ngrams is not None:
            raise InputError(f"ngrams without split take rows of texts, got an input of shape {value.shape}")
        rows = self.tokens(value)
        longest = max(map(len, rows), default=0)
        size = longest if self.length is None else self.length
        if self.codes.mode == "int" and not size:
            raise InputError("no text has a word")
        leading = value.shape[: max(value.ndim - 1, 1)]
        flat = value.ndim < 2 and self.split is None
        width = size if self.codes.mode == "int" else longest
        room.afford(8 * len(rows) * max(width, longest))
        ids = room.full((len(rows), width), 0 if self.codes.mode == "int" else _ABSENT, np.int64)
        for number, row in enumerate(rows):
            kept = row[:width]
            ids[number, : len(kept)] = self.table.look_up(kept, self.codes.masked)
        shaped = ids.reshape(leading) if flat and width == 1 else ids.reshape(*leading, width)
        return (Tensor(self.codes.of(shaped)),)


_WORDLESS = "weights, checkpoints, JSON and HDF5 hold no words of a layer that was adapted"
_WAYS = (
    "give layer.get_vocabulary(), one word a line, with --vocab=FILE; or, for weights alone, a whole .keras or "
    "SavedModel of the same model with --architecture=MODEL"
)


def _vocabulary(settings: Settings, text: bool) -> list[Token]:
    value = settings.raw("vocabulary")
    if value is None or value == []:
        raise Unsupported(f"its vocabulary is in none of the files: {_WORDLESS}; {_WAYS}")
    if isinstance(value, str):
        raise Unsupported(f"config.vocabulary: names a file, {value!r:.60}, which is not part of the model; {_WAYS}")
    kind = str if text else int
    if not isinstance(value, list) or any(type(token) is not kind for token in value):
        raise Unsupported(f"config.vocabulary: expected a list of {'texts' if text else 'integers'}")
    return value


def _special(settings: Settings, key: str, default: Token | None, text: bool) -> Token | None:
    value: Any = settings.raw(key, default)
    if isinstance(value, Mapping) and value.get("class_name") == "__numpy__":  # as tf_keras writes a NumPy number
        value = (value.get("config") or {}).get("value")
    if value is not None and type(value) is not (str if text else int):
        raise Unsupported(f"config.{key}: expected a {'text' if text else 'whole number'}, got {value!r:.60}")
    return value


def _mode(settings: Settings) -> str:
    value = settings.raw("output_mode", "int")
    mode = _MODES.get(value, value) if isinstance(value, str) else value
    if mode not in ("int", "one_hot", "multi_hot", "count", "tf_idf"):
        raise Unsupported(f"config.output_mode: expected int, one_hot, multi_hot, count or tf_idf, got {value!r:.60}")
    return str(mode)


def _table(settings: Settings, mode: str, *, text: bool, mask: Token | None) -> tuple[Table, bool]:
    """Return the table, and whether the vocabulary begins with the special tokens.

    Source: ``IndexLookup.set_vocabulary``.
    """
    words = _vocabulary(settings, text)
    unknown = _special(settings, "oov_token", "[UNK]" if text else -1, text)
    count = settings.integer("num_oov_indices", 1, 0)
    method = settings.choice("oov_method", ("floormod", "farmhash"), "floormod")
    salt = salt_of(settings)
    first = 1 if mask is not None and mode == "int" else 0
    special = [mask] * first + [unknown] * count
    begins = words[: len(special)] == special
    tokens = words[len(special) :] if begins else words
    ids = {token: number for number, token in enumerate(tokens, len(special))}
    if len(ids) < len(tokens) or (mask is not None and mask in ids):
        raise Unsupported("config.vocabulary: holds a word twice, or the mask token in its midst; Keras refuses it")
    if unknown is None:
        raise Unsupported("config.oov_token: is missing")
    return Table(ids, mask, unknown, first, count, salt, not text and method != "farmhash"), begins


def _codes(settings: Settings, table: Table, mode: str, *, begins: bool) -> Codes:
    most = settings.raw("max_tokens")
    most = None if most is None else settings.integer("max_tokens", minimum=2)
    padded = settings.flag("pad_to_max_tokens", False)
    size = table.size
    if padded and most is None:
        raise Unsupported("config.pad_to_max_tokens: needs max_tokens")
    if most is not None and size > most:
        raise Unsupported(f"config.vocabulary: has {size} ids with the special ones, more than max_tokens={most}")
    depth = most if padded and most is not None else size
    weights = _idf(settings, table, depth, begins=begins) if mode == "tf_idf" else None
    settings.ignore("idf_weights", "vocabulary_dtype")
    return Codes(mode, depth, weights)


def _idf(settings: Settings, table: Table, depth: int, *, begins: bool) -> Array:
    """Return the weight of every id; the special ones have the mean where the file gives them none."""
    value = settings.raw("idf_weights")
    if not isinstance(value, list) or any(type(one) not in (int, float) for one in value):
        raise Unsupported("config.idf_weights: expected a list of numbers, as tf_idf needs it")
    given = np.array(value, np.float64)
    wanted = table.size if begins else len(table.ids)
    if begins and len(given) == depth:  # as files keep those of ``pad_to_max_tokens``: with zeros at the end
        given = given[:wanted]
    if len(given) != wanted or not np.isfinite(given).all():
        raise Unsupported(f"config.idf_weights: expected {wanted} finite numbers, got {len(given)}")
    front = table.size - wanted
    weights = room.zeros((depth,), np.float32)
    weights[:front] = np.average(given) if front else 0
    weights[front : table.size] = given
    return weights


def _encoding(settings: Settings) -> None:
    value = settings.raw("encoding", "utf-8")
    if not isinstance(value, str) or value.lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise Unsupported(f"config.encoding: another encoding than utf-8 is not replayed, got {value!r:.60}")


@replays("StringLookup")
def _bind_string_lookup(binding: Binding) -> Layer:
    _encoding(binding.settings)
    return _lookup(binding, text=True)


@replays("IntegerLookup")
def _bind_integer_lookup(binding: Binding) -> Layer:
    return _lookup(binding, text=False)


def _lookup(binding: Binding, *, text: bool) -> Layer:
    settings = binding.settings
    mode, invert = _mode(settings), settings.flag("invert", False)
    mask = _special(settings, "mask_token", None, text)
    table, begins = _table(settings, mode, text=text, mask=mask)
    codes = _codes(settings, table, mode, begins=begins)
    settings.finish()
    if invert and mode != "int":
        raise Unsupported("config.output_mode: must be int where invert is true")
    return Inverse(table, text) if invert else Lookup(table, codes, text)


@replays("TextVectorization")
def _bind_text_vectorization(binding: Binding) -> Layer:
    settings = binding.settings
    how = _function(settings, "standardize", STANDARDIZE, STANDARDIZE[0])
    split = _function(settings, "split", SPLIT, SPLIT[0])
    if settings.raw("output_mode", "int") is None:
        raise Unsupported("config.output_mode: None returns ragged texts, which no other layer takes")
    if settings.raw("ragged", False) is not False:
        raise Unsupported("config.ragged: ragged rows are not replayed; save the model with output_sequence_length set")
    mode = _mode(settings)
    _encoding(settings)
    widths = _widths(settings)
    table, begins = _table(settings, mode, text=True, mask="")
    codes = _codes(settings, table, mode, begins=begins)
    length = None
    if settings.raw("output_sequence_length") is not None:
        length = settings.integer("output_sequence_length")
    settings.finish()
    return TextVectorization(how, split, widths, table, codes, length)


def _function(settings: Settings, key: str, allowed: tuple[str | None, ...], default: str | None) -> str | None:
    """Return the name of a rule; a function of the user's own is refused by its name."""
    value: Any = settings.raw(key, default)
    if value is None or value in allowed:
        return value  # type: ignore[no-any-return]
    shown = value
    if isinstance(value, Mapping):
        inner = value.get("config")
        shown = inner if isinstance(inner, str) else value.get("registered_name") or value.get("class_name")
    raise users_code(f"config.{key}: {shown!r:.80} is")


def _widths(settings: Settings) -> tuple[int, ...] | None:
    value = settings.raw("ngrams")
    if value is None:
        return None
    if type(value) is int:
        return tuple(range(1, settings.integer("ngrams") + 1))
    return settings.integers("ngrams")
