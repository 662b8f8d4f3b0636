"""Every deliberate error of gateprobe.

    GateprobeError           exit status 2 on the command line
    ├── ReadError            the file cannot be read as a Keras model
    │   └── UnsafeFile       it can, but only by doing something a data file must not ask for
    ├── UnsupportedModel     the file is fine, but its replay would not be exact; carries every refusal at once
    ├── InputError           samples, options or selections that do not fit the model
    ├── OutputError          the result cannot be written
    ├── MissingExtra         an optional dependency is not installed
    └── OracleError          the real Keras could not be asked

Reasons and remedies name options as ``--force`` and ``--layer=lstm*``. `str` of an error puts that into Python's words
(``overwrite=True``, ``layers=lstm*``), `GateprobeError.flagged` into those of the command line (``--layer lstm*``).

`GateprobeWarning` is issued where a number is right only under a condition that the file cannot decide.

A mismatch found by ``verify`` or ``compare`` is a result, not an error.
"""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def reason_of(fault: OSError) -> str:
    """Return what to say of a file that cannot be read, in the same words wherever that happens."""
    if isinstance(fault, FileNotFoundError):
        return "there is no such file"
    return f"cannot be read: {fault.strerror or fault}"


_LISTED = 20
"""How many names a message lists."""
_NO_WORDS: Mapping[str, str] = {}
_PREFIX = 3
"""Letters in which a name and what was given for it must begin alike, the one being the beginning of the other."""


def nearest(wanted: str, there: Iterable[str], meant: Mapping[str, str] = _NO_WORDS) -> str | None:
    """Return the name that was most likely meant, ``None`` where none is near.

    Args:
        wanted: What was given.
        there: The names that can be given.
        meant: What others call these things → one of the names.

    Returns:
        A name that differs in capitals only; the only one that is longer or shorter at its end; the one that others
        call so; or one with few other letters.
    """
    names = {name.lower(): name for name in reversed(list(there))}
    lower = wanted.lower()
    if not lower:
        return None
    if lower in names:
        return names[lower]
    begun = [name for word, name in names.items() if _begins(lower, word) or _begins(word, lower)]
    if len(begun) == 1:
        return begun[0]
    if meant.get(lower) in names.values():
        return meant[lower]
    near = difflib.get_close_matches(lower, names, 1)
    return names[near[0]] if near else None


def _begins(short: str, long: str) -> bool:
    return len(short) >= _PREFIX and long.startswith(short)


def by_word(table: Mapping[str, str]) -> dict[str, str]:
    """Return word → name from name → its words with spaces between them, which is how such tables are written."""
    return {word: name for name, words in table.items() for word in words.split()}


def choices(there: Iterable[str], wanted: str = "", meant: Mapping[str, str] = _NO_WORDS) -> str | None:
    """Return the remedy for a name that is not there: the nearest one, and what is available.

    Args:
        there: The names that can be given.
        wanted: What was given instead, if it was a name.
        meant: As in `nearest`.
    """
    names = list(dict.fromkeys(there))
    if not names:
        return None
    near = nearest(wanted, names, meant)
    guess = f"did you mean {near}? " if near else ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{guess}available: {', '.join(names[:_LISTED])}{more}"


USERS_CODE = "code of the user's own, which gateprobe never runs"
"""What every refusal of such code says."""

_PYTHON: Mapping[str, str] = {
    "--against": "against",
    "--architecture": "architecture",
    "--backend": "backend",
    "--batch-size": "batch_size",
    "--by": "by",
    "--direction": "directions",
    "--dropout": "dropout",
    "--feed": "feeds",
    "--feed LAYER=FILE": "feeds={LAYER: array}",
    "--force": "overwrite=True",
    "--hard-sigmoid": "hard_sigmoid",
    "--format": "format",
    "--ignore-metadata": "ignore_metadata=True",
    "--kind": "kind",
    "--high": "high",
    "--lags": "lags",
    "--layer": "layers",
    "--last": "last=True",
    "--layout": "layout",
    "--map": "mapping",
    "--map THEIRS=OURS": "mapping={THEIRS: OURS}",
    "--max-bytes": "max_bytes",
    "--order": "order",
    "--pad": "pad",
    "--max-values": "max_values",
    "--low": "low",
    "--quantiles": "quantiles",
    "--sample": "samples",
    "--semantics": "semantics",
    "--signal": "signals",
    "--timestep": "timesteps",
    "--tokens": "tokens",
    "--unit": "units",
    "--vocab": "vocab",
}
"""Options in the command line's words → the keyword arguments of Python."""

