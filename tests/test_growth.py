"""Twice the layers take twice the work, whatever is done with a model; and a graph may be deeper than Python's stack.

The work is counted in lines of our own code, not in seconds. What grows with the square of the layers has a second
difference: ``f(3n) - 2 f(2n) + f(n)`` is 0 for a straight line and ``2 b n²`` for ``b n²``.
"""

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain
from readers.build import arrays, keras, tree_bytes

import gateprobe
from gateprobe.cli import main
from gateprobe.graph import TensorRef
from gateprobe.model import opened
from gateprobe.verification.inputs import use_of

ROOT = str(Path(gateprobe.__file__).parent)
X = np.random.default_rng(3).normal(0, 1, (2, 5, 3)).astype(np.float32)
UNITS = {"units": 2}


def tensor(name, call=0):
    history = {"shape": [None, 5, 3], "dtype": "float32", "keras_history": [name, call, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def call(*arguments):
    return {"args": list(arguments), "kwargs": {}}


def layer(class_name, name, *calls, **config):
    config = {"name": name, "dtype": "float32", **config}
    return {
        "class_name": class_name,
        "module": "keras.layers",
        "config": config,
        "name": name,
        "inbound_nodes": list(calls),
    }


def start(name="x", shape=(None, 5, 3)):
    return layer("InputLayer", name, batch_shape=list(shape))


def model(layers, end, begin="x", name="model"):
    config = {"name": name, "layers": layers, "input_layers": [[begin, 0, 0]], "output_layers": [end]}
    return {"class_name": "Functional", "module": "keras", "config": config, "registered_name": None}


def drops(n, first):
    """Return a chain of n layers that do nothing, and the name of its end."""
    names = [first, *(f"d{k}" for k in range(n))]
    return [layer("Dropout", name, call(tensor(before)), rate=0.1) for before, name in pairwise(names)], names[-1]


def before(n):
    layers, end = drops(n, "x")
    return model([start(), *layers, layer("LSTM", "lstm", call(tensor(end)), **UNITS)], ["lstm", 0, 0])


def after(n):
    layers, end = drops(n, "lstm")
    return model([start(), layer("LSTM", "lstm", call(tensor("x")), **UNITS), *layers], [end, 0, 0])


def wide(n):
    """Many branches that are joined, merged with a mask."""
    names = [f"d{k}" for k in range(n)]
    branches = [layer("Dropout", name, call(tensor("masked")), rate=0.1) for name in names]
    join = layer("Add", "add", call([tensor(name) for name in names]))
    lstm = layer("LSTM", "lstm", call(tensor("add")), **UNITS)
    return model([start(), layer("Masking", "masked", call(tensor("x"))), *branches, join, lstm], ["lstm", 0, 0])


def calls(n):
    """One layer that is called again and again."""
    again = layer("Dropout", "d", call(tensor("x")), *(call(tensor("d", k)) for k in range(n - 1)), rate=0.1)
    return model([start(), again, layer("LSTM", "lstm", call(tensor("d", n - 1)), **UNITS)], ["lstm", 0, 0])


def siblings(n):
    """Many models inside, each of one layer."""
    found, end = [], ["x", 0]
    for k in range(n):
        inner = model([start("in"), layer("Dropout", "d", call(tensor("in")), rate=0.1)], ["d", 0, 0], "in", f"m{k}")
        found.append({**inner, "name": f"m{k}", "inbound_nodes": [call(tensor(*end))]})
        end = [f"m{k}", 1]
    return model([start(), *found, layer("LSTM", "lstm", call(tensor(*end)), **UNITS)], ["lstm", 0, 0])


def dense(n):
    """Many layers with weights."""
    names = ["lstm", *(f"dense_{k}" for k in range(n))]
    layers = [layer("Dense", b, call(tensor(a)), **UNITS) for a, b in pairwise(names)]
    return model([start(), layer("LSTM", "lstm", call(tensor("x")), **UNITS), *layers], [names[-1], 0, 0])


def unused(n):
    """Layers that are called on the input, and whose outputs are not wanted."""
    lost = [layer("Dropout", f"d{k}", call(tensor("x")), rate=0.1) for k in range(n)]
    return model([start(), *lost, layer("LSTM", "lstm", call(tensor("x")), **UNITS)], ["lstm", 0, 0])


SHAPES = [before, after, wide, calls, siblings, dense, unused]


def saved(path, value, layers=0):
    weights = {"lstm": {"cell": list(arrays().values())}}
    weights |= {f"dense_{k}" if k else "dense": [np.eye(2, dtype="f4"), np.zeros(2, "f4")] for k in range(layers)}
    return keras(path, config=json.dumps(value).encode(), weights=tree_bytes({"layers": weights}))


def lines(act):
    """Count the lines that run in our own code, for each function."""
    counts = Counter()

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(ROOT):
            return None
        code = frame.f_code
        counts[code.co_filename.removeprefix(ROOT), code.co_qualname] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return counts


def ran(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="gateprobe")
    assert done.exit_code == 0, done.output


def work(folder, shape, n):
    """Return the lines that each command takes for a model of n layers."""
    path, x, theirs = saved(folder / f"{n}.keras", shape(n), n * (shape is dense)), folder / "x.npy", folder / "t.csv"
    np.save(x, X)
    ran("dump", path, x, "--layer", "lstm", "-o", theirs, "--force")
    commands = [
        ("inspect", path, "--json"),
        ("weights", path),
        ("dump", path, "--feed", f"lstm={x}", "--layer", "lstm", "-o", folder / "out.csv", "--force"),
        ("compare", path, x, theirs, "--json"),
        ("migrate", path, x, "-o", folder / "out.keras", "--force"),
    ]
    return {command[0]: lines(lambda c=command: ran(*c)) for command in commands}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_work_grows_with_the_layers(tmp_path, shape):
    n = 12
    work(tmp_path, shape, n)  # imports
    few, more, most = (work(tmp_path, shape, n * k) for k in (1, 2, 3))
    for command, counts in most.items():
        for place, count in counts.items():
            bend = count - 2 * more[command][place] + few[command][place]
            assert bend < n * n / 2, f"{command}: {place}: {few[command][place]} {more[command][place]} {count}"


def test_what_an_input_is_for_is_found_behind_any_number_of_layers():
    deep = [("Dropout", f"d{k}", {"rate": 0.1}) for k in range(2 * sys.getrecursionlimit())]
    model = chain([*deep, ("Embedding", "emb", {"input_dim": 7, "output_dim": 2, "mask_zero": True})], {})
    use = use_of(opened(model).record, TensorRef("input"))
    assert (use.vocabulary, use.masked_id) == (7, True)
