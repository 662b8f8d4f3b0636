"""Which timesteps are the same: whether what stands at timestep 3 of an input is what a layer reads at timestep 3.

The second axis of a tensor is a timeline. It begins at an input, at a feed or at a layer that makes timesteps of its
own (pooling, a strided convolution, RepeatVector), and goes on through layers that keep every timestep in its place.
Whatever is not known to keep them begins a new one, so that nothing is ever put beside a timestep to which it does not
belong.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef, references
from gateprobe.layers.binding.call_order import Node, after_needs, needs_of
from gateprobe.layers.binding.graph import call_name
from gateprobe.layers.binding.registry import is_recurrent
from gateprobe.replay.calls import join_path

_IN_PLACE = frozenset(
    "Activation ActivityRegularization AlphaDropout BatchNormalization BatchNormalizationV1 BatchNormalizationV2 "
    "Discretization Dropout ELU GaussianDropout GaussianNoise GroupNormalization Identity LayerNormalization LeakyReLU "
    "Masking Normalization PReLU ParametricSoftplus RMSNormalization ReLU Rescaling SReLU Softmax SpatialDropout1D "
    "SyncBatchNormalization ThresholdedReLU UnitNormalization".split()
)
"""Layers whose every output is reckoned at the place of its inputs, whatever the axis."""
_ON_FEATURES = frozenset(("Dense", "Highway", "TimeDistributed", "TimeDistributedDense"))
"""Layers that mix the last axis alone."""
_MERGES = frozenset(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"))
_OVER_TIME = frozenset(("Conv1D", "DepthwiseConv1D", "SeparableConv1D"))
_OF_QUERIES = frozenset(
    ("AdditiveAttention", "Attention", "GroupQueryAttention", "GroupedQueryAttention", "MultiHeadAttention")
)


class Origin(Enum):
    """Where a timeline begins."""

    INPUT = "input"
    FEED = "feed"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class Root:
    """Where a timeline begins, by name: an input of the model, the path of a fed layer, or that of another layer."""

    origin: Origin
    name: str
    class_name: str = ""

    @property
    def shown(self) -> str:
        """The root for messages."""
        return f"{self.class_name} {self.name}" if self.origin is Origin.LAYER else f"{self.origin.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Line:
    """The timelines that a tensor lies on: several where layers merge tensors, none where it has no timesteps."""

    roots: frozenset[Root] = frozenset()
    flat: frozenset[Root] = frozenset()
    """Of a tensor ``(samples, n)``, whose second axis is one of timesteps only if something makes it one."""

    def named(self, origin: Origin) -> frozenset[str]:
        """Return the names of the roots of one kind."""
        return frozenset(root.name for root in self.roots if root.origin is origin)


_NONE = Line()


@dataclass(frozen=True, slots=True)
class Timelines:
    """The timelines of a model."""

    layers: Mapping[str, Line]
    """Path of each call of a recurrent layer → that of its input."""
    outputs: tuple[Line, ...]
    """Of each output of the model."""

    def of(self, layer: str) -> Line:
        """Return the timelines of a layer, or of the layer that has this cell."""
        while layer not in self.layers and "/" in layer:
            layer = layer.rpartition("/")[0]
        return self.layers.get(layer, _NONE)


def timelines(model: ModelRecord, ranks: Mapping[str, int], fed: Collection[str] = ()) -> Timelines:
    """Follow the timesteps of a model's inputs through its graph.

    Args:
        model: The graph.
        ranks: Input → number of axes, samples first.
        fed: Paths of the layers that are given their input directly.
    """
    walk = _Walk(frozenset(fed))
    given = []
    for ref in model.inputs:
        root = frozenset((Root(Origin.INPUT, ref.layer),))
        given.append(Line(flat=root) if ranks.get(ref.layer, 3) == 2 else Line(root))
    outputs = walk.model(model, "", given)
    return Timelines(walk.layers, tuple(outputs))


@dataclass(slots=True)
class _Walk:
    fed: frozenset[str]
    layers: dict[str, Line] = field(default_factory=dict)

    def model(self, model: ModelRecord, path: str, given: Sequence[Line]) -> list[Line]:
        """Return the lines of a model's outputs."""
        made: dict[Node, list[Line]] = {
            (ref.layer, ref.call): [line] for ref, line in zip(model.inputs, given, strict=False)
        }
        records = {record.name: record for record in model.layers}
        needs = needs_of(model)
        for node in after_needs(list(needs), needs):
            record = records.get(node[0])
            if node in made or record is None or node[1] >= len(record.calls):
                continue
            made[node] = self._call(record, record.calls[node[1]], join_path(path, call_name(*node)), made)
        return [_line(ref, made) for ref in model.outputs]

    def _call(self, record: LayerRecord, call: Call, path: str, made: Mapping[Node, Sequence[Line]]) -> list[Line]:
        """Return the lines of what one call gives."""
        first = call.args[0] if call.args else call.kwargs.get("inputs")
        lines = [_line(ref, made) for ref in references(first)]
        if path in self.fed:
            lines = [Line(frozenset((Root(Origin.FEED, path),)))]
        if record.model is not None:
            return self.model(record.model, path, lines)
        new = [Line(frozenset((Root(Origin.LAYER, path, record.class_name),)))]
        if is_recurrent(record):
            self.layers[path] = lines[0] if lines else _NONE
            return _after_recurrent(record, lines[:1], new)
        after = line_after(record, lines)
        return new if after is None else [after]


