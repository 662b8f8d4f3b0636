"""Write what the real Keras computes for every conformance case, to ``tests/data``.

Run it after changing a case, with the ``keras`` extra installed: ``python tests/layers/record.py layers``, or
``operations``, or both.
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


def main() -> None:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    for path in [{"layers": recorded.LAYERS, "operations": recorded.OPERATIONS}[name] for name in sys.argv[1:]]:
        cases = [case for case in CASES if recorded.file_of(case) == path]
        answers = {recorded.key(case, era): keras_oracle.ask(case, era) for case in cases for era in case.eras}
        recorded.save(path, answers, versions)
        print(f"{len(answers)} answers in {path}, {path.stat().st_size} bytes")  # noqa: T201  # a script


if __name__ == "__main__":
    main()
