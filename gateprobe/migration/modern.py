"""The graph that was read → the same graph in the words, names and weight layouts of Keras 3.

Every layer becomes one of Keras 3 with its configuration spelt out, so that nothing depends on what an era took for
granted. Where a word means something else in Keras 3, `gateprobe.migration.exact` rewrites the layer; where it cannot,
the model is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gateprobe.errors import Refusal, UnsupportedModel
from gateprobe.graph import (
    LOOKUPS,
    Array,
    Call,
    Era,
    GateLayout,
    LayerRecord,
    ModelGraph,
    ModelRecord,
    Namespace,
    Origin,
    TensorRef,
    WeightArray,
    WeightGroup,
    WeightScheme,
    WeightStore,
    freeze,
)
from gateprobe.layers.base import FLOAT32
from gateprobe.layers.binding.registry import Binding, kind_of
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.binding.weight_assignment import Weights, find_weights
from gateprobe.layers.binding.weight_order import parts_of, slots_of
from gateprobe.layers.conv import is_convolution, stored_kernel
from gateprobe.layers.recurrent.cells import from_cudnn
from gateprobe.layers.recurrent.conv_lstm import fused_kernels
from gateprobe.migration import exact, masks
from gateprobe.migration.graphs import free, in_keras_order, mapped_calls
from gateprobe.migration.halves import Half, split
from gateprobe.migration.merges import remasked
from gateprobe.migration.parameters import PARAMETERS
from gateprobe.migration.stacks import reordered
from gateprobe.replay.plan import model_of
from gateprobe.semantics import Semantics, semantics_of
from gateprobe.verification.blueprint import states_by_keyword, translated
from gateprobe.verification.replay import Key

Find = Callable[[LayerRecord], Weights]
"""Finds the weights of a layer."""

TARGET = "3.15.1"
"""The Keras whose words are used."""
SETTLED = frozenset(
    """
    bidirectional_zeroes_masked config_in_float32 conv_lstm_zeroes_masked conv_recurrent_activation gru_reset_after
    hard_sigmoid_slope identity_keeps_mask keras1_kernels masked_output merged_mask recurrent_activation
    stacked_states_reversed states_hide_mask weight_order
    attention_fused attention_scale_in_float32 group_norm_in_input_dtype group_norm_rounds_weights halves_round_weights
    layer_norm_fused layer_norm_in_input_dtype
    """.split()
)
"""Rules of an era that are written out or rewritten here, so that the new file says what the old one meant; and those
that change the last bits alone."""
_GATES = {"LSTMCell": "ifco", "GRUCell": "zrh"}
"""The order in which Keras 2 and 3 keep the gates side by side."""


def modern_semantics() -> Semantics:
    """Return the meaning of words in the Keras that the file is written for."""
    return semantics_of(Origin("keras", Era.KERAS3, (), TARGET, "tensorflow"))


@dataclass(frozen=True, slots=True, eq=False)
class Modern:
    """A model in today's words."""

    graph: ModelGraph
    names: Mapping[str, str]
    """Path of a layer in the file → its new path, where a name had to change."""
    rewritten: Mapping[str, str]
    """Path of a layer in the file → what was expressed in another way, and how."""
    halves: Mapping[Key, Key]
    """Path and direction of a half of a Bidirectional → those of the plain layer that it became."""

    def place(self, path: str, direction: str) -> Key:
        """Return where a trace of the new model has what one of the old model has somewhere."""
        for (old, way), (new, new_way) in self.halves.items():
            if way == direction and _is_within(path, old):
                return new + path[len(old) :], new_way
        for old in sorted(self.names, key=len, reverse=True):
            if _is_within(path, old):
                return self.names[old] + path[len(old) :], direction
        return path, direction


def _is_within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}/", f"{outer}:"))


def modernise(graph: ModelGraph, semantics: Semantics, *, registered: bool = False) -> Modern:
    """Put a model into the words of Keras 3.

    Args:
        graph: What was read.
        semantics: The meaning of its words.
        registered: Whether to write the steeper ``hard_sigmoid`` as a registered function, not by scaled weights.

    Raises:
        UnsupportedModel: Keras 3 has nothing that computes the same; carries every reason.
    """
    find = find_weights(model_of(graph), graph.weights, semantics)
    work = _Work(semantics, modern_semantics(), exact.HardSigmoid(semantics, registered=registered))
    made = work.model(sized(model_of(graph), find, semantics), "")
    root = WeightGroup() if work.refusals else work.stored_model(made, find)
    if work.refusals:
        raise UnsupportedModel(list(dict.fromkeys(work.refusals)), file=graph.file)
    origin = Origin(
        "keras", Era.KERAS3, (f"written for Keras {TARGET}",), TARGET, "tensorflow", (), graph.origin.sha256
    )
    store = WeightStore(WeightScheme.OBJECT_PATHS, root)
    return Modern(ModelGraph(graph.file, origin, made, store), work.names, work.rewritten, work.halves)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """Where a layer's weights come from."""

    name: str
    """Of the new layer."""
    record: LayerRecord
    """The old one."""
    place: str
    half: Half | None

    def find(self, weights: Find) -> Weights:
        """Return the old layer's weights."""
        if self.half is None:
            return weights(self.record)
        return weights(self.half.wrapper).part(self.half.part, self.record)


