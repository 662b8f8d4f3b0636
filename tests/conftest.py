"""One thread for each process of the tests, and TensorFlow once for all of them.

``pytest -n auto`` runs the tests in several processes. Those that ask the real Keras stay together in one of them.
"""

import importlib.util
import os
import warnings

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
os.environ.update({name: "1" for name in THREADS if name not in os.environ})  # before NumPy is imported

for _name in ("COLUMNS", "LINES"):  # readline, which pytest imports, sets them for processes that it starts
    os.environ.pop(_name, None)
    os.unsetenv(_name)

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(  # no test asserts a time, and a fixture may serve many examples
    "no times", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("no times")

KERASES = ("tensorflow", "tf_keras", "keras")


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items):
    missing = [name for name in KERASES if importlib.util.find_spec(name) is None]
    for item in items:
        if item.get_closest_marker("oracle"):
            item.add_marker(pytest.mark.skipif(bool(missing), reason="needs the extra keras"))
            if not item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.xdist_group("tensorflow"))


@pytest.fixture(scope="session")
def kerases():
    """Both libraries, imported."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
        import tf_keras
    return {"tf_keras": tf_keras, "keras3": keras}


@pytest.fixture
def in_process(kerases, monkeypatch):
    """Let `verify` run the oracle in this process."""
    from gateprobe.verification import job, oracle

    def run(folder, backend, tell):
        with warnings.catch_warnings():
            oracle.main(folder)

    monkeypatch.setattr(job, "_run", run)
    monkeypatch.setattr(oracle, "_tell", lambda text: None)
    return kerases
