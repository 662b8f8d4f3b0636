"""Times the replay of an LSTM against other ways to run it, on one core; prints the tables of docs/performance.md.

    python benchmarks/speed.py

All contenders run in this process, in turns: in each round every one of them runs once to warm the caches and then a
few times on the clock. Shown are medians over the rounds; ratios are medians of the ratios inside each round.

Needs: pip install -e '.[fast]' tensorflow-cpu keras torch onnxruntime onnx
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SIZES = ((1, 200, 128, 128), (32, 100, 64, 128), (64, 100, 128, 256), (256, 50, 128, 512), (1, 1000, 32, 32))
"""Samples, timesteps, features, units."""
OURS = ("gateprobe", "gateprobe[fast]")
TURN = 0.02
"""Seconds that a contender is on the clock in each round, at least once."""

Times = Mapping[str, Sequence[float]]
"""Seconds of each round, by contender."""


def measure(size: tuple[int, ...], names: Sequence[str], rounds: int, clock: Callable[[], float]) -> Times:
    from contenders import CONTENDERS, make_case

    case = make_case(*size)
    runs = {name: CONTENDERS[name](case) for name in names}
    check_outputs({name: run() for name, run in runs.items()})
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            times[name].append(turn(runs[name], clock))
    return times


def check_outputs(outputs: Mapping[str, object]) -> None:
    """Compare the hidden states; gateprobe's are those of its last batch."""
    import numpy as np

    known = {name: np.asarray(output) for name, output in outputs.items() if output is not None}
    last = min(map(len, known.values()))
    expected = known["NumPy, gate by gate"][-last:]
    for name, output in known.items():
        if not np.allclose(output[-last:], expected, rtol=0, atol=1e-5):
            sys.exit(f"{name} computes something else")


def turn(run: Callable[[], object], clock: Callable[[], float]) -> float:
    run()
    begin, count = clock(), 0
    while count == 0 or clock() - begin < TURN:
        run()
        count += 1
    return (clock() - begin) / count


def compare(results: Mapping[tuple[int, ...], Times], names: Sequence[str], ours: str) -> str:
    """Return a table of milliseconds, and how many times ours."""
    from machine import table

    others = [name for name in names if name not in OURS]
    rows = [[name, *(cell(times, name, ours) for times in results.values())] for name in (ours, *others)]
    return table(["milliseconds (times ours)", *("×".join(map(str, size)) for size in results)], rows)


def cell(times: Times, name: str, ours: str) -> str:
    value = 1000 * statistics.median(times[name])
    shown = f"{value:.2f}" if value < 100 else f"{value:.0f}"
    if name == ours:
        return f"**{shown}**"
    return f"{shown} ({statistics.median(a / b for a, b in zip(times[name], times[ours], strict=True)):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the replay of an LSTM against other ways to run it.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine: leave out what others take")
    parser.add_argument("--page", action="store_true", help="put the tables into docs/performance.md too")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from machine import describe, pin, publish

    pin(options.cpu)
    from contenders import CONTENDERS

    clock = time.process_time if options.cpu_time else time.perf_counter
    results = {}
    for size in SIZES:
        results[size] = measure(size, list(CONTENDERS), options.rounds, clock)
        print("×".join(map(str, size)), f"done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    machine = describe("numpy", "numba", "tensorflow-cpu", "keras", "torch", "onnxruntime", cpu_time=options.cpu_time)
    publish("speed", [machine, *(compare(results, list(CONTENDERS), ours) for ours in OURS)], page=options.page)


if __name__ == "__main__":
    main()
