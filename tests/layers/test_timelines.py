"""Which layers keep timesteps in their place: judged by what the replay, which agrees with Keras, computes."""

import numpy as np
import pytest

from gateprobe.graph import Namespace
from gateprobe.replay.timelines import Line, Origin, Root, line_after
from layers import bound, recorded
from layers.cases import CASES

MIXING = ("Conv1D", "DepthwiseConv1D", "SeparableConv1D", "GroupNormalization", "LayerNormalization", "Softmax",
          "UnitNormalization", "RMSNormalization", "BatchNormalization")  # fmt: skip
"""May look at other timesteps, too, as convolutions do, or normalizations along the timesteps."""
NEWEST = [pytest.param(case, case.eras[-1], id=recorded.key(case, case.eras[-1])) for case in CASES]


def lines_of(case):
    for number, shape in enumerate(case.shapes):
        root = frozenset((Root(Origin.INPUT, str(number)),))
        yield Line(flat=root) if len(shape) == 2 else Line(root)


def kept(case, era):
    """Return the inputs whose timesteps the output is said to have."""
    if case.namespace is not Namespace.LAYER or "return_sequences" in str(case.config):
        return []
    after = line_after(bound.record_of(case, recorded.answer(case, era).config), list(lines_of(case)))
    return [] if after is None else sorted(map(int, after.named(Origin.INPUT)))


def computed(case, era, inputs):
    config = recorded.answer(case, era).config
    layer = bound.bind(bound.record_of(case, config), case.arrays(), bound.meaning(era))
    return bound.call(layer, case, inputs, case.masks(), bound.FLOAT32)[0].value


@pytest.mark.parametrize(("case", "era"), NEWEST)
def test_what_is_said_to_stay_in_its_place_does(case, era):
    """A timestep of the input that changes, changes the output at that timestep, and at no other unless it mixes."""
    for number in kept(case, era):
        inputs = case.inputs()
        before = computed(case, era, inputs)
        length = inputs[number].shape[1]
        assert before.ndim > 2
        found = {}
        for timestep in range(length):
            changed = [value.copy() for value in inputs]
            value = changed[number][:, timestep]
            changed[number][:, timestep] = (value + 1) % case.integers if case.integers else value * 0.5 - 3
            after = computed(case, era, changed)
            assert after.shape[1] in (length, before.shape[1])
            differs = (before != after) & ~(np.isnan(before) & np.isnan(after))
            found[timestep] = set(np.flatnonzero(differs.any(axis=(0, *range(2, before.ndim)))).tolist())
        if before.shape[1] != length:  # broadcast along the other input
            assert length == 1
            continue
        for timestep, places in found.items():
            if case.class_name not in MIXING:
                assert places <= {timestep}
            elif places:
                assert timestep in places
        assert sum(map(bool, found.values())) >= length - 1 or case.masked


def test_most_layers_that_keep_them_are_known():
    known = {case.class_name for case in CASES if kept(case, case.eras[-1])}
    assert {"Add", "Attention", "Concatenate", "Conv1D", "Dense", "Dropout", "Embedding", "LayerNormalization",
            "Masking", "MultiHeadAttention", "ReLU", "TimeDistributed"} <= known  # fmt: skip


@pytest.mark.parametrize(
    "class_name",
    "MaxPooling1D RepeatVector UpSampling1D ZeroPadding1D Permute Dot Flatten Cropping1D EinsumDense "
    "LocallyConnected1D".split(),
)
def test_others_begin_a_timeline_of_their_own(class_name):
    cases = [case for case in CASES if case.class_name == class_name]
    assert cases
    assert not any(kept(case, case.eras[-1]) for case in cases)
