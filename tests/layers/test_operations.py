"""Operations on every dtype and at their edges compute what the real Keras computed: numbers, dtypes, signs of zeros.

``tests/layers/operation_grid.py`` lists what is asked.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from gateprobe.errors import InputError
from gateprobe.graph import Era, LayerRecord, Namespace
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import Unsupported
from layers import bound
from layers.operation_grid import Entry, grid, stored

FILE = Path(__file__).parents[1] / "data" / "operations.npz"
EPSILON = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 1e-12}
"""Relative; several operations of TensorFlow round after each step in half precision."""
ROUGH = {"Softmax": 2, "LogSoftmax": 2, "Erfinv": 5, "Power": 10}
"""How many times more, where other functions are combined."""
TINY = np.finfo(np.float32).tiny
OPEN_ZEROS = set("Maximum Minimum Fmax Fmin Clip".split())
"""Which of two zeros of different signs is higher depends on the place in memory."""
FAULTY = {"Erf:float64"}
"""TensorFlow gives NaN for infinity there."""
BY_CLASS = {
    name: list(group) for name, group in groupby(sorted(grid(), key=lambda e: e.class_name), lambda e: e.class_name)
}


@cache
def recorded():
    with np.load(FILE) as file:
        return json.loads(str(file["index"]))["entries"], {name: file[name] for name in file.files if name != "index"}


def answers(entry: Entry):
    """Yield dtype and values of each result of Keras."""
    index, numbers = recorded()
    for name, shape, start in index[entry.key]:
        array = numbers["float32" if name in ("float16", "bfloat16") else name]
        yield name, array[start : start + int(np.prod(shape))].reshape(shape)


def tensor(name, values):
    return Tensor(stored(values, name), None, name if name in ("float16", "bfloat16") else None)


def replayed(entry: Entry):
    record = LayerRecord("op", entry.class_name, entry.config, namespace=Namespace.OPERATION)
    tensors = [tensor(name, values) for name, values in entry.inputs]
    tensors = [tensors] if entry.class_name in ("Concatenate", "Stack") else tensors
    args = (*entry.constants, *tensors) if entry.first else (*tensors, *entry.constants)
    return bound.bind(record, [], bound.meaning(Era.KERAS3)).replay(Arguments(args), bound.scope())


def differences(entry: Entry):
    """Yield what differs from Keras."""
    results, wanted = replayed(entry), list(answers(entry))
    if len(results) != len(wanted):
        yield f"{len(results)} results instead of {len(wanted)}"
    for result, (name, values) in zip(results, wanted, strict=False):
        given = result.dtype or result.value.dtype.name
        if given != name:
            yield f"{given} instead of {name}"
        elif result.value.shape != values.shape:
            yield f"{result.value.shape} instead of {values.shape}"
        else:
            yield from _unlike(entry, result.value, values, name)


def _unlike(entry, ours, theirs, name):
    if theirs.dtype.kind != "f":
        same = ours == theirs
    else:
        relative = EPSILON[name] * ROUGH.get(entry.class_name, 1)
        with np.errstate(all="ignore"):
            close = np.abs(ours - theirs) <= relative * np.maximum(np.abs(theirs), TINY)
        tiny = np.abs(theirs) < TINY  # TensorFlow flushes denormal numbers to zero
        close |= tiny & (np.abs(ours) < TINY)
        signs = (np.signbit(ours) == np.signbit(theirs)) | (ours != 0) | (theirs != 0)
        signs |= entry.class_name in OPEN_ZEROS
        close |= np.isnan(ours) & (entry.class_name == "Softmax")
        same = ((ours == theirs) | close | (np.isnan(ours) & np.isnan(theirs))) & signs
    for place in np.argwhere(~same)[:4]:
        at = tuple(place)
        yield f"{ours[at]} instead of {theirs[at]} at {at}"


REFUSED_BY_US = (InputError, Unsupported)


@pytest.mark.parametrize("class_name", BY_CLASS)
def test_every_dtype_and_edge_is_as_in_keras_or_refused(class_name):
    index, _ = recorded()
    found, count = [], 0
    for entry in BY_CLASS[class_name]:
        if entry.key not in index or entry.key in FAULTY:
            continue
        try:
            found += [f"{entry.key}: {text}" for text in differences(entry)]
            count += 1
        except REFUSED_BY_US:
            continue
    assert not found, "\n".join(found[:40])
    assert count, "everything is refused"


# What has no case of its own: shapes that name the number of samples, and what is refused

PICTURES = np.random.default_rng(3).standard_normal((2, 4, 5, 3)).astype(np.float32)
CORNERS = np.float32([[0, 0], [0, 4], [3, 0], [3, 4]])
PULLED = np.float32([[[0.5, 0], [0, 4.5], [3, 1], [4, 4]], [[0, -1], [0.5, 4], [2, 0], [3, 5]]])
STILL = np.float32([1, 0, 0, 0, 1, 0, 0, 0])


def op(class_name, config, *args, backend="tensorflow"):
    record = LayerRecord("op", class_name, config, namespace=Namespace.OPERATION)
    return bound.bind(record, [], bound.meaning(Era.KERAS3, backend=backend)).replay(Arguments(args), bound.scope())[0]


def test_full_stretches_the_numbers_of_each_sample():
    x = Tensor(np.arange(3, dtype=np.int32)[:, np.newaxis])
    stretched = op("Full", {"shape": (3, 2)}, x)
    assert (stretched.value.tolist(), stretched.value.dtype) == ([[0, 0], [1, 1], [2, 2]], np.float32)
    assert op("Full", {"shape": (3, 2), "dtype": "int32"}, x).value.dtype == np.int32
    for shape in ((2, 2), (3, 3, 2), (2,)):
        with pytest.raises(InputError):
            op("Full", {"shape": shape}, x)


def test_each_sample_has_its_own_perspective():
    both = op("PerspectiveTransform", {}, Tensor(PICTURES), Tensor(np.stack([CORNERS] * 2)), Tensor(PULLED))
    for number in range(2):
        alone = op("PerspectiveTransform", {}, Tensor(PICTURES[number : number + 1]), CORNERS, PULLED[number])
        np.testing.assert_allclose(both.value[number], alone.value[0], atol=1e-6)


@pytest.mark.parametrize("backend", [None, "jax", "torch"])
def test_what_differs_between_backends_is_refused_unless_the_file_names_tensorflow(backend):
    """Compared with Keras 3.15 on JAX and torch: borders of edges, ``wrap``, the tilt of an affine transformation."""
    x, tilted = Tensor(PICTURES), STILL + np.float32([0] * 7 + [0.1])
    for class_name, config, *args in (
        ("SobelEdges", {}),
        ("Resize", {"size": [3, 3], "interpolation": "bicubic"}),
        ("AffineTransform", {"fill_mode": "wrap"}, STILL),
    ):
        op(class_name, config, x, *args)
        with pytest.raises(Unsupported, match="differs between the backends"):
            op(class_name, config, x, *args, backend=backend)
    op("AffineTransform", {}, x, tilted)
    with pytest.raises(InputError, match="with TensorFlow only"):
        op("AffineTransform", {}, x, tilted, backend=backend)
    np.testing.assert_allclose(op("AffineTransform", {}, x, STILL, backend=backend).value, PICTURES, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: op("AffineTransform", {}, x, np.stack([STILL] * 2)), "mixes samples"),
        (lambda x: op("AffineTransform", {}, x, Tensor(STILL)), "mixes samples"),
        (lambda x: op("AffineTransform", {}, x, STILL * np.nan), "not finite"),
        (lambda x: op("AffineTransform", {}, Tensor(x.value[0]), STILL), "expected images"),
        (lambda x: op("AffineTransform", {}, Tensor(x.value > 0), STILL), "expected images"),
        (lambda x: op("PerspectiveTransform", {}, x, CORNERS * 0, CORNERS * 0), "[Ss]ingular"),
        (lambda x: op("ScaleAndTranslate", {"spatial_dims": [1], "method": "linear"}, x, (2, 9, 5, 3), Tensor(STILL),
                      [0.0]), "not constant"),
        (lambda x: op("ScaleAndTranslate", {"spatial_dims": [1], "method": "linear"}, x, (2, 9, 5, 3), [0.0], [0.0]),
         "scaling by"),
        (lambda x: op("ScaleAndTranslate", {"spatial_dims": [1], "method": "linear"}, x, (2, None, 5, 3), [1.0], [0.0]),
         "images of shape"),
        (lambda x: op("ScaleAndTranslate", {"spatial_dims": [-4], "method": "linear"}, x, (2, 9, 5, 3), [1.0], [0.0]),
         "mixes samples"),
        (lambda x: op("ScaleAndTranslate", {"spatial_dims": [1], "method": "linear"}, Tensor(x.value.astype(int)),
                      (2, 9, 5, 3), [1.0], [0.0]), "mixes samples"),
        (lambda x: op("SSIM", {}, x, Tensor(x.value[:1])), "comparing images"),
        (lambda x: op("SSIM", {}, x, x), "smaller than the window of 11"),
        (lambda x: op("Bincount", {"minlength": 3}, Tensor(np.array([[0, 3]]))), "outside 0..2"),
        (lambda x: op("Bincount", {"minlength": 3}, Tensor(np.array([[0, -1]]))), "outside 0..2"),
        (lambda x: op("Bincount", {}, Tensor(np.array([[0]]))), "outside 0..-1"),
        (lambda x: op("Bincount", {"minlength": 3}, Tensor(np.array([0, 1]))), "mixes samples"),
        (lambda x: op("SobelEdges", {}, Tensor(x.value[:, :1])), "no second pixel"),
    ],
)  # fmt: skip
def test_what_would_mix_samples_or_guess_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(Tensor(PICTURES))


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("ScaleAndTranslate", {"spatial_dims": [0, 1], "method": "linear"}),
        ("ScaleAndTranslate", {"spatial_dims": None, "method": "linear"}),
        ("ScaleAndTranslate", {"spatial_dims": [1], "method": "lanczos7"}),
        ("AffineTransform", {"fill_mode": "mirror"}),
        ("AffineTransform", {"fill_value": "0"}),
        ("AffineTransform", {"interpolation": "bicubic"}),
        ("Bincount", {"weights": [1.0]}),
        ("Bincount", {"sparse": True}),
    ],
)
def test_settings_that_are_not_replayed_are_refused(class_name, config):
    with pytest.raises(Unsupported):
        op(class_name, config, Tensor(PICTURES))
