"""The colours of numbers: safe for the colour-blind, the same in charts and in the terminal."""

from __future__ import annotations

import numpy as np

from gateprobe.graph import Array
from gateprobe.pictures.values import Scale

RGB = tuple[int, int, int]

VIRIDIS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
"""From 0 to 1: dark to light. Source: matplotlib's viridis."""
BLUE_ORANGE = ("#134b85", "#2f78b3", "#5da2cb", "#9dcae1", "#d2e5ef", "#f2f0eb", "#fce0ba", "#fbbf74", "#e8932f",
               "#c5690d", "#994a07")  # fmt: skip
"""Blue below zero, nearly white at zero, orange above. Source: vega-scale's blueorange."""
BLUE_ORANGE_ON_BLACK = ("#c4e3ff", "#8cc3f0", "#589bd3", "#376f9f", "#264763", "#23282e", "#594023", "#8f5c1f",
                        "#c97c24", "#f1a552", "#ffd9a6")  # fmt: skip
"""The same for dark pages: nearly black at zero."""
GREY, BLOT = "#a8a8a8", "#e6007e"
"""Of what is masked, and of what is not finite."""


def stops(scale: Scale) -> tuple[str, ...]:
    """Return the colours of a scale from its low to its high end, evenly spaced."""
    return BLUE_ORANGE if scale.signed else VIRIDIS


def rgb_of(values: Array, scale: Scale) -> Array:
    """Return ``values.shape + (3,)`` uint8: the colour of each value."""
    ends = np.array([rgb(stop) for stop in stops(scale)], np.float64)
    at = scale.share(values) * (len(ends) - 1)
    return np.stack([np.interp(at, np.arange(len(ends)), ends[:, part]) for part in range(3)], -1).round().astype("u1")


def rgb(text: str) -> RGB:
    """Return red, green and blue of ``#rrggbb``."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def is_dark(red: int, green: int, blue: int) -> bool:
    """Whether white writing is read more easily on a colour than black.

    Source: relative luminance of WCAG 2, with the power of 2.2 in place of its curve.
    """
    luminance: float = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    return luminance < 0.18
