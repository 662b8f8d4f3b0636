"""Faults planted in the replay while Keras opens the untouched file: each must be found, and named."""

import re
from dataclasses import replace

import numpy as np
import pytest
from graphs import changed

import gateprobe
from gateprobe.graph import WeightArray, WeightGroup
from gateprobe.layers.recurrent import bidirectional
from gateprobe.model import opened
from gateprobe.replay.run import _Recorder
from gateprobe.verification.result import Status
from gateprobe.verification.run import verify

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]  # of Keras and TensorFlow

UNITS = 3


def saved(in_process, library, tmp_path, *layers, shape=(5, 2), embedding=False, weights=None):
    """Build a Sequential, give it random weights (biases too), save it."""
    keras = in_process[library]
    keras.utils.set_random_seed(7)
    first = [keras.layers.Embedding(9, 2, mask_zero=True)] if embedding else []
    model = keras.Sequential([keras.Input((None,) if embedding else shape), *first, *(make(keras) for make in layers)])
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.5, array.shape) for array in model.get_weights()])
    if weights is not None:
        weights(model)
    path = tmp_path / "model.keras"
    model.save(path)
    return path


def lstm(**options):
    return lambda keras: keras.layers.LSTM(UNITS, **options)


def bidirectional_lstm(keras):
    return keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True))


def gru(keras):
    return keras.layers.GRU(UNITS, reset_after=True)


def with_record(model, class_name, **config):
    """Change the configuration of the layers of a class, as a wrong reader would."""
    layers = tuple(
        replace(record, config={**record.config, **config}) if record.class_name == class_name else record
        for record in opened(model).record.layers
    )
    return changed(model, graph=replace(opened(model).graph, model=replace(opened(model).record, layers=layers)))


def with_weights(model, shape, change):
    """Change every array of a shape, as a wrong reader would."""

    def regrouped(group):
        arrays = tuple(
            WeightArray(array.name, change(array.value.copy())) if array.value.shape == shape else array
            for array in group.arrays
        )
        return WeightGroup(arrays, {key: regrouped(child) for key, child in group.children.items()}, group.name)

    store = opened(model).graph.weights
    return changed(model, graph=replace(opened(model).graph, weights=replace(store, root=regrouped(store.root))))


def blocks(order, gates):
    def change(array):
        parts = np.split(array, gates, axis=-1)
        return np.concatenate([parts[place] for place in order], axis=-1)

    return change


def explained(model):
    result = verify(model)
    assert not result
    assert result.status is Status.DISAGREES
    assert result.built_because is None
    return result, {one.name: one for one in result.explanations}


def test_the_untouched_models_agree(in_process, tmp_path):
    for library in ("tf_keras", "keras3"):
        path = saved(in_process, library, tmp_path, bidirectional_lstm, lstm(), embedding=True)
        result = verify(path)
        assert result.status is Status.AGREES
        assert result.worst.required < 1
        assert [one.samples for one in result.inputs] == [6, 6, 6]
        layers = {report.layer for report in result.signals}
        assert any(layer.startswith("bidirectional") for layer in layers)
        assert any(layer.startswith("lstm") for layer in layers)


def test_the_other_slope_of_hard_sigmoid(in_process, tmp_path):
    path = saved(in_process, "tf_keras", tmp_path, lstm(recurrent_activation="hard_sigmoid"))
    result, names = explained(gateprobe.read(path, semantics="keras3"))
    assert names["hard_sigmoid slope"].everything
    assert "0.2*x" in names["hard_sigmoid slope"].text
    assert (result.first.timestep, result.first.signal) == (0, "input_gate")


def test_sigmoid_for_hard_sigmoid(in_process, tmp_path):
    path = saved(in_process, "keras3", tmp_path, lstm(recurrent_activation="hard_sigmoid"))
    _, names = explained(with_record(gateprobe.read(path), "LSTM", recurrent_activation="sigmoid"))
    assert names["hard_sigmoid for sigmoid"].everything


def test_hard_sigmoid_for_sigmoid(in_process, tmp_path):
    path = saved(in_process, "tf_keras", tmp_path, lstm())
    _, names = explained(with_record(gateprobe.read(path), "LSTM", recurrent_activation="hard_sigmoid"))
    assert names["sigmoid for hard_sigmoid"].everything


def test_a_mask_that_the_replay_ignores(in_process, tmp_path):
    path = saved(in_process, "tf_keras", tmp_path, lstm(), embedding=True)
    result, names = explained(with_record(gateprobe.read(path), "Embedding", mask_zero=False))
    assert "is masked in Keras and unmasked in the replay" in result.problems[0]
    assert "with the mask that Keras gave it" in names["mask"].text


