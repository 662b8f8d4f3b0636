"""What ``gateprobe compare`` prints for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateprobe.analysis.comparison import Comparison, Difference
from gateprobe.analysis.comparison_report import described, explained
from gateprobe.cli.layout import Column, Page

_SIGNALS = (
    Column("layer"),
    Column("direction", 2),
    Column("signal"),
    Column("values", 4),
    Column("largest", 0),
    Column("mean", 3),
    Column("over time", 5),
    Column("of allowed", 1),
    Column(""),
)


def show_comparison(result: Comparison, *, quiet: bool, verbose: bool) -> None:
    """Print a comparison: the verdict first, then the explanation, then how far every signal is off.

    Args:
        result: What to print.
        quiet: Whether to print the verdict alone.
        verbose: Whether to print the rule although all agree.
    """
    page = Page()
    page.sentence(_verdict(result), f"bold {'green' if result else 'red'}")
    if quiet:
        return
    for text in _findings(result):
        page.sentence(text)
    page.line()
    page.table(_SIGNALS, [_row(one) for one in result.signals])
    page.line()
    page.facts(_facts(result, verbose=verbose))


def _verdict(result: Comparison) -> str:
    compared = f"{sum(one.values for one in result.signals):,} numbers in {len(result.signals)} signals"
    if result:
        return f"AGREES: {compared}, largest difference {max(one.max_abs for one in result.signals):.2g}"
    return f"DISAGREES: {sum(one.mismatches for one in result.signals):,} of {compared}"


def _findings(result: Comparison) -> Iterator[str]:
    yield from (f"disagrees: {text}" for text in result.problems)
    if result.first is not None:
        yield f"first disagreement: {described(result.first)}"
    yield from explained(result)


def _row(one: Difference) -> Sequence[object]:
    share = f"{one.required:.1%}" if one.required < 1000 else f"{one.required:.1e}x"
    verdict = "ok" if one.agrees else f"{one.mismatches} differ"
    numbers = (f"{one.max_abs:.2g}", f"{one.mean_abs:.1g}", _growth(one.growth))
    return (one.layer, one.direction, one.signal, one.values, *numbers, share, verdict)


def _growth(growth: Sequence[tuple[int, float]]) -> str:
    """Return the difference at the first step, in the middle and at the last."""
    if len(growth) < 2:
        return ""
    shown = [growth[0], growth[len(growth) // 2], growth[-1]] if len(growth) > 2 else growth
    return ", ".join(f"{step}: {size:.1g}" for step, size in shown)


def _facts(result: Comparison, *, verbose: bool) -> Iterator[tuple[str, str]]:
    yield "ours", result.ours
    yield "theirs", result.theirs
    if verbose or not result:
        yield "rule", result.rule
