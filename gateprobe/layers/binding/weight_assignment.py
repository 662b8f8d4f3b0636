"""Which array of a file is which weight of which layer: by position and class, checked against shapes.

Keras goes by the order in which it creates the weights of a class, and by how each kind of file lists them. Names of
arrays (``lstm_cell_3/kernel:0``, ``time_distributed_1/backward_lstm/...``) it does not look at; where they contradict
the order, `gateprobe.layers.binding.weight_names` says so.

- `WeightScheme.LAYER_LISTS`: for each top-level layer one list, what is frozen last
  (`gateprobe.layers.binding.weight_order`).
- `WeightScheme.OBJECT_PATHS`: a tree of attributes (``keras/src/saving/saving_lib.py`` 3.15.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np

from gateprobe.graph import (
    Array,
    LayerRecord,
    ModelRecord,
    WeightArray,
    WeightGroup,
    WeightScheme,
    WeightStore,
    freeze,
)
from gateprobe.layers.binding.lora import adapted_role, merged
from gateprobe.layers.binding.registry import Slot
from gateprobe.layers.binding.settings import OtherWeights, Unsupported
from gateprobe.layers.binding.weight_names import exchanged
from gateprobe.layers.binding.weight_order import layer_paths, order_of
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

    It raises `OtherWeights` when the file holds other weights than the layer needs, or they cannot be told apart.
    """
    if store.scheme is WeightScheme.OBJECT_PATHS:
        root, paths = TreeWeights(store.root), layer_paths(model)
        return lambda record: root.part(paths[record.name], record)
    groups = _listed_groups(model, store.root, semantics)

    def listed(record: LayerRecord) -> Weights:
        group = groups().get(record.name)
        return ListedWeights.of(record, () if group is None else group.arrays, semantics)

    return listed


def contradictions(model: ModelRecord, store: WeightStore, semantics: Semantics) -> tuple[str, ...]:
    """Return a note for each place where the file's own names contradict what Keras reads there."""
    if store.scheme is WeightScheme.OBJECT_PATHS:
        return ()
    try:
        groups = _listed_groups(model, store.root, semantics)()
    except Unsupported:  # told when the layers are bound
        return ()
    return exchanged(model.layers, groups, semantics)


@dataclass(frozen=True, slots=True, eq=False)
class TreeWeights:
    """Weights addressed by object paths."""

    group: WeightGroup

    def own(self, slots: Sequence[Slot]) -> Mapping[str, Array]:
        """See `Weights`."""
        ordered = sorted(slots, key=lambda slot: not slot.trainable)
        return _matched(ordered, _by_attribute(ordered, self.group.arrays))

    def part(self, path: str, record: LayerRecord) -> TreeWeights:
        """See `Weights`. Where the file records names, the name decides between objects that no shape mistakes.

        Raises:
            Unsupported: Path and name lead to different objects with equally shaped weights. Keras goes by the path.
        """
        *parents, last = path.partition("#")[0].split("/")
        group = self.group
        for name in parents:
            group = group.children.get(name, WeightGroup())
        private = group.children.get(f"_{last}", WeightGroup())  # an attribute without a public name
        at_path = group.children.get(last, private)
        named = group.named.get(record.name, ())
        if len(named) != 1 or not parents or named[0] is at_path:
            return TreeWeights(at_path)
        if at_path.name is not None and _shapes(at_path) == _shapes(named[0]):
            raise Unsupported(
                f"its weights should be at {'/'.join((*parents, last))}, where the file holds those of "
                f"{at_path.name!r}; those named {record.name!r} are elsewhere, and of the same shapes"
            )
        return TreeWeights(named[0])


