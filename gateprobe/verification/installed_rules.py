"""Where the installed Keras means something else than the Keras that wrote a file.

tf_keras 2.21 speaks for every Keras 1 and 2, and Keras 3.15 for every Keras 3, but not all of those agree with it in
everything. Where they do not, the installed Keras cannot confirm what the older one computed; the recorded values of
each era in the tests do. The comparison then runs the replay with the rules of the installed Keras, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib import metadata

import numpy as np

from gateprobe.errors import GateprobeError, MissingExtra
from gateprobe.graph import Era, ModelRecord, Origin, records_in
from gateprobe.layers.conv import flips
from gateprobe.opened_model import OpenedModel
from gateprobe.semantics import Semantics, semantics_of
from gateprobe.verification.backends import EXTRAS, backend_of
from gateprobe.verification.blueprint import defaults
from gateprobe.verification.prepare import Prepared, Replays
from gateprobe.verification.replay import Replayed, Subject, replay

LIBRARIES = {"keras3": "keras", "tf_keras": "tf-keras"}
"""What can be asked → its distribution."""

_STORED = (
    "recurrent_activation",
    "conv_recurrent_activation",
    "gru_reset_after",
    "keras1_kernels",
    "theano",
)
"""Rules about what stands in the file: these travel with the configuration and the weights into any Keras."""


def default_library(origin: Origin) -> str:
    """Return the library that speaks for the era of a file: ``keras3`` or ``tf_keras``."""
    return "keras3" if origin.era is Era.KERAS3 else "tf_keras"


@dataclass(frozen=True, slots=True)
class Oracle:
    """What is asked."""

    library: str
    """``keras3`` or ``tf_keras``."""
    backend: str
    """``tensorflow``, ``jax`` or ``torch``."""
    version: str
    """Of the library."""


def oracle_of(library: str, backend: str | None) -> Oracle:
    """Return what is asked, without importing it.

    Args:
        library: ``keras3`` or ``tf_keras``.
        backend: On which it shall run; ``None`` for the one that is installed.

    Raises:
        InputError: The library does not run on this backend.
        MissingExtra: One of the two is not installed.
    """
    found = backend_of(library, backend)
    return Oracle(library, found, installed_version(library, EXTRAS[found]))


def installed_version(library: str, extra: str = "keras") -> str:
    """Return the version of an installed library without importing it.

    Args:
        library: ``keras3`` or ``tf_keras``.
        extra: What installs it.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        return metadata.version(LIBRARIES[library])
    except metadata.PackageNotFoundError:
        raise MissingExtra(f"{LIBRARIES[library]}, which verify compares with,", extra) from None


def spoken(semantics: Semantics, origin: Origin, version: str) -> Semantics:
    """Return the rules of the installed Keras for a file of its own era, except those that the file itself holds.

    Args:
        semantics: Of the file.
        origin: Of the file.
        version: Of the installed Keras.
    """
    era = Era.KERAS3 if semantics.era is Era.KERAS3 else Era.KERAS2
    installed = semantics_of(Origin(origin.container, era, (), version, "tensorflow"))
    kept = {name: getattr(semantics, name) for name in ("era", *_STORED)}
    return replace(installed, **kept)


def silent_defaults(model: ModelRecord, semantics: Semantics, library: str) -> str | None:
    """Return what a file leaves unsaid that the installed Keras would take otherwise; ``None`` when nothing."""
    version = installed_version(library)
    era = Era.KERAS3 if library == "keras3" else Era.KERAS2
    today = semantics_of(Origin("", era, (), version, None))
    for record in records_in(model):
        others = defaults(record, today)
        for key, value in defaults(record, semantics).items():
            if key not in record.config and value != others[key]:
                takes = f"{LIBRARIES[library]} {version} takes {others[key]}"
                return f"{record.name} does not say {key}: it meant {value}, {takes}"
        if semantics.theano and flips(record):
            return f"the kernel of {record.name} is stored as Theano's, which {LIBRARIES[library]} {version} ignores"
    return None


def unchecked_rules(model: OpenedModel, prepared: Prepared, replays: Sequence[Replays], keras: str) -> list[str]:
    """Return a sentence for each rule of the file's era that decides some number here and that Keras cannot confirm."""
    ours, theirs = model.semantics, prepared.subject.semantics

    def decides(rule: str) -> bool:
        return _matters(prepared, replays, replace(theirs, **{rule: getattr(ours, rule)}))

    return [
        f"not checked here: {rule} is {_shown(getattr(ours, rule))} for this file and {_shown(getattr(theirs, rule))} "
        f"in {keras}; both sides were run with the latter"
        for rule in (field.name for field in fields(Semantics))
        if getattr(ours, rule) != getattr(theirs, rule) and decides(rule)
    ]


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))


def _matters(prepared: Prepared, replays: Sequence[Replays], semantics: Semantics) -> bool:
    subject = Subject(prepared.subject.graph, semantics)
    try:
        return any(_differ(one.ours, replay(subject, one.inputs, prepared.options)) for one in replays)
    except GateprobeError:
        return True


def _differ(one: Replayed, two: Replayed) -> bool:
    for key, trace in one.traces.items():
        other = two.traces.get(key)
        if other is None or any(not _same(v, other.signals[name]) for name, v in trace.signals.items()):
            return True
    return any(not _same(a, b) for a, b in zip(one.outputs, two.outputs, strict=True) if a is not None)


def _same(one: object, two: object) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(two), equal_nan=True)
