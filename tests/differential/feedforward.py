"""Random feed-forward layers of one input."""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from typing import Any

from .draw import KERAS3, TF_KERAS, Draw, Flow, Proposal, layer
from .recurrent import WIDE, activation, inert

Maker = Callable[[Draw, Flow], Proposal | None]


def _same(draw: Draw, x: Flow, name: str, config: dict[str, Any]) -> Proposal | None:
    return Proposal(layer(name, config), (x.shape,), x.open) if draw.knows(name) else None


def dense(draw: Draw, x: Flow, units: int = 0) -> Proposal | None:
    units = units or draw.between(1, 5)
    config = {"units": units, **draw.options(activation=(0.4, lambda: activation(draw)), use_bias=(0.2, lambda: False))}
    if not draw.knows("Dense"):
        return None
    return Proposal(layer("Dense", config | inert(draw)), ((*x.shape[:-1], units),), x.open)


def einsum_dense(draw: Draw, x: Flow) -> Proposal | None:
    if not draw.knows("EinsumDense"):
        return None
    letters = string.ascii_lowercase[1 : 1 + len(x.shape)]
    lead = "..." if draw.maybe(0.3) else "a" + letters[:-1]
    if draw.maybe(0.5) or len(x.shape) < 2:
        equation, shape = f"{lead}{letters[-1]},{letters[-1]}z->{lead}z", (*x.shape[:-1], draw.between(1, 4))
        declared = [*([None] if x.open else shape[:1]), *shape[1:]] if lead != "..." else [shape[-1]]
        bias = draw.choice([None, "z"])
    elif not x.open:
        equation = f"a{letters},{letters[0]}zy->a{letters[1:]}zy"
        shape = (*x.shape[1:], draw.between(1, 3), draw.between(1, 3))
        declared, bias = list(shape), draw.choice([None, "y", "zy"])
    else:
        return None
    config = {"equation": equation, "output_shape": declared, "bias_axes": bias}
    config |= draw.options(activation=(0.3, lambda: activation(draw)))
    return Proposal(layer("EinsumDense", config), (shape,), x.open)


def named_activation(draw: Draw, x: Flow) -> Proposal | None:
    name = draw.choice(WIDE[draw.family])
    return _same(draw, x, "Activation", {"activation": name})


def advanced_activation(draw: Draw, x: Flow) -> Proposal | None:
    slope = "negative_slope" if draw.family == KERAS3 else "alpha"
    names = ["ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"] + ["ThresholdedReLU"] * (draw.family == TF_KERAS)
    name = draw.choice(names)
    config: dict[str, Any] = {}
    if name == "ReLU":
        config = draw.options(
            max_value=(0.5, lambda: draw.choice([6.0, 1.0])),
            negative_slope=(0.5, lambda: 0.25),
            threshold=(0.4, lambda: draw.choice([0.25, 0.5])),
        )
    elif name == "LeakyReLU":
        config = draw.options(**{slope: (0.6, lambda: 0.125)})
    elif name == "PReLU":
        shared = list(range(1, len(x.shape)))
        config = {"shared_axes": shared} if x.open or draw.maybe(0.4) else {}
        if x.open and len(x.shape) < 2:
            return None
    elif name == "ELU":
        config = draw.options(alpha=(0.5, lambda: 0.5))
    elif name == "Softmax" and len(x.shape) > 1:
        config = draw.options(axis=(0.4, lambda: draw.choice([-1, 1, [1, 2]])))
    elif name == "ThresholdedReLU":
        config = draw.options(theta=(0.5, lambda: 0.25))
    return _same(draw, x, name, config)


def idle(draw: Draw, x: Flow) -> Proposal | None:
    """Draw a layer that does nothing at inference, beyond what it does to the mask."""
    name = draw.choice(
        "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout AlphaDropout Identity"
        " ActivityRegularization".split()
    )
    config: dict[str, Any] = {"rate": 0.3} if "Dropout" in name else {}
    if name == "GaussianNoise":
        config = {"stddev": 0.5}
    if name.startswith("Spatial") and len(x.shape) != int(name[-2]) + 1:
        return None
    if name == "ActivityRegularization":
        config = {"l1": 0.1}
    return _same(draw, x, name, config)


def masking(draw: Draw, x: Flow) -> Proposal | None:
    if len(x.shape) < 2 or x.kind != "float" or (len(x.shape) > 2 and draw.maybe(0.6)):  # Keras fails with many such
        return None
    return _same(draw, x, "Masking", draw.options(mask_value=(0.3, lambda: draw.choice([0.0, -1.0, 0.5]))))