def _line(ref: TensorRef, made: Mapping[Node, Sequence[Line]]) -> Line:
    lines = made.get((ref.layer, ref.call), ())
    return lines[ref.tensor] if ref.tensor < len(lines) else _NONE


def _after_recurrent(record: LayerRecord, given: list[Line], new: list[Line]) -> list[Line]:
    """Return the lines behind a recurrent layer: its sequences, then its states, which have no timesteps."""
    bidirectional = record.class_name == "Bidirectional"
    own = record.children["layer"][0] if bidirectional and record.children.get("layer") else record
    if not own.config.get("return_sequences"):
        return []
    if record.class_name == "BasicDecoder" or own.config.get("go_backwards"):  # whose sequences come turned round
        return new
    return given * 2 if bidirectional and record.config.get("merge_mode", "concat") is None else given


def line_after(record: LayerRecord, given: Sequence[Line]) -> Line | None:
    """Return the line of what a layer without states gives; ``None`` where it makes timesteps of its own.

    Args:
        record: The layer.
        given: The lines of its inputs.
    """
    name, config = record.class_name, record.config
    if not given:
        return None
    if name in _IN_PLACE:
        return given[0]
    if name in _ON_FEATURES:
        return replace(given[0], flat=frozenset())
    if name == "Embedding":
        return Line(given[0].roots | given[0].flat)
    if name == "Reshape" and given[0].flat and _adds_an_axis(config.get("target_shape")):
        return Line(given[0].flat)
    if name in _MERGES:
        return _merged(given)
    if name == "Concatenate" and config.get("axis", -1) in (-1, 2) and not any(line.flat for line in given):
        return _merged(given)
    if name in _OVER_TIME and config.get("padding") in ("same", "causal") and _all_ones(config.get("strides", 1)):
        return given[0]
    return given[0] if name in _OF_QUERIES else None


def _merged(given: Sequence[Line]) -> Line:
    roots = frozenset[Root]().union(*(line.roots for line in given))
    flat = frozenset[Root]().union(*(line.flat for line in given))
    return Line(roots) if roots else Line(flat=flat)


def _adds_an_axis(shape: object) -> bool:
    """Whether ``(n,)`` becomes ``(n, 1)``."""
    return isinstance(shape, (list, tuple)) and len(shape) == 2 and shape[1] == 1


def _all_ones(strides: object) -> bool:
    return all(size == 1 for size in (strides if isinstance(strides, (list, tuple)) else (strides,)))
