"""Very long sequences run in slabs of timesteps, with the numbers, rows and bytes of whole sequences."""

import csv
import json

import h5py
import numpy as np
import pytest
from graphs import chain, lstm_weights

import gateprobe.replay.run
from gateprobe.graph import LayerRecord
from gateprobe.model import opened
from gateprobe.trace import join
from gateprobe.traces.selection import Ranges, Selection
from gateprobe.writers import Output, write

SUFFIXES = ["csv", "tsv", "jsonl", "parquet", "arrow", "npz", "h5"]
TIMESTEPS = 11


@pytest.fixture
def short_slabs(monkeypatch):
    monkeypatch.setattr(gateprobe.replay.run, "LONG", TIMESTEPS - 1)
    monkeypatch.setattr(gateprobe.replay.run, "SLAB", 3)


def normal(rng, *shapes):
    return [rng.normal(0, 0.5, shape) for shape in shapes]


def deep(keras_version="3.15.1", last=None):
    """A model with everything that holds something from one timestep to the next."""
    rng, sequences = np.random.default_rng(1), {"return_sequences": True}
    cells = tuple(LayerRecord(f"c{n}", "LSTMCell", {"units": 3}) for n in range(2))
    layers = [
        ("Masking", "mask", {"mask_value": 0.0}),
        ("LSTM", "first", {"units": 4, **sequences}),
        ("Dropout", "drop", {"rate": 0.5}),
        ("Dense", "dense", {"units": 3, "activation": "tanh"}),
        ("GRU", "second", {"units": 2, "reset_after": False, **sequences}),
        (
            "RNN",
            "stack",
            sequences,
            {"cell": LayerRecord("s", "StackedRNNCells", {"cells": []}, children={"cells": cells})},
        ),
        last or ("SimpleRNN", "third", {"units": 5}),
    ]
    weights = {
        "first": lstm_weights(rng, 2, 4),
        "dense": normal(rng, (4, 3), (3,)),
        "second": normal(rng, (3, 6), (2, 6), (6,)),
        "stack": [*lstm_weights(rng, 2, 3), *lstm_weights(rng, 3, 3)],
        "third": normal(rng, (3, 5), (5, 5), (5,)),
    }
    return chain(layers, weights, input_shape=(None, None, 2), keras_version=keras_version)


def masked_input(samples=3):
    """Masked timesteps at the beginning, at the end and across the borders of slabs."""
    x = np.random.default_rng(2).normal(size=(samples, TIMESTEPS, 2)).astype(np.float32)
    x[0, :4] = x[0, 8:] = x[1, 2:7] = 0
    return x


