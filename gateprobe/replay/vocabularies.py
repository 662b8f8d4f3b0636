"""Vocabularies that a file keeps beside the configuration, put where Keras has those that are given to a layer.

What comes later reads the configuration alone: the layers, the migration, and Keras itself, which is given the words in
it when a model is verified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateprobe.errors import InputError
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

_LISTED = "give layer.get_vocabulary() of this model, one word a line"


def with_vocabularies(graph: ModelGraph) -> ModelGraph:
    """Return a model whose lookup layers hold their words, and the weights of ``tf_idf``, in their configurations."""
    if graph.model is None or not any(record.class_name in LOOKUPS for record in records_in(graph.model)):
        return graph
    filler = _Filler(graph.vocabularies, graph.weights)
    model = filler.model(graph.model, "")
    weights = WeightStore(graph.weights.scheme, _without(graph.weights.root, filler.taken))
    lent = {**graph.words_of, **filler.lent}
    return replace(graph, model=model, weights=weights, notes=(*graph.notes, *filler.notes), words_of=lent)


@dataclass(slots=True)
class _Filler:
    vocabularies: Mapping[str, Vocabulary]
    weights: WeightStore
    taken: set[int] = field(default_factory=set)
    """Arrays that went into a configuration, by ``id``."""
    notes: list[str] = field(default_factory=list)
    lent: dict[str, str] = field(default_factory=dict)
    """See `ModelGraph.words_of`."""

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
        if _lacks_words(config):
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
        if found.file is not None:
            self.lent[record.name] = found.file
            self.notes.append(f"{record.name}: its words are not in the model's file; they are {found.place}")


def _lacks_words(config: Mapping[str, Any]) -> bool:
    """Whether a lookup has no words, or has them in a file that is no part of the model."""
    return not isinstance(config.get("vocabulary"), list) or not config["vocabulary"]


def lacking(graph: ModelGraph) -> dict[str, LayerRecord]:
    """Return the lookup layers without words, by the paths under which `ModelGraph.vocabularies` has them."""
    return {} if graph.model is None else dict(_lacking(graph.model, ""))


def _lacking(model: ModelRecord, prefix: str) -> Iterator[tuple[str, LayerRecord]]:
    paths = layer_paths(model)
    for record in model.layers:
        path = f"{prefix}{paths[record.name]}"
        if record.model is not None:
            yield from _lacking(record.model, f"{path}/")
        elif record.class_name in LOOKUPS and _lacks_words(record.config):
            yield path, record


def with_given(graph: ModelGraph, words: Vocabulary) -> ModelGraph:
    """Return a model whose only lookup layer without words has those that the user gives.

    Args:
        graph: A model in which some layer lacks its words, see `lacking`.
        words: In the order of ``get_vocabulary()``; without the entries that Keras puts in front, or with all of them.

    Raises:
        InputError: Several layers lack theirs, or these are not those of the layer.
    """
    found = lacking(graph)
    if len(found) != 1:
        names = " and ".join(record.name for record in found.values())
        reason = f"{names} lack their words, and these may be those of any"
        raise InputError(reason, file=words.file, remedy="save the model with model.save('model.keras')")
    ((path, record),) = found.items()
    _check_given(words, record)
    return with_vocabularies(replace(graph, vocabularies={**graph.vocabularies, path: words}))


def _check_given(words: Vocabulary, record: LayerRecord) -> None:
    """Refuse words that would get other ids than in the model.

    ``IndexLookup.set_vocabulary`` takes a list that has some of its entries in front, but not all, for words.
    """
    special, given = list(map(str, _special(record.config, record.class_name))), list(map(str, words.words))
    begins = given[: len(special)] == special
    odd = next((word for word in special if word in given[len(special) * begins :]), None)
    if odd is not None:
        reason = f"has {odd!r} among the words of {record.name}, which begin with {special} or with none of these"
        raise InputError(reason, file=words.file, remedy=_LISTED)
    size = record.config.get("vocabulary_size")
    count = len(given) + len(special) * (not begins)
    if isinstance(size, int) and size > len(special) and size != count:
        raise InputError(f"makes {count} words of {record.name}, which has {size}", file=words.file, remedy=_LISTED)


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
