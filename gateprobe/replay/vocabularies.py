"""Vocabularies that a file keeps beside the configuration, put where Keras has those that are given to a layer.

What comes later reads the configuration alone: the layers, the migration, and Keras itself, which is given the words in
it when a model is verified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateprobe.graph import (
    LOOKUPS,
    LayerRecord,
    ModelGraph,
    ModelRecord,
    Vocabulary,
    WeightArray,
    WeightGroup,
    WeightStore,
    groups_within,
    records_in,
)
from gateprobe.layers.binding.weight_order import layer_paths


def with_vocabularies(graph: ModelGraph) -> ModelGraph:
    """Return a model whose lookup layers hold their words, and the weights of ``tf_idf``, in their configurations."""
    if graph.model is None or not any(record.class_name in LOOKUPS for record in records_in(graph.model)):
        return graph
    filler = _Filler(graph.vocabularies, graph.weights)
    model = filler.model(graph.model, "")
    weights = WeightStore(graph.weights.scheme, _without(graph.weights.root, filler.taken))
    return replace(graph, model=model, weights=weights, notes=(*graph.notes, *filler.notes))


@dataclass(slots=True)
class _Filler:
    vocabularies: Mapping[str, Vocabulary]
    weights: WeightStore
    taken: set[int] = field(default_factory=set)
    """Arrays that went into a configuration, by ``id``."""
    notes: list[str] = field(default_factory=list)

    def model(self, model: ModelRecord, prefix: str) -> ModelRecord:
        paths = layer_paths(model)
        return replace(model, layers=tuple(self._record(one, f"{prefix}{paths[one.name]}") for one in model.layers))

    def _record(self, record: LayerRecord, path: str) -> LayerRecord:
        if record.model is not None:
            return replace(record, model=self.model(record.model, f"{path}/"))
        if record.class_name not in LOOKUPS:
            return record
        config = dict(record.config)
        arrays = list(_idf_weights(_group_of(self.weights.root, path, record.name)))
        self.taken |= {id(array) for array in arrays}
        if config.get("vocabulary") is None:
            self._fill(config, record, path)
            if config.get("idf_weights") is None and arrays:
                config["idf_weights"] = arrays[0].value.tolist()
        return replace(record, config=config)

    def _fill(self, config: dict[str, Any], record: LayerRecord, path: str) -> None:
        found = self.vocabularies.get(path) or self.vocabularies.get(f"#{record.name}")
        if found is None:
            return
        words = list(found.words)
        if record.class_name == "IntegerLookup" and all(isinstance(word, str) for word in words):
            words = [int(word) if _is_integer(str(word)) else word for word in words]
        if found.first is not None:
            special = _special(config, record.class_name)
            if len(special) != found.first:
                note = f"its table begins with the id {found.first}, its settings with {len(special)}"
                self.notes.append(f"{record.name}: {note}")
                return
            words = [*special, *words]
        config["vocabulary"] = words


def _is_integer(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 20


def _special(config: Mapping[str, Any], class_name: str) -> list[Any]:
    """Return the entries that Keras puts before the words (``IndexLookup.set_vocabulary``)."""
    text = class_name == "TextVectorization"
    mask = "" if text else config.get("mask_token")
    unknown = config.get("oov_token", -1 if class_name == "IntegerLookup" else "[UNK]")
    count = 1 if text else config.get("num_oov_indices", 1)
    masked = mask is not None and config.get("output_mode", "int") == "int"
    return [mask] * masked + [unknown] * (count if isinstance(count, int) and count < 1 << 20 else 0)


def _group_of(root: WeightGroup, path: str, name: str) -> WeightGroup:
    """Return the group of a layer: at its path, under its name in a list, or where a group says its name."""
    group: WeightGroup | None = root
    for part in path.split("/"):
        group = None if group is None else group.children.get(part)
    if group is not None or name in root.children:
        return group if group is not None else root.children[name]
    return next((found for found in groups_within(root) if found.name == name), WeightGroup())


def _idf_weights(group: WeightGroup) -> Iterator[WeightArray]:
    """Yield the weights of ``tf_idf``, which some files hold twice: of the layer, and of the lookup inside it."""
    for one in groups_within(group):
        yield from (array for array in one.arrays if array.value.ndim == 1 and array.value.dtype.kind == "f")


def _without(group: WeightGroup, taken: set[int]) -> WeightGroup:
    if not taken:
        return group
    arrays = tuple(array for array in group.arrays if id(array) not in taken)
    return replace(group, arrays=arrays, children={k: _without(v, taken) for k, v in group.children.items()})
