"""What a disagreement without a name is made of: which factor of a gate the numbers are consistent with.

A gate is ``activation(x * kernel + h * recurrent_kernel + bias)``. What a port's gate says of that sum is compared with
the sum itself, reckoned from the port's own hidden states: a difference that is the same everywhere is a bias, one that
goes with a feature of ``x`` a column of the kernel, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateprobe.analysis.agreement import Divergence
from gateprobe.analysis.mistakes.block import Block, reported, simulate
from gateprobe.analysis.mistakes.port import GATES, weights_of
from gateprobe.graph import Array
from gateprobe.layers.recurrent.conv_lstm import ConvLSTMCell
from gateprobe.layers.recurrent.gru import GRUCell

_MOST = 4096
"""Numbers that are looked at."""
_FEW = 4
"""Fewer cannot tell one factor from another."""
_MARGIN = 1e-3
"""A gate nearer to its end says too little of what it was made from."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a gate."""

    name: str
    """``x * kernel``, ``h * recurrent_kernel``, ``bias`` or ``activation``."""
    consistent: bool
    text: str = ""
    """How it would have to differ, where one number says it."""


def factors(block: Block, first: Divergence) -> tuple[Factor, ...]:
    """Return the factors of the gate in which a block first disagrees.

    Returns:
        Nothing where they cannot be told apart: no gate, a saturated one, or too few numbers.
    """
    gates = GATES.get(block.base.kind, ())
    if first.signal not in gates or isinstance(block.given.cell, ConvLSTMCell):
        return ()
    if isinstance(block.given.cell, GRUCell) and first.signal == "candidate":
        return ()
    points = _points(block, first, gates.index(first.signal))
    return () if points is None else tuple(_tested(points))


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """One gate of one unit at many samples and timesteps."""

    x: Array
    """``(points, features)``."""
    h: Array
    """``(points, units)``."""
    total: Array
    """``(points,)``: what the activation should get."""
    gate: Array
    """``(points,)``: what the port has."""
    wrong: Array
    """``(points,)``: what the port's activation got, less ``total``; NaN where the gate does not say."""
    off: Array
    """``(points,)``: how far that may be off."""
    loose: Array
    """``(points,)``: how far the gate may be off."""
    column: int
    activation: Any

    def would_be_right(self, more: Array) -> bool:
        """Whether the gates are those of sums that are so much larger, also where the activation is at its end."""
        off = np.abs(self.activation(self.total + more) - self.gate)
        return bool((off <= 2 * self.loose).all())


def _points(block: Block, first: Divergence, gate: int) -> _Points | None:
    activation = _activation(block, gate)
    inverse = _INVERSES.get(activation.label)
    if inverse is None or first.step is None:
        return None
    rows = np.arange(len(block.given.x))
    positions = reported(block.base, block.timesteps)
    ours, _ = simulate(block.base, block.exact, rows)
    hidden, steps = _hidden(block, ours["hidden_state"], positions, first.step)
    before = np.concatenate([block.exact.initial[0].reshape(len(rows), 1, -1), hidden[:, :-1]], 1)[:, :steps]
    at = positions[:steps]
    theirs = block.theirs[first.signal]
    compared = block.compared(block.base)[first.signal][:, at, first.unit]
    x, h = block.exact.x[:, at][compared][:_MOST], before[compared][:_MOST]
    value, slack = (array[:, at, first.unit][compared][:_MOST] for array in (theirs.values, theirs.slack))
    weights = weights_of(block.base, np.float64)
    units = weights.recurrent.shape[0]
    column = gate * units + first.unit
    bias = sum(half[column] for half in (weights.first, weights.second) if half is not None)
    total = x @ weights.kernel[:, column] + h @ weights.recurrent[:, column] + bias
    with np.errstate(all="ignore"):
        got, steep = inverse(value)
    loose = slack + block.loose * 0.1
    return _Points(x, h, total, value, got - total, loose * steep, loose, column, activation)


