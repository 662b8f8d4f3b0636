"""Make ``tests/data/order``: HDF5 files with frozen parts, and what the real Keras computes before and after saving.

Run with the extra ``keras``: ``python tests/data/generate/order.py``. ``outputs.npz`` holds the input ``x`` and for
each file ``NAME/trained``, what the model computed that was saved, and ``NAME/opened``, what Keras computes after
opening the file.
"""

from pathlib import Path

import keras
import numpy as np
import tf_keras

OUT = Path(__file__).parents[1] / "order"
X = np.random.default_rng(7).normal(0, 1, (2, 3, 2)).astype(np.float32)


def lstm(library, **options):
    return library.layers.LSTM(2, return_sequences=True, **options)


def nested(library, *layers, kind="functional"):
    if kind == "sequential":
        return library.Sequential([library.Input((3, 2)), *layers])
    start = end = library.Input((3, 2))
    for layer in layers:
        end = layer(end)
    return library.Model(start, end)


def thawed_last_layer(library):
    base = nested(library, lstm(library), lstm(library))
    base.trainable = False
    base.layers[-1].trainable = True
    return library.Sequential([library.Input((3, 2)), base])


def frozen_cells(library):
    cells = [library.layers.LSTMCell(2, trainable=False), library.layers.LSTMCell(2)]
    rnn = library.layers.RNN(cells, return_sequences=True, trainable=False)
    return library.Sequential([library.Input((3, 2)), rnn])


def frozen_forward_layer(library):
    both = library.layers.Bidirectional(lstm(library), merge_mode="sum")
    model = library.Sequential([library.Input((3, 2)), both])
    both.forward_layer.trainable = False
    return model


def thawed_inside_a_nested_model(library, kind="sequential"):
    inner = nested(library, lstm(library), lstm(library), kind=kind)
    outer = nested(library, inner, lstm(library))
    model = library.Sequential([library.Input((3, 2)), outer])
    inner.trainable = False
    inner.layers[-1].trainable = True
    return model


def thawed_inside_a_nested_functional_model(library):
    return thawed_inside_a_nested_model(library, "functional")


def frozen_around_a_model(library):
    inner = library.Sequential([library.Input((2,)), *(library.layers.Dense(2, activation="tanh") for _ in range(2))])
    inner.layers[0].trainable = False
    outer = library.layers.TimeDistributed(inner)
    model = library.Sequential([library.Input((3, 2)), outer, lstm(library)])
    outer._trainable = False  # without what is inside, as `trainable=False` in the constructor
    return model


def adapters(library, *, trainable=True):
    dense = library.layers.Dense(2, trainable=trainable)
    model = library.Sequential([library.Input((3, 2)), dense, lstm(library)])
    dense.enable_lora(1)
    return model


def adapters_in_a_frozen_layer(library):
    return adapters(library, trainable=False)


def conv_lstm_frozen_later(library):
    first, second = (library.layers.ConvLSTM1D(2, 1, return_sequences=True) for _ in range(2))
    shape, back = library.layers.Reshape((3, 1, 2)), library.layers.Reshape((3, 2))
    model = library.Sequential([library.Input((3, 2)), nested(library, shape, first, second, back)])
    first.trainable = False
    return model


TF_KERAS = (
    thawed_last_layer,
    frozen_cells,
    frozen_forward_layer,
    thawed_inside_a_nested_model,
    thawed_inside_a_nested_functional_model,
    frozen_around_a_model,
)
KERAS3 = (adapters, adapters_in_a_frozen_layer, thawed_last_layer, conv_lstm_frozen_later)


def main():
    OUT.mkdir(exist_ok=True)
    outputs = {"x": X}
    rng = np.random.default_rng(11)
    for library, family, makers in ((tf_keras, "tf_keras", TF_KERAS), (keras, "keras3", KERAS3)):
        for make in makers:
            model = make(library)
            for variable in model.weights:
                variable.assign(rng.normal(0, 0.8, variable.shape))
            name = f"{family}_{make.__name__}"
            model.save(OUT / f"{name}.h5")
            outputs[f"{name}/trained"] = np.asarray(model(X))
            outputs[f"{name}/opened"] = np.asarray(library.models.load_model(OUT / f"{name}.h5", compile=False)(X))
    weights_files(rng, outputs)
    np.savez(OUT / "outputs.npz", **outputs)


def weights_files(rng, outputs):
    """Weights alone: a layer that has the name of the group, and cells that only their names tell apart."""
    layers = tf_keras.layers
    named = tf_keras.Sequential([tf_keras.Input((3, 2)), lstm(tf_keras, name="model_weights")])
    stacked = layers.RNN([layers.LSTMCell(2), layers.LSTMCell(2)], return_sequences=True)
    both = layers.Bidirectional(lstm(tf_keras), merge_mode="sum")
    cells = tf_keras.Sequential([tf_keras.Input((3, 2)), stacked, both])
    both.forward_layer.trainable = False
    for name, model in (("model_weights", named), ("cells", cells)):
        for variable in model.weights:
            variable.assign(rng.normal(0, 0.8, variable.shape))
        model.save_weights(OUT / f"weights_{name}.h5")
        (OUT / f"weights_{name}.json").write_text(model.to_json())
        outputs[f"weights_{name}/trained"] = np.asarray(model(X))


if __name__ == "__main__":
    main()
