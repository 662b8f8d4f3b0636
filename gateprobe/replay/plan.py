"""From what a file says to what will run: bound layers in execution order.

Only what lies upstream of the wanted layers is bound, so that an unknown head never blocks a trace. What cannot be
bound is collected, all of it, into one `UnsupportedModel`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from gateprobe.errors import InputError, Refusal, UnsupportedModel
from gateprobe.graph import Array, Call, LayerRecord, ModelGraph, ModelRecord, Namespace, TensorRef, references
from gateprobe.layers.base import FLOAT32, FLOAT64, Layer, Precision
from gateprobe.layers.binding.call_arguments import INPUTS, MODEL, constant_rows, understood
from gateprobe.layers.binding.call_order import Node, execution_order
from gateprobe.layers.binding.graph import REPLAY_ERRORS, Graph, InputCast, Step, call_name, misfit
from gateprobe.layers.binding.mask_loss import MaskLoss, mask_loss
from gateprobe.layers.binding.registry import Binding, kind_of
from gateprobe.layers.binding.settings import (
    BadSize,
    OtherWeights,
    Settings,
    UnknownCode,
    Unsupported,
    policy_name,
    refuse,
    unknown_class,
)
from gateprobe.layers.binding.weight_assignment import Weights, contradictions, find_weights
from gateprobe.layers.binding.weight_order import layer_paths, parts_of, slots_of
from gateprobe.layers.recurrent.rnn import is_stateful
from gateprobe.replay.calls import (
    RecurrentLayer,
    join_path,
    refuse_mixed_states,
    refuse_shared_states,
    refuse_training,
    signal_paths,
    stateful_batch,
)
from gateprobe.replay.contested import Watched, has_masks
from gateprobe.replay.flow import located
from gateprobe.semantics import Semantics


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What will run."""

    graph: Graph
    inputs: tuple[TensorRef, ...]
    """The inputs that are needed, among the model's inputs in their order."""
    batch_size: int | None
    """The number of samples in a batch that a stateful model, or one with constant states, was built for."""
    max_bytes: int | None = None
    """How much a batch may hold at a time, see `gateprobe.limits.room`."""
    step_weights: int | None = None
    """Weights of the largest recurrent cell, all of which each timestep multiplies; ``None`` where there is none."""
    notes: tuple[str, ...] = ()
    """What a user must know to trust the numbers; belongs on stderr and into the metadata."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compute."""

    traced: Callable[[str], bool]
    """Whether the recurrent layer at a path is wanted."""
    outputs: bool = False
    """Whether the model's outputs are wanted."""
    fed: frozenset[str] = field(default_factory=frozenset)
    """Keys of the feeds."""


def make_plan(
    graph: ModelGraph,
    semantics: Semantics,
    wanted: Wanted,
    precision: Precision | None = None,
    *,
    watched: Watched | None = None,
) -> Plan:
    """Bind what lies upstream of what is wanted.

    Args:
        graph: From a reader.
        semantics: The meaning of the file's words.
        wanted: Layers and outputs.
        precision: Instead of the precision that the file asks for.
        watched: The same semantics, to remember which meanings were asked for, even when the model is refused.

    Raises:
        UnsupportedModel: Something upstream cannot be replayed exactly; carries every reason.
        InputError: A feed would change nothing.
    """
    model = model_of(graph)
    watched = Watched.over(semantics) if watched is None else watched
    binder = _Binder(watched, wanted, precision)

    outputs = frozenset(range(len(model.outputs))) if wanted.outputs else frozenset()
    bound = binder.model(model, find_weights(model, graph.weights, semantics), "", outputs)
    if binder.refusals:
        raise UnsupportedModel(located(model, binder.refusals), file=graph.file)
    assert bound is not None
    binder.notes += _check_meanings(graph, model, watched, wanted)
    _refuse_useless(wanted.fed, binder.needed)
    needed = tuple(ref for ref in model.inputs if (ref.layer, ref.call) in binder.outermost)
    notes = (*contradictions(model, graph.weights, semantics), *binder.notes)
    return Plan(bound, needed, _batch_of(model, binder), step_weights=binder.step_weights, notes=notes)


