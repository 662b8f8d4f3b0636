"""What the installed Keras has is either replayed or listed with a reason, so that a new Keras shows the gap."""

from __future__ import annotations

import importlib.util
import os

import pytest

from gateprobe.graph import Namespace
from gateprobe.layers.binding import left_out
from gateprobe.layers.binding.registry import registered

TABLES = {Namespace.LAYER: left_out.LAYERS, Namespace.OPERATION: left_out.OPERATIONS}
MADE_BY_READERS = {"InputLayer"}
"""Not layers to replay: they say where inputs come in."""
OLD = {"DenseFeatures", "SequenceFeatures"}
"""Layers of tf.keras, which this Keras does not have."""


def replayed(namespace):
    return {kind.class_name for kind in registered() if kind.namespace is namespace}


@pytest.mark.parametrize("namespace", TABLES)
def test_nothing_is_both_replayed_and_left_out(namespace):
    assert not replayed(namespace) & set(TABLES[namespace])


def classes_of_keras():
    """Return the names of the classes of layers and of operations, as files name them."""
    import inspect
    import pkgutil

    import keras
    from keras.src import ops
    from keras.src.ops.operation import Operation

    layers = {
        one.__name__
        for one in vars(keras.layers).values()
        if inspect.isclass(one) and issubclass(one, keras.layers.Layer)
    }
    modules = (
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(ops.__path__, f"{ops.__name__}.")
        if not found.name.endswith("_test")
    )
    operations = {
        one.__name__
        for module in modules
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Operation) and one.__module__ == module.__name__
    }
    return {Namespace.LAYER: layers, Namespace.OPERATION: operations}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_every_class_of_this_keras_is_replayed_or_listed_with_a_reason():
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for namespace, names in classes_of_keras().items():
        known = replayed(namespace) | set(TABLES[namespace]) | MADE_BY_READERS
        assert not names - known, f"replay or list in layers/binding/left_out.py: {sorted(names - known)}"
        listed = set(TABLES[namespace]) - names - OLD
        assert not listed, f"this Keras has no such classes: {sorted(listed)}"
