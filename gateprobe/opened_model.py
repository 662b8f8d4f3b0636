"""A model file that has been read: its graph with the meaning of its words, planned and run from here."""

from __future__ import annotations

import hashlib
import operator
import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.activations import activation_names
from gateprobe.errors import GateprobeWarning, InputError, Refusal, UnsupportedModel, choices
from gateprobe.graph import Array, LayerRecord, ModelGraph, ModelRecord, references
from gateprobe.inputs.samples import InputSpec, Samples, from_arrays
from gateprobe.inputs.tokens import ListedTokens, Tokens, read_listed
from gateprobe.inputs.word_ids import Converter
from gateprobe.layers.base import FLOAT32, FLOAT64, Precision
from gateprobe.layers.binding.weight_assignment import contradictions
from gateprobe.layers.recurrent.cells import CellRun
from gateprobe.readers import read as read_graph
from gateprobe.readers.weights_only import Assumptions, RecurrentGroup, assume, find_groups
from gateprobe.replay.batch_size import BatchSize
from gateprobe.replay.calls import RecurrentCall, call_paths, recurrent_calls, signal_paths
from gateprobe.replay.context import Context
from gateprobe.replay.dropout import without_dropout
from gateprobe.replay.plan import Plan, Wanted, fed_layer, make_plan, model_of
from gateprobe.replay.run import Batches, Progress, Result, batches_of, run
from gateprobe.replay.stated import with_stated
from gateprobe.replay.text import padded, tokens_of
from gateprobe.replay.timelines import Origin, Timelines, timelines
from gateprobe.replay.unclaimed import unclaimed
from gateprobe.replay.vocabularies import lacking, with_given, with_vocabularies
from gateprobe.replay.ways_round import way_on
from gateprobe.semantics import Semantics, semantics_of
from gateprobe.traces.chunk import TRACE_FORMAT, DirectionTrace, TraceChunk, only
from gateprobe.traces.labeller import Labeller
from gateprobe.traces.selection import Selection, check_layers

_CHANGES_NOTHING = ("threads", "progress")
"""Options of a run that its numbers do not depend on."""

_PRECISIONS: Mapping[str | None, Precision | None] = {None: None, "float32": FLOAT32, "float64": FLOAT64}


