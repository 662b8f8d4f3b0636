"""Random recurrent layers and cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .draw import KERAS3, TF_KERAS, Draw, Flow, Proposal, layer, padded_size
from .spec import Spec

BOUNDED = (
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "softsign",
    "linear",
    "relu",
    "elu",
    "selu",
    "softplus",
    "softmax",
    "gelu",
)
WIDE = {
    KERAS3: (
        *BOUNDED,
        *"relu6 leaky_relu celu silu hard_silu mish log_softmax sparsemax log_sigmoid tanh_shrink".split(),
        *"soft_shrink squareplus hard_tanh sparse_plus sparse_sigmoid swish hard_swish hard_shrink exponential".split(),
    ),
    TF_KERAS: (*BOUNDED, "swish", "mish", "exponential"),
}


GATES = {
    KERAS3: (*BOUNDED[:4], *"softmax hard_tanh sparse_sigmoid".split()),
    TF_KERAS: (*BOUNDED[:4], "softmax"),
}
"""Between -1 and 1."""


def activation(draw: Draw, *, known: tuple[str, ...] = ()) -> Any:
    """Draw an activation: a usual one, any one, or a layer in its place; only one of ``known`` if there are any."""
    if draw.maybe(0.03) and draw.knows("LeakyReLU") and not known:
        return layer("LeakyReLU", {})
    return draw.choice(BOUNDED[:4]) if draw.maybe(0.5) else draw.choice(known or WIDE[draw.family])


def inert(draw: Draw) -> dict[str, Any]:
    """Draw options that must not change what a layer computes."""
    return draw.options(
        kernel_regularizer=(0.05, lambda: "l2"),
        bias_constraint=(0.04, lambda: "non_neg"),
        kernel_initializer=(0.05, lambda: "ones"),
        activity_regularizer=(0.03, lambda: "l1"),
        trainable=(0.08, lambda: False),
    )


def _gates(draw: Draw, steps: int) -> dict[str, Any]:
    """Draw the activations of gates; in a long sequence gates without bounds would let rounding errors explode."""
    finite = tuple(name for name in WIDE[draw.family] if name != "exponential")
    gates = GATES[draw.family] if steps > 3 else finite
    return draw.options(
        activation=(0.35, lambda: activation(draw, known=finite)),
        recurrent_activation=(0.35, lambda: activation(draw, known=gates)),
    )


def _cell_config(draw: Draw, kind: str, units: int, steps: int) -> dict[str, Any]:
    config: dict[str, Any] = {"units": units}
    gates = _gates(draw, steps)
    if kind == "SimpleRNN":
        gates.pop("recurrent_activation", None)
    config |= gates
    config |= draw.options(
        use_bias=(0.2, lambda: False),
        dropout=(0.08, lambda: 0.3),
        recurrent_dropout=(0.05, lambda: 0.2),
        recurrent_initializer=(0.05, lambda: "glorot_uniform"),
        recurrent_regularizer=(0.03, lambda: "l1"),
    )
    if kind == "LSTM":
        config |= draw.options(unit_forget_bias=(0.1, lambda: False))
    if kind == "GRU":
        config |= draw.options(reset_after=(0.45, lambda: draw.maybe(0.2)))
    if kind != "SimpleRNN":
        config |= draw.options(implementation=(0.2, lambda: draw.choice([1, 2])))
    return config | inert(draw)


def _loop_config(draw: Draw, x: Flow, *, sequences: float = 0.6) -> dict[str, Any]:
    config = draw.options(
        return_sequences=(sequences, lambda: True),
        return_state=(0.2, lambda: True),
        go_backwards=(0.15, lambda: True),
        zero_output_for_mask=(0.12, lambda: True),
    )
    if not x.open:
        config |= draw.options(unroll=(0.12, lambda: True))
    return config


def cell(draw: Draw, steps: int, *, deep: bool = True) -> tuple[Spec, tuple[int, ...]] | None:
    """Draw a cell; returns its output size and the sizes of its states."""
    kind = draw.choice(["LSTM", "GRU", "SimpleRNN"])
    units = draw.between(1, 5)
    if not draw.knows(f"{kind}Cell"):
        return None
    if deep and draw.maybe(0.35) and draw.knows("StackedRNNCells"):
        made = [cell(draw, steps, deep=draw.maybe(0.05)) for _ in range(draw.between(1, 3))]
        if any(one is None for one in made):
            return None
        stack = layer("StackedRNNCells", {"cells": [one[0] for one in made if one is not None]})
        return stack, tuple(size for one in made if one is not None for size in one[1])
    config = _cell_config(draw, kind, units, steps)
    config.pop("activity_regularizer", None)
    return layer(f"{kind}Cell", config), (units,) * (2 if kind == "LSTM" else 1)


def output_size(made: Spec) -> int:
    """Return the number of units that a cell puts out."""
    cells = made["config"].get("cells")
    return output_size(cells[-1]) if cells else made["config"]["units"]


def recurrent(
    draw: Draw, x: Flow, kind: str = "", units: int = 0, *, sequences: float = 0.6, state: bool = True
) -> Proposal | None:
    """Draw an LSTM, GRU or SimpleRNN, or an RNN of cells, for a sequence of vectors."""
    if len(x.shape) != 2 or x.kind != "float":
        return None
    kind = kind or draw.weighted([(5, "LSTM"), (3, "GRU"), (1.5, "SimpleRNN"), (2.5, "RNN")])
    if not draw.knows(kind):
        return None
    loop = _loop_config(draw, x, sequences=sequences)
    if not state:
        loop.pop("return_state", None)
    if kind == "RNN":
        made = cell(draw, x.shape[0])
        if made is None:
            return None
        config, size, states = {"cell": made[0], **loop}, output_size(made[0]), made[1]
        nested = _state_counts(made[0])
    else:
        size = units or draw.between(1, 5)
        config = {**_cell_config(draw, kind, size, x.shape[0]), **loop}
        states, nested = (size,) * (2 if kind == "LSTM" else 1), ()
    return replace(_returned(layer(kind, config), x, (size,), [(one,) for one in states]), nested_states=nested)


def _state_counts(made: Spec) -> tuple[int, ...]:
    """Return how many states each cell of a flat stack has; empty for a single cell."""
    cells = made["config"].get("cells", [])
    return tuple(2 if one["class"] == "LSTMCell" else 1 for one in cells)


def _returned(made: Spec, x: Flow, features: tuple[int, ...], states: list[tuple[int, ...]]) -> Proposal:
    config = made["config"]
    sequences = config.get("return_sequences", False)
    shapes = [(x.shape[0], *features) if sequences else features]
    kind = {2: "lstm", 1: "gru"}.get(len(states), "") if made["class"] in ("LSTM", "GRU", "SimpleRNN") else ""
    if config.get("return_state"):
        shapes += states
    of = kind and f"{kind}:{features[0]}"
    return Proposal(made, tuple(shapes), x.open and sequences, states_of=of, states=tuple(states))


def conv_lstm(draw: Draw, x: Flow, *, state: bool = True) -> Proposal | None:
    """Draw a ConvLSTM for a sequence of images of one to three axes."""
    rank = len(x.shape) - 2
    name = f"ConvLSTM{rank}D"
    if not 1 <= rank <= 3 or x.kind != "float" or not draw.knows(name):
        return None
    first = rank > 1 and draw.maybe(0.1)
    space = x.shape[2:] if first else x.shape[1:-1]
    kernel = [min(draw.between(1, 3), size) for size in space]
    padding = draw.choice(["valid", "same"])
    strides = [draw.choice([1, 1, 2]) for _ in space] if draw.maybe(0.3) else [1] * rank
    dilation = [1] * rank if max(strides) > 1 or draw.maybe(0.8) else [2] * rank
    sizes = [padded_size(*each, padding) for each in zip(space, kernel, strides, dilation, strict=True)]
    if min(sizes) < 1:
        return None
    config: dict[str, Any] = {"filters": draw.between(1, 3), "kernel_size": kernel, "padding": padding}
    config |= {"strides": strides} if max(strides) > 1 else {}
    config |= {"dilation_rate": dilation} if max(dilation) > 1 else {}
    config |= {"data_format": "channels_first"} if first else {}
    config |= (
        _gates(draw, x.shape[0])
        | draw.options(use_bias=(0.2, lambda: False), dropout=(0.05, lambda: 0.2))
        | inert(draw)
    )
    loop = _loop_config(draw, x)
    loop.pop("unroll", None)
    if not state:
        loop.pop("return_state", None)
    filters = config["filters"]
    features = (filters, *sizes) if first else (*sizes, filters)
    return _returned(layer(name, {**config, **loop}), x, features, [features, features])


def bidirectional(draw: Draw, x: Flow) -> Proposal | None:
    """Draw a Bidirectional of any recurrent layer, sometimes with a backward layer of its own."""
    inner = conv_lstm(draw, x) if len(x.shape) > 2 else recurrent(draw, x, sequences=0.7)
    if inner is None or not draw.knows("Bidirectional"):
        return None
    if draw.family == KERAS3:
        inner.layer["config"].pop("go_backwards", None)  # which Keras 3 refuses unless the backward layer is given
    mode = draw.choice(["concat", "concat", "concat", "sum", "mul", "ave", None])
    config: dict[str, Any] = {"layer": inner.layer}
    if mode != "concat" or draw.maybe(0.3):
        config["merge_mode"] = mode
    own = inner.layer["config"]
    if draw.maybe(0.25):
        turned = {**own, **_gates(draw, x.shape[0])} if inner.layer["class"] not in ("RNN", "SimpleRNN") else dict(own)
        kind = inner.layer["class"]
        if kind in ("LSTM", "GRU", "SimpleRNN") and not own.get("return_state") and draw.maybe(0.3):
            kind = draw.choice(["LSTM", "GRU", "SimpleRNN"])  # any class will do that returns the same
            loop = {key: own[key] for key in ("return_sequences", "unroll", "zero_output_for_mask") if key in own}
            turned = {**_cell_config(draw, kind, own["units"], x.shape[0]), **loop}
            inner = replace(inner, states=())
        turned["go_backwards"] = not own.get("go_backwards", False)
        config["backward_layer"] = layer(kind, turned)
    config |= draw.options(trainable=(0.06, lambda: False))
    return _both(layer("Bidirectional", config), inner, mode)


def _both(made: Spec, inner: Proposal, mode: str | None) -> Proposal:
    states = inner.shapes[1:] if made["config"]["layer"]["config"].get("return_state") else ()
    shape = inner.shapes[0]
    first = made["config"]["layer"]["config"].get("data_format") == "channels_first"
    if mode == "concat" and not first:
        shape = (*shape[:-1], 2 * shape[-1])
    elif mode == "concat":
        shape = (*shape[:-1], 2 * shape[-1])  # Keras joins along the last axis, whatever the format
    tops = (shape, shape) if mode is None else (shape,)
    return Proposal(made, (*tops, *states, *states), inner.open, states=inner.states * 2)