def test_a_mask_that_keras_ignores(in_process, tmp_path):
    keras = in_process["keras3"]
    tokens, start = keras.Input((None,), dtype="int32", name="tokens"), keras.Input((UNITS,), name="start")
    x = keras.layers.Embedding(9, 2, mask_zero=True)(tokens)
    y = keras.layers.GRU(UNITS)(x, initial_state=[start])
    keras.Model([tokens, start], y).save(tmp_path / "model.keras")
    model = gateprobe.read(tmp_path / "model.keras")
    assert verify(model)
    # Keras 3 hides the mask from layers that are given states; a replay that does not know it differs
    wrong = changed(model, semantics=replace(opened(model).semantics, states_hide_mask=False))
    result = verify(wrong, against="keras3")
    assert result  # rules of the installed Keras are put in place of wrong ones ...
    from gateprobe.verification import run as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "spoken", lambda semantics, origin, version: semantics)  # ... unless planted deeper
        _, names = explained(wrong)
    assert names["mask ignored"].everything


def test_a_backward_layer_that_reads_forwards(in_process, tmp_path, monkeypatch):
    path = saved(in_process, "keras3", tmp_path, bidirectional_lstm)
    made = bidirectional.Bidirectional

    def wrong(forward, backward, *rest):
        return made(forward, replace(backward, go_backwards=False), *rest)

    monkeypatch.setattr(bidirectional, "Bidirectional", wrong)
    result, names = explained(gateprobe.read(path))
    assert names["direction"].everything
    assert result.first.direction == "backward"


def test_backward_signals_that_are_not_reversed(in_process, tmp_path, monkeypatch):
    path = saved(in_process, "tf_keras", tmp_path, bidirectional_lstm)
    record = _Recorder.__call__

    def wrong(self, path, *, backwards, signals, **others):
        signals = {name: value[:, ::-1] if backwards else value for name, value in signals.items()}
        record(self, path, backwards=backwards, signals=signals, **others)

    monkeypatch.setattr(_Recorder, "__call__", wrong)
    result, names = explained(gateprobe.read(path))
    assert "backward not reversed" in names
    assert (result.first.direction, result.first.step) == ("backward", 0)


def test_a_gru_that_resets_before_the_product(in_process, tmp_path):
    def no_recurrent_bias(model):
        kernel, recurrent, bias = model.get_weights()
        bias[1] = 0
        model.set_weights([kernel, recurrent, bias])

    path = saved(in_process, "keras3", tmp_path, gru, shape=(5, 4), weights=no_recurrent_bias)
    model = with_record(gateprobe.read(path), "GRU", reset_after=False)
    _, names = explained(with_weights(model, (2, 3 * UNITS), lambda bias: bias.sum(axis=0)))
    assert names["GRU reset_after"].everything


@pytest.mark.parametrize(("library", "order"), [("tf_keras", (0, 2, 1, 3)), ("keras3", (0, 3, 1, 2))])
def test_another_order_of_the_gates(in_process, tmp_path, library, order):
    model = gateprobe.read(saved(in_process, library, tmp_path, lstm(), lambda keras: keras.layers.Dense(1)))
    for shape in ((2, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)):
        model = with_weights(model, shape, blocks(order, 4))
    _, names = explained(model)
    assert names["gate order"].everything
    right = ", ".join("ifgo"[place] for place in order)
    assert f"the gate order is {right}" in names["gate order"].text


def test_the_halves_of_a_bias(in_process, tmp_path):
    path = saved(in_process, "tf_keras", tmp_path, gru, shape=(5, 4))
    _, names = explained(with_weights(gateprobe.read(path), (2, 3 * UNITS), lambda bias: bias[::-1]))
    assert names["bias halves"].everything
    assert "the other way round" in names["bias halves"].text


def test_a_transposed_recurrent_kernel(in_process, tmp_path):
    path = saved(in_process, "keras3", tmp_path, lstm())

    def transposed(kernel):
        return np.hstack([block.T for block in np.split(kernel, 4, axis=1)])

    _, names = explained(with_weights(gateprobe.read(path), (UNITS, 4 * UNITS), transposed))
    assert names["recurrent kernel transposed"].everything


@pytest.mark.parametrize("library", ["tf_keras", "keras3"])
def test_one_flipped_weight(in_process, tmp_path, library):
    path = saved(in_process, library, tmp_path, bidirectional_lstm, lstm())

    def flip(kernel):
        kernel[1, 7] *= -1
        return kernel

    result, names = explained(with_weights(gateprobe.read(path), (2 * UNITS, 4 * UNITS), flip))
    assert "/cell kernel[1, 7]" in names["weights"].text
    assert "(1 of 72 numbers differ)" in names["weights"].text
    assert result.first.unit == 7 - 2 * UNITS
    assert (result.first.signal, result.first.step) == ("candidate", 0)
    assert result.problems == (names["weights"].text,)


def test_a_fault_before_the_first_recurrent_layer(in_process, tmp_path):
    path = saved(in_process, "keras3", tmp_path, lambda keras: keras.layers.Dense(4), lstm())
    wrong = with_weights(gateprobe.read(path), (4,), lambda bias: bias + 1)
    _, names = explained(wrong)
    assert re.match(r"dense_?\d* bias\[0\] is", names["weights"].text)
    assert "lstm" in names["upstream"].text
