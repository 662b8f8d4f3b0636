"""Verify every recorded model beside the project and print a table: file, oracle, worst difference, ulp.

    python tests/verify/corpus.py [--only REGEX] [--against keras3|tf_keras] [--seed N]

The oracle runs in this process, so that TensorFlow is imported once.
"""

import argparse
import json
import os
import re
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import gateprobe
from gateprobe.errors import GateprobeError
from gateprobe.model import opened
from gateprobe.verification import job, oracle
from gateprobe.verification.run import Made, verify

SHARED = Path(__file__).parents[3] / "shared"
CANNOT = (
    "tfkeras_2.4.0/peephole",  # tf_keras 2.21 has no such cell
    "tfa_0.20_tf2.12/basic_decoder",  # nor the decoder of TensorFlow Addons
)
"""Files whose Keras cannot be asked any more; their recorded gates are compared in ``test_goldens``."""


@dataclass(frozen=True)
class Row:
    name: str
    verdict: str
    """``agrees``, ``disagrees``, ``random``; ``-`` not replayable, ``?`` Keras could not be asked, ``!`` a crash."""
    oracle: str = ""
    detail: str = ""

    def __str__(self):
        return f"{self.verdict:9}  {self.name:75}  {self.oracle:22}  {self.detail}"


def files():
    """Yield name, model file and architecture of every recorded model."""
    for path in sorted((SHARED / "legacy").rglob("case.json")):
        for entry in json.loads(path.read_text(encoding="utf-8"))["files"]:
            model = path.with_name(entry["name"])
            if model.exists() and model.suffix != ".json":
                arch = path.with_name(entry["arch"]) if entry.get("arch") else None
                yield str(model.relative_to(SHARED / "legacy")), model, arch
    for entry in json.loads((SHARED / "realmodels" / "index.json").read_text(encoding="utf-8")):
        model = SHARED / "realmodels" / "models" / entry["file"]
        arch = entry.get("companion_json")
        yield entry["file"], model, model.with_name(arch) if arch else None


def row(name, path, architecture, *, against=None, seed=0):
    """Verify one file."""
    start = time.monotonic()
    try:
        model = gateprobe.read(path, architecture=architecture)
        opened(model).plan(outputs=True)
    except GateprobeError as refusal:
        return Row(name, "-", detail=" ".join(str(refusal).split())[-120:])
    try:
        result = verify(model, architecture=architecture, against=against, made=Made(seed))
    except GateprobeError as refusal:
        return Row(name, "?", detail=f"{type(refusal).__name__}: {' '.join(str(refusal).split())[-150:]}")
    except Exception as fault:  # noqa: BLE001 - a row of the table, and the others go on
        return Row(name, "!", detail=repr(fault)[:150])
    oracle = f"{result.keras} {'built' if result.built_because else 'file'}"
    gaps = [report.keras_replay for report in result.signals]
    worst, ulp = max(gap.max_abs for gap in gaps), max(gap.max_ulp for gap in gaps)
    detail = f"{worst:8.2g} {ulp:10.3g} ulp  {result.worst.required:6.1%} of allowed  {time.monotonic() - start:4.1f} s"
    why = [*result.problems, *(f"{one.name}: {one.text}" for one in result.explanations), *result.notes]
    return Row(name, result.status.value, oracle, "; ".join([detail, *why])[:400])


def run_here():
    """Let `verify` run the oracle in this process."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    job._run = lambda folder, backend, tell: oracle.main(folder)
    oracle._tell = lambda text: None
    warnings.simplefilter("ignore")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--against")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    run_here()
    counts = {}
    for name, path, architecture in files():
        if re.search(given.only, name):
            found = row(name, path, architecture, against=given.against, seed=given.seed)
            counts[found.verdict] = counts.get(found.verdict, 0) + 1
            sys.stdout.write(f"{found}\n")
            sys.stdout.flush()
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    sys.stdout.write(f"{total}\n")
    return 0 if not counts.keys() & {"disagrees", "!"} else 1


if __name__ == "__main__":
    sys.exit(main())
