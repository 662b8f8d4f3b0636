"""What a small file may not do: take memory or time out of all proportion. Memory is counted, time never."""

import io
import json
import struct
import tracemalloc
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import polars as pl
import pytest
from graphs import chain, changed, lstm_weights

import gateprobe
from gateprobe.errors import InputError, UnsafeFile
from gateprobe.graph import LayerRecord
from gateprobe.inputs.array_files import NpzFile
from gateprobe.inputs.tables import read_table
from gateprobe.limits import expansion
from gateprobe.model import opened
from gateprobe.writers import datasets

MIB = 1 << 20
DENSE = {"class_name": "Dense", "config": {"name": "dense", "units": 2, "batch_input_shape": [None, 3]}}
CONFIG = {"class_name": "Sequential", "config": {"name": "s", "layers": [DENSE]}}


def peak_of(act):
    """Return the most memory that was taken at a time, in bytes."""
    tracemalloc.start()
    try:
        act()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


# --- unpacking


def zipped(path, weights, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("model.weights.h5", weights)
    return path


def test_a_member_of_a_zip_expands_no_more_than_an_array(tmp_path):
    path = zipped(tmp_path / "bomb.keras", bytes(200 * MIB))

    def read():
        with pytest.raises(UnsafeFile, match=r"model.weights.h5: would unpack .* stored bytes into 209,715,200"):
            gateprobe.read(path)

    assert peak_of(read) < 8 * MIB


def test_members_of_a_zip_share_no_bytes(tmp_path):
    path = zipped(tmp_path / "m.keras", b"x" * 5000, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")  # the first entry of the table claims what the others have, too
    struct.pack_into("<II", data, at + 20, len(data) - 100, len(data) - 100)
    path.write_bytes(data)
    with pytest.raises(UnsafeFile, match="overlap"):
        gateprobe.read(path)


def test_all_arrays_of_a_file_together_expand_no_more_than_one(tmp_path):
    """Each of them is just small enough for the rule of small arrays."""
    path, count = tmp_path / "m.weights.h5", 12
    with h5py.File(path, "w") as file:
        for number in range(count):
            variables = file.create_group(f"layers/dense_{number}/vars" if number else "layers/dense/vars")
            variables.create_dataset("0", data=np.zeros((3 * MIB,), "f4"), chunks=(MIB,), compression="gzip")
    assert count * 12 * MIB > expansion.most(path.stat().st_size)
    with pytest.raises(UnsafeFile, match="the file would unpack"):
        gateprobe.read(path)


def test_an_array_of_an_npz_expands_no_more():
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.zeros(30 * MIB, np.float32))
    archive = NpzFile(stream, "x.npz", 1 << 40)

    def read():
        with pytest.raises(InputError, match="would unpack"):
            archive.read("x")

    assert peak_of(read) < MIB


@pytest.mark.parametrize(("stored", "most"), [(0, 1100), (1000, 1_100_000), (MIB, 100 * MIB), (100_000, 64 * MIB)])
def test_how_much_stored_bytes_may_stand_for(stored, most):
    assert expansion.most(stored) == most


def test_stored_weights_of_a_keras_file_lie_in_memory_once(tmp_path):
    """Keras stores them uncompressed: they are read where they are."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.random.default_rng(0).random(5 * MIB, np.float32))
    path = zipped(tmp_path / "m.keras", stream.getvalue(), zipfile.ZIP_STORED)
    gateprobe.read(path)
    assert peak_of(lambda: gateprobe.read(path)) < 1.2 * 20 * MIB


def test_weights_of_layers_lie_in_memory_once_until_they_run():
    units = 512
    weights = lstm_weights(np.random.default_rng(0), units, units)
    model = chain([("LSTM", "lstm", {"units": units})], {"lstm": weights}, input_shape=(None, None, units))
    x = np.zeros((4, 2, units), np.float32)
    size = sum(weight.nbytes for weight in weights)
    model.trace(x)  # imports, compiling, and trying what the BLAS rounds alike take memory once
    assert peak_of(lambda: opened(model).plan(outputs=True)) < 0.2 * size
    assert peak_of(lambda: model.trace(x)) < 2.3 * size


# --- layers


def model_of(*layers, shape=(None, 4), max_bytes=None):
    made = chain(
        [(kind, f"{kind.lower()}_{n}", *rest) for n, (kind, *rest) in enumerate(layers)], {}, input_shape=shape
    )
    return changed(made, max_bytes=max_bytes)


UP = ("UpSampling1D", {"size": 2})
REPEAT = LayerRecord("r", "RepeatVector", {"name": "r", "n": 10**9})


@pytest.mark.parametrize(
    ("layers", "shape", "place"),
    [
        ([("RepeatVector", {"n": 10**9})], (None, 4), "repeatvector_0"),
        ([("ZeroPadding1D", {"padding": [0, 10**10]})], (None, 5, 4), "zeropadding1d_0"),
        ([("TimeDistributed", {}, {"layer": REPEAT})], (None, 5, 4), "timedistributed_0"),
        ([("AdaptiveMaxPooling1D", {"output_size": 10**9})], (None, 5, 4), "adaptivemaxpooling1d_0"),
        ([("CategoryEncoding", {"num_tokens": 10**10})], (None, 5), "categoryencoding_0"),
    ],
)
def test_a_layer_that_would_enlarge_its_input_out_of_proportion_is_refused(layers, shape, place):
    model = model_of(*layers, shape=shape)
    with pytest.raises(InputError, match=f"{place}: would need .* bytes.*batch_size.*max_bytes"):
        model.predict(np.zeros((2, *shape[1:]), np.float32))


def test_many_layers_that_enlarge_a_little_are_refused_when_they_reach_the_limit():
    model, x = model_of(*[UP] * 30, shape=(None, 5, 4), max_bytes=MIB), np.zeros((2, 5, 4), np.float32)

    def predict():
        with pytest.raises(InputError, match=r"upsampling1d_1[23]: would need .*limit for a batch is 1,048,576"):
            model.predict(x)

    predict()
    assert peak_of(predict) < 4 * MIB


@pytest.mark.parametrize("batch_size", [1, "auto"])
def test_max_bytes_and_the_batch_size_decide_what_a_batch_may_hold(batch_size):
    layers, x = [("RepeatVector", {"n": 50_000})], np.zeros((16, 4), np.float32)
    assert model_of(*layers, max_bytes=8 * MIB).predict(x, batch_size=1)["repeatvector_0"].shape == (16, 50_000, 4)
    with pytest.raises(InputError, match="would need"):
        model_of(*layers, max_bytes=8 * MIB).predict(x, batch_size=16)
    with pytest.raises(InputError, match="would need"):
        model_of(*layers, max_bytes=MIB // 2).predict(x, batch_size=batch_size)


def test_the_signals_of_recurrent_layers_count():
    """One layer after the other is within the limit; their signals, which the trace keeps, are not."""
    weights = {f"lstm_{n}": lstm_weights(np.random.default_rng(n), 4, 4) for n in range(20)}
    layers = [("LSTM", name, {"units": 4, "return_sequences": True}) for name in weights]
    model, x = chain(layers, weights, input_shape=(None, None, 4)), np.zeros((8, 50, 4), np.float32)
    signals = 6 * x.nbytes
    with pytest.raises(InputError, match=r"lstm_\d+: would need .* beside the [\d,]+ that the batch holds"):
        changed(model, max_bytes=8 * signals).trace(x)
    assert len(changed(model, max_bytes=24 * signals).trace(x).keys()) == 20


# --- tables and traces


@pytest.mark.parametrize("shape", [(None, 7, 4), (None, 7), (None, None, 1), None])
def test_a_table_that_is_far_too_wide_is_refused_before_it_is_parsed(monkeypatch, shape):
    def parsed(*args, **options):
        raise AssertionError

    monkeypatch.setattr(pl, "read_csv", parsed)
    with pytest.raises(InputError, match="has 300,000 columns, where at most"):
        read_table(b",".join([b"1"] * 300_000) + b"\n", "x.csv", shape)


def test_what_waits_for_a_chunk_of_hdf5_does_not_grow_with_the_number_of_layers():
    weights = {"lstm": lstm_weights(np.random.default_rng(0), 4, 4)}
    model = chain([("LSTM", "lstm", {"units": 4, "return_sequences": True})], weights, input_shape=(None, None, 4))
    (chunk,) = model.iter_trace(np.zeros((2, 100, 4), np.float32))
    many = replace(chunk, directions=chunk.directions * 5_000)
    per_sample = sum(value[0].nbytes for part in many.directions for value in part.signals.values())
    assert datasets._samples_together(chunk) > 100
    assert datasets._samples_together(many) * per_sample <= max(datasets.WAITING_BYTES, per_sample)


def test_few_datasets_of_hdf5_are_open_at_a_time(tmp_path, monkeypatch):
    """What is read back does not depend on it."""
    weights = {f"lstm_{n}": lstm_weights(np.random.default_rng(n), 4, 4) for n in range(4)}
    layers = [("LSTM", name, {"units": 4, "return_sequences": True}) for name in weights]
    model, x = chain(layers, weights, input_shape=(None, None, 4)), np.ones((8, 5, 4), np.float32)
    model.trace(x).save(tmp_path / "all.h5")
    monkeypatch.setattr(datasets, "MAX_OPEN", 3)
    model.trace(x).save(tmp_path / "few.h5")
    with h5py.File(tmp_path / "few.h5") as few, h5py.File(tmp_path / "all.h5") as every:
        for name in weights:
            for signal in ("cell_state", "output_gate"):
                np.testing.assert_array_equal(few[f"{name}/forward/{signal}"], every[f"{name}/forward/{signal}"])
