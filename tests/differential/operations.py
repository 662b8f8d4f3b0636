"""Random bare operations on tensors: Python operators, functions of ``keras.ops`` or of ``tf``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .draw import KERAS3, Draw, Flow
from .several import Joint
from .spec import Spec

Maker = Callable[[Draw, Flow, Sequence[Flow]], Joint | None]
ROUGH = "sign floor ceil".split()
"""These make a jump of a rounding error and are drawn rarely."""
POSITIVE = "sigmoid exp softplus cosh".split()
OF_POSITIVE = {
    True: "sqrt rsqrt log log1p log2 log10".split(),
    False: "math.sqrt math.rsqrt math.log math.log1p".split(),
}
"""Elsewhere they give nan, which TensorFlow's own maxima pass on or not, depending on the place in memory."""


def operation(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    """Draw an operation."""
    return draw.weighted(MAKERS)(draw, x, pool)


def _op(draw: Draw, keras: str, tf: str) -> Spec:
    return {"op": f"ops.{keras}" if draw.family == KERAS3 else f"tf.{tf}"}


def _floats(pool: Sequence[Flow]) -> list[Flow]:
    return [flow for flow in pool if flow.kind == "float"]


def _alike(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Flow:
    return draw.choice([flow for flow in _floats(pool) if (flow.shape, flow.open) == (x.shape, x.open)])


def _axis(draw: Draw, x: Flow, first: int = 1) -> int:
    """Draw an axis whose size is known, written from either end; the samples are axis 0."""
    axis = draw.between(max(first, 2 if x.open and len(x.shape) > 1 else 1), len(x.shape))
    return axis if draw.maybe(0.6) else axis - len(x.shape) - 1


def _place(x: Flow, axis: int) -> int:
    return axis - 1 if axis > 0 else axis + len(x.shape)


def _with_size(x: Flow, axis: int, size: int) -> tuple[int, ...]:
    place = _place(x, axis)
    return (*x.shape[:place], size, *x.shape[place + 1 :])


_BINARY = {
    True: "add subtract multiply maximum minimum divide_no_nan arctan2 logaddexp".split(),
    False: "math.add math.subtract math.multiply math.maximum math.minimum math.divide math.squared_difference".split(),
}


def _binary(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    other = _alike(draw, x, pool)
    if draw.maybe(0.4):
        return Joint({"op": draw.choice(["add", "sub", "mul"])}, [x.ref, other.ref], (x.shape,), open=x.open)
    name = draw.choice(_BINARY[draw.family == KERAS3])
    return Joint(_op(draw, name, name), [x.ref, other.ref], (x.shape,), open=x.open)


def _scalar(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    value = draw.choice([2.0, 0.5, -1.25, 1])
    args: list[Any] = [x.ref, value] if draw.maybe(0.6) else [value, x.ref]
    name = draw.choice(["add", "sub", "mul", "truediv", "pow"])
    if name == "truediv":
        args = [x.ref, value]
    elif name == "pow":
        args = [x.ref, draw.choice([2, 2.0, 3])]
    return Joint({"op": name}, args, (x.shape,), open=x.open)


def _slice(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    whole = {"slice": [None, None, None]}
    if len(x.shape) < 2:
        return None
    size = x.shape[0]
    what = draw.choice(["last", "first", "reversed", "tail", "feature"])
    if what in ("last", "first"):
        return Joint({"op": "getitem"}, [x.ref, [whole, -1 if what == "last" else 0]], (x.shape[1:],))
    if what == "reversed":
        return Joint({"op": "getitem"}, [x.ref, [whole, {"slice": [None, None, -1]}]], (x.shape,), open=x.open)
    if what == "tail" and size > 1:
        return Joint(
            {"op": "getitem"}, [x.ref, [whole, {"slice": [1, None, None]}]], ((size - 1, *x.shape[1:]),), open=x.open
        )
    keep = draw.between(1, x.shape[-1])
    return Joint(
        {"op": "getitem"}, [x.ref, ["...", {"slice": [None, keep, None]}]], ((*x.shape[:-1], keep),), open=x.open
    )


_UNARY = {
    True: "tanh relu sigmoid exp square abs softmax gelu absolute negative sin cos tan sinh cosh arctan expm1"
    " reciprocal elu selu silu softplus softsign leaky_relu relu6 hard_sigmoid hard_silu hard_tanh log_sigmoid"
    " log_softmax celu soft_shrink hard_shrink tanh_shrink sparse_plus sparse_sigmoid stop_gradient copy zeros_like"
    " ones_like".split(),
    False: "math.tanh nn.relu math.sigmoid math.exp math.square abs nn.softmax math.reciprocal math.expm1 math.sin"
    " math.cos nn.elu nn.selu nn.silu nn.softsign math.softplus nn.relu6 nn.leaky_relu nn.log_softmax stop_gradient"
    " identity zeros_like ones_like math.negative".split(),
}


def _unary(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if draw.maybe(0.1):
        return Joint({"op": "neg"}, [x.ref], (x.shape,), open=x.open)
    name = draw.choice(_UNARY[draw.family == KERAS3])
    if x.positive and draw.maybe(0.5):
        name = draw.choice(OF_POSITIVE[draw.family == KERAS3])
        return Joint(_op(draw, name, name), [x.ref], (x.shape,), open=x.open)
    if draw.maybe(0.03):
        name = draw.choice(ROUGH)
        return Joint(_op(draw, name, f"math.{name}"), [x.ref], (x.shape,), open=x.open)
    kwargs = {"axis": _axis(draw, x)} if "softmax" in name and draw.maybe(0.4) else {}
    positive = name.rpartition(".")[2] in POSITIVE
    return Joint(_op(draw, name, name), [x.ref], (x.shape,), kwargs, x.open, positive=positive)


def _reduced(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if len(x.shape) < 2:
        return None
    keep = draw.maybe(0.4)
    name = draw.choice([*"mean sum max min prod std logsumexp".split(), "var" if draw.family == KERAS3 else "variance"])
    axis: Any = draw.between(1, len(x.shape))
    gone = {axis}
    if draw.maybe(0.25) and name != "logsumexp":
        axis = sorted(draw.sample(range(1, len(x.shape) + 1), 2))
        gone = set(axis)
    sizes = [(n, size) for n, size in enumerate(x.shape, 1) if keep or n not in gone]
    shape = tuple(1 if n in gone else size for n, size in sizes)
    kwargs: dict[str, Any] = {"axis": axis, **({"keepdims": True} if keep else {})}
    made = _op(draw, name, f"reduce_{name}" if name in ("mean", "sum", "max", "min", "prod") else f"math.reduce_{name}")
    return Joint(made, [x.ref], (shape,), kwargs, x.open and 1 not in gone) if shape else None


def _compared(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    """Draw a comparison with a constant, which what is computed rarely meets."""
    name = draw.choice("greater less greater_equal less_equal".split())
    return Joint(_op(draw, name, f"math.{name}"), [x.ref, 0.0123], (x.shape,), open=x.open, kind="bool")


def _chosen(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    """Draw what a truth decides: a choice, or the truth as a number."""
    truths = [flow for flow in pool if flow.kind == "bool" and (flow.shape, flow.open) == (x.shape, x.open)]
    if not truths:
        return _compared(draw, x, pool)
    truth = draw.choice(truths)
    if draw.maybe(0.2):
        return Joint(_op(draw, "logical_not", "math.logical_not"), [truth.ref], (x.shape,), open=x.open, kind="bool")
    other: Any = _alike(draw, x, pool).ref if draw.maybe(0.6) else 0.0
    return Joint(_op(draw, "where", "where"), [truth.ref, x.ref, other], (x.shape,), open=x.open)


def _expanded(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    place = draw.between(1 if x.open else 0, len(x.shape))
    axis = -1 if place == len(x.shape) and draw.maybe(0.6) else place + 1
    shape = (*x.shape[:place], 1, *x.shape[place:])
    return Joint(_op(draw, "expand_dims", "expand_dims"), [x.ref], (shape,), {"axis": axis}, x.open)


def _squeezed(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    places = [place for place, size in enumerate(x.shape) if size == 1 and not (x.open and place == 0)]
    if not places or len(x.shape) < 2:
        return None
    place = draw.choice(places)
    shape = x.shape[:place] + x.shape[place + 1 :]
    return Joint(_op(draw, "squeeze", "squeeze"), [x.ref], (shape,), {"axis": place + 1}, x.open)


def _reshaped(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if x.open:
        return None
    size = math.prod(x.shape)
    factor = draw.choice([n for n in range(1, size + 1) if size % n == 0])
    return Joint(_op(draw, "reshape", "reshape"), [x.ref, [-1, factor, size // factor]], ((factor, size // factor),))


def _transposed(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if x.open or len(x.shape) < 2:
        return None
    axes = draw.sample(range(1, len(x.shape) + 1), len(x.shape))
    shape = tuple(x.shape[axis - 1] for axis in axes)
    return Joint(_op(draw, "transpose", "transpose"), [x.ref, [0, *axes]], (shape,))


def _swapped(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if x.open or len(x.shape) < 2 or draw.family != KERAS3:
        return None
    one, two = sorted(draw.sample(range(1, len(x.shape) + 1), 2))
    axes = list(range(len(x.shape)))
    if draw.maybe(0.5):
        axes[one - 1], axes[two - 1] = axes[two - 1], axes[one - 1]
        name = "swapaxes"
    else:
        axes.insert(two - 1, axes.pop(one - 1))
        name = "moveaxis"
    return Joint({"op": f"ops.{name}"}, [x.ref, one, two], (tuple(x.shape[axis] for axis in axes),))


def _rearranged(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    """Draw a flip, roll, running sum or sorting."""
    axis = draw.between(1, len(x.shape)) if len(x.shape) > 1 else 1
    if draw.family == KERAS3:
        name = draw.choice("flip roll cumsum cumprod sort".split())
        args: list[Any] = [x.ref, 1] if name == "roll" else [x.ref]
        return Joint({"op": f"ops.{name}"}, args, (x.shape,), {"axis": axis}, x.open)
    if draw.maybe(0.5):
        return Joint({"op": "tf.reverse"}, [x.ref, [axis]], (x.shape,), open=x.open)
    kwargs = {"axis": axis, **draw.options(exclusive=(0.3, lambda: True), reverse=(0.3, lambda: True))}
    return Joint({"op": "tf.cumsum"}, [x.ref], (x.shape,), kwargs, x.open)


def _repeated(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    axis = _axis(draw, x)
    if x.open and len(x.shape) < 2:
        return None
    if draw.maybe(0.5):
        shape = _with_size(x, axis, 2 * x.shape[_place(x, axis)])
        return Joint(_op(draw, "repeat", "repeat"), [x.ref, 2], (shape,), {"axis": axis}, x.open)
    times = [1] * len(x.shape)
    times[_place(x, axis)] = 2
    shape = _with_size(x, axis, 2 * x.shape[_place(x, axis)])
    return Joint(_op(draw, "tile", "tile"), [x.ref, [1, *times]], (shape,), open=x.open)


def _padded(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if x.open or draw.family != KERAS3:
        return None
    margins = [[draw.between(0, 1), draw.between(0, 2)] for _ in x.shape]
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, margins, strict=True))
    return Joint({"op": "ops.pad"}, [x.ref, [[0, 0], *margins]], (shape,))


def _split(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    axis = _axis(draw, x)
    size = x.shape[_place(x, axis)]
    parts = [n for n in (2, 3) if size % n == 0]
    if not parts or (x.open and len(x.shape) < 2):
        return None
    number = draw.choice(parts)
    shape = _with_size(x, axis, size // number)
    return Joint(_op(draw, "split", "split"), [x.ref, number], (shape,) * number, {"axis": axis}, x.open)


def _joined(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    others = [x, _alike(draw, x, pool)]
    refs = [flow.ref for flow in others]
    if draw.maybe(0.5):
        axis = _axis(draw, x)
        shape = _with_size(x, axis, 2 * x.shape[_place(x, axis)])
        if x.open and len(x.shape) < 2:
            return None
        return Joint(_op(draw, "concatenate", "concat"), [refs], (shape,), {"axis": axis}, x.open)
    axis = draw.between(2 if x.open else 1, len(x.shape) + 1)
    shape = (*x.shape[: axis - 1], 2, *x.shape[axis - 1 :])
    return Joint(_op(draw, "stack", "stack"), [refs], (shape,), {"axis": axis}, x.open)


def _product(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if len(x.shape) != 2:
        return None
    time, features = x.shape
    found = [flow for flow in _floats(pool) if len(flow.shape) == 2 and not flow.open and flow.shape[1] == features]
    if not found:
        return None
    other = draw.choice(found)
    shape = (time, other.shape[0])
    if draw.family != KERAS3:
        return Joint({"op": "tf.matmul"}, [x.ref, other.ref], (shape,), {"transpose_b": True}, x.open)
    if draw.maybe(0.5):
        return Joint({"op": "ops.einsum"}, ["abc,adc->abd", x.ref, other.ref], (shape,), open=x.open)
    found = [flow for flow in _floats(pool) if len(flow.shape) == 2 and not flow.open and flow.shape[0] == features]
    if not found:
        return None
    other = draw.choice(found)
    return Joint({"op": "ops.matmul"}, [x.ref, other.ref], ((time, other.shape[1]),), open=x.open)


def _limited(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    return Joint(_op(draw, "clip", "clip_by_value"), [x.ref, -0.5, 0.75], (x.shape,), open=x.open)


def _normalized(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    axis = _axis(draw, x)
    return Joint(_op(draw, "normalize", "math.l2_normalize"), [x.ref], (x.shape,), {"axis": axis}, x.open)


def _positions(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    """Draw the place of an extreme along the last axis, and what is there."""
    name = draw.choice(["argmax", "argmin"])
    if len(x.shape) < 2:
        return None
    return Joint(_op(draw, name, name), [x.ref], (x.shape[:-1],), {"axis": -1}, x.open, kind="other")


def _taken(draw: Draw, x: Flow, pool: Sequence[Flow]) -> Joint | None:
    if draw.family != KERAS3 or len(x.shape) < 2:
        return None
    numbers = [draw.between(0, x.shape[-1] - 1) for _ in range(2)]
    return Joint({"op": "ops.take"}, [x.ref, numbers], ((*x.shape[:-1], 2),), {"axis": -1}, x.open)


MAKERS: list[tuple[float, Maker]] = [
    (4, _binary),
    (4, _scalar),
    (4, _slice),
    (4, _unary),
    (4, _reduced),
    (1.5, _chosen),
    (1, _expanded),
    (1, _squeezed),
    (1, _reshaped),
    (1, _transposed),
    (0.7, _swapped),
    (1, _rearranged),
    (1, _repeated),
    (0.5, _padded),
    (1, _split),
    (1.5, _joined),
    (1, _product),
    (0.5, _limited),
    (0.5, _normalized),
    (0.5, _positions),
    (0.5, _taken),
]
