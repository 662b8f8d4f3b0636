"""``gateprobe verify`` as users run it."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner
from readers import build
from verify.stand_in import pretend_that_keras_is_installed

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import MissingExtra
from gateprobe.verification import clean_copy, installed_rules, job
from gateprobe.verification.run import verify

SAMPLES = Path(__file__).parents[2] / "sample_models"
QUIET = pytest.mark.filterwarnings("ignore")  # of Keras and TensorFlow


def command(*args):
    return CliRunner().invoke(main, ["verify", *map(str, args)])


def test_without_tensorflow_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(job.importlib.util, "find_spec", lambda name: None)
    done = command(SAMPLES / "keras2.h5")
    assert done.exit_code == 2
    assert "pip install 'gateprobe[keras]'" in done.stderr


def test_without_the_keras_of_the_era_it_says_what_to_install(monkeypatch):
    def missing(name):
        raise installed_rules.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installed_rules.metadata, "version", missing)
    with pytest.raises(MissingExtra, match=r"tf-keras.*pip install 'gateprobe\[keras\]'"):
        verify(SAMPLES / "keras2.h5")


def test_nothing_reaches_keras_when_all_depends_on_a_layer_that_gateprobe_does_not_know(monkeypatch, tmp_path):
    pretend_that_keras_is_installed(monkeypatch)
    monkeypatch.setattr(job, "_run", lambda *_: pytest.fail("Keras was started"))
    evil = {"class_name": "Lambda", "config": {"name": "evil", "batch_input_shape": [None, 5, 3]}}
    done = command(build.h5(tmp_path / "bad.h5", build.sequential(evil, build.lstm())))
    assert done.exit_code == 2
    assert "evil (Lambda)" in done.stderr


def test_bad_options_are_usage_errors():
    for options in (["--atol", "gate:1"], ["--atol", "x"], ["--rtol", "-1"], ["--against", "theano"]):
        done = command(SAMPLES / "keras2.h5", *options)
        assert done.exit_code == 2
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.oracle
@pytest.mark.slow
def test_a_whole_run_in_processes_of_their_own(kerases, tmp_path):
    """The parent never imports TensorFlow; nothing is left behind; made inputs can be given again."""
    code = (
        "import sys, gateprobe.cli; "
        "status = gateprobe.cli.main(sys.argv[1:], standalone_mode=False); "
        "print('tensorflow' in sys.modules, 'tf_keras' in sys.modules, status, file=sys.stderr)"
    )
    options = ["--json", "--save-input", tmp_path / "x.npz", "--junit", tmp_path / "report.xml"]
    run = [sys.executable, "-c", code, "verify", SAMPLES / "keras2.h5", *options]
    done = subprocess.run(list(map(str, run)), capture_output=True, text=True, check=True)
    assert done.stderr.split()[-3:] == ["False", "False", "0"]
    result = json.loads(done.stdout)
    assert (result["status"], result["format"], result["problems"], result["first"]) == ("agrees", 2, [], None)
    assert result["keras"].startswith("tf-keras 2.")
    assert {one["signal"] for one in result["signals"]} == {
        "input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state", "output",
    }  # fmt: skip
    assert all(one["agrees"] and one["required"] < 1 and one["values"] for one in result["signals"])
    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("8", "0")
    model = gateprobe.read(SAMPLES / "keras2.h5")
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays.files) == {spec.name for spec in model.inputs}
        assert model.predict({name: arrays[name] for name in arrays.files})


@QUIET
@pytest.mark.oracle
def test_a_disagreement_on_the_command_line(in_process, tmp_path):
    """Today's Keras computes something else from this file, and verify says why."""
    done = command(SAMPLES / "keras2.h5", SAMPLES / "keras2.npy", "--against", "keras3", "--junit", tmp_path / "r.xml")
    assert done.exit_code == 1
    assert "would explain it: hard_sigmoid slope" in done.stdout
    assert "first disagreement: " in done.stdout
    assert "built from the graph that was read" in done.stdout
    assert "a fault in reading the file would not show" in done.stdout
    suite = ET.parse(tmp_path / "r.xml").getroot()
    assert int(suite.get("failures")) > 0
    assert "hard_sigmoid slope" in suite.find(".//system-out").text


@QUIET
@pytest.mark.oracle
def test_tolerances_on_the_command_line(in_process):
    file, given = SAMPLES / "keras2.h5", SAMPLES / "keras2.npy"
    assert command(file, given, "--against", "keras3", "--atol", "0.5").exit_code == 0
    done = command(file, given, "--against", "keras3", "--atol", "0.5", "--atol", "f:1e-7", "--json")
    result = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {one["signal"] for one in result["signals"] if not one["agrees"]} == {"forget_gate"}
    assert "forget_gate: |keras - replay| <= 1e-07" in result["rule"]


@QUIET
@pytest.mark.oracle
@pytest.mark.parametrize("library", ["tf_keras", "keras3"])
def test_a_model_that_is_random_at_inference(in_process, library, tmp_path):
    keras = in_process[library]
    x = keras.Input((6, 3))
    first = keras.layers.LSTM(4, return_sequences=True, name="sound")(x)
    second = keras.layers.LSTM(4, name="random")(keras.layers.Dropout(0.5)(first, training=True))
    keras.Model(x, second).save(tmp_path / "model.keras")
    done = command(tmp_path / "model.keras", "--json")
    result = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (result["status"], result["random"]) == ("random", ["random forward", "random output"])
    assert {one["layer"] for one in result["signals"]} == {"sound"}
    assert "training=True" in result["notes"][0]


@QUIET
@pytest.mark.oracle
def test_what_compares_nothing_is_no_success(in_process, tmp_path, monkeypatch):
    """Neither when everything should be random, nor when Keras computes nothing twice alike."""
    from gateprobe.verification import oracle

    keras = in_process["keras3"]
    x = keras.Input((6, 3))
    random = keras.layers.LSTM(4)(keras.layers.Dropout(0.5)(x, training=True))
    keras.Model(x, random).save(tmp_path / "model.keras")
    done = command(tmp_path / "model.keras")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "training=True" in done.stderr
    path = tmp_path / "plain.keras"
    keras.Sequential([keras.Input((6, 3)), keras.layers.LSTM(4, name="lstm")]).save(path)
    monkeypatch.setattr(oracle._Runner, "_random", lambda *_: [["lstm", "forward"], 0])
    done = command(path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing was compared" in done.stderr


@QUIET
@pytest.mark.oracle
def test_keras_must_agree_with_itself(in_process, monkeypatch):
    from gateprobe.verification import oracle_step

    own = oracle_step._own_output

    def wrong(library, call):
        return {name: value + 0.1 for name, value in own(library, call).items()}

    monkeypatch.setattr(oracle_step, "_own_output", wrong)
    done = command(SAMPLES / "brackets.keras")
    assert done.exit_code == 2
    assert "Keras disagrees with itself" in done.stderr


@QUIET
@pytest.mark.oracle
@pytest.mark.parametrize("name", ["brackets.keras", "tokens.keras", "translate.keras", "keras2.h5"])
def test_every_sample_model_agrees_however_it_gets_into_keras(in_process, name, monkeypatch):
    assert verify(SAMPLES / name).built_because is None
    monkeypatch.setattr(clean_copy, "objections", lambda *_: iter(["this test"]))
    result = verify(SAMPLES / name)
    assert result
    assert "this test" in result.built_because