@dataclass(frozen=True, slots=True, eq=False)
class ListedWeights:
    """Weights dealt out from one list."""

    arrays: Mapping[str, Mapping[str, WeightArray]]
    """Object path → its own arrays by role."""
    prefix: str = ""

    @classmethod
    def of(cls, record: LayerRecord, arrays: Sequence[WeightArray], semantics: Semantics) -> ListedWeights:
        """Deal out the list of a top-level layer to it and to the layers inside it."""
        order = order_of(record, semantics).read
        if len(order) != len(arrays):
            raise OtherWeights(f"expected {len(order)} weights, the file holds {len(arrays)}")
        owners: dict[str, LayerRecord] = {}
        dealt: dict[str, dict[str, WeightArray]] = {}
        for place, array in zip(order, arrays, strict=True):
            owners[place.path] = place.owner
            dealt.setdefault(place.path, {})[place.slot.role] = array
        return cls({path: _with_adapters_merged(owners[path], own) for path, own in dealt.items()})

    def own(self, slots: Sequence[Slot]) -> Mapping[str, Array]:
        """See `Weights`."""
        own = self.arrays.get(self.prefix, {})
        wanted = [slot for slot in slots if not slot.alias]
        return _matched(wanted, [own[slot.role] for slot in wanted if slot.role in own])

    def part(self, path: str, record: LayerRecord) -> Weights:
        """See `Weights`."""
        return ListedWeights(self.arrays, f"{self.prefix}/{path}")


def _with_adapters_merged(owner: LayerRecord, arrays: dict[str, WeightArray]) -> Mapping[str, WeightArray]:
    if adapted_role(owner) is None:
        return arrays
    values = merged(owner, {role: array.value for role, array in arrays.items()})
    return {role: replace(arrays[role], value=freeze(value)) for role, value in values.items()}


def _listed_groups(
    model: ModelRecord, root: WeightGroup, semantics: Semantics
) -> Callable[[], Mapping[str, WeightGroup]]:
    """Return each layer's list: by its name when the file and the model name the same layers, else by position.

    Keras goes by position alone. Where that gives another layer's list of the same shapes, what is returned raises
    `Unsupported`.
    """
    filled = {name: group for name, group in root.children.items() if group.arrays}
    in_model = [layer.name for layer in model.layers if layer.name in filled]
    if len(in_model) == len(filled):
        moved = [(name, there) for name, there in zip(in_model, filled, strict=True) if name != there]
        if not moved or any(_shapes(filled[name]) != _shapes(filled[there]) for name, there in moved):
            return lambda: filled

        def refuse() -> Mapping[str, WeightGroup]:
            names, listed = (", ".join(column) for column in zip(*moved, strict=True))
            raise Unsupported(
                f"the file lists the weights of {listed} in the place of {names}, of the same shapes; "
                "Keras goes by the place, and the names say otherwise"
            )

        return refuse

    @cache
    def by_position() -> Mapping[str, WeightGroup]:
        needing = [layer.name for layer in model.layers if order_of(layer, semantics).read]
        if len(needing) != len(filled):
            raise Unsupported(
                f"the architecture has {len(needing)} layers with weights, the file {len(filled)}: {', '.join(filled)}"
            )
        return dict(zip(needing, filled.values(), strict=True))

    return by_position


def _shapes(group: WeightGroup) -> Any:
    """Return the shapes of all weights of an object and of the objects inside it."""
    inside = {name: _shapes(child) for name, child in group.children.items()}
    return [array.value.shape for array in group.arrays], inside


def _by_attribute(slots: Sequence[Slot], arrays: Sequence[WeightArray]) -> Sequence[WeightArray]:
    """Return arrays in the order of slots if they are called like them, as Keras finds them in checkpoints."""
    called = {array.attribute: array for array in arrays}
    roles = [slot.role for slot in slots]
    return [called[role] for role in roles] if called.keys() == set(roles) and len(called) == len(arrays) else arrays


def _matched(slots: Sequence[Slot], arrays: Sequence[WeightArray]) -> dict[str, Array]:
    if len(slots) != len(arrays):
        names = ", ".join(slot.role for slot in slots) or "no weights"
        raise OtherWeights(f"expected {names}, the file holds {len(arrays)} arrays")
    for slot, array in zip(slots, arrays, strict=True):
        shape = array.value.shape
        wanted = (None,) * len(shape) if slot.shape is None else slot.shape
        fits = len(shape) == len(wanted) and all(want in (None, have) for want, have in zip(wanted, shape, strict=True))
        if not fits or 0 in shape:
            expected = "(" + ", ".join("any" if size is None else str(size) for size in wanted) + ")"
            raise OtherWeights(f"{slot.role}: expected shape {expected}, {array.name} in the file has {shape}")
        if array.value.dtype.kind not in ("iuf" if slot.integers else "f"):
            raise Unsupported(f"{slot.role}: expected floating point, {array.name} holds {array.value.dtype}")
    return {slot.role: np.asarray(array.value) for slot, array in zip(slots, arrays, strict=True)}
