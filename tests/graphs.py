"""Small model graphs made by hand, as a reader would return them."""

from dataclasses import replace

import numpy as np

from gateprobe.graph import (
    Call,
    Era,
    LayerRecord,
    ModelGraph,
    ModelRecord,
    Origin,
    TensorRef,
    WeightArray,
    WeightGroup,
    WeightScheme,
    WeightStore,
    freeze,
)
from gateprobe.model import Model, opened
from gateprobe.opened_model import OpenedModel
from gateprobe.semantics import semantics_of


def chain(layers, weights, *, input_shape=(None, None, 3), keras_version="3.15.1", dtype="float32"):
    """Return a model in which each record of ``layers`` (class, name, config, children) reads the one before."""
    source = LayerRecord(
        "input", "InputLayer", {"name": "input", "batch_shape": input_shape, "dtype": dtype}, calls=(Call(),)
    )
    records, last = [source], "input"
    for class_name, name, config, *children in layers:
        call = Call((TensorRef(last),))
        inside = {key: (record,) for key, record in (children[0] if children else {}).items()}
        records.append(LayerRecord(name, class_name, {"name": name, **config}, calls=(call,), children=inside))
        last = name
    model = ModelRecord("model", "Functional", tuple(records), (TensorRef("input"),), (TensorRef(last),))
    groups = {
        name: WeightGroup(
            tuple(WeightArray(f"{name}/{n}", freeze(np.asarray(a, np.float32))) for n, a in enumerate(arrays))
        )
        for name, arrays in weights.items()
    }
    store = WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=groups))
    era = Era(f"keras{keras_version[0]}")
    graph = ModelGraph("hand-made", Origin("hdf5", era, ("made by hand",), keras_version), model, store)
    return Model(OpenedModel(graph, semantics_of(graph.origin)))


def lstm_weights(rng, features, units, scale=0.7):
    """Return kernel, recurrent kernel and bias with a bias that is not zero."""
    return [rng.normal(0, scale, shape) for shape in ((features, 4 * units), (units, 4 * units), (4 * units,))]


def changed(model: Model, **fields: object) -> Model:
    """Return a model of which something is different inside: graph, semantics or max_bytes."""
    return Model(replace(opened(model), **fields))