def bind_alone(graph: ModelGraph, semantics: Semantics, layer: RecurrentLayer) -> Layer:
    """Bind one layer with nothing of what lies upstream, for its weights.

    They are in the precision in which the file keeps them, also where the layer computes in half precision.

    Raises:
        UnsupportedModel: Its weights or settings are not understood.
    """
    precision = FLOAT64 if _keeps_float64(layer.record) else FLOAT32
    binder = _Binder(Watched.over(semantics), Wanted(lambda path: False), precision)
    uncalled = replace(layer.record, calls=())  # how it is called changes none of its weights
    bound = binder.layer(uncalled, lambda record: layer.weights(), layer.path, frozenset())
    if bound is None:
        raise UnsupportedModel(binder.refusals, file=graph.file)
    return bound


def _keeps_float64(record: LayerRecord) -> bool:
    inside = (child for group in record.children.values() for child in group)
    try:
        return policy_name(record.config) == "float64" or any(map(_keeps_float64, inside))
    except Unsupported:  # a policy of computing, which changes no weight
        return False


def _check_meanings(graph: ModelGraph, model: ModelRecord, watched: Watched, wanted: Wanted) -> list[str]:
    """Return a note when the file does not tell which version of its era it is of, and that matters.

    Raises:
        UnsupportedModel: The file does not tell its era, and that matters.
    """
    masked = has_masks(model) or any(feed.endswith(".mask") for feed in wanted.fed)
    words = list(watched.differing(masked=masked, same_era=False))
    eras = sorted({watched.era.value, *(rival.era.value for rival in watched.rivals)})
    if words:
        because = "; ".join((*graph.origin.evidence, *graph.notes))
        reason = f"the file may be of {' or '.join(eras)}, in which {', '.join(words)} differ ({because})"
        remedy = f"say which with --semantics {' or '.join(eras)}"
        raise UnsupportedModel([Refusal("model", model.class_name, reason)], file=graph.file, remedy=remedy)
    words = list(watched.differing(masked=masked, same_era=True))
    said = graph.origin.keras_version
    taken = f"the rules of {said}" if said else f"the latest rules of {watched.era.value}"
    return [f"the file does not tell its version beyond doubt: {', '.join(words)} as by {taken}"] if words else []


def _batch_of(model: ModelRecord, binder: _Binder) -> int | None:
    """Return the number of samples in a batch, where the file fixes it: by states or by constants in its graph.

    Raises:
        UnsupportedModel: It fixes two numbers.
    """
    wanted = stateful_batch(model)
    for path, key, rows in binder.constants:
        if rows != (wanted or rows):
            reason = f"is called with a constant for {rows} samples in {key}, but the model takes {wanted} at a time"
            raise UnsupportedModel([Refusal(path, "constant", reason)])
        wanted = rows
    return wanted


def _refuse_useless(feeds: frozenset[str], needed: set[str]) -> None:
    """Refuse feeds that would change nothing.

    Raises:
        InputError: Names the layer that is fed in vain.
    """
    for feed in sorted(feeds):
        layer = fed_layer(feed)
        outer = [layer[: number.end()] for number in re.finditer(r":\d+(?=/)", layer)]
        if not needed.issuperset(re.sub(r":\d+(?=/)", "", call) for call in (*outer, layer)):
            raise InputError(
                f"--feed={feed}: nothing that is wanted depends on this layer",
                remedy="choose other layers with --layer",
            )


def fed_layer(feed: str) -> str:
    """Return the path of the layer to which a feed gives its input, its mask or an initial state."""
    return re.sub(r"\.(mask|initial_state\[\d+\])$", "", feed)


def model_of(graph: ModelGraph) -> ModelRecord:
    """Return a file's model.

    Raises:
        UnsupportedModel: The file holds only weights, or a model whose code is not in the file.
    """
    if graph.model is None:
        reason = "; ".join(graph.notes) or "the file holds weights alone; give --architecture FILE.json"
        raise UnsupportedModel([Refusal("model", "weights only", reason)], file=graph.file)
    return graph.model


