"""What ``gateprobe verify`` prints for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateprobe.analysis.agreement import Gap, SignalReport
from gateprobe.cli.layout import Column, Page
from gateprobe.errors import flagged
from gateprobe.verification.report import described
from gateprobe.verification.result import Status, Verification

_COLOURS = {Status.AGREES: "green", Status.DISAGREES: "red", Status.RANDOM: "magenta"}


def _verdict_style(cell: str) -> str:
    return _COLOURS[Status.AGREES if cell == "ok" else Status.DISAGREES]


_SIGNALS = (
    Column("layer"),
    Column("direction"),
    Column("signal"),
    Column("values", 4),
    Column("keras - replay", 1),
    Column("keras - float64", 6),
    Column("replay - float64", 5),
    Column("of allowed", 1),
    Column("", style=_verdict_style),
)
_LAYERS = (
    Column("layer"),
    Column("direction"),
    Column("signals", 3),
    Column("values", 2),
    Column("largest difference", 1),
    Column("of allowed"),
    Column("", style=_verdict_style),
)


def show_verdict(result: Verification, *, quiet: bool, verbose: bool) -> None:
    """Print a verification: the verdict first, then how close it was, and what was asked.

    Args:
        result: What to print.
        quiet: Whether to print the verdict alone.
        verbose: Whether to print every signal, and what is the same in every report, although all agree.
    """
    page = Page()
    page.sentence(_verdict(result), f"bold {_COLOURS[result.status]}")
    if quiet:
        return
    for text in _findings(result):
        page.sentence(text)
    page.line()
    if verbose or not result:
        page.table(_SIGNALS, [_row(report) for report in result.signals])
        page.sentence("differences: largest / mean, largest in ulp", "dim")
    else:
        page.table(_LAYERS, list(_layer_rows(result.signals)))
    page.line()
    page.facts(_facts(result, verbose=verbose))


def _layer_rows(reports: Sequence[SignalReport]) -> Iterator[Sequence[object]]:
    """Yield a row for each direction of each layer, and for each output: the worst of its signals."""
    groups: dict[tuple[str, str, str], list[SignalReport]] = {}
    for report in reports:
        output = "" if report.direction else report.signal
        groups.setdefault((report.layer, report.direction, output), []).append(report)
    for (layer, direction, output), group in groups.items():
        yield (
            layer,
            direction or output,
            len(group),
            f"{sum(report.values for report in group):,}",
            f"{max(report.keras_replay.max_abs for report in group):.2g}",
            _share(max(report.required for report in group)),
            "ok",
        )


def _facts(result: Verification, *, verbose: bool) -> Iterator[tuple[str, str]]:
    yield "file", f"{result.file} ({result.era})"
    yield "oracle", f"{result.keras} on {result.backend}"
    if result.built_because is None:
        yield "model", "opened by Keras itself, from a clean copy of the file"
    else:
        yield "model", f"built from the graph that was read: {result.built_because}"
        yield "note", "a fault in reading the file would not show"
    if verbose:
        yield "semantics", result.semantics
    for number, one in enumerate(result.inputs):
        yield f"inputs {number}" if len(result.inputs) > 1 else "inputs", one.description
    if verbose or not result:
        yield "rule", result.rule


def _share(required: float) -> str:
    """Return what a difference is of what is allowed."""
    return f"{required:.1%}" if required < 1000 else f"{required:.1e}x"


def _row(report: SignalReport) -> Sequence[object]:
    gaps = (report.keras_replay, report.keras_exact, report.replay_exact)
    verdict = "ok" if report.agrees else f"{report.mismatches} differ"
    return (
        report.layer,
        report.direction,
        report.signal,
        report.values,
        *map(_gap, gaps),
        _share(report.required),
        verdict,
    )


def _gap(gap: Gap) -> str:
    return f"{gap.max_abs:.2g} / {gap.mean_abs:.1g}, {gap.max_ulp:.3g} ulp"


def _findings(result: Verification) -> Iterator[str]:
    yield from (f"disagrees: {text}" for text in result.problems)
    if result.first is not None:
        yield f"first disagreement: {described(result.first)}"
    for one in result.explanations:
        then = "; everything agrees then" if one.everything else ""
        yield f"would explain it: {one.name}: {one.text}{then}"
    if result.first is not None and not result.explanations:
        yield "none of the known differences explains it"
    yield from (f"not compared, nor what depends on it: {flagged(text)}" for text in result.left_out)
    if result.random:
        yield f"random at inference, not compared: {', '.join(result.random)}"


def _verdict(result: Verification) -> str:
    compared = f"{sum(report.values for report in result.signals):,} numbers in {len(result.signals)} signals"
    samples = sum(one.samples for one in result.inputs)
    if result.status is Status.DISAGREES:
        wrong = sum(report.mismatches for report in result.signals)
        return f"DISAGREES: {wrong:,} of {compared} ({samples} samples)"
    if result.status is Status.RANDOM:
        return f"RANDOM: {compared} agree; Keras does not compute the rest twice alike"
    worst = max((report.keras_replay.max_abs for report in result.signals), default=0.0)
    agrees = "AGREES IN PART" if result.left_out else "AGREES"
    return f"{agrees}: {compared} ({samples} samples), largest difference {worst:.2g}"
