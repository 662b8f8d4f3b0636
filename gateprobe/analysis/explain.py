"""One timestep of one unit as a worked equation: every product, every sum, with the numbers of the replay.

The parts are computed in float64 from the numbers that the layer's cell read: its input at the timestep, the states
before it and its weights. What they add up to must be what was traced, within the roundings of the replay; a step
whose parts do not is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gateprobe.activations import Activation
from gateprobe.analysis.ledger import unit_roundoff
from gateprobe.errors import InputError, choices
from gateprobe.graph import Array, references
from gateprobe.layers.recurrent.cells import Anatomy, CellRun
from gateprobe.layers.windows import Window, views
from gateprobe.opened_model import OpenedModel, Tracing
from gateprobe.replay.calls import recurrent_calls
from gateprobe.traces.chunk import DirectionTrace, TraceChunk, joined
from gateprobe.traces.selection import Selection

_TINY = 2.0**-126
"""The smallest number that float32 holds in full; smaller ones lose digits."""
_SLACK = 8
"""How many roundings of its last bits an activation is allowed."""


class Term(NamedTuple):
    """One product."""

    name: str
    """``x[3]``: feature 3 of the input; ``h[1]``: the hidden state of unit 1 before; of a ConvLSTM the place in the
    window and the channel, ``x[0,2,1]``."""
    value: float
    weight: float

    @property
    def product(self) -> float:
        """Their product."""
        return self.value * self.weight


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """How one gate came about: its activation of a sum of products."""

    name: str
    """``input_gate``, ...; ``hidden_state`` for a SimpleRNN."""
    inputs: tuple[Term, ...]
    """Products with the kernel, the largest first."""
    recurrent: tuple[Term, ...]
    """Products with the recurrent kernel, the largest first; of a GRU that resets before the product, with the states
    after the reset, ``r*h[1]``."""
    bias: float | None
    recurrent_bias: float | None
    """Of a GRU that resets after the product."""
    reset: float | None
    """The reset gate, by which such a GRU multiplies its recurrent products and their bias; only of the candidate."""
    peephole: Term | None
    """The look at the cell state: the one before, of the output gate the new one."""
    pre_activation: float
    """The sum of all of this, before the activation."""
    activation: str
    """Label of the activation, such as ``hard_sigmoid[slope=0.2]``."""
    value: float
    """The gate as it was traced."""

    @property
    def from_inputs(self) -> float:
        """The sum of the products with the kernel."""
        return sum(term.product for term in self.inputs)

    @property
    def from_states(self) -> float:
        """The sum of the products with the recurrent kernel, with their bias, before a reset that comes after."""
        return sum(term.product for term in self.recurrent) + (self.recurrent_bias or 0.0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explanation:
    """One timestep of one unit of one sample."""

    layer: str
    direction: str
    sample: int
    unit: int
    timestep: int
    """Position in the layer's input."""
    step: int
    """Position in the order in which the layer processed the timesteps."""
    length: int
    """Timesteps of the layer's input."""
    masked: bool
    """Whether the timestep is masked: then nothing was computed, and the states are those before."""
    before: str
    """Where the states before are from: ``timestep 3``, or what the layer began with."""
    gates: tuple[Gate, ...]
    """In Keras's order; none at a masked timestep."""
    states: Mapping[str, float]
    """``hidden_state`` and, of an LSTM, ``cell_state``."""
    states_before: Mapping[str, float]
    output_activation: str | None
    """Of the cell state on its way out."""
    activated: float | None
    """The cell state after it."""

    def __repr__(self) -> str:
        """The gates and the states in a few lines; ``gateprobe explain`` prints the whole equation."""
        head = f"Explanation of {self.layer} {self.direction}, unit {self.unit} at timestep {self.timestep}, "
        gates = "".join(
            f"\n  {gate.name} {gate.value:.4f} = {gate.activation}({gate.pre_activation:.4f}), "
            f"inputs {gate.from_inputs:.4f}, states {gate.from_states:.4f}, bias {gate.bias or 0:.4f}"
            for gate in self.gates
        )
        states = "".join(
            f"\n  {name} {value:.4f}, before {self.states_before[name]:.4f}" for name, value in self.states.items()
        )
        return f"{head}sample {self.sample}{', masked' if self.masked else ''}{gates}{states}"

    def gate(self, name: str) -> Gate:
        """Return a gate by its name; a masked timestep has none.

        Raises:
            InputError: There is none; lists those there are.
        """
        for gate in self.gates:
            if gate.name == name:
                return gate
        raise InputError(f"no {name!r} at this timestep", remedy=choices((gate.name for gate in self.gates), name))


