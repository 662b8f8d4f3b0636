"""Stacked cells whose states were listed from the last cell to the first, as Keras 2.0 and 2.1 did.

Keras 3 lists them from the first (``StackedRNNCells`` in ``keras/src/layers/rnn/stacked_rnn_cells.py`` 3.15.1). The
numbers are the same; what reads or gives a state gets the one that it meant.
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
    places = {record.name: found for record in model.layers if (found := list(_places(record, semantics)))}
    layers = [
        replace(record, calls=tuple(_given(call, places[record.name]) for call in record.calls))
        if record.name in places
        else record
        for record in model.layers
    ]
    return rewired(replace(model, layers=tuple(layers)), dict(_moved(model, places)))


def _places(record: LayerRecord, semantics: Semantics) -> Iterator[int]:
    """Yield for each place in Keras 3's list of a layer's states the place where the old one has it."""
    halves = record.children.get("layer", ()) if record.class_name == "Bidirectional" else (record,)
    stacks = [stack for half in halves for stack in half.children.get("cell", ()) if stack.children.get("cells")]
    if not any(_reversed(stack, semantics) for stack in stacks):
        return
    counts = [counts_of(cell) for cell in stacks[0].children["cells"]]
    sizes = [sum(count) for count in counts]
    total = sum(sizes)
    for half in range(2 if record.class_name == "Bidirectional" else 1):
        start = 0
        for size in sizes:
            start += size
            yield from (half * total + total - start + k for k in range(size))


def _reversed(stack: LayerRecord, semantics: Semantics) -> bool:
    said = stack.config.get("reverse_state_order")
    return semantics.stacked_states_reversed if said is None else bool(said)


def _given(call: Call, places: Sequence[int]) -> Call:
    states = call.kwargs.get("initial_state")
    if not isinstance(states, (tuple, list)) or len(states) != len(places):
        return call
    return Call(call.args, {**call.kwargs, "initial_state": tuple(states[place] for place in places)})


def _moved(model: ModelRecord, places: Mapping[str, Sequence[int]]) -> Iterator[tuple[TensorRef, TensorRef]]:
    """Yield which returned state takes the place of which; the states come after the outputs."""
    for record in model.layers:
        outputs = 2 if record.class_name == "Bidirectional" and record.config.get("merge_mode", "") is None else 1
        for number in range(len(record.calls) if record.name in places else 0):
            for new, old in enumerate(places[record.name]):
                yield TensorRef(record.name, number, outputs + old), TensorRef(record.name, number, outputs + new)
