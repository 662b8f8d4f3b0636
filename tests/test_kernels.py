"""The fast forms of the recurrent layers against each other, and against a replay in double precision."""

import gc
import math
import subprocess
import sys

import numpy as np
import pytest
import scalar_lstm
from graphs import chain, lstm_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from gateprobe.errors import InputError, MissingExtra
from gateprobe.layers.recurrent.kernels import blas, compiled
from gateprobe.layers.recurrent.kernels.blas import Product, pack
from gateprobe.layers.recurrent.kernels.choice import Kernel, choose
from gateprobe.model import opened

needs_compiler = pytest.mark.skipif(not compiled.is_installed(), reason="needs the extra fast")
TOLERANCE = 40 * np.finfo(np.float32).eps  # of a few timesteps' sums of about 50 products each


def model_of(rng, features, units, **config):
    layers = [
        ("Masking", "masking", {"mask_value": 0.0}),
        ("LSTM", "lstm", {"units": units, "return_sequences": True, **config}),
    ]
    weights = {"lstm": lstm_weights(rng, features, units, scale=0.5)}
    return chain(layers, weights, input_shape=(None, None, features))


@needs_compiler
@settings(max_examples=40)
@given(
    samples=st.integers(1, 9),
    timesteps=st.integers(1, 6),
    features=st.sampled_from([1, 3, 130]),
    units=st.sampled_from([1, 4, 7, 8, 16, 21, 40, 64]),
    large=st.sampled_from([0, 1 << 30]),
    block=st.sampled_from([1, 1 << 10, 1 << 18]),
    gate=st.sampled_from(["sigmoid", "hard_sigmoid"]),
    backwards=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_compiled_steps_are_those_of_numpy(samples, timesteps, features, units, large, block, gate, backwards, seed):
    rng = np.random.default_rng(seed)
    model = model_of(rng, features, units, recurrent_activation=gate, go_backwards=backwards)
    x = rng.normal(0, 1, (samples, timesteps, features)).astype(np.float32)
    x[rng.random((samples, timesteps)) < 0.2] = 0  # masked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_LARGE", large)  # whether products are large, for which a BLAS computes them
        patch.setattr(compiled, "_BLOCK", block)  # bytes: one timestep at a time, a few, or all
        fast = model.trace(x, kernel="compiled", pre_activations=True)["lstm"]
    plain = model.trace(x, kernel="numpy", pre_activations=True)["lstm"]
    exact = model.trace(x, dtype="float64", pre_activations=True)["lstm"]
    signals = (fast.backward if backwards else fast.forward).signals
    assert len(signals) == 10
    for name, values in signals.items():
        scale = np.abs(getattr(exact, name)).max(initial=1, where=~np.isnan(getattr(exact, name)))
        np.testing.assert_allclose(values, getattr(plain, name), rtol=0, atol=TOLERANCE * scale)
        np.testing.assert_allclose(values, getattr(exact, name), rtol=0, atol=TOLERANCE * scale)


@needs_compiler
@pytest.mark.parametrize("large", [0, 1 << 30])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_compiled_steps_of_a_few_samples_are_those_of_the_scalar_loop(gate, large, monkeypatch):
    """Five samples and thirteen units: four and one, eight and five; each step is taken whole, and its rest."""
    rng = np.random.default_rng(7)
    weights, x = lstm_weights(rng, 2, 13, scale=0.5), rng.normal(size=(5, 3, 2)).astype(np.float32)
    x[1, 1] = x[4, 0] = 0  # masked
    monkeypatch.setattr(compiled, "_LARGE", large)
    layers = [("Masking", "masking", {}), ("LSTM", "lstm", {"units": 13, "recurrent_activation": gate})]
    traced = chain(layers, {"lstm": weights}, input_shape=(None, None, 2)).trace(x, kernel="compiled")["lstm"]
    lists = [np.float64(np.float32(weight)).tolist() for weight in weights]
    gates = scalar_lstm.sigmoid if gate == "sigmoid" else lambda z: min(1.0, max(0.0, z / 6 + 0.5))
    for n in range(5):
        at = x[n].any(axis=-1)
        steps = scalar_lstm.lstm(np.float64(x[n][at]).tolist(), *lists, [0.0] * 13, [0.0] * 13, gates)
        for name in steps[0]:
            np.testing.assert_allclose(getattr(traced, name)[n][at], [step[name] for step in steps], atol=3e-6)
        held = np.concatenate([np.zeros((1, 13), np.float32), traced.hidden_state[n, :-1]])
        np.testing.assert_array_equal(traced.hidden_state[n][~at], held[~at])


HARD = {"2.15.0": 0.2, "3.15.1": 1 / 6}
SQUASH = {"tanh": math.tanh, "tanh_shrink": lambda z: z - math.tanh(z), "softsign": lambda z: z / (1 + abs(z))}


@needs_compiler
@pytest.mark.parametrize("version", HARD)
@pytest.mark.parametrize("activation", SQUASH)
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_there_is_code_for_is_compiled_and_nothing_else(version, activation, gate, dtype, monkeypatch):
    if (version, activation) == ("2.15.0", "tanh_shrink"):
        return  # a function of Keras 3
    ran, rng, run = [], np.random.default_rng(6), compiled.CompiledLSTM.run
    monkeypatch.setattr(compiled.CompiledLSTM, "run", lambda *a: ran.append(True) or run(*a))
    weights, x = lstm_weights(rng, 3, 2), rng.normal(size=(1, 4, 3)).astype(np.float32)
    config = {"units": 2, "activation": activation, "recurrent_activation": gate, "return_sequences": True}
    model = chain([("LSTM", "lstm", config)], {"lstm": weights}, keras_version=version)
    found = model.trace(x, kernel="compiled", dtype=dtype)["lstm"].hidden_state[0]
    lists = (np.float64(np.float32(weight)).tolist() for weight in weights)
    hard = lambda z: min(1.0, max(0.0, HARD[version] * z + 0.5))  # noqa: E731
    gates = {"sigmoid": scalar_lstm.sigmoid, "hard_sigmoid": hard, "tanh": math.tanh}[gate]
    steps = scalar_lstm.lstm(np.float64(x[0]).tolist(), *lists, [0.0] * 2, [0.0] * 2, gates, SQUASH[activation])
    np.testing.assert_allclose(found, [step["hidden_state"] for step in steps], atol=3e-6)
    assert bool(ran) == (activation == "tanh" and gate != "tanh" and dtype == "float32")


@needs_compiler
def test_infinities_and_nan_pass_through_compiled_gates():
    x = np.array([np.nan, np.inf, -np.inf, 1e30, 0, -1e30], np.float32).reshape(6, 1, 1)
    ones = [np.ones((1, 16)), np.zeros((4, 16)), np.zeros(16)]
    for gate in ("sigmoid", "hard_sigmoid"):
        layers = [("LSTM", "lstm", {"units": 4, "recurrent_activation": gate})]
        model = chain(layers, {"lstm": ones}, input_shape=(None, 1, 1))
        fast, plain = (model.trace(x, kernel=kernel)["lstm"].forget_gate for kernel in ("compiled", "numpy"))
        np.testing.assert_array_equal(fast, plain)
        assert np.isnan(fast[0]).all()


@needs_compiler
def test_the_compiled_tanh_is_right_to_three_units_in_the_last_place():
    finite = np.concatenate([np.geomspace(1e-30, 100, 20_000), np.linspace(0.01, 10, 20_000)])
    x = np.concatenate([finite, -finite, [0.0, np.inf, -np.inf, np.nan]]).astype(np.float32)
    kernel = np.zeros((1, 16), np.float32)
    kernel[0, 8:12] = 1  # the candidate is tanh(x) then
    model = chain(
        [("LSTM", "lstm", {"units": 4})], {"lstm": [kernel, np.zeros((4, 16)), np.zeros(16)]}, input_shape=(None, 1, 1)
    )
    candidate = model.trace(x.reshape(-1, 1, 1), kernel="compiled", batch_size=len(x))["lstm"].candidate[:, 0, 0]
    expected = np.tanh(x.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(candidate), np.isnan(expected))
    number = ~np.isnan(expected)
    assert np.abs(candidate[number]).max() <= 1
    assert np.array_equal(np.signbit(candidate[number]), np.signbit(x[number]))
    ulp = np.spacing(np.abs(expected[number]).astype(np.float32))
    assert (np.abs(candidate[number] - expected[number]) <= 3 * ulp).all()


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 500), st.sampled_from([1, 3, 16, 48, 64, 257]), st.booleans())
def test_a_product_in_pieces_is_the_product(samples, rows, units, in_pieces):
    rng = np.random.default_rng(samples * rows)
    left, matrix = rng.normal(size=(samples, rows)), rng.normal(size=(rows, 3 * units))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas, "_small_is_fast", lambda: in_pieces)
        memory = blas.memory(samples, rows, left.dtype)
        memory[:samples] = left
        product = Product(memory, pack(matrix, 3), samples)()
    expected = (left @ matrix).reshape(samples, 3, units).swapaxes(0, 1)
    np.testing.assert_allclose(product, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("units", "pieces"), [(5, 1), (240, 1), (300, 2), (482, 241)])
