"""Cases: recurrent layers, their outputs and masks; ``test_goldens`` and ``test_recurrent`` test their signals."""

from __future__ import annotations

from gateprobe.graph import Era
from layers.case import Case

K3 = (Era.KERAS3,)
_LSTM = ((6, 16), (4, 16), (16,))
_SEQUENCES = {"units": 4, "return_sequences": True}


def _wrapped(class_name: str, **config: object) -> dict[str, object]:
    return {"class_name": class_name, "config": {"units": 4, **config}}


_LAYERS = [
    Case("LSTM", "sequences-masked", _SEQUENCES, weights=_LSTM, masked=(0,)),
    Case("LSTM", "states", {**_SEQUENCES, "return_state": True}, weights=_LSTM, masked=(0,)),
    Case("LSTM", "backwards", {**_SEQUENCES, "go_backwards": True}, weights=_LSTM, masked=(0,)),
    Case("LSTM", "unrolled", {"units": 4, "unroll": True}, weights=_LSTM, masked=(0,)),
    Case("LSTM", "zeroed", {**_SEQUENCES, "zero_output_for_mask": True}, weights=_LSTM, masked=(0,)),
    Case("LSTM", "no-bias", {"units": 4, "use_bias": False}, weights=_LSTM[:2]),
    Case("LSTM", "hard", {"units": 4, "recurrent_activation": "hard_sigmoid"}, weights=_LSTM),
    Case("LSTM", "softmax", {"units": 4, "recurrent_activation": "softmax", "activation": "softsign"}, weights=_LSTM),
    Case("GRU", "after", {**_SEQUENCES, "reset_after": True}, weights=((6, 12), (4, 12), (2, 12)), masked=(0,)),
    Case("GRU", "before", {**_SEQUENCES, "reset_after": False}, weights=((6, 12), (4, 12), (12,)), masked=(0,)),
    Case("SimpleRNN", "", {**_SEQUENCES, "return_state": True}, weights=((6, 4), (4, 4), (4,)), masked=(0,)),
]

_BOTH_WAYS = [
    Case("Bidirectional", f"{mode}-{kind}", {"layer": inner, "merge_mode": mode}, weights=_LSTM * 2, masked=(0,))
    for mode in ("concat", "sum", "mul", "ave", None)
    for kind, inner in (
        ("sequences", _wrapped("LSTM", return_sequences=True)),
        ("last", _wrapped("LSTM")),
        ("states", _wrapped("LSTM", return_state=True)),
    )
]

_DISTRIBUTED = [
    Case("TimeDistributed", "dense", {"layer": _wrapped("Dense")}, weights=((6, 4), (4,)), masked=(0,)),
    Case("TimeDistributed", "lstm", {"layer": _wrapped("LSTM")}, ((2, 3, 5, 6),), _LSTM),
]

_IMAGES = {"filters": 2, "kernel_size": 2, "padding": "same", "return_sequences": True}
_CONVOLUTIONS = [
    Case("ConvLSTM1D", "", _IMAGES, ((2, 3, 5, 3),), ((2, 3, 8), (2, 2, 8), (8,)), masked=(0,)),
    Case("ConvLSTM2D", "", _IMAGES, ((2, 3, 5, 4, 3),), ((2, 2, 3, 8), (2, 2, 2, 8), (8,))),
    Case(
        "ConvLSTM2D",
        "strided",
        {"filters": 2, "kernel_size": [2, 3], "strides": [2, 1], "return_state": True},
        ((2, 3, 5, 4, 3),),
        ((2, 3, 3, 8), (2, 3, 2, 8), (8,)),
    ),
    Case("ConvLSTM3D", "", _IMAGES, ((2, 3, 3, 4, 2, 3),), ((2, 2, 2, 3, 8), (2, 2, 2, 2, 8), (8,))),
]

RECURRENT: tuple[Case, ...] = (*_LAYERS, *_BOTH_WAYS, *_DISTRIBUTED, *_CONVOLUTIONS)

_LEGACY = "data/legacy"
RECORDED = {
    "RNN": f"{_LEGACY}/keras_2.0.9/rnn_cells/case.json",
    "StackedRNNCells": f"{_LEGACY}/keras_2.0.9/rnn_cells/case.json",
    "LSTMCell": f"{_LEGACY}/keras_2.0.9/rnn_cells/case.json",
    "GRUCell": f"{_LEGACY}/keras_2.0.9/rnn_cells/case.json",
    "CuDNNLSTM": f"{_LEGACY}/keras_2.2.4/cudnn_lstm/case.json",
    "CuDNNGRU": f"{_LEGACY}/keras_2.2.4/cudnn_lstm/case.json",
    "PeepholeLSTMCell": f"{_LEGACY}/tfkeras_2.4.0/peephole/case.json",
}
"""Classes that only older Keras, or only an ``RNN`` layer around them, can record: class → place."""
