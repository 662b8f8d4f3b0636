"""The one list of known mistakes, from the simplest on: what `compare` and `verify` try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np

from gateprobe.activations import Activation
from gateprobe.analysis.mistakes.formats import FLOATS, fixed_point
from gateprobe.analysis.mistakes.port import ALTERABLE, GATES, LETTERS, BiasUse, Format, kind_of
from gateprobe.graph import Array
from gateprobe.layers.recurrent.conv_lstm import ConvLSTMCell
from gateprobe.semantics import Semantics

REVERSED = "backward not reversed"
"""Name of the mistake that `verify` also looks for on the replay's side."""
_ALL_ORDERS_OF = 4
"""So many features are tried in every order."""
_SWAPS_OF = 16
"""Of so many features, any two are tried the other way round."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """One thing that a port may do otherwise."""

    name: str
    """Short: ``gate order``."""
    text: str
    """What is so in the port, to stand behind "if": ``the gate order is i, f, o, g``."""
    fields: Mapping[str, Any]
    """Of `Port`."""
    slope: float | None = None
    """The slope of ``hard_sigmoid`` that this gives the whole model, where it is that."""
    rare: bool = False
    """Whether it is tried only where the numbers are nearly right without it."""

    def beside(self, other: Mistake) -> bool:
        """Whether a port can make both."""
        return not self.fields.keys() & other.fields.keys()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides which mistakes are possible."""

    cell: Any
    backwards: bool
    masked: bool
    starts: bool
    """Whether initial states are given."""
    samples: int
    features: int
    halves: tuple[Array, Array] | None = field(default=None, repr=False)


def known(case: Circumstances) -> list[Mistake]:
    """Return the mistakes that a port of a cell can make, from the simplest on."""
    if not kind_of(case.cell):
        return []
    found = [
        *_orders(case),
        *_activations(case),
        *_biases(case),
        *_recurrent(case),
        *_time(case),
        *_states(case),
        *_features(case),
        *_rounded_weights(),
        *_tables(case),
    ]
    if isinstance(case.cell, ConvLSTMCell):
        return [one for one in [*found, *_windows(case)] if _of_images(one)]
    return found


def _windows(case: Circumstances) -> Iterator[Mistake]:
    """Yield what only a convolution can have."""
    if max(case.cell.kernel.shape[:-2]) > 1:
        yield Mistake("kernels turned", "the kernels are turned by 180 degrees", {"turned": True})


def _of_images(mistake: Mistake) -> bool:
    """Whether a ConvLSTM can have it; its cell has one activation for candidate and output."""
    apart = ("candidate" in mistake.fields) is not ("output" in mistake.fields)
    return mistake.fields.keys() <= ALTERABLE and not apart


def spoken(order: Sequence[int], kind: str) -> str:
    """Return the order in which a port takes the blocks of columns, in letters.

    Args:
        order: For each of Keras's gates, the number of its block.
        kind: Of the cell.
    """
    return ", ".join(LETTERS[kind][order.index(block)] for block in range(len(order)))


def _orders(case: Circumstances) -> Iterator[Mistake]:
    kind = kind_of(case.cell)
    own = tuple(range(len(GATES[kind])))
    others = [order for order in permutations(own) if order != own]
    others.sort(key=lambda order: sum(place != block for place, block in enumerate(order)))  # two exchanged first
    for order in others:
        yield Mistake("gate order", f"the gate order is {spoken(order, kind)}", {"order": order})


# --- activations


def _clipped(slope: float) -> Activation:
    def apply(x: Array, out: Array) -> None:
        np.clip(x * x.dtype.type(slope) + x.dtype.type(0.5), 0, 1, out=out)

    return Activation(f"hard_sigmoid[slope={'0.2' if slope == 0.2 else '1/6'}]", apply)


def _sigmoid(x: Array, out: Array) -> None:
    np.multiply(np.tanh(x * x.dtype.type(0.5)), 0.5, out=out)
    np.add(out, 0.5, out=out)


_GATES: Mapping[str, tuple[Activation, str]] = {
    "sigmoid": (Activation("sigmoid", _sigmoid), "sigmoid"),
    "hard_sigmoid[slope=0.2]": (_clipped(0.2), "hard_sigmoid, clip(0.2*x + 0.5, 0, 1)"),
    "hard_sigmoid[slope=1/6]": (_clipped(1 / 6), "hard_sigmoid, clip(x/6 + 0.5, 0, 1)"),
}


def _tanh(x: Array, out: Array) -> None:
    np.tanh(x, out=out)


def _relu(x: Array, out: Array) -> None:
    np.maximum(x, 0, out=out)


