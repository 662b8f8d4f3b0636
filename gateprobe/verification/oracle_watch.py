"""Watches every call of every recurrent layer while Keras runs a model. Runs only inside the oracle's process.

``layer.call`` of each recurrent layer, wrapper and nested model is wrapped on the instance, so that what is recorded
are the arguments that Keras itself passes: inputs after casting, masks, initial states. A stack of frames says where
in the model a call happens, which gives it the same path as in a trace.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateprobe.verification.oracle_library import Library, calls_in_order, children, is_model

_PROBE = "layer:-1"
"""Path component of the call that ``K.rnn`` of tf_keras makes only to learn the output's shape."""


@dataclass(slots=True)
class SeenCall:
    """One call of a recurrent layer or of a cell."""

    path: str
    direction: str
    layer: Any
    inputs: Any
    mask: Any
    states: Any
    """The initial states as Keras structures them."""
    output: Any = None
    is_cell: bool = False


@dataclass(slots=True)
class Frame:
    """One running call of something that holds layers."""

    path: str
    names: Mapping[int, str | None]
    """``id`` of a layer → path component; ``None`` when it has the path of what holds it."""
    order: Mapping[int, Sequence[int]]
    """``id`` of a layer → the numbers of its calls in the order in which they run."""
    counts: dict[int, int] = field(default_factory=dict)

    def enter(self, layer: Any) -> str | None:
        """Return the path of a layer's next call, ``None`` when the layer does not belong here."""
        if id(layer) not in self.names:
            return None
        name, seen = self.names[id(layer)], self.counts.get(id(layer), 0)
        self.counts[id(layer)] = seen + 1
        if name is None:
            return self.path
        order = self.order.get(id(layer), ())
        number = order[seen] if seen < len(order) else seen
        component = name if number == 0 else f"{name}:{number}"
        return f"{self.path}/{component}" if self.path else component


def _trains_by_default(layer: Any) -> bool:
    """Whether a layer trains unless it is told not to, as ``predict`` tells it: one that augments images.

    Keras 3 writes the default into every graph, where it looks as if the user had asked for it.
    """
    training = inspect.signature(layer.call).parameters.get("training")
    return training is not None and training.default is True


def _never_training(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def told(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **{**kwargs, "training": False})

    told.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]  # Keras asks it what the layer takes
    return told


