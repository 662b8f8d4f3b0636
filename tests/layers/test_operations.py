"""Operations on every dtype and at their edges compute what the real Keras computed: numbers, dtypes, signs of zeros.

``tests/layers/operation_grid.py`` lists what is asked.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from gateprobe.errors import InputError
from gateprobe.graph import Era, LayerRecord, Namespace
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import Unsupported
from layers import bound
from layers.operation_grid import Entry, grid, stored

FILE = Path(__file__).parents[1] / "data" / "operations.npz"
EPSILON = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 1e-12}
"""Relative; several operations of TensorFlow round after each step in half precision."""
ROUGH = {"Softmax": 2, "LogSoftmax": 2, "Erfinv": 5, "Power": 10}
"""How many times more, where other functions are combined."""
TINY = np.finfo(np.float32).tiny
OPEN_ZEROS = set("Maximum Minimum Fmax Fmin Clip".split())
"""Which of two zeros of different signs is higher depends on the place in memory."""
FAULTY = {"Erf:float64"}
"""TensorFlow gives NaN for infinity there."""
BY_CLASS = {
    name: list(group) for name, group in groupby(sorted(grid(), key=lambda e: e.class_name), lambda e: e.class_name)
}


@cache
def recorded():
    with np.load(FILE) as file:
        return json.loads(str(file["index"]))["entries"], {name: file[name] for name in file.files if name != "index"}


def answers(entry: Entry):
    """Yield dtype and values of each result of Keras."""
    index, numbers = recorded()
    for name, shape, start in index[entry.key]:
        array = numbers["float32" if name in ("float16", "bfloat16") else name]
        yield name, array[start : start + int(np.prod(shape))].reshape(shape)


def tensor(name, values):
    return Tensor(stored(values, name), None, name if name in ("float16", "bfloat16") else None)


def replayed(entry: Entry):
    record = LayerRecord("op", entry.class_name, entry.config, namespace=Namespace.OPERATION)
    tensors = [tensor(name, values) for name, values in entry.inputs]
    tensors = [tensors] if entry.class_name in ("Concatenate", "Stack") else tensors
    args = (*entry.constants, *tensors) if entry.first else (*tensors, *entry.constants)
    return bound.bind(record, [], bound.meaning(Era.KERAS3)).replay(Arguments(args), bound.scope())


def differences(entry: Entry):
    """Yield what differs from Keras."""
    results, wanted = replayed(entry), list(answers(entry))
    if len(results) != len(wanted):
        yield f"{len(results)} results instead of {len(wanted)}"
    for result, (name, values) in zip(results, wanted, strict=False):
        given = result.dtype or result.value.dtype.name
        if given != name:
            yield f"{given} instead of {name}"
        elif result.value.shape != values.shape:
            yield f"{result.value.shape} instead of {values.shape}"
        else:
            yield from _unlike(entry, result.value, values, name)


def _unlike(entry, ours, theirs, name):
    if theirs.dtype.kind != "f":
        same = ours == theirs
    else:
        relative = EPSILON[name] * ROUGH.get(entry.class_name, 1)
        with np.errstate(all="ignore"):
            close = np.abs(ours - theirs) <= relative * np.maximum(np.abs(theirs), TINY)
        tiny = np.abs(theirs) < TINY  # TensorFlow flushes denormal numbers to zero
        close |= tiny & (np.abs(ours) < TINY)
        signs = (np.signbit(ours) == np.signbit(theirs)) | (ours != 0) | (theirs != 0)
        signs |= entry.class_name in OPEN_ZEROS
        close |= np.isnan(ours) & (entry.class_name == "Softmax")
        same = ((ours == theirs) | close | (np.isnan(ours) & np.isnan(theirs))) & signs
    for place in np.argwhere(~same)[:4]:
        at = tuple(place)
        yield f"{ours[at]} instead of {theirs[at]} at {at}"


REFUSED_BY_US = (InputError, Unsupported)


@pytest.mark.parametrize("class_name", BY_CLASS)
def test_every_dtype_and_edge_is_as_in_keras_or_refused(class_name):
    index, _ = recorded()
    found, count = [], 0
    for entry in BY_CLASS[class_name]:
        if entry.key not in index or entry.key in FAULTY:
            continue
        try:
            found += [f"{entry.key}: {text}" for text in differences(entry)]
            count += 1
        except REFUSED_BY_US:
            continue
    assert not found, "\n".join(found[:40])
    assert count, "everything is refused"
