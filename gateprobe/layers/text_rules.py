"""What TensorFlow does with texts: its lower case, its punctuation, its words, its n-grams.

Sources: ``keras/src/layers/preprocessing/text_vectorization.py`` 3.15.1, ``tf_keras`` 2.21, and the kernels behind
``tf.strings`` 2.21: without an encoding, which Keras does not give, ``lower`` changes A to Z only; ``split`` parts at
the white space of ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.limits import room

_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_PUNCTUATION = dict.fromkeys(map(ord, r"""!"#$%&()*+,-./:;<=>?@[\]^_`{|}~'"""))
_WORD = re.compile(r"[^ \t\n\v\f\r]+")

STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
SPLIT = ("whitespace", "character", None)


def is_text(values: Array) -> bool:
    """Whether an array holds texts: of fixed width, as bytes, or as objects."""
    return values.dtype.kind in "USOT"


def texts_of(values: Array) -> list[str]:
    """Return an array's texts in C order.

    Raises:
        InputError: It holds something else, or bytes that are not UTF-8.
    """
    if not is_text(values):
        raise InputError(f"takes texts, got {values.dtype}")
    return [_text(value) for value in values.ravel().tolist()]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"a text is not UTF-8: byte {error.start}") from None
    if not isinstance(value, str):
        raise InputError(f"takes texts, got {type(value).__name__}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError("a text holds half of a surrogate pair, which is not Unicode")
    return value


def standardized(text: str, how: str | None) -> str:
    """Return a text in lower case, without punctuation, or both."""
    if how in ("lower", "lower_and_strip_punctuation"):
        text = text.translate(_LOWER)
    return text.translate(_PUNCTUATION) if how in ("strip_punctuation", "lower_and_strip_punctuation") else text


def parted(text: str, how: str | None) -> list[str]:
    """Return the words or the characters (code points) of a text; without either, the text itself."""
    if how == "whitespace":
        return _WORD.findall(text)
    return list(text) if how == "character" else [text]


def ngrams(tokens: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return runs of tokens with a space between: all of the first width, then all of the next."""
    return list(_ngrams(tokens, widths))


def _ngrams(tokens: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for width in widths:
        yield from (" ".join(tokens[at : at + width]) for at in range(len(tokens) - width + 1))


def as_array(texts: Sequence[str], shape: tuple[int, ...]) -> Array:
    """Return texts as an array of objects, which keeps every length as it is."""
    array = room.empty((len(texts),), object)
    array[:] = texts
    return array.reshape(shape)
