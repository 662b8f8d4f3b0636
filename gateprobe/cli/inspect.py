"""``gateprobe inspect``."""

from __future__ import annotations

import click

from gateprobe.cli.options import ModelFile, Talk, as_json, command, reading, talking
from gateprobe.errors import Refusal, UnsupportedModel


@command("gateprobe inspect model.h5", "gateprobe inspect model.keras --json", "gateprobe inspect model.keras --check")
@reading
@click.option("--check", is_flag=True, help="Exit with 1 unless every recurrent layer can be traced.")
@as_json
@talking
def inspect(file: ModelFile, check: bool, as_json: bool, talk: Talk) -> int:
    """Show what is in a model file and what can be replayed.

    The era of Keras and how we know it, inputs and outputs, layers, and for every recurrent layer its shapes,
    activations and every reason why it cannot be traced. A file whose weights do not fit its own architecture, or with
    a size that no Keras accepts, is refused. Otherwise the exit status is 0, whatever can be traced; with --check it is
    1 if a recurrent layer cannot be, or there is none.
    """
    from gateprobe.cli.summary import can_all_be_traced, summarise

    report = summarise(file.read())
    if as_json:
        from gateprobe.cli.json_text import json_text

        click.echo(json_text(report))
    else:
        from gateprobe.cli.pages import show_summary

        show_summary(report, all_layers=bool(talk.verbose))
    if report["damage"]:
        refusals = [Refusal(one["layer"], one["class"], one["reason"]) for one in report["damage"]]
        raise UnsupportedModel(refusals, file=file.model, remedy="the file contradicts itself; save it again")
    return int(check and not can_all_be_traced(report))