class _Binder:
    """Binds records to layers, collecting what cannot be bound."""

    def __init__(self, semantics: Semantics, wanted: Wanted, precision: Precision | None) -> None:
        self._semantics = semantics
        self._wanted = wanted
        self._precision = precision
        self.refusals: list[Refusal] = []
        self.notes: list[str] = []
        self.outermost: frozenset[Node] = frozenset()
        """The calls of the model itself that are needed, those of its inputs too."""
        self.constants: list[tuple[str, str, int]] = []
        """Path, parameter and number of samples of each constant in a call that fixes the size of a batch."""
        self.step_weights: int | None = None
        self._inside = 0
        """How many layers around the present one call it on something else than the samples, such as timesteps."""
        self.needed: set[str] = set()
        """The paths of all calls that are needed, nested ones too; outer models without the numbers of their calls."""

    def model(
        self, model: ModelRecord, weights: Callable[[LayerRecord], Weights], path: str, outputs: frozenset[int]
    ) -> Graph | None:
        """Bind the part of a model that the wanted outputs and traced layers need."""
        records = {record.name: record for record in model.layers}
        targets = self._targets(model, path, outputs)
        ends = [ref for n, ref in enumerate(model.outputs) if n in outputs]
        order = self._order(model, targets, path, ends)
        if not path:
            self.outermost = frozenset(order)
        self.needed |= {join_path(path, call_name(*node)) for node in order}
        used = _used_tensors(records, order, ends)
        hidden = self._hidden(records, order)
        layers: dict[str, Layer | None] = {}
        for name, _ in order:
            record = records[name]
            if name not in layers and record.class_name != "InputLayer":
                records[name] = record = self._understood(record, join_path(path, name))
                layers[name] = self.layer(record, weights, join_path(path, name), used.get(name, frozenset()))
        if any(layer is None for layer in layers.values()):
            return None
        kept = tuple(ref if n in outputs else None for n, ref in enumerate(model.outputs))
        input_casts = tuple(self._input_cast(records[ref.layer], path) for ref in model.inputs)
        takes = _attends(model) and self._semantics.attention_takes_masks
        loss = mask_loss(model, _dtype_of) if takes else MaskLoss()
        explicit = any("mask" in call.kwargs for name in layers for call in records[name].calls)
        own = explicit and not self._semantics.explicit_mask_goes_on
        steps = [
            replace(
                step,
                unmasked=loss.unmasked.get(step.node, frozenset()) | hidden.get(step.node, frozenset()),
                keeps_own_mask=own and not isinstance(step.layer, Graph),
            )
            for step in _steps(records, order, layers, kept)
        ]
        return Graph(model.inputs, input_casts, model.input_keys, tuple(steps), kept, loss.outputs)

    def _targets(self, model: ModelRecord, path: str, outputs: frozenset[int]) -> list[Node]:
        """Return the calls of traced layers, and those that make wanted outputs."""
        traced = [
            (record.name, number)
            for record in model.layers
            for number in range(len(record.calls))
            if any(map(self._wanted.traced, signal_paths(record, join_path(path, call_name(record.name, number)))))
        ]
        return traced + [(ref.layer, ref.call) for n, ref in enumerate(model.outputs) if n in outputs]

    def _hidden(self, records: Mapping[str, LayerRecord], order: list[Node]) -> dict[Node, frozenset[TensorRef]]:
        """Return for each call with ``mask=None`` what it is given, if that hides masks.

        Source: ``_get_input_masks`` in ``tf_keras/src/engine/base_layer.py`` 2.21, ``Layer.__call__`` in
        ``keras/engine/base_layer.py`` 2.2.4: a mask that is given, be it ``None``, takes the place of the input's.
        """
        calls = {node: records[node[0]].calls[node[1]] for node in order if records[node[0]].calls}
        given = {
            node: frozenset(references((call.args, call.kwargs)))
            for node, call in calls.items()
            if call.kwargs.get("mask", call) is None and records[node[0]].namespace is Namespace.LAYER
        }
        return given if given and self._semantics.null_mask_hides else {}

    def _input_cast(self, record: LayerRecord, path: str) -> InputCast:
        """Return what a model makes of the input for one of its input layers."""
        if record.class_name != "InputLayer" or not self._semantics.models_cast_inputs:
            return InputCast()
        dtype = record.config.get("dtype") or "float32"
        known = isinstance(dtype, str) and dtype in _INPUT_DTYPES
        if self._precision is not None and str(dtype).endswith(("float16", "float32", "float64")):
            dtype = self._precision.name
        shape = record.config.get("batch_shape") or record.config.get("batch_input_shape")
        return InputCast(
            str(dtype) if known else None,
            tuple(shape) if isinstance(shape, (list, tuple)) else None,
            self._semantics.cast_keeps_mask,
            exact=not path,
        )

    def _understood(self, record: LayerRecord, path: str) -> LayerRecord:
        """Return a record whose calls hold nothing that its layer does not understand, or note what they hold."""
        kind = kind_of(record)
        if kind is None and record.model is None:
            return record
        try:
            nested = MODEL if self._semantics.cast_keeps_mask else INPUTS
            calls = understood(record, nested if kind is None else kind.takes)
            constants = [found for call in calls for found in constant_rows(call)]
            if constants and self._inside:
                refuse(f"is called with a constant in {constants[0][0]}, inside a layer that calls it by timesteps")
        except Unsupported as reason:
            self.refusals.append(Refusal(path, record.class_name, str(reason)))
            return record
        self.constants += [(path, key, rows) for key, rows in constants]
        return replace(record, calls=calls)

    def layer(
        self,
        record: LayerRecord,
        weights: Callable[[LayerRecord], Weights],
        path: str,
        tensors: frozenset[int],
    ) -> Layer | None:
        """Bind one layer, or note why that cannot be done."""
        before = len(self.refusals)
        try:
            layer = self._bound(record, weights(record), path, tensors)
            refuse_training(record, self._semantics)
            if is_stateful(record) and not self._semantics.calls_share_states:
                refuse_shared_states(record)
            refuse_mixed_states(record, self._semantics)
        except Unsupported as reason:
            kinds = {
                "damage": isinstance(reason, BadSize),
                "other_weights": isinstance(reason, OtherWeights),
                "unknown": isinstance(reason, UnknownCode),
            }
            self.refusals.append(Refusal(path, record.class_name, str(reason), **kinds))
            return None
        except REPLAY_ERRORS as fault:  # settings that no Keras writes, in one of the ways that no check foresees
            self.refusals.append(Refusal(path, record.class_name, misfit(fault)))
            return None
        return layer if len(self.refusals) == before else None

    def _bound(self, record: LayerRecord, weights: Weights, path: str, tensors: frozenset[int]) -> Layer | None:
        if record.model is not None:
            paths = layer_paths(record.model)
            return self.model(
                record.model, lambda inner: weights.part(f"{paths[inner.name]}#{inner.name}", inner), path, tensors
            )
        kind = kind_of(record)
        if kind is None:
            raise unknown_class(record)
        settings = Settings(record.config, self._semantics)
        if settings.bare and kind.recurrent:
            self.notes.append(
                f"{path} ({record.class_name}): the file holds none of its settings (a fault of Keras 2.0.9); "
                f"assumed tanh and {self._semantics.recurrent_activation}, Keras's defaults"
            )
        _refuse_lost_children(record)
        precision = self._precision or precision_of(record)
        slots = slots_of(record, self._semantics)
        own = weights.own(slots)
        parts: dict[str, Layer] = {}
        for name, part in parts_of(record).items():
            every = frozenset(range(len(part.model.outputs))) if part.model is not None else frozenset[int]()
            self._inside += 1
            bound = self.layer(part, partial(weights.part, name), join_path(path, name), every)
            self._inside -= 1
            if bound is None:
                return None
            parts[name] = bound
        with np.errstate(over="ignore"):  # to infinity, as in Keras; told below
            values = {slot: own[slot.role].astype(precision.dtype, copy=False) for slot in slots if not slot.alias}
            cast = {slot.role: precision.round(value) if slot.autocast else value for slot, value in values.items()}
        if "recurrent_kernel" in cast:
            self.step_weights = max(self.step_weights or 0, sum(value.size for value in cast.values()))
        self.notes += [f"{path} ({record.class_name}): {said}" for said in _not_finite(cast)]
        return kind.bind(Binding(record, settings, cast, parts, self._semantics, precision))

    def _order(self, model: ModelRecord, targets: list[Node], path: str, outputs: list[TensorRef]) -> list[Node]:
        """Return the calls that the targets need in the order in which Keras runs them.

        What one call of a stateful layer computes depends on all its calls, in the batches before. What a nested model
        needs depends on which of its outputs are read.
        """
        records = {record.name: record for record in model.layers}
        used: Mapping[str, frozenset[int]] = {}
        needed = self._needed(records, targets, path, used)
        while True:
            further = _further_calls(records, needed)
            now = _used_tensors(records, needed, outputs) if self._wanted.fed else used  # see `_taken`
            if not further and now == used:
                break
            used = now
            needed = self._needed(records, [*needed, *further], path, used)
        places = {node: place for place, node in enumerate(execution_order(model))}
        return sorted(needed, key=lambda node: places.get(node, len(places)))

    def _needed(
        self, records: Mapping[str, LayerRecord], targets: list[Node], path: str, used: Mapping[str, frozenset[int]]
    ) -> list[Node]:
        """Return the targets and what they need, each after what it needs (no recursion: graphs may be deep)."""
        order: dict[Node, None] = {}
        open_nodes: set[Node] = set()
        for target in targets:
            stack: list[tuple[Node, Iterator[Node]]] = []
            if target not in order:
                stack.append((target, self._needs(records, target, path, used)))
                open_nodes.add(target)
            while stack:
                node, needs = stack[-1]
                need = next(needs, None)
                if need is None:
                    order[node] = None
                    open_nodes.discard(node)
                    stack.pop()
                elif need in open_nodes:
                    raise UnsupportedModel([Refusal(need[0], records[need[0]].class_name, "depends on its own output")])
                elif need not in order:
                    open_nodes.add(need)
                    stack.append((need, self._needs(records, need, path, used)))
        return list(order)

    def _needs(
        self, records: Mapping[str, LayerRecord], node: Node, path: str, used: Mapping[str, frozenset[int]]
    ) -> Iterator[Node]:
        """Yield the calls whose outputs a call reads, without what the user feeds instead."""
        record = records[node[0]]
        if record.class_name == "InputLayer" or node[1] >= len(record.calls):
            return
        call, own, fed = record.calls[node[1]], join_path(path, call_name(*node)), self._wanted.fed
        refs = self._taken(record, call, join_path(path, record.name), used.get(record.name, frozenset()))
        if own in fed:
            refs = refs[1:] if call.args else refs
        for key, value in call.kwargs.items():
            replaced = (key == "inputs" and own in fed) or (key == "mask" and {own, f"{own}.mask"} & fed)
            if not replaced and not (key == "initial_state" and f"{own}.initial_state[0]" in fed):
                refs += references(value)
        yield from ((ref.layer, ref.call) for ref in refs)

    def _taken(self, record: LayerRecord, call: Call, path: str, tensors: frozenset[int]) -> list[TensorRef]:
        """Return what a call takes, without what a nested model needs for nothing but layers that are fed inside it."""
        refs = list(references(call.args))
        inner = record.model
        if inner is None or not any(feed.startswith(f"{path}/") for feed in self._wanted.fed):
            return refs
        mapped = any(isinstance(argument, Mapping) for argument in call.args)
        if mapped or len(record.calls) > 1 or len(refs) != len(inner.inputs):
            return refs
        ends = [ref for n, ref in enumerate(inner.outputs) if n in tensors]
        needed = set(self._order(inner, self._targets(inner, path, tensors), path, ends))
        return [ref for ref, own in zip(refs, inner.inputs, strict=True) if (own.layer, own.call) in needed]


