"""A whole trace in memory: all signals of a run, by layer, and ways to look at them and to save them."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, overload

from gateprobe.analysis.direction_statistics import QUANTILES, By, Settings
from gateprobe.analysis.statistics import Statistics, statistics
from gateprobe.analysis.targets import Given
from gateprobe.analysis.tracking import DEFAULT_SIGNALS, LAGS, Tracking
from gateprobe.analysis.tracking import track as follow
from gateprobe.errors import InputError, MissingExtra, NotInTrace, ReadError, choices
from gateprobe.graph import Array
from gateprobe.guesses import SIGNALS, TRACE, no_attribute, way
from gateprobe.traces import notebook
from gateprobe.traces.chunk import ROW, DirectionTrace, Layout, TraceChunk, joined, row_of, several_arrays
from gateprobe.traces.selection import Names, Numbers, Selection

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd
    import polars as pl
    import xarray

    from gateprobe.inputs.tokens import TokenLists
    from gateprobe.pictures.kinds import Kind


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LayerTrace:
    """One call of one recurrent layer: its directions, and the signals of the only one where there is one."""

    layer: str
    """Layer path."""
    directions: tuple[DirectionTrace, ...]
    """One, or two: forward and backward."""
    samples: Array
    """``(samples,)`` numbers of the samples."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of the trace."""

    @property
    def forward(self) -> DirectionTrace:
        """The direction that reads from the first timestep to the last.

        Raises:
            NotInTrace: There is none.
        """
        return self._named("forward")

    @property
    def backward(self) -> DirectionTrace:
        """The second half of a Bidirectional, or a layer with ``go_backwards=True``.

        Raises:
            NotInTrace: There is none.
        """
        return self._named("backward")

    def __getitem__(self, name: str) -> Array:
        """Return a signal of a layer that has only one direction, by its name or its letter.

        Raises:
            NotInTrace: There is no such signal, or there are two directions.
        """
        if name in _DIRECTIONS:
            raise NotInTrace(f"no signal {name!r} in a trace of {self.layer}", remedy=f"use .{name}")
        return self._only(name)[name]

    def __getattr__(self, name: str) -> Array:
        """Return a signal of a layer that has only one direction, or what else its direction has, such as its mask."""
        if name in ("forward", "backward"):  # their properties have failed: this tells why
            raise self._without(name)
        if name.startswith("__"):
            raise AttributeError(name)
        value: Array = getattr(self._only(name), name)
        return value

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the signals of a layer that has only one direction."""
        return iter(self._only("forget_gate"))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        """Refuse to be one array.

        Raises:
            InputError: Says how to get one.
        """
        raise several_arrays(self.directions[0].signals)

    def __dir__(self) -> list[str]:
        hidden = {"forward", "backward"} - {direction.direction for direction in self.directions}
        return [*(name for name in object.__dir__(self) if name not in hidden), *self._ipython_key_completions_()]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.directions[0]) if len(self.directions) == 1 else []

    def plot(
        self,
        kind: Kind = "heatmap",
        *,
        directions: Names = (),
        signals: Names = (),
        units: Numbers | None = None,
        timesteps: Numbers | None = None,
        samples: Numbers | None = None,
        tokens: TokenLists | None = None,
    ) -> alt.ConcatChart:
        """Draw this layer; see `Trace.plot`."""
        return Trace(self.samples, self.directions, self.metadata).plot(
            kind,
            directions=directions,
            signals=signals,
            units=units,
            timesteps=timesteps,
            samples=samples,
            tokens=tokens,
        )

    def __repr__(self) -> str:
        return "\n".join([f"Trace of layer {self.layer}", *(f"  {direction!r}" for direction in self.directions)])

    def _repr_html_(self) -> str:
        return notebook.table(f"Trace of layer {self.layer}", ROW[1:], [row_of(part)[1:] for part in self.directions])

    def _named(self, name: str) -> DirectionTrace:
        for direction in self.directions:
            if direction.direction == name:
                return direction
        raise self._without(name)

    def _without(self, name: str) -> NotInTrace:
        only = self.directions[0].direction
        return NotInTrace(f"this trace of {self.layer} has no {name} direction", remedy=f"available: {only}")

    def _only(self, name: str) -> DirectionTrace:
        directions: tuple[DirectionTrace, ...] = object.__getattribute__(self, "directions")
        if len(directions) == 1:
            return directions[0]
        ways = " or ".join(f".{direction.direction}[{name!r}]" for direction in directions)
        raise NotInTrace(f"{self.layer} runs in both directions", remedy=way(name, SIGNALS) or f"say {ways}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace(Mapping[str, LayerTrace]):
    """All signals of a run, by layer path."""

    samples: Array
    """``(samples,)`` numbers of the samples."""
    directions: tuple[DirectionTrace, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Format version, digests, era, semantics, layer table, options."""

    @overload
    def __getitem__(self, key: str) -> LayerTrace: ...

    @overload
    def __getitem__(self, key: slice) -> Trace: ...

    def __getitem__(self, key: str | slice) -> LayerTrace | Trace:
        """Return the trace of one call of a layer, or that of some samples.

        Args:
            key: A layer path; ``path/forward`` or ``path/backward`` for one of its directions; or a slice of the
                samples, by their position in this trace.

        Raises:
            NotInTrace: There is no such layer or direction; lists those there are.
        """
        if isinstance(key, slice):
            return self._some(key)
        for layer, names in _readings(key) if isinstance(key, str) else ():
            found = tuple(part for part in self.directions if part.layer == layer and part.direction in names)
            if found:
                return LayerTrace(layer, found, self.samples, self.metadata)
        raise NotInTrace(f"no layer {shortened(key)} in this trace", remedy=self._meant(key))

    if not TYPE_CHECKING:  # a type checker knows the attributes that there are

        def __getattr__(self, name: str) -> NoReturn:
            """Say what does what was tried."""
            if name.startswith("_"):
                raise AttributeError(name)
            if name in self:
                raise AttributeError(f"a trace has no {name!r}; use trace[{name!r}]")
            raise no_attribute("a trace", name, TRACE, dir(Trace))

    def _meant(self, key: object) -> str | None:
        """Return what was likely meant by a key that is no layer."""
        if isinstance(key, SupportsIndex):
            return f"trace[{key}:{operator.index(key) + 1 or None}] is a sample; layers: {', '.join(self)}"
        layer, _, signal = ("/".join(map(str, key)) if isinstance(key, tuple) else str(key)).rpartition("/")
        try:
            if layer and signal in self[layer].directions[0]:
                return f"use trace[{layer!r}][{signal!r}]"
        except NotInTrace:
            pass
        if any(str(key) in part for part in self.directions):
            return f"choose a layer first: trace[{next(iter(self))!r}][{str(key)!r}]"
        return choices(self, str(key))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the layer paths, in the order in which they ran."""
        return iter(dict.fromkeys(direction.layer for direction in self.directions))

    def __len__(self) -> int:
        """Return the number of calls of recurrent layers."""
        return len({direction.layer for direction in self.directions})

    @property
    def _chunk(self) -> TraceChunk:
        """All of it in one piece."""
        return TraceChunk(self.samples, self.directions)

    def __repr__(self) -> str:
        return "\n".join([_title(self.samples), *(f"  {part!r}" for part in self.directions)])

    def _repr_html_(self) -> str:
        rows, more = notebook.shortened([row_of(part) for part in self.directions], _SHOWN, "directions")
        return notebook.table(_title(self.samples), ROW, rows, more)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        """Refuse to be one array.

        Raises:
            InputError: Says how to get one.
        """
        raise InputError("a trace holds several arrays, not one", remedy="choose one, or take them all with to_numpy()")

    def _ipython_key_completions_(self) -> list[str]:
        several = [layer for layer in self if len(self[layer].directions) > 1]
        return [*self, *(f"{layer}/{direction}" for layer in several for direction in _DIRECTIONS)]

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _some(self, at: slice) -> Trace:
        return replace(self, samples=self.samples[at], directions=tuple(part.rows(at) for part in self.directions))

    def plot(
        self,
        kind: Kind = "heatmap",
        *,
        layers: Names = (),
        directions: Names = (),
        signals: Names = (),
        units: Numbers | None = None,
        timesteps: Numbers | None = None,
        samples: Numbers | None = None,
        tokens: TokenLists | None = None,
    ) -> alt.ConcatChart:
        """Draw gates and states as an Altair chart, which notebooks show, and which can be changed and saved.

        Args:
            kind: ``heatmap``: units over time, one map for each signal. ``unit``: the signals of one unit. ``text``:
                tokens coloured by a cell state. ``ledger``: which timesteps wrote a cell state, and how much of that is
                left. ``histogram``: how often a gate has which value. ``saturation``: how often the gates of each unit
                are nearly shut and nearly open.
            layers: Globs over layer paths; what is drawn is chosen as in `Selection`.
            directions: ``forward`` or ``backward``.
            signals: Names or aliases.
            units: Their numbers; the first one without them for ``unit`` and ``text``.
            timesteps: Positions in the input; for a ``ledger``, those at which the state is looked at.
            samples: Numbers; the first one without them, but all for ``histogram`` and ``saturation``.
            tokens: What stands at each timestep: a text of letters or a list of words for one sample, or a list of
                these with one for each sample of the trace.

        Raises:
            MissingExtra: Altair is not installed.
            InputError: The selection matches nothing, or more than fits into a picture, or lacks what the kind shows.
        """
        from gateprobe.pictures.plotting import plot  # noqa: PLC0415 - tracing needs no pictures

        selection = Selection(layers, directions, signals, units, timesteps, samples)
        return plot(self._chunk, self.metadata, kind, selection, tokens)

    def to_numpy(self) -> dict[str, Array]:
        """Return the arrays under the names that they have in an NPZ file.

        Returns:
            ``layer/direction/signal`` → ``(samples, timesteps, units)``, and ``layer/mask`` → ``(samples, timesteps)``
            where a mask reached the layer.
        """
        from gateprobe.writers.arrays import arrays_of  # noqa: PLC0415

        return {key: value for key, value, _ in arrays_of(self._chunk)}

    def to_pandas(self, layout: Layout = "tidy") -> pd.DataFrame:
        """Return the same table as `to_polars`; layers and directions are categories.

        Raises:
            MissingExtra: pandas is not installed, or pyarrow, through which the table goes.
        """
        table = self.to_polars(layout)
        if not all(map(find_spec, ("pandas", "pyarrow"))):
            raise MissingExtra("pandas or pyarrow", "pandas")
        return table.to_pandas()

    def to_polars(self, layout: Layout = "tidy") -> pl.DataFrame:
        """Return the table that a CSV file holds.

        Args:
            layout: ``tidy``: a row per sample, layer, direction, timestep and unit; ``long``: and signal; ``wide``: a
                row per sample, layer, direction and timestep.
        """
        from gateprobe.writers.table import table  # noqa: PLC0415 - Polars takes 0.1 s to import

        return table(self._chunk, layout)

    def to_xarray(self) -> xarray.DataTree:
        """Return a tree with a node ``layer/direction`` for each direction.

        Its variables are the signals, with the dimensions ``sample``, ``timestep`` and ``unit`` and the coordinate
        ``step``, the order of processing. The node above it, ``layer``, has the ``mask``.

        Raises:
            MissingExtra: xarray is not installed.
        """
        from gateprobe.writers.trees import tree_of  # noqa: PLC0415

        return tree_of(self._chunk, self.metadata)

    def stats(
        self,
        *,
        by: By = "layer",
        low: float = 0.1,
        high: float = 0.9,
        quantiles: Sequence[float] = QUANTILES,
    ) -> Statistics:
        """Summarise gates and states; see `gateprobe.Model.stats`, which needs no trace in memory.

        Args:
            by: What a row of the table is about: a ``layer``, a ``unit`` or a ``timestep``.
            low: A gate below it counts as closed.
            high: A gate above it counts as open.
            quantiles: Which ones, from 0 to 1.

        Raises:
            InputError: The settings are none of these, or there is no recurrent layer.
        """
        settings = Settings(by, low, high, tuple(quantiles))
        return statistics([self._chunk], settings)

    def track(self, signal: object, *, lags: int = LAGS, signals: Names = ()) -> Tracking:
        """Find the units that follow a signal, the strongest correlation first; see `gateprobe.Model.track`.

        Args:
            signal: ``(samples, timesteps)``: a row for each sample of this trace, a number for each timestep of the
                layer's input; NaN where there is none.
            lags: The most timesteps by which a unit may be late or early.
            signals: What to compare; the cell states and hidden states without it.

        Raises:
            InputError: The signal does not fit, or never changes; no layer has these signals.
        """
        selection = Selection(signals=signals or DEFAULT_SIGNALS)
        chunk = selection.apply(self._chunk)
        return follow([chunk], Given.of_array(signal, self.samples, None), lags=lags)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        layout: Layout = "tidy",
        compress: bool = False,
        format: str | None = None,  # noqa: A002 - the word of the command line
        overwrite: bool = False,
    ) -> None:
        """Write the trace to a file; the format follows from the suffix.

        Args:
            path: ``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``, ``.arrow``, ``.npz`` or ``.h5``.
            layout: See `to_polars`; NPZ and HDF5 have only one.
            compress: Whether to compress NPZ and HDF5.
            format: Such as ``csv`` or ``npz``, where the suffix does not say it.
            overwrite: Whether to replace a file that is there.

        Raises:
            OutputError: The file exists already, the format is unknown, or the file cannot be written.
        """
        from gateprobe.writers import Output, write  # noqa: PLC0415

        output = Output(os.fspath(path), format, layout=layout, compress=compress, force=overwrite)
        write([self._chunk], [output], self.metadata)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        tokens: TokenLists | None = None,
        verification: str | os.PathLike[str] | None = None,
        max_values: int | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write an interactive page: one file of HTML that asks nothing of the network.

        Args:
            path: Ends in ``.html``.
            tokens: What stands at each timestep: a text of letters or a list of words where the trace has one sample,
                or a list of these with one for each sample.
            verification: A file with the output of ``gateprobe verify --json`` on the same model.
            max_values: How many values the page may hold, 200,000 without it. What it leaves out, it says.
            overwrite: Whether to replace a file that is there.

        Raises:
            InputError: There is nothing to show, the tokens do not fit, or the verification is about another model.
            OutputError: The file exists already, or cannot be written.
        """
        from gateprobe.inputs.tokens import given_tokens  # noqa: PLC0415
        from gateprobe.inputs.verdicts import read_verdict  # noqa: PLC0415
        from gateprobe.observed import of_chunk  # noqa: PLC0415
        from gateprobe.pictures.report.excerpt import MOST_VALUES  # noqa: PLC0415
        from gateprobe.pictures.report.page import page_of  # noqa: PLC0415
        from gateprobe.writers.pages import write_page  # noqa: PLC0415

        observed = of_chunk(self._chunk, self.metadata)
        if tokens is not None:
            observed = replace(observed, tokens=given_tokens(tokens, self.samples, self.samples))
        verdict = None if verification is None else read_verdict(os.fspath(verification))
        most = MOST_VALUES if max_values is None else max_values
        write_page(os.fspath(path), lambda: page_of(observed, verdict=verdict, max_values=most), force=overwrite)


