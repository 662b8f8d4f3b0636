"""What a port is checked against: what each recurrent layer read and computed, in the order of computing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.analysis.explain import Computed, compute
from gateprobe.analysis.weights import LETTERS
from gateprobe.errors import InputError, Refusal, UnsupportedModel
from gateprobe.graph import Array
from gateprobe.layers.recurrent.cells import Anatomy
from gateprobe.opened_model import OpenedModel
from gateprobe.traces.selection import Selection

MAX_VALUES = 2_000_000
"""Of all intermediates: more make sources that no compiler for a small machine likes."""
_SLACK = 4
"""How many times the rounding of our own replay a port may be off."""
_FLOOR = 8
"""Units in the last place of the largest number that it may be off at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """One direction of a recurrent layer. All sequences are in the order of processing."""

    layer: str
    direction: str
    samples: tuple[int, ...]
    anatomy: Anatomy
    timesteps: Array
    """``(steps,)``: the position in the layer's input that each step processes."""
    x: Array
    """``(samples, steps, features)``."""
    mask: Array | None
    """``(samples, steps)``: false where the states are held."""
    states: Mapping[str, Array]
    """Before the first step: ``hidden_state`` and, of an LSTM, ``cell_state``, each ``(samples, units)``."""
    signals: Mapping[str, Array]
    """Gates before (``pre_...``) and after their activation, and states, each ``(samples, steps, units)``; gates are
    NaN at masked steps."""
    tolerances: Mapping[str, float]
    """By signal: how far a port in the same precision may be off."""

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates in Keras's order; none for a SimpleRNN."""
        return self.anatomy.gates if len(self.anatomy.gates) > 1 else ()

    @property
    def units(self) -> int:
        """Size of the states."""
        return int(self.anatomy.recurrent_kernel.shape[0])

    @property
    def kind(self) -> str:
        """``LSTM``, ``GRU`` or ``SimpleRNN``."""
        return {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}[len(self.anatomy.gates)]


def vectors(
    model: OpenedModel, x: object, selection: Selection, samples: Sequence[int], *, dtype: str | None = None
) -> tuple[Vectors, ...]:
    """Compute golden vectors.

    Args:
        model: The model.
        x: Its inputs.
        selection: Which layers and directions.
        samples: Their numbers.
        dtype: To compute in, instead of that of the file.

    Raises:
        UnsupportedModel: A layer is not one of those that a port consists of (LSTM, GRU, SimpleRNN).
        InputError: The inputs do not fit, or the vectors would be too large.
    """
    return tuple(_all(model, x, selection, samples, dtype))


def _all(
    model: OpenedModel, x: object, selection: Selection, samples: Sequence[int], dtype: str | None
) -> Iterator[Vectors]:
    whole = Selection(layers=selection.layers, directions=selection.directions)
    tracing = model.tracing(x, selection=whole, dtype=dtype)
    exact = model.tracing(x, selection=whole, dtype="float64")
    keys = list(dict.fromkeys((part.layer, part.direction) for part, _ in tracing.cell_runs(samples[0])))
    keys = [key for key in keys if not selection.directions or key[1] in selection.directions]
    size = 0
    for layer, direction in keys:
        runs = [compute(tracing, layer, direction, sample) for sample in samples]
        finer = [compute(exact, layer, direction, sample) for sample in samples]
        made = _of_runs(layer, direction, tuple(samples), runs)
        size += sum(value.size for value in made.signals.values())
        if size > MAX_VALUES:
            raise InputError(
                f"the vectors would hold more than {MAX_VALUES:,} numbers",
                remedy="choose fewer samples with --sample, or a layer with --layer",
            )
        yield replace(made, tolerances=_tolerances(made, _of_runs(layer, direction, tuple(samples), finer)))


