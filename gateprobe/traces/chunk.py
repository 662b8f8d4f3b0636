"""Labelled arrays: what a replay hands over, batch by batch.

Axes are always (samples, timesteps, units); an array may have more than one trailing axis (a ConvLSTM has rows,
columns and filters), which tables number through in C order as ``unit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from gateprobe.errors import InputError, NotInTrace, choices
from gateprobe.graph import Array
from gateprobe.guesses import SIGNALS, way
from gateprobe.traces import notebook
from gateprobe.traces.words import OTHERS, SIGNAL_ORDER, signal_key

if TYPE_CHECKING:
    import altair as alt

    from gateprobe.inputs.tokens import TokenLists
    from gateprobe.pictures.kinds import Kind
    from gateprobe.traces.selection import Names, Numbers

TRACE_FORMAT = 2
"""Version of the layout of traces in files; goes into their metadata. In format 1, options were texts of Python."""

Layout: TypeAlias = Literal["tidy", "long", "wide"]
"""How a table arranges a trace."""

STATES = ("cell_state", "hidden_state")
"""Signals that keep their value at a masked timestep; every other signal is not used there and is NaN."""

LABEL = "token"
"""The name of the texts that label timesteps, among what stands beside the signals."""


def signal_rank(name: str) -> tuple[int, int]:
    """Sort key that puts signal names into `SIGNAL_ORDER`, the ``pre_`` ones last."""
    plain = name.removeprefix("pre_")
    return (int(plain != name), SIGNAL_ORDER.index(plain))


Grid: TypeAlias = tuple[tuple[str, int], ...]
"""Names and sizes of axes, such as ``(("row", 5), ("column", 6), ("filter", 3))``."""

AXES = ("row", "column", "depth", "filter")
"""The axes of images in a ConvLSTM, in the order of tables."""


def image_axes(sizes: tuple[int, ...], *, filters_first: bool = False) -> Grid:
    """Name the axes of the images of a ConvLSTM.

    Args:
        sizes: Of the axes behind the timesteps: as many spatial ones as there are dimensions, and the filters.
        filters_first: Whether the filters stand before the spatial axes.
    """
    spatial = AXES[: len(sizes) - 1]
    names = ("filter", *spatial) if filters_first else (*spatial, "filter")
    return tuple(zip(names, sizes, strict=True))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DirectionTrace(Mapping[str, Array]):
    """The signals of one direction of one call of a recurrent layer, for some samples: name → array.

    Signals are attributes too: ``trace.forget_gate``.
    """

    layer: str
    """Layer path; ``name:1`` for the second call of a shared layer."""
    direction: str
    """``forward`` or ``backward``."""
    backwards: bool
    """Whether the layer read its input from the last timestep to the first."""
    signals: Mapping[str, Array]
    """Name → ``(samples, timesteps, units)``, in `SIGNAL_ORDER` or as asked for; gates are NaN at masked timesteps."""
    mask: Array | None
    """``(samples, timesteps)``, ``False`` at masked timesteps; ``None`` when no mask reached the layer."""
    timesteps: Array
    """``(timesteps,)`` positions in the layer's input; not always from 0, since a trace may be a selection."""
    units: Array
    """``(units,)`` numbers of the units."""
    length: int
    """Timesteps of the layer's whole input."""
    whole: int | None = None
    """In a slab of a long sequence: the timesteps that all slabs of a sample have together."""
    order: tuple[str, ...] = ()
    """The signals that were asked for, whether or not this layer has them, in their order; empty for all."""
    context: Mapping[str, Array] = field(default_factory=dict)
    """What stands beside the signals at each timestep, where that was asked for: `LABEL` → ``(samples, timesteps)``,
    ``input.NAME`` and ``output.NAME`` → ``(samples, timesteps)`` or ``(samples, timesteps, features)``."""
    grid: Grid = ()
    """Of a ConvLSTM: the axes of its images, through which ``units`` counts in C order; empty for other layers."""

    @property
    def places(self) -> dict[str, Array]:
        """Where each unit is: ``unit`` → ``(units,)``, or its row, column and filter in the order of tables."""
        if not self.grid:
            return {"unit": self.units}
        found = np.unravel_index(self.units, [size for _, size in self.grid])
        by_name = dict(zip((name for name, _ in self.grid), found, strict=True))
        return {name: by_name[name] for name in AXES if name in by_name}

    @property
    def kept(self) -> int:
        """Timesteps that the run keeps of each sample, in this chunk or over all slabs."""
        return len(self.timesteps) if self.whole is None else self.whole

    @property
    def steps(self) -> Array:
        """``(timesteps,)``: the order in which the layer processed them, from 0."""
        return self.length - 1 - self.timesteps if self.backwards else self.timesteps

    def rows(self, at: slice | Array) -> DirectionTrace:
        """Return some of the samples, by their position; slices copy nothing."""
        return self._mapped(lambda value: value[at])

    def between(self, at: slice | Array) -> DirectionTrace:
        """Return some of the timesteps, by their position; slices copy nothing."""
        return replace(self._mapped(lambda value: value[:, at]), timesteps=self.timesteps[at])

    def _mapped(self, change: Callable[[Array], Array]) -> DirectionTrace:
        """Return the same with every array changed that has samples and timesteps."""
        return replace(
            self,
            signals={name: change(value) for name, value in self.signals.items()},
            mask=None if self.mask is None else change(self.mask),
            context={name: change(value) for name, value in self.context.items()},
        )

    def __getitem__(self, name: str) -> Array:
        """Return a signal by its name or its letter.

        Raises:
            NotInTrace: The layer has no such signal, or it was not kept; lists those there are.
        """
        signals: Mapping[str, Array] = object.__getattribute__(self, "signals")
        found = signal_key(name, signals)
        if found is not None:
            return signals[found]
        remedy = way(name, SIGNALS) or choices(signals, str(name), OTHERS)
        raise NotInTrace(f"no signal {shortened(name)} in this trace of {self.layer}", remedy=remedy)

    def __getattr__(self, name: str) -> Array:
        """Return a signal by its name."""
        if name.startswith("__"):  # what copy, pickle and NumPy ask for
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the signals, in `SIGNAL_ORDER`."""
        return iter(self.signals)

    def __len__(self) -> int:
        """Return the number of signals."""
        return len(self.signals)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        """Refuse to be one array.

        Raises:
            InputError: Says how to get one.
        """
        raise several_arrays(self.signals)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self.signals]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.signals)

    def plot(
        self,
        kind: Kind = "heatmap",
        *,
        signals: Names = (),
        units: Numbers | None = None,
        timesteps: Numbers | None = None,
        samples: Numbers | None = None,
        tokens: TokenLists | None = None,
    ) -> alt.ConcatChart:
        """Draw this direction; see `gateprobe.Trace.plot`. Samples are numbered from 0."""
        plotting = import_module("gateprobe.pictures.plotting")  # by name: pictures stand on traces
        chart: alt.ConcatChart = plotting.plot_direction(
            self, kind, signals=signals, units=units, timesteps=timesteps, samples=samples, tokens=tokens
        )
        return chart

    def __repr__(self) -> str:
        return f"<{self.layer} {self.direction}: {', '.join(self.signals)}, each {_shape(self)}>"

    def _repr_html_(self) -> str:
        return notebook.table(f"{self.layer} {self.direction}", ROW[2:], [row_of(self)[2:]])


ROW = ("layer", "direction", "signals", "samples × timesteps × units", "masked")
"""Titles of what `row_of` says."""


def row_of(part: DirectionTrace) -> tuple[str, ...]:
    """Return what a table for people says of a direction."""
    masked = "" if part.mask is None else f"{1 - part.mask.mean():.1%}"
    return part.layer, part.direction, ", ".join(part.signals), _shape(part), masked


def _shape(part: DirectionTrace) -> str:
    return "×".join(map(str, next(iter(part.signals.values())).shape)) if part.signals else "nothing"


def several_arrays(signals: Iterable[str]) -> InputError:
    """Return the error for a trace that is taken for one array."""
    first = next(iter(signals), "hidden_state")
    return InputError("a trace holds several arrays, not one", remedy=f"choose a signal, such as .{first}")


def only(part: DirectionTrace, row: int) -> DirectionTrace:
    """Return the trace of one sample, as a copy, so that those of the others are not held.

    Args:
        part: Of several samples.
        row: Position of the sample in its arrays.
    """
    return part._mapped(lambda value: value[row : row + 1].copy())  # noqa: SLF001 - of this module


@dataclass(frozen=True, slots=True, eq=False)
class TraceChunk:
    """What one batch of samples left behind: the same directions, in the same order, in every chunk of a run.

    Very long sequences come one by one and in slabs: chunks of some timesteps of one direction each, in which the
    other directions have none.
    """

    samples: Array
    """``(samples,)`` numbers of the samples in the input."""
    directions: tuple[DirectionTrace, ...]
    continues: bool = False
    """Whether this is more of the sample of the chunk before."""

    @property
    def is_slab(self) -> bool:
        """Whether this is a part of a long sequence."""
        return any(part.whole is not None for part in self.directions)

    def rows(self, at: slice | Array) -> TraceChunk:
        """Return some of the samples, by their position; slices copy nothing."""
        return replace(self, samples=self.samples[at], directions=tuple(part.rows(at) for part in self.directions))


def blank(signals: Mapping[str, Array], mask: Array | None) -> dict[str, Array]:
    """Put signals into their order and set gates to NaN where the mask is false.

    Args:
        signals: Name → ``(samples, timesteps, ...)``; written to.
        mask: ``(samples, timesteps)`` or ``None``.
    """
    ordered = {name: signals[name] for name in sorted(signals, key=signal_rank)}
    if mask is None or mask.all():
        return ordered
    for name, value in ordered.items():
        if name not in STATES:
            value[~mask] = np.nan
    return ordered


def joined(chunks: Iterable[TraceChunk]) -> TraceChunk:
    """Put the chunks of a run together, in their order.

    Raises:
        InputError: There are none.
    """
    parts = list(_whole_samples(chunks))
    if not parts:
        raise InputError("the run gave no samples")
    directions = tuple(_joined([chunk.directions[n] for chunk in parts]) for n in range(len(parts[0].directions)))
    return TraceChunk(np.concatenate([chunk.samples for chunk in parts]), directions)


def _whole_samples(chunks: Iterable[TraceChunk]) -> Iterator[TraceChunk]:
    """Put the slabs of each sample together."""
    slabs: list[TraceChunk] = []
    for chunk in chunks:
        if slabs and not chunk.continues:
            yield _along_time(slabs)
            slabs.clear()
        if chunk.is_slab:
            slabs.append(chunk)
        else:
            yield chunk
    if slabs:
        yield _along_time(slabs)


def _along_time(slabs: list[TraceChunk]) -> TraceChunk:
    directions = []
    for number, first in enumerate(slabs[0].directions):
        parts = [slab.directions[number] for slab in slabs]
        signals = {name: np.concatenate([part.signals[name] for part in parts], axis=1) for name in first.signals}
        masks = [part.mask for part in parts if part.mask is not None]
        directions.append(
            replace(
                first,
                signals=signals,
                mask=np.concatenate(masks, axis=1) if masks else None,
                context={
                    name: np.concatenate([part.context[name] for part in parts], axis=1) for name in first.context
                },
                timesteps=np.concatenate([part.timesteps for part in parts]),
                whole=None,
            )
        )
    return TraceChunk(slabs[0].samples, tuple(directions))


def _joined(parts: list[DirectionTrace]) -> DirectionTrace:
    first = parts[0]
    if len(parts) == 1:
        return first
    signals = {name: np.concatenate([part.signals[name] for part in parts]) for name in first.signals}
    masked = any(part.mask is not None for part in parts)
    mask = np.concatenate([_full_mask(part) for part in parts]) if masked else None
    context = {name: np.concatenate([part.context[name] for part in parts]) for name in first.context}
    return replace(first, signals=signals, mask=mask, context=context)


def _full_mask(part: DirectionTrace) -> Array:
    if part.mask is not None:
        return part.mask
    return np.ones(next(iter(part.signals.values())).shape[:2], np.bool_)
