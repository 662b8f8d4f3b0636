"""Before Keras is asked: what can be replayed, on which inputs, and what the replay gives."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError, Refusal, UnsupportedModel, Worded
from gateprobe.graph import Array
from gateprobe.inputs.samples import InputSpec, Samples
from gateprobe.layers.base import Tensor
from gateprobe.layers.binding.graph import InputCast
from gateprobe.layers.text_rules import texts_of
from gateprobe.model import samples_of
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.batch_size import DEFAULT_ROWS
from gateprobe.replay.calls import plain_path
from gateprobe.replay.plan import Wanted, make_plan
from gateprobe.replay.ways_round import way_on
from gateprobe.verification.blueprint import unknown_layers
from gateprobe.verification.inputs import KNOWN_DTYPES, generate
from gateprobe.verification.part import part_without
from gateprobe.verification.replay import Replayed, ReplayOptions, Subject, in_both_precisions
from gateprobe.vocabulary import Side

_RANDOM = "is called with training=True"
"""How a plan's refusal begins when a layer is random at inference."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A model that can be replayed, perhaps in part."""

    model: OpenedModel
    subject: Subject
    options: ReplayOptions
    batch: int | None
    """The number of samples in a batch of a stateful model."""
    asked: OpenedModel
    """What Keras runs: the model, or the part of it that does not depend on ``left_out``."""
    random: tuple[Refusal, ...] = ()
    """Why some of what Keras runs is not replayed: it should be random at inference."""
    left_out: tuple[Refusal, ...] = ()
    """Why Keras does not run the rest."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not compared."""
        found = [
            Worded.of(f"{refusal.message(str)}; what depends on it is not compared")
            for refusal in (*self.left_out, *self.random)
        ]
        return (*found, *(["the outputs of the model are not compared"] if self.left_out else []))


@dataclass(frozen=True, slots=True, eq=False)
class Replays:
    """One set of inputs and what the replay makes of it."""

    inputs: Mapping[str, Array]
    """By name, in the dtypes that the model takes."""
    description: str
    ours: Replayed
    exact: Replayed
    """In float64."""
    notes: tuple[str, ...] = ()
    """What was done to texts to make ids of them."""


def replayable(model: OpenedModel, subject: Subject) -> Prepared:
    """Bind everything once, so that refusals come before Keras is started.

    A layer that cannot be replayed, or that Keras must not get, is no refusal here as long as some recurrent layer does
    not depend on it: that part is verified. What is random at inference is run by Keras and not replayed.

    Raises:
        UnsupportedModel: Nothing recurrent is left.
    """
    options = ReplayOptions(model.inputs, DEFAULT_ROWS)
    unknown = unknown_layers(model.record)
    try:
        plan = make_plan(subject.graph, subject.semantics, Wanted(options.traced, outputs=True))
    except UnsupportedModel as error:
        return _partly(model, subject, options, _merged(error.refusals, unknown))
    if unknown:
        return _partly(model, subject, options, unknown)
    return Prepared(model, subject, options, plan.batch_size, model)


def _merged(refusals: Sequence[Refusal], unknown: Sequence[Refusal]) -> list[Refusal]:
    places = {refusal.layer for refusal in refusals}
    return [*refusals, *(refusal for refusal in unknown if refusal.layer not in places)]


def _partly(model: OpenedModel, subject: Subject, options: ReplayOptions, refusals: Sequence[Refusal]) -> Prepared:
    """Replay what does not depend on what is refused."""
    random = tuple(refusal for refusal in refusals if refusal.reason.startswith(_RANDOM))
    left_out = tuple(refusal for refusal in refusals if refusal not in random)
    bound = [call.path for call in model.recurrent if _binds(subject, call.path)]
    asked = _asked(model, {refusal.layer for refusal in left_out}, bound) if left_out else model
    known = {call.path for call in asked.recurrent}.intersection(bound)
    if not known:
        remedy = model.remedy_for(refusals) or "verify compares what comes before such layers"
        way = way_on(subject.graph, subject.semantics, Wanted(lambda _: True), refusals)
        raise UnsupportedModel(refusals, file=model.graph.file, remedy=remedy, way=way)

    def traced(path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in known)

    options = replace(options, traced=traced, outputs=False)
    batch = make_plan(subject.graph, subject.semantics, Wanted(traced)).batch_size
    return Prepared(model, subject, options, batch, asked, random, left_out)


def _asked(model: OpenedModel, refused: Collection[str], bound: Collection[str]) -> OpenedModel:
    """Return the part of a model without some layers, and without recurrent ones that cannot be bound."""
    while True:
        part = part_without(model.record, refused)
        asked = replace(model, graph=replace(model.graph, model=part))
        unbound = {plain_path(call.path) for call in asked.recurrent if call.path not in bound}
        if unbound <= set(refused):
            return asked
        refused = {*refused, *unbound}


def _binds(subject: Subject, path: str) -> bool:
    try:
        make_plan(subject.graph, subject.semantics, Wanted(lambda p: p == path or p.startswith(f"{path}/")))
    except UnsupportedModel:
        return False
    return True


def samples_given(
    model: OpenedModel, x: object, vocab: str | os.PathLike[str] | None, pad: Side | None
) -> Samples | None:
    """Return what the user gave; ``None`` where that is nothing.

    Raises:
        InputError: It does not fit, or an option would change nothing.
    """
    if x is None and vocab is None and pad is None:
        return None
    return samples_of(model, x, vocab=vocab, pad=pad)


def given_inputs(prepared: Prepared, samples: Samples) -> Replays:
    """Replay what the user gave.

    Raises:
        InputError: It does not fit.
    """
    with prepared.model.blamed(samples):
        arrays = {
            spec.name: _cast(np.asarray(array), spec)
            for spec, array in zip(prepared.model.inputs, samples.arrays, strict=True)
            if array is not None
        }
        return replace(_replayed(prepared, arrays, _origin(samples)), notes=samples.notes)


def _origin(samples: Samples) -> str:
    return f"given: {samples.files}" if samples.files else "given"


def _cast(array: Array, spec: InputSpec) -> Array:
    """Return an array in the dtype that the model takes, so that all sides start from the same numbers.

    Raises:
        InputError: It does not fit, as in the replay of the array itself: fractions for whole numbers, for example.
    """
    if spec.texts:  # of fixed width, as a file without pickled objects holds them
        return np.array(texts_of(array), np.str_).reshape(array.shape)
    dtype = str(spec.dtype) if spec.dtype in KNOWN_DTYPES else "float32"
    return np.ascontiguousarray(InputCast(dtype, exact=True).take(Tensor(array)).value, np.dtype(dtype))


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
    return Replays(inputs, description, *in_both_precisions(prepared.subject, inputs, prepared.options))
