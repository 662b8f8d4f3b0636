"""A random model from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from . import feedforward, operations, several, spatial
from .draw import KERAS3, TF_KERAS, Draw, Flow, Proposal, layer
from .frozen import Tower, freeze
from .recurrent import bidirectional, conv_lstm, recurrent
from .spec import Spec, all_layers, layers_in, pruned, tensor

Maker = Callable[[Draw, Flow], Proposal | None]

SINGLE: list[tuple[float, Maker]] = [
    (20, recurrent),
    (6, bidirectional),
    (5, conv_lstm),
    (5, feedforward.dense),
    (2, feedforward.einsum_dense),
    (3, feedforward.named_activation),
    (3, feedforward.advanced_activation),
    (4, feedforward.idle),
    (4, feedforward.masking),
    (4, feedforward.normalization),
    (2, feedforward.preprocessing),
    (0.5, feedforward.spectral),
    (1, feedforward.flatten),
    (1, feedforward.reshape),
    (1, feedforward.permute),
    (3, feedforward.repeat_vector),
    (5, spatial.convolution),
    (1.5, spatial.transposed),
    (3, spatial.pooling),
    (3, spatial.global_pooling),
    (0.5, spatial.adaptive_pooling),
    (2, spatial.padding_or_cropping),
    (1.5, spatial.upsampling),
]
JOINT: list[tuple[float, Callable[..., several.Joint | None]]] = [
    (4, several.merge),
    (3, several.concatenate),
    (1, several.dot),
    (3, several.attention),
    (2, several.multi_head),
    (5, operations.operation),
]
POLICIES = [
    (75, "float32"),
    (8, "mixed_float16"),
    (8, "mixed_bfloat16"),
    (6, "float64"),
    (1.5, "float16"),
]
MAX_SIZE = 400


def generate(seed: int, family: str, available: Callable[[str], bool]) -> tuple[Spec, set[str]]:
    """Draw a model.

    Args:
        seed: Of everything.
        family: ``keras3`` or ``tf_keras``.
        available: Whether the replay knows a class; operations are asked for as ``op:Name``.

    Returns:
        The spec, and the classes that were not drawn because the replay does not know them.
    """
    rng = random.Random(f"{family}:{seed}:frozen")
    if rng.random() < 0.3:
        spec = {"seed": seed, "family": family, **Tower(rng, family).spec()}
        freeze(rng, spec)
        return spec, set()
    spec, lacking = _drawn(seed, family, available)
    if rng.random() < 0.4:
        freeze(rng, spec)
    return spec, lacking


def _drawn(seed: int, family: str, available: Callable[[str], bool]) -> tuple[Spec, set[str]]:
    draw = Draw(seed, family, available)
    stateful = draw.maybe(0.04)
    growth = _Growth(draw, depth=0)
    if draw.maybe(0.25):
        spec = growth.sequential(growth.source(), steps=draw.between(1, 6))
    else:
        for _ in range(draw.weighted([(6, 1), (3, 2), (1, 3)])):
            growth.source()
        growth.grow(draw.between(1, 9))
        spec = growth.functional()
    samples = draw.between(2 if draw.broadcasts else 1, 4)
    spec |= {"seed": seed, "family": family, "policy": draw.weighted(POLICIES), "samples": samples}
    if stateful:
        _make_stateful(draw, spec)
    if draw.maybe(0.04):
        _mix_policies(draw, spec)
    spec = pruned(spec)
    _take_out_jumps(spec)
    return spec, draw.lacking


def _make_stateful(draw: Draw, spec: Spec) -> None:
    spec["stateful"] = True
    for made in all_layers(spec):
        config = made.get("config", {})
        if made.get("class") == "Bidirectional" and "backward_layer" not in config:
            config = config["layer"]["config"]
        elif made.get("class") not in ("LSTM", "GRU", "SimpleRNN", "RNN") or draw.maybe(0.4):
            continue
        if draw.family == TF_KERAS or "cells" not in config.get("cell", {}).get("config", {}):
            config["stateful"] = True  # Keras 3 fails to store the states of stacked cells


def _mix_policies(draw: Draw, spec: Spec) -> None:
    """Give some layers policies of their own."""
    for node in spec["nodes"]:
        if "class" in node["layer"] and draw.maybe(0.4):
            policy = draw.choice([name for _, name in POLICIES])
            for made in layers_in(node["layer"]):
                if "config" in made:
                    made["config"]["dtype"] = policy


def _take_out_jumps(spec: Spec) -> None:
    """Leave no threshold where numbers have few digits: rounding would decide on which side of it a value falls."""
    configs = [(made.get("class"), made["config"]) for made in all_layers(spec) if "config" in made]
    if not any("16" in str(policy) for policy in (spec["policy"], *(config.get("dtype") for _, config in configs))):
        return
    for class_name, config in configs:
        if class_name == "ReLU":
            config.pop("threshold", None)
        elif class_name == "ThresholdedReLU":
            config["theta"] = 0.0


class _Growth:
    """A model under construction."""

    def __init__(self, draw: Draw, depth: int) -> None:
        self.draw = draw
        self.depth = depth
        self.inputs: list[Spec] = []
        self.nodes: list[Spec] = []
        self.pool: list[Flow] = []
        self.used: set[tuple[str, int]] = set()
        self.calls: dict[str, tuple[Flow, Proposal]] = {}

    def source(self, like: Flow | None = None) -> Flow:
        """Add an input."""
        draw = self.draw
        name = draw.name("in")
        flow = like.like(ref=tensor(name), states_of="", positive=False) if like else self._random_source(name)
        self.inputs.append(
            {
                "name": name,
                "shape": list(flow.shape),
                "open": flow.open,
                "kind": flow.kind,
                "vocabulary": flow.vocabulary,
                "blank": draw.maybe(0.4),
            }
        )
        self.pool.append(flow)
        return flow

    def _random_source(self, name: str) -> Flow:
        draw = self.draw
        time = draw.between(1, 7)
        kind = draw.weighted(
            [(60, "sequence"), (18, "tokens"), (4, "vector"), (5, "images"), (7, "video"), (3, "volume"), (3, "deep")]
        )
        small = draw.between(2, 5)
        shape = {
            "sequence": (time, draw.between(1, 5)),
            "tokens": (time,),
            "vector": (draw.between(1, 6),),
            "images": (small, draw.between(2, 6), draw.between(1, 4)),
            "video": (draw.between(1, 4), small, draw.between(2, 5), draw.between(1, 3)),
            "volume": (
                draw.between(1, 3),
                draw.between(2, 3),
                draw.between(2, 4),
                draw.between(2, 3),
                draw.between(1, 2),
            ),
            "deep": (draw.between(1, 3), draw.between(1, 4), draw.between(1, 4)),
        }[kind]
        open_ = kind in ("sequence", "tokens", "video") and draw.maybe(0.4)
        if kind == "tokens":
            words = (draw.between(1, 4),) if draw.maybe(0.06) else ()
            return Flow(tensor(name), shape + words, open_, "tokens", vocabulary=draw.between(3, 9))
        return Flow(tensor(name), shape, open_)

    def grow(self, steps: int) -> None:
        """Add calls until there are enough; every token input is embedded first."""
        for flow in [flow for flow in self.pool if flow.kind == "tokens"]:
            self.add(flow, feedforward.embedding(self.draw, flow), "embedding")
        for _ in range(steps):
            for _ in range(8):
                if self._step():
                    break

    def _step(self) -> bool:
        draw = self.draw
        floats = [flow for flow in self.pool if flow.kind == "float"]
        if not floats:
            return False
        x = draw.choice(floats[-3:]) if draw.maybe(0.75) else draw.choice(floats)
        roll = draw.random()
        if roll < 0.08:
            return self._share()
        if roll < 0.28:
            return self._join(x)
        if roll < 0.34 and self.depth < 2:
            return self._nest(x)
        if roll < 0.42:
            return self.add(x, time_distributed(draw, x, self.depth), "td")
        if roll < 0.47 and len(x.shape) == 2:
            return self.add(x, feedforward.masking(draw, x), "masking")
        made = draw.weighted(SINGLE)(draw, x)
        if made is not None and draw.maybe(0.35):
            return self._with_states(x, made)
        return self.add(x, made, "layer")

    def add(self, x: Flow, made: Proposal | None, stem: str, **kwargs: Any) -> bool:
        """Add a call of a new layer on one tensor."""
        if made is None or any(_size(shape) > MAX_SIZE for shape in made.shapes):
            return False
        name = self.draw.name(made.layer.get("class", stem))
        given: dict[str, Any] = {**(made.kwargs or {}), **kwargs}
        if self._takes_mask(x, made) and self.draw.maybe(0.06):
            given["mask"] = self._mask_input(x).ref
        self.calls[name] = (x, made)
        self._record(name, made.layer, [x.ref], given, made.shapes, open_=made.open, states_of=made.states_of)
        return True

    def _takes_mask(self, x: Flow, made: Proposal) -> bool:
        name = made.layer.get("class", "")
        if self.depth:
            return False
        if name.startswith("ConvLSTM") or name == "TimeDistributed":
            return True
        return name in ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "Softmax", "GlobalAveragePooling1D") and (
            len(x.shape) == 2
        )

    def _mask_input(self, x: Flow) -> Flow:
        return self.source(Flow(tensor(""), x.shape[:1], x.open, "bool"))

    def _record(
        self,
        name: str,
        made: Spec,
        args: list[Any],
        kwargs: dict[str, Any],
        shapes: tuple[tuple[int, ...], ...],
        *,
        open_: bool,
        states_of: str = "",
        kind: str = "float",
    ) -> None:
        self.nodes.append({"name": name, "layer": made, "args": args, "kwargs": kwargs})
        several_open = "op" in made  # all parts of a split, but no state of a layer
        for number, shape in enumerate(shapes):
            states = states_of if number else ""
            open_too = open_ and (number == 0 or several_open)
            self.pool.append(Flow(tensor(name, number), shape, open_too, kind, states_of=states))

    def _share(self) -> bool:
        """Call a layer again, on another tensor of the same shape."""
        draw = self.draw
        choices = [
            (name, flow)
            for name, (x, made) in self.calls.items()
            for flow in self.pool
            if (flow.shape, flow.open, flow.kind) == (x.shape, x.open, x.kind)
        ]
        if not choices:
            return False
        name, flow = draw.choice(choices)
        made = self.calls[name][1]
        again = draw.name(made.layer.get("class", "again"))
        self._record(again, {"shared": name}, [flow.ref], {}, made.shapes, open_=made.open, states_of=made.states_of)
        return True

    def _join(self, x: Flow) -> bool:
        joint = self.draw.weighted(JOINT)(self.draw, x, self.pool)
        if joint is None or any(_size(shape) > MAX_SIZE for shape in joint.shapes):
            return False
        name = self.draw.name(joint.layer.get("class", "op"))
        kwargs = {**joint.kwargs, **self._attention_masks(joint)}
        self._record(name, joint.layer, joint.args, kwargs, joint.shapes, open_=joint.open, kind=joint.kind)
        self.pool[-1] = self.pool[-1].like(positive=joint.positive)
        return True

    def _attention_masks(self, joint: several.Joint) -> dict[str, Any]:
        """Give an attention layer its masks by keyword now and then."""
        if not joint.sequences or self.depth or not self.draw.maybe(0.12):
            return {}
        query, value = joint.sequences
        if joint.layer["class"] in ("Attention", "AdditiveAttention"):
            return {"mask": [self._mask_input(query).ref, self._mask_input(value).ref]}
        if query.open or value.open:
            return {}
        pairs = Flow(tensor(""), (query.shape[0], value.shape[0]), kind="bool")
        return {"attention_mask": self.source(pairs).ref}

    def _nest(self, x: Flow) -> bool:
        made = nested(self.draw, x, self.depth)
        if made is not None and made.layer["model"]["kind"] == "functional" and self.draw.maybe(0.3):
            return self._nest_several(x)
        return self.add(x, made, "model")

    def _nest_several(self, x: Flow) -> bool:
        """Nest a model of two inputs."""
        draw = self.draw
        other = draw.choice([flow for flow in self.pool if flow.kind == "float"])
        inner = _Growth(draw, self.depth + 1)
        inner.source(x)
        inner.source(other)
        inner.grow(draw.between(2, 4))
        spec = inner.functional(all_inputs=True)
        if len(spec["inputs"]) != 2:
            return False
        shapes, open_ = inner.shapes(spec)
        given: Any = [x.ref, other.ref]
        if draw.maybe(0.3):
            spec["input_style"] = "dict"
            given = dict(zip((item["name"] for item in spec["inputs"]), given, strict=True))
        if draw.maybe(0.2):
            spec["output_style"] = "dict"
        self._record(draw.name("model"), {"model": spec}, [given], {}, shapes, open_=open_)
        return True

    def _with_states(self, x: Flow, made: Proposal) -> bool:
        """Give a recurrent layer its initial states, those of an encoder if there is one that fits."""
        draw, config = self.draw, made.layer.get("config", {})
        kind = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "gru"}.get(made.layer.get("class", ""), "")
        if made.kwargs or not made.states:
            return self.add(x, made, "layer")
        if not kind:
            return self._with_any_states(x, made)
        found = [flow for flow in self.pool if flow.states_of.startswith(kind)]
        if found and draw.maybe(0.8):
            chosen = draw.choice(found).states_of
            states = [flow for flow in self.pool if flow.states_of == chosen]
            again = recurrent(draw, x, made.layer["class"], int(chosen.partition(":")[2]))
            count = 2 if kind == "lstm" else 1
            picked = states[-count:] if draw.maybe(0.7) else [draw.choice(states) for _ in range(count)]
            return self.add(x, again, "decoder", initial_state=[flow.ref for flow in picked])
        if self.depth or not draw.maybe(0.25):
            return self.add(x, made, "layer")
        flows = [self.source(Flow(tensor(""), (config["units"],))) for _ in range(2 if kind == "lstm" else 1)]
        return self.add(x, made, "layer", initial_state=[flow.ref for flow in flows])

    def _with_any_states(self, x: Flow, made: Proposal) -> bool:
        """Give a recurrent layer of any kind tensors that fit for its initial states, or new inputs."""
        draw, states = self.draw, []
        if draw.maybe(0.5):
            return self.add(x, made, "layer")
        for shape in made.states:
            found = [flow for flow in self.pool if (flow.shape, flow.open, flow.kind) == (shape, False, "float")]
            if not found and self.depth:
                return self.add(x, made, "layer")
            states.append((draw.choice(found) if found else self.source(Flow(tensor(""), shape))).ref)
        rest = iter(states)
        cells = [[next(rest) for _ in range(count)] for count in made.nested_states]
        return self.add(x, made, "layer", initial_state=cells or states)

    def functional(self, *, all_inputs: bool = False) -> Spec:
        """Finish: what is not read is an output, sometimes other tensors, too."""
        draw = self.draw
        used = {(ref["t"], ref["i"]) for node in self.nodes for ref in _refs(node)}
        made = [flow for flow in self.pool if flow.ref["t"] not in {item["name"] for item in self.inputs}]
        made = made or [flow for flow in self.pool if flow.kind == "float"] or self.pool
        leaves = [flow for flow in made if (flow.ref["t"], flow.ref["i"]) not in used]
        everything = draw.maybe(0.2) and self.depth == 0
        extra = made if everything else [flow for flow in made if draw.maybe(0.1)]
        chosen = leaves + [flow for flow in extra if flow not in leaves]
        if self.depth:
            chosen = chosen[-1:] if draw.maybe(0.8) else chosen[-2:]
        elif draw.maybe(0.3) and not everything:
            chosen = chosen[-1:]
        spec = {
            "kind": "functional",
            "inputs": self.inputs,
            "nodes": self.nodes,
            "outputs": [flow.ref for flow in chosen],
            "input_style": draw.weighted([(8, "list"), (1.5, "dict")]) if self.depth == 0 else "list",
            "output_style": draw.weighted([(8, "list"), (1, "dict")]) if self.depth == 0 else "list",
        }
        return spec if all_inputs else pruned(spec)

    def shapes(self, spec: Spec) -> tuple[tuple[tuple[int, ...], ...], bool]:
        """Return the shapes of a spec's outputs and whether the first one's time axis is unknown."""
        flows = {(flow.ref["t"], flow.ref["i"]): flow for flow in self.pool}
        outputs = [flows[ref["t"], ref["i"]] for ref in spec["outputs"]]
        return tuple(flow.shape for flow in outputs), outputs[0].open

    def sequential(self, x: Flow, steps: int) -> Spec:
        """Draw a chain of layers from an input."""
        draw = self.draw
        if x.kind == "tokens":
            self.add(x, feedforward.embedding(draw, x), "embedding")
        for _ in range(steps):
            for _ in range(8):
                last = self.pool[-1]
                if last.kind != "float" and self.nodes:
                    break
                made = _single(draw, last, self.depth)
                if made is not None and len(made.shapes) == 1 and self.add_plain(last, made):
                    break
        outputs = [self.nodes[-1]["name"] if self.nodes else x.ref["t"]]
        deferred = self.depth == 0 and draw.maybe(0.15)
        return {
            "kind": "sequential",
            "inputs": self.inputs,
            "nodes": self.nodes,
            "outputs": [tensor(outputs[0])],
            "input_style": "deferred" if deferred else "list",
            "output_style": "list",
        }

    def add_plain(self, x: Flow, made: Proposal) -> bool:
        """Add a call without keyword arguments."""
        if _size(made.shapes[0]) > MAX_SIZE:
            return False
        name = self.draw.name(made.layer.get("class", "model"))
        self._record(name, made.layer, [x.ref], {}, made.shapes, open_=made.open)
        return True


def _single(draw: Draw, x: Flow, depth: int) -> Proposal | None:
    if x.kind != "float":
        return None
    if draw.maybe(0.1):
        return time_distributed(draw, x, depth)
    if draw.maybe(0.06) and depth < 2:
        return nested(draw, x, depth)
    made = draw.weighted(SINGLE)(draw, x)
    return made if made is None or not made.kwargs else None


def time_distributed(draw: Draw, x: Flow, depth: int) -> Proposal | None:
    """Wrap a layer or a model, to be called at every timestep."""
    if len(x.shape) < 2 or not draw.knows("TimeDistributed"):
        return None
    inside = x.like(shape=x.shape[1:], open=False)
    made = nested(draw, inside, depth) if draw.maybe(0.2) and depth < 2 else draw.weighted(SINGLE)(draw, inside)
    if made is None or len(made.shapes) != 1 or made.kwargs:
        return None
    shape = (x.shape[0], *made.shapes[0])
    return Proposal(layer("TimeDistributed", {"layer": made.layer}), (shape,), x.open)


def nested(draw: Draw, x: Flow, depth: int) -> Proposal | None:
    """Draw a model of one input to be used as a layer."""
    inner = _Growth(draw, depth + 1)
    inner.source(x)
    if draw.maybe(0.5):
        spec = inner.sequential(inner.pool[0], draw.between(1, 3))
    else:
        inner.grow(draw.between(1, 4))
        spec = inner.functional()
    if len(spec["inputs"]) != 1 or not spec["nodes"]:
        return None
    shapes, open_ = inner.shapes(spec)
    return Proposal({"model": spec}, shapes, open_)


def _refs(node: Spec) -> list[Spec]:
    from .spec import references

    return list(references([node["args"], node["kwargs"]]))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


__all__ = ["KERAS3", "generate"]
