"""How many samples run together, and that a trace depends on nothing else."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights

import gateprobe.replay.threads
from gateprobe.cli import main
from gateprobe.errors import InputError
from gateprobe.inputs.samples import from_arrays
from gateprobe.model import opened
from gateprobe.replay.run import batches_of

SAMPLES = Path(__file__).parents[1] / "sample_models"


def lstm(units, *, features=3, **config):
    weights = {"lstm": lstm_weights(np.random.default_rng(0), features, units)}
    return chain([("LSTM", "lstm", {"units": units, **config})], weights, input_shape=(None, None, features))


def rows(model, x):
    samples = from_arrays(x, model.inputs)
    return batches_of(opened(model).plan(outputs=True), samples, np.arange(samples.count), batch_size="auto").rows


@pytest.mark.parametrize(
    ("units", "timesteps", "expected"),
    [(64, 50, 256), (256, 100, 32), (512, 1000, 2), (32, 16_000, 2), (4, 5, 1024), (1024, 1600, 1)],
)
def test_a_batch_has_32_mib_of_signals_and_outputs_at_most(units, timesteps, expected):
    """Six signals and the last output of each sample, in float32; a power of two of samples, 1024 at most."""
    x = np.broadcast_to(np.float32(0), (4096, timesteps, 3))
    assert rows(lstm(units), x) == expected
    size = (6 * timesteps + 1) * units * 4
    assert expected * size <= 1 << 25 or expected == 1
    assert expected == 1024 or 2 * expected * size > 1 << 25


def test_it_follows_from_model_and_shape_alone(monkeypatch):
    model, shape = lstm(64), (600, 50, 3)
    rng = np.random.default_rng(1)
    expected = rows(model, np.zeros(shape, np.float32))
    monkeypatch.setattr(gateprobe.replay.threads, "cores", lambda: 64)
    assert rows(model, rng.normal(size=shape).astype(np.float32)) == expected
    assert rows(model, np.full(shape, np.nan, np.float32)) == expected
    assert rows(model, np.zeros((5, *shape[1:]), np.float32)) == 5  # all in one


def test_what_lies_before_the_recurrent_layers_counts():
    rng = np.random.default_rng(2)
    wide = [
        ("Dense", "dense", {"units": 4000}),
        ("LSTM", "lstm", {"units": 4}),
    ]
    weights = {"dense": [rng.normal(size=(3, 4000)), np.zeros(4000)], "lstm": lstm_weights(rng, 4000, 4)}
    model = chain(wide, weights, input_shape=(None, None, 3))
    assert rows(model, np.zeros((2048, 50, 3), np.float32)) == 32


def test_a_trace_with_auto_is_that_with_its_number(tmp_path):
    model, x = lstm(16), np.random.default_rng(3).normal(size=(70, 800, 3)).astype(np.float32)
    number = rows(model, x)
    assert number == 64 < len(x)
    ours, theirs = (model.trace(x, batch_size=size).directions[0].signals for size in ("auto", number))
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)
    predicted = model.predict(x, batch_size="auto")["lstm"]
    np.testing.assert_array_equal(predicted, model.predict(x, batch_size=number)["lstm"])


def test_the_program_takes_auto_too(tmp_path):
    model, x = SAMPLES / "keras2.h5", SAMPLES / "keras2.npy"
    for size in ("auto", "3"):  # all samples
        arguments = [str(model), str(x), "--batch-size", size, "-o", str(tmp_path / f"{size}.csv")]
        assert CliRunner().invoke(main, ["dump", *arguments]).exit_code == 0
    assert (tmp_path / "auto.csv").read_bytes() == (tmp_path / "3.csv").read_bytes()
    for size in ("0", "many"):
        assert CliRunner().invoke(main, ["dump", str(model), str(x), "--batch-size", size]).exit_code == 2


@pytest.mark.parametrize("size", [0, -1, 2.5, "many", True])
def test_what_is_no_batch_size_is_refused(size):
    with pytest.raises(InputError, match="is no batch size; choose auto, or a number from 1 on"):
        lstm(4).trace(np.zeros((2, 3, 3)), batch_size=size)
