"""See inside a Keras LSTM: every gate, at every timestep, from the saved file alone.

import gateprobe

model = gateprobe.read("model.keras")               # inert: runs nothing in the file
trace = model.trace(x)                              # or {"encoder_input": a, "decoder_input": b}
trace["bidirectional"].backward.forget_gate         # (samples, timesteps, units)
trace.save("trace.npz")                             # and gateprobe.load_trace("trace.npz")
model.weights("lstm").forward.forget_gate.kernel    # (features, units)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateprobe.analysis.agreement import Tolerance
    from gateprobe.analysis.comparison import Comparison
    from gateprobe.analysis.explain import Explanation
    from gateprobe.analysis.ledger import Ledger, ledger
    from gateprobe.analysis.remarkable import RemarkableUnit
    from gateprobe.analysis.statistics import Statistics
    from gateprobe.analysis.tracking import Follower, Tracking
    from gateprobe.analysis.weights import DirectionWeights, GateWeights, LayerWeights
    from gateprobe.comparing import compare, compare_port
    from gateprobe.errors import (
        GateprobeError,
        GateprobeWarning,
        InputError,
        MissingExtra,
        NotInTrace,
        OracleError,
        OutputError,
        ReadError,
        Refusal,
        UnsafeFile,
        UnsupportedModel,
    )
    from gateprobe.migration.run import Migration, migrate
    from gateprobe.model import Model, read
    from gateprobe.trace import LayerTrace, Trace, load_trace
    from gateprobe.traces.chunk import DirectionTrace, TraceChunk
    from gateprobe.traces.selection import Selection
    from gateprobe.verification.result import Verification
    from gateprobe.verification.run import Made, verify

    __version__: str

__all__ = [
    "Comparison",
    "DirectionTrace",
    "DirectionWeights",
    "Explanation",
    "Follower",
    "GateWeights",
    "GateprobeError",
    "GateprobeWarning",
    "InputError",
    "LayerTrace",
    "LayerWeights",
    "Ledger",
    "Made",
    "Migration",
    "MissingExtra",
    "Model",
    "NotInTrace",
    "OracleError",
    "OutputError",
    "ReadError",
    "Refusal",
    "RemarkableUnit",
    "Selection",
    "Statistics",
    "Tolerance",
    "Trace",
    "TraceChunk",
    "Tracking",
    "UnsafeFile",
    "UnsupportedModel",
    "Verification",
    "__version__",
    "compare",
    "compare_port",
    "ledger",
    "load_trace",
    "migrate",
    "read",
    "verify",
]

_HOMES = {
    "analysis.explain": ("Explanation",),
    "analysis.ledger": ("Ledger", "ledger"),
    "analysis.weights": ("DirectionWeights", "GateWeights", "LayerWeights"),
    "analysis.comparison": ("Comparison",),
    "comparing": ("compare", "compare_port"),
    "traces.chunk": ("DirectionTrace", "TraceChunk"),
    "migration.run": ("Migration", "migrate"),
    "model": ("Model", "read"),
    "traces.selection": ("Selection",),
    "analysis.remarkable": ("RemarkableUnit",),
    "analysis.statistics": ("Statistics",),
    "analysis.tracking": ("Follower", "Tracking"),
    "trace": ("LayerTrace", "Trace", "load_trace"),
    "analysis.agreement": ("Tolerance",),
    "verification.result": ("Verification",),
    "verification.run": ("Made", "verify"),
}
"""Module → names; every other name is an error."""
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that the command line starts fast."""
    if name not in __all__:
        guesses = importlib.import_module("gateprobe.guesses")
        raise guesses.no_attribute("module 'gateprobe'", name, guesses.PACKAGE, __all__)
    value: Any
    if name == "__version__":
        value = importlib.import_module("importlib.metadata").version("gateprobe")
    else:
        value = getattr(importlib.import_module(f"gateprobe.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
