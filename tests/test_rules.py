"""Each rule of an era against models that Keras saved just before and just after the rule changed."""

import bisect

import numpy as np
import pytest
import rules

from gateprobe.errors import GateprobeError
from gateprobe.semantics import RULES, Line

pytestmark = pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")

CHANGES = [(rule, since) for rule, how in RULES.items() for since, _ in how.changes]
REFUSED = {
    "bias_goes_astray": "TensorFlow alone adds it there, and the file does not name the backend",
    "halves_round_weights": "not replayed",
    "resizes_with_tensorflow": "the backends differ, and the file does not name its own",
    "resize_half_pixels": "not replayed",
    "calls_share_states": "their order is not certain",
    "layer_norm_in_input_dtype": "half precision of Keras 3.0 and 3.1 is not replayed",
}
"""Rules by which some models are refused on one side of a change."""
UNSEEN = {}
"""Sides of changes on which no model can show the rule: (rule, release since which it holds, side) → why."""


def sides(rule, since):
    """Return the names of the models recorded by the last release before a change, and by the first one after it."""
    place = bisect.bisect_left(rules.RELEASES, since)
    wanted = {"before": rules.RELEASES[place - 1], "after": rules.RELEASES[place]}
    recorded = [name for name in rules.names() if name.endswith(f"/{rule}")]
    return {side: [name for name in recorded if rules.release(name) == release] for side, release in wanted.items()}


@pytest.mark.parametrize("name", rules.names())
def test_a_model_gives_what_its_keras_computed(name):
    rule = name.rpartition("/")[2]
    try:
        ours, theirs = rules.replayed(name)
    except GateprobeError:
        assert rule in REFUSED
        return
    for one, other in zip(ours, theirs, strict=True):
        limit = 1e-10 if other.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(one, other, rtol=0, atol=limit * max(1, np.nanmax(np.abs(other))))


@pytest.mark.parametrize(("rule", "since"), CHANGES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_model_on_each_side_of_a_change_shows_the_rule(rule, since):
    values = {"before": RULES[rule].at(before(since)), "after": RULES[rule].at(since)}
    for side, recorded in sides(rule, since).items():
        if (rule, since, side) in UNSEEN:
            continue
        assert recorded, f"record a model for {rule} {side} {since} with tests/data/generate/rules.py"
        other = values["after" if side == "before" else "before"]
        for name in recorded:
            assert not rules.agrees(name, **{rule: other}), f"{name} does not notice {rule}={other}"


def before(release):
    return rules.RELEASES[bisect.bisect_left(rules.RELEASES, release) - 1]


def test_there_are_gates_of_every_line_of_releases():
    lines = {rules.release(name).line for name in rules.names() if "forget_gate" in rules.arrays(name)}
    assert lines == set(Line)
