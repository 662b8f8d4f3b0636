"""Operations of ``keras.ops`` on every dtype, and on numbers at which TensorFlow and NumPy may differ.

``tests/data/generate/operations.py`` records what the real Keras makes of each entry; one that Keras cannot compute is
left out there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.layers.base import Precision
from gateprobe.layers.operations.arithmetic import ALONG, BINARY, POSITIONS, REDUCTIONS, UNARY

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
EVERY = ("bool", *INTEGERS, *FLOATS)
PAIRS = (
    *((name, name) for name in EVERY),
    ("int32", "float32"), ("float32", "int64"), ("uint8", "int32"), ("uint8", "int8"), ("uint32", "int32"),
    ("float16", "float32"), ("bfloat16", "float16"), ("float16", "int32"), ("int64", "bfloat16"), ("bool", "int32"),
    ("bool", "float16"), ("float32", "float64"),
)  # fmt: skip
NUMBERS = (2, -3, 0.1, 2.5, True)
EDGES = (
    0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1.0, -1.0, 0.1, -0.3, 3.0, 10.0, 100.0, np.nan, np.inf, -np.inf,
)  # fmt: skip
WHOLE = (0, 1, -1, 2, 3, -7, 13, 100, -128)
DIVIDES = frozenset("FloorDivide Mod Fmod".split())
AXES = (1, -1)


@dataclass(frozen=True)
class Entry:
    class_name: str
    note: str
    inputs: tuple[tuple[str, Any], ...]
    """Dtype and values of each tensor; samples first."""
    constants: tuple[Any, ...] = ()
    """Arguments after the tensors; before them where ``first``."""
    config: dict[str, Any] = field(default_factory=dict)
    first: bool = False

    @property
    def key(self) -> str:
        return f"{self.class_name}:{self.note}"


def stored(values: Any, name: str) -> Array:
    """Return values as gateprobe holds those of a dtype."""
    if name in ("float16", "bfloat16"):
        return Precision(name).round(np.asarray(values, np.float32))
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(name)


def edges(name: str) -> list[Any]:
    if name == "bool":
        return [False, True]
    if name in FLOATS:
        return [*EDGES, 1e30] if name in ("float32", "float64") else list(EDGES)
    ends = np.iinfo(name)
    return [value for value in WHOLE if ends.min <= value <= ends.max] + [int(ends.max), int(ends.min)]


def _column(values: list[Any]) -> list[list[Any]]:
    return [[value] for value in values]


def unary() -> Iterator[Entry]:
    for class_name, name in product(UNARY, EVERY):
        yield Entry(class_name, name, ((name, _column(edges(name))),))
    for class_name, name in product(("Round", "ZerosLike", "OnesLike", "NanToNum", "Trunc"), EVERY):
        yield Entry(class_name, name, ((name, _column(edges(name))),))
    for decimals, name in product((1, 2, -1, -2), ("float16", "float32", "float64", "int32", "uint8")):
        values = [0.05, 0.15, 0.25, 2.675, -1.005, 25.0, 35.0, 149.0] if name in FLOATS else [5, 15, 25, 35, 149, 250]
        yield Entry("Round", f"{name}-{decimals}", ((name, _column(values)),), config={"decimals": decimals})
    for low, high in ((-1, 1), (2, -2), (0, 100)):
        for name in ("int32", "uint8", "float16", "float32"):
            if name != "uint8" or low >= 0:
                config = {"x_min": low, "x_max": high}
                yield Entry("Clip", f"{name}-{low}-{high}", ((name, _column(edges(name))),), config=config)
    for dtype, name in product(("uint8", "int8", "float16"), ("int32", "uint8", "int16")):
        values = [0, 1, 100, 127] if name == "uint8" else [0, 1, -1, 100, 300, -300]
        yield Entry("SaturateCast", f"{name}-{dtype}", ((name, _column(values)),), config={"dtype": dtype})
    for name in EVERY:
        yield Entry("Cast", f"{name}", ((name, _column([0, 1, 1, 0])),), config={"dtype": "float16"})
        yield Entry("Cast", f"{name}-int", ((name, _column([0, 1, 1, 0])),), config={"dtype": "int64"})


def _divisors(class_name: str, values: list[Any]) -> list[Any]:
    integers = all(isinstance(value, int) for value in values)
    return [value for value in values if value] if class_name in DIVIDES and integers else values


def binary() -> Iterator[Entry]:
    for class_name in BINARY:
        if class_name == "Ldexp":  # TensorFlow's own power is zero from 2 ** -126 on: see `others`
            continue
        for left, right in PAIRS:
            every = product(edges(left), _divisors(class_name, edges(right)))
            if "Shift" in class_name or (class_name == "Power" and left not in FLOATS):
                every = product([0, 1, 2, 3, 100], [0, 1, 2, 3])
            first, second = zip(*every, strict=True)
            yield Entry(class_name, f"{left}-{right}", ((left, _column(list(first))), (right, _column(list(second)))))
        for name, number in product(("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32"), NUMBERS):
            given = ((name, _column(edges(name))),)
            yield Entry(class_name, f"{name}-{number!r}", given, (number,))
            safe = _column(_divisors(class_name, edges(name)))
            yield Entry(class_name, f"{number!r}-{name}", ((name, safe),), (number,), first=True)


_ROWS = [[1, 3, 3, 2], [2, 2, 1, 0], [0, 0, 0, 0], [5, 4, 3, 9]]
_HIGH = [[100, 100, 100, 27], [127, 1, 0, 0]]
_SPECIAL = [
    [0.5, np.nan, 2.0, 1.0],
    [np.nan] * 4,
    [np.inf, 1.0, -np.inf, 2.0],
    [-0.0, 0.0, -0.0, 0.0],
    [-np.inf] * 4,
    [2.5, 2.5, -1.0, 0.1],
]
_TIES = [[0.0, -0.0, 0.0, -0.0], [-0.0, 0.0, -0.0, -0.0], [1.0, 2.0, 2.0, 1.0], [-np.inf, -np.inf, 0.0, np.inf]]


def along() -> Iterator[Entry]:
    for class_name in (*REDUCTIONS, *POSITIONS, *ALONG, "Median", "Moments", "TopK", "Diff"):
        for name in EVERY:
            config = {"k": 2} if class_name == "TopK" else {"axes": [1]} if class_name == "Moments" else {"axis": 1}
            yield Entry(class_name, name, ((name, _ROWS),), config=config)
            yield Entry(class_name, f"{name}-high", ((name, _HIGH),), config=config)
        for name in ("float32", "float16"):
            yield Entry(class_name, f"{name}-special", ((name, _SPECIAL),), config=config)
            yield Entry(class_name, f"{name}-ties", ((name, _TIES),), config=config)
    big = [[2**31 - 1, 1, 5], [-(2**31), -1, 2]]
    for class_name in ("Sum", "Prod", "Cumsum", "Cumprod", "Nansum"):
        yield Entry(class_name, "overflow", (("int32", big),), config={"axis": 1})
    for class_name, initial in product(("Max", "Min"), (-1, 2, 2.5)):
        for name in ("float32", "int32", "float16"):
            config = {"axis": 1, "initial": initial}
            yield Entry(class_name, f"{name}-{initial}", ((name, _ROWS),), config=config)
    methods = ("linear", "lower", "higher", "midpoint", "nearest")
    for class_name, method, share in product(("Quantile", "Nanquantile"), methods, (0.0, 0.1, 0.5, 0.9, 1.0)):
        config = {"axis": 1, "method": method}
        yield Entry(class_name, f"{method}-{share}", (("float32", _ROWS),), (share,), config)
    for name in ("int32", "float16", "float64", "uint8"):
        yield Entry("Quantile", name, ((name, _ROWS),), (0.3,), {"axis": 1})
        yield Entry("Percentile", name, ((name, _ROWS),), (30.0,), {"axis": 1, "keepdims": True})
    yield Entry("Quantile", "special", (("float32", _SPECIAL),), (0.3,), {"axis": 1})


def others() -> Iterator[Entry]:
    pairs = (("float32", "float16"), ("int32", "float16"), ("bool", "int32"), ("uint8", "int8"), ("float16", "float16"))
    for left, right in pairs:
        given = ((left, _ROWS), (right, [[1, 0, 1, 0]] * 4))
        for class_name in ("Concatenate", "Stack"):
            yield Entry(class_name, f"{left}-{right}", given, config={"axis": 1})
        yield Entry("Matmul", f"{left}-{right}", ((left, [_ROWS]), (right, [_ROWS])))
        yield Entry("Append", f"{left}-{right}", given, config={"axis": 1})
        yield Entry("Average", f"{left}-{right}", (*given[:1], (right, [[1, 2, 1, 1]] * 4)), config={"axis": 1})
    for name, number in product(("float16", "int32", "uint8", "bool", "float32"), (0, -1e9, 2.5)):
        mask = ("bool", [[True, False, True, False]] * 4)
        yield Entry("Where", f"{name}-{number}", (mask, (name, _ROWS)), (number,))
    for name in EVERY:
        yield Entry("Isclose", name, ((name, _column(edges(name))), (name, _column(edges(name)[::-1]))))
        yield Entry("TakeAlongAxis", name, ((name, _ROWS), ("int32", [[0, -1, 3, 1]] * 4)), config={"axis": 1})
        yield Entry("Trace", name, ((name, [_ROWS]),), config={"axis1": 1, "axis2": 2})
        yield Entry("Tril", name, ((name, [_ROWS]),), config={"k": -1})
        yield Entry("LayerNorm", name, ((name, _ROWS),))
        yield Entry("RMSNorm", name, ((name, _ROWS),))
        yield Entry("Norm", name, ((name, _ROWS),), config={"axis": -1})
        yield Entry("Sparsemax", name, ((name, _ROWS),))
        yield Entry("Trapezoid", name, ((name, _ROWS),))
        yield Entry("Average", name, ((name, _ROWS),), config={"axis": 1})
        yield Entry("FullLike", name, ((name, _ROWS),), (2,))
        yield Entry("Vander", name, ((name, [1, 2, 3]),), config={"N": 3})
        yield Entry("BroadcastTo", name, ((name, [[row] for row in _ROWS]),), config={"shape": [4, 3, 4]})
    yield Entry("InTopK", "", (("int32", [0, 1, 2, 3]), ("float32", _ROWS)), config={"k": 2})
    for left, right in product(("float32", "float16", "int32"), ("int32", "int8", "uint8")):
        yield Entry("Ldexp", f"{left}-{right}", ((left, _ROWS), (right, [[1, 0, 3, 10]] * 4)))
    definite = [[[4, 2, 0], [2, 3, 1], [0, 1, 5]], [[1, 0, 0], [0, 2, 0], [0, 0, 3]]]
    for name in ("float32", "float64"):
        yield Entry("Logdet", name, ((name, definite),))
        for upper in (False, True):
            yield Entry("Cholesky", f"{name}-{upper}", ((name, definite),), config={"upper": upper})
    for name in ("float32", "float16", "int32"):
        yield Entry("Linspace", name, ((name, _ROWS), (name, [[9, 8, 7, 6]] * 4)), config={"num": 5, "axis": 1})


def grid() -> list[Entry]:
    return [*unary(), *binary(), *along(), *others()]
