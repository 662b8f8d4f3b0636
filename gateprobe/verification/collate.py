"""Puts Keras's numbers, the replay's and the float64 replay's side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateprobe.analysis.agreement import OUTPUT, SignalReport, Tolerance, Trio, compare, epsilon
from gateprobe.graph import Array, LayerRecord, ModelRecord
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.plan import precision_of
from gateprobe.traces.chunk import STATES, DirectionTrace
from gateprobe.verification.job import KerasCall, KerasRun
from gateprobe.verification.replay import Replayed

_ROUNDED = 8
"""Spacings by which the states of two loops in one precision may part: each step rounds a sum to the next number."""


@dataclass(slots=True)
class Collated:
    """All signals of one set of inputs."""

    trios: list[Trio] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What cannot be compared number by number: other masks, other shapes, a layer that only one side ran."""


@dataclass(frozen=True, slots=True, eq=False)
class Precisions:
    """The compute precision of each recurrent layer, by path, and the coarsest of the model for its outputs."""

    layers: Mapping[str, str]
    output: str

    @classmethod
    def of(cls, model: OpenedModel) -> Precisions:
        """Read them from the dtype policies of a model."""
        layers = {call.path: _precision(call.record) for call in model.recurrent}
        return cls(layers, max(map(_precision, _computing(model.record)), key=epsilon, default="float32"))

    def of_layer(self, path: str) -> str:
        """Return the precision of a layer, of which ``path`` may be one of its cells or a further call."""
        for known, name in self.layers.items():
            if path == known or path.startswith((f"{known}/", f"{known}:")):
                return name
        return "float32"


def _computing(model: ModelRecord) -> Iterator[LayerRecord]:
    """Yield the layers of a model and of the models inside it; inputs compute nothing."""
    for record in model.layers:
        if record.model is not None:
            yield from _computing(record.model)
        elif record.class_name != "InputLayer":
            yield record


def _precision(record: LayerRecord) -> str:
    inside = record.children.get("layer") or record.children.get("cell") or (record,)
    try:
        return precision_of(record if record.config.get("dtype") else inside[0]).name
    except Unsupported:
        return "float32"


def collate(
    keras: KerasRun, ours: Replayed, exact: Replayed, precisions: Precisions, names: Sequence[str], number: int
) -> Collated:
    """Put one set of inputs together.

    Args:
        keras: From the oracle.
        ours: From the replay.
        exact: From the replay in float64.
        precisions: Of the layers and outputs.
        names: Of the model's outputs.
        number: Of the set of inputs.
    """
    found = Collated()
    calls = {(call.path, call.direction): call for call in keras.calls}
    for key, trace in ours.traces.items():
        call = calls.pop(key, None)
        other = (key[0], "backward" if key[1] == "forward" else "forward")
        if call is None and other in calls and other not in ours.traces:
            del calls[other]
            found.problems.append(f"{key[0]} runs {other[1]} in Keras and {key[1]} in the replay")
        elif call is None:
            found.problems.append(f"{key[0]} {key[1]}: Keras did not run it")
        elif (call.layer, call.direction) not in keras.random:
            _signals(found, call, (trace, exact.traces[key]), precisions.of_layer(key[0]), number)
    if not keras.random:
        found.problems += [f"{path} {direction}: Keras ran it, the replay did not" for path, direction in calls]
    _outputs(found, keras, (ours, exact), names, precisions.output, number)
    return found


def _signals(
    found: Collated, call: KerasCall, traces: tuple[DirectionTrace, DirectionTrace], precision: str, number: int
) -> None:
    ours, exact = traces
    where = f"{call.path} {call.direction}"
    mask = _mask(found, call, ours, where)
    for signal, value in ours.signals.items():
        theirs = call.signals.get(signal)
        if theirs is None or theirs.shape != value.shape:
            what = "Keras computed none" if theirs is None else f"Keras's has shape {theirs.shape}, ours {value.shape}"
            found.problems.append(f"{where} {signal}: {what}")
            continue
        compared = None if signal in STATES else mask
        trio = Trio(
            call.path, call.direction, signal, theirs, value, exact.signals[signal],
            compared, call.backwards, precision, np.arange(len(value)), run=number,
        )  # fmt: skip
        found.trios.append(trio)


