"""Recurrent layers in weights without an architecture: what the shapes prove, and what only the user can add.

The shapes of a recurrent kernel, ``(units, gates * units)``, prove the kind of cell and its size; the bias tells CuDNN
and ``reset_after``. They cannot tell the activations, the direction of a single layer, or what feeds it. That two cells
are the two directions of a Bidirectional is told by their names alone: every Keras calls them ``forward_...`` and
``backward_...``, and no shape tells them from stacked cells or from two layers of one size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateprobe.errors import InputError
from gateprobe.graph import (
    Call,
    GateLayout,
    LayerRecord,
    ModelGraph,
    ModelRecord,
    TensorRef,
    WeightArray,
    WeightGroup,
    WeightScheme,
    WeightStore,
)

WEIGHTS_ALONE = (
    "the file holds weights alone; give the model's JSON, or a wiring file, with --architecture to replay it"
)
"""What inspect notes of such a file; once its layers are traced, it is no news."""

_HALVES = ("forward_layer", "backward_layer")
_CLASSES = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}


@dataclass(frozen=True, slots=True, eq=False)
class RecurrentGroup:
    """One recurrent layer, as its weights prove it."""

    name: str
    class_name: str
    """``LSTM``, ``GRU`` or ``SimpleRNN``."""
    units: int
    features: int
    directions: int
    """2 when the file names two sets of weights of the same shapes ``forward`` and ``backward``: a Bidirectional."""
    use_bias: bool
    gate_layout: GateLayout
    arrays: tuple[WeightArray, ...]
    reset_after: bool | None = None
    """Of a GRU; ``None`` where the file cannot tell (a GRU without bias)."""
    cudnn: bool = False
    """Whether the arrays are laid out as CuDNN has them."""
    ambiguous: bool = False
    """Whether the file leaves open in which direction it runs: one half of a Bidirectional whose other half is not its
    like, or a cell beside an equal one when no name says whether they are two halves."""


def find_groups(store: WeightStore) -> tuple[RecurrentGroup, ...]:
    """Find every recurrent layer in a file's weights, in the order of the file."""
    if store.scheme is WeightScheme.LAYER_LISTS:
        found = [g for name, group in store.root.children.items() for g in _in_list(name, group.arrays)]
    else:
        found = list(_in_tree("", store.root))
    counts: dict[str, int] = {}
    unique = []
    for group in found:
        seen = counts.get(group.name, 0)
        counts[group.name] = seen + 1
        unique.append(replace(group, name=f"{group.name}_{seen}") if seen else group)
    return tuple(unique)


def _in_tree(path: str, group: WeightGroup, *, half: bool = False) -> Iterator[RecurrentGroup]:
    """Look at the arrays of each object; a wrapper's two cells become one group of two directions."""
    directions = [group.children.get(key, WeightGroup()) for key in _HALVES]
    cells = [child.children.get("cell", WeightGroup()).arrays for child in directions]
    both = [_cell(arrays) for arrays in cells]
    first, second = both
    if first is not None and second is not None and _same(first, second):
        yield replace(first, name=path, directions=2, arrays=(*first.arrays, *second.arrays))
        return
    own = _cell(group.arrays)
    if own is not None:
        yield replace(own, name=path, ambiguous=half)
    for name, child in group.children.items():
        plain = name in ("layers", "cell", "cells")
        inner = path if plain else "/".join(filter(None, (path, child.name or name)))
        yield from _in_tree(inner, child, half=half or name in _HALVES)


def _in_list(name: str, arrays: Sequence[WeightArray]) -> Iterator[RecurrentGroup]:
    """Read cells off a list, the longest pattern first, and pair directions by their names."""
    found: list[RecurrentGroup] = []
    position = 0
    while position < len(arrays):
        for length in (12, 9, 3, 2):
            cell = _cell(arrays[position : position + length]) if position + length <= len(arrays) else None
            if cell is not None:
                found.append(cell)
                position += length
                break
        else:
            position += 1
    while found:
        first = found.pop(0)
        if found and _same(first, found[0]):
            first = _paired(first, found)
        alone = first.directions == 1 and (_half(first) or ("neither",))[0] != "neither"
        yield replace(first, name=name, ambiguous=first.ambiguous or alone)


