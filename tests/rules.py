"""The models of ``data/rules*.tar.xz``: for each rule of an era some in which it decides the numbers.

``data/generate/rules.py`` makes them: FOLDER/RULE.keras or FOLDER/RULE.h5, with inputs, outputs and gates in
FOLDER/RULE.npz. A folder is called by the version of Keras, or by that of TensorFlow where its ``tf.keras`` wrote it.
"""

import atexit
import shutil
import tarfile
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from graphs import changed

import gateprobe
from gateprobe.errors import GateprobeError
from gateprobe.model import opened
from gateprobe.semantics import Line, Release, release_of

ARCHIVES = sorted((Path(__file__).parent / "data").glob("rules*.tar.xz"))
RELEASES = sorted(
    [Release(Line.KERAS_1, 2)]
    + [Release(Line.KERAS_2, minor) for minor in range(4)]
    + [Release(Line.KERAS_2, 1, 4)]
    + [Release(Line.TF_KERAS, minor) for minor in range(2, 16) if minor != 7]
    + [Release(Line.KERAS_3, minor) for minor in range(16)]
)
"""Those that are told apart: tf.keras 2.2 is TensorFlow 2.0, 2.3 is 2.1 and 2.2, and both 2.3 and 2.4 say 2.4."""


@cache
def unpacked():
    folder = Path(tempfile.mkdtemp(prefix="gateprobe-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in ARCHIVES:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    return folder


def names():
    """Return FOLDER/RULE of every recorded model."""
    members: list[str] = []
    for path in ARCHIVES:
        with tarfile.open(path) as archive:
            members += archive.getnames()
    return sorted(name.removesuffix(".npz") for name in members if name.endswith(".npz"))


@cache
def model_of(name):
    (path,) = (path for path in unpacked().glob(f"{name}.*") if path.suffix != ".npz")
    return gateprobe.read(path)


@cache
def release(name):
    return told_apart(release_of(opened(model_of(name)).graph.origin))


def told_apart(release):
    """Return the release of `RELEASES` that does what a release does."""
    return max((one for one in RELEASES if one.line is release.line and one <= release), default=release)


@cache
def arrays(name):
    with np.load(unpacked() / f"{name}.npz") as file:
        return dict(file)


def numbered(found, prefix):
    """Return the arrays ``PREFIX_0``, ``PREFIX_1``, ... of a file."""
    return [found[f"{prefix}_{n}"] for n in range(len(found)) if f"{prefix}_{n}" in found]


def replayed(name, **meaning):
    """Return what a model computes if its words mean something else: outputs and the signals that are recorded."""
    model = model_of(name)
    model = changed(model, semantics=replace(opened(model).semantics, **meaning))
    inputs = numbered(arrays(name), "input")
    signals = [key for key in arrays(name) if not key[-1].isdigit()]
    traced = next(iter(model.trace(inputs).values())) if signals else None
    ours = [*model.predict(inputs).values(), *(getattr(traced, signal) for signal in signals)]
    return ours, [*numbered(arrays(name), "output"), *(arrays(name)[signal] for signal in signals)]


def agrees(name, **meaning):
    """Whether a replay gives what Keras computed; a refusal does not."""
    try:
        ours, theirs = replayed(name, **meaning)
    except GateprobeError:
        return False
    return len(ours) == len(theirs) and all(map(_close, ours, theirs))


def _close(ours, theirs):
    limit = 1e-10 if theirs.dtype == np.float64 else 1e-5
    scale = max(1.0, float(np.abs(np.nan_to_num(theirs)).max(initial=0)))
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=limit * scale, equal_nan=True)
