"""Where the replay leaves Keras, and whether rounding explains it. NumPy only.

Three numbers stand for every value: what Keras computed, what the replay computed in the same precision, and what the
replay computes in float64. Rounding makes both of the first two miss the third by similar, small amounts; a mistake
moves only one of them. See `RULE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from gateprobe.graph import Array

OUTPUT = "output"
"""Signal name of a model output."""

ROUNDING_FACTOR = 16.0
"""How many times the rounding that was measured Keras and the replay may be apart."""
FLOOR_ULPS = 32.0
"""Units in the last place that are always allowed: elementary functions of two libraries differ by a few, and a
measured rounding error may be zero by chance."""

RULE = (
    "rounding is measured against the replay in float64: at each timestep, the largest difference so far of the replay "
    "to float64, and of Keras to float64; the smaller of the two is what rounding can do. Keras and the replay "
    f"disagree where they differ by more than {ROUNDING_FACTOR:g} times that plus {FLOOR_ULPS:g} ulp of the larger of "
    "1 and the value; where the replay rounds to a half type, an ulp is that type's"
)
"""The rule in words, for the report."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is allowed: the measured rounding, unless the user said something else."""

    absolute: float | None = None
    relative: float | None = None
    signals: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Absolute and relative tolerance of single signals."""

    def of(self, signal: str) -> tuple[float, float] | None:
        """Return the absolute and relative tolerance of a signal, ``None`` where the measured rounding decides."""
        absolute, relative = self.signals.get(signal, (None, None))
        absolute = self.absolute if absolute is None else absolute
        relative = self.relative if relative is None else relative
        return None if absolute is None and relative is None else (absolute or 0.0, relative or 0.0)

    @property
    def rule(self) -> str:
        """The rule that decides, in words."""
        return rule_of(self, RULE, theirs="keras", ours="replay")


def rule_of(tolerance: Tolerance, measured: str, *, theirs: str = "theirs", ours: str = "ours") -> str:
    """Return the rule that decides, in words.

    Args:
        tolerance: What the user said.
        measured: What holds where nothing was said.
        theirs: What to call the program that is judged.
        ours: What to call the other one.
    """

    def words(pair: tuple[float, float]) -> str:
        return f"|{theirs} - {ours}| <= {pair[0]:g} + {pair[1]:g} * |{theirs}|"

    given = [f"{n}: {words(pair)}" for n in sorted(tolerance.signals) if (pair := tolerance.of(n)) is not None]
    everywhere = replace(tolerance, signals={}).of("")
    rest = measured if everywhere is None else words(everywhere)
    return "; ".join([*given, f"elsewhere, {rest}" if given else rest])


@dataclass(frozen=True, slots=True)
class Gap:
    """How far two arrays are apart."""

    max_abs: float
    mean_abs: float
    max_ulp: float
    """In spacings of the compute dtype at the larger of the value and the signal's root mean square."""
    mean_ulp: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """One value on which Keras and the replay disagree."""

    layer: str
    direction: str
    signal: str
    sample: int
    timestep: int | None
    """Position in the layer's input; ``None`` for a model output."""
    step: int | None
    """The order in which the layer processed it."""
    unit: int
    """Number of the unit; with several trailing axes, their index in C order."""
    keras: float
    replay: float
    exact: float
    """The replay in float64."""
    allowed: float
    """The difference that rounding would explain, or that the user allows."""
    run: int = 0
    """Number of the set of inputs, when there are several of different lengths."""

    @property
    def difference(self) -> float:
        """Absolute difference of Keras and the replay."""
        return abs(self.keras - self.replay)


@dataclass(frozen=True, slots=True)
class SignalReport:
    """The comparison of one signal of one direction of one call of a layer, over all samples."""

    layer: str
    direction: str
    signal: str
    values: int
    """How many numbers were compared."""
    keras_replay: Gap
    keras_exact: Gap
    replay_exact: Gap
    required: float
    """The largest difference of Keras and the replay, as a multiple of what is allowed; above 1 is a disagreement."""
    mismatches: int
    first: Divergence | None
    """The earliest disagreement."""
    worst: Divergence | None
    """The value that needs the largest tolerance."""

    @property
    def agrees(self) -> bool:
        """Whether every number agrees."""
        return self.mismatches == 0


