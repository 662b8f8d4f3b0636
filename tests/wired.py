"""The models of ``data/wired``: some with a decoder of TensorFlow Addons, and one that is a class of its own."""

import atexit
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data" / "wired"


@cache
def unpacked():
    """Return the folder of the recorded SavedModels: NAME/saved_model, NAME/weights.h5, NAME/case.npz."""
    folder = Path(tempfile.mkdtemp(prefix="gateprobe-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(DATA / "decoders.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def recorded(name):
    """Return a case's inputs, its outputs, and everything else that was recorded."""
    with np.load(unpacked() / name / "case.npz") as stored:
        arrays = dict(stored)
    inputs = [arrays.pop(f"x_{k}") for k in range(3) if f"x_{k}" in arrays]
    outputs = [arrays.pop(f"y_{k}") for k in range(9) if f"y_{k}" in arrays]
    return inputs, outputs, arrays


def wiring(*, cell="lstm", projection="linear", lengths=True, masks=False, **options):
    """Write down the wiring of ``data/generate/tfa_0_20_decoders.py``."""
    one = {"class_name": {"lstm": "LSTMCell", "gru": "GRUCell", "simple": "SimpleRNNCell"}.get(cell)}
    one["config"] = {"units": 6, **({"reset_after": True} if cell == "gru" else {})}
    encoders = [("encoder", 6), ("encoder_2", 4)] if cell == "stack" else [("encoder", 6)]
    if cell == "stack":
        cells = [{"class_name": "LSTMCell", "config": {"units": units}} for _, units in encoders]
        one = {"class_name": "StackedRNNCells", "config": {"cells": cells}}
    lstm = cell in ("lstm", "stack")
    states = [f"{name}[{n}]" for name, _ in encoders for n in ((1, 2) if lstm else (1,))]
    config = {"cell": one, "sampler": "training", **options}
    if projection:
        config["output_layer"] = {"class_name": "Dense", "config": {"units": 11, "activation": projection}}
    call = {"inputs": "embedding:1", "initial_state": states, **({"sequence_length": "lengths"} if lengths else {})}
    embedding = {"input_dim": 11, "output_dim": 5, "mask_zero": masks}
    texts = ["encoder_tokens", "decoder_tokens"]
    encoder = {"return_state": True, **({} if lstm else {"reset_after": True})}
    kind = "LSTM" if lstm else "GRU"
    tensors = 3 + len(states)
    return {
        "gateprobe_wiring": 1,
        "inputs": {
            **{name: {"shape": [None], "dtype": "int32"} for name in texts},
            **({"lengths": {"shape": [], "dtype": "int32"}} if lengths else {}),
        },
        "layers": [
            {"name": "embedding", "class_name": "Embedding", "config": embedding, "calls": texts},
            *(
                {"name": name, "class_name": kind, "config": {"units": units, **encoder}, "inputs": "embedding"}
                for name, units in encoders
            ),
            {"name": "decoder", "class_name": "BasicDecoder", "config": config, "inputs": call},
        ],
        "outputs": [f"decoder[{n}]" for n in range(tensors)],
    }