def explain(
    tracing: Tracing,
    layer: str | None = None,
    direction: str | None = None,
    *,
    sample: int = 0,
    timestep: int | None = None,
    unit: int | None = None,
) -> Explanation:
    """Explain one timestep of one unit.

    Args:
        tracing: The run; its selection takes the layer.
        layer: Path of one call of a layer; may be left out where there is only one.
        direction: ``forward`` or ``backward``; may be left out where there is only one.
        sample: Its number.
        timestep: Position in the layer's input, negative ones from the end; the last one that was computed without it.
        unit: Its number, negative ones from the end; those of a ConvLSTM number pixels and filters in C order.

    Raises:
        InputError: There is no such place; says what there is. Or the parts do not add up to what was traced.
    """
    return explain_step(tracing, compute(tracing, layer, direction, sample), sample, timestep, unit)


def only_direction(parts: Iterable[DirectionTrace], layer: str | None, direction: str | None) -> DirectionTrace:
    """Return the one direction that is meant.

    Args:
        parts: Those that there are.
        layer: A layer path, or a glob; ``None`` for the only one.
        direction: ``None`` for the only one.

    Raises:
        InputError: There is none, or there are several; lists them.
    """
    there = list(parts)
    parts = [part for part in there if part.layer == layer] or there
    paths = list(dict.fromkeys(part.layer for part in parts))
    if len(paths) > 1:
        raise InputError("there are several recurrent layers: say which with --layer", remedy=choices(paths))
    ways = [part for part in parts if direction in (None, part.direction)]
    if not ways:
        remedy = choices(part.direction for part in parts)
        raise InputError(f"--direction={direction}: {paths[0]} has no such direction", remedy=remedy)
    if len(ways) > 1:
        raise InputError(f"{paths[0]} runs in both directions", remedy="say --direction=forward or backward")
    return ways[0]


def timestep_of(part: DirectionTrace, timestep: int | None) -> int:
    """Return a timestep if it is there; the last one that was computed where none is given.

    Args:
        part: Of one sample.
        timestep: Position in the layer's input; negative ones count from the end.

    Raises:
        InputError: It is not there; says what is.
    """
    if timestep is None:
        order = np.argsort(part.steps)
        computed = order if part.mask is None else order[part.mask[0][order].reshape(len(order), -1).any(axis=1)]
        return int(part.timesteps[computed[-1] if len(computed) else order[-1]])
    found = timestep + part.length if timestep < 0 else timestep
    if found not in part.timesteps:
        there = f"{part.timesteps.min()} to {part.timesteps.max()}"
        raise InputError(f"--timestep={timestep} is not in {part.layer}", remedy=f"available: {there}")
    return int(found)


def unit_of(part: DirectionTrace, unit: int | None) -> int:
    """Return a unit if it is there; negative ones count from the end.

    Raises:
        InputError: It is not there, or not said; says what is.
    """
    there = f"available: {part.units.min()} to {part.units.max()}"
    if unit is None:
        raise InputError(f"say which unit of {part.layer} with --unit", remedy=there)
    found = unit + int(part.units.max()) + 1 if unit < 0 else unit
    if found not in part.units:
        raise InputError(f"--unit={unit} is not in {part.layer}", remedy=there)
    return int(found)


def chosen_unit(part: DirectionTrace, unit: int) -> DirectionTrace:
    """Return the trace of one unit; see `unit_of`."""
    chunk = TraceChunk(np.arange(1), (part,))
    return Selection(units=unit_of(part, unit)).apply(chunk).directions[0]


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """One direction of one sample, and what its cell ran on."""

    part: DirectionTrace
    runs: Sequence[tuple[Array, CellRun]]
    """The timesteps that a run of the cell was given, and the run: one, or one for each slab."""

    @property
    def begins(self) -> str:
        """Where the states before the first step are from, see `CellRun`."""
        first = int(self.part.timesteps[np.argmin(self.part.steps)])
        return self.run_of(first)[1].begins

    def run_of(self, timestep: int) -> tuple[int, CellRun]:
        """Return the position of a timestep in a run of the cell, and the run."""
        timesteps, ran = next((given, ran) for given, ran in self.runs if timestep in given)
        return int(np.flatnonzero(timesteps == timestep)[0]), ran


