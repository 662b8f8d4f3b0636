"""A verification as JSON and as JUnit XML; ``docs/verify.md`` documents the former."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as ET

from gateprobe.analysis import junit
from gateprobe.analysis.agreement import Divergence, Gap, SignalReport
from gateprobe.analysis.junit import number
from gateprobe.verification.result import Status, Verification

JSON_FORMAT = 2
"""Version of the JSON's layout."""


def as_json(result: Verification) -> dict[str, Any]:
    """Return a verification as a value for JSON; numbers that are not finite become texts."""
    return {
        "format": JSON_FORMAT,
        "status": result.status.value,
        "file": result.file,
        "sha256": result.sha256,
        "era": result.era,
        "keras": result.keras,
        "backend": result.backend,
        "built_because": result.built_because,
        "semantics": result.semantics,
        "rule": result.rule,
        "inputs": [{"description": one.description, "samples": one.samples} for one in result.inputs],
        "signals": [_signal(report) for report in result.signals],
        "problems": list(result.problems),
        "first": _place(result.first),
        "explanations": [asdict(one) for one in result.explanations],
        "notes": list(result.notes),
        "random": list(result.random),
        "left_out": list(result.left_out),
    }


def _signal(report: SignalReport) -> dict[str, Any]:
    return {
        "layer": report.layer,
        "direction": report.direction or None,
        "signal": report.signal,
        "values": report.values,
        "agrees": report.agrees,
        "mismatches": report.mismatches,
        "required": number(report.required),
        "keras_replay": _gap(report.keras_replay),
        "keras_float64": _gap(report.keras_exact),
        "replay_float64": _gap(report.replay_exact),
        "first": _place(report.first),
        "worst": _place(report.worst),
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {name: number(value) for name, value in asdict(gap).items()}


def _place(place: Divergence | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {**junit.place(asdict(place), place.difference), "direction": place.direction or None}


def described(place: Divergence) -> str:
    """Return where a disagreement is, with all three values, in one line."""
    where = [f"{place.layer} {place.direction}".strip(), place.signal]
    where += [f"inputs {place.run}"] if place.run else []
    where.append(f"sample {place.sample}")
    if place.timestep is not None:
        processed = f" (step {place.step})" if place.step != place.timestep else ""
        where.append(f"timestep {place.timestep}{processed}")
    where.append(f"unit {place.unit}")
    return (
        f"{', '.join(where)}: Keras {place.keras:.9g}, replay {place.replay:.9g}, float64 replay {place.exact:.9g}; "
        f"they differ by {place.difference:.3g}, {place.allowed:.3g} is allowed"
    )


def as_junit(result: Verification) -> bytes:
    """Return a verification as JUnit XML: a test case for each signal and output, and one for everything else."""
    cases = [
        junit.case(result.file, (one.layer, one.direction, one.signal), described(one.first) if one.first else "")
        for one in result.signals
    ]
    return junit.suite("verify", [*cases, _other(result)])


def _other(result: Verification) -> ET.Element:
    """Return the test case of masks, shapes and weights; what would explain a disagreement stands in it too."""
    case = ET.Element("testcase", classname=junit.text(result.file), name="masks, shapes and weights")
    if result.problems:
        ET.SubElement(case, "failure", message=junit.text("; ".join(result.problems)))
    elif result.status is Status.RANDOM:
        ET.SubElement(case, "skipped", message=junit.text(f"random at inference: {', '.join(result.random)}"))
    lines = [*(f"{one.name}: {one.text}" for one in result.explanations), *result.notes]
    if lines:
        ET.SubElement(case, "system-out").text = junit.text("\n".join(lines))
    return case
