"""Tokens that label timesteps: listed by the user, or looked up in a vocabulary by the ids that the model reads."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from gateprobe.errors import GateprobeError, GateprobeWarning, InputError, ReadError, UnsafeFile, reason_of
from gateprobe.files.remote import is_url, local_path, redact_url, remote
from gateprobe.graph import Array, Vocabulary
from gateprobe.inputs.array_files import Rows
from gateprobe.readers import safe_json
from gateprobe.traces.labeller import Labeller

_MOST_UNKNOWN = 1 << 20
_MEANT_AS_JSON = re.compile(r'\[\s*(?:\[\s*)?"')
"""How JSON begins that holds texts; a text of one token a line might begin so only by malice."""

Labels: TypeAlias = tuple[str, ...]
_Lists: TypeAlias = tuple[Labels, ...]


@runtime_checkable
class Tokens(Labeller, Protocol):
    """Labels that come from a file."""

    @property
    def name(self) -> str:
        """The file that they come from."""

    @property
    def sha256(self) -> str:
        """Of that file's text."""


@dataclass(frozen=True, slots=True, eq=False)
class ListedTokens:
    """Tokens from a file."""

    name: str
    """Of the file, for messages."""
    sha256: str
    """Of the file's text."""
    lists: Mapping[int, Labels]
    """Number of a sample → its tokens."""
    layers: Callable[[str], bool] | None = None
    """Whether the timesteps of a layer are those of the tokens; those of every layer without it."""

    def labels(
        self,
        sample: int,
        timesteps: Array,
        *,
        layer: str | None = None,
        length: int | None = None,
        mask: Array | None = None,
    ) -> Labels | None:
        """Return the tokens at some timesteps; see `Labeller`.

        Fewer tokens than timesteps belong to the timesteps that are not masked, where there are as many of these.
        """
        listed = self.lists.get(sample)
        if listed is None or (layer is not None and self.layers is not None and not self.layers(layer)):
            return None
        if length is not None and len(listed) != length:
            listed = self._spread(sample, listed, length, mask)
        return tuple(listed[int(timestep)] for timestep in timesteps)

    def _spread(self, sample: int, listed: Labels, length: int, mask: Array | None) -> Labels:
        if mask is None or len(mask) != length or int(mask.sum()) != len(listed):
            raise InputError(
                f"sample {sample} has {len(listed)} tokens and {length} timesteps",
                file=self.name,
                remedy="give a token for each timestep, also where the input is padded",
            )
        spread = np.full(length, "", object)
        spread[mask] = listed
        return tuple(spread)


TokenLists: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
"""A text of letters or a list of words: the tokens of one sample; or a list of these, one for each sample."""


