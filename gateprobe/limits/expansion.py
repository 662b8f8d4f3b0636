"""How many bytes stored bytes may stand for, wherever gateprobe unpacks something: HDF5 arrays and members of zips."""

from __future__ import annotations

MAX_EXPANSION = 1100
"""Bytes that one stored byte may stand for: gzip of zeros reaches 1030; Keras itself allows 1000."""
LARGE = 64 << 20
MAX_LARGE_EXPANSION = 100
"""The same for what unpacks into more than `LARGE` bytes: no trained weights of this size are nearly all zeros."""


def most(stored: int) -> int:
    """Return how many bytes so many stored ones may unpack into."""
    stored = max(stored, 1)
    return max(min(MAX_EXPANSION * stored, LARGE), MAX_LARGE_EXPANSION * stored)
