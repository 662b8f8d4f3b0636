"""The part of a model that does not depend on some of its layers: what Keras runs when it must not get the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from gateprobe.graph import Argument, LayerRecord, ModelRecord, TensorRef, references
from gateprobe.replay.calls import join_path

_INPUT = "InputLayer"


def part_without(model: ModelRecord, refused: Collection[str], path: str = "") -> ModelRecord:
    """Return what of a model can run without some of its layers.

    Its outputs are those of the model that are left, then whatever nothing else in the part reads. Of a nested model
    that holds such a layer the part before it is kept, and nothing behind the nested model.

    Args:
        model: As read.
        refused: Paths of the layers to do without.
        path: Of the model.
    """
    cut = {record.name: _cut(record, refused, join_path(path, record.name)) for record in model.layers}
    whole = {record.name for record in model.layers if cut[record.name] is record}
    counts = _sound_calls(model, whole)
    layers = [
        replace(found, calls=found.calls[: counts[found.name]])
        for found in cut.values()
        if found is not None and (found.class_name == _INPUT or counts[found.name])
    ]
    kept = [ref for ref in model.outputs if ref.layer in whole and _runs(ref, counts)]
    return replace(model, layers=tuple(layers), outputs=tuple(dict.fromkeys([*kept, *_ends(layers)])))


def _cut(record: LayerRecord, refused: Collection[str], path: str) -> LayerRecord | None:
    """Return a layer as it is when nothing in it is refused, what is left of a nested model, else nothing."""
    if path in refused:
        return None
    if not any(name.startswith(f"{path}/") for name in refused):
        return record
    if record.model is None:
        return None
    part = part_without(record.model, refused, path)
    return replace(record, model=part) if part.outputs else None


def _sound_calls(model: ModelRecord, whole: Collection[str]) -> Mapping[str, int]:
    """Return how many of its first calls of each layer read nothing but what whole layers compute."""
    counts = {record.name: max(len(record.calls), record.class_name == _INPUT) for record in model.layers}
    changed = True
    while changed:
        changed = False
        for record in model.layers:
            for number, call in enumerate(record.calls[: counts[record.name]]):
                if not _reads_only((*call.args, *call.kwargs.values()), whole, counts):
                    counts[record.name], changed = number, True
                    break
    return counts


def _reads_only(arguments: tuple[Argument, ...], whole: Collection[str], counts: Mapping[str, int]) -> bool:
    return all(ref.layer in whole and _runs(ref, counts) for ref in references(arguments))


def _runs(ref: TensorRef, counts: Mapping[str, int]) -> bool:
    return ref.call < counts.get(ref.layer, 0)


def _ends(layers: list[LayerRecord]) -> Iterator[TensorRef]:
    """Yield the first output of each call that no other call reads."""
    read = {
        (ref.layer, ref.call)
        for record in layers
        for call in record.calls
        for ref in references((*call.args, *call.kwargs.values()))
    }
    for record in layers:
        for number in range(len(record.calls)):
            if (record.name, number) not in read:
                yield TensorRef(record.name, number)
