"""Which Keras wrote a file, and how we know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateprobe.errors import ReadError
from gateprobe.graph import Era, WeightGroup, WeightScheme, WeightStore, groups_within

_ERAS = {1: Era.KERAS1, 2: Era.KERAS2, 3: Era.KERAS3}
_KNOWN = "gateprobe knows the files of Keras 1, 2 and 3"


def era_of_version(version: str, place: str) -> Era:
    """Return the era of a version number such as ``2.2.4-tf``.

    Raises:
        ReadError: It is no version number, or of a Keras that gateprobe does not know.
    """
    match = re.match(r"(\d{1,4})\.\d", version)
    era = _ERAS.get(int(match[1])) if match else None
    if era is None:
        raise ReadError(f"the file says it is from Keras {version[:40]!r}", place=place, remedy=_KNOWN)
    return era


def era_of_config(config: Any) -> tuple[Era, str] | None:
    """Infer the era from an architecture that names no version; ``None`` if nothing tells."""
    marks = {
        Era.KERAS3: "calls are stored as args and kwargs, inputs as batch_shape, dtypes as DTypePolicy (Keras 3)",
        Era.KERAS1: "configurations use words of Keras 1 (output_dim, inner_activation, nb_filter, ...)",
        Era.KERAS2: "configurations use words of Keras 2 (units, recurrent_activation, batch_input_shape, ...)",
    }
    found = {era for entry in objects(config) for era in _marks(entry)}
    for era, sentence in marks.items():
        if era in found:
            return era, sentence
    return None


def objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping inside a JSON value."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _marks(entry: Mapping[str, Any]) -> Iterator[Era]:
    if "args" in entry and "kwargs" in entry and len(entry) == 2:
        yield Era.KERAS3
    if entry.get("class_name") in ("DTypePolicy", "__keras_tensor__") or "batch_shape" in entry:
        yield Era.KERAS3
    if "inner_activation" in entry or "nb_filter" in entry or "consume_less" in entry or "border_mode" in entry:
        yield Era.KERAS1
    if "output_dim" in entry and "init" in entry:
        yield Era.KERAS1
    if "recurrent_activation" in entry or "kernel_initializer" in entry or "batch_input_shape" in entry:
        yield Era.KERAS2


def era_of_weights(store: WeightStore) -> tuple[Era, str] | None:
    """Infer the era from the names and numbers of arrays alone; ``None`` if nothing tells."""
    if store.scheme is WeightScheme.OBJECT_PATHS:
        return _era_of_tree(store.root)
    groups = list(store.root.children.values())
    names = [array.name for group in groups for array in group.arrays]
    if any(re.search(r"_(W|U|b)_[ifcozrh](:0)?$", name) for name in names):
        return Era.KERAS1, "a recurrent layer stores W, U and b for each gate (Keras 1)"
    if any(re.search(r"_(W|U|b)(:0)?$", name) for name in names):
        return Era.KERAS1, "weights are called W, U and b (Keras 1)"
    if any(len(group.arrays) == 12 and {array.value.ndim for array in group.arrays} == {1, 2} for group in groups):
        return Era.KERAS1, "a layer stores twelve arrays, three for each gate of an LSTM (Keras 1)"
    if any(name.endswith(":0") for name in names):
        return Era.KERAS2, "names of weights end in ':0' (TensorFlow variables, Keras 2)"
    if any(re.search(r"/(kernel|recurrent_kernel|bias|gamma|embeddings)$", name) for name in names):
        return Era.KERAS3, "weights are called kernel and bias without ':0' (Keras 3)"
    return None


def backend_of_names(store: WeightStore) -> tuple[str | None, tuple[str, ...]]:
    """Return the backend on which a file of Keras 1 was written, by the names of its weights, and how we know.

    Keras 1 writes the names that the backend gives to variables: TensorFlow's end in ``:0``, Theano's do not.
    """
    labels = [array.label for group in groups_within(store.root) for array in group.arrays if array.label]
    if not labels:
        return None, ()
    if any(label.endswith(":0") for label in labels):
        return "tensorflow", ()
    return "theano", ("names of weights do not end in ':0' (Theano variables)",)


def _era_of_tree(root: WeightGroup) -> tuple[Era, str]:
    groups = list(groups_within(root))
    if any(group.name is not None for group in groups):
        return Era.KERAS3, "objects carry their names (Keras 3.7 or later)"
    if any("_layer_checkpoint_dependencies" in array.name for group in groups for array in group.arrays):
        return Era.KERAS2, "layers are called _layer_checkpoint_dependencies (Keras 2.12 and 2.13)"
    return Era.KERAS3, "a tree of objects without names (Keras 3.0 to 3.6; Keras 2.14 and later look the same)"


def rivals_of(era: Era, store: WeightStore, config: Any) -> tuple[tuple[Era, str | None], ...]:
    """Return the other Kerases of which a file may be that names no version.

    Args:
        era: What its words or names come to.
        store: Its weights.
        config: Its architecture, ``None`` without one.
    """
    if era is Era.KERAS2:
        return ((Era.KERAS2, "2.0.0"), (Era.KERAS2, "2.2.4"), (Era.KERAS2, "2.3.0"))
    if era is Era.KERAS1:
        return ()
    if store.scheme is not WeightScheme.OBJECT_PATHS:
        return ((Era.KERAS3, "3.0.0"),)
    if any(group.name is not None for group in groups_within(store.root)):
        return ((Era.KERAS3, "3.7.0"),)
    other = ((Era.KERAS2, "2.15.0"),) if not config or era_of_config(config) is None else ()
    return (*other, (Era.KERAS3, "3.0.0"), (Era.KERAS3, "3.6.0"))