def compute(tracing: Tracing, layer: str | None, direction: str | None, sample: int) -> Computed:
    """Compute one direction of one sample; takes what `explain` takes.

    Raises:
        InputError: There is no such layer, direction or sample, or there are several; lists them.
    """
    found = list(tracing.cell_runs(sample))
    if not found:
        raise InputError("the model has no recurrent layer")
    meant = only_direction({(part.layer, part.direction): part for part, _ in found}.values(), layer, direction)
    key = (meant.layer, meant.direction)
    own = [(part, ran) for part, ran in found if (part.layer, part.direction) == key]
    numbers = np.array([sample])
    chunks = [TraceChunk(numbers, (part,), continues=number > 0) for number, (part, _) in enumerate(own)]
    return Computed(joined(chunks).directions[0], [(part.timesteps, ran) for part, ran in own])


def begins_with(tracing: Tracing, path: str, begins: str) -> str:
    """Say what the states before the first step are.

    Args:
        tracing: Ran the call.
        path: Of the call of the layer.
        begins: See `CellRun`.
    """
    if begins == "zeros":
        return "the initial state, zeros"
    if begins == "carried":
        return "the state that the layer kept from the sample before"
    if f"{path}.initial_state[0]" in tracing.samples.feeds:
        return "the initial state that was fed"
    names = ", ".join(_states_from(tracing.model, path))
    return f"the initial state, from {names}" if names else "the state that the cell was given"


