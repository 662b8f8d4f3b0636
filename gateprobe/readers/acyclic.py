"""Refuse graphs that cannot be computed: calls that wait for each other."""

from __future__ import annotations

from gateprobe.errors import ReadError
from gateprobe.graph import ModelRecord, references

_Node = tuple[str, int]


def check_acyclic(model: ModelRecord) -> None:
    """Refuse a model in which a call needs its own result, in time linear in the number of calls.

    Raises:
        ReadError: Names one layer of a cycle.
    """
    waits: dict[_Node, int] = {}
    feeds: dict[_Node, list[_Node]] = {}
    for layer in model.layers:
        for number, call in enumerate(layer.calls):
            node = (layer.name, number)
            sources = {(ref.layer, ref.call) for ref in references((call.args, call.kwargs))}
            waits[node] = len(sources)
            for source in sources:
                feeds.setdefault(source, []).append(node)
    inputs = [(layer.name, 0) for layer in model.layers if not layer.calls]
    ready = [*inputs, *(node for node, count in waits.items() if count == 0)]
    done = set[_Node]()
    while ready:
        node = ready.pop()
        done.add(node)
        for after in feeds.get(node, ()):
            waits[after] -= 1
            if waits[after] == 0:
                ready.append(after)
    stuck = next((node for node in waits if node not in done), None)
    if stuck is not None:
        raise ReadError("the layer waits for its own output: the graph has a cycle", place=f"{model.name}/{stuck[0]}")
