"""How to go on where layers cannot be replayed: which ones to feed, or to choose. What is advised has been planned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from gateprobe.errors import Feed, InputError, Refusal, UnsupportedModel, Way
from gateprobe.graph import LayerRecord, ModelGraph
from gateprobe.layers.binding.settings import RANDOM, Unsupported
from gateprobe.layers.binding.weight_assignment import Weights, find_weights
from gateprobe.layers.binding.weight_order import parts_of, slots_of
from gateprobe.replay.calls import plain_path, recurrent_layers
from gateprobe.replay.flow import Flow
from gateprobe.replay.plan import Plan, Wanted, make_plan
from gateprobe.semantics import Semantics

_MOST = 4
"""Feeds that a command line may need and still be of use."""


def way_on(graph: ModelGraph, semantics: Semantics, wanted: Wanted, refusals: Sequence[Refusal]) -> Way | None:
    """Find out how to go on.

    Args:
        graph: From a reader.
        semantics: The meaning of the file's words.
        wanted: What was refused.
        refusals: Why.

    Returns:
        ``None`` where the file is at fault, or nothing can be done.
    """
    if graph.model is None or any(one.damage or one.other_weights for one in refusals):
        return None
    if any(one.reason == RANDOM for one in refusals):  # which says itself what to do
        return None
    search = _Search(graph, semantics, wanted, Flow(graph.model), refusals)
    return search.way()


class _Search:
    """Tries what may help."""

    def __init__(
        self, graph: ModelGraph, semantics: Semantics, wanted: Wanted, flow: Flow, refusals: Sequence[Refusal]
    ) -> None:
        self._graph, self._semantics, self._wanted, self._flow = graph, semantics, wanted, flow
        self._refusals = refusals
        self._stated = tuple(dict.fromkeys(one.layer for one in refusals if one.unknown))
        self._refused = frozenset(call for one in refusals for call in flow.calls_of(one.layer))
        self._lost = self._refused | flow.downstream(self._refused)

    def way(self) -> Way | None:
        """Return the first way that can be planned."""
        traced = [path for path in self._flow.recurrent if self._wanted.traced(path)]
        sound = tuple(path for path in traced if self._flow.recurrent[path] not in self._refused)
        others = tuple(path for path in traced if self._flow.recurrent[path] not in self._lost)
        command = ("gateprobe", "predict" if self._wanted.outputs and not traced else "dump", self._graph.file)
        chosen = sound if len(sound) < len(traced) else ()
        wanted = replace(self._wanted, traced=set(sound).__contains__) if chosen else self._wanted
        ends = {self._flow.recurrent[path] for path in sound} | (self._flow.ends if wanted.outputs else set())
        for feeds in self._candidates(ends):
            plan = self._planned(wanted, feeds)
            if plan is not None and (feeds or chosen):
                told = tuple(map(self._feed, feeds))
                return Way(command, told, chosen, bool(plan.inputs), self._stated, others)
        if self._wanted.outputs and not traced and self._flow.recurrent:
            return self._traces()
        return Way(command, stated=self._stated, others=others) if self._stated or others else None

    def _traces(self) -> Way | None:
        """Return how the recurrent layers can be traced where the outputs cannot be computed."""
        wanted = replace(self._wanted, traced=lambda _: True, outputs=False)
        found = _Search(self._graph, self._semantics, wanted, self._flow, self._refusals).way()
        return None if found is None else replace(found, traces=True)

    def _candidates(self, ends: Collection[str]) -> Iterator[tuple[str, ...]]:
        """Yield what may be fed: nothing, the nearest recurrent layers, what reads refused ones, all recurrent layers.

        Args:
            ends: The calls whose results are wanted.
        """
        recurrent = set(self._flow.recurrent.values()) - self._refused
        lost = [call for call in self._flow.needs if call in self._lost - self._refused]
        near = [call for call in lost if call in recurrent]
        first = [call for call in near if not self._flow.upstream([call]) & set(near)]
        reading = [call for call in lost if self._refused & set(self._flow.needs[call])]
        direct = [self._model_of(call) or call for call in reading]
        kept = [self._needed(ends, found) for found in ((), first, direct, near)]
        yield from dict.fromkeys(found for found in kept if len(found) <= _MOST)

    def _needed(self, ends: Collection[str], feeds: Sequence[str]) -> tuple[str, ...]:
        """Return the feeds on which what is wanted depends."""
        found, stack = set(ends), list(ends)
        while stack:
            call = stack.pop()
            model = self._model_of(call)
            if model is not None and model in feeds:
                found.add(model)
            stop = call in feeds or model in feeds
            fresh = [] if stop else [one for one in self._flow.needs.get(call, ()) if one not in found]
            found.update(fresh)
            stack += fresh
        return tuple(call for call in feeds if call in found)

    def _model_of(self, call: str) -> str | None:
        """Return the nested model of which something is an input."""
        inner = self._flow.records[plain_path(call)]
        return call.rpartition("/")[0] or None if inner.class_name == "InputLayer" else None

    def _planned(self, wanted: Wanted, feeds: Iterable[str]) -> Plan | None:
        if any(not self._takes_one(feed) for feed in feeds):
            return None
        try:
            return make_plan(self._graph, self._semantics, replace(wanted, fed=wanted.fed | set(feeds)))
        except (UnsupportedModel, InputError):
            return None

    def _takes_one(self, call: str) -> bool:
        """Whether a call is one of a layer that has one input, or initial states behind it."""
        record = self._flow.records[plain_path(call)]
        first = record.calls[0].args[:1] if record.calls else ()
        several = isinstance(first[0], tuple) if first else False
        return bool(first) and (not several or call in self._flow.recurrent.values())

    def _feed(self, call: str) -> Feed:
        assert self._graph.model is not None
        shape = _shape_read(self._graph, self._semantics, self._flow, plain_path(call))
        return Feed(call, shape, call in self._flow.recurrent.values() and self._masked(call))

    def _masked(self, call: str) -> bool:
        """Whether something before a call makes a mask."""
        return any(map(_makes_mask, (self._flow.records[plain_path(one)] for one in self._flow.upstream([call]))))


def _makes_mask(record: LayerRecord) -> bool:
    given = any(
        key.endswith("mask") and value is not None for call in record.calls for key, value in call.kwargs.items()
    )
    return given or record.class_name == "Masking" or bool(record.config.get("mask_zero"))


def _shape_read(graph: ModelGraph, semantics: Semantics, flow: Flow, path: str) -> str | None:
    """Return the shape of what a layer reads, where its weights show it."""
    assert graph.model is not None
    find = find_weights(graph.model, graph.weights, semantics)
    try:
        for layer in recurrent_layers(graph.model, find):
            around = layer.path.removesuffix("/layer")
            if path in (layer.path, around):
                outer = ("any",) * ((len(layer.path) - len(path)) // len("/layer"))
                return _shown(("samples", *outer, "timesteps", *_features(layer.record, layer.weights(), semantics)))
        record = flow.records[path]
        if record.class_name == "Dense" and "/" not in path:
            kernel = find(record).own(slots_of(record, semantics))["kernel"]
            return _shown(("samples", "...", str(kernel.shape[0])))
    except Unsupported:  # told when it is bound
        pass
    return None


def _features(record: LayerRecord, weights: Weights, semantics: Semantics) -> tuple[str, ...]:
    """Return the axes of one timestep."""
    own = weights.own(slots_of(record, semantics))
    if own:
        kernel = next(iter(own.values()))
        sizes = ("rows", "columns", "depth")[: kernel.ndim - 2] if kernel.ndim > 2 else ()
        channels = str(kernel.shape[-2])
        first = record.config.get("data_format") == "channels_first"
        return (channels, *sizes) if first and sizes else (*sizes, channels)
    name, part = next(iter(parts_of(record).items()))
    return _features(part, weights.part(name, part), semantics)


def _shown(axes: Iterable[str]) -> str:
    return f"({', '.join(axes)})"
