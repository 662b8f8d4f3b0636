"""Which call of a layer reads which, through nested models too: where a layer lies in a model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from gateprobe.errors import Refusal
from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef, references
from gateprobe.layers.binding.graph import call_name
from gateprobe.replay.calls import join_path, plain_path, recurrent_calls

_NAMED = 3
"""How many layers a sentence names."""


@dataclass(frozen=True)
class Flow:
    """The calls of a model."""

    model: ModelRecord

    @cached_property
    def needs(self) -> Mapping[str, tuple[str, ...]]:
        """Path of each call → paths of the calls whose outputs it reads."""
        return dict(_calls(self.model, "", ()))

    @cached_property
    def records(self) -> Mapping[str, LayerRecord]:
        """Every layer, nested ones too, by its path without the numbers of calls."""
        found: dict[str, LayerRecord] = {}
        stack = [("", self.model)]
        while stack:
            path, model = stack.pop()
            for record in model.layers:
                own = join_path(path, record.name)
                found[own] = record
                stack += [(own, record.model)] if record.model is not None else []
        return found

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Path of each call → paths of the calls that read its outputs."""
        found: dict[str, list[str]] = {}
        for reader, sources in self.needs.items():
            for source in sources:
                found.setdefault(source, []).append(reader)
        return {source: tuple(readers) for source, readers in found.items()}

    @cached_property
    def recurrent(self) -> Mapping[str, str]:
        """Path of each call of a recurrent layer → path of the call that can be fed: that of the layer around it."""
        return {call.path: self._around(call.path) for call in recurrent_calls(self.model)}

    @cached_property
    def ends(self) -> frozenset[str]:
        """Paths of the calls whose outputs are those of the model."""
        records = {record.name: record for record in self.model.layers}
        return frozenset(_path_of(ref, records, "") for ref in self.model.outputs)

    def upstream(self, paths: Iterable[str]) -> frozenset[str]:
        """Return what some calls need, directly or not, without themselves."""
        return _reached(paths, self.needs)

    def downstream(self, paths: Iterable[str]) -> frozenset[str]:
        """Return what needs some calls, directly or not, without themselves."""
        return _reached(paths, self.readers)

    def calls_of(self, layer: str) -> frozenset[str]:
        """Return the calls of a layer, given its path without the numbers of calls; or those of the layer around it."""
        inner = [path for path in self.needs if f"{layer}/".startswith(f"{plain_path(path)}/")]
        deepest = max(map(len, map(plain_path, inner)), default=0)
        return frozenset(path for path in inner if len(plain_path(path)) == deepest)

    def _around(self, path: str) -> str:
        parts = path.split("/")
        outwards = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next(call for call in outwards if call in self.needs)


def located(model: ModelRecord, refusals: Iterable[Refusal]) -> list[Refusal]:
    """Return refusals that say of unknown code whether it lies before or behind the recurrent layers."""
    flow = Flow(model)
    return [
        replace(one, reason=f"{one.reason}; it {_position(flow, one.layer)}") if one.unknown else one
        for one in refusals
    ]


def _position(flow: Flow, layer: str) -> str:
    own = flow.calls_of(layer)
    around = [path for path, call in flow.recurrent.items() if call in own]
    if around:
        return f"is part of the recurrent layer {_listed(around)}"
    above, below = flow.upstream(own), flow.downstream(own)
    before = [path for path, call in flow.recurrent.items() if call in below]
    behind = [path for path, call in flow.recurrent.items() if call in above]
    said = [f"before {_listed(before)}"] * bool(before) + [f"behind {_listed(behind)}"] * bool(behind)
    return f"lies {' and '.join(said) or 'beside the recurrent layers'}"


def _listed(paths: Collection[str]) -> str:
    named = list(dict.fromkeys(paths))
    more = [f"{len(named) - _NAMED} more"] * (len(named) > _NAMED)
    return " and ".join(filter(None, (", ".join(named[:_NAMED]), *more)))


def _calls(model: ModelRecord, path: str, given: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each call with what it reads; ``given`` is what each input of the model reads."""
    records = {record.name: record for record in model.layers}
    for ref, sources in zip(model.inputs, given, strict=False):
        yield join_path(path, call_name(ref.layer, ref.call)), sources
    for record in model.layers:
        if record.class_name == "InputLayer":
            continue
        for number, call in enumerate(record.calls):
            own = join_path(path, call_name(record.name, number))
            read = tuple(_path_of(ref, records, path) for ref in references((call.args, call.kwargs)))
            if record.model is None:
                yield own, read
            else:
                inner = {one.name: one for one in record.model.layers}
                yield from _calls(record.model, own, _inputs(call, records, path, record.model))
                yield own, tuple(_path_of(ref, inner, own) for ref in record.model.outputs)


def _inputs(
    call: Call, records: Mapping[str, LayerRecord], path: str, inner: ModelRecord
) -> tuple[tuple[str, ...], ...]:
    """Return what each input of a nested model reads: all of it, where the call does not say which."""
    refs = [_path_of(ref, records, path) for ref in references(call.args)]
    if len(refs) == len(inner.inputs):
        return tuple((ref,) for ref in refs)
    return (tuple(_path_of(ref, records, path) for ref in references((call.args, call.kwargs))),) * len(inner.inputs)


def _path_of(ref: TensorRef, records: Mapping[str, LayerRecord], path: str) -> str:
    """Return the call that makes a tensor, inside a nested model where it comes out of one."""
    own = join_path(path, call_name(ref.layer, ref.call))
    record = records.get(ref.layer)
    if record is None or record.model is None or ref.tensor >= len(record.model.outputs):
        return own
    inner = {one.name: one for one in record.model.layers}
    return _path_of(record.model.outputs[ref.tensor], inner, own)


def _reached(paths: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    found: set[str] = set()
    stack = list(paths)
    while stack:
        for near in edges.get(stack.pop(), ()):
            if near not in found:
                found.add(near)
                stack.append(near)
    return frozenset(found)
