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

from .build import Kit, build, data
from .compare import EPSILON, difference
from .frozen import is_frozen
from .observe import Arrays, Seen, arranged, observe
from .replay import Replayed, replay
from .spec import Spec, all_layers, classes_of

FORMATS = (".keras", ".h5")
INTENDED = (
    "statistics of a masked input are not replayed",  # GroupNormalization of tf_keras
    "does not fit a softmax of an input",  # a mask that broadcasts only by accident
    "bicubic differs between the backends of Keras 3",
    "Keras with TensorFlow adds it along",  # a fault of one backend of Keras 3
    "which gateprobe keeps apart",  # samples mixed by reshaping or transposing
    "a mask around a stateful layer is not replayed",
    "stacked cells inside stacked cells are not replayed with reversed states",
)
"""Refusals that are meant."""


@dataclass
class Outcome:
    """What became of a spec."""

    verdict: str
    """``agrees``, ``skipped`` (Keras refuses it), ``unwatched`` (Keras runs it, but its cells cannot be stepped),
    ``declined`` or ``refused`` (by the replay, on purpose or not), ``crash``, ``differs``, ``silent`` (Keras exchanges
    weights when it opens the file, and no note says so) or ``false alarm`` (a note says so, and it does not)."""
    reason: str = ""
    formats: dict[str, str] = field(default_factory=dict)
    """Verdict or reason for each file format; ``unfaithful`` when Keras, too, computes something else from the file,
    and ``unreadable`` when Keras, too, refuses it."""
    signals: int = 0
    """Signals of recurrent layers that were compared."""
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether nothing needs a look."""
        return self.verdict in ("agrees", "skipped", "declined")

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
    outcome = Outcome("agrees")
    try:
        model = build(spec, kit)
        arrays = data(spec)
        kit.run(model, arranged({name: array[: spec["samples"]] for name, array in arrays.items()}, spec))
        paths = {suffix: path for suffix in FORMATS if (path := _saved(model, folder, suffix, outcome))}
    except Exception as error:  # noqa: BLE001 - Keras may refuse a model in any way
        return Outcome("skipped", f"{type(error).__name__}: {_first_line(error)}")
    try:
        expected = observe(model, arrays, spec, kit)
    except Exception as error:  # noqa: BLE001 - Keras has run the model: it is the oracle that cannot
        return Outcome("unwatched", f"{type(error).__name__}: {_first_line(error)}")
    for suffix, path in paths.items():
        verdict, reason, count = _judge(path, arrays, expected, spec, kit)
        outcome.signals += count
        outcome.formats[suffix] = verdict
        if verdict not in ("agrees", "unfaithful", "unreadable") and outcome.verdict == "agrees":
            outcome.verdict, outcome.reason = verdict, f"{reason} ({suffix})"
    if not paths:
        return Outcome("skipped", next(iter(outcome.formats.values())))
    return outcome


def _saved(model: Any, folder: Path, suffix: str, outcome: Outcome) -> Path | None:
    """Save a model; what Keras does not save is noted."""
    path = folder / f"model{suffix}"
    path.unlink(missing_ok=True)
    try:
        model.save(str(path))
    except Exception as error:  # noqa: BLE001
        outcome.formats[suffix] = f"not saved: {type(error).__name__}: {_first_line(error)}"
        return None
    return path


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else ""


def _judge(path: Path, arrays: Arrays, expected: Seen, spec: Spec, kit: Kit) -> tuple[str, str, int]:
    """Compare one file's replay with what Keras computed, or else with what Keras computes after opening the file."""
    precision = precision_of(spec)
    try:
        ours = replay(str(path), arrays, precision, rows=spec["samples"])
    except GateprobeError as error:
        verdict = "declined" if any(text in str(error) for text in INTENDED) else "refused"
        if is_frozen(spec) and not _opens(path, kit):
            verdict = "unreadable"
        return verdict, str(error).replace(str(path), "FILE").replace("\n", " | "), 0
    except Exception as error:  # noqa: BLE001 - a crash is a finding
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "crash", f"{type(error).__name__} in {Path(frame.filename).name} {frame.name}: {_first_line(error)}", 0
    reason = disagreement(expected, ours, precision)
    if not reason and any("contradict their order" in note for note in ours.notes):
        return "false alarm", "; ".join(ours.notes), 0
    if not reason:
        return "agrees", "", len(expected.signals)
    if _reads_maxima(spec) and any(np.isnan(output).any() for output in ours.outputs):
        return "skipped", "a maximum of NaN, which TensorFlow passes on or not, depending on the place in memory", 0
    try:
        again = observe(kit.load(path), arrays, spec, kit)
    except Exception:  # noqa: BLE001
        return "differs", reason, 0
    if disagreement(again, ours, precision):
        return "differs", reason, 0
    if is_frozen(spec) and not any("contradict their order" in note for note in ours.notes):
        return "silent", reason, len(again.signals)
    return "unfaithful", reason, len(again.signals)  # Keras itself computes something else from its file


