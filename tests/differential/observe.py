"""What the real Keras computes: outputs with their masks, and the signals of every recurrent layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateprobe.verification.oracle_library import Library
from gateprobe.verification.oracle_step import step
from gateprobe.verification.oracle_watch import Watch

from .build import Kit, flatten
from .spec import Spec

Arrays = dict[str, np.ndarray]
Signal = tuple[np.ndarray, np.ndarray | None]


@dataclass
class Seen:
    """A model's run."""

    outputs: list[np.ndarray]
    """In the order of ``model.outputs``."""
    masks: list[np.ndarray | None]
    """Of the outputs for the first batch."""
    signals: dict[tuple[str, str, str], Signal] = field(default_factory=dict)
    """By layer path, direction and signal, with the mask."""
    unwatched: str = ""
    """Why there are no signals."""


def observe(model: Any, arrays: Arrays, spec: Spec, kit: Kit) -> Seen:
    """Run a model batch by batch, then step its recurrent layers."""
    library = Library(kit.family, kit.keras, "tensorflow", kit.tf)
    watch = Watch(library, {}, {})
    watch.install(model)
    kit.reset(model)
    rows, results, masks, signals = spec["samples"], [], [], []
    unwatched = ""
    for start in range(0, len(next(iter(arrays.values()))), rows):
        batch = {name: kit.tf.constant(array[start : start + rows]) for name, array in arrays.items()}
        flat = flatten(watch.run(model, arranged(batch, spec)))
        masks.append([getattr(value, "_keras_mask", None) for value in flat])
        results.append([library.array(value) for value in flat])
        stateful = [
            (one, one.stateful)
            for one in {id(call.layer): call.layer for call in watch.calls}.values()
            if hasattr(one, "stateful")
        ]
        for one, _ in stateful:
            one.stateful = False  # stepping must not move the states on
        try:
            signals.append([part for call in watch.calls for part in step(library, call)])
        except Exception as error:  # noqa: BLE001 - the outputs are compared all the same
            unwatched = f"{type(error).__name__}: {error}"
        for one, flag in stateful:
            one.stateful = flag
    found = {} if unwatched else _joined(signals)
    outputs = [np.concatenate(parts) for parts in zip(*results, strict=True)]
    return Seen(outputs, [None if mask is None else np.asarray(mask) for mask in masks[0]], found, unwatched)


def _joined(batches: list[Any]) -> dict[tuple[str, str, str], Signal]:
    joined: dict[tuple[str, str, str], Signal] = {}
    for group in zip(*batches, strict=True):
        call, part = group[0].call, group[0].part
        path = call.path if part is None else f"{call.path}/{part}"
        mask = None if group[0].mask is None else np.concatenate([one.mask for one in group])
        for name in group[0].signals:
            joined[path, call.direction, name] = np.concatenate([one.signals[name] for one in group]), mask
    return joined


def arranged(batch: dict[str, Any], spec: Spec) -> Any:
    """Arrange the inputs as the model wants them."""
    if spec["input_style"] == "dict":
        return batch
    values = list(batch.values())
    return values[0] if len(values) == 1 else values
