"""The Python interface: a model file that has been read, ready to be traced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, Unpack

import numpy as np

from gateprobe.analysis.direction_statistics import QUANTILES, By, Settings
from gateprobe.analysis.explain import Explanation, explain
from gateprobe.analysis.statistics import Statistics, statistics
from gateprobe.analysis.targets import Given
from gateprobe.analysis.tracking import DEFAULT_SIGNALS, LAGS, Tracking
from gateprobe.analysis.tracking import track as follow
from gateprobe.analysis.weights import LayerWeights, layer_of
from gateprobe.errors import InputError, ReadError, UnsupportedModel, in_python
from gateprobe.graph import Array, LayerRecord
from gateprobe.guesses import MODEL, no_attribute
from gateprobe.inputs.samples import InputSpec, Samples
from gateprobe.opened_model import OpenedModel, Tracing, open_model
from gateprobe.readers.weights_only import Assumptions
from gateprobe.replay.options import RUN_DEFAULTS, TRACE_DEFAULTS, Dtype, RunOptions, TraceOptions, selection_of, takes
from gateprobe.replay.vocabularies import lacking
from gateprobe.trace import Trace, join, refuse_trace
from gateprobe.traces import notebook
from gateprobe.traces.chunk import TraceChunk
from gateprobe.traces.selection import Names, Selection
from gateprobe.vocabulary import Side, refuse_unused, text_rules

SemanticsName: TypeAlias = Literal["auto", "keras1", "keras2", "keras3"]
"""Which Keras's meaning of words to use."""

_SHOWN_LAYERS = 6
"""Recurrent layers that a ``repr`` names."""


