"""Recurrent layers: the loop over timesteps, masks, directions and states, whatever the cell.

Formulas: ``keras/src/layers/rnn/{rnn,stacked_rnn_cells}.py`` and ``keras/src/backend/tensorflow/rnn.py`` 3.15.1;
``keras/backend/tensorflow_backend.py::rnn`` 1.2.2 to 2.2.4 for what older ones emit at masked timesteps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord, records_within
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor, tensors_in
from gateprobe.layers.binding.call_arguments import CELL, RECURRENT
from gateprobe.layers.binding.object_names import counted_names
from gateprobe.layers.binding.registry import Binding, Parts, part_of, replays
from gateprobe.layers.binding.settings import Unsupported, users_code
from gateprobe.layers.recurrent.cells import CELL_KEYS, Cell, CellRun, Steps, Sweeping
from gateprobe.layers.unary import as_mask
from gateprobe.limits import room
from gateprobe.semantics import MaskedOutput


@dataclass(frozen=True, slots=True, eq=False)
class Recurrent:
    """Steps one cell, or a stack of cells, over the timesteps of its input."""

    cells: tuple[Cell, ...]
    stacked: bool
    """Whether the file holds a ``StackedRNNCells``; its cells are then traced as ``cell_0``, ``cell_1``, ..."""
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    masked_output: MaskedOutput
    zero_output_for_mask: bool
    zeroes_masked: bool
    """Whether the layer heeds ``zero_output_for_mask`` (the ConvLSTM of tf.keras does not)."""
    reversed_states: bool | None
    """Whether the states of stacked cells are listed from the last cell to the first; ``None``: not certain."""
    precision: Precision
    unrolled: bool = False
    states_hide_mask: bool = False
    """Whether the layer does not see its input's mask when it is called with initial states (it passes it on)."""
    kept_states_win: bool = False
    """Whether a stateful layer uses the states of its last call, unless all are zero, instead of those it is given."""

    def replay(self, call: Arguments, scope: Scope, direction: str | None = None) -> tuple[Tensor, ...]:
        """Replay one call.

        Args:
            call: The input sequence ``(samples, timesteps, ...)``; initial states after it or by keyword; a mask by
                keyword takes the place of the input's own.
            scope: Of this layer.
            direction: ``forward`` or ``backward``; without it, ``backward`` when the layer goes backwards.

        Returns:
            The sequence or the last output, then the final states if the layer returns them.
        """
        first, *more = call.tensors
        passed_on = mask = self._mask(call, first)
        given = tuple(tensors_in(call.get(1, "initial_state"))) or tuple(more)
        if self.states_hide_mask and given and call.kwargs.get("mask") is None:
            mask = None
        x = np.swapaxes(self.precision.cast(first.value), 0, 1)
        if x.shape[0] == 0:
            raise InputError("the sequence has no timesteps")
        direction = direction or ("backward" if self.go_backwards else "forward")
        key = (*((scope.path,) if scope.slab else scope.owner), direction)
        carried = scope.states.get(key)
        if self.kept_states_win and self.stateful and any(state.any() for state in carried or ()):
            given = ()
        states = self._initial_states(given, carried, x)
        begins = "given" if given else "carried" if carried else "zeros"
        order = slice(None, None, -1) if self.go_backwards else slice(None)
        steps_mask = None if mask is None else np.swapaxes(mask, 0, 1)[order]
        sequence, final = x[order], list[tuple[Array, ...]]()
        hidden = []
        for number, (cell, initial) in enumerate(zip(self.cells, states, strict=True)):
            signals, last = _run(cell, sequence, initial, steps_mask, scope)
            ran = CellRun(cell, np.swapaxes(sequence[order], 0, 1), initial, begins)
            final.append(last)
            sequence = signals["hidden_state"]
            hidden.append(sequence)
            part = f"cell_{number}" if self.stacked else None
            if scope.traced(scope.path if part is None else f"{scope.path}/{part}"):
                scope.emit(
                    direction=direction,
                    backwards=self.go_backwards,
                    signals={name: np.swapaxes(value[order], 0, 1) for name, value in signals.items()},
                    mask=mask,
                    ran=ran,
                    part=part,
                )
        if self.stateful or scope.slab:
            scope.states[key] = tuple(state.copy() for group in final for state in group)
        return self._outputs(hidden, final, steps_mask, passed_on, begun=scope.slab and carried is not None)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        if self.go_backwards or self.stateful or len(ranks) > 1 or ranks[0] < 3:
            return None
        return ranks if self.return_sequences else (None,)

    def _mask(self, call: Arguments, first: Tensor) -> Array | None:
        given = call.kwargs.get("mask")
        if given is None:
            return first.mask
        given = given[0] if isinstance(given, (tuple, list)) else given
        return None if given is None else as_mask(given)

    def _initial_states(
        self, tensors: tuple[Tensor, ...], carried: tuple[Array, ...] | None, x: Array
    ) -> list[tuple[Array, ...]]:
        """Return the states of each cell, from the call, from the batch before, or zeros."""
        shapes = [cell.state_shapes(x.shape[2:]) for cell in self.cells]
        given = [tensor.value for tensor in tensors]
        reverse = bool(given) and self._last_cell_first()
        flat = [(x.shape[1], *shape) for group in (shapes[::-1] if reverse else shapes) for shape in group]
        if not given:
            given = list(carried or (room.zeros(shape, self.precision.dtype) for shape in flat))
        if len(given) != len(flat):
            raise InputError(f"the layer has {len(flat)} states, the call gives {len(given)}")
        for state, shape in zip(given, flat, strict=True):
            if state.shape != shape:
                raise InputError(f"expected an initial state of shape {shape}, got {state.shape}")
        values = iter(self.precision.cast(state) for state in given)
        groups = [tuple(next(values) for _ in group) for group in (shapes[::-1] if reverse else shapes)]
        return groups[::-1] if reverse else groups

    def _last_cell_first(self) -> bool:
        """Whether the states are listed from the last cell to the first.

        Raises:
            InputError: The file does not tell, and it matters.
        """
        if self.reversed_states is None and len(self.cells) > 1:
            raise InputError(
                "the order of the states of stacked cells matters here, and the file does not tell it: TensorFlow 1.10 "
                "and 1.12 differ, and both call their Keras 2.1.6-tf"
            )
        return bool(self.reversed_states)

    def _outputs(
        self,
        hidden: list[Array],
        final: list[tuple[Array, ...]],
        steps_mask: Array | None,
        mask: Array | None,
        *,
        begun: bool,
    ) -> tuple[Tensor, ...]:
        """Return what Keras returns: emitted outputs in processing order, then the final states."""
        emitted = hidden[-1] if steps_mask is None else self._emit_masked(hidden, steps_mask, begun=begun)
        output = Tensor(np.swapaxes(emitted, 0, 1), mask) if self.return_sequences else Tensor(emitted[-1])
        if not self.return_state:
            return (output,)
        groups = final[::-1] if self._last_cell_first() else final
        return (output, *(Tensor(state) for group in groups for state in group))

    def _emit_masked(self, hidden: list[Array], mask: Array, *, begun: bool) -> Array:
        """Return what the layer emits when some timesteps are masked.

        Args:
            hidden: The hidden states of every cell, ``(timesteps, samples, ...)``.
            mask: ``(timesteps, samples)`` in processing order.
            begun: Whether these are not the first timesteps of a sequence that began with states of zeros: what is
                held then is the previous output, or still zeros.
        """
        output = hidden[-1]
        kept = _aligned(mask, output.ndim)
        zero = np.zeros((), output.dtype)
        if self.zero_output_for_mask and self.zeroes_masked:
            if not (self.unrolled and self.go_backwards and self.return_sequences):
                return np.where(kept, output, zero)
            # K.rnn reverses the inputs and outputs of an unrolled loop, but not the mask by which it zeroes
            return np.where(kept[::-1] & np.logical_or.accumulate(kept, axis=0), output, zero)
        previous = output
        if not begun and self.masked_output is not MaskedOutput.LAST_STATE:  # zeros before the first unmasked one
            previous = np.where(np.logical_or.accumulate(kept, axis=0), output, zero)
        if self.masked_output in (MaskedOutput.CARRIED_STATE, MaskedOutput.UNCERTAIN):
            # K.rnn takes states[0], which in a stack is the output only when the states are listed last cell first
            first = output if self._last_cell_first() else hidden[0]
            if first.shape != output.shape:
                raise InputError("this Keras cannot mask stacked cells of different sizes", remedy="remove the mask")
            carried = np.where(kept, output, first)
            if self.masked_output is MaskedOutput.UNCERTAIN and not np.array_equal(carried, previous, equal_nan=True):
                raise InputError("what the CNTK backend returns at these masked timesteps is not certain")
            return carried
        return previous


