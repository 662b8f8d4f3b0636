"""Models in which a rule of ``gateprobe/semantics.py`` decides the numbers, by Keras 3: see ``rules.py``."""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from recording import normal, record, series, stepped, tap

GATES = ("input_gate", "forget_gate", "output_gate")


def masked(features=3, timesteps=4, **options):
    x = layers.Input((timesteps, features), **options)
    return x, layers.Masking()(x)


def hard_sigmoid_slope():
    x, y = masked()
    return keras.Model(x, layers.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True)(y)), [series()]


def conv_lstm_zeroes_masked():
    x, mask = layers.Input((4, 3, 1)), layers.Input((4,), dtype="bool")
    inner = layers.ConvLSTM1D(2, 2, return_sequences=True)
    y = layers.Bidirectional(inner)(x, mask=mask)
    return keras.Model([x, mask], y), [normal(2, 4, 3, 1), np.array([[1, 1, 1, 1], [0, 1, 0, 1]], bool)]


def merged_mask():
    """Keras 3 writes the mask of a recurrent layer into the graph; that of a Maximum is on the tensors alone."""
    (a, x), (b, y) = masked(), masked()
    return keras.Model([a, b], [layers.LSTM(2)(layers.Add()([x, y])), layers.Maximum()([x, y])]), [series(), series(3)]


def softmax_zeroes_masked():
    x, mask = layers.Input((3,)), layers.Input((3,), dtype="bool")
    y = layers.Softmax()(x, mask=mask)
    return keras.Model([x, mask], y), [normal(3, 3), np.array([[1, 1, 1], [0, 1, 1], [0, 0, 0]], bool)]


def attention_sees_masks():
    x, y = masked(4)
    return keras.Model(x, layers.MultiHeadAttention(1, 2)(y, y)), [series(features=4)]


def attention_fused():
    """In float64, where the distance to what is not masked does not swallow the scores."""
    x, mask = layers.Input((3, 4), dtype="float64"), layers.Input((3, 3), dtype="bool")
    y = layers.MultiHeadAttention(1, 2, dtype="float64")(x, x, attention_mask=mask)
    sees = np.ones((2, 3, 3), bool)
    sees[1, 1] = sees[0, 0, 1:] = False
    return keras.Model([x, mask], y), [3 * normal(2, 3, 4).astype("float64"), sees]


def attention_scale_in_float32():
    x = layers.Input((3, 4), dtype="float64")
    y = layers.MultiHeadAttention(1, 3, dtype="float64")(x, x)
    return keras.Model(x, y), [normal(2, 3, 4).astype("float64")]


def attention_takes_masks():
    x, y = masked(4)
    return keras.Model(x, layers.Maximum()([layers.MultiHeadAttention(1, 2)(y, y), y])), [series(features=4)]


def states_hide_mask():
    (x, y), h, c = masked(), layers.Input((2,)), layers.Input((2,))
    return keras.Model([x, h, c], layers.LSTM(2)(y, initial_state=[h, c])), [series(), normal(2, 2), normal(2, 2)]


def identity_keeps_mask():
    model = keras.Sequential([layers.Input((4, 3)), layers.Masking(), layers.Rescaling(2.0), layers.LSTM(2)])
    return model, [series()]


def distributed_mask():
    x, y = masked()
    tokens = layers.Input((2, 3), dtype="int32")
    embedded = layers.Embedding(5, 2, mask_zero=True)(tokens)
    outer = layers.LSTM(2)(layers.TimeDistributed(layers.Dense(2))(y))
    inner = layers.TimeDistributed(layers.LSTM(2))(embedded)
    return keras.Model([x, tokens], [outer, inner]), [
        series(),
        np.array([[[1, 2, 0], [3, 0, 0]], [[4, 1, 2], [2, 2, 0]]], "int32"),
    ]


