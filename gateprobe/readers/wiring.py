"""Wiring files: a small JSON of ours that says how the layers of a model are connected, where no file of Keras does.

A model that is a class of its own, and a model with a decoder of TensorFlow Addons, keep their graph in Python code.
The user writes it down in the words of Keras 2 (``docs/wiring.md``) and gives it with ``--architecture``. It becomes
the JSON of a functional model and is read by the same code as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateprobe.errors import ReadError, choices
from gateprobe.graph import Era, ModelRecord, Namespace, Stated, WeightGroup, WeightScheme, WeightStore
from gateprobe.readers.architecture import read_architecture, read_layer

MARK = "gateprobe_wiring"
_VERSION = 1
_HELP = "see docs/wiring.md"
_KEYS = {MARK, "keras_version", "inputs", "layers", "outputs"}
_REPLACING = {MARK, "replace"}
_STATED_KEYS = {"class_name", "config", "args", "kwargs"}
_LAYER_KEYS = {"name", "class_name", "config", "inputs", "calls", "weights"}
_REFERENCE = re.compile(r"(?P<layer>.+?)(?::(?P<call>\d{1,6}))?(?:\[(?P<tensor>\d{1,6})\])?", re.DOTALL)
_SLICE = re.compile(r"(?P<group>.*?)\[(?P<start>\d{1,6}):(?P<stop>\d{1,6})\]", re.DOTALL)
DECODER = "BasicDecoder"


@dataclass(frozen=True, slots=True, eq=False)
class Wiring:
    """A parsed wiring file."""

    value: Mapping[str, Any]
    """The functional model, in the notation of Keras 2."""
    weights: Mapping[str, str]
    """Layer → where its weights stand in the file, for those that say so."""
    stated: Mapping[str, Stated] = field(default_factory=dict)
    """Layer → what it does, where the wiring is otherwise that of the file."""

    def model(self) -> tuple[ModelRecord, tuple[str, ...]]:
        """Return the model and notes for the user."""
        model, notes = read_architecture(self.value, Era.KERAS2)
        assert model is not None
        return adopted(model), notes

    def store(self, store: WeightStore, model: ModelRecord) -> tuple[WeightStore, tuple[str, ...]]:
        """Return the weights under the names of the layers that they belong to, and notes for the user.

        Raises:
            ReadError: A layer's ``weights`` names nothing in the file.
        """
        if not self.weights:
            return store, ()
        lists = store.scheme is WeightScheme.LAYER_LISTS
        groups = store.root.children if lists else _tree_groups(store.root)
        named = {group.name or key.rpartition("/")[2]: group for key, group in groups.items()}
        found: dict[str, WeightGroup] = {}
        for layer in model.layers:
            if layer.name in self.weights:
                found[layer.name] = replace(_addressed(self.weights[layer.name], groups, layer.name), name=layer.name)
            elif layer.name in named:
                found[layer.name] = replace(named[layer.name], name=layer.name)
        unused = _unused(groups, self.weights, found) if lists else ()
        root = WeightGroup(children=found if lists else {"layers": WeightGroup(children=found)})
        return WeightStore(store.scheme, root), unused


def adopted(model: ModelRecord) -> ModelRecord:
    """Return a model whose decoders are those of TensorFlow Addons, in nested models too.

    Only readers that know more than the class's name call this: a wiring file says it, the functions of a SavedModel
    prove it. In any other file ``BasicDecoder`` may be any class.
    """
    layers = []
    for layer in model.layers:
        if layer.model is not None:
            layers.append(replace(layer, model=adopted(layer.model)))
        elif layer.class_name == DECODER and layer.config.keys() & {"sampler", "unproven"}:
            layers.append(replace(layer, namespace=Namespace.ADDONS))
        else:
            layers.append(layer)
    return replace(model, layers=tuple(layers))


def _tree_groups(root: WeightGroup) -> dict[str, WeightGroup]:
    """Return every object of a tree by its path."""
    found: dict[str, WeightGroup] = {}
    stack = [("", root)]
    while stack:
        path, group = stack.pop()
        if path:
            found[path] = group
        stack += [(f"{path}/{name}" if path else name, child) for name, child in group.children.items()]
    return found


def _addressed(address: str, groups: Mapping[str, WeightGroup], layer: str) -> WeightGroup:
    match = None if address in groups else _SLICE.fullmatch(address)
    group = groups.get(match["group"] if match else address)
    if group is None:
        filled = sorted(name for name, found in groups.items() if found.arrays or found.children)
        raise ReadError(
            f"the wiring takes the weights of {layer} from {address!r}, which is not in the file",
            remedy=choices(filled, address),
        )
    if match is None:
        return group
    start, stop = int(match["start"]), int(match["stop"])
    if not start < stop <= len(group.arrays):
        raise ReadError(f"the wiring takes arrays {start} to {stop} of the {len(group.arrays)} in {match['group']}")
    return WeightGroup(group.arrays[start:stop])


def _unused(
    groups: Mapping[str, WeightGroup], addresses: Mapping[str, str], found: Mapping[str, WeightGroup]
) -> tuple[str, ...]:
    """Say which lists of weights no layer of the wiring takes."""
    taken = {*found, *addresses.values(), *(match["group"] for text in addresses.values() if (match := _match(text)))}
    left = [name for name, group in groups.items() if group.arrays and name not in taken]
    return (f"the wiring leaves out weights of the file: {', '.join(left[:20])}",) if left else ()


def _match(address: str) -> re.Match[str] | None:
    return _SLICE.fullmatch(address)


def _replacing(value: Mapping[str, Any], file: str) -> Wiring:
    """Parse a wiring file that states what layers do and leaves the rest as it is."""
    beside = sorted(value.keys() & _KEYS - _REPLACING)
    if beside:
        reason = f"stands beside {', '.join(beside)}: a wiring of all layers says there what each of them does"
        raise ReadError(reason, place="replace", remedy=_HELP)
    _known(value, _REPLACING, "the wiring")
    layers = value["replace"]
    if not isinstance(layers, dict) or not layers:
        raise _fault("replace", "a mapping of layers to what they do", layers)
    return Wiring({}, {}, {name: _stated(name, said, file) for name, said in layers.items()})


def _stated(name: str, said: Any, file: str) -> Stated:
    place = f"replace.{name}"
    if not isinstance(said, dict):
        raise _fault(place, 'a layer such as {"class_name": "ExpandDims", "config": {"axis": -1}}', said)
    _known(said, _STATED_KEYS, place)
    args, kwargs, config = said.get("args", []), said.get("kwargs"), said.get("config", {})
    if not isinstance(args, list):
        raise _fault(f"{place}.args", "a list", args)
    if not isinstance(kwargs, (dict, type(None))):
        raise _fault(f"{place}.kwargs", "a mapping", kwargs)
    if not isinstance(config, dict):
        raise _fault(f"{place}.config", "the layer's configuration", config)
    _check_grus(said, place)
    record = read_layer({"class_name": said.get("class_name"), "name": name, "config": config}, Era.KERAS2, place)
    named = None if kwargs is None else {key: _constant(item) for key, item in kwargs.items()}
    return Stated(record, tuple(map(_constant, args)), named, said, file)


def _constant(value: Any) -> Any:
    """Turn JSON into an argument: lists become tuples, and ``{"start": 1}`` a slice."""
    if isinstance(value, list):
        return tuple(map(_constant, value))
    if isinstance(value, dict) and value.keys() <= {"start", "stop", "step"}:
        return slice(value.get("start"), value.get("stop"), value.get("step"))
    return Ellipsis if value == "..." else value


def parse(value: Mapping[str, Any], file: str = "") -> Wiring:
    """Parse a wiring file.

    Args:
        value: From JSON, with the key ``gateprobe_wiring``.
        file: Its name, for messages.

    Raises:
        ReadError: It is not what ``docs/wiring.md`` describes; the place is the faulty key.
    """
    if value[MARK] != _VERSION or isinstance(value[MARK], bool):
        raise ReadError(f"is version {value[MARK]!r:.20} and not {_VERSION}", place=MARK, remedy=_HELP)
    if "replace" in value:
        return _replacing(value, file)
    _known(value, _KEYS | _REPLACING, "the wiring")
    inputs, layers = value.get("inputs"), value.get("layers")
    if not isinstance(inputs, dict) or not inputs:
        raise _fault("inputs", "a mapping of names to shapes and dtypes", inputs)
    if not isinstance(layers, list) or not layers:
        raise _fault("layers", "a list of layers", layers)
    names = [*inputs, *(_name(layer, f"layers[{n}]") for n, layer in enumerate(layers))]
    entries = [_input(name, described) for name, described in inputs.items()]
    entries += [_layer(layer, names, f"layers[{n}]") for n, layer in enumerate(layers)]
    outputs = value.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        raise _fault("outputs", "a list of references", outputs)
    config = {
        "name": "model",
        "layers": entries,
        "input_layers": [[name, 0, 0] for name in inputs],
        "output_layers": [_reference(text, names, f"outputs[{n}]") for n, text in enumerate(outputs)],
    }
    weights = {layer["name"]: layer["weights"] for layer in layers if "weights" in layer}
    return Wiring({"class_name": "Functional", "config": config}, weights)


def _fault(place: str, expected: str, value: Any) -> ReadError:
    return ReadError(f"expected {expected}, got {value!r:.60}", place=place, remedy=_HELP)


def _known(value: Mapping[str, Any], keys: set[str], place: str) -> None:
    unknown = sorted(set(value) - keys)
    if unknown:
        raise ReadError(f"{', '.join(unknown)} is no key of it", place=place, remedy=choices(sorted(keys), unknown[0]))


def _name(layer: Any, place: str) -> str:
    name = layer.get("name") if isinstance(layer, dict) else None
    if not isinstance(name, str) or not name:
        raise _fault(place, "a layer with a name", layer)
    return name


def _input(name: str, described: Any) -> dict[str, Any]:
    place = f"inputs.{name}"
    if not isinstance(described, dict):
        raise _fault(place, 'a mapping such as {"shape": [null, 3], "dtype": "float32"}', described)
    _known(described, {"shape", "dtype"}, place)
    shape = described.get("shape")
    if not isinstance(shape, list) or any(not (size is None or type(size) is int) for size in shape):
        raise _fault(f"{place}.shape", "a list of sizes without the samples, null where any size will do", shape)
    dtype = described.get("dtype", "float32")
    if not isinstance(dtype, str):
        raise _fault(f"{place}.dtype", "a name such as float32", dtype)
    config = {"name": name, "batch_input_shape": [None, *shape], "dtype": dtype}
    return {"class_name": "InputLayer", "name": name, "config": config, "inbound_nodes": []}


def _layer(layer: Mapping[str, Any], names: list[str], place: str) -> dict[str, Any]:
    place = f"{place} ({layer['name']})"
    _known(layer, _LAYER_KEYS, place)
    if ("inputs" in layer) == ("calls" in layer):
        raise ReadError("needs either inputs or calls", place=place, remedy=_HELP)
    calls = layer["calls"] if "calls" in layer else [layer["inputs"]]
    if not isinstance(calls, list) or not calls:
        raise _fault(f"{place}.calls", "a list, one element for each call", calls)
    config = layer.get("config", {})
    if not isinstance(config, dict) or config.get("name", layer["name"]) != layer["name"]:
        raise _fault(f"{place}.config", "the layer's configuration, with the layer's name if with any", config)
    _check_grus(layer, place)
    if not isinstance(layer.get("weights", ""), str):
        raise _fault(f"{place}.weights", "where the weights stand in the file", layer["weights"])
    return {
        "class_name": layer.get("class_name"),
        "name": layer["name"],
        "config": {**config, "name": layer["name"]},
        "inbound_nodes": [_call(call, names, place) for call in calls],
    }


def _check_grus(value: Any, place: str) -> None:
    """Ask for ``reset_after``, whose default changed during Keras 2 and which weights without a bias do not tell."""
    if isinstance(value, dict):
        config = value.get("config")
        gru = value.get("class_name") in ("GRU", "GRUCell")
        if gru and not (isinstance(config, dict) and isinstance(config.get("reset_after"), bool)):
            raise ReadError("a GRU needs reset_after, true or false", place=place, remedy=_HELP)
        for item in value.values():
            _check_grus(item, place)
    elif isinstance(value, list):
        for item in value:
            _check_grus(item, place)


def _call(call: Any, names: list[str], place: str) -> list[Any]:
    """Turn one call into a node of Keras 2."""
    keywords: Mapping[str, Any] = {}
    first = call
    if isinstance(call, dict):
        first = call.get("inputs")
        keywords = {key: _keyword(item, names, f"{place}.{key}") for key, item in call.items() if key != "inputs"}
    tensors = first if isinstance(first, list) else [first]
    if not tensors:
        raise _fault(f"{place}.inputs", "a reference or a list of them", first)
    return [[*_reference(text, names, f"{place}.inputs"), dict(keywords)] for text in tensors]


def _keyword(value: Any, names: list[str], place: str) -> Any:
    """Turn the texts in a keyword argument into references; other values stay."""
    if isinstance(value, str):
        return _reference(value, names, place)
    if isinstance(value, list):
        return [_keyword(item, names, place) for item in value]
    return value


def _reference(text: Any, names: list[str], place: str) -> list[Any]:
    """Turn ``layer``, ``layer:1`` (its second call), ``layer[1]`` (its second tensor) into Keras's triple."""
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if text in names:
        return [text, 0, 0]
    if match is None or match["layer"] not in names:
        raise ReadError(f"refers to {text!r:.60}", place=place, remedy=choices(names, str(text)))
    return [match["layer"], int(match["call"] or 0), int(match["tensor"] or 0)]
