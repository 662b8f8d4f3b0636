"""What ``gateprobe verify --json`` said of a model, read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateprobe.errors import InputError, printable
from gateprobe.inputs.tokens import json_file

_FORMATS = (1, 2)
"""What is shown here is the same in both."""
_WORDS = {"agrees": "AGREES", "disagrees": "DISAGREES", "random": "RANDOM"}


@dataclass(frozen=True, slots=True)
class WrittenVerification:
    """A verification that was written as JSON."""

    name: str
    """Of the file, for messages."""
    said: Mapping[str, Any]
    """What is in it; its format and status are checked, nothing else."""

    def about(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return it in words, for a trace.

        Args:
            metadata: Of the trace.

        Returns:
            ``status``, a ``badge``, a ``sentence`` and further ``lines``.

        Raises:
            InputError: It is on another file, or on other meanings of its words.
        """
        model = metadata.get("model")
        sha256 = model.get("sha256") if isinstance(model, Mapping) else None
        return {
            "status": self.said["status"],
            "badge": f"{self._word} with Keras",
            "sentence": f"{self._word}: {self._compared}",
            "lines": [
                *self._provenance(self._same("sha256", sha256), self._same("semantics", metadata.get("semantics"))),
                *self._lines(),
            ],
        }

    def _same(self, key: str, here: object) -> bool:
        """Whether both say the same; false where one of them says nothing.

        Raises:
            InputError: They differ.
        """
        there = self.said.get(key)
        if not isinstance(here, str) or not isinstance(there, str):
            return False
        if here != there:
            what = "another model file" if key == "sha256" else f"the model with other meanings: {printable(there)}"
            raise InputError(
                f"is about {what}", file=self.name, remedy="run gateprobe verify on this model, with its options"
            )
        return True

    def _provenance(self, same_file: bool, same_words: bool) -> Iterator[str]:
        file = _text(self.said.get("file"))
        if same_file:
            yield f"gateprobe verify, on this very file: {file}."
        else:
            yield f"gateprobe verify, on {file or 'a file without a name'}; whether that is this model is not known."
        if not same_words:
            yield "Whether the words of the file had the same meaning is not known."

    @property
    def _word(self) -> str:
        word = _WORDS[self.said["status"]]
        return f"{word} IN PART" if word == "AGREES" and _list(self.said.get("left_out")) else word

    @property
    def _compared(self) -> str:
        signals = [one for one in _list(self.said.get("signals")) if isinstance(one, Mapping)]
        values = sum(one["values"] for one in signals if type(one.get("values")) is int)
        wrong = sum(one["mismatches"] for one in signals if type(one.get("mismatches")) is int)
        keras = _text(self.said.get("keras")) or "Keras"
        numbers = f"{values:,} numbers in {len(signals):,} signal{'' if len(signals) == 1 else 's'}"
        return f"{wrong:,} of {numbers} differ from {keras}" if wrong else f"{numbers} compared with {keras}"

    def _lines(self) -> Iterator[str]:
        inputs = [one for one in _list(self.said.get("inputs")) if isinstance(one, Mapping)]
        yield from (f"Inputs: {_text(one.get('description'))}." for one in inputs)
        built = _text(self.said.get("built_because"))
        if built:
            yield f"Keras's model was built from the graph that was read; a fault in reading would not show: {built}."
        for key, what in (
            ("problems", "Disagrees"),
            ("left_out", "Not compared"),
            ("random", "Random at inference"),
            ("notes", "Note"),
        ):
            yield from (f"{what}: {_text(text)}" for text in _list(self.said.get(key)))
        for one in _list(self.said.get("explanations")):
            if isinstance(one, Mapping):
                yield f"Would explain it: {_text(one.get('text'))}"


def read_verdict(file: str) -> WrittenVerification:
    """Read a verification.

    Raises:
        InputError: It is not one that ``gateprobe verify --json`` wrote.
    """
    name, value = json_file(file)
    if not isinstance(value, dict) or not {"format", "status", "signals", "keras"} <= value.keys():
        raise InputError("is no verification", file=name, remedy="give the JSON that gateprobe verify prints")
    if value["format"] not in _FORMATS or type(value["format"]) is not int:
        reason = (
            f"has the format {printable(value['format']):.20}; this gateprobe reads {' and '.join(map(str, _FORMATS))}"
        )
        raise InputError(reason, file=name, remedy="run gateprobe verify again")
    if not isinstance(value["status"], str) or value["status"] not in _WORDS:
        raise InputError(f"has the status {printable(value['status']):.20}, which verify does not give", file=name)
    return WrittenVerification(name, value)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return printable(value) if isinstance(value, str) else ""
