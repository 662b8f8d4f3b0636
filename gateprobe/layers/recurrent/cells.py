"""The arithmetic of one timestep: LSTM, GRU and simple recurrent cells.

A cell projects the inputs of all timesteps with one matrix product into the memory of the trace, and then steps in
place. Arrays are time-major here, ``(timesteps, samples, ...)``, so that each step works on contiguous rows.

Formulas: ``keras/src/layers/rnn/{lstm,gru,simple_rnn}.py`` 3.15.1; for the weight layouts of older files
``keras/engine/topology.py::preprocess_weights_for_loading`` 2.0 and ``keras/engine/saving.py::_convert_rnn_weights``
2.2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from gateprobe.activations import Activation
from gateprobe.errors import InputError
from gateprobe.graph import Array, GateLayout, LayerRecord
from gateprobe.layers.base import Arguments, Precision, Scope, Tensor, tensors_in
from gateprobe.layers.binding.registry import Binding, Slot, with_bias
from gateprobe.layers.binding.settings import Settings
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.recurrent.kernels.choice import Kernel
from gateprobe.layers.windows import Window
from gateprobe.limits import room

RNN_KEYS = (
    "return_sequences",
    "return_state",
    "go_backwards",
    "stateful",
    "unroll",
    "time_major",
    "zero_output_for_mask",
    "num_constants",
    "input_dim",
)
"""Keys that an ``LSTM`` keeps beside those of its cell."""

CELL_KEYS = ("units", "activation", "recurrent_activation", "use_bias", "reset_after", "dropout", "recurrent_dropout")
"""Keys of the cell that stand in the configuration of an ``LSTM``, ``GRU`` or ``SimpleRNN``."""


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """What a cell computes with, as values; the last axis of kernels and biases holds the gates side by side."""

    activations: Mapping[str, Activation]
    """Gate → activation, in the order of the columns: ``input_gate``, ``forget_gate``, ``candidate``, ..."""
    kernel: Array
    """``(features, gates * units)``; of a convolution ``(*kernel_size, channels, gates * filters)``."""
    recurrent_kernel: Array
    """``(units, gates * units)``."""
    bias: Array | None
    """``(gates * units,)``."""
    recurrent_bias: Array | None = None
    """``(gates * units,)``, of a GRU that resets after the product."""
    peepholes: Mapping[str, Array] = field(default_factory=dict)
    """Gate → ``(units,)``: what its look at the cell state is multiplied with."""
    output_activation: Activation | None = None
    """Of the cell state on its way out, where there is one."""
    reset_after: bool = False
    """Whether a GRU resets the recurrent product and not the state."""
    windows: tuple[Window, Window] | None = None
    """Of the convolutions of the input and of the hidden state, where the products are such."""
    channels_first: bool = False
    """Whether the channels of images stand before their spatial axes."""

    @property
    def gates(self) -> tuple[str, ...]:
        """Their names, in the order of the columns; a simple cell has one block, called as its ``hidden_state``."""
        return tuple(self.activations)

    def split(self, weight: Array) -> dict[str, Array]:
        """Return the columns of each gate.

        Raises:
            InputError: There are not as many for each.
        """
        if weight.shape[-1] % len(self.gates):
            raise InputError(f"{weight.shape[-1]} columns are not those of {len(self.gates)} gates")
        return dict(zip(self.gates, np.split(weight, len(self.gates), axis=-1), strict=True))


def lstm_activations(gate: Activation, candidate: Activation) -> dict[str, Activation]:
    """Return the activations of the columns i | f | c | o."""
    return {"input_gate": gate, "forget_gate": gate, "candidate": candidate, "output_gate": gate}


class Steps(Protocol):
    """One run of a cell over a block of timesteps; holds the memory of its signals."""

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """Compute timestep ``t``. Returns the new states, output first, as views into the signals' memory."""

    def signals(self) -> Mapping[str, Array]:
        """Name → ``(timesteps, samples, units)``, in the order of the documentation."""


