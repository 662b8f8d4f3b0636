"""What Keras answers to a case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateprobe.graph import Array


@dataclass(frozen=True)
class Answer:
    config: dict[str, Any]
    """As a file would hold it."""
    outputs: list[Array]
    masks: list[Array | None]
    """One for each output."""
