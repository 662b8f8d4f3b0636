"""One model: build, save, replay, compare."""

from __future__ import annotations

import re
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import GateprobeError

from .build import Kit, build, data, flatten
from .compare import difference
from .replay import Replayed, replay
from .spec import Spec

FORMATS = (".keras", ".h5")


@dataclass
class Outcome:
    """What became of a spec."""

    verdict: str
    """``agrees``, ``skipped`` (Keras refuses it), ``refused`` (by the replay), ``crash`` or ``differs``."""
    reason: str = ""
    formats: dict[str, str] = field(default_factory=dict)
    """Verdict or reason for each file format."""
    signals: int = 0
    """Signals of recurrent layers that were compared."""
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """What stays the same while a failing model shrinks."""
        if self.verdict == "differs":
            return "differs " + re.sub(r"\d+.*?: |\[.*", "", self.reason).partition(" ")[0]
        text = re.sub(r"'[^']*'|\d+|\[.*\]|\(.*\)", "", self.reason)
        return f"{self.verdict} {text[:160]}"


def check(spec: Spec, kit: Kit, folder: Path) -> Outcome:
    """Check one spec; never raises for what Keras or the replay does."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = _check(spec, kit, folder)
    outcome.seconds = time.perf_counter() - start
    return outcome


def _check(spec: Spec, kit: Kit, folder: Path) -> Outcome:
    try:
        model = build(spec, kit)
        arrays = data(spec)
        expected = expectation(model, arrays, spec, kit)
    except Exception as error:  # noqa: BLE001 - Keras may refuse a model in any way
        return Outcome("skipped", f"{type(error).__name__}: {_first_line(error)}")
    outcome = Outcome("agrees")
    for suffix in FORMATS:
        path = folder / f"model{suffix}"
        path.unlink(missing_ok=True)
        try:
            model.save(str(path))
        except Exception as error:  # noqa: BLE001
            outcome.formats[suffix] = f"not saved: {type(error).__name__}: {_first_line(error)}"
            continue
        verdict, reason, count = _judge(path, arrays, expected, spec, kit)
        outcome.signals += count
        outcome.formats[suffix] = verdict
        if verdict != "agrees" and outcome.verdict == "agrees":
            outcome.verdict, outcome.reason = verdict, f"{reason} ({suffix})"
    if all(text.startswith("not saved") for text in outcome.formats.values()):
        return Outcome("skipped", next(iter(outcome.formats.values())))
    return outcome


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else ""


Expected = list[tuple[np.ndarray, np.ndarray | None]]


def expectation(model: Any, arrays: dict[str, np.ndarray], spec: Spec, kit: Kit) -> Expected:
    """Return the model's outputs, in the order of ``model.outputs``, with the mask of the first batch."""
    rows, first, parts = spec["samples"], None, []
    kit.reset(model)
    for start in range(0, len(next(iter(arrays.values()))), rows):
        batch = {name: kit.tf.constant(array[start : start + rows]) for name, array in arrays.items()}
        flat = flatten(kit.run(model, arranged(batch, spec)))
        first = first or [getattr(value, "_keras_mask", None) for value in flat]
        parts.append([plain(value) for value in flat])
    return [
        (np.concatenate(values), None if mask is None else np.asarray(mask))
        for values, mask in zip(zip(*parts, strict=True), first or [], strict=True)
    ]


def arranged(batch: dict[str, Any], spec: Spec) -> Any:
    """Arrange the inputs as the model wants them."""
    if spec["input_style"] == "dict":
        return batch
    values = list(batch.values())
    return values[0] if len(values) == 1 else values


def plain(value: Any) -> np.ndarray:
    """Return a NumPy array, in float32 where NumPy lacks the type."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "V" or str(array.dtype) == "bfloat16" else array


def _judge(path: Path, arrays: dict[str, np.ndarray], expected: Expected, spec: Spec, kit: Kit) -> tuple[str, str, int]:
    try:
        ours = replay(str(path), arrays, rows=spec["samples"])
    except GateprobeError as error:
        return "refused", str(error).replace(str(path), "FILE").replace("\n", " | "), 0
    except Exception as error:  # noqa: BLE001 - a crash is a finding
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "crash", f"{type(error).__name__} in {Path(frame.filename).name} {frame.name}: {_first_line(error)}", 0
    reason = _outputs(expected, ours, precision_of(spec))
    return ("differs", reason, 0) if reason else ("agrees", "", len(ours.signals))


def precision_of(spec: Spec) -> str:
    return spec.get("policy", "float32").removeprefix("mixed_")


def _outputs(expected: Expected, ours: Replayed, precision: str) -> str:
    if len(expected) != len(ours.outputs):
        return f"outputs: {len(ours.outputs)}, Keras has {len(expected)}"
    for number, (value, _) in enumerate(expected):
        reason = difference(value, ours.outputs[number], ours.outputs64[number], precision)
        if reason:
            return f"{reason.partition(' ')[0] if reason.startswith('shape') else 'value'} of output {number}: {reason}"
    for number, (_, mask) in enumerate(expected):
        own = ours.masks[number]
        if (mask is None) != (own is None):
            return f"mask of output {number}: {_shown(own)}, Keras has {_shown(mask)}"
        if mask is not None and own is not None and (mask.shape != own.shape or (mask != own).any()):
            return f"mask of output {number} has other values"
    return ""


def _shown(mask: np.ndarray | None) -> str:
    return "none" if mask is None else f"one of shape {mask.shape}"
