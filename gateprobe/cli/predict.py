"""``gateprobe predict``."""

from __future__ import annotations

import click

from gateprobe.cli.options import ModelFile, Run, Talk, command, force, reading, running, talking
from gateprobe.cli.outputs import refuse_overwriting
from gateprobe.cli.progress import progress_bar


@command("gateprobe predict model.keras x.npy -o y.npz")
@reading
@running
@click.option("-o", "--output", required=True, metavar="FILE", help="The .npz file to write.")
@click.option("--compress", is_flag=True, help="Compress it.")
@force
@talking
def predict(file: ModelFile, run: Run, output: str, compress: bool, force: bool, talk: Talk) -> None:
    """Write the model's outputs, replayed.

    One array for each output, keyed by the name of its layer in the model's order; NAME:1 is the second tensor of one
    layer.
    """
    from gateprobe.writers import predictions

    refuse_overwriting([output], [file.model, *run.inputs])
    model = file.read()
    samples = run.load(model, file)
    with progress_bar(talk) as tell:
        blocks = model.iter_predict(samples, threads=run.threads, progress=tell, **run.how)
        predictions(blocks, model.outputs, output, compress=compress, force=force)
    talk.notes(model, samples)
