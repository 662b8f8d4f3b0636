# /// script
# requires-python = "==3.11.*"
# dependencies = ["tensorflow-cpu==2.12.0", "tensorflow-addons==0.20.0"]
# ///
"""SavedModels of TensorFlow 2.12, most with a decoder of TensorFlow Addons: ``uv run tfa_0_20_decoders.py OUT.tar.xz``.

Each case: ``saved_model/``, ``weights.h5`` and ``case.npz``: inputs ``x_K``, outputs ``y_K``, and for a decoder the
values inside its own cell, stepped by hand from its initial states over all timesteps: ``input_gate``, ...
"""

import os
import sys
import tarfile
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

keras, layers, seq2seq = tf.keras, tf.keras.layers, tfa.seq2seq
RANDOM = np.random.default_rng(7)
LENGTHS = np.array([8, 4, 6, 0], np.int32)


def tokens(samples, timesteps):
    return RANDOM.integers(1, 11, (samples, timesteps)).astype(np.int32)


def encoded(cell, x):
    """Return the decoder's cell and its initial states."""
    if cell == "gru":
        return layers.GRUCell(6, name="decoder_cell"), layers.GRU(6, return_state=True, name="encoder")(x)[1]
    if cell == "simple":
        return layers.SimpleRNNCell(6, name="decoder_cell"), [layers.GRU(6, return_state=True, name="encoder")(x)[1]]
    first = list(layers.LSTM(6, return_state=True, name="encoder")(x)[1:])
    if cell == "lstm":
        return layers.LSTMCell(6, name="decoder_cell"), first
    second = list(layers.LSTM(4, return_state=True, name="encoder_2")(x)[1:])
    stack = [layers.LSTMCell(6, name="lower"), layers.LSTMCell(4, name="upper")]
    return layers.StackedRNNCells(stack, name="decoder_cell"), (first, second)


def decoder_model(*, cell="lstm", output="linear", lengths=True, masks=False, batch=None, sampler=None, **options):
    """Return the model, and the model of what its decoder is given."""
    encoder_tokens = keras.Input([None], batch, dtype="int32", name="encoder_tokens")
    decoder_tokens = keras.Input([None], batch, dtype="int32", name="decoder_tokens")
    ends = keras.Input([], batch, dtype="int32", name="lengths")
    embedding = layers.Embedding(11, 5, mask_zero=masks, name="embedding")
    x, start = embedding(decoder_tokens), {}
    unit, states = encoded(cell, embedding(encoder_tokens))
    if sampler == "greedy":
        chosen, start = (
            seq2seq.GreedyEmbeddingSampler(embedding),
            {"start_tokens": decoder_tokens[:, 0], "end_token": 2},
        )
    elif sampler == "scheduled":
        chosen = seq2seq.ScheduledEmbeddingTrainingSampler(0.3, embedding_fn=embedding)
    else:
        chosen = seq2seq.TrainingSampler()
    projection = None if output is None else layers.Dense(11, activation=output, name="projection")
    decoder = seq2seq.BasicDecoder(unit, chosen, output_layer=projection, name="decoder", **options)
    given = {"sequence_length": ends} if lengths else {}
    result, final, final_lengths = decoder(x, initial_state=states, **given, **start)
    outputs = [result.rnn_output, result.sample_id, *tf.nest.flatten(final), final_lengths]
    inputs = [encoder_tokens, decoder_tokens, ends][: 3 if lengths else 2]
    model = keras.Model(inputs, outputs)
    model.set_weights([RANDOM.normal(0, 0.6, weight.shape) for weight in model.get_weights()])
    return model, keras.Model(inputs, [x, *tf.nest.flatten(states)]), unit


