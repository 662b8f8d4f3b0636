"""Small model files, written as Keras writes them, for tests that then break one thing in them."""

import io
import json
import zipfile

import h5py
import numpy as np

SHAPES = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}


def lstm(name="lstm", **more):
    return {"class_name": "LSTM", "config": {"name": name, "units": 2, "batch_input_shape": [None, 5, 3], **more}}


def sequential(*layers, name="sequential"):
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def input_layer(name="x", **more):
    return {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 5, 3]}, "name": name, **nodes(), **more}


def nodes(*calls):
    return {"inbound_nodes": list(calls)}


def dense(name, *calls, class_name="Dense", **config):
    return {"class_name": class_name, "config": {"name": name, "units": 2, **config}, "name": name, **nodes(*calls)}


def functional(layers, inputs, outputs, class_name="Functional", name="model"):
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": class_name, "config": config}


def arrays(shapes=None):
    return {name: np.ones(shape, np.float32) for name, shape in (SHAPES if shapes is None else shapes).items()}


def add_layer(root, name, weights, suffix=":0"):
    group = root.create_group(name)
    group.attrs["weight_names"] = [f"{name}/{key}{suffix}".encode() for key in weights]
    for key, value in weights.items():
        group.create_dataset(f"{name}/{key}{suffix}", data=value)
    return group


def h5(path, config=None, layers=None, version="2.3.1"):
    """Write whole-model HDF5 and return the path."""
    layers = {"lstm": arrays()} if layers is None else layers
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(sequential(lstm()) if config is None else config)
        if version:
            file.attrs["keras_version"] = version
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for name, weights in layers.items():
            add_layer(root, name, weights)
    return path


def tree(file, values, path=""):
    """Write a tree of objects: lists of arrays are variables, mappings are children."""
    for key, value in values.items():
        if isinstance(value, list):
            group = file.create_group(f"{path}{key}/vars")
            for number, array in enumerate(value):
                group.create_dataset(str(number), data=array)
        else:
            tree(file, value, f"{path}{key}/")


def tree_bytes(values=None):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        tree(file, {"layers": {"lstm": {"cell": list(arrays().values())}}} if values is None else values)
    return stream.getvalue()


def members(**changes):
    """Return the members of a good ``.keras`` file; ``None`` leaves one out."""
    layer = {"module": "keras.layers", "registered_name": None, **lstm()}
    found = {
        "metadata.json": json.dumps({"keras_version": "3.9.0"}).encode(),
        "config.json": json.dumps({"module": "keras", "registered_name": None, **sequential(layer)}).encode(),
        "model.weights.h5": tree_bytes(),
    }
    found |= {
        {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}[k]: v
        for k, v in changes.items()
    }
    return {name: data for name, data in found.items() if data is not None}


def keras(path, content=None, **changes):
    """Write a ``.keras`` zip and return the path."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members(**changes) if content is None else content).items():
            archive.writestr(name, data)
    return path
