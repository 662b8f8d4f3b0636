"""Before Keras is asked: what can be replayed, on which inputs, and what the replay gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.batch_size import DEFAULT_ROWS
from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.graph import Array
from gateprobe.layers.base import FLOAT64
from gateprobe.model import Model
from gateprobe.plan import Wanted, make_plan
from gateprobe.samples import InputSpec, Samples, from_arrays
from gateprobe.verify.inputs import KNOWN_DTYPES, generate
from gateprobe.verify.replay import Options, Replayed, Subject, replay

_RANDOM = "is called with training=True"
"""How a plan's refusal begins when a layer is random at inference."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A model that can be replayed, perhaps in part."""

    model: Model
    subject: Subject
    options: Options
    batch: int | None
    """The number of samples in a batch of a stateful model."""
    refusal: UnsupportedModel | None = None
    """Why the rest is not replayed: it should be random at inference."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not compared."""
        refusals = self.refusal.refusals if self.refusal is not None else ()
        return tuple(f"{refusal}; what depends on it is not compared" for refusal in refusals)


@dataclass(frozen=True, slots=True, eq=False)
class Replays:
    """One set of inputs and what the replay makes of it."""

    inputs: Mapping[str, Array]
    """By name, in the dtypes that the model takes."""
    description: str
    ours: Replayed
    exact: Replayed
    """In float64."""


def replayable(model: Model, subject: Subject) -> Prepared:
    """Bind everything once, so that refusals come before Keras is started.

    A layer that is random at inference is no refusal here: what does not depend on it is replayed.

    Raises:
        UnsupportedModel: Something else cannot be replayed exactly.
    """
    options = Options(model.inputs, DEFAULT_ROWS)
    try:
        plan = make_plan(subject.graph, subject.semantics, Wanted(options.traced, outputs=True))
    except UnsupportedModel as error:
        if not all(refusal.reason.startswith(_RANDOM) for refusal in error.refusals):
            raise
        return _partly(model, subject, options, error)
    return Prepared(model, subject, options, plan.batch_size)


def _partly(model: Model, subject: Subject, options: Options, error: UnsupportedModel) -> Prepared:
    """Replay what does not depend on randomness."""
    sound = [path for call in model.recurrent if _binds(subject, path := call.path)]

    def traced(path: str) -> bool:
        return any(path == known or path.startswith(f"{known}/") for known in sound)

    options = replace(options, traced=traced, outputs=False)
    batch = make_plan(subject.graph, subject.semantics, Wanted(traced)).batch_size
    return Prepared(model, subject, options, batch, error)


def _binds(subject: Subject, path: str) -> bool:
    try:
        make_plan(subject.graph, subject.semantics, Wanted(lambda p: p == path or p.startswith(f"{path}/")))
    except UnsupportedModel:
        return False
    return True


def given_inputs(prepared: Prepared, x: object) -> Replays:
    """Replay what the user gave.

    Raises:
        InputError: It does not fit.
    """
    samples = from_arrays(x, prepared.model.inputs)
    arrays = {
        spec.name: _cast(np.asarray(array), spec)
        for spec, array in zip(prepared.model.inputs, samples.arrays, strict=True)
        if array is not None
    }
    return _replayed(prepared, arrays, _origin(samples))


def _origin(samples: Samples) -> str:
    return f"given: {samples.files}" if samples.files else "given"


def _cast(array: Array, spec: InputSpec) -> Array:
    """Return an array in the dtype that the model takes, so that all sides start from the same numbers."""
    return np.ascontiguousarray(array, np.dtype(spec.dtype if spec.dtype in KNOWN_DTYPES else "float32"))


def made_inputs(prepared: Prepared, *, seed: int, samples: int | None) -> list[Replays]:
    """Make inputs and replay them; lengths that the model cannot take are left out.

    Raises:
        InputError: No length fits, or the file does not say enough about an input.
    """
    found, refused = [], None
    model = prepared.model
    for one in generate(model.record, model.inputs, seed=seed, samples=samples, batch=prepared.batch):
        try:
            found.append(_replayed(prepared, one.arrays, f"made, seed {seed}: {one.description}"))
        except InputError as error:
            refused = error
    if not found:
        assert refused is not None
        raise InputError(
            f"no made input fits: {refused.reason}", place=refused.place, remedy="give the inputs yourself"
        )
    return found


def _replayed(prepared: Prepared, inputs: Mapping[str, Array], description: str) -> Replays:
    ours = replay(prepared.subject, inputs, prepared.options)
    exact = replay(prepared.subject, inputs, replace(prepared.options, precision=FLOAT64))
    return Replays(inputs, description, ours, exact)
