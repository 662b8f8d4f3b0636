"""What a model file says: frozen values with read-only arrays and no behaviour.

Readers make these values, binding consumes them. Names and configuration keys are those of Keras 2 and 3; the Keras 1
dialect translates its own words (``output_dim``, ``inner_activation``, ...) while reading. Nothing here has been
checked against what gateprobe can replay: that is the business of ``layers`` and ``plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Config: TypeAlias = Mapping[str, Any]


class Era(Enum):
    """The major version of Keras whose meaning of words a file uses."""

    KERAS1 = "keras1"
    KERAS2 = "keras2"
    KERAS3 = "keras3"


class Namespace(Enum):
    """Where the file says a class comes from."""

    LAYER = "layer"
    """A layer or model of Keras itself."""
    OPERATION = "operation"
    """A node of ``keras.ops`` (Keras 3) in a functional graph."""
    ADDONS = "addons"
    """A class of TensorFlow Addons, known by more than its name: the file proves it, or the user says it."""
    CUSTOM = "custom"
    """Anything else: the class is code of users, whatever its name is."""


class GateLayout(Enum):
    """How the file stores the weights of a recurrent cell."""

    FUSED = "fused"
    """One kernel, one recurrent kernel and one bias for all gates."""
    PER_GATE = "per_gate"
    """Keras 1 with ``consume_less`` ``cpu`` or ``mem``: W, U and b for each gate, an LSTM in the order i, c, f, o."""


@dataclass(frozen=True, slots=True)
class TensorRef:
    """One output tensor of one call of a layer of the same model."""

    layer: str
    call: int = 0
    """0-based number of the call in the layer's ``calls``."""
    tensor: int = 0
    """0-based number among the tensors that the call returns."""


Argument: TypeAlias = Any
"""What a call is given: a `TensorRef`, a tuple or mapping of arguments, a slice, or a JSON scalar."""


def references(argument: Argument) -> Iterator[TensorRef]:
    """Yield the tensors inside an argument in Keras's order: mappings by sorted key."""
    if isinstance(argument, TensorRef):
        yield argument
    elif isinstance(argument, tuple):
        for item in argument:
            yield from references(item)
    elif isinstance(argument, Mapping):
        for key in sorted(argument):
            yield from references(argument[key])
    elif isinstance(argument, slice):
        yield from references((argument.start, argument.stop, argument.step))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer in a model's graph."""

    args: tuple[Argument, ...] = ()
    kwargs: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LayerRecord:
    """One layer as the file describes it."""

    name: str
    class_name: str
    config: Config
    namespace: Namespace = Namespace.LAYER
    children: Mapping[str, tuple[LayerRecord, ...]] = field(default_factory=dict)
    """Layers serialised inside ``config``: ``layer``, ``backward_layer``, ``cell`` (one each), or `LISTS`."""
    calls: tuple[Call, ...] = ()
    model: ModelRecord | None = None
    """The graph inside, when the layer is itself a model."""
    gate_layout: GateLayout = GateLayout.FUSED
    module: str | None = None
    """The module named by the file, for messages only; nothing is ever imported from it."""
    instead_of: str | None = None
    """The class that the file names, where a user states what its code does."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelRecord:
    """A graph of layers. A Sequential is the chain of its layers."""

    name: str
    class_name: str
    layers: tuple[LayerRecord, ...]
    """In the order of the file, which is the order of Keras's ``model.layers``; inputs are ``InputLayer`` records."""
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    trainable: bool = True
    input_keys: tuple[str, ...] = ()
    """The keys, when the model takes a dictionary: one for each of ``inputs``."""


def records_in(model: ModelRecord) -> Iterator[LayerRecord]:
    """Yield every record of a model, those inside others too."""
    for record in model.layers:
        yield from records_within(record)


def records_within(outermost: LayerRecord) -> Iterator[LayerRecord]:
    """Yield a record and every one inside it (no recursion: models may be deep)."""
    stack = [outermost]
    while stack:
        record = stack.pop()
        yield record
        stack += [child for group in record.children.values() for child in group]
        stack += record.model.layers if record.model is not None else ()


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """What a user states that a layer of unknown code does."""

    record: LayerRecord
    """A layer or an operation, without calls."""
    args: tuple[Argument, ...]
    """What it is called with, behind its inputs."""
    kwargs: Mapping[str, Argument] | None
    """Likewise by name, instead of what the file says; ``None`` for what the file says."""
    said: Mapping[str, Any]
    """As it was written."""
    file: str
    """Where it was written."""