def gates(cell, x, hidden, state):
    """Step an LSTM cell and look at what its activations return."""
    seen = []

    def watched(function):
        def call(z):
            seen.append(function(z))
            return seen[-1]

        return call

    cell.activation, cell.recurrent_activation = watched(keras.activations.tanh), watched(keras.activations.sigmoid)
    names = ("input_gate", "forget_gate", "candidate", "output_gate")
    trace = {name: [] for name in (*names, "cell_state", "hidden_state")}
    for t in range(x.shape[1]):
        seen.clear()
        _, (hidden, state) = cell(x[:, t], [hidden, state])
        for name, value in {
            **dict(zip(names, seen[:4], strict=True)),
            "cell_state": state,
            "hidden_state": hidden,
        }.items():
            trace[name].append(value.numpy())
    cell.activation, cell.recurrent_activation = keras.activations.tanh, keras.activations.sigmoid
    return {name: np.stack(values, 1) for name, values in trace.items()}


def plain_model():
    """Shared, nested and frozen layers, and weights that are not trained."""
    a, b = keras.Input([6], dtype="int32", name="a"), keras.Input([6], dtype="int32", name="b")
    embedding = layers.Embedding(11, 4, mask_zero=True, name="embedding")
    frozen = layers.LSTM(3, return_sequences=True, name="frozen")
    inner = [layers.BatchNormalization(name="norm"), frozen, layers.Dense(3, name="dense")]
    frozen.trainable = False
    nested = keras.Sequential(inner, name="nested")
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(embedding(a))
    stack = layers.RNN([layers.LSTMCell(3), layers.LSTMCell(4)], return_sequences=True, name="stack")(both)
    each = layers.TimeDistributed(nested, name="each")(
        layers.GRU(4, return_sequences=True, name="gru")(embedding(b))[:, :, None]
    )
    attended = layers.MultiHeadAttention(2, 3, name="attention")(both, embedding(b))
    ends = [layers.GlobalAveragePooling1D()(part) for part in (stack, attended)]
    joined = layers.Concatenate()([*ends, layers.Flatten()(each)])
    model = keras.Model([a, b], [layers.Dense(2, name="output")(joined), both, stack])
    model.set_weights([np.abs(RANDOM.normal(0, 0.6, weight.shape)) for weight in model.get_weights()])
    return model


def save(folder, model, inputs, traces, **arrays):
    outputs = tf.nest.flatten(model(inputs))
    model.save(folder / "saved_model", save_traces=traces)
    model.save_weights(folder / "weights.h5")
    arrays |= {f"x_{k}": x for k, x in enumerate(inputs)} | {f"y_{k}": np.asarray(y) for k, y in enumerate(outputs)}
    np.savez_compressed(folder / "case.npz", **arrays)


CASES = {
    "default": {},
    "impute": {"batch": 4, "impute_finished": True, "maximum_iterations": 5},
    "gru": {"cell": "gru", "batch": 4, "output": None, "impute_finished": True},
    "mask": {"masks": True, "lengths": False},
    "all_steps": {"cell": "simple", "lengths": False, "output": "tanh"},
    "stack": {"cell": "stack", "maximum_iterations": 5},
    "scheduled": {"sampler": "scheduled"},
    "greedy": {"sampler": "greedy", "lengths": False, "maximum_iterations": 6},
    "untraced": {},
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for case, options in CASES.items():
            model, given, cell = decoder_model(**options)
            inputs = [tokens(4, 7), tokens(4, 9), LENGTHS][: len(model.inputs)]
            if case == "mask":
                inputs[1][np.arange(9) >= LENGTHS[:, None]] = 0
            arrays = {}
            if isinstance(cell, layers.LSTMCell):
                x, hidden, state = given(inputs)
                arrays = gates(cell, x, hidden, state)
            save(root / case, model, inputs, case != "untraced", **arrays)
        save(root / "plain", plain_model(), [tokens(3, 6), tokens(3, 6)], False)
        with tarfile.open(sys.argv[1], "w:xz", preset=9) as archive:
            for file in sorted(root.rglob("*")):
                if file.is_file() and file.name != "fingerprint.pb":
                    archive.add(file, file.relative_to(root))
