"""``gateprobe dump``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import Talk, command, selecting, talking
from gateprobe.cli.outputs import Writing, writing
from gateprobe.cli.preview import Preview
from gateprobe.cli.progress import progress_bar, remembered
from gateprobe.cli.scaling import Scaling, scaling
from gateprobe.cli.source import Source, observing, refuse_about_runs, say_notes

if TYPE_CHECKING:
    from gateprobe.traces.selection import Selection


@command(
    "gateprobe dump model.keras x.npy | head",
    "gateprobe dump model.h5 x.npy --layer lstm_1 --signal f --timestep 0:10 -o trace.csv",
    "gateprobe dump model.h5 x.npy -o trace.npz -o trace.parquet",
    "gateprobe dump weights.h5 x.npy --activation tanh --recurrent-activation sigmoid",
    "gateprobe dump model.keras x.npy -o traces/ --workers 4",
    "gateprobe dump trace.npz --signal c -o trace.csv",
)
@observing
@selecting
@click.option("--pre", is_flag=True, help="Keep the gates before their activation too, as signals pre_...")
@click.option(
    "--with-input", is_flag=True, help="Put the ids or features that the model reads at each timestep beside it."
)
@click.option(
    "--with-output", is_flag=True, help="Put the model's outputs beside each timestep; one for a sample is repeated."
)
@writing
@scaling
@talking
def dump(
    source: Source,
    selection: Selection,
    pre: bool,
    with_input: bool,
    with_output: bool,
    writing: Writing,
    scaling: Scaling,
    talk: Talk,
) -> None:
    """Write gates and states, as CSV to stdout or to files.

    One row for each sample, layer, direction, timestep and unit. On a terminal, only the first and the last rows are
    shown, unless -o or --format is given. Of a trace, the same is written in another format.
    """
    if source.is_trace:
        _convert(source, selection, writing, scaling, talk)
        return
    file, run, assumed, labels = source.file, source.run, source.assumed, source.labels
    folder = writing.destination()
    outputs = [] if folder else writing.outputs()
    workers = scaling.dask_workers(folder, file, run, assumed, selection)
    model = assumed.complete(file.read(), selection)
    samples = run.load(model, file, labels=True)
    talk.details(model, samples)
    beside = {
        "with_input": with_input,
        "with_output": with_output,
        "tokens": labels.of_run(model, samples, selection, run.vocab),
    }
    wanted = {name: value for name, value in beside.items() if value}
    options = {**run.how, "pre_activations": pre, "selection": selection, **wanted}
    preview = Preview()
    with progress_bar(talk, data_on_stdout=writing.to_stdout and not writing.on_screen) as tell:
        if writing.on_screen:
            from gateprobe.writers import frames_of

            chunks = model.tracing(samples, **options).chunks(threads=run.threads, progress=tell)
            preview.take(frames_of(chunks, writing.layout))
        elif folder is None:
            from gateprobe.writers import write

            tracing = model.tracing(samples, **options)
            chunks = tracing.chunks(threads=run.threads, progress=tell)
            write(chunks, outputs, tracing.metadata(options) if writing.described else {})
        else:
            from gateprobe.scale.dump import dump_folder

            dump_folder(
                model,
                samples,
                folder,
                workers,
                options=options,
                block_size=scaling.block_size,
                force=writing.force,
                threads=run.threads,
                progress=remembered(tell),
            )
    if writing.on_screen:
        preview.show()
    talk.notes(model, samples)


_BESIDE_RUNS = ("pre", "with_input", "with_output", "workers", "scheduler")
"""Options of this command that a trace, which is not run, has no use for; what it holds of these, it keeps."""


def _convert(source: Source, selection: Selection, writing: Writing, scaling: Scaling, talk: Talk) -> None:
    """Write a trace in another format."""
    folder = writing.destination()
    outputs = [] if folder else writing.outputs()
    refuse_about_runs(source.file.model, also=_BESIDE_RUNS)
    scaling.refuse_without(folder)
    observed = source.open(selection, talk)
    preview = Preview()
    with progress_bar(talk, data_on_stdout=writing.to_stdout and not writing.on_screen) as tell:
        chunks = observed.labelled_chunks(tell)
        if writing.on_screen:
            from gateprobe.writers import frames_of

            preview.take(frames_of(chunks, writing.layout))
        elif folder is None:
            from gateprobe.writers import write

            write(chunks, outputs, observed.metadata)
        else:
            from gateprobe.scale.dump import store_folder

            store_folder(
                chunks,
                observed.numbers,
                observed.metadata,
                folder,
                block_size=scaling.block_size,
                force=writing.force,
            )
    if writing.on_screen:
        preview.show()
    say_notes(observed, talk)
