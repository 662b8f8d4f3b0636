"""No code from a model runs: every sample and every injection, read and traced under an audit hook."""

import base64
import json
import marshal
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from no_code_runs import pickled
from readers.build import dense, h5, keras, lstm, members, sequential

HERE = Path(__file__).parent
ROOT = HERE.parent
HOSTILE = ROOT.parent / "shared" / "hostile"
"""More cases, which are not part of the project."""


class Bomb:
    """Pickles into a call of ``os.system``."""

    def __reduce__(self):
        return os.system, ("touch canary",)


def injections(folder):
    """Write every way in which we know a Keras file to carry code, and some that only look like it."""
    code = "lambda x: __import__('os').system('touch canary')"
    bytecode = base64.b64encode(marshal.dumps(compile(code, "x", "eval"))).decode()
    serialised = {"class_name": "__lambda__", "config": {"code": bytecode, "defaults": None, "closure": None}}

    def layer(name, **more):
        return {"module": "keras.layers", "registered_name": None, **dense(name), **more}

    layers = {
        "lambda_keras3": layer("x", class_name="Lambda", config={"name": "x", "function": serialised}),
        "lambda_keras2": {
            "class_name": "Lambda",
            "config": {"name": "x", "function": [bytecode, None, None], "function_type": "lambda", "module": "os"},
        },
        "lambda_named": {
            "class_name": "Lambda",
            "config": {"name": "x", "function": "system", "function_type": "function", "module": "canary_module"},
        },
        "module": layer("x", module="canary_module", class_name="Canary", registered_name="canary_module>Canary"),
        "class_name_is_code": layer("x", class_name="__import__('canary_module')"),
        "class_name_is_a_path": layer("x", class_name="canary_module.Canary"),
        "activation_is_code": layer("x", config={"name": "x", "units": 2, "activation": "canary_module.run"}),
        "activation_is_a_mapping": layer(
            "x",
            config={
                "name": "x",
                "units": 2,
                "activation": {
                    "module": "os",
                    "class_name": "function",
                    "config": "system",
                    "registered_name": "system",
                },
            },
        ),
        "activation_is_a_lambda": layer("x", config={"name": "x", "units": 2, "activation": serialised}),
        "initializer": layer(
            "x",
            config={
                "name": "x",
                "units": 2,
                "kernel_initializer": {"module": "canary_module", "class_name": "Canary", "config": {"shape": [2]}},
            },
        ),
        "regularizer": layer("x", config={"name": "x", "units": 2, "kernel_regularizer": serialised}),
        "saved_model_layer": layer("x", class_name="TFSMLayer", config={"name": "x", "filepath": "/etc/passwd"}),
        "custom_cell": layer(
            "x", class_name="RNN", config={"name": "x", "cell": {"class_name": "canary_module>Cell", "config": {}}}
        ),
        "vocabulary_file": layer("x", class_name="StringLookup", config={"name": "x", "vocabulary": "/etc/passwd"}),
        "format_string": layer("{0.__class__.__init__.__globals__}", class_name="%(x)s"),
        "compiled": layer("x", build_config={"module": "canary_module"}, compile_config={"loss": "canary_module.run"}),
    }
    cases = {}
    for name, item in layers.items():
        model = sequential(lstm(), item)
        cases[f"{name}.h5"] = h5(folder / f"{name}.h5", model)
        whole = json.dumps({"module": "keras", "registered_name": None, **model})
        cases[f"{name}.keras"] = keras(folder / f"{name}.keras", config=whole.encode())
    cases["the_model_itself.h5"] = h5(folder / "itself.h5", {"class_name": "canary_module.Model", "config": {}})
    cases["lstm_activation.h5"] = h5(
        folder / "lstm.h5", sequential(lstm(activation="eval", recurrent_activation="exec"))
    )
    payload = pickle.dumps(Bomb())
    cases["pickle.keras"] = keras(folder / "pickle.keras", config=payload)
    cases["pickle_instead_of_weights.keras"] = keras(folder / "weights.keras", weights=payload)
    more = members() | {"canary_module.py": b"raise SystemExit", "assets/x.pkl": payload, "__init__.py": b"1/0"}
    cases["python_in_the_zip.keras"] = keras(folder / "python.keras", more)
    with h5py.File(h5(folder / "attributes.h5"), "r+") as file:
        file.attrs["training_config"] = np.void(payload)
        file["optimizer_weights"] = np.void(payload)
    cases["attributes.h5"] = folder / "attributes.h5"
    return {name: {"model": str(path)} for name, path in cases.items()}


