"""Cases: what stands before the layers of models that hear and see."""

from __future__ import annotations

from gateprobe.graph import Era
from layers.case import Case

K2, K3 = (Era.KERAS2,), (Era.KERAS3,)
AS_IT_IS = {"training": False}
"""As ``predict`` calls them; a call that says nothing trains."""

IMAGES = ((2, 6, 8, 3),)
_MOVING = {
    "RandomFlip": {"mode": "horizontal"},
    "RandomRotation": {"factor": 0.2, "fill_mode": "constant"},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": [0.1, 0.2]},
    "RandomZoom": {"height_factor": 0.2},
    "RandomBrightness": {"factor": 0.3},
    "RandomContrast": {"factor": 0.3},
}
_STRETCHING = {"RandomHeight": {"factor": 0.2}, "RandomWidth": {"factor": 0.2, "interpolation": "nearest"}}
_KERAS_3 = {
    "AugMix": {"value_range": [0, 1]},
    "CutMix": {"factor": 0.5},
    "Equalization": {"bins": 16},
    "MixUp": {"alpha": 0.3},
    "RandAugment": {"num_ops": 3},
    "RandomColorDegeneration": {"factor": 0.3},
    "RandomColorJitter": {
        "brightness_factor": 0.2,
        "contrast_factor": 0.2,
        "saturation_factor": 0.2,
        "hue_factor": 0.2,
    },
    "RandomElasticTransform": {"factor": 0.5},
    "RandomErasing": {"factor": 0.5},
    "RandomGaussianBlur": {"factor": 0.5, "sigma": 0.5},
    "RandomGrayscale": {"factor": 0.5},
    "RandomHue": {"factor": 0.3},
    "RandomInvert": {"factor": 0.5},
    "RandomPerspective": {"factor": 0.5},
    "RandomPosterization": {"factor": 4},
    "RandomSaturation": {"factor": 0.3},
    "RandomSharpness": {"factor": 0.3},
    "RandomShear": {"x_factor": 0.3, "y_factor": 0.3, "data_format": "channels_first"},
    "Solarization": {"addition_factor": 0.3, "threshold_factor": 0.3},
    "MaxNumBoundingBoxes": {"max_number": 4},
}

_INERT = [
    Case(name, note, config, IMAGES, kwargs=AS_IT_IS, eras=eras, scale=100, integers=integers)
    for table, eras in ((_MOVING, (Era.KERAS2, Era.KERAS3)), (_STRETCHING, K2), (_KERAS_3, K3))
    for name, config in table.items()
    for note, integers in (("", 0), ("integers", 256))
]

_CROPPED = [
    Case("RandomCrop", note, {"height": height, "width": width}, (shape,), kwargs=AS_IT_IS, scale=100)
    for note, height, width, shape in (
        ("smaller", 4, 5, (2, 6, 8, 3)),
        ("larger", 9, 10, (2, 6, 8, 3)),
        ("wide", 2, 7, (2, 9, 8, 1)),
        ("tall", 7, 2, (2, 9, 8, 1)),
        ("same", 6, 8, (2, 6, 8, 3)),
    )
]

_CONTRAST = [
    Case("AutoContrast", "", {}, IMAGES, scale=100, eras=K3),
    Case("AutoContrast", "range", {"value_range": [-1.0, 1.0]}, IMAGES, eras=K3),
    Case("AutoContrast", "first", {"data_format": "channels_first"}, ((2, 3, 6, 8),), scale=100, eras=K3),
    Case("AutoContrast", "integers", {}, IMAGES, integers=200, eras=K3),
    Case("AutoContrast", "constant", {}, ((2, 1, 1, 3),), scale=100, eras=K3),
]

_SOUND = {"fft_length": 64, "sequence_stride": 16, "sampling_rate": 1000, "num_mel_bins": 9, "min_freq": 30.0}
_MEL = [
    Case("MelSpectrogram", note, {**_SOUND, **config}, (shape,), eras=K3)
    for note, config, shape in (
        ("", {}, (3, 200)),
        ("power", {"power_to_db": False}, (3, 200)),
        ("short", {"sequence_length": 40, "mag_exp": 1.0}, (3, 150)),
        ("hamming", {"window": "hamming", "max_freq": 400}, (3, 200)),
        ("none", {"window": None, "sequence_length": 50}, (3, 200)),
        ("numbers", {"window": [0.1, 0.9, 1.0, 0.3], "sequence_length": 4}, (3, 200)),
        ("reference", {"ref_power": 5.0, "min_power": 0.01, "top_db": 20.0}, (3, 200)),
        ("channels", {"power_to_db": False}, (3, 2, 100)),
        ("odd", {"fft_length": 33, "sequence_length": 20}, (2, 90)),
    )
]

_FRAMES = {"frame_length": 16, "frame_step": 5, "window": [0.5] * 16}
"""With a window of numbers, for whose names Keras needs SciPy; the kernels are drawn here in any case."""
_STFT = [
    Case(
        "STFTSpectrogram",
        note,
        {**_FRAMES, **config},
        (shape,),
        weights=((16, 1, size), (16, 1, size))[:count],
        eras=K3,
    )
    for note, config, shape, size, count in (
        ("log", {"mode": "log"}, (3, 50, 2), 9, 2),
        ("magnitude", {"mode": "magnitude", "padding": "same"}, (3, 50, 2), 9, 2),
        ("psd", {"mode": "psd", "expand_dims": True}, (3, 50, 2), 9, 2),
        ("real", {"mode": "real", "frame_step": None}, (3, 50, 1), 9, 1),
        ("imag", {"mode": "imag", "scaling": "spectrum", "fft_length": 32}, (3, 50, 2), 17, 1),
        ("angle", {"mode": "angle", "periodic": True}, (3, 50, 2), 9, 2),
        ("stft", {"mode": "stft", "scaling": None}, (3, 50, 2), 9, 2),
        ("first", {"mode": "stft", "data_format": "channels_first"}, (3, 2, 50), 9, 2),
        ("first-expanded", {"mode": "stft", "data_format": "channels_first", "expand_dims": True}, (3, 2, 50), 9, 2),
    )
]

_TILED = [
    Case(
        "ContrastLimitedAdaptiveHistogramEqualization",
        note,
        config,
        (shape,),
        eras=K3,
        file="conformance_parts.npz",
        **drawn,
    )
    for note, config, shape, drawn in (
        ("", {"tile_grid_size": [2, 3]}, (2, 6, 9, 3), {"scale": 90}),
        ("filled", {"tile_grid_size": [3, 4], "clip_limit": 1.5}, (2, 7, 10, 1), {"scale": 90}),
        ("range", {"value_range": [-1.0, 1.0], "tile_grid_size": [2, 2]}, (2, 6, 8, 3), {}),
        ("unlimited", {"tile_grid_size": [1, 2], "clip_limit": 0}, (2, 6, 8, 3), {"scale": 90}),
        ("integers", {"tile_grid_size": [2, 2]}, (2, 6, 8, 3), {"integers": 256}),
        ("first", {"tile_grid_size": [2, 2], "data_format": "channels_first"}, (2, 3, 6, 8), {"scale": 90}),
    )
]

MEDIA = (*_TILED, *_INERT, *_CROPPED, *_CONTRAST, *_MEL, *_STFT)
