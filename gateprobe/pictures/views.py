"""One sample in one direction of one layer, as tables of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.observed import Observed
from gateprobe.pictures.scales import scale_of
from gateprobe.pictures.values import Cell, Facts, Progress, Scale
from gateprobe.traces.chunk import DirectionTrace, TraceChunk, joined


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One sample in one direction of one layer."""

    part: DirectionTrace
    row: int
    """Position of the sample in the arrays."""
    sample: int
    """Its number."""
    tokens: tuple[str, ...] | None
    """One for each of the timesteps."""

    @property
    def facts(self) -> Facts:
        """What this is, for titles."""
        return {"layer": self.part.layer, "direction": self.part.direction, "sample": f"sample {self.sample}"}

    def values(self, signal: str) -> Array:
        """Return ``(units, timesteps)`` of a signal, float64."""
        values = self.part[signal][self.row]
        table: Array = values.reshape(len(values), -1).T.astype(np.float64)
        return table

    def cells(self, values: Array) -> Array:
        """Return what each place of ``(units, timesteps)`` holds."""
        cells = cells_of(values)
        if self.part.mask is not None:
            cells[~self._mask(self.part.mask[self.row], len(values))] = Cell.MASKED
        return cells

    def _mask(self, mask: Array, units: int) -> Array:
        """Return ``(units, timesteps)``; images may have a mask for each pixel, which all of its filters share."""
        shape = next(iter(self.part.signals.values())).shape
        pixels: Array = mask.reshape(len(mask), -1).T
        if len(pixels) > 1 and len(shape) > 3:
            return np.repeat(pixels, shape[-1], axis=0)
        counted: Array = pixels.max(axis=0)  # some units were chosen, whose pixels are no longer known
        return np.broadcast_to(counted, (units, len(mask)))


def cells_of(values: Array) -> Array:
    """Return `Cell` of values that no mask covers."""
    cells = np.full(values.shape, Cell.VALUE, np.uint8)
    cells[np.isnan(values)] = Cell.NAN
    cells[np.isinf(values)] = Cell.INFINITE
    return cells


def views_of(observed: Observed, most: int, progress: Progress | None = None) -> tuple[list[View], tuple[str, ...]]:
    """Return each direction of each layer for the first samples, and what to tell of their tokens.

    Args:
        observed: What is looked at.
        most: How many samples there may be; one stands for the first of any number.
        progress: Is told of samples that are done.

    Raises:
        InputError: There are more samples than that, or no layer; or the tokens fit none of them.
    """
    if most > 1 and observed.count > most:
        raise InputError(
            f"--sample chooses {observed.count:,} samples, more than fit into a picture",
            remedy="choose one, such as --sample=0",
        )
    whole = joined(_first(observed.chunks(progress), most))
    if not whole.directions:
        raise InputError("the model has no recurrent layer")
    views = [
        View(part, row, sample, None)
        for row, sample in enumerate(whole.samples.tolist()[:most])
        for part in whole.directions
    ]
    return _labelled(views, observed)


def _first(chunks: Iterable[TraceChunk], most: int) -> Iterator[TraceChunk]:
    """Yield chunks until they hold so many samples, with all slabs of the last one."""
    samples = 0
    for chunk in chunks:
        if samples >= most and not chunk.continues:
            return
        samples += 0 if chunk.continues else len(chunk.samples)
        yield chunk


def _labelled(views: Iterable[View], observed: Observed) -> tuple[list[View], tuple[str, ...]]:
    """Give each view its tokens; a layer with another number of timesteps has none."""
    found, misfits = [], {}
    for view in views:
        try:
            tokens = observed.labels(view.part, view.row, view.sample)
        except InputError as error:
            misfits[view.part.layer] = error
        else:
            found.append(replace(view, tokens=tokens))
            continue
        found.append(view)
    if misfits and all(view.tokens is None for view in found):
        raise next(iter(misfits.values()))
    return found, tuple(f"{layer} has another number of timesteps than there are tokens" for layer in misfits)


def first_unit(view: View) -> View:
    """Return the view of one unit alone."""
    part = view.part
    signals = {name: value.reshape(*value.shape[:2], -1)[..., :1] for name, value in part.signals.items()}
    return replace(view, part=replace(part, signals=signals, units=part.units[:1]))


def scales_of(views: Sequence[View]) -> dict[str, Scale]:
    """Return one scale for each signal, which all views share."""
    names = dict.fromkeys(name for view in views for name in view.part.signals)
    return {name: scale_of(name, [_counted(view, name) for view in views if name in view.part]) for name in names}


def _counted(view: View, signal: str) -> Array:
    """Return the values that are no masked ones."""
    values = view.values(signal)
    counted: Array = values[view.cells(values) == Cell.VALUE]
    return counted
