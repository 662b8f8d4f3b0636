"""Peak memory depends on the model, not on how many samples there are or how long they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateprobe.writers import trace_formats

SUFFIXES = [kind.name for kind in trace_formats()]
FEATURES = 2
CHILD = """
import sys
import numpy as np
from graphs import chain, lstm_weights
from gateprobe.model import opened
from gateprobe.inputs.samples import load
from gateprobe.writers import Output, write

source, units, *outputs = sys.argv[1:]
weights = {"lstm": lstm_weights(np.random.default_rng(0), 2, int(units))}
model = chain([("LSTM", "lstm", {"units": int(units)})], weights, input_shape=(None, None, 2))
samples = load([source], model.inputs)
chunks = model.iter_trace(samples, kernel="numpy")
write(chunks, [Output(name) for name in outputs], opened(model).metadata(samples))
assert samples.first_nan() is None
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Compiling takes the same memory in every run, but only long runs compile. `ru_maxrss` would begin with the peak of
the parent process."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def peak(folder, shape, units, suffixes):
    """Return the peak memory of a process that dumps an input of this shape in these formats, in MiB."""
    folder.mkdir()
    source = folder / "x.npy"
    x = np.lib.format.open_memmap(source, "w+", np.float32, (*shape, FEATURES))
    x[...] = np.random.default_rng(1).standard_normal((*shape, FEATURES), np.float32)
    x.flush()
    outputs = [str(folder / f"trace.{suffix}") for suffix in suffixes]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(source), str(units), *outputs],
        capture_output=True,
        env={"PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parent}", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    for path in folder.iterdir():
        path.unlink()
    return int(done.stdout) / 1024


def assert_bounded(folder, small, large, units, suffixes, limit=1.1):
    first, second = peak(folder / "small", small, units, suffixes), peak(folder / "large", large, units, suffixes)
    assert second < limit * first, f"{first:.0f} MiB for {small}, {second:.0f} MiB for {large}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "large"), [((500, 20), (10_000, 20)), ((1, 20_000), (1, 200_000))], ids=["samples", "timesteps"]
)
def test_memory_does_not_grow_with_the_input(tmp_path, small, large):
    """Held to the end, the signals of the large input alone would be a third of the peak."""
    assert_bounded(tmp_path, small, large, 8, ["csv", "parquet", "arrow", "npz", "h5"], limit=1.2)


@pytest.mark.benchmark
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_64000_samples(tmp_path, suffix):
    assert_bounded(tmp_path, (640, 20), (64_000, 20), 16, [suffix])


@pytest.mark.benchmark
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_million_timesteps(tmp_path, suffix):
    assert_bounded(tmp_path, (1, 50_000), (1, 1_000_000), 4, [suffix])
