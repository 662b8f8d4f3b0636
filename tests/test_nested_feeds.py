"""A layer inside a nested model is fed: what the outer model computes for nothing else is not asked for."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import chain, changed, lstm_weights

from gateprobe.errors import InputError
from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef, WeightArray, WeightGroup, freeze
from gateprobe.model import opened

RNG = np.random.default_rng(4)
DENSE = [RNG.normal(size=(3, 3)), RNG.normal(size=3)]
LSTM = lstm_weights(RNG, 3, 2)
X = RNG.normal(size=(2, 5, 3)).astype(np.float32)
FED = RNG.normal(size=(2, 5, 3)).astype(np.float32)


def source(name):
    return LayerRecord(name, "InputLayer", {"name": name, "batch_shape": (None, 5, 3)}, calls=(Call(),))


def layer(name, class_name, *args, **config):
    return LayerRecord(name, class_name, {"name": name, **config}, calls=(Call(args),))


def nested(*, opaque=True, calls=1):
    """outer: x, side → a layer of unknown code or none → inner: Dense → LSTM, and beside it Dense of the side."""
    inner = ModelRecord(
        "inner",
        "Functional",
        (
            source("a"),
            source("b"),
            layer("first", "Dense", TensorRef("a"), units=3),
            layer("lstm", "LSTM", TensorRef("first"), units=2, return_sequences=True),
            layer("beside", "Activation", TensorRef("b"), activation="tanh"),
        ),
        (TensorRef("a"), TensorRef("b")),
        (TensorRef("lstm"), TensorRef("beside")),
    )
    given = (TensorRef("odd" if opaque else "x"), TensorRef("side"))
    whole = LayerRecord("inner", "Functional", {"name": "inner"}, model=inner, calls=(Call((given,)),) * calls)
    layers = (
        source("x"),
        source("side"),
        *((layer("odd", "Unknown>Odd", TensorRef("x")),) if opaque else ()),
        whole,
        layer("end", "Activation", TensorRef("inner"), activation="relu"),
        layer("other", "Activation", TensorRef("inner", 0, 1), activation="relu"),
    )
    ends = (TensorRef("end"), TensorRef("other"))
    model = ModelRecord("model", "Functional", layers, (TensorRef("x"), TensorRef("side")), ends)
    base = chain([("Dense", "dense", {"units": 3})], {"dense": DENSE})
    arrays = tuple(WeightArray(f"inner/{n}", freeze(np.asarray(a, np.float32))) for n, a in enumerate((*DENSE, *LSTM)))
    graph = opened(base).graph
    store = replace(graph.weights, root=WeightGroup(children={"inner": WeightGroup(arrays)}))
    return changed(base, graph=replace(graph, model=model, weights=store))


def expected(x):
    return chain([("LSTM", "lstm", {"units": 2, "return_sequences": True})], {"lstm": LSTM}).trace(x)["lstm"].forward


def test_neither_the_outer_input_nor_unknown_code_before_the_model_is_needed():
    trace = nested().trace(feeds={"inner/lstm": FED}, layers="inner/lstm")
    ours = trace["inner/lstm"].forward
    for name in ("forget_gate", "cell_state", "hidden_state"):
        np.testing.assert_array_equal(ours[name], expected(FED)[name])


def test_what_an_output_needs_beside_the_fed_layer_is_still_asked_for():
    with pytest.raises(InputError, match="feeds do not replace the input side"):
        nested().predict(feeds={"inner/lstm": FED})
    end, other = nested().predict({"side": X}, feeds={"inner/lstm": FED}).values()
    np.testing.assert_array_equal(end, np.maximum(expected(FED).hidden_state, 0))
    np.testing.assert_allclose(other, np.maximum(np.tanh(X), 0), atol=1e-6)


def test_without_a_feed_everything_is_needed():
    with pytest.raises(InputError, match="an input is missing"):
        nested(opaque=False).predict({"side": X})
    whole = nested(opaque=False)
    end, _ = whole.predict({"x": X, "side": X}).values()
    ours = whole.trace({"x": X, "side": X})["inner/lstm"].forward
    np.testing.assert_array_equal(
        ours.hidden_state, expected(X @ DENSE[0].astype("f4") + DENSE[1].astype("f4")).hidden_state
    )
    np.testing.assert_array_equal(end, np.maximum(ours.hidden_state, 0))
