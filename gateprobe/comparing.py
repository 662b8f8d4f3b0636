"""`compare` and `compare_port`: two traces, or a model and the numbers of a port."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from gateprobe.analysis.agreement import Tolerance
from gateprobe.analysis.compare_port import PortOptions, Tell
from gateprobe.analysis.compare_port import compare_port as compare_with
from gateprobe.analysis.compare_traces import compare_traces
from gateprobe.analysis.comparison import Comparison
from gateprobe.analysis.fitting import Asked
from gateprobe.errors import InputError
from gateprobe.model import Model, opened, read, samples_of
from gateprobe.trace import Trace
from gateprobe.trace_files.foreign import of_array, of_arrays, of_chunk, read_foreign
from gateprobe.trace_files.names import read_mapping
from gateprobe.traces.chunk import TraceChunk
from gateprobe.traces.foreign import Foreign
from gateprobe.traces.selection import Names, Selection
from gateprobe.vocabulary import Side

Numbers: TypeAlias = Trace | str | os.PathLike[str] | Mapping[str, Any] | Any
"""A trace, a file, arrays by name, or one array of hidden states."""


def compare(
    ours: Numbers,
    theirs: Numbers,
    *,
    mapping: Mapping[str, str] | None = None,
    layers: Names = (),
    direction: str | None = None,
    tolerance: Tolerance | None = None,
    max_bytes: int | None = None,
) -> Comparison:
    """Compare two traces, number by number.

    Args:
        ours: The one by which the other is measured: a `Trace`; a file of a trace, or CSV, TSV, NPZ or NPY of another
            program; arrays by name; or one array of hidden states ``(samples, timesteps, units)``.
        theirs: The other; signals, units and the first timesteps may be missing in it.
        mapping: Names of theirs → ours, such as ``{"gate1": "forget_gate"}``.
        layers: Globs: which layers of ours to compare.
        direction: ``forward`` or ``backward``: which direction.
        tolerance: Instead of what rounding explains.
        max_bytes: Limit for what is read into memory; 4 GiB without it.

    Returns:
        A result that is true when they agree.

    Raises:
        InputError: They have nothing in common, or names say nothing.
        ReadError: A file cannot be read.
    """
    asked = Asked(_selection(layers, direction))
    words = _words(mapping)
    mine, others = _foreign(ours, "ours", words, max_bytes), _foreign(theirs, "theirs", words, max_bytes)
    return compare_traces(mine, others, asked, tolerance or Tolerance())


def compare_port(
    model: Model | str | os.PathLike[str],
    x: object,
    theirs: Numbers,
    *,
    feeds: Mapping[str, object] | None = None,
    mapping: Mapping[str, str] | None = None,
    layers: Names = (),
    direction: str | None = None,
    last: bool = False,
    tolerance: Tolerance | None = None,
    dtype: str | None = None,
    pairs: bool = True,
    tell: Tell | None = None,
    max_bytes: int | None = None,
    vocab: str | os.PathLike[str] | None = None,
    pad: Side | None = None,
) -> Comparison:
    """Compare a model with what a port of it computed, and name the mistake that explains a difference.

    Args:
        model: A model, or the file of one.
        x: Its inputs, see `gateprobe.Model.trace`.
        theirs: What the port computed: see `compare`. ``(timesteps, units)`` is one sample, ``(samples, units)`` the
            last timestep.
        feeds: What is given to layers directly.
        mapping: Names of theirs → ours, such as ``{"gate1": "forget_gate"}``.
        layers: Globs: which layer the numbers are of, where they do not say.
        direction: ``forward`` or ``backward``: which direction of it.
        last: Whether two axes are the last timestep of many samples where they may be timesteps as well.
        tolerance: Instead of what rounding explains.
        dtype: ``float32`` or ``float64``; without it, the precision that the file asks for.
        pairs: Whether to try two mistakes at a time.
        tell: Called with one line for each thing that is done.
        max_bytes: Limit for what is read into memory; 4 GiB without it.
        vocab: See `gateprobe.Model.trace`.
        pad: See `gateprobe.Model.trace`.

    Returns:
        A result that is true when they agree.

    Raises:
        InputError: The numbers fit no layer, or several; the inputs do not fit the model.
        UnsupportedModel: No recurrent layer can be replayed exactly.
        ReadError: A file cannot be read.
    """
    found = opened(model if isinstance(model, Model) else read(model))
    numbers = _foreign(theirs, "theirs", _words(mapping), max_bytes)
    options = PortOptions(Asked(_selection(layers, direction), last), tolerance or Tolerance(), dtype, pairs)
    return compare_with(found, samples_of(found, x, feeds, vocab=vocab, pad=pad), numbers, options, tell)


def _selection(layers: Names, direction: str | None) -> Selection:
    return Selection(layers=layers, directions=() if direction is None else direction)


def _words(mapping: Mapping[str, str] | None) -> dict[str, str]:
    return read_mapping(f"{theirs}={ours}" for theirs, ours in (mapping or {}).items())


def _foreign(value: Numbers, name: str, mapping: Mapping[str, str], max_bytes: int | None) -> Foreign:
    if isinstance(value, Trace):
        return of_chunk(TraceChunk(value.samples, value.directions), name)
    if isinstance(value, (str, os.PathLike)):
        return read_foreign(os.fspath(value), mapping, max_bytes)
    if isinstance(value, Mapping):
        return of_arrays(value, name, mapping)
    try:
        return of_array(np.asarray(value), name)
    except ValueError as error:
        raise InputError(f"{name} is no array: {error}") from None
