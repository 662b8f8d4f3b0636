"""Number formats: which one a file's numbers are in, and what rounding to it can do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from gateprobe.analysis.mistakes.port import Format
from gateprobe.graph import Array
from gateprobe.layers.base import Precision

_MOST_BITS = 20
"""Of a fraction that is recognised."""
_ENOUGH = 12
"""Numbers that must lie on a grid before it counts as one."""


def _float_settled(x: Array, precision: Precision) -> Array:
    rounded: Array = precision.round(np.asarray(x, np.float32)).astype(x.dtype)
    return rounded


FLOATS = tuple(
    Format(name, partial(_float_settled, precision=Precision(name)), step, floating=True)
    for name, step in (("float16", 2.0**-10), ("bfloat16", 2.0**-7))
)


def fixed_point(bits: int, whole: int | None = None, *, down: bool = False) -> Format:
    """Return Qm.n.

    Args:
        bits: n, of the fraction.
        whole: m, without the sign; without it, as many as make 8, 16 or 32 bits.
        down: Whether it rounds down instead of to the nearest.
    """
    if whole is None:
        whole = next(size for size in (8, 16, 32) if size > bits) - 1 - bits
    step, most = 2.0**-bits, 2.0**whole

    def settle(x: Array) -> Array:
        rounded = np.floor(x / step) if down else np.rint(x / step)
        settled: Array = np.clip(rounded * step, -most, most - step).astype(x.dtype)
        return settled

    return Format(f"Q{whole}.{bits}", settle, step)


def candidates(arrays: Sequence[tuple[Array, Array]]) -> list[list[Format]]:
    """Return the formats in which all numbers are, each with its ways of rounding.

    Args:
        arrays: Numbers, and how far each may be from what it stands for because of how it was printed.
    """
    values = np.concatenate([value.ravel() for value, _ in arrays])
    slack = np.concatenate([np.broadcast_to(loose, value.shape).ravel() for value, loose in arrays])
    use = np.isfinite(values) & (values != 0)
    values, slack = values[use], slack[use]
    if len(values) < _ENOUGH:
        return []
    found = []
    bits = next((n for n in range(2, _MOST_BITS + 1) if _on_grid(values, slack, 2.0**-n)), None)
    whole = None if bits is None else _whole_bits(values, bits)
    if bits is not None and whole is not None:
        found.append([fixed_point(bits, whole, down=down) for down in (False, True)])
    for one in FLOATS[::-1]:  # what bfloat16 can hold, float16 can hold too
        finer = bits is None or 2.0**-bits < one.step / 2
        told = (slack < np.abs(values) * one.step / 8).mean() > 0.5
        if finer and told and (np.abs(one.settle(values) - values) <= slack + 1e-12).all():
            return [[one]]
    return found


def _on_grid(values: Array, slack: Array, step: float) -> bool:
    if np.median(slack) > step / 8:
        return False  # printed too coarsely to tell
    return bool((np.abs(np.rint(values / step) * step - values) <= slack + 1e-9 * step).all())


def _whole_bits(values: Array, bits: int) -> int | None:
    """Return m for the smallest of 8, 16 and 32 bits that holds all numbers; ``None`` where none does."""
    most = float(np.abs(values).max())
    return next((size - 1 - bits for size in (8, 16, 32) if size > bits and most <= 2.0 ** (size - 1 - bits)), None)