@dataclass(slots=True)
class _Work:
    """What is gathered on the way through the model."""

    semantics: Semantics
    modern: Semantics
    steep: exact.HardSigmoid
    names: dict[str, str] = field(default_factory=dict)
    rewritten: dict[str, str] = field(default_factory=dict)
    halves: dict[Key, Key] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    sources: dict[int, list[_Source]] = field(default_factory=dict)
    """``id`` of a model made here → its layers that have weights."""

    def model(self, model: ModelRecord, path: str) -> ModelRecord:
        """Translate a model and the models inside it.

        Args:
            model: As read.
            path: Of the model around it, with a slash behind it.
        """
        model, halves = self.split(model, path)
        renamed = _unique_names(model)
        around = self.names.get(path.removesuffix("/"), path.removesuffix("/"))
        outer = f"{around}/" if around else ""
        self.names.update(
            {f"{path}{old}": f"{outer}{new}" for old, new in renamed.items() if old != new or outer != path}
        )
        self.halves.update(
            ((f"{path}{half.wrapper.name}", half.direction), (f"{outer}{renamed[name]}", half.new_direction))
            for name, half in halves.items()
        )
        rename = partial(_renamed, names=renamed)
        records: list[LayerRecord] = []
        sources: list[_Source] = []
        for record in model.layers:
            half = halves.get(record.name)
            place = f"{path}{record.name if half is None else half.wrapper.name}"
            try:
                made = self.layer(record, place)
            except Unsupported as reason:
                self.refusals.append(Refusal(place, record.class_name, str(reason)))
                continue
            new = replace(made, name=renamed[record.name], calls=mapped_calls(record.calls, rename))
            if record.class_name != "InputLayer" and record.namespace is not Namespace.OPERATION and record.calls:
                sources.append(_Source(new.name, record, place, half))
            records += self.steep.before(record, new, renamed.values())
        inputs, outputs = (tuple(map(rename, refs)) for refs in (model.inputs, model.outputs))
        name = _plain_name(model.name) or "model"
        made_model = ModelRecord(name, "Functional", tuple(records), inputs, outputs, model.trainable, model.input_keys)
        if self.refusals:  # layers are missing, and nothing will be written
            return made_model
        try:
            made_model = in_keras_order(masks.restored(made_model, self.semantics, nested=bool(path)))
        except Unsupported as reason:
            self.refusals.append(Refusal(path or model.name, model.class_name, str(reason)))
            return made_model
        kept = {record.name for record in made_model.layers}  # what leads to no output, Keras does not keep
        self.sources[id(made_model)] = [source for source in sources if source.name in kept]
        return made_model

    def split(self, model: ModelRecord, path: str) -> tuple[ModelRecord, Mapping[str, Half]]:
        """Put what Keras 3 has no layer for into several layers, still in the words of the file."""
        calls = {one.name: tuple(_plain_call(one, call) for call in one.calls) for one in model.layers}
        model = replace(model, layers=tuple(replace(one, calls=calls[one.name]) for one in model.layers))
        model = remasked(model, self.semantics, nested=bool(path))
        made = split(model, self.semantics, nested=bool(path))
        for record in model.layers:
            if record.name in made.refused:
                place = f"{path}{record.name}"
                self.refusals.append(Refusal(place, record.class_name, str(made.refused[record.name])))
        for half in made.halves.values():
            self.rewritten[f"{path}{half.wrapper.name}"] = (
                "two plain layers, because the Bidirectional of Keras 3 returns zeros at masked timesteps"
            )
        return reordered(made.model, self.semantics), made.halves

    def layer(self, record: LayerRecord, place: str) -> LayerRecord:
        """Translate one layer and what is inside it; its name and calls stay."""
        if record.model is not None:
            return replace(record, class_name="Functional", config={}, model=self.model(record.model, f"{place}/"))
        return self.record(record, place)

    def record(self, record: LayerRecord, place: str) -> LayerRecord:
        """Translate a layer's class and configuration, and those of the layers inside it."""
        if record.namespace is Namespace.OPERATION:
            return record
        if record.class_name != "InputLayer" and kind_of(record) is None:
            raise Unsupported("is not a layer that gateprobe knows")
        class_name, config = translated(record, self.semantics, "keras3")
        children = {
            key: tuple(self.child(child, f"{place}/{key}") for child in group) for key, group in record.children.items()
        }
        if class_name == "Bidirectional":
            children = _both_halves(children)
        if class_name.startswith("ConvLSTM") and not self.semantics.conv_lstm_zeroes_masked:
            config.pop("zero_output_for_mask", None)
        made = replace(
            record,
            class_name=class_name,
            config=config,
            children=children,
            namespace=Namespace.LAYER,
            gate_layout=GateLayout.FUSED,
            module="keras.layers",
        )
        made = self.steep.layer(record, made)
        if made.class_name != "InputLayer":
            made = replace(made, config=_known(made))
        said = self.steep.told(record)
        if said is not None:
            self.rewritten[place] = "; ".join(filter(None, [self.rewritten.get(place), said]))
        return made

    def child(self, record: LayerRecord, place: str) -> LayerRecord:
        """Translate a layer inside another one, which has no calls of its own."""
        return replace(self.layer(record, place), name=_plain_name(record.name))

    def stored_model(self, model: ModelRecord, weights: Find) -> WeightGroup:
        """Return the weights of a model that was made here, as Keras 3 stores them.

        Args:
            model: In today's words.
            weights: Function that finds the weights of one of the old layers.
        """
        made = {record.name: record for record in model.layers}
        groups: dict[str, WeightGroup] = {}
        for source in self.sources[id(model)]:
            try:
                groups[source.name] = self.stored(source.record, made[source.name], source.find(weights))
            except Unsupported as reason:
                self.refusals.append(Refusal(source.place, source.record.class_name, str(reason)))
        return _tree(model, groups)

    def stored(self, old: LayerRecord, new: LayerRecord, weights: Weights) -> WeightGroup:
        """Return a layer's weights as Keras 3 stores them."""
        if new.model is not None:
            parts = {inner.name: name for name, inner in parts_of(old).items()}
            return self.stored_model(new.model, lambda inner: weights.part(parts[inner.name], inner))
        own = weights.own(slots_of(old, self.semantics))
        values = self.steep.weights(old, _today(old, own, self.semantics))
        slots = sorted(slots_of(new, self.modern), key=lambda slot: not slot.trainable)
        missing = [slot.role for slot in slots if slot.role not in values]
        if missing or len(slots) != len(values):
            raise Unsupported(f"its weights {', '.join(values)} are not those of Keras 3: {', '.join(missing)}")
        arrays = tuple(WeightArray(slot.role, freeze(values[slot.role])) for slot in slots)
        children: dict[str, WeightGroup] = {}
        pairs = zip(parts_of(old).items(), parts_of(new).items(), strict=True)
        for (old_path, old_part), (new_path, new_part) in pairs:
            group = self.stored(old_part, new_part, weights.part(old_path, old_part))
            _hang(children, new_path.partition("#")[0].split("/"), group)
        return WeightGroup(arrays, children)


