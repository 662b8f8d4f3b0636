"""Write what the real Keras computes for the conformance cases, to ``tests/data``; it needs the ``keras`` extra.

python tests/layers/record.py              asks for the cases that have no answer yet
python tests/layers/record.py Dense Dot    asks again for all cases of these classes, too
python tests/layers/record.py --all        asks for every case: some minutes
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from layers import keras_oracle, recorded  # the path is set above
from layers.cases import CASES

PACKAGES = ("keras", "tf_keras", "tensorflow-cpu")


def main(*names: str) -> None:
    """Record; answers to cases that are gone are dropped."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    unknown = set(names) - {case.class_name for case in CASES} - {"--all"}
    if unknown:
        sys.exit(f"no case in tests/layers is of the class {', '.join(sorted(unknown))}")
    for path in dict.fromkeys(map(recorded.file_of, CASES)):
        wanted = {
            recorded.key(case, era): (case, era)
            for case in CASES
            if recorded.file_of(case) == path
            for era in case.eras
        }
        there, asked = (
            recorded.keys(path),
            {key for key, (case, era) in wanted.items() if {"--all", case.class_name} & {*names}},
        )
        asked |= wanted.keys() - there
        if not asked and there == wanted.keys():
            continue
        if asked < wanted.keys() and versions != recorded.versions(path):
            sys.exit(f"{path.name} was recorded with {recorded.versions(path)}: install these, or record it --all")
        answers = {
            key: keras_oracle.ask(case, era) if key in asked else recorded.answer(case, era)
            for key, (case, era) in wanted.items()
        }
        recorded.save(path, answers, versions)
        print(f"{path.name}: asked Keras for {len(asked)} of {len(answers)} answers")  # noqa: T201  # a script


if __name__ == "__main__":
    main(*sys.argv[1:])
