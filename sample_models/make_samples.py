"""Make the sample models and their inputs with the real Keras.

    python make_samples.py brackets tokens translate     with Keras 3 (tensorflow backend)
    python make_samples.py ways opinions                 with Keras 3, after brackets
    python make_samples.py keras2                        with Keras 2.2.4 on TensorFlow 1.15 (Python 3.7)
    python make_samples.py port                          with h5py alone

Everything is seeded. The files in this folder were made with keras 3.15.1 and tensorflow 2.21, and with keras 2.2.4.
"""

import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SYMBOLS = "()a"
DEEPEST = 6
UNITS = 2


def bracket_text(rng, length):
    """Return a random text of brackets and letters that never closes what is not open, and its depths."""
    depth, text, depths = 0, [], []
    for _ in range(length):
        choices = ["a"] + ["("] * 2 * (depth < DEEPEST) + [")"] * 2 * (depth > 0)
        symbol = choices[rng.integers(len(choices))]
        depth += {"(": 1, ")": -1, "a": 0}[symbol]
        text.append(symbol)
        depths.append(depth)
    return "".join(text), depths


def one_hot(texts):
    """Return ``(samples, timesteps, 3)`` float32."""
    return np.array([[[symbol == s for s in SYMBOLS] for symbol in text] for text in texts], np.float32)


def brackets():
    """An LSTM of two units that follows nested brackets; its unit 0 counts the depth in its cell state."""
    import keras

    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    pairs = [bracket_text(rng, 40) for _ in range(3000)]
    x, y = one_hot([text for text, _ in pairs]), np.array([depths for _, depths in pairs])
    inputs = keras.Input((None, 3), name="symbols")
    hidden = keras.layers.LSTM(UNITS, return_sequences=True, name="lstm")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(DEEPEST + 1, activation="softmax", name="depth")(hidden))
    for rate, epochs in ((0.03, 15), (0.01, 15), (0.003, 10)):
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    print("accuracy", model.evaluate(x, y, verbose=0)[1])
    put_counter_first(model, x, y)
    model.save(os.path.join(HERE, "brackets.keras"))
    shown = ["((a)(a(a)))a", "(((((())))))", "a(a)a(a)a(a)"]
    np.save(os.path.join(HERE, "brackets.npy"), one_hot(shown))
    with open(os.path.join(HERE, "brackets_tokens.txt"), "w") as file:
        file.writelines(" ".join(text) + "\n" for text in shown)
    np.save(os.path.join(HERE, "brackets_depth.npy"), np.array([depths_of(text) for text in shown]))


def depths_of(text):
    """Return how many brackets are open after each symbol."""
    return np.cumsum([{"(": 1, ")": -1, "a": 0}[symbol] for symbol in text])


def put_counter_first(model, x, y):
    """Reorder the units, and turn one round, so that unit 0 counts upwards: the same function, easier to read."""
    layer, head = model.get_layer("lstm"), model.get_layer("depth")
    cells = cell_states(layer, x[:200])
    found = [np.corrcoef(cells[..., unit].ravel(), y[:200].ravel())[0, 1] for unit in range(UNITS)]
    best = int(np.argmax(np.abs(found)))
    order = [best, *(unit for unit in range(UNITS) if unit != best)]
    sign = np.array([np.sign(found[best]), *[1] * (UNITS - 1)])
    kernel, recurrent, bias = layer.get_weights()
    columns = np.concatenate([np.array(order) + UNITS * gate for gate in range(4)])
    turned = np.concatenate(
        [np.ones(2 * UNITS), sign, np.ones(UNITS)]
    )  # tanh is odd: turning the candidate turns the cell state
    layer.set_weights(
        [kernel[:, columns] * turned, recurrent[order][:, columns] * turned * sign[:, None], bias[columns] * turned]
    )
    weights, head_bias = head.get_weights()
    head.set_weights([weights[order] * sign[:, None], head_bias])
    cells = cell_states(layer, x[:200])
    print("correlation of unit 0 with the depth", np.corrcoef(cells[..., 0].ravel(), y[:200].ravel())[0, 1])


