"""Which array of a file is which weight of which layer: by position and class, checked against shapes.

Names of arrays say nothing reliable (``lstm_cell_3/kernel:0``, ``time_distributed_1/backward_lstm/...``). What is
reliable is the order in which Keras creates the weights of a class, and how each kind of file lists them:

- `WeightScheme.LAYER_LISTS`: for each top-level layer one list, trainable weights first (``layer.trainable_weights +
  layer.non_trainable_weights``: ``keras/engine/topology.py`` 1.2.2 to ``keras/src/legacy/saving/legacy_h5_format.py``
  3.15.1), an object's own weights before those of the layers inside it.
- `WeightScheme.OBJECT_PATHS`: a tree of attributes (``keras/src/saving/saving_lib.py`` 3.15.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from gateprobe.graph import (
    Array,
    LayerRecord,
    ModelRecord,
    Namespace,
    WeightArray,
    WeightGroup,
    WeightScheme,
    WeightStore,
)
from gateprobe.layers.registry import Slot, kind_of
from gateprobe.layers.rnn import counted_names
from gateprobe.layers.settings import Settings, Unsupported
from gateprobe.semantics import Semantics


class Weights(Protocol):
    """The weights of one object, and of the objects inside it."""

    def own(self, slots: Sequence[Slot]) -> Mapping[str, Array]:
        """Return the object's own arrays by role, with checked shapes.

        Raises:
            Unsupported: Too many, too few, or of another shape.
        """

    def part(self, path: str, record: LayerRecord) -> Weights:
        """Return the weights of the object at an attribute path."""


def find_weights(model: ModelRecord, store: WeightStore, semantics: Semantics) -> Callable[[LayerRecord], Weights]:
    """Return the function that finds the weights of a top-level layer.

    It raises `Unsupported` when the file holds other weights than the layer needs, or they cannot be told apart.
    """
    if store.scheme is WeightScheme.OBJECT_PATHS:
        root, paths = TreeWeights(store.root), layer_paths(model)
        return lambda record: root.part(paths[record.name], record)
    groups = _listed_groups(model, store.root, semantics)

    def listed(record: LayerRecord) -> Weights:
        group = groups().get(record.name)
        return ListedWeights.of(record, () if group is None else group.arrays, semantics)

    return listed


def layer_paths(model: ModelRecord) -> dict[str, str]:
    """Return the attribute path of each layer of a model, by the layer's name."""
    layers = tuple(layer for layer in model.layers if layer.namespace is not Namespace.OPERATION)
    return {layer.name: f"layers/{name}" for layer, name in zip(layers, counted_names(layers), strict=True)} | {
        layer.name: "layers/" for layer in model.layers if layer.namespace is Namespace.OPERATION
    }


