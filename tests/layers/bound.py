"""Bind a layer by hand through the registry, and call it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gateprobe.graph import Array, Era, LayerRecord, Origin
from gateprobe.layers.base import FLOAT32, Arguments, Layer, Precision, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, kind_of
from gateprobe.layers.binding.settings import Settings
from gateprobe.semantics import Semantics, semantics_of
from layers.case import Case, filled

VERSIONS = {Era.KERAS1: "1.2.2", Era.KERAS2: "2.15.0", Era.KERAS3: "3.15.1"}


def meaning(era: Era, version: str | None = None, backend: str = "tensorflow") -> Semantics:
    return semantics_of(Origin("hdf5", era, (), version or VERSIONS[era], backend))


def record_of(case: Case, config: Mapping[str, Any]) -> LayerRecord:
    return _record("layer", case.class_name, config, case)


def _record(name: str, class_name: str, config: Mapping[str, Any], case: Case) -> LayerRecord:
    inside = {
        key: (_record(key, value["class_name"], value["config"], case),)
        for key, value in config.items()
        if key == "layer" and isinstance(value, Mapping)
    }
    return LayerRecord(name, class_name, config, namespace=case.namespace, children=inside)


def bind(record: LayerRecord, arrays: list[Array], semantics: Semantics, precision: Precision = FLOAT32) -> Layer:
    left = iter(arrays)
    if record.class_name == "SpectralNormalization":  # Keras lists the kernel of the layer inside as the wrapper's own
        kernel, vector, *others = arrays
        left = iter([kernel, vector, kernel, *others])
    layer = _bind(record, left, semantics, precision)
    assert next(left, None) is None, "the layer declares fewer weights than Keras has"
    return layer


def _bind(record: LayerRecord, arrays: Iterator[Array], semantics: Semantics, precision: Precision) -> Layer:
    """An object's own weights come before those of its parts, as in ``layer.weights``."""
    kind = kind_of(record)
    assert kind is not None, f"{record.class_name} is not registered"
    slots = kind.slots(record, Settings(record.config, semantics))
    inside = kind.parts(record)
    weights = _own(slots, arrays, precision)
    parts = {name: _bind(part, arrays, semantics, precision) for name, part in inside.items()}
    return kind.bind(Binding(record, Settings(record.config, semantics), weights, parts, semantics, precision))


def _own(slots: Any, arrays: Iterator[Array], precision: Precision) -> dict[str, Array]:
    weights = {}
    for slot in slots:
        array = next(arrays)
        wanted = (None,) * array.ndim if slot.shape is None else slot.shape
        fits = len(wanted) == array.ndim and all(w in (None, s) for w, s in zip(wanted, array.shape, strict=True))
        assert fits, f"{slot.role}: slot {slot.shape}, Keras {array.shape}"
        weights[slot.role] = precision.cast(array) if slot.autocast else array.astype(precision.dtype)
    return weights


def scope(path: str = "layer") -> Scope:
    return Scope(path, traced=lambda path: False, deliver=lambda *args, **kwargs: None)


def call(
    layer: Layer, case: Case, inputs: list[Array], masks: list[Array | None], precision: Precision = FLOAT32
) -> tuple[Tensor, ...]:
    tensors = [_tensor(value, mask, precision) for value, mask in zip(inputs, masks, strict=True)]
    kwargs = filled(case.kwargs, tensors)
    with np.errstate(all="raise", under="ignore"):  # whatever is quiet in Keras must be quiet by the layer's own doing
        return layer.replay(Arguments(filled(case.arguments(), tensors), kwargs), scope())


def call_in_slabs(
    layer: Layer, case: Case, inputs: list[Array], masks: list[Array | None], length: int
) -> list[tuple[Tensor, ...]]:
    """Call a layer with ``length`` timesteps of its inputs after another."""
    results, inside = [], replace(scope(), slab=True)
    for start in range(0, inputs[0].shape[1], length):
        at = (slice(None), slice(start, start + length))
        tensors = [
            Tensor(value[at], None if mask is None else mask[at]) for value, mask in zip(inputs, masks, strict=True)
        ]
        results.append(layer.replay(Arguments(filled(case.arguments(), tensors)), inside))
    return results


def _tensor(value: Array, mask: Array | None, precision: Precision) -> Tensor:
    """A tensor as a layer before this one would hand it over."""
    if value.dtype.kind != "f" or precision.exact:
        return Tensor(value, mask)
    return Tensor(precision.cast(value), mask, precision.name)
