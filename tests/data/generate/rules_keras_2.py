"""Models in which a rule of ``gateprobe/semantics.py`` decides the numbers, by Keras 2 and tf.keras: see ``rules.py``.

The second argument is ``keras`` or ``tensorflow.keras``.
"""

import importlib
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import numpy as np
from recording import normal, record, series, stepped, tap, without_setting

keras = importlib.import_module(sys.argv[2])
layers, K = keras.layers, importlib.import_module(sys.argv[2] + ".backend")
GATES = ("input_gate", "forget_gate", "output_gate")
STRIPPED = {
    "recurrent_activation": "recurrent_activation",
    "conv_recurrent_activation": "recurrent_activation",
    "gru_reset_after": "reset_after",
}


def masked(features=3, timesteps=4):
    x = layers.Input((timesteps, features))
    return x, layers.Masking()(x)


def hard_sigmoid_slope():
    x, y = masked()
    return keras.models.Model(x, layers.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True)(y)), [
        series()
    ]


def recurrent_activation():
    x = layers.Input((4, 3))
    return keras.models.Model(x, layers.LSTM(2)(x)), [normal(2, 4, 3)]


def conv_recurrent_activation():
    x = layers.Input((3, 4, 4, 1))
    return keras.models.Model(x, layers.ConvLSTM2D(1, 2)(x)), [normal(2, 3, 4, 4, 1)]


def gru_reset_after():
    x = layers.Input((4, 3))
    return keras.models.Model(x, layers.GRU(2, use_bias=False)(x)), [normal(2, 4, 3)]


def masked_output():
    """Where a sequence begins with masked timesteps, the carried state is the given one and there is no output yet."""
    (x, y), h, c = masked(), layers.Input((2,)), layers.Input((2,))
    z = layers.LSTM(2, return_sequences=True)(y, initial_state=[h, c])
    return keras.models.Model([x, h, c], z), [series(), normal(2, 2), normal(2, 2)]


def states_hide_mask():
    return masked_output()


def bidirectional_zeroes_masked():
    x, y = masked()
    return keras.models.Model(x, layers.Bidirectional(layers.LSTM(2, return_sequences=True))(y)), [series()]


def conv_lstm_zeroes_masked():
    x, mask = layers.Input((4, 3, 1)), layers.Input((4,), dtype="bool")
    y = layers.Bidirectional(layers.ConvLSTM1D(2, 2, return_sequences=True))(x, mask=mask)
    return keras.models.Model([x, mask], y), [normal(2, 4, 3, 1), np.array([[1, 1, 1, 1], [0, 1, 0, 1]], bool)]


def stacked_states_reversed():
    """The last step is masked, so that Keras 2.1, which needs cells of one size then, emits its first state."""
    x, states = layers.Input((4, 3)), [layers.Input((2,)) for _ in range(4)]
    layer = layers.RNN([layers.LSTMCell(2), layers.LSTMCell(2)], return_state=True)
    return keras.models.Model([x] + states, layer(x, initial_state=states)), [normal(2, 4, 3)] + [
        normal(2, 2) for _ in states
    ]


def merged_mask():
    (a, x), (b, y) = masked(), masked()
    merged = [layers.LSTM(2)(layers.Add()([x, y])), layers.Maximum()([x, y])]
    return keras.models.Model([a, b], merged), [series(), series(3)]


def softmax_sees_mask():
    x, mask = layers.Input((3,)), layers.Input((3,), dtype="bool")
    y = layers.Softmax()(x, mask=mask)
    return keras.models.Model([x, mask], y), [normal(3, 3), np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1]], bool)]


def softmax_sees_mask_of_its_input():
    x, y = masked()
    return keras.models.Model(x, layers.Softmax()(y)), [series()]


def attention_sees_masks():
    x, y = masked(4)
    return keras.models.Model(x, layers.MultiHeadAttention(1, 2)(y, y)), [series(features=4)]


def attention_scale_in_float32():
    x = layers.Input((3, 4), dtype="float64")
    y = layers.MultiHeadAttention(1, 3, dtype="float64")(x, x)
    return keras.models.Model(x, y), [normal(2, 3, 4).astype("float64")]


def identity_keeps_mask():
    model = keras.models.Sequential([layers.Masking(input_shape=(4, 3)), layers.Rescaling(2.0), layers.LSTM(2)])
    return model, [series()]


def distributed_mask():
    """Words of sentences: a mask for each word, and, where Keras computes it, one for each sentence."""
    tokens = layers.Input((2, 3), dtype="int32")
    z = layers.Embedding(5, 2, mask_zero=True)(tokens)
    outputs = [layers.TimeDistributed(layers.LSTM(2))(z)]
    if K.__name__.startswith("tensorflow"):
        outputs.append(layers.LSTM(2)(outputs[0]))
    return keras.models.Model(tokens, outputs), [np.array([[[1, 2, 0], [0, 0, 0]], [[4, 1, 2], [2, 2, 0]]], "int32")]


