"""Where the names of the weights in a file contradict the order in which Keras reads them.

Keras reads lists by position and looks at no name. It wrote each weight under the name that the variable had, which is
that of its layer: ``bidirectional/backward_lstm/lstm_cell/kernel:0``. Where a list was written in another order than
the one in which it is read (what is frozen comes last, and a configuration does not keep all that was frozen), Keras
exchanges equally shaped weights without a word. The names tell.

A name alone proves nothing: layers are renamed, and TensorFlow 1 counted a name up when it was taken. What proves an
exchange is a closed circle: among some weights, each is named like the place of another one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateprobe.graph import LayerRecord, WeightGroup
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.binding.weight_order import Place, order_of
from gateprobe.semantics import Semantics

_LETTER = re.compile("[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Reading:
    """One stored weight and the place for which Keras reads it."""

    label: str
    """The name under which Keras stored it."""
    layer: str
    """The top-level layer."""
    place: Place

    @property
    def scopes(self) -> frozenset[str]:
        """The names of layers in the label; Keras 1 puts the layer's before that of the weight (``lstm_1_W_i``)."""
        *scopes, last = self.label.split("/")
        old = [name for name in self.place.names if last.startswith(f"{name}_") and _LETTER.match(last, len(name) + 1)]
        return frozenset((*scopes, *old))

    @property
    def last(self) -> str:
        """The last part of the label: the weight's own name."""
        return re.sub(r":\d+$", "", self.label.rpartition("/")[2])


def exchanged(
    layers: Iterable[LayerRecord], groups: Mapping[str, WeightGroup], semantics: Semantics
) -> tuple[str, ...]:
    """Return a note for each layer whose weights are read in another order than that in which they are named.

    Args:
        layers: The model's layers.
        groups: The list of each, by the layer's name.
        semantics: The meaning of words, which says how lists are ordered.
    """
    readings = [one for record in layers for one in _readings(record, groups.get(record.name), semantics)]
    wrong: dict[str, tuple[Reading, Reading]] = {}
    for reading, named in _circles(readings):
        wrong.setdefault(reading.layer, (reading, named))
    return tuple(_told(*pair) for pair in wrong.values())


def _told(reading: Reading, named: Reading) -> str:
    def where(one: Reading) -> str:
        return "/".join((*dict.fromkeys(one.place.names), one.place.slot.role))

    return (
        f"{reading.layer}: the names of its weights contradict their order: {reading.label!r} is read as "
        f"{where(reading)}, and is named like {where(named)}; Keras exchanges these weights when it opens the file, "
        "and the replay does what Keras does; the model that was saved computed something else (save it as .keras)"
    )


def _readings(record: LayerRecord, group: WeightGroup | None, semantics: Semantics) -> Iterator[Reading]:
    """Pair a layer's weights with their places; a layer that is not understood is refused elsewhere."""
    if group is None or any(array.label is None for array in group.arrays):
        return
    try:
        places = order_of(record, semantics).read
    except Unsupported:
        return
    if len(places) == len(group.arrays):
        for array, place in zip(group.arrays, places, strict=True):
            yield Reading(array.label or "", record.name, place)


@dataclass(slots=True)
class _Names:
    """Which places a label may mean."""

    readings: Sequence[Reading]
    owners: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    """Name → the objects that have it, or are inside one that has it; objects by all their names."""
    places: dict[tuple[tuple[str, ...], str], list[int]] = field(default_factory=dict)
    """Object and role → numbers of readings."""
    roles: set[str] = field(default_factory=set)
    nearest: dict[frozenset[str], list[tuple[str, ...]]] = field(default_factory=dict)
    """What has been looked up."""

    def __post_init__(self) -> None:
        for number, reading in enumerate(self.readings):
            names, role = reading.place.names, reading.place.slot.role
            self.roles.add(role)
            self.places.setdefault((names, role), []).append(number)
            for name in names:
                self.owners.setdefault(name, set()).add(names)
        objects = {names for names, _ in self.places}
        self.owners = {name: owners for name, owners in self.owners.items() if len(owners) < len(objects)}

    def meant(self, reading: Reading) -> list[int]:
        """Return the numbers of the readings at whose places a label may belong, or nothing when it does not say."""
        role = self._role(reading.last)
        scopes = reading.scopes
        if scopes not in self.nearest:
            self.nearest[scopes] = self._nearest(scopes)
        objects = self.nearest[scopes]
        if not objects:  # the layer is not named
            own = reading.place.names
            objects = [own] if role is None else [names for names, _ in self.places if names[0] == own[0]]
        wanted = self.roles if role is None else {role}
        return [number for names in objects for one in wanted for number in self.places.get((names, one), ())]

    def _nearest(self, scopes: frozenset[str]) -> list[tuple[str, ...]]:
        """Return the objects that share most names with a label."""
        counts: dict[tuple[str, ...], int] = {}
        for scope in scopes:
            for names in self.owners.get(scope, ()):
                counts[names] = counts.get(names, 0) + 1
        return [names for names, count in counts.items() if count == max(counts.values())]

    def _role(self, last: str) -> str | None:
        """Return the role that a weight is named after; TensorFlow 1 counted names up."""
        counted = re.sub(r"_\d+$", "", last)
        return last if last in self.roles else counted if counted in self.roles else None


def _circles(readings: Sequence[Reading]) -> Iterator[tuple[Reading, Reading]]:
    """Yield the readings that are named like places of others among them, each with one of these."""
    names = _Names(readings)
    meant = {number: names.meant(reading) for number, reading in enumerate(readings)}
    wrong = {number: set(places) for number, places in meant.items() if places and number not in places}
    while wrong:
        claimed = set[int]().union(*wrong.values())
        kept = {number: places & wrong.keys() for number, places in wrong.items() if number in claimed}
        kept = {number: places for number, places in kept.items() if places}
        if kept == wrong:
            break
        wrong = kept
    for number, places in wrong.items():
        yield readings[number], readings[min(places)]