def cell_states(layer, x):
    """Return the cell states after every timestep, by stepping the layer's own cell."""
    states = [np.zeros((len(x), UNITS), np.float32)] * 2
    found = []
    for t in range(x.shape[1]):
        _, states = layer.cell(x[:, t], states)
        found.append(np.array(states[1]))
    return np.stack(found, 1)


def tokens():
    """A Bidirectional LSTM over masked tokens: does the later of the two marks 2 and 3 come last?"""
    import keras

    keras.utils.set_random_seed(11)
    rng = np.random.default_rng(11)
    x = rng.integers(1, 10, (2000, 8))
    lengths = rng.integers(2, 9, 2000)
    x[np.arange(8) >= lengths[:, None]] = 0
    last = np.array([max([t for t, token in enumerate(row) if token in (2, 3)], default=-1) for row in x])
    y = np.array([token == 3 for token in x[np.arange(2000), last]]) & (last >= 0)
    inputs = keras.Input((None,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(10, 5, mask_zero=True, name="embedding")(inputs)
    merged = keras.layers.Bidirectional(keras.layers.LSTM(4), name="bidirectional")(embedded)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="label")(merged))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=15, batch_size=64, verbose=0)
    print("accuracy", model.evaluate(x, y, verbose=0)[1])
    model.save(os.path.join(HERE, "tokens.keras"))
    np.save(os.path.join(HERE, "tokens.npy"), x[:4].astype(np.int32))


def translate():
    """An encoder-decoder that reads digits and says them backwards; the decoder starts from the encoder's states."""
    import keras

    keras.utils.set_random_seed(13)
    rng = np.random.default_rng(13)
    source = rng.integers(1, 6, (4000, 4))
    target = source[:, ::-1]
    decoder_x = np.concatenate([np.zeros((4000, 1), int), target[:, :-1]], 1)
    encoder_in = keras.Input((None,), dtype="int32", name="encoder_input")
    decoder_in = keras.Input((None,), dtype="int32", name="decoder_input")
    embedding = keras.layers.Embedding(6, 6, name="shared_embedding")
    _, h, c = keras.layers.LSTM(12, return_state=True, name="encoder")(embedding(encoder_in))
    decoder = keras.layers.LSTM(12, return_sequences=True, name="decoder")
    decoded = decoder(embedding(decoder_in), initial_state=[h, c])
    model = keras.Model([encoder_in, decoder_in], keras.layers.Dense(6, activation="softmax", name="digit")(decoded))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit([source, decoder_x], target, epochs=25, batch_size=64, verbose=0)
    print("accuracy", model.evaluate([source, decoder_x], target, verbose=0)[1])
    model.save(os.path.join(HERE, "translate.keras"))
    np.save(os.path.join(HERE, "translate_source.npy"), source[:4].astype(np.int32))
    np.save(os.path.join(HERE, "translate_target.npy"), decoder_x[:4].astype(np.int32))


def ways():
    """What one step can be, on the brackets: their LSTM both ways, and GRUs whose reset gate acts after or before."""
    import keras

    keras.utils.set_random_seed(17)
    rng = np.random.default_rng(17)
    pairs = [bracket_text(rng, 20) for _ in range(3000)]
    x, y = one_hot([text for text, _ in pairs]), np.array([depths for _, depths in pairs])
    inputs = keras.Input((None, 3), name="symbols")
    both = {"forward": False, "backward": True}
    lstms = [
        keras.layers.LSTM(UNITS, return_sequences=True, go_backwards=way, name=name)(inputs)
        for name, way in both.items()
    ]
    resets = {"reset_after": True, "reset_before": False}
    grus = [
        keras.layers.GRU(UNITS, return_sequences=True, reset_after=way, name=name)(inputs)
        for name, way in resets.items()
    ]
    heads = [keras.layers.Dense(DEEPEST + 1, activation="softmax")(gru) for gru in grus]
    trained = keras.Model(inputs, heads)
    trained.compile(keras.optimizers.Adam(0.02), ["sparse_categorical_crossentropy"] * 2)
    trained.fit(x, [y, y], batch_size=64, epochs=15, verbose=0)
    model = keras.Model(inputs, [*lstms, *grus])
    for name in both:
        counter = keras.models.load_model(os.path.join(HERE, "brackets.keras")).get_layer("lstm")
        model.get_layer(name).set_weights(counter.get_weights())
    model.save(os.path.join(HERE, "ways.keras"))