def injected_inputs(folder, model):
    """Write inputs that NumPy would unpickle if it were let to."""
    np.savez(folder / "objects.npz", x=np.array([Bomb.__name__], object))
    (folder / "objects.npy").write_bytes(pickled())
    header = b"{'descr': __import__('os').system('touch canary'), 'fortran_order': False, 'shape': (2, 5, 3), }"
    (folder / "header.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([len(header), 0]) + header + bytes(120))
    (folder / "formula.csv").write_text("sample,timestep,a,b,c\n=1,0,=cmd(),1,__import__('os')\n")
    names = ("objects.npz", "objects.npy", "header.npy", "formula.csv")
    return {name: {"model": str(model), "input": str(folder / name)} for name in names}


def hostile_cases():
    if not HOSTILE.is_dir():
        return {}
    cases = json.loads((HOSTILE / "manifest.json").read_text())["cases"]
    wanted = [case for case in cases if case["kind"] in ("injection", "names", "h5-links") and not case.get("special")]
    files = HOSTILE / "files"
    return {
        f"hostile {case['id']}": {"model": str(files / case["model"]), "input": str(files / case["input"])}
        for case in wanted
    }


def samples():
    paths = [*sorted((ROOT / "sample_models").glob("*.[hk]*")), *sorted((HERE / "data").rglob("model.[hk]*"))]
    found = {str(path.relative_to(ROOT)): {"model": str(path)} for path in paths if path.parent.name != "wired"}
    for path in sorted((HERE / "data" / "wired").glob("*wiring*.json")):
        model = path.with_name("model.h5")
        found[str(path.relative_to(ROOT))] = {"model": str(model), "architecture": str(path)}
    for path in sorted((HERE / "data").rglob("*weights.*5")):
        architecture = path.with_name("model.json")
        if architecture.exists() and "_0000" not in path.name:  # one shard of three is no model
            found[str(path.relative_to(ROOT))] = {"model": str(path), "architecture": str(architecture)}
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    (folder / "canary_module.py").write_text("open('canary', 'w')\n")
    good = samples()
    cases = {
        "good": [case for name, case in good.items() if "sample_models" in name or "3.15.1" in name or "2.3.1" in name],
        "samples": good,
        "injections": injections(folder) | injected_inputs(folder, h5(folder / "good.h5")) | hostile_cases(),
    }
    (folder / "cases.json").write_text(json.dumps(cases))
    path = os.pathsep.join([str(ROOT), str(folder)])
    done = subprocess.run(
        [sys.executable, str(HERE / "no_code_runs.py"), "cases.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, cases, json.loads(done.stdout)


def test_nothing_runs(report):
    folder, cases, seen = report
    broken = {name: found["events"] for name, found in seen.items() if found["events"] and name != "planted"}
    assert not broken
    assert not (folder / "canary").exists()
    assert len(seen) == len(cases["samples"]) + len(cases["injections"]) + 1
    assert len(cases["samples"]) >= 30
    assert len(cases["injections"]) >= 40


def test_every_sample_was_replayed(report):
    """Otherwise the hook would have had nothing to see."""
    _, cases, seen = report
    assert {name: seen[name]["error"] for name in cases["samples"] if seen[name]["error"]} == {}


def test_code_is_refused_by_name(report):
    """Code that the trace needs is refused; what Keras would run only at training or loading is left alone."""
    _, _, seen = report
    for name in (
        "lambda_keras3.keras",
        "lambda_keras2.h5",
        "module.keras",
        "custom_cell.keras",
        "class_name_is_code.h5",
    ):
        assert ": x" in seen[name]["error"], name
    assert "pickled" in seen["objects.npy"]["error"]


def test_the_hook_sees_what_is_planted(report):
    """A watchman that sees nothing proves nothing."""
    events = " ".join(report[2]["planted"]["events"])
    for event in ("exec(", "compile(", "marshal.loads(", "import(", "open(", "socket.", "subprocess.", "pickle.find"):
        assert event in events
