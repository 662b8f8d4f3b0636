"""Models of which parts are frozen and thawed, at every depth.

A layer's spec may hold ``"trainable"``: ``{"made": bool}`` is set when the layer has been made, before it is put
anywhere; ``{"end": bool}`` when the whole model stands; ``{"parts": {"forward_layer": bool}}`` then too, on what the
layer holds. The constructor's is in its configuration.
"""

from __future__ import annotations

import random
from typing import Any

from .draw import layer
from .spec import Spec, all_layers, tensor

SIZE = 3
"""Of everything in a tower, so that any two layers of one kind could be exchanged without a word."""


def freeze(rng: random.Random, spec: Spec) -> None:
    """Freeze and thaw parts of a model, changing the spec."""
    share = rng.choice([0.15, 0.4, 0.7])
    for made in all_layers(spec):
        if "op" in made:
            continue
        said = {when: rng.random() < 0.5 for when in ("made", "end") if rng.random() < share / 2}
        parts = {name: rng.random() < 0.3 for name in _parts(made) if rng.random() < share / 2}
        if said or parts:
            made["trainable"] = {**said, **({"parts": parts} if parts else {})}
        if "config" in made and rng.random() < share:
            made["config"]["trainable"] = rng.random() < 0.3
        if made.get("model", {}).get("kind") == "functional" and rng.random() < share / 2:
            made["model"]["trainable"] = rng.random() < 0.3
    spec["outer_first"] = rng.random() < 0.5


def _parts(made: Spec) -> tuple[str, ...]:
    name = made.get("class", "")
    if name == "Bidirectional":
        return ("forward_layer", "backward_layer")
    return ("cell",) if name in ("LSTM", "GRU", "SimpleRNN", "RNN") or name.startswith("ConvLSTM") else ()


def is_frozen(spec: Spec) -> bool:
    """Tell whether anything in a model is frozen or thawed."""
    return any(
        "trainable" in made or "trainable" in made.get("config", {}) or "trainable" in made.get("model", {})
        for made in all_layers(spec)
    )


class Tower:
    """Grows models of equally large layers inside each other."""

    def __init__(self, rng: random.Random, family: str) -> None:
        self.rng = rng
        self.family = family
        self.names = 0
        self.alike = rng.random() < 0.6
        """Whether there is one kind of cell and no other layer, so that any order of weights fits."""

    def spec(self) -> Spec:
        """Return a whole model."""
        return {**self._model(0), "samples": 2, "policy": "float32"}

    def _name(self, stem: str) -> str:
        self.names += 1
        return f"{stem.lower()}_n{self.names}"

    def _model(self, depth: int) -> Spec:
        source = self._name("in")
        nodes: list[Spec] = []
        last = tensor(source)
        for _ in range(self.rng.randint(2, 4)):
            made = self._layer(depth)
            name = self._name(made.get("class", "model"))
            nodes.append({"name": name, "layer": made, "args": [last], "kwargs": {}})
            last = tensor(name)
        kind = self.rng.choice(["functional", "sequential"])
        shape = [4, SIZE]
        entry = {"name": source, "shape": shape, "open": False, "kind": "float", "vocabulary": 0, "blank": False}
        styles = {"input_style": "list", "output_style": "list"}
        return {"kind": kind, "inputs": [entry], "nodes": nodes, "outputs": [last], **styles}

    def _layer(self, depth: int) -> Spec:
        roll = self.rng.random()
        if roll < 0.35 and depth < 3:
            return {"model": self._model(depth + 1)}
        if roll < 0.5:
            return layer("Bidirectional", {"layer": self._recurrent(), "merge_mode": "sum"})
        if roll < 0.6:
            return self._cells()
        if self.alike:
            return self._recurrent()
        if roll < 0.7:
            return layer("TimeDistributed", {"layer": self._distributed(depth)})
        if roll < 0.8:
            return layer(self.rng.choice(["BatchNormalization", "LayerNormalization"]), {})
        if roll < 0.85:
            return layer("Dense", {"units": SIZE})
        return self._recurrent()

    def _distributed(self, depth: int) -> Spec:
        if depth >= 2 or self.rng.random() < 0.3:
            return self.rng.choice([layer("Dense", {"units": SIZE}), layer("BatchNormalization", {})])
        nodes: list[Spec] = []
        source = self._name("in")
        last = tensor(source)
        for number in range(self.rng.randint(2, 3)):
            config: dict[str, Any] = {"units": SIZE} if number % 2 == 0 else {}
            made = layer("BatchNormalization" if number % 2 else "Dense", config)
            name = self._name(made["class"])
            nodes.append({"name": name, "layer": made, "args": [last], "kwargs": {}})
            last = tensor(name)
        entry = {"name": source, "shape": [SIZE], "open": False, "kind": "float", "vocabulary": 0, "blank": False}
        styles = {"input_style": "list", "output_style": "list"}
        kind = self.rng.choice(["functional", "sequential"])
        return {"model": {"kind": kind, "inputs": [entry], "nodes": nodes, "outputs": [last], **styles}}

    def _recurrent(self) -> Spec:
        name = "LSTM" if self.alike else self.rng.choice(["LSTM", "LSTM", "GRU", "SimpleRNN"])
        return layer(name, {"units": SIZE, "return_sequences": True})

    def _cells(self) -> Spec:
        choice = ["LSTMCell"] if self.alike else ["LSTMCell", "LSTMCell", "GRUCell"]
        kinds = [self.rng.choice(choice) for _ in range(self.rng.randint(2, 3))]
        cells = layer("StackedRNNCells", {"cells": [layer(kind, {"units": SIZE}) for kind in kinds]})
        return layer("RNN", {"cell": cells, "return_sequences": True})
