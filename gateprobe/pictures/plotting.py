"""What the method ``plot`` of a trace does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gateprobe.inputs.tokens import TokenLists, given_tokens
from gateprobe.observed import of_chunk
from gateprobe.pictures.extra import require_charts
from gateprobe.pictures.kinds import kind_of, picture_of, to_trace
from gateprobe.traces.chunk import DirectionTrace, TraceChunk
from gateprobe.traces.selection import Names, Numbers, Selection

if TYPE_CHECKING:
    import altair as alt


def plot(
    chunk: TraceChunk, metadata: Mapping[str, Any], kind: str, selection: Selection, tokens: TokenLists | None
) -> alt.ConcatChart:
    """Draw a trace; see `gateprobe.Trace.plot`."""
    require_charts()
    from gateprobe.pictures.charts import chart_of  # noqa: PLC0415 - Altair is an extra

    wanted = kind_of(kind)
    observed = of_chunk(chunk, metadata, selection=to_trace(wanted, selection))
    if tokens is not None:
        observed = replace(observed, tokens=given_tokens(tokens, chunk.samples, observed.numbers[:1]))
    return chart_of(picture_of(observed, wanted, selection))


def plot_direction(
    part: DirectionTrace,
    kind: str,
    *,
    signals: Names,
    units: Numbers | None,
    timesteps: Numbers | None,
    samples: Numbers | None,
    tokens: TokenLists | None,
) -> alt.ConcatChart:
    """Draw one direction; see `gateprobe.DirectionTrace.plot`."""
    numbers = np.arange(len(next(iter(part.signals.values()))))
    selection = Selection(signals=signals, units=units, timesteps=timesteps, samples=samples)
    return plot(TraceChunk(numbers, (part,)), {}, kind, selection, tokens)
