"""``gateprobe inspect``."""

from __future__ import annotations

import click

from gateprobe.cli.options import ModelFile, Talk, as_json, command, reading, talking
from gateprobe.errors import Refusal, UnsupportedModel


@command("gateprobe inspect model.h5", "gateprobe inspect model.keras --json")
@reading
@as_json
@talking
def inspect(file: ModelFile, as_json: bool, talk: Talk) -> None:
    """Show what is in a model file and what can be replayed.

    The era of Keras and how we know it, inputs and outputs, layers, and for every recurrent layer its shapes,
    activations and every reason why it cannot be traced. A file whose weights do not fit its own architecture is
    refused.
    """
    from gateprobe.cli.summary import summarise

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
