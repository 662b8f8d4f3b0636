"""One file per family of Keras layers: bind a record to typed weights, then replay it.

A new layer is one function under ``@replays`` in a module of this package, and one row in the conformance cases.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
