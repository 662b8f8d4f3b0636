"""Which form of the arithmetic a run takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateprobe.errors import InputError, MissingExtra
from gateprobe.layers.recurrent.kernels import compiled

KERNELS = ("auto", "numpy", "compiled")

LONG = 1_000
"""Timesteps of a sequence from which on ``auto`` compiles: that loads code for 0.3 s (2 s where it has never run), and
one sequence gains most by it. The number of samples does not decide, since a sample's numbers depend on the kernel."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """How a run computes its recurrent layers; the same for all its batches, so that their numbers go together."""

    name: str = "auto"
    """One of `KERNELS`."""
    timesteps: int | None = None
    """Of every sequence, where a batch holds a slab of them."""
    required: bool = False
    """Whether others count on compiled code, so that a machine without it must refuse."""

    def compiles(self, timesteps: int) -> bool:
        """Return whether a layer that can be compiled should be.

        Args:
            timesteps: Of its sequences.

        Raises:
            MissingExtra: It is required, and Numba is missing here.
            InputError: Numba is there but does not load.
        """
        if self.name != "auto":
            return self.name == "compiled"
        if (self.timesteps or timesteps) < LONG:
            return False
        if not self.required:
            return compiled.is_available()
        _require_compiled()
        return True

    def chosen(self) -> Kernel:
        """Return what this machine would take, as a choice that other machines repeat."""
        if self.name != "auto":
            return self
        return replace(self, required=True) if compiled.is_available() else Kernel("numpy")


def choose(name: str, timesteps: int | None = None) -> Kernel:
    """Return the kernel that a user asks for.

    Raises:
        InputError: There is no such kernel, or Numba does not load.
        MissingExtra: It needs an extra.
    """
    if name not in KERNELS:
        raise InputError(f"unknown kernel {name!r}", remedy=f"choose {', '.join(KERNELS)}")
    if name == "compiled":
        _require_compiled()
    return Kernel(name, timesteps)


def _require_compiled() -> None:
    if not compiled.is_installed():
        raise MissingExtra("numba", "fast")
    if compiled.fault() is not None:
        raise InputError(f"numba does not load: {compiled.fault()}", remedy="install another version of it")
