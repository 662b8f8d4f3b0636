"""Small changes of a graph: operations of ``keras.ops`` between its layers, and tensors that take another's place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateprobe.graph import Argument, Call, LayerRecord, ModelRecord, Namespace, TensorRef
from gateprobe.layers.binding.call_order import layer_order

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
    """Return a model with its layers in the order into which Keras puts them, without those that lead to no output."""
    records = {record.name: record for record in model.layers}
    return replace(model, layers=tuple(records[name] for name in layer_order(model)))
