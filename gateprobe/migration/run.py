"""What happens to a model in today's Keras, by how much, and a file that computes there what it computes here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Literal

import numpy as np

from gateprobe.errors import GateprobeError, InputError, OutputError, Refusal, UnsupportedModel
from gateprobe.graph import Array, Era, records_in
from gateprobe.layers.base import FLOAT64
from gateprobe.migration.files import hdf5_bytes, keras_bytes
from gateprobe.migration.modern import SETTLED, Modern, modern_semantics, modernise
from gateprobe.model import Model, opened, read
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.contested import Watched, has_masks
from gateprobe.replay.plan import Wanted, make_plan
from gateprobe.replay.today import Today, changes, today, words_of
from gateprobe.semantics import semantics_of
from gateprobe.verification.prepare import Prepared, Replays, given_inputs, made_inputs, samples_given
from gateprobe.verification.replay import Replayed, ReplayOptions, Subject, replay
from gateprobe.vocabulary import Side
from gateprobe.writers.target import write_files

HardSigmoid = Literal["scaled", "registered"]

_CLOSE = 1e-5
"""How far two replays in float64 may be apart, against the largest number of the array: weights that were scaled are
rounded to float32 once more (6e-8 each), and a difference of meaning is larger by orders."""


@dataclass(frozen=True, slots=True)
class Change:
    """By how much a signal or an output differs between two replays."""

    place: str
    """``layer/direction`` or ``output NAME``."""
    signal: str
    """Name of the signal, or nothing for an output."""
    largest: float
    """The largest absolute difference; infinite where the shapes differ, or one side is not finite."""
    scale: float
    """The largest absolute value of the file's own numbers."""

    @property
    def differs(self) -> bool:
        """Whether it is more than the rounding of weights explains."""
        return not self.largest <= _CLOSE * max(self.scale, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Migration:
    """What today's Keras makes of a model, and the model in its words."""

    file: str
    today: Today
    moved: tuple[Change, ...]
    """What Keras 3 would compute otherwise, if it opened the file as it is, largest first; on the inputs tried."""
    inputs: tuple[str, ...]
    """Which inputs were tried."""
    refusals: tuple[Refusal, ...] = ()
    """Why no file can be written; nothing when one can."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Old path → new path, of layers whose names Keras 3 does not take."""
    rewritten: Mapping[str, str] = field(default_factory=dict)
    """Old path → what was expressed in another way."""
    kept: tuple[Change, ...] = ()
    """How far the new model's numbers are from the old one's, largest first, both replayed in float64."""
    unproven: tuple[str, ...] = ()
    """Sentences: what Keras 3 computes otherwise in ways that no input tried has shown, and that are not rewritten."""
    notes: tuple[str, ...] = ()
    """What was done to texts to make ids of them."""
    _modern: Modern | None = None

    def __bool__(self) -> bool:
        """Whether a file can be written."""
        return self._modern is not None

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model for Keras 3.

        Args:
            path: ``NEW.keras`` or ``NEW.h5``.
            overwrite: Whether to replace a file that is there.

        Raises:
            UnsupportedModel: Keras 3 has nothing that computes the same; carries every reason.
            OutputError: The file cannot be written, or has another suffix.
        """
        if self._modern is None:
            raise UnsupportedModel(self.refusals, file=self.file)
        writers = {".keras": keras_bytes, ".h5": hdf5_bytes}
        name = os.fspath(path)
        make = writers.get(PurePath(name).suffix.lower())
        if make is None:
            raise OutputError("is neither .keras nor .h5", file=name, remedy="choose one of these suffixes")
        write_files({name: make(self._modern.graph)}, force=overwrite)


def migrate(
    model: Model | str | os.PathLike[str],
    x: object = None,
    *,
    hard_sigmoid: HardSigmoid = "scaled",
    seed: int = 0,
    vocab: str | os.PathLike[str] | None = None,
    pad: Side | None = None,
) -> Migration:
    """Put a model into the words of Keras 3, and compare the two in the replay.

    Args:
        model: Or its file.
        x: Inputs to compare on, as for `Model.predict`, beside some that are made from the graph.
        hard_sigmoid: How to express the steeper one of Keras 1 and 2: ``scaled``, by weights that are scaled by 1.2,
            which rounds each once; or ``registered``, by a function that you register in Keras before you load the
            file.
        seed: Of made inputs.
        vocab: See `gateprobe.Model.trace`.
        pad: See `gateprobe.Model.trace`.

    Raises:
        UnsupportedModel: The model cannot be replayed.
        InputError: The inputs do not fit.
    """
    found = opened(model if isinstance(model, Model) else read(model))
    old = Subject(found.graph, found.semantics)
    options = ReplayOptions(found.inputs, rows=64, precision=FLOAT64)
    prepared = _prepared(found, old, options)
    samples = samples_given(found, x, vocab, pad)
    given = [] if samples is None else [given_inputs(prepared, samples)]
    made = _made(prepared, seed, bool(given))
    words, inner = _words(found)
    now = today(found.graph, words)
    assert now is not None
    tried = tuple(one.description for one in (*given, *made))
    notes = () if samples is None else samples.notes
    plain = Migration(found.graph.file, now, _moved(found, given or made, options), tried, notes=notes)
    try:
        modern = modernise(found.graph, found.semantics, registered=hard_sigmoid == "registered")
        kept = _compared([*given, *made], Subject(modern.graph, modern_semantics()), options, modern)
    except UnsupportedModel as error:
        return replace(plain, refusals=tuple(error.refusals))
    wrong = tuple(_refusal(change, now) for change in kept if change.differs)
    if wrong:
        return replace(plain, refusals=wrong[:1], kept=kept)
    unproven = tuple(text for word, text in changes(found.graph, (*words, *inner)).items() if word not in SETTLED)
    stated = {path: f"{one.record.class_name}, as {one.file} states" for path, one in found.graph.stated.items()}
    rewritten = {**stated, **modern.rewritten}
    return replace(plain, names=modern.names, rewritten=rewritten, kept=kept, unproven=unproven, _modern=modern)


def _made(prepared: Prepared, seed: int, given: bool) -> list[Replays]:
    """Make inputs: those that are given may mask nothing, and the new model must agree on all.

    Raises:
        InputError: None fits, and none are given.
    """
    try:
        return made_inputs(prepared, seed=seed, samples=None)
    except InputError:
        if not given:
            raise
        return []


def _prepared(found: OpenedModel, subject: Subject, options: ReplayOptions) -> Prepared:
    """Bind everything once: what cannot be replayed cannot be compared."""
    plan = make_plan(subject.graph, subject.semantics, Wanted(options.traced, outputs=True))
    return Prepared(found, subject, replace(options, precision=None), plan.batch_size, found)


def _words(found: OpenedModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words that matter for a model, and those that matter where a model inside takes another dtype."""
    watched = Watched.over(found.semantics)
    make_plan(found.graph, found.semantics, Wanted(lambda _: True, outputs=True), watched=watched)
    words = words_of(found.graph, watched)
    inside = [record.model for record in records_in(found.record) if record.model is not None]
    kinds = {ref.config.get("dtype") for model in inside for ref in model.layers if ref.class_name == "InputLayer"}
    outer = {spec.dtype for spec in found.inputs} | {"float32"}
    asked = watched.asked(masked=has_masks(found.record)) if kinds - outer else []
    return words, tuple(word for word in asked if word not in words)


def _moved(found: OpenedModel, replays: Sequence[Replays], options: ReplayOptions) -> tuple[Change, ...]:
    """Return what the words of the file come to when Keras 3 reads them."""
    theirs = semantics_of(replace(found.graph.origin, rivals=()), Era.KERAS3.value)
    try:
        changes = _compared(replays, Subject(found.graph, theirs), options, None)
    except GateprobeError:  # Keras 3 does not take it at all, which `today` says
        return ()
    return tuple(change for change in changes if change.differs)


def _compared(
    replays: Sequence[Replays], other: Subject, options: ReplayOptions, modern: Modern | None
) -> tuple[Change, ...]:
    """Replay another model on the same inputs, and compare every signal and output."""
    names = {} if modern is None else modern.names
    worst: dict[tuple[str, str], Change] = {}
    for one in replays:
        specs = [replace(spec, name=names.get(spec.name, spec.name)) for spec in options.specs]
        inputs = {names.get(name, name): array for name, array in one.inputs.items()}
        theirs = replay(other, inputs, replace(options, specs=specs))
        for change in _changes(one.exact, theirs, modern):
            key = (change.place, change.signal)
            if key not in worst or not change.largest <= worst[key].largest:
                worst[key] = change
    return tuple(sorted(worst.values(), key=lambda change: (-change.largest, change.place, change.signal)))


def _changes(ours: Replayed, theirs: Replayed, modern: Modern | None) -> Iterator[Change]:
    for (path, direction), trace in ours.traces.items():
        place = (path, direction) if modern is None else modern.place(path, direction)
        other = theirs.traces.get(place)
        for signal, value in trace.signals.items():
            yield _change(f"{path}/{direction}", signal, value, None if other is None else other.signals.get(signal))
    for number, (made, there) in enumerate(zip(ours.outputs, theirs.outputs, strict=True)):
        if made is not None:
            yield _change(f"output {number}", "", made, there)


def _change(place: str, signal: str, ours: Array, theirs: Array | None) -> Change:
    if theirs is None or ours.shape != theirs.shape or (np.isnan(ours) != np.isnan(theirs)).any():
        return Change(place, signal, float("inf"), 0.0)
    differing = (ours != theirs) & ~np.isnan(ours)  # two infinities are equal, and have no difference
    with np.errstate(over="ignore"):
        gaps = np.abs(ours[differing].astype(np.float64) - theirs[differing])
    scale = np.abs(ours[np.isfinite(ours)]).max(initial=0.0)
    return Change(place, signal, float(gaps.max(initial=0.0)), float(scale))


def _refusal(change: Change, now: Today) -> Refusal:
    said = "; ".join(now.differences) or "it computes something else there"
    layer, _, direction = change.place.partition("/")
    return Refusal(layer, direction or "output", f"{change.signal or 'it'} differs by {change.largest:.2g}: {said}")
