"""Whether rounding explains a difference."""

from __future__ import annotations

import numpy as np

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def rounding(ours: np.ndarray, in_float64: np.ndarray, in_float32: np.ndarray | None = None) -> np.ndarray:
    """Return how far rounding moves each number of a replay.

    Args:
        ours: From the replay in the model's own precision.
        in_float64: From the replay in float64.
        in_float32: From the replay in float32, for a model of float64: rounding in float64 moves it as far, in
            proportion.
    """
    moved = _apart(ours, in_float64)
    if in_float32 is not None:
        moved += _apart(ours, in_float32) * EPSILON["float64"] / EPSILON["float32"]
    return moved


def _apart(ours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return absolute differences in float64, and 0 where either is not finite."""
    ours, others = np.asarray(ours, np.float64), np.asarray(others, np.float64)
    finite = np.isfinite(ours) & np.isfinite(others)
    return np.where(finite, np.abs(np.where(finite, ours, 0) - np.where(finite, others, 0)), 0)


def difference(keras: np.ndarray, ours: np.ndarray, moved: np.ndarray, precision: str) -> str | None:
    """Compare what Keras computed with the replay and with how far rounding moves it.

    Rounding moves Keras and the replay away from float64 by similar amounts; a mistake moves the replay and its float64
    twin together.

    Returns:
        What is wrong, or ``None``.
    """
    keras, ours = np.asarray(keras, np.float64), np.asarray(ours, np.float64)
    if keras.shape != ours.shape:
        return f"shape {ours.shape}, Keras has {keras.shape}"
    if not keras.size:
        return None
    overflown = ~np.isfinite(keras) & ~np.isfinite(ours)  # then inf or nan is a matter of order
    apart = np.where(overflown | (np.isfinite(keras) & np.isfinite(ours)), _apart(keras, ours), np.inf)
    scale = max(1.0, float(np.abs(keras[np.isfinite(keras)]).max(initial=0)))
    unit = EPSILON[precision]
    moved_most = float(moved.max())
    allowed = max((32 if precision in ("float32", "float64") else 4) * unit * scale, 8 * moved_most)
    worst = float(apart.max())
    if worst <= allowed:
        return None
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    where = ", ".join(str(int(n)) for n in place)
    values = f"Keras {keras[place]:.9g}, replay {ours[place]:.9g}"
    return f"[{where}]: {values}; rounding moves it by {moved_most:.3g}, allowed {allowed:.3g}"
