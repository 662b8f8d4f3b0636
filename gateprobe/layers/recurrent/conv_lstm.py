"""ConvLSTM: an LSTM whose products are convolutions (Shi et al. 2015).

Source: ``keras/src/layers/rnn/conv_lstm.py`` 3.15.1, ``tf_keras/src/layers/rnn/base_conv_lstm.py`` 2.21,
``keras/layers/convolutional_recurrent.py`` 2.2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.activations import Activation, before_positions
from gateprobe.graph import Array, GateLayout, LayerRecord
from gateprobe.layers.base import Precision
from gateprobe.layers.binding.call_arguments import RECURRENT
from gateprobe.layers.binding.registry import Binding, Slot, replays, with_bias
from gateprobe.layers.binding.settings import Settings
from gateprobe.layers.conv import correlate, kernel_slot, rank_of, stored_kernel
from gateprobe.layers.core import refuse_stray_bias
from gateprobe.layers.recurrent.cells import CELL_KEYS, Anatomy, Steps, finish_cell, lstm_activations, replay_cell
from gateprobe.layers.recurrent.lstm import LSTMSteps
from gateprobe.layers.recurrent.rnn import Recurrent, bind_recurrent
from gateprobe.layers.shape import channels_first
from gateprobe.layers.windows import Window, before_convolution, padded_as_in, read_window
from gateprobe.limits import room

_CONV_KEYS = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")


@dataclass(frozen=True, slots=True, eq=False)
class ConvLSTMCell:
    """Gates and states are images; the last axis of the products holds the gates i | f | c | o."""

    kernel: Array
    """``(*kernel_size, channels, 4 * filters)``."""
    recurrent_kernel: Array
    """``(*kernel_size, filters, 4 * filters)``."""
    bias: Array | None
    """``(4 * filters,)``."""
    window: Window
    """Of the input's convolution."""
    recurrent_window: Window
    """It has padding ``same`` and neither strides nor dilation."""
    first: bool
    """Whether the channels stand before the spatial axes."""
    activation: Activation
    recurrent_activation: Activation
    precision: Precision
    bias_goes_astray: bool

    replay = replay_cell

    @property
    def anatomy(self) -> Anatomy:
        """See `gateprobe.layers.recurrent.cells.Cell`."""
        return Anatomy(
            lstm_activations(self.recurrent_activation, self.activation),
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            output_activation=self.activation,
            windows=(self.window, self.recurrent_window),
            channels_first=self.first,
        )

    @property
    def units(self) -> int:
        """Number of filters."""
        return int(self.recurrent_kernel.shape[-2])

    def state_shapes(self, x_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Hidden state, cell state."""
        sizes = x_shape[1:] if self.first else x_shape[:-1]
        padded = [size + sum(margin) for size, margin in zip(sizes, self.window.margins(sizes), strict=True)]
        extents, strides = self.window.extent, self.window.strides
        positions = [(p - e) // s + 1 for p, e, s in zip(padded, extents, strides, strict=True)]
        shape = (self.units, *positions) if self.first else (*positions, self.units)
        return (shape, shape)

    def begin(self, x: Array, *, pre: bool) -> Steps:
        """See `gateprobe.layers.recurrent.cells.Cell`."""
        x = np.moveaxis(x, 2, -1) if self.first else x
        lead = x.shape[:2]
        z = correlate(x.reshape(-1, *x.shape[2:]), self.kernel, 1, self.window)
        z = np.ascontiguousarray(z.reshape(*lead, *z.shape[1:]))
        self.precision.round_in_place(z)
        if self.bias is not None:
            if self.first and self.bias_goes_astray:
                shape = (x.shape[1], self.units, *z.shape[2:-1])
                refuse_stray_bias(shape, (self.units, *[1] * self.window.rank))
            z += self.bias
            self.precision.round_in_place(z)
        steps = LSTMSteps(self, z, pre=pre)
        return _ChannelsFirst(steps) if self.first else steps

    def recur(self, hidden: Array, out: Array) -> None:
        """Compute the recurrent convolution of one timestep."""
        np.copyto(out, correlate(hidden, self.recurrent_kernel, 1, self.recurrent_window))


@dataclass(frozen=True, slots=True, eq=False)
class _ChannelsFirst:
    """Shows the images of a run with their channels before the spatial axes."""

    steps: Steps

    def step(self, t: int, states: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `gateprobe.layers.recurrent.cells.Steps`."""
        new = self.steps.step(t, tuple(np.moveaxis(state, 1, -1) for state in states))
        return tuple(np.moveaxis(state, -1, 1) for state in new)

    def signals(self) -> Mapping[str, Array]:
        """See `gateprobe.layers.recurrent.cells.Steps`."""
        return {name: np.moveaxis(value, -1, 2) for name, value in self.steps.signals().items()}


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    rank, filters = rank_of(record), settings.integer("filters")
    if record.gate_layout is GateLayout.PER_GATE:
        kernel = kernel_slot("", settings, rank)
        roles = [(letter, gate) for gate in "icfo" for letter in "WUb"]
        shapes = {"W": kernel.shape, "U": kernel.shape, "b": (filters,)}
        return tuple(Slot(f"{letter}_{gate}", shapes[letter]) for letter, gate in roles)
    kernel = kernel_slot("kernel", settings, rank, None, 4 * filters)
    recurrent = kernel_slot("recurrent_kernel", settings, rank, filters, 4 * filters)
    return with_bias((kernel, recurrent), settings, 4 * filters)


@replays("ConvLSTM1D cell", "ConvLSTM2D cell", "ConvLSTM3D cell", slots=_slots)  # no file names these
def _bind_cell(binding: Binding) -> ConvLSTMCell:
    settings, first = binding.settings, channels_first(binding.settings)
    weights = fused_kernels(binding)
    kernel, recurrent_kernel = weights["kernel"], weights["recurrent_kernel"]
    ones = (1,) * rank_of(binding.record)
    recurrent_window = Window(recurrent_kernel.shape[: len(ones)], ones, ones, "same")
    activation = settings.activation("activation", "tanh")
    recurrent = settings.activation("recurrent_activation", lambda: binding.semantics.conv_recurrent_activation)
    cell = ConvLSTMCell(
        kernel,
        recurrent_kernel,
        weights.get("bias"),
        read_window(settings, rank_of(binding.record), "kernel_size"),
        padded_as_in(settings.semantics, recurrent_window, before_convolution),
        first,
        before_positions(activation) if first else activation,
        before_positions(recurrent) if first else recurrent,
        binding.precision,
        binding.semantics.bias_goes_astray,
    )
    settings.ignore(*_CONV_KEYS)
    finish_cell(settings)
    return cell


def fused_kernels(binding: Binding) -> dict[str, Array]:
    """Return the weights by role with the gates i, f, c, o side by side, in today's layout.

    Keras 1 stores a kernel for each gate, Theano's are flipped.
    """
    kernels = [role for role in binding.weights if not role.startswith("b")]
    values = {**binding.weights, **{role: stored_kernel(binding, role) for role in kernels}}
    if binding.record.gate_layout is not GateLayout.PER_GATE:
        return values
    roles = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
    return {role: room.concatenate([values[f"{one}_{gate}"] for gate in "ifco"], -1) for one, role in roles.items()}


def _parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """Return the cell, which Keras makes without telling it whether the layer is trainable."""
    config = {**record.config, "trainable": True}
    return {"cell": replace(record, class_name=f"{record.class_name} cell", config=config, children={}, calls=())}


@replays("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", parts=_parts, recurrent=True, takes=RECURRENT)
def _bind(binding: Binding) -> Recurrent:
    layer = bind_recurrent(binding)
    binding.settings.ignore(*CELL_KEYS, *_CONV_KEYS)
    binding.settings.finish()
    return layer if binding.semantics.conv_lstm_zeroes_masked else replace(layer, zeroes_masked=False)
