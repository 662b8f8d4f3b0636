"""The cells of recurrent layers: sizes, activations and the shapes of their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateprobe.graph import Array, LayerRecord, ModelRecord
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.binding.weight_assignment import Weights, find_weights
from gateprobe.layers.binding.weight_order import parts_of, slots_of
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.calls import recurrent_layers

Report = dict[str, Any]
"""Plain values, JSON-ready."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one recurrent layer."""

    cells: tuple[Report, ...] = ()
    misfit: str | None = None
    """Why the file's weights and configuration do not give any."""


_WeightsOf = Callable[[], Weights]
"""Finds weights when they are needed: most layers of a model have no recurrent layer inside."""


def cells_by_record(model: OpenedModel, record: ModelRecord) -> Iterator[tuple[int, Cells]]:
    """Yield the cells of each recurrent layer, nested ones too, by the ``id`` of its record."""
    for layer in recurrent_layers(record, find_weights(record, model.graph.weights, model.semantics)):
        try:
            yield id(layer.record), Cells(tuple(_cells(layer.record, layer.weights(), model)))
        except Unsupported as misfit:
            yield id(layer.record), Cells(misfit=str(misfit))


def count_parameters(record: LayerRecord, weights: _WeightsOf, model: OpenedModel) -> int | None:
    """Return how many numbers the weights of a layer hold, with those of the layers inside it.

    Returns:
        What Keras's ``count_params`` says; ``None`` where the class is unknown or the weights do not fit.
    """
    if record.class_name == "InputLayer":
        return 0
    try:
        slots = slots_of(record, model.semantics)
        parts = parts_of(record)
        if not slots and not parts:
            return 0
        own = weights().own(slots)
        counts = [count_parameters(part, partial(_part, weights, name, part), model) for name, part in parts.items()]
    except Unsupported:
        return None
    total = sum(own[slot.role].size for slot in slots if not slot.alias)
    return None if None in counts else total + sum(filter(None, counts))


def understood(model: OpenedModel, record: ModelRecord) -> bool:
    """Whether every layer is one that we know, so that weights which do not fit are the file's fault."""
    try:
        for layer in record.layers:
            _walk(layer, model)
    except Unsupported:
        return False
    return True


def _walk(record: LayerRecord, model: OpenedModel) -> None:
    slots_of(record, model.semantics)
    for part in () if record.class_name == "InputLayer" else parts_of(record).values():
        _walk(part, model)


def _part(weights: _WeightsOf, path: str, record: LayerRecord) -> Weights:
    return weights().part(path, record)


_HALVES = {"forward_layer": "forward", "backward_layer": "backward"}
"""Of a Bidirectional: as in traces, whichever way the layers inside run."""


def _direction(record: LayerRecord) -> str:
    return "backward" if record.config.get("go_backwards") is True else "forward"


def _cells(record: LayerRecord, weights: Weights, model: OpenedModel, half: str | None = None) -> Iterator[Report]:
    """Yield the cells inside a record: what is recurrent and has weights of its own."""
    arrays = weights.own(slots_of(record, model.semantics))
    if arrays:
        if "recurrent_kernel" in arrays:  # a decoder's output layer has none
            yield _cell(record, arrays, model, half or _direction(record))
        return
    for name, part in parts_of(record).items():
        yield from _cells(part, weights.part(name, part), model, half or _HALVES.get(name) or _direction(record))


def _cell(record: LayerRecord, arrays: Mapping[str, Array], model: OpenedModel, direction: str) -> Report:
    kernel = next(iter(arrays.values()))
    bias, columns = arrays.get("bias"), kernel.shape[-1]
    if bias is not None and "kernel" in arrays and bias.size not in (columns, 2 * columns):
        raise Unsupported(f"bias: has {bias.size} numbers for {columns} columns of the kernel")
    semantics, images = model.semantics, record.class_name.startswith("ConvLSTM")
    gates = semantics.conv_recurrent_activation if images else semantics.recurrent_activation
    return {
        "class": record.class_name.replace(" cell", "Cell"),
        "direction": direction,
        "features": kernel.shape[-2] if kernel.ndim > 1 else None,
        "units": record.config.get("units", record.config.get("filters")),
        "filters": record.config.get("filters") if images else None,
        "kernel_size": kernel.shape[:-2] if images else None,
        "activation": _activation(record, model, "activation", "tanh"),
        "recurrent_activation": _activation(record, model, "recurrent_activation", gates),
        "weights": {role: array.shape for role, array in arrays.items()},
    }


def _activation(record: LayerRecord, model: OpenedModel, key: str, default: str) -> str:
    """Return the label of an activation, with the constants of the file's era."""
    try:
        return Settings(record.config, model.semantics).activation(key, default).label
    except Unsupported as error:
        return f"not understood: {error}"