def parts_of(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """Return the records inside a record by attribute path.

    Raises:
        Unsupported: The class is unknown, so nobody can say what is inside.
    """
    if record.model is not None:
        paths = layer_paths(record.model)
        return {f"{paths[layer.name]}#{layer.name}": layer for layer in record.model.layers}
    kind = kind_of(record)
    if kind is None:
        raise Unsupported(f"unknown layer class {record.class_name}")
    return kind.parts(record)


def slots_of(record: LayerRecord, semantics: Semantics) -> tuple[Slot, ...]:
    """Return a record's own weights in Keras's order.

    Raises:
        Unsupported: The class is unknown or its configuration is not understood.
    """
    kind = kind_of(record)
    if record.model is not None or record.class_name == "InputLayer":
        return ()
    if kind is None:
        raise Unsupported(f"unknown layer class {record.class_name}")
    return kind.slots(record, Settings(record.config, semantics))


@dataclass(frozen=True, slots=True, eq=False)
class TreeWeights:
    """Weights addressed by object paths."""

    group: WeightGroup

    def own(self, slots: Sequence[Slot]) -> Mapping[str, Array]:
        """See `Weights`."""
        ordered = sorted(slots, key=lambda slot: not slot.trainable)
        return _matched(ordered, self.group.arrays)

    def part(self, path: str, record: LayerRecord) -> TreeWeights:
        """See `Weights`. Where the file records names, the name decides between objects of one class."""
        *parents, last = path.partition("#")[0].split("/")
        group = self.group
        for name in parents:
            group = group.children.get(name, WeightGroup())
        named = [child for child in group.children.values() if child.name == record.name]
        if len(named) == 1 and parents:
            return TreeWeights(named[0])
        private = group.children.get(f"_{last}", WeightGroup())  # an attribute without a public name
        return TreeWeights(group.children.get(last, private))


@dataclass(frozen=True, slots=True, eq=False)
class ListedWeights:
    """Weights dealt out from one list."""

    arrays: Mapping[str, Sequence[WeightArray]]
    """Object path → its own arrays, in the order of its slots."""
    prefix: str = ""

    @classmethod
    def of(cls, record: LayerRecord, arrays: Sequence[WeightArray], semantics: Semantics) -> ListedWeights:
        """Deal out the list of a top-level layer to it and to the layers inside it."""
        if record.model is not None and _is_trainable(record) and not semantics.trainable_is_inherited:
            _refuse_frozen_conv_lstm(record)
        wanted = list(_listed(record, semantics))
        if len(wanted) != len(arrays):
            raise Unsupported(f"expected {len(wanted)} weights, the file holds {len(arrays)}")
        order = sorted(range(len(wanted)), key=lambda n: _is_trainable(record) and not wanted[n][2])
        dealt: dict[str, dict[int, WeightArray]] = {}
        for n, array in zip(order, arrays, strict=True):
            dealt.setdefault(wanted[n][0], {})[n] = array
        return cls({path: [own[n] for n in sorted(own)] for path, own in dealt.items()})

    def own(self, slots: Sequence[Slot]) -> Mapping[str, Array]:
        """See `Weights`."""
        return _matched([slot for slot in slots if not slot.alias], self.arrays.get(self.prefix, ()))

    def part(self, path: str, record: LayerRecord) -> Weights:
        """See `Weights`."""
        return ListedWeights(self.arrays, f"{self.prefix}/{path}")


def _listed(record: LayerRecord, semantics: Semantics) -> Iterator[tuple[str, Slot, bool]]:
    """Yield what `_walk` does, every weight once: where it is met first."""
    seen: set[tuple[str, str]] = set()
    for path, slot, trainable in _walk(record, "", semantics, trainable=True):
        if (path, slot.role) not in seen:
            seen.add((path, slot.role))
            yield path, slot, trainable


def _walk(record: LayerRecord, path: str, semantics: Semantics, *, trainable: bool) -> Iterator[tuple[str, Slot, bool]]:
    """Yield (object path, slot, whether Keras counts it as trainable), an object's own weights first."""
    trainable = _is_trainable(record) and (trainable or not semantics.trainable_is_inherited)
    for slot in slots_of(record, semantics):
        if slot.alias:  # the first weight of the layer inside, which this one holds too
            name, part = next(iter(parts_of(record).items()))
            yield next(_walk(part, f"{path}/{name}", semantics, trainable=trainable))
        else:
            yield path, slot, trainable and slot.trainable
    if record.class_name == "InputLayer":
        return
    for name, part in parts_of(record).items():
        yield from _walk(part, f"{path}/{name}", semantics, trainable=trainable)


def _refuse_frozen_conv_lstm(record: LayerRecord) -> None:
    """Refuse a ConvLSTM that is not trainable, inside a model of Keras 3.

    Whether its cell is trainable, and its weights come before those that are not, depends on how it was frozen: by its
    constructor or afterwards.

    Raises:
        Unsupported: There is one.
    """
    inside = [child for group in record.children.values() for child in group]
    inside += record.model.layers if record.model is not None else ()
    if record.class_name.startswith("ConvLSTM") and not _is_trainable(record):
        raise Unsupported(
            f"{record.name} is a ConvLSTM that is not trainable: HDF5 lists its weights in one of two orders and does "
            "not say in which; save the model as .keras"
        )
    for part in inside:
        _refuse_frozen_conv_lstm(part)


def _is_trainable(record: LayerRecord) -> bool:
    return record.config.get("trainable", True) is not False


def _listed_groups(
    model: ModelRecord, root: WeightGroup, semantics: Semantics
) -> Callable[[], Mapping[str, WeightGroup]]:
    """Return each layer's list: by its name when the file and the model name the same layers, else by position."""
    filled = {name: group for name, group in root.children.items() if group.arrays}
    if filled.keys() <= {layer.name for layer in model.layers}:
        return lambda: filled

    @cache
    def by_position() -> Mapping[str, WeightGroup]:
        needing = [layer.name for layer in model.layers if any(_walk(layer, "", semantics, trainable=True))]
        if len(needing) != len(filled):
            raise Unsupported(
                f"the architecture has {len(needing)} layers with weights, the file {len(filled)}: {', '.join(filled)}"
            )
        return dict(zip(needing, filled.values(), strict=True))

    return by_position


def _matched(slots: Sequence[Slot], arrays: Sequence[WeightArray]) -> dict[str, Array]:
    if len(slots) != len(arrays):
        names = ", ".join(slot.role for slot in slots) or "no weights"
        raise Unsupported(f"expected {names}, the file holds {len(arrays)} arrays")
    for slot, array in zip(slots, arrays, strict=True):
        shape = array.value.shape
        wanted = (None,) * len(shape) if slot.shape is None else slot.shape
        fits = len(shape) == len(wanted) and all(want in (None, have) for want, have in zip(wanted, shape, strict=True))
        if not fits or 0 in shape:
            expected = "(" + ", ".join("any" if size is None else str(size) for size in wanted) + ")"
            raise Unsupported(f"{slot.role}: expected shape {expected}, {array.name} in the file has {shape}")
        if array.value.dtype.kind not in ("iuf" if slot.integers else "f"):
            raise Unsupported(f"{slot.role}: expected floating point, {array.name} holds {array.value.dtype}")
    return {slot.role: np.asarray(array.value) for slot, array in zip(slots, arrays, strict=True)}
