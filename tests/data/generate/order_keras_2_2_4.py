"""Add files of standalone Keras 2.2.4 to ``tests/data/order``, on Python 3.7, after ``order.py``.

``pip install tensorflow==1.15 keras==2.2.4 'h5py<3' 'protobuf<3.21' 'numpy<1.20'``.
"""

from pathlib import Path

import keras
import numpy as np

OUT = Path(__file__).parents[1] / "order"
L = keras.layers


def lstm(**options):
    return L.LSTM(2, return_sequences=True, **options)


def model_of(*layers):
    start = end = L.Input((3, 2))
    for layer in layers:
        end = layer(end)
    return keras.models.Model(start, end)


def thawed_last_layer():
    base = model_of(lstm(trainable=False), lstm())
    base.trainable = False
    return model_of(base)


def frozen_cells():
    cells = [L.LSTMCell(2, trainable=False), L.LSTMCell(2)]
    return model_of(L.RNN(cells, return_sequences=True, trainable=False))


def frozen_forward_layer():
    both = L.Bidirectional(lstm(), merge_mode="sum")
    model = model_of(both)
    both.forward_layer.trainable = False
    return model


def layer_frozen_before_it_is_wrapped():
    return model_of(
        model_of(L.Bidirectional(lstm(trainable=False), merge_mode="sum"), L.Bidirectional(lstm(), merge_mode="sum"))
    )


def frozen_wrapper():
    inner = keras.models.Sequential()
    inner.add(L.Dense(2, activation="tanh", input_shape=(2,), trainable=False))
    inner.add(L.Dense(2))
    outer = L.TimeDistributed(inner)
    outer.trainable = False
    return model_of(outer, lstm())


if __name__ == "__main__":
    path = OUT / "outputs.npz"
    outputs = dict(np.load(path))
    rng = np.random.RandomState(5)
    made = (thawed_last_layer, frozen_cells, frozen_forward_layer, frozen_wrapper, layer_frozen_before_it_is_wrapped)
    for make in made:
        keras.backend.clear_session()
        model, name = make(), "keras_2_2_4_" + make.__name__
        values = [rng.normal(0, 0.8, keras.backend.int_shape(weight)) for weight in model.weights]
        keras.backend.batch_set_value(list(zip(model.weights, values)))
        model.save(str(OUT / (name + ".h5")))
        outputs[name + "/trained"] = model.predict(outputs["x"])
        opened = keras.models.load_model(str(OUT / (name + ".h5")), compile=False)
        outputs[name + "/opened"] = opened.predict(outputs["x"])
    np.savez(path, **outputs)