def bias_goes_astray():
    x = layers.Input((2, 3))
    y = layers.EinsumDense("abc,cd->abd", (2, 2), bias_axes="b")(x)
    return keras.Model(x, y), [normal(2, 2, 3)]


def explicit_mask_goes_on():
    (x, y), mask = masked(), layers.Input((4,), dtype="bool")
    z = layers.LSTM(3, return_sequences=True)(y, mask=mask)
    return keras.Model([x, mask], layers.Maximum()([z, y])), [series(), np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)]


def models_keep_inner_masks():
    """A model in a model makes a mask of one of its inputs; from Keras 3.4 on, each call names the masks it is given."""
    one, other = layers.Input((4,), dtype="int32", name="one"), layers.Input((4, 3), name="other")
    embedded = layers.Embedding(5, 2, mask_zero=True)(one)
    inner = keras.Model({"one": one, "other": other}, [embedded, layers.Dense(2)(other)])
    tokens, x = layers.Input((4,), dtype="int32"), layers.Input((4, 3))
    outputs = [layers.LSTM(2, return_sequences=True)(y) for y in inner({"one": tokens, "other": x})]
    return keras.Model([tokens, x], outputs), [np.array([[1, 2, 0, 0], [4, 0, 2, 0]], "int32"), series()]


def null_mask_hides():
    x, y = masked()
    return keras.Model(x, layers.SimpleRNN(2)(y, mask=None)), [series()]


def group_norm_sees_mask():
    x, y = masked(4)
    return keras.Model(x, layers.GroupNormalization(2)(y)), [series(features=4)]


def cast_keeps_mask():
    x, y = masked()
    inside = layers.Input((4, 3), dtype="float64")
    inner = keras.Model(inside, layers.LSTM(2, dtype="float64")(inside))
    return keras.Model(x, inner(y)), [series()]


def dot_norm_floor():
    a, b = layers.Input((3,)), layers.Input((3,))
    return keras.Model([a, b], layers.Dot(1, normalize=True)([a, b])), [3e-7 * normal(2, 3), normal(2, 3)]


def unit_norm_floor():
    x = layers.Input((3,))
    return keras.Model(x, layers.UnitNormalization()(x)), [3e-7 * normal(2, 3)]


def resizes_with_tensorflow():
    x = layers.Input((3, 3, 1))
    return keras.Model(x, layers.UpSampling2D(2, interpolation="bicubic")(x)), [normal(1, 3, 3, 1)]


def kept_states_win():
    x = layers.Input(batch_shape=(2, 4, 3))
    h, c = layers.Input(batch_shape=(2, 2)), layers.Input(batch_shape=(2, 2))
    y = layers.LSTM(2, stateful=True)(x, initial_state=[h, c])
    return keras.Model([x, h, c], y), [normal(4, 4, 3), normal(4, 2), normal(4, 2)]


def config_in_float32():
    x = layers.Input((3,), dtype="float64")
    y = layers.Normalization(mean=[0.1, 0.2, 0.7], variance=[0.3, 0.7, 1.1], dtype="float64")(x)
    return keras.Model(x, y), [normal(2, 3).astype("float64")]


def layer_norm_in_input_dtype():
    x = layers.Input((5,))
    return keras.Model(x, layers.LayerNormalization(dtype="mixed_bfloat16")(x)), [normal(2, 5)]


def layer_norm_fused():
    x = layers.Input((5,))
    return keras.Model(x, layers.LayerNormalization()(x)), [1000 + 0.01 * normal(2, 5)]


def group_norm_in_input_dtype():
    x = layers.Input((5, 4))
    return keras.Model(x, layers.GroupNormalization(2, dtype="mixed_bfloat16")(x)), [normal(2, 5, 4)]


def group_norm_rounds_weights():
    return group_norm_in_input_dtype()


def halves_round_weights():
    x = layers.Input((5,))
    return keras.Model(x, layers.BatchNormalization(dtype="mixed_bfloat16")(x)), [normal(2, 5)]


