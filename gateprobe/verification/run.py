"""`verify`: the model in the real Keras and in the replay, and every signal of every recurrent layer compared.

Nothing that stands for Keras in the comparison comes from our code: gates are taken from inside Keras's own cell while
it is stepped over what Keras itself gave the layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateprobe.analysis.agreement import SignalReport, Tolerance, compare, earliest, merged
from gateprobe.errors import InputError, OracleError, ReadError, UnsupportedModel, Worded
from gateprobe.graph import Era, WeightArray, WeightGroup
from gateprobe.model import Model, opened
from gateprobe.opened_model import OpenedModel, open_model
from gateprobe.readers.containers import contradictions
from gateprobe.readers.hdf5 import DEFAULT_MAX_BYTES
from gateprobe.replay.objects import ObjectWeights, object_weights
from gateprobe.verification.backends import on_backend
from gateprobe.verification.blueprint import blueprint_of
from gateprobe.verification.collate import Collated, Precisions, collate, self_contradictions
from gateprobe.verification.diagnose import Scene, diagnose, weight_differences
from gateprobe.verification.installed_rules import (
    LIBRARIES,
    Oracle,
    default_library,
    oracle_of,
    silent_defaults,
    spoken,
    unchecked_rules,
)
from gateprobe.verification.job import Answer, Job, Run, Tell, ask
from gateprobe.verification.prepare import Prepared, Replays, given_inputs, made_inputs, replayable, samples_given
from gateprobe.verification.replay import Subject
from gateprobe.verification.result import Explanation, InputSet, Verification
from gateprobe.vocabulary import Side

_FILES = ("hdf5", "keras", "weights-hdf5")
"""Containers of which Keras may get a copy."""


@dataclass(frozen=True, slots=True)
class Made:
    """How to make inputs for a model that is verified without any."""

    seed: int = 0
    samples: int | None = None
    """Number of samples in each set."""


def verify(
    model: Model | str | os.PathLike[str],
    x: object = None,
    *,
    architecture: str | os.PathLike[str] | None = None,
    against: str | None = None,
    backend: str | None = None,
    tolerance: Tolerance | None = None,
    made: Made | None = None,
    tell: Tell | None = None,
    vocab: str | os.PathLike[str] | None = None,
    pad: Side | None = None,
) -> Verification:
    """Run a model in the real Keras and in the replay, and compare every signal of every recurrent layer.

    Args:
        model: A model, or the file of one.
        x: An array, a list of arrays in the model's order or a mapping by name; made from the graph without it.
        architecture: The JSON file of a weights-only file; a model that has been read has its own.
        against: ``keras3`` or ``tf_keras``; without it, the one that speaks for the file's era.
        backend: On which Keras 3 runs: ``tensorflow``, ``jax`` or ``torch``; without it, the first of these that is
            installed.
        tolerance: Instead of what rounding explains.
        made: How to make inputs.
        tell: Called with one line for each thing that is done.
        vocab: See `gateprobe.Model.trace`; Keras gets the ids.
        pad: See `gateprobe.Model.trace`.

    Returns:
        A result that is true when the replay agrees with Keras.

    Raises:
        MissingExtra: TensorFlow or the Keras is not installed.
        OracleError: Keras cannot build or run the model.
        UnsupportedModel: Every recurrent layer depends on one that the replay refuses or Keras is never given.
        ReadError: Which model the file holds depends on the program that reads it.
        InputError: The inputs do not fit.
    """
    found = opened(model) if isinstance(model, Model) else open_model(model, architecture=architecture, vocab=vocab)
    if isinstance(model, Model) and architecture is not None and os.fspath(architecture) != found.graph.architecture:
        raise InputError(f"was not read with {architecture}", file=model.file, remedy="leave out --architecture")
    tell = tell or (lambda line: None)
    _refuse_contradictions(found)
    oracle = _oracle(found, against, backend)
    prepared = replayable(found, _subject(found, oracle))
    left = None if vocab is None else found.left_of(os.fspath(vocab))
    given = samples_given(found, x, left, pad)
    made = made or Made()
    tell("replaying in float32 and float64")
    replays = (
        made_inputs(prepared, seed=made.seed, samples=made.samples)
        if given is None
        else [given_inputs(prepared, given)]
    )
    objects = object_weights(found.graph, prepared.asked.record, found.semantics)
    answer = ask(_job(found, oracle, prepared, replays, objects), tell)
    return _judged(_Case(found, oracle, prepared, replays, objects, tolerance or Tolerance(), answer), tell)


def _oracle(model: OpenedModel, against: str | None, backend: str | None) -> Oracle:
    library = against or default_library(model.graph.origin)
    if library not in LIBRARIES:
        raise InputError(f"unknown oracle {library!r}", remedy=f"choose {' or '.join(LIBRARIES)}")
    found = oracle_of(library, backend)
    if found.backend != "tensorflow" and any(spec.texts for spec in model.inputs):
        raise InputError(
            f"the model reads text, which Keras splits with TensorFlow, not with {found.backend}",
            file=model.graph.file,
            remedy="leave out --backend, and run: pip install 'gateprobe[keras]'",
        )
    return found


def _refuse_contradictions(model: OpenedModel) -> None:
    """Refuse a file in which Keras might see another model than was read."""
    if model.graph.origin.container not in _FILES:
        return
    path = Path(model.graph.file)
    if path.is_file():
        with path.open("rb") as stream:
            size, keras2 = path.stat().st_size, model.graph.origin.era is not Era.KERAS3
            for found in contradictions(path.name, stream, size, keras2=keras2):
                remedy = "save the model again with Keras, under a name that fits"
                raise ReadError(found, file=model.graph.file, remedy=remedy)


def _subject(model: OpenedModel, oracle: Oracle) -> Subject:
    """Return what to replay: with the rules of the installed Keras, where it speaks for the file's era."""
    origin = model.graph.origin
    own = oracle.library == default_library(origin) and model.semantics.era is origin.era
    semantics = spoken(model.semantics, origin, oracle.version) if own else model.semantics
    return Subject(model.graph, on_backend(semantics, oracle.backend))


