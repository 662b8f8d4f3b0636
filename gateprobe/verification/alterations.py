"""Known differences between implementations of recurrent layers, each as a change of what is replayed.

When the replay disagrees with Keras, each is tried alone: the one that makes the numbers agree names the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from gateprobe.graph import Array, Call, LayerRecord, ModelGraph, ModelRecord, WeightGroup
from gateprobe.layers.binding.graph import Graph, call_name
from gateprobe.layers.recurrent.bidirectional import Bidirectional
from gateprobe.layers.recurrent.rnn import Recurrent
from gateprobe.layers.wrappers import TimeDistributed
from gateprobe.replay.plan import Plan
from gateprobe.verification.blueprint import ObjectWeights
from gateprobe.verification.replay import Subject


@dataclass(frozen=True, slots=True, eq=False)
class Alteration:
    """One known difference."""

    name: str
    text: str
    """What would be so in Keras."""
    subject: Subject
    """The replay with this difference."""


def alterations(subject: Subject, target: ObjectWeights | None, layer: str, direction: str) -> Iterator[Alteration]:
    """Yield every known difference that can be tried.

    Args:
        subject: What disagrees with Keras.
        target: The weights of the cell that disagrees, if it is one.
        layer: Path of the layer.
        direction: Of the layer.
    """
    yield from _activations(subject)
    yield from _masks(subject)
    yield _direction(subject, layer, direction)
    if target is not None:
        yield from _weights(subject, target)


# --- the meaning of words


def _activations(subject: Subject) -> Iterator[Alteration]:
    slope = subject.semantics.hard_sigmoid_slope
    other, era = (1 / 6, "Keras 3") if slope == 0.2 else (0.2, "Keras 1 and 2")
    words = "clip(x/6 + 0.5, 0, 1)" if slope == 0.2 else "clip(0.2*x + 0.5, 0, 1)"
    yield Alteration(
        "hard_sigmoid slope",
        f"Keras computes hard_sigmoid as {words}, as {era} does",
        replace(subject, semantics=replace(subject.semantics, hard_sigmoid_slope=other)),
    )
    for old, new in (("hard_sigmoid", "sigmoid"), ("sigmoid", "hard_sigmoid")):
        change = partial(_gates_renamed, old=old, new=new, subject=subject)
        text = f"Keras's gates are {new} where the replay's are {old}"
        yield Alteration(f"{new} for {old}", text, _rerecorded(subject, change))


def _gates_renamed(record: LayerRecord, old: str, new: str, subject: Subject) -> LayerRecord:
    """Give a recurrent layer another gate activation, if it has the old one."""
    if not record.class_name.endswith(("LSTM", "GRU", "LSTMCell", "GRUCell", "LSTM1D", "LSTM2D", "LSTM3D")):
        return record
    semantics = subject.semantics
    usual = semantics.conv_recurrent_activation if "Conv" in record.class_name else semantics.recurrent_activation
    if record.config.get("recurrent_activation", usual) != old:
        return record
    return replace(record, config={**record.config, "recurrent_activation": new})


def _masks(subject: Subject) -> Iterator[Alteration]:
    yield Alteration("mask ignored", "Keras does not apply the mask", _rerecorded(subject, _unmasked))


def _unmasked(record: LayerRecord) -> LayerRecord:
    calls = tuple(Call(call.args, {k: v for k, v in call.kwargs.items() if k != "mask"}) for call in record.calls)
    if record.class_name == "Masking":
        return replace(record, class_name="Activation", config={"activation": "linear"}, calls=calls)
    if record.class_name == "Embedding":
        return replace(record, config={**record.config, "mask_zero": False}, calls=calls)
    return replace(record, calls=calls)


def _rerecorded(subject: Subject, change: Callable[[LayerRecord], LayerRecord]) -> Subject:
    """Change every record of a graph, nested ones too."""
    model = subject.graph.model
    return (
        subject if model is None else replace(subject, graph=replace(subject.graph, model=_remodelled(model, change)))
    )


def _remodelled(model: ModelRecord, change: Callable[[LayerRecord], LayerRecord]) -> ModelRecord:
    return replace(model, layers=tuple(_changed(record, change) for record in model.layers))


def _changed(record: LayerRecord, change: Callable[[LayerRecord], LayerRecord]) -> LayerRecord:
    children = {key: tuple(_changed(child, change) for child in group) for key, group in record.children.items()}
    model = None if record.model is None else _remodelled(record.model, change)
    return change(replace(record, children=children, model=model))


# --- directions


def _direction(subject: Subject, layer: str, direction: str) -> Alteration:
    def adjust(plan: Plan) -> Plan:
        plan = plan if subject.adjust is None else subject.adjust(plan)
        return replace(plan, graph=reversed_in_time(plan.graph, layer, direction))

    return Alteration(
        "direction",
        f"Keras runs the {direction} layer of {layer} through time the other way",
        replace(subject, adjust=adjust),
    )


def reversed_in_time(graph: Graph, layer: str, direction: str) -> Graph:
    """Let one recurrent layer of a bound graph run through time the other way.

    Args:
        graph: Bound.
        layer: Path of the layer.
        direction: Which one of a Bidirectional.
    """
    name, _, rest = layer.partition("/")
    steps = tuple(
        replace(step, layer=_reversed_layer(step.layer, rest, direction)) if call_name(*step.node) == name else step
        for step in graph.steps
    )
    return replace(graph, steps=steps)


def _reversed_layer(layer: Any, path: str, direction: str) -> Any:
    if isinstance(layer, Graph):
        return reversed_in_time(layer, path, direction)
    if isinstance(layer, Bidirectional):
        return replace(layer, **{direction: _reversed_layer(getattr(layer, direction), path, direction)})
    if isinstance(layer, Recurrent):
        return replace(layer, go_backwards=not layer.go_backwards)
    if isinstance(layer, TimeDistributed):
        return replace(layer, layer=_reversed_layer(layer.layer, path.partition("/")[2], direction))
    return layer


# --- the layout of weights


def _weights(subject: Subject, target: ObjectWeights) -> Iterator[Alteration]:
    weights = target.weights
    if "recurrent_kernel" in weights or "U_i" in weights or "U_z" in weights:
        yield from _gate_orders(subject, target)
    if "recurrent_kernel" in weights and weights["recurrent_kernel"].ndim == 2:
        units = weights["recurrent_kernel"].shape[0]
        flipped = (
            np.hstack([b.T for b in np.split(weights["recurrent_kernel"], _gates(weights), axis=1)]) if units else None
        )
        if flipped is not None:
            yield Alteration(
                "recurrent kernel transposed",
                "Keras uses the transpose of each gate's recurrent kernel, as CuDNN stores them",
                _reweighted(subject, target, {"recurrent_kernel": flipped}),
            )
    bias = weights.get("bias")
    if bias is not None and "recurrent_kernel" in weights:
        yield from _bias_halves(subject, target, bias, weights)
        yield from _reset_after(subject, target, bias, weights)


def _gates(weights: Mapping[str, Array]) -> int:
    recurrent = weights["recurrent_kernel"]
    return int(recurrent.shape[-1] // recurrent.shape[-2])


def _gate_orders(subject: Subject, target: ObjectWeights) -> Iterator[Alteration]:
    weights = target.weights
    per_gate = "recurrent_kernel" not in weights
    letters = (
        "".join(dict.fromkeys(role[-1] for role in weights))
        if per_gate
        else {4: "ifco", 3: "zrh"}.get(_gates(weights), "")
    )
    for order in permutations(range(len(letters))):
        if list(order) == sorted(order):
            continue
        stored = "".join(letters[order.index(place)] for place in range(len(letters)))
        changed = _swapped(weights, letters, order) if per_gate else _permuted(weights, len(letters), order)
        yield Alteration(
            "gate order",
            f"Keras takes the gates in the file to be in the order {', '.join(stored)}, "
            f"the replay in the order {', '.join(letters)}",
            _reweighted(subject, target, changed),
        )


def _swapped(weights: Mapping[str, Array], letters: str, order: tuple[int, ...]) -> dict[str, Array]:
    taken = {letter: letters[place] for letter, place in zip(letters, order, strict=True)}
    return {role: weights[f"{role[:-1]}{taken[role[-1]]}"] for role in weights}


def _permuted(weights: Mapping[str, Array], gates: int, order: tuple[int, ...]) -> dict[str, Array]:
    units = weights["recurrent_kernel"].shape[-2]
    changed = {}
    for role, array in weights.items():
        if array.shape[-1] % (gates * units) == 0:
            blocks = array.reshape(*array.shape[:-1], -1, gates, units)
            changed[role] = blocks[..., list(order), :].reshape(array.shape)
    return changed


def _bias_halves(
    subject: Subject, target: ObjectWeights, bias: Array, weights: Mapping[str, Array]
) -> Iterator[Alteration]:
    """Try other uses of a bias that has a half for the input and one for the recurrent product."""
    columns = weights["recurrent_kernel"].shape[-1]
    if bias.size != 2 * columns:
        return
    first, second = bias.reshape(2, columns)
    nothing = np.zeros_like(first)
    for text, halves in (
        ("Keras uses only the input half of the bias", (first, nothing)),
        ("Keras uses only the recurrent half of the bias", (nothing, second)),
        ("Keras takes the halves of the bias the other way round", (second, first)),
        ("Keras adds both halves of the bias to the input product", (first + second, nothing)),
        ("Keras adds both halves of the bias to the recurrent product", (nothing, first + second)),
    ):
        yield Alteration(
            "bias halves", text, _reweighted(subject, target, {"bias": np.stack(halves).reshape(bias.shape)})
        )


def _reset_after(
    subject: Subject, target: ObjectWeights, bias: Array, weights: Mapping[str, Array]
) -> Iterator[Alteration]:
    """Try a GRU's other place of the reset gate; its bias changes shape with it."""
    columns = weights["recurrent_kernel"].shape[-1]
    if _gates(weights) != 3 or target.convert is not None:
        return
    after = bias.ndim == 2
    changed = bias.sum(axis=0) if after else np.stack([bias, np.zeros(columns, bias.dtype)])
    altered = _reweighted(subject, target, {"bias": changed})
    where = "before" if after else "after"
    yield Alteration(
        "GRU reset_after",
        f"Keras applies the reset gate {where} the recurrent product",
        _rerecorded(altered, lambda record: _reset(record, after=not after)),
    )


def _reset(record: LayerRecord, *, after: bool) -> LayerRecord:
    if record.class_name not in ("GRU", "GRUCell"):
        return record
    return replace(record, config={**record.config, "reset_after": after})


def _reweighted(subject: Subject, target: ObjectWeights, changed: Mapping[str, Array]) -> Subject:
    """Put other arrays in place of some weights of one object."""
    new = {id(target.weights[role]): array for role, array in changed.items()}
    return replace(subject, graph=with_arrays(subject.graph, new))


def with_arrays(graph: ModelGraph, new: Mapping[int, Array]) -> ModelGraph:
    """Return a graph in which arrays, by ``id``, are replaced."""
    return replace(graph, weights=replace(graph.weights, root=_regrouped(graph.weights.root, new)))


def _regrouped(group: WeightGroup, new: Mapping[int, Array]) -> WeightGroup:
    arrays = tuple(replace(array, value=new.get(id(array.value), array.value)) for array in group.arrays)
    return replace(group, arrays=arrays, children={k: _regrouped(child, new) for k, child in group.children.items()})
