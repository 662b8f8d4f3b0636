"""Random models and every model that once disagreed, in the real Keras and replayed from their files."""

import json
import warnings
from functools import cache
from pathlib import Path

import pytest

from differential.build import Kit
from differential.check import check
from differential.draw import KERAS3, TF_KERAS
from differential.generate import generate
from differential.run import available

pytestmark = pytest.mark.oracle

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@cache
def kit(family):
    pytest.importorskip("keras" if family == KERAS3 else "tf_keras", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Kit(family)


ALWAYS = 8
"""Of the forty models that are drawn, how many of each family are not slow."""
DRAWN = [
    pytest.param(seed, family, marks=[] if seed < ALWAYS else [pytest.mark.slow])
    for seed in range(20)
    for family in (KERAS3, TF_KERAS)
]


@pytest.mark.parametrize(("seed", "family"), DRAWN)
def test_a_random_model_agrees(seed, family, tmp_path):
    spec, _ = generate(seed, family, available)
    outcome = check(spec, kit(family), tmp_path)
    assert outcome.fine, json.dumps(spec) + "\n" + outcome.reason


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_model_that_once_disagreed_agrees(path, tmp_path):
    found = json.loads(path.read_text())
    outcome = check(found["spec"], kit(found["spec"]["family"]), tmp_path)
    assert outcome.verdict == "agrees", outcome.reason
