"""What inspect says of meanings, connections, shapes and today's Keras."""

import json
from pathlib import Path

import numpy as np
import pytest

from gateprobe.cli.summary import summarise
from gateprobe.graph import Namespace
from gateprobe.layers.binding.registry import registered
from gateprobe.opened_model import open_model
from gateprobe.replay.today import GONE

ROOT = Path(__file__).parents[1]
SAMPLES, LEGACY = ROOT / "sample_models", ROOT / "tests" / "data" / "legacy"
FILES = sorted(
    [*SAMPLES.glob("*.h5"), *SAMPLES.glob("*.keras"), *LEGACY.glob("*/*/model.h5"), *LEGACY.glob("*/*/model.keras")]
)
QUIET = pytest.mark.filterwarnings("ignore")  # of Keras and TensorFlow


def summary(path):
    report = summarise(open_model(path))
    json.dumps(report)
    return report


def words(path):
    return {one["word"] for one in summary(path)["meanings"]}


def test_only_words_that_matter_are_explained():
    assert words(SAMPLES / "keras2.h5") == {"hard_sigmoid_slope"}
    assert words(SAMPLES / "brackets.keras") <= {"masked_output"}
    assert "bidirectional_zeroes_masked" in words(SAMPLES / "tokens.keras")
    assert "gru_reset_after" not in words(SAMPLES / "tokens.keras")


def test_a_slope_of_old_names_the_layer_it_changes():
    now = summary(SAMPLES / "keras2.h5")["today"]
    (difference,) = now["differences"]
    assert "slope 1/6, not 0.2 (in lstm_1)" in difference
    assert now["refused_for"]
    assert now["text"].startswith("Keras 3 cannot open this file")
    assert summary(SAMPLES / "brackets.keras")["today"]["text"] == "the same"


def test_connections_shapes_and_parameters():
    layers = {one["path"]: one for one in summary(SAMPLES / "translate.keras")["layers"]}
    decoder = layers["decoder"]
    assert decoder["inbound"][0] == "shared_embedding:1"
    assert "encoder" in decoder["inbound"]
    assert decoder["output_shapes"][0] == [None, None, 12]
    assert decoder["parameters"] == 4 * 12 * (6 + 12 + 1)


@QUIET
@pytest.mark.oracle
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}/{path.name}")
def test_keras_itself_opens_what_is_said_to_open(path, monkeypatch):
    """And where it does, its own shapes and numbers of parameters are ours."""
    keras = pytest.importorskip("keras")
    model = open_model(path)
    if model.graph.model is None:
        return  # weights alone open nowhere
    report = summary(path)
    opened = fault = None
    try:
        opened = keras.models.load_model(path, compile=False)
    except Exception as error:  # noqa: BLE001 - whatever Keras raises
        fault = f"{type(error).__name__}: {error}"
    assert bool(report["today"]["refused_for"] or report["today"]["code"]) is (fault is not None), fault
    if opened is None:
        return
    assert report["model"]["parameters"] == opened.count_params()
    layers = {one["path"]: one for one in report["layers"]}
    for layer in opened.layers:
        if layer.name in layers:
            ours = layers[layer.name]
            assert ours["parameters"] == layer.count_params()
            try:
                shapes = [tuple(tensor.shape) for tensor in np.atleast_1d(layer.output)]
            except (AttributeError, ValueError):
                continue
            for mine, theirs in zip(map(tuple, ours["output_shapes"]), shapes, strict=False):
                assert not mine or mine[1:] == theirs[1:], layer.name


@QUIET
@pytest.mark.oracle
def test_the_classes_that_are_gone_are_those_that_keras_does_not_have():
    layers = pytest.importorskip("keras").layers
    known = {kind.class_name for kind in registered() if kind.namespace is Namespace.LAYER}
    renamed = {"GroupedQueryAttention"}  # keras.layers.GroupQueryAttention
    missing = {name for name in known - renamed if " " not in name and not hasattr(layers, name)}
    assert missing == GONE & known


def test_shapes_are_not_guessed_where_a_model_is_large(monkeypatch):
    from gateprobe.replay import dry_run

    monkeypatch.setattr(dry_run, "_MAX_WORK", 1)
    layers = {one["path"]: one for one in summary(SAMPLES / "keras2.h5")["layers"]}
    assert layers["lstm_1"]["output_shapes"] == []
    assert layers["lstm_1_input"]["output_shapes"] == [[None, 6, 2]]
