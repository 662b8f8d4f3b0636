"""Every deliberate error of gateprobe.

    GateprobeError           exit status 2 on the command line
    ├── ReadError            the file cannot be read as a Keras model
    │   └── UnsafeFile       it can, but only by doing something a data file must not ask for
    ├── UnsupportedModel     the file is fine, but its replay would not be exact; carries every refusal at once
    ├── InputError           samples, options or selections that do not fit the model
    ├── OutputError          the result cannot be written
    └── MissingExtra         an optional dependency is not installed

`GateprobeWarning` is issued where a number is right only under a condition that the file cannot settle.

A mismatch found by ``verify`` or ``compare`` is a result, not an error.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: object) -> str:
    r"""Make a text from a file safe to print on one line of a terminal.

    Control characters, line separators, bidirectional overrides and lone surrogates become ``\xNN`` escapes, so that
    a layer's name can neither move the cursor nor forge a line of a log.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNPRINTABLE
        else character
        for character in str(text)
    )


_LISTED = 20
"""How many names a message lists."""


def choices(there: Iterable[str], wanted: str = "") -> str | None:
    """Return the remedy for a name that is not there: the nearest one, and what is available.

    Args:
        there: The names that can be given.
        wanted: What was given instead, if it was a name.
    """
    names = list(dict.fromkeys(there))
    if not names:
        return None
    near = difflib.get_close_matches(wanted, names, 1) if wanted else []
    guess = f"did you mean {near[0]}? " if near else ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{guess}available: {', '.join(names[:_LISTED])}{more}"


class GateprobeError(Exception):
    """What is wrong, in which file, at which place, and what to do.

    Args:
        reason: What is wrong.
        file: The file it concerns, if there is one.
        place: Where inside the file: a layer path, a dataset, a configuration key.
        remedy: What the reader of the message can do.
    """

    def __init__(
        self, reason: str, *, file: object | None = None, place: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(reason, file, place, remedy)
        self.reason = reason
        self.file = None if file is None else str(file)
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        """The whole message on one line."""
        where = [part for part in (self.file, self.place) if part]
        message = ": ".join([*where, self.reason])
        return printable(f"{message}; {self.remedy}" if self.remedy else message)


class ReadError(GateprobeError):
    """The file cannot be read as a Keras model."""


class UnsafeFile(ReadError):
    """The file asks for something that a data file must not ask for: links, bombs, code."""


class InputError(GateprobeError):
    """Samples, options or a selection do not fit the model."""


class OutputError(GateprobeError):
    """The result cannot be written."""


class MissingExtra(GateprobeError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed", remedy=f"run: pip install 'gateprobe[{extra}]'")


class GateprobeWarning(UserWarning):
    """The numbers are what Keras computes, under a condition that the user must know."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why one layer cannot be replayed exactly."""

    layer: str
    """Layer path."""
    class_name: str
    """Keras class named by the file."""
    reason: str
    """What is wrong and, where something can be done, what to do."""
    damage: bool = False
    """Whether the file is at fault: no Keras saves such a layer."""

    def __str__(self) -> str:
        """``name (Class): reason`` on one line."""
        return printable(f"{self.layer} ({self.class_name}): {self.reason}")


class UnsupportedModel(GateprobeError):
    """The model cannot be replayed exactly; carries every refusal, not only the first.

    Args:
        refusals: At least one.
        file: The model file.
        remedy: What the user can do.
    """

    def __init__(self, refusals: Iterable[Refusal], *, file: object | None = None, remedy: str | None = None) -> None:
        self.refusals = tuple(refusals)
        super().__init__("cannot replay this model", file=file, remedy=remedy)

    def __str__(self) -> str:
        """One line for one refusal, else a heading and one line for each."""
        name = printable(f"{self.file}: ") if self.file else ""
        advice = f"; {self.remedy}" if self.remedy else ""
        if len(self.refusals) == 1:
            return f"{name}{self.refusals[0]}{advice}"
        return f"{name}cannot replay this model{advice}\n" + "\n".join(f"  {refusal}" for refusal in self.refusals)