def whole(model, x, monkeypatch, **options):
    with monkeypatch.context() as patch:
        patch.setattr(gateprobe.replay.run, "LONG", TIMESTEPS)
        return model.trace(x, **options)


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    np.testing.assert_array_equal(ours.samples, theirs.samples)
    for one, other in zip(ours.directions, theirs.directions, strict=True):
        np.testing.assert_array_equal(one.timesteps, other.timesteps)
        assert (one.layer, one.direction, one.length) == (other.layer, other.direction, other.length)
        for name, value in other.signals.items():
            np.testing.assert_allclose(one.signals[name], value, rtol=0, atol=1e-6, err_msg=f"{one.layer} {name}")
        assert (one.mask is None) == (other.mask is None)
        if other.mask is not None:
            np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize("keras_version", ["1.2.2", "2.2.4", "2.15.0", "3.15.1"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slabs_give_what_whole_sequences_give(short_slabs, monkeypatch, keras_version, dtype):
    model, x = deep(keras_version), masked_input()
    chunks = list(model.iter_trace(x, dtype=dtype, pre_activations=True))
    assert len(chunks) == 3 * 5 * 4  # samples, layers, slabs
    assert all(chunk.is_slab and len(chunk.samples) == 1 for chunk in chunks)
    assert_same(join(chunks, {}), whole(model, x, monkeypatch, dtype=dtype, pre_activations=True))


SELECTIONS = [
    Selection(),
    Selection(layers=("second", "third"), samples=Ranges("0,2")),
    Selection(timesteps=Ranges("2:4,8,-1"), units=Ranges("1:")),
    Selection(signals=("candidate",), timesteps=Ranges("5")),
]


@pytest.mark.filterwarnings("ignore:.*leaves out")  # a layer that has no candidate
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_selections_work_as_ever(short_slabs, monkeypatch, selection):
    model, x = deep(), masked_input()
    assert_same(model.trace(x, selection=selection), whole(model, x, monkeypatch, selection=selection))


@pytest.mark.filterwarnings("ignore:.*leaves out")  # a layer that has no candidate
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_hold_what_a_whole_trace_would_write(short_slabs, tmp_path, suffix, selection):
    model, x = deep(), masked_input()
    slabs, whole = tmp_path / f"slabs.{suffix}", tmp_path / f"whole.{suffix}"
    write(model.iter_trace(x, selection=selection), [Output(str(slabs))], {"a": 1})
    trace = model.trace(x, selection=selection)
    write([gateprobe.replay.run.TraceChunk(trace.samples, trace.directions)], [Output(str(whole))], {"a": 1})
    if suffix != "h5":  # whose chunks hold several samples when they come together
        assert slabs.read_bytes() == whole.read_bytes()
        return
    with h5py.File(slabs) as ours, h5py.File(whole) as theirs:
        assert json.loads(ours.attrs["__metadata__"]) == json.loads(theirs.attrs["__metadata__"])
        found = []
        theirs.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
        for name in found:
            np.testing.assert_array_equal(ours[name], theirs[name])
            assert [axis[0].name for axis in ours[name].dims if len(axis)] == [
                axis[0].name for axis in theirs[name].dims if len(axis)
            ]
        assert "first/forward/step" in found or selection.layers or selection.signals


def test_rows_stand_in_their_order(short_slabs, tmp_path):
    write(deep().iter_trace(masked_input()), [Output(str(tmp_path / "t.csv"))], {})
    with (tmp_path / "t.csv").open() as file:
        rows = [
            (int(row["sample"]), row["layer"], int(row["timestep"]), int(row["unit"])) for row in csv.DictReader(file)
        ]
    layers = {"first": 4, "second": 2, "stack/cell_0": 3, "stack/cell_1": 3, "third": 5}
    expected = [
        (sample, layer, timestep, unit)
        for sample in range(3)
        for layer, units in layers.items()
        for timestep in range(TIMESTEPS)
        for unit in range(units)
    ]
    assert rows == expected


@pytest.mark.parametrize(
    "last",
    [
        ("LSTM", "third", {"units": 5, "go_backwards": True}),
        ("Conv1D", "third", {"filters": 5, "kernel_size": [3], "padding": "same"}),
        ("GlobalAveragePooling1D", "third", {}),
        ("LayerNormalization", "third", {"axis": [1, 2]}),
    ],
    ids=lambda last: last[0],
)
def test_what_looks_ahead_runs_as_a_whole(short_slabs, last):
    """The layer before a last recurrent one decides; alone, what comes after the traced layers does not run at all."""
    rng = np.random.default_rng(3)
    weights = {
        "first": lstm_weights(rng, 2, 3),
        "third": {
            "LSTM": lstm_weights(rng, 3, 5),
            "Conv1D": normal(rng, (3, 3, 5), (5,)),
            "LayerNormalization": normal(rng, (TIMESTEPS, 3), (TIMESTEPS, 3)),
        }.get(last[0], []),
    }
    model = chain(
        [("LSTM", "first", {"units": 3, "return_sequences": True}), last], weights, input_shape=(None, None, 2)
    )
    x = masked_input()
    assert all(chunk.is_slab for chunk in model.iter_trace(x, selection=Selection(layers=("first",))))
    assert model.predict(x)["third"].shape[0] == 3  # outputs are computed from whole sequences
    if last[0] == "LSTM":
        assert not any(chunk.is_slab for chunk in model.iter_trace(x))


def test_tokens_and_stacks_of_calls(short_slabs, monkeypatch):
    rng = np.random.default_rng(4)
    model = chain(
        [("Embedding", "words", {"input_dim": 9, "output_dim": 2, "mask_zero": True}), ("LSTM", "lstm", {"units": 3})],
        {"words": normal(rng, (9, 2)), "lstm": lstm_weights(rng, 2, 3)},
        input_shape=(None, None),
        dtype="int32",
    )
    x = rng.integers(0, 9, (2, TIMESTEPS))
    assert_same(model.trace(x), whole(model, x, monkeypatch))
    assert all(chunk.is_slab for chunk in model.iter_trace(x))


def test_progress_counts_timesteps(short_slabs):
    told = []
    list(deep().iter_trace(masked_input(), progress=lambda *what: told.append(what)))
    assert told[0] == (3, 3 * 5 * TIMESTEPS, "timesteps")
    assert told[-1] == (3 * 5 * TIMESTEPS, 3 * 5 * TIMESTEPS, "timesteps")


def test_all_slabs_take_one_kernel():
    model = deep()
    x = np.broadcast_to(np.float32(0), (3, 20_001, 2))  # the last slab has few timesteps
    tracing = opened(model).tracing(x)
    assert tracing.batches.timesteps == 20_001
    assert len({tracing.batches.kernel.compiles(timesteps) for timesteps in (1, 3617, 4096)}) == 1