def opinions():
    """An LSTM that reads English: is the film good? "not" turns the next word round."""
    import keras

    keras.utils.set_random_seed(19)
    rng = np.random.default_rng(19)
    start, verdicts = ["the film is", "a film that is", "i find it"], {"good": 1, "lovely": 1, "bad": 0, "boring": 0}
    texts, labels = [], []
    for _ in range(3000):
        words, score = [str(rng.choice(start))], 0
        for number in range(rng.integers(1, 4)):
            word, turned = str(rng.choice(list(verdicts))), rng.random() < 0.4
            words += ["and"] * (number > 0) + ["not"] * turned + ["very"] * (rng.random() < 0.3) + [word]
            score += 1 if verdicts[word] != turned else -1
        if score:
            texts.append(" ".join(words))
            labels.append(score > 0)
    vectorize = keras.layers.TextVectorization(name="words")
    vectorize.adapt(texts)
    inputs = keras.Input((), dtype="string", name="text")
    embedded = keras.layers.Embedding(vectorize.vocabulary_size(), 4, mask_zero=True, name="embedding")(
        vectorize(inputs)
    )
    opinion = keras.layers.LSTM(3, name="lstm")(embedded)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="good")(opinion))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    import tensorflow as tf

    model.fit(tf.constant(texts), np.array(labels), epochs=12, batch_size=64, verbose=0)
    print("accuracy", model.evaluate(tf.constant(texts), np.array(labels), verbose=0)[1])
    model.save(os.path.join(HERE, "opinions.keras"))


def keras2():
    """A model of Keras 2.2.4, whose gates use the old hard_sigmoid: clip(0.2 x + 0.5, 0, 1)."""
    import keras

    np.random.seed(5)
    model = keras.models.Sequential(
        [keras.layers.LSTM(3, input_shape=(6, 2), name="lstm_1"), keras.layers.Dense(1, name="dense_1")]
    )
    # large weights: some gates leave the middle of hard_sigmoid, where Keras 2 and Keras 3 differ most
    model.set_weights([np.random.normal(0, 1.5, w.shape) for w in model.get_weights()])
    model.save(os.path.join(HERE, "keras2.h5"))
    np.save(os.path.join(HERE, "keras2.npy"), np.random.normal(0, 1, (3, 6, 2)).astype(np.float32))


def port():
    """What a port of ``brackets.keras`` logs that takes the columns of the weights to be in the order i, f, o, g."""
    import io
    import zipfile

    import h5py

    with zipfile.ZipFile(os.path.join(HERE, "brackets.keras")) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as file:
        kernel, recurrent, bias = (file[f"layers/lstm/cell/vars/{n}"][()].astype(float) for n in range(3))
    x = np.load(os.path.join(HERE, "brackets.npy"))
    names = [f"{letter}{unit}" for letter in "ifgoch" for unit in range(UNITS)]
    lines = [",".join(["sample", "t", *names])]
    for number, sample in enumerate(x):
        h, c = np.zeros(UNITS), np.zeros(UNITS)
        for t, features in enumerate(sample):
            z_i, z_f, z_o, z_g = np.split(features @ kernel + h @ recurrent + bias, 4)  # the mistake
            i, f, o = (1 / (1 + np.exp(-z)) for z in (z_i, z_f, z_o))
            g = np.tanh(z_g)
            c = f * c + i * g
            h = o * np.tanh(c)
            lines.append(",".join([str(number), str(t), *(f"{v:.6f}" for v in np.concatenate([i, f, g, o, c, h]))]))
    with open(os.path.join(HERE, "brackets_port.csv"), "w") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        made = {"brackets": brackets, "tokens": tokens, "translate": translate}
        {**made, "ways": ways, "opinions": opinions, "keras2": keras2, "port": port}[wanted]()
