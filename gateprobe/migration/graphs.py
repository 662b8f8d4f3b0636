"""Small changes of a graph: operations of ``keras.ops`` between its layers, and tensors that take another's place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateprobe.graph import Argument, Call, LayerRecord, ModelRecord, Namespace, TensorRef, references

NUMPY = "keras.src.ops.numpy"
"""The module of the operations that NumPy has, too."""


def operation(
    class_name: str, name: str, config: Mapping[str, Any], *calls: tuple[Argument, ...], module: str = NUMPY
) -> LayerRecord:
    """Return a node of ``keras.ops``, with the arguments of each of its calls."""
    made = tuple(Call(arguments) for arguments in calls)
    return LayerRecord(name, class_name, config, Namespace.OPERATION, calls=made, module=module)


def masking(name: str, *calls: tuple[TensorRef, TensorRef]) -> LayerRecord:
    """Return a layer that gives its input a mask and changes no number.

    From Keras 3.11 on, the mask that a call names goes on with the output (``Layer.__call__``), and a
    ``TimeDistributed`` takes one.
    """
    same = LayerRecord("same", "Activation", {"activation": "linear"}, module="keras.layers")
    made = tuple(Call((x,), {"mask": mask}) for x, mask in calls)
    return LayerRecord(name, "TimeDistributed", {}, children={"layer": (same,)}, calls=made, module="keras.layers")


def free(name: str, taken: Collection[str]) -> str:
    """Return a name that no layer has."""
    while name in taken:
        name += "_"
    return name


def mapped(argument: Argument, other: Callable[[TensorRef], TensorRef]) -> Argument:
    """Put other tensors into an argument."""
    if isinstance(argument, TensorRef):
        return other(argument)
    if isinstance(argument, Mapping):
        return {key: mapped(value, other) for key, value in argument.items()}
    if isinstance(argument, slice):
        return slice(*(mapped(part, other) for part in (argument.start, argument.stop, argument.step)))
    return tuple(mapped(item, other) for item in argument) if isinstance(argument, (tuple, list)) else argument


def mapped_calls(calls: Iterable[Call], other: Callable[[TensorRef], TensorRef]) -> tuple[Call, ...]:
    """Put other tensors into the arguments of calls."""
    return tuple(
        Call(
            tuple(mapped(value, other) for value in call.args),
            {key: mapped(value, other) for key, value in call.kwargs.items()},
        )
        for call in calls
    )


def rewired(model: ModelRecord, refs: Mapping[TensorRef, TensorRef], but: Collection[str] = ()) -> ModelRecord:
    """Let every layer, and the model's outputs, read other tensors.

    Args:
        model: Whose calls are changed.
        refs: What was read → what is read.
        but: Names of layers that read what they read.
    """

    def other(ref: TensorRef) -> TensorRef:
        return refs.get(ref, ref)

    layers = [
        record if record.name in but else replace(record, calls=mapped_calls(record.calls, other))
        for record in model.layers
    ]
    return replace(model, layers=tuple(layers), outputs=tuple(map(other, model.outputs)))


def in_keras_order(model: ModelRecord) -> ModelRecord:
    """Return a model with its layers in the order into which Keras puts them, which names and orders their weights.

    Source: ``map_graph`` and ``_build_map`` in ``keras/src/ops/function.py`` 3.15.1: the farthest from the outputs
    first, those at the same distance in the order in which a search from the outputs meets them.
    """
    records = {record.name: record for record in model.layers}
    met, nodes = _searched(model, records)
    far: dict[tuple[str, int], int] = {}
    depths: dict[str, int] = {}
    for node in reversed(nodes):
        depth = max(far.setdefault(node, 0), depths.get(node[0], 0))
        depths[node[0]] = far[node] = depth
        for parent in _parents(records[node[0]], node[1]):
            far[parent] = max(depth + 1, far.get(parent, 0))
    for ref in model.inputs:
        if ref.layer not in depths:
            depths[ref.layer], met[ref.layer] = 0, -1
    names = sorted(depths, key=lambda name: (-depths[name], met[name]))
    return replace(model, layers=tuple(records[name] for name in names))


def _searched(model: ModelRecord, records: Mapping[str, LayerRecord]) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """Return the number at which a search from the outputs meets each layer, and the calls in the order it ends them.

    No recursion: models may be deep.
    """
    met: dict[str, int] = {}
    done: dict[tuple[str, int], None] = {}
    for output in model.outputs:
        stack = [((output.layer, output.call), False)]
        while stack:
            node, ended = stack.pop()
            if ended:
                done[node] = None
            elif node not in done:
                met.setdefault(node[0], len(met))
                stack.append((node, True))
                stack += [(parent, False) for parent in reversed(_parents(records[node[0]], node[1]))]
    return met, list(done)


def _parents(record: LayerRecord, number: int) -> list[tuple[str, int]]:
    """Return the calls whose outputs a call reads."""
    if record.class_name == "InputLayer":
        return []
    call = record.calls[number]
    return [(ref.layer, ref.call) for ref in references((call.args, call.kwargs))]
