"""The kinds of pictures: what each shows, of which samples, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePath
from typing import Literal, TypeAlias, get_args

import numpy as np

from gateprobe.analysis.direction_statistics import GATES
from gateprobe.errors import InputError, choices, printable
from gateprobe.observed import Observed
from gateprobe.pictures.heats import heat_maps, ledgers, passages, unit_maps
from gateprobe.pictures.tallies import Counted, histograms, saturations
from gateprobe.pictures.values import Cell, Heat, Panel, Passage, Picture, Progress
from gateprobe.pictures.views import View, first_unit, views_of
from gateprobe.traces.selection import Selection

Kind: TypeAlias = Literal["heatmap", "unit", "saturation", "text", "histogram", "ledger"]
"""What a picture shows."""
KINDS: tuple[Kind, ...] = get_args(Kind)

SATURATED = (0.1, 0.9)
"""Below and above which a gate counts as saturated, after Karpathy, Johnson and Fei-Fei 2015."""
MOST_PANELS = 24
_ORDER = ("layer", "direction", "sample", "unit", "signal")
"""In which order a title says what a panel shows."""
_OF_ALL_SAMPLES = ("saturation", "histogram")


def kind_of(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        InputError: There is no such kind.
    """
    for kind in KINDS:
        if kind == name:
            return kind
    raise InputError(f"--kind={name}: no such kind of picture", remedy=choices(KINDS, name))


def shows_one_sample(kind: Kind) -> bool:
    """Whether a picture shows one sample, unless more are chosen."""
    return kind not in _OF_ALL_SAMPLES


def to_trace(kind: Kind, selection: Selection) -> Selection:
    """Return what has to be traced for a picture: a memory ledger is made of every signal and every timestep.

    Raises:
        InputError: The selection does not go with the kind.
    """
    if kind != "ledger":
        return selection
    if selection.signals:
        raise InputError("--kind=ledger is made of several signals", remedy="leave out --signal")
    return replace(selection, timesteps=None)


def picture_of(observed: Observed, kind: Kind, selection: Selection, progress: Progress | None = None) -> Picture:
    """Decide what a picture shows.

    Args:
        observed: What is looked at: what `to_trace` says of the selection.
        kind: What to show of it.
        selection: What the user chose.
        progress: Is told of samples that are done.

    Raises:
        InputError: It would have too many panels, or the trace lacks what the kind shows.
    """
    if kind in _OF_ALL_SAMPLES:
        return _of_all(observed, kind, selection, progress)
    views, notes = views_of(observed, MOST_PANELS if selection.samples is not None else 1, progress)
    if selection.units is None and kind in ("unit", "text"):
        views = [first_unit(view) for view in views]
    panels = list(islice(_panels(kind, views, selection), MOST_PANELS + 1))
    if len(panels) > MOST_PANELS:
        raise _too_many(views)
    panels, across = _arranged(panels, len(views)) if kind == "heatmap" else (panels, 1)
    return _titled(observed, panels, across, (*notes, *_notes(panels, views)))


def _panels(kind: Kind, views: Sequence[View], selection: Selection) -> Iterator[Panel]:
    if kind == "heatmap":
        return heat_maps(views)
    if kind == "unit":
        return unit_maps(views)
    if kind == "text":
        return passages(views)
    return ledgers(views, selection.timesteps)


def _too_many(views: Sequence[View]) -> InputError:
    layers = dict.fromkeys(view.part.layer for view in views)
    return InputError(
        f"a picture has at most {MOST_PANELS} panels, one for each layer, direction, sample and signal or unit",
        remedy=f"choose with --layer, --direction, --sample, --signal or --unit; layers: {', '.join(layers)}",
    )


def _arranged(panels: list[Panel], views: int) -> tuple[list[Panel], int]:
    """Put the two directions of a layer beside each other, else the signals of a layer in two columns."""
    signals = [panel.facts["signal"] for panel in panels]
    each = len(panels) // views
    if views == 2 and signals[:each] == signals[each:]:
        return [panel for pair in zip(panels[:each], panels[each:], strict=True) for panel in pair], 2
    return panels, min(each, 2)


