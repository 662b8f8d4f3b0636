"""What ``gateprobe verify`` prints for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from gateprobe.cli.pages import console, table
from gateprobe.errors import printable
from gateprobe.verify.compare import Gap, SignalReport
from gateprobe.verify.report import described
from gateprobe.verify.result import Status, Verification

_TITLES = [
    "layer", "direction", "signal", "values", "keras - replay", "keras - float64", "replay - float64", "of allowed", "",
]  # fmt: skip
_COLOURS = {Status.AGREES: "green", Status.DISAGREES: "red", Status.RANDOM: "yellow"}


def show_verdict(result: Verification) -> None:
    """Print a verification: what was asked, a table with a row for each signal, the verdict."""
    out = console()
    facts = table(["", ""], _facts(result))
    facts.show_header = False
    out.print(facts)
    out.print()
    out.print(table(_TITLES, [_row(report) for report in result.signals]))
    out.print("differences: largest / mean, largest in ulp", style="dim")
    out.print()
    _paragraphs(out, [f"rule: {result.rule}"])
    _paragraphs(out, _findings(result))
    out.print(Text(_verdict(result), style=f"bold {_COLOURS[result.status]}"))


def _facts(result: Verification) -> Iterator[tuple[str, str]]:
    yield "file", f"{result.file} ({result.era})"
    yield "oracle", f"{result.keras}, TensorFlow {result.tensorflow}"
    if result.built_because is None:
        yield "model", "opened by Keras itself, from a clean copy of the file"
    else:
        yield "model", f"built from the graph that was read: {result.built_because}"
        yield "", "a fault in reading the file would not show"
    yield "replay", result.semantics
    for number, one in enumerate(result.inputs):
        yield f"inputs {number}" if len(result.inputs) > 1 else "inputs", one.description


def _row(report: SignalReport) -> Sequence[object]:
    gaps = (report.keras_replay, report.keras_exact, report.replay_exact)
    verdict = "ok" if report.agrees else f"{report.mismatches} differ"
    return (
        report.layer,
        report.direction,
        report.signal,
        report.values,
        *map(_gap, gaps),
        f"{report.required:.1%}" if report.required < 1000 else f"{report.required:.1e}x",
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
    yield from (f"not compared, nor what depends on it: {text}" for text in result.left_out)
    if result.random:
        yield f"random at inference, not compared: {', '.join(result.random)}"


def _paragraphs(out: Console, lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        out.print(Text(printable(line)))
        out.print()


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
