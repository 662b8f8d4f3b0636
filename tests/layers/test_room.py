"""No layer takes more memory than the batch may have, whatever a file's settings or the length of the input ask for."""

import ast
import re
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gateprobe.errors import InputError
from gateprobe.layers.binding.graph import REPLAY_ERRORS
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.limits import room
from layers import bound, recorded
from layers.cases import CASES

PACKAGE = Path(__file__).parents[2] / "gateprobe"
LIMIT = 1 << 20
TIMES = 12
"""How often the limit, and what a layer is given, may lie in memory at once: a result, its parts and their casts."""
LARGE = (3_000, 10_000_000)
LENGTH = 4_000
EVERY = [pytest.param(case, id=recorded.key(case, case.eras[-1])) for case in CASES]


def enlarged(value, large):
    """Yield a value with one of the numbers inside it replaced."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield large
    elif isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            for other in enlarged(item, large):
                yield type(value)([*value[:at], other, *value[at + 1 :]])
        if value and all(type(item) is int for item in value):
            yield type(value)([large] * len(value))
    elif isinstance(value, Mapping):
        for key in value:
            for other in enlarged(value[key], large):
                yield {**value, key: other}


def outgrown(case):
    """Yield a case's configuration and the case, with larger numbers in one of them."""
    config = recorded.answer(case, case.eras[-1]).config
    for large in LARGE:
        for other in enlarged(config, large):
            yield other, case
        for kwargs in enlarged(case.kwargs, large):
            yield config, replace(case, kwargs=kwargs)
        for args in enlarged(case.args or (), large):
            yield config, replace(case, args=args)
    for axis in range(1, max(map(len, case.shapes))):
        longer = tuple(
            (*shape[:axis], LENGTH, *shape[axis + 1 :]) if axis < len(shape) else shape for shape in case.shapes
        )
        yield config, replace(case, shapes=longer)
    if len(case.shapes) > 1:  # each input long along an axis of its own
        for axis in range(1, len(case.shapes[0]) - 1):
            shapes = [list(shape) for shape in case.shapes]
            for number, shape in enumerate(shapes):
                shape[1:-1] = [1] * (len(shape) - 2)
                if axis + number % 2 < len(shape):
                    shape[axis + number % 2] = LENGTH
            yield config, replace(case, shapes=tuple(map(tuple, shapes)))


def taken(config, case):
    """Return the peak of memory of a call, and what it may be."""
    with room.limited(LIMIT):
        layer = bound.bind(bound.record_of(case, config), case.arrays(), bound.meaning(case.eras[-1]))
        inputs, masks = case.inputs(), case.masks()
        given = sum(value.nbytes for value in [*inputs, *case.arrays()])
        tracemalloc.start()
        try:
            bound.call(layer, case, inputs, masks)
        except (InputError, FloatingPointError, *REPLAY_ERRORS):
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    return peak, TIMES * (LIMIT + given)


@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")  # decibels say that they depend on the batch
@pytest.mark.parametrize("case", EVERY)
def test_a_layer_asks_before_it_takes_memory(case):
    for config, outgrown_case in outgrown(case):
        try:
            peak, allowed = taken(config, outgrown_case)
            if peak >= allowed:  # compiling, and trying what the BLAS rounds alike, take memory once
                peak, allowed = taken(config, outgrown_case)
        except (Unsupported, AssertionError, *REPLAY_ERRORS):  # the settings do not fit the weights, or each other
            continue
        assert peak < allowed, f"{peak:,} bytes for {config} {outgrown_case.shapes} {outgrown_case.kwargs}"


ENLARGING = set(
    "arange array_split block broadcast_arrays concatenate cross diag dot einsum empty eye full geomspace hstack "
    "identity indices inner kron linspace logspace matmul mgrid meshgrid ones outer pad repeat resize stack take "
    "tensordot tile tri tril triu vander vstack zeros".split()
)
"""Functions of NumPy that make more of what they are given, or something of a size that a number says."""
ALLOWED = {
    "cells.py": {"concatenate", "hstack"},  # of weights, when they are bound
    "gru.py": {"concatenate", "zeros", "@"},  # of weights; products of a single timestep
    "lora.py": {"@"},  # of weights, when they are bound
    "lstm.py": {"matmul"},  # of one timestep
    "peephole.py": {"@"},
    "simple_rnn.py": {"@"},
    "tf_sizes.py": {"arange", "zeros", "concatenate"},  # of a list of sizes
    "decoder.py": {"arange", "full", "zeros"},  # of the samples or the timesteps of the input
}


LAYERS = sorted(path for path in (PACKAGE / "layers").rglob("*.py") if "kernels" not in path.parts)


@pytest.mark.parametrize("path", LAYERS, ids=lambda path: path.name)
def test_what_may_enlarge_is_called_through_room(path):
    used = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            used.add("@")
        elif isinstance(node, ast.Call) and (name := re.fullmatch(r"np\.(\w+)", ast.unparse(node.func))):
            scalar = node.args and ast.unparse(node.args[0]) == "()"
            used |= {name[1]} & ENLARGING if not scalar else set()
    assert used <= ALLOWED.get(path.name, set())