_GIVEN = re.compile(r"(?<![^\s(])(--[a-z][a-z-]*)=")
_FLAG = re.compile(r"(?<![^\s(])(--feed LAYER=FILE|--map THEIRS=OURS|--[a-z][a-z-]*)(?: (?=[A-Z]{4}))?")


def in_python(text: str) -> str:
    """Put the options that a message names into the words of Python; other words stay."""
    return _FLAG.sub(_keyword, text)


def in_flags(text: str) -> str:
    """Put the options that a message names into the words of the command line."""
    return _GIVEN.sub(r"\1 ", text)


class Worded(str):  # noqa: SLOT000 - it holds the other wording
    """A text of a result: in Python's words, and in those of the command line as `flagged`."""

    flagged: str

    @classmethod
    def of(cls, text: str) -> Worded:
        """Take a text that names options as ``--force`` and ``--layer=lstm*``."""
        worded = cls(in_python(text))
        worded.flagged = in_flags(text)
        return worded


def flagged(text: str) -> str:
    """Return a text in the words of the command line, if it knows them."""
    return text.flagged if isinstance(text, Worded) else text


def _keyword(match: re.Match[str]) -> str:
    keyword = _PYTHON.get(match[1])
    if keyword is None:
        return match[0]
    return keyword if match[0] == match[1] else f"{keyword}="


@dataclass(frozen=True, slots=True)
class Feed:
    """What a user may give to a layer directly."""

    layer: str
    """Path of the call."""
    shape: str | None = None
    """What it reads, such as ``(samples, timesteps, 3)``, where that is known."""
    masked: bool = False
    """Whether a mask may reach it, which must then be given, too."""

    @property
    def name(self) -> str:
        """What to call the array: a name for a file, and for a variable."""
        return f"{re.sub(r'[^A-Za-z0-9]+', '_', self.layer).strip('_') or 'layer'}_input"

    def said(self, name: str) -> str:
        """Say what an array of this name holds."""
        shape = f", {self.shape}" if self.shape else ""
        mask = f" ({self.layer}.mask takes its mask, if one reaches it)" if self.masked else ""
        return f"{name} holds what {self.layer} reads{shape}{mask}"


@dataclass(frozen=True, slots=True)
class Way:
    """How to go on where layers are refused: what is known to work, because it was planned."""

    command: tuple[str, ...]
    """The command, without what follows from the rest."""
    feeds: tuple[Feed, ...] = ()
    """What to give to layers directly."""
    layers: tuple[str, ...] = ()
    """What to choose, without which it does not work; all without them."""
    inputs: bool = True
    """Whether any of the model's inputs is still needed."""
    stated: tuple[str, ...] = ()
    """Layers of which a wiring file may state what they do."""
    others: tuple[str, ...] = ()
    """Recurrent layers that do without what is refused."""
    traces: bool = False
    """Whether it gives the traces of the recurrent layers, and not the outputs that were wanted."""

    @property
    def flagged(self) -> str:
        """The advice in the words of the command line."""
        given = [word for feed in self.feeds for word in ("--feed", f"{feed.layer}={feed.name}.npy")]
        chosen = ["--layer", ",".join(self.layers)] if self.layers else []
        run = f"{'for the traces alone, ' * self.traces}run: {shlex.join([*self.command, *given, *chosen])}"
        return "; ".join(self._said(run, "{}.npy", "--layer ", "with --architecture"))

    def __str__(self) -> str:
        """The advice in Python's words."""
        feeds = ", ".join(f"{feed.layer!r}: {feed.name}" for feed in self.feeds)
        given = [f"feeds={{{feeds}}}"] * bool(feeds) + [f"layers={list(self.layers)!r}"] * bool(self.layers)
        return "; ".join(self._said(f"give {' and '.join(given)}", "{}", "layers=", "as architecture"))

    def _said(self, first: str, named: str, choosing: str, wiring: str) -> Iterator[str]:
        if self.feeds:
            yield f"{first}, where {' and '.join(feed.said(named.format(feed.name)) for feed in self.feeds)}"
        elif self.layers:
            yield first
        ways = [f"choose {choosing}{','.join(self.others)}"] * bool(self.others and not self.layers)
        stated = f"{' and '.join(self.stated)} {'does' if len(self.stated) == 1 else 'do'}"
        ways += [f"state what {stated} in a wiring file, {wiring} (docs/wiring.md)"] * bool(self.stated)
        if ways:
            yield f"{'or ' * bool(self.feeds or self.layers)}{' or '.join(ways)}"


