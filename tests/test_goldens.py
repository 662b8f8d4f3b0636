"""Replays against what each era's own Keras computed: outputs, states, and gates tapped inside its cells."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from rules import numbered

import gateprobe
from gateprobe.errors import GateprobeWarning

HERE = Path(__file__).parent / "data" / "legacy"
SHARED = Path(__file__).parents[2] / "shared" / "legacy"
GATES = {
    "LSTM": {"i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate"},
    "GRU": {"z": "update_gate", "r": "reset_gate", "hh": "candidate"},
}
WRONG_RECORDS = {
    # its tapped decoder gates start from zero states, although the recorded output starts from the encoder's
    "tfkeras_2.15.0/bi_initial_state": "dec",
}
NO_GRAPH = ("keras_3.15.1/subclassed", "tfa_0.20_tf2.12/basic_decoder")


def cases(root):
    for path in sorted(root.rglob("case.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        name = str(path.parent.relative_to(root))
        for entry in case["files"]:
            if not entry["name"].endswith(".json") and name not in NO_GRAPH:
                yield pytest.param(path.parent, case, entry, id=f"{name}/{entry['name']}")


def tolerance(case):
    text = json.dumps(case["layers"])
    return 3e-2 if "bfloat16" in text else 3e-3 if "float16" in text else 2e-5


def assert_close(ours, keras, limit, what):
    scale = max(1.0, float(np.abs(keras).max(initial=0)))
    assert ours.shape == keras.shape, what
    np.testing.assert_allclose(np.float64(ours), np.float64(keras), rtol=0, atol=limit * scale, err_msg=what)


def check(folder, case, entry):
    arrays, limit = np.load(folder / "case.npz"), tolerance(case)
    model = gateprobe.read(folder / entry["name"], architecture=folder / entry["arch"] if entry.get("arch") else None)
    calls = case["recurrent_calls"]
    batches = max((call.get("batch") or 0 for call in calls), default=0) + 1
    if batches > 1:
        return check_stateful(model, arrays, calls, batches, limit)
    inputs = numbered(arrays, "input")
    for ours, keras in zip(model.predict(inputs).values(), numbered(arrays, "output"), strict=True):
        assert_close(ours, keras, limit, "output")
    trace = model.trace(inputs)
    for call in calls:
        check_call(trace, arrays, call, limit, folder)
    return None


def check_call(trace, arrays, call, limit, folder):
    path = re.sub(r"/(forward|backward)_layer$", "", call["path"])
    name = f"{folder.parent.name}/{folder.name}"
    if call["layer_class"] not in GATES or call.get("stacked_cells") or path.endswith("/layer"):
        return
    if WRONG_RECORDS.get(name) == path:
        return
    found = [layer for layer in trace if re.sub(r":\d+", "", layer) == path]
    traced = getattr(trace[found[call["call_index"]]], "backward" if call["go_backwards"] else "forward")
    turn = (
        slice(None, None, -1) if call["go_backwards"] else slice(None)
    )  # sequences are recorded in processing order, masks in that of the input
    mask = arrays.get(f"{call['id']}_mask", None)
    signals = {"h_seq": "hidden_state", "c_seq": "cell_state"}
    signals |= {f"gate_{letter}": signal for letter, signal in GATES[call["layer_class"]].items()}
    for key, signal in signals.items():
        if f"{call['id']}_{key}" not in arrays:
            continue
        keras, ours = arrays[f"{call['id']}_{key}"][:, turn], getattr(traced, signal)
        if mask is not None and key.startswith("gate"):
            np.testing.assert_array_equal(np.isnan(ours).any(-1), ~mask)
            keras, ours = keras[mask], ours[mask]
        assert_close(ours, keras, limit, f"{path}: {signal}")


def check_stateful(model, arrays, calls, batches, limit):
    """The recorded batches one after the other are one input of ``batches * rows`` samples."""
    first = calls[0]
    inputs = [arrays[f"{call['id']}_input"] for call in calls if call["path"] == first["path"]]
    trace = model.trace(np.concatenate(inputs))
    for call in calls:
        rows = len(arrays[f"{call['id']}_h_seq"])
        part = slice(call["batch"] * rows, (call["batch"] + 1) * rows)
        for key, signal in {"h_seq": "hidden_state", "c_seq": "cell_state"}.items():
            ours = getattr(trace[call["path"]], signal)[part]
            assert_close(ours, arrays[f"{call['id']}_{key}"], limit, f"{call['path']}, batch {call['batch']}: {signal}")


@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
@pytest.mark.parametrize(("folder", "case", "entry"), list(cases(HERE)))
def test_recorded_gates_states_and_outputs(folder, case, entry):
    check(folder, case, entry)


def test_a_cell_whose_settings_were_never_saved_is_replayed_with_a_warning():
    model = gateprobe.read(HERE / "keras_2.0.9" / "rnn_cells" / "model.h5")
    with pytest.warns(GateprobeWarning, match="holds none of its settings"):
        model.trace(np.zeros((1, 5, 3), np.float32))


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded models are not beside the project")
@pytest.mark.parametrize(("folder", "case", "entry"), list(cases(SHARED)) if SHARED.is_dir() else [])
def test_all_recorded_models(folder, case, entry):
    check(folder, case, entry)