def read(
    path: str | os.PathLike[str],
    *,
    architecture: str | os.PathLike[str] | None = None,
    semantics: SemanticsName = "auto",
    max_bytes: int | None = None,
    ignore_metadata: bool = False,
    dropout: Literal["off"] | None = None,
    vocab: str | os.PathLike[str] | None = None,
) -> Model:
    """Read a saved Keras model as inert data; nothing in the file is executed, imported or unpickled.

    Args:
        path: ``.h5``, ``.keras`` or weights file of any Keras since 1, a SavedModel folder of Keras 2, the
            ``model.json`` of TensorFlow.js, or a checkpoint of TensorFlow: ``NAME.index``, ``NAME``, or its folder.
        architecture: The JSON file of ``model.to_json()`` for a weights-only file, or the YAML file of
            ``model.to_yaml()``, or a whole model, or a wiring file (``docs/wiring.md``), which may also state what
            layers of unknown code do.
        semantics: ``auto``, or ``keras1``, ``keras2``, ``keras3`` to ask what another era would compute.
        max_bytes: Limit for the size of all weights together, and for what a batch may hold at a time; 4 GiB each
            without it.
        ignore_metadata: Whether to read a SavedModel without its ``keras_metadata.pb``, where that is left over from
            another save.
        dropout: ``off`` leaves out dropout and noise that the model's graph keeps on at inference (``training=True``,
            as in Monte Carlo dropout); without it, such a model is refused, because its numbers are random.
        vocab: File with the words of a TextVectorization or another lookup layer that has none in the model's file:
            ``layer.get_vocabulary()``, one word a line, or as a JSON list.

    Raises:
        ReadError: The file cannot be read as a Keras model.
        UnsafeFile: It asks for something that a data file must not ask for.
        InputError: The words do not fit, or no layer lacks its own.
    """
    how: dict[str, Any] = {"semantics": semantics, "max_bytes": max_bytes, "ignore_metadata": ignore_metadata}
    try:
        found = open_model(path, architecture=architecture, dropout=dropout, vocab=vocab, **how)
    except ReadError:
        refuse_trace(path)
        raise
    if vocab is not None and not found.worded:
        remedy = "leave it out; what makes ids of texts is given with them, as in model.trace(texts, vocab=...)"
        raise InputError(f"--vocab={os.fspath(vocab)}: no layer of the model lacks its words", remedy=remedy)
    return Model(found)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Model:
    """A model file that has been read; made by `read`."""

    _opened: OpenedModel

    @property
    def file(self) -> str:
        """The name of the file."""
        return self._opened.graph.file

    @property
    def era(self) -> str:
        """Which Keras made the file: ``keras1``, ``keras2`` or ``keras3``."""
        return self._opened.graph.origin.era.value

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Name, shape and dtype of each input, in the model's order.

        Raises:
            UnsupportedModel: The file holds weights alone.
        """
        return self._opened.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The keys of `predict`, in the model's order: layer names, ``name:1`` for further tensors of one layer."""
        return self._opened.outputs

    @property
    def recurrent_layers(self) -> tuple[str, ...]:
        """The path of every call of a recurrent layer, or what the weights prove of a file that holds them alone."""
        if self._opened.graph.model is None:
            return tuple(group.name for group in self._opened.groups)
        return tuple(call.path for call in self._opened.recurrent)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know about the file to trust the numbers."""
        return tuple(map(in_python, self._opened.notes))

    def assuming(
        self,
        *,
        activation: str | None = None,
        recurrent_activation: str | None = None,
        go_backwards: bool = False,
        reset_after: bool | None = None,
        layers: Names = (),
    ) -> Model:
        """Return a weights-only model whose recurrent layers can be traced, each fed with an input of its own.

        Args:
            activation: Of these layers, such as ``tanh``.
            recurrent_activation: Such as ``sigmoid`` or ``hard_sigmoid``.
            go_backwards: Whether they read from the last timestep to the first.
            reset_after: Where a GRU without bias resets.
            layers: Globs over `recurrent_layers`; all without them.

        Raises:
            InputError: The file has an architecture, no such layer, or something is neither in it nor assumed.
        """
        said = Assumptions(activation, recurrent_activation, go_backwards, reset_after)
        return Model(self._opened.assume(said, Selection(layers=layers).layers))

    @takes(TraceOptions, TRACE_DEFAULTS)
    def trace(self, x: object = None, **options: Unpack[TraceOptions]) -> Trace:
        """Trace everything at once.

        Args:
            x: An array, a list of arrays in the model's order, or a mapping by input name. Texts, for a model that
                reads text, or with ``vocab``.
            **options: What to keep, as in `Selection`:

                layers: Globs over layer paths, such as ``lstm*``.
                directions: ``forward`` or ``backward``.
                signals: Names such as ``forget_gate``, or aliases such as ``f``.
                units, timesteps, samples: ``3``, ``[0, 3]``, ``slice(0, 10)``, ``range(10)``, or text like ``0:8,31``.
                selection: A `Selection` in place of all of these.
                pre_activations: Whether to keep the gates before their activation too, as ``pre_`` signals.
                with_input: Whether to keep what the model's inputs are at each timestep, in `DirectionTrace.context`.
                with_output: Likewise its outputs; those that have no timesteps are the same at each.

                And how to run:

                vocab: File of a vocabulary, which turns texts in ``x`` into token ids for a model that takes these:
                    JSON of a Tokenizer or TextVectorization, a word index, or a list of words. What its rules are, and
                    which words are unknown, stands in the metadata's ``notes``.
                pad: ``pre`` or ``post``: where such rows of ids are padded and cut, see ``docs/formats.md``.
                feeds: What is given to layers directly: ``LAYER``, ``LAYER.mask``, ``LAYER.initial_state[0]`` → array.
                batch_size: Samples that run together: a number, 32 without it, or ``auto`` to choose it by the model's
                    size and the input's shape.
                dtype: ``float32`` or ``float64``; without it, the precision that the file asks for.
                kernel: ``numpy``; ``compiled``, which needs the extra ``fast`` and compiles the LSTMs that it can; or
                    ``auto``, which does so for sequences of 1,000 timesteps and more where the extra is installed.
                threads: How many batches run side by side; without it, one on each core that the process may use, or
                    one alone where steps are too short to gain by it. It changes no number.
                progress: Called with what is done, what there is to do, and what is counted: ``samples``, or
                    ``timesteps`` where very long sequences run in slabs, see `TraceChunk`.

        Raises:
            InputError: The arrays or the selection do not fit the model.
            UnsupportedModel: Something cannot be replayed exactly; carries every reason.
        """
        tracing = self._tracing(x, options)
        return join(_chunks(tracing, options), tracing.metadata(_recorded(tracing, options)))

    @takes(TraceOptions, TRACE_DEFAULTS)
    def iter_trace(self, x: object = None, **options: Unpack[TraceOptions]) -> Iterator[TraceChunk]:
        """Trace batch by batch, in memory that does not grow with the number of samples; takes what `trace` takes."""
        return _chunks(self._tracing(x, options), options)

    @takes(TraceOptions, TRACE_DEFAULTS)
    def stats(
        self,
        x: object = None,
        *,
        by: By = "layer",
        low: float = 0.1,
        high: float = 0.9,
        quantiles: Sequence[float] = QUANTILES,
        **options: Unpack[TraceOptions],
    ) -> Statistics:
        """Summarise gates and states in one pass, in memory that does not grow with the number of samples.

        Args:
            x: See `trace`.
            by: What a row of the table is about: a ``layer``, a ``unit`` or a ``timestep``.
            low: A gate below it counts as closed.
            high: A gate above it counts as open.
            quantiles: Which ones, from 0 to 1.
            **options: See `trace`.

        Raises:
            InputError: The arrays, the selection or the settings do not fit.
            UnsupportedModel: Something cannot be replayed exactly; carries every reason.
        """
        settings = Settings(by, low, high, tuple(quantiles))
        tracing = self._tracing(x, options)
        return statistics(_chunks(tracing, options), settings, count=len(tracing.numbers))

    @takes(TraceOptions, TRACE_DEFAULTS)
    def track(
        self, x: object = None, signal: object = None, *, lags: int = LAGS, **options: Unpack[TraceOptions]
    ) -> Tracking:
        """Find the units that follow a signal, the strongest correlation first.

        Args:
            x: See `trace`.
            signal: ``(samples, timesteps)``: a number for each timestep, NaN where there is none; truth values too.
            lags: The most timesteps by which a unit may be late or early.
            **options: See `trace`; without ``signals``, the cell states and hidden states are compared.

        Raises:
            InputError: The arrays or the selection do not fit, or the signal never changes.
            UnsupportedModel: Something cannot be replayed exactly; carries every reason.
        """
        tracing = self._tracing(x, options, DEFAULT_SIGNALS)
        target = Given.of_array(signal, tracing.numbers, tracing.samples.count)
        return follow(_chunks(tracing, options), target, lags=lags)

    @takes(RunOptions, RUN_DEFAULTS)
    def predict(self, x: object = None, **options: Unpack[RunOptions]) -> dict[str, Array]:
        """Compute the model's outputs.

        Args:
            x: See `trace`.
            **options: How to run, see `trace`.

        Returns:
            An array ``(samples, ...)`` for each of `outputs`.
        """
        batches = list(self.iter_predict(x, **options))
        return {key: np.concatenate(parts) for key, parts in zip(self.outputs, zip(*batches, strict=True), strict=True)}

    @takes(RunOptions, RUN_DEFAULTS)
    def iter_predict(self, x: object = None, **options: Unpack[RunOptions]) -> Iterator[tuple[Array, ...]]:
        """Compute the model's outputs batch by batch, each ``(samples, ...)``; takes what `predict` takes.

        Raises:
            InputError: An output has another shape in another batch, as that of a decoder which ends with the longest
                sequence of a batch.
        """
        how: RunOptions = {**RUN_DEFAULTS, **options}
        return self._opened.iter_predict(
            self._samples(x, how),
            batch_size=how["batch_size"],
            dtype=how["dtype"],
            kernel=how["kernel"],
            threads=how["threads"],
            progress=how["progress"],
        )

    def explain(
        self,
        x: object = None,
        *,
        layer: str | None = None,
        direction: str | None = None,
        unit: int,
        timestep: int | None = None,
        sample: int = 0,
        feeds: Mapping[str, object] | None = None,
        dtype: Dtype | None = None,
        vocab: str | os.PathLike[str] | None = None,
        pad: Side | None = None,
    ) -> Explanation:
        """Explain one timestep of one unit: every product, every sum and what follows from them, in numbers.

        Args:
            x: See `trace`.
            layer: Path of one call of a layer; may be left out where there is only one.
            direction: ``forward`` or ``backward``; may be left out where there is only one.
            unit: Its number; negative ones count from the end.
            timestep: Position in the layer's input, likewise; the last one that was computed without it.
            sample: Its number.
            feeds: See `trace`.
            dtype: See `trace`.
            vocab: See `trace`.
            pad: See `trace`.

        Raises:
            InputError: There is no such place; says what there is. Or the parts do not add up to what was computed.
            UnsupportedModel: The layer cannot be replayed.
        """
        selection = Selection(layers=() if layer is None else layer)
        tracing = self._opened.tracing(
            self._samples(x, {"feeds": feeds, "vocab": vocab, "pad": pad}), selection=selection, dtype=dtype
        )
        return explain(tracing, layer, direction, sample=sample, timestep=timestep, unit=unit)

    def weights(self, layer: str | None = None) -> LayerWeights:
        """Return the weights of a recurrent layer, split by gate, in Keras's layout whatever the file's.

        ``model.weights("lstm").forward.forget_gate.kernel`` is an array ``(features, units)``. What lies upstream of
        the layer need not be replayable, and a file with weights alone needs no assumptions.

        Args:
            layer: Its path; ``rnn/cell_0`` for the first of stacked cells. May be left out where there is only one.

        Raises:
            InputError: There is no such layer, or there are several; lists those there are.
            UnsupportedModel: Its weights are not understood.
        """
        return layer_of(self._opened, layer)

    def summary(self) -> str:
        """Return what the file is and which recurrent layers it has, in a few lines."""
        return "\n".join(self._lines(len(self.recurrent_layers)))

    if not TYPE_CHECKING:  # a type checker knows the attributes that there are

        def __getattr__(self, name: str) -> NoReturn:
            """Say what does what was tried."""
            if name.startswith("_"):
                raise AttributeError(name)
            raise no_attribute("a model", name, MODEL, dir(Model))

    def __repr__(self) -> str:
        return "\n".join(self._lines(_SHOWN_LAYERS))

    def _samples(self, x: object, how: RunOptions) -> Samples:
        return samples_of(self._opened, x, how["feeds"], vocab=how["vocab"], pad=how["pad"])

    def _tracing(self, x: object, options: TraceOptions, signals: tuple[str, ...] = ()) -> Tracing:
        """Prepare a run; ``signals`` are kept where none are asked for."""
        how: TraceOptions = {**TRACE_DEFAULTS, **options}
        selection = selection_of(options)
        return self._opened.tracing(
            self._samples(x, how),
            selection=selection if selection.signals else replace(selection, signals=signals),
            batch_size=how["batch_size"],
            dtype=how["dtype"],
            pre_activations=how["pre_activations"],
            kernel=how["kernel"],
            with_input=how["with_input"],
            with_output=how["with_output"],
        )

    def _repr_html_(self) -> str:
        rows, more = notebook.shortened(self._recurrent(), _SHOWN_LAYERS, "recurrent layers; see summary()")
        return notebook.table(self._heading(), ("recurrent layer", "is"), rows, (self._about(), *more))

    def _lines(self, most: int) -> Iterator[str]:
        """Yield a heading, the inputs and outputs, and a line for each recurrent layer, up to ``most``."""
        recurrent = self._recurrent()
        yield self._heading()
        yield f"  {self._about()}"
        yield from (f"  {path} ({kind})" for path, kind in recurrent[:most])
        if len(recurrent) > most:
            yield f"  ... and {len(recurrent) - most} more recurrent layers; see summary()"
        if not recurrent:
            yield "  no recurrent layer"

    def _heading(self) -> str:
        origin = self._opened.graph.origin
        version = f"Keras {origin.keras_version}" if origin.keras_version else self.era
        return f"Model {self.file} ({origin.container}, {version})"

    def _about(self) -> str:
        if self._opened.graph.model is None:
            return "weights only"
        return f"inputs: {', '.join(self._inputs())}; outputs: {', '.join(self.outputs)}"

    def _recurrent(self) -> list[tuple[str, str]]:
        """Return path and kind of each recurrent layer."""
        if self._opened.graph.model is None:
            return [(group.name, f"{group.class_name}, {group.units} units") for group in self._opened.groups]
        return [(call.path, _kind(call.record)) for call in self._opened.recurrent]

    def _inputs(self) -> Sequence[str]:
        try:
            return [f"{spec.name} {spec.shown}" for spec in self.inputs]
        except (KeyError, InputError, UnsupportedModel):  # a damaged file: `trace` says what is wrong
            return ["unknown"]


def _chunks(tracing: Tracing, options: TraceOptions) -> Iterator[TraceChunk]:
    return tracing.chunks(threads=options.get("threads"), progress=options.get("progress"))


def _recorded(tracing: Tracing, options: TraceOptions) -> dict[str, Any]:
    """Return the options that a trace's metadata names: those on which its numbers depend."""
    return {
        "batch_size": options.get("batch_size"),
        "dtype": options.get("dtype"),
        "kernel": options.get("kernel"),
        "pre_activations": options.get("pre_activations", False),
        "selection": tracing.selection,
        **{name: True for name in ("with_input", "with_output") if options.get(name)},
    }


