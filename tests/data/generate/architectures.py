"""Record tests/data/architectures.tar.xz: architectures as YAML, the same as JSON, weights, and what the model computes.

    python architectures.py FOLDER          once with each Keras, whose environments are those of rules.py
    tar -C FOLDER --sort=name --owner=0 --group=0 -cJf ../architectures.tar.xz .

Recorded with Keras 1.2.2 and 2.2.4, both with Python 3.6, TensorFlow 1.12.3 and PyYAML 5.4.1.
"""

import os
import sys

import keras
import numpy as np

L = keras.layers
FOLDER = os.path.join(sys.argv[1], keras.__version__)
RANDOM = np.random.RandomState(1)


def save(name, model, inputs):
    """Save a model in every way, and what it computes."""
    model.set_weights([RANDOM.normal(0, 0.6, w.shape) for w in model.get_weights()])
    path = os.path.join(FOLDER, name)
    for suffix, text in ((".yaml", model.to_yaml()), (".json", model.to_json())):
        with open(path + suffix, "w") as file:
            file.write(text)
    model.save_weights(path + ".h5")
    np.savez(path + ".npz", y=model.predict(inputs), **{"x%d" % k: x for k, x in enumerate(inputs)})


def keras_1():
    """A Sequential, and a graph with a shared layer."""
    chain = keras.models.Sequential()
    chain.add(L.Embedding(10, 4, input_length=6, mask_zero=True))
    chain.add(L.LSTM(3, return_sequences=True))
    chain.add(L.Bidirectional(L.LSTM(2)))
    chain.add(L.Dense(2, activation="softmax"))
    save("chain", chain, [RANDOM.randint(0, 10, (3, 6))])
    a, b, shared = L.Input((5, 3), name="a"), L.Input((5, 3), name="b"), L.LSTM(4, name="shared")
    out = L.Dense(2)(L.merge([shared(a), shared(b)], mode="concat"))
    save("graph", keras.models.Model([a, b], out), [RANDOM.normal(0, 1, (3, 5, 3)).astype("float32") for _ in "ab"])


def keras_2():
    """The same, with layers whose settings are tuples; several share a tuple, which becomes an anchor."""
    layers = [L.Embedding(10, 4, input_length=6, mask_zero=True), L.LSTM(3, return_sequences=True)]
    layers += [L.Bidirectional(L.GRU(2)), L.Dense(2, activation="softmax")]
    save("chain", keras.models.Sequential(layers), [RANDOM.randint(0, 10, (3, 6))])
    a, b = L.Input((5, 3), name="a"), L.Input((5, 3), name="b")
    shared = L.LSTM(4, name="shared", return_sequences=True)
    x = L.concatenate([shared(a), shared(b)])
    x = L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True)(x)
    x = L.Conv1D(3, 2, padding="same")(L.TimeDistributed(L.Dense(2))(x))
    out = L.Dense(2)(L.Reshape((15,))(L.Permute((2, 1))(x)))
    save("graph", keras.models.Model([a, b], out), [RANDOM.normal(0, 1, (3, 5, 3)).astype("float32") for _ in "ab"])


os.makedirs(FOLDER)
(keras_1 if keras.__version__[0] == "1" else keras_2)()
