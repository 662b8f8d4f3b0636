"""How far a printed number may be from what it stands for: half of its last digit."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gateprobe.graph import Array

_NUMBER = re.compile(r"[+-]?(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?")
_MANY = 16
"""Decimals that are more than a double has."""
_TELLING = 4
"""Numbers of one size from which on their decimals tell how they were printed."""


def slack_of(texts: Sequence[str | None], values: Array) -> Array:
    """Return how far numbers may be off.

    Numbers are printed with so many decimals, ``%.6f``, or with so many digits, ``%.6g``; either way some end in zeros
    that may have been left out, and so all numbers of a file are looked at together.

    Args:
        texts: The numbers as they stand in the file; ``None`` for none.
        values: ``(numbers,)``: the same, read.

    Returns:
        ``(numbers,)``
    """
    parsed = [_digits(text) for text in texts]
    decimals = np.array([found[0] for found in parsed])
    significant = np.array([found[1] for found in parsed])
    use = np.isfinite(values) & (values != 0)
    slack = np.zeros(len(values))
    if not use.any():
        return slack
    sizes = np.zeros(len(values), int)
    sizes[use] = np.floor(np.log10(np.abs(values[use]))).astype(int)
    if _is_fixed(decimals[use], sizes[use]):
        most = int(decimals.max())
        return slack if not 0 < most < _MANY else np.where(np.isfinite(values), 0.5 * 10.0**-most, 0.0)
    most = int(significant[use].max())
    return slack if most >= _MANY else np.where(use, 0.5 * 10.0 ** (sizes - most + 1.0), 0.0)


def _is_fixed(decimals: Array, sizes: Array) -> bool:
    """Whether all numbers, small ones too, go to the same decimal."""
    most = decimals.max()
    return all(
        decimals[sizes == size].max() == most
        for size in np.unique(sizes)
        if np.count_nonzero(sizes == size) >= _TELLING and size >= -most
    )


def _digits(text: str | None) -> tuple[int, int]:
    """Return the number of decimals of a number and of its significant digits."""
    match = None if text is None else _NUMBER.fullmatch(text.strip())
    if match is None:
        return 0, 0
    whole, fraction, exponent = match[1] or "", match[2] or "", int(match[3] or 0)
    return max(len(fraction) - exponent, 0), len((whole + fraction).lstrip("0"))
