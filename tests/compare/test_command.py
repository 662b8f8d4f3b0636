"""``gateprobe compare``: exit statuses, what is printed, JSON, JUnit, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe.cli import main

SAMPLES = Path(__file__).parents[2] / "sample_models"
NAMES = [f"brackets{end}" for end in (".keras", ".npy", "_port.csv")]
MODEL, X, PORT = (str(SAMPLES / name) for name in NAMES)
CAUSE = "lstm forward: agrees to 7e-07 if the gate order is i, f, o, g; everything agrees then"


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def runs(*arguments, columns="120"):
        environment = {"COLUMNS": columns, "NO_COLOR": "1"}
        return CliRunner(env=environment).invoke(main, ["compare", *map(str, arguments)], prog_name="gateprobe")

    return runs


@pytest.fixture
def right(tmp_path):
    """A trace of the model, as NPZ."""
    trace = gateprobe.read(MODEL).trace(np.load(X))
    trace.save(tmp_path / "right.npz")
    return tmp_path / "right.npz"


def test_a_mistake_is_printed_and_exits_with_1(run):
    done = run(MODEL, X, PORT)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "DISAGREES: 420 of 432 numbers in 6 signals"
    assert CAUSE in lines
    assert done.stderr == ""


def test_agreement_exits_with_0(run, right):
    for ours in ((MODEL, X), (right,)):
        done = run(*ours, right)
        assert done.exit_code == 0
        assert done.stdout.startswith("AGREES: 432 numbers in 6 signals, largest difference 0\n")


def test_two_traces_have_no_explanation(run, right):
    done = run(right, PORT)
    assert done.exit_code == 1
    assert "first disagreement: lstm forward, candidate, sample 0, timestep 0, unit 0" in done.stdout
    assert "known mistakes" not in done.stdout


def test_a_foreign_table_may_be_ours(run, tmp_path):
    other = (tmp_path / "other.csv").resolve()
    other.write_text(Path(PORT).read_text().replace("0.159475", "0.159575"))
    done = run(PORT, other)
    assert done.exit_code == 1
    assert "theirs 0.159575, ours 0.159475" in done.stdout


def test_a_log_that_names_no_layer_may_be_ours(run, right):
    done = run(PORT, right)
    assert done.exit_code == 1
    assert done.stdout.startswith("DISAGREES: 420 of 432 numbers in 6 signals")


def test_quiet_is_the_verdict_alone(run):
    assert run(MODEL, X, PORT, "-q").stdout == "DISAGREES: 420 of 432 numbers in 6 signals\n"


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_no_line_is_wider_than_the_screen(run, columns):
    for name in NAMES:  # by short names: a long path is a word, and no word is cut
        shutil.copy(SAMPLES / name, name)
    done = run(*NAMES, columns=columns)
    assert max(map(len, done.stdout.splitlines())) <= int(columns)


def test_json_says_all(run):
    found = json.loads(run(MODEL, X, PORT, "--json").stdout)
    assert (found["format"], found["status"]) == (1, "disagrees")
    (cause,) = found["causes"]
    assert cause["text"] == "the gate order is i, f, o, g"
    assert cause["names"] == ["gate order"]
    assert cause["where"] == ["lstm forward"]
    assert (cause["alike"], cause["allowed"], cause["everything"]) == ([], None, True)
    assert found["first"]["signal"] == "candidate"
    assert found["first"]["float64"] == pytest.approx(found["first"]["ours"], abs=1e-6)
    signal = found["signals"][0]
    assert signal["growth"][0]["step"] == 0
    assert signal["growth"][-1] == {"step": 11, "max_abs": pytest.approx(0.8, abs=0.1)}
    assert signal["max_abs"] >= max(one["max_abs"] for one in signal["growth"])


def test_json_holds_numbers_that_are_not_finite(run, tmp_path):
    (tmp_path / "nan.csv").write_text("t,h0,h1\n0,nan,0.1\n1,0.2,inf\n2,0.1,0.1\n")
    x = np.load(X)[:1, :3]
    np.save(tmp_path / "short.npy", x)
    found = json.loads(run(MODEL, "short.npy", "nan.csv", "--json").stdout)
    assert found["first"]["theirs"] == "nan"
    assert found["status"] == "disagrees"


def test_junit_names_what_failed(run, tmp_path):
    assert run(MODEL, X, PORT, "--junit", "report.xml").exit_code == 1
    suite = ET.fromstring((tmp_path / "report.xml").read_text())
    assert suite.get("failures") == "6"
    assert next(suite.iter("testcase")).get("name") == "lstm forward input_gate"
    assert "the gate order is i, f, o, g" in suite.find(".//system-out").text
    assert run(MODEL, X, PORT, "--junit", "report.xml").exit_code == 2
    assert run(MODEL, X, X, "--junit", "error.xml").exit_code == 2
    assert "no recurrent layer fits" in ET.fromstring((tmp_path / "error.xml").read_text()).find(".//error").get(
        "message"
    )


def test_tolerances_are_those_of_verify(run, right):
    assert run(MODEL, X, PORT, "--atol", "3", "--atol", "c:12").exit_code == 0
    done = run(right, PORT, "--atol", "3", "--rtol", "hidden_state:1e-9")
    assert done.exit_code == 1
    assert "|theirs - ours| <= 3 + 0 * |theirs|" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((MODEL, X, X), "no recurrent layer fits"),
        ((MODEL, PORT), "an input is missing"),
        ((MODEL,), "Missing argument"),
        ((MODEL, X, "none.csv"), "none.csv: there is no such file"),
        ((MODEL, X, PORT, "--layer", "gru"), "--layer gru selects nothing"),
        ((PORT, PORT, "--layer", "gru"), "--layer gru selects nothing"),
        ((MODEL, X, PORT, "--direction", "backward"), "--direction backward selects nothing"),
        ((MODEL, X, PORT, "--map", "i"), "--map i: expected THEIRS=OURS"),
        ((MODEL, X, PORT, "--map", "q=i"), "nothing is called 'q'"),
        ((MODEL, X, PORT, "--map", "t=i"), "all mean|has input_gate|stands twice|has gaps|twice"),
        ((PORT, X, PORT), "takes no inputs"),
        ((PORT, PORT, "--dtype", "float64"), "--dtype does not go with it"),
        ((MODEL, X, PORT, "--atol", "nothing:1"), "no signal 'nothing'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(run, arguments, words):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert re.search(words, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gateprobe: ")


def test_what_was_taken_for_granted_is_said(run, tmp_path):
    rows = Path(PORT).read_text().splitlines()
    log = [",".join(row.split(",")[2:]) for row in (rows[0], *rows[4:13])]
    (tmp_path / "late.csv").write_text("\n".join(log))
    np.save(tmp_path / "one.npy", np.load(X)[:1])
    done = run(MODEL, "one.npy", "late.csv")
    assert done.exit_code == 1
    assert "has 9 of 12 timesteps: the first ones are taken to be missing" in done.stderr
    assert "the gate order is i, f, o, g" in done.stdout


def test_inputs_are_given_as_for_dump(run, tmp_path):
    model = SAMPLES / "translate.keras"
    source, target = (SAMPLES / f"translate_{name}.npy" for name in ("source", "target"))
    x = {"encoder_input": np.load(source), "decoder_input": np.load(target)}
    gateprobe.read(model).trace(x).save(tmp_path / "right.npz")
    np.savez(tmp_path / "both.npz", **x)
    for inputs in ((source, target), (f"decoder_input={target}", f"encoder_input={source}"), ("both.npz",)):
        done = run(model, *inputs, "right.npz")
        assert done.exit_code == 0, done.stderr
        assert "12 signals" in done.stdout


def test_nothing_is_written_over_what_is_read(run, tmp_path):
    copy = tmp_path / "port.csv"
    copy.write_text(Path(PORT).read_text())
    assert run(MODEL, X, "port.csv", "--junit", "port.csv", "--force").exit_code == 2
    assert copy.read_text() == Path(PORT).read_text()


def test_a_pipe_gets_one_line_for_each_row():
    code = f"from gateprobe.cli import main; main({['compare', MODEL, X, PORT]!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lstm\tforward\tinput_gate\t72\t" in done.stdout
    assert CAUSE in done.stdout.splitlines()
