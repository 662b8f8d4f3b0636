"""The oracle's process: ``python -m gateprobe.verification.oracle JOB``.

Reads ``JOB/job.json`` and ``JOB/arrays.npz``, runs the model in the real Keras, writes ``JOB/result.npz`` and
``JOB/result.json``; progress goes to standard output, one line each. See `gateprobe.verification.job` for both formats.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.verification.oracle_build import Built, build, read_weights, set_weights
from gateprobe.verification.oracle_library import (
    Library,
    Refused,
    Unavailable,
    first_line,
    is_model,
    load_library,
    load_native,
    recurrent_layers,
)
from gateprobe.verification.oracle_step import Stepped, step
from gateprobe.verification.oracle_watch import SeenCall, Watch

_REPEATS = 1e-4
"""Two runs that differ by more than this, relative to the larger value, are random and not rounding."""


def _end_with_parent() -> None:
    """End this process when the one that started it has ended: its end of our standard input is closed then."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock would be held when this process ends by itself
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(folder: Path) -> None:
    """Do the job in a folder."""
    warnings.simplefilter("ignore")
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    try:
        answer, values = _answer(job, arrays)
    except Unavailable as error:
        answer, values = {"error": {"kind": "missing", "message": str(error)}}, {}
    except Refused as error:
        answer, values = {"error": {"kind": "refused", "message": str(error)}}, {}
    np.savez(folder / "result.npz", **values)
    (folder / "result.json").write_text(json.dumps(answer), encoding="utf-8")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _answer(job: Mapping[str, Any], arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    _tell(f"importing {job['keras']} on {job['backend']}")
    library = load_library(job["keras"], job["backend"])
    reason = job["build_because"]
    if reason is None:
        opened, reason = None, None
        try:
            _tell(f"{library.name} {library.keras.__version__} opens a clean copy of the file")
            opened = _as_built(load_native(library, job["file"], job["architecture"]), job)
            return _asked(library, opened, None, job, arrays)
        except Refused as error:
            cannot = "does not open it" if opened is None else "opens it and cannot run it"
            told = str(error).replace(f"{Path(job['file']).parent}{os.sep}", "")
            reason = f"{library.name} {library.keras.__version__} {cannot}: {told}"
    _tell("building the model from the graph that was read")
    built = build(library, job["blueprint"])
    set_weights(built, job["objects"], arrays)
    return _asked(library, built, reason, job, arrays)


def _asked(
    library: Library, built: Built, reason: str | None, job: Mapping[str, Any], arrays: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run and step a model; ``reason`` says why it was built from the graph."""
    runner = _Runner(library, built, job)
    values: dict[str, Any] = {}
    with library.inference():
        runs = [runner.run(number, run, arrays, values) for number, run in enumerate(job["runs"])]
    weights = read_weights(built, job["objects"])
    for number, roles in weights.items():
        values.update({f"w{number}_{role}": library.array(value) for role, value in roles.items()})
    return {
        "keras": library.keras.__version__,
        "backend": f"{library.backend} {library.engine.__version__}",
        "built_because": reason,
        "runs": runs,
        "weights": {str(number): sorted(roles) for number, roles in weights.items()},
    }, values


def _as_built(model: Any, job: Mapping[str, Any]) -> Built:
    """Check that an opened model has the layers that were read."""
    if not is_model(model) or not getattr(model, "inputs", None):
        raise Refused("it is not a graph of layers")
    layers = {layer.name: layer for layer in model.layers}
    wanted = {record["name"] for record in job["blueprint"]["layers"] if record["kind"] == "layer"}
    missing = sorted(name for name in wanted if name not in layers)
    if missing:
        raise Refused(f"it has no layer {missing[0]!r} there")
    return Built(model, layers)


class _Runner:
    """Runs a model over batches and steps what was seen."""

    def __init__(self, library: Library, built: Built, job: Mapping[str, Any]) -> None:
        self._library = library
        self._built = built
        self._job = job
        self._watch = Watch(library, built.names, built.numbers)
        self._watch.install(built.model)

    def run(
        self, number: int, run: Mapping[str, Any], arrays: Mapping[str, Any], values: dict[str, Any]
    ) -> dict[str, Any]:
        """Run one set of inputs; arrays go into ``values``, what is returned says which is which."""
        inputs = [arrays[key] for key in run["inputs"]]
        count, rows = len(inputs[0]), run["rows"]
        pieces: list[list[tuple[Mapping[str, Any], dict[str, Any]]]] = []
        outputs: list[list[Any]] = []
        random: list[Any] = []
        self._reset()
        for start in range(0, count, rows):
            batch = [array[start : start + rows] for array in inputs]
            _tell(f"running samples {start} to {min(start + rows, count) - 1} of {count}, inputs {number}")
            result, calls = self._call(batch)
            if start == 0 and not run["stateful"]:
                random = self._random(batch, result, calls)
            outputs.append([self._library.array(value) for value in result])
            pieces.append([self._packed(one) for call in calls for one in self._stepped(call)])
        described = []
        for n, group in enumerate(zip(*pieces, strict=True)):
            about, joined = dict(group[0][0]), _joined([parts for _, parts in group])
            about["arrays"] = {name: f"r{number}_c{n}_{name}" for name in joined}
            values.update({about["arrays"][name]: value for name, value in joined.items()})
            described.append(about)
        keys = [f"r{number}_out{n}" for n in range(len(outputs[0]))]
        values.update(zip(keys, (np.concatenate(group) for group in zip(*outputs, strict=True)), strict=True))
        return {"calls": described, "outputs": keys, "random": random}

    def _reset(self) -> None:
        for layer in recurrent_layers(self._library, self._built.model):
            if layer.stateful:
                layer.reset_states()

    def _call(self, batch: list[Any]) -> tuple[list[Any], list[SeenCall]]:
        try:
            result = self._watch.run(self._built.model, self._structured(batch))
        except Exception as error:
            raise Refused(f"cannot run the model: {first_line(error)}") from error
        return self._library.flat(result), self._watch.calls

    def _structured(self, batch: list[Any]) -> Any:
        """Put the inputs into the order and structure that the model takes, by the names of its input layers."""
        model = self._built.model
        tensors = [self._library.tensor(array) for array in batch]
        if len(tensors) == 1 and not isinstance(getattr(model, "_inputs_struct", None), dict):
            return tensors[0]
        names = [_input_name(tensor) for tensor in model.inputs]
        given = dict(zip(self._job["inputs"], tensors, strict=True))
        ordered = [given[name] for name in names] if set(names) == set(given) else tensors
        struct = getattr(model, "_inputs_struct", None)
        if isinstance(struct, dict):
            return self._library.keras.tree.pack_sequence_as(struct, ordered)
        return ordered

    def _random(self, batch: list[Any], result: list[Any], calls: list[SeenCall]) -> list[Any]:
        """Run the first batch again and return what does not repeat itself: calls, and numbers of outputs."""
        _tell("running the first samples again: is the model random?")
        again, repeated = self._call(batch)
        found: list[Any] = [n for n, (a, b) in enumerate(zip(result, again, strict=True)) if self._differ(a, b)]
        for one, two in zip(calls, repeated, strict=True):
            first, second = self._library.flat(one.output), self._library.flat(two.output)
            if any(self._differ(a, b) for a, b in zip(first, second, strict=True)):
                found.append([one.path, one.direction])
        return found

    def _differ(self, a: Any, b: Any) -> bool:
        one, two = (np.asarray(self._library.array(value), np.float64) for value in (a, b))
        with np.errstate(all="ignore"):
            scale = max(float(np.nanmax(np.abs(one), initial=0.0)), 1.0)
            return bool(np.nanmax(np.abs(one - two), initial=0.0) > _REPEATS * scale)

    def _stepped(self, call: SeenCall) -> list[Stepped]:
        _tell(f"stepping {call.path} {call.direction}")
        try:
            return step(self._library, call)
        except Exception as error:
            raise Refused(f"cannot step {call.path}: {first_line(error)}") from error

    def _packed(self, one: Stepped) -> tuple[dict[str, Any], dict[str, Any]]:
        call = one.call
        about = {
            "path": call.path if one.part is None else f"{call.path}/{one.part}",
            "layer": call.path,
            "direction": call.direction,
            "backwards": bool(one.backwards),
            "class_name": type(call.layer).__name__,
        }
        arrays = {**one.signals, "input": self._library.array(call.inputs)}
        arrays.update({f"own_{name}": value for name, value in one.own.items()})
        arrays.update({f"stepped_{name}": value for name, value in one.stepped_final.items()})
        arrays.update({f"initial_{n}": self._library.array(s) for n, s in enumerate(self._library.flat(call.states))})
        if one.mask is not None:
            arrays["mask"] = one.mask
        return about, arrays


def _input_name(tensor: Any) -> str:
    history = tensor._keras_history  # noqa: SLF001 - the only way from a tensor to its layer in both Kerases
    return str((getattr(history, "operation", None) or history.layer).name)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


if __name__ == "__main__":
    _end_with_parent()
    main(Path(sys.argv[1]))
