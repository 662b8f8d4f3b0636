"""Randomness that a graph keeps on at inference (``training=True``), switched off where a user asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateprobe.graph import Call, LayerRecord, ModelGraph, ModelRecord
from gateprobe.layers.binding.call_arguments import MODEL
from gateprobe.layers.binding.registry import kind_of
from gateprobe.replay.calls import is_random_in_training, join_path, learns_in_training
from gateprobe.semantics import Semantics

_TRAINING = "training"


def without_dropout(graph: ModelGraph, semantics: Semantics) -> ModelGraph:
    """Return a model whose layers are called as at inference where they would be random, with a note that names them.

    What ``training=True`` makes depend on the batch, such as a BatchNormalization, stays as it is.
    """
    if graph.model is None:
        return graph
    model = _model(graph.model, semantics)
    paths = tuple(_switched(graph.model, model, ""))
    if not paths:
        return graph
    note = (
        f"dropout and noise are off in {', '.join(paths)}, as --dropout=off asks; in Keras they are on "
        "(training=True), and its numbers are random"
    )
    return replace(graph, model=model, dropout_off=paths, notes=(*graph.notes, note))


def _model(model: ModelRecord, semantics: Semantics) -> ModelRecord:
    return replace(model, layers=tuple(_record(record, semantics) for record in model.layers))


def _record(record: LayerRecord, semantics: Semantics) -> LayerRecord:
    inner = None if record.model is None else _model(record.model, semantics)
    if learns_in_training(record) or not is_random_in_training(record, semantics):
        return record if inner is None else replace(record, model=inner)
    takes = MODEL if record.model is not None else _parameters(record)
    place = takes.index(_TRAINING) if _TRAINING in takes else None
    return replace(record, model=inner, calls=tuple(_call(call, place) for call in record.calls))


def _parameters(record: LayerRecord) -> tuple[str, ...]:
    kind = kind_of(record)
    return () if kind is None else kind.takes or ()


def _call(call: Call, place: int | None) -> Call:
    """Return a call without ``training=True``, given by name or at a place."""
    kwargs = {key: None if key == _TRAINING and value in (True, 1) else value for key, value in call.kwargs.items()}
    args = tuple(None if n == place and value in (True, 1) else value for n, value in enumerate(call.args))
    return call if kwargs == call.kwargs and args == call.args else Call(args, kwargs)


def _switched(old: ModelRecord, new: ModelRecord, path: str) -> Iterator[str]:
    """Yield the paths of the layers that are called otherwise."""
    for before, after in zip(old.layers, new.layers, strict=True):
        own = join_path(path, before.name)
        if before.calls != after.calls:
            yield own
        if before.model is not None and after.model is not None:
            yield from _switched(before.model, after.model, own)