def _paired(first: RecurrentGroup, others: list[RecurrentGroup]) -> RecurrentGroup:
    """Return a cell with its other direction, which is then taken from the others, if the next one is named so."""
    one, two = _half(first), _half(others[0])
    if one is None or two is None:
        others[0] = replace(others[0], ambiguous=True)
        return replace(first, ambiguous=True)
    if {one[0], two[0]} != {"forward", "backward"} or one[1] != two[1]:
        return first
    forward, backward = sorted((first, others.pop(0)), key=lambda cell: _half(cell) or ("", ""), reverse=True)
    return replace(first, directions=2, arrays=(*forward.arrays, *backward.arrays))


_HALF = re.compile(r"(?P<outer>.*/)?(?P<half>forward|backward)_(?P<name>[^/]+)(/.*)?")


def _half(cell: RecurrentGroup) -> tuple[str, str] | None:
    """Return which half of which Bidirectional a cell is named to be, ``None`` when its names tell nothing.

    Keras 2 and 3 name weights ``bidirectional/forward_lstm/lstm_cell/kernel:0``, Keras 1 ``forward_lstm_1_W_i``.
    """
    label = cell.arrays[0].label or ""
    match, keras1 = _HALF.fullmatch(label), re.search(r"_[WU](_[a-z])?(:\d+)?$", label)
    if match is not None and (match["outer"] or keras1):
        return match["half"], match["outer"] or ""
    return ("neither", label) if keras1 or "/" in label else None


def _same(one: RecurrentGroup, other: RecurrentGroup) -> bool:
    return [array.value.shape for array in one.arrays] == [array.value.shape for array in other.arrays]


def _cell(arrays: Sequence[WeightArray]) -> RecurrentGroup | None:
    """Return the cell that exactly these arrays prove, if they prove one."""
    shapes = [array.value.shape for array in arrays]
    if len(shapes) in (9, 12):
        return _per_gate(arrays, shapes)
    if len(shapes) not in (2, 3) or len(shapes[0]) != 2 or len(shapes[1]) != 2:
        return None
    (features, columns), (units, recurrent_columns) = shapes[0], shapes[1]
    gates, rest = divmod(columns, units) if units else (0, 1)
    if rest or recurrent_columns != columns or gates not in _CLASSES:
        return None
    bias = shapes[2] if len(shapes) == 3 else None
    doubled = gates > 1 and bias == (2 * columns,)
    after = gates == 3 and (bias == (2, columns) or doubled)
    if bias is not None and bias != (columns,) and not doubled and not after:
        return None
    if bias is None and gates == 1:
        return None  # two square matrices prove nothing
    return RecurrentGroup(
        "",
        _CLASSES[gates],
        units,
        features,
        directions=1,
        use_bias=bias is not None,
        gate_layout=GateLayout.FUSED,
        arrays=tuple(arrays),
        reset_after=None if gates != 3 or bias is None else after,
        cudnn=doubled,
    )


