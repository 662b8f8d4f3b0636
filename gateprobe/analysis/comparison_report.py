"""A comparison as JSON, as JUnit XML and in sentences; ``docs/compare.md`` documents the former."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as ET

from gateprobe.analysis import junit
from gateprobe.analysis.comparison import Cause, Comparison, Difference, Place
from gateprobe.analysis.junit import number

JSON_FORMAT = 1
"""Version of the JSON's layout."""
_LISTED = 4
"""Explanations that are listed beside the first one."""


def as_json(result: Comparison) -> dict[str, Any]:
    """Return a comparison as a value for JSON; numbers that are not finite become texts."""
    return {
        "format": JSON_FORMAT,
        "status": result.verdict.value,
        "ours": result.ours,
        "theirs": result.theirs,
        "rule": result.rule,
        "signals": [_signal(one) for one in result.signals],
        "first": _place(result.first),
        "causes": [{**asdict(one), "agrees_to": number(one.agrees_to)} for one in result.causes],
        "factors": [asdict(one) for one in result.factors],
        "problems": list(result.problems),
        "notes": list(result.notes),
        "tried": result.tried,
    }


def _signal(one: Difference) -> dict[str, Any]:
    return {
        "layer": one.layer,
        "direction": one.direction,
        "signal": one.signal,
        "values": one.values,
        "agrees": one.agrees,
        "mismatches": one.mismatches,
        "required": number(one.required),
        "max_abs": number(one.max_abs),
        "mean_abs": number(one.mean_abs),
        "growth": [{"step": step, "max_abs": number(size)} for step, size in one.growth],
        "first": _place(one.first),
        "worst": _place(one.worst),
    }


def _place(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return junit.place(asdict(place), place.difference)


def described(place: Place) -> str:
    """Return where a disagreement is, with the values, in one line."""
    where = [f"{place.layer} {place.direction}".strip(), place.signal, f"sample {place.sample}"]
    processed = f" (step {place.step})" if place.step != place.timestep else ""
    where += [f"timestep {place.timestep}{processed}", f"unit {place.unit}"]
    exact = "" if place.exact is None else f", float64 {place.exact:.9g}"
    return (
        f"{', '.join(where)}: theirs {place.theirs:.9g}, ours {place.ours:.9g}{exact}; "
        f"they differ by {place.difference:.3g}, {place.allowed:.3g} is allowed"
    )


def explained(result: Comparison) -> Iterator[str]:
    """Yield what explains a disagreement, in sentences."""
    for cause in result.causes:
        yield _cause(cause)
        if cause.alike:
            listed = "; or ".join(cause.alike[:_LISTED])
            more = f"; and {len(cause.alike) - _LISTED} more" if len(cause.alike) > _LISTED else ""
            yield f"these numbers cannot tell that from: {listed}{more}"
    if result.tried and not (result.causes and result.causes[-1].everything):
        where = " what is left" if result.causes else " it"
        yield f"none of the known mistakes, nor two of them, explains{where} ({result.tried:,} tried)"
    consistent = [one for one in result.factors if one.consistent]
    others = [one.name for one in result.factors if not one.consistent]
    if consistent:
        words = "; or ".join(f"{one.name}{f' ({one.text})' if one.text else ''}" for one in consistent)
        yield f"that gate would agree with another {words}" + (
            f"; not with another {', '.join(others)}" if others else ""
        )
    elif others:
        yield f"no single factor of that gate explains it: not {', '.join(others)}"


def _cause(cause: Cause) -> str:
    where = ", ".join(cause.where)
    rest = "; everything agrees then" if cause.everything else ""
    if cause.allowed is None:
        return f"{where}: agrees to {cause.agrees_to:.1g} if {cause.text}{rest}"
    words = cause.text.replace("numbers are rounded to ", "")
    before, _, name = words.rpartition(" and ")
    condition = f" if {before}" if before else ""
    return (
        f"{where}: consistent with {name}{condition}: the largest difference is {cause.agrees_to:.2g}, "
        f"rounding to it can make {cause.allowed:.2g}"
    )


def as_junit(result: Comparison) -> bytes:
    """Return a comparison as JUnit XML: a test case for each signal, and one for masks and explanations."""
    cases = [
        junit.case(result.theirs, (one.layer, one.direction, one.signal), described(one.first) if one.first else "")
        for one in result.signals
    ]
    other = ET.Element("testcase", classname=junit.text(result.theirs), name="masks")
    if result.problems:
        ET.SubElement(other, "failure", message=junit.text("; ".join(result.problems)))
    lines = [*explained(result), *result.notes]
    if lines:
        ET.SubElement(other, "system-out").text = junit.text("\n".join(lines))
    return junit.suite("compare", [*cases, other])