def _job(
    model: OpenedModel,
    oracle: Oracle,
    prepared: Prepared,
    replays: Sequence[Replays],
    objects: Sequence[ObjectWeights],
) -> Job:
    names = tuple(spec.name for spec in model.inputs)
    stateful = prepared.batch is not None
    return Job(
        keras=oracle.library,
        backend=oracle.backend,
        file=model.graph.file,
        architecture=model.graph.architecture,
        build_because=_build_because(model, oracle.library, prepared),
        blueprint=blueprint_of(prepared.asked.record, model.semantics, oracle.library, objects),
        max_bytes=max(DEFAULT_MAX_BYTES, 2 * sum(array.value.nbytes for array in _arrays(model.graph.weights.root))),
        objects=objects,
        inputs=names,
        runs=[
            Run(tuple(one.inputs[name] for name in names), _rows(model, prepared, one), stateful=stateful)
            for one in replays
        ],
    )


def _rows(model: OpenedModel, prepared: Prepared, replays: Replays) -> int:
    """Return how many samples Keras gets at once: all texts, which it pads to the longest of a batch."""
    if any(spec.texts for spec in model.inputs):
        return prepared.batch or len(next(iter(replays.inputs.values())))
    return prepared.batch or 256


def _arrays(group: WeightGroup) -> Iterator[WeightArray]:
    yield from group.arrays
    for child in group.children.values():
        yield from _arrays(child)


