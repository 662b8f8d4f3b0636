"""See inside a Keras LSTM: every gate, at every timestep, from the saved file alone.

import gateprobe

model = gateprobe.read("model.keras")               # inert: runs nothing in the file
trace = model.trace(x)                              # or {"encoder_input": a, "decoder_input": b}
trace["bidirectional"].backward.forget_gate         # (samples, timesteps, units)
trace.save("trace.npz")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateprobe import verify
    from gateprobe.errors import GateprobeError, GateprobeWarning
    from gateprobe.model import Model, read
    from gateprobe.trace import Trace
    from gateprobe.traces.selection import Selection

__all__ = ["GateprobeError", "GateprobeWarning", "Model", "Selection", "Trace", "read", "verify"]

_HOME = {
    "GateprobeError": "errors",
    "GateprobeWarning": "errors",
    "Model": "model",
    "Selection": "selection",
    "Trace": "trace",
    "read": "model",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that the command line starts fast."""
    if name == "verify":  # a package that can be called: gateprobe.verify(model, x)
        return importlib.import_module("gateprobe.verify")
    if name in _HOME:
        return getattr(importlib.import_module(f"gateprobe.{_HOME[name]}"), name)
    raise AttributeError(f"module 'gateprobe' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