def _per_gate(arrays: Sequence[WeightArray], shapes: Sequence[tuple[int, ...]]) -> RecurrentGroup | None:
    """Keras 1: W, U and b for each gate."""
    if len(shapes[0]) != 2:
        return None
    features, units = shapes[0]
    if list(shapes) != [(features, units), (units, units), (units,)] * (len(shapes) // 3):
        return None
    return RecurrentGroup(
        "",
        _CLASSES[len(shapes) // 3],
        units,
        features,
        directions=1,
        use_bias=True,
        gate_layout=GateLayout.PER_GATE,
        arrays=tuple(arrays),
        reset_after=False if len(shapes) == 9 else None,
    )


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the user says about layers whose weights cannot tell it."""

    activation: str | None = None
    recurrent_activation: str | None = None
    go_backwards: bool = False
    reset_after: bool | None = None

    def activations(self) -> Iterator[tuple[str, str]]:
        """Yield the names of activations that were given, each with its option."""
        named = (("--activation", self.activation), ("--recurrent-activation", self.recurrent_activation))
        yield from ((flag, name) for flag, name in named if name is not None)

    def given(self) -> list[str]:
        """Return the options that were given."""
        flags = [flag for flag, _ in self.activations()]
        flags += ["--go-backwards"] * self.go_backwards
        return flags + ["--reset-after"] * (self.reset_after is not None)


def assume(graph: ModelGraph, groups: Sequence[RecurrentGroup], assumptions: Assumptions) -> ModelGraph:
    """Return a graph in which each group is a layer with an input of its own.

    Args:
        graph: A weights-only file.
        groups: The layers wanted, from `find_groups`.
        assumptions: What the file cannot tell.

    Raises:
        InputError: Something that decides the numbers is neither in the file nor assumed.
    """
    ambiguous = [group.name for group in groups if group.ambiguous]
    if ambiguous:
        raise InputError(
            f"the file does not say in which direction {' and '.join(ambiguous)} run: they may be the halves of a "
            "Bidirectional, or layers that follow each other",
            file=graph.file,
            remedy="give --architecture FILE.json",
        )
    missing = {f"--{key.replace('_', '-')}" for group in groups for key in _missing(group, assumptions)}
    if missing:
        names = ", ".join(group.name for group in groups)
        raise InputError(
            f"the file holds weights only, and they cannot tell {' and '.join(sorted(missing))} of {names}",
            file=graph.file,
            remedy="give these options, or --architecture FILE.json",
        )
    records: list[LayerRecord] = []
    for group in groups:
        source = f"{group.name}_input"
        shape = (None, None, group.features)
        config = {"name": source, "batch_shape": shape, "dtype": "float32"}
        records.append(LayerRecord(source, "InputLayer", config, calls=(Call(),)))
        records.append(_record(group, assumptions, Call((TensorRef(source),))))
    model = ModelRecord(
        "weights",
        "Functional",
        tuple(records),
        inputs=tuple(TensorRef(f"{group.name}_input") for group in groups),
        outputs=tuple(TensorRef(group.name) for group in groups),
    )
    lists = {group.name: WeightGroup(group.arrays) for group in groups}
    store = WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=lists))
    return replace(
        graph,
        model=model,
        weights=store,
        notes=tuple(note for note in graph.notes if note != WEIGHTS_ALONE),
        assumed=True,
    )


def _missing(group: RecurrentGroup, assumptions: Assumptions) -> Iterator[str]:
    if not group.cudnn:
        if assumptions.activation is None:
            yield "activation"
        if assumptions.recurrent_activation is None and group.class_name != "SimpleRNN":
            yield "recurrent_activation"
    if group.class_name == "GRU" and group.reset_after is None and assumptions.reset_after is None:
        yield "reset_after"


def _record(group: RecurrentGroup, assumptions: Assumptions, call: Call) -> LayerRecord:
    config: dict[str, Any] = {
        "name": group.name,
        "units": group.units,
        "use_bias": group.use_bias,
        "return_sequences": True,
        "activation": "tanh" if group.cudnn else assumptions.activation,
        "go_backwards": assumptions.go_backwards and group.directions == 1,
    }
    if group.class_name != "SimpleRNN":
        config["recurrent_activation"] = "sigmoid" if group.cudnn else assumptions.recurrent_activation
    if group.class_name == "GRU":
        config["reset_after"] = assumptions.reset_after if group.reset_after is None else group.reset_after
    layer = LayerRecord(group.name, group.class_name, config, calls=(call,), gate_layout=group.gate_layout)
    if group.directions == 1:
        return layer
    outer: Mapping[str, Any] = {"name": group.name, "merge_mode": "concat"}
    return LayerRecord(group.name, "Bidirectional", outer, calls=(call,), children={"layer": (layer,)})
