"""Every known mistake, alone and in pairs, is planted in a port and must be named."""

import math
from itertools import pairwise

import numpy as np
import pytest
from compare.planting import SCENES
from scalar_lstm import sigmoid
from scalar_port import fixed, hard, identity, relu, table

import gateprobe

ALONE = {
    "order": ({"order": "ifog"}, "the gate order is i, f, o, g"),
    "cycled order": ({"order": "goif"}, "the gate order is g, o, i, f"),
    "hard_sigmoid 0.2": ({"gate": hard(0.2)}, "hard_sigmoid, clip(0.2*x + 0.5, 0, 1) instead of sigmoid"),
    "hard_sigmoid 1/6": ({"gate": hard(1 / 6)}, "hard_sigmoid, clip(x/6 + 0.5, 0, 1) instead of sigmoid"),
    "candidate relu": ({"candidate": relu}, "the candidate has relu instead of tanh"),
    "candidate linear": ({"candidate": identity}, "the candidate has no activation instead of tanh"),
    "output relu": ({"output": relu}, "the output has relu instead of tanh"),
    "output linear": ({"output": identity}, "the output has no activation instead of tanh"),
    "both relu": ({"candidate": relu, "output": relu}, "candidate and output have relu instead of tanh"),
    "transposed": ({"transposed": True}, "the recurrent kernel of each gate is transposed"),
    "no bias": ({"bias": 0.0}, "the bias is left out"),
    "bias doubled": ({"bias": 2.0}, "the bias is doubled"),
    "bias halved": ({"bias": 0.5}, "the bias is halved"),
    "forget bias": ({"forget_bias": 1.0}, "1 is added to the bias of the forget gate again"),
    "reset": ({"reset": True}, "the states are reset at each step"),
    "carried": ({"carried": True}, "the states are not reset between samples"),
    "after": ({"after": True}, "computed from the hidden state after the step instead of before"),
    "in place": ({"in_place": True}, "the hidden state is written in place"),
    "cudnn": ({"cudnn": True}, "the kernels are read as if in CuDNN's layout"),
    "features": ({"features": (1, 0, 2)}, "the features are in the order 1, 0, 2"),
    "Q7.8": ({"settle": fixed(8, 7)}, "numbers are rounded to Q7.8"),
    "weights in Q3.12": ({"rounded": fixed(12, 3)}, "the weights are rounded to Q3.12"),
    "sigmoid table": ({"gate": table(sigmoid, 8, 32)}, "sigmoid is a table of 32 linear pieces from -8 to 8"),
    "tanh table": (
        {"candidate": table(math.tanh, 4, 16), "output": table(math.tanh, 4, 16)},
        "tanh is a table of 16 linear pieces from -4 to 4",
    ),
}
REVERSED = "time is reversed: the input is read from its end"
FORWARD = {
    "reversed": ({"reversed": True}, REVERSED),
    "read backwards": ({"reads_backwards": True}, f"{REVERSED}, and the rows are put back into its order"),
}
GRU = {
    "order": ({"order": "rzg"}, "the gate order is r, z, g"),
    "cycled order": ({"order": "grz"}, "the gate order is g, r, z"),
    "candidate relu": ({"candidate": relu}, "the candidate has relu instead of tanh"),
    "reset before": ({"reset_after": False}, "the reset gate is applied before the recurrent product"),
    "sigmoid table": ALONE["sigmoid table"],
    **{
        name: ALONE[name]
        for name in ("hard_sigmoid 0.2", "transposed", "no bias", "bias doubled", "bias halved", "reset", "carried",
                     "after", "in place", "cudnn", "features", "Q7.8", "weights in Q3.12")
    },
    **FORWARD,
}  # fmt: skip
BIDIRECTIONAL = {
    name: found
    for name, found in ALONE.items()
    if name not in ("features", "sigmoid table", "tanh table", "weights in Q3.12", "Q7.8")
} | {
    "features": ({"features": (1, 0)}, "the features are in the order 1, 0"),
    "no mask": ({"heeds_mask": False}, "the mask is ignored"),
    "unaligned": ({"only": "backward", "unaligned": True}, "are not put back into the order of the input"),
    "backward forwards": (
        {"only": "backward", "reads_backwards": False},
        "the backward direction reads its input from the first timestep on",
    ),
}  # fmt: skip
TABLES = {
    "lstm": ALONE | FORWARD,
    "gru": GRU,
    "bidirectional": BIDIRECTIONAL,
    "decoder": {"initial": ({"heeds_initial": False}, "the initial state is ignored")},
}


def compared(scene, theirs, **options):
    x = None if scene.feeds else scene.x
    return gateprobe.compare_port(scene.model, x, theirs, feeds=scene.feeds, **options)


def explanations(result):
    """Return the one cause, and all texts that it says it cannot be told from."""
    (cause,) = result.causes
    return cause, {cause.text, *cause.alike}


@pytest.mark.parametrize("name", SCENES)
def test_a_port_without_a_mistake_agrees(name):
    scene = SCENES[name]()
    result = compared(scene, scene.ported())
    assert result, repr(result)
    assert result.causes == ()
    assert all(one.values for one in result.signals)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in TABLES.items() for name in table])
