"""Steps a layer's own cell over what the layer was really given. Runs only inside the oracle's process.

The activation functions of the cell are wrapped by recorders while it is stepped, so that the gates are the numbers
that Keras itself computes; hidden and cell states are the states that the cell returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateprobe.verification.oracle_library import Library
from gateprobe.verification.oracle_watch import SeenCall

_GATES = {3: ("input_gate", "forget_gate", "output_gate"), 2: ("update_gate", "reset_gate"), 0: ()}
"""What a cell computes with its recurrent activation, in the order in which it computes it."""


@dataclass(slots=True)
class Recorder:
    """An activation function that keeps what it returned."""

    function: Callable[..., Any]
    outputs: list[Any] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the function."""
        output = self.function(*args, **kwargs)
        self.outputs.append(output)
        return output

    def take(self) -> list[Any]:
        """Return the outputs since the last time."""
        taken, self.outputs = self.outputs, []
        return taken


@dataclass(slots=True)
class Stepped:
    """One direction of one call, stepped."""

    call: SeenCall
    part: str | None
    """``cell_n`` for the n-th cell of a stack."""
    backwards: bool
    signals: dict[str, Any]
    """Name → ``(samples, timesteps, ...)``, timesteps in the order of the input."""
    mask: Any
    """``(samples, timesteps)`` or ``None``."""
    own: dict[str, Any]
    """What the layer itself returns: ``sequence``, in the order of the input, and ``final_state_n``."""
    stepped_final: dict[str, Any]
    """The states after the last step of the cell, by the names of `own`."""


def step(library: Library, call: SeenCall) -> list[Stepped]:
    """Step a recorded call; a stack of cells gives one result for each cell."""
    if call.is_cell:
        return _step_single(library, call)
    layer = call.layer
    time_major = bool(getattr(layer, "time_major", False))
    inputs = call.inputs if not time_major else library.engine.swapaxes(call.inputs, 0, 1)
    mask = None if call.mask is None else np.asarray(library.array(call.mask), bool)
    mask = mask.T if mask is not None and time_major else mask
    if mask is not None and len(mask) == 1:  # a constant in the graph, which stands for every sample
        mask = np.broadcast_to(mask, (inputs.shape[0], *mask.shape[1:]))
    timesteps = int(inputs.shape[1])
    order = range(timesteps - 1, -1, -1) if layer.go_backwards else range(timesteps)
    results, final = _loop(library, call, [(t, inputs[:, t], None if mask is None else mask[:, t]) for t in order])
    own = _own_output(library, call)
    if layer.go_backwards:
        own["sequence"] = own["sequence"][:, ::-1]
        results = [{name: value[:, ::-1] for name, value in signals.items()} for signals in results]
    stacked = hasattr(layer.cell, "cells")
    return [
        Stepped(
            call,
            f"cell_{n}" if stacked else None,
            layer.go_backwards,
            signals,
            mask,
            *_owned(own, final, n == len(results) - 1),
        )
        for n, signals in enumerate(results)
    ]


