"""A port: how another program may compute a recurrent layer, right or with mistakes.

A port is told by what it does otherwise than Keras. The equations are those of ``layers/recurrent/lstm.py``, ``gru.py``
and ``simple_rnn.py``; every field of `Port` says where the port leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gateprobe.activations import Activation
from gateprobe.graph import Array
from gateprobe.layers.base import Precision
from gateprobe.layers.recurrent.cells import Anatomy, Cell, Steps
from gateprobe.layers.recurrent.conv_lstm import ConvLSTMCell
from gateprobe.layers.recurrent.gru import GRUCell
from gateprobe.layers.recurrent.lstm import LSTMCell
from gateprobe.layers.recurrent.simple_rnn import SimpleRNNCell

Settle: TypeAlias = Callable[[Array], Array]
"""Rounds numbers to those that a format has."""

GATES: Mapping[str, tuple[str, ...]] = {
    "lstm": ("input_gate", "forget_gate", "candidate", "output_gate"),
    "gru": ("update_gate", "reset_gate", "candidate"),
    "simple": ("hidden_state",),
}
"""Kind of cell → its gates in the order of Keras's columns."""
LETTERS: Mapping[str, str] = {"lstm": "ifgo", "gru": "zrg", "simple": "h"}
ALTERABLE = frozenset(
    """
    order gate candidate output bias forget_bias transposed turned features weights state initial masked backwards
    flipped
    """.split()
)
"""Fields that a ConvLSTM can have, whose products are convolutions."""


@dataclass(frozen=True, slots=True)
class BiasUse:
    """What becomes of the two halves of a bias; a bias without halves is the first."""

    first: tuple[float, float] = (1.0, 0.0)
    """How often each half is added to the input product."""
    second: tuple[float, float] = (0.0, 1.0)
    """How often each half is added to the recurrent product."""


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """Numbers that are fewer than floats."""

    name: str
    """Such as ``Q7.8`` or ``float16``."""
    settle: Settle
    step: float
    """The distance of two neighbours; of a floating-point format, that at 1."""
    floating: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """How a cell, and the loop around it, is computed."""

    cell: Any
    """As Keras computes it."""
    backwards: bool
    """Whether it runs from the last timestep to the first."""
    order: tuple[int, ...] | None = None
    """For each of Keras's gates, the number of the block of columns that the port takes for it."""
    transposed: bool = False
    """Whether the recurrent kernel of each gate is transposed; of a ConvLSTM at every place of the window."""
    turned: bool = False
    """Whether the kernels of a ConvLSTM are turned by 180 degrees, as in a convolution that is no correlation."""
    cudnn: int = 0
    """1 to convert Keras's kernels as if they were CuDNN's, -1 to leave CuDNN's as they are."""
    bias: BiasUse | None = None
    forget_bias: float = 0.0
    """Added to the forget gate once more."""
    gate: Activation | None = None
    candidate: Activation | None = None
    output: Activation | None = None
    reset_after: bool | None = None
    features: tuple[int, ...] | None = None
    """For each row of the kernel, the number of the feature that meets it."""
    reads: str = "before"
    """The state that the gates see: ``before``; ``after``, in what is logged; ``in place``, unit by unit."""
    state: str = "kept"
    """``kept`` from step to step; ``reset`` at each; ``carried`` from sample to sample."""
    initial: bool = True
    """Whether it begins with the initial state that it is given."""
    masked: bool = True
    """Whether it heeds the mask."""
    flipped: bool = False
    """Whether its rows stand in the opposite order of time."""
    weights: Format | None = None
    """To which its weights are rounded."""
    values: Format | None = None
    """To which it rounds every number."""
    halves: tuple[Array, Array] | None = None
    """Both halves of the bias of a CuDNN LSTM, which the cell has in one."""

    @property
    def kind(self) -> str:
        """``lstm``, ``gru`` or ``simple``."""
        return kind_of(self.cell)

    @property
    def block_order(self) -> tuple[int, ...]:
        """`order`, also where it is Keras's."""
        return self.order or tuple(range(len(GATES[self.kind])))

    def altered(self) -> Cell:
        """Return a cell that computes like this."""
        if isinstance(self.cell, ConvLSTMCell):
            return _convolution(self)
        return PortCell(self)


def kind_of(cell: object) -> str:
    """Return ``lstm``, ``gru`` or ``simple``; an empty text for cells that cannot be altered."""
    if isinstance(cell, (LSTMCell, ConvLSTMCell)):
        return "lstm"
    return {GRUCell: "gru", SimpleRNNCell: "simple"}.get(type(cell), "")


