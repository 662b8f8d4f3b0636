"""Weights by gate: those of the file in every layout, and those that give the gates which Keras recorded."""

import csv
import io
import json
import math
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import rules
import scalar_lstm
from click.testing import CliRunner
from graphs import chain, lstm_weights

import gateprobe
from gateprobe.cli import main
from gateprobe.graph import LayerRecord

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
LEGACY = Path(__file__).parent / "data" / "legacy"
LSTM = {"i": "input_gate", "f": "forget_gate", "c": "candidate", "o": "output_gate"}
GRU = {"z": "update_gate", "r": "reset_gate", "h": "candidate"}


def arrays_in(path):
    """Return the arrays of an HDF5 file by the last part of their names."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def ending(arrays, end):
    (value,) = (array for name, array in arrays.items() if name.endswith(end))
    return value


# the file's own arrays


@pytest.mark.parametrize(
    ("name", "layer", "direction", "prefix", "gates"),
    [
        ("1.2.2/per_gate", "lstm_2", "forward", "lstm_2_", LSTM),
        ("1.2.2/bidirectional", "bidirectional_1", "forward", "forward_lstm_3_", LSTM),
        ("1.2.2/bidirectional", "bidirectional_1", "backward", "backward_lstm_3_", LSTM),
        ("1.2.2/backwards_gru", "gru_1", "backward", "gru_1_", GRU),
    ],
)
def test_keras_1_names_its_gates_itself(name, layer, direction, prefix, gates):
    part = getattr(rules.model_of(name).weights(layer), direction)
    (path,) = (path for path in rules.unpacked().glob(f"{name}.*") if path.suffix != ".npz")
    stored = arrays_in(path)
    assert list(part) == list(gates.values())
    for letter, gate in gates.items():
        np.testing.assert_array_equal(part[gate].kernel, ending(stored, f"{prefix}W_{letter}:0"))
        np.testing.assert_array_equal(part[gate].recurrent_kernel, ending(stored, f"{prefix}U_{letter}:0"))
        np.testing.assert_array_equal(part[gate].bias, ending(stored, f"{prefix}b_{letter}:0"))


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("case", "layer", "direction", "prefix", "gates"),
    [
        ("keras_2.2.4/cudnn_lstm", "cl", "forward", "cl/cl/", LSTM),
        ("keras_2.2.4/cudnn_lstm", "cl_last", "forward", "cl_last/", LSTM),
        ("keras_2.2.4/cudnn_lstm", "cg", "forward", "cg/cg/", GRU),
        ("keras_2.3.1/cudnn_bi", "bi", "forward", "forward_inner/", LSTM),
        ("keras_2.3.1/cudnn_bi", "bi", "backward", "backward_inner/", LSTM),
    ],
)
def test_cudnn_weights_are_those_into_which_keras_turns_them(kerases, case, layer, direction, prefix, gates):
    from tf_keras.src.saving.legacy.hdf5_format import _convert_rnn_weights

    stored = arrays_in(LEGACY / case / "model.h5")
    names = ("kernel", "recurrent_kernel", "bias")
    raw = [ending(stored, f"{prefix}{name}:0") for name in names]
    layers = kerases["tf_keras"].layers
    units = raw[1].shape[0]
    target = layers.LSTM(units) if gates is LSTM else layers.GRU(units, reset_after=True)
    converted = dict(zip(names, _convert_rnn_weights(target, raw), strict=True))
    part = getattr(gateprobe.read(LEGACY / case / "model.h5").weights(layer), direction)
    for number, gate in enumerate(gates.values()):
        columns = slice(number * units, (number + 1) * units)
        np.testing.assert_array_equal(part[gate].kernel, converted["kernel"][:, columns])
        np.testing.assert_array_equal(part[gate].recurrent_kernel, converted["recurrent_kernel"][:, columns])
        if gates is LSTM:
            np.testing.assert_array_equal(part[gate].bias, converted["bias"][columns])
            assert part[gate].recurrent_bias is None
        else:
            np.testing.assert_array_equal(part[gate].bias, converted["bias"][0, columns])
            np.testing.assert_array_equal(part[gate].recurrent_bias, converted["bias"][1, columns])


def test_the_columns_of_keras_2_and_3_are_the_gates_in_their_order():
    stored = arrays_in(LEGACY / "keras_2.1.6" / "seq2seq_blog" / "model.h5")
    part = gateprobe.read(LEGACY / "keras_2.1.6" / "seq2seq_blog" / "model.h5").weights("decoder").forward
    for name in ("kernel", "recurrent_kernel", "bias"):
        whole = ending({key: value for key, value in stored.items() if "model_weights" in key}, f"decoder/{name}:0")
        np.testing.assert_array_equal(getattr(part, name), whole)
        for gate, columns in zip(LSTM.values(), np.split(whole, 4, axis=-1), strict=True):
            np.testing.assert_array_equal(getattr(part[gate], name), columns)


def test_half_precision_does_not_round_the_weights_of_the_file():
    folder = LEGACY / "keras_3.15.1" / "dtype_mixed_float16"
    part = gateprobe.read(folder / "model.h5").weights("p_seq").forward
    stored = arrays_in(folder / "model.h5")
    whole = ending({key: value for key, value in stored.items() if "p_seq" in key}, "recurrent_kernel")
    np.testing.assert_array_equal(part.recurrent_kernel, whole)
    assert part.recurrent_kernel.dtype == np.float32
    assert (whole != whole.astype(np.float16)).any()


# the gates that Keras recorded


SQUASH = {"tanh": math.tanh, "relu": lambda x: max(x, 0.0)}


def gate_function(config, keras):
    """Return the gate activation that a layer had in its own Keras, where it was not always the sigmoid."""
    default = "hard_sigmoid" if keras < "2.3" else "sigmoid"
    slope = 1 / 6 if keras.startswith("3") else 0.2
    hard = config.get("recurrent_activation", default) == "hard_sigmoid"
    return (lambda x: min(1.0, max(0.0, slope * x + 0.5))) if hard else scalar_lstm.sigmoid


def recorded(gate):
    """Yield every call without a mask of which a Keras recorded a gate, but those of other kinds of cells."""
    for path in sorted(LEGACY.rglob("case.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.parent / "case.npz") as stored:
            arrays = dict(stored)
        for call in case["recurrent_calls"]:
            start = f"{call['id']}_"
            own = {key.removeprefix(start): arrays[key] for key in arrays if key.startswith(start)}
            plain = "mask" not in own and "Conv" not in call["layer_class"] and path.parent.name != "peephole"
            if f"gate_{gate}" in own and plain and "float16" not in json.dumps(case["layers"]):
                yield pytest.param(path.parent, case["keras_version"], call, own, id=f"{path.parent.name}-{call['id']}")


def part_of(folder, call):
    """Return the weights of a recorded call."""
    file = next(folder / name for name in ("model.keras", "model.h5", "model.weights.h5") if (folder / name).exists())
    path = re.sub(r"/(forward|backward)_layer$", "", call["path"])
    return getattr(gateprobe.read(file).weights(path), "backward" if call["go_backwards"] else "forward")


def joined(part, weight):
    """Put what was split side by side again, without the package."""
    parts = [getattr(gate, weight) for gate in part.values()]
    if any(one is None for one in parts):
        return None
    return np.concatenate(parts, axis=-1).tolist()


def check(steps, own, sample, keys):
    for key, signal in keys.items():
        ours = np.array([step[signal] for step in steps])
        np.testing.assert_allclose(ours, own[f"gate_{key}"][sample], atol=2e-5)


def turned(call, inputs):
    """Return inputs as they were processed, which is how gates are recorded."""
    return inputs[:, ::-1] if call["go_backwards"] else inputs


@pytest.mark.parametrize(("folder", "keras", "call", "own"), list(recorded("i")))
def test_a_scalar_loop_over_split_weights_gives_the_recorded_gates_of_an_lstm(folder, keras, call, own):
    part, config = part_of(folder, call), call.get("config", {})
    bias = joined(part, "bias") or [0.0] * 4 * part.units
    how = {"gate": gate_function(config, keras), "squash": SQUASH[config.get("activation", "tanh")]}
    for sample, x in enumerate(turned(call, own["input"]).tolist()):
        states = [own[f"init_{n}"][sample].tolist() if f"init_{n}" in own else [0.0] * part.units for n in range(2)]
        steps = scalar_lstm.lstm(x, joined(part, "kernel"), joined(part, "recurrent_kernel"), bias, *states, **how)
        check(steps, own, sample, {"i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate"})


@pytest.mark.parametrize(("folder", "keras", "call", "own"), list(recorded("z")))
def test_a_scalar_loop_over_split_weights_gives_the_recorded_gates_of_a_gru(folder, keras, call, own):
    part = part_of(folder, call)
    weights = [joined(part, name) for name in ("kernel", "recurrent_kernel", "bias")]
    after, gate = joined(part, "recurrent_bias"), gate_function(call.get("config", {}), keras)
    for sample, x in enumerate(turned(call, own["input"]).tolist()):
        steps = scalar_lstm.gru(x, *weights, [0.0] * part.units, after, gate=gate)
        check(steps, own, sample, {"z": "update_gate", "r": "reset_gate", "hh": "candidate"})


def test_both_kinds_of_gru_were_recorded():
    """So that the test above has looked at both."""
    parts = [part_of(case.values[0], case.values[2]) for case in recorded("z")]
    assert {part.update_gate.recurrent_bias is None for part in parts} == {True, False}


def test_the_outputs_of_a_cudnn_layer_follow_from_its_split_weights():
    """What a CuDNNLSTM returned is what the layer after it was called with."""
    folder = LEGACY / "keras_2.2.4" / "cudnn_lstm"
    with np.load(folder / "case.npz") as stored:
        inputs, outputs = stored["input_0"], stored["r0_input"]
    part = gateprobe.read(folder / "model.h5").weights("cl").forward
    weights = [joined(part, name) for name in ("kernel", "recurrent_kernel", "bias")]
    for x, hidden in zip(inputs.tolist(), outputs, strict=True):
        steps = scalar_lstm.lstm(x, *weights, [0.0] * part.units, [0.0] * part.units)
        np.testing.assert_allclose([step["hidden_state"] for step in steps], hidden, atol=2e-5)


def test_peepholes_are_those_of_their_gates():
    stored = arrays_in(LEGACY / "tfkeras_2.4.0" / "peephole" / "model.h5")
    part = gateprobe.read(LEGACY / "tfkeras_2.4.0" / "peephole" / "model.h5").weights().forward
    for gate in ("input_gate", "forget_gate", "output_gate"):
        np.testing.assert_array_equal(part[gate].peephole, ending(stored, f"{gate}_peephole_weights:0"))
    assert part.candidate.peephole is None


# which layers


@pytest.mark.parametrize(
    ("case", "paths"),
    [
        ("keras_2.0.9/rnn_cells", ["one", "two/cell_0", "two/cell_1", "gru", "mix/cell_0", "mix/cell_1"]),
        ("keras_3.15.1/nested", ["enc_block/inner_a", "enc_block/inner_b", "func_block/inner_bi"]),
        ("keras_3.15.1/siamese", ["shared_lstm"]),
        ("tfkeras_2.15.0/convlstm1d", ["c1", "c1_last"]),
    ],
)
def test_each_layer_is_there_once_whatever_the_number_of_its_calls(case, paths):
    report = shown("weights", LEGACY / case / "model.h5", "--json")
    assert list(dict.fromkeys(one["layer"] for one in json.loads(report)["layers"])) == paths


def test_what_lies_upstream_does_not_matter():
    rng = np.random.default_rng(0)
    model = chain([("Lambda", "secret", {}), ("LSTM", "lstm", {"units": 2})], {"lstm": lstm_weights(rng, 3, 2)})
    with pytest.raises(gateprobe.UnsupportedModel):
        model.trace(np.zeros((1, 4, 3)))
    assert model.weights().forward.forget_gate.kernel.shape == (3, 2)


def test_a_layer_that_is_not_understood_blocks_only_itself():
    rng = np.random.default_rng(0)
    layers = [
        ("LSTM", "odd", {"units": 3, "activation": "mine", "return_sequences": True}),
        ("LSTM", "plain", {"units": 2}),
    ]
    model = chain(layers, {"odd": lstm_weights(rng, 3, 3), "plain": lstm_weights(rng, 3, 2)})
    assert model.weights("plain").forward.units == 2
    with pytest.raises(gateprobe.UnsupportedModel, match="is no activation of"):
        model.weights("odd")


def test_weights_alone_need_no_assumptions():
    folder = LEGACY / "keras_3.15.1" / "weights_only"
    model = gateprobe.read(folder / "model.weights.h5")
    assert [gate.kernel.shape for gate in model.weights("zbi").backward.values()] == [(3, 4)] * 4
    backwards = shown("weights", folder / "model.weights.h5", "--layer", "mid", "--go-backwards", "-q")
    assert "\nmid/backward/input_gate/kernel\t" in backwards


# in Python


@pytest.fixture(scope="module")
def translate():
    return gateprobe.read(SAMPLES / "translate.keras")


def test_names_can_be_guessed(translate):
    layer = translate.weights("encoder")
    assert {"forget_gate", "forward", "to_numpy"} < set(dir(layer))
    assert "backward" not in dir(layer)
    assert {"input_gate", "kernel", "fused"} < set(dir(layer.forward))
    assert layer.forget_gate is layer.forward.forget_gate is layer.forward["forget_gate"]
    assert layer.forward._ipython_key_completions_() == ["input_gate", "forget_gate", "candidate", "output_gate"]
    both = gateprobe.read(SAMPLES / "tokens.keras").weights()
    assert "forget_gate" not in dir(both)
    assert not both.forward.forget_gate.kernel.flags.writeable
    for shown_ in (layer, layer.forward, layer.forward.candidate, both):
        assert max(map(len, repr(shown_).splitlines())) < 160


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (lambda model: model.weights(), "several recurrent layers: say which; available: encoder, decoder"),
        (lambda model: model.weights("encodr"), "did you mean encoder"),
        (lambda model: model.weights("*coder"), r"\*coder is several: say which"),
        (lambda model: model.weights("digit"), "digit is not recurrent; recurrent layers: encoder, decoder"),
        (lambda model: model.weights("encoder").backward, "has no backward direction; available: forward"),
        (lambda model: model.weights("encoder").update_gate, "available: input_gate, forget_gate"),
        (lambda model: model.weights("encoder").forward.fused("ifg"), "order=ifg is no order of the gates of encoder"),
        (lambda model: model.weights("encoder").forward.fused("iiff"), "give the letters i, f, g, o"),
    ],
)
def test_mistakes_are_told(translate, attempt, said):
    with pytest.raises(gateprobe.InputError, match=said):
        attempt(translate)


def test_two_directions_are_said(translate):
    both = gateprobe.read(SAMPLES / "tokens.keras").weights()
    with pytest.raises(gateprobe.NotInTrace, match=r"say .forward\['forget_gate'\] or .backward"):
        _ = both.forget_gate


@pytest.mark.parametrize("order", ["ifgo", "iofg", "ogif", "ifco", "zrh,oifg"])
def test_an_order_puts_the_gates_side_by_side(translate, order):
    part = translate.weights("decoder").forward
    gates = {"i": "input_gate", "f": "forget_gate", "g": "candidate", "c": "candidate", "o": "output_gate"}
    for name, value in part.fused(order).items():
        for block, letter in zip(np.split(value, 4, axis=-1), order.rpartition(",")[2], strict=True):
            np.testing.assert_array_equal(block, getattr(part[gates[letter]], name))
    turned_ = part.fused(order, transpose=True)
    np.testing.assert_array_equal(turned_["kernel"], part.fused(order)["kernel"].T)
    np.testing.assert_array_equal(turned_["bias"], part.fused(order)["bias"])
    assert part.order == "ifgo"
    np.testing.assert_array_equal(part.fused()["recurrent_kernel"], part.recurrent_kernel)


def test_a_gru_has_its_own_letters():
    part = gateprobe.read(LEGACY / "keras_2.2.4" / "cudnn_lstm" / "model.h5").weights("cg").forward
    assert part.order == "zrh"
    for order in ("rzh", "rzg", "ifgo,rzh"):
        whole = part.fused(order)
        parts = [part[name].recurrent_bias for name in ("reset_gate", "update_gate", "candidate")]
        np.testing.assert_array_equal(whole["recurrent_bias"], np.concatenate(parts))


# the command


def shown(*arguments, env=None):
    done = CliRunner(env=env).invoke(main, [str(argument) for argument in arguments], prog_name="gateprobe")
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="gateprobe")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr


def test_the_measures_by_hand():
    model = SAMPLES / "brackets.keras"
    found = json.loads(shown("weights", model, "--json"))["weights"]
    by_key = {(one["gate"], one["weight"]): one for one in found}
    part = gateprobe.read(model).weights().forward
    u = part.recurrent_kernel.astype(np.float64)
    whole = by_key["", "recurrent_kernel"]
    distance = sum((row @ other - (n == m)) ** 2 for n, row in enumerate(u) for m, other in enumerate(u)) ** 0.5
    assert whole["orthogonality"] == pytest.approx(distance / 2**0.5)
    assert whole["shape"] == [2, 8]
    bias = by_key["forget_gate", "bias"]
    assert bias["mean"] == pytest.approx(np.float64(part.forget_gate.bias).sum() / 2)
    assert bias["orthogonality"] is None
    kernel = by_key["input_gate", "kernel"]
    values = np.float64(part.input_gate.kernel)
    assert kernel["norm"] == pytest.approx(sum(value * value for value in values.ravel()) ** 0.5)
    assert (kernel["minimum"], kernel["maximum"]) == (values.min(), values.max())


def test_a_rotation_is_orthogonal_and_its_double_is_not():
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    recurrent = np.concatenate([turn, 2 * turn, turn, turn], axis=1)
    model = chain([("LSTM", "lstm", {"units": 2})], {"lstm": [np.ones((3, 8)), recurrent, np.zeros(8)]})
    from gateprobe.analysis.weights import measures, weights_of
    from gateprobe.model import opened

    found = {
        one.key.gate: one.orthogonality for one in measures(weights_of(opened(model))) if one.orthogonality is not None
    }
    assert found["input_gate"] == pytest.approx(0, abs=1e-6)
    assert found["forget_gate"] == pytest.approx(3)
    assert found[""] == pytest.approx(6)


@pytest.mark.parametrize(("width", "columns"), [("120", 7), ("80", 6), ("66", 5), (None, 7)])
def test_a_table_fits_the_screen(width, columns):
    text = shown("weights", SAMPLES / "tokens.keras", env={"COLUMNS": width} if width else None)
    lines = text.splitlines()
    if width is None:
        assert all(line.count("\t") == columns - 1 for line in lines)
        assert len(lines) == 27
        return
    assert max(map(len, lines)) <= int(width)
    header = next(line for line in lines if line.startswith("weight"))
    assert len(header.split()) == columns


def test_what_is_selected_is_shown():
    text = shown("weights", SAMPLES / "tokens.keras", "--direction", "backward", "--signal", "f,g")
    keys = [line.split("\t")[0] for line in text.splitlines()[1:]]
    weights = ("kernel", "recurrent_kernel", "bias")
    gates = ("forget_gate", "candidate")
    assert keys[:6] == [f"bidirectional/backward/{gate}/{weight}" for gate in gates for weight in weights]


def read_npz(path):
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files if key != "__weights__"}


def read_h5(path):
    return arrays_in(path)


def read_json(path):
    whole = json.loads(path.read_text(encoding="utf-8"))
    del whole["__weights__"]
    return {key: np.array(value, np.float32) for key, value in whole.items()}


def read_csv(path):
    found = {}
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
        key = "/".join(filter(None, (row["layer"], row["direction"], row["gate"], row["weight"])))
        at = (int(row["column"]),) if row["row"] == "" else (int(row["row"]), int(row["column"]))
        found.setdefault(key, {})[at] = np.float32(row["value"])
    arrays = {key: np.empty(tuple(np.max(list(cells), axis=0) + 1), np.float32) for key, cells in found.items()}
    for key, cells in found.items():
        for at, value in cells.items():
            arrays[key][at] = value
    return arrays


@pytest.mark.parametrize("options", [(), ("--order", "iofg"), ("--order", "iofg", "--transpose")])
@pytest.mark.parametrize(
    ("suffix", "read"), [("npz", read_npz), ("h5", read_h5), ("csv", read_csv), ("json", read_json)]
)
def test_files_hold_what_python_returns(tmp_path, options, suffix, read):
    path = tmp_path / f"w.{suffix}"
    shown("weights", SAMPLES / "translate.keras", "-o", path, *options)
    model = gateprobe.read(SAMPLES / "translate.keras")
    how = {"order": "iofg" if options else None, "transpose": "--transpose" in options}
    arrays = {
        key: value for name in ("encoder", "decoder") for key, value in model.weights(name).to_numpy(**how).items()
    }
    found = read(path)
    assert found.keys() == arrays.keys()
    assert ("encoder/forward/kernel" in found) is bool(options)
    for key, value in arrays.items():
        np.testing.assert_array_equal(found[key], value)


def test_a_file_says_where_it_comes_from_and_is_no_trace(tmp_path):
    shown("weights", SAMPLES / "tokens.keras", "-o", tmp_path / "w.npz", "--order", "ifgo", "-o", tmp_path / "w.json")
    with np.load(tmp_path / "w.npz") as stored:
        about = json.loads(str(stored["__weights__"]))
    assert about == json.loads((tmp_path / "w.json").read_text())["__weights__"]
    assert (about["model"]["file"], about["order"], about["transpose"]) == ("tokens.keras", "ifgo", False)
    assert len(about["model"]["sha256"]) == 64
    assert about["layers"][1]["direction"] == "backward"
    with pytest.raises(gateprobe.ReadError):
        gateprobe.load_trace(tmp_path / "w.npz")


def test_the_bytes_depend_on_the_weights_alone(tmp_path):
    for name in ("a", "b"):
        for suffix in ("npz", "h5", "csv", "json"):
            shown("weights", SAMPLES / "tokens.keras", "-o", tmp_path / f"{name}.{suffix}")
    for suffix in ("npz", "h5", "csv", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_names_from_a_file_stay_where_they_belong(tmp_path):
    from gateprobe.writers.weights import write_weights

    names = ("../up", "forward", "input_gate", "kernel")
    odd = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    files = [str(tmp_path / f"w.{suffix}") for suffix in ("npz", "h5", "csv", "json")]
    write_weights([(names, odd), (("=cmd()", *names[1:]), odd[0])], files, {}, form=None, force=False)
    assert set(read_npz(tmp_path / "w.npz")) == {
        "\\x2e\\x2e/up/forward/input_gate/kernel",
        "=cmd()/forward/input_gate/kernel",
    }
    assert "\\x3dcmd()" in (tmp_path / "w.csv").read_text()
    text = (tmp_path / "w.json").read_text()
    assert json.loads(text)["../up/forward/input_gate/kernel"] == [[1.5, "NaN"], ["Infinity", "-Infinity"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layer", "foo"], "--layer foo selects nothing; available: lstm"),
        (["--signal", "z"], "--signal update_gate selects no weights"),
        (["--direction", "backward"], "--direction backward selects nothing; available: forward"),
        (["-o", "w.foo"], "w.foo: unknown format 'foo'; available: npz, h5, csv, json"),
        (["-o", "w"], "has no suffix that names a format"),
        (["-o", "-", "--format", "npz"], "npz cannot go to standard output; use -o FILE"),
        (
            ["-o", "w.npz", "--order", "ifgz"],
            "--order ifgz is no order of the gates of lstm; give the letters i, f, g, o",
        ),
        (["-o", "w.npz", "--order", "ifgo", "--signal", "i"], "without some of its gates"),
        (["-o", "w.npz", "--json"], "--json prints the table, -o writes the weights"),
        (["--order", "ifgo"], "--format, --order and --transpose arrange files; name one with -o"),
        (["-o", "w.npz", "-o", "w.h5", "--format", "csv"], "--format goes with one output"),
        (["-o", "w.npz", "-o", "./w.npz"], "named twice as an output"),
        (["--activation", "tanh"], "the file has an architecture, which says what --activation would; leave out"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused("weights", SAMPLES / "brackets.keras", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_recurrent_layer_is_refused(tmp_path):
    from gateprobe.analysis.weights import weights_of
    from gateprobe.model import opened

    model = chain([("Dense", "dense", {"units": 2})], {"dense": [np.ones((3, 2)), np.zeros(2)]})
    with pytest.raises(gateprobe.InputError, match="no recurrent layer"):
        weights_of(opened(model))


def test_float64_stays_float64():
    rng = np.random.default_rng(0)
    config = {"units": 2, "dtype": {"class_name": "DTypePolicy", "config": {"name": "float64"}}}
    inner = lambda where: LayerRecord("lstm", "LSTM", {"name": "lstm", **where})  # noqa: E731
    for layers in (
        [("LSTM", "lstm", config)],
        [("TimeDistributed", "lstm", {}, {"layer": inner(config)})],
    ):
        model = chain(layers, {"lstm": lstm_weights(rng, 3, 2)})
        assert model.weights().forward.kernel.dtype == np.float64


@pytest.mark.parametrize("dtype", [{"class_name": ["Policy"], "config": {}}, {"class_name": "Mine"}, 5])
def test_a_policy_of_computing_that_is_not_understood_changes_no_weight(dtype):
    weights = lstm_weights(np.random.default_rng(0), 3, 2)
    model = chain([("LSTM", "lstm", {"units": 2, "dtype": dtype})], {"lstm": weights})
    np.testing.assert_array_equal(model.weights().forward.kernel, weights[0].astype(np.float32))


def test_kernels_of_images_are_transposed_in_their_last_two_axes():
    layer = gateprobe.read(LEGACY / "tfkeras_2.15.0" / "convlstm1d" / "model.h5").weights("c1")
    kernel = layer.forget_gate.kernel
    assert kernel.shape == (3, 2, 3)
    found = layer.to_numpy(transpose=True)["c1/forward/forget_gate/kernel"]
    np.testing.assert_array_equal(found, kernel.transpose(0, 2, 1))


def test_one_of_stacked_cells_is_chosen_by_its_path():
    file = LEGACY / "keras_2.0.9" / "rnn_cells" / "model.h5"
    found = json.loads(shown("weights", file, "--layer", "two/cell_1", "--json"))
    assert [one["layer"] for one in found["layers"]] == ["two/cell_1"]
    assert gateprobe.read(file).weights("two/cell_1").forward.units == 4
    with pytest.raises(gateprobe.InputError, match="two is several: say which; available: two/cell_0, two/cell_1"):
        gateprobe.read(file).weights("two")