def _opens(path: Path, kit: Kit) -> bool:
    """Tell whether Keras opens its own file: weights in an unexpected order may not even fit."""
    try:
        kit.load(path)
    except Exception:  # noqa: BLE001 - Keras may refuse a file in any way
        return False
    return True


def _reads_maxima(spec: Spec) -> bool:
    return any("max" in name.lower() for name in classes_of(spec))


def precision_of(spec: Spec) -> str:
    """Return the coarsest precision in which a layer of the model computes."""
    policies = [spec.get("policy", "float32"), *(layer.get("config", {}).get("dtype") for layer in all_layers(spec))]
    names = {str(name).removeprefix("mixed_") for name in policies if name}
    return max(names, key=lambda name: EPSILON[name])


def disagreement(expected: Seen, ours: Replayed, precision: str) -> str:
    """Return the first thing in which a replay is not what Keras computed, or an empty text."""
    return (
        _outputs(expected, ours, precision) or _masks(expected.masks, ours.masks) or _signals(expected, ours, precision)
    )


def _outputs(expected: Seen, ours: Replayed, precision: str) -> str:
    if len(expected.outputs) != len(ours.outputs):
        return f"count of outputs: {len(ours.outputs)}, Keras has {len(expected.outputs)}"
    for number, triple in enumerate(zip(expected.outputs, ours.outputs, ours.exact_outputs, strict=True)):
        reason = difference(*triple, precision)
        if reason:
            return f"{'shape' if reason.startswith('shape') else 'value'} of output {number}: {reason}"
    return ""


def _masks(expected: list[np.ndarray | None], ours: list[np.ndarray | None]) -> str:
    for number, (mask, own) in enumerate(zip(expected, ours, strict=True)):
        if (mask is None) != (own is None):
            return f"mask of output {number}: {_shown(own)}, Keras has {_shown(mask)}"
        if mask is not None and own is not None and (mask.shape != own.shape or (mask != own).any()):
            return f"mask of output {number} has other values"
    return ""


def _signals(expected: Seen, ours: Replayed, precision: str) -> str:
    if expected.unwatched:
        return ""
    if expected.signals.keys() != ours.signals.keys():
        apart = sorted(expected.signals.keys() ^ ours.signals.keys())[:3]
        return f"names of signals: {apart}"
    for key, (value, mask) in expected.signals.items():
        own, own_mask = ours.signals[key], ours.signal_masks[key[:2]]
        triple = (value, own, ours.exact_signals[key])
        reason = _masks([mask], [own_mask])
        if reason:
            return f"signal {'/'.join(key)}: {reason}"
        if mask is not None and key[2] not in ("hidden_state", "cell_state"):
            kept = _wide(mask, own)
            triple = (np.where(kept, triple[0], 0), np.where(kept, own, 0), np.where(kept, triple[2], 0))
        reason = difference(*triple, precision, timed=True, backwards=key[1] == "backward")
        if reason:
            return f"signal {'/'.join(key)}: {reason}"
    return ""


def _wide(mask: np.ndarray, value: np.ndarray) -> np.ndarray:
    return mask.reshape(*mask.shape, *[1] * (value.ndim - mask.ndim))


def _shown(mask: np.ndarray | None) -> str:
    return "none" if mask is None else f"one of shape {mask.shape}"
