"""The loop of an LSTM over its timesteps, compiled by Numba when it is first needed (the extra ``fast``).

One timestep of one sequence is a product of a vector and a matrix and a few functions of its sums: too little work to
call NumPy for. No fast-math flag is set, so that every operation rounds as it stands here, on every processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

from gateprobe.graph import Array

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _inlined(function: _Function) -> _Function:
    compiled: _Function = njit(function, error_model="numpy")
    return compiled


def _kept(signature: str) -> Callable[[_Function], _Function]:
    """Compile at once, for these types, and keep the code on disk where Numba finds a folder for it."""

    def compile_it(function: _Function) -> _Function:
        try:
            compiled: _Function = njit(signature, error_model="numpy", cache=True, nogil=True)(function)
        except RuntimeError:  # neither the package's nor the user's folder can be written
            compiled = njit(signature, error_model="numpy", nogil=True)(function)
        return compiled

    return compile_it


_ZERO, _HALF, _ONE, _TWO = (np.float32(number) for number in (0, 0.5, 1, 2))
_LARGEST = np.float32(18.2)  # tanh is 1 from 9.1 on
_LOG2_E = np.float32(math.log2(math.e))
_ROUNDING = np.float32(1.5 * 2**23)
"""Added to a small float32 number, it leaves the nearest integer in the lowest bits."""
_LN2_HIGH = np.float32(0.693145751953125)
_LN2_LOW = np.float32(math.log(2) - 0.693145751953125)
_EXPONENT, _BIAS = np.int32(23), np.int32(127)
_P2, _P3, _P4, _P5, _P6 = (
    np.float32(coefficient)
    for coefficient in (
        0.4999999701976776,
        0.1666654348373413,
        0.04166720062494278,
        0.008366525173187256,
        0.0013882534112781286,
    )
)
"""(expm1(r) - r) / r**2 for abs(r) <= ln(2) / 2, minimax: relative error of expm1 below 2**-26."""


@_inlined
def _tanh(x: Any) -> Any:
    """Return the hyperbolic tangent, wrong by 3 units in the last place at most.

    It is e / (e + 2) with e = expm1(2 * abs(x)), and the sign of x; without branches, so that loops become vectors.
    """
    y = abs(x + x)
    y = min(y, _LARGEST)  # NaN stays NaN, which is what min makes of it in this order
    shifted = np.float32(y * _LOG2_E + _ROUNDING)
    power = shifted - _ROUNDING
    r = y - power * _LN2_HIGH
    r = r - power * _LN2_LOW
    p = (((_P6 * r + _P5) * r + _P4) * r + _P3) * r + _P2
    p = p * (r * r) + r
    scale = np.int32(np.int32(shifted.view(np.int32) + _BIAS) << _EXPONENT).view(np.float32)
    e = p * scale + (scale - _ONE)
    return math.copysign(e / (e + _TWO), x)


@_inlined
def _gate(x: Any, slope: Any) -> Any:
    """Return a sigmoid of 2 * x, or a hard sigmoid of x if there is a slope."""
    if slope == 0:
        return _tanh(x) * _HALF + _HALF
    y = x * slope + _HALF
    return min(max(y, _ZERO), _ONE)


@_inlined
def _multiply(z: Array, t: int, s: int, signals: Array, weights: Array) -> None:
    """Add the recurrent product of one sample, eight rows at a time: sums are read and written less often so."""
    rows, columns = weights.shape
    whole = rows // 8 * 8
    for k in range(0, whole, 8):
        h0, h1, h2, h3 = _four(signals, t, s, k)
        h4, h5, h6, h7 = _four(signals, t, s, k + 4)
        for j in range(columns):
            w0, w1, w2, w3 = weights[k, j], weights[k + 1, j], weights[k + 2, j], weights[k + 3, j]
            w4, w5, w6, w7 = weights[k + 4, j], weights[k + 5, j], weights[k + 6, j], weights[k + 7, j]
            z[t, s, j] = z[t, s, j] + h0 * w0 + h1 * w1 + h2 * w2 + h3 * w3 + h4 * w4 + h5 * w5 + h6 * w6 + h7 * w7
    for k in range(whole, rows):
        h0 = signals[t, 5, s, k]
        for j in range(columns):
            z[t, s, j] = z[t, s, j] + h0 * weights[k, j]


@_inlined
def _multiply_four(z: Array, t: int, s: int, signals: Array, weights: Array) -> None:
    """Add the recurrent products of four samples: the weights are read less often so. The sums are the same."""
    rows, columns = weights.shape
    whole = rows // 4 * 4
    for k in range(0, whole, 4):
        a0, a1, a2, a3 = _four(signals, t, s, k)
        b0, b1, b2, b3 = _four(signals, t, s + 1, k)
        c0, c1, c2, c3 = _four(signals, t, s + 2, k)
        d0, d1, d2, d3 = _four(signals, t, s + 3, k)
        for j in range(columns):
            w0, w1, w2, w3 = weights[k, j], weights[k + 1, j], weights[k + 2, j], weights[k + 3, j]
            z[t, s, j] = z[t, s, j] + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
            z[t, s + 1, j] = z[t, s + 1, j] + b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
            z[t, s + 2, j] = z[t, s + 2, j] + c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
            z[t, s + 3, j] = z[t, s + 3, j] + d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
    for k in range(whole, rows):
        for row in range(s, s + 4):
            h0 = signals[t, 5, row, k]
            for j in range(columns):
                z[t, row, j] = z[t, row, j] + h0 * weights[k, j]


@_inlined
def _four(signals: Array, t: int, s: int, k: int) -> tuple[Any, Any, Any, Any]:
    """Return four numbers of a hidden state."""
    return signals[t, 5, s, k], signals[t, 5, s, k + 1], signals[t, 5, s, k + 2], signals[t, 5, s, k + 3]


# The two loops over units below are alike; a function of their own, and the compiler makes no vectors of them.


@_inlined
def _hold(t: int, s: int, mask: Array, signals: Array) -> None:
    """Put the states of one sample back where it is masked."""
    if mask.size and not mask[t, s]:
        for j in range(signals.shape[3]):
            signals[t + 1, 4, s, j], signals[t + 1, 5, s, j] = signals[t, 4, s, j], signals[t, 5, s, j]


@_kept("(f4[:,:,::1], i8, f4, b1[:,::1], f4[:,:,:,::1])")
def finish(z: Array, t: int, slope: float, mask: Array, signals: Array) -> None:
    """Compute what follows the products of one timestep, for large products, which a BLAS computes faster.

    Args:
        z: ``(4, samples, units)``, the gates i, f, o, c before their activation. If they are sigmoids, i, f and o are
            halved here.
        t: Number of the timestep.
        slope: Of the gates' hard sigmoid; 0 for a sigmoid.
        mask: ``(timesteps, samples)``; where it is false the states are held. Empty: nothing is masked.
        signals: ``(1 + timesteps, 6, samples, units)``; the first ones hold the cell state and the hidden state to
            start from, those of ``t + 1`` will hold i, f, o, c, the cell state and the hidden state.
    """
    _, samples, units = z.shape
    for s in range(samples):
        for j in range(units):
            i, f, o = _gate(z[0, s, j], slope), _gate(z[1, s, j], slope), _gate(z[2, s, j], slope)
            c = _tanh(z[3, s, j])
            new = f * signals[t, 4, s, j] + i * c
            signals[t + 1, 0, s, j], signals[t + 1, 1, s, j], signals[t + 1, 2, s, j] = i, f, o
            signals[t + 1, 3, s, j], signals[t + 1, 4, s, j], signals[t + 1, 5, s, j] = c, new, _tanh(new) * o
        _hold(t, s, mask, signals)


@_kept("(f4[:,:,::1], f4[:,::1], f4, b1[:,::1], f4[:,:,:,::1])")
def run(z: Array, recurrent_kernel: Array, slope: float, mask: Array, signals: Array) -> None:
    """Run all timesteps, for small products.

    Args:
        z: The projected inputs, ``(timesteps, samples, 4 * units)``, columns i | f | o | c; the recurrent products will
            be added.
        recurrent_kernel: ``(units, 4 * units)``, halved where ``z`` is.
        slope: See `finish`, like the others.
        mask: Likewise.
        signals: Likewise.
    """
    timesteps, samples, columns = z.shape
    whole, units = samples // 4 * 4, columns // 4
    for t in range(timesteps):
        for s in range(0, whole, 4):
            _multiply_four(z, t, s, signals, recurrent_kernel)
        for s in range(whole, samples):
            _multiply(z, t, s, signals, recurrent_kernel)
        for s in range(samples):
            for j in range(units):
                i, f = _gate(z[t, s, j], slope), _gate(z[t, s, units + j], slope)
                o, c = _gate(z[t, s, 2 * units + j], slope), _tanh(z[t, s, 3 * units + j])
                new = f * signals[t, 4, s, j] + i * c
                signals[t + 1, 0, s, j], signals[t + 1, 1, s, j], signals[t + 1, 2, s, j] = i, f, o
                signals[t + 1, 3, s, j], signals[t + 1, 4, s, j], signals[t + 1, 5, s, j] = c, new, _tanh(new) * o
            _hold(t, s, mask, signals)