def given_tokens(tokens: TokenLists, there: Array, shown: Array) -> ListedTokens:
    """Return tokens by the numbers of their samples.

    Args:
        tokens: Of the one sample that is shown, or a list for each sample of the trace.
        there: Numbers of the samples of the trace.
        shown: Of those that are shown.

    Raises:
        InputError: There are other than texts, lists for more or fewer samples, or the tokens of one sample for many.
    """
    if all(isinstance(token, str) for token in tokens):
        if len(shown) != 1:
            remedy = "give a list for each sample"
            raise InputError(f"--tokens: these are the tokens of one sample, and {len(shown)} are shown", remedy=remedy)
        return ListedTokens("tokens", "", {int(shown[0]): tuple(map(str, tokens))})
    lists = [tuple(one) for one in tokens]
    if not all(isinstance(token, str) for one in lists for token in one):
        raise InputError("--tokens: expected texts, or a list of texts for each sample")
    if len(lists) != len(there):
        raise InputError(f"--tokens: there are {len(lists)} lists of tokens and {len(there)} samples in the trace")
    return ListedTokens("tokens", "", dict(zip(there.tolist(), lists, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class VocabularyFile:
    """Words by their numbers."""

    name: str
    """Of the file, for messages."""
    sha256: str
    """Of the file's text."""
    words: Mapping[int, str]
    config: Mapping[str, Any] = field(default_factory=dict)
    """Of the Tokenizer or layer that the file holds; empty for words alone."""
    listed: bool = False
    """Whether the words are numbered by their places alone."""

    def word(self, number: int) -> str:
        """Return a word; the number itself where the vocabulary has none."""
        found = self.words.get(number)
        if found is None:
            note = f"{self.name} has no words for some ids of the input: they are shown as numbers"
            warnings.warn(note, GateprobeWarning, stacklevel=2)
            return str(number)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class LookedUpTokens:
    """The words behind the ids that the model reads."""

    vocabulary: VocabularyFile
    ids: Mapping[str, Rows]
    """Name of an input or a feed → ``(samples, timesteps)`` of whole numbers."""
    layers: Callable[[str], Collection[str]]
    """Layer path → the inputs and feeds whose timesteps it has."""

    @property
    def name(self) -> str:
        """The file of the vocabulary."""
        return self.vocabulary.name

    @property
    def sha256(self) -> str:
        """Of the vocabulary."""
        return self.vocabulary.sha256

    def labels(
        self,
        sample: int,
        timesteps: Array,
        *,
        layer: str | None = None,
        length: int | None = None,
        mask: Array | None = None,
    ) -> Labels | None:
        """Return the words at some timesteps; see `Labeller`."""
        known = self.ids if layer is None else self.layers(layer)
        found = {name: rows for name, rows in self.ids.items() if name in known}
        if len(found) > 1:
            raise InputError(f"ids of words come from {' and '.join(found)}", place=layer, remedy="list the tokens")
        if not found:
            return None
        ((name, rows),) = found.items()
        row = np.asarray(rows[sample : sample + 1]).reshape(-1)
        if length is not None and length != len(row):
            return None
        if row.dtype.kind == "f" and not np.array_equal(row, np.trunc(row)):
            raise InputError(f"the input {name} holds no ids but fractions", remedy="list the tokens")
        return tuple(self.vocabulary.word(int(number)) for number in row[timesteps])


def read_tokens(
    file: str,
    numbers: Sequence[int] | Array,
    total: int | None,
    layers: Callable[[str], bool] | None = None,
) -> ListedTokens:
    """Read the tokens of samples.

    Args:
        file: One token a line, an empty line between samples; or a line of tokens with spaces between them for each
            sample; or a JSON list for each sample, in one list or each on a line of its own.
        numbers: Of the samples that are looked at.
        total: How many samples the input has; ``None`` where that is not known.
        layers: Whether the timesteps of a layer are those of the tokens.

    Raises:
        InputError: It is no such file, or not for so many samples.
    """
    name = redact_url(file)
    text = _text(file)
    with_lists = _parsed_tokens(text, name)
    wanted = [int(number) for number in numbers]
    by_number = len(with_lists) == total or (total is None and bool(wanted) and len(with_lists) > max(wanted))
    if len(with_lists) == len(wanted):
        by_number = by_number and len(with_lists) == total
        keys = range(len(with_lists)) if by_number else wanted
    elif by_number:
        keys = range(len(with_lists))
    else:
        of = f", of {total}" if total not in (None, len(wanted)) else ""
        raise InputError(
            f"holds the tokens of {_counted(len(with_lists))}, and {_counted(len(wanted))} are looked at{of}",
            file=name,
            remedy="give a list for each sample: see docs/formats.md",
        )
    return ListedTokens(name, _sha256(text), dict(zip(keys, with_lists, strict=True)), layers)


def _counted(samples: int) -> str:
    return f"{samples} sample{'s' * (samples != 1)}"


def _parsed_tokens(text: str, name: str) -> _Lists:
    """Return a list of tokens for each sample."""
    found = _json_lists(text, name)
    if found is None:
        found = _plain_lists(text, name)
    if not found or not all(found):
        what = "holds no tokens" if not any(found) else f"holds no tokens for sample {found.index(())}"
        raise InputError(what, file=name)
    return found


def _json_lists(text: str, name: str) -> _Lists | None:
    """Read JSON; ``None`` where it is none, as a text of brackets alone, which may be tokens."""
    bare = text.strip()
    if not (bare.startswith("[") and bare.endswith("]")) or not bare.strip("[]\n\r "):
        return None
    try:
        values = _json(bare, name)
    except ReadError as error:
        if isinstance(error, UnsafeFile):
            raise
        lines = [line for line in bare.split("\n") if line.strip()]
        each = all(line.strip().startswith("[") and line.strip().endswith("]") for line in lines)
        if not each or len(lines) == 1:
            if _MEANT_AS_JSON.match(bare):
                raise InputError(error.reason, file=name) from None
            return None
        values = [_json(line, name) for line in lines]
    if all(isinstance(value, list) for value in values):
        return tuple(tuple(_token(token, name) for token in value) for value in values)
    return (tuple(_token(token, name) for token in values),)


def _token(value: object, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    raise InputError(f"holds {json.dumps(value):.40} where a token belongs", file=name)


def _plain_lists(text: str, name: str) -> _Lists:
    lines = text.split("\n")
    if any(len(line.split()) > 1 for line in lines):
        return tuple(tuple(line.split()) for line in lines if line.strip())
    groups: list[list[str]] = [[]]
    for line in lines:
        if line:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    return tuple(tuple(group) for group in groups if group)


def read_vocabulary(file: str) -> VocabularyFile:
    """Read a vocabulary.

    Args:
        file: JSON of Keras's Tokenizer, of a TextVectorization or StringLookup layer, a list of words, a map from words
            to numbers or from numbers to words; or one word a line. The first word of a list has the number 0.

    Raises:
        InputError: It is no such file.
    """
    name = redact_url(file)
    text = _text(file)
    if text.lstrip()[:1] in ("{", "[") and (text.strip("{}[]\n ") or "\n" not in text):
        try:
            value = _json(text, name)
        except GateprobeError:
            if text.lstrip()[:1] == "{" and text.rstrip().endswith("}"):
                raise
        else:
            words, config = _words(value, name), _config(value)
            return VocabularyFile(name, _sha256(text), words, config, isinstance(value, list))
    lines = text.split("\n")
    return VocabularyFile(name, _sha256(text), _numbered(lines[:-1] if lines[-1] == "" else lines, name), listed=True)


def read_listed(file: str) -> tuple[Vocabulary, str]:
    """Read the words of a lookup layer in the order of its ids, and the digest of the file.

    Args:
        file: One word a line, a JSON list, or the JSON of a TextVectorization or StringLookup layer.

    Raises:
        InputError: It is no such file, or numbers its words itself, as a Tokenizer does.
    """
    found = read_vocabulary(file)
    if not found.listed and "vocabulary" not in found.config:
        reason = "numbers its words itself, and those of the model are numbered by their places"
        raise InputError(reason, file=found.name, remedy="give layer.get_vocabulary(), one word a line")
    place = f"those of {found.name}, as given with --vocab"
    return Vocabulary(tuple(found.words.values()), place, file=found.name), found.sha256


def _words(value: Any, name: str) -> Mapping[int, str]:
    """Find out which kind of JSON it is."""
    if isinstance(value, list):
        return _numbered(value, name)
    if not isinstance(value, dict):
        raise _no_vocabulary(name)
    inner = value.get("config")
    config: dict[str, Any] = inner if isinstance(inner, dict) else value
    if isinstance(config.get("word_index"), str):
        return {0: "", **_by_word(_json(config["word_index"], name), name)}
    if isinstance(config.get("vocabulary"), list):
        return _numbered(_with_specials(config, name), name)
    if config is inner:
        raise InputError(
            "holds a layer without its vocabulary",
            file=name,
            remedy="save json.dumps(layer.get_vocabulary()), or the vocabulary one word a line",
        )
    if value and all(isinstance(word, str) for word in value.values()):
        return {0: "", **_by_number(value, name)}
    return {0: "", **_by_word(value, name)}


def _config(value: Any) -> Mapping[str, Any]:
    """Return the settings beside the words; none where the file holds words alone."""
    inner = value.get("config") if isinstance(value, dict) else None
    config = inner if isinstance(inner, dict) else value
    told = isinstance(config, dict) and (
        isinstance(config.get("word_index"), str) or isinstance(config.get("vocabulary"), list)
    )
    return config if told else {}


def _with_specials(config: Mapping[str, Any], name: str) -> list[Any]:
    """Return a layer's vocabulary with the entries that Keras puts in front, unless they are there.

    Source: ``IndexLookup.set_vocabulary`` of Keras 2.6 to 3.
    """
    if config.get("output_mode", "int") != "int" or config.get("invert"):
        raise InputError("holds a layer that does not turn words into ids", file=name)
    mask, unknown = config.get("mask_token", "" if "standardize" in config else None), config.get("oov_token", "[UNK]")
    count = config.get("num_oov_indices", 1)
    if type(count) is not int or not 0 <= count <= _MOST_UNKNOWN:
        raise _no_vocabulary(name)
    specials = [*([] if mask is None else [mask]), *[unknown] * count]
    words = list(config["vocabulary"])
    return words if words[: len(specials)] == specials else [*specials, *words]


def _numbered(words: Iterable[Any], name: str) -> Mapping[int, str]:
    found = dict(enumerate(words))
    if not found or not all(isinstance(word, str) for word in found.values()):
        raise _no_vocabulary(name)
    return found


def _by_word(value: Any, name: str) -> Mapping[int, str]:
    if not isinstance(value, dict) or not value or not all(type(number) is int for number in value.values()):
        raise _no_vocabulary(name)
    found: dict[int, str] = {}
    for word, number in value.items():
        if number in found:
            raise InputError(f"gives the number {number} to {found[number]!r} and to {word!r}", file=name)
        found[number] = word
    return found


def _by_number(value: Mapping[str, str], name: str) -> Mapping[int, str]:
    if not all(key.isascii() and key.isdigit() and len(key) < 19 for key in value):
        raise _no_vocabulary(name)
    return {int(key): word for key, word in value.items()}


def _no_vocabulary(name: str) -> InputError:
    remedy = "give the JSON of a Tokenizer or TextVectorization, a map of words and numbers, or one word a line"
    return InputError("is no vocabulary", file=name, remedy=remedy)


def look_up(
    vocabulary: VocabularyFile, given: Mapping[str, Rows | None], layers: Callable[[str], Collection[str]]
) -> LookedUpTokens:
    """Label timesteps by the ids that the model reads.

    Args:
        vocabulary: What the ids mean.
        given: The model's inputs and the feeds of layers, by name.
        layers: Layer path → the inputs and feeds whose timesteps it has.

    Raises:
        InputError: Nothing that is given can be ids.
    """
    found = {
        name: array
        for name, array in given.items()
        if array is not None and len(array.shape) == 2 and array.dtype.kind != "b"
    }
    if not found:
        raise InputError(
            "no input holds ids of words, (samples, timesteps)", file=vocabulary.name, remedy="list the tokens"
        )
    return LookedUpTokens(vocabulary, found, layers)


def _json(text: str, name: str) -> Any:
    """Parse JSON, limited as every JSON text is.

    Raises:
        ReadError: It is none; names the file.
    """
    try:
        return safe_json.loads(text, "")
    except ReadError as error:
        raise type(error)(error.reason, file=name, place=None) from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def json_file(file: str) -> tuple[str, Any]:
    """Read a file of JSON, limited as every JSON text is.

    Returns:
        The name of the file for messages, and what it holds.

    Raises:
        ReadError: It is none.
        InputError: It cannot be read.
    """
    name = redact_url(file)
    return name, _json(_text(file), name)


def _text(file: str) -> str:
    """Return what a file holds."""
    name = redact_url(file)
    try:
        if is_url(file):
            data = remote(file).read(0, safe_json.MAX_BYTES + 1)
        else:
            with Path(local_path(file)).open("rb") as opened:
                data = opened.read(safe_json.MAX_BYTES + 1)
        if len(data) > safe_json.MAX_BYTES:
            raise InputError(f"has more than {safe_json.MAX_BYTES:,} bytes", file=name)
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise InputError(reason_of(error), file=name) from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text: byte {error.start}", file=name) from None
    except ValueError:  # a NUL in the name
        raise InputError("is not a possible file name", file=name) from None
