"""What the process that runs Keras is told, and how its answer is read: a script of ours answers in Keras's place."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from readers import build

import gateprobe
from gateprobe.errors import InputError, MissingExtra, OracleError
from gateprobe.replay.objects import ObjectWeights
from gateprobe.verification import job
from gateprobe.verification.job import Job, Run, ask

SAMPLES = Path(__file__).parents[2] / "sample_models"
RNG = np.random.default_rng(3)
WEIGHTS = {"kernel": RNG.normal(size=(3, 8)), "bias": RNG.normal(size=8)}
INPUTS = [RNG.normal(size=(5, 4, 3)).astype(np.float32), RNG.normal(size=(2, 1, 3)).astype(np.float32)]
SIGNALS = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state", "update_gate")
GIVEN = ("input", "initial_0", "initial_1")
OTHERS = ("mask", "own_sequence", "own_final_state_0", "stepped_final_state_0")

ANSWERS = """
import json, os, pathlib, sys
import numpy as np
folder = pathlib.Path(sys.argv[1])
told = json.loads((folder / "job.json").read_text(encoding="utf-8"))
with np.load(folder / "arrays.npz") as file:
    given = {name: file[name] for name in file.files}
print("opening the model", flush=True)
print("stepping", flush=True)
saved = {f"a{n}": np.full((2, 1), n) for n in range(NAMES_COUNT)}
saved["y"] = sum(run_input.sum() for name, run_input in given.items() if name in told["runs"][1]["inputs"])
saved["w1_kernel"] = given[told["objects"][0]["roles"]["kernel"]]
call = {"path": "rnn/cell_1", "layer": "rnn", "direction": "backward", "backwards": True, "class_name": "LSTM"}
call["arrays"] = {name: f"a{n}" for n, name in enumerate(NAMES)}
run = {"calls": [call], "outputs": ["y"], "random": [["rnn", "forward"], 1]}
np.savez(folder / "result.npz", **saved)
seen = {**told, "arrays": {name: value.tolist() for name, value in given.items()}}
seen["environment"] = {name: os.environ.get(name) for name in ("KERAS_BACKEND", "TF_PLANTED")}
seen["copied"] = told["file"] and pathlib.Path(told["file"]).is_file()
answer = {"keras": json.dumps(seen), "backend": "b 1", "built_because": None, "runs": [run]}
answer["weights"] = {"1": ["kernel"]}
(folder / "result.json").write_text(json.dumps(answer), encoding="utf-8")
""".replace("NAMES_COUNT", str(len(SIGNALS + GIVEN + OTHERS))).replace("NAMES", repr(SIGNALS + GIVEN + OTHERS))


@pytest.fixture
def answering(monkeypatch):
    """Let a script run in Keras's place."""

    def use(script):
        original = job._started
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(
            job, "_started", lambda command, *rest: original([sys.executable, "-c", script, command[-1]], *rest)
        )

    return use


def asked(file, **more):
    runs = [Run((array,), rows, stateful) for array, rows, stateful in zip(INPUTS, (32, 2), (False, True), strict=True)]
    weights = [ObjectWeights(("bi", ".forward_layer", ".cell"), WEIGHTS, "2", 1)]
    plain = {"keras": "tf_keras", "backend": "tensorflow", "architecture": None, "max_bytes": 1 << 20}
    told = {"file": str(file), "build_because": None, "blueprint": {"a": [1]}, "objects": weights, "inputs": ("x",)}
    return Job(**{**plain, **told, "runs": runs, **more})


@pytest.mark.parametrize("because", [None, "it is asked to"])
def test_a_job_says_all_that_is_asked_and_an_answer_is_read_back(answering, monkeypatch, tmp_path, because):
    monkeypatch.setenv("TF_PLANTED", "1")
    answering(ANSWERS)
    lines = []
    answer = ask(asked(build.h5(tmp_path / "model.h5"), build_because=because), lines.append)
    assert lines == ["opening the model", "stepping"]
    told = json.loads(answer.keras)
    assert (told["keras"], told["backend"], told["blueprint"], told["inputs"]) == (
        "tf_keras",
        "tensorflow",
        {"a": [1]},
        ["x"],
    )
    assert (told["architecture"], told["build_because"]) == (None, because)
    assert told["copied"] is (True if because is None else None)
    assert [(run["rows"], run["stateful"]) for run in told["runs"]] == [(32, False), (2, True)]
    for run, array in zip(told["runs"], INPUTS, strict=True):
        np.testing.assert_array_equal(told["arrays"][run["inputs"][0]], array)
    (item,) = told["objects"]
    assert (item["path"], item["convert"], item["flip"]) == (["bi", ".forward_layer", ".cell"], "2", 1)
    for role, array in WEIGHTS.items():
        np.testing.assert_array_equal(told["arrays"][item["roles"][role]], array)
    assert (told["environment"]["KERAS_BACKEND"], told["environment"]["TF_PLANTED"]) == ("tensorflow", None)
    assert (answer.backend, answer.built_because) == ("b 1", None)
    assert answer.weights.keys() == {1}
    np.testing.assert_array_equal(answer.weights[1]["kernel"], WEIGHTS["kernel"])
    (run,) = answer.runs
    assert run.random == {("rnn", "forward"), 1}
    np.testing.assert_allclose(run.outputs[0], INPUTS[1].sum(), rtol=1e-6)
    (call,) = run.calls
    assert (call.path, call.layer, call.direction, call.backwards) == ("rnn/cell_1", "rnn", "backward", True)
    numbers = {name: int(value[0, 0]) for part in (call.signals, call.given) for name, value in part.items()}
    assert tuple(call.signals) == SIGNALS
    assert tuple(call.given) == GIVEN
    assert numbers == {name: n for n, name in enumerate(SIGNALS + GIVEN)}
    assert call.mask[0, 0] == len(numbers)
    assert {name: int(value[0, 0]) for name, value in call.own.items()} == {"sequence": 11, "final_state_0": 12}
    assert {name: int(value[0, 0]) for name, value in call.stepped.items()} == {"final_state_0": 13}


ENDS = {
    "a status": ("import sys; print('first\\nlast thing\\n\\n', file=sys.stderr); sys.exit(3)", "status 3: last thing"),
    "no answer": ("", "ended with status 0: no message"),
    "a refusal": ("answer = {'error': {'kind': 'failed', 'message': 'no such layer'}}", "tf_keras.*: no such layer"),
    "what is missing": (
        "answer = {'error': {'kind': 'missing', 'message': 'tf_keras'}}",
        "tf_keras.* is not installed",
    ),
}
WRITTEN = "; import json, sys; json.dump(answer, open(sys.argv[1] + '/result.json', 'w'))"


@pytest.mark.parametrize("end", ENDS)
def test_what_keras_did_not_answer_is_said(answering, tmp_path, end):
    script, message = ENDS[end]
    answering(script + (WRITTEN if "answer" in script else ""))
    with pytest.raises(MissingExtra if "missing" in end else OracleError, match=message):
        ask(asked(tmp_path / "none.h5", build_because="it is asked to"))


def test_a_keras_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf_keras" else object())
    with pytest.raises(MissingExtra, match=r"tf_keras, which verify compares with, is not installed"):
        ask(asked(tmp_path / "none.h5"))


def test_a_model_that_was_read_takes_no_other_architecture():
    model = gateprobe.read(SAMPLES / "brackets.keras")
    with pytest.raises(InputError, match=r"brackets\.keras: was not read with other\.json; leave out architecture"):
        gateprobe.verify(model, architecture="other.json")
