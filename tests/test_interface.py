"""The public interface is a promise: its names and signatures are those of ``interface.txt``, and it can be guessed."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gateprobe
from gateprobe import errors
from gateprobe.replay.options import RUN_DEFAULTS, TRACE_DEFAULTS, RunOptions, TraceOptions

ROOT = Path(__file__).parents[1]
FROZEN = Path(__file__).parent / "interface.txt"
SAMPLES = ROOT / "sample_models"
X = SAMPLES / "keras2.npy"
TOKENS = SAMPLES / "tokens.npy"


@pytest.fixture(scope="module")
def lstm():
    return gateprobe.read(SAMPLES / "keras2.h5")


@pytest.fixture(scope="module")
def both_ways():
    return gateprobe.read(SAMPLES / "tokens.keras").trace(np.load(TOKENS))


# the promise


def interface():
    """Yield one line for each public name, and one for each public member of a class."""
    for name in sorted(gateprobe.__all__):
        value = getattr(gateprobe, name)
        if not inspect.isclass(value):
            yield f"{name}{inspect.signature(value) if callable(value) else ': ' + type(value).__name__}"
            continue
        yield f"{name}({', '.join(base.__name__ for base in value.__bases__)})"
        yield from sorted(f"{name}.{line}" for line in members(value))


def members(kind):
    fields = {field.name: field.type for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    special = {"__init__", "__getitem__"} & vars(kind).keys()
    for name in {name for owner in kind.__mro__ if owner.__module__.startswith("gateprobe") for name in vars(owner)}:
        value = inspect.getattr_static(kind, name)
        if name in fields and not name.startswith("_"):
            yield f"{name}: {fields[name]}"
        elif isinstance(value, property) and not name.startswith("_"):
            yield f"{name}: {inspect.signature(value.fget).return_annotation} (read only)"
        elif inspect.isfunction(value) and (not name.startswith("_") or name in special):
            yield f"{name}{inspect.signature(value)}"


def test_the_interface_is_frozen():
    """When this fails on purpose: ``python tests/test_interface.py`` writes the file, and the changelog says why."""
    assert "\n".join(interface()) + "\n" == FROZEN.read_text(encoding="utf-8")


def test_every_error_is_public():
    kinds = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, (errors.GateprobeError, errors.GateprobeWarning))
    }
    assert kinds <= set(gateprobe.__all__)


def test_no_public_signature_takes_just_anything():
    for line in FROZEN.read_text(encoding="utf-8").splitlines():
        assert "**" not in line, line


def test_names_are_there_without_being_asked_for():
    assert dir(gateprobe) == sorted(gateprobe.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", gateprobe.__version__)
    assert inspect.isfunction(gateprobe.verify)


def test_verify_stays_a_function_whatever_is_imported():
    code = "import gateprobe, inspect, gateprobe.verification.run; assert inspect.isfunction(gateprobe.verify)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_have_one_default_each():
    assert RUN_DEFAULTS.keys() == RunOptions.__annotations__.keys()
    assert TRACE_DEFAULTS.keys() == TraceOptions.__annotations__.keys()


def test_users_see_what_they_need(lstm):
    assert [name for name in dir(lstm) if not name.startswith("_")] == [
        "assuming", "era", "explain", "file", "inputs", "iter_predict", "iter_trace", "notes", "outputs", "predict",
        "recurrent_layers", "stats", "summary", "trace", "track", "weights",
    ]  # fmt: skip


# types


def blocks():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        found = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        yield from ((f"{page.stem.lower()}_{number}.py", text) for number, text in enumerate(found))


TYPED = """
import numpy as np
import numpy.typing as npt
import gateprobe
from gateprobe import DirectionTrace, LayerTrace, Selection, Trace

