"""What the real Keras computed for every case, in two files, for layers and for operations; ``record.py`` writes them.

A file holds all numbers one after the other and an index: for each case and era the configuration that Keras would
save, and where the outputs and masks stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.graph import Array, Era, Namespace
from layers.answer import Answer
from layers.case import Case

DATA = Path(__file__).parents[1] / "data"
LAYERS, OPERATIONS = DATA / "conformance.npz", DATA / "conformance_operations.npz"


def file_of(case: Case) -> Path:
    """Return where the answers to a case stand."""
    if case.file:
        return DATA / case.file
    functions = case.namespace is Namespace.OPERATION or case.class_name in ("TFOpLambda", "SlicingOpLambda")
    return OPERATIONS if functions else LAYERS


def key(case: Case, era: Era) -> str:
    return f"{era.value}:{case.id}"


@cache
def _file(path: Path) -> tuple[dict[str, Any], Array]:
    with np.load(path) as file:
        return json.loads(str(file["index"])), file["numbers"]


def keys(path: Path) -> set[str]:
    """Return the cases that have an answer."""
    return {*_file(path)[0]} - {"versions"} if path.exists() else set()


def versions(path: Path) -> dict[str, str]:
    """Return the versions of the packages that gave the answers."""
    return dict(_file(path)[0]["versions"])


def answer(case: Case, era: Era) -> Answer:
    index, numbers = _file(file_of(case))
    entry = index[key(case, era)]
    arrays = [None if place is None else _array(place, numbers) for place in entry["arrays"]]
    half = len(arrays) // 2
    return Answer(entry["config"], arrays[:half], arrays[half:])  # type: ignore[arg-type]  # outputs are never None


def _array(place: Mapping[str, Any], numbers: Array) -> Array:
    size = int(np.prod(place["shape"]))
    values = numbers[place["start"] : place["start"] + size]
    return values.astype(place["dtype"]).reshape(place["shape"])


def save(path: Path, answers: Mapping[str, Answer], versions: Mapping[str, str]) -> None:
    index: dict[str, Any] = {"versions": versions}
    numbers: list[Array] = []
    end = 0
    for name, found in answers.items():
        places: list[dict[str, Any] | None] = []
        for array in (*found.outputs, *found.masks):
            if array is None:
                places.append(None)
                continue
            places.append({"start": end, "shape": array.shape, "dtype": str(array.dtype)})
            numbers.append(array.ravel().astype(np.float32))
            end += array.size
        index[name] = {"config": found.config, "arrays": places}
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, index=np.array(json.dumps(index)), numbers=np.concatenate(numbers))
