"""What a model's graph holds, before anything is bound: calls of recurrent layers, statefulness."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gateprobe.errors import Refusal, UnsupportedModel
from gateprobe.graph import LayerRecord, ModelRecord, records_within
from gateprobe.layers.binding.graph import call_name
from gateprobe.layers.binding.registry import is_recurrent, kind_of
from gateprobe.layers.binding.settings import LEARNING, RANDOM, Unsupported
from gateprobe.layers.binding.weight_assignment import Weights
from gateprobe.layers.binding.weight_order import layer_paths
from gateprobe.layers.recurrent.rnn import is_stateful
from gateprobe.semantics import Semantics


@dataclass(frozen=True, slots=True, eq=False)
class RecurrentCall:
    """One call of a recurrent layer somewhere in the model."""

    path: str
    """Layer path; inside a TimeDistributed, of the call for timestep 0."""
    record: LayerRecord


def recurrent_calls(model: ModelRecord, path: str = "") -> Iterator[RecurrentCall]:
    """Yield every call of a recurrent layer, nested ones too, in the order of the file."""
    for record in model.layers:
        for number in range(len(record.calls)):
            yield from _recurrent_in(record, join_path(path, call_name(record.name, number)))


@dataclass(frozen=True, slots=True, eq=False)
class RecurrentLayer:
    """A recurrent layer somewhere in the model, whatever the number of its calls."""

    path: str
    """Layer path without the numbers of calls."""
    record: LayerRecord
    weights: Callable[[], Weights]
    """Finds its weights when they are needed: most layers of a model are not recurrent."""


def recurrent_layers(model: ModelRecord, weights: Callable[[LayerRecord], Weights]) -> Iterator[RecurrentLayer]:
    """Yield every recurrent layer once, nested ones too, in the order of the file.

    Args:
        model: As a whole.
        weights: Finds those of a top-level layer.
    """
    for record in model.layers:
        yield from _layers_in(RecurrentLayer(record.name, record, partial(weights, record)))


def _layers_in(layer: RecurrentLayer) -> Iterator[RecurrentLayer]:
    model = layer.record.model
    if is_recurrent(layer.record):
        yield layer
    elif model is not None:
        paths = layer_paths(model)
        for inner in model.layers:
            yield from _layers_in(_inside(layer, f"{paths[inner.name]}#{inner.name}", inner, inner.name))
    else:
        for child in layer.record.children.get("layer", ()):
            yield from _layers_in(_inside(layer, "layer", child, "layer"))


def _inside(outer: RecurrentLayer, attribute: str, record: LayerRecord, name: str) -> RecurrentLayer:
    """Return a layer inside another one.

    Args:
        outer: The layer around it.
        attribute: Its attribute path in there, by which its weights are found.
        record: Of the layer.
        name: Its component of the layer path.
    """
    return RecurrentLayer(join_path(outer.path, name), record, lambda: outer.weights().part(attribute, record))


def call_paths(model: ModelRecord, path: str = "") -> Iterator[str]:
    """Yield the path of every call of every layer, nested ones too."""
    for record in model.layers:
        for number in range(len(record.calls)):
            own = join_path(path, call_name(record.name, number))
            yield own
            if record.model is not None:
                yield from call_paths(record.model, own)


def _recurrent_in(record: LayerRecord, path: str) -> Iterator[RecurrentCall]:
    if is_recurrent(record):
        yield RecurrentCall(path, record)
    elif record.model is not None:
        yield from recurrent_calls(record.model, path)
    else:
        for child in record.children.get("layer", ()):
            yield from _recurrent_in(child, f"{path}/layer")


def signal_paths(record: LayerRecord, path: str) -> Iterator[str]:
    """Yield the paths under which the signals of a record may be wanted, those of stacked cells too."""
    for call in _recurrent_in(record, path):
        yield call.path
        for number in range(_stack_height(call.record)):
            yield f"{call.path}/cell_{number}"


def _stack_height(record: LayerRecord) -> int:
    """Return how many stacked cells a recurrent layer has, or the layers of a Bidirectional have; 0 for no stack."""
    inside = [child for name in ("cell", "layer", "backward_layer") for child in record.children.get(name, ())]
    stacked = sum(_stack_height(cell) or 1 for cell in record.children.get("cells", ()))
    return max((stacked, *map(_stack_height, inside)))


def join_path(path: str, name: str) -> str:
    """Return the path of something inside something else; the model itself has the empty path."""
    return f"{path}/{name}" if path else name


def plain_path(path: str) -> str:
    """Return a layer path without the numbers of calls."""
    return re.sub(r":\d+", "", path)


_RATES = ("rate", "dropout", "recurrent_dropout", "stddev", "sigma", "p")
"""What layers call the strength of their dropout or noise."""


def is_random_in_training(record: LayerRecord, semantics: Semantics) -> bool:
    """Whether ``training=True`` in a graph makes a layer, or one inside it, random at inference."""
    return any(_is_random(one, semantics) for one in records_within(record))


def _is_random(record: LayerRecord, semantics: Semantics) -> bool:
    kind = kind_of(record)
    if kind is not None and kind.augments:
        return semantics.graph_may_train
    return any(record.config.get(key) for key in _RATES)


def learns_in_training(record: LayerRecord) -> bool:
    """Whether ``training=True`` makes a layer, or one inside it, depend on the batch."""
    learning = ("BatchNormalization", "SpectralNormalization")
    return any(word in one.class_name for one in records_within(record) for word in learning)


def stateful_batch(model: ModelRecord) -> int | None:
    """Return the number of samples in a batch of a stateful model.

    Raises:
        UnsupportedModel: The model is stateful and does not say it.
    """
    stateful = [call for call in recurrent_calls(model) if is_stateful(call.record)]
    if not stateful:
        return None
    for record in model.layers:
        shape = record.config.get("batch_shape") or record.config.get("batch_input_shape")
        if (
            record.class_name == "InputLayer"
            and isinstance(shape, (list, tuple))
            and shape
            and type(shape[0]) is int
            and shape[0] > 0
        ):
            return shape[0]
    reason = "is stateful, and the file does not say for how many samples in a batch"
    raise UnsupportedModel([Refusal(stateful[0].path, stateful[0].record.class_name, reason)])


def refuse_training(record: LayerRecord, semantics: Semantics) -> None:
    """Refuse calls with ``training=True`` baked into the graph where that changes the result.

    Raises:
        Unsupported: The layer's output is random, or depends on the other samples of the batch.
    """
    if not any(call.kwargs.get("training") in (True, 1) for call in record.calls):
        return
    if learns_in_training(record):
        raise Unsupported(LEARNING)
    if is_random_in_training(record, semantics):
        raise Unsupported(RANDOM)


def refuse_mixed_states(record: LayerRecord, semantics: Semantics) -> None:
    """Refuse a stateful Bidirectional beside another stateful layer in a model inside another one.

    Where a Bidirectional has forgotten that it is stateful, that layer makes Keras keep its states after all:
    ``Network.updates`` in ``keras/engine/network.py`` 2.2.4 collects those of every layer.

    Raises:
        Unsupported: The model is such a one.
    """
    if record.model is None:
        return
    stateful = [one.class_name == "Bidirectional" for one in _outermost(record.model) if is_stateful(one)]
    if any(stateful) and not all(stateful) and not semantics.bidirectional_keeps_states:
        raise Unsupported("holds a stateful Bidirectional beside another stateful layer, which is not replayed")


def _outermost(model: ModelRecord) -> Iterator[LayerRecord]:
    """Yield the layers of a model and of the models inside it, but not what is inside a layer."""
    for one in model.layers:
        if one.model is None:
            yield one
        else:
            yield from _outermost(one.model)


def refuse_shared_states(record: LayerRecord) -> None:
    """Refuse several calls of a stateful layer, where Keras does not determine which states they read and leave.

    Raises:
        Unsupported: The layer is such a one.
    """
    several = len(record.calls) > 1 or record.class_name == "TimeDistributed"
    if several and is_stateful(record):
        raise Unsupported("is stateful and called several times, which this Keras computes in no certain order")
