"""What fuzzing found stays found: every kept input is read again, without atheris, and so are some fresh ones."""

import json
import sys
from pathlib import Path

import pytest

from gateprobe.errors import ReadError
from gateprobe.readers import read

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "fuzz" / "regressions"


@pytest.fixture(scope="module")
def targets():
    """Import the harnesses, which stand beside the package and not in it."""
    sys.path.insert(0, str(ROOT))
    try:
        from fuzz import targets

        return targets
    finally:
        sys.path.remove(str(ROOT))


def check(targets, path):
    """Run the target that a kept input belongs to."""
    kind, data = path.parent.name, path.read_bytes()
    if kind == "crash":  # of the HDF5 library: not in this process
        with pytest.raises(ReadError, match=r"crashes the HDF5 library|damaged|more memory"):
            read(path)
    elif kind == "hdf5":
        targets.check_hdf5(data)
    elif kind == "replay":
        kept = json.loads(data)
        targets.check_replay(kept["weights"], kept["architecture"])
    else:
        targets.TARGETS[kind].run(data)


@pytest.mark.parametrize("path", sorted(KEPT.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_kept_input(targets, path):
    check(targets, path)


NAMES = (
    "json architecture wiring shards tfjs hdf5 chunks keras savedmodel checkpoint weights replay npy npz table names"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_fresh_inputs(targets, name):
    """Every harness runs: on its seeds, and on 25 mutations of them, always the same ones."""
    target = targets.TARGETS[name]
    seeds = target.seeds()
    for seed in seeds:
        target.run(seed)
    for number in range(25 if target.mutate else 0):
        target.run(target.mutate(seeds[number % len(seeds)], number))


def test_every_harness_is_tested(targets):
    assert set(NAMES) == set(targets.TARGETS)
    assert {path.name for path in KEPT.iterdir()} <= {*NAMES, "crash"}