def _plain_call(record: LayerRecord, call: Call) -> Call:
    """Return a call with initial states by keyword, and without what says nothing."""
    call = states_by_keyword(record, call)
    kwargs = {key: value for key, value in call.kwargs.items() if value is not None}
    if kwargs.get("training") is False:
        del kwargs["training"]
    return Call(call.args, kwargs)


def _both_halves(children: Mapping[str, tuple[LayerRecord, ...]]) -> dict[str, tuple[LayerRecord, ...]]:
    """Name the second half of a Bidirectional whose first one runs backwards.

    Keras 3 lets the second half run backwards whenever it is not named (``Bidirectional.__init__`` 3.15.1), Keras 2 in
    the direction in which the first one does not run.
    """
    first = children.get("layer", ())
    if "backward_layer" in children or not first or not first[0].config.get("go_backwards"):
        return dict(children)
    config = {**first[0].config, "go_backwards": False}
    return {**children, "backward_layer": (replace(first[0], name=f"backward_{first[0].name}", config=config),)}


def sized(model: ModelRecord, find: Find, semantics: Semantics) -> ModelRecord:
    """Return a model whose cells say their size, which those of Keras 2.0.9 left to the weights."""
    return replace(model, layers=tuple(_sized(record, find, semantics) for record in model.layers))