def normalization(draw: Draw, x: Flow) -> Proposal | None:
    names = "BatchNormalization LayerNormalization UnitNormalization GroupNormalization".split()
    names += ["RMSNormalization"] if draw.family == KERAS3 else []
    name = draw.choice(names)
    if name == "GroupNormalization" and draw.family == TF_KERAS and draw.maybe(0.6):  # fails with masks
        name = "LayerNormalization"
    config = draw.options(epsilon=(0.3, lambda: draw.choice([1e-2, 1e-4])), trainable=(0.08, lambda: False))
    if name in ("BatchNormalization", "LayerNormalization", "GroupNormalization"):
        config |= draw.options(scale=(0.2, lambda: False), center=(0.2, lambda: False))
    if name == "BatchNormalization":
        config |= draw.options(momentum=(0.1, lambda: 0.9), axis=(0.2, lambda: _some_axis(draw, x)))
    elif name == "LayerNormalization":
        axes = [-1, [-1]] + ([1, [1, 2]] if len(x.shape) == 2 and not x.open else [])
        config |= draw.options(axis=(0.3, lambda: draw.choice(axes)))
        if draw.family == KERAS3 and draw.maybe(0.05):
            config["rms_scaling"] = True
    elif name == "UnitNormalization":
        config = draw.options(axis=(0.4, lambda: draw.choice([-1, 1] + [[1, 2]] * (len(x.shape) > 1))))
    elif name == "GroupNormalization":
        groups = [n for n in range(1, x.shape[-1] + 1) if x.shape[-1] % n == 0]
        config["groups"] = draw.choice([*groups, -1])
    elif name == "RMSNormalization":
        config.pop("trainable", None)
    return _same(draw, x, name, config)


def _some_axis(draw: Draw, x: Flow) -> int:
    return draw.choice([-1, 1] if len(x.shape) > 1 and not x.open else [-1])


def preprocessing(draw: Draw, x: Flow) -> Proposal | None:
    if draw.maybe(0.5):
        config = {"scale": draw.choice([0.5, -2.0, 1 / 255]), **draw.options(offset=(0.5, lambda: 0.75))}
        return _same(draw, x, "Rescaling", config)
    config = draw.options(axis=(0.3, lambda: -1), invert=(0.2, lambda: True))
    if draw.maybe(0.4):
        size = x.shape[-1]
        config |= {"mean": [round(draw.uniform(-1, 1), 3) for _ in range(size)]}
        config |= {"variance": [round(draw.uniform(0.25, 2), 3) for _ in range(size)]}
    return _same(draw, x, "Normalization", config)


def spectral(draw: Draw, x: Flow) -> Proposal | None:
    if draw.family == TF_KERAS or not draw.knows("SpectralNormalization"):  # tf_keras 2.21 cannot build it
        return None
    inner = dense(draw, x)
    if inner is None:
        return None
    return Proposal(layer("SpectralNormalization", {"layer": inner.layer}), inner.shapes, x.open)


def flatten(draw: Draw, x: Flow) -> Proposal | None:
    if x.open or not draw.knows("Flatten"):
        return None
    config = draw.options(data_format=(0.15, lambda: "channels_first"))
    return Proposal(layer("Flatten", config), ((math.prod(x.shape),),))


def reshape(draw: Draw, x: Flow) -> Proposal | None:
    if x.open or not draw.knows("Reshape"):
        return None
    size, shape, target = math.prod(x.shape), [], []
    for _ in range(draw.between(0, 2)):
        factor = draw.choice([n for n in range(1, size + 1) if size % n == 0 and n <= 12])
        shape.append(factor)
        size //= factor
    shape.insert(draw.between(0, len(shape)), size)
    target = list(shape)
    if draw.maybe(0.3):
        target[draw.between(0, len(target) - 1)] = -1
    return Proposal(layer("Reshape", {"target_shape": target}), (tuple(shape),))


def permute(draw: Draw, x: Flow) -> Proposal | None:
    if x.open or len(x.shape) < 2 or not draw.knows("Permute"):
        return None
    dims = draw.sample(range(1, len(x.shape) + 1), len(x.shape))
    return Proposal(layer("Permute", {"dims": dims}), (tuple(x.shape[axis - 1] for axis in dims),))


def repeat_vector(draw: Draw, x: Flow) -> Proposal | None:
    if len(x.shape) != 1 or not draw.knows("RepeatVector"):
        return None
    times = draw.between(1, 5)
    return Proposal(layer("RepeatVector", {"n": times}), ((times, *x.shape),))


def embedding(draw: Draw, x: Flow) -> Proposal | None:
    if x.kind != "tokens" or not draw.knows("Embedding"):
        return None
    size = draw.between(1, 5)
    config = {"input_dim": x.vocabulary, "output_dim": size, **draw.options(mask_zero=(0.6, lambda: True))}
    config |= draw.options(trainable=(0.1, lambda: False))
    return Proposal(layer("Embedding", config), ((*x.shape, size),), x.open)
