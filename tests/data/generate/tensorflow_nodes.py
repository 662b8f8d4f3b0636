"""Models whose graphs hold operations of TensorFlow as ``TensorFlowOpLayer``; run with TensorFlow 1.15, 2.0, 2.1 and 2.3.

``python tests/data/generate/tensorflow_nodes.py FOLDER`` writes ``nodes-VERSION.h5`` and ``nodes-VERSION.npz``.
"""

import os
import sys

import numpy as np
import tensorflow as tf

keras = tf.keras


def model():
    x = keras.Input((5, 4), name="x")
    y = keras.layers.Dense(4, name="dense")(x)
    scaled = 0.5 * tf.sigmoid(y) - tf.constant([0.1, 0.2, 0.3, 0.4])
    weight = tf.nn.softmax(tf.reduce_sum(scaled, axis=-1, keepdims=True), axis=1)
    sequence = keras.layers.LSTM(3, return_sequences=True, name="lstm")(scaled * weight + tf.square(x))
    last = sequence[:, -1, :]
    mixed = tf.concat([last, tf.reduce_mean(sequence, axis=1), tf.reduce_max(sequence[:, 1:4], 1)], axis=-1)
    scores = tf.matmul(sequence, tf.transpose(sequence, [0, 2, 1]))
    flat = tf.reshape(tf.nn.relu(scores), [-1, 25])
    steps = tf.cast(tf.shape(sequence)[1], tf.float32)
    joined = tf.stack([mixed, mixed / steps, tf.maximum(mixed, -0.1)], axis=1)
    whole = tf.concat([keras.layers.Flatten()(joined), tf.tile(flat, [1, 2]), tf.squeeze(weight, -1)], 1)
    return keras.Model(x, keras.layers.Dense(2, name="end")(whole))


def main():
    folder, version = sys.argv[1], tf.__version__
    made = model()
    rng = np.random.RandomState(5)
    made.set_weights([rng.normal(0, 0.5, weight.shape) for weight in made.get_weights()])
    x = rng.normal(size=(3, 5, 4)).astype("float32")
    traced = keras.Model(made.inputs, [made.get_layer("lstm").output, made.output])
    states, output = traced.predict(x)
    made.save(os.path.join(folder, "nodes-%s.h5" % version), include_optimizer=False)
    np.savez(os.path.join(folder, "nodes-%s.npz" % version), x=x, hidden_state=states, output=output)


if __name__ == "__main__":
    main()
