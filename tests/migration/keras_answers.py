"""Opens files in Keras 3 without custom objects and runs them: ``python keras_answers.py FOLDER``.

``jobs.json`` names the files and the arrays of ``N.npz`` that each gets, batch by batch; the answers go to
``N.answer.npz``, and what Keras says when it refuses to ``N.txt``. Knows nothing but Keras and NumPy.
"""

import json
import sys
import warnings
from pathlib import Path

import keras
import numpy as np


def answers(job, arrays):
    model = keras.models.load_model(job["file"], compile=False)
    found = {}
    for n, keys in enumerate(job["keys"]):
        inputs = [arrays[key] for key in keys]
        made = model(inputs[0] if len(inputs) == 1 else inputs)
        found.update({f"y{n}_{k}": np.asarray(one) for k, one in enumerate(keras.tree.flatten(made))})
    return found


def main(folder):
    assert "gateprobe" not in sys.modules
    for number, job in enumerate(json.loads((folder / "jobs.json").read_text(encoding="utf-8"))):
        try:
            found = answers(job, np.load(folder / f"{number}.npz"))
        except Exception as error:  # noqa: BLE001 - whatever Keras raises is the answer
            (folder / f"{number}.txt").write_text(" ".join(str(error).split())[:600], encoding="utf-8")
            continue
        np.savez(folder / f"{number}.answer.npz", **found)
        keras.utils.clear_session()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
