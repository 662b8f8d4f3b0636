"""MelSpectrogram and STFTSpectrogram: from a waveform to what sounds at which time.

Formulas: ``keras/src/layers/preprocessing/{mel_spectrogram,stft_spectrogram}.py`` 3.15.1, and ``stft`` in
``keras/src/backend/tensorflow/math.py``. Both have stayed the same since Keras 3.1 and 3.7.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import GateprobeWarning, InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Layer, Precision
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.conv import correlate
from gateprobe.layers.recurrent.kernels.blas import multiply
from gateprobe.layers.shape import channels_first
from gateprobe.layers.unary import Unary
from gateprobe.layers.windows import Window
from gateprobe.limits import room

_WINDOWS: Mapping[str, tuple[float, float]] = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}
"""Name → ``a`` and ``b`` of ``a - b * cos(2 * pi * n / length)``."""
_MEL_BREAK, _MEL_Q = 700.0, 1127.0
_EPSILON = 1e-7
"""``keras.config.epsilon()``."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """How a waveform is cut into overlapping pieces."""

    size: int
    """Samples of a piece, and of its Fourier transform."""
    stride: int
    window: Callable[[], Array]
    """Makes the window of a piece, which may be smaller: it stands in the middle, between zeros."""

    def magnitudes(self, x: Array) -> Array:
        """Return the magnitude of every frequency in every piece.

        Args:
            x: ``(samples, ..., time)``; mirrored at both ends, so that pieces are centred.

        Returns:
            ``(samples, ..., pieces, size // 2 + 1)``.

        Raises:
            InputError: The waveform is too short to be mirrored.
        """
        margin = self.size // 2
        if x.shape[-1] <= margin:
            raise InputError(f"a waveform of {x.shape[-1]} values is too short for fft_length={self.size}")
        mirrored = room.pad(x, [*[(0, 0)] * (x.ndim - 1), (margin, margin)], "reflect")
        pieces = np.lib.stride_tricks.sliding_window_view(mirrored, self.size, axis=-1)[..., :: self.stride, :]
        room.afford(pieces.size * 3 * 8)
        spectrum = np.fft.rfft(pieces * self._whole_window().astype(x.dtype), axis=-1)
        magnitudes: Array = np.hypot(spectrum.real, spectrum.imag).astype(x.dtype, copy=False)
        return magnitudes

    def _whole_window(self) -> Array:
        inner = self.window()
        before = (self.size - len(inner)) // 2
        return room.pad(inner, [(before, self.size - len(inner) - before)])


@dataclass(frozen=True, slots=True, eq=False)
class Decibels:
    """``10 * log10(power / reference)``, at most so far below the loudest value."""

    reference: float
    least: float
    """What smaller powers, and the reference, are raised to."""
    span: float
    """``top_db``."""

    def of(self, power: Array) -> Array:
        """Return decibels; the loudest value of all samples together decides how low the others may be, as in Keras.

        Warns:
            GateprobeWarning: A sample got other numbers than it would have alone.
        """
        dtype = power.dtype
        decibels = np.asarray(10, dtype) * np.log10(np.maximum(power, np.asarray(self.least, dtype)))
        reference = np.maximum(np.asarray(abs(self.reference), dtype), np.asarray(self.least, dtype))
        decibels -= np.asarray(10, dtype) * np.log10(reference)
        floor = decibels.max() - np.asarray(self.span, dtype)
        alone = decibels.max(axis=tuple(range(1, decibels.ndim)), keepdims=True) - np.asarray(self.span, dtype)
        if (decibels < floor).any() and ((decibels < floor) & (alone < floor)).any():
            text = (
                f"top_db={self.span:g} raises what is quiet to a level below the loudest sample of its batch: its "
                "numbers depend on the batch, in Keras as here; --batch-size=1 runs each sample alone"
            )
            warnings.warn(text, GateprobeWarning, stacklevel=2)
        raised: Array = np.maximum(decibels, floor)
        return raised


def _evenly(first: Array, last: Array, count: int) -> Array:
    return room.linspace(first, last, count, 0, endpoint=True, dtype=np.float32)


def _mel_matrix(bins: int, frequencies: int, rate: float, low: float, high: float) -> Array:
    """Return how much each frequency counts in each bin, ``(frequencies, bins)``: triangles, evenly spaced in mel.

    The first frequency, a constant, counts for nothing. Computed in float32 as Keras does, whose rounding shows in the
    fifth digit.
    """

    def mel(hertz: Array) -> Array:
        places: Array = np.float32(_MEL_Q) * np.log(np.float32(1) + hertz / np.float32(_MEL_BREAK))
        return places

    room.afford(frequencies * bins * 4 * 3)
    hertz = _evenly(np.zeros((), np.float32), np.asarray(rate, np.float32) / np.float32(2), frequencies)[1:, np.newaxis]
    first, last = (mel(np.asarray(edge, np.float32)) for edge in (low, high))
    edges = _evenly(first, last, bins + 2)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    place = mel(hertz)
    with np.errstate(all="ignore"):  # so many bins that two edges meet give NaN, in Keras, too
        slopes = np.minimum((place - left) / (middle - left), (right - place) / (right - middle))
    return room.concatenate([room.zeros((1, bins), np.float32), np.maximum(slopes, np.float32(0))], 0)


@replays("MelSpectrogram")
def _bind_mel(binding: Binding) -> Layer:
    settings = binding.settings
    size = settings.integer("fft_length", 2048)
    frames = Frames(size, settings.integer("sequence_stride", 512), _window(settings, size))
    rate = settings.number("sampling_rate", 16000)
    low = settings.number("min_freq", 20.0)
    given = settings.raw("max_freq")
    high = float(int(rate / 2)) if given in (None, 0) else settings.number("max_freq")
    bins = settings.integer("num_mel_bins", 128)
    if not -_MEL_BREAK < low < high:
        raise Unsupported(f"config.min_freq: {low} is not below max_freq={high}")
    decibels = Decibels(
        settings.number("ref_power", 1.0), settings.number("min_power", 1e-10), settings.number("top_db", 80.0)
    )
    function = partial(
        _mel,
        frames=frames,
        matrix=partial(_mel_matrix, bins, size // 2 + 1, rate, low, high),
        exponent=settings.number("mag_exp", 2.0),
        decibels=decibels if settings.flag("power_to_db", True) else None,
        dtype=binding.precision.dtype,
    )
    settings.finish()
    return Unary(function, binding.precision, keeps_mask=False, keeps_integers=True)


def _mel(
    x: Array,
    frames: Frames,
    matrix: Callable[[], Array],
    exponent: float,
    decibels: Decibels | None,
    dtype: np.dtype[Any],
) -> Array:
    """Return ``(samples, ..., bins, pieces)`` for waveforms ``(samples, ..., time)``."""
    if x.ndim < 2:
        raise InputError(f"expected waveforms (samples, time), got an input of shape {x.shape}")
    power = np.power(frames.magnitudes(x.astype(dtype, copy=False)), np.asarray(exponent, dtype))
    mel = multiply(power, matrix().astype(dtype))
    return np.swapaxes(mel if decibels is None else decibels.of(mel), -1, -2)


def _window(settings: Settings, size: int) -> Callable[[], Array]:
    """Return what makes the window; it is made when there is sound, in memory that is asked for."""
    length = settings.integer("sequence_length", size) if settings.raw("sequence_length") else size
    if length > size:
        raise Unsupported(f"config.sequence_length: {length} is more than fft_length={size}")
    given = settings.raw("window", "hann")
    if given is None:
        return partial(room.full, (size,), 1, np.float64)  # TensorFlow takes the whole piece then
    if isinstance(given, str):
        if given not in _WINDOWS:
            raise Unsupported(f"config.window: expected hann, hamming, numbers or nothing, got {given!r:.60}")
        if length % 2:
            raise Unsupported(
                f"config.sequence_length: windows of an odd length, {length}, differ between the backends of Keras 3, "
                "the file names none"
            )
        return partial(_cosine, *_WINDOWS[given], length)
    if isinstance(given, Mapping):  # as Keras writes an array
        inner = given.get("config")
        given = inner.get("value") if isinstance(inner, Mapping) else None
    if not isinstance(given, list) or any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in given):
        raise Unsupported("config.window: expected hann, hamming, numbers or nothing")
    if len(given) != length or not np.isfinite(given).all():
        raise Unsupported(f"config.window: expected {length} finite numbers")
    return partial(np.asarray, given, np.float64)


def _cosine(a: float, b: float, length: int) -> Array:
    window: Array = a - b * np.cos(2 * np.pi * room.arange(length, np.float64) / length)
    return window


_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """A Fourier transform of overlapping pieces, by convolution with kernels that may have been trained."""

    mode: str
    real: Array | None
    """``(frame_length, 1, frequencies)``."""
    imaginary: Array | None
    window: Window
    first: bool
    """Whether the channels come first, in the input and the output."""
    expands: bool
    """Whether channels and frequencies have an axis each."""
    precision: Precision

    def __call__(self, x: Array) -> Array:
        """Return ``(samples, pieces, channels * frequencies)`` for ``(samples, time, channels)``, or as is set."""
        if x.ndim != 3 or x.dtype.kind != "f":
            raise InputError(f"expected floats (samples, time, channels), got {x.dtype} of shape {x.shape}")
        waves = x if self.first else np.moveaxis(x, 2, 1)
        return self._arranged(self._signal(waves))

    def _signal(self, waves: Array) -> Array:
        """Return what the mode asks for, ``(samples, channels, frequencies, pieces)``."""
        step = self.precision.round
        real, imaginary = (None if one is None else self._convolved(waves, one) for one in (self.real, self.imaginary))
        if real is None or imaginary is None:
            alone = imaginary if real is None else real
            assert alone is not None  # every mode has one of them
            return alone
        if self.mode == "angle":
            return step(np.arctan2(imaginary, real))
        if self.mode == "stft":
            return room.concatenate([real, imaginary], 2)
        power = step(step(real * real) + step(imaginary * imaginary))
        if self.mode == "psd":
            doubled = room.zeros(power.shape, power.dtype)
            doubled[:, :, 1:-1] = power[:, :, 1:-1]
            return step(power + doubled)
        least = np.asarray(_EPSILON, power.dtype)
        magnitude = step(np.sqrt(np.maximum(power, step(least))))
        return magnitude if self.mode == "magnitude" else step(np.log(np.maximum(magnitude, step(least))))

    def _convolved(self, waves: Array, kernel: Array) -> Array:
        samples, channels, time = waves.shape
        found = correlate(waves.reshape(-1, time, 1), kernel, 1, self.window)
        return self.precision.round(found.swapaxes(1, 2).reshape(samples, channels, kernel.shape[-1], -1))

    def _arranged(self, signal: Array) -> Array:
        samples, channels, frequencies, pieces = signal.shape
        if self.expands:
            return signal.transpose(0, 1, 3, 2) if self.first else signal.transpose(0, 3, 2, 1)
        flat = signal.reshape(samples, channels * frequencies, pieces)
        return flat if self.first else flat.swapaxes(1, 2)


def _transform_slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    mode, (length, _, size) = settings.choice("mode", _MODES, "log"), _frame(settings)
    shape = (length, 1, size // 2 + 1)
    real, imaginary = Slot("real_kernel", shape), Slot("imag_kernel", shape)
    return {"real": (real,), "imag": (imaginary,)}.get(mode, (real, imaginary))


def _frame(settings: Settings) -> tuple[int, int, int]:
    """Return the length of a piece, the step to the next, and the size of its transform."""
    length = settings.integer("frame_length", 256)
    step = settings.integer("frame_step") if settings.raw("frame_step") is not None else length // 2
    size = settings.integer("fft_length") if settings.raw("fft_length") is not None else 1 << (length - 1).bit_length()
    if not 1 <= step <= length <= size:
        raise Unsupported(f"config.frame_step: frames of {length}, {step} apart, do not fit fft_length={size}")
    return length, step, size


@replays("STFTSpectrogram", slots=_transform_slots)
def _bind_transform(binding: Binding) -> Layer:
    settings, (length, step, _) = binding.settings, _frame(binding.settings)
    padding = settings.choice("padding", ("valid", "same"), "valid")
    transform = Transform(
        settings.choice("mode", _MODES, "log"),
        binding.weights.get("real_kernel"),
        binding.weights.get("imag_kernel"),
        Window((length,), (step,), (1,), padding),
        channels_first(settings),
        settings.flag("expand_dims", False),
        binding.precision,
    )
    settings.ignore("window", "periodic", "scaling")  # they made the kernels, which are in the file
    settings.finish()
    return Unary(transform, binding.precision, keeps_mask=False, keeps_integers=True)
