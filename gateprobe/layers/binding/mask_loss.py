"""Masks that get lost on the way because a layer takes them off the tensors that it reads.

From Keras 3.8 on, MultiHeadAttention handles the masks of its query, value and key itself and removes them from these
very tensors (``call`` in ``keras/src/layers/attention/multi_head_attention.py`` 3.15.1). Whatever else reads one of
them later sees no mask. What is later follows from the order in which Keras runs the calls of a graph, and whether
two layers read the very same tensor from which layers return their input as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateprobe.graph import Call, LayerRecord, ModelRecord, Namespace, TensorRef, references
from gateprobe.layers.binding.call_order import Node, execution_order

DtypeOf = Callable[[LayerRecord], str]
"""Returns the name of the dtype in which a layer computes."""

_TAKES_MASKS = "MultiHeadAttention"
_RETURNS_ITS_INPUT = frozenset(
    "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise Identity"
    " ActivityRegularization".split()
)
"""At inference; the tensor itself, not a copy."""


@dataclass(slots=True)
class MaskLoss:
    """What a graph does to masks beyond what its layers say."""

    unmasked: dict[Node, frozenset[TensorRef]] = field(default_factory=dict)
    """Call → the tensors that have no mask any more when it reads them."""
    outputs: frozenset[TensorRef] = frozenset()
    """Those that have none at the end of the run."""
    inputs: frozenset[int] = frozenset()
    """Numbers of the model's inputs from which it takes the mask."""
    passed: dict[int, int] = field(default_factory=dict)
    """Number of an output → number of the input that it is."""


def mask_loss(model: ModelRecord, dtype_of: DtypeOf) -> MaskLoss:
    """Follow the calls of a model in Keras's order."""
    return _Follower(model, dtype_of).followed()


class _Follower:
    """Knows which references mean the same tensor and which tensors have lost their masks so far."""

    def __init__(self, model: ModelRecord, dtype_of: DtypeOf) -> None:
        self._model = model
        self._dtype_of = dtype_of
        self._records = {record.name: record for record in model.layers}
        self._same: dict[TensorRef, TensorRef] = {}
        self._lost: set[TensorRef] = set()
        self._inside: dict[str, MaskLoss] = {}

    def followed(self) -> MaskLoss:
        """Return what becomes of the masks."""
        result = MaskLoss()
        for node in execution_order(self._model):
            record = self._records[node[0]]
            if node[1] < len(record.calls) and record.class_name != "InputLayer":
                read = references((record.calls[node[1]].args, record.calls[node[1]].kwargs))
                result.unmasked[node] = frozenset(ref for ref in read if self._root(ref) in self._lost)
                self._run(node, record, record.calls[node[1]])
        result.outputs = frozenset(ref for ref in self._model.outputs if self._root(ref) in self._lost)
        result.inputs = frozenset(n for n, ref in enumerate(self._model.inputs) if ref in self._lost)
        numbers = {ref: n for n, ref in enumerate(self._model.inputs)}
        roots = {n: self._root(ref) for n, ref in enumerate(self._model.outputs)}
        result.passed = {n: numbers[root] for n, root in roots.items() if root in numbers}
        return result

    def _run(self, node: Node, record: LayerRecord, call: Call) -> None:
        first = call.args[0] if call.args else call.kwargs.get("inputs")
        if record.model is not None:
            self._run_model(node, record, list(references(first)))
        elif record.namespace is not Namespace.LAYER:
            return
        elif record.class_name == _TAKES_MASKS:
            named = (call.kwargs.get(name) for name in ("query", "value", "key"))
            for ref in references((*call.args, *named)):
                if self._dtype(ref) == self._dtype_of(record):  # otherwise it is a copy that loses its mask
                    self._lost.add(self._root(ref))
        elif _returns_input(record) and isinstance(first, TensorRef) and self._dtype(first) == self._dtype_of(record):
            self._same[TensorRef(*node)] = self._root(first)

    def _run_model(self, node: Node, record: LayerRecord, given: list[TensorRef]) -> None:
        assert record.model is not None
        if record.name not in self._inside:
            self._inside[record.name] = mask_loss(record.model, self._dtype_of)
        inside = self._inside[record.name]
        sources = {layer.name: layer for layer in record.model.layers}
        for number, (ref, inner) in enumerate(zip(given, record.model.inputs, strict=False)):
            if self._dtype(ref) != self._dtype_of(sources[inner.layer]):
                continue
            if number in inside.inputs:
                self._lost.add(self._root(ref))
            for output, source in inside.passed.items():
                if source == number:
                    self._same[TensorRef(*node, output)] = self._root(ref)

    def _root(self, ref: TensorRef) -> TensorRef:
        return self._same.get(ref, ref)

    def _dtype(self, ref: TensorRef) -> str:
        """Return the dtype in which a tensor arrives."""
        record = self._records[ref.layer]
        while record.model is not None and ref.tensor < len(record.model.outputs):
            ref = record.model.outputs[ref.tensor]
            record = {layer.name: layer for layer in record.model.layers}[ref.layer]
        return self._dtype_of(record)


def _returns_input(record: LayerRecord) -> bool:
    linear = record.class_name == "Activation" and record.config.get("activation") == "linear"
    return linear or record.class_name in _RETURNS_ITS_INPUT
