"""Which form of the arithmetic a run takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateprobe.errors import InputError, MissingExtra
from gateprobe.kernels import compiled
from gateprobe.kernels.blas import threads

KERNELS = ("auto", "numpy", "compiled")

_WORTHWHILE = 20_000
"""Timesteps that save about as much time as compiling takes (0.2 s)."""
_LARGE = 4_000_000
"""Multiplications in one timestep from which on a BLAS with several threads is faster."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """How a run computes its recurrent layers; the same for all its batches, so that their numbers go together."""

    name: str = "auto"
    """One of `KERNELS`."""
    batches: int = 1
    """Of the whole run."""
    large: bool | None = None
    """Whether large products are compiled too; ``None`` where this machine decides, whatever others do."""

    def compiles(self, timesteps: int, multiplications: int) -> bool:
        """Return whether a layer that can be compiled should be.

        Args:
            timesteps: Of one batch.
            multiplications: In one timestep of one batch.

        Raises:
            MissingExtra: It was decided elsewhere, and here the kernel is missing.
        """
        if self.name != "auto":
            return self.name == "compiled"
        if timesteps * self.batches < _WORTHWHILE:
            return False
        if not compiled.is_available():
            if self.large is not None:
                raise MissingExtra("llvmlite", "fast")
            return False
        return multiplications <= _LARGE or (_large_too() if self.large is None else self.large)

    def settled(self) -> Kernel:
        """Return what this machine would take, as a choice that other machines repeat."""
        if self.name != "auto":
            return self
        return replace(self, large=_large_too()) if compiled.is_available() else Kernel("numpy", self.batches)


def _large_too() -> bool:
    """Whether the compiled kernel is the faster one for large products too."""
    return threads() == 1 and compiled.is_wide()


def choose(name: str, batches: int) -> Kernel:
    """Return the kernel that a user asks for.

    Raises:
        InputError: There is no such kernel, or none for this processor.
        MissingExtra: It needs an extra.
    """
    if name not in KERNELS:
        raise InputError(f"unknown kernel {name!r}", remedy=f"choose {', '.join(KERNELS)}")
    if name == "compiled" and not compiled.is_installed():
        raise MissingExtra("llvmlite", "fast")
    if name == "compiled" and not compiled.is_available():
        raise InputError("there is no compiled kernel for this processor", remedy="choose auto")
    return Kernel(name, batches)
