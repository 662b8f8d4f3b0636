"""Write ``tests/data/conformance.npz``: what the real Keras computes for every conformance case.

Run it after changing a case, with the ``keras`` extra installed: ``python tests/layers/record.py``.
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
    answers = {recorded.key(case, era): keras_oracle.ask(case, era) for case in CASES for era in case.eras}
    recorded.save(answers, {name: importlib.metadata.version(name) for name in PACKAGES})
    print(f"{len(answers)} answers in {recorded.FILE}, {recorded.FILE.stat().st_size} bytes")  # noqa: T201  # a script


if __name__ == "__main__":
    main()
