"""``gateprobe inspect``."""

from __future__ import annotations

import click

from gateprobe.cli.options import (
    READING,
    ModelFile,
    Report,
    Talk,
    command,
    given,
    names_of,
    print_json,
    reading,
    reporting,
    talking,
)
from gateprobe.errors import InputError, Refusal, UnsupportedModel


@command(
    "gateprobe inspect model.h5",
    "gateprobe inspect model.keras --json",
    "gateprobe inspect model.keras --check",
    "gateprobe inspect trace.npz",
)
@reading
@click.option("--check", is_flag=True, help="Exit with 1 unless every recurrent layer can be traced.")
@reporting
@talking
def inspect(file: ModelFile, check: bool, report: Report, talk: Talk) -> int:
    """Show what is in a model file and what can be replayed, or what a trace holds.

    The era of Keras and how we know it, inputs and outputs, layers, and for every recurrent layer its shapes,
    activations and every reason why it cannot be traced. A file whose weights do not fit its own architecture, or with
    a size that no Keras accepts, is refused. Otherwise the exit status is 0, whatever can be traced; with --check it is
    1 if a recurrent layer cannot be, or there is none.

    Of a trace that gateprobe wrote, in any format: samples, layers, directions, signals, shapes, and which model it is
    of.
    """
    from gateprobe.trace_files.recognised import is_trace

    if is_trace(file.model):
        _inspect_trace(file, report, talk)
        return 0
    from gateprobe.cli.summary import can_all_be_traced, summarise

    model = file.read()
    summary = summarise(model)
    if report.as_json:
        print_json(summary)
    else:
        from gateprobe.cli.pages import show_summary

        show_summary(summary, everything=bool(talk.verbose))
    if summary["damage"]:
        refusals = [Refusal(one["layer"], one["class"], one["reason"], other_weights=True) for one in summary["damage"]]
        remedy = model.remedy_for(refusals) or "the file contradicts itself; save it again"
        raise UnsupportedModel(refusals, file=file.model, remedy=remedy)
    return int(check and not can_all_be_traced(summary))


_ABOUT_MODELS = names_of(*READING) - {"max_bytes"} | {"check"}
"""Options that mean nothing for a trace."""


def _inspect_trace(file: ModelFile, report: Report, talk: Talk) -> None:
    from gateprobe.cli.trace_summary import show_trace, summarise_trace
    from gateprobe.trace_files.load import open_trace

    for option in given(_ABOUT_MODELS):
        raise InputError(f"is a trace, and {option} is about models", file=file.model)
    summary = summarise_trace(file.model, open_trace(file.model, file.max_bytes))
    if report.as_json:
        print_json(summary)
    else:
        show_trace(summary, everything=bool(talk.verbose))
