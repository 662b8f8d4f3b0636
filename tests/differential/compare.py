"""Whether rounding explains a difference."""

from __future__ import annotations

import numpy as np

from gateprobe.analysis.agreement import Tolerance, Trio, compare

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def without_rounding(ours: np.ndarray, in_float64: np.ndarray, in_float32: np.ndarray | None = None) -> np.ndarray:
    """Return numbers that a replay would give if it did not round.

    Args:
        ours: From the replay in the model's own precision.
        in_float64: From the replay in float64.
        in_float32: From the replay in float32, for a model of float64: rounding in float64 moves it as far, in
            proportion.
    """
    if in_float32 is None:
        return in_float64
    moved = (ours - np.asarray(in_float32, np.float64)) * EPSILON["float64"] / EPSILON["float32"]
    return in_float64 - np.where(np.isfinite(moved), moved, 0)


def difference(
    keras: np.ndarray,
    ours: np.ndarray,
    exact: np.ndarray,
    precision: str,
    *,
    timed: bool = False,
    backwards: bool = False,
) -> str | None:
    """Compare what Keras computed with the replay and with what it would be without rounding.

    Rounding moves Keras and the replay away from exact numbers by similar amounts; a mistake moves the replay and its
    exact twin together. Two rules must both be kept: that of ``gateprobe verify``, for each value, and one with half of
    its factor, for all values together.

    Args:
        keras: ``(samples, ...)``.
        ours: Likewise.
        exact: From `without_rounding`.
        precision: The coarsest one of the model.
        timed: Whether the second axis is time.
        backwards: Whether time was run through from its end.

    Returns:
        What is wrong, or ``None``.
    """
    keras, ours, exact = (np.asarray(values, np.float64) for values in (keras, ours, exact))
    if keras.shape != ours.shape:
        return f"shape {ours.shape}, Keras has {keras.shape}"
    if not keras.size:
        return None
    overflown = ~np.isfinite(keras) & ~np.isfinite(ours)  # then inf or nan is a matter of order
    keras, ours, exact = (np.where(overflown, 0, values) for values in (keras, ours, exact))
    return _of_all(keras, ours, exact, precision) or _of_each(keras, ours, exact, precision, timed, backwards)


def _of_all(keras: np.ndarray, ours: np.ndarray, exact: np.ndarray, precision: str) -> str | None:
    apart = np.abs(keras - ours)
    apart[~np.isfinite(apart)] = np.inf
    moved = np.abs(ours - exact)
    moved_most = float(moved[np.isfinite(moved)].max(initial=0))
    scale = max(1.0, float(np.abs(keras[np.isfinite(keras)]).max(initial=0)))
    allowed = max((32 if precision in ("float32", "float64") else 4) * EPSILON[precision] * scale, 8 * moved_most)
    if apart.max() <= allowed:
        return None
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    where = ", ".join(str(int(n)) for n in place)
    values = f"Keras {keras[place]:.9g}, replay {ours[place]:.9g}"
    return f"[{where}]: {values}; rounding moves it by {moved_most:.3g}, allowed {allowed:.3g}"


def _of_each(
    keras: np.ndarray, ours: np.ndarray, exact: np.ndarray, precision: str, timed: bool, backwards: bool
) -> str | None:
    samples = np.arange(len(keras))
    trio = Trio("", "", "", keras, ours, exact, None, backwards, precision, samples, timed)
    worst = compare(trio, Tolerance()).first
    if worst is None:
        return None
    values = f"Keras {worst.keras:.9g}, replay {worst.replay:.9g}, exact {worst.exact:.9g}"
    return f"[{worst.sample}, ...]: {values}; verify allows {worst.allowed:.3g}"
