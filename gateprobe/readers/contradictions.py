"""What a file says against itself: the one list of checks.

Each check ends in a refusal, a note, or *rivals*: other eras that the evidence allows or claims. A model that uses a
word whose meaning differs between rivals is refused when it is bound, until the user says which one is meant
(`gateprobe.replay.contested`).

- versions of one file that differ from each other (`weigh`);
- a version against the words of the configuration (`weigh`);
- no version, and evidence that fits several Kerases (`weigh`);
- layers that no call or no output reaches, and which Keras therefore leaves out (`unreached`);
- arrays that share bytes of an HDF5 file (`Addresses`).

Three more are found where what they need is known: two containers in one file, or a suffix that says another one, in
`gateprobe.readers.containers`; weights that no layer claims in `gateprobe.replay.unclaimed`; and names of weights that
contradict the order in which Keras reads them in `gateprobe.layers.binding.weight_names`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateprobe.errors import UnsafeFile
from gateprobe.graph import Era, LayerRecord, ModelRecord, references
from gateprobe.readers.version import era_of_version, objects

Rival = tuple[Era, str | None]

_ALL = frozenset(Era)
_OLD = frozenset({Era.KERAS1, Era.KERAS2})
_NEW = frozenset({Era.KERAS2, Era.KERAS3})
_WORDS = {Era.KERAS1: "Keras 1", Era.KERAS2: "Keras 2", Era.KERAS3: "Keras 3"}


@dataclass(frozen=True, slots=True)
class EraVerdict:
    """What the versions and words of a file come to."""

    era: Era
    evidence: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rivals: tuple[Rival, ...] = ()


def weigh(version: str, place: str, others: Iterable[tuple[str, str]], config: Any) -> EraVerdict:
    """Compare everything in a file that tells its era.

    Args:
        version: Of the Keras that wrote the file, as it says itself.
        place: Where it says so.
        others: Further places in the file that give a version, and what they give.
        config: The file's own architecture, ``None`` without one.

    Returns:
        The era of the configuration's words, if these cannot be those of the version's era; with the version as rival.

    Raises:
        ReadError: One of the versions is of no Keras that is known.
    """
    era, notes, rivals = era_of_version(version, place), list[str](), list[Rival]()
    for where, other in others:
        if other != version:
            notes.append(f"{place} says Keras {version}, {where} says {other}: taken for {version}")
            rivals.append((era_of_version(other, where), other))
    possible = era if config is None else _era_of_words(config, era)
    if possible is not era:
        notes.append(
            f"{place} says Keras {version}, but the configuration is written in words of {_WORDS[possible]}: "
            "one of the two was changed"
        )
        rivals.append((era, version))
    return EraVerdict(possible, (f"{place} says {version}",), tuple(notes), tuple(rivals))


def _era_of_words(config: Any, said: Era) -> Era:
    """Return the era that was said, if a configuration can be of it, else the latest of which it can be."""
    possible = _ALL
    for entry in objects(config):
        for eras in _proofs(entry):
            possible &= eras
    if not possible or said in possible:
        return said
    return Era.KERAS2 if Era.KERAS2 in possible else next(iter(possible))


def _proofs(entry: Mapping[str, Any]) -> Iterator[frozenset[Era]]:
    """Yield the eras to which a word that not all eras know narrows a configuration down."""
    if entry.get("class_name") in ("DTypePolicy", "__keras_tensor__") or entry.keys() == {"args", "kwargs"}:
        yield frozenset({Era.KERAS3})
    if entry.keys() & {"inner_activation", "nb_filter", "border_mode"} or entry.keys() >= {"output_dim", "init"}:
        yield frozenset({Era.KERAS1})
    if entry.keys() & {"recurrent_activation", "kernel_initializer"}:
        yield _NEW
    config = entry.get("config")
    if entry.get("class_name") == "InputLayer" and isinstance(config, dict):
        if "batch_shape" in config:
            yield frozenset({Era.KERAS3})
        elif "batch_input_shape" in config:
            yield _OLD


def unreached(model: ModelRecord, path: str = "") -> Iterator[str]:
    """Say which layers of a graph Keras leaves out when it loads the file, nested ones too."""
    reached = _reached(model)
    for record in model.layers:
        own = f"{path}{record.name}"
        if record.class_name != "InputLayer" and not record.calls:
            yield f"{own} ({record.class_name}) is in the file and never called: it cannot be traced"
        elif record.class_name != "InputLayer" and record.name not in reached:
            yield f"{own} ({record.class_name}) reaches no output: Keras leaves it out when it loads the file"
        for inner in _models_in(record):
            yield from unreached(inner, f"{own}/")


def _models_in(record: LayerRecord) -> Iterator[ModelRecord]:
    if record.model is not None:
        yield record.model
    for group in record.children.values():
        for child in group:
            yield from _models_in(child)


def _reached(model: ModelRecord) -> set[str]:
    """Return the names of the layers on which the outputs depend."""
    records = {record.name: record for record in model.layers}
    seen: set[tuple[str, int]] = set()
    stack = [(ref.layer, ref.call) for ref in model.outputs]
    while stack:
        name, number = node = stack.pop()
        if node in seen or name not in records:
            continue
        seen.add(node)
        for call in records[name].calls[number : number + 1]:
            stack += [(ref.layer, ref.call) for ref in references((call.args, call.kwargs))]
    return {name for name, _ in seen}


@dataclass(slots=True)
class Addresses:
    """Which bytes of an HDF5 file hold arrays; no two arrays may share any."""

    _taken: list[tuple[int, int, str]] = field(default_factory=list)

    def take(self, start: int | None, size: int, place: str) -> None:
        """Take the bytes of an array.

        Raises:
            UnsafeFile: Another array has taken some of them.
        """
        if start is None or not size:
            return
        at = bisect_left(self._taken, (start, 0, ""))
        for first, end, other in self._taken[max(0, at - 1) : at + 1]:
            if first < start + size and start < end:
                raise UnsafeFile(f"lies in the same bytes as {other}, which Keras never writes", place=place)
        insort(self._taken, (start, start + size, place))
