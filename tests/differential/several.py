"""Random layers of several inputs: merges, dot products, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .draw import KERAS3, Draw, Flow, layer
from .spec import Spec


@dataclass(frozen=True)
class Joint:
    """One call of a layer with everything it is given."""

    layer: Spec
    args: list[Any]
    shapes: tuple[tuple[int, ...], ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    open: bool = False
    kind: str = "float"
    """Of the tensors that it returns; see `Flow`."""
    positive: bool = False
    """See `Flow`."""
    sequences: tuple[Flow, Flow] | None = None
    """Query and value of an attention."""


def _floats(pool: Sequence[Flow]) -> list[Flow]:
    return [flow for flow in pool if flow.kind == "float"]


def merge(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    name = draw.choice("Add Subtract Multiply Average Maximum Minimum".split())
    fitting = [flow for flow in _floats(pool) if (flow.shape, flow.open) == (x.shape, x.open) and flow is not x]
    if draw.maybe(0.15):
        draw.broadcasts = True
        fitting += [flow for flow in _floats(pool) if len(flow.shape) == len(x.shape) and _broadcast(flow, x)]
        fitting += [flow for flow in _floats(pool) if len(flow.shape) == 1 and flow.shape == x.shape[-1:]]
    if not fitting or not draw.knows(name):
        return None
    others = [draw.choice(fitting) for _ in range(1 if name == "Subtract" else draw.between(1, 2))]
    inputs = [x, *others] if draw.maybe(0.7) else [*others, x]
    return Joint(layer(name, {}), [[flow.ref for flow in inputs]], (x.shape,), open=x.open)


def _broadcast(other: Flow, x: Flow) -> bool:
    return not other.open and all(a in (1, b) for a, b in zip(other.shape, x.shape, strict=True))


def concatenate(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    rank = len(x.shape)
    axis = draw.between(1, rank) if draw.maybe(0.3) and not x.open else rank
    place = axis - 1
    fitting = [
        flow
        for flow in _floats(pool)
        if len(flow.shape) == rank and flow.open == x.open and _but(flow.shape, place) == _but(x.shape, place)
    ]
    if not fitting or not draw.knows("Concatenate"):
        return None
    others = [draw.choice(fitting) for _ in range(draw.between(1, 2))]
    shape = list(x.shape)
    shape[place] += sum(flow.shape[place] for flow in others)
    config = {} if axis == rank and draw.maybe(0.6) else {"axis": axis if draw.maybe(0.5) else axis - rank - 1}
    inputs = [x, *others] if draw.maybe(0.7) else [*others, x]
    return Joint(layer("Concatenate", config), [[flow.ref for flow in inputs]], (tuple(shape),), open=x.open)


def _but(shape: tuple[int, ...], place: int) -> tuple[int, ...]:
    return shape[:place] + shape[place + 1 :]


def dot(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    pairs = [
        (flow, i, j)
        for flow in _floats(pool)
        for i in range(len(x.shape))
        for j in range(len(flow.shape))
        if x.shape[i] == flow.shape[j] and not (x.open and i == 0) and not (flow.open and j == 0)
    ]
    if not pairs or not draw.knows("Dot"):
        return None
    other, i, j = draw.choice(pairs)
    axes: Any = [i + 1, j + 1]
    if i == j and draw.maybe(0.5):
        axes = i + 1
    config = {"axes": axes, **draw.options(normalize=(0.3, lambda: True))}
    shape = (*_but(x.shape, i), *_but(other.shape, j)) or (1,)
    if len(shape) > 3 or shape.count(0) or (other.open and len(x.shape) > 1):
        return None
    return Joint(layer("Dot", config), [[x.ref, other.ref]], (shape,), open=x.open and i > 0)


def attention(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if len(x.shape) != 2:
        return None
    name = draw.choice(["Attention", "Attention", "AdditiveAttention"])
    values = [flow for flow in _floats(pool) if len(flow.shape) == 2 and flow.shape[1] == x.shape[1]]
    if not values or not draw.knows(name):
        return None
    value = draw.choice(values)
    keys = [flow for flow in values if (flow.shape, flow.open) == (value.shape, value.open)]
    inputs = [x, value, draw.choice(keys)] if draw.maybe(0.3) else [x, value]
    config = draw.options(use_scale=(0.4, lambda: draw.maybe(0.5)), dropout=(0.1, lambda: 0.2))
    if name == "Attention":
        config |= draw.options(score_mode=(0.3, lambda: "concat"))
    kwargs = draw.options(use_causal_mask=(0.2, lambda: True))
    shapes: tuple[tuple[int, ...], ...] = ((*x.shape[:1], value.shape[1]),)
    if draw.maybe(0.1) and not value.open:
        kwargs["return_attention_scores"] = True
        shapes += ((x.shape[0], value.shape[0]),)
    refs = [flow.ref for flow in inputs]
    return Joint(layer(name, config), [refs], shapes, kwargs, x.open, sequences=(x, value))


def multi_head(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if len(x.shape) != 2:
        return None
    grouped = draw.family == KERAS3 and draw.maybe(0.3)
    name = "GroupQueryAttention" if grouped else "MultiHeadAttention"
    values = [flow for flow in _floats(pool) if len(flow.shape) == 2]
    if not draw.knows(name):
        return None
    value = x if draw.maybe(0.5) else draw.choice(values)
    if grouped:
        heads = draw.between(1, 2)
        config: dict[str, Any] = {
            "head_dim": draw.between(1, 3),
            "num_query_heads": 2 * heads,
            "num_key_value_heads": heads,
        }
    else:
        config = {"num_heads": draw.between(1, 3), "key_dim": draw.between(1, 4)}
        config |= draw.options(
            value_dim=(0.3, lambda: draw.between(1, 4)), output_shape=(0.2, lambda: draw.between(1, 5))
        )
    config |= draw.options(use_bias=(0.2, lambda: False), dropout=(0.1, lambda: 0.1))
    kwargs = draw.options(use_causal_mask=(0.2, lambda: True))
    keys = [flow for flow in values if (flow.shape[0], flow.open) == (value.shape[0], value.open)]
    if draw.maybe(0.3):
        kwargs["key"] = draw.choice(keys).ref
    shapes: tuple[tuple[int, ...], ...] = ((x.shape[0], config.get("output_shape", x.shape[1])),)
    if draw.maybe(0.1) and not (value.open or x.open):
        kwargs["return_attention_scores"] = True
        shapes += ((config.get("num_heads") or config["num_query_heads"], x.shape[0], value.shape[0]),)
    return Joint(layer(name, config), [x.ref, value.ref], shapes, kwargs, x.open, sequences=(x, value))
