"""``gateprobe predict``."""

from __future__ import annotations

from gateprobe.cli.options import ModelFile, Run, Talk, command, reading, running, talking
from gateprobe.cli.outputs import Predicting, predicting
from gateprobe.cli.preview import Preview
from gateprobe.cli.progress import progress_bar


@command(
    "gateprobe predict model.keras x.npy | head",
    "gateprobe predict model.keras x.npy -o y.npy",
    "gateprobe predict model.keras x.npy -o y.npz -o y.csv",
)
@reading
@running
@predicting
@talking
def predict(file: ModelFile, run: Run, predicting: Predicting, talk: Talk) -> None:
    """Write the model's outputs, replayed.

    As CSV to stdout, or to files; on a terminal, only the first and the last rows are shown, unless -o or --format is
    given. Tables have a row for each number, with the columns sample, output, one for each
    axis, and value. npz and h5 hold one array for each output, keyed by the name of its layer in the model's order;
    NAME:1 is the second tensor of one layer. npy holds the array of a model's only output.
    """
    from gateprobe.writers import frames_of_predictions, write_predictions

    outputs = predicting.outputs()
    model = file.read()
    samples = run.load(model, file)
    talk.details(model, samples)
    metadata = model.metadata(samples, run.how) if predicting.described else {}
    preview = Preview()
    with progress_bar(talk, data_on_stdout=predicting.to_stdout and not predicting.on_screen) as tell:
        blocks = model.iter_predict(samples, threads=run.threads, progress=tell, **run.how)
        if predicting.on_screen:
            preview.take(frames_of_predictions(blocks, model.outputs))
        else:
            write_predictions(blocks, model.outputs, outputs, metadata)
    if predicting.on_screen:
        preview.show()
    talk.notes(model, samples)
