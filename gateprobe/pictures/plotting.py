"""What the method ``plot`` of a trace does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.inputs.tokens import ListedTokens
from gateprobe.observed import of_chunk
from gateprobe.pictures.extra import require_charts
from gateprobe.pictures.kinds import kind_of, picture_of, to_trace
from gateprobe.traces.chunk import DirectionTrace, TraceChunk
from gateprobe.traces.selection import Names, Numbers, Selection

if TYPE_CHECKING:
    import altair as alt

TokenLists: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
"""The tokens of one sample, or those of each sample."""


def plot(
    chunk: TraceChunk, metadata: Mapping[str, Any], kind: str, selection: Selection, tokens: TokenLists | None
) -> alt.ConcatChart:
    """Draw a trace; see `gateprobe.Trace.plot`."""
    require_charts()
    from gateprobe.pictures.charts import chart_of  # noqa: PLC0415 - Altair is an extra

    wanted = kind_of(kind)
    observed = of_chunk(chunk, metadata, selection=to_trace(wanted, selection))
    if tokens is not None:
        observed = replace(observed, tokens=_listed(tokens, chunk.samples, observed.numbers))
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


def _listed(tokens: TokenLists, there: Array, wanted: Array) -> ListedTokens:
    """Return tokens by the numbers of their samples.

    Args:
        tokens: Of the first sample that is drawn, or a list for each sample of the trace.
        there: Numbers of the samples of the trace.
        wanted: Of those that are drawn.

    Raises:
        InputError: There are other than texts, or lists for more or fewer samples.
    """
    if all(isinstance(token, str) for token in tokens):
        return ListedTokens("tokens", "", {int(wanted[0]): tuple(map(str, tokens))})
    lists = [tuple(one) for one in tokens]
    if not all(isinstance(token, str) for one in lists for token in one):
        raise InputError("--tokens: expected texts, or a list of texts for each sample")
    if len(lists) != len(there):
        raise InputError(f"--tokens: there are {len(lists)} lists of tokens and {len(there)} samples in the trace")
    return ListedTokens("tokens", "", dict(zip(there.tolist(), lists, strict=True)))
