"""The oracle, run in this process so that TensorFlow is imported once for all tests."""

import importlib.util
import os
import warnings

import pytest

KERASES = ("tensorflow", "tf_keras", "keras")


@pytest.fixture(scope="session")
def kerases():
    """Both libraries, imported."""
    if not all(importlib.util.find_spec(name) for name in KERASES):
        pytest.skip("needs the keras extra")
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
        import tf_keras
    return {"tf_keras": tf_keras, "keras3": keras}


@pytest.fixture
def in_process(kerases, monkeypatch):
    """Let `verify` run the oracle in this process."""
    from gateprobe.verify import job, oracle

    def run(folder, tell):
        with warnings.catch_warnings():
            oracle.main(folder)

    monkeypatch.setattr(job, "_run", run)
    monkeypatch.setattr(oracle, "_tell", lambda text: None)
    return kerases
