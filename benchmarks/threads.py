"""Times whole runs as users start them, on default threads, idle and beside a busy process: for docs/performance.md.

    python benchmarks/threads.py

Nothing is pinned. gateprobe runs on one thread, on two and on as many as it takes by itself, Keras on its own threads;
they take turns in this process. Shown are medians; ratios are medians of the ratios inside each round.

Needs: pip install -e '.[fast]' tensorflow-cpu keras
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SIZES = (
    (1, 200, 128, 128),
    (1, 1000, 32, 32),
    (512, 50, 32, 32),
    (512, 100, 64, 128),
    (512, 50, 128, 256),
    (256, 100, 64, 512),
)
"""Samples, timesteps, features, units; batches have 32 samples."""
OURS = {"gateprobe --threads 1": 1, "gateprobe --threads 2": 2, "gateprobe": None}
KERAS = "Keras predict"
BUSY = "while True: pass"


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Run busy processes meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def contenders(size: tuple[int, ...]) -> Mapping[str, Callable[[], object]]:
    from contenders import keras_predict, make_case, run_on_threads

    case = make_case(*size)
    ours = {name: run_on_threads(case, threads) for name, threads in OURS.items()}
    return {**ours, KERAS: keras_predict(case, whole=True)}


def measure(runs: Mapping[str, Callable[[], object]], rounds: int) -> Mapping[str, Sequence[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name in [*runs, *list(runs) * rounds]:  # the first round warms up
        begin = time.perf_counter()
        runs[name]()
        times[name].append(time.perf_counter() - begin)
    return {name: found[1:] for name, found in times.items()}


def row(size: tuple[int, ...], times: Mapping[str, Sequence[float]]) -> list[str]:
    def ratio(slow: str, fast: str) -> str:
        return f"{statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True)):.2f}"

    one, two, default = OURS
    shown = [f"{1000 * statistics.median(times[name]):.1f}" for name in times]
    return ["×".join(map(str, size)), *shown, ratio(one, two), ratio(KERAS, default)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time whole runs on default threads, idle and beside a busy process.")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--busy", type=int, default=1, help="how many busy processes")
    parser.add_argument("--page", action="store_true", help="put the tables into docs/performance.md too")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"})
    from machine import describe, publish, table

    texts = [describe("numpy", "tensorflow-cpu", "keras", cpu_time=False).replace("one core of", "processors:")]
    runs = {size: contenders(size) for size in SIZES}
    for name, count in (("idle", 0), (f"{options.busy} busy process beside", options.busy)):
        with neighbours(count):
            rows = [row(size, measure(run, options.rounds)) for size, run in runs.items()]
        head = [f"milliseconds, {name}", *OURS, KERAS, "2 threads against 1", "gateprobe against Keras"]
        texts.append(table(head, rows))
        print(name, f"done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    publish("threads", texts, page=options.page)


if __name__ == "__main__":
    main()
