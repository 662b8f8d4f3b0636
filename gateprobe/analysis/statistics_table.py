"""The table of a run's statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from gateprobe.analysis.direction_statistics import (
    DirectionStatistics,
    Settings,
    mean_of_known,
    remembered,
    share,
    time_constant,
)
from gateprobe.analysis.memory import KEEPERS
from gateprobe.analysis.moments import Moments
from gateprobe.analysis.quantiles import quantiles
from gateprobe.graph import Array


def table(parts: Sequence[DirectionStatistics], settings: Settings) -> pl.DataFrame:
    """Return a row for each layer, direction and signal, and for each unit or timestep if asked for.

    Args:
        parts: At least one.
        settings: What was asked for.
    """
    return pl.concat([_rows(part, settings) for part in parts], how="vertical")


def quantile_name(wanted: float) -> str:
    """Return the name of a column: ``q50`` for the median."""
    return f"q{100 * wanted:.10g}"


def _rows(part: DirectionStatistics, settings: Settings) -> pl.DataFrame:
    moments, places = _moments(part, settings)
    signals, size = moments.count.shape
    found = _quantiles(part, settings)  # (quantiles, signals, places)
    with_bounds = np.array([[name in settings.bounds] for name in part.signals])
    columns: dict[str, Array | list[str]] = {
        "layer": [part.layer] * (signals * size),
        "direction": [part.direction] * (signals * size),
        **places,
        "signal": [name for _ in range(size) for name in part.signals],
        "count": moments.count,
        "not_finite": moments.odd,
        "mean": np.where(moments.count > 0, moments.mean, np.nan),
        "sd": moments.deviation,
        "min": np.where(moments.count > 0, moments.least, np.nan),
        **{quantile_name(wanted): values for wanted, values in zip(settings.quantiles, found, strict=True)},
        "max": np.where(moments.count > 0, moments.most, np.nan),
        "low": np.where(with_bounds, share(moments.low, moments.count), np.nan),
        "high": np.where(with_bounds, share(moments.high, moments.count), np.nan),
        **_memory(part, settings, moments),
        "sampled": np.broadcast_to(_sampled(part, settings), moments.count.shape),
    }
    frame = pl.DataFrame({name: _column(values) for name, values in columns.items()})
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _column(values: Array | list[str]) -> pl.Series:
    """Return a column; arrays ``(signals, places)`` become rows place by place."""
    return pl.Series(np.ascontiguousarray(values.T).reshape(-1) if isinstance(values, np.ndarray) else values)


def _moments(part: DirectionStatistics, settings: Settings) -> tuple[Moments, dict[str, Array]]:
    """Return moments ``(signals, places)``, and the columns that say which places."""
    if settings.by == "layer":
        return part.by_unit.pooled(), {}
    numbers, found = (part.units, part.by_unit) if settings.by == "unit" else (part.timesteps, part.by_timestep)
    return found, {settings.by: np.broadcast_to(numbers, found.count.shape).astype(np.int64)}


def _groups(part: DirectionStatistics, settings: Settings) -> list[Array]:
    """Return which of the sampled rows belong to each place of a layer's or timestep's table."""
    if settings.by == "layer":
        return [np.arange(len(part.where))]
    order = np.argsort(part.where[:, 1], kind="stable")
    return np.split(order, np.searchsorted(part.where[order, 1], part.timesteps[1:]))


def _quantiles(part: DirectionStatistics, settings: Settings) -> Array:
    """Return ``(quantiles, signals, places)``."""
    shares = settings.quantiles
    if settings.by == "unit":
        flat = part.sampled.reshape(len(part.sampled), len(part.signals) * len(part.units))
        return quantiles(flat, shares).reshape(len(shares), *part.sampled.shape[1:])
    found = np.empty((len(shares), len(part.signals), len(groups := _groups(part, settings))))
    for place, rows in enumerate(groups):
        for signal in range(len(part.signals)):
            found[:, signal, place] = quantiles(part.sampled[rows, signal].reshape(-1, 1), shares)[:, 0]
    return found


def _sampled(part: DirectionStatistics, settings: Settings) -> Array:
    """Return of how many timesteps the quantiles of each place are: one number, or one for each timestep."""
    if settings.by == "unit":
        return np.array(len(part.where), np.int64)
    return np.array([len(rows) for rows in _groups(part, settings)], np.int64)


def _memory(part: DirectionStatistics, settings: Settings, moments: Moments) -> Mapping[str, Array]:
    """Return the columns of what is kept: filled where the gate that keeps stands, and where the state does."""
    columns = {name: np.full(moments.count.shape, np.nan) for name in ("time_constant", "carried", "written", "kept")}
    for gate in (k for k, name in enumerate(part.signals) if name in KEEPERS):
        there = moments.count[gate] > 0
        columns["time_constant"][gate, there] = list(map(time_constant, moments.mean[gate, there].tolist()))
    if part.memory is not None and part.memory.state in part.signals:
        state = part.signals.index(part.memory.state)
        for name, values in remembered(part, settings).items():
            if name in columns:
                columns[name][state] = _means(values, part, settings)
    return columns


def _means(values: Array, part: DirectionStatistics, settings: Settings) -> Array:
    """Return the mean of sampled values ``(rows, units)`` at each place."""
    if settings.by == "unit":
        return mean_of_known(values)
    return np.array([mean_of_known(values[rows].reshape(-1, 1))[0] for rows in _groups(part, settings)])
