"""What stands beside the signals: the input, the output and the token of the same timestep, or a refusal."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights
from traces import LSTM, direction_of

import gateprobe
from gateprobe.cli import main
from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef
from gateprobe.model import opened
from gateprobe.replay.context import Context
from gateprobe.replay.timelines import Line, Origin, Root, Timelines, timelines
from gateprobe.trace import Trace
from gateprobe.trace_files.load import open_trace
from gateprobe.traces.chunk import TRACE_FORMAT, TraceChunk

SAMPLES = Path(__file__).parents[1] / "sample_models"
METADATA = {"format": TRACE_FORMAT, "gateprobe": "0", "options": {}}
RNG = np.random.default_rng(0)


def run(*arguments):
    done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="gateprobe")
    return done.exit_code, done.stdout, done.stderr


def rows(*arguments):
    status, out, err = run("dump", *arguments)
    assert (status, err) == (0, "")
    return list(csv.DictReader(io.StringIO(out)))


def test_each_timestep_has_its_id_its_word_and_the_output(tmp_path):
    ids = np.load(SAMPLES / "tokens.npy")
    words = [f"word {number}" for number in range(10)]
    (tmp_path / "v.txt").write_text("\n".join(words))
    answer = gateprobe.read(SAMPLES / "tokens.keras").predict(ids)["label"]
    found = rows(
        SAMPLES / "tokens.keras", SAMPLES / "tokens.npy", "--with-input", "--with-output", "--vocab", tmp_path / "v.txt"
    )
    assert {row["direction"] for row in found} == {"forward", "backward"}
    for row in found:
        number = ids[int(row["sample"]), int(row["timestep"])]
        assert (int(row["input.tokens"]), row["token"]) == (number, words[number])
        assert np.float32(row["output.label.0"]) == answer[int(row["sample"]), 0]


def test_outputs_with_timesteps_join_theirs(tmp_path):
    source, target = (np.load(SAMPLES / f"translate_{name}.npy") for name in ("source", "target"))
    files = (SAMPLES / "translate_source.npy", SAMPLES / "translate_target.npy")
    model = gateprobe.read(SAMPLES / "translate.keras")
    (answer,) = model.predict([source, target]).values()
    found = rows(
        SAMPLES / "translate.keras", *files, "--with-output", "--with-input", "--layer", "decoder", "--unit", "0"
    )
    for row in found:
        sample, timestep = int(row["sample"]), int(row["timestep"])
        assert int(row["input.decoder_input"]) == target[sample, timestep]
        assert "input.encoder_input" not in row
        for number, value in enumerate(answer[sample, timestep]):
            assert np.float32(row[f"output.digit.{number}"]) == value
    both = rows(SAMPLES / "translate.keras", *files, "--with-input", "--unit", "0")
    assert {(row["layer"], row["input.encoder_input"] == "", row["input.decoder_input"] == "") for row in both} == {
        ("encoder", False, True),
        ("decoder", True, False),
    }
    status, out, err = run("dump", SAMPLES / "translate.keras", *files, "--with-output")
    assert (status, out) == (2, "")
    assert "the output digit has the timesteps of input decoder_input, not those of encoder" in err


def lstm(name="lstm", features=3, units=2, **config):
    settings = {"units": units, "activation": "tanh", "recurrent_activation": "sigmoid", **config}
    return ("LSTM", name, settings), {name: lstm_weights(RNG, features, units)}


def model_of(*before, features=3, input_shape=(None, 8, 3), **config):
    layer, weights = lstm(features=features, **config)
    return chain([*before, layer], weights, input_shape=input_shape)


POOL = ("MaxPooling1D", "pool", {"pool_size": 2, "strides": 2, "padding": "valid", "data_format": "channels_last"})
REPEAT = [("Flatten", "flat", {}), ("RepeatVector", "repeat", {"n": 8})]


@pytest.mark.parametrize(
    ("model", "origin"),
    [
        (model_of(POOL), "MaxPooling1D pool"),
        (model_of(*REPEAT, features=24), "RepeatVector repeat"),  # as many timesteps, and others
        (model_of(("Permute", "turn", {"dims": [2, 1]}), input_shape=(None, 3, 3)), "Permute turn"),
    ],
)
def test_a_layer_with_timesteps_of_its_own_is_refused(model, origin):
    x = RNG.normal(size=(2, *model.inputs[0].shape[1:])).astype("f4")
    model.trace(x)
    with pytest.raises(gateprobe.InputError, match=f"lstm has the timesteps of {origin}, beside which no an? input"):
        model.trace(x, with_input=True)
    trace = model.trace(x, with_output=True)  # one for each sample, which every timestep may have
    np.testing.assert_array_equal(
        trace["lstm"].forward.context["output.lstm"],
        np.repeat(model.predict(x)["lstm"][:, None], len(trace["lstm"].timesteps), 1),
    )


def test_sequences_that_come_turned_round_are_not_taken_for_others():
    first, weights = lstm("first", return_sequences=True, go_backwards=True)
    second, more = lstm("second", features=2)
    model = chain([first, second], {**weights, **more})
    x = RNG.normal(size=(2, 5, 3)).astype("f4")
    trace = model.trace(x, with_input=True, layers="first")
    np.testing.assert_array_equal(trace["first"].backward.context["input.input"], x)
    with pytest.raises(gateprobe.InputError, match="second has the timesteps of LSTM first"):
        model.trace(x, with_input=True)


def test_what_is_fed_is_the_input_of_its_layer_and_of_those_behind(tmp_path):
    first, weights = lstm("first", return_sequences=True)
    second, more = lstm("second", features=2)
    model = chain([POOL, first, second], {**weights, **more}, input_shape=(None, 8, 3))
    x = RNG.normal(size=(2, 6, 3)).astype("f4")
    trace = model.trace(None, feeds={"first": x}, with_input=True)
    for layer in trace:
        assert list(trace[layer].forward.context) == ["input.first"]
        np.testing.assert_array_equal(trace[layer].forward.context["input.first"], x)


def test_a_selection_and_slabs_keep_what_belongs_together(monkeypatch):
    monkeypatch.setattr("gateprobe.replay.run.LONG", 4)
    monkeypatch.setattr("gateprobe.replay.run.SLAB", 3)
    first, weights = lstm("first", return_sequences=True)
    second, more = lstm("second", features=2)
    model = chain([first, second], {**weights, **more})
    x = RNG.normal(size=(3, 10, 3)).astype("f4")
    chunks = list(model.iter_trace(x, with_input=True))
    assert any(chunk.is_slab for chunk in chunks)
    trace = model.trace(x, with_input=True, samples=[2], timesteps="1,5:8", units=1)
    for layer in trace:
        np.testing.assert_array_equal(trace[layer].forward.context["input.input"], x[[2]][:, [1, 5, 6, 7]])


def test_too_many_numbers_are_refused():
    model = model_of(features=1001, input_shape=(None, 2, 1001))
    with pytest.raises(
        gateprobe.InputError, match="the input input has 1,001 numbers at each timestep; the limit is 1,000"
    ):
        model.trace(np.zeros((1, 2, 1001), "f4"), with_input=True)


TEXTS = ["a", "=1+1", "a,b", '"', "two\nlines", "", "é", "-", "\\", "NaN", "true", "1"]


def with_context(**context):
    shape = (2, 6, 3)
    signals = {name: RNG.normal(size=shape).astype("f4") for name in LSTM}
    mask = RNG.random((2, 6)) > 0.3
    part = direction_of("lstm", "forward", signals, mask)
    other = direction_of("other", "forward", {"hidden_state": signals["hidden_state"]})
    return Trace(np.arange(2), (gateprobe.DirectionTrace(**fields(part, context)), other), METADATA)


def fields(part, context):
    return {name: getattr(part, name) for name in part.__dataclass_fields__} | {"context": context}


CONTEXT = {
    "input.ids": RNG.integers(-5, 2**40, (2, 6)),
    "input.big": RNG.integers(2**63, 2**64 - 1, (2, 6), np.uint64),
    "input.features": RNG.normal(size=(2, 6, 2)).astype("f4"),
    "input.=yes, no": RNG.random((2, 6)) > 0.5,
    "input.halves": RNG.normal(size=(2, 6, 1)),
    "output.a/b:1": np.where(RNG.random((2, 6, 11)) > 0.5, np.nan, RNG.normal(size=(2, 6, 11))).astype("f4"),
}


@pytest.mark.parametrize("layout", ["tidy", "long", "wide"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "arrow"])
def test_tables_give_back_what_stands_beside_the_signals(tmp_path, suffix, layout):
    context = {"token": np.array(TEXTS).reshape(2, 6), **CONTEXT}
    if suffix in ("csv", "tsv", "jsonl"):
        del context["input.big"]  # text has no types: such numbers read as floats
    trace = with_context(**context)
    trace.save(tmp_path / f"t.{suffix}", layout=layout)
    found = gateprobe.load_trace(tmp_path / f"t.{suffix}")
    compare(found, trace)
    assert list(found["lstm"]) == list(LSTM)  # and nothing of it is a signal
    assert not found["other"].forward.context


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_arrays_give_back_the_numbers(tmp_path, suffix):
    trace = with_context(**CONTEXT)
    trace.save(tmp_path / f"t.{suffix}")
    compare(gateprobe.load_trace(tmp_path / f"t.{suffix}"), trace)
    outline = open_trace(str(tmp_path / f"t.{suffix}")).directions[0].context
    assert {name: value.shape for name, value in outline.items()} == {
        name: (0, *value.shape[1:]) for name, value in CONTEXT.items()
    }
    with pytest.warns(gateprobe.GateprobeWarning, match="holds numbers: the tokens are left out"):
        with_context(token=np.array(TEXTS).reshape(2, 6)).save(tmp_path / f"u.{suffix}")


def compare(found, trace):
    theirs, ours = found["lstm"].forward.context, trace["lstm"].forward.context
    assert list(theirs) == list(ours)
    for name, value in ours.items():
        assert theirs[name].dtype.kind == value.dtype.kind
        assert theirs[name].dtype == value.dtype or value.dtype.kind in "iU"
        np.testing.assert_array_equal(theirs[name], value)
    for name in LSTM:
        np.testing.assert_array_equal(found["lstm"][name], trace["lstm"][name])


def test_two_columns_of_one_name_are_refused():
    one, two = np.zeros((2, 6)), np.zeros((2, 6, 1))
    with pytest.raises(gateprobe.InputError, match=r"input.a.0 and input.a would both be the column input.a.0"):
        with_context(**{"input.a.0": one, "input.a": two}).to_polars()


def test_xarray_opens_what_stands_beside_the_signals(tmp_path):
    import xarray

    trace = with_context(**{name: value for name, value in CONTEXT.items() if name in ("input.ids", "input.features")})
    trace.save(tmp_path / "t.h5")
    with xarray.open_datatree(tmp_path / "t.h5", engine="h5netcdf") as lazily:
        xarray.testing.assert_equal(lazily.load(), trace.to_xarray())
        assert lazily["lstm/input"]["features"].dims == ("sample", "timestep", "feature_2")


def test_a_layer_inside_another_model_has_the_outer_input():
    lines = opened(gateprobe.read(SAMPLES / "brackets.keras"))
    samples = lines.samples(np.load(SAMPLES / "brackets.npy"))
    found = lines.timelines(samples)
    for layer in found.layers:
        assert found.of(layer).named(next(iter(found.of(layer).roots)).origin) == set(samples.names)
        assert found.of(f"{layer}/cell_0") == found.of(layer)


def test_an_input_that_is_broadcast_stands_beside_nothing():
    roots = [Root(Origin.INPUT, name) for name in ("x", "side")]
    lines = Timelines({"lstm": Line(frozenset(roots))}, ())
    part = direction_of("lstm", "forward", {"hidden_state": np.zeros((2, 6, 1), "f4")})
    given = ([np.ones((2, 6, 3)), np.ones((2, 1, 3))], {})
    found = Context(lines, inputs=("x", "side")).attached(TraceChunk(np.arange(2), (part,)), given, ())
    assert list(found.directions[0].context) == ["input.x"]


@pytest.mark.parametrize("tensor", [0, 1])
def test_both_halves_of_a_bidirectional_keep_their_timesteps(tensor):
    def record(name, class_name, config, *inputs, **more):
        return LayerRecord(name, class_name, config, calls=(Call(inputs),), **more)

    inner = record("lstm", "LSTM", {"return_sequences": True})
    layers = (
        record("x", "InputLayer", {}),
        record("both", "Bidirectional", {"merge_mode": None}, TensorRef("x"), children={"layer": (inner,)}),
        record("last", "GRU", {"return_sequences": False}, TensorRef("both", 0, tensor)),
    )
    model = ModelRecord("model", "Functional", layers, (TensorRef("x"),), (TensorRef("last"),))
    found = timelines(model, {"x": 3})
    assert found.of("last").named(Origin.INPUT) == {"x"}
    assert found.of("both/cell_0") == found.of("both")
    assert found.outputs == (Line(),)