def is_stateful(record: LayerRecord) -> bool:
    """Whether a layer, or one inside it, carries its states from call to call."""
    return any(one.config.get("stateful") for one in records_within(record))


def _aligned(mask: Array, rank: int) -> Array:
    """Give a mask as many axes as what it masks: one for each sample, or for each pixel of images."""
    return mask.reshape(*mask.shape, *[1] * (rank - mask.ndim))


def _run(
    cell: Cell, x: Array, initial: tuple[Array, ...], mask: Array | None, scope: Scope
) -> tuple[Mapping[str, Array], tuple[Array, ...]]:
    """Run a cell over ``(timesteps, samples, ...)``, at once where it can; see `_loop`."""
    if isinstance(cell, Sweeping):
        swept = cell.sweep(x, initial, mask, scope.kernel, pre=scope.pre_activations)
        if swept is not None:
            return swept
    return _loop(cell.begin(x, pre=scope.pre_activations), initial, mask, range(len(x)), scope)


def _loop(
    steps: Steps, initial: tuple[Array, ...], mask: Array | None, timesteps: range, scope: Scope
) -> tuple[Mapping[str, Array], tuple[Array, ...]]:
    """Step through time, holding the states where the mask is false.

    Args:
        steps: A begun run of a cell.
        initial: States before the first timestep, each ``(samples, ...)``.
        mask: ``(timesteps, samples)`` in processing order, or ``None``.
        timesteps: All of them.
        scope: Says whether to go on.

    Returns:
        The signals, time-major and in processing order, and the states after the last timestep.
    """
    states = initial
    for t in timesteps:
        scope.go_on()
        new = steps.step(t, states)
        if mask is not None and not mask[t].all():
            skipped = ~mask[t]
            for after, before in zip(new, states, strict=True):
                np.copyto(after, before, where=_aligned(skipped, after.ndim))
        states = new
    return steps.signals(), states