def open_model(
    path: str | os.PathLike[str],
    *,
    architecture: str | os.PathLike[str] | None = None,
    semantics: str = "auto",
    max_bytes: int | None = None,
    ignore_metadata: bool = False,
    dropout: str | None = None,
    vocab: str | os.PathLike[str] | None = None,
) -> OpenedModel:
    """Read a model file; takes what `gateprobe.read` takes.

    Where no layer lacks its words, ``vocab`` is left for the inputs: see `OpenedModel.left_of`.
    """
    graph = read_graph(path, architecture=architecture, max_bytes=max_bytes, ignore_metadata=ignore_metadata)
    meaning = semantics_of(graph.origin, semantics)
    graph = with_vocabularies(graph)
    worded = vocab is not None and bool(lacking(graph))
    if vocab is not None and worded:
        words, digest = read_listed(os.fspath(vocab))
        graph = with_given(graph, words)
        combined = hashlib.sha256((graph.origin.sha256 + digest).encode()).hexdigest()
        graph = replace(graph, origin=replace(graph.origin, sha256=combined))
    graph = with_stated(graph, meaning)
    graph = replace(graph, notes=(*graph.notes, *unclaimed(graph)))
    if dropout not in (None, "off"):
        raise InputError(f"--dropout={dropout}: it can be switched off, and nothing else", remedy="give --dropout=off")
    graph = graph if dropout is None else without_dropout(graph, meaning)
    return OpenedModel(graph, meaning, max_bytes, worded)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedModel:
    """What a file says, with the meaning of its words; `gateprobe.Model` is its public face."""

    graph: ModelGraph
    semantics: Semantics
    max_bytes: int | None = None
    """How many bytes of arrays a batch may hold at a time; 4 GiB without it."""
    worded: bool = False
    """Whether a vocabulary that the user gave went into a layer which lacked its words."""

    def left_of(self, vocab: str | None) -> str | None:
        """Return the vocabulary that was given with the model if it is left for texts and ids of inputs."""
        return None if self.worded else vocab

    @property
    def record(self) -> ModelRecord:
        """The model's graph.

        Raises:
            UnsupportedModel: The file holds none.
        """
        return model_of(self.graph)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know of the file to trust its numbers; `Plan.notes` adds what matters for a run."""
        if self.graph.model is None:
            return self.graph.notes
        return (*self.graph.notes, *contradictions(self.graph.model, self.graph.weights, self.semantics))

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Name, shape and dtype of each input, in the model's order."""
        records = {record.name: record for record in self.record.layers}
        specs = tuple(_input_spec(records[ref.layer], self.record) for ref in self.record.inputs)
        if not self.graph.assumed:
            return specs
        return tuple(replace(spec, layer=ref.layer) for spec, ref in zip(specs, self.record.outputs, strict=True))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The keys of `predict`, in the model's order: layer names, ``name:1`` for further tensors of one layer."""
        seen: dict[str, int] = {}
        keys = []
        for ref in self.record.outputs:
            count = seen.get(ref.layer, 0)
            seen[ref.layer] = count + 1
            keys.append(f"{ref.layer}:{count}" if count else ref.layer)
        return tuple(keys)

    @property
    def recurrent(self) -> tuple[RecurrentCall, ...]:
        """Every call of a recurrent layer, in the order of the file."""
        return tuple(recurrent_calls(self.record))

    @property
    def groups(self) -> tuple[RecurrentGroup, ...]:
        """The recurrent layers that the weights alone prove; for files without an architecture."""
        return find_groups(self.graph.weights)

    def assume(self, assumptions: Assumptions, layers: tuple[str, ...] = ()) -> OpenedModel:
        """Return a weights-only model whose recurrent layers can be traced, each fed with an input of its own.

        Args:
            assumptions: What the weights cannot tell.
            layers: Globs over the names of `groups`; all without them.

        Raises:
            InputError: The file has an architecture, no such group, or something is neither in it nor assumed.
        """
        if self.graph.model is not None:
            given = " and ".join(assumptions.given()) or "the assumptions"
            reason = f"the file has an architecture, which says what {given} would"
            raise InputError(reason, file=self.graph.file, remedy=f"leave out {given}")
        self._check_activations(assumptions)
        selection = Selection(layers=layers)
        check_layers(selection, [group.name for group in self.groups])
        chosen = [group for group in self.groups if selection.takes_layer(group.name)]
        if not chosen:
            raise InputError("the weights prove no recurrent layer", file=self.graph.file)
        return replace(self, graph=assume(self.graph, chosen, assumptions))

    def _check_activations(self, assumptions: Assumptions) -> None:
        """Refuse names that the era of the file does not have."""
        names = activation_names(self.semantics.era)
        for flag, name in assumptions.activations():
            if name not in names:
                reason = f"{flag}={name}: no such activation in {self.semantics.era.value}"
                raise InputError(reason, remedy=choices(names, name))

    def with_layers(self, layers: tuple[str, ...] = (), said: Assumptions | None = None) -> OpenedModel:
        """Return a model whose weights can be looked at: what is not said of a weights-only file changes none of them.

        Args:
            layers: See `assume`.
            said: What is said all the same, such as the direction.

        Raises:
            InputError: See `assume`.
        """
        said = said or Assumptions()
        if self.graph.model is not None:
            return self.completed(said, layers)
        activation, recurrent = said.activation or "linear", said.recurrent_activation or "linear"
        reset_after = bool(said.reset_after)
        told = replace(said, activation=activation, recurrent_activation=recurrent, reset_after=reset_after)
        return self.assume(told, layers)

    def completed(self, assumptions: Assumptions, layers: tuple[str, ...] = ()) -> OpenedModel:
        """Return a model that can run: with an architecture as it is, else as `assume` makes it."""
        if self.graph.model is not None and assumptions == Assumptions():
            return self
        return self.assume(assumptions, layers)

    def plan(
        self,
        selection: Selection | None = None,
        *,
        outputs: bool = False,
        feeds: Collection[str] = (),
        dtype: str | None = None,
    ) -> Plan:
        """Bind what the selected layers, and the outputs if they are wanted, need.

        Raises:
            UnsupportedModel: Something upstream cannot be replayed exactly; carries every reason.
            InputError: The selection matches no layer, or ``dtype`` is none of ours.
        """
        if dtype not in _PRECISIONS:
            raise InputError(f"unknown dtype {dtype!r}", remedy="choose float32 or float64")
        if selection is not None:
            recurrent = [path for call in self.recurrent for path in signal_paths(call.record, call.path)]
            check_layers(selection, recurrent, call_paths(self.record))
        _check_feeds(feeds, self.record)
        wanted = Wanted(_takes(selection), outputs=outputs, fed=frozenset(feeds))
        try:
            plan = make_plan(self.graph, self.semantics, wanted, _PRECISIONS[dtype])
        except UnsupportedModel as error:
            raise self.advised(error, wanted) from None
        return replace(plan, max_bytes=self.max_bytes)

    def advised(self, error: UnsupportedModel, wanted: Wanted) -> UnsupportedModel:
        """Return a refusal that says what to do.

        Args:
            error: From planning, or from what planned.
            wanted: What was planned.
        """
        remedy = self.remedy_for(error.refusals) or error.remedy
        way = None if remedy else way_on(self.graph, self.semantics, wanted, error.refusals)
        return UnsupportedModel(error.refusals, file=error.file, remedy=remedy, way=way)

    def remedy_for(self, refusals: Iterable[Refusal]) -> str | None:
        """Return what to do where the weights do not fit an architecture that was given; ``None`` for other reasons."""
        given = self.graph.architecture
        if given is None or not any(refusal.other_weights for refusal in refusals):
            return None
        return f"{given} is not the architecture of these weights; give that of the same model"

    def tracing(
        self,
        x: object,
        *,
        selection: Selection | None = None,
        batch_size: BatchSize = None,
        dtype: str | None = None,
        pre_activations: bool = False,
        kernel: str = "auto",
        batches: Batches | None = None,
        with_input: bool = False,
        with_output: bool = False,
        tokens: Tokens | None = None,
    ) -> Tracing:
        """Decide everything about a trace and compute nothing yet; takes what `gateprobe.Model.trace` takes.

        A process that computes a part of another one's run takes its ``batches`` too. ``tokens`` stand at the timesteps
        of the trace.
        """
        selection = selection or Selection()
        samples = self.samples(x)
        plan = self.plan(selection, outputs=with_output, feeds=samples.feeds, dtype=dtype)
        numbers = np.arange(samples.count)
        if selection.samples is not None:
            numbers = selection.samples.pick(samples.count, "sample")
        with self.blamed(samples):
            plan = padded(plan, samples)
            batches = batches or batches_of(plan, samples, numbers, batch_size=batch_size, kernel=kernel)
        pre_activations = pre_activations or any(name.startswith("pre_") for name in selection.signals)
        lines = self.timelines(samples)
        beside: Labeller | None = tokens
        if beside is None:
            traced = [call.path for call in self.recurrent if selection.takes_layer(call.path)]
            beside = self.word_tokens(samples) or tokens_of(plan, samples, lines, traced)
        context = None
        if with_input or with_output or beside is not None:
            context = Context(
                lines,
                samples.names if with_input else (),
                self.outputs if with_output else (),
                with_feeds=with_input,
                tokens=beside,
            )
        return Tracing(self, plan, samples, selection, numbers, batches, pre_activations, context)

    def word_tokens(self, samples: Samples) -> ListedTokens | None:
        """Return the words of texts that became ids, for the layers that have the timesteps of those; ``None`` without.

        With several such inputs, those of the first.
        """
        if not samples.words:
            return None
        name, words = next(iter(samples.words.items()))
        lines, lists = self.timelines(samples), dict(enumerate(words.tokens))
        return ListedTokens(words.file, words.sha256, lists, lambda layer: name in lines.of(layer).named(Origin.INPUT))

    def timelines(self, samples: Samples) -> Timelines:
        """Return which timesteps of the inputs are those of which layer."""
        given = {
            name: len(array.shape)
            for name, array in zip(samples.names, samples.arrays, strict=True)
            if array is not None
        }
        ranks = {spec.name: len(spec.shape) for spec in self.inputs if spec.shape is not None}
        fed = [feed for feed in samples.feeds if fed_layer(feed) == feed]
        return timelines(self.record, {**given, **ranks}, fed)

    def iter_predict(
        self,
        x: object,
        *,
        batch_size: BatchSize = None,
        dtype: str | None = None,
        kernel: str = "auto",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Array, ...]]:
        """Compute the model's outputs batch by batch; takes what `gateprobe.Model.iter_predict` takes.

        Raises:
            InputError: An output has another shape in another batch, as that of a decoder which ends with the longest
                sequence of a batch.
        """
        samples = self.samples(x)
        plan = self.plan(outputs=True, feeds=samples.feeds, dtype=dtype)
        first: tuple[Array, ...] | None = None
        how: dict[str, Any] = {"batch_size": batch_size, "kernel": kernel, "threads": threads, "progress": progress}
        for result in self._run(plan, samples, None, **how):
            outputs = tuple(output for output in result.outputs if output is not None)
            first = first or outputs
            for key, here, there in zip(self.outputs, outputs, first, strict=True):
                if here.shape[1:] != there.shape[1:]:
                    raise InputError(
                        f"the output {key} has shape {there.shape[1:]} in one batch and {here.shape[1:]} in another",
                        file=self.graph.file,
                        remedy="run all samples in one batch, with --batch-size",
                    )
            yield outputs

    def metadata(
        self, samples: Samples | None = None, options: Mapping[str, Any] | None = None, plan: Plan | None = None
    ) -> dict[str, Any]:
        """Return what a trace must say about where it comes from; JSON-ready."""
        from importlib.metadata import version  # noqa: PLC0415 - a tenth of the time that `inspect` takes

        origin = self.graph.origin
        return {
            "format": TRACE_FORMAT,
            "gateprobe": version("gateprobe"),
            "model": {"file": Path(self.graph.file).name, "sha256": origin.sha256},
            "inputs": dict(samples.digests) if samples is not None else {},
            "era": origin.era.value,
            "keras_version": origin.keras_version,
            "evidence": list(origin.evidence),
            "notes": list(
                dict.fromkeys(
                    (
                        *self.notes,
                        *(plan.notes if plan is not None else ()),
                        *(samples.notes if samples is not None else ()),
                    )
                )
            ),
            "semantics": self.semantics.label,
            **self._stated(),
            "layers": [{"path": call.path, "class": call.record.class_name} for call in self.recurrent]
            if self.graph.model is not None
            else [],
            "options": {
                key: _plain(value)
                for key, value in (options or {}).items()
                if value is not None and key not in _CHANGES_NOTHING
            },
        }

    def _stated(self) -> dict[str, Any]:
        """Return in what the model is another than that of the file, because a user says so."""
        said = {path: dict(one.said) for path, one in self.graph.stated.items()}
        off = list(self.graph.dropout_off)
        found = {"stated": said, "dropout_off": off, "words_of": dict(self.graph.words_of)}
        return {key: value for key, value in found.items() if value}

    def samples(
        self, x: object, feeds: Mapping[str, object] | None = None, converter: Converter | None = None
    ) -> Samples:
        """Check what a caller gives against the model's inputs."""
        return from_arrays(x, self.inputs, feeds, converter)

    def _run(self, plan: Plan, samples: Samples, selection: Selection | None, **options: Any) -> Iterator[Result]:
        for note in plan.notes:
            warnings.warn(note, GateprobeWarning, stacklevel=2)
        given = dict(zip(samples.names, samples.arrays, strict=True))
        missing = [ref.layer for ref in plan.inputs if given.get(ref.layer) is None]
        if missing:
            raise InputError(f"the feeds do not replace the input {', '.join(missing)}", remedy="give it too")
        with self.blamed(samples):
            yield from run(plan, samples, traced=_takes(selection), **options)
            samples.check()

    @contextmanager
    def blamed(self, samples: Samples) -> Iterator[None]:
        """Say in errors which files they are about."""
        try:
            yield
        except UnsupportedModel:
            raise
        except InputError as error:
            if error.file:
                raise
            blamed = ": ".join(filter(None, (self.graph.file, samples.files)))  # a layer's word against a sample's
            raise InputError(error.reason, file=blamed, place=error.place, remedy=error.remedy) from None