_SQUASHES: Mapping[str, Activation] = {
    "tanh": Activation("tanh", _tanh),
    "relu": Activation("relu", _relu),
    "linear": Activation("linear", lambda x, out: np.copyto(out, x)),
}
_SLOPES = {
    "hard_sigmoid[slope=0.2]": (1 / 6, "x/6", "Keras 3"),
    "hard_sigmoid[slope=1/6]": (0.2, "0.2*x", "Keras 1 and 2"),
}


def _activations(case: Circumstances) -> Iterator[Mistake]:
    cell, kind = case.cell, kind_of(case.cell)
    if kind != "simple":
        yield from _gate_activations(cell.recurrent_activation.label)
    own = cell.activation.label
    others = [name for name in _SQUASHES if name != own]
    for name in others:
        what = "no activation" if name == "linear" else name
        both = {"candidate": _SQUASHES[name], "output": _SQUASHES[name]}
        if kind != "lstm":
            subject = "candidate" if kind == "gru" else "hidden state"
            yield Mistake("activation", f"the {subject} has {what} instead of {own}", {"candidate": _SQUASHES[name]})
            continue
        yield Mistake("activation", f"candidate and output have {what} instead of {own}", both)
        for where, part in (("candidate activation", "candidate"), ("output activation", "output")):
            text = f"the {part} has {what} instead of {own}"
            yield Mistake(where, text, {part: _SQUASHES[name]})


def _gate_activations(own: str) -> Iterator[Mistake]:
    for label, (activation, words) in _GATES.items():
        if label == own:
            continue
        if own in _SLOPES and label in _SLOPES:
            slope, formula, era = _SLOPES[own]
            text = f"hard_sigmoid is clip({formula} + 0.5, 0, 1), as in {era}"
            yield Mistake("hard_sigmoid slope", text, {"gate": activation}, slope=slope)
        else:
            name = f"{label.partition('[')[0]} for {own.partition('[')[0]}"
            yield Mistake(name, f"the gates have {words} instead of {own.partition('[')[0]}", {"gate": activation})


# --- bias and recurrent product


def _biases(case: Circumstances) -> Iterator[Mistake]:
    cell = case.cell
    if cell.bias is None:
        if kind_of(cell) == "lstm":
            yield _forget_bias()
        return
    for name, factor in (("left out", 0.0), ("doubled", 2.0), ("halved", 0.5)):
        use = BiasUse((factor, 0.0), (0.0, factor))
        yield Mistake(f"bias {name}", f"the bias is {name}", {"bias": use})
    if kind_of(cell) == "lstm":
        yield _forget_bias()
    if case.halves is not None or getattr(cell, "recurrent_bias", None) is not None:
        for text, use in _HALVES.items():
            yield Mistake("bias halves", text, {"bias": use})


def _forget_bias() -> Mistake:
    return Mistake("forget bias", "1 is added to the bias of the forget gate again", {"forget_bias": 1.0})


_HALVES = {
    "only the input half of the bias is used": BiasUse((1.0, 0.0), (0.0, 0.0)),
    "only the recurrent half of the bias is used": BiasUse((0.0, 0.0), (0.0, 1.0)),
    "the halves of the bias are taken the other way round": BiasUse((0.0, 1.0), (1.0, 0.0)),
    "both halves of the bias are added to the input product": BiasUse((1.0, 1.0), (0.0, 0.0)),
    "both halves of the bias are added to the recurrent product": BiasUse((0.0, 0.0), (1.0, 1.0)),
}


def _recurrent(case: Circumstances) -> Iterator[Mistake]:
    cell = case.cell
    yield Mistake(
        "recurrent kernel transposed", "the recurrent kernel of each gate is transposed", {"transposed": True}
    )
    if kind_of(cell) == "gru":
        where = "before" if cell.reset_after else "after"
        text = f"the reset gate is applied {where} the recurrent product"
        yield Mistake("GRU reset_after", text, {"reset_after": not cell.reset_after})
    if kind_of(cell) != "simple":
        if case.halves is not None:
            yield Mistake(
                "CuDNN layout", "the kernels, which are in CuDNN's layout, are read as Keras's", {"cudnn": -1}
            )
        else:
            yield Mistake("CuDNN layout", "the kernels are read as if in CuDNN's layout", {"cudnn": 1})
        yield Mistake(
            "gates after",
            "the gates that are logged are computed from the hidden state after the step instead of before",
            {"reads": "after"},
        )
    yield Mistake(
        "state in place",
        "the hidden state is written in place, so that each unit sees the new states of the units before it",
        {"reads": "in place"},
    )


# --- time and states


