"""Golden vectors: the C checker compiles without a warning, accepts what is right and names what is wrong first."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights
from scalar_lstm import lstm

import gateprobe
from gateprobe.cli import main
from gateprobe.golden.formats import fixed_point, study
from gateprobe.golden.run import golden, write
from gateprobe.model import opened
from gateprobe.traces.selection import Selection

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
DATA = Path(__file__).parent / "data" / "legacy"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def sample(name, *arrays):
    return SAMPLES / name, [np.load(SAMPLES / f"{array}.npy") for array in arrays]


def legacy(name):
    folder = DATA / name
    file = next(path for path in sorted(folder.iterdir()) if path.name in ("model.h5", "model.keras"))
    stored = np.load(folder / "case.npz")
    keys = sorted(key for key in stored if re.fullmatch(r"input_\d+", key))
    return file, [stored[key] for key in keys]


MODELS = {
    "lstm": sample("brackets.keras", "brackets"),
    "hard_sigmoid": sample("keras2.h5", "keras2"),
    "masked both ways": sample("tokens.keras", "tokens"),
    "encoder and decoder": sample("translate.keras", "translate_source", "translate_target"),
    "CuDNN": legacy("keras_2.2.4/cudnn_lstm"),
    "GRU both ways": legacy("keras_2.2.4/bi_return_state"),
}


def vectors_of(name, **options):
    file, inputs = MODELS[name]
    model = opened(gateprobe.read(file))
    x = dict(zip((spec.name for spec in model.inputs), inputs, strict=True))
    return golden(model, x, samples=(0, 1), **options)


def compiled(folder, *flags):
    sources = sorted(str(path) for path in folder.glob("*.c"))
    command = ["cc", *FLAGS, *flags, *sources, "-lm", "-o", str(folder / "check")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return subprocess.run([folder / "check"], capture_output=True, text=True, check=False)


@needs_cc
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_reference_step_agrees(tmp_path, name, transpose):
    made = vectors_of(name, transpose=transpose)
    write(made, tmp_path / "golden")
    done = compiled(tmp_path / "golden")
    assert done.returncode == 0, done.stdout
    used = sum(
        value.size if one.mask is None else int(one.mask.sum()) * one.units
        for one in made.vectors
        for name, value in one.signals.items()
        if one.kind != "SimpleRNN" or name != "hidden_state"
    )
    assert done.stdout == f"AGREES: {used} values\n"


@needs_cc
def test_any_order_of_the_gates_agrees(tmp_path):
    for order in ("oigf", "fgio"):
        folder = tmp_path / order
        write(vectors_of("lstm", order=order), folder)
        assert compiled(folder).returncode == 0
        header = (folder / "golden.h").read_text()
        assert re.search(rf"#define LSTM_FORWARD_FORGET_GATE {order.index('f')}\b", header)


@needs_cc
def test_the_first_wrong_value_is_named(tmp_path):
    folder = tmp_path / "golden"
    write(vectors_of("lstm"), folder)
    step = folder / "golden_step.c"
    right = step.read_text()
    faults = {
        "pre_input_gate, unit 0": ("from_x = ", "from_x = 0.001 + "),
        "forget_gate, unit 0": (
            "[LSTM_FORWARD_FORGET_GATE][u] = (golden_real)",
            "[LSTM_FORWARD_FORGET_GATE][u] = (golden_real)0.999F * (golden_real)",
        ),
        "cell_state, unit 0": ("c[u] = (golden_real)(", "c[u] = (golden_real)(0.001 + "),
        "hidden_state, unit 0": ("h[u] = (golden_real)(", "h[u] = (golden_real)(0.001 + "),
    }
    for named, (written, changed) in faults.items():
        assert written in right
        step.write_text(right.replace(written, changed))
        done = compiled(folder)
        assert done.returncode == 1
        assert f"WRONG: lstm/forward, sample 0, step 0 (timestep 0), {named}" in done.stdout
    step.write_text(right.replace("from_x = ", "from_x = 0.001 + "))
    assert "input_gate, unit 0" in compiled(folder, "-DGOLDEN_NO_PRE").stdout


@needs_cc
def test_a_state_that_is_not_kept_is_found_at_the_second_step(tmp_path):
    folder = tmp_path / "golden"
    write(vectors_of("lstm"), folder)
    step = folder / "golden_step.c"
    step.write_text(step.read_text().replace("memcpy(before, h, sizeof before);", "memset(before, 0, sizeof before);"))
    assert "sample 0, step 1 (timestep 1), pre_input_gate" in compiled(folder).stdout


def test_json_and_npz_hold_what_a_scalar_loop_computes(tmp_path):
    """Weights of each gate, inputs and states, against the 25 lines of `scalar_lstm`."""
    write(vectors_of("lstm"), tmp_path / "golden", c=False)
    assert sorted(path.name for path in (tmp_path / "golden").iterdir()) == ["golden.json", "golden.npz"]
    layer = json.loads((tmp_path / "golden" / "golden.json").read_text())["layers"][0]
    stored = np.load(tmp_path / "golden" / "golden.npz")
    fused = {
        key: np.concatenate(list(stored[f"lstm/forward/{key}"]), -1) for key in ("kernel", "recurrent_kernel", "bias")
    }
    assert layer["gate_names"] == ["input_gate", "forget_gate", "candidate", "output_gate"]
    np.testing.assert_array_equal(np.array(layer["kernel"], np.float32), stored["lstm/forward/kernel"])
    weights = [fused[key].tolist() for key in ("kernel", "recurrent_kernel", "bias")]
    zeros = [0.0] * layer["units"]
    for row, x in enumerate(stored["lstm/forward/x"]):
        for step, computed in enumerate(lstm(x.tolist(), *weights, zeros, zeros)):
            for name, value in computed.items():
                if name in layer["gate_names"]:
                    ours = stored["lstm/forward/gates"][row, step, layer["gate_names"].index(name)]
                else:
                    ours = stored[f"lstm/forward/{name}"][row, step]
                np.testing.assert_allclose(ours, value, atol=1e-5)


def test_numbers_read_back_exactly(tmp_path):
    write(vectors_of("hard_sigmoid"), tmp_path / "golden")
    text = (tmp_path / "golden" / "golden_weights.c").read_text()
    array = re.search(r"lstm_1_forward_kernel\[.*?=\n(.*?);", text, re.DOTALL)[1]
    read = np.array([np.float32(number[:-1]) for number in re.findall(r"-?[\d.]+(?:e[-+]\d+)?F", array)])
    (vectors,) = vectors_of("hard_sigmoid").vectors
    ours = np.stack(np.split(vectors.anatomy.kernel, 4, axis=-1))
    np.testing.assert_array_equal(read, ours.ravel())


@pytest.mark.parametrize("name", ['*/ #include "x"', "a\\\n", "é??/", "1x"])
def test_a_hostile_name_puts_nothing_into_the_sources(name):
    from dataclasses import replace

    from gateprobe.golden.c_source import blocks_of, sources

    (one,) = vectors_of("lstm").vectors
    hostile = replace(one, layer=name)
    blocks = blocks_of([hostile], {f"{name}/forward": one.anatomy.gates}, transpose=False)
    for text in sources(blocks).values():
        assert text.isascii()
        assert '#include "x"' not in text
        assert "??" not in text
    assert re.fullmatch(r"[a-z]\w*", blocks[0].name, re.ASCII)


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path):
    made = vectors_of("lstm")
    write(made, tmp_path / "golden")
    with pytest.raises(gateprobe.OutputError):
        write(made, tmp_path / "golden")
    write(made, tmp_path / "golden", overwrite=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "golden.json").write_text("mine")
    with pytest.raises(gateprobe.OutputError):
        write(made, tmp_path / "half")
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["golden.json"]


def run(*arguments):
    return CliRunner().invoke(main, ["golden", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing is asked for"),
        (["-o", "G", "--order", "ifgx"], "has the gates of no layer"),
        (["--order", "ifgo", "--study"], "arrange files"),
        (["-o", "G", "--keep", "1"], "goes with --study"),
        (["--study", "--keep", "-1"], "--keep -1: expected a number above 0"),
        (["--study", "--keep", "nan"], "--keep nan: expected a number above 0"),
        (["-o", "G", "--json"], "--json prints what --study finds; give --study, too, or leave out --json"),
        (["-o", SAMPLES / "keras2.npy"], "keras2.npy: is no folder; name one, or one to be made"),
        (["-o", "no/such/folder"], "no/such/folder: cannot write: No such file or directory"),
        (["-o", "G", "--sample", "99"], "99"),
        (["-o", "G", "--layer", "dense"], "dense selects nothing; available: lstm"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, options, said):
    given = [str(tmp_path / "G") if option == "G" else option for option in options]
    found = run(SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", *given)
    assert found.exit_code == 2
    assert said in found.stderr
    assert not (tmp_path / "G").exists()


def test_fixed_point_rounds_to_the_nearest_and_saturates():
    q = fixed_point(3, 4)
    x = np.array([0.03, 0.04, -0.04, 7.9, 8.0, 100, -8, -100])
    np.testing.assert_array_equal(q.round(x), [0, 0.0625, -0.0625, 7.875, 7.9375, 7.9375, -8, -8])


def test_the_study_measures_what_formats_cost():
    file, (x,) = MODELS["lstm"]
    model = opened(gateprobe.read(file))
    found = study(model, {model.inputs[0].name: x}, keep=1e-2)
    worst = {(cost.format, cost.place): cost.worst for cost in found.costs if cost.place.startswith("output")}
    error = {name: value for (name, _), value in worst.items()}
    assert error["float16"] < error["bfloat16"]
    assert error["Q7.24"] < error["Q7.8"] < error["Q3.4"]
    exact = gateprobe.read(file).trace(x, dtype="float64")["lstm"]
    ranges = {one.signal: (one.low, one.high) for one in found.ranges if one.place == "lstm/forward"}
    assert ranges["cell_state"] == pytest.approx((exact.cell_state.min(), exact.cell_state.max()))
    whole, bits = map(int, re.fullmatch(r"Q(\d+)\.(\d+)", found.smallest).groups())
    assert 1 + whole + bits < 16
    assert study(model, {model.inputs[0].name: x}, keep=1e-30).smallest is None


def test_a_selection_takes_one_direction():
    made = vectors_of("masked both ways", selection=Selection(directions=("backward",)))
    (one,) = made.vectors
    assert one.direction == "backward"
    np.testing.assert_array_equal(one.timesteps, np.arange(one.x.shape[1])[::-1])


@pytest.mark.filterwarnings("ignore:.*are NaN or infinite")
@pytest.mark.parametrize(("weight", "value"), [(0, 3e38), (2, np.inf), (2, -np.inf)])
def test_numbers_that_no_source_holds_are_refused(weight, value):
    """The gates saturate, and all signals are finite: only the bias, or a sum before its activation, is not."""
    weights = lstm_weights(np.random.default_rng(0), 3, 2)
    weights[weight][..., 0] = value
    model = opened(chain([("LSTM", "lstm", {"units": 2})], {"lstm": weights}))
    x = np.full((1, 4, 3), 2, np.float32)
    assert np.isfinite(gateprobe.model.Model(model).trace(x)["lstm"].forward.hidden_state).all()
    with pytest.raises(gateprobe.UnsupportedModel, match="holds numbers that are not finite"):
        golden(model, {"input": x})