def distributed_mask_made():
    """Each timestep makes a mask of its own, which the layer after it sees where Keras computes it."""
    x = layers.Input((4, 3))
    y = layers.TimeDistributed(layers.Masking())(x)
    return keras.models.Model(x, layers.LSTM(2, return_sequences=True)(y)), [series()]


def explicit_mask_goes_on():
    (x, y), mask = masked(), layers.Input((4,), dtype="bool")
    y = layers.LSTM(2)(layers.LSTM(2, return_sequences=True)(y, mask=mask))
    return keras.models.Model([x, mask], y), [series(), np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)]


def null_mask_hides():
    x, y = masked()
    return keras.models.Model(x, layers.SimpleRNN(2)(y, mask=None)), [series()]


def group_norm_sees_mask():
    x, y = masked(4)
    return keras.models.Model(x, layers.GroupNormalization(2)(y)), [series(features=4)]


def models_cast_inputs():
    x, inside = layers.Input((3,)), layers.Input((3,), dtype="int32")
    inner = keras.models.Model(inside, layers.Embedding(9, 2)(inside))
    return keras.models.Model(x, inner(x)), [np.array([[1.2, 2.7, 3.0], [4.9, 0.5, 6.0]], "float32")]


def cast_keeps_mask():
    x, y = masked()
    inside = layers.Input((4, 3), dtype="float64")
    inner = keras.models.Model(inside, layers.LSTM(2, dtype="float64")(inside))
    return keras.models.Model(x, inner(y)), [series()]


def dot_norm_floor():
    a, b = layers.Input((3,)), layers.Input((3,))
    return keras.models.Model([a, b], layers.Dot(1, normalize=True)([a, b])), [3e-7 * normal(2, 3), normal(2, 3)]


def dot_any_rank():
    a, b = layers.Input((2, 3, 4)), layers.Input((4, 2, 3))
    return keras.models.Model([a, b], layers.Dot((3, 1))([a, b])), [normal(2, 2, 3, 4), normal(2, 4, 2, 3)]


def resize_half_pixels():
    x = layers.Input((3, 3, 1))
    return keras.models.Model(x, layers.UpSampling2D(2, interpolation="bilinear")(x)), [normal(1, 3, 3, 1)]


def resizes_with_tensorflow():
    x = layers.Input((3, 3, 1))
    return keras.models.Model(x, layers.UpSampling2D(2, interpolation="bicubic")(x)), [normal(1, 3, 3, 1)]


def keras1_kernels():
    x = layers.Input((5, 3))
    return keras.models.Model(x, layers.Conv1D(4, 2)(x)), [normal(2, 5, 3)]


def calls_share_states():
    x, y = layers.Input(batch_shape=(2, 4, 3)), layers.Input(batch_shape=(2, 4, 3))
    layer = layers.LSTM(2, stateful=True)
    first = layer(x)
    return keras.models.Model(
        [x, y], layers.Add()([first, layer(layers.Add()([y, layers.RepeatVector(4)(layers.Dense(3)(first))]))])
    ), [normal(4, 4, 3), normal(4, 4, 3)]


def bidirectional_keeps_states():
    x = layers.Input(batch_shape=(2, 4, 3))
    y = layers.Bidirectional(layers.LSTM(2, stateful=True, return_sequences=True))(x)
    return keras.models.Model(x, y), [normal(6, 4, 3)]


def kept_states_win():
    x = layers.Input(batch_shape=(2, 4, 3))
    h, c = layers.Input(batch_shape=(2, 2)), layers.Input(batch_shape=(2, 2))
    y = layers.LSTM(2, stateful=True)(x, initial_state=[h, c])
    return keras.models.Model([x, h, c], y), [normal(4, 4, 3), normal(4, 2), normal(4, 2)]


def config_in_float32():
    x = layers.Input((3,), dtype="float64")
    y = layers.Normalization(mean=[0.1, 0.2, 0.7], variance=[0.3, 0.7, 1.1], dtype="float64")(x)
    return keras.models.Model(x, y), [normal(2, 3).astype("float64")]


def single_codes_mix():
    x = layers.Input((1,), dtype="int32")
    return keras.models.Model(x, layers.CategoryEncoding(4)(x)), [np.array([[0], [2], [2]], "int32")]


def trainable_is_inherited():
    x, inside = layers.Input((3, 3)), layers.Input((3, 3))
    inner = keras.models.Model(inside, layers.Dense(3, use_bias=False)(layers.PReLU()(inside)))
    inner.trainable = False
    inner.layers[-1].trainable = True
    return keras.models.Model(x, inner(x)), [normal(2, 3, 3)]


