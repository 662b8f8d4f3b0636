"""Check many random models: ``python -m tests.differential.run --count 200 --seed 0 --keras keras3 --out DIR``.

A fresh process checks each hundred, because Keras keeps everything it ever built.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .check import Outcome
from .draw import KERAS3, TF_KERAS

PER_PROCESS = 100


def available(name: str) -> bool:
    """Tell whether the replay knows a layer class, or an operation (``op:Name``)."""
    import gateprobe.layers  # noqa: F401 - registers them all
    from gateprobe.graph import LayerRecord, Namespace
    from gateprobe.layers.binding.registry import kind_of

    namespace = Namespace.OPERATION if name.startswith("op:") else Namespace.LAYER
    return kind_of(LayerRecord("any", name.removeprefix("op:"), {}, namespace)) is not None


def work(family: str, seeds: range, out: Path, *, shrinking: bool) -> None:
    """Check some seeds in this process, writing one line for each."""
    from .build import Kit
    from .check import check
    from .generate import generate
    from .shrink import shrink
    from .spec import classes_of

    kit = Kit(family)
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in seeds:
            spec, lacking = generate(seed, family, available)
            outcome = check(spec, kit, folder)
            line = {
                **vars(outcome),
                "seed": seed,
                "lacking": sorted(lacking),
                "classes": sorted(classes_of(spec)),
                "policy": spec["policy"],
            }
            if not outcome.fine and shrinking and outcome.kind not in seen:
                seen.add(outcome.kind)
                small, last = shrink(spec, outcome, lambda one: check(one, kit, folder))
                line["shrunk"] = last.reason
                (out / f"{family}-{seed}.json").write_text(json.dumps({"outcome": vars(last), "spec": small}, indent=1))
            with (out / f"{family}.jsonl").open("a") as lines:
                lines.write(json.dumps(line) + "\n")


def summary(lines: list[dict[str, Any]]) -> str:
    """Say what was found, in words."""
    verdicts = Counter(line["verdict"] for line in lines)
    formats = Counter(
        f"{suffix} {text.partition(':')[0]}" for line in lines for suffix, text in line["formats"].items()
    )
    skipped = Counter(line["reason"][:100] for line in lines if line["verdict"] == "skipped")
    classes = Counter(name for line in lines if line["verdict"] == "agrees" for name in line["classes"])
    lacking = sorted({name for line in lines for name in line["lacking"]})
    text = [f"{len(lines)} models: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())]
    text += ["files: " + ", ".join(f"{name} {count}" for name, count in sorted(formats.items()))]
    text += [f"signals compared: {sum(line['signals'] for line in lines)}"]
    text += [f"seconds: {sum(line['seconds'] for line in lines):.0f}"]
    text += ["classes replayed: " + ", ".join(f"{name} {count}" for name, count in classes.most_common())]
    text += [f"not known to the replay: {', '.join(lacking) or 'none'}"]
    for line in lines:
        if line["verdict"] not in ("agrees", "skipped", "declined"):
            text.append(f"  {line['seed']} {line['verdict']}: {line.get('shrunk', line['reason'])[:300]}")
    text += [f"  skipped {count}: {reason}" for reason, count in skipped.most_common(15)]
    return "\n".join(text)


def _in_own_processes(options: argparse.Namespace, log: Path, seeds: range) -> None:
    """Check seeds in a process, and those after a model that brought TensorFlow down in the next."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "0"}
    while seeds:
        command = [sys.executable, "-m", __package__ + ".run", "--worker", "--keras", options.keras]
        command += ["--seed", str(seeds.start), "--count", str(len(seeds)), "--out", str(options.out)]
        command += ["--no-shrink"] if options.no_shrink else []
        done = subprocess.run(command, env=quiet, stderr=subprocess.PIPE, text=True, check=False)
        if not done.returncode:
            return
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        broken = next(seed for seed in seeds if seed not in {line["seed"] for line in lines})
        reason = f"the process ended with {done.returncode}: {done.stderr[-300:]}"
        verdict = "skipped" if done.returncode < 0 else "crash"  # a signal: the replay is plain NumPy, Keras is not
        line = {**vars(Outcome(verdict, reason)), "seed": broken, "lacking": [], "classes": [], "policy": ""}
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        seeds = range(broken + 1, seeds.stop)


def _again_without_onednn(options: argparse.Namespace, log: Path) -> None:
    """Ask TensorFlow again, without oneDNN, where it disagrees: one of its convolutions is wrong.

    With strides of (1, 2), no padding and as many columns as the kernel has, TensorFlow 2.21 with oneDNN computes
    something else for two samples than for each of them.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    plain = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    for line in lines:
        if line["verdict"] != "differs":
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", __package__ + ".run", "--worker", "--no-shrink", "--keras", options.keras]
            command += ["--seed", str(line["seed"]), "--count", "1", "--out", folder]
            subprocess.run(command, env=plain, stderr=subprocess.DEVNULL, check=True)
            again = json.loads(Path(folder, log.name).read_text())
        if again["verdict"] == "agrees":
            line.update(verdict="skipped", reason="TensorFlow computes something else with oneDNN than without it")
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--keras", choices=[KERAS3, TF_KERAS], default=KERAS3)
    parser.add_argument("--out", type=Path, default=Path("differential"))
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker:
        seeds = range(options.seed, options.seed + options.count)
        work(options.keras, seeds, options.out, shrinking=not options.no_shrink)
        return
    log = options.out / f"{options.keras}.jsonl"
    log.unlink(missing_ok=True)
    start = time.perf_counter()
    for first in range(options.seed, options.seed + options.count, PER_PROCESS):
        _in_own_processes(options, log, range(first, min(first + PER_PROCESS, options.seed + options.count)))
    _again_without_onednn(options, log)
    text = summary([json.loads(line) for line in log.read_text().splitlines()])
    text += f"\nwall clock: {time.perf_counter() - start:.0f} s"
    (options.out / f"{options.keras}.txt").write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
