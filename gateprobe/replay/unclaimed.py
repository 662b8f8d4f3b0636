"""Weights in a file that no layer of its model takes: a sign that the file was put together by hand, or misread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from gateprobe.graph import LayerRecord, ModelGraph, WeightGroup, WeightScheme
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.binding.weight_assignment import TreeWeights
from gateprobe.layers.binding.weight_order import layer_paths, parts_of

SHOWN = 5


def unclaimed(graph: ModelGraph) -> tuple[str, ...]:
    """Return a note if a tree of objects holds arrays that belong to no layer; lists are checked when they are dealt.

    What lies in a layer of an unknown class counts as that layer's.
    """
    if graph.model is None or graph.weights.scheme is not WeightScheme.OBJECT_PATHS:
        return ()
    root = LayerRecord(graph.model.name, graph.model.class_name, {}, model=graph.model)
    claimed = {id(group) for group in _claimed(root, TreeWeights(graph.weights.root))}
    left = [path or "/" for path, group in _filled(graph.weights.root, "") if id(group) not in claimed]
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return (f"the file holds weights that no layer takes: {', '.join(left[:SHOWN])}{more}",) if left else ()


def _claimed(record: LayerRecord, weights: TreeWeights) -> Iterator[WeightGroup]:
    """Yield the groups that belong to a record and what is inside it."""
    if record.model is not None:
        paths = layer_paths(record.model)
        inside = {f"{paths[layer.name]}#{layer.name}": layer for layer in record.model.layers}
    else:
        yield weights.group
        try:
            inside = dict(parts_of(record)) if record.class_name != "InputLayer" else {}
        except Unsupported:
            yield from (group for _, group in _filled(weights.group, ""))
            return
    for path, part in inside.items():
        with suppress(Unsupported):
            yield from _claimed(part, weights.part(path, part))


def _filled(group: WeightGroup, path: str) -> Iterator[tuple[str, WeightGroup]]:
    """Yield every group that holds arrays itself, with its path."""
    stack = [(path, group)]
    while stack:
        path, group = stack.pop()
        if group.arrays:
            yield path, group
        stack += [(f"{path}/{name}" if path else name, child) for name, child in group.children.items()]