def graph_may_train():
    x = layers.Input((3, 4, 1))
    return keras.Model(x, layers.RandomFlip()(x, training=True)), [normal(8, 3, 4, 1)]


def contrast_casts():
    """Sums of bytes wrap around, those of floats do not."""
    x = layers.Input((2, 3, 1), dtype="uint8")
    y = layers.RandomContrast(0.5)(x)
    return keras.Model(x, layers.Add()([y, y])), [np.arange(100, 112).reshape(2, 2, 3, 1).astype("uint8") * 2]


def random_crop():
    x = layers.Input((6, 9, 1))
    return keras.Model(x, layers.RandomCrop(4, 3)(x)), [normal(2, 6, 9, 1)]


def single_codes_mix():
    x = layers.Input((1,), dtype="int32")
    return keras.Model(x, layers.CategoryEncoding(4)(x)), [np.array([[0], [2], [2]], "int32")]


def trainable_is_inherited():
    """Weights of the same shape and of different names, which Keras 3.0 needs to save HDF5."""
    x, inside = layers.Input((3, 3)), layers.Input((3, 3))
    inner = keras.Model(inside, layers.Dense(3, use_bias=False)(layers.PReLU()(inside)))
    inner.trainable = False
    inner.layers[-1].trainable = True
    return keras.Model(x, inner(x)), [normal(2, 3, 3)]


def predict(model, inputs):
    rows = 2 if any(layer.__class__.__name__ == "LSTM" and layer.stateful for layer in model.layers) else len(inputs[0])
    starts = range(0, len(inputs[0]), rows)
    image = any(layer.__class__.__name__.startswith("Random") for layer in model.layers)  # trains unless told otherwise
    answers = [
        model(
            [tf.constant(x[n : n + rows]) for x in inputs] if len(inputs) > 1 else tf.constant(inputs[0][n : n + rows]),
            **({"training": False} if image else {}),
        )
        for n in starts
    ]
    answers = [
        [np.asarray(tf.cast(y, "float32") if y.dtype == tf.bfloat16 else y) for y in tf.nest.flatten(one)]
        for one in answers
    ]
    return [np.concatenate(parts) for parts in zip(*answers)]


def gates(model, inputs):
    if not any(isinstance(layer, layers.Masking) for layer in model.layers):
        return {}
    found = [layer for layer in model.layers if isinstance(layer, layers.LSTM)]
    if len(found) != 1 or len(model.layers) != 3 or model.layers[1].__class__.__name__ != "Masking":
        return {}
    cell = found[0].cell
    activations = cell.activation, cell.recurrent_activation

    def step(x, states, taken, squashed):
        cell.activation, cell.recurrent_activation = tap(activations[0], squashed), tap(activations[1], taken)
        return cell.call(x, states)[1]

    mask = (inputs[0] != 0).any(-1)
    return stepped(step, GATES, inputs[0], mask, cell.units, lambda ts: [np.asarray(t) for t in ts], tf.constant)


RULES = [
    hard_sigmoid_slope, conv_lstm_zeroes_masked, merged_mask, softmax_zeroes_masked, attention_sees_masks,
    attention_fused, attention_scale_in_float32, attention_takes_masks, states_hide_mask, identity_keeps_mask,
    distributed_mask, bias_goes_astray, explicit_mask_goes_on, models_keep_inner_masks,
    null_mask_hides, group_norm_sees_mask, cast_keeps_mask, dot_norm_floor,
    unit_norm_floor, resizes_with_tensorflow, kept_states_win, config_in_float32, layer_norm_in_input_dtype,
    layer_norm_fused,    group_norm_in_input_dtype, group_norm_rounds_weights, halves_round_weights,
    graph_may_train, contrast_casts, random_crop, single_codes_mix,
]  # fmt: skip

if __name__ == "__main__":
    record(sys.argv[1], RULES, ".keras", predict, gates)
    record(sys.argv[1], [trainable_is_inherited], ".h5", predict)
