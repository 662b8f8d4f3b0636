"""One field of a valid JSON document changed: renamed, removed, doubled, swapped, given another value or type."""

import copy
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

VALUES = (
    *(None, True, False, 0, 1, 2, 3, -1, 7, 255, 10**6, 2**31, 2**62, 10**19, 0.0, 0.5, -1.5, 1e-30, 1e30, 1e308),
    *("", "0", "x", "lstm", "None", "tanh", "sigmoid", "hard_sigmoid", "linear", "relu", "softmax", "float16"),
    *("bfloat16", "float64", "int32", "mixed_float16", "same", "valid", "causal", "channels_first", "concat", "mul"),
    *("../../x", "/etc/passwd", "\u202e=cmd()", "\x1b[2J", "a/b", "\ud800", "__keras_tensor__", "__numpy__"),
    *("LSTM", "GRU", "SimpleRNN", "Dense", "Embedding", "Bidirectional", "TimeDistributed", "RNN", "LSTMCell"),
    *("StackedRNNCells", "Sequential", "Functional", "Model", "Lambda", "InputLayer", "Masking", "Dropout", "Merge"),
    *("Reshape", "Permute", "RepeatVector", "Conv1D", "Concatenate", "Dot", "Attention", "BatchNormalization"),
)
BOXES: tuple[Any, ...] = ([], {}, [[]], [None], [0], [1, 2, 3], [[["x", 0, 0]]], [["x", 0, 0, {}]], {"class_name": "x"})


def changed(document: Any, seed: int) -> Any:
    """Return a copy of a JSON value in which one field, sometimes two or three, is another."""
    rng = random.Random(seed)
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        places = list(_places(document))
        if places:
            _change(*rng.choice(places), places, rng)
    return document


def mutated(data: bytes, seeds: list[Any], seed: int) -> bytes:
    """Return JSON text: a valid document changed, or the given one changed once more."""
    rng = random.Random(seed)
    document = rng.choice(seeds)
    if rng.random() < 0.3:
        with suppress(ValueError, RecursionError):
            document = json.loads(data)
    return json.dumps(changed(document, seed)).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container and key."""
    stack = [value]
    while stack:
        item = stack.pop()
        pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        for key, child in pairs:
            yield item, key
            stack.append(child)


def _change(owner: Any, key: Any, places: list[tuple[Any, Any]], rng: random.Random) -> None:
    other, at = rng.choice(places)
    match rng.randrange(8):
        case 0:
            del owner[key]
        case 1:
            owner[key] = copy.deepcopy(other[at])
        case 2:
            owner[key] = copy.deepcopy(rng.choice(BOXES))
        case 3 if isinstance(owner, dict):
            owner[rng.choice([k for o, k in places if isinstance(k, str)] or ["x"])] = owner.pop(key)
        case 3:
            owner.insert(key, copy.deepcopy(owner[key]))
        case 4:
            owner[key] = [owner[key]]
        case 5 if type(owner[key]) is int:
            owner[key] += rng.choice((-1, 1, 2, 10))
        case _:
            owner[key] = rng.choice(VALUES)
