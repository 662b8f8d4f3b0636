"""Times whole commands, from the shell and back, on one core; prints the tables of docs/performance.md.

    python benchmarks/whole.py

``gateprobe dump`` of 10,000 samples of 50 timesteps through an LSTM of 64 units (32 million rows) takes turns with a
script that loads TensorFlow and computes the gates with Keras; then the commands that should seem immediate.

Needs: pip install -e . tensorflow-cpu keras; 8 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from machine import describe, pin, publish, table

HERE = Path(__file__).parent
FORMATS = ("npz", "h5", "parquet", "csv")
SHAPE, UNITS = (10_000, 50, 16), 64
GATEPROBE = (sys.executable, "-c", "from gateprobe.cli import main; main()")
KERAS = (sys.executable, str(HERE / "keras_gates.py"))
STARTUP = {
    "gateprobe --help": (*GATEPROBE, "--help"),
    "gateprobe inspect": (*GATEPROBE, "inspect", "model.keras"),
    "gateprobe dump, 10 samples, CSV": (*GATEPROBE, "dump", "model.keras", "small.npy", "-o", "out.csv"),
    "python -c 'import keras'": (sys.executable, "-c", "import keras"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    seconds: float
    cpu_seconds: float
    megabytes: float
    """The most that was in memory."""


def run(command: Sequence[str], folder: Path) -> Cost:
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def alternate(commands: Mapping[str, Sequence[str]], folder: Path, rounds: int) -> Mapping[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(run(command, folder))
            for written in folder.glob("out.*"):
                written.unlink()
    return costs


def prepare(folder: Path) -> None:
    """Make the model and the inputs in a process of its own, then run once what is on the clock later."""
    code = f"""
import keras, numpy as np
layer = keras.layers.LSTM({UNITS}, return_sequences=True, name="lstm")
keras.Sequential([keras.Input((None, {SHAPE[2]})), layer]).save("model.keras")
x = np.random.default_rng(0).normal(size={SHAPE}).astype("float32")
np.save("x.npy", x)
np.save("small.npy", x[:10])
"""
    run((sys.executable, "-c", code), folder)
    alternate(STARTUP, folder, rounds=1)


def compare_dumps(folder: Path, formats: Sequence[str], rounds: int, measure: str) -> str:
    rows = []
    for suffix in formats:
        commands = {
            "gateprobe": (*GATEPROBE, "dump", "model.keras", "x.npy", "-o", f"out.{suffix}"),
            "Keras": (*KERAS, "model.keras", "x.npy", f"out.{suffix}"),
        }
        costs = alternate(commands, folder, rounds)
        ours, theirs = ([getattr(cost, measure) for cost in costs[name]] for name in commands)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        rows.append([suffix, *map(_shown, costs.values()), f"{ratio:.1f}"])
    return table(["dump of 32,000,000 rows", "gateprobe", "script with Keras", "times ours"], rows)


def _shown(costs: Sequence[Cost]) -> str:
    seconds, cpu_seconds, megabytes = _medians(costs)
    return f"{seconds:.1f} s ({cpu_seconds:.1f} s of CPU), {megabytes:,.0f} MB"


def _medians(costs: Sequence[Cost]) -> list[float]:
    return [statistics.median(values) for values in zip(*map(astuple, costs), strict=True)]


def time_startup(folder: Path, rounds: int) -> str:
    costs = alternate(STARTUP, folder, rounds)
    rows = [[name, *(f"{seconds:.2f}" for seconds in _medians(costs[name])[:2])] for name in STARTUP]
    return table(["command", "seconds", "of CPU"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time whole commands against a script with Keras.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--format", action="append", choices=FORMATS)
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine: compare the seconds of CPU")
    parser.add_argument("--page", action="store_true", help="put the tables into docs/performance.md too")
    options = parser.parse_args()
    pin(options.cpu)
    texts = [describe("numpy", "polars", "h5py", "tensorflow-cpu", "keras", cpu_time=options.cpu_time)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        measure = "cpu_seconds" if options.cpu_time else "seconds"
        texts += [compare_dumps(folder, options.format or FORMATS, options.rounds, measure)]
        texts += [time_startup(folder, 3 * options.rounds)]
    publish("whole", texts, page=options.page)


if __name__ == "__main__":
    main()