_RNN_SWITCHES = ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask")


_ONE_STATE = frozenset({"GRU", "SimpleRNN"})
"""Layers whose only state is what they emit."""


def bind_recurrent(binding: Binding) -> Recurrent:
    """Bind what all recurrent layers share; the caller takes the keys of its cell and finishes the settings."""
    settings = binding.settings
    switches = {key: settings.flag(key, False) for key in _RNN_SWITCHES}
    unroll = settings.flag("unroll", False)
    settings.ignore("num_constants", "input_dim", "cell")
    if settings.flag("time_major", False):
        raise Unsupported("config.time_major: samples must be on the first axis; transpose the model's input instead")
    if settings.raw("num_constants"):
        raise users_code("config.num_constants: a cell with constants is")
    if not unroll and binding.record.class_name not in _ONE_STATE and not binding.semantics.emits_hidden_state:
        raise Unsupported("returns another state than the hidden one on the CNTK backend from Keras 2.2.3 on")
    part = binding.parts["cell"]
    return Recurrent(
        cells=cells_of(part),
        stacked=isinstance(part, StackedCells),
        masked_output=MaskedOutput.PREVIOUS_OUTPUT if unroll else binding.semantics.masked_output,
        reversed_states=isinstance(part, StackedCells) and part.reversed_states,
        zeroes_masked=not unroll or binding.semantics.unroll_zeroes_masked,
        precision=binding.precision,
        unrolled=unroll,
        states_hide_mask=binding.semantics.states_hide_mask,
        kept_states_win=switches["stateful"] and binding.semantics.kept_states_win,
        **switches,
    )


