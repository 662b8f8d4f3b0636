"""Dtypes of operands and results by name: what Keras promotes to what.

Source: ``keras/src/backend/common/dtypes.py`` 3.15.1, in which numbers of Python are weak: they take the dtype of the
tensors beside them. Half-precision values are kept in float32 (see `gateprobe.layers.base.Precision`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Precision, Tensor, Value

HALVES = ("float16", "bfloat16")
FLOATS = (*HALVES, "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32")
INTEGERS = (*SIGNED, *UNSIGNED)

_HIGHER: Mapping[str, tuple[str, ...]] = {
    "bool": ("int",),
    "uint8": ("int16", "uint16"),
    "uint16": ("int32", "uint32"),
    "uint32": ("int64",),
    "int": ("uint8", "int8"),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64",),
    "float64": (),
}
"""Dtype → the next ones to which it can be promoted; ``int`` and ``float`` are the weak ones."""


@cache
def _bounds(name: str) -> frozenset[str]:
    return frozenset({name}).union(*(_bounds(higher) for higher in _HIGHER[name]))


@cache
def promoted(floatx: str, *names: str) -> str:
    """Return the dtype to which dtypes are promoted.

    Args:
        floatx: What a weak float becomes when there is nothing else: ``float32``, or ``float64`` when all is replayed
            in it.
        names: Dtypes, with ``int`` and ``float`` for numbers of Python.

    Raises:
        InputError: Keras has no such dtype.
    """
    unknown = [name for name in names if name not in _HIGHER]
    if unknown:
        raise InputError(f"an operation on {unknown[0]} is not replayed")
    common = frozenset.intersection(*map(_bounds, names))
    least = common & set(names) or {name for name in common if common <= _bounds(name)}
    return _resolved(next(iter(least)), floatx)


def _resolved(name: str, floatx: str) -> str:
    return {"float": floatx, "int": f"int{floatx[-2:]}"}.get(name, name)


Rule = Callable[..., str]
"""Takes ``floatx`` and the dtypes of the operands, and returns that in which an operation computes."""


def as_float(floatx: str, *names: str) -> str:
    """Integers become floats."""
    return promoted(floatx, *names, "float")


def as_float_of_64(floatx: str, *names: str) -> str:
    """Integers become floats, those of 64 bits become float64."""
    name = promoted(floatx, *names)
    return name if name in FLOATS else "float64" if name == "int64" else floatx


def as_number(floatx: str, *names: str) -> str:
    """Booleans become int32."""
    name = promoted(floatx, *names)
    return "int32" if name == "bool" else name


def as_total(floatx: str, *names: str) -> str:
    """Small integers become those of 32 bits, as in sums and products."""
    name = promoted(floatx, *names)
    return {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}.get(name, name)


def as_float32(floatx: str, *names: str) -> str:
    """At least float32."""
    return promoted(floatx, *names, floatx)


def name_of(value: Value, floatx: str, *, weak: bool = False) -> str:
    """Return the dtype of a tensor or a constant.

    Args:
        value: A tensor, an array, a number or lists of numbers.
        floatx: The dtype of constant floats of Python.
        weak: Whether a number of Python takes the dtype of what it meets.
    """
    if isinstance(value, Tensor):
        return value.dtype or value.value.dtype.name
    if isinstance(value, np.ndarray):
        return str(value.dtype)
    if weak and isinstance(value, (int, float)) and not isinstance(value, bool):
        return type(value).__name__
    array = np.asarray(value)
    if array.dtype.kind == "i":
        return "int32" if np.all(np.abs(array) < 2**31) else "int64"
    kinds: dict[str, str] = {"b": "bool", "f": floatx}
    return kinds.get(array.dtype.kind, array.dtype.name)


def label(name: str) -> str | None:
    """Return what a `Tensor` says of its dtype: nothing where its array does."""
    return name if name in HALVES else None


def storage(name: str) -> np.dtype[Any]:
    """Return the dtype of the arrays that hold values of a dtype."""
    return np.dtype(np.float32 if name in HALVES else name)


def converted(x: Array, name: str) -> Array:
    """Return an array in a dtype, rounded to what a half type can hold; integers wrap around, as between C's types."""
    if name in HALVES:
        return Precision(name).round(x.astype(np.float32, copy=False))
    return x.astype(name, copy=False)


def made(x: Any, name: str) -> Tensor:
    """Return what was computed as a tensor of a dtype."""
    return Tensor(converted(np.asarray(x), name), None, label(name))


def common(floatx: str, values: Iterable[Value], *, weak: bool = False) -> str:
    """Return the dtype to which operands are promoted."""
    return promoted(floatx, *(name_of(value, floatx, weak=weak) for value in values))


def highest(name: str) -> float:
    """Return the largest number of a float dtype."""
    if name == "bfloat16":
        return float(np.array(0x7F7F0000, np.uint32).view(np.float32))
    return float(np.finfo(name).max)


def ends(name: Any) -> tuple[float, float]:
    """Return the smallest and the largest number of a dtype.

    Raises:
        InputError: It has none.
    """
    if name in FLOATS:
        return -highest(name), highest(name)
    if name in INTEGERS:
        return np.iinfo(name).min, np.iinfo(name).max
    raise InputError(f"a cast to {name!r:.40} does not saturate")
