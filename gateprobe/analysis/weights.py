"""The weights of recurrent layers by gate, in Keras's layout whatever the file's: values of the bound cells.

With ``x_t`` the layer's input and ``h`` its hidden state, a gate is an activation of ``x_t @ kernel + h @
recurrent_kernel + bias``. Keras keeps the gates side by side in fused arrays, those of an LSTM in the order i, f, g, o
and those of a GRU in the order z, r, h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from gateprobe.errors import InputError, NotInTrace, Refusal, UnsupportedModel, choices
from gateprobe.graph import Array, freeze
from gateprobe.layers.base import Layer
from gateprobe.layers.binding.weight_assignment import find_weights
from gateprobe.layers.recurrent.bidirectional import Bidirectional
from gateprobe.layers.recurrent.cells import Anatomy, Cell
from gateprobe.layers.recurrent.decoder import BasicDecoder
from gateprobe.layers.recurrent.rnn import Recurrent, StackedCells, cells_of
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.calls import RecurrentLayer, call_paths, recurrent_layers, signal_paths
from gateprobe.replay.plan import bind_alone
from gateprobe.traces.selection import Selection, check_layers
from gateprobe.traces.words import OTHERS, signal_key

LETTERS: Mapping[str, str] = {
    "input_gate": "i",
    "forget_gate": "f",
    "candidate": "g",
    "output_gate": "o",
    "update_gate": "z",
    "reset_gate": "r",
}
"""Gate → its letter in an order such as ``ifgo``; the candidate of a GRU is ``h``, as in Keras's source."""