def _hidden(block: Block, ours: Array, positions: Array, until: int) -> tuple[Array, int]:
    """Return hidden states in the order of the steps, the port's own where the file has them, and how many steps count.

    Without them, ours stand for the port's as long as all agrees.
    """
    theirs = block.theirs.get("hidden_state")
    if theirs is None or not theirs.there.all():
        return ours, until + 1
    return theirs.values[:, positions], block.timesteps


def _activation(block: Block, gate: int) -> Any:
    cell = block.given.cell
    candidate = GATES[block.base.kind][gate] in ("candidate", "hidden_state")
    return cell.activation if candidate else cell.recurrent_activation


def _logit(gate: Array) -> tuple[Array, Array]:
    inside = (gate > _MARGIN) & (gate < 1 - _MARGIN)
    safe = np.where(inside, gate, 0.5)
    return np.where(inside, np.log(safe / (1 - safe)), np.nan), 1 / (safe * (1 - safe))


def _artanh(gate: Array) -> tuple[Array, Array]:
    inside = np.abs(gate) < 1 - _MARGIN
    safe = np.where(inside, gate, 0.0)
    return np.where(inside, np.arctanh(safe), np.nan), 1 / (1 - safe * safe)


def _straight(slope: float) -> Callable[[Array], tuple[Array, Array]]:
    def inverse(gate: Array) -> tuple[Array, Array]:
        inside = (gate > 0) & (gate < 1)
        return np.where(inside, (gate - 0.5) / slope, np.nan), np.full(gate.shape, 1 / slope)

    return inverse


_INVERSES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "sigmoid": _logit,
    "tanh": _artanh,
    "hard_sigmoid[slope=0.2]": _straight(0.2),
    "hard_sigmoid[slope=1/6]": _straight(1 / 6),
}


def _tested(points: _Points) -> Iterator[Factor]:
    use = np.isfinite(points.wrong)
    if np.count_nonzero(use) < _FEW:
        return
    for name, weight, rows in (
        ("x * kernel", "kernel", points.x),
        ("h * recurrent_kernel", "recurrent_kernel", points.h),
    ):
        yield _of_matrix(points, name, weight, rows, use)
    middle = float(np.median(points.wrong[use]))
    same = points.would_be_right(np.full(len(use), middle))
    yield Factor("bias", same, f"bias[{points.column}] {_more(middle)}" if same else "")
    yield Factor("activation", _is_function(points))


def _of_matrix(points: _Points, name: str, weight: str, rows: Array, use: Array) -> Factor:
    """Try one weight alone, then all of the column together."""
    wrong, off = points.wrong[use], points.off[use]
    for k in range(rows.shape[1]):
        along = rows[use, k]
        size = float((along * along / off**2).sum())
        by = float((along * wrong / off**2).sum()) / size if size else 0.0
        if points.would_be_right(by * rows[:, k]):
            return Factor(name, consistent=True, text=f"{weight}[{k}, {points.column}] {_more(by)}")
    if len(wrong) < rows.shape[1] + _FEW:
        return Factor(name, consistent=False)
    found = np.linalg.lstsq(rows[use] / off[:, None], wrong / off, rcond=None)[0]
    fits = points.would_be_right(rows @ found)
    return Factor(name, consistent=fits, text=f"several weights in column {points.column}" if fits else "")


def _more(by: float) -> str:
    return f"{'larger' if by > 0 else 'smaller'} by {abs(by):.4g}"


def _is_function(points: _Points) -> bool:
    """Whether larger sums give larger gates, and like sums like ones."""
    order = np.argsort(points.total)
    total, gate, loose = points.total[order], points.gate[order], points.loose[order]
    if len(total) < 2 * _FEW:
        return False
    rise, run = np.diff(gate), np.diff(total)
    room = loose[1:] + loose[:-1] + 1e-9
    return bool(((rise >= -room) & (rise <= 1.05 * run + room)).all())
