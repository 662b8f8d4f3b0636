"""Builds a Keras model from a blueprint, the graph as gateprobe read it. Runs only inside the oracle's process.

A blueprint is JSON (see `gateprobe.verification.blueprint`): layers with translated configurations and calls. Names of
classes are looked up among Keras's own public layers, and configurations hold neither initializers nor regularizers,
so that nothing of the file selects code here but names that the layer registry knows.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateprobe.graph import LISTS
from gateprobe.verification.oracle_library import Library, Refused, attribute, by_name, first_line

Node = tuple[str, int]


@dataclass(slots=True)
class Built:
    """A built model."""

    model: Any
    layers: dict[str, Any]
    """The model's layers by their names in the file."""
    names: dict[int, str] = field(default_factory=dict)
    """``id`` of a layer, nested ones too → its name in the file."""
    numbers: dict[int, list[int]] = field(default_factory=dict)
    """``id`` of a layer → the file's numbers of its calls, in the order in which they were made here."""
    inner: dict[int, dict[str, Any]] = field(default_factory=dict)
    """``id`` of a nested model → its layers by their names in the file."""

    def find(self, path: Sequence[str]) -> Any:
        """Follow an object path, such as ``("bi", ".forward_layer", ".cell")`` or ``("outer", "inner")``.

        Args:
            path: Names of layers, and attributes with a dot before them; a number picks from a list.

        Raises:
            Refused: There is no such object.
        """
        found: Any = None
        for part in path:
            if part.startswith("."):
                found = attribute(found, part[1:])
            elif isinstance(found, (list, tuple)):
                found = found[int(part)]
            else:
                layers = self.layers if found is None else self.inner.get(id(found)) or by_name(found)
                if part not in layers:
                    raise Refused(f"Keras's model has no layer {part!r}")
                found = layers[part]
        return found


def build(library: Library, blueprint: Mapping[str, Any]) -> Built:
    """Build a model and everything inside it.

    Raises:
        Refused: This Keras cannot build it.
    """
    try:
        return _Builder(library).model(blueprint)
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - whatever Keras raises means that it refuses
        raise Refused(f"cannot build the model: {first_line(error)}") from None


class _Builder:
    """Builds models; names are unique and harmless, since Keras has opinions about them."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._counter = 0
        self._inner: dict[int, Built] = {}

    def model(self, blueprint: Mapping[str, Any]) -> Built:
        layers: dict[str, Any] = {}
        values: dict[Node, list[Any]] = {}
        built = Built(None, layers)
        pending: list[tuple[Mapping[str, Any], int]] = []
        for record in blueprint["layers"]:
            if record["kind"] == "input":
                values[record["name"], 0] = [self._input(record)]
            else:
                layer = layers[record["name"]] = self.layer(record, built)
                built.names[id(layer)] = record["name"]
                pending += [(record, number) for number in range(len(record["calls"]))]
        while pending:
            ready = [(r, n) for r, n in pending if self._known(r["calls"][n], values)]
            if not ready:
                raise Refused("the graph cannot be put into an order")
            for record, number in ready:
                layer = layers[record["name"]]
                values[record["name"], number] = self._call(layer, record["calls"][number], values)
                built.numbers.setdefault(id(layer), []).append(number)
            pending = [item for item in pending if item not in ready]
        inputs = [self._value(ref, values) for ref in blueprint["inputs"]]
        outputs = [self._value(ref, values) for ref in blueprint["outputs"]]
        built.model = self._library.keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs)
        return built

    def layer(self, record: Mapping[str, Any], into: Built) -> Any:
        """Build one layer; what is inside a nested model is noted in ``into``."""
        if record.get("model") is not None:
            inner = self.model(record["model"])
            into.names.update(inner.names)
            into.numbers.update(inner.numbers)
            into.inner.update({**inner.inner, id(inner.model): inner.layers})
            return inner.model
        if record["kind"] == "operation":
            return self._library.operation_class(record["class_name"])(**record["config"])
        class_ = self._library.layer_class(record["class_name"])
        config = {key: self._argument(value) for key, value in record["config"].items()}
        parts = {key: [self.layer(part, into) for part in group] for key, group in record["parts"].items()}
        for key, group in parts.items():
            config[key] = group if key in LISTS else group[0]
        if isinstance(config.get("ngrams"), list):  # JSON has no tuples
            config["ngrams"] = tuple(config["ngrams"])
        return class_(**_accepted(class_, config), name=self._name(record["name"]))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Mapping) and "@layer" in value:
            return self._library.layer_class(value["@layer"])(**value["config"])
        return value

    def _name(self, name: str) -> str:
        self._counter += 1
        return f"{re.sub('[^A-Za-z0-9_.-]', '_', name).lstrip('._-') or 'layer'}_{self._counter}"

    def _input(self, record: Mapping[str, Any]) -> Any:
        config = record["config"]
        return self._library.keras.Input(
            batch_shape=tuple(config["batch_shape"]), dtype=config["dtype"], name=self._name(record["name"])
        )

    def _call(self, layer: Any, call: Mapping[str, Any], values: Mapping[Node, list[Any]]) -> list[Any]:
        args = [self._value(argument, values) for argument in call["args"]]
        given = {key: argument for key, argument in call["kwargs"].items() if argument is not None}
        kwargs = {key: self._value(argument, values) for key, argument in given.items()}
        return self._library.flat(layer(*args, **kwargs))

    def _value(self, argument: Any, values: Mapping[Node, list[Any]]) -> Any:
        if isinstance(argument, Mapping) and "@ref" in argument:
            layer, call, tensor = argument["@ref"]
            return values[layer, call][tensor]
        if isinstance(argument, Mapping) and "@constant" in argument:
            return np.array(argument["@constant"], argument["dtype"])
        if isinstance(argument, Mapping) and "@slice" in argument:
            return slice(*argument["@slice"])
        if isinstance(argument, Mapping):
            return {key: self._value(item, values) for key, item in argument.items()}
        return [self._value(item, values) for item in argument] if isinstance(argument, list) else argument

    def _known(self, argument: Any, values: Mapping[Node, list[Any]]) -> bool:
        if isinstance(argument, Mapping) and "@ref" in argument:
            return (argument["@ref"][0], argument["@ref"][1]) in values
        if isinstance(argument, Mapping):
            return all(self._known(item, values) for item in argument.values())
        return all(self._known(item, values) for item in argument) if isinstance(argument, list) else True


def _accepted(class_: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out keys that this Keras does not know where the file has them switched off."""
    known: set[str] = set()
    for base in class_.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        known |= parameters.keys()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return {key: value for key, value in config.items() if key in known or (value is not None and value is not False)}