def _sized(record: LayerRecord, find: Find, semantics: Semantics) -> LayerRecord:
    if record.class_name.endswith("Cell") and Settings(record.config, semantics).bare:
        own = find(record).own(slots_of(record, semantics))
        config = {**record.config, "units": own["recurrent_kernel"].shape[0], "use_bias": "bias" in own}
        return replace(record, config=config)
    if record.model is not None:
        names = {inner.name: name for name, inner in parts_of(record).items()}
        within = lambda inner: find(record).part(names[inner.name], inner)  # noqa: E731 - a closure of two lines
        return replace(record, model=sized(record.model, within, semantics))
    if not record.children:
        return record
    paths = {id(part): path for path, part in parts_of(record).items()}

    def inside(child: LayerRecord) -> LayerRecord:
        found = paths.get(id(child))
        return child if found is None else _sized(child, lambda _: find(record).part(found, child), semantics)

    return replace(record, children={key: tuple(map(inside, group)) for key, group in record.children.items()})


def _today(record: LayerRecord, own: Mapping[str, Array], semantics: Semantics) -> dict[str, Array]:
    """Return an object's own weights by role in the layout of Keras 3."""
    gates = _GATES.get(record.class_name, "")
    if gates and record.gate_layout is GateLayout.PER_GATE:
        roles = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
        return {role: np.concatenate([own[f"{letter}_{gate}"] for gate in gates], -1) for letter, role in roles.items()}
    values = {role: np.asarray(array) for role, array in own.items()}
    if gates and values.get("bias") is not None:
        units = values["recurrent_kernel"].shape[0]
        if values["bias"].shape == (2 * len(gates) * units,):  # CuDNN
            pair = from_cudnn((values["kernel"], values["recurrent_kernel"]), len(gates))
            halves = values["bias"].reshape(2, -1)
            bias = halves[0] + halves[1] if record.class_name == "LSTMCell" else halves
            return {"kernel": pair[0], "recurrent_kernel": pair[1], "bias": bias}
    if own and is_convolution(record) and (semantics.keras1_kernels or semantics.theano):
        binding = Binding(record, Settings(record.config, semantics), values, {}, semantics, FLOAT32)
        if record.class_name.startswith("ConvLSTM"):
            return fused_kernels(binding)
        turned = "Transpose" in record.class_name
        values |= {role: stored_kernel(binding, role, transposed=turned) for role in values if role.endswith("kernel")}
    return values


_DISPENSABLE = frozenset({"reverse_state_order", "query_shape", "key_shape", "value_shape"})
"""Keys that Keras 3 can do without: `gateprobe.migration.stacks` heeds the first, and the shapes are those of the
tensors that the layer gets."""


def _known(record: LayerRecord) -> dict[str, Any]:
    """Return a configuration without keys that Keras 3 does not have, if they are switched off.

    Raises:
        Unsupported: Keras 3 has no such class, or a key that it does not have is set.
    """
    known = PARAMETERS.get(record.class_name)
    if known is None:
        raise Unsupported(f"Keras 3 has no layer {record.class_name}")
    if record.class_name in LOOKUPS and record.config.get("output_mode") in ("tf_idf", "tf-idf"):
        raise Unsupported("Keras 3 keeps the weights of tf_idf outside of the configuration, and loads no others")
    config = {"dtype": record.config["dtype"]} if "dtype" in record.config else {}
    for key, value in record.config.items():
        if key in known:
            config[key] = value
        elif key in _DISPENSABLE:
            continue
        elif key != "dtype" and value is not None and value is not False:
            raise Unsupported(f"Keras 3's {record.class_name} has no {key}, which is {value!r:.60}")
    return config


def _hang(children: dict[str, WeightGroup], path: list[str], group: WeightGroup) -> None:
    """Put a group at a path below others."""
    name, *rest = path
    if not rest:
        children[name] = group
        return
    inside = dict(children[name].children) if name in children else {}
    _hang(inside, rest, group)
    children[name] = WeightGroup(children=inside)


def _tree(model: ModelRecord, groups: Mapping[str, WeightGroup]) -> WeightGroup:
    """Return the weights of a model's layers under the names that Keras 3 gives to objects in files."""
    holder = LayerRecord(model.name, model.class_name, {}, model=model)
    inside: dict[str, WeightGroup] = {}
    for path, record in parts_of(holder).items():
        name = path.partition("#")[0].removeprefix("layers/")
        if name and record.name in groups:
            inside[name] = groups[record.name]
    return WeightGroup(children={"layers": WeightGroup(children=inside)})


def _plain_name(name: str) -> str:
    """Return a name without the slashes that Keras 3 refuses."""
    return name.replace("/", "_")


def _unique_names(model: ModelRecord) -> dict[str, str]:
    """Return the new name of each layer."""
    taken = {record.name for record in model.layers if "/" not in record.name}
    found = {}
    for record in model.layers:
        name = record.name if "/" not in record.name else free(_plain_name(record.name), taken)
        taken.add(name)
        found[record.name] = name
    return found


def _renamed(ref: TensorRef, names: Mapping[str, str]) -> TensorRef:
    return replace(ref, layer=names[ref.layer])