@dataclass(frozen=True, slots=True, eq=False)
class Tracing:
    """A trace of which everything is decided; any part of it can be computed on its own."""

    model: OpenedModel
    plan: Plan
    samples: Samples
    selection: Selection
    numbers: Array
    """``(samples,)``: which ones are wanted."""
    batches: Batches
    pre_activations: bool
    context: Context | None = None
    """What should stand beside the signals."""

    def metadata(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what the trace must say about where it comes from; JSON-ready."""
        return self.model.metadata(self.samples, options, self.plan)

    def cell_runs(self, number: int) -> Iterator[tuple[DirectionTrace, CellRun]]:
        """Compute one sample, and say what each cell ran on.

        A stateful model runs as a whole, since a sample depends on those before it.

        Args:
            number: Of the sample.

        Yields:
            The trace of the sample in each direction that the selection takes, with all signals, units and timesteps,
            and the run of its cell for this sample alone. Very long sequences come in slabs.

        Raises:
            InputError: There is no such sample.
        """
        if not 0 <= number < self.samples.count:
            raise InputError(f"--sample={number} is not there", remedy=f"available: 0 to {self.samples.count - 1}")
        numbers = np.array([number]) if self.plan.batch_size is None else None
        results = self.model._run(  # noqa: SLF001 - a model and its tracings are one
            self.plan, self.samples, self.selection, numbers=numbers, batches=self.batches, cell_runs=True
        )
        for result in results:
            at = np.flatnonzero(result.chunk.samples == number)
            if len(at):
                timed = (part for part in result.chunk.directions if len(part.timesteps))
                for part, ran in zip(timed, result.ran, strict=True):
                    yield (
                        only(part, int(at[0])),
                        replace(ran, x=ran.x[at].copy(), states=tuple(state[at].copy() for state in ran.states)),
                    )

    def chunks(
        self, part: slice = slice(None), *, threads: int | None = 1, progress: Progress | None = None
    ) -> Iterator[TraceChunk]:
        """Compute the samples ``numbers[part]``, batch by batch; parts begin where batches do."""
        results = self.model._run(  # noqa: SLF001 - a model and its tracings are one
            self.plan,
            self.samples,
            self.selection,
            numbers=self.numbers[part],
            batches=self.batches,
            pre_activations=self.pre_activations,
            threads=threads,
            progress=progress,
        )
        return (
            self.selection.apply(chunk) if chunk.directions else chunk for chunk in map(self._with_context, results)
        )

    def _with_context(self, result: Result) -> TraceChunk:
        if self.context is None:
            return result.chunk
        return self.context.attached(result.chunk, self.samples.block(result.chunk.samples), result.outputs)


def _check_feeds(feeds: Iterable[str], model: ModelRecord) -> None:
    """Refuse feeds of layers that are not there.

    Raises:
        InputError: Names the nearest layers.
    """
    paths = list(call_paths(model)) if feeds else []
    for feed in feeds:
        layer = fed_layer(feed)
        if layer not in paths:
            raise InputError(f"--feed={feed}: no such layer", remedy=choices(paths, layer))


def _plain(value: object) -> object:
    """Return an option as JSON holds it."""
    if isinstance(value, Selection):
        return value.described()
    if isinstance(value, Tokens):
        return {"file": value.name, "sha256": value.sha256}
    return operator.index(value) if isinstance(value, np.integer) else value


def _takes(selection: Selection | None) -> Any:
    """Return the predicate over layer paths; without a selection nothing is traced."""
    return selection.takes_layer if selection is not None else lambda path: False


_READ_IDS = frozenset({"Embedding", "ReversibleEmbedding", "CategoryEncoding", "OneHot"})
"""Layers and operations that read token ids."""


def _takes_ids(dtype: str, record: LayerRecord, model: ModelRecord) -> bool:
    """Whether an input takes token ids, as far as the layers that read it say; what is inside a model may read them."""
    readers = (
        one
        for one in model.layers
        for call in one.calls
        if any(ref.layer == record.name for ref in (*references(call.args), *references(call.kwargs)))
    )
    return "int" in dtype or any(one.class_name in _READ_IDS or one.model is not None for one in readers)


def _input_spec(record: LayerRecord, model: ModelRecord) -> InputSpec:
    shape = record.config.get("batch_shape") or record.config.get("batch_input_shape")
    dtype = record.config.get("dtype") or record.config.get("input_dtype") or "float32"
    known = (
        tuple(size if isinstance(size, int) else None for size in shape) if isinstance(shape, (list, tuple)) else None
    )
    sequences = known is None or len(known) == 2
    return InputSpec(record.name, known, str(dtype), ids=sequences and _takes_ids(str(dtype), record, model))