def _refuse_lost_children(record: LayerRecord) -> None:
    """Refuse a layer whose configuration holds something else where a layer inside it belongs."""
    for key in ("layer", "backward_layer", "cell", "cells", "output_layer"):
        if record.config.get(key) is not None and key not in record.children:
            raise Unsupported(f"config.{key}: expected a layer, got {record.config[key]!r:.60}")


def _further_calls(records: Mapping[str, LayerRecord], needed: list[Node]) -> list[Node]:
    """Return the calls of stateful layers that are not needed yet although another call of the same layer is."""
    stateful = {name for name, _ in needed if len(records[name].calls) > 1 and is_stateful(records[name])}
    every = {(name, number) for name in stateful for number in range(len(records[name].calls))}
    return sorted(every.difference(needed))


def _attends(model: ModelRecord) -> bool:
    """Whether there is attention with several heads in a model or in one inside it."""
    return any(
        _attends(record.model) if record.model is not None else record.class_name == "MultiHeadAttention"
        for record in model.layers
    )


def _not_finite(weights: Mapping[str, Array]) -> Iterator[str]:
    """Say which weights hold NaN or infinity: a training that diverged, or a damaged file."""
    for role, value in weights.items():
        wrong = 0 if value.dtype.kind != "f" else value.size - int(np.isfinite(value).sum())
        if wrong:
            yield f"{wrong} of the {value.size} numbers of {role} are NaN or infinite"