class Cell(Protocol):
    """What a recurrent layer steps."""

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the states for one sample; the first is the output.

        Args:
            x_shape: Of one timestep of one sample.
        """

    @property
    def anatomy(self) -> Anatomy:
        """What the cell computes with."""

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """Prepare a run over ``x``, ``(timesteps, samples, features)``; ``pre`` keeps the ``pre_`` signals."""


@dataclass(frozen=True, slots=True, eq=False)
class CellRun:
    """What a cell ran on, for those who want to follow its arithmetic; holds arrays of the run, copies none."""

    cell: Cell
    x: Array
    """``(samples, timesteps, ...)``, timesteps in the order of the input."""
    states: tuple[Array, ...]
    """Before the first timestep that was processed, each ``(samples, ...)``."""
    begins: str
    """Where these are from: ``zeros``; ``given`` by the call; ``carried`` from the call or the batch before."""


@runtime_checkable
class Sweeping(Protocol):
    """A cell that can run all timesteps at once."""

    def sweep(
        self, x: Array, states: tuple[Array, ...], mask: Array | None, kernel: Kernel, *, pre: bool
    ) -> tuple[Mapping[str, Array], tuple[Array, ...]] | None:
        """Run over ``x`` and hold the states where the mask is false.

        Args:
            x: ``(timesteps, samples, features)``.
            states: Before the first timestep.
            mask: ``(timesteps, samples)`` or ``None``.
            kernel: Decides whether the cell may compile.
            pre: Whether to keep the ``pre_`` signals.

        Returns:
            The signals and the states after the last timestep, or ``None`` where stepping is what the kernel wants or
            all that the cell can do.
        """


def replay_cell(self: Cell, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
    """Replay ``cell(x, states)``: returns the output and the new states, and traces one timestep."""
    x, *more = call.tensors
    states = tuple(tensor.value for tensor in (tuple(tensors_in(call.get(1, "states"))) or more))
    shapes = self.state_shapes(x.value.shape[1:])
    if len(states) != len(shapes):
        raise InputError(f"the cell has {len(shapes)} states, the call gives {len(states)}")
    steps = self.begin(x.value[np.newaxis], pre=scope.pre_activations)
    new = steps.step(0, states)
    if scope.wanted:
        signals = {name: np.swapaxes(value, 0, 1) for name, value in steps.signals().items()}
        ran = CellRun(self, x.value[:, np.newaxis], states, "given")
        scope.emit(direction="forward", backwards=False, signals=signals, mask=None, ran=ran)
    return tuple(Tensor(state.copy()) for state in (new[0], *new))


def gate_slots(
    record: LayerRecord, settings: Settings, gates: str, order: str, bias: tuple[int | None, ...]
) -> tuple[Slot, ...]:
    """Return the weights of a gated cell.

    Args:
        record: Of the cell.
        settings: Of the cell.
        gates: One letter for each gate, in the order of the fused columns.
        order: The same letters, in the order in which Keras 1 stores the gates one by one.
        bias: Shape of the fused bias.
    """
    units = units_of(settings)
    if record.gate_layout is GateLayout.PER_GATE:
        return tuple(
            slot
            for gate in order
            for slot in (
                Slot(f"W_{gate}", (None, units)),
                Slot(f"U_{gate}", (units, units)),
                Slot(f"b_{gate}", (units,)),
            )
        )
    columns = None if units is None else len(gates) * units
    return with_bias((Slot("kernel", (None, columns)), Slot("recurrent_kernel", (units, columns))), settings, *bias)


def units_of(settings: Settings) -> int | None:
    """Return the number of units, or ``None`` for a cell of Keras 2.0.9, which saved none of its configuration."""
    return None if settings.bare else settings.integer("units")


def fused(binding: Binding, gates: str) -> tuple[Array, Array, Array | None]:
    """Return kernel, recurrent kernel and bias with the gates side by side, whatever the file's layout."""
    weights = binding.weights
    if binding.record.gate_layout is GateLayout.PER_GATE:
        kernel, recurrent, bias = (np.concatenate([weights[f"{k}_{gate}"] for gate in gates], -1) for k in "WUb")
        return kernel, recurrent, bias
    return weights["kernel"], weights["recurrent_kernel"], weights.get("bias")


def from_cudnn(weights: tuple[Array, Array], gates: int) -> tuple[Array, Array]:
    """Turn CuDNN kernels into Keras's: reshaped in Fortran order per gate, the recurrent ones transposed per gate."""
    kernel, recurrent = (np.split(weight, gates, axis=1) for weight in weights)
    return (
        np.hstack([block.T.reshape(block.shape, order="F") for block in kernel]),
        np.hstack([block.T for block in recurrent]),
    )


def project(x: Array, kernel: Array, bias: Array | None, precision: Precision) -> Array:
    """Multiply the inputs of all timesteps at once.

    Args:
        x: ``(timesteps, samples, features)``.
        kernel: ``(features, columns)``.
        bias: ``(columns,)`` or ``None``.
        precision: Of the product.

    Returns:
        New array ``(timesteps, samples, columns)``.

    Raises:
        InputError: The number of features is not the kernel's.
    """
    x = fitting(x, kernel)
    z = room.empty((*x.shape[:-1], kernel.shape[1]), kernel.dtype)
    multiply(x.swapaxes(0, 1), kernel, z.swapaxes(0, 1))
    precision.round_in_place(z)
    if bias is not None:
        z += bias
        precision.round_in_place(z)
    return z


def fitting(x: Array, kernel: Array) -> Array:
    """Return ``x``, ``(timesteps, samples, features)``, if it fits the kernel.

    Raises:
        InputError: The number of features is not the kernel's.
    """
    if x.shape[-1] != kernel.shape[0]:
        raise InputError(f"expected {kernel.shape[0]} features at each timestep, got {x.shape[-1]}")
    return x


def named(names: tuple[str, ...] | list[str], z: Array, units: int) -> dict[str, Array]:
    """Cut ``(..., len(names) * units)`` into the gates side by side in its last axis."""
    return {name: z[..., k * units : (k + 1) * units] for k, name in enumerate(names)}


def finish_cell(settings: Settings) -> None:
    """Finish the settings of a cell, which may be those of the layer around it."""
    settings.ignore(*CELL_KEYS, *RNN_KEYS)
    settings.finish()
