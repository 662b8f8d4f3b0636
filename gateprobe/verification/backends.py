"""On what Keras 3 runs, and what it computes otherwise there by design."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateprobe.errors import InputError, MissingExtra, choices
from gateprobe.semantics import MaskedOutput, Semantics

EXTRAS: Mapping[str, str] = {"tensorflow": "keras", "jax": "keras-jax", "torch": "keras-torch"}
"""Backend → the extra that installs Keras with it; the first that is installed is used."""
_RULES: Mapping[str, Mapping[str, Any]] = {
    "tensorflow": {},
    "jax": {
        "masked_output": MaskedOutput.LAST_STATE,
        "unroll_zeroes_masked": False,
        "bias_goes_astray": False,
    },
    "torch": {"bias_goes_astray": False},
}
"""Backend → rules of `Semantics` that it breaks.

Sources: ``rnn`` in ``keras/src/backend/{jax,torch}/rnn.py`` 3.15.1; ``bias_add`` in
``keras/src/backend/tensorflow/nn.py`` is TensorFlow's alone.
"""


def backend_of(library: str, wanted: str | None) -> str:
    """Return the backend on which a Keras runs.

    Args:
        library: ``keras3`` or ``tf_keras``.
        wanted: What the user asks for.

    Raises:
        InputError: There is no such backend, or this Keras does not run on it.
        MissingExtra: It is not installed.
    """
    if wanted is not None and wanted not in EXTRAS:
        raise InputError(f"unknown backend {wanted!r}", remedy=choices(EXTRAS, wanted))
    if library == "tf_keras":
        if wanted in (None, "tensorflow"):
            return "tensorflow"
        raise InputError(
            f"tf_keras, which speaks for files of Keras 1 and 2, runs on TensorFlow alone, not on {wanted}",
            remedy="give --against=keras3 to compare with what Keras 3 makes of the file",
        )
    found = next((name for name in EXTRAS if is_installed(name)), "tensorflow") if wanted is None else wanted
    if not is_installed(found):
        what = "Keras 3, which verify compares with," if wanted is None else f"{found}, which Keras 3 runs on,"
        others = [extra for extra in EXTRAS.values() if wanted is None and extra != "keras"]
        raise MissingExtra(what, EXTRAS[found], *others)
    return found


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def on_backend(semantics: Semantics, backend: str) -> Semantics:
    """Return what words mean where Keras runs on a backend."""
    return replace(semantics, **_RULES[backend])
