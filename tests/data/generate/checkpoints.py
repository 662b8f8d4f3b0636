"""Record tests/data/checkpoints.tar.xz: weights in TensorFlow's checkpoint format, as its versions write them.

    python checkpoints.py FOLDER            once with each TensorFlow; Keras 3 beside TensorFlow 2.21 records its own
    tar -C FOLDER --sort=name --owner=0 --group=0 -cJf ../checkpoints.tar.xz .

Recorded with TensorFlow 2.0.4, 2.2.3 (Python 3.7), 2.4.4 (3.8), 2.8.4, 2.15.1 (3.9), tf_keras 2.21 and Keras 3.15.1 (3.11).
"""

import json
import os
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")

import numpy as np
import tensorflow as tf

if "keras3" in sys.argv:
    import keras
elif tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 16):
    import tf_keras as keras
else:
    from tensorflow import keras
L = keras.layers
VERSION = keras.__version__ if "keras3" in sys.argv else tf.__version__


def graph():
    """Layers that are shared, nested, wrapped, stacked, frozen and normalised."""
    a, b = L.Input((5, 3), name="a"), L.Input((5, 3), name="b")
    shared = L.LSTM(4, return_sequences=True, name="shared")
    nested = keras.Sequential(
        [L.Dense(4, input_shape=(5, 4)), L.BatchNormalization(), L.LSTM(4, return_sequences=True)]
    )
    inner = L.Input((5, 4))
    deep = keras.Model(inner, [nested(inner), L.GRU(3, name="deep_gru")(inner)], name="deep")
    sequence, last = deep(L.Dropout(0.5)(shared(a)))
    other = nested(L.LayerNormalization()(shared(b)))
    cells = [L.LSTMCell(4), L.GRUCell(5), L.LSTMCell(4)]
    cells = (
        L.LSTMCell(4) if "keras3" in sys.argv else L.StackedRNNCells(cells)
    )  # which Keras 3 leaves out of checkpoints
    stack = L.RNN(cells, return_sequences=True, name="stack")
    both = L.Bidirectional(stack, name="both")(L.Concatenate()([sequence, other]))
    twice = L.Bidirectional(L.LSTM(2, return_sequences=True, trainable=False), merge_mode="sum")(both)
    steps = L.TimeDistributed(keras.Sequential([L.Dense(3, input_shape=(2,)), L.Dense(2)]))(twice)
    out = L.Dense(2, name="out")(L.Concatenate()([L.Flatten()(steps), last]))
    model = keras.Model([a, b], [out, other])
    model.get_layer("shared").trainable = False
    return model, [(3, 5, 3), (3, 5, 3)]


def chain():
    """A Sequential without an Input layer of its own."""
    layers = [
        L.Embedding(20, 6, mask_zero=True, input_length=7)
        if "keras3" not in sys.argv
        else L.Embedding(20, 6, mask_zero=True),
        L.Dropout(0.3),
        L.LSTM(5, return_sequences=True),
        L.BatchNormalization(),
        L.Bidirectional(L.GRU(4)),
        L.Dense(2),
    ]
    model = keras.Sequential(layers)
    model.build((None, 7))
    return model, [(3, 7)]


def translate():
    """An encoder whose states begin a decoder; some layers have the same shapes."""
    a, b = L.Input((None, 4), name="encoder_input"), L.Input((None, 4), name="decoder_input")
    _, h, c = L.LSTM(4, return_state=True, name="encoder")(a)
    hidden, _, _ = L.LSTM(4, return_sequences=True, return_state=True, name="decoder")(b, initial_state=[h, c])
    return keras.Model([a, b], L.Dense(4, activation="softmax")(hidden)), [(3, 6, 4), (3, 5, 4)]


