"""The recipes of docs/architecture.md, followed to the letter on a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import gateprobe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
RECIPE = re.compile(r"<!-- recipe: (\S+) -->\n```(python|diff)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SAMPLE = ROOT / "sample_models" / "keras2"


class House:
    """A copy of the package after the steps of one recipe."""

    def __init__(self, folder, title):
        shutil.copytree(ROOT / "gateprobe", folder / "gateprobe", ignore=shutil.ignore_patterns("__pycache__"))
        self.folder = folder
        (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
        steps = RECIPE.findall(section)
        assert steps
        for path, language, text in steps:
            file = folder / path
            file.write_text(text if language == "python" else changed(file.read_text(), text))

    def run(self, *arguments):
        """Run Python beside the copy and return what it prints."""
        environment = {**os.environ, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT / 'tests'}"}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def program(self, *arguments):
        """Run the program."""
        return self.run("-c", "from gateprobe.cli import main; main()", *map(str, arguments))


def changed(text, diff):
    """Return a file after a diff without line numbers, whose hunks are parted by ``...``."""
    for hunk in diff.split("...\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"the page shows other lines than the file has:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture
def house(tmp_path):
    return lambda title: House(tmp_path, title)


def test_a_layer(house):
    house = house("Add a layer")
    (house.folder / "use.py").write_text("""
import numpy as np
from graphs import chain

x = np.ones((1, 1, 3), np.float32)
for config in ({"offset": 1.5}, {"offset": 1.5, "power": 2}):
    try:
        print(*chain([("Scale", "scale", config)], {"scale": [[2, 3, 4]]}).predict(x)["scale"].ravel())
    except Exception as error:
        print(error)
""")
    numbers, refusal = house.run("use.py").splitlines()
    assert numbers == "3.5 4.5 5.5"
    assert "power=2" in refusal


def test_a_reader(house):
    house = house("Add a reader")
    with h5py.File(SAMPLE.with_suffix(".h5")) as file:
        weights = file["model_weights"]
        names = {layer: weights[layer].attrs.get("weight_names", ()) for layer in weights}
        model = {
            "keras_version": str(file.attrs["keras_version"]),
            "model_config": json.loads(file.attrs["model_config"]),
            "weights": {layer: [weights[layer][name][()].tolist() for name in names[layer]] for layer in names},
        }
    (house.folder / "model.txt").write_text("#keras-json\n" + json.dumps(model))
    house.program("dump", "model.txt", SAMPLE.with_suffix(".npy"), "-o", "trace.npz")
    expected = gateprobe.read(SAMPLE.with_suffix(".h5")).trace(np.load(SAMPLE.with_suffix(".npy")))["lstm_1"].forward
    with np.load(house.folder / "trace.npz") as trace:
        for signal in expected.signals:
            np.testing.assert_array_equal(trace[f"lstm_1/forward/{signal}"], getattr(expected, signal))


def test_a_writer(house):
    house = house("Add a writer")
    house.program("dump", SAMPLE.with_suffix(".h5"), SAMPLE.with_suffix(".npy"), "-o", "trace.md", "-o", "trace.csv")
    expected, table = ((house.folder / f"trace.{name}").read_text().splitlines() for name in ("csv", "md"))
    rows = [line.strip("| ").split(" | ") for line in table]
    assert rows.pop(1) == ["---"] * 13
    assert rows[0] == expected[0].split(",")
    numbers = [[float(cell) for cell in row[7:]] for row in rows[1:]]
    assert numbers == [pytest.approx([float(cell) for cell in line.split(",")[7:]]) for line in expected[1:]]
    assert "npz, .h5 or .md; - is" in " ".join(house.program("dump", "-h").split())
    outputs = house.program("predict", SAMPLE.with_suffix(".h5"), SAMPLE.with_suffix(".npy"), "--format", "md")
    assert outputs.startswith("| sample | output |")


def test_a_command(house):
    house = house("Add a command")
    assert house.program("layers", SAMPLE.with_suffix(".h5")) == "lstm_1 LSTM\n"
    assert "List the calls of recurrent layers" in house.program("--help")


def test_a_rule(house):
    house = house("Add an era's rule")
    (house.folder / "use.py").write_text("""
import numpy as np
from graphs import chain

for version in ("1.2.2", "2.2.4", "3.15.1"):
    model = chain([("Activation", "activation", {"activation": "softsign"})], {}, keras_version=version)
    print(*model.predict(np.full((1, 1, 3), 3, np.float32))["activation"].ravel()[:1])
""")
    first, *later = map(float, house.run("use.py").split())
    assert first == pytest.approx(3 / 10**0.5)
    assert later == [0.75, 0.75]


def test_every_question_is_answered_by_a_file_that_is_there():
    (section,) = re.findall(r"^## Which file answers which question\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (.+\?) \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) >= 10
    for question, answer in rows:
        for name in re.findall(r"`([\w/]+\.py)`", answer):
            assert (ROOT / "gateprobe" / name).is_file(), question


def test_every_room_is_on_the_page():
    (section,) = re.findall(r"^## The rooms\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    column = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    top = {path.relative_to(ROOT / "gateprobe").parts[:2] for path in (ROOT / "gateprobe").rglob("*.py")}
    there = {parts[0] + "/" * (len(parts) > 1) for parts in top} - {"__init__.py"}
    assert sorted(re.findall(r"`(.+?)`", " ".join(column))) == sorted(there)
