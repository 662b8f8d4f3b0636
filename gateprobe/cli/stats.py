"""``gateprobe stats``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.layout import Column, Page
from gateprobe.cli.options import Talk, bundle, command, print_json, selecting, talking
from gateprobe.cli.outputs import Tabulating, tabulating
from gateprobe.cli.progress import progress_bar
from gateprobe.cli.source import Source, measuring, say_notes

if TYPE_CHECKING:
    from gateprobe.analysis.direction_statistics import Settings
    from gateprobe.analysis.statistics import Statistics
    from gateprobe.traces.selection import Selection

JSON_FORMAT = 1
"""Version of the JSON's layout."""


def _settings(by: str, low: float, high: float, quantiles: str) -> Settings:
    from typing import cast

    from gateprobe.analysis.direction_statistics import By, Settings

    return Settings(cast("By", by), low, high, _shares(quantiles))


def _shares(text: str) -> tuple[float, ...]:
    from gateprobe.errors import InputError

    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--quantiles={text}: expected numbers from 0 to 1, such as 0.1,0.5,0.9") from None


settling = bundle(
    "settings",
    _settings,
    click.option(
        "--by",
        type=click.Choice(["layer", "unit", "timestep"]),
        default="layer",
        metavar="WHAT",
        help="Print a row for each layer, unit or timestep.",
    ),
    click.option(
        "--low", type=float, default=0.1, metavar="X", help="Count gates below X as closed, instead of below 0.1."
    ),
    click.option(
        "--high", type=float, default=0.9, metavar="X", help="Count gates above X as open, instead of above 0.9."
    ),
    click.option(
        "--quantiles",
        default="0.01,0.1,0.5,0.9,0.99",
        metavar="LIST",
        help="Compute these quantiles, instead of 0.01,0.1,0.5,0.9,0.99.",
    ),
)
"""Adds what to compute; the command takes ``settings``."""


@command(
    "gateprobe stats model.keras x.npy",
    "gateprobe stats trace.npz --by unit --signal f,c",
    "gateprobe stats model.h5 x.npy --by unit -o stats.parquet",
    "gateprobe stats model.keras x.npy --json",
)
@measuring
@selecting
@settling
@click.option("--top", type=click.IntRange(0), default=10, metavar="N", help="List N units that stand out, not 10.")
@tabulating
@talking
def stats(
    source: Source, selection: Selection, settings: Settings, top: int, tabulating: Tabulating, talk: Talk
) -> None:
    """Summarise gates and states: saturation, time constants, units that stand out.

    In one pass, without a trace on disk. For each layer, direction and signal: mean, deviation, extremes, quantiles,
    and how often gates are nearly closed (low) and nearly open (high). Then the units that stand out, the rarest first,
    with the reasons. Masked timesteps are left out.
    """
    from gateprobe.analysis.statistics import statistics
    from gateprobe.writers import write_table

    outputs = tabulating.outputs()
    observed = source.open(selection, talk)
    with progress_bar(talk, data_on_stdout=not tabulating.reports) as tell:
        found = statistics(observed.chunks(tell), settings, count=observed.count if observed.tracing else None)
    if outputs:
        write_table(found.to_polars(), outputs, {"statistics": _described(found), **observed.metadata})
    if tabulating.as_json:
        print_json(as_json(found, top))
    elif tabulating.reports:
        show(found, top)
    say_notes(observed, talk)


def _described(found: Statistics) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(found.settings), "samples": found.samples}


def as_json(found: Statistics, top: int) -> dict[str, Any]:
    """Return statistics as a value for JSON; infinity becomes a text."""
    rows = found.to_polars().to_dicts()
    units = found.remarkable()
    return {
        "format": JSON_FORMAT,
        **_described(found),
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
        "remarkable_units": len(units),
        "remarkable": [
            {"layer": one.layer, "direction": one.direction, "unit": one.unit, "bits": one.bits, "reasons": one.reasons}
            for one in units[:top]
        ],
    }


def _plain(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def show(found: Statistics, top: int) -> None:
    """Print statistics for people."""
    page = Page()
    sizes = [("samples", f"{found.samples:,}"), ("timesteps", _timesteps(found))]
    page.facts([*sizes, ("saturated", _saturated(found.settings))])
    page.line()
    _show_table(page, found)
    units = found.remarkable()
    if not top or not units:
        return
    page.line()
    more = f", {top} of {len(units)}" if len(units) > top else ""
    page.sentence(f"Units that stand out, the rarest first{more}:", "bold")
    for one in units[:top]:
        page.sentence(str(one), indent="  " if page.width else "")


def _timesteps(found: Statistics) -> str:
    """Say how many counted, and from how many quantiles are computed."""
    counts = {part.counted: len(part.where) for part in found.parts}
    texts = [
        f"{count:,}" + (f" (a sample of {kept:,} for quantiles, carried, written and kept)" if kept < count else "")
        for count, kept in counts.items()
    ]
    masked = " that are not masked" if any(part.masked for part in found.parts) else ""
    return f"{' or '.join(texts)} in all{masked}"


def _saturated(settings: Settings) -> str:
    low, high = f"{settings.low:g}", f"{settings.high:g}"
    return f"low: gates below {low}, others below -{high}; high: above {high}"


def _show_table(page: Page, found: Statistics) -> None:
    frame = found.to_polars()
    columns = [Column(title, rank) for _, title, rank, _ in _columns(found.settings)]
    rows = [
        ["" if row[name] is None else write(row[name]) for name, _, _, write in _columns(found.settings)]
        for row in frame.iter_rows(named=True)
    ]
    page.table(columns, rows)


def _columns(settings: Settings) -> list[tuple[str, str, int, Any]]:
    """Return for each column that is shown: its name, its title, its rank, and what writes its values."""
    from gateprobe.analysis.statistics_table import quantile_name

    place = [] if settings.by == "layer" else [(settings.by, settings.by, 0, str)]
    shares = [
        (quantile_name(one), "median", 4, _number)
        if one == 0.5
        else (quantile_name(one), f"{100 * one:.10g}%", 6, _number)
        for one in settings.quantiles
    ]
    return [
        ("layer", "layer", 0, str),
        ("direction", "direction", 0, str),
        *place,
        ("signal", "signal", 0, str),
        ("mean", "mean", 0, _number),
        ("sd", "sd", 2, _number),
        ("min", "min", 3, _number),
        *shares,
        ("max", "max", 3, _number),
        ("low", "low", 1, _percent),
        ("high", "high", 1, _percent),
        ("time_constant", "time constant", 5, _number),
        ("carried", "carried", 7, _percent),
        ("written", "written", 8, _number),
        ("kept", "kept", 8, _number),
        ("not_finite", "not finite", 1, _count),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _count(value: int) -> str:
    return f"{value:,}" if value else ""
