"""``gateprobe verify``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.options import ModelFile, Talk, as_json, bundle, command, force, reading, talking

if TYPE_CHECKING:
    from gateprobe.verify.compare import Tolerance
    from gateprobe.verify.result import Verification
    from gateprobe.verify.verification import Made


def _tolerance(atol: tuple[str, ...], rtol: tuple[str, ...]) -> Tolerance:
    """Return what ``--atol`` and ``--rtol`` ask for."""
    from gateprobe.verify.compare import Tolerance

    absolute, relative = _numbers("--atol", atol), _numbers("--rtol", rtol)
    names = (absolute.keys() | relative.keys()) - {""}
    signals = {name: (absolute.get(name), relative.get(name)) for name in sorted(names)}
    return Tolerance(absolute.get(""), relative.get(""), signals)


def _numbers(option: str, texts: Iterable[str]) -> dict[str, float]:
    """Return signal → number; the empty name stands for all signals."""
    from gateprobe.chunk import ALIASES, SIGNAL_ORDER
    from gateprobe.verify.collate import OUTPUT

    found = {}
    for text in texts:
        name, _, number = text.rpartition(":")
        name = ALIASES.get(name, name)
        if name and name not in (*SIGNAL_ORDER, OUTPUT):
            raise click.UsageError(
                f"{option} {text}: no signal {name!r}; there are {', '.join(SIGNAL_ORDER)}, {OUTPUT}"
            )
        try:
            found[name] = float(number)
        except ValueError:
            raise click.UsageError(f"{option} {text}: expected a number such as 1e-6") from None
        if not found[name] >= 0:
            raise click.UsageError(f"{option} {text}: expected a number that is not negative")
    return found


def _made(seed: int, samples: int | None) -> Made:
    from gateprobe.verify.verification import Made

    return Made(seed, samples)


tolerating = bundle(
    "tolerance",
    _tolerance,
    click.option("--atol", multiple=True, metavar="[SIGNAL:]X", help="Allow this, instead of what rounding explains."),
    click.option("--rtol", multiple=True, metavar="[SIGNAL:]X", help="Likewise, times the size of Keras's number."),
)
making = bundle(
    "made",
    _made,
    click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Of made inputs; 0 without it."),
    click.option(
        "--samples", type=click.IntRange(1), metavar="N", help="Number of samples in each set of made inputs."
    ),
)
writing = bundle(
    "files",
    dict,
    click.option("--save-input", metavar="FILE", help="Keep the inputs: an .npz; further lengths in FILE-2.npz, ..."),
    click.option("--junit", metavar="FILE", help="Write a JUnit XML report too."),
    force,
)


@command(
    "gateprobe verify model.keras",
    "gateprobe verify model.h5 x.npy --json",
    "gateprobe verify model.h5 --against keras3",
)
@reading
@click.argument("inputs", metavar="[INPUT...]", nargs=-1)
@click.option(
    "--against",
    type=click.Choice(["keras3", "tf_keras"]),
    help="Which Keras to ask, instead of the one that speaks for the file's era.",
)
@tolerating
@making
@writing
@as_json
@talking
def verify(
    file: ModelFile,
    inputs: tuple[str, ...],
    against: str | None,
    tolerance: Tolerance,
    made: Made,
    files: dict[str, Any],
    as_json: bool,
    talk: Talk,
) -> int:
    """Step the real Keras beside the replay and compare every gate.

    Without INPUT, inputs are made from the graph. Exit status: 0 agrees, 1 disagrees, 2 could not verify. Needs
    TensorFlow: pip install 'gateprobe[keras]'. Keras itself opens a copy of the file, made of checked parts, in a
    process of its own; where it cannot, the model is built from the graph that was read. What depends on a custom
    layer is left out.
    """
    result = _result(file, inputs, files, talk, against=against, tolerance=tolerance, made=made)
    _write(result, files)
    for note in result.notes:
        talk.note(note)
    if as_json:
        from gateprobe.cli.json_text import json_text
        from gateprobe.verify.report import as_json as json_of

        click.echo(json_text(json_of(result)))
    else:
        from gateprobe.cli.verdict import show_verdict

        show_verdict(result)
    return 0 if result else 1


def _result(
    file: ModelFile, inputs: tuple[str, ...], files: dict[str, Any], talk: Talk, **options: Any
) -> Verification:
    """Verify; what prevents it goes into the JUnit report too."""
    from gateprobe.cli.steps import step_line
    from gateprobe.errors import GateprobeError
    from gateprobe.samples import load
    from gateprobe.verify.report import error_as_junit
    from gateprobe.verify.verification import verify as compare

    try:
        model = file.read()
        x = load(inputs, model.inputs, max_bytes=file.max_bytes) if inputs else None
        with step_line(talk) as tell:
            return compare(model, x, architecture=file.architecture, tell=tell, **options)
    except GateprobeError as error:
        if files["junit"] is not None:
            _put(files["junit"], error_as_junit(file.model, str(error)), force=files["force"])
        raise


def _write(result: Verification, files: dict[str, Any]) -> None:
    """Write the files that were asked for."""
    from gateprobe.verify.report import as_junit

    if files["junit"] is not None:
        _put(files["junit"], as_junit(result), force=files["force"])
    if files["save_input"] is not None:
        import io
        from pathlib import Path

        import numpy as np

        target = Path(files["save_input"])
        for number, one in enumerate(result.inputs):
            name = target if number == 0 else target.with_name(f"{target.stem}-{number + 1}{target.suffix}")
            data = io.BytesIO()
            np.savez(data, **one.arrays)  # type: ignore[arg-type]  # keyword arrays
            _put(str(name), data.getvalue(), force=files["force"])


def _put(name: str, data: bytes, *, force: bool) -> None:
    from gateprobe.writers.target import open_target

    with open_target(name, force=force) as target:
        target.file.write(data)
        target.publish()