def _states_from(model: OpenedModel, path: str) -> list[str]:
    """Return the layers that a call's initial states come from."""
    for call in recurrent_calls(model.record):
        if path == call.path or path.startswith(f"{call.path}/cell_"):
            number = call.path.rpartition("/")[2].rpartition(":")[2]
            calls = call.record.calls
            at = int(number) if number.isdecimal() and int(number) < len(calls) else 0
            if at < len(calls):
                one = calls[at]
                given = [*list(references(one.args))[1:], *references(one.kwargs.get("initial_state"))]
                return list(dict.fromkeys(ref.layer for ref in given))
    return []


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What one unit sees: vectors, in float64. A ConvLSTM at one pixel is an LSTM whose input is a window of pixels."""

    x: Array
    """``(inputs,)``."""
    x_names: tuple[str, ...]
    kernel: Array
    """``(inputs, gates * units)``."""
    h: Array
    """``(states,)``: the hidden states before."""
    h_names: tuple[str, ...]
    recurrent_kernel: Array
    """``(states, gates * units)``."""
    pixel: tuple[int, ...]
    """Of an image; empty for vectors."""
    unit: int
    """Of a vector, or the filter of an image."""
    anatomy: Anatomy

    def row(self, values: Array) -> Array:
        """Return all units of a state or a gate, at this pixel, ``(units,)``."""
        if self.anatomy.channels_first:
            values = np.moveaxis(values, 0, -1)
        row: Array = values[self.pixel].astype(np.float64)
        return row


def _view_of(anatomy: Anatomy, x: Array, hidden: Array, unit: int) -> _View:
    kernel, recurrent = anatomy.kernel.astype(np.float64), anatomy.recurrent_kernel.astype(np.float64)
    if anatomy.windows is None:
        names = tuple(f"x[{n}]" for n in range(len(x))), tuple(f"h[{n}]" for n in range(len(hidden)))
        wide = x.astype(np.float64), hidden.astype(np.float64)
        return _View(wide[0], names[0], kernel, wide[1], names[1], recurrent, (), unit, anatomy)
    if anatomy.channels_first:
        x = np.moveaxis(x, 0, -1)
        channel, *at = np.unravel_index(unit, hidden.shape)
        hidden = np.moveaxis(hidden, 0, -1)
    else:
        *at, channel = np.unravel_index(unit, hidden.shape)
    pixel = tuple(map(int, at))
    seen = [
        _window(name, image, window, pixel)
        for name, image, window in zip("xh", (x, hidden), anatomy.windows, strict=True)
    ]
    (x_names, x_values), (h_names, h_values) = seen
    columns = kernel.shape[-1]
    return _View(
        x_values, x_names, kernel.reshape(-1, columns), h_values, h_names, recurrent.reshape(-1, columns), pixel,
        int(channel), anatomy,
    )  # fmt: skip


def _window(name: str, image: Array, window: Window, pixel: tuple[int, ...]) -> tuple[tuple[str, ...], Array]:
    """Return what a window sees at a pixel: names by place in the window and channel, and values."""
    seen = np.moveaxis(views(image[np.newaxis], window)[0][pixel], 0, -1)  # (*kernel_size, channels)
    names = tuple(f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(seen.shape))
    return names, seen.astype(np.float64).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One timestep of one unit, and all that it was computed from."""

    part: DirectionTrace
    """Of one sample."""
    at: int
    """Position of the timestep in it."""
    unit: int
    view: _View
    before: Mapping[str, Array]
    """Name of a state → ``(units,)``."""
    roundoff: float

    @property
    def anatomy(self) -> Anatomy:
        """Of the cell."""
        return self.view.anatomy

    def traced(self, name: str) -> Array:
        """Return a signal at the timestep, ``(units,)``."""
        return self.view.row(self.part.signals[name][0, self.at])

    def gates(self) -> Iterator[Gate]:
        """Yield every gate.

        Raises:
            InputError: Its parts do not add up to what was traced.
        """
        kernels = self.anatomy.split(self.view.kernel)
        recurrent = self.anatomy.split(self.view.recurrent_kernel)
        for name, activation in self.anatomy.activations.items():
            yield self._gate(name, activation, kernels[name], recurrent[name])

    def _gate(self, name: str, activation: Activation, kernel: Array, recurrent: Array) -> Gate:
        anatomy, view, unit = self.anatomy, self.view, self.view.unit
        h, h_names, reset = view.h, view.h_names, None
        if name == "candidate" and "reset_gate" in anatomy.activations:
            gate = self.traced("reset_gate")
            if anatomy.reset_after:
                reset = gate
            else:
                h, h_names = gate * h, tuple(f"r*{one}" for one in h_names)
        biases = [None if bias is None else anatomy.split(bias.astype(np.float64))[name] for bias in _biases(anatomy)]
        zero = np.zeros(kernel.shape[-1])
        bias, recurrent_bias = (zero if one is None else one for one in biases)
        from_states = h @ recurrent + recurrent_bias
        look, peephole = zero, anatomy.peepholes.get(name)
        if peephole is not None:
            cell = self.traced("cell_state") if name == "output_gate" else self.before["cell_state"]
            look = peephole * cell
        z = view.x @ kernel + bias + (from_states if reset is None else reset * from_states) + look
        sizes = np.abs(view.x) @ np.abs(kernel) + np.abs(h) @ np.abs(recurrent) + np.abs(bias) + np.abs(recurrent_bias)
        error = 2 * self.roundoff * (len(view.x) + len(h) + _SLACK) * (sizes + np.abs(look))
        traced = float(self.traced(name)[unit])
        self._check(name, activation, z, error, traced)
        return Gate(
            name,
            _terms(view.x_names, view.x, kernel[:, unit]),
            _terms(h_names, h, recurrent[:, unit]),
            None if biases[0] is None else float(bias[unit]),
            None if biases[1] is None else float(recurrent_bias[unit]),
            None if reset is None else float(reset[unit]),
            None if peephole is None else Term(_look(name), float(cell[unit]), float(peephole[unit])),
            float(z[unit]),
            activation.label,
            traced,
        )

    def _check(self, name: str, activation: Activation, z: Array, error: Array, traced: float) -> None:
        """Refuse a gate that is not what its parts give.

        Args:
            name: Of the gate.
            activation: Of all units: a softmax looks at all of them.
            z: ``(units,)``.
            error: ``(units,)``: how far roundings can move it.
            traced: The gate.
        """
        unit = self.view.unit
        with np.errstate(all="ignore"):
            value = activation(z)[unit]
            ends = [activation(z + sign * error)[unit] for sign in (-1, 1)]
        around = max(abs(end - value) for end in ends)
        self.agree(name, float(value), traced, 4 * float(around) + _SLACK**2 * self.roundoff * (1 + abs(float(value))))

    def agree(self, name: str, computed: float, traced: float, error: float) -> None:
        """Refuse a number that differs from the traced one by more than roundings.

        Raises:
            InputError: It does.
        """
        same = computed == traced or (np.isnan(computed) and np.isnan(traced))
        if not same and not abs(computed - traced) <= error:
            where = f"{self.part.layer}, unit {self.unit}, timestep {self.part.timesteps[self.at]}"
            reason = f"the parts of {name} give {computed:.9g}, the replay {traced:.9g}"
            raise InputError(reason, place=where, remedy="please report it, with the model")

    def activated(self) -> float | None:
        """Return the cell state after its activation on the way out."""
        if self.anatomy.output_activation is None:
            return None
        with np.errstate(all="ignore"):
            return float(self.anatomy.output_activation(self.traced("cell_state"))[self.view.unit])

    def check_states(self, activated: float | None) -> None:
        """Refuse states that do not follow from the gates.

        Raises:
            InputError: One does not.
        """
        unit = self.view.unit
        value = {name: float(self.traced(name)[unit]) for name in self.part.signals if not name.startswith("pre_")}
        before = {name: float(state[unit]) for name, state in self.before.items()}
        if activated is not None:
            kept = value["forget_gate"] * before["cell_state"]
            self._check_sum("cell_state", kept, value["input_gate"] * value["candidate"], value["cell_state"])
            self._check_sum("hidden_state", value["output_gate"] * activated, 0.0, value["hidden_state"])
        elif "update_gate" in value:
            kept, new = value["update_gate"] * before["hidden_state"], (1 - value["update_gate"]) * value["candidate"]
            self._check_sum("hidden_state", kept, new, value["hidden_state"])

    def _check_sum(self, name: str, one: float, two: float, traced: float) -> None:
        with np.errstate(all="ignore"):
            error = _SLACK**2 * self.roundoff * (abs(one) + abs(two))
        self.agree(name, one + two, traced, error + _TINY)


