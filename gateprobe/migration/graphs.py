"""Small changes of a graph: operations of ``keras.ops`` between its layers, and tensors that take another's place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from gateprobe.graph import Argument, Call, LayerRecord, ModelRecord, Namespace, TensorRef

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


def mapped(argument: Argument, refs: Mapping[TensorRef, TensorRef]) -> Argument:
    """Put other tensors into an argument."""
    if isinstance(argument, TensorRef):
        return refs.get(argument, argument)
    if isinstance(argument, Mapping):
        return {key: mapped(value, refs) for key, value in argument.items()}
    if isinstance(argument, slice):
        return slice(*(mapped(part, refs) for part in (argument.start, argument.stop, argument.step)))
    return tuple(mapped(item, refs) for item in argument) if isinstance(argument, (tuple, list)) else argument


def rewired(model: ModelRecord, refs: Mapping[TensorRef, TensorRef], but: Collection[str] = ()) -> ModelRecord:
    """Let every layer, and the model's outputs, read other tensors.

    Args:
        model: Whose calls are changed.
        refs: What was read → what is read.
        but: Names of layers that read what they read.
    """
    layers = [
        record if record.name in but else replace(record, calls=tuple(_call(call, refs) for call in record.calls))
        for record in model.layers
    ]
    return replace(model, layers=tuple(layers), outputs=mapped(model.outputs, refs))


def _call(call: Call, refs: Mapping[TensorRef, TensorRef]) -> Call:
    return Call(mapped(call.args, refs), {key: mapped(value, refs) for key, value in call.kwargs.items()})