def _mask(found: Collated, call: KerasCall, ours: DirectionTrace, where: str) -> Array | None:
    """Compare the masks, and return where both sides use the gates."""
    shape = next(iter(ours.signals.values())).shape[:2]
    both = [np.ones(shape, bool) if mask is None else np.asarray(mask, bool) for mask in (call.mask, ours.mask)]
    if both[0].shape != both[1].shape:
        found.problems.append(f"{where} mask: Keras's has shape {both[0].shape}, ours {both[1].shape}")
        return both[1]
    differ = np.argwhere(both[0] != both[1])
    if len(differ):
        n, t = (int(i) for i in differ[0])
        found.problems.append(
            f"{where} mask: sample {n}, timestep {t} is {'unmasked' if both[0][n, t] else 'masked'} in Keras and "
            f"{'unmasked' if both[1][n, t] else 'masked'} in the replay ({len(differ)} differ)"
        )
    return np.asarray(both[0] & both[1])


def _outputs(
    found: Collated,
    keras: KerasRun,
    sides: tuple[Replayed, Replayed],
    names: Sequence[str],
    precision: str,
    number: int,
) -> None:
    for n, name in enumerate(names):
        ours, exact = (side.outputs[n] if n < len(side.outputs) else None for side in sides)
        if ours is None or exact is None or n in keras.random:
            continue
        theirs = keras.outputs[n]
        if theirs.shape != ours.shape:
            found.problems.append(f"{name} output: Keras's has shape {theirs.shape}, ours {ours.shape}")
            continue
        trio = Trio(
            name, "", OUTPUT, theirs, ours, exact, None, False, precision, np.arange(len(ours)), timed=False, run=number
        )
        found.trios.append(trio)


def self_contradictions(keras: KerasRun, exact: Replayed, precisions: Precisions) -> Iterator[str]:
    """Yield where a layer's own loop and its stepped cell give different numbers, which is Keras against itself.

    The layer's own sequence is compared at the timesteps that are not masked; what it emits at the others is another
    question than what its states are.
    """
    traces = exact.traces
    for call in keras.calls:
        trace = traces.get((call.path, call.direction))
        sequence, stepped = call.own.get("sequence"), call.signals["hidden_state"]
        if sequence is None or trace is None or (call.layer, call.direction) in keras.random:
            continue
        if sequence.shape != stepped.shape or trace.signals["hidden_state"].shape != stepped.shape:
            continue
        precision = precisions.of_layer(call.path)
        report = _own_report(call, sequence, trace, precision)
        if not report.agrees:
            yield f"{call.path} {call.direction}: the layer's own output differs by {report.keras_replay.max_abs:.3g}"
            continue
        for name, value in call.own.items():
            other = call.stepped.get(name)
            if other is not None and not _are_close(value, other, _ROUNDED * epsilon(precision)):
                yield f"{call.path} {call.direction}: the layer's own {name.replace('_', ' ')} differs"


def _are_close(state: Array, other: Array, share: float) -> bool:
    """Return whether two states are the same but for rounding, by a share of the largest one."""
    largest = np.max(np.abs(state), initial=0, where=np.isfinite(state))
    return np.allclose(state, other, rtol=1e-2 + share, atol=1e-3 + share * largest, equal_nan=True)


def _own_report(call: KerasCall, sequence: Array, trace: DirectionTrace, precision: str) -> SignalReport:
    trio = Trio(
        call.path, call.direction, "hidden_state", sequence, call.signals["hidden_state"],
        trace.signals["hidden_state"], call.mask, call.backwards, precision, np.arange(len(sequence)),
    )  # fmt: skip
    return compare(trio, Tolerance())