def _used_tensors(
    records: Mapping[str, LayerRecord], order: list[Node], outputs: list[TensorRef]
) -> dict[str, frozenset[int]]:
    """Return for each layer the numbers of its output tensors that are read."""
    used: dict[str, set[int]] = {}
    for name, number in order:
        calls = records[name].calls
        if number < len(calls):
            for ref in references((calls[number].args, calls[number].kwargs)):
                used.setdefault(ref.layer, set()).add(ref.tensor)
    for ref in outputs:
        used.setdefault(ref.layer, set()).add(ref.tensor)
    return {name: frozenset(tensors) for name, tensors in used.items()}


def _steps(
    records: Mapping[str, LayerRecord],
    order: list[Node],
    layers: Mapping[str, Layer | None],
    outputs: tuple[TensorRef | None, ...],
) -> tuple[Step, ...]:
    """Make the steps; after its last use an output is let go, so that memory does not grow with depth."""
    last_use: dict[Node, Node] = {}
    for node in order:
        calls = records[node[0]].calls
        if node[1] < len(calls):
            last_use.update(
                {(ref.layer, ref.call): node for ref in references((calls[node[1]].args, calls[node[1]].kwargs))}
            )
    kept = {(ref.layer, ref.call) for ref in outputs if ref is not None}
    frees: dict[Node, list[Node]] = {}
    for made, user in last_use.items():
        if made not in kept:
            frees.setdefault(user, []).append(made)
    steps = []
    for node in order:
        layer = layers.get(node[0])
        if layer is not None:
            record = records[node[0]]
            steps.append(Step(node, layer, record.calls[node[1]], _half_type(record), tuple(frees.get(node, ()))))
    return tuple(steps)


def _dtype_of(record: LayerRecord) -> str:
    """Return the dtype in which a layer computes, or that of an input; empty when its policy is unknown."""
    try:
        return precision_of(record).name
    except Unsupported:
        return ""


def _half_type(record: LayerRecord) -> str | None:
    """Return the dtype of what a layer returns, if its policy computes in half precision."""
    if record.model is not None:  # whose layers have policies of their own
        return None
    name = precision_of(record).name
    return name if name in ("float16", "bfloat16") else None


_INPUT_DTYPES = frozenset(
    "float16 bfloat16 float32 float64 bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 string".split()
)


def precision_of(record: LayerRecord) -> Precision:
    """Return the compute precision of a layer's dtype policy.

    Raises:
        Unsupported: The policy is not one of Keras's floating-point ones.
    """
    name = policy_name(record.config).removeprefix("mixed_")
    if name in ("float16", "bfloat16"):
        return Precision(name)
    if name == "float64":
        return FLOAT64
    if name == "float32" or (name.startswith(("int", "uint", "bool", "string")) and "_from_" not in name):
        return FLOAT32
    raise Unsupported(f"config.dtype: unknown policy {name!r}")