def _of_runs(layer: str, direction: str, samples: tuple[int, ...], runs: Sequence[Computed]) -> Vectors:
    """Put the runs of several samples together."""
    first = runs[0]
    cell = first.runs[0][1].cell
    anatomy = getattr(cell, "anatomy", None)
    if anatomy is None or anatomy.windows is not None or anatomy.peepholes or len(anatomy.gates) not in (1, 3, 4):
        reason = "golden vectors are made for LSTM, GRU and SimpleRNN"
        raise UnsupportedModel([Refusal(layer, type(cell).__name__, reason)])
    order = np.argsort(first.part.steps)
    if len({run.part.length for run in runs}) > 1:
        raise InputError("the samples have different lengths", remedy="choose one with --sample")
    names = ("hidden_state", "cell_state") if "cell_state" in first.part.signals else ("hidden_state",)
    begins = [run.run_of(int(run.part.timesteps[order[0]]))[1].states for run in runs]
    xs = [np.concatenate([ran.x[0] for _, ran in sorted(run.runs, key=lambda pair: int(pair[0][0]))]) for run in runs]
    masks = [run.part.mask[:, order] for run in runs if run.part.mask is not None]
    made = Vectors(
        layer,
        direction,
        samples,
        anatomy,
        first.part.timesteps[order],
        np.stack([x[order] for x in xs]),
        np.concatenate(masks) if masks else None,
        {name: np.stack([states[k][0] for states in begins]) for k, name in enumerate(names)},
        {name: np.concatenate([run.part.signals[name][:, order] for run in runs]) for name in first.part.signals},
        {},
    )
    with np.errstate(over="ignore", invalid="ignore"):
        made = replace(made, signals={**_sums(made), **made.signals})
    _refuse_infinite(made)
    return made


def _refuse_infinite(made: Vectors) -> None:
    kept, anatomy = slice(None) if made.mask is None else made.mask, made.anatomy
    weights = (anatomy.kernel, anatomy.recurrent_kernel, anatomy.bias, anatomy.recurrent_bias)
    steps = [value[kept] for value in (made.x, *made.signals.values())]
    if not all(np.isfinite(array).all() for array in (*weights, *made.states.values(), *steps) if array is not None):
        reason = "holds numbers that are not finite, with which nothing can be checked"
        raise UnsupportedModel([Refusal(made.layer, made.kind, reason)])


def _sums(made: Vectors) -> dict[str, Array]:
    """Return what each activation was given, in float64 rounded once: ``pre_`` signals.

    They are computed from what the step read, so that they need no trace of their own.
    """
    anatomy, hidden = made.anatomy, made.signals["hidden_state"]
    before = np.concatenate([made.states["hidden_state"][:, np.newaxis], hidden[:, :-1]], 1).astype(np.float64)
    from_x = made.x.astype(np.float64) @ anatomy.kernel + (0.0 if anatomy.bias is None else anatomy.bias)
    from_h = before @ anatomy.recurrent_kernel + (0.0 if anatomy.recurrent_bias is None else anatomy.recurrent_bias)
    if made.kind == "GRU":
        reset, last = made.signals["reset_gate"].astype(np.float64), slice(2 * made.units, None)
        if anatomy.reset_after:
            from_h[..., last] *= reset
        else:
            from_h[..., last] = (reset * before) @ anatomy.recurrent_kernel[:, last]
    sums = anatomy.split(from_x + from_h)
    dtype = hidden.dtype
    held = None if made.mask is None else ~made.mask[..., np.newaxis]
    found = {f"pre_{gate}": value if held is None else np.where(held, np.nan, value) for gate, value in sums.items()}
    return {name: value.astype(dtype) for name, value in found.items()}


def _tolerances(ours: Vectors, exact: Vectors) -> dict[str, float]:
    """Return how far a port may be off: some roundings of the largest number, or some times our own rounding."""
    found = {}
    for name, value in ours.signals.items():
        gap = np.abs(value.astype(np.float64) - exact.signals[name])
        largest = float(np.nanmax(np.abs(value), initial=0.0))
        unit = float(np.finfo(value.dtype).eps) * max(largest, 1.0)
        found[name] = max(_FLOOR * unit, _SLACK * float(np.nanmax(gap, initial=0.0)))
    return found


def letters_of(vectors: Vectors) -> dict[str, str]:
    """Return gate → its letter in an order such as ``ifgo`` or ``zrh``."""
    found = {gate: LETTERS[gate] for gate in vectors.gates}
    if vectors.kind == "GRU":
        found["candidate"] = "h"
    return found