def _time(case: Circumstances) -> Iterator[Mistake]:
    if case.backwards:
        yield Mistake(
            REVERSED,
            "the rows of the backward direction are not put back into the order of the input",
            {"flipped": True},
        )
        yield Mistake(
            "direction", "the backward direction reads its input from the first timestep on", {"backwards": False}
        )
        text = "the backward direction reads its input from the first timestep on, and its rows are reversed"
        yield Mistake("direction", text, {"backwards": False, "flipped": True})
        return
    yield Mistake("direction", "time is reversed: the input is read from its end", {"backwards": True, "flipped": True})
    text = "time is reversed: the input is read from its end, and the rows are put back into its order"
    yield Mistake("direction", text, {"backwards": True})
    yield Mistake("rows reversed", "the rows stand in the opposite order of time", {"flipped": True})


def _states(case: Circumstances) -> Iterator[Mistake]:
    if case.masked:
        yield Mistake("mask ignored", "the mask is ignored", {"masked": False})
    if case.starts:
        yield Mistake("initial state ignored", "the initial state is ignored", {"initial": False})
    yield Mistake("state reset", "the states are reset at each step", {"state": "reset"})
    if case.samples > 1:
        yield Mistake("state not reset", "the states are not reset between samples", {"state": "carried"})


# --- features


def _features(case: Circumstances) -> Iterator[Mistake]:
    for order in _feature_orders(case.features):
        listed = ", ".join(map(str, order)) if case.features <= _SWAPS_OF else _described(order)
        yield Mistake("features", f"the features are in the order {listed}", {"features": order})


def _feature_orders(count: int) -> Iterator[tuple[int, ...]]:
    own = tuple(range(count))
    seen = {own}
    tried = [own[::-1], own[1:] + own[:1], own[-1:] + own[:-1]]
    if count <= _ALL_ORDERS_OF:
        tried = list(permutations(own))
    elif count <= _SWAPS_OF:
        tried += [_exchanged(own, a, b) for a, b in combinations(own, 2)]
    if count % 2 == 0 and count > _ALL_ORDERS_OF:
        tried += [(*own[count // 2 :], *own[: count // 2]), (*own[::2], *own[1::2])]
    for order in tried:
        if order not in seen:
            seen.add(order)
            yield order


def _exchanged(own: tuple[int, ...], a: int, b: int) -> tuple[int, ...]:
    order = list(own)
    order[a], order[b] = b, a
    return tuple(order)


def _described(order: tuple[int, ...]) -> str:
    if order == tuple(range(len(order)))[::-1]:
        return f"{len(order) - 1} down to 0"
    return f"{', '.join(map(str, order[:3]))}, ..., {order[-1]}"


# --- numbers


def _rounded_weights() -> Iterator[Mistake]:
    formats: list[Format] = [*FLOATS, *(fixed_point(bits) for bits in range(4, 17))]
    for one in formats:
        yield Mistake("weights rounded", f"the weights are rounded to {one.name}", {"weights": one}, rare=True)


_REACHES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
_PIECES = tuple(sorted({2**k - d for k in range(2, 11) for d in (0, 1)} | {10, 20, 40, 50, 100, 200, 400, 500, 1000}))


def table(function: Activation, reach: float, pieces: int) -> Activation:
    """Return a function as a table: straight lines between ``pieces + 1`` of its values, constant beyond ``reach``."""
    knots = np.linspace(-reach, reach, pieces + 1)
    values = function(knots)

    def apply(x: Array, out: Array) -> None:
        np.copyto(out, np.interp(x, knots, values))

    return Activation(f"{function.label}[table]", apply)


def _tables(case: Circumstances) -> Iterator[Mistake]:
    cell, kind = case.cell, kind_of(case.cell)
    squash = _SQUASHES.get(cell.activation.label) if cell.activation.label == "tanh" else None
    gate = _GATES["sigmoid"][0] if getattr(cell, "recurrent_activation", cell.activation).label == "sigmoid" else None
    for reach in _REACHES:
        for pieces in _PIECES:
            words = f"of {pieces} linear pieces from -{reach} to {reach}"
            if gate is not None and kind != "simple":
                made = {"gate": table(gate, reach, pieces)}
                yield Mistake("table", f"sigmoid is a table {words}", made, rare=True)
            if squash is not None:
                made = {"candidate": table(squash, reach, pieces)}
                made |= {"output": made["candidate"]} if kind == "lstm" else {}
                yield Mistake("table", f"tanh is a table {words}", made, rare=True)
            if squash is not None and gate is not None and kind != "simple":
                both = {"gate": table(gate, reach, pieces), **made}
                yield Mistake("table", f"sigmoid and tanh are tables {words}", both, rare=True)


def with_slope(semantics: Semantics, mistake: Mistake) -> Semantics:
    """Return what the words of a model mean to a program that makes a mistake everywhere."""
    return semantics if mistake.slope is None else replace(semantics, hard_sigmoid_slope=mistake.slope)