def _look(gate: str) -> str:
    return "c" if gate == "output_gate" else "c_before"


def _biases(anatomy: Anatomy) -> tuple[Array | None, Array | None]:
    return anatomy.bias, anatomy.recurrent_bias


def _terms(names: Iterable[str], values: Array, weights: Array) -> tuple[Term, ...]:
    terms = [Term(*one) for one in zip(names, values.tolist(), weights.tolist(), strict=True)]
    return tuple(sorted(terms, key=lambda term: -abs(term.product)))


def explain_step(
    tracing: Tracing, computed: Computed, sample: int, timestep: int | None, unit: int | None
) -> Explanation:
    """Explain one timestep of what was computed; takes what `explain` takes."""
    part = computed.part
    timestep, unit = timestep_of(part, timestep), unit_of(part, unit)
    given, ran = computed.run_of(timestep)
    anatomy, at = ran.cell.anatomy, int(np.flatnonzero(part.timesteps == timestep)[0])
    whole = any(not one.elementwise for one in (*anatomy.activations.values(), anatomy.output_activation) if one)
    if whole and anatomy.channels_first:
        raise InputError(
            f"{part.layer} has an activation that looks at all positions of an image, which no unit explains"
        )
    states, before = _states_before(part, at, ran, tracing)
    view = _view_of(anatomy, ran.x[0, given], states["hidden_state"], unit)
    masked = part.mask is not None and not view.row(_spread(part.mask[0, at], states["hidden_state"].shape))[view.unit]
    rows = {name: view.row(state) for name, state in states.items()}
    step = _Step(part, at, unit, view, rows, unit_roundoff(value[0] for value in part.signals.values()))
    gates: tuple[Gate, ...] = ()
    activated = None
    if not masked:
        activated = step.activated()
        gates = tuple(step.gates())
        step.check_states(activated)
    output = anatomy.output_activation
    return Explanation(
        layer=part.layer,
        direction=part.direction,
        sample=sample,
        unit=unit,
        timestep=timestep,
        step=int(part.steps[at]),
        length=part.length,
        masked=bool(masked),
        before=before,
        gates=gates,
        states={name: float(step.traced(name)[view.unit]) for name in states},
        states_before={name: float(row[view.unit]) for name, row in rows.items()},
        output_activation=None if output is None else output.label,
        activated=activated,
    )


def _spread(mask: Array, shape: tuple[int, ...]) -> Array:
    """Give a mask of one timestep the shape of its states."""
    return np.broadcast_to(mask.reshape(*mask.shape, *[1] * (len(shape) - mask.ndim)), shape)


def _states_before(part: DirectionTrace, at: int, ran: CellRun, tracing: Tracing) -> tuple[dict[str, Array], str]:
    """Return the states before a timestep, and where they are from."""
    names = ("hidden_state", "cell_state") if "cell_state" in part.signals else ("hidden_state",)
    steps = part.steps
    if steps[at] == 0:
        states = {name: state[0] for name, state in zip(names, ran.states, strict=True)}
        return states, begins_with(tracing, part.layer, ran.begins)
    last = int(np.flatnonzero(steps == steps[at] - 1)[0])
    return {name: part.signals[name][0, last] for name in names}, f"timestep {part.timesteps[last]}"