def _of_all(observed: Observed, kind: Kind, selection: Selection, progress: Progress | None) -> Picture:
    signals = selection.signal_names() or GATES
    panels: Sequence[Panel]
    if kind == "histogram":
        panels, counted = histograms(observed.chunks(progress), signals)
    elif not set(signals) <= set(GATES):
        raise InputError("--kind=saturation shows gates", remedy=f"choose --signal among {', '.join(GATES)}")
    else:
        panels, counted = saturations(observed.chunks(progress), signals, SATURATED)
    if len(panels) > MOST_PANELS:
        layers = dict.fromkeys(panel.facts["layer"] for panel in panels)
        raise InputError(
            f"a picture has at most {MOST_PANELS} panels, one for each layer, direction and signal",
            remedy=f"choose with --layer, --direction or --signal; layers: {', '.join(layers)}",
        )
    each = len({panel.facts["signal"] for panel in panels})
    return _titled(observed, panels, min(each, 4), tuple(_told(counted)))


def _told(counted: Counted) -> Iterator[str]:
    yield f"{counted.samples:,} sample{'' if counted.samples == 1 else 's'}"
    if counted.masked:
        yield "masked timesteps are left out"
    if counted.left_out:
        yield f"{counted.left_out:,} values that are NaN or infinite are left out"


def _notes(panels: Iterable[Panel], views: Sequence[View]) -> Iterator[str]:
    """Yield what a viewer must know of maps and texts."""
    cells = np.concatenate(
        [np.zeros(0, np.uint8), *(p.cells.ravel() for p in panels if isinstance(p, (Heat, Passage)))]
    )
    for kind, name in ((Cell.NAN, "NaN"), (Cell.INFINITE, "infinite")):
        number = int((cells == kind).sum())
        if number:
            yield f"{number:,} value{' is' if number == 1 else 's are'} {name}"
    yield from sorted({f"{name} leaves 0 to 1: its colours are those of a signed number" for name in _signed(panels)})
    yield from dict.fromkeys(note for panel in panels if isinstance(panel, Heat) for note in panel.notes)
    images = {view.part.layer for view in views if next(iter(view.part.signals.values())).ndim > 3}
    yield from (f"the units of {layer} number its pixels and filters" for layer in sorted(images))


def _signed(panels: Iterable[Panel]) -> Iterator[str]:
    """Yield the gates that are drawn around zero, because their activation is not a sigmoid."""
    for panel in panels:
        if isinstance(panel, Heat):
            names = panel.rows if panel.row_title == "signal" else (panel.facts.get("signal", ""),) * len(panel.rows)
            yield from (name for name, scale in zip(names, panel.scales, strict=True) if name in GATES and scale.signed)


def _titled(observed: Observed, panels: Sequence[Panel], across: int, notes: tuple[str, ...]) -> Picture:
    """Put what all panels share into the title of the whole, and leave the rest to each."""
    shared = {
        key: text for key, text in panels[0].facts.items() if all(panel.facts.get(key) == text for panel in panels)
    }
    title = " · ".join([_file(observed), *(printable(shared[key]) for key in _ORDER if key in shared)])
    own = [
        {key: printable(panel.facts[key]) for key in _ORDER if key in panel.facts.keys() - shared} for panel in panels
    ]
    return Picture(
        title, tuple(replace(panel, facts=facts) for panel, facts in zip(panels, own, strict=True)), across, notes
    )


def _file(observed: Observed) -> str:
    """Return the name of the model's file, without its folder."""
    if observed.model is None:
        said = observed.metadata.get("model")
        if isinstance(said, dict) and isinstance(said.get("file"), str):
            return printable(said["file"])
    return printable(PurePath(observed.name).name or "trace")
