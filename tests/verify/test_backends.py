"""`verify` on the backends of Keras 3: which one is asked, what it computes otherwise, and the real ones."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, changed

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import InputError, MissingExtra
from gateprobe.model import opened
from gateprobe.semantics import MaskedOutput
from gateprobe.verification import backends, installed_rules, job
from gateprobe.verification import run as module
from gateprobe.verification.backends import on_backend
from gateprobe.verification.run import verify

SAMPLES = Path(__file__).parents[2] / "sample_models"
NEW, OLD = SAMPLES / "brackets.keras", SAMPLES / "keras2.h5"


@pytest.fixture
def there(monkeypatch):
    """Pretend that some packages are installed and others are not; what would be asked is caught."""
    asked = []

    def pretend(*packages):
        def version(library, extra="keras"):
            if installed_rules.LIBRARIES[library] not in packages:
                raise MissingExtra(installed_rules.LIBRARIES[library], extra)
            return "3.15.1"

        monkeypatch.setattr(backends, "is_installed", lambda name: name in packages)
        monkeypatch.setattr(installed_rules, "installed_version", version)
        return asked

    def ask(question, tell=None):
        asked.append(question)
        raise InputError("asked")

    monkeypatch.setattr(module, "ask", ask)
    return pretend


@pytest.mark.parametrize(
    ("packages", "wanted", "backend"),
    [
        (("keras", "jax"), None, "jax"),
        (("keras", "torch"), None, "torch"),
        (("keras", "tensorflow", "jax", "torch"), None, "tensorflow"),
        (("keras", "tensorflow", "jax", "torch"), "torch", "torch"),
        (("keras", "jax", "torch"), "torch", "torch"),
    ],
)
def test_the_backend_that_is_installed_is_asked(there, packages, wanted, backend):
    asked = there(*packages)
    with pytest.raises(InputError, match="asked"):
        verify(NEW, backend=wanted)
    assert asked[0].backend == backend


def test_what_is_missing_is_named_with_the_command_that_installs_it(there):
    there("keras")
    with pytest.raises(MissingExtra, match=r"pip install 'gateprobe\[keras\]', or 'gateprobe\[keras-jax\]', or 'gatep"):
        verify(NEW)
    for backend, extra in (("jax", "keras-jax"), ("torch", "keras-torch"), ("tensorflow", "keras")):
        with pytest.raises(MissingExtra, match=rf"{backend}.*pip install 'gateprobe\[{extra}\]'"):
            verify(NEW, backend=backend)
        there("keras")
    there("jax")
    with pytest.raises(MissingExtra, match=r"pip install 'gateprobe\[keras-jax\]'"):
        verify(NEW)


def test_a_missing_backend_exits_with_2(there):
    there("keras", "tensorflow")
    found = CliRunner().invoke(main, ["verify", str(NEW), "--backend", "torch"])
    assert found.exit_code == 2
    assert found.stderr.strip().endswith("run: pip install 'gateprobe[keras-torch]'")


def test_old_files_need_tensorflow_and_say_so(there):
    asked = there("keras", "tf-keras", "tensorflow", "jax")
    with pytest.raises(InputError, match=r"tf_keras, .* TensorFlow alone, not on jax; give against='?keras3"):
        verify(OLD, backend="jax")
    found = CliRunner().invoke(main, ["verify", str(OLD), "--backend", "jax"])
    assert found.exit_code == 2
    assert "--against keras3" in found.stderr
    with pytest.raises(InputError, match="asked"):
        verify(OLD, backend="jax", against="keras3")
    assert asked[0].backend == "jax"
    with pytest.raises(InputError, match="unknown backend 'theano'"):
        verify(NEW, backend="theano")


def test_the_process_gets_the_backend_and_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    seen = {}
    monkeypatch.setattr(job.subprocess, "Popen", lambda *_, env, **__: seen.update(env))
    job._started(["x"], tmp_path, "jax", None)
    assert (seen["KERAS_BACKEND"], seen["CUDA_VISIBLE_DEVICES"], seen["JAX_PLATFORMS"]) == ("jax", "-1", "cpu")


def masked_lstm(**config):
    rng = np.random.default_rng(5)
    weights = [rng.normal(0, 0.6, shape).astype(np.float32) for shape in ((2, 8), (2, 8), (8,))]
    layers = [("Masking", "mask", {}), ("LSTM", "lstm", {"units": 2, "return_sequences": True, **config})]
    return chain(layers, {"lstm": weights}, input_shape=(None, 4, 2))


def on(model, backend):
    return changed(model, semantics=on_backend(opened(model).semantics, backend))


def test_jax_returns_the_carried_state_where_others_return_their_last_output():
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[:, [0, 2]] = 0.0
    h, c = (np.full((1, 2), value, np.float32) for value in (0.5, 0.25))
    feeds = {"lstm.initial_state[0]": h, "lstm.initial_state[1]": c}
    made = {}
    for backend in ("tensorflow", "jax", "torch"):
        model = on(masked_lstm(), backend)
        semantics = replace(opened(model).semantics, states_hide_mask=False)
        made[backend] = next(iter(changed(model, semantics=semantics).predict(x, feeds=feeds).values()))
    np.testing.assert_array_equal(made["tensorflow"][0, 0], [0, 0])
    np.testing.assert_array_equal(made["torch"], made["tensorflow"])
    np.testing.assert_array_equal(made["jax"][0, 0], h[0])
    np.testing.assert_array_equal(made["jax"][0, 2], made["jax"][0, 1])
    np.testing.assert_array_equal(made["jax"][:, 1:], made["tensorflow"][:, 1:])


def test_an_unrolled_layer_heeds_zero_output_for_mask_but_not_on_jax():
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[:, 2] = 0.0
    for unroll in (False, True):
        model = masked_lstm(unroll=unroll, zero_output_for_mask=True)
        tensorflow, jax = (next(iter(on(model, name).predict(x).values())) for name in ("tensorflow", "jax"))
        assert not tensorflow[0, 2].any()
        assert jax[0, 2].any() == unroll


def test_rules_of_a_backend_are_those_of_semantics():
    own = opened(gateprobe.read(NEW)).semantics
    assert on_backend(own, "tensorflow") == own
    assert on_backend(own, "jax").masked_output is MaskedOutput.LAST_STATE
    assert on_backend(own, "torch") == replace(own, bias_goes_astray=False)


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_real_backend_agrees(backend, tmp_path):
    """``nox -s backends`` installs both."""
    assert importlib.util.find_spec(backend), f"{backend} is not installed: nox -s backends"
    program = f"""
        import keras, numpy as np
        keras.utils.set_random_seed(3)
        x = keras.Input((5, 2)); h = keras.Input((3,)); c = keras.Input((3,))
        y = keras.layers.Masking()(x)
        both = keras.layers.Bidirectional(keras.layers.GRU(2, return_sequences=True))(y)
        every = keras.layers.LSTM(3, return_sequences=True)(both, initial_state=[h, c], mask=keras.ops.any(x != 0, -1))
        y = keras.layers.LSTM(3, recurrent_activation="hard_sigmoid", go_backwards=True)(every)
        model = keras.Model([x, h, c], [keras.layers.Dense(2)(y), every])  # masked timesteps show in the second
        rng = np.random.default_rng(1)
        model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
        model.save({str(tmp_path / "model.keras")!r})
    """
    import subprocess
    import sys
    import textwrap

    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, env=environment)
    x = np.random.default_rng(2).normal(size=(3, 5, 2)).astype(np.float32)
    x[0, :2], x[1, 3:], x[2, [0, 2]] = 0, 0, 0
    states = [np.random.default_rng(n).normal(size=(3, 3)).astype(np.float32) for n in (4, 5)]
    result = verify(tmp_path / "model.keras", [x, *states], backend=backend)
    assert result, result
    assert result.backend.startswith(backend)
    assert result.built_because is None
    assert any("masked_output" in note for note in result.notes) is (backend == "jax")
    for name in ("brackets.keras", "tokens.keras", "translate.keras"):
        found = CliRunner().invoke(main, ["verify", str(SAMPLES / name), "--backend", backend, "--json"])
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["backend"].startswith(backend)