model = gateprobe.read("model.keras")
x = np.zeros((4, 6, 2))
gate: npt.NDArray[np.float32] = model.trace(x)["bidirectional"].backward.forget_gate
part: Trace = model.trace(x, layers="lstm*", signals=["forget_gate"], units=[0, 3], timesteps=slice(0, 10))[:5]
part = model.trace({"a": x}, units=range(3), samples=np.arange(2), timesteps=3, batch_size="auto", dtype="float64")
layer: LayerTrace = part["lstm/backward"]
direction: DirectionTrace = layer.forward
for chunk in model.iter_trace([x], selection=Selection(units=3, samples=[0, 1], timesteps="0:2", layers="lstm")):
    first = chunk.directions[0]["forget_gate"].mean()
keys = list(part.to_numpy()) + list(direction) + [name for name in layer]
result = gateprobe.verify(model, x, tolerance=gateprobe.Tolerance(absolute=1e-6))
worst: float = result.worst.keras_replay.max_abs
gateprobe.load_trace("trace.npz").save("trace.csv", layout="wide", overwrite=True)
"""

MISTYPED = """
import gateprobe

model = gateprobe.read("model.keras")
model.trace(0, layer="lstm")
model.trace(0, units=1.5)
model.trace(0, dtype="float16")
model.predict(0, layers="lstm")
gateprobe.verify(model, tolerance=3)
model.graph
"""


def mypy(folder):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run([*command, "."], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() + done.stderr.splitlines()


def test_types_of_the_docs_are_right(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-xarray.*,keras.*,pandas.*]\nignore_missing_imports = True\n")
    for name, text in [*blocks(), ("typed.py", TYPED), ("mistyped.py", MISTYPED)]:
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = [line for line in mypy(tmp_path) if "error:" in line]
    assert [line for line in found if not line.startswith("mistyped.py")] == []
    wrong = {int(line.split(":")[1]) for line in found}
    assert wrong == {number for number, line in enumerate(MISTYPED.splitlines(), 1) if number > 4 and line}


# what one would type


def test_a_trace_takes_what_one_would_type(lstm):
    x = np.load(X)
    whole = lstm.trace(x)
    part = lstm.trace(x, layers="lstm*", signals=["forget_gate"], units=[0, 2], timesteps=slice(1, 4), samples=[0, 2])
    np.testing.assert_array_equal(part["lstm_1"].forget_gate, whole["lstm_1"].forget_gate[[0, 2]][:, 1:4, [0, 2]])
    assert part.metadata["options"]["selection"] == {
        "layers": ["lstm*"], "signals": ["forget_gate"], "units": "0,2", "timesteps": "1:4", "samples": "0,2"
    }  # fmt: skip
    chosen = gateprobe.Selection(signals="f", units="0,2", timesteps="1:4", samples=[0, 2])
    words = {"signals": "f", "units": "0,2", "timesteps": [1, 2, 3], "samples": range(0, 3, 2)}
    for other in (lstm.trace(x, selection=chosen), lstm.trace(x, **words)):
        np.testing.assert_array_equal(other["lstm_1"].forget_gate, part["lstm_1"].forget_gate)
    (chunk,) = lstm.iter_trace(x, units=1)
    np.testing.assert_array_equal(chunk.directions[0].forget_gate, whole["lstm_1"].forget_gate[..., [1]])


def test_feeds_go_straight_to_a_layer(lstm):
    x = np.load(X)
    fed = lstm.trace(feeds={"lstm_1": x})
    np.testing.assert_array_equal(fed["lstm_1"].hidden_state, lstm.trace(x)["lstm_1"].hidden_state)
    with pytest.raises(gateprobe.InputError, match="feeds=nope: no such layer"):
        lstm.trace(x, feeds={"nope": x})


@pytest.mark.parametrize("method", ["trace", "iter_trace", "predict", "iter_predict"])
def test_a_misspelt_keyword_is_refused_with_the_right_one(lstm, method):
    message = rf"{method}\(\) got an unexpected keyword argument 'batchsize'; did you mean batch_size"
    with pytest.raises(TypeError, match=message):
        getattr(lstm, method)(np.load(X), batchsize=3)
    assert "threads" in inspect.signature(getattr(lstm, method)).parameters


def test_a_selection_is_not_said_twice(lstm):
    with pytest.raises(gateprobe.InputError, match="selection and units both say what to keep"):
        lstm.trace(np.load(X), selection=gateprobe.Selection(), units=3)
    with pytest.raises(gateprobe.InputError, match="'lstm' is no Selection; use layers="):
        lstm.trace(np.load(X), selection="lstm")


def test_signals_are_found_by_layer_direction_and_name(both_ways, lstm):
    backward = both_ways["bidirectional"].backward
    for found in (both_ways["bidirectional/backward"], backward):
        np.testing.assert_array_equal(found["forget_gate"], backward.forget_gate)
        np.testing.assert_array_equal(found.forget_gate, backward.signals["forget_gate"])
    trace = lstm.trace(np.load(X))
    assert trace["lstm_1"]["forget_gate"] is trace["lstm_1"].forward.forget_gate
    assert list(trace["lstm_1"]) == list(trace["lstm_1"].forward) == list(trace["lstm_1"].forward.signals)
    assert trace["lstm_1/forward"].candidate is trace["lstm_1"].candidate


def test_a_slice_of_a_trace_is_a_trace_of_its_samples(both_ways):
    part = both_ways[1:3]
    assert part.samples.tolist() == [1, 2]
    np.testing.assert_array_equal(part["bidirectional"].backward.mask, both_ways["bidirectional"].backward.mask[1:3])
    np.testing.assert_array_equal(
        part["bidirectional"].forward.candidate, both_ways["bidirectional"].forward.candidate[1:3]
    )
    assert part.to_polars()["sample"].unique().to_list() == [1, 2]


def test_what_is_not_there_is_said_with_what_is(both_ways, lstm):
    trace = lstm.trace(np.load(X), signals="f")
    for attempt, message in (
        (lambda: trace["gru"], "no layer 'gru' in this trace; available: lstm_1"),
        (
            lambda: trace["lstm_1"].backward.forget_gate,
            "lstm_1 has no backward direction; available: forward",
        ),
        (lambda: trace["lstm_1"].candidate, "no signal 'candidate' in this trace of lstm_1; available: forget_gate"),
        (
            lambda: both_ways["bidirectional"]["candidate"],
            r"in both directions; say .forward\['candidate'\] or",
        ),
        (lambda: both_ways["bidirectional"].candidate, "runs in both directions"),
    ):
        with pytest.raises(gateprobe.NotInTrace, match=message):
            attempt()
    assert "gru" not in trace
    assert trace.get("gru") is None
    assert "lstm_1" in trace
    assert not hasattr(trace["lstm_1"], "backward")
    assert "candidate" not in trace["lstm_1"].forward


def test_completion_knows_layers_and_signals(both_ways, lstm):
    trace = lstm.trace(np.load(X))
    assert {"forget_gate", "forward"} < set(dir(trace["lstm_1"]))
    assert "backward" not in dir(trace["lstm_1"])
    assert "cell_state" in dir(both_ways["bidirectional"].forward)
    assert "cell_state" not in dir(both_ways["bidirectional"])
    assert trace._ipython_key_completions_() == ["lstm_1"]
    assert both_ways._ipython_key_completions_() == ["bidirectional", "bidirectional/forward", "bidirectional/backward"]
    assert trace["lstm_1"]._ipython_key_completions_() == list(trace["lstm_1"].forward)
    assert trace["lstm_1"].forward._ipython_key_completions_() == list(trace["lstm_1"].forward.signals)


def test_a_trace_is_not_one_array(both_ways):
    for found in (both_ways, both_ways["bidirectional"], both_ways["bidirectional"].forward):
        with pytest.raises(gateprobe.InputError, match="holds several arrays, not one; choose"):
            np.asarray(found)


def test_a_trace_goes_to_other_libraries(both_ways, tmp_path):
    both_ways.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as stored:
        arrays = both_ways.to_numpy()
        assert arrays.keys() == set(stored.files) - {"__metadata__"}
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, stored[key])
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = both_ways.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == both_ways.to_polars().columns
    assert len(table) == len(both_ways.to_polars())


def test_what_is_shown_is_short(lstm, both_ways):
    deep = gateprobe.read(SAMPLES / "tokens.keras")
    for shown in (lstm, deep, both_ways, both_ways["bidirectional"], both_ways["bidirectional"].forward):
        assert len(repr(shown).splitlines()) <= 10
        assert max(map(len, repr(shown).splitlines())) <= 160
    assert "lstm_1 (LSTM, 3 units)" in lstm.summary()
    assert "bidirectional (Bidirectional LSTM, 4 units)" in repr(deep)


def test_a_model_of_many_layers_is_shown_in_ten_lines():
    from graphs import chain, lstm_weights

    weights = {f"lstm_{n}": lstm_weights(np.random.default_rng(n), 4, 4) for n in range(20)}
    layers = [("LSTM", name, {"units": 4, "return_sequences": True}) for name in weights]
    model = chain(layers, weights, input_shape=(None, None, 4))
    assert len(repr(model).splitlines()) <= 10
    assert "14 more recurrent layers" in repr(model)
    assert all(name in model.summary() for name in weights)


# the words of Python, and those of the command line


def test_messages_name_only_keywords_that_there_are():
    """Every flag that a message of the library names has a word in Python, and that word is a keyword of ours."""
    for flag, word in errors._PYTHON.items():
        keyword = re.match(r"\w+", word)[0]
        assert re.search(rf"\b{keyword}: ", FROZEN.read_text(encoding="utf-8")), flag


CLI_ONLY = {"--block-size", "--workers", "--scheduler", "--keep"} | {
    f"--{word}" for word in ("activation", "recurrent-activation", "go-backwards", "reset-after")
}
"""Options of commands that Python does not have."""


def test_the_library_names_no_flag_without_a_word_in_python():
    for path in (ROOT / "gateprobe").rglob("*.py"):
        if "cli" in path.parts or "scale" in path.parts:
            continue
        for flag in re.findall(r"(?<![\w`-])--[a-z][a-z-]+\b(?!`)", path.read_text(encoding="utf-8")):
            assert flag in errors._PYTHON or flag in CLI_ONLY, f"{path}: {flag}"


def test_one_message_speaks_both_languages():
    error = gateprobe.InputError(
        "--layer=a--force selects nothing", file="--force.h5", remedy="use --force, or --architecture FILE.json"
    )
    assert str(error) == "--force.h5: layers=a--force selects nothing; use overwrite=True, or architecture=FILE.json"
    assert error.flagged == "--force.h5: --layer a--force selects nothing; use --force, or --architecture FILE.json"


def test_errors_reach_another_process():
    import pickle

    for error in (
        gateprobe.InputError("a", file="b", place="c", remedy="d"),
        gateprobe.NotInTrace("a"),
        gateprobe.UnsupportedModel([gateprobe.Refusal("l", "LSTM", "r")], file="f"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_saving_over_a_file_asks_for_overwrite(lstm, tmp_path):
    trace = lstm.trace(np.load(X))
    trace.save(tmp_path / "t.csv")
    with pytest.raises(gateprobe.OutputError, match="exists already; use overwrite=True"):
        trace.save(tmp_path / "t.csv")
    trace.save(tmp_path / "t.csv", overwrite=True)
    with pytest.raises(gateprobe.OutputError, match=r"unknown format '.foo'; available: .csv, .*, or use format"):
        trace.save(tmp_path / "t.foo")
    trace.save(tmp_path / "t.foo", format="npz")
    assert gateprobe.load_trace(tmp_path / "t.foo").keys() == trace.keys()
    with pytest.raises(gateprobe.OutputError, match="unknown format 'foo'; available: csv"):
        trace.save(tmp_path / "t.bar", format="foo")


if __name__ == "__main__":
    FROZEN.write_text("\n".join(interface()) + "\n", encoding="utf-8")
