"""Functions of numbers that NumPy lacks."""

from __future__ import annotations

import math

import numpy as np

from gateprobe.graph import Array

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def erf(x: Array) -> Array:
    """Return the error function."""
    values: Array = _erf(x).astype(x.dtype)
    return values


def erfc(x: Array) -> Array:
    """Return one minus the error function, without cancellation."""
    values: Array = _erfc(x).astype(x.dtype)
    return values


def erfinv(y: Array) -> Array:
    """Return the inverse of the error function: a first guess (Giles 2010), then Newton's steps in float64."""
    wide = y.astype(np.float64)
    inner = np.where(np.abs(wide) < 1, wide, 0.0)
    w = -np.log1p(-inner * inner)
    guess = np.where(w < 5, _giles(_CENTRAL, w - 2.5), _giles(_TAIL, np.sqrt(w) - 3)) * inner
    for _ in range(3):
        tail = _erfc(np.abs(guess)) - (1 - np.abs(inner))
        guess = np.sign(guess) * (np.abs(guess) + tail * (math.sqrt(math.pi) / 2) * np.exp(guess * guess))
    edges = np.where(np.abs(wide) == 1, np.copysign(np.inf, wide), np.where(np.abs(wide) < 1, guess, np.nan))
    values: Array = np.where(wide == 0, 0.0, edges).astype(y.dtype)
    return values


_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


def _giles(coefficients: tuple[float, ...], w: Array) -> Array:
    value = np.full_like(w, coefficients[0])
    for coefficient in coefficients[1:]:
        value = coefficient + value * w
    return value


def bessel_i0(x: Array) -> Array:
    """Return the modified Bessel function of the first kind and order zero."""
    values: Array = np.i0(x.astype(np.float64)).astype(x.dtype)
    return values
