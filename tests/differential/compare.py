"""Whether rounding explains a difference."""

from __future__ import annotations

import numpy as np

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def difference(keras: np.ndarray, ours: np.ndarray, wide: np.ndarray, precision: str) -> str | None:
    """Compare what Keras computed with the replay and the replay in float64.

    Rounding moves Keras and the replay away from float64 by similar amounts; a mistake moves the replay and its float64
    twin together.

    Returns:
        What is wrong, or ``None``.
    """
    keras, ours, wide = (np.asarray(one, np.float64) for one in (keras, ours, wide))
    if keras.shape != ours.shape:
        return f"shape {ours.shape}, Keras has {keras.shape}"
    if not keras.size:
        return None
    finite = np.isfinite(keras) & np.isfinite(ours)
    same = ~np.isfinite(keras) & ~np.isfinite(ours)  # after an overflow, inf or nan is a matter of order
    apart = np.where(finite, np.abs(np.where(finite, keras - ours, 0)), np.where(same, 0, np.inf))
    scale = max(1.0, float(np.abs(keras[finite]).max(initial=0)))
    rounding = float(np.abs(np.where(finite & np.isfinite(wide), ours - wide, 0)).max(initial=0))
    unit = EPSILON[precision]
    allowed = max((64 if precision in ("float32", "float64") else 4) * unit * scale, 8 * rounding)
    worst = float(apart.max())
    if worst <= allowed:
        return None
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    where = ", ".join(str(int(n)) for n in place)
    values = f"Keras {keras[place]:.9g}, replay {ours[place]:.9g}, float64 {wide[place]:.9g}"
    return f"[{where}]: {values}; allowed {allowed:.3g}"
