"""The texts of timesteps, for code that must not know the files they come from."""

from __future__ import annotations

from typing import Protocol

from gateprobe.graph import Array


class Labeller(Protocol):
    """Says what stands at each timestep of a sample, as text."""

    def labels(
        self,
        sample: int,
        timesteps: Array,
        *,
        layer: str | None = None,
        length: int | None = None,
        mask: Array | None = None,
    ) -> tuple[str, ...] | None:
        """Return the tokens at some timesteps of one sample.

        Args:
            sample: Its number.
            timesteps: ``(timesteps,)`` positions in the layer's input.
            layer: Its path; any layer whose timesteps are as many, without it.
            length: Timesteps of the layer's whole input; not checked without it.
            mask: ``(length,)``, ``False`` at masked timesteps.

        Returns:
            One for each timestep; ``None`` where this layer's timesteps have no tokens.

        Raises:
            InputError: There are more or fewer tokens than timesteps.
        """