def test_a_mistake_is_named(kind, name):
    scene = SCENES[kind]()
    switches, text = TABLES[kind][name]
    result = compared(scene, scene.ported(**switches))
    assert not result
    cause, texts = explanations(result)
    assert cause.everything
    assert text in cause.text, texts
    assert (cause.allowed is None) == ("numbers are rounded" not in text)
    assert cause.agrees_to < (1e-5 if cause.allowed is None else 0.05)


STATES_ONLY = sorted(set(ALONE) - {"after"})


@pytest.mark.parametrize("name", STATES_ONLY)
def test_a_mistake_is_named_from_hidden_states_alone(name):
    scene = SCENES["lstm"]()
    switches, text = ALONE[name]
    theirs = scene.ported(**switches)["lstm/forward/hidden_state"]
    cause, texts = explanations(compared(scene, theirs))
    assert any(text in one for one in texts)
    assert text in cause.text


FAST = {("order", "no bias"), ("transposed", "carried"), ("forget bias", "Q7.8")}
PAIRED = (
    "order", "hard_sigmoid 0.2", "no bias", "transposed", "forget bias", "carried", "bias doubled", "in place",
    "candidate relu", "reset", "cudnn",
)  # fmt: skip


def pairs():
    """Yield 30 pairs on three models: neighbours and those further apart in a list of mistakes that can go together."""
    clash = [{"no bias", "bias doubled"}, {"carried", "reset"}]
    for kind in ("lstm", "bidirectional", "gru"):
        names = [name for name in PAIRED if name in TABLES[kind]]
        near, far = list(pairwise(names)), list(zip(names, names[3:], strict=False))
        chosen = [pair for pair in (*near, *far) if set(pair) not in clash][:10]
        for number, pair in enumerate(chosen):
            yield pytest.param(kind, *pair, marks=[] if number in (0, 4) else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "one", "other"), list(pairs()))
def test_a_pair_of_mistakes_is_named(kind, one, other):
    scene = SCENES[kind]()
    (first, text), (second, more) = (TABLES[kind][name] for name in (one, other))
    cause, _ = explanations(compared(scene, scene.ported(**first, **second)))
    assert len(cause.names) == 2
    assert text in cause.text
    assert more in cause.text
    assert cause.everything


@pytest.mark.parametrize(
    ("one", "other"),
    [("order", "Q7.8"), pytest.param("forget bias", "weights in Q3.12", marks=pytest.mark.slow),
     pytest.param("order", "sigmoid table", marks=pytest.mark.slow),
     pytest.param("reversed", "features", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_mistake_in_numbers_beside_another_is_named(one, other):
    scene = SCENES["lstm"]()
    (first, text), (second, more) = (TABLES["lstm"][name] for name in (one, other))
    cause, _ = explanations(compared(scene, scene.ported(**first, **second)))
    assert text in cause.text
    assert more in cause.text


def test_thirty_pairs_are_planted():
    assert len(list(pairs())) == 30
    assert len({tuple(param.values) for param in pairs()}) == 30


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_different_tables_for_sigmoid_and_tanh_are_named(name):
    scene = SCENES[name]()
    tanh = table(math.tanh, 4, 20)
    cause, _ = explanations(compared(scene, scene.ported(gate=table(sigmoid, 8, 32), candidate=tanh, output=tanh)))
    assert "sigmoid is a table of 32 linear pieces from -8 to 8" in cause.text
    assert "tanh is a table of 20 linear pieces from -4 to 4" in cause.text


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param(kind, seed, marks=[] if (kind, seed) in (("lstm", 0), ("gru", 2)) else pytest.mark.slow)
        for kind in ("lstm", "gru")
        for seed in range(9)
    ],
)
def test_what_is_no_known_mistake_is_not_explained(kind, seed):
    """A weight, a row or a number that is wrong has no name; a name for it would be false."""
    rng = np.random.default_rng(100 + seed)
    scene = SCENES[kind](seed=seed)
    ((key, weights),) = scene.weights.items()
    changed = [np.array(weight) for weight in weights]
    if seed % 3 == 2:
        theirs = scene.ported()
        name = sorted(theirs)[seed % len(theirs)]
        theirs[name][1, 3] += rng.normal(0, 0.1, theirs[name].shape[-1])
    else:
        weight = changed[seed % 3]
        place = tuple(rng.integers(size) for size in weight.shape)
        weight[place] += rng.choice([-1, 1]) * rng.uniform(0.01, 0.5)
        scene.weights[key] = changed
        theirs = scene.ported()
    result = compared(scene, theirs)
    assert not result
    assert result.causes == ()
    assert result.tried > 100


def test_integers_too_large_for_any_fixed_point_format_are_no_such_format():
    """Such as the raw 32-bit integers of a port in Q0.31."""
    scene = SCENES["lstm"]()
    raw = np.rint(scene.ported()["lstm/forward/hidden_state"].astype(np.float64) * 2**31)
    result = compared(scene, {"hidden_state": raw}, pairs=False)
    assert not result
    assert result.causes == ()
