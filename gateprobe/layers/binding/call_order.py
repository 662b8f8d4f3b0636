"""The order in which Keras runs the calls of a graph, and that of its layers.

On that of the calls only two things depend: the states of a layer that is called several times and keeps them, and
masks that a layer takes off the tensors that it reads (`gateprobe.layers.binding.mask_loss`). Sources: ``map_graph`` in
``keras/src/ops/function.py`` 3.15.1 and ``_map_graph_network`` in ``tf_keras/src/engine/functional.py`` 2.21, which
order calls alike: by depth, the deepest first, and calls of one depth as a walk back from the outputs meets them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateprobe.graph import ModelRecord, references

Node = tuple[str, int]
"""Layer name and number of its call."""


def needs_of(model: ModelRecord) -> dict[Node, list[Node]]:
    """Return for each call the calls whose outputs it reads."""
    return {
        (record.name, number): [(ref.layer, ref.call) for ref in references((call.args, call.kwargs))]
        for record in model.layers
        for number, call in enumerate(record.calls)
    }


def execution_order(model: ModelRecord) -> list[Node]:
    """Return the calls that the outputs need, in Keras's order."""
    names = {record.name for record in model.layers}
    depths, _ = _depths(model)
    return [node for node in sorted(depths, key=lambda node: -depths[node]) if node[0] in names]


def layer_order(model: ModelRecord) -> list[str]:
    """Return the layers that the outputs need, and the inputs, in the order into which Keras puts them.

    It names and orders their weights. Layers of one depth stand as a walk back from the outputs meets them.
    """
    _, needed = _depths(model)
    depths = {ref.layer: 0 for ref in model.inputs if ref.layer not in needed} | needed
    return sorted(depths, key=lambda name: -depths[name])


def _depths(model: ModelRecord) -> tuple[dict[Node, int], dict[str, int]]:
    """Return how far each call and each layer is from the outputs; layers as a walk back from these meets them."""
    needs = needs_of(model)
    met, finished = _walked([(ref.layer, ref.call) for ref in model.outputs], needs)
    depths: dict[Node, int] = {}
    layer_depths = {node[0]: 0 for node in met}
    for node in reversed(finished):
        depth = max(depths.setdefault(node, 0), layer_depths[node[0]])
        layer_depths[node[0]] = depths[node] = depth
        for need in needs.get(node, ()):
            depths[need] = max(depth + 1, depths.get(need, 0))
    return depths, layer_depths


def after_needs(targets: list[Node], needs: Mapping[Node, list[Node]]) -> list[Node]:
    """Return the targets and what they need, each after what it needs."""
    _, finished = _walked(targets, needs)
    return finished


def _walked(targets: list[Node], needs: Mapping[Node, list[Node]]) -> tuple[list[Node], list[Node]]:
    """Return the targets and what they need as a walk begins them, and as it ends them.

    No recursion: graphs may be deep.
    """
    begun: dict[Node, None] = {}
    finished: dict[Node, None] = {}
    for target in targets:
        stack = [(target, iter(needs.get(target, ())))]
        while stack:
            node, left = stack[-1]
            begun.setdefault(node)
            need = next((need for need in left if need not in begun), None)
            if need is not None:
                stack.append((need, iter(needs.get(need, ()))))
                continue
            finished.setdefault(node)
            stack.pop()
    return list(begun), list(finished)
