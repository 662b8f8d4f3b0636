"""The weights of a SavedModel as a tree of objects, by the attributes that hold them.

What Keras tracks by which name: ``tf_keras/src/saving/legacy/saved_model/{model,layer}_serialization.py`` 2.21, and
``_layer_checkpoint_dependencies`` in ``tf_keras/src/engine/functional.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateprobe.errors import UnsafeFile
from gateprobe.graph import Array, WeightArray, WeightGroup, WeightScheme, WeightStore
from gateprobe.readers.savedmodel.objects import BOOKKEEPING, ROOT, Described, TrackedObject

MAX_DEPTH = 100
_WITH_WEIGHTS = "layer_with_weights-"
_LAYERS = ("_tf_keras_layer", "_tf_keras_rnn_layer", "_tf_keras_input_layer")
_MODELS = ("_tf_keras_network", "_tf_keras_sequential", "_tf_keras_model")
_DEPENDENCY = re.compile(r"layer(_with_weights)?-\d+")
"""What a functional model calls its layers; a class of its own may have further attributes."""


@dataclass(slots=True)
class Objects:
    """The objects of a SavedModel, what Keras recorded of them, and their values."""

    tracked: Sequence[TrackedObject]
    described: Mapping[int, Described]
    values: Mapping[str, Array]
    """By key of the checkpoint."""
    groups: dict[int, WeightGroup] = field(default_factory=dict)
    """Those made so far: a layer that several objects hold is one group."""

    def store(self, root: int = ROOT) -> WeightStore:
        """Return the weights of an object and of all that it holds."""
        return WeightStore(WeightScheme.OBJECT_PATHS, self._group(root, ()))

    def _group(self, number: int, above: tuple[int, ...]) -> WeightGroup:
        """Return an object's arrays and the groups of the objects that it holds.

        Args:
            number: Of the object.
            above: The objects that hold it, which it may refer back to.
        """
        if number in self.groups:
            return self.groups[number]
        if len(above) > MAX_DEPTH:
            raise UnsafeFile(f"objects are nested more than {MAX_DEPTH} deep", place="variables")
        kind = self._kind(number)
        children = {name: child for name, child in self._children(number) if child not in (*above, number)}
        layers = dict(self._layers(number)) if kind in _MODELS else {}
        held = {name: child for name, child in layers.items() if child not in above}
        inside = {name: self._group(child, (*above, number)) for name, child in held.items()}
        groups = {
            name: self._group(child, (*above, number))
            for name, child in children.items()
            if self.tracked[child].key is None and child not in layers.values()
        }
        named = {"layers": WeightGroup(children=inside)} if inside else {}
        group = WeightGroup(tuple(self._arrays(children)), {**groups, **named}, self._name(number))
        self.groups[number] = group
        return group

    def _kind(self, number: int) -> str:
        return self.described[number].identifier if number in self.described else ""

    def _name(self, number: int) -> str | None:
        return self.described[number].name if number in self.described else None

    def _children(self, number: int) -> Iterator[tuple[str, int]]:
        """Yield the objects that one holds; a layer that its model counts twice by the more telling name."""
        children = self.tracked[number].children
        counted = {child for name, child in children.items() if name.startswith(_WITH_WEIGHTS)}
        for name, child in children.items():
            again = child in counted and _DEPENDENCY.fullmatch(name) and not name.startswith(_WITH_WEIGHTS)
            if name not in BOOKKEEPING and not again:
                yield name, child

    def _arrays(self, children: Mapping[str, int]) -> Iterator[WeightArray]:
        """Yield the numbers among the children, in the order in which the layer made them."""
        first: dict[int, str] = {}
        for name, child in children.items():
            first.setdefault(child, name)
        for child, name in first.items():
            variable = self.tracked[child]
            if variable.key is not None and variable.key in self.values:
                value = self.values[variable.key]
                yield WeightArray(variable.full_name or variable.key, value, attribute=name.lstrip("_"))

    def _layers(self, model: int) -> Iterator[tuple[str, int]]:
        """Yield the layers that a model holds itself, or in lists and mappings, each once, by attribute path."""
        found = list(self._held(model))
        dependencies = [(path, child) for path, child in found if _DEPENDENCY.fullmatch(path)]
        yield from dependencies or found

    def _held(self, model: int) -> Iterator[tuple[str, int]]:
        seen = {model}
        stack = list(self._children(model))[::-1]
        while stack:
            path, number = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            if self._kind(number) in (*_LAYERS, *_MODELS):
                yield path, number
            elif number not in self.described:
                stack += [(f"{path}.{name}", child) for name, child in self._children(number)][::-1]
