"""Asks the oracle: writes a job, runs Keras in a process of its own, reads the answer.

A job is a folder with ``job.json`` and ``arrays.npz``; the answer is ``result.json`` and ``result.npz`` beside them.
This process never imports Keras.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from gateprobe.errors import MissingExtra, OracleError
from gateprobe.graph import Array
from gateprobe.replay.objects import ObjectWeights
from gateprobe.verification.backends import EXTRAS
from gateprobe.verification.clean_copy import Handed, Unfit, clean_copy

Tell = Callable[[str], None]

_PACKAGES = {"keras3": "keras", "tf_keras": "tf_keras"}


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One set of inputs."""

    inputs: tuple[Array, ...]
    """In the model's order, each ``(samples, ...)``."""
    rows: int
    """How many samples Keras gets at once."""
    stateful: bool = False
    """Whether the samples of one batch start where those of the batch before ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What to ask."""

    keras: str
    """``keras3`` or ``tf_keras``."""
    backend: str
    """``tensorflow``, ``jax`` or ``torch``."""
    file: str
    architecture: str | None
    build_because: str | None
    """Why Keras must not open a copy of the file; ``None`` to let it try."""
    max_bytes: int
    """How many bytes of arrays the copy may hold."""
    blueprint: Mapping[str, Any]
    objects: Sequence[ObjectWeights]
    inputs: tuple[str, ...]
    """Names of the input layers."""
    runs: Sequence[Run]


@dataclass(frozen=True, slots=True, eq=False)
class KerasCall:
    """What Keras computed in one direction of one call of a recurrent layer, over all samples of a run."""

    path: str
    """As in a trace: ``name/cell_1`` for the second cell of a stack."""
    layer: str
    """Path of the layer."""
    direction: str
    backwards: bool
    class_name: str
    signals: Mapping[str, Array]
    mask: Array | None
    given: Mapping[str, Array] = field(default_factory=dict)
    """``input`` and ``initial_n``: what Keras gave the layer."""
    own: Mapping[str, Array] = field(default_factory=dict)
    """``sequence`` and ``final_state_n``: what the layer's own loop returns."""
    stepped: Mapping[str, Array] = field(default_factory=dict)
    """The same final states from the stepped cell."""


@dataclass(frozen=True, slots=True, eq=False)
class KerasRun:
    """The answer for one set of inputs."""

    calls: tuple[KerasCall, ...]
    outputs: tuple[Array, ...]
    random: frozenset[Any]
    """Calls ``(path, direction)`` and numbers of outputs that differ between two runs."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the oracle says."""

    keras: str
    """Version."""
    backend: str
    """Name and version."""
    built_because: str | None
    """Why the model was built from the graph; ``None`` when Keras opened a copy of the file."""
    runs: tuple[KerasRun, ...]
    weights: Mapping[int, Mapping[str, Array]]
    """Number of the object → role → the array that Keras holds."""


def ask(job: Job, tell: Tell | None = None) -> Answer:
    """Run the real Keras.

    Args:
        job: What to ask.
        tell: Called with one line for each thing that the oracle does.

    Raises:
        MissingExtra: The Keras or its backend is not installed.
        OracleError: Keras cannot build, open or run the model; says what Keras says.
    """
    for package in (job.backend, _PACKAGES[job.keras]):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(f"{package}, which verify compares with,", EXTRAS[job.backend])
    with tempfile.TemporaryDirectory(prefix="gateprobe-") as name:
        folder = Path(name).resolve()
        try:
            _write(job, folder)
        except OSError as error:
            raise OracleError(f"cannot write what Keras needs to {folder.parent}: {error.strerror}") from None
        _run(folder, job.backend, tell or (lambda line: None))
        return _read(folder, job)


