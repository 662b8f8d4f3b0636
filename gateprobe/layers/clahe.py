"""Contrast that is limited and adapted to each part of an image (CLAHE), at inference as in training.

Formulas: ``keras/src/layers/preprocessing/image_preprocessing/clahe.py`` 3.15.1, which computes in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.augmentation import moved, of_images, value_range
from gateprobe.layers.base import FLOAT32, Layer
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.shape import channels_first
from gateprobe.layers.unary import whole
from gateprobe.layers.windows import channels_last, check_rank
from gateprobe.limits import room

_LEVELS = 256


@dataclass(frozen=True, slots=True)
class _Tiles:
    """How an image is cut into tiles."""

    grid: tuple[int, int]
    size: tuple[int, int]
    """Of each tile; those at the end are filled up by reflection."""


@replays("ContrastLimitedAdaptiveHistogramEqualization")
def _bind(binding: Binding) -> Layer:
    settings = binding.settings
    ends, (down, across) = value_range(binding), settings.integers("tile_grid_size", 2, 8)
    limit = settings.raw("clip_limit", 4.0)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not math.isfinite(limit):
        raise Unsupported(f"config.clip_limit: expected a number, got {limit!r:.40}")
    settings.ignore("bounding_box_format")

    def paint(x: Array) -> Array:
        check_rank(x, 2)
        pixels = moved(x.astype(np.float32), ends, (0.0, 255.0), FLOAT32)
        return moved(_equalized(pixels, (down, across), float(limit)), (0.0, 255.0), ends, FLOAT32).astype(x.dtype)

    return of_images(binding, channels_last(paint, first=channels_first(settings)), casts=False)


def _equalized(x: Array, grid: tuple[int, int], limit: float) -> Array:
    height, width = x.shape[1:3]
    tiles = _Tiles(grid, (-(-height // grid[0]), -(-width // grid[1])))
    margins = [size * count - have for size, count, have in zip(tiles.size, grid, (height, width), strict=True)]
    if min(height, width) == 0 or margins[0] > height or margins[1] > width:
        raise InputError(f"an image of {height} x {width} cannot be filled up to {grid[0]} x {grid[1]} tiles")
    levels = np.clip(
        whole(room.pad(x, [(0, 0), *((0, margin) for margin in margins), (0, 0)], "symmetric"), "int32"), 0, 255
    )
    result = _blended(_curves(levels, tiles, limit), levels, tiles)
    return result[:, :height, :width]


def _curves(levels: Array, tiles: _Tiles, limit: float) -> Array:
    """Return what each level becomes in each tile: ``(samples, tile rows, tile columns, channels, 256)``."""
    (down, across), (height, width), channels = tiles.grid, tiles.size, levels.shape[-1]
    parts = levels.reshape(-1, down, height, across, width, channels).transpose(0, 1, 3, 5, 2, 4)
    counts = _counted(parts.reshape(*parts.shape[:4], height * width))
    if limit > 0:
        kept = np.clip(counts, 0, np.float32(limit * (height * width) / _LEVELS))
        counts = kept + (counts - kept).sum(axis=-1, keepdims=True) / np.float32(_LEVELS)
    ranks = np.cumsum(counts, axis=-1)
    lowest = ranks.min(axis=-1, keepdims=True)
    left = np.float32(height * width) - lowest
    stretched = (ranks - lowest) * np.float32(255) / np.where(left == 0, np.float32(1), left)
    curves: Array = np.clip(stretched, 0, 255)
    return curves


def _counted(values: Array) -> Array:
    """Count how often each level occurs along the last axis."""
    rows = values.reshape(-1, values.shape[-1])
    room.afford((rows.size + len(rows) * _LEVELS) * 8)
    places = rows + room.arange(len(rows))[:, np.newaxis] * _LEVELS
    counts = np.bincount(places.reshape(-1), minlength=len(rows) * _LEVELS)
    return counts.reshape(*values.shape[:-1], _LEVELS).astype(np.float32)


def _blended(curves: Array, levels: Array, tiles: _Tiles) -> Array:
    """Look every pixel up in the curves of the four tiles around it, and weigh them by their distance."""
    wide = room.pad(curves, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0)), "edge")
    (top, bottom, share_y), (left, right, share_x) = (
        _neighbours(count, size) for count, size in zip(tiles.grid, tiles.size, strict=True)
    )
    share_y, share_x = share_y[:, np.newaxis, np.newaxis], share_x[:, np.newaxis]
    room.afford(levels.size * 4 * 8)
    samples = room.arange(len(levels))[:, np.newaxis, np.newaxis, np.newaxis]
    channels = room.arange(levels.shape[-1])

    def line(rows: Array) -> Array:
        first, second = (
            wide[samples, rows[:, np.newaxis, np.newaxis], columns[:, np.newaxis], channels, levels]
            for columns in (left, right)
        )
        blend: Array = first * (1 - share_x) + second * share_x
        return blend

    result: Array = line(top) * (1 - share_y) + line(bottom) * share_y
    return result


def _neighbours(count: int, size: int) -> tuple[Array, Array, Array]:
    """Return for each pixel the tile whose centre lies before it, the one behind, and the share of that one."""
    places = (room.arange(count * size, np.float32) - np.float32(size / 2)) / np.float32(size) + np.float32(1)
    before = np.floor(places)
    first, second = (np.clip(one, 0, count + 1).astype(np.intp) for one in (before, before + 1))
    return first, second, places - before