def _build_because(model: OpenedModel, library: str, prepared: Prepared) -> str | None:
    """Return why Keras must not open a copy of the file, ``None`` when it may if one can be made."""
    container = model.graph.origin.container
    if container not in _FILES:
        return f"the model comes from {container}, which is not given to Keras"
    if model.graph.stated:
        return f"it was stated what {' and '.join(model.graph.stated)} computes, and Keras computes that, too"
    if model.graph.words_of:
        layer, file = next(iter(model.graph.words_of.items()))
        return f"the words of {layer} are those of {file}, which Keras does not read beside the weights"
    if model.graph.dropout_off:
        return f"dropout and noise are off in {', '.join(model.graph.dropout_off)}, and on in the file"
    if prepared.left_out:
        return f"Keras runs only what does not depend on {prepared.left_out[0].layer}"
    if library != default_library(model.graph.origin):
        return None
    return silent_defaults(model.record, model.semantics, library)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """Everything there is to judge."""

    model: OpenedModel
    oracle: Oracle
    prepared: Prepared
    replays: Sequence[Replays]
    objects: Sequence[ObjectWeights]
    tolerance: Tolerance
    answer: Answer

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs that Keras returns."""
        return self.prepared.asked.outputs

    @property
    def keras(self) -> str:
        """Name and version of the Keras that answered."""
        return f"{LIBRARIES[self.oracle.library]} {self.answer.keras}"


def _judged(case: _Case, tell: Tell) -> Verification:
    """Compare, and where there is a disagreement, look for its cause."""
    model, answer = case.model, case.answer
    if case.prepared.random and not case.prepared.left_out and not any(run.random for run in answer.runs):
        raise UnsupportedModel(case.prepared.random, file=model.graph.file)
    precisions = Precisions.of(model)
    collated = [
        collate(run, one.ours, one.exact, precisions, case.names, number)
        for number, (run, one) in enumerate(zip(answer.runs, case.replays, strict=True))
    ]
    for run, one in zip(answer.runs, case.replays, strict=True):
        for text in self_contradictions(run, one.exact, precisions):
            raise OracleError(f"Keras disagrees with itself, so nothing is verified: {text}", file=model.graph.file)
    signals = _reports(collated, case.tolerance)
    weights = list(weight_differences(case.objects, answer))
    problems = [text for one in collated for text in one.problems] + [text for _, text in weights]
    random = _random(answer, case.names)
    if not problems and not any(report.values for report in signals):
        raise OracleError(f"nothing was compared: {_nothing(random)}", file=model.graph.file)
    first = earliest(signals)
    result = Verification(
        file=model.graph.file,
        sha256=model.graph.origin.sha256,
        era=model.graph.origin.era.value,
        keras=case.keras,
        backend=answer.backend,
        built_because=answer.built_because,
        inputs=tuple(InputSet(one.description, one.inputs) for one in case.replays),
        semantics=case.model.semantics.label,
        signals=tuple(signals),
        problems=tuple(problems),
        first=first,
        explanations=(),
        notes=(*case.model.notes, *_said(case.replays), *case.prepared.notes, *_notes(case)),
        random=random,
        left_out=tuple(Worded.of(refusal.message(str)) for refusal in case.prepared.left_out),
        rule=case.tolerance.rule,
    )
    return replace(result, explanations=tuple(_explained(case, result, weights, precisions, tell)))


def _reports(collated: Sequence[Collated], tolerance: Tolerance) -> list[SignalReport]:
    """Compare every signal, over all sets of inputs."""
    grouped: dict[tuple[str, str, str], list[SignalReport]] = {}
    for one in collated:
        for trio in one.trios:
            grouped.setdefault((trio.layer, trio.direction, trio.signal), []).append(compare(trio, tolerance))
    return [merged(reports) for reports in grouped.values()]


def _said(replays: Sequence[Replays]) -> tuple[str, ...]:
    return tuple(text for one in replays for text in one.notes)


def _notes(case: _Case) -> list[str]:
    if case.prepared.subject.semantics == case.model.semantics:
        return []
    return unchecked_rules(case.model, case.prepared, case.replays, f"{case.keras} on {case.answer.backend}")


def _random(answer: Answer, names: Sequence[str]) -> tuple[str, ...]:
    found = {item for run in answer.runs for item in run.random}
    return tuple(sorted(f"{names[item]} output" if isinstance(item, int) else " ".join(item) for item in found))


def _nothing(random: Sequence[str]) -> str:
    return f"random at inference: {', '.join(random)}" if random else "there are no samples, or no timesteps"


def _explained(
    case: _Case, result: Verification, weights: Sequence[tuple[str, str]], precisions: Precisions, tell: Tell
) -> list[Explanation]:
    """Look for what would explain the first disagreement."""
    first = result.first
    found = [Explanation("weights", text, everything=False) for _, text in weights]
    if first is None:
        return found
    scene = Scene(
        case.prepared.subject,
        case.answer.runs[first.run],
        case.replays[first.run].inputs,
        case.prepared.options,
        precisions,
        case.names,
        case.tolerance,
        case.prepared.batch is not None,
        case.objects,
    )
    return found + list(diagnose(scene, first, tell))
