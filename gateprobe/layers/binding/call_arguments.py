"""What a graph may give to a call of a layer; whatever the layer does not understand is refused, never ignored.

Each kind in the registry lists the parameters of Keras's ``call`` that it understands, in their order (``call`` of
each class in ``keras/src/layers`` 3.15.1 and ``tf_keras/src/layers`` 2.21). A name says what a parameter holds:
tensors, masks, or a switch. Keras 3 writes constant tensors into the graph as marked arrays; those become tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gateprobe.graph import Argument, Array, Call, LayerRecord, TensorRef
from gateprobe.layers.base import Tensor, tensors_in
from gateprobe.layers.binding.settings import Unsupported

INPUTS = ("inputs", "training")
"""Of a layer that takes nothing but its input, in training mode or not."""
MODEL = ("inputs", "training", "mask")
"""Of a nested model of Keras 3, whose inputs take the masks that they are given; Keras 3.0 to 3.3 write them all into
the graph (``Functional.call`` in ``keras/src/models/functional.py``)."""
RECURRENT = ("inputs", "initial_state", "mask", "training")
"""In the order of Keras 3; older Kerases store all but the first by name."""
CELL = ("inputs", "states", "training")
"""Of a cell that stands in a graph by itself, for one timestep."""

_FIRST = frozenset({"sequences", "sequence", "data", "x"})
"""What classes of Keras 3 call their first parameter, when not ``inputs``."""
_SWITCHES = frozenset({"training", "return_attention_scores", "use_causal_mask", "reverse"})
_STATES = "initial_state"


def understood(record: LayerRecord, takes: tuple[str, ...] | None) -> tuple[Call, ...]:
    """Return a layer's calls with all arguments but the first by name, and constants as tensors.

    Args:
        record: Of the layer.
        takes: The parameters that the layer understands; ``None`` for functions, which check their own arguments.

    Raises:
        Unsupported: Some call gives something else; names it.
    """
    return record.calls if takes is None else tuple(_understood(call, takes) for call in record.calls)


def _understood(call: Call, takes: tuple[str, ...]) -> Call:
    if len(call.args) > len(takes):
        raise Unsupported(f"is called with {len(call.args)} arguments by position, of which {len(takes)} are replayed")
    if call.args[1:] and call.args[-1] is not None and "mask" in takes[1 : len(call.args)]:
        raise Unsupported("is called with a mask by position, which goes other ways than one by name; give mask=...")
    given = [
        *zip(takes, call.args, strict=False),
        *((_renamed(key, takes), value) for key, value in call.kwargs.items()),
    ]
    named: dict[str, Argument] = {}
    for key, value in given:
        if value is None:
            continue
        if key in named:
            raise Unsupported(f"is called with {key} twice")
        if key not in (*takes, "training"):
            raise Unsupported(f"is called with {key}={_shown(value)}, which is not replayed")
        named[key] = _switch(key, value) if key in _SWITCHES else _tensors(key, value)
    first = (named.pop(takes[0]),) if takes[0] in named else ()
    return Call(first, named)


def _renamed(key: str, takes: tuple[str, ...]) -> str:
    return takes[0] if key in _FIRST else key


def _shown(value: Argument) -> str:
    return "a tensor" if isinstance(value, (TensorRef, np.ndarray)) else f"{value!r:.60}"


def _switch(key: str, value: Argument) -> bool:
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise Unsupported(f"is called with {key}={_shown(value)}: expected true or false, known before the model runs")


def _tensors(key: str, value: Argument) -> Argument:
    """Return references and constants, in the structure of the file."""
    if isinstance(value, TensorRef):
        return value
    if isinstance(value, np.ndarray):
        return _constant(key, value)
    if key.endswith("mask") and isinstance(value, (tuple, list)) and _is_numbers(value):
        return _constant(key, _array(key, value))
    if isinstance(value, tuple):
        return tuple(None if item is None else _tensors(key, item) for item in value)
    if isinstance(value, Mapping):
        return {name: None if item is None else _tensors(key, item) for name, item in value.items()}
    raise Unsupported(
        f"is called with {type(value).__name__} {value!r:.40} in {key}, where a tensor belongs: the file holds it as "
        "plain numbers, which Keras cannot load either"
    )


def _constant(key: str, value: Array) -> Tensor:
    if not value.ndim or not value.shape[0] or value.dtype.kind not in "biuf":
        raise Unsupported(f"is called with a constant of shape {value.shape} and dtype {value.dtype} in {key}")
    return Tensor(value)


def _is_numbers(value: Argument) -> bool:
    """Whether a value is nested lists of numbers and nothing else."""
    if isinstance(value, (tuple, list)):
        return bool(value) and all(map(_is_numbers, value))
    return isinstance(value, (bool, int, float))


def _array(key: str, value: Any) -> Array:
    try:
        return np.array(value, bool)
    except ValueError:
        raise Unsupported(f"is called with lists of different lengths in {key}") from None


def constant_rows(call: Call) -> Iterator[tuple[str, int]]:
    """Yield for each constant of a call which parameter holds it, and for how many samples it stands.

    One row serves a batch of any size, as everywhere in TensorFlow; but initial states do not: Keras's loop fails when
    the states change their shape.
    """
    named = [("inputs", call.args), *call.kwargs.items()]
    for key, value in named:
        for tensor in tensors_in(value):
            rows = len(tensor.value)
            if rows > 1 or key == _STATES:
                yield key, rows


def spread(tensor: Tensor, rows: int) -> Tensor:
    """Return a constant of one row as one of as many rows as there are samples."""
    if len(tensor.value) != 1:
        return tensor
    return Tensor(np.broadcast_to(tensor.value, (rows, *tensor.value.shape[1:])), None, tensor.dtype)
