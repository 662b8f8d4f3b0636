"""Masks that Keras 3 would lose, given to the layer by keyword, and what old layers return where they are.

A recurrent layer of Keras 3 that is called with initial states does not see its input's mask (``RNN.call`` in
``keras/src/layers/rnn/rnn.py`` 3.15.1); it sees one that the call names. So the mask is computed anew, by
``keras.ops`` from what made it, and named in the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from gateprobe.graph import Call, LayerRecord, ModelRecord, Namespace, TensorRef, references
from gateprobe.layers.binding.registry import is_recurrent
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.migration.graphs import free, masking, operation, rewired
from gateprobe.semantics import MaskedOutput, Semantics

_PASS_ON = frozenset(
    """
    Activation ActivityRegularization AlphaDropout BatchNormalization Dense Dropout ELU GaussianDropout GaussianNoise
    LayerNormalization LeakyReLU PReLU ReLU Softmax SpatialDropout1D TimeDistributed
    """.split()
)
"""Layers of Keras 1 and 2 that pass a mask on as it is."""
DROP = frozenset({"Identity", "Normalization", "Rescaling"})
"""Layers of Keras 1 and 2 that drop a mask."""


def restored(model: ModelRecord, semantics: Semantics, *, nested: bool) -> ModelRecord:
    """Return a model in which every recurrent layer that starts from given states is given its mask too.

    Where the old layer returned the carried state at a masked timestep, so does what takes its place.

    Args:
        model: In the words of Keras 3.
        semantics: The meaning of the words of the file that it comes from.
        nested: Whether it stands inside another one, whose masks may reach it.

    Raises:
        Unsupported: A mask reaches such a layer on a way that cannot be followed.
    """
    if semantics.states_hide_mask:
        return model
    search = Search(model, nested=nested)
    layers: list[LayerRecord] = []
    for record in model.layers:
        calls = [_with_mask(record, call, search) for call in record.calls]
        layers += [*search.fresh(), replace(record, calls=tuple(calls))]
    made = replace(model, layers=tuple(layers))
    return _carrying(made, nested=nested) if semantics.masked_output is MaskedOutput.CARRIED_STATE else made


def _with_mask(record: LayerRecord, call: Call, search: Search) -> Call:
    if not is_recurrent(record) or "initial_state" not in call.kwargs or "mask" in call.kwargs:
        return call
    x = call.args[0]
    mask = search.mask_of(x) if isinstance(x, TensorRef) else None
    return call if mask is None else Call(call.args, {**call.kwargs, "mask": mask})


@dataclass(slots=True)
class Search:
    """Finds what made a tensor's mask, and makes layers that compute it again.

    Attributes:
        model: In old words or new ones.
        nested: Whether masks may come from outside.
    """

    model: ModelRecord
    nested: bool
    made: dict[TensorRef, TensorRef] = field(default_factory=dict)
    """Source → its mask."""
    waiting: list[LayerRecord] = field(default_factory=list)
    records: Mapping[str, LayerRecord] = field(init=False)

    def __post_init__(self) -> None:
        self.records = {record.name: record for record in self.model.layers}

    def fresh(self) -> Iterator[LayerRecord]:
        """Yield the layers made since the last time; they stand before the one that reads them."""
        while self.waiting:
            yield self.waiting.pop(0)

    def mask_of(self, ref: TensorRef) -> TensorRef | None:
        """Return the mask of a tensor, ``None`` where there is none."""
        while True:
            record = self.records[ref.layer]
            if record.class_name == "InputLayer":
                if self.nested:
                    raise Unsupported(
                        f"its mask, if there is one, comes from outside the model in which it stands ({ref.layer}): "
                        "Keras 3 does not see it beside initial states"
                    )
                return None
            if record.namespace is Namespace.OPERATION or record.class_name in DROP:
                return None
            call = record.calls[ref.call]
            if isinstance(call.kwargs.get("mask"), TensorRef):
                found: TensorRef = call.kwargs["mask"]
                return found
            source = call.args[0]
            if record.class_name == "Embedding":
                return self._compared(ref, source, 0) if record.config.get("mask_zero") else None
            if record.class_name == "Masking":
                return self._compared(ref, source, record.config.get("mask_value", 0.0))
            source = source[0] if is_recurrent(record) and isinstance(source, (tuple, list)) else source
            if not self._passes_on(record) or not isinstance(source, TensorRef):
                if not self._masks_before(record.name):
                    return None
                raise Unsupported(
                    f"its mask goes through {record.name} ({record.class_name}), where it is not followed"
                )
            ref = source

    def _passes_on(self, record: LayerRecord) -> bool:
        if is_recurrent(record):
            inner = record.children.get("layer", (record,))[0]
            return bool(inner.config.get("return_sequences"))
        return record.class_name in _PASS_ON

    def _masks_before(self, name: str) -> bool:
        """Tell whether any layer that leads to one makes a mask."""
        stack, seen = [name], set[str]()
        while stack:
            record = self.records[stack.pop()]
            if record.name in seen:
                continue
            seen.add(record.name)
            outside = self.nested and record.class_name == "InputLayer"
            if outside or record.class_name == "Masking" or record.config.get("mask_zero") or record.model is not None:
                return True
            for call in record.calls:
                stack += [ref.layer for ref in references((call.args, call.kwargs))]
        return False

    def _compared(self, ref: TensorRef, source: object, value: float) -> TensorRef:
        """Return ``source != value``, over all features of a timestep where there are any."""
        if ref in self.made:
            return self.made[ref]
        found = self._add("NotEqual", f"{ref.layer}_mask", {}, (source, value))
        if self.records[ref.layer].class_name == "Masking":
            found = self._add("Any", f"{ref.layer}_mask_any", {"axis": -1, "keepdims": False}, (found,))
        self.made[ref] = found
        return found

    def _add(
        self, class_name: str, name: str, config: Mapping[str, object], arguments: tuple[object, ...]
    ) -> TensorRef:
        name = free(name, {*self.records, *(record.name for record in self.waiting)})
        self.waiting.append(operation(class_name, name, config, arguments))
        return TensorRef(name)


def _carrying(model: ModelRecord, *, nested: bool) -> ModelRecord:
    """Let recurrent layers return the carried state at masked timesteps, where Keras 3 returns its last output.

    The two differ before the first timestep that is not masked: there the old layer returns its initial state, and
    Keras 3 zeros. The mask goes on with the output.

    Raises:
        Unsupported: The initial state is not in the graph, or the old layer returns that of another cell.
    """
    layers: list[LayerRecord] = []
    refs: dict[TensorRef, TensorRef] = {}
    fresh: set[str] = set()
    search = Search(model, nested=nested)
    taken = {record.name for record in model.layers}
    for record in model.layers:
        layers.append(record)
        calls = {number: call for number, call in enumerate(record.calls) if _differs(record, call, search)}
        for number, call in calls.items():
            added = list(_carried(record, number, call, taken))
            refs[TensorRef(record.name, number)] = TensorRef(added[-1].name)
            layers += added
            taken |= {one.name for one in added}
            fresh |= {one.name for one in added}
    return rewired(replace(model, layers=tuple(layers)), refs, fresh)


def _differs(record: LayerRecord, call: Call, search: Search) -> bool:
    """Tell whether a layer's call sees a mask while it does not begin with zeros.

    Raises:
        Unsupported: What it begins with is out of reach.
    """
    if not is_recurrent(record) or record.class_name.endswith(("Cell", "Cells")) or record.config.get("unroll"):
        return False
    halves = record.children.get("layer", ()) if record.class_name == "Bidirectional" else (record,)
    stateful = any(half.config.get("stateful") for half in halves)
    stacked = any(len(cell.children.get("cells", ())) > 1 for half in halves for cell in half.children.get("cell", ()))
    if not stateful and not stacked and "initial_state" not in call.kwargs:
        return False
    x = call.args[0] if call.args else None
    if not isinstance(x, TensorRef) or ("mask" not in call.kwargs and search.mask_of(x) is None):
        return False
    if stateful:
        raise Unsupported("at a masked timestep it returns the state of the batch before, which Keras 3 does not")
    if stacked:
        raise Unsupported("at a masked timestep it returns the state of another cell of its stack, or that of the last")
    if record.class_name.startswith(("Bidirectional", "ConvLSTM")):
        raise Unsupported("at a masked timestep it returns its initial state, which Keras 3 does not")
    return True


def _carried(record: LayerRecord, number: int, call: Call, taken: set[str]) -> Iterator[LayerRecord]:
    """Yield what puts the initial state where nothing was unmasked so far."""
    mask, state = call.kwargs["mask"], call.kwargs["initial_state"]
    state = state[0] if isinstance(state, (tuple, list)) else state
    y = TensorRef(record.name, number)

    def named(what: str) -> str:
        return free(f"{record.name}_{what}" if number == 0 else f"{record.name}_{what}_{number}", taken)

    if not record.config.get("return_sequences"):
        begun = operation("Any", named("begun"), {"axis": 1, "keepdims": True}, (mask,))
        yield begun
        yield operation("Where", named("carried"), {}, (TensorRef(begun.name), y, state))
        return
    in_order = mask
    if record.config.get("go_backwards"):
        turned = operation("Flip", named("mask_turned"), {"axis": 1}, (mask,))
        yield turned
        in_order = TensorRef(turned.name)
    counted = operation("Cast", named("counted"), {"dtype": "int32"}, (in_order,), module="keras.src.ops.core")
    total = operation("Cumsum", named("so_far"), {"axis": 1}, (TensorRef(counted.name),))
    begun = operation("Greater", named("begun"), {}, (TensorRef(total.name), 0))
    begun_each = operation("ExpandDims", named("begun_each"), {"axis": -1}, (TensorRef(begun.name),))
    state_each = operation("ExpandDims", named("initial_each"), {"axis": 1}, (state,))
    refs = tuple(TensorRef(one.name) for one in (begun_each, state_each))
    where = operation("Where", named("carried_each"), {}, (refs[0], y, refs[1]))
    yield from (counted, total, begun, begun_each, state_each, where)
    yield masking(named("carried"), (TensorRef(where.name), mask))
