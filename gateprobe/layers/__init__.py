"""One file per family of Keras layers: bind a record to typed weights, then replay it.

A new layer is one function under ``@replays`` in a module of this package, and one row in the conformance cases.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    if ".kernels" not in _module.name:  # they register nothing, and some need an extra
        importlib.import_module(_module.name)
