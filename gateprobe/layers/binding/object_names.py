"""The names that Keras 3 gives to objects in its files."""

from __future__ import annotations

import re

from gateprobe.graph import LayerRecord


def counted_names(records: tuple[LayerRecord, ...]) -> list[str]:
    """Return Keras 3's file names of objects in a list: the class in snake case, ``_1``, ``_2`` for further ones.

    Source: ``keras/src/saving/saving_lib.py::_save_container_state`` 3.15.1.
    """
    counts: dict[str, int] = {}
    short: dict[str, str] = {}  # thousands of layers have a few classes
    names = []
    for record in records:
        kind = record.instead_of or record.class_name
        name = short.get(kind) or short.setdefault(kind, snake_case(kind))
        count = counts.get(name, 0)
        counts[name] = count + 1
        names.append(f"{name}_{count}" if count else name)
    return names


def snake_case(name: str) -> str:
    """Return ``LSTMCell`` as ``lstm_cell`` (``keras/src/utils/naming.py::to_snake_case``)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