class WeightScheme(Enum):
    """How a file addresses its weights."""

    LAYER_LISTS = "layer_lists"
    """A list of arrays for each top-level layer, by its name (HDF5 of every Keras): trainable ones first."""
    OBJECT_PATHS = "object_paths"
    """A tree of objects, named by class and counter, each with numbered arrays (``.keras`` and ``.weights.h5``)."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightArray:
    """One stored array."""

    name: str
    """Path inside the file."""
    value: Array
    """Read-only, native byte order, C order."""
    label: str | None = None
    """The name that Keras gave it in a list of weights, such as ``lstm/lstm_cell/kernel:0``."""
    attribute: str | None = None
    """What the object that holds it calls it, such as ``kernel``, where the file says so."""


@dataclass(frozen=True, eq=False)  # no slots: `named` is kept
class WeightGroup:
    """The arrays of one object and the groups of the objects it holds."""

    arrays: tuple[WeightArray, ...] = ()
    children: Mapping[str, WeightGroup] = field(default_factory=dict)
    name: str | None = None
    """The object's own name, where the file records it (Keras 3.7 and later)."""

    @cached_property
    def named(self) -> Mapping[str | None, tuple[WeightGroup, ...]]:
        """The groups of the objects it holds, by their own names."""
        found: dict[str | None, list[WeightGroup]] = {}
        for child in self.children.values():
            found.setdefault(child.name, []).append(child)
        return {name: tuple(groups) for name, groups in found.items()}


def groups_within(outermost: WeightGroup) -> Iterator[WeightGroup]:
    """Yield a group and every one inside it."""
    stack = [outermost]
    while stack:
        group = stack.pop()
        yield group
        stack += group.children.values()


@dataclass(frozen=True, slots=True, eq=False)
class WeightStore:
    """All weights of a file."""

    scheme: WeightScheme
    root: WeightGroup


LISTS = ("cells", "layers")
"""The keys of configurations that hold several layers: StackedRNNCells, Pipeline."""

LOOKUPS = ("TextVectorization", "StringLookup", "IntegerLookup")
"""The classes that have a vocabulary."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of a lookup layer, where the file keeps them beside its configuration."""

    words: tuple[str | int, ...]
    """In the order of their ids; perhaps with the special ones in front, as Keras writes them."""
    place: str
    """In the file, for messages."""
    first: int | None = None
    """The id of the first of the words, where the file says it."""
    file: str | None = None
    """The file that holds them, where it is not the model's own."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a graph comes from and how we know."""

    container: str
    """``hdf5``, ``keras`` (zip), ``weights-hdf5``, ``savedmodel``, ``checkpoint``, ``tfjs``."""
    era: Era
    evidence: tuple[str, ...]
    """Why this era: one short sentence for each thing seen in the file."""
    keras_version: str | None = None
    backend: str | None = None
    rivals: tuple[tuple[Era, str | None], ...] = ()
    """Other eras, with their versions, of which the file may be by what it says or does not say."""
    sha256: str = ""
    """Of the model file; of the concatenated digests when there are several files."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelGraph:
    """Everything a reader found."""

    file: str
    origin: Origin
    model: ModelRecord | None
    """``None`` for a weights-only file without an architecture."""
    weights: WeightStore
    notes: tuple[str, ...] = ()
    """What a user should know although it is no error, such as a model class whose code is not in the file."""
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    """By the path of a layer's object, such as ``layers/text_vectorization``, or by ``#`` and its name."""
    words_of: Mapping[str, str] = field(default_factory=dict)
    """Names of lookup layers whose words are not in this file, and the file that gave them."""
    architecture: str | None = None
    """The file that gave the architecture, if it was not this one."""
    stated: Mapping[str, Stated] = field(default_factory=dict)
    """What a user states of layers, by their paths."""
    dropout_off: tuple[str, ...] = ()
    """Paths of layers that are random in Keras, and that a user wants without that."""
    assumed: bool = False
    """Whether the model is what weights alone prove: recurrent layers, each with an input of its own."""


def freeze(value: Array) -> Array:
    """Return a read-only, native, C-ordered array equal to ``value``."""
    array = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")).reshape(value.shape)
    array.flags.writeable = False
    return array