class WeightKey(NamedTuple):
    """What an array of weights is."""

    layer: str
    direction: str
    gate: str
    """Empty for the weights of all gates together."""
    weight: str
    """``kernel``, ``recurrent_kernel``, ``bias``, ``recurrent_bias`` or ``peephole``."""

    @property
    def path(self) -> str:
        """The key in files: ``layer/direction/gate/kernel``, or ``layer/direction/kernel``."""
        return "/".join(filter(None, self))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GateWeights:
    """The weights of one gate; ``None`` for those that it does not have."""

    kernel: Array
    """``(features, units)``; of a ConvLSTM ``(*kernel_size, channels, filters)``."""
    recurrent_kernel: Array
    """``(units, units)``: row ``j`` is multiplied with the hidden state of unit ``j``."""
    bias: Array | None
    """``(units,)``."""
    recurrent_bias: Array | None = None
    """``(units,)``, of a GRU that resets after the recurrent product, to which it is added."""
    peephole: Array | None = None
    """``(units,)``: multiplied with the cell state."""

    def to_numpy(self) -> dict[str, Array]:
        """Return the arrays that there are, by their names here."""
        names = ("kernel", "recurrent_kernel", "bias", "recurrent_bias", "peephole")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        return f"<{', '.join(f'{name} {_size(value)}' for name, value in self.to_numpy().items())}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DirectionWeights(Mapping[str, GateWeights]):
    """The weights of one direction of a recurrent layer: gate → its part; gates are attributes too."""

    layer: str
    """Layer path."""
    direction: str
    """``forward`` or ``backward``."""
    gates: Mapping[str, GateWeights]
    """``input_gate``, ``forget_gate``, ``candidate``, ``output_gate``; of a GRU ``update_gate``, ``reset_gate``,
    ``candidate``; a SimpleRNN has one part, called ``hidden_state`` as what it computes."""
    kernel: Array
    """``(features, gates * units)``, gates side by side in Keras's order."""
    recurrent_kernel: Array
    """``(units, gates * units)``."""
    bias: Array | None
    """``(gates * units,)``."""
    recurrent_bias: Array | None
    """``(gates * units,)``, of a GRU that resets after the recurrent product."""

    @property
    def units(self) -> int:
        """Number of units; of filters in a ConvLSTM."""
        return int(self.recurrent_kernel.shape[-2])

    @property
    def features(self) -> int:
        """Number of features of the input; of channels in a ConvLSTM."""
        return int(self.kernel.shape[-2])

    @property
    def order(self) -> str:
        """The letters of the gates in Keras's order: ``ifgo``, ``zrh``; empty where there is only one."""
        return "".join(_letters(self.gates)) if len(self.gates) > 1 else ""

    def fused(self, order: str | None = None, *, transpose: bool = False) -> dict[str, Array]:
        """Return the weights of all gates together.

        Args:
            order: Letters of the gates, such as ``iofg`` for an LSTM or ``rzh`` for a GRU; Keras's own without it.
                Several orders with commas between them, of which the one with these gates holds.
            transpose: Whether to exchange the last two axes of kernels: ``(gates * units, features)``.

        Returns:
            ``kernel``, ``recurrent_kernel`` and the biases that there are.

        Raises:
            InputError: No order has just these gates.
        """
        gates = self._ordered(order)
        parts = {gate: self.gates[gate].to_numpy() for gate in gates}
        names = [name for name in parts[gates[0]] if name != "peephole"]
        whole = {name: np.concatenate([parts[gate][name] for gate in gates], axis=-1) for name in names}
        return {name: _turned(value) if transpose else value for name, value in whole.items()}

    def __getitem__(self, name: str) -> GateWeights:
        """Return the weights of a gate by its name or its letter.

        Raises:
            NotInTrace: There is no such gate; lists those there are.
        """
        gates: Mapping[str, GateWeights] = object.__getattribute__(self, "gates")
        found = signal_key(name, gates)
        if found is not None:
            return gates[found]
        raise NotInTrace(f"{self.layer} has no {name!r}", remedy=choices(gates, str(name), OTHERS))

    def __getattr__(self, name: str) -> GateWeights:
        """Return the weights of a gate."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the gates, in Keras's order."""
        return iter(self.gates)

    def __len__(self) -> int:
        """Return the number of gates."""
        return len(self.gates)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self.gates]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.gates)

    def __repr__(self) -> str:
        first = next(iter(self.gates.values()))
        return f"<{self.layer} {self.direction}: {', '.join(self.gates)}, each {repr(first)[1:-1]}>"

    def _ordered(self, order: str | None) -> list[str]:
        if self.units * len(self.gates) != self.recurrent_kernel.shape[-1]:
            raise InputError(f"{self.layer} without some of its gates has no weights of all gates together")
        if order is None or len(self.gates) == 1:
            return list(self.gates)
        letters = dict(zip(_letters(self.gates), self.gates, strict=True))
        other = {"c": "g", "g": "h" if "h" in letters else "g"}
        for text in _orders(order):
            told = [letter if letter in letters else other.get(letter, letter) for letter in text]
            if sorted(told) == sorted(letters):
                return [letters[letter] for letter in told]
        remedy = f"give the letters {', '.join(letters)} in the order that you want; with commas for several kinds"
        raise InputError(f"--order={order} is no order of the gates of {self.layer}", remedy=remedy)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LayerWeights:
    """The weights of one recurrent layer: its directions, and the gates of the only one where there is one."""

    layer: str
    """Layer path."""
    directions: tuple[DirectionWeights, ...]
    """One, or two: forward and backward."""

    @property
    def forward(self) -> DirectionWeights:
        """The direction that reads from the first timestep to the last.

        Raises:
            NotInTrace: There is none.
        """
        return self._named("forward")

    @property
    def backward(self) -> DirectionWeights:
        """The second half of a Bidirectional, or a layer with ``go_backwards=True``.

        Raises:
            NotInTrace: There is none.
        """
        return self._named("backward")

    def to_numpy(self, order: str | None = None, *, transpose: bool = False) -> dict[str, Array]:
        """Return the arrays under the names that they have in an NPZ file.

        Args:
            order: Adds the weights of all gates together, see `DirectionWeights.fused`.
            transpose: Whether to exchange the last two axes of kernels.

        Returns:
            ``layer/direction/gate/kernel`` → array, and with an order ``layer/direction/kernel``.
        """
        return {key.path: value for key, value in arrays_of([self], order, transpose=transpose)}

    def __getattr__(self, name: str) -> GateWeights:
        """Return the weights of a gate of a layer that has only one direction."""
        if name in ("forward", "backward"):  # their properties have failed: this tells why
            raise self._without(name)
        if name.startswith("__"):
            raise AttributeError(name)
        directions: tuple[DirectionWeights, ...] = object.__getattribute__(self, "directions")
        if len(directions) == 1:
            return directions[0][name]
        ways = " or ".join(f".{direction.direction}[{name!r}]" for direction in directions)
        raise NotInTrace(f"{self.layer} runs in both directions", remedy=f"say {ways}")

    def __dir__(self) -> list[str]:
        hidden = {"forward", "backward"} - {direction.direction for direction in self.directions}
        gates = list(self.directions[0]) if len(self.directions) == 1 else []
        return [*(name for name in object.__dir__(self) if name not in hidden), *gates]

    def __repr__(self) -> str:
        return "\n".join([f"Weights of layer {self.layer}", *(f"  {direction!r}" for direction in self.directions)])

    def _named(self, name: str) -> DirectionWeights:
        for direction in self.directions:
            if direction.direction == name:
                return direction
        raise self._without(name)

    def _without(self, name: str) -> NotInTrace:
        only = self.directions[0].direction
        return NotInTrace(f"{self.layer} has no {name} direction", remedy=f"available: {only}")


