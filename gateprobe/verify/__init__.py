"""Step the real Keras beside the replay and compare every gate: ``gateprobe.verify(model, x)``.

``compare`` is pure NumPy; ``oracle`` and its parts run in a process of their own and are the only place in gateprobe
that imports Keras.

The package is callable, because ``gateprobe.verify`` is its name and the function's too: whoever imports a module from
here must not take the function away from everybody else.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateprobe.verify.compare import Tolerance
    from gateprobe.verify.result import Status, Verification
    from gateprobe.verify.verification import Made, verify

__all__ = ["Made", "Status", "Tolerance", "Verification", "verify"]

_HOME = {
    "Made": "verification",
    "Status": "result",
    "Tolerance": "compare",
    "Verification": "result",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callable(ModuleType):
    """A module that can be called like its function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Verification:
        """See `gateprobe.verify.verification.verify`."""
        from gateprobe.verify.verification import verify  # noqa: PLC0415 - on first use

        return verify(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
