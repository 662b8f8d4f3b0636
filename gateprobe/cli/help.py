"""The help of a command: its parameters in groups, the most used first.

A new option is put into a group here; a test fails for one that is in none.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

DOCS: Mapping[str, str] = {
    "inspect": "docs/inspect.md",
    "dump": "docs/formats.md and docs/scaling.md",
    "verify": "docs/verify.md",
    "compare": "docs/compare.md",
    "predict": "docs/formats.md",
    "weights": "docs/weights.md",
    "explain": "docs/explain.md",
    "report": "docs/report.md",
    "migrate": "docs/migrate.md",
    "golden": "docs/golden.md",
    "plot": "docs/plot.md",
    "stats": "docs/stats.md",
    "track": "docs/track.md",
}
"""Where the documentation says more about a command."""

LOOKING: Mapping[str, tuple[str, ...]] = {
    "weights": (),
    "stats": ("by", "low", "high", "quantiles", "top"),
    "track": ("signal_file", "match", "position", "lags"),
    "plot": ("kind",),
    "report": (),
    "explain": ("ledger",),
    "compare": (),
}
"""Command that looks → the options that no other group has; each option stands once."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "What to read": ("text", "vocab", "pad", "feed", "verification"),
    "What to compare": ("mapping", "last", "against", "backend", "atol", "rtol", "seed", "samples"),
    "What to keep": ("layer", "signal", "timestep", "unit", "sample", "direction", "pre", "with_input", "with_output"),
    "What to call timesteps": ("tokens",),
    "What to look for": tuple(name for names in LOOKING.values() for name in names),
    "What to print": ("as_json", "study", "keep", "form", "check"),
    "Where to write": (
        "write",
        "verify",
        "hard_sigmoid",
        "output",
        "format",
        "order",
        "transpose",
        "c",
        "layout",
        "compress",
        "save_input",
        "junit",
        "max_values",
        "force",
    ),
    "Weights-only files": ("architecture", "activation", "recurrent_activation", "go_backwards", "reset_after"),
    "Running and scaling": (
        "workers",
        "batch_size",
        "threads",
        "dtype",
        "semantics",
        "block_size",
        "scheduler",
        "max_bytes",
        "ignore_metadata",
        "dropout",
    ),
    "Talk": ("quiet", "verbose", "help"),
}
"""Title → names of the options, in the order of the help text."""

_ARGUMENTS: Mapping[str, str] = {
    "model": "A .keras or .h5 file, weights alone (.h5, or a checkpoint of TensorFlow), a SavedModel folder of Keras 2,"
    " or TensorFlow.js's model.json.",
    "source": "A trace that gateprobe wrote; or a model, which is run on INPUT...",
    "ours": "A .keras or .h5 file or another model, which is run on INPUT...; or a trace.",
    "others": "The model's inputs, as for dump; last, the other program's numbers: .csv, .tsv, .npz, .npy or a trace.",
    "inputs": "A .npy, .npz, .csv or .parquet file for each input of the model, in the model's order, or NAME=FILE. "
    "FILE.npz[KEY] names one array; - is standard input.",
}


class Command(click.Command):
    """A command whose help has its parameters in groups and ends with examples."""

    examples: tuple[str, ...] = ()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; click's own errors do not all say which command they are about."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups."""
        groups = grouped(self, ctx)
        widest = max(len(left) for rows in groups.values() for left, _ in rows if len(left) <= _COLUMN)
        for title, rows in groups.items():
            with formatter.section(title):
                # as wide in every group, so that all texts stand below each other
                formatter.write_dl([(f"{left:{widest}}", right) for left, right in rows], col_max=_COLUMN)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, none of them broken over lines, and where to read more."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        formatter.write(f"\nMore: {DOCS[self.name or '']}\n")


SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Look": ("inspect", "weights", "stats", "track", "plot", "report", "explain"),
    "Write": ("dump", "predict", "migrate"),
    "Check": ("verify", "compare", "golden"),
}
"""Title → commands, in the order of the program's help; a command that is in none stands under Commands."""

_COLUMN = 26
"""Characters of an option beside which its text begins; that of a longer one begins on the next line."""


def grouped(command: click.Command, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Return the groups of a command's help that are not empty: title → (option, what it says)."""
    rows = {name_of(parameter): _row(parameter, ctx) for parameter in command.get_params(ctx)}
    groups = {title: (*(_ARGUMENTS if title == "What to read" else ()), *names) for title, names in GROUPS.items()}
    found = {title: [rows[name] for name in names if name in rows] for title, names in groups.items()}
    return {title: rows for title, rows in found.items() if rows}


def name_of(parameter: click.Parameter) -> str:
    """Return the name by which a group lists a parameter; click's own for --help differs between its versions."""
    return "help" if "--help" in parameter.opts else parameter.name or ""


def _row(parameter: click.Parameter, ctx: click.Context) -> tuple[str, str]:
    if isinstance(parameter, click.Argument):
        return parameter.make_metavar(ctx), _ARGUMENTS[parameter.name or ""]
    left, right = parameter.get_help_record(ctx) or ("", "")
    return left, right.removesuffix("  [x>=1]").removesuffix("  [x>=0]")
