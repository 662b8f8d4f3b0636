"""One step as a worked equation: its parts are those of the file and of the trace, and they add up to it."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights
from rules import numbered

import gateprobe
from gateprobe.analysis.explain import compute, explain, explain_step
from gateprobe.cli import main
from gateprobe.model import opened
from gateprobe.replay import run as replay_run
from gateprobe.traces.selection import Selection

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
LEGACY = Path(__file__).parent / "data" / "legacy"
INPUTS = {
    "brackets.keras": ["brackets.npy"],
    "tokens.keras": ["tokens.npy"],
    "translate.keras": ["translate_source.npy", "translate_target.npy"],
    "keras2.h5": ["keras2.npy"],
}


def inputs_of(file):
    return [np.load(SAMPLES / name) for name in INPUTS[file]]


def tracing_of(model, x, **options):
    return opened(model).tracing(x, **options)


@pytest.fixture(scope="module")
def brackets():
    return gateprobe.read(SAMPLES / "brackets.keras")


# against the file, by hand


def test_every_number_of_a_step_is_that_of_the_file_or_of_the_trace(brackets):
    """The weights are read from the file here, the states from the trace; the formulas are those of the README."""
    with zipfile.ZipFile(SAMPLES / "brackets.keras") as archive, h5py.File(archive.open("model.weights.h5")) as file:
        kernel, recurrent, bias = (file[f"layers/lstm/cell/vars/{n}"][()].astype(float) for n in range(3))
    x = inputs_of("brackets.keras")[0]
    trace = brackets.trace(x)["lstm"].forward
    for unit in (0, 1):
        found = brackets.explain(x, layer="lstm", unit=unit, timestep=5, sample=1)
        assert found.before == "timestep 4"
        h = trace.hidden_state[1, 4].astype(float)
        values = {}
        for number, name in enumerate(("input_gate", "forget_gate", "candidate", "output_gate")):
            gate, column = found.gate(name), 2 * number + unit
            assert {(term.name, term.value, term.weight) for term in gate.inputs} == {
                (f"x[{n}]", float(x[1, 5, n]), kernel[n, column]) for n in range(3)
            }
            assert {(term.name, term.value, term.weight) for term in gate.recurrent} == {
                (f"h[{n}]", h[n], recurrent[n, column]) for n in range(2)
            }
            assert gate.bias == bias[column]
            z = x[1, 5].astype(float) @ kernel[:, column] + h @ recurrent[:, column] + bias[column]
            assert gate.pre_activation == pytest.approx(z, rel=1e-12)
            assert sum(t.product for t in (*gate.inputs, *gate.recurrent)) + gate.bias == pytest.approx(z, rel=1e-12)
            values[name] = np.tanh(z) if name == "candidate" else 1 / (1 + np.exp(-z))
            assert gate.value == pytest.approx(values[name], abs=1e-6)
            sizes = [abs(term.product) for term in gate.inputs]
            assert sizes == sorted(sizes, reverse=True)
        cell = values["forget_gate"] * float(trace.cell_state[1, 4, unit]) + values["input_gate"] * values["candidate"]
        assert found.states["cell_state"] == pytest.approx(cell, abs=1e-6)
        assert found.states["hidden_state"] == pytest.approx(values["output_gate"] * np.tanh(cell), abs=1e-6)
        assert found.activated == pytest.approx(np.tanh(cell), abs=1e-6)
        assert found.states_before["cell_state"] == trace.cell_state[1, 4, unit]


# against every recorded Keras


def recorded_models():
    for path in sorted(LEGACY.rglob("case.json")):
        files = [path.parent / name for name in ("model.keras", "model.h5") if (path.parent / name).exists()]
        if files:
            yield pytest.param(files[0], id=f"{path.parent.parent.name}/{path.parent.name}")


@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
@pytest.mark.parametrize("file", list(recorded_models()))
def test_steps_of_every_era_add_up(file):
    """LSTM, both kinds of GRU, convolutions, peepholes, stacks, half precision: no step is refused.

    The sums are those that the replay has before its activations, which other tests compare with Keras.
    """
    with np.load(file.parent / "case.npz") as stored:
        inputs = numbered(stored, "input")
    model = gateprobe.read(file)
    half = "float16" in (file.parent / "case.json").read_text(encoding="utf-8")
    trace = model.trace(inputs, pre_activations=True, samples=1)
    tracing = tracing_of(model, inputs)
    for part in trace.directions:
        computed = compute(tracing, part.layer, part.direction, 1)
        for timestep in part.timesteps[[0, 1, -1]]:
            for unit in part.units[:: max(1, len(part.units) // 3)]:
                found = explain_step(tracing, computed, 1, int(timestep), int(unit))
                at = np.unravel_index(unit, part.hidden_state.shape[2:])
                masked = part.mask is not None and not part.mask[0, timestep].all()
                assert found.masked is bool(masked)
                assert len(found.gates) == (0 if masked else len(part) // 2 if "reset_gate" in part else 4)
                for gate in found.gates:
                    z = part[f"pre_{gate.name}"][(0, timestep, *at)]
                    np.testing.assert_allclose(gate.pre_activation, z, atol=2e-2 if half else 1e-5)
                    assert gate.value == part[gate.name][(0, timestep, *at)]
                for name, value in found.states.items():
                    assert value == part[name][(0, timestep, *at)]


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear"])
def test_a_simple_rnn_is_one_sum(activation):
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.5, shape) for shape in ((3, 2), (2, 2), (2,))]
    model = chain([("SimpleRNN", "rnn", {"units": 2, "activation": activation})], {"rnn": weights})
    x = rng.normal(0, 1, (2, 4, 3)).astype(np.float32)
    found = model.explain(x, unit=1, sample=1, timestep=2)
    h = model.trace(x)["rnn"].forward.hidden_state[1]
    (gate,) = found.gates
    z = x[1, 2] @ np.float32(weights[0])[:, 1] + h[1] @ np.float32(weights[1])[:, 1] + np.float32(weights[2])[1]
    assert gate.pre_activation == pytest.approx(float(z), abs=1e-6)
    assert found.states == {"hidden_state": float(h[2, 1])}


@pytest.mark.parametrize("after", [False, True])
def test_a_gru_resets_before_or_after_the_product(after):
    rng = np.random.default_rng(1)
    shapes = ((3, 6), (2, 6), (2, 6) if after else (6,))
    weights = [rng.normal(0, 0.7, shape).astype(np.float32) for shape in shapes]
    model = chain([("GRU", "gru", {"units": 2, "reset_after": after})], {"gru": weights})
    x = rng.normal(0, 1, (1, 4, 3)).astype(np.float32)
    trace = model.trace(x)["gru"].forward
    gate = model.explain(x, unit=0, timestep=2).gate("candidate")
    h, r = trace.hidden_state[0, 1].astype(float), trace.reset_gate[0, 2].astype(float)
    column = weights[1][:, 4].astype(float)
    if after:
        assert (gate.reset, gate.recurrent_bias) == (r[0], float(weights[2][1, 4]))
        assert gate.from_states == pytest.approx(float(h @ column) + weights[2][1, 4])
        assert {term.name for term in gate.recurrent} == {"h[0]", "h[1]"}
    else:
        assert (gate.reset, gate.recurrent_bias) == (None, None)
        assert gate.from_states == pytest.approx(float((r * h) @ column))
        assert {(term.name, term.value) for term in gate.recurrent} == {
            ("r*h[0]", r[0] * h[0]),
            ("r*h[1]", r[1] * h[1]),
        }


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_a_pixel_of_a_conv_lstm_sees_its_window(order):
    rng = np.random.default_rng(2)
    first = order == "channels_first"
    config = {"filters": 2, "kernel_size": [2, 3], "strides": [2, 1], "padding": "valid", "data_format": order}
    weights = [rng.normal(0, 0.5, shape).astype(np.float32) for shape in ((2, 3, 3, 8), (2, 3, 2, 8), (8,))]
    shape = (None, None, 3, 5, 4) if first else (None, None, 5, 4, 3)
    model = chain([("ConvLSTM2D", "conv", config)], {"conv": weights}, input_shape=shape, keras_version="3.6.0")
    x = rng.normal(0, 1, (1, 3, *shape[2:])).astype(np.float32)
    states = model.trace(x)["conv"].forward.hidden_state.shape[2:]
    filters, rows, columns = states if first else (states[2], *states[:2])
    assert (filters, rows, columns) == (2, 2, 2)
    unit = int(np.ravel_multi_index((1, 1, 0) if first else (1, 0, 1), states))  # row 1, column 0, filter 1
    gate = model.explain(x, unit=unit, timestep=1).gate("input_gate")
    image = np.moveaxis(x[0, 1], 0, -1) if first else x[0, 1]
    seen = {term.name: (term.value, term.weight) for term in gate.inputs}
    assert len(seen) == 2 * 3 * 3
    for a, b, channel in np.ndindex(2, 3, 3):  # strides (2, 1): the window of row 1 begins in row 2
        assert seen[f"x[{a},{b},{channel}]"] == (image[2 + a, b, channel], weights[0][a, b, channel, 1])
    assert len(gate.recurrent) == 2 * 3 * 2


def test_an_activation_that_looks_at_all_units_gets_all_of_them():
    rng = np.random.default_rng(3)
    config = {"units": 3, "activation": "softmax", "recurrent_activation": "softmax"}
    model = chain([("LSTM", "lstm", config)], {"lstm": lstm_weights(rng, 3, 3)})
    x = rng.normal(0, 1, (1, 4, 3)).astype(np.float32)
    assert model.explain(x, unit=2, timestep=3).gate("input_gate").activation == "softmax"


# what does not add up


def altered(computed, **changes):
    ((timesteps, ran),) = computed.runs
    return replace(computed, runs=[(timesteps, replace(ran, **changes))])


def test_parts_that_do_not_add_up_are_refused(brackets):
    tracing = tracing_of(brackets, inputs_of("brackets.keras"))
    computed = compute(tracing, "lstm", None, 0)
    explain_step(tracing, computed, 0, 5, 0)
    ((_, ran),) = computed.runs
    for fault in (1e-4, -1e-4):
        with pytest.raises(gateprobe.InputError, match=r"unit 0, timestep 5: the parts of .* give .*, the replay"):
            explain_step(tracing, altered(computed, x=ran.x + np.float32(fault)), 0, 5, 0)
    cell = replace(ran.cell, recurrent_kernel=ran.cell.recurrent_kernel * np.float32(1.0001))
    with pytest.raises(gateprobe.InputError, match="the parts of"):
        explain_step(tracing, altered(computed, cell=cell), 0, 5, 0)


@pytest.mark.parametrize("name", ["cell_state", "hidden_state"])
def test_states_that_do_not_follow_from_the_gates_are_refused(brackets, name):
    tracing = tracing_of(brackets, inputs_of("brackets.keras"))
    computed = compute(tracing, "lstm", None, 0)
    signals = {key: value.copy() for key, value in computed.part.signals.items()}
    signals[name][0, 5, 0] += 1e-4
    wrong = replace(computed, part=replace(computed.part, signals=signals))
    with pytest.raises(gateprobe.InputError, match=f"the parts of {name} give"):
        explain_step(tracing, wrong, 0, 5, 0)


def test_infinite_and_missing_numbers_are_explained_as_they_are(brackets):
    x = inputs_of("brackets.keras")[0].copy()
    x[0, 3, 0] = np.nan
    assert np.isnan(brackets.explain(x, unit=0, timestep=4).gate("input_gate").value)
    text = shown("explain", SAMPLES / "brackets.keras", saved(x), "--unit", "0", "--timestep", "4", "--json")
    assert json.loads(text)["states"] == {"hidden_state": None, "cell_state": None}


# which step


def test_the_last_timestep_is_the_last_that_was_computed():
    x = np.load(SAMPLES / "tokens.npy")
    model = gateprobe.read(SAMPLES / "tokens.keras")
    lengths = (x != 0).sum(axis=1)
    assert lengths[1] < 8
    ahead = model.explain(x, unit=0, sample=1, direction="forward")
    behind = model.explain(x, unit=0, sample=1, direction="backward")
    assert (ahead.timestep, ahead.step, ahead.masked) == (lengths[1] - 1, lengths[1] - 1, False)
    assert (behind.timestep, behind.step, behind.before) == (0, 7, "timestep 1")


def test_a_masked_timestep_holds_the_states():
    x = np.load(SAMPLES / "tokens.npy")
    model = gateprobe.read(SAMPLES / "tokens.keras")
    found = model.explain(x, unit=0, sample=1, direction="forward", timestep=-1)
    assert (found.timestep, found.masked, found.gates) == (7, True, ())
    assert found.states == found.states_before
    with pytest.raises(gateprobe.InputError, match="no 'forget_gate' at this timestep"):
        found.gate("forget_gate")


@pytest.mark.parametrize(
    ("file", "layer", "timestep", "said"),
    [
        ("translate.keras", "encoder", 0, "the initial state, zeros"),
        ("translate.keras", "decoder", 0, "the initial state, from encoder"),
        ("translate.keras", "decoder", 1, "timestep 0"),
    ],
)
def test_the_states_before_are_named(file, layer, timestep, said):
    model = gateprobe.read(SAMPLES / file)
    found = model.explain(inputs_of(file), layer=layer, unit=0, timestep=timestep)
    assert found.before == said
    assert bool(found.states_before["cell_state"]) is (said != "the initial state, zeros")


def test_fed_states_are_named():
    model, (source, target) = gateprobe.read(SAMPLES / "translate.keras"), inputs_of("translate.keras")
    feeds = {f"decoder.initial_state[{n}]": np.full((4, 12), 0.25, np.float32) for n in range(2)}
    found = model.explain([source, target], layer="decoder", unit=3, timestep=0, feeds=feeds)
    assert found.before == "the initial state that was fed"
    assert found.states_before == {"hidden_state": 0.25, "cell_state": 0.25}


def test_a_stateful_layer_begins_where_the_batch_before_ended():
    rng = np.random.default_rng(4)
    layers = [("LSTM", "lstm", {"units": 2, "stateful": True})]
    model = chain(layers, {"lstm": lstm_weights(rng, 3, 2)}, input_shape=(1, None, 3))
    x = rng.normal(0, 1, (3, 4, 3)).astype(np.float32)
    trace = model.trace(x)["lstm"].forward
    found = model.explain(x, unit=1, sample=2, timestep=0)
    assert found.before == "the state that the layer kept from the sample before"
    assert found.states_before["cell_state"] == trace.cell_state[1, -1, 1]
    assert model.explain(x, unit=1, sample=0, timestep=0).before == "the initial state, zeros"


def test_a_long_sequence_is_explained_across_its_slabs(brackets, monkeypatch):
    x = np.tile(inputs_of("brackets.keras")[0], (1, 3, 1))
    whole = [brackets.explain(x, unit=0, sample=1, timestep=t) for t in (0, 7, 8, 9, 35)]
    monkeypatch.setattr(replay_run, "LONG", 30)
    monkeypatch.setattr(replay_run, "SLAB", 8)
    tracing = tracing_of(brackets, x)
    assert tracing.batches.timesteps == 36
    for one in whole:
        found = explain(tracing, sample=1, timestep=one.timestep, unit=0)
        assert found.before == one.before
        assert found.states == pytest.approx(one.states, abs=1e-6)
        assert found.gate("candidate").inputs == one.gate("candidate").inputs


def test_a_shared_layer_has_a_path_for_each_call():
    folder = LEGACY / "keras_3.15.1" / "siamese"
    with np.load(folder / "case.npz") as stored:
        inputs = numbered(stored, "input")
    model = gateprobe.read(folder / "model.keras")
    trace = model.trace(inputs)
    for layer in ("shared_lstm", "shared_lstm:1"):
        found = model.explain(inputs, layer=layer, unit=1, timestep=2)
        assert found.states["cell_state"] == trace[layer].forward.cell_state[0, 2, 1]
    with pytest.raises(gateprobe.InputError, match="several recurrent layers: say which"):
        model.explain(inputs, unit=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unit": 2}, "units=2 is not in lstm; available: 0 to 1"),
        ({"unit": -3}, "available: 0 to 1"),
        ({"unit": 0, "timestep": 12}, "timesteps=12 is not in lstm; available: 0 to 11"),
        ({"unit": 0, "timestep": -13}, "available: 0 to 11"),
        ({"unit": 0, "sample": 3}, "samples=3 is not there; available: 0 to 2"),
        ({"unit": 0, "layer": "lstn"}, "did you mean lstm"),
        ({"unit": 0, "direction": "backward"}, "no such direction; available: forward"),
    ],
)
def test_what_is_not_there_says_what_is(brackets, options, said):
    with pytest.raises(gateprobe.InputError, match=said):
        brackets.explain(inputs_of("brackets.keras"), **options)


def test_negative_numbers_count_from_the_end(brackets):
    found = brackets.explain(inputs_of("brackets.keras"), unit=-1, timestep=-2)
    assert (found.unit, found.timestep) == (1, 10)


def test_two_directions_must_be_told_apart():
    with pytest.raises(gateprobe.InputError, match="runs in both directions; say directions=forward or backward"):
        gateprobe.read(SAMPLES / "tokens.keras").explain(inputs_of("tokens.keras"), unit=0)


def test_what_cells_ran_on_is_kept_only_when_it_is_asked_for(brackets):
    tracing = tracing_of(brackets, inputs_of("brackets.keras"), selection=Selection())
    results = tracing.model._run(tracing.plan, tracing.samples, tracing.selection, batches=tracing.batches)
    assert [result.ran for result in results] == [()]


# the command


def run(*arguments, env=None):
    return CliRunner(env=env).invoke(main, [str(argument) for argument in arguments], prog_name="gateprobe")


def shown(*arguments, width=None):
    done = run(*arguments, env={"COLUMNS": str(width)} if width else None)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saved(array, name="saved.npy"):
    np.save(name, array)
    return name


BRACKETS = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy")
STEP = ("explain", *BRACKETS, "--unit", "0", "--timestep", "5")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_fits_the_screen(width):
    lines = shown(*STEP, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("lstm/forward: unit 0 at timestep 5 (of 0 to 11)")


def products(text):
    """Return the sums as they are printed: for each gate its parts, and the sum."""
    found = []
    for line in text.splitlines():
        if re.match(r"(input_gate|forget_gate|candidate|output_gate) ", line):
            found.append([])
        elif found and re.match(r"  \S", line) and "─" not in line:
            found[-1].append((line.split()[0], float(line.split()[-1])))
    return [(dict(parts[:-1]), parts[-1]) for parts in found[:4]]


@pytest.mark.parametrize("top", [0, 1, 2, 9])
def test_the_printed_parts_add_up_whatever_is_left_out(top):
    sums = products(shown(*STEP, "--top", top, width=80))
    assert len(sums) == 4
    for parts, (name, total) in sums:
        assert name == "sum"
        assert sum(parts.values()) == pytest.approx(total, abs=5e-4)


def test_in_a_pipe_each_part_is_a_row():
    rows = [line.split("\t") for line in shown(*STEP).splitlines() if "\t" in line]
    assert rows[0] == ["gate", "part", "product", "value"]
    assert {row[0] for row in rows[1:]} == {"input_gate", "forget_gate", "candidate", "output_gate"}
    assert all(len(row) == 4 for row in rows)


def test_json_has_every_product(brackets):
    found = json.loads(shown(*STEP, "--json"))
    step = brackets.explain(inputs_of("brackets.keras"), unit=0, timestep=5)
    assert found["states"] == pytest.approx(step.states)
    for gate, one in zip(found["gates"], step.gates, strict=True):
        assert [term["name"] for term in gate["inputs"]] == [term.name for term in one.inputs]
        total = gate["from_inputs"] + gate["bias"] + gate["from_states"]
        assert total == pytest.approx(gate["pre_activation"])
    assert len(json.loads(shown(*STEP, "--json", "--top", "1"))["gates"][0]["inputs"]) == 1


TOKENS = (SAMPLES / "tokens.keras", SAMPLES / "tokens.npy", "--direction", "forward", "--sample", "1")
CASES = [
    STEP,
    ("explain", *BRACKETS, "--ledger", "--unit", "1"),
    ("explain", *BRACKETS, "--ledger"),
    ("explain", *TOKENS, "--unit", "0", "--timestep", "7"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_every_form_shows_the_states(case, form):
    text = shown(*CASES[case], "--format", form)
    found = json.loads(shown(*CASES[case], "--json"))
    states = [found["states"]["cell_state"]] if "states" in found else found["value"]
    assert all(f"{state:.4f}" in text for state in states)
    if form == "latex":
        body = re.sub(r"%.*", "", text)
        assert body.count("{") == body.count("}")
        assert body.count("(") == body.count(")")
        begun, ended = (re.findall(rf"\\{word}{{(\S+?)}}", body) for word in ("begin", "end"))
        assert begun == ended
        assert len(begun) == 1
    if form == "markdown":
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert all(line.count("|") in {row.count("|") for row in rows} for line in rows)


def test_tokens_label_the_timesteps():
    Path("tokens.txt").write_text("\n".join("((a)(a(a)))a") + "\n", encoding="utf-8")
    text = shown(*STEP, "--tokens", "tokens.txt")
    assert "token 'a', sample 0" in text
    table = shown("explain", *BRACKETS, "--ledger", "--unit", "0", "--tokens", "tokens.txt", "--timestep", "4")
    rows = {line.split("\t")[0]: line.split("\t")[1] for line in table.splitlines() if line[:1].isdigit()}
    assert rows == dict(zip("01234", "((a)(", strict=True))


def test_the_ledger_of_a_stored_trace_is_that_of_the_run():
    shown("dump", *BRACKETS, "-o", "t.npz", "-o", "t.csv")
    for options in (["--unit", "0"], [], ["--unit", "1", "--timestep", "4", "--sample", "2"]):
        from_run = json.loads(shown("explain", *BRACKETS, "--ledger", "--json", *options))
        for name in ("t.npz", "t.csv"):
            stored = json.loads(shown("explain", name, "--ledger", "--json", *options))
            assert {**stored, "initial_from": ""} == {**from_run, "initial_from": ""}
        assert sum(part["left"][0] for part in from_run["parts"]) == pytest.approx(from_run["value"][0], abs=1e-5)


def test_the_encoder_wrote_the_first_part_of_the_decoder():
    files = [SAMPLES / name for name in ("translate.keras", *INPUTS["translate.keras"])]
    found = json.loads(shown("explain", *files, "--layer", "decoder", "--ledger", "--unit", "5", "--json"))
    assert found["initial_from"] == "the initial state, from encoder"
    assert abs(found["initial"][0]) > 0.1
    assert found["adds_up"] is True


def test_a_trace_that_contradicts_itself_exits_with_1():
    x = inputs_of("brackets.keras")
    trace = gateprobe.read(SAMPLES / "brackets.keras").trace(x)
    part = trace["lstm"].forward
    part.signals["cell_state"][0, 7, 0] += 0.25
    trace.save("t.npz")
    done = run("explain", "t.npz", "--ledger", "--unit", "0", "--timestep", "7")
    assert done.exit_code == 1
    assert "the parts do not add up to cell_state: off by 0.25" in done.stderr
    assert shown("explain", "t.npz", "--ledger", "--unit", "1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "say which unit of lstm with --unit; available: 0 to 1"),
        (["--unit", "2"], "--unit 2 is not in lstm; available: 0 to 1"),
        (["--unit", "0", "--timestep", "99"], "--timestep 99 is not in lstm; available: 0 to 11"),
        (["--unit", "0", "--sample", "3"], "--sample 3 is not there; available: 0 to 2"),
        (["--unit", "0", "--layer", "depth"], "depth is not recurrent; recurrent layers: lstm"),
        (["--unit", "0", "--json", "--format", "latex"], "--json and --format both say what to print"),
    ],
)
def test_refusals_are_one_line(options, said):
    done = run("explain", *BRACKETS, *options)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_refusals_of_traces_are_one_line():
    shown("dump", *BRACKETS, "-o", "t.npz")
    shown("dump", *BRACKETS, "-o", "h.npz", "--signal", "h")
    shown("dump", *BRACKETS, "-o", "gaps.npz", "--timestep", "0,2,3")
    for options, said in (
        (["t.npz", "--unit", "0"], "is a trace, without the weights and the inputs of the layer; give the model and"),
        (
            ["h.npz", "--ledger"],
            "the ledger needs input_gate, forget_gate, candidate, cell_state; the trace has hidden_state",
        ),
        (["gaps.npz", "--ledger", "--timestep", "3"], "leaves out timesteps, and the ledger needs all of them"),
        (["t.npz", "--ledger", "--sample", "3"], "--sample 3 selects nothing; available: 0 to 2"),
        (["t.npz", "--ledger", "--unit", "9"], "--unit 9 is not in lstm; available: 0 to 1"),
        (["t.npz", "--ledger", "--timestep", "12"], "--timestep 12 is not in lstm; available: 0 to 11"),
        (["t.npz", "--ledger", "--layer", "gru"], "--layer gru selects nothing; available: lstm"),
        (["t.npz", "--ledger", "--direction", "backward"], "lstm has no such direction; available: forward"),
    ):
        done = run("explain", *options)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert said in done.stderr


def test_names_from_a_file_are_harmless():
    from gateprobe.cli.explained import Equation

    step = gateprobe.read(SAMPLES / "brackets.keras").explain(inputs_of("brackets.keras"), unit=0)
    odd = Equation(replace(step, layer="a\n\\end{align*}\x1b[31m|_<b>"), "\n|")
    for lines in (odd.markdown(None), odd.latex(None)):
        text = list(lines)
        assert not any(character in line for line in text for character in "\n\x1b")
    assert next(iter(odd.latex(None))).startswith("% ")


@pytest.mark.parametrize("top", [0, 2, 20])
def test_a_ledger_adds_up_whatever_is_left_out(top):
    table = shown("explain", *BRACKETS, "--ledger", "--unit", "0", "--top", top)
    rows = [line.split("\t") for line in table.splitlines() if "\t" in line][1:]
    parts, (name, *_, total) = rows[:-2], rows[-2]
    assert name == "sum"
    assert sum(float(row[-1]) for row in parts) == pytest.approx(float(total), abs=1e-3)
    assert len(parts) == min(top, 12) + (top < 12) + 1
    found = json.loads(shown("explain", *BRACKETS, "--ledger", "--unit", "0", "--top", top, "--json"))
    sizes = [abs(part["left"][0]) for part in found["parts"]]
    assert len(sizes) == min(top, 12)
    assert sizes == sorted(sizes, reverse=True)


def test_only_the_sample_that_is_meant_runs(brackets, monkeypatch):
    from gateprobe import opened_model as home

    asked, real = [], home.run
    monkeypatch.setattr(home, "run", lambda *args, **how: asked.append(how["numbers"].tolist()) or real(*args, **how))
    brackets.explain(inputs_of("brackets.keras"), unit=0, sample=2)
    assert asked == [[2]]