def _convolution(port: Port) -> Cell:
    """Return a ConvLSTM with other kernels, activations and bias; it cannot tell ``output`` from ``candidate``."""
    cell: ConvLSTMCell = port.cell
    rows = range(cell.kernel.shape[-2]) if port.features is None else port.features
    altered = replace(
        cell,
        kernel=_blocks(port, cell.kernel[..., np.argsort(rows), :], images=True),
        recurrent_kernel=_blocks(port, cell.recurrent_kernel, images=True, transposed=port.transposed),
        bias=_bias(port, cell),
        activation=port.candidate or cell.activation,
        recurrent_activation=port.gate or cell.recurrent_activation,
    )
    return _Forgetful(altered) if port.state == "reset" else altered


def _blocks(port: Port, array: Array, *, images: bool = False, transposed: bool = False) -> Array:
    """Return weights of a ConvLSTM with their blocks as the port takes them."""
    blocks = array.reshape(*array.shape[:-1], 4, -1)[..., list(port.block_order), :]
    if transposed:
        blocks = np.swapaxes(blocks, -3, -1)
    if images and port.turned:
        blocks = np.flip(blocks, tuple(range(blocks.ndim - 3)))
    joined = np.ascontiguousarray(blocks).reshape(array.shape)
    return joined if port.weights is None else port.weights.settle(joined)


def _bias(port: Port, cell: ConvLSTMCell) -> Array | None:
    factor = 1.0 if port.bias is None else port.bias.first[0]
    bias = None if cell.bias is None else _blocks(port, cell.bias) * cell.bias.dtype.type(factor)
    if not port.forget_bias:
        return bias
    bias = np.zeros(4 * cell.units, cell.kernel.dtype) if bias is None else bias.copy()
    bias[cell.units : 2 * cell.units] += bias.dtype.type(port.forget_bias)
    return bias


@dataclass(frozen=True, slots=True, eq=False)
class _Forgetful:
    """A cell whose states are reset at each step."""

    cell: ConvLSTMCell

    @property
    def units(self) -> int:
        """Number of filters."""
        return self.cell.units

    @property
    def anatomy(self) -> Anatomy:
        """See `Cell`."""
        return self.cell.anatomy

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """See `Cell`."""
        return self.cell.state_shapes(x_shape)

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        return _ForgetfulSteps(self.cell.begin(x, pre=pre))


