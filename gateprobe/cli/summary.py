"""What ``gateprobe inspect`` says, as plain values: the keys of ``--json``.

Top level: ``file``, ``container``, ``sha256``, ``era``, ``keras_version``, ``backend``, ``evidence``, ``semantics``,
``meanings`` (what the words that matter for this model mean), ``today`` (what Keras 3 makes of the file), ``notes``,
``model``, ``inputs``, ``outputs``, ``layers``, ``recurrent``, ``damage`` (weights that do not fit the file's own
architecture, sizes that no Keras accepts), ``predict``, ``way`` (the command that works where layers are refused) and,
for files without an architecture, ``groups``. Keys are only ever added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from gateprobe.cli.cells import Cells, Report, cells_by_record, count_parameters, understood
from gateprobe.errors import InputError, Refusal, UnsupportedModel
from gateprobe.graph import LayerRecord, ModelRecord, references
from gateprobe.layers.binding.graph import call_name
from gateprobe.layers.binding.registry import kind_of
from gateprobe.layers.binding.weight_assignment import Weights, find_weights
from gateprobe.layers.binding.weight_order import layer_paths
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.calls import RecurrentCall, join_path
from gateprobe.replay.contested import Watched
from gateprobe.replay.dry_run import Input, Shape, output_shapes
from gateprobe.replay.plan import Plan, Wanted, make_plan
from gateprobe.replay.today import meanings, today, words_of

JSON_FORMAT = 1
"""Version of the JSON's layout."""


def summarise(model: OpenedModel) -> Report:
    """Return everything that ``inspect`` says about a model; JSON-ready."""
    graph, origin = model.graph, model.graph.origin
    report: Report = {
        "format": JSON_FORMAT,
        "file": graph.file,
        "container": origin.container,
        "sha256": origin.sha256,
        "era": origin.era.value,
        "keras_version": origin.keras_version,
        "backend": origin.backend,
        "evidence": list(origin.evidence),
        "semantics": model.semantics.label,
        "meanings": [],
        "today": None,
        "notes": [],
        "model": None,
        "inputs": [],
        "outputs": [],
        "layers": [],
        "recurrent": [],
        "damage": [],
        "predict": None,
        "way": None,
    }
    report |= _weights_only(model) if graph.model is None else _architecture(model, graph.model)
    found = [note for verdict in (report["predict"], *report["recurrent"]) for note in verdict["notes"]]
    report |= {"notes": list(dict.fromkeys((*model.notes, *found)))}
    return report if graph.model is None else report | {"damage": list(_damage(report))}


def can_all_be_traced(report: Report) -> bool:
    """Whether a model has recurrent calls and every one of them can be traced from this file alone."""
    return bool(report["recurrent"]) and all(call["replayable"] for call in report["recurrent"])


def _damage(report: Report) -> Iterator[Report]:
    """Yield what no Keras would have saved so, each once."""
    seen = set()
    reasons = [reason for verdict in (*report["recurrent"], report["predict"]) for reason in verdict["reasons"]]
    for one in (*report["damage"], *(reason for reason in reasons if reason["damage"])):
        if one["layer"] not in seen:
            seen.add(one["layer"])
            yield {key: one[key] for key in ("layer", "class", "reason")}


def _architecture(model: OpenedModel, record: ModelRecord) -> Report:
    try:
        inputs = [{"name": spec.name, "shape": spec.shape, "dtype": spec.dtype} for spec in model.inputs]
    except (KeyError, InputError):
        inputs = []
    cells = dict(cells_by_record(model, record))
    misfits = any(found.misfit for found in cells.values()) and understood(model, record)
    verdicts = _verdicts(model)
    words = words_of(model.graph, verdicts.watched)
    now = today(model.graph, words)
    layers = list(_layers(record, "", find_weights(record, model.graph.weights, model.semantics), model))
    total = _total(layer["parameters"] for layer in layers if "/" not in layer["path"])
    shapes = _shapes(model, verdicts.plan, total or 0)
    for layer in layers:
        layer["output_shapes"] = layer["output_shapes"] or [list(shape) for shape in shapes.get(layer["path"], ())]
    return {
        "meanings": [asdict(one) | {"value": _plain(one.value)} for one in meanings(model.semantics, words)],
        "today": None if now is None else asdict(now) | {"text": now.text},
        "model": {
            "name": record.name,
            "class": record.class_name,
            "layers": len(record.layers),
            "parameters": total,
        },
        "inputs": inputs,
        "outputs": list(model.outputs),
        "layers": layers,
        "recurrent": [
            _recurrent(call, cells.get(id(call.record), Cells()), verdict)
            for call, verdict in zip(model.recurrent, verdicts.traces, strict=True)
        ],
        "predict": verdicts.outputs,
        "way": _way(model, verdicts),
        "damage": [
            {"layer": call.path, "class": call.record.class_name, "reason": cells[id(call.record)].misfit}
            for call in model.recurrent
            if misfits and cells[id(call.record)].misfit
        ],
    }


def _weights_only(model: OpenedModel) -> Report:
    return {"predict": _verdict(partial(model.plan, outputs=True))[0], "groups": _groups(model)}


_WeightsOf = Callable[[LayerRecord], Weights]


