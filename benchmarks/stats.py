"""Times `gateprobe stats` against the replay alone, on one core, and looks at its memory; prints a table.

    python benchmarks/stats.py

20,000 sequences of 60 timesteps go through two Bidirectional LSTMs of 64 units, and through the replay without anything
else; the two take turns in this process. Ratios are those inside each round, shown is their median. The memory is that
of a process of its own, for a quarter of the sequences and for all of them.

Needs: pip install -e '.[fast]' tensorflow-cpu keras
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import describe, pin, publish, table

TIMESTEPS, FEATURES, UNITS = 60, 32, 64


def prepare(folder: Path, samples: int) -> None:
    code = f"""
import keras, numpy as np
layers = [keras.layers.Bidirectional(keras.layers.LSTM({UNITS}, return_sequences=True)) for _ in range(2)]
keras.Sequential([keras.Input((None, {FEATURES})), *layers]).save("model.keras")
np.save("x.npy", np.random.default_rng(0).normal(size=({samples}, {TIMESTEPS}, {FEATURES})).astype("float32"))
"""
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, stderr=subprocess.DEVNULL)


def contenders(folder: Path, *, compiled: bool) -> dict[str, Callable[[], object]]:
    import numpy as np

    import gateprobe
    from gateprobe.analysis import statistics as looking

    if not compiled:
        looking.LONG = sys.maxsize
    model, x = gateprobe.read(folder / "model.keras"), np.load(folder / "x.npy", mmap_mode="r")

    def replay() -> None:
        for _ in model.iter_trace(x, threads=1):
            pass

    return {"replay alone": replay, "stats": lambda: model.stats(x, threads=1).to_polars()}


def measure(runs: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=number % 2 == 1):
            begin = clock()
            runs[name]()
            times[name].append(clock() - begin)
        print(f"round {number + 1} done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return times


def megabytes(folder: Path, samples: int) -> float:
    """Return the most that a run of some samples had in memory."""
    code = f"""
import gateprobe, numpy as np
x = np.load("x.npy", mmap_mode="r")[:{samples}]
gateprobe.read("model.keras").stats(x, threads=1).to_polars()
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the run for its memory failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Time stats against the replay alone.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine: leave out what others take")
    parser.add_argument("--numpy", action="store_true", help="without Numba")
    parser.add_argument("--page", action="store_true", help="put the table into docs/performance.md too")
    options = parser.parse_args()
    pin(options.cpu)
    clock = time.process_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.samples)
        times = measure(contenders(folder, compiled=not options.numpy), options.rounds, clock)
        sizes = [megabytes(folder, size) for size in (options.samples // 4, options.samples)]
    ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    rows = [[name, f"{statistics.median(found):.1f}"] for name, found in times.items()]
    rows += [["stats / replay", f"{ratio:.2f}"]]
    rows += [
        [f"MB for {size:,} sequences", f"{found:,.0f}"]
        for size, found in zip((options.samples // 4, options.samples), sizes, strict=True)
    ]
    machine = describe("numpy", "numba", cpu_time=options.cpu_time)
    publish(
        "stats", [machine, table(["stats of two Bidirectional LSTMs of 64 units", "seconds"], rows)], page=options.page
    )


if __name__ == "__main__":
    main()
