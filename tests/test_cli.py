"""The commands, in this process: what they print, write and refuse."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe.cli import COMMANDS, main, progress, steps
from gateprobe.cli.options import Talk
from gateprobe.opened_model import open_model

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL, INPUT = str(SAMPLES / "keras2.h5"), str(SAMPLES / "keras2.npy")
KERAS_3, ARRAY = str(SAMPLES / "brackets.keras"), str(SAMPLES / "brackets.npy")


def run(*arguments, stdin=None, status=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, prog_name="gateprobe")
    assert done.exit_code == status, done.output
    return done


def refused(*arguments, stdin=None):
    """Return the one line that a refusal prints."""
    done = run(*arguments, stdin=stdin, status=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gateprobe: ")
    return line


def test_every_command_has_help_and_is_listed():
    text = run("--help").stdout
    for name, short in COMMANDS.items():
        assert f"{name} " in text
        command = main.get_command(None, name)
        assert command.help.splitlines()[0] == short
        own = run(name, "-h").stdout
        assert own.startswith(f"Usage: gateprobe {name} ")
        assert f"\n  gateprobe {name} " in own


def test_version():
    assert re.fullmatch(r"gateprobe \d+\.\d+\.\d+(\.dev\d+)?\n", run("--version").stdout)


def test_dump_prints_the_table_of_the_trace():
    text = run("dump", MODEL, INPUT).stdout
    trace = gateprobe.read(MODEL).trace(np.load(INPUT))
    assert text == trace.to_polars().write_csv()
    assert text.startswith(
        "sample,layer,direction,timestep,step,unit,masked,input_gate,forget_gate,candidate,output_gate,"
    )


def test_dump_selects():
    text = run("dump", MODEL, INPUT, *"--layer lstm* --signal f,c --unit -1 --timestep 2:4 --sample 1".split()).stdout
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0][-3:] == ["masked", "forget_gate", "cell_state"]
    assert [row[:7] for row in rows[1:]] == [["1", "lstm_1", "forward", t, t, "2", "false"] for t in "23"]


def test_dump_writes_several_files_at_once(tmp_path):
    names = [tmp_path / f"t.{suffix}" for suffix in ("csv", "npz", "h5", "parquet")]
    done = run("dump", MODEL, INPUT, *[word for name in names for word in ("-o", name)])
    assert (done.stdout, done.stderr) == ("", "")
    with np.load(names[1], allow_pickle=False) as arrays:
        want = gateprobe.read(MODEL).trace(np.load(INPUT))["lstm_1"].forward.forget_gate
        np.testing.assert_array_equal(arrays["lstm_1/forward/forget_gate"], want)
        metadata = json.loads(str(arrays["__metadata__"]))
    assert metadata["model"]["file"] == "keras2.h5"
    assert set(metadata["inputs"]) == {"lstm_1_input"}
    assert metadata["trace"]["directions"][0]["units"] == "0:3"


def test_dump_takes_pre_activations_precision_and_batches():
    base = run("dump", MODEL, INPUT, "--batch-size", "1").stdout
    assert base == run("dump", MODEL, INPUT, "--batch-size", "1").stdout
    assert ",pre_forget_gate," in run("dump", MODEL, INPUT, "--pre").stdout
    assert run("dump", MODEL, INPUT, "--signal", "pre_f").stdout.splitlines()[0].endswith(",masked,pre_forget_gate")
    assert len(run("dump", MODEL, INPUT, "--dtype", "float64").stdout) > len(base)
    assert run("dump", MODEL, INPUT, "--semantics", "keras3").stdout != run("dump", MODEL, INPUT).stdout


@pytest.mark.parametrize("form", ["npy", "csv"])
def test_dump_reads_standard_input(form):
    data = io.BytesIO()
    x = np.load(INPUT)
    if form == "npy":
        np.save(data, x)
    else:
        index = np.indices(x.shape[:2]).reshape(2, -1).T
        np.savetxt(data, np.hstack([index, x.reshape(-1, 2)]), "%.9g", ",", header="sample,timestep,a,b", comments="")
        text = data.getvalue().decode().replace(".0,", ",")
        data = io.BytesIO(text.encode())
    assert run("dump", MODEL, "-", stdin=data.getvalue()).stdout == run("dump", MODEL, INPUT).stdout


def test_predict_writes_the_outputs(tmp_path):
    run("predict", MODEL, INPUT, "-o", tmp_path / "y.npz")
    want = gateprobe.read(MODEL).predict(np.load(INPUT))
    with np.load(tmp_path / "y.npz") as arrays:
        assert list(arrays) == list(want) == ["dense_1"]
        np.testing.assert_array_equal(arrays["dense_1"], want["dense_1"])
    assert "y.npz: exists already" in refused("predict", MODEL, INPUT, "-o", tmp_path / "y.npz")


def test_inspect_says_what_there_is():
    text = run("inspect", SAMPLES / "translate.keras").stdout
    for words in (
        "keras3",
        "Functional",
        "encoder_input (samples, any) int32",
        "decoder",
        "shared_embedding",
        "LSTMCell",
    ):
        assert words in text
    assert "2 of 2 recurrent layers can be traced; the outputs can be replayed" in text


def test_inspect_as_json_keeps_its_keys():
    report = json.loads(run("inspect", MODEL, "--json").stdout)
    assert set(report) == {
        *("format", "file", "container", "sha256", "era", "keras_version", "backend", "evidence", "semantics", "notes"),
        *("meanings", "today"),
        *("model", "inputs", "outputs", "layers", "recurrent", "damage", "predict", "way"),
    }
    (call,) = report["recurrent"]
    assert set(call) == {
        *("path", "class", "merge_mode", "return_sequences", "return_state", "go_backwards", "stateful"),
        *("cells", "replayable", "reasons", "notes"),
    }
    (cell,) = call["cells"]
    assert cell == {
        "class": "LSTMCell",
        "direction": "forward",
        "features": 2,
        "units": 3,
        "filters": None,
        "kernel_size": None,
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid[slope=0.2]",
        "weights": {"kernel": [2, 12], "recurrent_kernel": [3, 12], "bias": [12]},
    }
    assert report["predict"] == {"replayable": True, "reasons": [], "notes": []}


def edited(folder, change):
    """Copy the sample model and change it."""
    path = folder / "m.h5"
    path.write_bytes(Path(MODEL).read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def with_config(file, old, new):
    text = file.attrs["model_config"]
    text = text.decode() if isinstance(text, bytes) else text
    assert old in text
    file.attrs["model_config"] = text.replace(old, new)


def test_inspect_gives_every_reason(tmp_path):
    path = edited(tmp_path, lambda file: with_config(file, '"class_name": "LSTM"', '"class_name": "Mystery"'))
    text = run("inspect", path).stdout
    assert "the outputs cannot be replayed" in text
    assert "lstm_1 (Mystery): " in text
    assert not json.loads(run("inspect", path, "--json").stdout)["predict"]["replayable"]


def test_inspect_refuses_a_file_that_contradicts_itself(tmp_path):
    path = edited(tmp_path, lambda file: with_config(file, '"units": 3', '"units": 5'))
    done = run("inspect", path, "--json", status=2)
    assert json.loads(done.stdout)["damage"][0]["layer"] == "lstm_1"
    assert done.stderr.count("\n") == 1
    assert "m.h5: lstm_1 (LSTM): " in done.stderr


@pytest.mark.parametrize("size", ["-4", "0", "NaN", "2.5", "true", '"3"'])
def test_a_size_that_is_no_positive_integer_is_refused_by_every_command(tmp_path, size):
    """Wherever it stands: in a recurrent layer, or in another one on the way."""
    for layer in (3, 1):  # the units of the LSTM and of the Dense behind it
        path = edited(tmp_path, lambda file, n=layer: with_config(file, f'"units": {n}', f'"units": {size}'))
        for arguments in (
            ["inspect", path],
            ["inspect", path, "--json"],
            ["predict", path, INPUT, "-o", tmp_path / "y.npz"],
        ):
            done = run(*arguments, status=2)
            assert done.stderr.count("\n") == 1
            assert "m.h5: " in done.stderr


def test_check_fails_unless_every_recurrent_layer_can_be_traced(tmp_path):
    run("inspect", MODEL, "--check")
    unknown = edited(tmp_path, lambda file: with_config(file, '"class_name": "LSTM"', '"class_name": "Mystery"'))
    for arguments in (["--check"], ["--check", "--json"]):
        assert not run("inspect", unknown, *arguments, status=1).stderr
    run("inspect", unknown)
    two = SAMPLES / "translate.keras"
    run("inspect", two, "--check")
    with zipfile.ZipFile(two) as good, zipfile.ZipFile(tmp_path / "half.keras", "w") as half:
        for name in good.namelist():  # the decoder's activation is one that no table has, the encoder's is
            head, found, tail = good.read(name).partition(b'"name": "decoder"')
            half.writestr(name, head + found + tail.replace(b'"tanh"', b'"mystery"', 1))
    assert (
        "1 of 2 recurrent layers can be traced" in run("inspect", tmp_path / "half.keras", "--check", status=1).stdout
    )


def test_the_row_of_a_conv_lstm_says_what_the_row_of_an_lstm_says():
    path = Path(__file__).parent / "data" / "legacy" / "tfkeras_2.15.0" / "convlstm1d" / "model.h5"
    calls = json.loads(run("inspect", path, "--json").stdout)["recurrent"]
    for call, features, units, size in zip(calls, (2, 3), (3, 2), (3, 2), strict=True):
        (cell,) = call["cells"]
        assert {key: value for key, value in cell.items() if key != "weights"} == {
            "class": "ConvLSTM1DCell",
            "direction": "forward",
            "features": features,
            "units": units,
            "filters": units,
            "kernel_size": [size],
            "activation": "tanh",
            "recurrent_activation": "hard_sigmoid[slope=0.2]",  # its default differs from an LSTM's
        }


def test_a_name_cannot_write_to_the_terminal(tmp_path):
    path = edited(tmp_path, lambda file: with_config(file, '"name": "lstm_1"', '"name": "\\u001b[2J\\u202e"'))
    for arguments in (["inspect", path], ["inspect", path, "--json"], ["dump", path, INPUT]):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert "\x1b" not in done.output
        assert "\u202e" not in done.output
        assert done.exit_code == 0
    assert "\\x1b" in refused("inspect", tmp_path / "\x1b[31m\nno.h5")


def test_weights_alone_are_traced_under_assumptions(tmp_path):
    def bare(file):
        for key in list(file["model_weights"].attrs):
            file.attrs[key] = file["model_weights"].attrs[key]
        for name in list(file["model_weights"]):
            file.move(f"model_weights/{name}", name)
        del file["model_weights"], file.attrs["model_config"]

    path = edited(tmp_path, bare)
    report = json.loads(run("inspect", path, "--json").stdout)
    assert [(group["name"], group["class"], group["units"]) for group in report["groups"]] == [("lstm_1", "LSTM", 3)]
    assert "recurrent weights" in run("inspect", path).stdout
    assert "cannot tell --activation and --recurrent-activation of lstm_1" in refused("dump", path, INPUT)
    assumed = ["--activation", "tanh", "--recurrent-activation", "hard_sigmoid"]
    assert run("dump", path, INPUT, *assumed).stdout == run("dump", MODEL, INPUT).stdout
    traced = run("dump", path, INPUT, *assumed)
    assert "--architecture" not in traced.stderr  # it needs none
    assert "leave out --activation and --recurrent-activation" in refused("dump", MODEL, INPUT, *assumed)
    misspelt = refused("dump", path, INPUT, "--activation", "tan", *assumed[2:])
    assert "--activation tan: no such activation in keras2; did you mean tanh? available: " in misspelt


@pytest.mark.parametrize("command", ["dump", "predict", "inspect"])
def test_an_architecture_of_another_model_is_named(tmp_path, command):
    weights, other = tmp_path / "weights.h5", tmp_path / "other.json"
    with h5py.File(MODEL) as model, h5py.File(weights, "w") as file:
        for name in model["model_weights"]:
            model.copy(f"model_weights/{name}", file)
        file.attrs.update(model["model_weights"].attrs)
        architecture = json.loads(model.attrs["model_config"])
    architecture["config"]["layers"][0]["config"]["units"] = 5
    other.write_text(json.dumps(architecture))
    inputs = [] if command == "inspect" else [INPUT]
    message = run(command, weights, *inputs, "--architecture", other, status=2).stderr
    assert f"{other} is not the architecture of these weights; give that of the same model" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sing"], "no command 'sing'. Try gateprobe -h."),
        (["dmp"], "no command 'dmp'; did you mean dump? Try gateprobe -h."),
        (["dump"], "Missing argument 'SOURCE'. Try gateprobe dump -h."),
        (["stats", "--layer"], "Option '--layer' requires an argument. Try gateprobe stats -h."),
        (["dump", MODEL, INPUT, "--nope"], "dump has no option --nope."),
        (["dump", MODEL, INPUT, "--dtype", "int8"], "--dtype int8: no such choice; available: float32, float64"),
        (["dump", MODEL, INPUT, "--max-bytes", "lots"], "'lots' is no size such as 500M or 2G"),
        (["dump", MODEL], "keras2.h5: an input is missing; give lstm_1_input (samples, 6, 2)"),
        (["dump", "nope.h5", INPUT], "nope.h5: "),
        (["dump", MODEL, "nope.npy"], "nope.npy: there is no such file"),
        (["dump", MODEL, INPUT, "--layer", "x"], "keras2.h5: --layer x selects nothing; available: lstm_1"),
        (["dump", MODEL, INPUT, "--layer", "lstm_2"], "--layer lstm_2 selects nothing; did you mean lstm_1? available"),
        (["dump", MODEL, INPUT, "--layer", "dense_1"], "dense_1 is not recurrent; recurrent layers: lstm_1"),
        (["dump", MODEL, INPUT, "--signal", "forgetgate"], "no such signal; did you mean forget_gate? available"),
        (["dump", MODEL, f"lstm_1_inptu={INPUT}"], "no input 'lstm_1_inptu'; did you mean lstm_1_input? available"),
        (["dump", MODEL, "--feed", f"lstm={INPUT}"], "--feed lstm: no such layer; did you mean lstm_1? available: "),
        (["dump", MODEL, INPUT, "--timestep", "6"], "--timestep 6 selects nothing; available: 0 to 5"),
        (["dump", MODEL, INPUT, "--sample", "x"], "--sample x: expected numbers and ranges"),
        (["dump", MODEL, INPUT, "--format", "npz"], "npz cannot go to standard output; use -o FILE"),
        (["dump", MODEL, INPUT, "-o", "x.foo"], "x.foo: unknown format '.foo'; available: .csv"),
        (
            ["dump", MODEL, INPUT, "-o", "x.npz", "--layout", "wide"],
            "--layout wide: only csv, tsv, jsonl, parquet and arrow have a layout",
        ),
        (["dump", MODEL, INPUT, "-o", "x.csv", "--compress"], "--compress: only npz and h5 can be compressed"),
        (["dump", MODEL, INPUT, "-o", "a", "-o", "b", "--format", "csv"], "--format goes with one output"),
        (["dump", MODEL, INPUT, "-o", INPUT, "--format", "csv", "--force"], "keras2.npy: is also an input"),
        (["predict", MODEL, INPUT, "-o", "-", "--format", "npz"], "npz cannot go to standard output"),
        (["predict", MODEL, INPUT, "-o", "y"], "y: has no suffix that names a format; available: .csv"),
        (["predict", MODEL, INPUT, "-o", "y.txt"], "y.txt: unknown format '.txt'"),
        (["predict", MODEL, INPUT, "-o", "y/"], "y/: has no suffix that names a format"),
        (["predict", MODEL, INPUT, "-o", "y.zarr"], "y.zarr: unknown format '.zarr'"),
        (["predict", MODEL, INPUT, "-o", "y.npy", "--compress"], "--compress: only npz and h5 can be compressed"),
        (["dump", MODEL, INPUT, "-o", "y.npy"], "y.npy: unknown format '.npy'"),
        (["verify", KERAS_3, ARRAY, "--save-input", "x.csv"], "x.csv: inputs are saved as .npz; end its name in .npz"),
        (["verify", KERAS_3, "--pad", "pre"], "--pad pre: no texts are made into ids here; leave it out"),
        (["dump", KERAS_3, ARRAY, "--batch-size", "0"], "--batch-size 0: expected 1 or more. Try gateprobe dump -h."),
        (["stats", KERAS_3, ARRAY, "--top", "-1"], "--top -1: expected 0 or more. Try gateprobe stats -h."),
        (["inspect", ARRAY], "brackets.npy: is an array, not a model; give a model in its place"),
        (["dump", KERAS_3, KERAS_3], "brackets.keras: is a Keras model, not an array"),
        (["compare", KERAS_3, ARRAY, KERAS_3], "brackets.keras: is a Keras model, not an array"),
        (["dump", KERAS_3, f"{ARRAY}[x]"], "brackets.npy: is no .npz file, so it has no arrays to choose from"),
    ],
)
def test_refusals_are_one_line_and_status_2(arguments, message):
    before = set(Path.cwd().iterdir())
    assert message in refused(*arguments)
    assert set(Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "nope.keras", "--junit"),
        ("compare", "nope.keras", "nope.csv", "--junit"),
        ("migrate", "nope.h5", "--write"),
        ("report", "nope.npz", "-o"),
        ("weights", "nope.h5", "--format", "csv", "-o"),
    ],
)
def test_a_result_that_is_there_is_refused_before_anything_is_read(tmp_path, arguments):
    there = tmp_path / "there.html"
    there.write_text("mine")
    assert refused(*arguments, there) == f"gateprobe: {there}: exists already; use --force to replace it"
    assert "no such file" in refused(*arguments, there, "--force")
    assert there.read_text() == "mine" or arguments[-1] == "--junit"


def test_steps_are_told_to_nobody_where_stderr_is_closed(monkeypatch):
    monkeypatch.setattr(steps.sys, "stderr", None)
    with steps.step_line(Talk(quiet=False, verbose=0)) as tell:
        tell("a step")


def test_a_layer_that_refuses_a_sample_names_the_file(tmp_path):
    np.save(tmp_path / "ids.npy", np.full((2, 4), 10**6))
    assert "ids.npy: " in refused("dump", SAMPLES / "tokens.keras", tmp_path / "ids.npy")


def test_nan_in_the_input_is_told(tmp_path):
    x = np.load(INPUT)
    x[1, 2, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    done = run("dump", MODEL, tmp_path / "x.npy")
    assert done.stderr == "gateprobe: note: input lstm_1_input holds NaN, first in sample 1\n"
    assert ",NaN," in done.stdout
    assert run("dump", MODEL, tmp_path / "x.npy", "-q").stderr == ""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (RuntimeError("odd\nthing"), "internal error, please report it (GATEPROBE_DEBUG=1 shows more): RuntimeError"),
        (MemoryError(), "not enough memory for gateprobe"),
        (PermissionError(13, "Permission denied", "x.h5"), "gateprobe: x.h5: Permission denied"),
    ],
)
def test_the_unexpected_is_one_line_too(monkeypatch, fault, words):
    def fail(*arguments, **options):
        raise fault

    monkeypatch.setattr("gateprobe.opened_model.open_model", fail)
    assert words in refused("inspect", MODEL)
    monkeypatch.setenv("GATEPROBE_DEBUG", "1")
    assert "Traceback" in run("inspect", MODEL, status=2).stderr


@pytest.mark.parametrize("unit", ["samples", "timesteps"])
def test_a_long_run_shows_its_progress(monkeypatch, capsys, unit):
    monkeypatch.setattr(progress, "is_terminal", lambda stream: True)
    monkeypatch.setattr(progress, "_PATIENCE", -1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress_bar(Talk(quiet=False, verbose=0)) as tell:
        tell(5, 10, unit)
        tell(10, 10, unit)
    shown = capsys.readouterr().err
    assert f"{unit}/s" in shown
    assert "0:00:00" in shown  # remaining
    with progress.progress_bar(Talk(quiet=True, verbose=0)) as tell:
        assert tell is None


def test_feeds_are_never_ignored(tmp_path):
    translate, source = SAMPLES / "translate.keras", SAMPLES / "translate_source.npy"
    np.save(tmp_path / "e.npy", np.zeros((4, 3, 6), np.float32))
    feed = ["--feed", f"encoder={tmp_path / 'e.npy'}"]
    rows = run("dump", translate, *feed, "--layer", "encoder").stdout.splitlines()
    assert len(rows) == 1 + 4 * 3 * 12
    assert "the feeds do not replace the input decoder_input" in refused("dump", translate, source, *feed)
    line = refused("dump", translate, source, "--feed", f"encoders={tmp_path / 'e.npy'}")
    assert "--feed encoders: no such layer; did you mean encoder" in line
    line = refused("dump", translate, "--layer", "encoder", "--feed", f"decoder={tmp_path / 'e.npy'}", *feed)
    assert "--feed decoder: nothing that is wanted depends on this layer; choose other layers with --layer" in line


def test_layers_take_commas_and_may_be_repeated():
    model, inputs = SAMPLES / "translate.keras", (SAMPLES / "translate_source.npy", SAMPLES / "translate_target.npy")
    paths = [call.path for call in open_model(model).recurrent]
    both = run("dump", model, *inputs, "--layer", ",".join(paths)).stdout
    assert both == run("dump", model, *inputs, "--layer", paths[0], "--layer", paths[1]).stdout
    assert both == run("dump", model, *inputs).stdout != run("dump", model, *inputs, "--layer", paths[0]).stdout


@pytest.mark.parametrize("command", ["dump", "predict", "verify", "inspect"])
def test_swapped_model_and_input_are_recognised(tmp_path, command):
    np.savez(tmp_path / "x.npz", a=np.load(INPUT))
    (tmp_path / "x.csv").write_text("1,2\n")
    for array, what in ((INPUT, "an array"), (tmp_path / "x.npz", "an array"), (tmp_path / "x.csv", "text")):
        told = f"{array}: is {what}, not a model; give a model in its place"
        assert refused(command, array) == f"gateprobe: {told}"
        for model in (MODEL, SAMPLES / "tokens.keras"):
            if command != "inspect":
                told = f"{array}: is {what}, and {model} is a model; give the model first, then its inputs"
                assert refused(command, array, model) == f"gateprobe: {told}"


def test_a_damaged_model_keeps_its_own_words(tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes((SAMPLES / "tokens.keras").read_bytes()[:100])
    assert "array" not in refused("dump", path, INPUT)
    path.write_bytes(b"neither")
    assert "is neither HDF5 nor a .keras zip" in refused("dump", path, MODEL)


def test_verbose_tells_which_file_feeds_which_input():
    source, target = SAMPLES / "translate_source.npy", SAMPLES / "translate_target.npy"
    told = run("dump", SAMPLES / "translate.keras", f"decoder_input={target}", source, "-v").stderr.splitlines()
    assert f"gateprobe: encoder_input <- {source} (4, 4) int32" in told
    assert f"gateprobe: decoder_input <- {target} (4, 4) int32" in told
    assert f"gateprobe: lstm_1 <- {INPUT} " in run("dump", MODEL, "--feed", f"lstm_1={INPUT}", "-v").stderr
