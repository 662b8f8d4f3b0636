"""Tokens for the timesteps of a model: which input they belong to, and so which layers."""

from __future__ import annotations

import numpy as np

from gateprobe.errors import InputError, choices
from gateprobe.inputs.samples import Samples, split_spec
from gateprobe.inputs.tokens import ListedTokens, LookedUpTokens, look_up, read_tokens, read_vocabulary
from gateprobe.opened_model import OpenedModel
from gateprobe.replay.timelines import Origin, Timelines
from gateprobe.traces.selection import Selection


def listed_tokens(file: str, model: OpenedModel, samples: Samples, selection: Selection) -> ListedTokens:
    """Read the tokens of a run's samples.

    Args:
        file: ``FILE`` as `gateprobe.inputs.tokens.read_tokens` takes it, or ``NAME=FILE`` for the timesteps of one
            input or fed layer.
        model: The model.
        samples: All its samples.
        selection: What is looked at.

    Raises:
        InputError: The file does not fit, or the layers have the timesteps of several inputs and none is named.
    """
    name, path = split_spec(file)
    lines = model.timelines(samples)
    inputs = {layer: _given(lines, layer) for layer in lines.layers if selection.takes_layer(layer)}
    there = frozenset[str]().union(*inputs.values())
    common = frozenset.intersection(*(found for found in inputs.values() if found)) if there else there
    if name is None and there and not common:
        remedy = f"say whose the tokens are: {min(there)}={path}"
        raise InputError(f"the layers have the timesteps of {' and '.join(sorted(there))}", file=path, remedy=remedy)
    if name is not None and name not in there:
        raise InputError(f"no timesteps are those of {name!r}", file=path, remedy=choices(sorted(there), name))
    wanted = common if name is None else {name}
    numbers = np.arange(samples.count)
    if selection.samples is not None:
        numbers = selection.samples.pick(samples.count, "sample")
    layers = (lambda layer: bool(_given(lines, layer) & wanted)) if there else None
    return read_tokens(path, numbers, samples.count, layers)


def looked_up_tokens(file: str, model: OpenedModel, samples: Samples, selection: Selection) -> LookedUpTokens:
    """Read a vocabulary for the ids that the model reads.

    Raises:
        InputError: The file is no vocabulary, or nothing that is given can be ids.
    """
    lines = model.timelines(samples)
    given = {**dict(zip(samples.names, samples.arrays, strict=True)), **samples.feeds}
    found = look_up(read_vocabulary(file), given, lambda layer: _given(lines, layer))
    layers = [layer for layer in lines.layers if selection.takes_layer(layer)]
    if layers and not any(_given(lines, layer) & found.ids.keys() for layer in layers):
        reason = f"no timesteps of {', '.join(layers)} are those of an input with ids of words"
        raise InputError(reason, file=found.name, remedy="list the tokens")
    return found


def _given(lines: Timelines, layer: str) -> frozenset[str]:
    """Return the inputs and feeds whose timesteps a layer has."""
    line = lines.of(layer)
    return line.named(Origin.INPUT) | line.named(Origin.FEED)
