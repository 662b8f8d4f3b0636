"""Migrate every recorded Keras 1 and 2 model beside the project, let Keras 3 open the new files, and print a table.

    python tests/migration/corpus.py [--only REGEX]

Every model is written as ``.keras`` and as ``.h5``. A process that has never heard of gateprobe opens them without
custom objects and runs them on the recorded inputs; batches of stateful models in their order. What it computes is
compared with what the old Keras recorded: file, form, verdict, largest difference against the largest number.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gateprobe
from gateprobe.errors import GateprobeError
from gateprobe.graph import Era
from gateprobe.migration.run import migrate
from gateprobe.model import opened

HERE = Path(__file__).absolute().parent
sys.path.insert(0, str(HERE.parent))
from verify.corpus import SHARED, files  # noqa: E402

FORMS = ("keras", "h5")
CLOSE = 1e-5
"""What two programs may be apart in float32, against the largest number; most are within a tenth of it."""


@dataclass(frozen=True)
class Row:
    name: str
    verdict: str
    """``agrees``, ``differs``, ``refused``: by `migrate`; ``cannot open``: Keras 3; ``-``: not fully replayable."""
    detail: str = ""
    form: str = ""

    def __str__(self):
        return f"{self.verdict:11}  {self.name:75}  {self.form:5}  {self.detail}"


@dataclass(frozen=True, eq=False)
class Recorded:
    """Batches in their order: inputs and outputs, each in the model's order."""

    batches: list
    by: str


def of_era(path, name, architecture):
    """Return an old model that can be replayed in full, or why there is none."""
    try:
        model = gateprobe.read(path, architecture=architecture)
        graph = opened(model).graph
        if graph.origin.era is Era.KERAS3:
            return None, None
        if graph.model is None:
            return None, Row(name, "-", "holds weights alone")
        opened(model).plan(outputs=True)
    except GateprobeError as refusal:
        return None, Row(name, "-", " ".join(str(refusal).split())[-150:])
    return model, None


def recorded(path, model):
    """Return what the old Keras computed, or, where nothing was recorded, what the replay computes."""
    case = path.with_name("case.npz")
    arrays = dict(np.load(case if case.exists() else _golden(path))) if case.exists() or _golden(path) else None
    if arrays is None:
        return _replayed(model)
    letters = ("input_", "output_") if case.exists() else ("x", "y")
    suffixes = sorted({key.partition("__")[2] for key in arrays if key.startswith(letters[0])})
    found = []
    for suffix in suffixes:
        ending = f"__{suffix}" if suffix else ""
        found.append([_numbered(arrays, letter, ending) for letter in letters])
    return Recorded(found, "recorded")


def _golden(path):
    name = str(path.relative_to(SHARED / "realmodels" / "models")).replace("/", "__")
    for kind in ("tfk", "tfkfix", "k3fix"):
        found = SHARED / "realmodels" / "golden" / f"{name}.{kind}.npz"
        if found.exists():
            return found
    return None


def _numbered(arrays, letter, ending):
    found = {}
    for key, value in arrays.items():
        match = re.fullmatch(rf"{letter}(\d+){ending}", key)
        if match:
            found[int(match[1])] = value
    return [found[number] for number in sorted(found)]


def _replayed(model):
    from gateprobe.verification.inputs import generate

    made = next(iter(generate(opened(model).record, opened(model).inputs, seed=0, samples=2, batch=None)))
    inputs = [made.arrays[spec.name] for spec in opened(model).inputs]
    return Recorded([[inputs, list(model.predict(inputs).values())]], "replayed")


def written(folder, only=""):
    """Migrate every model into a folder; return rows for those that are not, and a job for each file."""
    rows, jobs = [], []
    for name, path, architecture in files():
        if not re.search(only, name):
            continue
        model, row = of_era(path, name, architecture)
        if model is None:
            rows += [] if row is None else [row]
            continue
        try:
            known = recorded(path, model)
            migration = migrate(model, known.batches[0][0] if len(known.batches) == 1 else None)
        except GateprobeError as refusal:
            rows.append(Row(name, "refused", " ".join(str(refusal).split())))
            continue
        if not migration:
            rows.append(Row(name, "refused", "; ".join(one.message(str) for one in migration.refusals)))
            continue
        for form in FORMS:
            number = len(jobs)
            target = folder / f"{number}.{form}"
            migration.write(target)
            keys = []
            arrays = {}
            for n, (inputs, _) in enumerate(known.batches):
                keys.append([f"x{n}_{k}" for k in range(len(inputs))])
                arrays.update(zip(keys[-1], inputs, strict=True))
            np.savez(folder / f"{number}.npz", **arrays)
            jobs.append({"name": name, "form": form, "file": str(target), "keys": keys, "known": known})
    return rows, jobs


def asked(folder, jobs):
    """Let Keras 3 open and run the files, in a process of its own; return a row for each."""
    plain = [{key: job[key] for key in ("file", "keys")} for job in jobs]
    (folder / "jobs.json").write_text(json.dumps(plain), encoding="utf-8")
    hidden = ("PYTHONPATH", "KERAS_BACKEND")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-P", str(HERE / "keras_answers.py"), str(folder)]
    subprocess.run(command, check=True, env=environment)
    return [_row(folder, number, job) for number, job in enumerate(jobs)]


def _row(folder, number, job):
    said = folder / f"{number}.txt"
    if said.exists():
        return Row(job["name"], "cannot open", said.read_text(encoding="utf-8"), job["form"])
    answers = np.load(folder / f"{number}.answer.npz")
    worst = 0.0
    for n, (_, outputs) in enumerate(job["known"].batches):
        for k, theirs in enumerate(outputs):
            ours = answers[f"y{n}_{k}"]
            if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), np.isnan(theirs)):
                worst = np.inf
                continue
            scale = max(1.0, np.nanmax(np.abs(theirs), initial=0.0))
            worst = max(worst, float(np.nanmax(np.abs(np.float64(ours) - theirs), initial=0.0) / scale))
    verdict = "agrees" if worst <= CLOSE else "differs"
    return Row(job["name"], verdict, f"{worst:.1e} from what was {job['known'].by}", job["form"])


def table(only=""):
    """Return all rows."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, jobs = written(Path(name), only)
        return rows + asked(Path(name), jobs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    counts = {}
    for row in table(parser.parse_args().only):
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
        sys.stdout.write(f"{row}\n")
    sys.stdout.write(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) + "\n")
    return 1 if counts.keys() & {"differs", "cannot open"} else 0


if __name__ == "__main__":
    sys.exit(main())