def _owned(own: dict[str, Any], final: dict[str, Any], last: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the layer returns goes with its last cell, which a single cell is."""
    return (own, final) if last else ({}, {})


def _step_single(library: Library, call: SeenCall) -> list[Stepped]:
    results, _ = _loop(library, call, [(0, call.inputs, None)])
    stacked = hasattr(call.layer, "cells")
    return [
        Stepped(call, f"cell_{n}" if stacked else None, False, signals, None, {}, {})
        for n, signals in enumerate(results)
    ]


def _forget_dropout(cells: list[Any]) -> None:
    """Drop the masks of ones that cells keep from their last call, which may have had another number of samples."""
    for cell in cells:
        for name in ("reset_dropout_mask", "reset_recurrent_dropout_mask"):
            getattr(cell, name, lambda: None)()


def _loop(
    library: Library, call: SeenCall, steps: list[tuple[int, Any, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Step the cell; masked samples keep their states, as a mask asks."""
    cell = call.layer if call.is_cell else call.layer.cell
    cells = _cells_in(cell)
    states = _nested(library, cell, call.states)
    rows: list[list[dict[str, Any]]] = [[] for _ in cells]
    _forget_dropout(cells)
    with _recording(cells) as recorders:
        for _, x, mask in steps:
            _, new = cell(x, states, training=False)
            states = _carried(library, states, _nested(library, cell, new), mask)
            groups = _by_cell(cell, states)
            for number, recorder in enumerate(recorders):
                rows[number].append(_signals(library, recorder, groups[number]))
    results = [{name: np.stack([row[name] for row in kept], axis=1) for name in kept[0]} for kept in rows]
    return results, {f"final_state_{n}": library.array(state) for n, state in enumerate(library.flat(states))}


def _signals(library: Library, recorder: tuple[Recorder | None, Recorder], states: list[Any]) -> dict[str, Any]:
    recurrent, plain = recorder[0].take() if recorder[0] is not None else [], recorder[1].take()
    gates = dict(zip(_GATES[len(recurrent)], recurrent, strict=True))
    if gates:
        gates["candidate"] = plain[0]
    gates["hidden_state"] = states[0]
    if len(states) > 1:
        gates["cell_state"] = states[1]
    return {name: library.array(value) for name, value in gates.items()}


@contextmanager
def _recording(cells: list[Any]) -> Iterator[list[tuple[Recorder | None, Recorder]]]:
    """Put recorders in place of the activation functions, for a while."""
    recorders = []
    for cell in cells:
        plain = cell.activation = Recorder(cell.activation)
        recurrent = None
        if hasattr(cell, "recurrent_activation"):
            recurrent = cell.recurrent_activation = Recorder(cell.recurrent_activation)
        recorders.append((recurrent, plain))
    try:
        yield recorders
    finally:
        for cell, (recurrent, plain) in zip(cells, recorders, strict=True):
            cell.activation = plain.function
            if recurrent is not None:
                cell.recurrent_activation = recurrent.function


def _cells_in(cell: Any) -> list[Any]:
    """Return the cells of a stack and of the stacks inside it; a cell that is no stack stands for itself."""
    return [leaf for part in cell.cells for leaf in _cells_in(part)] if hasattr(cell, "cells") else [cell]


def _in_state_order(cell: Any, items: list[Any]) -> list[Any]:
    """Turn what belongs to the cells of a stack into the order in which it lists their states, or back."""
    return items[::-1] if getattr(cell, "reverse_state_order", False) else items


def _nested(library: Library, cell: Any, states: Any) -> Any:
    """Return states in the structure that the cell takes."""
    flat = library.flat(states)
    if not hasattr(cell, "cells"):
        return flat
    items = iter(flat)

    def fill(part: Any) -> list[Any]:
        if hasattr(part, "cells"):
            return [fill(inner) for inner in _in_state_order(part, list(part.cells))]
        count = len(part.state_size) if isinstance(part.state_size, (list, tuple)) else 1
        return [next(items) for _ in range(count)]

    return fill(cell)


def _by_cell(cell: Any, states: Any) -> list[list[Any]]:
    """Return the states of each cell, in the order of the cells."""
    if not hasattr(cell, "cells"):
        return [list(states)]
    groups = zip(cell.cells, _in_state_order(cell, list(states)), strict=True)
    return [leaf for part, own in groups for leaf in _by_cell(part, own)]


def _carried(library: Library, old: Any, new: Any, mask: Any) -> Any:
    if mask is None:
        return new

    def carry(before: Any, after: Any) -> Any:
        keep = mask.reshape(*mask.shape, *[1] * (len(after.shape) - mask.ndim))  # or of each pixel
        return library.where(keep, after, before)

    return library.map(carry, old, new)


def _own_output(library: Library, call: SeenCall) -> dict[str, Any]:
    """Run the layer's own, fused, loop over the same input, and let it return everything."""
    layer = call.layer
    flags = layer.return_sequences, layer.return_state, layer.stateful
    layer.return_sequences, layer.return_state, layer.stateful = True, True, False
    try:
        kwargs = {} if call.mask is None else {"mask": call.mask}
        sequence, *states = layer(call.inputs, initial_state=call.states, training=False, **kwargs)
    finally:
        layer.return_sequences, layer.return_state, layer.stateful = flags
    value = library.array(sequence)
    value = np.swapaxes(value, 0, 1) if getattr(layer, "time_major", False) else value
    finals = {f"final_state_{n}": library.array(state) for n, state in enumerate(library.flat(states))}
    return {"sequence": value, **finals}
