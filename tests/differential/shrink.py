"""Make a failing model small: try simpler specs for as long as the same failure stays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from .check import Outcome
from .spec import Spec, pruned, references, replaced, tensor

MAX_CHECKS = 150
ESSENTIAL = frozenset(
    "units filters layer cell cells equation output_shape target_shape dims n input_dim output_dim kernel_size axes"
    " rate num_heads key_dim head_dim num_query_heads num_key_value_heads groups scale activation stddev".split()
)


def shrink(spec: Spec, outcome: Outcome, check: Callable[[Spec], Outcome]) -> tuple[Spec, Outcome]:
    """Return the smallest spec found that fails in the same way, and how it fails."""
    checks, progress = 0, True
    while progress and checks < MAX_CHECKS:
        progress = False
        for candidate in _candidates(spec):
            checks += 1
            found = check(candidate)
            if found.kind == outcome.kind:
                spec, outcome, progress = candidate, found, True
                break
            if checks >= MAX_CHECKS:
                break
    return spec, outcome


def _candidates(spec: Spec) -> Iterator[Spec]:
    if len(spec["outputs"]) > 1:
        for ref in spec["outputs"]:
            yield pruned({**copy.deepcopy(spec), "outputs": [ref]})
    if spec.get("policy") != "float32":
        yield {**copy.deepcopy(spec), "policy": "float32"}
    if spec.get("stateful"):
        yield {**copy.deepcopy(spec), "stateful": False}
    for style in ("input_style", "output_style"):
        if spec[style] == "dict":
            yield {**copy.deepcopy(spec), style: "list"}
    yield from _graph_candidates(spec)
    yield from _layer_candidates(spec)
    if spec["samples"] > 1:
        yield {**copy.deepcopy(spec), "samples": spec["samples"] // 2}


def _graph_candidates(spec: Spec) -> Iterator[Spec]:
    """Leave out calls, or put new inputs in place of what they compute."""
    for index, node in enumerate(spec["nodes"]):
        shared = any(other["layer"].get("shared") == node["name"] for other in spec["nodes"])
        for ref in references([node["args"], node["kwargs"]]):
            if not shared:
                yield pruned(_without(spec, index, ref))
        for key in node["kwargs"]:
            smaller = copy.deepcopy(spec)
            del smaller["nodes"][index]["kwargs"][key]
            yield pruned(smaller)
    if spec["kind"] == "sequential":
        return
    for node in spec["nodes"]:
        last = {ref["t"] for ref in spec["outputs"]}
        if node["name"] not in last:
            yield from _later(spec, node["name"])


def _later(spec: Spec, name: str) -> Iterator[Spec]:
    """Take an inner tensor for the only output."""
    yield pruned({**copy.deepcopy(spec), "outputs": [tensor(name)]})


def _without(spec: Spec, index: int, ref: Spec) -> Spec:
    """Let what reads a call read one of the call's arguments instead."""
    smaller = copy.deepcopy(spec)
    node = smaller["nodes"].pop(index)
    old = tensor(node["name"])
    for other in smaller["nodes"]:
        other["args"] = replaced(other["args"], old, ref)
        other["kwargs"] = replaced(other["kwargs"], old, ref)
    smaller["outputs"] = replaced(smaller["outputs"], old, ref)
    return smaller


def _layer_candidates(spec: Spec) -> Iterator[Spec]:
    for index, node in enumerate(spec["nodes"]):
        for simpler in _simpler(node["layer"]):
            candidate = copy.deepcopy(spec)
            candidate["nodes"][index]["layer"] = simpler
            yield candidate
    for index, item in enumerate(spec["inputs"]):
        changes: list[dict[str, Any]] = [{"open": False}] if item["open"] else []
        changes += [{"blank": False}] if item["blank"] else []
        if item["shape"][0] > 1:
            changes.append({"shape": [item["shape"][0] // 2, *item["shape"][1:]]})
        if len(item["shape"]) > 1 and item["shape"][-1] > 1:
            changes.append({"shape": [*item["shape"][:-1], 1]})
        for change in changes:
            candidate = copy.deepcopy(spec)
            candidate["inputs"][index] |= change
            yield candidate


def _simpler(layer: Spec) -> Iterator[Spec]:
    """Yield simpler versions of a layer: what is inside it, fewer options, fewer units."""
    if "model" in layer:
        inner = layer["model"]
        if len(inner["nodes"]) == 1 and len(inner["inputs"]) == 1 and "shared" not in inner["nodes"][0]["layer"]:
            yield inner["nodes"][0]["layer"]
        for candidate in (*_graph_candidates(inner), *_layer_candidates(inner)):
            if len(candidate["inputs"]) == len(inner["inputs"]):
                yield {"model": candidate}
        return
    config = layer.get("config", {})
    for key in ("layer", "cell"):
        if key in config:
            yield config[key]
            for inside in _simpler(config[key]):
                yield {**layer, "config": {**config, key: inside}}
    if len(config.get("cells", ())) > 1:
        for n in range(len(config["cells"])):
            yield {**layer, "config": {**config, "cells": config["cells"][:n] + config["cells"][n + 1 :]}}
    for key, value in config.items():
        if key not in ESSENTIAL or key == "activation":
            if not (key == "activation" and layer["class"] == "Activation"):
                yield {**layer, "config": {name: item for name, item in config.items() if name != key}}
        elif key in ("units", "filters", "output_dim") and value > 1:
            yield {**layer, "config": {**config, key: 1}}