def layer_norm_fused():
    x = layers.Input((5,))
    return keras.models.Model(x, layers.LayerNormalization()(x)), [1000 + 0.01 * normal(2, 5)]


def unit_norm_floor():
    x = layers.Input((3,))
    return keras.models.Model(x, layers.UnitNormalization()(x)), [3e-7 * normal(2, 3)]


def image_layer(name, *settings):
    """Return a layer that tf.keras had in another place until 2.6."""
    found = getattr(layers, name, None) or getattr(layers.experimental.preprocessing, name)
    return found(*settings)


def bytes_twice(layer):
    """Return a model that doubles bytes: their sums wrap around, those of floats do not."""
    x = layers.Input((2, 3, 1), dtype="uint8")
    y = layer(x)
    doubled = np.arange(100, 112).reshape(2, 2, 3, 1).astype("uint8") * 2
    return keras.models.Model(x, layers.Add()([y, y])), [doubled]


def graph_may_train():
    x = layers.Input((3, 4, 1))
    return keras.models.Model(x, image_layer("RandomFlip")(x, training=True)), [normal(8, 3, 4, 1)]


def augmentation_casts():
    return bytes_twice(image_layer("RandomFlip"))


def contrast_casts():
    return bytes_twice(image_layer("RandomContrast", 0.5))


def stretching_casts():
    return bytes_twice(image_layer("RandomHeight", 0.5))


def random_crop():
    """Its height to width lies between that of a square and that of the crop."""
    x = layers.Input((6, 9, 1))
    return keras.models.Model(x, image_layer("RandomCrop", 2, 4)(x)), [normal(2, 6, 9, 1)]


def predict(model, inputs):
    stateful = any(layer.get_config().get("batch_input_shape", [None])[0] for layer in model.layers[:1])
    rows = 2 if stateful else len(inputs[0])
    batches = [[x[n : n + rows] for x in inputs] for n in range(0, len(inputs[0]), rows)]
    answers = [answer(model, batch if len(inputs) > 1 else batch[0]) for batch in batches]
    return [np.concatenate(parts) for parts in zip(*answers)]


def answer(model, values):
    """Return the outputs for a batch, without building a graph where this Keras can do that."""
    tensorflow = importlib.import_module("tensorflow")
    eager = sys.argv[2] != "keras" and getattr(tensorflow, "executing_eagerly", bool)()
    image = any(layer.__class__.__name__.startswith("Random") for layer in model.layers)  # trains unless told otherwise
    how = {"training": False} if image else {}
    outputs = model(values, **how) if eager else model.predict_on_batch(values)
    return [np.asarray(y) for y in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def gates(model, inputs):
    found = [layer for layer in model.layers if layer.__class__.__name__ == "LSTM"]
    if len(found) != 1 or len(model.layers) != 3 or model.layers[1].__class__.__name__ != "Masking":
        return {}
    cell = found[0].cell
    activations = cell.activation, cell.recurrent_activation

    def step(x, states, taken, squashed):
        cell.activation, cell.recurrent_activation = tap(activations[0], squashed), tap(activations[1], taken)
        return cell.call(x, states)[1]

    def evaluate(tensors):
        return [t.numpy() if hasattr(t, "numpy") else run(t) for t in tensors]

    mask = (inputs[0] != 0).any(-1)
    return stepped(step, GATES, inputs[0], mask, cell.units, evaluate, K.constant)


def run(tensor):
    """Return the value of a tensor of TensorFlow 1."""
    return K.get_session().run(tensor)


def strip(path, rule):
    if rule in STRIPPED:
        without_setting(path, STRIPPED[rule])
        return keras.models.load_model(path)
    return None


RULES = [
    hard_sigmoid_slope, recurrent_activation, conv_recurrent_activation, gru_reset_after, masked_output,
    states_hide_mask, bidirectional_zeroes_masked, conv_lstm_zeroes_masked, stacked_states_reversed, merged_mask,
    softmax_sees_mask, softmax_sees_mask_of_its_input, attention_sees_masks, attention_scale_in_float32,
    identity_keeps_mask, distributed_mask, distributed_mask_made, explicit_mask_goes_on, null_mask_hides, group_norm_sees_mask, models_cast_inputs,
    cast_keeps_mask, dot_norm_floor, dot_any_rank, resize_half_pixels, resizes_with_tensorflow, keras1_kernels,
    calls_share_states, bidirectional_keeps_states, layer_norm_fused, kept_states_win, config_in_float32, trainable_is_inherited, unit_norm_floor,
    graph_may_train, augmentation_casts, contrast_casts, stretching_casts, random_crop,
    single_codes_mix,
]  # fmt: skip

if __name__ == "__main__":
    wanted = [rule for rule in RULES if rule.__name__ in sys.argv[3:] or len(sys.argv) < 4]
    record(sys.argv[1], wanted, ".h5", predict, gates, strip)
