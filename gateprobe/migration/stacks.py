"""The states of stacked cells: a flat list before Keras 3, in Keras 2.0 and 2.1 from the last cell to the first.

Keras 3 lists them from the first cell, and takes those of each cell together (``StackedRNNCells`` in
``keras/src/layers/rnn/stacked_rnn_cells.py`` 3.15.1). The numbers are the same; what reads or gives a state gets the
one that it meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef
from gateprobe.migration.graphs import rewired
from gateprobe.migration.halves import counts_of
from gateprobe.semantics import Semantics


def reordered(model: ModelRecord, semantics: Semantics) -> ModelRecord:
    """Give every state of stacked cells the place that it has in Keras 3.

    Args:
        model: Whose calls give initial states by keyword.
        semantics: The meaning of its words.
    """
    stacks = {record.name: found for record in model.layers if (found := _places(record, semantics))}
    layers = [
        replace(record, calls=tuple(_given(call, stacks[record.name]) for call in record.calls))
        if record.name in stacks
        else record
        for record in model.layers
    ]
    return rewired(replace(model, layers=tuple(layers)), dict(_moved(model, stacks)))


_Places = Sequence[Sequence[int]]
"""For each cell, the places of its states in the old list."""


def _places(record: LayerRecord, semantics: Semantics) -> _Places:
    halves = record.children.get("layer", ()) if record.class_name == "Bidirectional" else (record,)
    stacks = [stack for half in halves for stack in half.children.get("cell", ()) if stack.children.get("cells")]
    if not stacks:
        return ()
    sizes = [sum(counts_of(cell)) for cell in stacks[0].children["cells"]]
    order = range(len(sizes))
    listed = order[::-1] if _reversed(stacks[0], semantics) else order
    starts, total = dict[int, int](), 0
    for number in listed:
        starts[number], total = total, total + sizes[number]
    return [
        [half * total + starts[number] + k for k in range(sizes[number])]
        for half in range(2 if record.class_name == "Bidirectional" else 1)
        for number in order
    ]


def _reversed(stack: LayerRecord, semantics: Semantics) -> bool:
    said = stack.config.get("reverse_state_order")
    return bool(semantics.stacked_states_reversed if said is None else said)


def _given(call: Call, places: _Places) -> Call:
    states = call.kwargs.get("initial_state")
    if not isinstance(states, (tuple, list)) or len(states) != sum(map(len, places)):
        return call
    nested = tuple(tuple(states[place] for place in own) for own in places)
    return Call(call.args, {**call.kwargs, "initial_state": nested})


def _moved(model: ModelRecord, stacks: Mapping[str, _Places]) -> Iterator[tuple[TensorRef, TensorRef]]:
    """Yield which returned state takes the place of which; the states come after the outputs."""
    for record in model.layers:
        outputs = 2 if record.class_name == "Bidirectional" and record.config.get("merge_mode", "") is None else 1
        for number in range(len(record.calls) if record.name in stacks else 0):
            for new, old in enumerate(place for own in stacks[record.name] for place in own):
                yield TensorRef(record.name, number, outputs + old), TensorRef(record.name, number, outputs + new)
