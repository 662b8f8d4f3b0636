"""Layers that change images at random while a model trains, and what they do at inference: little, but not nothing.

Most of them hand their images on. Some cast whole numbers to floats, others do not; which do has changed, as has what
``RandomCrop`` makes of an image. ``AutoContrast`` does the same in training and at inference.

Sources: ``keras/src/layers/preprocessing/image_preprocessing/*.py`` 3.0.5 to 3.15.1,
``keras/layers/preprocessing/image_preprocessing.py`` 2.2 to 2.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Arguments, Layer, Precision, Scope, Tensor
from gateprobe.layers.binding.object_names import counted_names
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.resizing import resized
from gateprobe.layers.shape import channels_first
from gateprobe.layers.unary import Function, Unary, Unmasked
from gateprobe.layers.windows import channels_last, check_rank
from gateprobe.semantics import Crop

_TRAINING_ONLY = (
    "addition_factor all_ops alpha bins bounding_box_format brightness_factor chain_depth contrast_factor data_format "
    "factor fill_mode fill_value height_factor hue_factor interpolation kernel_size max_number mode num_chains num_ops "
    "saturation_factor scale sigma threshold_factor value_range width_factor x_factor y_factor"
).split()
"""Settings that say how much is changed in training."""


def of_images(binding: Binding, function: Function, *, casts: bool) -> Layer:
    """Bind a function of images; Keras loses a mask or keeps it as casts happen to copy the images or not."""
    binding.settings.finish()
    layer = Unary(function, binding.precision, keeps_mask=False, keeps_integers=not casts)
    return Unmasked(layer, "images with a mask are not replayed")


def _same(x: Array) -> Array:
    return x


def _inert(binding: Binding, *, casts: bool) -> Layer:
    binding.settings.ignore(*_TRAINING_ONLY)
    return of_images(binding, _same, casts=casts)


@replays("RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", augments=True)
def _bind_moving(binding: Binding) -> Layer:
    return _inert(binding, casts=binding.semantics.augmentation_casts)


@replays("RandomBrightness", "RandomContrast", augments=True)
def _bind_light(binding: Binding) -> Layer:
    return _inert(binding, casts=binding.semantics.contrast_casts)


@replays("RandomHeight", "RandomWidth", augments=True)
def _bind_stretching(binding: Binding) -> Layer:
    return _inert(binding, casts=binding.semantics.stretching_casts)


@replays(
    "AugMix",
    "CutMix",
    "RandAugment",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomGaussianBlur",
    "RandomPerspective",
    "RandomSharpness",
    "RandomShear",
    "Solarization",
    augments=True,
)
def _bind_casting(binding: Binding) -> Layer:
    return _inert(binding, casts=True)


@replays(
    "Equalization",
    "MaxNumBoundingBoxes",
    "MixUp",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPosterization",
    "RandomSaturation",
    augments=True,
)
def _bind_uncasting(binding: Binding) -> Layer:
    return _inert(binding, casts=False)


@replays("RandomCrop", augments=True)
def _bind_crop(binding: Binding) -> Layer:
    settings, how = binding.settings, binding.semantics.random_crop
    size = (settings.integer("height"), settings.integer("width"))
    first = channels_first(settings)
    settings.ignore("bounding_box_format")
    if how is Crop.UNTOUCHED:
        return of_images(binding, _same, casts=False)
    crop = _CROPS[how]
    function = channels_last(lambda x: crop(x, size), first=first)
    return of_images(binding, function, casts=binding.semantics.augmentation_casts)


def _scaled_first(x: Array, size: tuple[int, int]) -> Array:
    """Scale images ``(samples, height, width, channels)`` until they just cover the size, then cut out the centre."""
    check_rank(x, 2)
    height, width = x.shape[1:3]
    tall = height / width > size[0] / size[1]
    covering = (int(size[1] * height / width), size[1]) if tall else (size[0], int(size[0] * width / height))
    if covering[0] < size[0] or covering[1] < size[1]:  # by rounding
        raise InputError(f"Keras cannot cut {size[0]} x {size[1]} pixels out of an image of {height} x {width}")
    scaled = resized(x, covering)
    top, left = ((have - wanted) // 2 for have, wanted in zip(covering, size, strict=True))
    return scaled[:, top : top + size[0], left : left + size[1]]


def _cut_first(x: Array, size: tuple[int, int]) -> Array:
    """Cut out the largest centre of the wanted proportions, then scale it (``smart_resize``)."""
    (height, width), (top, left) = _centre(x, size)
    return resized(x[:, top : top + height, left : left + width], size)


def _off_centre(x: Array, size: tuple[int, int]) -> Array:
    """Cut the wanted size out from where the largest centre of its proportions begins; scale what is too small."""
    _, (top, left) = _centre(x, size)
    cut = x[:, top : top + size[0], left : left + size[1]]
    return cut if cut.shape[1:3] == size else resized(cut, size)


def _centre(x: Array, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size of the largest centre that has the proportions of ``size``, and where it begins."""
    check_rank(x, 2)
    height, width = x.shape[1:3]
    kept = (
        max(min(height, width * size[0] // size[1]), 1),
        max(min(width, height * size[1] // size[0]), 1),
    )
    return kept, ((height - kept[0]) // 2, (width - kept[1]) // 2)


_CROPS: Mapping[Crop, Callable[[Array, tuple[int, int]], Array]] = {
    Crop.SCALED_FIRST: _scaled_first,
    Crop.CUT_FIRST: _cut_first,
    Crop.OFF_CENTRE: _off_centre,
}


@replays("AutoContrast")
def _bind_contrast(binding: Binding) -> Layer:
    low, high = value_range(binding)
    binding.settings.ignore("bounding_box_format", "data_format")
    return of_images(binding, partial(_stretched, low=low, high=high, precision=binding.precision), casts=True)


def value_range(binding: Binding) -> tuple[float, float]:
    """Read the range of an image's values, 0 to 255 unless the file says something else."""
    given = binding.settings.raw("value_range", (0, 255))
    if (
        not isinstance(given, (list, tuple))
        or len(given) != 2
        or any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in given)
        or not np.isfinite(given).all()
        or given[0] == given[1]
    ):
        raise Unsupported(f"config.value_range: expected two different numbers, got {given!r:.60}")
    return float(given[0]), float(given[1])


def _stretched(x: Array, low: float, high: float, precision: Precision) -> Array:
    """Let the values of each row and column's channel fill the whole range.

    Keras looks for the extremes along axes 1 and 2 also where the channels come first. Where all values are equal they
    stay as they are.

    Args:
        x: Four axes, samples first.
        low: The range begins here.
        high: It ends here.
        precision: Rounds after each operation.
    """
    check_rank(x, 2)
    step = precision.round
    values = moved(x, (low, high), (0.0, 255.0), precision)
    darkest, brightest = (extreme(values, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
    scale = step(np.asarray(255, x.dtype) / step(brightest - darkest))
    stretched = step(step(values * scale) + step(-darkest * scale))
    results = moved(np.clip(stretched, 0, 255), (0.0, 255.0), (low, high), precision)
    return np.where(np.isnan(results), x, results)


def moved(x: Array, old: tuple[float, float], new: tuple[float, float], precision: Precision) -> Array:
    """Move values from one range to another (``_transform_value_range``)."""
    if old == new:
        return x
    (low, high), (to_low, to_high) = (
        [precision.round(np.asarray(one, x.dtype)) for one in ends] for ends in (old, new)
    )
    share = precision.round(precision.round(x - low) / precision.round(high - low))
    return precision.round(precision.round(share * precision.round(to_high - to_low)) + to_low)


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """Calls one layer after the other."""

    layers: Mapping[str, Layer]
    """By the path inside this one."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hand each layer what the one before gave."""
        results: tuple[Tensor, ...] = (call.tensor,)
        for path, layer in self.layers.items():
            results = layer.replay(Arguments(results), scope.within(path))
        return results


def _parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    layers = record.children.get("layers", ())
    if not layers and record.config.get("layers") != []:
        raise Unsupported("config.layers: expected layers")
    return {f"layers/{name}": layer for name, layer in zip(counted_names(layers), layers, strict=True)}


@replays("Pipeline", parts=_parts, takes=("inputs", "training", "mask"))
def _bind_pipeline(binding: Binding) -> Layer:
    binding.settings.ignore("layers")
    binding.settings.finish()
    return Pipeline(binding.parts)