def _own_cell(cell_class: str) -> Parts:
    """Make the ``parts`` function of a layer that builds its own cell from its own configuration."""

    def parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
        return {"cell": replace(record, class_name=cell_class, children={}, calls=())}

    return parts


def _cudnn_cell(record: LayerRecord) -> Mapping[str, LayerRecord]:
    """A CuDNN layer is the plain one with the activations that CuDNN has built in and a GRU that resets after."""
    gru = record.class_name == "CuDNNGRU"
    config = {
        **record.config,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        **({"reset_after": True} if gru else {}),
    }
    cell = "GRUCell" if gru else "LSTMCell"
    return {"cell": replace(record, class_name=cell, config=config, children={}, calls=())}


@replays("LSTM", parts=_own_cell("LSTMCell"), recurrent=True, takes=RECURRENT)
@replays("GRU", parts=_own_cell("GRUCell"), recurrent=True, takes=RECURRENT)
@replays("SimpleRNN", parts=_own_cell("SimpleRNNCell"), recurrent=True, takes=RECURRENT)
@replays("CuDNNLSTM", "CuDNNGRU", parts=_cudnn_cell, recurrent=True, takes=RECURRENT)
def _bind_layer(binding: Binding) -> Recurrent:
    layer = bind_recurrent(binding)
    binding.settings.ignore(*CELL_KEYS)
    binding.settings.finish()
    return layer


def _given_cell(record: LayerRecord) -> Mapping[str, LayerRecord]:
    return {"cell": part_of(record, "cell")}


@replays("RNN", parts=_given_cell, recurrent=True, takes=RECURRENT)
def _bind_rnn(binding: Binding) -> Recurrent:
    layer = bind_recurrent(binding)
    binding.settings.finish()
    return layer


@dataclass(frozen=True, slots=True, eq=False)
class StackedCells:
    """Several cells, each reading the output of the one before.

    At a masked timestep all of them hold their states, so running the stack cell by cell over the whole sequence
    gives the same numbers as running it timestep by timestep.
    """

    cells: tuple[Cell, ...]
    reversed_states: bool | None

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay ``cells(x, states)`` for one timestep; see `gateprobe.layers.recurrent.cells`."""
        x, *more = call.tensors
        given = tuple(tensors_in(call.get(1, "states"))) or tuple(more)
        counts = [len(cell.state_shapes(x.value.shape[1:])) for cell in self.cells]
        if len(given) != sum(counts):
            raise InputError(f"the cells have {sum(counts)} states, the call gives {len(given)}")
        states, new, output = iter(given), list[Tensor](), x
        for number, (cell, count) in enumerate(zip(self.cells, counts, strict=True)):
            own = tuple(next(states) for _ in range(count))
            output, *after = cast(Layer, cell).replay(Arguments((output, own)), scope.within(f"cell_{number}"))
            new.extend(after)
        return (output, *new)


def _stacked_parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    cells = record.children.get("cells", ())
    if not cells:
        raise Unsupported("config.cells: expected at least one cell")
    return {f"cells/{name}": cell for name, cell in zip(counted_names(cells), cells, strict=True)}


@replays("StackedRNNCells", parts=_stacked_parts, recurrent=True, takes=CELL)
def _bind_stacked(binding: Binding) -> StackedCells:
    settings = binding.settings
    settings.ignore("cells")
    said = settings.has("reverse_state_order")
    order = settings.flag("reverse_state_order") if said else binding.semantics.stacked_states_reversed
    settings.finish()
    inner = [part for part in binding.parts.values() if isinstance(part, StackedCells)]
    if inner and any(one is not False for one in (order, *(part.reversed_states for part in inner))):
        raise Unsupported("config.cells: stacked cells inside stacked cells are not replayed with reversed states")
    return StackedCells(tuple(cell for part in binding.parts.values() for cell in cells_of(part)), order)


def cells_of(part: Layer) -> tuple[Cell, ...]:
    """Return the cells of a stack, also of a stack inside another one; a cell stands for itself.

    Raises:
        Unsupported: It is neither.
    """
    if isinstance(part, StackedCells):
        return part.cells
    if not hasattr(part, "begin"):
        raise Unsupported("config.cell: expected a cell such as LSTMCell")
    return (cast(Cell, part),)