class GateprobeError(Exception):
    """What is wrong, in which file, at which place, and what to do.

    Args:
        reason: What is wrong.
        file: The file it concerns, if there is one.
        place: Where inside the file: a layer path, a dataset, a configuration key.
        remedy: What the reader of the message can do.
        way: The command that works, where that was found out.
    """

    def __init__(
        self,
        reason: str,
        *,
        file: object | None = None,
        place: str | None = None,
        remedy: str | None = None,
        way: Way | None = None,
    ) -> None:
        super().__init__(reason, file, place, remedy)
        self.reason = reason
        self.file = None if file is None else str(file)
        self.place = place
        self.remedy = remedy
        self.way = way

    def __str__(self) -> str:
        """The whole message on one line, in Python's words."""
        return self._message(in_python)

    @property
    def flagged(self) -> str:
        """The same in the words of the command line."""
        return self._message(in_flags)

    def __reduce__(self) -> tuple[Callable[..., Exception], tuple[type[Exception], dict[str, Any]]]:
        """Let an error reach another process: its arguments are keywords."""
        return _restored, (type(self), self.__dict__)

    def _message(self, worded: Callable[[str], str]) -> str:
        where = [part for part in (self.file, self.place) if part]
        return printable(": ".join([*where, worded(self.reason)])) + self.advice(worded)

    def advice(self, worded: Callable[[str], str]) -> str:
        """Return what the user can do, after a semicolon, if anything."""
        way = "" if self.way is None else self.way.flagged if worded is in_flags else str(self.way)
        said = "; ".join(filter(None, (worded(self.remedy) if self.remedy else "", way)))
        return printable(f"; {said}") if said else ""


def _restored(kind: type[GateprobeError], fields: Mapping[str, Any]) -> GateprobeError:
    error = kind.__new__(kind)
    error.__dict__.update(fields)
    return error


class ReadError(GateprobeError):
    """The file cannot be read as a Keras model."""


class UnsafeFile(ReadError):
    """The file asks for something that a data file must not ask for: links, bombs, code."""


class InputError(GateprobeError):
    """Samples, options or a selection do not fit the model."""


class NotInTrace(InputError, KeyError, AttributeError):
    """A trace has no such layer, direction or signal; lists those it has.

    It is a `KeyError` and an `AttributeError` too, so that ``in``, ``get`` and ``hasattr`` work.
    """


class OutputError(GateprobeError):
    """The result cannot be written."""


class MissingExtra(GateprobeError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str, *others: str) -> None:
        also = "".join(f", or 'gateprobe[{other}]'" for other in others)
        super().__init__(f"{what} is not installed", remedy=f"run: pip install 'gateprobe[{extra}]'{also}")


class OracleError(GateprobeError):
    """The real Keras could not be asked, so nothing is verified."""


class GateprobeWarning(UserWarning):
    """The numbers are what Keras computes, under a condition that the user must know."""

    def __str__(self) -> str:
        """The text in Python's words."""
        return in_python(super().__str__())

    @property
    def flagged(self) -> str:
        """The same in the words of the command line."""
        return in_flags(super().__str__())


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
    other_weights: bool = False
    """Whether the layer needs other weights than the file holds."""
    unknown: bool = False
    """Whether what the layer computes is in no table of ours, so that a wiring file may state it."""

    def __str__(self) -> str:
        """``name (Class): reason`` on one line."""
        return self.message(in_python)

    @property
    def flagged(self) -> str:
        """The same in the words of the command line."""
        return self.message(in_flags)

    def message(self, worded: Callable[[str], str]) -> str:
        """Return the line with its reason put into other words."""
        return printable(f"{self.layer} ({self.class_name}): {worded(self.reason)}")


class UnsupportedModel(GateprobeError):
    """The model cannot be replayed exactly; carries every refusal, not only the first.

    Args:
        refusals: At least one.
        file: The model file.
        remedy: What the user can do.
        way: How to go on, where that was found out.
    """

    def __init__(
        self,
        refusals: Iterable[Refusal],
        *,
        file: object | None = None,
        remedy: str | None = None,
        way: Way | None = None,
    ) -> None:
        self.refusals = tuple(refusals)
        super().__init__("cannot replay this model", file=file, remedy=remedy, way=way)

    def _message(self, worded: Callable[[str], str]) -> str:
        """One line for one refusal, else a heading and one line for each."""
        name = printable(f"{self.file}: ") if self.file else ""
        advice = self.advice(worded)
        lines = [refusal.message(worded) for refusal in self.refusals]
        if len(lines) == 1:
            return f"{name}{lines[0]}{advice}"
        return f"{name}cannot replay this model{advice}\n" + "\n".join(f"  {line}" for line in lines)
