"""Inputs made from the graph."""

from pathlib import Path

import numpy as np
import pytest
from graphs import chain, lstm_weights

import gateprobe
from gateprobe.errors import InputError
from gateprobe.model import opened
from gateprobe.verification.inputs import generate, use_of

SAMPLES = Path(__file__).parents[2] / "sample_models"


def made(name, **options):
    model = gateprobe.read(SAMPLES / name)
    settings = {"seed": 0, "samples": None, "batch": None, **options}
    return model, list(generate(opened(model).record, model.inputs, **settings))


def test_token_ids_stay_within_the_vocabulary_and_some_timesteps_are_masked():
    model, sets = made("tokens.keras")
    use = use_of(opened(model).record, opened(model).record.inputs[0])
    assert use.vocabulary is not None
    tokens = next(iter(sets[0].arrays.values()))
    assert tokens.min() >= 0
    assert tokens.max() < use.vocabulary
    if use.masked_id:
        assert (tokens == 0).any()
        assert (tokens != 0).any()


def test_made_inputs_depend_on_the_seed_alone():
    _, one = made("brackets.keras")
    _, two = made("brackets.keras")
    _, other = made("brackets.keras", seed=1)
    for a, b, c in zip(one, two, other, strict=True):
        for name, array in a.arrays.items():
            assert np.array_equal(array, b.arrays[name])
            assert array.shape == c.arrays[name].shape
            assert not np.array_equal(array, c.arrays[name])


def test_a_free_length_is_tried_at_several_lengths():
    model, sets = made("brackets.keras")
    free = any(None in spec.shape[1:] for spec in model.inputs)
    assert len(sets) == (3 if free else 1)


@pytest.mark.parametrize("name", ["brackets.keras", "tokens.keras", "translate.keras", "keras2.h5"])
def test_made_inputs_can_be_replayed(name):
    model, sets = made(name, samples=2)
    for one in sets:
        outputs = model.predict(dict(one.arrays))
        assert all(np.isfinite(value).all() and len(value) == 2 for value in outputs.values())


@pytest.mark.parametrize(
    ("value", "words"), [(1.5, "takes whole numbers"), (2.0**40, "does not fit"), (3, "outside 0..2")]
)
def test_inputs_are_never_made_to_fit(value, words):
    """What the replay refuses of an input, a comparison on it refuses too."""
    rng = np.random.default_rng(0)
    layers = [("Embedding", "emb", {"input_dim": 3, "output_dim": 2}), ("LSTM", "lstm", {"units": 2})]
    weights = {"emb": [rng.normal(size=(3, 2))], "lstm": lstm_weights(rng, 2, 2)}
    model = chain(layers, weights, input_shape=(None, 4), dtype="int32")
    assert gateprobe.migrate(model, np.ones((2, 4)))
    for act in (model.trace, lambda x: gateprobe.migrate(model, x), lambda x: gateprobe.verify(model, x)):
        with pytest.raises(InputError, match=words):
            act(np.full((2, 4), value))
