"""Published models through the commands that look: whatever can be traced can be drawn, explained and reported."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from report_pages import Page, numbers, signals
from verify.corpus import SHARED

import gateprobe
from gateprobe.cli import main

KINDS = ("heatmap", "unit", "saturation", "ledger", "histogram")  # text takes tokens


def published():
    if not SHARED.is_dir():
        return
    for entry in json.loads((SHARED / "realmodels" / "index.json").read_text(encoding="utf-8")):
        model = SHARED / "realmodels" / "models" / entry["file"]
        stem = entry["file"].replace("/", "__")
        golden = sorted((SHARED / "realmodels" / "golden").glob(f"{stem}.*.npz"))
        if model.exists() and golden:
            has_layers = bool(entry["recurrent"] or entry["wrapped"])
            beside = entry.get("companion_json")
            given = ["--architecture", model.with_name(beside)] if beside else []
            yield pytest.param(model, golden[0], given, has_layers, id=stem)


pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded models are not beside the project"),
    pytest.mark.parametrize(("model", "golden", "given", "has_layers"), list(published())),
]


def look(command, *arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, [command, *map(str, arguments)], prog_name="gateprobe")


@pytest.fixture
def inputs(golden, tmp_path):
    """Return the files of what the model was recorded with."""
    with np.load(golden) as arrays:
        keys = sorted((key for key in arrays.files if re.fullmatch(r"x\d+", key)), key=lambda key: int(key[1:]))
        for key in keys:
            np.save(tmp_path / f"{key}.npy", arrays[key])
    return [tmp_path / f"{key}.npy" for key in keys]


@pytest.mark.filterwarnings("ignore")
def test_every_published_model_can_be_drawn_and_explained(model, given, has_layers, inputs, tmp_path):
    if not has_layers:
        return
    trace = tmp_path / "trace.npz"
    done = look("dump", model, *inputs, *given, "-o", trace)
    assert done.exit_code == 0, done.output
    part = gateprobe.load_trace(trace).directions[0]
    place = ["--layer", part.layer, "--direction", part.direction]
    for kind in KINDS:
        unit = ["--unit", "0"] if kind in ("unit", "ledger") else []
        done = look("plot", trace, *place, "--kind", kind, *unit)
        assert done.exit_code == 0 or kind == "ledger", (kind, done.output)  # a SimpleRNN has none
    drawn = tmp_path / "drawn.png"
    done = look("plot", trace, *place, "--timestep", "0:40", "--unit", "0:40", "-o", drawn)
    assert done.exit_code == 0, done.output
    assert drawn.read_bytes().startswith(b"\x89PNG")
    for what in ([], ["--ledger"]):
        done = look("explain", model, *inputs, *given, *place, "--unit", "0", *what)
        assert done.exit_code == 0, done.output


def test_a_page_of_every_published_model(model, given, has_layers, inputs, tmp_path):
    done = look("report", model, *inputs, *given, "-o", tmp_path / "r.html")
    assert "Traceback" not in done.output
    if not has_layers:
        assert (done.exit_code, "the model has no recurrent layer" in done.output) == (2, True)
        return
    assert done.exit_code == 0, done.output
    for part in Page((tmp_path / "r.html").read_text()).payload["parts"]:
        kept = signals(part)
        gates = [value for name, value in kept.items() if name.endswith("_gate")]
        assert all(np.isfinite(value).all() for value in kept.values()) or part["mask"] is not None
        assert gates or part["class"] == "SimpleRNN" or "RNN" in part["class"]
        assert len(numbers(part["signals"][0][1], "f" if part["dtype"] == "float32" else "d")) == np.prod(part["shape"])
