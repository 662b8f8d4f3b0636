"""Published models through the commands that look: whatever can be traced can be drawn and explained."""

import re

import numpy as np
import pytest
from click.testing import CliRunner
from test_report import SHARED, published

import gateprobe
from gateprobe.cli import main

KINDS = ("heatmap", "unit", "saturation", "ledger", "histogram")  # text takes tokens


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


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded models are not beside the project")
@pytest.mark.parametrize(
    ("model", "golden", "architecture", "has_layers"), list(published()) if SHARED.is_dir() else []
)
def test_every_published_model_can_be_drawn_and_explained(model, golden, architecture, has_layers, inputs, tmp_path):
    if not has_layers:
        return
    given = ["--architecture", model.with_name(architecture)] if architecture else []
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
