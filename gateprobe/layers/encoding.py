"""One-hot, multi-hot and count codes of the ids that lookups and hashes give.

Formulas: ``keras/src/utils/numerical_utils.py`` 3.15.1, ``tf_keras/src/layers/preprocessing/preprocessing_utils.py``
2.21.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.limits import room


def encoded(ids: Array, mode: str, depth: int, weights: Array | None = None) -> Array:
    """Return codes ``(..., depth)`` of ids in float32; an id that is no place, such as -1, leaves no trace.

    Args:
        ids: ``(samples, ...)`` integers.
        mode: ``one_hot`` for a code of each id (an axis of size one goes away), ``multi_hot`` for those along the
            second axis together, which are a row of ids where there are two axes, ``count`` for their sum.
        depth: How many places a code has.
        weights: What each id counts, of the same shape; one without them.

    Raises:
        InputError: Rows are asked for where there are none: Keras would mix the samples.
    """
    if mode == "one_hot":
        ids = ids[..., 0] if ids.ndim > 1 and ids.shape[-1] == 1 else ids
        room.afford(ids.size * depth * 4)
        codes: Array = (ids[..., np.newaxis] == room.arange(depth)).astype(np.float32)
        return codes
    if ids.ndim < 2:
        raise InputError(f"output_mode={mode!r} takes rows of ids, got an input of shape {ids.shape}")
    return _reduced(ids, mode, depth, weights)


def _reduced(ids: Array, mode: str, depth: int, weights: Array | None) -> Array:
    left = (ids.shape[0], *ids.shape[2:])
    rows = np.moveaxis(ids, 1, -1).reshape(-1, ids.shape[1])
    room.afford(len(rows) * depth * 4)
    codes: Array = room.zeros((len(rows), depth), np.float32 if weights is None else weights.dtype)
    row, column = np.nonzero((rows >= 0) & (rows < depth))
    at: Any = (row, rows[row, column])
    if mode == "multi_hot":
        codes[at] = 1
    else:
        each = 1 if weights is None else np.moveaxis(weights, 1, -1).reshape(rows.shape)[row, column]
        np.add.at(codes, at, each)
    return codes.reshape(*left, depth)