def weights_of(model: OpenedModel, selection: Selection | None = None) -> tuple[LayerWeights, ...]:
    """Return the weights of recurrent layers, each once, whatever the number of its calls.

    What lies upstream of a layer is neither needed nor looked at. Float16 and bfloat16 weights are kept in float32.

    Args:
        model: With an architecture, or weights alone: what they cannot tell changes none of them.
        selection: Which layers, directions and gates; all without it.

    Raises:
        UnsupportedModel: The weights of a layer are not understood.
        InputError: The selection matches nothing; lists what there is.
    """
    selection = selection or Selection()
    model = model.with_layers(selection.layers)
    layers = tuple(recurrent_layers(model.record, find_weights(model.record, model.graph.weights, model.semantics)))
    paths = {layer.path: list(signal_paths(layer.record, layer.path)) for layer in layers}
    check_layers(selection, [path for inside in paths.values() for path in inside], call_paths(model.record))
    wanted = [layer for layer in layers if any(map(selection.takes_layer, paths[layer.path]))]
    if not wanted:
        raise InputError("the model has no recurrent layer")
    parts = [part for layer, bound in _bound(model, wanted) for part in _directions(layer.path, bound)]
    return _grouped(_selected([part for part in parts if selection.takes_layer(part.layer)], selection))


def _bound(model: OpenedModel, layers: Iterable[RecurrentLayer]) -> list[tuple[RecurrentLayer, Layer]]:
    """Bind layers.

    Raises:
        UnsupportedModel: Carries the reasons of all that cannot be bound.
    """
    bound, refusals = [], list[Refusal]()
    for layer in layers:
        try:
            bound.append((layer, bind_alone(model.graph, model.semantics, layer)))
        except UnsupportedModel as error:
            refusals += error.refusals
    if refusals:
        raise UnsupportedModel(refusals, file=model.graph.file, remedy="choose other layers with --layer")
    return bound


def _directions(path: str, layer: Layer, direction: str | None = None) -> Iterator[DirectionWeights]:
    """Yield the weights of every cell in a bound layer, under the paths of its traces."""
    if isinstance(layer, Bidirectional):
        for name, part in (("forward", layer.forward), ("backward", layer.backward)):
            yield from _directions(path, part, name)
        return
    run = layer.rnn if isinstance(layer, BasicDecoder) else layer
    stacked = run.stacked if isinstance(run, Recurrent) else isinstance(run, StackedCells)
    backwards = isinstance(run, Recurrent) and run.go_backwards
    cells = run.cells if isinstance(run, Recurrent) else cells_of(run)
    for number, cell in enumerate(cells):
        own = f"{path}/cell_{number}" if stacked else path
        yield _of_cell(own, direction or ("backward" if backwards else "forward"), cell)


def _of_cell(path: str, direction: str, cell: Cell) -> DirectionWeights:
    anatomy = cell.anatomy
    kernels, recurrent = anatomy.split(anatomy.kernel), anatomy.split(anatomy.recurrent_kernel)
    biases, recurrent_biases = _split(anatomy, anatomy.bias), _split(anatomy, anatomy.recurrent_bias)
    gates = {
        gate: GateWeights(
            freeze(kernels[gate]),
            freeze(recurrent[gate]),
            biases.get(gate),
            recurrent_biases.get(gate),
            _frozen(anatomy.peepholes.get(gate)),
        )
        for gate in anatomy.gates
    }
    whole = (freeze(anatomy.kernel), freeze(anatomy.recurrent_kernel))
    return DirectionWeights(path, direction, gates, *whole, _frozen(anatomy.bias), _frozen(anatomy.recurrent_bias))


def _split(anatomy: Anatomy, bias: Array | None) -> dict[str, Array]:
    return {} if bias is None else {gate: freeze(part) for gate, part in anatomy.split(bias).items()}


def _frozen(value: Array | None) -> Array | None:
    return None if value is None else freeze(value)


