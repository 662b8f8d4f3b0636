"""Masks that Keras 3 would lose, given to the layer by keyword.

A recurrent layer of Keras 3 that is called with initial states does not see its input's mask (``RNN.call`` in
``keras/src/layers/rnn/rnn.py`` 3.15.1); it sees one that the call names. So the mask is computed anew, by
``keras.ops`` from what made it, and named in the call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gateprobe.graph import Call, LayerRecord, ModelRecord, Namespace, TensorRef, references
from gateprobe.layers.binding.registry import kind_of
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.semantics import Semantics

_OPERATIONS = "keras.src.ops.numpy"
_PASS_ON = frozenset(
    """
    Activation ActivityRegularization AlphaDropout BatchNormalization Dense Dropout ELU GaussianDropout GaussianNoise
    LayerNormalization LeakyReLU PReLU ReLU Softmax SpatialDropout1D TimeDistributed
    """.split()
)
"""Layers of Keras 1 and 2 that pass a mask on as it is."""


def restored(model: ModelRecord, semantics: Semantics, *, nested: bool) -> ModelRecord:
    """Return a model in which every recurrent layer that starts from given states is given its mask too.

    Args:
        model: In the words of Keras 3.
        semantics: The meaning of the words of the file that it comes from.
        nested: Whether it stands inside another one, whose masks may reach it.

    Raises:
        Unsupported: A mask reaches such a layer on a way that cannot be followed.
    """
    if semantics.states_hide_mask:
        return model
    search = _Search(model, nested=nested)
    layers: list[LayerRecord] = []
    for record in model.layers:
        calls = [_with_mask(record, call, search) for call in record.calls]
        layers += [*search.fresh(), replace(record, calls=tuple(calls))]
    return replace(model, layers=tuple(layers))


def _with_mask(record: LayerRecord, call: Call, search: _Search) -> Call:
    kind = kind_of(record)
    recurrent = kind is not None and kind.recurrent
    if not recurrent or "initial_state" not in call.kwargs or "mask" in call.kwargs:
        return call
    x = call.args[0]
    mask = search.mask_of(x) if isinstance(x, TensorRef) else None
    return call if mask is None else Call(call.args, {**call.kwargs, "mask": mask})


@dataclass(slots=True)
class _Search:
    """Finds what made a tensor's mask, and makes layers that compute it again."""

    model: ModelRecord
    nested: bool
    made: dict[TensorRef, TensorRef]
    """Source → its mask."""
    waiting: list[LayerRecord]

    def __init__(self, model: ModelRecord, *, nested: bool) -> None:
        self.model, self.nested, self.made, self.waiting = model, nested, {}, []

    def fresh(self) -> Iterator[LayerRecord]:
        """Yield the layers made since the last time; they stand before the one that reads them."""
        while self.waiting:
            yield self.waiting.pop(0)

    def mask_of(self, ref: TensorRef) -> TensorRef | None:
        """Return the mask of a tensor, ``None`` where there is none."""
        records: Mapping[str, LayerRecord] = {record.name: record for record in self.model.layers}
        while True:
            record = records[ref.layer]
            if record.class_name == "InputLayer":
                if self.nested:
                    raise Unsupported(
                        f"its mask, if there is one, comes from outside the model in which it stands ({ref.layer}): "
                        "Keras 3 does not see it beside initial states"
                    )
                return None
            source = record.calls[ref.call].args[0]
            if record.class_name == "Embedding":
                return self._compared(ref, source, 0) if record.config.get("mask_zero") else None
            if record.class_name == "Masking":
                return self._compared(ref, source, record.config.get("mask_value", 0.0))
            if not self._passes_on(record) or not isinstance(source, TensorRef):
                if not self._masks_before(record.name, records):
                    return None
                raise Unsupported(
                    f"its mask goes through {record.name} ({record.class_name}), where it is not followed"
                )
            ref = source

    def _passes_on(self, record: LayerRecord) -> bool:
        kind = kind_of(record)
        if kind is not None and kind.recurrent:
            inner = record.children.get("layer", (record,))[0]
            return bool(inner.config.get("return_sequences"))
        return record.class_name in _PASS_ON

    def _masks_before(self, name: str, records: Mapping[str, LayerRecord]) -> bool:
        """Tell whether any layer that leads to one makes a mask."""
        stack, seen = [name], set[str]()
        while stack:
            record = records[stack.pop()]
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
        features = any(record.name == ref.layer and record.class_name == "Masking" for record in self.model.layers)
        name = self._free(f"{ref.layer}_mask")
        self.waiting.append(_operation("NotEqual", name, {}, source, value))
        found = TensorRef(name)
        if features:
            name = self._free(f"{ref.layer}_mask_any")
            self.waiting.append(_operation("Any", name, {"axis": -1, "keepdims": False}, found))
            found = TensorRef(name)
        self.made[ref] = found
        return found

    def _free(self, name: str) -> str:
        taken: Collection[str] = {record.name for record in (*self.model.layers, *self.waiting)}
        while name in taken:
            name += "_"
        return name


def _operation(class_name: str, name: str, config: Mapping[str, object], *args: object) -> LayerRecord:
    return LayerRecord(name, class_name, config, Namespace.OPERATION, calls=(Call(args),), module=_OPERATIONS)