def _kind(record: LayerRecord) -> str:
    """Return class and size of a recurrent layer, a wrapper with what it wraps: ``Bidirectional LSTM, 8 units``."""
    inside = [child for name in ("layer", "cell", "cells") for child in record.children.get(name, ())]
    size = record.config.get("units") or record.config.get("filters")
    if size is None and inside:
        return f"{record.class_name} {_kind(inside[0])}"
    return record.class_name if size is None else f"{record.class_name}, {size} units"


def opened(model: Model) -> OpenedModel:
    """Return what a model stands on, for other parts of gateprobe."""
    return model._opened  # noqa: SLF001 - hidden from users, not from us


def samples_of(
    model: OpenedModel,
    x: object,
    feeds: Mapping[str, object] | None = None,
    *,
    vocab: str | os.PathLike[str] | None = None,
    pad: Side | None = None,
) -> Samples:
    """Check what a caller of Python gives against a model's inputs; texts become ids, see `Model.trace`.

    Raises:
        InputError: It does not fit, or an option would change nothing.
    """
    file = None if vocab is None else os.fspath(vocab)
    if file is not None and lacking(model.graph):
        remedy = "read it with them: gateprobe.read(FILE, vocab=...)"
        raise InputError(f"--vocab={file}: the model itself lacks its words", remedy=remedy)
    samples = model.samples(x, feeds, None if file is None else text_rules(file, pad))
    refuse_unused(samples.words, file, pad)
    return samples
