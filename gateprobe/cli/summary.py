"""What ``gateprobe inspect`` says, as plain values: the keys of ``--json``.

Top level: ``file``, ``container``, ``sha256``, ``era``, ``keras_version``, ``backend``, ``evidence``, ``semantics``,
``notes``, ``model``, ``inputs``, ``outputs``, ``layers``, ``recurrent``, ``damage`` (weights that do not fit the
file's own architecture, sizes that no Keras accepts), ``predict`` and, for files without an architecture, ``groups``.
Keys are only ever added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from gateprobe.cli.cells import Cells, Report, cells_by_record, understood
from gateprobe.errors import InputError, Refusal, UnsupportedModel
from gateprobe.graph import ModelRecord
from gateprobe.layers.binding.registry import kind_of
from gateprobe.model import Model
from gateprobe.replay.calls import RecurrentCall
from gateprobe.replay.plan import Plan, Wanted, make_plan


def summarise(model: Model) -> Report:
    """Return everything that ``inspect`` says about a model; JSON-ready."""
    graph, origin = model.graph, model.graph.origin
    report: Report = {
        "file": graph.file,
        "container": origin.container,
        "sha256": origin.sha256,
        "era": origin.era.value,
        "keras_version": origin.keras_version,
        "backend": origin.backend,
        "evidence": list(origin.evidence),
        "semantics": model.semantics.label,
        "notes": [],
        "model": None,
        "inputs": [],
        "outputs": [],
        "layers": [],
        "recurrent": [],
        "damage": [],
        "predict": _verdict(partial(model.plan, outputs=True)),
    }
    report |= {"groups": _groups(model)} if graph.model is None else _architecture(model, graph.model)
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


def _architecture(model: Model, record: ModelRecord) -> Report:
    try:
        inputs = [{"name": spec.name, "shape": spec.shape, "dtype": spec.dtype} for spec in model.inputs]
    except (KeyError, InputError):
        inputs = []
    cells = dict(cells_by_record(model, record))
    misfits = any(found.misfit for found in cells.values()) and understood(model, record)
    return {
        "model": {"name": record.name, "class": record.class_name, "layers": len(record.layers)},
        "inputs": inputs,
        "outputs": list(model.outputs),
        "layers": list(_layers(record, "")),
        "recurrent": [
            _recurrent(call, cells.get(id(call.record), Cells()), verdict)
            for call, verdict in zip(model.recurrent, _verdicts(model), strict=True)
        ],
        "damage": [
            {"layer": call.path, "class": call.record.class_name, "reason": cells[id(call.record)].misfit}
            for call in model.recurrent
            if misfits and cells[id(call.record)].misfit
        ],
    }


def _layers(model: ModelRecord, path: str) -> Iterator[Report]:
    for record in model.layers:
        own = f"{path}/{record.name}" if path else record.name
        known = record.model is not None or record.class_name == "InputLayer" or kind_of(record) is not None
        yield {"path": own, "class": record.class_name, "calls": len(record.calls), "known": known}
        if record.model is not None:
            yield from _layers(record.model, own)


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


def _verdict(attempt: Callable[[], Plan]) -> Report:
    """Return whether something can be replayed, every reason why not, and what one must know to trust the numbers."""
    try:
        plan = attempt()
    except UnsupportedModel as error:
        return {"replayable": False, "reasons": [_reason(refusal) for refusal in error.refusals], "notes": []}
    return {"replayable": True, "reasons": [], "notes": list(plan.notes)}


def _verdicts(model: Model) -> list[Report]:
    """Return the verdict on every recurrent call; one look is enough when all of them can be traced."""
    together = _verdict(partial(_trace_plan, model, lambda _: True))
    if together["replayable"]:
        return [together] * len(model.recurrent)
    return [_verdict(partial(_trace_plan, model, call.path.__eq__)) for call in model.recurrent]


def _trace_plan(model: Model, traced: Callable[[str], bool]) -> Plan:
    return make_plan(model.graph, model.semantics, Wanted(traced))


def _reason(refusal: Refusal) -> Report:
    return {
        "layer": refusal.layer,
        "class": refusal.class_name,
        "reason": refusal.reason,
        "damage": refusal.damage,
    }


def _groups(model: Model) -> list[Report]:
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
