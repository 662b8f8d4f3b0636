"""Nodes of ``keras.ops`` that compute spectra of the last axes: Fourier transforms and their frames.

Formulas: ``keras/src/backend/tensorflow/math.py`` 3.15.1 and ``tensorflow/python/ops/signal`` 2.21. Complex numbers are
pairs of real and imaginary parts, as in Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Tensor, Value
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.operations import dtypes
from gateprobe.layers.operations import tensors as ts
from gateprobe.layers.operations.node import Compute, operation
from gateprobe.limits import room

Pair = tuple[Array, Array]


def _real(x: Value, rank: int = 2) -> Array:
    array = ts.batch(x)
    if array.ndim < rank:
        raise InputError(f"a transform over the samples {ts.MIXES}")
    if array.dtype.kind != "f" or (isinstance(x, Tensor) and x.dtype in dtypes.HALVES):
        raise InputError("a Fourier transform needs float32 or float64")
    return array


def _complex(x: Value, rank: int = 2) -> Array:
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise InputError("expected real and imaginary parts")
    real, imaginary = (_real(part, rank) for part in x)
    if real.shape != imaginary.shape or real.dtype != imaginary.dtype:
        raise InputError(f"real parts {real.shape} beside imaginary parts {imaginary.shape}")
    whole: Array = real + np.asarray(1j, np.result_type(real.dtype, np.complex64)) * imaginary
    return whole


def _parts(x: Array, dtype: Any) -> Pair:
    return x.real.astype(dtype), x.imag.astype(dtype)


def _transform(settings: Settings, floatx: str, *, function: Callable[[Array], Array], rank: int) -> Compute:
    def compute(x: Value) -> Pair:
        given = _complex(x, rank)
        return _parts(function(given), given.real.dtype)

    return compute


operation("FFT")(partial(_transform, function=np.fft.fft, rank=2))
operation("FFT2")(partial(_transform, function=np.fft.fft2, rank=3))
operation("IFFT2")(partial(_transform, function=np.fft.ifft2, rank=3))


def _length(settings: Settings) -> int | None:
    return None if settings.raw("fft_length") is None else settings.integer("fft_length")


@operation("RFFT")
def _rfft(settings: Settings, floatx: str) -> Compute:
    length = _length(settings)

    def compute(x: Value) -> Pair:
        array = _real(x)
        _afford(array, length)
        return _parts(np.fft.rfft(array, length), array.dtype)

    return compute


def _afford(x: Array, length: int | None) -> None:
    if length is not None:
        room.afford(4 * x.itemsize * length * (x.size // max(1, x.shape[-1])))


@operation("IRFFT")
def _irfft(settings: Settings, floatx: str) -> Compute:
    length = _length(settings)

    def compute(x: Value) -> Array:
        given = _complex(x)
        _afford(given.real, length)
        return np.fft.irfft(given, length).astype(given.real.dtype)

    return compute


@operation("ExtractSequences")
def _sequences(settings: Settings, floatx: str) -> Compute:
    length, stride = settings.integer("sequence_length"), settings.integer("sequence_stride")
    return lambda x: frames(frameable(x), length, stride)


def frameable(x: Value) -> Array:
    """Return the array of a tensor whose last axis is not that of the samples."""
    array = ts.batch(x)
    if array.ndim < 2:
        raise InputError(f"frames of the samples {ts.MIXES}")
    return array


def frames(x: Array, length: int, stride: int) -> Array:
    """Return windows of the last axis: ``(..., frames, length)``; what does not fill one is left out."""
    if x.shape[-1] < length:
        return room.zeros((*x.shape[:-1], 0, length), x.dtype)
    every: Array = np.lib.stride_tricks.sliding_window_view(x, length, axis=-1)[..., ::stride, :]
    room.copying(every)
    return every


def raised_cosine(name: str, length: int, dtype: Any) -> Array:
    """Return a periodic window as TensorFlow makes it, which is symmetric where its length is odd."""
    offset = {"hann": 0.5, "hamming": 0.54}[name]
    if length == 1:
        return room.full((1,), 1, dtype)
    period = length if length % 2 == 0 else length - 1
    angle = np.asarray(2 * np.pi, dtype) * room.arange(length, dtype) / np.asarray(period, dtype)
    result: Array = np.asarray(offset, dtype) - np.asarray(1 - offset, dtype) * np.cos(angle)
    return result


def _spectral(settings: Settings) -> tuple[int, int, int, Callable[[Any], Array], bool]:
    length, stride, size = (settings.integer(key) for key in ("sequence_length", "sequence_stride", "fft_length"))
    window, center = settings.raw("window", "hann"), settings.flag("center", True)
    if size < length:
        raise Unsupported(f"config.fft_length: {size} is less than the sequence_length {length}")
    if window not in ("hann", "hamming", None):
        raise Unsupported(f"config.window: {window!r:.40} is not replayed")
    before = (size - length) // 2

    def make(dtype: Any) -> Array:
        if window is None:
            return room.full((size,), 1, dtype)
        return room.pad(raised_cosine(window, length, dtype), [(before, size - length - before)])

    return stride, size, length, make, center


@operation("STFT")
def _stft(settings: Settings, floatx: str) -> Compute:
    stride, size, _, window, center = _spectral(settings)

    def compute(x: Value) -> Pair:
        array = _real(x)
        if center:
            margins = [(0, 0)] * (array.ndim - 1) + [(size // 2, size // 2)]
            if array.shape[-1] <= size // 2:
                raise InputError(f"a signal of {array.shape[-1]} values is too short to be reflected by {size // 2}")
            array = room.pad(array, margins, "reflect")
        windows = frames(array, size, stride)
        return _parts(np.fft.rfft(windows * window(array.dtype)), array.dtype)

    return compute


@operation("ISTFT")
def _istft(settings: Settings, floatx: str) -> Compute:
    stride, size, _, window, center = _spectral(settings)
    plain = settings.raw("window", "hann") is None
    length = None if settings.raw("length") is None else settings.integer("length")

    def compute(x: Value) -> Array:
        given = _complex(x, 3)
        dtype = given.real.dtype
        _afford(given.real, size)
        parts = np.fft.irfft(given, size).astype(dtype)
        shape = window(dtype)
        whole = added(parts if plain else parts * (shape / _overlap(shape, stride)), stride)
        start = size // 2 if center else 0
        end = start + length if length is not None else -(size // 2) if center else whole.shape[-1]
        return whole[..., start : end or None]

    return compute


def _overlap(window: Array, stride: int) -> Array:
    """Return the sum of the squares of all windows that lie over each place of one."""
    times = -(-len(window) // stride)
    squares = room.pad(np.square(window), [(0, times * stride - len(window))])
    return room.tile(squares.reshape(times, stride).sum(axis=0), [times])[: len(window)]


def added(parts: Array, stride: int) -> Array:
    """Add up overlapping frames ``(..., frames, length)``."""
    count, length = parts.shape[-2:]
    whole = room.zeros((*parts.shape[:-2], (max(count, 1) - 1) * stride + length), parts.dtype)
    for number in range(count):
        whole[..., number * stride : number * stride + length] += parts[..., number, :]
    return whole