def _layers(record: ModelRecord, path: str, weights_of: _WeightsOf, model: OpenedModel) -> Iterator[Report]:
    for layer in record.layers:
        own = join_path(path, layer.name)
        known = layer.model is not None or layer.class_name == "InputLayer" or kind_of(layer) is not None
        yield {
            "path": own,
            "class": layer.class_name,
            "calls": len(layer.calls),
            "known": known,
            "instead_of": layer.instead_of,
            "inbound": _inbound(layer),
            "output_shapes": _input_shapes(layer),
            "parameters": count_parameters(layer, partial(weights_of, layer), model),
        }
        if layer.model is not None:
            yield from _layers(layer.model, own, partial(_part_of, layer, weights_of), model)


def _part_of(outer: LayerRecord, weights_of: _WeightsOf, record: LayerRecord) -> Weights:
    assert outer.model is not None
    return weights_of(outer).part(f"{layer_paths(outer.model)[record.name]}#{record.name}", record)


def _inbound(record: LayerRecord) -> list[str]:
    """Return the calls whose outputs a layer reads, in all its calls."""
    read = references(tuple((call.args, call.kwargs) for call in record.calls))
    return list(dict.fromkeys(call_name(ref.layer, ref.call) for ref in read))


def _recurrent(call: RecurrentCall, cells: Cells, verdict: Report) -> Report:
    config = call.record.config
    inner = call.record.children.get("layer", (call.record,))[0]
    switches = ("return_sequences", "return_state", "go_backwards", "stateful")
    return {
        "path": call.path,
        "class": call.record.class_name,
        "merge_mode": config.get("merge_mode") if call.record.class_name == "Bidirectional" else None,
        **{key: bool(inner.config.get(key)) for key in switches},
        "cells": list(cells.cells),
        **verdict,
    }


def _input_shapes(record: LayerRecord) -> list[list[int | None]]:
    """Return what the file says of an input layer's shape."""
    shape = record.config.get("batch_shape") or record.config.get("batch_input_shape")
    if record.class_name != "InputLayer" or not isinstance(shape, (list, tuple)):
        return []
    return [[size if isinstance(size, int) else None for size in shape]]


def _shapes(model: OpenedModel, plan: Plan | None, parameters: int) -> dict[str, tuple[Shape, ...]]:
    if plan is None:
        return {}
    try:
        specs = model.inputs
    except (KeyError, InputError):
        return {}
    return output_shapes(plan, [Input(spec.shape, spec.dtype) for spec in specs], parameters)


@dataclass(frozen=True, slots=True)
class _Verdicts:
    """What can be replayed."""

    traces: list[Report]
    """One for each recurrent call."""
    outputs: Report
    watched: Watched
    """Has been asked for every word that matters."""
    plan: Plan | None
    """Of as much as can be replayed together."""


def _verdicts(model: OpenedModel) -> _Verdicts:
    """Return the verdict on every recurrent call and on the outputs; one look is enough when all goes."""
    watched = Watched.over(model.semantics)
    calls = model.recurrent
    everything, plan = _verdict(partial(_plan, model, lambda _: True, outputs=True, watched=watched))
    if plan is not None:
        return _Verdicts([everything] * len(calls), everything, watched, plan)
    outputs, plan = _verdict(partial(_plan, model, lambda _: False, outputs=True))
    if not calls:
        return _Verdicts([], outputs, watched, plan)
    together, traced = _verdict(partial(_plan, model, lambda _: True))
    if traced is not None:
        return _Verdicts([together] * len(calls), outputs, watched, traced)
    traces = [_verdict(partial(_plan, model, call.path.__eq__))[0] for call in calls]
    return _Verdicts(traces, outputs, watched, plan)


def _way(model: OpenedModel, verdicts: _Verdicts) -> str | None:
    """Return how to go on with what cannot be replayed: the recurrent layers, or else the outputs."""
    traced = all(one["replayable"] for one in verdicts.traces)
    if traced and verdicts.outputs["replayable"]:
        return None
    wanted = Wanted(lambda _: not traced, outputs=traced)
    try:
        make_plan(model.graph, model.semantics, wanted)
    except UnsupportedModel as error:
        way = model.advised(error, wanted).way
        return None if way is None else way.flagged
    return None


def _verdict(attempt: Callable[[], Plan]) -> tuple[Report, Plan | None]:
    """Return whether something can be replayed, every reason why not, and what one must know to trust the numbers."""
    try:
        plan = attempt()
    except UnsupportedModel as error:
        return {"replayable": False, "reasons": [_reason(refusal) for refusal in error.refusals], "notes": []}, None
    return {"replayable": True, "reasons": [], "notes": list(plan.notes)}, plan


def _plan(
    model: OpenedModel, traced: Callable[[str], bool], *, outputs: bool = False, watched: Watched | None = None
) -> Plan:
    return make_plan(model.graph, model.semantics, Wanted(traced, outputs=outputs), watched=watched)


def _total(counts: Iterable[int | None]) -> int | None:
    """Return a sum, or ``None`` when a part of it is not known."""
    counts = list(counts)
    return None if None in counts else sum(filter(None, counts))


def _plain(value: object) -> object:
    return getattr(value, "value", value)


def _reason(refusal: Refusal) -> Report:
    return {
        "layer": refusal.layer,
        "class": refusal.class_name,
        "reason": refusal.reason,
        "damage": refusal.damage,
    }


def _groups(model: OpenedModel) -> list[Report]:
    """Return what weights alone prove."""
    return [
        {
            "name": group.name,
            "class": group.class_name,
            "directions": group.directions,
            "units": group.units,
            "features": group.features,
            "use_bias": group.use_bias,
            "reset_after": group.reset_after,
            "cudnn": group.cudnn,
            "gate_layout": group.gate_layout.value,
            "arrays": {array.name: array.value.shape for array in group.arrays},
        }
        for group in model.groups
    ]