def set_weights(built: Built, objects: list[Mapping[str, Any]], arrays: Mapping[str, Any]) -> None:
    """Set every weight by its role.

    Weights in the layouts of Keras 1 and CuDNN are converted by Keras's own converter, that of tf_keras.

    Raises:
        Refused: A weight does not fit; names it.
    """
    for item in objects:
        owner = built.find(item["path"])
        values = {role: arrays[key] for role, key in item["roles"].items()}
        if item["convert"] is not None:
            layer = built.find(item["path"][:-1]) if item["path"][-1] == ".cell" else owner
            converted = _converted(layer, list(values.values()), item["convert"])
            roles = ("kernel", "recurrent_kernel", "bias") if layer is not owner else tuple(values)
            values = dict(zip(roles, converted, strict=True))
        for role, value in values.items():
            _assign(owner, role, _unflipped(value, role, item["flip"]), "/".join(item["path"]))


def _unflipped(value: Any, role: str, axes: int) -> Any:
    """Turn a kernel of Theano, which convolves, into one for TensorFlow, which correlates."""
    return np.flip(value, tuple(range(axes))) if axes and role.endswith("kernel") else value


def _converted(layer: Any, arrays: list[Any], version: str) -> list[Any]:
    try:
        from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading  # noqa: PLC0415
    except ImportError:
        raise Refused("weights of Keras 1 or CuDNN need tf_keras to convert them; pip install tf-keras") from None
    return list(preprocess_weights_for_loading(layer, [np.array(a) for a in arrays], version, None))


def _assign(owner: Any, role: str, value: Any, where: str) -> None:
    variable = getattr(owner, role, None)
    if variable is None:
        raise Refused(f"{where}: Keras's {type(owner).__name__} has no weight {role}")
    if tuple(variable.shape) != tuple(value.shape):
        raise Refused(f"{where}: {role} has shape {tuple(value.shape)}, in Keras {tuple(variable.shape)}")
    variable.assign(value)


def read_weights(built: Built, objects: list[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the weights that Keras holds: number of the object → role → array.

    What Keras keeps under another name or in another shape than the file is left out.
    """
    found: dict[int, dict[str, Any]] = {}
    for number, item in enumerate(objects):
        if item["convert"] is not None or item["flip"]:
            continue
        try:
            owner = built.find(item["path"])
        except (Refused, IndexError, AttributeError):
            continue
        for role in item["roles"]:
            variable = getattr(owner, role, None)
            if variable is not None and hasattr(variable, "shape"):
                found.setdefault(number, {})[role] = np.asarray(variable)
    return found