def _write(job: Job, folder: Path) -> None:
    arrays: dict[str, Array] = {}
    objects = []
    for n, item in enumerate(job.objects):
        roles = {role: f"w{n}_{role}" for role in item.weights}
        arrays.update({roles[role]: value for role, value in item.weights.items()})
        objects.append({"path": item.path, "roles": roles, "convert": item.convert, "flip": item.flip})
    runs = []
    for n, run in enumerate(job.runs):
        keys = [f"x{n}_{k}" for k in range(len(run.inputs))]
        arrays.update(zip(keys, run.inputs, strict=True))
        runs.append({"inputs": keys, "rows": run.rows, "stateful": run.stateful})
    handed, because = _handed(job, folder / "copy")
    described = {
        "keras": job.keras,
        "backend": job.backend,
        "file": handed and str(handed.file),
        "architecture": handed and handed.architecture and str(handed.architecture),
        "build_because": because,
        "blueprint": job.blueprint,
        "objects": objects,
        "inputs": list(job.inputs),
        "runs": runs,
    }
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]  # keyword arrays
    (folder / "job.json").write_text(json.dumps(described), encoding="utf-8")


def _handed(job: Job, folder: Path) -> tuple[Handed | None, str | None]:
    """Return what Keras gets of the file, or why it gets nothing."""
    if job.build_because is not None:
        return None, job.build_because
    folder.mkdir()
    try:
        return clean_copy(job.file, job.architecture, folder, job.max_bytes), None
    except Unfit as error:
        return None, str(error)


def _run(folder: Path, backend: str, tell: Tell) -> None:
    """Run the oracle; its complaints go to a file, of which only the end is shown when it fails."""
    command = [sys.executable, "-P", "-m", "gateprobe.verification.oracle", str(folder)]
    complaints = folder / "stderr.txt"
    with complaints.open("w", encoding="utf-8") as stream, _started(command, folder, backend, stream) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                tell(line.rstrip("\n"))
        except BaseException:  # interrupted, or told to stop: do not wait for Keras
            process.kill()
            raise
    if process.returncode or not (folder / "result.json").exists():
        lines = [line for line in complaints.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        raise OracleError(f"the process that runs Keras ended with status {process.returncode}: {last[:300]}")


def _started(command: list[str], folder: Path, backend: str, errors: IO[str]) -> subprocess.Popen[str]:
    here = str(Path(__file__).resolve().parents[2])
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("TF_", "KERAS_"))},
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONIOENCODING": "utf-8",
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(folder),
        "TMPDIR": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
    }
    # its standard input is a pipe that ends with this process, however that ends
    return subprocess.Popen(  # noqa: S603
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.PIPE,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip


def _read(folder: Path, job: Job) -> Answer:
    answer = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    error = answer.get("error")
    if error is not None and error["kind"] == "missing":
        raise MissingExtra(f"{error['message']}, which verify compares with,", EXTRAS[job.backend])
    if error is not None:
        raise OracleError(f"{job.keras} could not be asked: {error['message']}", file=job.file)
    with np.load(folder / "result.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    return Answer(
        answer["keras"],
        answer["backend"],
        answer["built_because"],
        tuple(_keras_run(run, arrays) for run in answer["runs"]),
        {int(n): {role: arrays[f"w{n}_{role}"] for role in roles} for n, roles in answer["weights"].items()},
    )


def _keras_run(run: Mapping[str, Any], arrays: Mapping[str, Array]) -> KerasRun:
    random = frozenset(tuple(item) if isinstance(item, list) else item for item in run["random"])
    return KerasRun(
        tuple(_keras_call(call, arrays) for call in run["calls"]),
        tuple(arrays[key] for key in run["outputs"]),
        random,
    )


def _keras_call(call: Mapping[str, Any], arrays: Mapping[str, Array]) -> KerasCall:
    values = {name: arrays[key] for name, key in call["arrays"].items()}

    def starting(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

    signals = {n: v for n, v in values.items() if n.endswith(("_gate", "candidate", "cell_state", "hidden_state"))}
    given = {n: v for n, v in values.items() if n == "input" or n.startswith("initial_")}
    return KerasCall(
        call["path"],
        call["layer"],
        call["direction"],
        call["backwards"],
        call["class_name"],
        signals,
        values.get("mask"),
        given,
        starting("own_"),
        starting("stepped_"),
    )
