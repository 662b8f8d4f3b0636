"""One thread for each process of the tests, TensorFlow once for all of them, and neighbours in one process.

``pytest -n auto`` runs the tests in several processes. Those that ask the real Keras stay together in one of them, and
the others go there file by file, or in parts of a long file: they share what their file makes once.
"""

import importlib.util
import os
import sys
import warnings

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
os.environ.update({name: "1" for name in THREADS if name not in os.environ})  # before NumPy is imported

for _name in ("COLUMNS", "LINES"):  # readline, which pytest imports, sets them for processes that it starts
    os.environ.pop(_name, None)
    os.unsetenv(_name)

# the tests start the program some hundred times: it shall be compiled once
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from xdist.scheduler import LoadGroupScheduling  # noqa: E402

settings.register_profile(  # no test asserts a time, and a fixture may serve many examples
    "no times", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("no times")

KERASES = ("tensorflow", "tf_keras", "keras")


MOST = 48
"""Tests that go to a process at once."""


class Neighbours(LoadGroupScheduling):
    """Hands out groups first, and then parts of files: smaller ones towards the end, so that all end together.

    xdist itself hands out one test at a time. Then every process makes what a file shares, and the one that hands them
    out is as busy as they are.
    """

    parts = None

    def _split_scope(self, nodeid):
        if self.parts is None:
            tests = next(iter(self.registered_collections.values()))
            self.parts = parts(tests, super()._split_scope, len(self.nodes))
        return self.parts[nodeid]


def parts(tests, group_of, processes):
    """Return the part of each test: its group, or its file with the number of the first test."""
    found, file, room, name = {}, None, 0, ""
    for number, test in enumerate(tests):
        if (group := group_of(test)) != test:
            found[test] = group
            continue
        here = test.partition("::")[0]
        if here != file or not room:
            file, room = here, min(MOST, 1 + (len(tests) - number) // (32 * processes))
            name = f"{file}:{number}"
        room -= 1
        found[test] = name
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Neighbours(config, log)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.option.loadscopereorder = False  # the order is that of the next function


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items, config):
    missing = [name for name in KERASES if importlib.util.find_spec(name) is None]
    for item in items:
        if item.get_closest_marker("oracle"):
            item.add_marker(pytest.mark.skipif(bool(missing), reason="needs the extra keras"))
            if not item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.xdist_group("tensorflow"))
    if hasattr(config, "workerinput"):
        items[:] = ordered(items, config.workerinput["workercount"])


def ordered(items, processes):
    """Return the tests in the order in which they are handed out.

    Groups take longest, and no process shall begin one when the others are done. But each file that is read is tried
    out in a fork first, and a process that holds TensorFlow forks ten times as slowly: of two processes, one asks the
    real Keras when half of the other tests are done, and has little else to do afterwards. More than two have less.
    """
    keras = [item for item in items if item.get_closest_marker("oracle") and not item.get_closest_marker("slow")]
    asked = set(keras)
    rest = [item for item in items if item not in asked]
    rest.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
    before = len(rest) // 2 if processes <= 2 else 0
    return [*rest[:before], *keras, *rest[before:]]


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