def load_trace(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Trace:
    """Read back a trace that gateprobe wrote.

    Args:
        path: A file of any format and layout, a folder of parts or a Zarr store, known by what is in it. CSV, TSV and
            JSON lines hold no metadata, and no table says how long the whole input was where only some timesteps were
            kept of a layer that runs forward.
        max_bytes: Limit for what is read into memory; 4 GiB without it.

    Raises:
        ReadError: The file holds no trace, or is damaged.
        UnsafeFile: It would need more memory than the limit, or than files of its size do.
    """
    from gateprobe.trace_files.load import load  # noqa: PLC0415

    whole, metadata = load(os.fspath(path), max_bytes)
    return Trace(whole.samples, whole.directions, metadata)


def refuse_trace(path: str | os.PathLike[str]) -> None:
    """Say what reads a trace, where one is taken for a model.

    Raises:
        ReadError: It is one.
    """
    from gateprobe.trace_files.recognised import is_trace  # noqa: PLC0415

    name = os.fspath(path)
    if is_trace(name):
        raise ReadError("is a trace, not a model", file=name, remedy=f"use gateprobe.load_trace({name!r})")


_SHOWN = 12
"""Directions that a table for people lists."""
_DIRECTIONS = ("forward", "backward")


def _readings(key: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what a key may mean: layer and directions; a layer's own name goes first."""
    yield key, _DIRECTIONS
    layer, _, direction = key.rpartition("/")
    if direction in _DIRECTIONS:
        yield layer, (direction,)


def join(chunks: Iterable[TraceChunk], metadata: Mapping[str, Any]) -> Trace:
    """Put the chunks of a run together, in their order.

    Raises:
        InputError: There are none.
    """
    whole = joined(chunks)
    return Trace(whole.samples, whole.directions, metadata)


def _title(samples: Array) -> str:
    return f"Trace of {len(samples)} sample{'s' * (len(samples) != 1)}"
