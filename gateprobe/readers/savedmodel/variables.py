"""The variables of a SavedModel, read by TensorFlow's checkpoint reader in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import MissingExtra, ReadError, UnsafeFile
from gateprobe.graph import Array, freeze
from gateprobe.readers.hdf5 import Budget

_ROUTES = ("light", "full")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What was read."""

    objects: bytes
    """A ``TrackableObjectGraph``."""
    arrays: Mapping[str, Array]
    """By checkpoint key: numbers only, without the optimizer's."""


def read_checkpoint(folder: Path, budget: Budget) -> Checkpoint:
    """Read ``FOLDER/variables/variables``.

    Raises:
        MissingExtra: TensorFlow is not installed.
        UnsafeFile: The arrays are larger than the budget.
        ReadError: It is no checkpoint, or damaged.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtra("TensorFlow, whose checkpoint reader reads the variables of a SavedModel,", "keras")
    prefix = folder.resolve() / "variables" / "variables"
    inside(folder, "variables/variables.index")
    for part in prefix.parent.glob("variables.data-*"):
        inside(folder, f"variables/{part.name}")
    with tempfile.TemporaryDirectory(prefix="gateprobe-") as name:
        out = Path(name)
        complaint = ""
        for route in _ROUTES:
            complaint = _asked([route, str(prefix), str(out), str(budget.limit - budget.used)], out)
            if (out / "answer.json").exists():
                return _answered(out, budget)
        raise ReadError(f"TensorFlow cannot read the variables: {complaint}", place="variables")


def inside(folder: Path, name: str) -> Path:
    """Return a file of a SavedModel, behind any links, which may not lead out of the folder.

    Raises:
        ReadError: There is no such file, or it is a pipe, which would never end, or the like.
        UnsafeFile: A link leads to a file outside.
    """
    try:
        real, status = (folder / name).resolve(strict=True), (folder / name).stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        raise ReadError("there is no such file in the SavedModel", place=name) from None
    if not real.is_relative_to(folder.resolve()):
        raise UnsafeFile("is a link that leads out of the SavedModel", place=name)
    if not stat.S_ISREG(status.st_mode):
        raise ReadError("is not a regular file", place=name)
    return real


def _asked(arguments: list[str], out: Path) -> str:
    """Run the process; return the last line it complained with."""
    here = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONIOENCODING": "utf-8",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(  # noqa: S603 -- our own module
        [sys.executable, "-P", "-m", "gateprobe.readers.savedmodel.child", *arguments],
        cwd=out, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return (lines[-1] if lines else f"the process ended with status {done.returncode}")[:200]


def _answered(out: Path, budget: Budget) -> Checkpoint:
    answer: Any = json.loads((out / "answer.json").read_text(encoding="utf-8"))
    if "error" in answer:
        raise ReadError(f"TensorFlow's checkpoint reader says: {answer['error'][:200]}", place="variables")
    budget.spend(answer["bytes"], "variables")
    with np.load(out / "variables.npz", allow_pickle=False) as stored:
        arrays = {key: freeze(stored[f"v{number}"]) for number, key in enumerate(answer["keys"])}
    return Checkpoint((out / "objects.pb").read_bytes(), arrays)
