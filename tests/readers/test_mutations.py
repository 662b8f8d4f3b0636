"""Whatever is changed in a good file, reading it either works or says in one line what is wrong."""

import copy
import json
import random

import pytest
from readers.build import h5, keras
from readers.test_recorded import HERE

from gateprobe.errors import ReadError
from gateprobe.graph import Era
from gateprobe.readers import read
from gateprobe.readers.architecture import read_architecture
from gateprobe.readers.safe_json import loads
from gateprobe.readers.version import era_of_config

ODD = [
    None, True, 0, -1, 2**63, 1.5, "", "x", [], {}, [[]], [None], ["x", 0, 0], ["x", -1, 0], [["x", 0, 0, {}]],
    {"args": [], "kwargs": {}}, {"class_name": "LSTM", "config": {}}, {"class_name": "Sequential", "config": []},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}},
    {"class_name": "__numpy__", "config": {"value": [[1], [2, 3]], "dtype": "float32"}},
]  # fmt: skip
ARCHITECTURES = sorted(HERE.rglob("model.json"))


def places(value):
    """Return every container and key inside a JSON value."""
    found, stack = [], [value]
    while stack:
        item = stack.pop()
        keys = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        found += [(item, key) for key in keys]
        stack += [item[key] for key in keys]
    return found


def mutate(value, chance):
    owner, key = chance.choice(places(value))
    how = chance.random()
    if how < 0.6:
        owner[key] = copy.deepcopy(chance.choice(ODD))
    elif how < 0.8:
        del owner[key]
    else:
        other, place = chance.choice(places(value))
        if len(json.dumps(other[place])) < 2000:
            owner[key] = copy.deepcopy(other[place])


@pytest.mark.parametrize("path", ARCHITECTURES, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_changed_architectures(path):
    chance, good = random.Random(7), json.loads(path.read_text())
    for _ in range(60):
        value = copy.deepcopy(good)
        for _ in range(chance.choice([1, 1, 3])):
            if places(value):
                mutate(value, chance)
        value = loads(json.dumps(value), "architecture")
        era_of_config(value)
        try:
            read_architecture(value, chance.choice(list(Era)))
        except ReadError as error:
            assert "\n" not in str(error)  # noqa: PT017 -- most changes are harmless and raise nothing


@pytest.mark.parametrize("make", [h5, keras])
def test_changed_bytes(tmp_path, make):
    chance, good = random.Random(7), make(tmp_path / "good").read_bytes()
    path, failures = tmp_path / "model", 0
    for _ in range(60):
        data = bytearray(good)
        for _ in range(chance.choice([1, 2, 8])):
            data[chance.randrange(len(data))] = chance.choice([0, 255, chance.randrange(256)])
        path.write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)
        try:
            read(path)
        except ReadError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 -- as above
            failures += 1
    assert failures > 10