@dataclass(frozen=True, slots=True, eq=False)
class Trio:
    """One signal three times, each ``(samples, timesteps, ...)``; a model output has any shape."""

    layer: str
    direction: str
    signal: str
    keras: Array
    replay: Array
    exact: Array
    compared: Array | None
    """``(samples, timesteps)``, or of the signal's own shape: where to compare; ``None`` for everywhere."""
    backwards: bool
    precision: str
    """Name of the compute precision: ``float32``, ``float64``, ``float16`` or ``bfloat16``."""
    samples: Array
    """``(samples,)``: numbers of the samples."""
    timed: bool = True
    """Whether the second axis is time."""
    run: int = 0
    """Number of the set of inputs."""
    slack: Array | float = 0.0
    """What is allowed beside that, of the signal's shape: how far a printed number may be from what it stands for."""


def epsilon(precision: str) -> float:
    """Return the spacing of a precision's numbers at 1."""
    return {"float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(precision, 2.0**-23)


def compare(trio: Trio, tolerance: Tolerance) -> SignalReport:
    """Compare a signal three ways.

    Args:
        trio: The signal from Keras, from the replay and from the float64 replay, of equal shapes.
        tolerance: What is allowed.

    Returns:
        The differences, and the first and the worst place of disagreement if there is one.
    """
    keras, replay, exact = (np.asarray(a, np.float64) for a in (trio.keras, trio.replay, trio.exact))
    compared = _compared(trio)
    with np.errstate(all="ignore"):
        allowed = np.asarray(_allowed(trio, _Values(keras, replay, exact, compared), tolerance) + trio.slack)
        excess = np.where(compared, _excess(keras, replay, allowed), 0.0)
        ulp = _ulp(exact, compared, epsilon(trio.precision))
        apart, theirs, ours = (_gap(a, b, ulp, compared) for a, b in ((keras, replay), (keras, exact), (replay, exact)))
    wrong = excess > 1

    def place(index: tuple[int, ...]) -> Divergence:
        return _divergence(trio, index, float(allowed[index]))

    return SignalReport(
        trio.layer,
        trio.direction,
        trio.signal,
        int(np.count_nonzero(compared)),
        apart,
        theirs,
        ours,
        required=float(excess.max(initial=0.0)),
        mismatches=int(np.count_nonzero(wrong)),
        first=place(_first(wrong, trio)) if wrong.any() else None,
        worst=place(_index(int(excess.argmax()), excess)) if excess.size and excess.max() > 0 else None,
    )


def _compared(trio: Trio) -> Array:
    """Return where to compare, in the shape of the signal."""
    shape = trio.keras.shape
    if trio.compared is None:
        return np.ones(shape, bool)
    return np.broadcast_to(trio.compared.reshape(*trio.compared.shape, *[1] * (len(shape) - trio.compared.ndim)), shape)


class _Values(NamedTuple):
    """A trio in float64, and where to compare it."""

    keras: Array
    replay: Array
    exact: Array
    compared: Array


def _allowed(trio: Trio, values: _Values, tolerance: Tolerance) -> Array:
    """Return the difference that is allowed for each value."""
    given = tolerance.of(trio.signal)
    if given is not None:
        return np.asarray(given[0] + given[1] * np.abs(np.nan_to_num(values.keras)))
    ours, theirs = (_envelope(side - values.exact, values.compared, trio) for side in (values.replay, values.keras))
    floor = FLOOR_ULPS * epsilon(trio.precision) * np.maximum(1.0, np.abs(np.nan_to_num(values.exact)))
    return np.asarray(ROUNDING_FACTOR * np.minimum(ours, theirs) + floor)


def _envelope(error: Array, compared: Array, trio: Trio) -> Array:
    """Return the largest error so far, in the order in which the layer ran: broadcasts against the signal."""
    size = np.where(compared & np.isfinite(error), np.abs(error), 0.0)
    if not trio.timed:
        return np.asarray(size.max(initial=0.0))
    axes = tuple(axis for axis in range(size.ndim) if axis != 1)
    each = size.max(axis=axes, initial=0.0, keepdims=True)
    order = slice(None, None, -1) if trio.backwards else slice(None)
    return np.maximum.accumulate(each[:, order], axis=1)[:, order]


def _excess(keras: Array, replay: Array, allowed: Array) -> Array:
    """Return the difference as a multiple of what is allowed; infinite where one side is not a finite number."""
    same = (keras == replay) | (np.isnan(keras) & np.isnan(replay))
    difference = np.abs(keras - replay)
    ratio = np.where(allowed > 0, difference / np.where(allowed > 0, allowed, 1.0), np.inf)
    return np.where(same, 0.0, np.where(np.isfinite(difference), ratio, np.inf))


def _ulp(exact: Array, compared: Array, spacing: float) -> Array:
    """Return the unit in the last place for each value, not smaller than that of the signal's root mean square."""
    finite = exact[compared & np.isfinite(exact)]
    typical = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 1.0
    size = np.maximum(np.abs(np.nan_to_num(exact, posinf=1.0, neginf=1.0)), max(typical, 2.0**-100))
    return np.asarray(spacing * 2.0 ** np.floor(np.log2(size)))


def _gap(a: Array, b: Array, ulp: Array, compared: Array) -> Gap:
    difference = np.abs(a - b)
    use = compared & np.isfinite(difference)
    values, units = difference[use], (difference / ulp)[use]
    if not values.size:
        return Gap(0.0, 0.0, 0.0, 0.0)
    return Gap(float(values.max()), float(values.mean()), float(units.max()), float(units.mean()))


def _index(flat: int, array: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(flat, array.shape))


def _first(wrong: Array, trio: Trio) -> tuple[int, ...]:
    """Return the index of the earliest disagreement: by step, then by sample, then by unit."""
    if not trio.timed or wrong.ndim < 2:
        return _index(int(wrong.argmax()), wrong)
    timesteps = np.flatnonzero(wrong.any(axis=tuple(axis for axis in range(wrong.ndim) if axis != 1)))
    t = int(timesteps[-1] if trio.backwards else timesteps[0])
    n, *rest = _index(int(wrong[:, t].argmax()), wrong[:, t])
    return (n, t, *rest)


def _divergence(trio: Trio, index: tuple[int, ...], allowed: float) -> Divergence:
    t = index[1] if trio.timed else None
    inner = index[2:] if trio.timed else index[1:]
    shape = trio.keras.shape[2:] if trio.timed else trio.keras.shape[1:]
    step = None if t is None else trio.keras.shape[1] - 1 - t if trio.backwards else t
    return Divergence(
        trio.layer,
        trio.direction,
        trio.signal,
        sample=int(trio.samples[index[0]]),
        timestep=t,
        step=step,
        unit=int(np.ravel_multi_index(inner, shape)) if inner else 0,
        keras=float(trio.keras[index]),
        replay=float(trio.replay[index]),
        exact=float(trio.exact[index]),
        allowed=allowed,
        run=trio.run,
    )


def merged(reports: Sequence[SignalReport]) -> SignalReport:
    """Put together the reports on one signal for several sets of inputs."""
    if len(reports) == 1:
        return reports[0]
    counts = [report.values for report in reports]

    def gap(of: Callable[[SignalReport], Gap]) -> Gap:
        gaps = [of(report) for report in reports]
        total = max(sum(counts), 1)
        return Gap(
            max(gap.max_abs for gap in gaps),
            sum(gap.mean_abs * n for gap, n in zip(gaps, counts, strict=True)) / total,
            max(gap.max_ulp for gap in gaps),
            sum(gap.mean_ulp * n for gap, n in zip(gaps, counts, strict=True)) / total,
        )

    worst = max(reports, key=lambda report: report.required)
    return replace(
        worst,
        values=sum(counts),
        keras_replay=gap(lambda report: report.keras_replay),
        keras_exact=gap(lambda report: report.keras_exact),
        replay_exact=gap(lambda report: report.replay_exact),
        mismatches=sum(report.mismatches for report in reports),
        first=next((report.first for report in reports if report.first is not None), None),
    )


def earliest(reports: Iterable[SignalReport]) -> Divergence | None:
    """Return the earliest disagreement of several signals: by layer in the order given, then step, then signal."""
    found: Divergence | None = None
    for report in reports:
        here = report.first
        if here is None:
            continue
        if found is not None and (found.layer, found.direction) != (here.layer, here.direction):
            return found
        if found is None or (here.run, here.step or 0) < (found.run, found.step or 0):
            found = here
    return found