class Watch:
    """Records calls while `running`.

    Args:
        library: The Keras that runs.
        names: ``id`` of a layer → its name in the file, where Keras calls it differently.
        numbers: ``id`` of a layer → the file's numbers of its calls, in the order in which they were built.
    """

    def __init__(self, library: Library, names: Mapping[int, str], numbers: Mapping[int, Sequence[int]]) -> None:
        self._library = library
        self._names = names
        self._numbers = numbers
        self._frames: list[Frame] = []
        self._wrapped: set[int] = set()
        self.running = False
        self.calls: list[SeenCall] = []

    def install(self, layer: Any) -> None:
        """Wrap a layer and everything inside it."""
        if id(layer) in self._wrapped:
            return
        self._wrapped.add(id(layer))
        if _trains_by_default(layer):
            layer.call = _never_training(layer.call)
        enter = self._enter(layer)
        if enter is not None:
            self._wrap(layer, enter)
        for child in children(self._library, layer):
            self.install(child)

    def run(self, model: Any, inputs: Any) -> Any:
        """Call a model and record the calls inside it; `calls` is emptied first.

        ``training`` is left to Keras: ``training=False`` would override what a Keras 3 graph holds, and what a graph
        does not hold is inference anyway, but for `_trains_by_default`.
        """
        self.calls, self._frames, self.running = [], [Frame("", {id(model): None}, {})], True
        try:
            return model(inputs)
        finally:
            self.running = False
            self.calls = [call for call in self.calls if _PROBE not in call.path.split("/")]

    def _enter(self, layer: Any) -> Callable[..., Any] | None:
        layers = self._library.keras.layers
        if is_model(layer):
            return self._enter_model
        if isinstance(layer, layers.TimeDistributed):
            return self._enter_time_distributed
        if isinstance(layer, layers.Bidirectional):
            return self._enter_bidirectional
        if isinstance(layer, layers.RNN):
            return self._enter_recurrent
        return self._enter_cell if hasattr(layer, "state_size") else None

    def _wrap(self, layer: Any, enter: Callable[..., Any]) -> None:
        original = layer.call
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            path = self._frames[-1].enter(layer) if self.running else None
            if path is None:
                return original(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            return enter(layer, path, bound.arguments, lambda: original(*args, **kwargs))

        # TimeDistributed of tf_keras asks the signature whether the layer inside takes a mask
        call.__signature__ = signature  # type: ignore[attr-defined]  # functions take any attribute
        layer.call = call

    def _within(self, frame: Frame, proceed: Callable[[], Any]) -> Any:
        self._frames.append(frame)
        try:
            return proceed()
        finally:
            self._frames.pop()

    def _enter_model(self, model: Any, path: str, arguments: Mapping[str, Any], proceed: Callable[[], Any]) -> Any:
        names = {id(layer): self._names.get(id(layer), layer.name) for layer in model.layers}
        order = {
            key: [self._numbers[key][n] if key in self._numbers else n for n in calls]
            for key, calls in calls_in_order(model).items()
        }
        return self._within(Frame(path, names, order), proceed)

    def _enter_time_distributed(
        self, layer: Any, path: str, arguments: Mapping[str, Any], proceed: Callable[[], Any]
    ) -> Any:
        timesteps = next(iter(arguments.values())).shape[1]
        folded = self._library.legacy and layer._always_use_reshape  # noqa: SLF001 - decides how tf_keras calls the layer
        order = [0] if folded else [*([-1] if self._library.legacy else []), *range(timesteps)]
        start = len(self.calls)
        output = self._within(Frame(path, {id(layer.layer): "layer"}, {id(layer.layer): order}), proceed)
        if folded:
            self.calls[start:] = [
                self._unfolded(call, path, t, timesteps) for t in range(timesteps) for call in self.calls[start:]
            ]
        return output

    def _unfolded(self, call: SeenCall, path: str, timestep: int, timesteps: int) -> SeenCall:
        """Return the rows of one timestep from a call that got all timesteps at once as samples."""

        def rows(value: Any) -> Any:
            return self._library.map(lambda tensor: tensor[timestep::timesteps], value)

        inner = call.path.removeprefix(f"{path}/layer")
        return SeenCall(
            f"{path}/layer{f':{timestep}' if timestep else ''}{inner}",
            call.direction,
            call.layer,
            rows(call.inputs),
            None if call.mask is None else rows(call.mask),
            rows(call.states),
            rows(call.output),
            call.is_cell,
        )

    def _enter_bidirectional(
        self, layer: Any, path: str, arguments: Mapping[str, Any], proceed: Callable[[], Any]
    ) -> Any:
        names = {id(layer.forward_layer): None, id(layer.backward_layer): None}
        start = len(self.calls)
        output = self._within(Frame(path, names, {}), proceed)
        for call in self.calls[start:]:
            call.direction = "forward" if call.layer is layer.forward_layer else "backward"
        return output

    def _enter_recurrent(self, layer: Any, path: str, arguments: Mapping[str, Any], proceed: Callable[[], Any]) -> Any:
        inputs = next(iter(arguments.values()))
        states = arguments.get("initial_state")
        if isinstance(inputs, (list, tuple)):
            inputs, states = inputs[0], list(inputs[1:]) or states
        mask = arguments.get("mask")
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        seen = SeenCall(
            path,
            "backward" if layer.go_backwards else "forward",
            layer,
            inputs,
            mask,
            self._initial(layer, inputs, states),
        )
        self.calls.append(seen)
        seen.output = proceed()
        return seen.output

    def _initial(self, layer: Any, inputs: Any, given: Any) -> Any:
        """Return copies of the states that Keras starts from."""
        carried = self._library.flat(layer.states) if layer.stateful else []
        carried = [] if any(state is None for state in carried) else carried
        # tf_keras prefers the states of the batch before to those given, unless all are zero
        kept = self._library.legacy and any(self._library.array(state).any() for state in carried)
        if given is not None and self._library.flat(given) and not kept:
            return given
        if carried:
            return self._library.map(self._library.tensor, layer.states)
        if self._library.legacy:
            return layer.get_initial_state(inputs)
        return layer.get_initial_state(batch_size=inputs.shape[0])

    def _enter_cell(self, cell: Any, path: str, arguments: Mapping[str, Any], proceed: Callable[[], Any]) -> Any:
        inputs, states, *_ = arguments.values()
        seen = SeenCall(path, "forward", cell, inputs, None, states, is_cell=True)
        self.calls.append(seen)
        seen.output = proceed()
        return seen.output