def _selected(parts: Sequence[DirectionWeights], selection: Selection) -> list[DirectionWeights]:
    """Return the wanted directions with their wanted gates.

    Raises:
        InputError: There are none; lists what there is.
    """
    ways = selection.directions or ("forward", "backward")
    kept = [part for part in parts if part.direction in ways]
    if not kept:
        remedy = choices(part.direction for part in parts)
        raise InputError(f"--direction={','.join(ways)} selects nothing", remedy=remedy)
    names = selection.signal_names()
    if not names:
        return kept
    some = [replace(part, gates={name: part.gates[name] for name in names if name in part.gates}) for part in kept]
    if not any(part.gates for part in some):
        remedy = choices((gate for part in kept for gate in part.gates), names[0])
        raise InputError(f"--signal={','.join(names)} selects no weights", remedy=remedy)
    return [part for part in some if part.gates]


def _grouped(parts: Iterable[DirectionWeights]) -> tuple[LayerWeights, ...]:
    layers: dict[str, list[DirectionWeights]] = {}
    for part in parts:
        layers.setdefault(part.layer, []).append(part)
    return tuple(LayerWeights(path, tuple(group)) for path, group in layers.items())


def layer_of(model: OpenedModel, layer: str | None = None) -> LayerWeights:
    """Return the weights of one layer.

    Args:
        model: See `weights_of`.
        layer: Its path; may be left out where the model has only one.

    Raises:
        InputError: There is no such layer, or it is none alone; lists those there are.
        UnsupportedModel: Its weights are not understood.
    """
    found = weights_of(model, Selection(layers=() if layer is None else layer))
    named = [one for one in found if one.layer == layer] or found
    if len(named) > 1:
        what = "several recurrent layers" if layer is None else f"{layer} is several"
        raise InputError(f"{what}: say which", remedy=choices(one.layer for one in named))
    return named[0]


# what can be done with them


def arrays_of(
    layers: Iterable[LayerWeights], order: str | None = None, *, transpose: bool = False
) -> Iterator[tuple[WeightKey, Array]]:
    """Yield every array with its key; takes what `LayerWeights.to_numpy` takes."""
    for part in (part for layer in layers for part in layer.directions):
        for gate, weights in part.gates.items():
            for name, value in weights.to_numpy().items():
                yield WeightKey(part.layer, part.direction, gate, name), _turned(value) if transpose else value
        if order is not None:
            for name, value in part.fused(order, transpose=transpose).items():
                yield WeightKey(part.layer, part.direction, "", name), value


@dataclass(frozen=True, slots=True)
class Measure:
    """One array in a few numbers, computed in float64."""

    key: WeightKey
    shape: tuple[int, ...]
    norm: float
    """Frobenius norm: the root of the sum of squares."""
    mean: float
    minimum: float
    maximum: float
    orthogonality: float | None
    """Of recurrent kernels ``U``, ``(units, columns)``: ``||U U^T - I|| / sqrt(units)`` in the Frobenius norm; 0 where
    the rows are orthonormal, as those of a new kernel of all gates are."""


def measures(layers: Iterable[LayerWeights]) -> Iterator[Measure]:
    """Yield a measure of every array, and of the recurrent kernels of all gates together."""
    for part in (part for layer in layers for part in layer.directions):
        arrays = [(key, value) for key, value in arrays_of([LayerWeights(part.layer, (part,))])]
        if len(part.gates) > 1:
            arrays.append((WeightKey(part.layer, part.direction, "", "recurrent_kernel"), part.recurrent_kernel))
        yield from (_measured(key, value) for key, value in arrays)


def _measured(key: WeightKey, value: Array) -> Measure:
    wide = value.astype(np.float64)
    with np.errstate(all="ignore"):  # infinite weights have no norm
        return Measure(
            key,
            value.shape,
            norm=float(np.sqrt(np.square(wide).sum())),
            mean=float(wide.mean()),
            minimum=float(wide.min()),
            maximum=float(wide.max()),
            orthogonality=_orthogonality(wide) if key.weight == "recurrent_kernel" and value.ndim == 2 else None,
        )


def _orthogonality(kernel: Array) -> float:
    units = len(kernel)
    return float(np.linalg.norm(kernel @ kernel.T - np.eye(units)) / np.sqrt(units))


def _turned(value: Array) -> Array:
    return value if value.ndim < 2 else np.ascontiguousarray(np.swapaxes(value, -1, -2))


def _orders(order: str) -> list[str]:
    """Return the orders that a text gives: several with commas between them, or one with a comma behind each letter."""
    orders = [text.strip() for text in order.split(",")]
    return ["".join(orders)] if all(len(text) == 1 for text in orders) else orders


def _letters(gates: Mapping[str, object]) -> list[str]:
    gru = "update_gate" in gates
    return ["h" if gru and gate == "candidate" else LETTERS.get(gate, gate) for gate in gates]


def _size(value: Array) -> str:
    return "×".join(map(str, value.shape))
