"""How the filling of a folder speeds up with workers: ``python benchmarks/folders.py [--rounds 5]``.

4,000 sequences x 100 timesteps, an LSTM of 128 units on 64 features, all six signals: 1.2 GB of numbers in 21 parts.
Each round runs every case once, since a machine's speed drifts; the medians of wall-clock times count.

Needs: pip install -e '.[dask,zarr]' tensorflow-cpu keras; 2 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import QUIET, THREADS, describe, table

CASES = {
    f"{name}, {workers}": ("-o", name, *arguments)
    for name in ("traces/", "traces.zarr")
    for workers, arguments in {
        "alone": (),
        "1 worker": ("--workers", "1"),
        "2 workers": ("--workers", "2"),
    }.items()
}


def prepare(folder: Path) -> None:
    """Make the model and its input."""
    os.environ.update(QUIET)
    import keras
    import numpy as np

    lstm = keras.layers.LSTM(128, return_sequences=True)
    keras.Sequential([keras.Input((100, 64)), lstm]).save(folder / "m.keras")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(4000, 100, 64)).astype(np.float32))


def fill(arguments: tuple[str, ...], folder: Path) -> float:
    """Run one command and return its seconds."""
    code = "from gateprobe.cli import main; main()"
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, "dump", "m.keras", "x.npy", *arguments], cwd=folder, check=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(folder / arguments[1])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ.update(dict.fromkeys(THREADS, "1"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        times = {case: [] for case in CASES}
        for _ in range(rounds):
            for case, arguments in CASES.items():
                times[case].append(fill(arguments, folder))
    medians = {case: statistics.median(found) for case, found in times.items()}
    rows = [
        (case, f"{one:.1f}", f"{min(times[case]):.1f}", f"{medians[case.split(',')[0] + ', 1 worker'] / one:.2f}")
        for case, one in medians.items()
    ]
    packages = ("gateprobe", "numpy", "polars", "distributed", "zarr")
    print(describe(*packages, cpu_time=False).replace("one core of", "processors:"))
    print(table(("case", "seconds", "fastest", "speed over 1 worker"), rows))


if __name__ == "__main__":
    main()