def filled(model, random):
    """Give a model weights as of training, those of normalisation too, and an optimizer with slots."""
    model.compile(keras.optimizers.Adam(), "mse")
    model.set_weights(
        [
            np.abs(random.normal(0.1, 0.6, w.shape)) if "variance" in name else random.normal(0, 0.6, w.shape)
            for name, w in zip([v.name for v in model.weights], model.get_weights())
        ]
    )


def record(folder, name, made, save):
    """Save a model's weights, its JSON, and what it computes."""
    random = np.random.RandomState(3)
    model, shapes = made()
    filled(model, random)
    inputs = [random.normal(0, 1, s).astype("float32") for s in shapes]
    if name == "chain":
        inputs = [random.randint(0, 20, s).astype("int32") * (np.arange(s[1]) < [[7], [4], [2]]) for s in shapes]
    if name != "graph":
        goal = np.zeros_like(np.asarray(model.predict(inputs, verbose=0)))
        model.optimizer.learning_rate = 0.001
        model.fit(inputs, goal, verbose=0, callbacks=save if isinstance(save, list) else [])
    outputs = model(inputs[0] if len(inputs) == 1 else inputs)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    target = os.path.join(folder, VERSION, name)
    os.makedirs(target, exist_ok=True)
    if not isinstance(save, list):
        save(model, target)
    with open(os.path.join(target, "model.json"), "w") as file:
        file.write(model.to_json())
    np.savez(
        os.path.join(target, "case.npz"),
        **{"x%d" % i: x for i, x in enumerate(inputs)},
        **{"y%d" % i: np.asarray(y) for i, y in enumerate(outputs)},
    )


def weights_alone(model, target):
    """As tutorials do it."""
    model.save_weights(os.path.join(target, "my.ckpt-01"))


def beside_optimizer(model, target):
    """As custom training loops do it; of three, two are kept."""
    saved = tf.train.Checkpoint(optimizer=model.optimizer, net=model)
    manager = tf.train.CheckpointManager(saved, os.path.join(target, "kept"), max_to_keep=2)
    for _ in range(3):
        manager.save()


def two_models(model, target):
    """Two models in one checkpoint, and one that is no model."""
    other, _ = chain()
    tf.train.Checkpoint(other=other, model=model, step=tf.Variable(3)).write(os.path.join(target, "both"))


def of_a_class(folder):
    """A model that is a class: only names of attributes."""

    class Tagger(keras.Model):
        def __init__(self):
            super(Tagger, self).__init__()
            self.reader = L.Bidirectional(L.LSTM(3, return_sequences=True))
            self.writers = [L.GRU(4, return_sequences=True), L.SimpleRNN(5)]
            self.last = L.Dense(2)

        def call(self, x):
            x = self.reader(x)
            for layer in self.writers:
                x = layer(x)
            return self.last(x)

    random, model = np.random.RandomState(4), Tagger()
    x = random.normal(0, 1, (3, 5, 4)).astype("float32")
    model(x)
    model.set_weights([random.normal(0, 0.6, w.shape) for w in model.get_weights()])
    target = os.path.join(folder, VERSION, "class")
    os.makedirs(target, exist_ok=True)
    tf.train.Checkpoint(model=model).write(os.path.join(target, "tagger"))
    np.savez(os.path.join(target, "case.npz"), x0=x, y0=np.asarray(model.reader(x)))


def main():
    """Record every case."""
    folder = sys.argv[1]
    beside = "keras3" in sys.argv
    record(folder, "graph", graph, two_models if beside else weights_alone)
    record(folder, "chain", chain, beside_optimizer)
    target = os.path.join(folder, VERSION, "translate")
    os.makedirs(target, exist_ok=True)
    kept = keras.callbacks.ModelCheckpoint
    record(
        folder,
        "translate",
        translate,
        two_models if beside else [kept(os.path.join(target, "cp-{epoch:04d}.ckpt"), save_weights_only=True)],
    )
    of_a_class(folder)
    print(VERSION, json.dumps(sorted(os.listdir(target))))


main()