@pytest.mark.parametrize("samples", [1, 12, 33])
def test_a_product_between_margins_is_the_product(samples, units, pieces, monkeypatch):
    """For a BLAS that sums the columns at the edges of a block in another order: zeros stand there instead."""
    rng = np.random.default_rng(units)
    left, matrix = (rng.normal(size=shape) for shape in ((samples, 7), (7, 2 * units)))
    monkeypatch.setattr(blas, "_small_is_fast", lambda: False)
    monkeypatch.setattr(blas, "heights", lambda *shape: (4, 1))
    panels = pack(matrix, 2)
    assert (panels.margin, panels.values.shape[1]) == (8, pieces)
    assert max(panels.heights) == 48
    memory = blas.memory(samples, 7, left.dtype)
    memory[:samples] = left
    expected = (left @ matrix).reshape(samples, 2, units).swapaxes(0, 1)
    product = Product(memory, panels, samples)
    for _ in range(2):
        np.testing.assert_allclose(product(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("columns", [1, 9, 170, 600])
def test_enough_sums_are_compared_to_tell_orders_apart(columns):
    """Two orders of a sum give the same bits now and then; 512 numbers are not all alike by chance."""
    vectors, matrix = blas._trial(5, columns, "float32")
    assert vectors.shape[1:] == (1, 5)
    assert matrix.shape == (5, columns)
    assert len(vectors) >= 3
    assert len(vectors) * columns >= 512


@pytest.mark.parametrize("class_name", ["LSTM", "GRU"])
def test_a_batch_gives_its_memory_back_as_soon_as_it_is_not_held(class_name):
    rng, gates = np.random.default_rng(0), {"LSTM": 4, "GRU": 3}[class_name]
    weights = [rng.normal(0, 0.1, shape) for shape in ((2, gates * 64), (64, gates * 64))]
    config = {"units": 64, "use_bias": False, "return_sequences": True}
    model = chain([(class_name, "layer", config)], {"layer": weights}, input_shape=(None, None, 2))
    x = rng.normal(size=(192, 40, 2))
    gc.disable()  # no reference cycle may keep a batch alive
    try:
        chunks = model.iter_trace(x, batch_size=32, threads=1)
        kept = next(chunks).directions[0].hidden_state
        before = kept.copy()
        places = {chunk.directions[0].hidden_state.ctypes.data for chunk in chunks}
    finally:
        gc.enable()
    np.testing.assert_array_equal(kept, before)
    assert len(places) == 2  # one chunk is still held while the next is computed
    assert kept.ctypes.data not in places


@needs_compiler
def test_compiled_steps_are_the_same_for_any_number_of_samples_and_any_cut_in_time():
    rng = np.random.default_rng(0)
    weights = {"lstm": lstm_weights(rng, 1, 9, scale=0.5)}  # one feature: its product rounds once, whatever the BLAS
    config = {"units": 9, "return_sequences": True}
    x = rng.normal(size=(6, 10, 1)).astype(np.float32)
    plain = chain([("LSTM", "lstm", config)], weights, input_shape=(None, None, 1))
    whole = plain.trace(x, kernel="compiled")["lstm"].cell_state
    np.testing.assert_array_equal(plain.trace(x, kernel="compiled", batch_size=1)["lstm"].cell_state, whole)
    stateful = chain([("LSTM", "lstm", {**config, "stateful": True})], weights, input_shape=(6, None, 1))
    halves = stateful.trace(np.concatenate([x[:, :5], x[:, 5:]]), kernel="compiled")["lstm"].cell_state
    np.testing.assert_array_equal(np.concatenate([halves[:6], halves[6:]], axis=1), whole)


def test_auto_compiles_where_it_pays(monkeypatch):
    monkeypatch.setattr(compiled, "is_installed", lambda: True)
    monkeypatch.setattr(compiled, "fault", lambda: None)
    assert not Kernel("auto").compiles(999)
    assert Kernel("auto").compiles(1000)
    assert Kernel("auto", required=True).compiles(1000)
    assert not Kernel("auto", required=True).compiles(999)
    assert Kernel("auto", timesteps=20_000).compiles(100)  # of a slab
    assert not Kernel("numpy").compiles(1000)
    monkeypatch.setattr(compiled, "fault", lambda: "Numba needs NumPy 2.5 or less")
    assert not Kernel("auto").compiles(1000)
    monkeypatch.setattr(compiled, "is_installed", lambda: False)
    assert not Kernel("auto").compiles(1000)


def test_a_kernel_that_is_not_there_is_refused(monkeypatch):
    with pytest.raises(InputError, match="unknown kernel 'fast'; choose auto, numpy, compiled"):
        choose("fast")
    monkeypatch.setattr(compiled, "is_installed", lambda: True)
    monkeypatch.setattr(compiled, "fault", lambda: "Numba needs NumPy 2.5 or less")
    with pytest.raises(InputError, match=r"numba does not load: Numba needs NumPy 2.5 or less; install another"):
        choose("compiled")
    monkeypatch.setattr(compiled, "is_installed", lambda: False)
    with pytest.raises(MissingExtra, match="numba is not installed; run: pip install 'gateprobe\\[fast\\]'"):
        choose("compiled")
    assert (choose("numpy"), choose("auto", 5)) == (Kernel("numpy"), Kernel("auto", 5))


LONG_RUN = """
import sys, numpy
from graphs import chain, lstm_weights
model = chain([("LSTM", "lstm", {"units": 4})], {"lstm": lstm_weights(numpy.random.default_rng(0), 3, 4)})
model.trace(numpy.zeros((1, 100_000, 3)))
"""


def test_a_numba_that_does_not_load_is_not_used(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs an older NumPy')", encoding="utf-8")
    path = ":".join([str(tmp_path), *sys.path])
    subprocess.run([sys.executable, "-c", LONG_RUN], check=True, env={"PYTHONPATH": path})


@needs_compiler
def test_compiled_code_need_not_find_a_folder():
    code = LONG_RUN + 'assert "gateprobe.layers.recurrent.kernels.lstm_loop" in sys.modules'
    blocked = {"NUMBA_CACHE_DIR": "/proc/none", "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path), **blocked})


def test_a_short_run_does_not_load_the_compiler():
    code = """
import sys, numpy
from graphs import chain, lstm_weights
model = chain([("LSTM", "lstm", {"units": 4})], {"lstm": lstm_weights(numpy.random.default_rng(0), 3, 4)})
model.trace(numpy.zeros((2, 5, 3)))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_another_machine_repeats_a_choice(monkeypatch):
    monkeypatch.setattr(compiled, "is_available", lambda: False)
    monkeypatch.setattr(compiled, "is_installed", lambda: False)
    assert Kernel("auto").chosen() == Kernel("numpy")
    elsewhere = Kernel("auto", required=True)
    assert not elsewhere.compiles(1)
    with pytest.raises(MissingExtra, match="fast"):
        elsewhere.compiles(1000)
    monkeypatch.setattr(compiled, "is_available", lambda: True)
    assert Kernel("auto").chosen() == elsewhere
    assert Kernel("compiled").chosen() == Kernel("compiled")


def test_parts_of_a_run_are_the_whole():
    rng = np.random.default_rng(5)
    model = model_of(rng, features=5, units=37)
    x = rng.normal(size=(83, 9, 5)).astype(np.float32)  # the last part has three samples of a batch of 16
    whole = model.trace(x, batch_size=16).directions[0].signals
    tracing = opened(model).tracing(x, batch_size=16)
    parts = [chunk for start in range(0, 83, 32) for chunk in tracing.chunks(slice(start, start + 32))]
    assert [len(chunk.samples) for chunk in parts] == [16, 16, 16, 16, 16, 3]
    for name, value in whole.items():
        np.testing.assert_array_equal(np.concatenate([part.directions[0].signals[name] for part in parts]), value)