@dataclass(frozen=True, slots=True, eq=False)
class _ForgetfulSteps:
    """A run of such a cell."""

    steps: Steps

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `Steps`."""
        return self.steps.step(t, tuple(map(np.zeros_like, states)))

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        return self.steps.signals()


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """What a port multiplies and adds; ``None`` for what is zero."""

    kernel: Array
    recurrent: Array
    first: Array | None
    """Added to the input product."""
    second: Array | None
    """Added to the recurrent product."""


def weights_of(port: Port, dtype: Any) -> _Weights:
    """Return the weights as the port takes them, ``(rows, gates * units)`` and ``(gates * units,)``."""
    cell, gates = port.cell, len(GATES[port.kind])
    order = list(port.block_order)

    def taken(array: Array, *, turned: bool = False, cudnn: bool = False) -> Array:
        rows = array.astype(dtype).reshape(*array.shape[:-1], gates, -1)
        blocks = [rows[..., number, :] for number in order]
        if port.cudnn and array.ndim == 2:
            blocks = [_cudnn(block, port.cudnn, recurrent=cudnn) for block in blocks]
        blocks = [block.T for block in blocks] if turned else blocks
        joined = np.concatenate(blocks, -1)
        return joined if port.weights is None else port.weights.settle(joined)

    halves = (cell.bias, getattr(cell, "recurrent_bias", None)) if port.halves is None else port.halves
    first, second = (None if half is None else taken(half) for half in halves)
    use = port.bias or BiasUse()
    return _Weights(
        taken(cell.kernel),
        taken(cell.recurrent_kernel, turned=port.transposed, cudnn=True),
        _sum(use.first, (first, second)),
        _sum(use.second, (first, second)),
    )


def _sum(factors: tuple[float, float], halves: tuple[Array | None, Array | None]) -> Array | None:
    parts = [
        half * half.dtype.type(factor)
        for factor, half in zip(factors, halves, strict=True)
        if half is not None and factor
    ]
    return None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _cudnn(block: Array, way: int, *, recurrent: bool) -> Array:
    """Convert one gate's kernel from CuDNN's layout, or back into it; see ``from_cudnn`` in ``cells.py``."""
    if recurrent:
        return block.T
    if way > 0:
        return block.T.reshape(block.shape, order="F")
    return block.reshape(block.T.shape, order="F").T


@dataclass(frozen=True, slots=True, eq=False)
class PortCell:
    """A cell that computes as a port does."""

    port: Port

    @property
    def units(self) -> int:
        """Size of the state."""
        return int(self.port.cell.recurrent_kernel.shape[0])

    @property
    def anatomy(self) -> Anatomy:
        """What Keras's cell computes with."""
        found: Anatomy = self.port.cell.anatomy
        return found

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """See `Cell`."""
        shapes: tuple[tuple[int, ...], ...] = self.port.cell.state_shapes(x_shape)
        return shapes

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `Cell`."""
        kinds: Mapping[str, type[LSTMPort | GRUPort | SimplePort]]
        kinds = {"lstm": LSTMPort, "gru": GRUPort, "simple": SimplePort}
        return kinds[self.port.kind](self.port, x, pre=pre)


class _Run:
    """What all ports share: weights, the projected input, and the memory of the signals.

    Args:
        port: What to do.
        x: ``(timesteps, samples, features)``.
        pre: Whether to keep the gates before their activation.
    """

    names: tuple[str, ...] = ()

    def __init__(self, port: Port, x: Array, *, pre: bool) -> None:
        cell = port.cell
        x = x if port.features is None else x[..., list(port.features)]
        self.port, self.weights = port, weights_of(port, x.dtype)
        self.gates = GATES[port.kind]
        self.units = cell.recurrent_kernel.shape[0]
        self.settle = _settler(port, cell.precision, x.dtype)
        self.projected = self.settle(self.settle(x) @ self.weights.kernel)
        if self.weights.first is not None:
            self.projected = self.settle(self.projected + self.weights.first)
        self.gate = port.gate or getattr(cell, "recurrent_activation", cell.activation)
        self.candidate = port.candidate or cell.activation
        self.output = port.output or cell.activation
        shape = (*x.shape[:2], self.units)
        self.memory = {name: np.empty(shape, x.dtype) for name in self.names}
        self.pre = {f"pre_{name}": np.empty(shape, x.dtype) for name in self.gates} if pre else {}

    def recurrent(self, hidden: Array) -> Array:
        """Return the recurrent product, ``(samples, gates * units)``."""
        product = self.settle(hidden @ self.weights.recurrent)
        return product if self.weights.second is None else self.settle(product + self.weights.second)

    def block(self, z: Array, number: int) -> Array:
        """Return one gate's columns."""
        return z[..., number * self.units : (number + 1) * self.units]

    def begins(self, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the states that a step begins with."""
        return tuple(map(np.zeros_like, states)) if self.port.state == "reset" else states

    def keep(self, t: int, values: Mapping[str, Array]) -> None:
        """Log signals of a timestep."""
        for name, value in values.items():
            (self.pre if name in self.pre else self.memory)[name][t] = value

    def signals(self) -> Mapping[str, Array]:
        """See `Steps`."""
        return {**self.memory, **self.pre}


def _settler(port: Port, precision: Precision, dtype: Any) -> Settle:
    if port.values is not None:
        return port.values.settle
    if not precision.exact and dtype == np.float32:
        return precision.round
    return lambda x: x


class LSTMPort(_Run):
    """i, f, o = gate(z); c' = f * c + i * candidate(z_c); h' = o * output(c')."""

    names = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `Steps`."""
        hidden, cell = self.begins(states)
        if self.port.reads == "in place":
            return self._in_place(t, hidden, cell)
        self._log(t, self._gates(t, hidden))
        after, new = self._update([self.memory[name][t] for name in self.gates], cell)
        if self.port.reads == "after":
            self._log(t, self._gates(t, after))
        self.keep(t, {"cell_state": new, "hidden_state": after})
        return after.copy(), new.copy()

    def _log(self, t: int, found: tuple[Array, Array]) -> None:
        for gates, prefix in zip(found, ("", "pre_"), strict=True):
            if not prefix or self.pre:
                self.keep(t, {prefix + name: self.block(gates, number) for number, name in enumerate(self.gates)})

    def _gates(self, t: int, hidden: Array) -> tuple[Array, Array]:
        z = self.settle(self.projected[t] + self.recurrent(hidden))
        if self.port.forget_bias:
            z = z.copy()
            self.block(z, 1)[...] += z.dtype.type(self.port.forget_bias)
        gates = np.empty_like(z)
        for number in range(4):
            activation = self.candidate if number == 2 else self.gate
            activation.apply(self.block(z, number), self.block(gates, number))
        return self.settle(gates), z

    def _update(self, gates: Sequence[Array], cell: Array) -> tuple[Array, Array]:
        (i, f, g, o), settle = gates, self.settle
        new = settle(settle(f * cell) + settle(i * g))
        return settle(o * settle(self.output(new))), new

    def _in_place(self, t: int, hidden: Array, cell: Array) -> tuple[Array, ...]:
        """Write each unit's state where the next unit's gates read it."""
        hidden, new = hidden.copy(), cell.copy()
        for unit in range(self.units):
            gates, z = self._gates(t, hidden)
            mine = [self.block(gates, number)[:, unit] for number in range(4)]
            hidden[:, unit], new[:, unit] = self._update(mine, cell[:, unit])
            for number, name in enumerate(self.gates):
                self.memory[name][t, :, unit] = mine[number]
                if self.pre:
                    self.pre[f"pre_{name}"][t, :, unit] = self.block(z, number)[:, unit]
        self.keep(t, {"cell_state": new, "hidden_state": hidden})
        return hidden.copy(), new.copy()


class GRUPort(_Run):
    """h' = z * h + (1 - z) * candidate; the reset gate acts on h or on its product."""

    names = ("update_gate", "reset_gate", "candidate", "hidden_state")

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `Steps`."""
        (hidden,) = self.begins(states)
        if self.port.reads == "in place":
            return self._in_place(t, hidden)
        found = self._gates(t, hidden)
        after = self._update(found["update_gate"], found["candidate"], hidden)
        self._log(t, self._gates(t, after) if self.port.reads == "after" else found)
        self.keep(t, {"hidden_state": after})
        return (after.copy(),)

    def _log(self, t: int, found: Mapping[str, Array]) -> None:
        self.keep(t, {name: value for name, value in found.items() if self.pre or not name.startswith("pre_")})

    def _gates(self, t: int, hidden: Array) -> dict[str, Array]:
        settle, from_input = self.settle, self.projected[t]
        product = self.recurrent(hidden)
        z = settle(self.block(from_input, 0) + self.block(product, 0))
        r = settle(self.block(from_input, 1) + self.block(product, 1))
        update, reset = settle(self.gate(z)), settle(self.gate(r))
        after = self.port.cell.reset_after if self.port.reset_after is None else self.port.reset_after
        recurrent = settle(reset * self.block(product, 2)) if after else self._reset_before(settle(reset * hidden))
        new = settle(self.block(from_input, 2) + recurrent)
        pre = {"pre_update_gate": z, "pre_reset_gate": r, "pre_candidate": new}
        return {"update_gate": update, "reset_gate": reset, "candidate": settle(self.candidate(new)), **pre}

    def _reset_before(self, gated: Array) -> Array:
        product = self.settle(gated @ self.block(self.weights.recurrent, 2))
        second = self.weights.second
        return product if second is None else self.settle(product + self.block(second, 2))

    def _update(self, z: Array, candidate: Array, hidden: Array) -> Array:
        settle = self.settle
        return settle(settle(z * hidden) + settle((1 - z) * candidate))

    def _in_place(self, t: int, hidden: Array) -> tuple[Array, ...]:
        before, hidden = hidden, hidden.copy()
        for unit in range(self.units):
            found = self._gates(t, hidden)
            hidden[:, unit] = self._update(found["update_gate"][:, unit], found["candidate"][:, unit], before[:, unit])
            for name, value in found.items():
                if self.pre or not name.startswith("pre_"):
                    (self.pre if name in self.pre else self.memory)[name][t, :, unit] = value[:, unit]
        self.keep(t, {"hidden_state": hidden})
        return (hidden.copy(),)


class SimplePort(_Run):
    """h' = candidate(z)."""

    names = ("hidden_state",)

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `Steps`."""
        hidden = self.begins(states)[0].copy()
        units = range(self.units) if self.port.reads == "in place" else (slice(None),)
        before = hidden
        for unit in units:
            z = self.settle(self.projected[t] + self.recurrent(before))
            after = self.settle(self.candidate(z))
            hidden = hidden.copy() if unit == slice(None) else hidden
            hidden[:, unit] = after[:, unit]
        self.keep(t, {"hidden_state": hidden, **({"pre_hidden_state": z} if self.pre else {})})
        return (hidden.copy(),)
