"""Reports for machines: JUnit XML, and numbers that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from gateprobe.errors import printable


def number(value: float) -> float | str:
    """Return a number for JSON, in which infinities and NaN are texts."""
    return value if math.isfinite(value) else str(value)


def text(words: str) -> str:
    """Return a text that XML can hold."""
    return "\n".join(printable(line) for line in words.splitlines())


def place(values: Mapping[str, Any], difference: float) -> dict[str, Any]:
    """Return the fields of a disagreement for JSON: its `exact` is called ``float64``, and the difference is added."""
    named = {**values, "float64": values["exact"], "difference": difference}
    del named["exact"]
    return {name: number(value) if isinstance(value, float) else value for name, value in named.items()}


def case(file: str, name: Iterable[str], failure: str) -> ET.Element:
    """Return the test case of one signal.

    Args:
        file: That is judged.
        name: Layer, direction and signal; empty ones are left out.
        failure: Where it disagrees; empty where it agrees.
    """
    made = ET.Element("testcase", classname=text(file), name=text(" ".join(filter(None, name))))
    if failure:
        ET.SubElement(made, "failure", message=text(failure))
    return made


def suite(command: str, cases: Sequence[ET.Element], *, errors: int = 0) -> bytes:
    """Return the report of a command.

    Args:
        command: Its name.
        cases: Those with a child ``failure`` have failed.
        errors: How many could not be tried.
    """
    failures = sum(1 for case in cases if case.find("failure") is not None)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": str(errors)}
    made = ET.Element("testsuite", {"name": f"gateprobe {command}", **counts})
    made.extend(cases)
    root = ET.Element("testsuites", counts)
    root.append(made)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def error(command: str, file: str, message: str) -> bytes:
    """Return a report that says why nothing could be compared."""
    case = ET.Element("testcase", classname=text(file), name=command)
    ET.SubElement(case, "error", message=text(message))
    return suite(command, [case], errors=1)
