"""Write ``tests/data/operations.npz``: what the real Keras makes of the entries of ``tests/layers/operation_grid.py``.

Run it with the ``keras`` extra after changing an entry: ``python tests/data/generate/operations.py``.
"""

import importlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TESTS = Path(__file__).parents[2]
sys.path.insert(0, str(TESTS))

import numpy as np  # noqa: E402  # the environment and the path are set above
import tensorflow as tf  # noqa: E402
from layers.operation_grid import grid, stored  # noqa: E402

MODULES = [importlib.import_module(f"keras.src.ops.{name}") for name in "numpy core math nn linalg".split()]


def made(entry):
    """Return what Keras computes, with the name of the dtype of each result."""
    kind = next(getattr(module, entry.class_name) for module in MODULES if hasattr(module, entry.class_name))
    tensors = [tf.cast(tf.constant(stored(values, name)), name) for name, values in entry.inputs]
    if entry.class_name in ("Concatenate", "Stack"):
        tensors = [tensors]
    args = (*entry.constants, *tensors) if entry.first else (*tensors, *entry.constants)
    result = kind(**entry.config)(*args)
    results = result if isinstance(result, (tuple, list)) else [result]
    return [(one.dtype.name, np.asarray(one)) for one in results]


def main():
    index, numbers, left_out = {}, {}, {}
    for entry in grid():
        try:
            results = made(entry)
        except Exception as error:  # whatever Keras says: it has no numbers here
            left_out[entry.key] = type(error).__name__
            continue
        places = []
        for name, value in results:
            kept = value.astype(np.float32) if name in ("float16", "bfloat16") else value
            place = numbers.setdefault(str(kept.dtype), [])
            places.append([name, list(kept.shape), sum(part.size for part in place)])
            place.append(kept.ravel())
        index[entry.key] = places
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow-cpu")}
    arrays = {name: np.concatenate(parts) for name, parts in numbers.items()}
    path = TESTS / "data" / "operations.npz"
    np.savez_compressed(path, index=np.array(json.dumps({"versions": versions, "entries": index})), **arrays)
    print(f"{len(index)} entries, {len(left_out)} that Keras does not compute, {path.stat().st_size} bytes")  # a script
    if "-v" in sys.argv:
        print(*sorted(left_out.items()), sep="\n")


if __name__ == "__main__":
    main()
