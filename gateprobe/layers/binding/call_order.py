"""The order in which Keras runs the calls of a graph.

Only two things depend on it: the states of a layer that is called several times and keeps them, and masks that a layer
takes off the tensors that it reads (`gateprobe.layers.binding.mask_loss`). Sources: ``map_graph`` in
``keras/src/ops/function.py`` 3.15.1 and ``_map_graph_network`` in ``tf_keras/src/engine/functional.py`` 2.21, which
order calls alike: by depth, the deepest first, and calls of one depth as a walk back from the outputs meets them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateprobe.graph import ModelRecord, references

Node = tuple[str, int]
"""Layer name and number of its call."""


def execution_order(model: ModelRecord) -> list[Node]:
    """Return the calls that the outputs need, in Keras's order."""
    names = {record.name for record in model.layers}
    needs = {
        (record.name, number): [(ref.layer, ref.call) for ref in references((call.args, call.kwargs))]
        for record in model.layers
        for number, call in enumerate(record.calls)
    }
    finished = after_needs([(ref.layer, ref.call) for ref in model.outputs], needs)
    depths: dict[Node, int] = {}
    layer_depths: dict[str, int] = {}
    for node in reversed(finished):
        depth = max(depths.setdefault(node, 0), layer_depths.get(node[0], 0))
        layer_depths[node[0]] = depths[node] = depth
        for need in needs.get(node, ()):
            depths[need] = max(depth + 1, depths.get(need, 0))
    return [node for node in sorted(depths, key=lambda node: -depths[node]) if node[0] in names]


def after_needs(targets: list[Node], needs: Mapping[Node, list[Node]]) -> list[Node]:
    """Return the targets and what they need, each after what it needs (no recursion: graphs may be deep)."""
    finished: dict[Node, None] = {}
    begun: set[Node] = set()
    for target in targets:
        stack = [(target, iter(needs.get(target, ())))]
        while stack:
            node, left = stack[-1]
            begun.add(node)
            need = next((need for need in left if need not in begun), None)
            if need is not None:
                stack.append((need, iter(needs.get(need, ()))))
                continue
            finished.setdefault(node)
            stack.pop()
    return list(finished)
